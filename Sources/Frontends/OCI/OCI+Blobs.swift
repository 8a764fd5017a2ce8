import Core
import FrontendKit
import HTTPTypes

// distribution-spec 1.1: pushing blobs in one piece, in chunks, by mount; and deleting them.
extension OCIFrontend {
    /// end-4a starts a session, end-4b (`?digest=`) takes the whole blob at once, end-11 (`?mount=&from=`) takes it from another repository.
    static func startUpload(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let image = try Image(request.match)
        let query = request.head.query
        if let mount = query["mount"] {
            if let reply = try await self.mount(mount, from: query["from"], into: image, port) { return reply }
        } else if let text = query["digest"] {
            let digest = try Digest(oci: text)
            return try await store(try await receive(request.body, for: digest, port), as: digest, in: image, port)
        }
        let upload = try await port.beginUpload(purpose: purpose(image), totalBytes: nil)
        return .status(.accepted, progress(upload, of: image))
    }

    /// end-5. Without Content-Range the chunk goes where the upload ends.
    static func appendChunk(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let image = try Image(request.match)
        let id = try uploadID(request.match)
        switch try await append(request, to: id, of: image, port) {
        case .received(let upload): return .status(.accepted, progress(upload, of: image))
        case .misplaced(let upload): return OCIErrors.misplaced(progress(upload, of: image))
        }
    }

    /// end-6. The body, if any, is the last chunk; if it is the only one, nothing of it has to outlive this request.
    static func completeUpload(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let image = try Image(request.match)
        let id = try uploadID(request.match)
        let digest = try Digest(oci: request.head.query["digest"] ?? "")
        if request.body.length != 0, request.head.fields[.contentRange] == nil, try await port.upload(id, purpose: purpose(image)).received == 0 {
            let blob = try await receive(request.body, for: digest, port)
            // A session that somebody is at work on all the same ends by its time.
            try? await port.cancel(id, purpose: purpose(image))
            return try await store(blob, as: digest, in: image, port)
        }
        if request.body.length != 0, case .misplaced(let upload) = try await append(request, to: id, of: image, port) {
            return OCIErrors.misplaced(progress(upload, of: image))
        }
        let blob = try await port.finish(id, digests: DigestSet([digest.algorithm]), purpose: purpose(image))
        return try await store(blob, as: digest, in: image, port)
    }

    /// end-13.
    static func uploadStatus(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let image = try Image(request.match)
        let upload = try await port.upload(try uploadID(request.match), purpose: purpose(image))
        return .status(.noContent, progress(upload, of: image))
    }

    static func cancelUpload(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let image = try Image(request.match)
        try await port.cancel(try uploadID(request.match), purpose: purpose(image))
        return .status(.noContent)
    }

    /// end-10.
    static func deleteBlob(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let path = try Image(request.match).name.path(of: .blob, try Digest(oci: request.match["digest"]))
        try await port.commit(Edit(mutations: [.deleteAsset(path)]), staged: [])
        return .status(.accepted)
    }

    /// nil when there is nothing to mount, or nothing the caller may see: the client then uploads.
    private static func mount(
        _ digest: String, from source: String?, into image: Image, _ port: any RepositoryPort
    ) async throws(RegistryError) -> Reply? {
        guard let digest = try? Digest(oci: digest), let source = source.flatMap(Image.init(fullName:)) else { return nil }
        let path = source.name.path(of: .blob, digest)
        guard let blob = try await port.link(path, of: source.name.text, from: source.repository) else { return nil }
        return try await commit(blob, as: digest, in: image, port)
    }

    /// A body that is the whole blob.
    private static func receive(_ body: Body, for digest: Digest, _ port: any RepositoryPort) async throws(RegistryError) -> any StagedBytes {
        let parts = try await port.receive(body, as: .raw, digests: DigestSet([digest.algorithm]))
        guard case .staged(let blob)? = parts.first?.content else {
            throw RegistryError(.invalid, subject: .field("size"), reason: "the body is missing")
        }
        return blob
    }

    /// Bytes that must have the digest become the image's blob.
    private static func store(
        _ blob: any StagedBytes, as digest: Digest, in image: Image, _ port: any RepositoryPort
    ) async throws(RegistryError) -> Reply {
        try await verify(blob, is: digest, in: port)
        return try await commit(blob, as: digest, in: image, port)
    }

    private static func commit(
        _ blob: any StagedBytes, as digest: Digest, in image: Image, _ port: any RepositoryPort
    ) async throws(RegistryError) -> Reply {
        try await port.commit(blobEdit(image.name, digest, blob), staged: [blob])
        return .status(.created, [.location: image.link("blobs/\(digest)"), .dockerContentDigest: digest.description])
    }

