import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Registry

/// Who may do what: rows of users and groups, on repositories, projects and the system.
enum PermissionEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/permissions", "list_permissions", "permissions", .admin, query: filters + PageWindow.parameters) {
            (call, _: Nothing) throws(RegistryError) -> PermissionListResponse in
            let window = try PageWindow(call.head.query)
            let wanted = try Filter(call.head.query)
            let grants = try await call.access.grants().filter { wanted.fits($0) }
            var items: [PermissionResponse] = []
            for grant in window.of(grants) { items.append(try await response(grant, call)) }
            return PermissionListResponse(items: items, pagination: window.pagination(total: grants.count))
        },
        .json(.post, "/api/v1/permissions", "create_permission", "permissions", .admin) {
            (call, request: CreatePermissionRequest) throws(RegistryError) -> PermissionResponse in
            let grant = try await call.access.grant(
                try PermissionWords.actions(request.actions), on: try target(request),
                to: try PermissionWords.principal(request.principal_type, request.principal_id), patterns: try patterns(request),
                by: call.caller.actor, requestID: call.head.requestID)
            return try await response(grant, call)
        },
        .json(.get, "/api/v1/permissions/{id}", "get_permission", "permissions", .admin) {
            (call, _: Nothing) throws(RegistryError) -> PermissionResponse in
            try await response(try await grant(call), call)
        },
        .json(.put, "/api/v1/permissions/{id}", "update_permission", "permissions", .admin) {
            (call, request: CreatePermissionRequest) throws(RegistryError) -> PermissionResponse in
            let old = try await grant(call)
            let principal = try PermissionWords.principal(request.principal_type, request.principal_id)
            guard old.principal == principal, old.target == (try target(request)) else {
                throw RegistryError(.invalid, subject: .field("principal_id"), reason: "a permission keeps its principal and target: create another")
            }
            let changed = try await call.access.change(
                old.id, to: try PermissionWords.actions(request.actions), patterns: try patterns(request), by: call.caller.actor,
                requestID: call.head.requestID)
            return try await response(changed, call)
        },
        .json(.delete, "/api/v1/permissions/{id}", "delete_permission", "permissions", .admin) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await call.access.revoke(try await grant(call), by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
    ]

    private static let filters = ["principal_type", "principal_id", "target_type", "target_id"].map { Endpoint.Parameter(name: $0, type: "string") }

    private struct Filter {
        let principalType, targetType: String?
        let principal, target: EntityID?

        init(_ query: Query) throws(RegistryError) {
            principalType = query["principal_type"]
            targetType = query["target_type"]
            principal = try query["principal_id"].map { text throws(RegistryError) in try PermissionWords.id(text, "principal_id") }
            target = try query["target_id"].map { text throws(RegistryError) in try PermissionWords.id(text, "target_id") }
        }

        func fits(_ grant: Grant) -> Bool {
            principalType.map { $0 == PermissionWords.word(for: grant.principal) } ?? true && principal.map { $0 == grant.principal.id } ?? true
                && targetType.map { $0 == PermissionWords.word(for: grant.target) } ?? true && target.map { $0 == grant.target.id } ?? true
        }
    }

    private static func target(_ request: CreatePermissionRequest) throws(RegistryError) -> GrantTarget {
        switch request.target_type {
        case "repository": return .repository(try PermissionWords.id(request.target_id, "target_id"))
        case "project": return .project(try PermissionWords.id(request.target_id, "target_id"))
        // There is one, whatever id a client gives it.
        case "system": return .system
        default: throw RegistryError(.invalid, subject: .field("target_type"), reason: "a permission is on a repository, a project or the system")
        }
    }

    private static func patterns(_ request: CreatePermissionRequest) throws(RegistryError) -> [NamePattern] {
        var patterns: [NamePattern] = []
        for text in request.patterns ?? [] {
            guard let pattern = NamePattern(text) else {
                throw RegistryError(
                    .invalid, subject: .field("patterns"),
                    reason: "a pattern has segments between slashes, with * and ? in them or ** for any number of segments, and at most "
                        + "\(NamePattern.bytesMax) bytes")
            }
            patterns.append(pattern)
        }
        return patterns
    }

    private static func grant(_ call: Call) async throws(RegistryError) -> Grant {
        guard let grant = try await call.access.grant(id: try call.id()) else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such permission")
        }
        return grant
    }

    private static func response(_ grant: Grant, _ call: Call) async throws(RegistryError) -> PermissionResponse {
        PermissionResponse(
            id: grant.id.description, principal_type: PermissionWords.word(for: grant.principal), principal_id: grant.principal.id.description,
            principal_name: try await name(of: grant.principal, call), target_type: PermissionWords.word(for: grant.target),
            target_id: grant.target.id.description, target_name: try await name(of: grant.target, call),
            actions: PermissionWords.words(grant.actions), patterns: grant.patterns.isEmpty ? nil : grant.patterns.map(\.text),
            created_at: grant.created.description, updated_at: grant.updated.description)
    }

    private static func name(of principal: Principal, _ call: Call) async throws(RegistryError) -> String? {
        switch principal {
        case .account(let id): try await call.access.user(id)?.username
        case .group(let id): try await call.access.group(id)?.name
        }
    }

    private static func name(of target: GrantTarget, _ call: Call) async throws(RegistryError) -> String? {
        switch target {
        case .repository(let id): try await call.registry.catalog.repository(id: id)?.key.text
        case .project(let id): try await call.access.project(id)?.key
        case .system: nil
        }
    }
}

/// How permissions are spelled on the wire.
enum PermissionWords {
    static func actions(_ words: [String]) throws(RegistryError) -> Set<Permission> {
        var actions: Set<Permission> = []
        for word in words {
            guard let action = Permission.allCases.first(where: { "\($0)" == word }) else {
                throw RegistryError(.invalid, subject: .field("actions"), reason: "\(word) is none of read, write, delete, admin")
            }
            actions.insert(action)
        }
        return actions
    }

    static func words(_ actions: Set<Permission>) -> [String] { actions.sorted().map { "\($0)" } }

    /// A service account is an account.
    static func principal(_ type: String, _ text: String) throws(RegistryError) -> Principal {
        let id = try id(text, "principal_id")
        switch type {
        case "user", "service_account": return .account(id)
        case "group": return .group(id)
        default: throw RegistryError(.invalid, subject: .field("principal_type"), reason: "user, service_account or group")
        }
    }

    static func id(_ text: String, _ field: String) throws(RegistryError) -> EntityID {
        guard let id = EntityID(text) else { throw RegistryError(.invalid, subject: .field(field), reason: "\(text) is no UUID") }
        return id
    }

    static func word(for principal: Principal) -> String {
        switch principal {
        case .account: "user"
        case .group: "group"
        }
    }

    static func word(for target: GrantTarget) -> String {
        switch target {
        case .repository: "repository"
        case .project: "project"
        case .system: "system"
        }
    }
}

struct CreatePermissionRequest: Codable, Sendable {
    let principal_type, principal_id, target_type, target_id: String
    let actions: [String]
    /// Ours: names inside the repository that it is limited to.
    let patterns: [String]?
}
struct PermissionResponse: Codable, Sendable {
    let id, principal_type, principal_id: String
    let principal_name: String?
    let target_type, target_id: String
    let target_name: String?
    let actions: [String]
    let patterns: [String]?
    let created_at, updated_at: String
}
struct PermissionListResponse: Codable, Sendable {
    let items: [PermissionResponse]
    let pagination: Pagination
}
