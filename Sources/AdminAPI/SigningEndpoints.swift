import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Registry

/// The keys that sign what repositories publish.
enum SigningEndpoints {
    static let table: [Endpoint] = [
        .json(
            .get, "/api/v1/signing/keys", "list_keys", "signing", .authenticated, query: [Endpoint.Parameter(name: "repository_id", type: "string")]
        ) {
            (call, _: Nothing) throws(RegistryError) -> KeyListResponse in
            guard let text = call.head.query["repository_id"], let id = EntityID(text) else {
                throw RegistryError(.invalid, subject: .field("repository_id"), reason: "repository_id names the repository whose keys are wanted")
            }
            let repository = try await repository(id, call, .read)
            let keys = try await keys(call).keys(of: repository.id)
            var shown: [SigningKeyPublic] = []
            for key in keys { shown.append(try await response(key, call)) }
            return KeyListResponse(keys: shown, total: shown.count)
        },
        .json(.post, "/api/v1/signing/keys/{key_id}/rotate", "rotate_key", "signing", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> SigningKeyPublic in
            let (_, repository) = try await find(call)
            let made = try await keys(call).rotate(repository, by: call.caller.actor, requestID: call.origin.requestID)
            return try await response(made, call)
        },
        .json(.post, "/api/v1/signing/keys/{key_id}/revoke", "revoke_key", "signing", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> RevokedResponse in
            let (key, repository) = try await find(call)
            try await keys(call).revoke(key.id, of: repository.id, by: call.caller.actor, requestID: call.origin.requestID)
            return RevokedResponse(revoked: true)
        },
        .raw(.get, "/api/v1/signing/repositories/{repo_id}/public-key", "get_repo_public_key", "signing", .authenticated) {
            call throws(RegistryError) -> Response in
            let repository = try await repository(try call.id("repo_id"), call, .read)
            guard let key = try await keys(call).signing.publicKey(repository) else { throw absent }
            return Response(.ok, fields: [.contentType: "text/plain; charset=utf-8"], content: .bytes(ByteBuffer(bytes: key)))
        },
    ]

    private static let absent = RegistryError(.notFound, subject: .field("key_id"), reason: "there is no such signing key")

    private static func keys(_ call: Call) throws(RegistryError) -> SigningKeys {
        guard let keys = call.registry.options.signingKeys else {
            throw RegistryError(.unsupported, subject: .request, reason: "this server keeps no signing keys")
        }
        return keys
    }

    private static func repository(_ id: EntityID, _ call: Call, _ permission: Permission) async throws(RegistryError) -> Repository {
        try call.access.authorize(call.caller, permission, on: try await call.registry.catalog.repository(id: id)).repository
    }

    /// A key is found by who may administer its repository; to who may not even see that, it is one that does not exist.
    private static func find(_ call: Call) async throws(RegistryError) -> (SigningKey, Repository) {
        guard let key = try await keys(call).key(try call.id("key_id")) else { throw absent }
        do throws(RegistryError) { return (key, try await repository(key.repository, call, .admin)) } catch {
            throw error.code == .notFound ? absent : error
        }
    }

    private static func response(_ key: SigningKey, _ call: Call) async throws(RegistryError) -> SigningKeyPublic {
        SigningKeyPublic(
            id: key.id.description, repository_id: key.repository.description, name: key.userID, key_type: "gpg", fingerprint: key.fingerprint,
            key_id: String(key.fingerprint.suffix(16)), public_key_pem: String(decoding: try keys(call).publicKey(of: key), as: UTF8.self),
            algorithm: "ed25519", uid_name: key.userID, is_active: key.state != .revoked, created_at: key.created.description)
    }
}

struct SigningKeyPublic: Codable, Sendable {
    let id: String
    let repository_id: String?
    let name, key_type: String
    let fingerprint, key_id: String?
    let public_key_pem, algorithm: String
    let uid_name: String?
    let is_active: Bool
    let created_at: String
}
struct KeyListResponse: Codable, Sendable {
    let keys: [SigningKeyPublic]
    let total: Int
}
struct RevokedResponse: Codable, Sendable { let revoked: Bool }
