import Access
import BlobStore
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
            let status = try await call.registry.artifactUpload(try call.id("session_id"), in: key, by: call.origin)
            return SessionStatusResponse(
                session_id: status.id.description, status: status.ranges.isEmpty ? "pending" : "in_progress", total_size: plan.total_size,
                bytes_received: status.written, chunks_completed: plan.chunks(in: status.ranges), chunks_total: plan.chunkCount,
                repository_key: key.text, artifact_path: plan.path, created_at: status.created.description, expires_at: status.expires.description)
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
        static let formatNumber = 1

        var format = Plan.formatNumber
        let repository, account, path, sha256: String
        let content_type: String?
        let total_size: Int64
        let chunk_size: Int64

        var chunkCount: Int { Int(total_size / chunk_size) + (total_size % chunk_size == 0 ? 0 : 1) }

        /// Whole chunks, wherever they are: the last may be shorter.
        func chunks(in ranges: [Range<Int64>]) -> Int {
            ranges.reduce(0) { sum, range in
                let first = Int(range.lowerBound / chunk_size) + (range.lowerBound % chunk_size == 0 ? 0 : 1)
                let end = range.upperBound == total_size ? chunkCount : Int(range.upperBound / chunk_size)
                return sum + max(0, end - first)
            }
        }
    }

    private static let chunkBytes = Int64(1 << 20)...Int64(256 << 20)

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
        let status = try await call.registry.beginArtifactUpload(in: key, totalBytes: request.total_size, by: call.origin)
        guard let repository = try await call.registry.catalog.repository(key) else { throw lost }
        let plan = Plan(
            repository: repository.id.description, account: call.caller.account?.description ?? "", path: request.artifact_path,
            sha256: request.checksum_sha256, content_type: request.content_type, total_size: request.total_size, chunk_size: chunk)
        let record = Record(kind: .upload, id: status.id.description, value: try encode(plan))
        try await call.registry.catalog.apply(
            Change(
                actor: call.caller.actor, at: call.registry.world.now(), requestID: call.head.requestID, parts: [.putRecord(record, ifRevision: nil)])
        )
        return CreateSessionResponse(
            session_id: status.id.description, chunk_count: plan.chunkCount, chunk_size: chunk, expires_at: status.expires.description)
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
        let status = try await call.registry.putArtifactChunk(call.body, range: range, to: try call.id("session_id"), in: key, by: call.origin)
        let completed = plan.chunks(in: status.ranges)
        return try Response.json(
            ChunkResponse(
                chunk_index: Int(range.lowerBound / plan.chunk_size), bytes_received: status.written, chunks_completed: completed,
                chunks_remaining: plan.chunkCount - completed))
    }

    private static func complete(_ call: Call) async throws(RegistryError) -> Response {
        let (plan, key) = try await session(call)
        let id = try call.id("session_id")
        let status = try await call.registry.artifactUpload(id, in: key, by: call.origin)
        guard status.received == plan.total_size else {
            throw RegistryError(
                .invalid, subject: .upload(id.description),
                reason: "the upload is incomplete: \(status.received) of \(plan.total_size) bytes without a gap")
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
        let numbers = text.dropFirst(6).split(omittingEmptySubsequences: false) { $0 == "/" || $0 == "-" }
        guard numbers.count == 3, text.dropFirst(6).utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2D || $0 == 0x2F }) else { throw wrong }
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
        // Another's session is one that does not exist, whether or not it is over.
        guard plan.format == Plan.formatNumber, plan.account == call.caller.account?.description, let repository = EntityID(plan.repository),
            let found = try await call.registry.catalog.repository(id: repository)
        else { throw lost }
        // The record outlives the session for a while, to tell "expired" from "never was".
        guard let status = try await call.registry.blobs.upload(id), status.expires > call.registry.world.now() else {
            throw RegistryError(.gone, subject: .upload(id.description), reason: "the upload session has expired: begin another")
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

extension UploadStatus {
    /// Bytes on disk, wherever they are.
    fileprivate var written: Int64 { ranges.reduce(0) { $0 + Int64($1.count) } }
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
