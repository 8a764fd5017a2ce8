// AdminAPI: the REST API over the rooms below, wire-compatible with the interface sheets. One table of endpoints; routing, the access floor,
// decoding, errors and the OpenAPI document all come from its rows. It makes no decision about rights: Access does.
import Access
public import Audit
public import Core
public import FrontendKit
import HTTPTypes
import NIOCore
import Parsing
public import Registry

public struct AdminAPI: Sendable {
    public struct Options: Sendable {
        public var version: String
        /// Health routes name the parts they looked at.
        public var detailedHealth: Bool
        public var limits = RequestLimits()
        /// nil: decisions are not kept.
        public var audit: AuditTrail?
        /// nil where the catalog is in a database already.
        public var catalogMover: (any CatalogMover)?
        /// Session cookies are for HTTPS only, even where this server sees none.
        public var enforceHTTPS = false
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
    private let requests: RequestCounter

    public init(registry: Registry, counters: StorageCounters, metrics: Metrics, options: Options) {
        self.registry = registry
        self.counters = counters
        self.metrics = metrics
        self.options = options
        requests = RequestCounter(options.limits, world: registry.world)
        endpoints =
            AuthEndpoints.table + TOTPEndpoints.table + UserEndpoints.table + RoleEndpoints.table + MachineEndpoints.table + GroupEndpoints.table
            + PermissionEndpoints.table
            + ProjectEndpoints.table + RepositoryTokenEndpoints.table + TicketEndpoints.table + RepositoryEndpoints.table
            + RemoteEndpoints.table
            + MemberEndpoints.table
            + ArtifactEndpoints.table
            + UploadEndpoints.table + PackageEndpoints.table + SigningEndpoints.table + SystemEndpoints.table + SweepEndpoints.table
            + ScrubEndpoints.table + BackupEndpoints.table + CatalogMoveEndpoints.table + HeldEndpoints.table + TrashEndpoints.table
            + AuditEndpoints.table + LimitEndpoints.table
    }

    /// What `/api/v1/openapi.json` serves.
    public var openAPIDocument: [UInt8] { OpenAPI.document(of: endpoints, version: options.version).encoded() }

    /// What the dispatcher hands to this room.
    public var mounts: [Dispatcher.Mounted] {
        ["/api/v1", "/health", "/healthz", "/ready", "/readyz", "/livez", "/metrics"].map { Dispatcher.Mounted($0, self) }
    }
}

extension AdminAPI: Responder {
    public func respond(to head: RequestHead, body: Body) async -> Response {
        do throws(RegistryError) {
            guard let (endpoint, match) = try find(head) else { return otherMethod(head) }
            if let refusal = try demonstrationRefusal(of: endpoint, head.method) { return refusal }
            // How this node is doing is asked of it alone.
            if endpoint.tag != "health" { try await registry.catchUp() }
            let upload = endpoint.tag == "uploads" && !match["session_id"].isEmpty ? match["session_id"] : nil
            if let response = try await registry.relayed(head, body, upload: upload) { return response }
            if endpoint.access == .public, endpoint.method != .get { try registry.refuseForeignPage(head) }
            let caller = endpoint.access == .public ? .anonymous : try await caller(of: head)
            let standing = try requests.count(endpoint.countedAs, caller, from: head.client)
            try registry.access.refuseRegistryToken(caller)
            // RFC 6585 section 3: the request must wait until the password was changed.
            if caller.mustChangePassword, endpoint.access != .passwordChange, endpoint.access != .public {
                return try Response.json(
                    Envelope(code: "PASSWORD_CHANGE_REQUIRED", message: "change the password first: POST /api/v1/users/me/password"), status: 428)
            }
            switch endpoint.access {
            case .public, .optional: break
            case .authenticated: try registry.access.requireAccount(caller, scope: endpoint.scope)
            case .passwordChange:
                guard !caller.isAnonymous, caller.credentialKind != .ticket else { try registry.access.requireAccount(caller); break }
            case .admin: try registry.access.requireAdmin(caller, scope: endpoint.scope)
            }
            if endpoint.access != .public { try registry.refuseForgery(head) }
            let call = Call(api: self, head: head, match: match, body: body, origin: RequestOrigin(caller: caller, requestID: head.requestID))
            var response = try await endpoint.handle(call)
            response.tell(standing)
            return response
        } catch {
            return failure(error, for: head)
        }
    }

    /// Where nothing may be changed, one may still log in and out, and read; and whoever sets the server up may finish that.
    private func demonstrationRefusal(of endpoint: Endpoint, _ method: HTTPRequest.Method) throws(RegistryError) -> Response? {
        guard registry.options.isDemonstration, method != .get, method != .head else { return nil }
        guard !(endpoint.tag == "auth" && endpoint.access == .public), !(endpoint.access == .passwordChange && registry.access.setupRequired) else {
            return nil
        }
        var response = try Response.json(["error": Registry.demonstration.reason], status: 403)
        response.failure = Registry.demonstration
        return response
    }

    /// Credentials that do not hold count as a login: whatever they were, trying many is guessing.
    private func caller(of head: RequestHead) async throws(RegistryError) -> Caller {
        do throws(RegistryError) { return try await registry.access.authenticate(.from(head), for: Asked(head)) } catch {
            if error.code == .unauthenticated { _ = try requests.count(.login, .anonymous, from: head.client) }
            throw error
        }
    }

    /// nil when the path is served, but not with this method.
    private func find(_ head: RequestHead) throws(RegistryError) -> (Endpoint, Match)? {
        var isServed = false
        // Literal rows stand before their `{id}` neighbours in the tables.
        for endpoint in endpoints {
            guard let match = endpoint.pattern.match(head.path, in: nil) else { continue }
            if endpoint.answers(head.method) { return (endpoint, match) }
            isServed = true
        }
        guard isServed else { throw RegistryError(.notFound, subject: .request, reason: "there is no endpoint at \(head.path)") }
        return nil
    }

    /// RFC 9110 section 15.5.6: 405 says what is allowed.
    private func otherMethod(_ head: RequestHead) -> Response {
        let allowed = endpoints.filter { $0.pattern.match(head.path, in: nil) != nil }.flatMap { endpoint in
            endpoint.method == .get ? ["GET", "HEAD"] : [endpoint.method.rawValue]
        }
        let list = allowed.joined(separator: ", ")
        var response = failure(RegistryError(.unsupported, subject: .request, reason: "only \(list) is served here"), for: head)
        response.fields[.allow] = list
        return response
    }
}
