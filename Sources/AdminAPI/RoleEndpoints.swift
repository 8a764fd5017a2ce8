import Access
import Core
import FrontendKit
import HTTPTypes
import Registry

/// The roles of an account.
enum RoleEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/users/{id}/roles", "get_user_roles", "users", .admin, scope: .readUsers) {
            (call, _: Nothing) throws(RegistryError) -> RoleListResponse in
            RoleListResponse(items: try await call.access.roles(of: try call.id()).map(RoleResponse.init))
        },
        .json(.post, "/api/v1/users/{id}/roles", "assign_role", "users", .admin, scope: .writeUsers) {
            (call, request: AssignRoleRequest) throws(RegistryError) -> Nothing in
            try await call.access.assign(
                try role(request.role_id), to: try call.id(), by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
        .json(.delete, "/api/v1/users/{id}/roles/{role_id}", "revoke_role", "users", .admin, scope: .writeUsers) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await call.access.withdraw(
                try role(call.match["role_id"]), from: try call.id(), by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
    ]

    /// By id, or by name.
    private static func role(_ text: String) throws(RegistryError) -> Role {
        if let role = Role(rawValue: text) ?? Role.allCases.first(where: { $0.id == EntityID(text) }) { return role }
        let known = Role.allCases.map(\.rawValue).joined(separator: ", ")
        throw RegistryError(.notFound, subject: .field("role_id"), reason: "there is no such role; there are \(known)")
    }
}

struct AssignRoleRequest: Codable, Sendable { let role_id: String }
struct RoleResponse: Codable, Sendable {
    let id, name: String
    let description: String?
    let permissions: [String]
    init(_ role: Role) {
        id = role.id.description
        name = role.rawValue
        description = role.summary
        permissions = PermissionWords.words(role.permissions)
    }
}
struct RoleListResponse: Codable, Sendable { let items: [RoleResponse] }
