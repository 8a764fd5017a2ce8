import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Registry

/// Accounts of machines, and their tokens.
enum MachineEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/service-accounts", "list_service_accounts", "service-accounts", .admin, scope: .readUsers) {
            (call, _: Nothing) throws(RegistryError) -> MachineListResponse in
            let users = try await call.access.serviceAccounts()
            let counts = try await call.access.tokenCounts(of: Set(users.map(\.id)))
            return MachineListResponse(items: users.map { MachineSummaryResponse($0, tokens: counts[$0.id] ?? 0) })
        },
        .json(.post, "/api/v1/service-accounts", "create_service_account", "service-accounts", .admin, scope: .writeUsers) {
            (call, request: CreateMachineRequest) throws(RegistryError) -> MachineResponse in
            MachineResponse(
                try await call.access.createServiceAccount(
                    name: request.name, displayName: request.description, by: call.caller.actor, requestID: call.head.requestID))
        },
        .json(.get, "/api/v1/service-accounts/{id}", "get_service_account", "service-accounts", .admin, scope: .readUsers) {
            (call, _: Nothing) throws(RegistryError) -> MachineResponse in
            MachineResponse(try await account(call))
        },
        .json(.patch, "/api/v1/service-accounts/{id}", "update_service_account", "service-accounts", .admin, scope: .writeUsers) {
            (call, request: UpdateMachineRequest) throws(RegistryError) -> MachineResponse in
            let edit = UserEdit(displayName: request.display_name.map { .some($0) }, isActive: request.is_active)
            return MachineResponse(
                try await call.access.updateUser(
                    try await account(call).id, edit, by: call.caller.actor, requestID: call.head.requestID))
        },
        .json(.delete, "/api/v1/service-accounts/{id}", "delete_service_account", "service-accounts", .admin, scope: .writeUsers, status: 204) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await call.access.deleteUser(try await account(call).id, by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
        .json(.get, "/api/v1/service-accounts/{id}/tokens", "list_tokens", "service-accounts", .admin, scope: .readUsers) {
            (call, _: Nothing) throws(RegistryError) -> MachineTokenListResponse in
            let now = call.registry.world.now()
            return MachineTokenListResponse(items: try await call.access.tokens(of: try await account(call).id).map { MachineTokenResponse($0, now) })
        },
        .json(.post, "/api/v1/service-accounts/{id}/tokens", "create_token", "service-accounts", .admin, scope: .writeUsers) {
            (call, request: CreateTokenRequest) throws(RegistryError) -> CreateApiTokenResponse in
            try await createToken(request, call)
        },
        .json(
            .delete, "/api/v1/service-accounts/{id}/tokens/{token_id}", "revoke_token", "service-accounts", .admin, scope: .writeUsers, status: 204
        ) { (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await call.access.revokeToken(
                try call.id("token_id"), of: try await account(call).id, by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
    ]

    private static func account(_ call: Call) async throws(RegistryError) -> User { try await call.access.serviceAccount(try call.id()) }

    private static func createToken(_ request: CreateTokenRequest, _ call: Call) async throws(RegistryError) -> CreateApiTokenResponse {
        // A choice by labels or patterns would take in repositories that do not exist yet.
        guard request.repo_selector?.isEmpty ?? true else {
            throw RegistryError(.invalid, subject: .field("repo_selector"), reason: "this version takes repository_ids, and no repo_selector")
        }
        var repositories: Set<RepositoryID>?
        if let ids = request.repository_ids {
            var known: Set<RepositoryID> = []
            for text in ids {
                guard let id = EntityID(text), try await call.registry.catalog.repository(id: id) != nil else {
                    throw RegistryError(.notFound, subject: .field("repository_ids"), reason: "there is no repository \(text)")
                }
                known.insert(id)
            }
            repositories = known
        }
        let (text, token) = try await call.access.createToken(
            for: try await account(call).id, name: request.name, description: request.description, scopes: request.scopes,
            repositories: repositories, expiresInDays: request.expires_in_days, by: call.caller, requestID: call.head.requestID)
        return CreateApiTokenResponse(id: token.id.description, token: text.revealed, name: token.name)
    }
}

struct CreateMachineRequest: Codable, Sendable {
    let name: String
    let description: String?
}
struct UpdateMachineRequest: Codable, Sendable {
    let display_name: String?
    let is_active: Bool?
}
struct MachineResponse: Codable, Sendable {
    let id, username: String
    let display_name: String?
    let is_active: Bool
    let created_at, updated_at: String
    init(_ user: User) {
        id = user.id.description
        username = user.username
        display_name = user.displayName
        is_active = user.isActive
        created_at = user.created.description
        updated_at = user.updated.description
    }
}
struct MachineSummaryResponse: Codable, Sendable {
    let id, username: String
    let display_name: String?
    let is_active: Bool
    let token_count: Int
    let created_at, updated_at: String
    init(_ user: User, tokens: Int) {
        id = user.id.description
        username = user.username
        display_name = user.displayName
        is_active = user.isActive
        token_count = tokens
        created_at = user.created.description
        updated_at = user.updated.description
    }
}
struct MachineListResponse: Codable, Sendable { let items: [MachineSummaryResponse] }
struct CreateTokenRequest: Codable, Sendable {
    let name: String
    let scopes: [String]
    let expires_in_days: Int64?
    let description: String?
    let repository_ids: [String]?
    let repo_selector: RepositorySelector?

    struct RepositorySelector: Codable, Sendable {
        let match_labels: [String: String]?
        let match_formats, match_repos: [String]?
        let match_pattern: String?
        var isEmpty: Bool {
            match_labels?.isEmpty ?? true && match_formats?.isEmpty ?? true && match_repos?.isEmpty ?? true && match_pattern?.isEmpty ?? true
        }
    }
}
struct MachineTokenResponse: Codable, Sendable {
    let id, name, token_prefix: String
    let scopes: [String]
    let expires_at, last_used_at: String?
    let created_at: String
    let is_expired: Bool
    /// Empty: all the account may see.
    let repository_ids: [String]
    init(_ token: APIToken, _ now: Timestamp) {
        id = token.id.description
        name = token.name
        token_prefix = token.prefix
        scopes = token.scopes.map { $0.map(\.rawValue).sorted() } ?? ["*"]
        expires_at = token.expires?.description
        last_used_at = token.lastUsed?.description
        created_at = token.created.description
        is_expired = token.isExpired(at: now)
        repository_ids = token.repositories.map { $0.sorted().map(\.description) } ?? []
    }
}
struct MachineTokenListResponse: Codable, Sendable { let items: [MachineTokenResponse] }
