public import Core
public import FrontendKit
import HTTPTypes
import NIOCore
import Parsing

// Publishing: files are kept, checksums compared, metadata learned from.

extension MavenFrontend {
    /// PUT of anything, as mvn, Gradle and Ivy send it: the file, then its checksums, at the end the metadata.
    static func put(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let path = try assetPath(request.match["path"])
        if let (file, checksum) = Checksum.split(path.text) {
            try await compare(checksum, of: try assetPath(file), request, port)
        } else if path.fileName == "maven-metadata.xml" {
            try await learn(from: request, in: path, port)
        } else {
            let file = try MavenFile(path)
            let parts = try await port.receive(request.body, as: .raw, digests: .all)
            guard case .staged(let blob)? = parts.first?.content else {
                throw RegistryError(.invalid, subject: .request, reason: "the body is missing")
            }
            try await port.commit(try await edit(putting: blob, as: file, in: port), staged: [blob])
        }
        return .text("Created\n", .created)
    }

    /// REST puts a file where a client would.
    public func adopt(
        _ path: AssetPath, _ blob: any StagedBytes, contentType: String?, in workshop: any Workshop
    ) async throws(RegistryError) -> Adoption {
        guard Checksum.split(path.text) == nil, path.fileName != "maven-metadata.xml" else {
            throw RegistryError(
                .invalid, subject: .path(path.text), reason: "checksums and metadata are computed from the files: they cannot be put as artifacts")
        }
        return Adoption(edit: try await Self.edit(putting: blob, as: try MavenFile(path), in: workshop), path: path)
    }

    // MARK: Files

    private static func edit(putting blob: any StagedBytes, as file: MavenFile, in workshop: any Workshop) async throws(RegistryError) -> Edit {
        var mutations: [Mutation] = [.ensureVersion(file.package, file.version)]
        if file.extension == "pom", file.classifier.isEmpty {
            let manifest = try await manifest(of: file, from: blob, in: workshop)
            mutations = [.putVersion(file.package, file.version, manifest: manifest, attributes: [:])]
        }
        let draft = AssetDraft(
            path: file.path, blob: blob.id, size: blob.size, digests: blob.digests, contentType: contentType(of: file), package: file.package,
            version: file.version)
        // First: a conflict is about the file, not about what it tells.
        mutations.insert(.putAsset(draft, overwrite: file.isSnapshot ? .allowed : .never), at: 0)
        return Edit(mutations: mutations)
    }

    /// The POM, once it agrees with the path it is put at.
    private static func manifest(of file: MavenFile, from blob: any StagedBytes, in workshop: any Workshop) async throws(RegistryError) -> Manifest {
        @Sendable func refused(_ why: String) -> RegistryError {
            RegistryError(.invalid, subject: .path(file.path.text), reason: "\(file.path.fileName) was refused: \(why)")
        }
        guard blob.size <= Int64(ProjectModel.bytesMax) else { throw refused("a POM may have at most \(ProjectModel.bytesMax) bytes") }
        let content = try blob.content()
        let size = Int(blob.size)
        let bytes = try await workshop.offload { () throws(RegistryError) -> [UInt8] in
            let bytes = try content.bytes(at: 0, count: size)
            let model: ProjectModel
            do throws(RegistryError) { model = try ProjectModel(bytes) } catch { throw error.code == .invalid ? refused(error.reason) : error }
            if let contradiction = model.contradiction(to: file) { throw refused(contradiction) }
            return bytes
        }
        let mediaType = "application/xml"
        return bytes.count > Manifest.inlineBytesMax
            ? .blob(blob.id, size: blob.size, mediaType: mediaType) : .inline(bytes, mediaType: mediaType)
    }

    private static func contentType(of file: MavenFile) -> String {
        switch file.extension.split(separator: ".").last.map(String.init) ?? "" {
        case "jar", "war", "ear", "aar": "application/java-archive"
        case "pom", "xml": "application/xml"
        case "module", "json": "application/json"
        case "asc", "txt": "text/plain"
        case "zip": "application/zip"
        case "gz", "tgz": "application/gzip"
        default: "application/octet-stream"
        }
    }

    // MARK: Checksums

