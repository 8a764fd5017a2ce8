import Access
public import Core
import FrontendKit
import HTTPTypes

/// How many requests one account, or one address that nobody logged in from, may make of the control plane. Bytes are not counted: artifacts and
/// uploads have the server's own caps.
public struct RequestLimits: Sendable {
    public var isOn = true
    public var windowSeconds: Int64 = 60
    public var requestsMax = 10_000
    /// Logins, refreshes and whatever else proves who somebody is; and requests whose credentials did not hold. By address.
    public var loginsMax = 120
    public var exemptUsernames: Set<String> = []
    public var exemptCIDRs: [CIDR] = []
    public init() {}
}

final class RequestCounter: Sendable {
    /// What a request counts as.
    enum Class: Sendable {
        case login, control
        /// Probes, and bytes.
        case uncounted
    }

    enum Standing: Sendable {
        case counted(RateLimit.Verdict)
        case exempt(String)
        case uncounted
    }

    private let limits: RequestLimits
    private let requests: RateLimit
    private let logins: RateLimit
    private let world: World

    init(_ limits: RequestLimits, world: World) {
        self.limits = limits
        self.world = world
        requests = RateLimit(limit: limits.requestsMax, seconds: limits.windowSeconds)
        logins = RateLimit(limit: limits.loginsMax, seconds: limits.windowSeconds)
    }

    /// Counts a request.
    /// - Throws: `rateLimited`.
    func count(_ kind: Class, _ caller: Caller, from address: String) throws(RegistryError) -> Standing {
        guard limits.isOn, kind != .uncounted else { return .uncounted }
        if !caller.isAnonymous, limits.exemptUsernames.contains(caller.username.lowercased()) { return .exempt("username") }
        if !limits.exemptCIDRs.isEmpty, let address = IPAddress(address)?.unmapped, limits.exemptCIDRs.contains(where: { $0.contains(address) }) {
            return .exempt("address")
        }
        let verdict =
            kind == .login
            ? logins.take(.init(nil, at: address), at: world.now()) : requests.take(.init(caller.account, at: address), at: world.now())
        guard verdict.isAllowed else {
            throw RegistryError(
                .rateLimited, subject: .request, reason: "more than \(verdict.limit) requests in \(limits.windowSeconds) seconds: slow down",
                retryAfterSeconds: verdict.retryAfterSeconds)
        }
        return .counted(verdict)
    }
}

extension Endpoint {
    var countedAs: RequestCounter.Class {
        switch tag {
        case "health", "uploads": .uncounted
        case "artifacts" where path.hasSuffix("{path+}"): .uncounted
        case "auth" where access == .public && method != .get: .login
        default: .control
        }
    }
}

extension Response {
    /// What is left is said where there is something to be had: a refusal must not differ by what else was asked.
    mutating func tell(_ standing: RequestCounter.Standing) {
        guard status.code < 400 else { return }
        switch standing {
        case .uncounted: break
        case .exempt(let why): fields[.rateLimitExempt] = why
        case .counted(let verdict):
            fields[.rateLimitLimit] = String(verdict.limit)
            fields[.rateLimitRemaining] = String(verdict.remaining)
        }
    }
}

extension HTTPField.Name {
    static let rateLimitLimit = HTTPField.Name("X-RateLimit-Limit") ?? .retryAfter
    static let rateLimitRemaining = HTTPField.Name("X-RateLimit-Remaining") ?? .retryAfter
    static let rateLimitExempt = HTTPField.Name("X-RateLimit-Exempt") ?? .retryAfter
}
