import Catalog
import Core
import FrontendKit
import HTTPTypes
import Registry

/// What was deleted from a repository, and the way back.
enum TrashEndpoints {
    private static let paging = [Endpoint.Parameter(name: "cursor", type: "string")] + PageWindow.parameters

    static let table: [Endpoint] = [
        .json(.get, "/api/v1/repositories/{key}/trash", "list_trash", "repositories", .authenticated, query: paging) {
            (call, _: Nothing) throws(RegistryError) -> TrashResponse in
            let window = try PageWindow(call.head.query)
            let cursor = try call.head.query["cursor"].map { text throws(RegistryError) in try revision(text, "cursor") }
            let (deletions, usage) = try await call.registry.trash(
                of: try call.repositoryKey(), before: cursor, skip: cursor == nil ? window.skip : 0, limit: window.perPage + 1, by: call.origin)
            let shown = deletions.prefix(window.perPage)
            return TrashResponse(
                items: shown.map(DeletionSummary.init), pagination: window.pagination(total: Int(clamping: usage.deletions)),
                next_cursor: deletions.count > shown.count ? shown.last?.revision.description : nil, size_bytes: usage.trashBytes)
        },
        .json(.delete, "/api/v1/repositories/{key}/trash", "empty_trash", "repositories", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> EmptiedTrash in
            EmptiedTrash(purged: try await call.registry.emptyTrash(of: try call.repositoryKey(), by: call.origin))
        },
        .json(.get, "/api/v1/repositories/{key}/trash/{id}", "get_deletion", "repositories", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> DeletionResponse in
            DeletionResponse(try await call.registry.deletion(try revision(call.match["id"], "id"), in: try call.repositoryKey(), by: call.origin))
        },
        .json(.post, "/api/v1/repositories/{key}/trash/{id}/restore", "restore_deletion", "repositories", .authenticated) {
            (call, request: RestoreRequest) throws(RegistryError) -> DeletionResponse in
            DeletionResponse(
                try await call.registry.restore(
                    try revision(call.match["id"], "id"), only: try request.wanted(), in: try call.repositoryKey(), by: call.origin))
        },
        .json(.delete, "/api/v1/repositories/{key}/trash/{id}", "purge_deletion", "repositories", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await call.registry.purge(try revision(call.match["id"], "id"), in: try call.repositoryKey(), by: call.origin)
            return Nothing()
        },
    ]

    private static func revision(_ text: String, _ field: String) throws(RegistryError) -> Revision {
        guard let number = UInt64(text) else {
            throw RegistryError(.invalid, subject: .field(field), reason: "a deletion is named by the number that the list of the trash gives")
        }
        return Revision(number)
    }
}

struct RestoreRequest: Codable, Sendable {
    /// Only these artifacts, with the versions they belong to; absent: everything.
    let paths: [String]?

    func wanted() throws(RegistryError) -> Set<AssetPath>? {
        guard let paths else { return nil }
        var wanted: Set<AssetPath> = []
        for text in paths {
            guard let path = AssetPath(text) else { throw Registry.invalidPath(text) }
            wanted.insert(path)
        }
        guard !wanted.isEmpty else {
            throw RegistryError(.invalid, subject: .field("paths"), reason: "name an artifact, or leave the field out for all of them")
        }
        return wanted
    }
}

struct TrashResponse: Codable, Sendable {
    let items: [DeletionSummary]
    let pagination: Pagination
    let next_cursor: String?
    /// Of everything in the trash.
    let size_bytes: Int64
}

struct EmptiedTrash: Codable, Sendable { let purged: Int }

/// One row of the list.
struct DeletionSummary: Codable, Sendable {
    private static let pathsMax = 10

    let id, deleted_at, deleted_by, keep_until: String
    let size_bytes: Int64
    let artifact_count, version_count, tag_count: Int
    /// The first ones; all of them with the deletion itself.
    let paths: [String]

    init(_ deletion: Deletion) {
        id = deletion.revision.description
        deleted_at = deletion.at.description
        deleted_by = deletion.actor.name
        keep_until = deletion.until.description
        size_bytes = deletion.bytes
        artifact_count = deletion.facts.assets.count
        version_count = deletion.facts.versions.count
        tag_count = deletion.facts.tags.count
        paths = deletion.facts.assets.prefix(DeletionSummary.pathsMax).map(\.path.text)
    }
}

/// A deletion as a whole, or what came back of it.
struct DeletionResponse: Codable, Sendable {
    let id, deleted_at, deleted_by, request_id, keep_until: String
    let size_bytes: Int64
    let artifacts: [DeletedArtifact]
    let versions: [DeletedVersion]
    let tags: [DeletedTag]

    init(_ deletion: Deletion) {
        id = deletion.revision.description
        deleted_at = deletion.at.description
        deleted_by = deletion.actor.name
        request_id = deletion.requestID
        keep_until = deletion.until.description
        size_bytes = deletion.bytes
        artifacts = deletion.facts.assets.map {
            DeletedArtifact(path: $0.path.text, size_bytes: $0.size, checksum_sha256: $0.blob.hex, is_release: deletion.releases.contains($0.path))
        }
        versions = deletion.facts.versions.map { DeletedVersion(package: $0.package.text, version: $0.name.text) }
        tags = deletion.facts.tags.map { DeletedTag(package: $0.package.text, tag: $0.name.text, version: $0.version.text) }
    }
}
struct DeletedArtifact: Codable, Sendable {
    let path: String
    let size_bytes: Int64
    let checksum_sha256: String
    /// Its path takes no other bytes while it lies in the trash, nor after.
    let is_release: Bool
}
struct DeletedVersion: Codable, Sendable { let package, version: String }
struct DeletedTag: Codable, Sendable { let package, tag, version: String }
