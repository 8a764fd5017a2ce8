import Access
import Core
import FrontendKit
import HTTPTypes

/// Accounts and their tokens. What concerns `me` is for everybody, the rest for administrators.
enum UserEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/users", "list_users", "users", .admin, scope: .readUsers, query: filters + PageWindow.parameters) {
            (call, _: Nothing) throws(RegistryError) -> UserListResponse in
            let window = try PageWindow(call.head.query)
            let users = try await all(call).filter { !$0.isService && matches($0, call.head.query) }
            return UserListResponse(items: window.of(users).map(AdminUserResponse.init), pagination: window.pagination(total: users.count))
        },
        .json(.post, "/api/v1/users", "create_user", "users", .admin, scope: .writeUsers) {
            (call, request: CreateUserRequest) throws(RegistryError) -> CreateUserResponse in
            let (user, password) = try await call.access.createUser(
                username: request.username, email: request.email, displayName: request.display_name, password: request.password,
                isAdmin: request.is_admin ?? false, by: call.caller.actor, requestID: call.head.requestID)
            return CreateUserResponse(user: AdminUserResponse(user), generated_password: password?.revealed)
        },
        .json(.get, "/api/v1/users/me", "get_current_user_record", "users", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> AdminUserResponse in
            AdminUserResponse(try await AuthEndpoints.currentUser(call))
        },
        .json(.post, "/api/v1/users/me/password", "change_current_user_password", "users", .passwordChange) {
            (call, request: ChangePasswordRequest) throws(RegistryError) -> Nothing in
            try await changePassword(of: try await AuthEndpoints.currentUser(call).id, request, call)
        },
        .json(.get, "/api/v1/users/me/tokens", "list_current_user_tokens", "users", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> ApiTokenListResponse in
            try await tokens(of: try await AuthEndpoints.currentUser(call).id, call)
        },
        .json(.post, "/api/v1/users/me/tokens", "create_current_user_api_token", "users", .authenticated) {
            (call, request: CreateApiTokenRequest) throws(RegistryError) -> CreateApiTokenResponse in
            try await AuthEndpoints.createToken(for: try await AuthEndpoints.currentUser(call).id, request, call)
        },
        .json(.delete, "/api/v1/users/me/tokens/{token_id}", "revoke_current_user_api_token", "users", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await revoke(of: try await AuthEndpoints.currentUser(call).id, call)
        },
        // The same under the name that consoles know.
        .json(.get, "/api/v1/profile/access-tokens", "list_access_tokens", "profile", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> ApiTokenListResponse in
            try await tokens(of: try await AuthEndpoints.currentUser(call).id, call)
        },
        .json(.post, "/api/v1/profile/access-tokens", "create_access_token", "profile", .authenticated) {
            (call, request: CreateAccessTokenRequest) throws(RegistryError) -> CreateApiTokenResponse in
            // Who names no scope gets the least that is of use.
            let named = CreateApiTokenRequest(
                name: request.name, scopes: request.scopes ?? [TokenScope.readArtifacts.rawValue], expires_in_days: request.expires_in_days)
            return try await AuthEndpoints.createToken(for: try await AuthEndpoints.currentUser(call).id, named, call)
        },
        .json(.delete, "/api/v1/profile/access-tokens/{token_id}", "revoke_access_token", "profile", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await revoke(of: try await AuthEndpoints.currentUser(call).id, call)
        },
        .json(.get, "/api/v1/users/{id}", "get_user", "users", .authenticated) { (call, _: Nothing) throws(RegistryError) -> AdminUserResponse in
            AdminUserResponse(try await user(try selfOrReader(call), call))
        },
        .json(.patch, "/api/v1/users/{id}", "update_user", "users", .admin, scope: .writeUsers) {
            (call, request: UpdateUserRequest) throws(RegistryError) -> AdminUserResponse in
            let edit = UserEdit(
                email: request.email, displayName: request.display_name.map { .some($0) }, isAdmin: request.is_admin, isActive: request.is_active)
            if let on = request.totp_enabled {
                guard !on else {
                    throw RegistryError(.invalid, subject: .field("totp_enabled"), reason: "a second factor is set up by its owner")
                }
                try await call.access.dropTOTP(of: try call.id(), by: call.caller.actor, requestID: call.head.requestID)
            }
            return AdminUserResponse(try await call.access.updateUser(try call.id(), edit, by: call.caller.actor, requestID: call.head.requestID))
        },
        .json(.delete, "/api/v1/users/{id}", "delete_user", "users", .admin, scope: .writeUsers) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await call.access.deleteUser(try call.id(), by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
        .json(.post, "/api/v1/users/{id}/password", "change_password", "users", .passwordChange) {
            (call, request: ChangePasswordRequest) throws(RegistryError) -> Nothing in
            // Another's password is reset, not changed: nobody but its owner knows the current one.
            guard try call.id() == call.caller.account else {
                throw RegistryError(.forbidden, subject: .request, reason: "only the owner changes a password; an administrator may reset it")
            }
            return try await changePassword(of: try call.id(), request, call)
        },
        .json(.post, "/api/v1/users/{id}/password/reset", "reset_password", "users", .admin, scope: .writeUsers) {
            (call, _: Nothing) throws(RegistryError) -> ResetPasswordResponse in
            let password = try await call.access.resetPassword(of: try call.id(), by: call.caller.actor, requestID: call.head.requestID)
            return ResetPasswordResponse(temporary_password: password.revealed)
        },
        .json(.post, "/api/v1/users/{id}/force-password-change", "force_password_change", "users", .admin, scope: .writeUsers) {
            (call, _: Nothing) throws(RegistryError) -> MessageResponse in
            try await call.access.forcePasswordChange(of: try call.id(), by: call.caller.actor, requestID: call.head.requestID)
            return MessageResponse(message: "the password must be changed at the next login")
        },
        .json(.get, "/api/v1/users/{id}/tokens", "list_user_tokens", "users", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> ApiTokenListResponse in
            try await tokens(of: try selfOrReader(call), call)
        },
        .json(.post, "/api/v1/users/{id}/tokens", "create_user_api_token", "users", .authenticated) {
            (call, request: CreateApiTokenRequest) throws(RegistryError) -> CreateApiTokenResponse in
            try await AuthEndpoints.createToken(for: try selfOrAdmin(call), request, call)
        },
        .json(.delete, "/api/v1/users/{id}/tokens/{token_id}", "revoke_user_api_token", "users", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await revoke(of: try selfOrAdmin(call), call)
        },
    ]

    private static let filters = [
        Endpoint.Parameter(name: "search", type: "string"), .init(name: "is_active", type: "boolean"), .init(name: "is_admin", type: "boolean"),
    ]

    /// Another's account looks like none to who is no administrator.
    private static func selfOrAdmin(_ call: Call, scope: TokenScope? = nil) throws(RegistryError) -> EntityID {
        let id = try call.id()
        guard id == call.caller.account || call.access.mayAdminister(call.caller, scope: scope) else {
            throw RegistryError(.notFound, subject: .account(id.description), reason: "there is no such user")
        }
        return id
    }

    /// Whoever may list accounts may look at one.
    private static func selfOrReader(_ call: Call) throws(RegistryError) -> EntityID { try selfOrAdmin(call, scope: .readUsers) }

    private static func user(_ id: EntityID, _ call: Call) async throws(RegistryError) -> User {
        guard let user = try await call.access.user(id) else {
            throw RegistryError(.notFound, subject: .account(id.description), reason: "there is no such user")
        }
        return user
    }

    static func all(_ call: Call) async throws(RegistryError) -> [User] {
        var users: [User] = []
        while true {
            let page = try await call.access.users(after: users.last?.id, limit: 500)
            users += page
            if page.count < 500 { return users }
        }
    }

    private static func matches(_ user: User, _ query: Query) -> Bool {
        if let text = query["search"]?.lowercased(), !user.username.lowercased().contains(text), !user.email.lowercased().contains(text) {
            return false
        }
        if let wanted = query["is_active"], wanted != String(user.isActive) { return false }
        if let wanted = query["is_admin"], wanted != String(user.isAdmin) { return false }
        return true
    }

    private static func changePassword(of id: EntityID, _ request: ChangePasswordRequest, _ call: Call) async throws(RegistryError) -> Nothing {
        guard let current = request.current_password else {
            throw RegistryError(.invalid, subject: .field("current_password"), reason: "the current password is needed")
        }
        try await call.access.setPassword(
            of: id, current: current, new: request.new_password, from: call.head.client, by: call.caller.actor, requestID: call.head.requestID)
        return Nothing()
    }

    private static func tokens(of account: EntityID, _ call: Call) async throws(RegistryError) -> ApiTokenListResponse {
        ApiTokenListResponse(items: try await call.access.tokens(of: account).map(ApiTokenResponse.init))
    }

    private static func revoke(of account: EntityID, _ call: Call) async throws(RegistryError) -> Nothing {
        try await call.access.revokeToken(try call.id("token_id"), of: account, by: call.caller.actor, requestID: call.head.requestID)
        return Nothing()
    }
}

