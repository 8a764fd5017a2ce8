import Core
import Logging
import NIOCore
import Outbound
import Parsing

/// A command that a running server carries out, asked over REST. GRANARY_TOKEN holds an administrator's API token.
struct AskedServer {
    private let url: String
    private let token: String
    private let client: OutboundClient

    /// - Parameter work: asks it, as often as it wants.
    static func asking(_ server: String, _ work: (AskedServer) async throws(RegistryError) -> Void) async throws(RegistryError) {
        guard let token = Environment.variables["GRANARY_TOKEN"], !token.isEmpty else {
            throw RegistryError(.invalid, subject: .configuration("GRANARY_TOKEN"), reason: "GRANARY_TOKEN must hold an administrator's API token")
        }
        let client = try OutboundClient(log: Logger(label: "granary"), world: .real)
        defer { client.close() }
        try await work(AskedServer(url: server.hasSuffix("/") ? String(server.dropLast()) : server, token: token, client: client))
    }

    /// Asks, and waits as long as it takes.
    func ask(_ method: FetchRequest.Method, _ path: String, _ body: JSON? = nil) async throws(RegistryError) -> JSON {
        var request = FetchRequest(url: url + path)
        request.method = method
        if let body {
            request.fields.append(("Content-Type", "application/json"))
            request.body = Body(ByteBuffer(bytes: body.encoded()))
        }
        request.credentials = .bearer(token)
        request.addressPolicy = AddressPolicy(allowPrivate: true)
        request.limits.stallSeconds = 7 * 24 * 3600
        let answer = try await client.fetch(request)
        let json = try JSON.parse(Array(try await answer.body.collect().readableBytesView))
        guard answer.status == 200 || answer.status == 202 else {
            throw RegistryError(.unsupported, subject: .request, reason: "the server answered \(answer.status): \(json["message"]?.string ?? "")")
        }
        return json
    }

    /// Asks, and prints each member of the answer.
    static func show(
        _ method: FetchRequest.Method, _ path: String, _ body: JSON? = nil, of server: String
    ) async throws(RegistryError) {
        try await asking(server) { asked async throws(RegistryError) in
            for member in try await asked.ask(method, path, body).object?.members ?? [] {
                for value in member.value.array ?? [member.value] {
                    print("\(member.name): \(value.string ?? String(decoding: value.encoded(), as: UTF8.self))")
                }
            }
        }
    }
}
