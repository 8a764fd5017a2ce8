import Access
import Core
import FrontendKit
import HTTPTypes
import Registry

/// Tickets: one GET of one path, within half a minute (conventions, section 3).
enum TicketEndpoints {
    static let table: [Endpoint] = [
        .json(.post, "/api/v1/auth/ticket", "create_download_ticket", "auth", .authenticated) {
            (call, request: CreateTicketRequest) throws(RegistryError) -> TicketResponse in
            // A ticket for every path would be a session without its safeguards.
            guard let text = request.resource_path, !text.isEmpty else {
                throw RegistryError(.invalid, subject: .field("resource_path"), reason: "a ticket is for one path: name it")
            }
            let path: RequestPath
            do throws(RegistryError) { path = try RequestPath(parsing: text.prefix { $0 != "?" }) } catch {
                throw RegistryError(.invalid, subject: .field("resource_path"), reason: error.reason)
            }
            let ticket = try call.access.issueTicket(for: call.caller, path: Credentials.ticketPath(path))
            return TicketResponse(ticket: ticket.revealed, expires_in: Access.ticketSeconds)
        }
    ]
}

struct CreateTicketRequest: Codable, Sendable {
    let purpose: String
    let resource_path: String?
}
struct TicketResponse: Codable, Sendable {
    let ticket: String
    let expires_in: Int64
}