    /// What the client computed must be what arrived. Of metadata it cannot be: that is computed here.
    private static func compare(
        _ checksum: Checksum, of path: AssetPath, _ request: Request, _ port: any RepositoryPort
    ) async throws(RegistryError) {
        let body = try await request.body.collect(upTo: 4096)
        // `md5sum` writes the file's name behind it.
        let word = body.readableBytesView.drop { $0 <= 0x20 }.prefix { $0 > 0x20 }
        guard let stated = Digest(checksum.algorithm, hex: String(decoding: word, as: UTF8.self)) else {
            throw RegistryError(
                .invalid, subject: .path(path.text + checksum.suffix),
                reason: "a \(checksum.rawValue) file begins with \(checksum.algorithm.byteCount * 2) hex digits")
        }
        guard path.fileName != "maven-metadata.xml" else { return }
        guard let asset = try await port.asset(at: path) else {
            throw RegistryError(.notFound, subject: .path(path.text), reason: "there is no \(path) to have this checksum: put the file first")
        }
        guard let actual = asset.digest(checksum.algorithm), actual != stated else { return }
        throw RegistryError(
            .digestMismatch, subject: .path(path.text),
            reason: "\(path.fileName) arrived with another \(checksum.rawValue): \(actual.hex), not \(stated.hex)")
    }

    // MARK: Metadata

    /// Versions and builds are known from their files; here a publisher says what to call them.
    private static func learn(from request: Request, in path: AssetPath, _ port: any RepositoryPort) async throws(RegistryError) {
        let body = try await request.body.collect()
        let folder: MetadataFolder
        do throws(RegistryError) {
            folder = try MetadataFolder(path.segments.dropLast().joined(separator: "/"))
        } catch {
            throw RegistryError(.invalid, subject: .path(path.text), reason: "this is no folder of an artifact, a group or a snapshot")
        }
        let metadata = try PublishedMetadata(Array(body.readableBytesView), budget: .document)
        try check(metadata, in: folder, path)
        guard folder.kind == .artifactOrGroup else { return }
        // Somebody may delete a version, or a package, between the look and the commit: then the look is repeated.
        for attempt in 1... {
            do throws(RegistryError) {
                let edit = try await edit(calling: metadata, in: folder, port)
                if !edit.mutations.isEmpty { try await port.commit(edit, staged: []) }
                return
            } catch {
                guard error.code == .conflict || error.code == .notFound, attempt < 8 else { throw error }
            }
        }
    }

    private static func check(_ metadata: PublishedMetadata, in folder: MetadataFolder, _ path: AssetPath) throws(RegistryError) {
        guard metadata.artifact != nil else { return }
        var wanted: [(String, String?, String)] = [
            ("groupId", metadata.group, String(folder.group)), ("artifactId", metadata.artifact, String(folder.artifact)),
        ]
        if case .snapshot(let version) = folder.kind { wanted.append(("version", metadata.version, version.text)) }
        for (name, stated, expected) in wanted where stated != nil && stated != expected {
            throw RegistryError(
                .invalid, subject: .path(path.text), reason: "the metadata says \(name) \(stated ?? ""), the path says \(expected)")
        }
    }

    private static func edit(
        calling metadata: PublishedMetadata, in folder: MetadataFolder, _ port: any RepositoryPort
    ) async throws(RegistryError) -> Edit {
        let facts = try await port.facts(in: .family(folder.package, prefix: folder.groupPrefix), after: nil, limit: .max)
        var edit = Edit()
        for name in MovingName.allCases {
            guard let version = metadata.called[name], facts.versions.contains(where: { $0.name == version }) else { continue }
            edit.mutations.append(.putTag(folder.package, name.tag, version))
        }
        for plugin in metadata.plugins {
            guard let known = facts.packages.first(where: { $0.name.text == folder.groupPrefix + plugin.artifact }) else { continue }
            let attributes = known.attributes.merging(plugin.attributes) { _, new in new }
            guard attributes != known.attributes else { continue }
            edit.preconditions.append(.packageRevision(known.name, known.revision))
            edit.mutations.append(.putPackage(known.name, displayName: nil, attributes: attributes))
        }
        return edit
    }
}
