import Access
import Core
import FrontendKit
import HTTPTypes

/// What is limited how, and who is exempt. Both are settings of the server: they are shown here, and changed there.
enum LimitEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/admin/rate-limits", "get_rate_limits", "admin", .admin) {
            (call, _: Nothing) throws(RegistryError) -> RateLimitsResponse in
            RateLimitsResponse(call.api.options.limits)
        },
        .json(.get, "/api/v1/admin/rate-limits/exemptions", "list_rate_limit_exemptions", "admin", .admin) {
            (call, _: Nothing) throws(RegistryError) -> ExemptionListResponse in
            ExemptionListResponse(exemptions: exemptions(call))
        },
        .json(.post, "/api/v1/admin/rate-limits/exemptions", "create_rate_limit_exemption", "admin", .admin) {
            (call, request: CreateExemptionRequest) throws(RegistryError) -> ExemptionResponse in
            // Who is exempt already stays so.
            guard let known = exemptions(call).first(where: { $0.type == request.type && $0.value == request.value }) else { throw ofConfiguration }
            return known
        },
        .json(.delete, "/api/v1/admin/rate-limits/exemptions/{id}", "delete_rate_limit_exemption", "admin", .admin) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            guard exemptions(call).contains(where: { $0.id == call.match["id"] }) else {
                throw RegistryError(.notFound, subject: .request, reason: "there is no such exemption")
            }
            throw ofConfiguration
        },
    ]

    private static func exemptions(_ call: Call) -> [ExemptionResponse] {
        let limits = call.api.options.limits
        return limits.exemptUsernames.sorted().map { ExemptionResponse(type: "username", value: $0) }
            + limits.exemptCIDRs.map { ExemptionResponse(type: "cidr", value: "\($0.base)/\($0.prefix)") }
    }

    private static var ofConfiguration: RegistryError {
        RegistryError(
            .conflict, subject: .configuration("rate_limit_exempt_usernames"),
            reason: "exemptions are settings of the server: rate_limit_exempt_usernames and rate_limit_exempt_cidrs in its configuration")
    }
}

struct RateLimitsResponse: Codable, Sendable {
    struct Limit: Codable, Sendable {
        /// 0: none.
        let limit: Int
        let window_secs: Int64
    }
    let auth, api, search: Limit
    let exempt_service_accounts: Bool
    init(_ limits: RequestLimits) {
        func limit(_ count: Int) -> Limit { Limit(limit: limits.isOn ? count : 0, window_secs: limits.windowSeconds) }
        auth = limit(limits.loginsMax)
        api = limit(limits.requestsMax)
        search = limit(limits.requestsMax)
        exempt_service_accounts = false
    }
}
struct ExemptionResponse: Codable, Sendable {
    let id, type, value: String
    let source_env: Bool
    init(type: String, value: String) {
        // A range has a slash, which a path cannot hold.
        id = String(Digest.of(.sha256, "\(type) \(value)".utf8).hex.prefix(16))
        self.type = type
        self.value = value
        source_env = true
    }
}
struct ExemptionListResponse: Codable, Sendable { let exemptions: [ExemptionResponse] }
struct CreateExemptionRequest: Codable, Sendable {
    let type, value: String
    let note: String?
}