struct AdminUserResponse: Codable, Sendable {
    let id, username, email: String
    let display_name: String?
    let auth_provider: String
    let is_active, is_admin, must_change_password: Bool
    let created_at: String
    init(_ user: User) {
        id = user.id.description
        username = user.username
        email = user.email
        display_name = user.displayName
        auth_provider = "local"
        is_active = user.isActive
        is_admin = user.isAdmin
        must_change_password = user.mustChangePassword
        created_at = user.created.description
    }
}
struct UserListResponse: Codable, Sendable {
    let items: [AdminUserResponse]
    let pagination: Pagination
}
struct CreateUserRequest: Codable, Sendable {
    let username, email: String
    let password, display_name: String?
    let is_admin: Bool?
}
struct CreateUserResponse: Codable, Sendable {
    let user: AdminUserResponse
    let generated_password: String?
}
struct UpdateUserRequest: Codable, Sendable {
    let email, display_name: String?
    let is_active, is_admin: Bool?
    /// Ours: false takes away a second factor whose owner lost it.
    let totp_enabled: Bool?
}
struct ChangePasswordRequest: Codable, Sendable {
    let current_password: String?
    let new_password: String
}
struct MessageResponse: Codable, Sendable { let message: String }
struct ResetPasswordResponse: Codable, Sendable { let temporary_password: String }
struct ApiTokenResponse: Codable, Sendable {
    let id, name, token_prefix: String
    let scopes: [String]
    let expires_at, last_used_at: String?
    let created_at: String
    init(_ token: APIToken) {
        id = token.id.description
        name = token.name
        token_prefix = token.prefix
        scopes = token.scopes.map { $0.map(\.rawValue).sorted() } ?? ["*"]
        expires_at = token.expires?.description
        last_used_at = token.lastUsed?.description
        created_at = token.created.description
    }
}
struct ApiTokenListResponse: Codable, Sendable { let items: [ApiTokenResponse] }
