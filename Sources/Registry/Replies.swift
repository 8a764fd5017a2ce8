import BlobStore
public import Access
import Catalog
public import Core
public import FrontendKit
public import HTTPTypes
import NIOCore

extension Registry {
    /// A frontend's reply as a response the server can send.
    func response(
        to reply: Reply, from frontend: any Frontend, over session: RepositorySession?, head: RequestHead
    ) async throws(RegistryError) -> Response {
        switch reply {
        case .bytes(let bytes, let status, let fields):
            return Response(status, fields: fields, content: bytes.isEmpty ? .none : .bytes(ByteBuffer(bytes: bytes)))
        case .asset(let asset, let fields):
            guard let session else { preconditionFailure("a row of the mount has no assets") }
            return try await fileResponse(asset, session.authorized, fields: fields, isPointer: true, head: head)
        case .view(let view, let fields):
            guard let session else { preconditionFailure("a row of the mount has no views") }
            return try await viewResponse(view, in: session, head: head, fields: fields)
        }
    }

    /// An asset's bytes, past the gate.
    public func fileResponse(
        _ asset: Asset, _ authorized: Authorized, fields: HTTPFields, isPointer: Bool, head: RequestHead
    ) async throws(RegistryError) -> Response {
        try await gate(asset.blob, as: asset.path)
        if let elsewhere = try await presigned(asset, authorized, head: head) { return elsewhere }
        if head.method == .head, let length = try await blobs.lengthAlone(of: asset.blob) {
            return fileResponse(asset, length, authorized, fields: fields, isPointer: isPointer, head: head)
        }
        guard let content = try await blobs.content(of: asset.blob) else {
            throw RegistryError(.corrupt, subject: .blob(asset.blob.description), reason: "the bytes of \(asset.path) are missing from the store")
        }
        return fileResponse(asset, content, authorized, fields: fields, isPointer: isPointer, head: head)
    }

    /// To the object store that has the bytes, for a blob that the disk does not have: past every question of who may read it. What is given is
    /// one object, for a minute, as a download.
    private func presigned(_ asset: Asset, _ authorized: Authorized, head: RequestHead) async throws(RegistryError) -> Response? {
        let name = Percent.encode(asset.path.text.split(separator: "/").last ?? "blob", in: .strict)
        guard let seconds = options.presignedSeconds, head.method == .get,
            let url = try await blobs.tierURL(
                of: asset.blob, expiresSeconds: seconds, disposition: "attachment; filename=\"\(name)\"", contentType: asset.contentType)
        else { return nil }
        note(asset.path, in: authorized.repository, isDownload: true)
        return Response(
            .temporaryRedirect,
            fields: [.location: url, .cacheControl: "no-store", .checksumSHA256: asset.blob.hex, .artifactStorage: "redirect-s3"], content: .none)
    }

    func fileResponse(
        _ asset: Asset, _ content: BlobContent, _ authorized: Authorized, fields: HTTPFields, isPointer: Bool, head: RequestHead
    ) -> Response {
        var all: HTTPFields = [
            .contentType: asset.contentType, .checksumSHA256: asset.blob.hex, .contentSecurityPolicy: "default-src 'none'; sandbox",
        ]
        all[.cacheControl] = cacheControl(authorized, isPointer: isPointer)
        for field in fields { all[field.name] = field.value }
        let validator = Response.Validator(etag: "\"\(asset.blob.hex)\"", lastModified: asset.created)
        note(asset.path, in: authorized.repository, isDownload: DownloadCounter.counts(head, validator))
        return Response(.ok, fields: all, content: .blob(content), validator: validator)
    }

    /// What an answer with an asset leaves behind: that it was used, and that it was downloaded.
    func note(_ path: AssetPath, in repository: Repository, isDownload: Bool) {
        if CacheLimits.evicts(repository) { recency.note(path, in: repository.id, at: world.now()) }
        if isDownload { downloads.add(path, in: repository.id) }
    }

