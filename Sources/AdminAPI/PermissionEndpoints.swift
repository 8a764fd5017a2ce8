import Registry
import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes

/// Who may do what on which repository.
enum PermissionEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/permissions", "list_permissions", "permissions", .admin, query: filters + PageWindow.parameters) {
            (call, _: Nothing) throws(RegistryError) -> PermissionListResponse in
            let window = try PageWindow(call.head.query)
            let query = call.head.query
            let holder = try query["principal_id"].map { text throws(RegistryError) in try id(text, "principal_id") }
            let repository = try query["target_id"].map { text throws(RegistryError) in try id(text, "target_id") }
            let grants = try await call.access.grants(on: repository).filter { grant in
                (holder == nil || grant.principal.id == holder) && query["principal_type"].map { $0 == word(for: grant.principal) } ?? true
                    && query["target_type"].map { $0 == "repository" } ?? true
            }
            var items: [PermissionResponse] = []
            for grant in window.of(grants) { items.append(try await response(grant, call)) }
            return PermissionListResponse(items: items, pagination: window.pagination(total: grants.count))
        },
        .json(.post, "/api/v1/permissions", "create_permission", "permissions", .admin) {
            (call, request: CreatePermissionRequest) throws(RegistryError) -> PermissionResponse in
            try await put(request, call)
        },
        .json(.get, "/api/v1/permissions/{id}", "get_permission", "permissions", .admin) {
            (call, _: Nothing) throws(RegistryError) -> PermissionResponse in
            try await response(try await grant(call), call)
        },
        .json(.put, "/api/v1/permissions/{id}", "update_permission", "permissions", .admin) {
            (call, request: CreatePermissionRequest) throws(RegistryError) -> PermissionResponse in
            let old = try await grant(call)
            guard old.principal == (try principal(request)), old.repository.description == request.target_id.lowercased() else {
                throw RegistryError(.invalid, subject: .field("principal_id"), reason: "a permission keeps its principal and target: create another")
            }
            return try await put(request, call)
        },
        .json(.delete, "/api/v1/permissions/{id}", "delete_permission", "permissions", .admin) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await call.access.revoke(try await grant(call), by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
    ]

    private static let filters = ["principal_type", "principal_id", "target_type", "target_id"].map { Endpoint.Parameter(name: $0, type: "string") }

    private static func put(_ request: CreatePermissionRequest, _ call: Call) async throws(RegistryError) -> PermissionResponse {
        guard request.target_type == "repository" else {
            throw RegistryError(.invalid, subject: .field("target_type"), reason: "this version grants on repositories only")
        }
        var actions: Set<Permission> = []
        for word in request.actions {
            guard let action = words.first(where: { $0.value == word })?.key else {
                throw RegistryError(.invalid, subject: .field("actions"), reason: "\(word) is none of read, write, delete, admin")
            }
            actions.insert(action)
        }
        let grant = try await call.access.grant(
            actions, on: try id(request.target_id, "target_id"), to: try principal(request), by: call.caller.actor, requestID: call.head.requestID)
        return try await response(grant, call)
    }

    private static func principal(_ request: CreatePermissionRequest) throws(RegistryError) -> Principal {
        let id = try id(request.principal_id, "principal_id")
        switch request.principal_type {
        case "user": return .account(id)
        case "group": return .group(id)
        default: throw RegistryError(.invalid, subject: .field("principal_type"), reason: "a permission is for a user or a group")
        }
    }

    private static func word(for principal: Principal) -> String {
        switch principal {
        case .account: "user"
        case .group: "group"
        }
    }

    private static func name(of principal: Principal, _ call: Call) async throws(RegistryError) -> String? {
        switch principal {
        case .account(let id): try await call.access.user(id)?.username
        case .group(let id): try await call.access.group(id)?.name
        }
    }

    private static let words: [Permission: String] = [.read: "read", .write: "write", .delete: "delete", .admin: "admin"]

    private static func grant(_ call: Call) async throws(RegistryError) -> Grant {
        guard let grant = try await call.access.grant(id: try call.id()) else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such permission")
        }
        return grant
    }

    private static func id(_ text: String, _ field: String) throws(RegistryError) -> EntityID {
        guard let id = EntityID(text) else { throw RegistryError(.invalid, subject: .field(field), reason: "\(text) is no UUID") }
        return id
    }

    private static func response(_ grant: Grant, _ call: Call) async throws(RegistryError) -> PermissionResponse {
        PermissionResponse(
            id: grant.id.description, principal_type: word(for: grant.principal), principal_id: grant.principal.id.description,
            principal_name: try await name(of: grant.principal, call), target_type: "repository", target_id: grant.repository.description,
            target_name: try await call.registry.catalog.repository(id: grant.repository)?.key.text,
            actions: grant.actions.sorted().compactMap { words[$0] }, created_at: grant.created.description, updated_at: grant.updated.description)
    }
}

struct CreatePermissionRequest: Codable, Sendable {
    let principal_type, principal_id, target_type, target_id: String
    let actions: [String]
}
struct PermissionResponse: Codable, Sendable {
    let id, principal_type, principal_id: String
    let principal_name: String?
    let target_type, target_id: String
    let target_name: String?
    let actions: [String]
    let created_at, updated_at: String
}
struct PermissionListResponse: Codable, Sendable {
    let items: [PermissionResponse]
    let pagination: Pagination
}
