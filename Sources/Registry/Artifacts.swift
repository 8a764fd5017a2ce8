public import BlobStore
public import Access
public import Catalog
public import Core
public import FrontendKit
public import HTTPTypes

// The generic artifact API: bytes put at a path through REST become a release of whatever format the repository has.

extension Registry {
    /// Stores a body at a path, checks the digests its sender declared, and lets the format adopt it.
    /// - Returns: the asset as the format keeps it, which may be at another path.
    public func putArtifact(
        _ body: Body, at path: AssetPath, in key: RepositoryKey, contentType: String?, declared: [Digest], by origin: RequestOrigin
    ) async throws(RegistryError) -> Asset {
        let session = try await writing(to: key, about: .name(path.text), by: origin)
        let parts = try await session.receive(body, as: .raw, digests: session.frontend.format.digests.union(declared.map(\.algorithm)))
        guard case .staged(let staged)? = parts.first?.content else { preconditionFailure("a raw body is one staged part") }
        return try await adopt(staged, at: path, contentType: contentType, declared: declared, in: session)
    }

    /// The same for a multipart form: the first file, at `path` or where the form's `path` field says (a trailing `/` names a folder).
    public func putArtifactForm(
        _ body: Body, contentType: String, at path: AssetPath?, in key: RepositoryKey, by origin: RequestOrigin
    ) async throws(RegistryError) -> Asset {
        let session = try await writing(to: key, about: path.map { .name($0.text) } ?? .unknown, by: origin)
        let parts = try await session.receive(body, as: .multipart(contentType: contentType), digests: session.frontend.format.digests)
        guard let file = parts.first(where: { $0.fileName != nil }), case .staged(let staged) = file.content, let name = file.fileName else {
            throw RegistryError(.invalid, subject: .request, reason: "the form has no file part")
        }
        var wanted = path?.text ?? name
        if path == nil, case .text(let folder)? = parts.first(where: { $0.name == "path" })?.content {
            wanted = folder.hasSuffix("/") ? folder + name : folder
        }
        guard let target = AssetPath(wanted) else { throw Registry.invalidPath(wanted) }
        return try await adopt(staged, at: target, contentType: file.contentType, declared: [], in: session)
    }

    public static func invalidPath(_ text: String) -> RegistryError {
        let length = text.utf8.count > 2048 ? ": this one has \(text.utf8.count)" : ""
        return RegistryError(
            .invalid, subject: .field("path"),
            reason: "an artifact path is relative, has 1 to 2048 bytes and no empty, '.' or '..' segment\(length)")
    }

    /// An artifact's row; `notFound` when there is none. Of a virtual repository: the first visible member's.
    public func artifact(at path: AssetPath, in authorized: Authorized) async throws(RegistryError) -> Asset {
        try await heldArtifact(at: path, in: authorized).asset
    }

    /// The same, with the repository that holds it.
    public func heldArtifact(
        at path: AssetPath, in authorized: Authorized
    ) async throws(RegistryError) -> (asset: Asset, holder: Authorized) {
        let repository = authorized.repository
        if isVirtual(repository) {
            if let held = try await virtualAsset(at: path, try listing(authorized)) { return held }
        } else if let asset = try await catalog.asset(at: path, in: repository.id) {
            return (asset, authorized)
        }
        throw RegistryError(.notFound, subject: .path(path.text), reason: "\(repository.key) has no artifact at \(path)")
    }

    /// An artifact's bytes, as a download.
    public func artifactResponse(
        at path: AssetPath, in authorized: Authorized, fields: HTTPFields, head: RequestHead
    ) async throws(RegistryError) -> Response {
        let (asset, holder) = try await heldArtifact(at: path, in: authorized)
        var response = try await fileResponse(asset, holder, fields: fields, isPointer: true, head: head)
        if !authorized.repository.isPublic { response.keepPrivate() }
        return response
    }

    /// Artifacts whose path begins with `prefix`, after a path, in byte order; of a virtual repository those of the visible members, the first
    /// one's at each path.
    public func artifacts(
        in authorized: Authorized, prefix: String, after: AssetPath?, limit: Int
    ) async throws(RegistryError) -> [(asset: Asset, holder: Repository)] {
        let repository = authorized.repository
        guard isVirtual(repository) else {
            return try await catalog.assets(in: repository.id, prefix: prefix, after: after, limit: limit).map { ($0, repository) }
        }
        var found: [AssetPath: (asset: Asset, holder: Repository)] = [:]
        for member in try await members(of: try listing(authorized)).visible {
            for asset in try await catalog.assets(in: member.repository.id, prefix: prefix, after: after, limit: limit)
            where found[asset.path] == nil {
                found[asset.path] = (asset, member.repository)
            }
        }
        return Array(found.values.sorted { $0.asset.path < $1.asset.path }.prefix(limit))
    }

    /// What repositories a listing of this one is made of, in order of precedence: itself, or the visible members.
    public func holders(of authorized: Authorized) async throws(RegistryError) -> [Repository] {
        guard isVirtual(authorized.repository) else { return [authorized.repository] }
        return try await members(of: try listing(authorized)).visible.map(\.repository)
    }

    private func listing(_ authorized: Authorized) throws(RegistryError) -> RepositorySession {
        guard let frontend = frontend(for: authorized.repository.format) else {
            throw RegistryError(
                .unsupported, subject: .repository(authorized.repository.key.text),
                reason: "no frontend serves the format \(authorized.repository.format)")
        }
        return RepositorySession(registry: self, authorized: authorized, frontend: frontend, requestID: "listing")
    }