    /// A file of a remote, whether it is here or still arriving.
    func fileResponse(
        _ file: RemoteFile, _ authorized: Authorized, isPointer: Bool, head: RequestHead, fields: @Sendable (Asset) -> HTTPFields
    ) async throws(RegistryError) -> Response {
        switch file {
        case .held(let asset): return try await fileResponse(asset, authorized, fields: fields(asset), isPointer: isPointer, head: head)
        case .arriving(let flight, let known):
            var response = Response(
                .ok, fields: [.contentType: known.contentType], content: .stream(Body(length: known.length, source: FlightReader(flight))))
            response.fields[.contentSecurityPolicy] = "default-src 'none'; sandbox"
            response.fields[.cacheControl] = cacheControl(authorized, isPointer: isPointer)
            guard let blob = known.blob else {
                downloads.add(known.path, in: authorized.repository.id)
                return response
            }
            try await gate(blob, as: known.path)
            // As it will be kept.
            let asset = Asset(
                id: EntityID(high: 0, low: 0), path: known.path, blob: blob, size: known.length ?? 0,
                digests: known.expected.filter { $0 != blob.digest },
                contentType: known.contentType, created: world.now(), creator: Actor.system.name)
            response.fields[.checksumSHA256] = blob.hex
            for field in fields(asset) { response.fields[field.name] = field.value }
            let validator = Response.Validator(etag: "\"\(blob.hex)\"")
            response.validator = validator
            if DownloadCounter.counts(head, validator) { downloads.add(known.path, in: authorized.repository.id) }
            return response
        }
    }

    private func cacheControl(_ authorized: Authorized, isPointer: Bool) -> String {
        let visibility = authorized.repository.isPublic ? "public" : "private"
        return isPointer ? "\(visibility), no-cache" : "\(visibility), max-age=31536000, immutable"
    }

    /// The verdict gate: one place between resolve and reply, asked for every byte of every asset.
    func gate(_ blob: BlobID, as path: AssetPath) async throws(RegistryError) {
        guard let verdict = try await catalog.verdict(on: blob) else { return }
        let reason = "\(path) is \(verdict.state) by \(verdict.inspector): \(verdict.reason)"
        switch verdict.state {
        case .allowed: return
        case .pending: throw RegistryError(.pending, subject: .path(path.text), reason: reason, retryAfterSeconds: 30)
        case .quarantined: throw RegistryError(.conflict, subject: .path(path.text), reason: reason)
        case .blocked: throw RegistryError(.blocked, subject: .path(path.text), reason: reason)
        }
    }
}

extension HTTPField.Name {
    static let checksumSHA256 = HTTPField.Name(checked: "X-Checksum-SHA256")
    static let artifactStorage = HTTPField.Name(checked: "X-Artifact-Storage")

    private init(checked name: String) {
        guard let field = HTTPField.Name(name) else { preconditionFailure("not a field name: \(name)") }
        self = field
    }
}

extension Credentials {
    /// What the request carries, whichever of the carriers clients use; a ticket in the query of a GET only when it carries nothing else.
    /// - Parameter authorizationOnly: that field counts and nothing else does, neither what a browser sends by itself nor a ticket in a URL.
    public static func from(_ head: RequestHead, authorizationOnly: Bool = false) -> Credentials {
        var credentials = from(
            fields: { name in
                guard !authorizationOnly || name == "authorization" else { return [] }
                return HTTPField.Name(name).map { head.fields[values: $0] } ?? []
            }, allowCookie: !authorizationOnly)
        if credentials.isNone, !authorizationOnly, head.method == .get || head.method == .head, let ticket = head.query["ticket"] {
            credentials = .ticket(ticket, path: ticketPath(head.path))
        }
        credentials.address = head.client
        return credentials
    }

    /// One spelling for one path: a slash inside a segment is not one between segments.
    public static func ticketPath(_ path: RequestPath) -> String {
        path.segments.map { "/" + $0.replacing("%", with: "%25").replacing("/", with: "%2F") }.joined() + (path.hasTrailingSlash ? "/" : "")
    }
}