    static func blobEdit(_ image: ImageName, _ digest: Digest, _ blob: any StagedBytes) -> Edit {
        Edit(mutations: [.putAsset(draft(image, .blob, digest, blob, contentType: "application/octet-stream", version: nil), overwrite: .allowed)])
    }

    /// The path ends in the digest of the bytes: nothing else can ever be put there, so a tombstone would guard nothing.
    static func draft(
        _ image: ImageName, _ kind: ImageName.Kind, _ digest: Digest, _ blob: any StagedBytes, contentType: String, version: VersionName?
    ) -> AssetDraft {
        AssetDraft(
            path: image.path(of: kind, digest), blob: blob.id, size: blob.size, digests: blob.digests.filter { $0 != digest } + [digest],
            contentType: contentType, package: image.package, version: version)
    }

    /// - Throws: `digestMismatch`.
    static func verify(_ blob: any StagedBytes, is digest: Digest, in workshop: any Workshop) async throws(RegistryError) {
        var actual = digest.algorithm == .sha256 ? blob.id.digest : blob.digest(digest.algorithm)
        if actual == nil {
            actual = try await workshop.offload { () throws(RegistryError) in try hash(try blob.content(), digest.algorithm) }
        }
        guard let actual, actual == digest else {
            throw RegistryError(
                .digestMismatch, subject: .blob(digest.description), reason: "the bytes have the digest \(actual?.description ?? "unknown")")
        }
    }

    private static func hash(_ content: BlobContent, _ algorithm: DigestAlgorithm) throws(RegistryError) -> Digest {
        var hasher = Digest.Hasher(algorithm)
        var offset: Int64 = 0
        while offset < content.length {
            let slice = try content.bytes(at: offset, count: 1 << 20)
            guard !slice.isEmpty else { throw RegistryError(.corrupt, subject: .store, reason: "staged bytes end early") }
            slice.withUnsafeBytes { unsafe hasher.update($0) }
            offset += Int64(slice.count)
        }
        return hasher.finish()
    }
}

// Sessions.
extension OCIFrontend {
    private enum Appended {
        case received(UploadProgress)
        /// The chunk does not begin where the upload ends; nothing of it was taken.
        case misplaced(UploadProgress)
    }

    private static func append(
        _ request: Request, to id: EntityID, of image: Image, _ port: any RepositoryPort
    ) async throws(RegistryError) -> Appended {
        let purpose = purpose(image)
        var range: ChunkRange?
        if let field = request.head.fields[.contentRange] {
            range = ChunkRange(field)
            if range == nil { return .misplaced(try await port.upload(id, purpose: purpose)) }
        }
        if let range, let length = request.body.length, length != range.count { throw wrongLength(range) }
        do throws(RegistryError) {
            let upload = try await port.append(request.body, to: id, at: range?.first, purpose: purpose)
            if let range, upload.received != range.last + 1 { throw wrongLength(range) }
            return .received(upload)
        } catch {
            guard error.code == .rangeUnsatisfiable else { throw error }
            return .misplaced(try await port.upload(id, purpose: purpose))
        }
    }

    private static func wrongLength(_ range: ChunkRange) -> RegistryError {
        RegistryError(.invalid, subject: .field("size"), reason: "the chunk has not the \(range.count) bytes its Content-Range says")
    }

    /// Keeps the sessions of one image from another's.
    private static func purpose(_ image: Image) -> String { "oci:\(image.name.text)" }

    private static func uploadID(_ match: Match) throws(RegistryError) -> EntityID {
        guard let id = EntityID(match["upload"]) else {
            throw RegistryError(.notFound, subject: .upload(String(match["upload"].prefix(100))), reason: "there is no such upload")
        }
        return id
    }

    /// `Range` counts inclusively; `0-0` therefore stands for no byte and for one.
    private static func progress(_ upload: UploadProgress, of image: Image) -> HTTPFields {
        [
            .location: image.link("blobs/uploads/\(upload.id)"), .dockerUploadUUID: upload.id.description,
            .range: "0-\(max(0, upload.received - 1))",
        ]
    }
}

/// The `Content-Range` of a chunk: `first-last`, both inclusive; not RFC 9110's form, whose `bytes ` is let pass.
struct ChunkRange {
    let first: Int64
    let last: Int64
    var count: Int64 { last - first + 1 }

    init?(_ field: String) {
        let text = field.hasPrefix("bytes ") ? field.dropFirst(6).prefix { $0 != "/" } : field[...]
        let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        guard ends.count == 2, ends.allSatisfy({ (1...18).contains($0.utf8.count) && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }),
            let first = Int64(ends[0]), let last = Int64(ends[1]), first <= last
        else { return nil }
        self.first = first
        self.last = last
    }
}
