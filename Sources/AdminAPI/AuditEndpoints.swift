import Access
import Audit
import Core
import FrontendKit
import HTTPTypes
import NIOCore

/// The audit log: who was allowed what, and who was not. Nobody changes it by REST.
enum AuditEndpoints {
    /// Of one answer of an export.
    private static let recordsMax = 5_000
    private static let query = ["user_id", "action", "resource_type", "resource_id", "correlation_id", "from", "to"]

    static let table: [Endpoint] = [
        .json(
            .get, "/api/v1/admin/audit", "list_audit_logs", "admin", .admin,
            query: query.map { Endpoint.Parameter(name: $0, type: "string") } + PageWindow.parameters
        ) { (call, _: Nothing) throws(RegistryError) -> AuditLogListResponse in
            let window = try PageWindow(call.head.query)
            var query = AuditQuery()
            query.account = try id("user_id", call)
            query.action = call.head.query["action"]
            query.kind = call.head.query["resource_type"]
            query.subjectID = try id("resource_id", call)
            query.requestID = call.head.query["correlation_id"]
            query.from = try time("from", call)
            query.to = try time("to", call)
            (query.skip, query.limit) = (window.skip, window.perPage)
            let found = try await trail(call).find(query)
            return AuditLogListResponse(
                items: found.records.map(AuditLogItem.init), total: Int64(found.total), page: window.page, per_page: window.perPage)
        },
        .json(.get, "/api/v1/admin/audit/head", "get_audit_head", "admin", .admin) { (call, _: Nothing) throws(RegistryError) -> AuditHead in
            let head = try await trail(call).head()
            return AuditHead(number: Int64(clamping: head.number), head: head.description)
        },
        .raw(
            .get, "/api/v1/admin/audit/export", "export_audit_log", "admin", .admin,
            query: [Endpoint.Parameter(name: "after", type: "integer")]
        ) { call throws(RegistryError) in
            var after: UInt64?
            if let text = call.head.query["after"] {
                guard let number = UInt64(text) else {
                    throw RegistryError(.invalid, subject: .field("after"), reason: "after is the number of a record")
                }
                after = number
            }
            let (lines, next) = try await trail(call).export(after: after, limit: recordsMax)
            var response = Response(
                .ok, fields: [.contentType: "application/x-ndjson", .cacheControl: "no-store"], content: .bytes(ByteBuffer(bytes: lines)))
            // RFC 8288.
            if let next, let name = HTTPField.Name("Link") {
                response.fields[name] = "</api/v1/admin/audit/export?after=\(next)>; rel=\"next\""
            }
            return response
        },
    ]

    private static func trail(_ call: Call) throws(RegistryError) -> AuditTrail {
        guard let trail = call.api.options.audit else {
            throw RegistryError(.unsupported, subject: .request, reason: "this server keeps no audit log")
        }
        return trail
    }

    private static func id(_ name: String, _ call: Call) throws(RegistryError) -> EntityID? {
        guard let text = call.head.query[name] else { return nil }
        guard let id = EntityID(text) else { throw RegistryError(.invalid, subject: .field(name), reason: "\(name) is a UUID") }
        return id
    }

    private static func time(_ name: String, _ call: Call) throws(RegistryError) -> Timestamp? {
        guard let text = call.head.query[name] else { return nil }
        guard let time = Timestamp(rfc3339: text) else {
            throw RegistryError(.invalid, subject: .field(name), reason: "\(name) is a time of RFC 3339, as 2026-11-22T08:00:00Z")
        }
        return time
    }
}

struct AuditLogListResponse: Codable, Sendable {
    let items: [AuditLogItem]
    let total: Int64
    let page, per_page: Int
}

struct AuditLogItem: Codable, Sendable {
    let id: String
    let user_id, actor_username: String?
    let action, resource_type: String
    let resource_id: String?
    let details: [String: String]
    let ip_address: String?
    let correlation_id, created_at: String

    init(_ record: AuditRecord) {
        id = record.id.description
        user_id = record.account?.description
        actor_username = record.actor
        action = record.action
        resource_type = record.kind
        resource_id = record.subjectID?.description
        details = Dictionary(record.details.map { ($0.name, $0.value) }) { first, _ in first }
        ip_address = record.peer
        correlation_id = record.requestID
        created_at = record.at.description
    }
}

struct AuditHead: Codable, Sendable {
    let number: Int64
    /// `NUMBER:HASH`, to be written down elsewhere.
    let head: String
}
