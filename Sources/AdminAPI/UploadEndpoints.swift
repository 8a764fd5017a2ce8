import Access
import Catalog
import Core
import FoundationEssentials
import FrontendKit
import HTTPTypes
import Registry

/// Resumable uploads: chunks of 1 to 256 MiB in any order, for 24 hours (conventions, section 6).
enum UploadEndpoints {
    static let table: [Endpoint] = [
        .json(.post, "/api/v1/uploads", "create_session", "uploads", .authenticated, status: 201) {
            (call, request: CreateSessionRequest) throws(RegistryError) -> CreateSessionResponse in
            try await create(request, call)
        },
        .raw(.patch, "/api/v1/uploads/{session_id}", "upload_chunk", "uploads", .authenticated, reply: .of(ChunkResponse.self)) {
            call throws(RegistryError) in
            try await putChunk(call)
        },
        .json(.get, "/api/v1/uploads/{session_id}", "get_session_status", "uploads", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> SessionStatusResponse in
            let (plan, key) = try await session(call)
            let progress = try await call.registry.artifactUpload(try call.id("session_id"), in: key, by: call.origin)
            return SessionStatusResponse(
                session_id: try call.id("session_id").description, status: progress.received == plan.total_size ? "ready" : "in_progress",
                total_size: plan.total_size, bytes_received: progress.received, chunks_completed: plan.chunks(in: progress.received),
                chunks_total: plan.chunkCount, repository_key: key.text, artifact_path: plan.path, created_at: plan.created, expires_at: plan.expires)
        },
        .raw(.put, "/api/v1/uploads/{session_id}/complete", "complete", "uploads", .authenticated, reply: .of(CompleteResponse.self)) {
            call throws(RegistryError) in try await complete(call)
        },
        .raw(.delete, "/api/v1/uploads/{session_id}", "cancel", "uploads", .authenticated, status: 204) { call throws(RegistryError) in
            let (_, key) = try await session(call)
            let id = try call.id("session_id")
            try await call.registry.cancelArtifactUpload(id, in: key, by: call.origin)
            try await forget(id, call)
            return Response(.noContent)
        },
    ]

    /// What a session is for, kept beside the bytes until it is over.
    struct Plan: Codable, Sendable {
        let repository, path, sha256: String
        let content_type: String?
        let total_size: Int64
        let chunk_size: Int64
        let created, expires: String

        var chunkCount: Int { Int((total_size + chunk_size - 1) / chunk_size) }
        /// Whole chunks from the start: the last may be shorter.
        func chunks(in received: Int64) -> Int { received == total_size ? chunkCount : Int(received / chunk_size) }
    }

    private static let chunkBytes = Int64(1 << 20)...Int64(256 << 20)
    private static let lifetimeSeconds: Int64 = 24 * 3600

    private static func create(_ request: CreateSessionRequest, _ call: Call) async throws(RegistryError) -> CreateSessionResponse {
        let key = try call.repositoryKey(request.repository_key)
        guard AssetPath(request.artifact_path) != nil else { throw Registry.invalidPath(request.artifact_path) }
        guard Digest(.sha256, hex: request.checksum_sha256) != nil else {
            throw RegistryError(.invalid, subject: .field("checksum_sha256"), reason: "checksum_sha256 is no SHA-256 in hex")
        }
        let chunk = request.chunk_size ?? 8 << 20
        guard request.total_size > 0 else { throw RegistryError(.invalid, subject: .field("total_size"), reason: "total_size is at least 1") }
        guard chunkBytes.contains(chunk) else {
            throw RegistryError(.invalid, subject: .field("chunk_size"), reason: "chunk_size is 1 MiB to 256 MiB")
        }
        let progress = try await call.registry.beginArtifactUpload(in: key, totalBytes: request.total_size, by: call.origin)
        guard let repository = try await call.registry.catalog.repository(key) else { throw lost }
        let now = call.registry.world.now()
        let plan = Plan(
            repository: repository.id.description, path: request.artifact_path, sha256: request.checksum_sha256, content_type: request.content_type,
            total_size: request.total_size, chunk_size: chunk, created: now.description, expires: now.adding(seconds: lifetimeSeconds).description)
        let record = Record(kind: .upload, id: progress.id.description, value: try encode(plan))
        try await call.registry.catalog.apply(
            Change(actor: call.caller.actor, at: now, requestID: call.head.requestID, parts: [.putRecord(record, ifRevision: nil)]))
        return CreateSessionResponse(session_id: progress.id.description, chunk_count: plan.chunkCount, chunk_size: chunk, expires_at: plan.expires)
    }

