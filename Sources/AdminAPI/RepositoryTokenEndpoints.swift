import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Registry

/// Tokens that are good for one repository alone. Who administers the repository makes one, of their own rights in it, and sees and revokes them all.
enum RepositoryTokenEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/repositories/{key}/tokens", "list_repo_tokens", "repositories", .optional) {
            (call, _: Nothing) throws(RegistryError) -> RepoTokenListResponse in
            let repository = try await administered(call)
            let tokens = try await call.access.tokens(for: repository.id)
            var names: [EntityID: String] = [:]
            for account in Set(tokens.map(\.account)) { names[account] = try await call.access.user(account)?.username }
            let now = call.registry.world.now()
            return RepoTokenListResponse(items: tokens.map { RepoTokenResponse($0, creator: names[$0.account], now) })
        },
        .json(.post, "/api/v1/repositories/{key}/tokens", "create_repo_token", "repositories", .optional) {
            (call, request: CreateRepoTokenRequest) throws(RegistryError) -> CreateRepoTokenResponse in
            let repository = try await administered(call)
            let (text, token) = try await call.access.createToken(
                for: try await AuthEndpoints.currentUser(call).id, name: request.name, description: request.description, scopes: request.scopes,
                repositories: [repository.id], expiresInDays: request.expires_in_days, by: call.caller, requestID: call.head.requestID)
            return CreateRepoTokenResponse(
                id: token.id.description, token: text.revealed, name: token.name, repository_key: repository.key.text)
        },
        .json(.get, "/api/v1/repositories/{key}/tokens/{token_id}", "get_repo_token", "repositories", .optional) {
            (call, _: Nothing) throws(RegistryError) -> RepoTokenResponse in
            try await describe(try await token(call), call)
        },
        .json(.delete, "/api/v1/repositories/{key}/tokens/{token_id}", "revoke_repo_token", "repositories", .optional, status: 204) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            let token = try await token(call)
            try await call.access.revokeToken(token.id, of: token.account, by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
    ]

    private static func administered(_ call: Call) async throws(RegistryError) -> Repository {
        try await call.registry.authorize(call.caller, .admin, in: try call.repositoryKey()).repository
    }

    /// Any other token looks like none.
    private static func token(_ call: Call) async throws(RegistryError) -> APIToken {
        let repository = try await administered(call)
        let id = try call.id("token_id")
        guard let token = try await call.access.tokens(for: repository.id).first(where: { $0.id == id }) else {
            throw RegistryError(.notFound, subject: .request, reason: "\(repository.key) has no such token")
        }
        return token
    }

    private static func describe(_ token: APIToken, _ call: Call) async throws(RegistryError) -> RepoTokenResponse {
        RepoTokenResponse(token, creator: try await call.access.user(token.account)?.username, call.registry.world.now())
    }
}

struct CreateRepoTokenRequest: Codable, Sendable {
    let name: String
    let scopes: [String]
    let expires_in_days: Int64?
    let description: String?
}
struct CreateRepoTokenResponse: Codable, Sendable { let id, token, name, repository_key: String }
struct RepoTokenResponse: Codable, Sendable {
    let id, name, token_prefix: String
    let scopes: [String]
    let expires_at, last_used_at: String?
    let created_at: String
    /// A revoked token is gone, and in no list.
    let is_expired, is_revoked: Bool
    let description, created_by: String?
    init(_ token: APIToken, creator: String?, _ now: Timestamp) {
        id = token.id.description
        name = token.name
        token_prefix = token.prefix
        scopes = token.scopes.map { $0.map(\.rawValue).sorted() } ?? ["*"]
        expires_at = token.expires?.description
        last_used_at = token.lastUsed?.description
        created_at = token.created.description
        is_expired = token.isExpired(at: now)
        is_revoked = false
        description = token.description
        created_by = creator
    }
}
struct RepoTokenListResponse: Codable, Sendable { let items: [RepoTokenResponse] }
