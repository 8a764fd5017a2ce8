// AdminAPI: the REST API over the rooms below, wire-compatible with the interface sheets. One table of endpoints; routing, the access floor,
// decoding, errors and the OpenAPI document all come from its rows. It makes no decision about rights: Access does.
import Access
public import Core
public import FrontendKit
import HTTPTypes
import NIOCore
public import Registry

public struct AdminAPI: Sendable {
    public struct Options: Sendable {
        public var version: String
        /// Health routes name the parts they looked at.
        public var detailedHealth: Bool
        public var demoMode = false
        public init(version: String, detailedHealth: Bool) {
            self.version = version
            self.detailedHealth = detailedHealth
        }
    }

    let registry: Registry
    let counters: StorageCounters
    let metrics: Metrics
    let options: Options
    let endpoints: [Endpoint]

    public init(registry: Registry, counters: StorageCounters, metrics: Metrics, options: Options) {
        self.registry = registry
        self.counters = counters
        self.metrics = metrics
        self.options = options
        endpoints =
            AuthEndpoints.table + UserEndpoints.table + PermissionEndpoints.table + RepositoryEndpoints.table + ArtifactEndpoints.table
            + UploadEndpoints.table + PackageEndpoints.table + SystemEndpoints.table
    }

    /// What the dispatcher hands to this room.
    public var mounts: [Dispatcher.Mounted] {
        ["/api/v1", "/health", "/healthz", "/ready", "/readyz", "/livez", "/metrics"].map { Dispatcher.Mounted($0, self) }
    }
}

extension AdminAPI: Responder {
    public func respond(to head: RequestHead, body: Body) async -> Response {
        do throws(RegistryError) {
            let (endpoint, match) = try find(head)
            let caller = endpoint.access == .public ? .anonymous : try await registry.access.authenticate(.from(head.fields))
            // RFC 6585 section 3: the request must wait until the password was changed.
            if caller.mustChangePassword, endpoint.access != .passwordChange, endpoint.access != .public {
                return Response(
                    HTTPResponse.Status(code: 428), fields: [.contentType: "text/plain; charset=utf-8"],
                    content: .bytes(ByteBuffer(string: "change the password first: POST /api/v1/users/me/password\n")))
            }
            switch endpoint.access {
            case .public, .optional: break
            case .authenticated: try registry.access.requireAccount(caller, scope: endpoint.scope)
            case .passwordChange: guard !caller.isAnonymous else { try registry.access.requireAccount(caller); break }
            case .admin: try registry.access.requireAdmin(caller)
            }
            try refuseForgery(head, caller)
            let call = Call(api: self, head: head, match: match, body: body, origin: RequestOrigin(caller: caller, requestID: head.requestID))
            return try await endpoint.handle(call)
        } catch {
            return failure(error, for: head)
        }
    }

    private func find(_ head: RequestHead) throws(RegistryError) -> (Endpoint, Match) {
        // The longest pattern first would do as well; literal rows stand before their `{id}` neighbours in the tables.
        var allowed: [String] = []
        for endpoint in endpoints {
            guard let match = endpoint.pattern.match(head.path, in: nil) else { continue }
            if endpoint.method == head.method || endpoint.method == .get && head.method == .head { return (endpoint, match) }
            allowed.append(endpoint.method.rawValue)
        }
        if allowed.isEmpty { throw RegistryError(.notFound, subject: .request, reason: "there is no endpoint at \(head.path)") }
        throw RegistryError(.unsupported, subject: .request, reason: "only \(allowed.joined(separator: ", ")) is served here")
    }

    /// A browser sends the session cookie by itself; only our own pages add a field of their own (OWASP, custom request headers).
    private func refuseForgery(_ head: RequestHead, _ caller: Caller) throws(RegistryError) {
        guard caller.credentialKind == .session, head.method != .get, head.method != .head, head.fields[.authorization] == nil,
            head.fields[.cookie] != nil, head.fields[.xRequestedWith] == nil
        else { return }
        throw RegistryError(.forbidden, subject: .request, reason: "a change with a session cookie needs the field X-Requested-With")
    }
}