    private static func putChunk(_ call: Call) async throws(RegistryError) -> Response {
        let (plan, key) = try await session(call)
        let range = try contentRange(call.head, total: plan.total_size)
        guard range.lowerBound % plan.chunk_size == 0 else {
            throw RegistryError(.invalid, subject: .field("Content-Range"), reason: "a chunk begins at a multiple of \(plan.chunk_size)")
        }
        if let length = call.body.length, length != range.upperBound - range.lowerBound {
            throw RegistryError(
                .invalid, subject: .field("Content-Range"), reason: "the range has \(range.upperBound - range.lowerBound) bytes, the body \(length)")
        }
        let progress = try await call.registry.putArtifactChunk(call.body, range: range, to: try call.id("session_id"), in: key, by: call.origin)
        let completed = plan.chunks(in: progress.received)
        return try Response.json(
            ChunkResponse(
                chunk_index: Int(range.lowerBound / plan.chunk_size), bytes_received: progress.received, chunks_completed: completed,
                chunks_remaining: plan.chunkCount - completed))
    }

    private static func complete(_ call: Call) async throws(RegistryError) -> Response {
        let (plan, key) = try await session(call)
        let id = try call.id("session_id")
        let progress = try await call.registry.artifactUpload(id, in: key, by: call.origin)
        guard progress.received == plan.total_size else {
            throw RegistryError(
                .invalid, subject: .upload(id.description),
                reason: "the upload is incomplete: \(progress.received) of \(plan.total_size) bytes without a gap")
        }
        guard let path = AssetPath(plan.path), let digest = Digest(.sha256, hex: plan.sha256) else { throw lost }
        let asset = try await call.registry.finishArtifactUpload(
            id, at: path, in: key, contentType: plan.content_type, declared: [digest], by: call.origin)
        try await forget(id, call)
        return try Response.json(
            CompleteResponse(artifact_id: asset.id.description, path: asset.path.text, size: asset.size, checksum_sha256: asset.blob.hex))
    }

    /// `bytes a-b/total` (RFC 9110 section 14.4), as a half-open range.
    private static func contentRange(_ head: RequestHead, total: Int64) throws(RegistryError) -> Range<Int64> {
        let wrong = RegistryError(.invalid, subject: .field("Content-Range"), reason: "Content-Range must be bytes FIRST-LAST/\(total)")
        guard let text = head.fields[.contentRange], text.hasPrefix("bytes ") else { throw wrong }
        let halves = text.dropFirst(6).split(separator: "/")
        let ends = halves.first?.split(separator: "-").compactMap { Int64($0) } ?? []
        guard halves.count == 2, Int64(halves[1]) == total, ends.count == 2, ends[0] >= 0, ends[0] <= ends[1], ends[1] < total else { throw wrong }
        return ends[0]..<ends[1] + 1
    }

    private static func session(_ call: Call) async throws(RegistryError) -> (Plan, RepositoryKey) {
        let id = try call.id("session_id")
        guard let record = try await call.registry.catalog.record(.upload, id: id.description) else { throw lost }
        let plan: Plan
        do { plan = try JSONDecoder().decode(Plan.self, from: Data(record.value)) } catch { throw BinaryReader.damaged }
        guard let repository = EntityID(plan.repository), let found = try await call.registry.catalog.repository(id: repository) else { throw lost }
        if let expires = Timestamp(rfc3339: plan.expires), expires <= call.registry.world.now() {
            throw RegistryError(.gone, subject: .upload(id.description), reason: "the upload session has expired")
        }
        return (plan, found.key)
    }

    private static func forget(_ id: EntityID, _ call: Call) async throws(RegistryError) {
        try await call.registry.catalog.apply(
            Change(
                actor: call.caller.actor, at: call.registry.world.now(), requestID: call.head.requestID,
                parts: [.deleteRecord(.upload, id: id.description)]))
    }

    private static func encode(_ plan: Plan) throws(RegistryError) -> [UInt8] {
        do { return Array(try JSONEncoder().encode(plan)) } catch {
            throw RegistryError(.internal, subject: .request, reason: "the session cannot be kept", cause: "\(error)")
        }
    }

    private static var lost: RegistryError { RegistryError(.notFound, subject: .request, reason: "there is no such upload session") }
}

struct CreateSessionRequest: Codable, Sendable {
    let repository_key, artifact_path: String
    let total_size: Int64
    let checksum_sha256: String
    let chunk_size: Int64?
    let content_type: String?
}
struct CreateSessionResponse: Codable, Sendable {
    let session_id: String
    let chunk_count: Int
    let chunk_size: Int64
    let expires_at: String
}
struct ChunkResponse: Codable, Sendable {
    let chunk_index: Int
    let bytes_received: Int64
    let chunks_completed, chunks_remaining: Int
}
struct SessionStatusResponse: Codable, Sendable {
    let session_id, status: String
    let total_size, bytes_received: Int64
    let chunks_completed, chunks_total: Int
    let repository_key, artifact_path, created_at, expires_at: String
}
struct CompleteResponse: Codable, Sendable {
    let artifact_id, path: String
    let size: Int64
    let checksum_sha256: String
}