    public func deleteArtifact(at path: AssetPath, in key: RepositoryKey, by origin: RequestOrigin) async throws(RegistryError) {
        let asked = try await authorize(origin.caller, .delete, in: key, about: .name(path.text))
        // What a remote remembers may be forgotten there; a virtual repository holds nothing itself.
        let authorized = isVirtual(asked.repository) ? try await changing(asked, origin).authorized : asked
        for attempt in 1... {
            let edit = try await deletion(of: try await artifact(at: path, in: authorized), in: authorized.repository)
            do throws(RegistryError) {
                try await catalog.apply(change(authorized.repository, edit, by: origin.caller.actor, origin.requestID))
                return
            } catch {
                guard error.code == .conflict, attempt < Registry.deletionAttemptsMax else { throw error }
            }
        }
    }

    private static let deletionAttemptsMax = 16

    /// Sidecars (`<file>.metadata`) go with their file, and a version with its last one: an index must not name what nobody can fetch. Of a version
    /// that somebody gives another file meanwhile nothing else goes.
    private func deletion(of asset: Asset, in repository: Repository) async throws(RegistryError) -> Edit {
        guard let package = asset.package, let version = asset.version else { return Edit(mutations: [.deleteAsset(asset.path)]) }
        let facts = try await catalog.facts(in: .package(package), of: repository.id, after: nil, limit: 1)
        let others = facts.assets.filter { $0.version == version && $0.path != asset.path }
        let sidecars = others.filter { $0.path.text.hasPrefix(asset.path.text + ".") }
        guard others.count == sidecars.count, facts.versions.contains(where: { $0.name == version }) else {
            return Edit(mutations: [.deleteAsset(asset.path)] + sidecars.map { .deleteAsset($0.path) })
        }
        let revision = facts.packages.first { $0.name == package }?.revision ?? .zero
        return Edit(preconditions: [.packageRevision(package, revision)], mutations: [.deleteVersion(package, version)])
    }

    // MARK: Resumable uploads of the REST API

    private static let uploadPurpose = "rest"

    public func beginArtifactUpload(in key: RepositoryKey, totalBytes: Int64?, by origin: RequestOrigin) async throws(RegistryError) -> UploadStatus {
        let session = try await writing(to: key, by: origin)
        let begun = try await session.beginUpload(purpose: Registry.uploadPurpose, totalBytes: totalBytes)
        return try await session.status(of: begun.id, Registry.uploadPurpose)
    }

    /// Chunks may come in any order; each is durable when this returns.
    public func putArtifactChunk(
        _ body: Body, range: Range<Int64>, to upload: EntityID, in key: RepositoryKey, by origin: RequestOrigin
    ) async throws(RegistryError) -> UploadStatus {
        let session = try await writing(to: key, by: origin)
        _ = try await session.status(of: upload, Registry.uploadPurpose)
        return try await blobs.write(upload, range: range, from: body)
    }

    public func artifactUpload(_ upload: EntityID, in key: RepositoryKey, by origin: RequestOrigin) async throws(RegistryError) -> UploadStatus {
        try await writing(to: key, by: origin).status(of: upload, Registry.uploadPurpose)
    }

    public func finishArtifactUpload(
        _ upload: EntityID, at path: AssetPath, in key: RepositoryKey, contentType: String?, declared: [Digest], by origin: RequestOrigin
    ) async throws(RegistryError) -> Asset {
        let session = try await writing(to: key, about: .name(path.text), by: origin)
        let staged = try await session.finish(
            upload, digests: session.frontend.format.digests.union(declared.map(\.algorithm)), purpose: Registry.uploadPurpose)
        return try await adopt(staged, at: path, contentType: contentType, declared: declared, in: session)
    }

    public func cancelArtifactUpload(_ upload: EntityID, in key: RepositoryKey, by origin: RequestOrigin) async throws(RegistryError) {
        try await writing(to: key, by: origin).cancel(upload, purpose: Registry.uploadPurpose)
    }

    // MARK: The road they share

    /// - Parameter subject: bytes may arrive before it is known what they become.
    private func writing(
        to key: RepositoryKey, about subject: Subject = .unknown, by origin: RequestOrigin
    ) async throws(RegistryError) -> RepositorySession {
        try await changing(try await authorize(origin.caller, .write, in: key, about: subject), origin)
    }

    /// Where a change of the repository is made.
    private func changing(_ authorized: Authorized, _ origin: RequestOrigin) async throws(RegistryError) -> RepositorySession {
        guard let frontend = frontend(for: authorized.repository.format) else {
            throw RegistryError(
                .unsupported, subject: .repository(authorized.repository.key.text),
                reason: "no frontend serves the format \(authorized.repository.format)")
        }
        return try await writable(RepositorySession(registry: self, authorized: authorized, frontend: frontend, requestID: origin.requestID))
    }

    private func adopt(
        _ staged: any StagedBytes, at path: AssetPath, contentType: String?, declared: [Digest], in session: RepositorySession
    ) async throws(RegistryError) -> Asset {
        for digest in declared where staged.digest(digest.algorithm) != digest {
            throw RegistryError(
                .digestMismatch, subject: .path(path.text),
                reason: "the bytes received are not those declared: \(digest.algorithm.rawValue) is not \(digest.hex)")
        }
        let adoption = try await session.frontend.adopt(path, staged, contentType: contentType, in: session)
        try await session.commit(adoption.edit, staged: [staged] + adoption.staged)
        return try await artifact(at: adoption.path, in: session.authorized)
    }
}
