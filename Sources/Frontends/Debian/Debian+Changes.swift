import Core
import FrontendKit
import HTTPTypes
import Parsing

// dput: it puts each file under its bare name, the .changes last; the .changes says what becomes of the others.

extension DebianFrontend {
    /// Where files wait for the `.changes` that names them. Nothing of it is listed.
    static let waiting = "upload/"

    @Sendable
    func putUpload(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let name = request.match["file"]
        guard let path = AssetPath(DebianFrontend.waiting + name), !name.contains("/") else {
            throw RegistryError(.invalid, subject: .path(name), reason: "\(name) is no file name")
        }
        let blob = try await receive(request.body, port)
        if name.hasSuffix(".changes") {
            try await process(blob, named: name, port)
        } else {
            let draft = AssetDraft(
                path: path, blob: blob.id, size: blob.size, digests: blob.digests, contentType: "application/octet-stream",
                attributes: ["by": port.caller.name])
            try await port.commit(Edit(mutations: [.putAsset(draft, overwrite: .allowed)]), staged: [blob])
        }
        return .text("Created\n", .created)
    }

    private func process(_ blob: any StagedBytes, named name: String, _ port: any RepositoryPort) async throws(RegistryError) {
        guard blob.size <= Int64(Body.collectBytesMax) else { throw DebFile.refused(name, "it has more than \(Body.collectBytesMax) bytes") }
        let content = try blob.content()
        let changes = try await port.offload { () throws(RegistryError) -> ChangesFile in
            try ChangesFile(try content.bytes(at: 0, count: Int(content.size)), named: name)
        }
        var incoming = Incoming(port, changesName: name)
        for file in changes.control.files { try await incoming.take(file) }
        var edit = Edit()
        var staged: [any StagedBytes] = []
        for file in changes.control.files where DebFileName(file.name) != nil {
            let blob = try await incoming.staged(file)
            let component = try DebianFrontend.component(of: file, name)
            let source = try await read(blob, named: file.name, in: port).source
            let path = try DebianFrontend.path(of: file.name, source: source, in: component)
            try await add(try await release(blob, at: path, in: component, changes.distributions, workshop: port), to: &edit, &staged, port)
        }
        for file in changes.control.files where file.name.hasSuffix(".dsc") {
            let blob = try await incoming.staged(file)
            guard blob.size <= Int64(Body.collectBytesMax) else { throw DebFile.refused(file.name, "it has more than \(Body.collectBytesMax) bytes") }
            let content = try blob.content()
            let source = try await port.offload { () throws(RegistryError) -> SourcePackage in
                try SourcePackage(try content.bytes(at: 0, count: Int(content.size)), named: file.name)
            }
            let component = try DebianFrontend.component(of: file, name)
            try await add(
                try await self.source(source, file, in: component, changes.distributions, &incoming, port), to: &edit, &staged, port)
        }
        guard !edit.mutations.isEmpty else { throw DebFile.refused(name, "it lists no .deb, .udeb or .dsc") }
        // What waited is published or, as build logs are, of no use to an archive.
        edit.mutations += incoming.waiting.map { .discardAsset($0) }
        try await port.commit(edit, staged: staged)
    }

    private func add(
        _ release: Release, to edit: inout Edit, _ staged: inout [any StagedBytes], _ port: any RepositoryPort
    ) async throws(RegistryError) {
        var release = release
        let path = release.files[0].path
        if let known = try await port.version(release.version, of: release.package)?.attributes[Attribute.path], known != path.text {
            throw RegistryError(
                .conflict, subject: .path(path.text), reason: "\(release.package) \(release.version) is in the pool already, as \(known)")
        }
        edit.mutations += try await release.edit(in: port).mutations
        staged += release.staged
    }

    /// A source package with every file that its `.dsc` names: uploaded now, or in the pool from an earlier revision.
    private func source(
        _ source: SourcePackage, _ dsc: ListedSum, in component: String, _ distributions: [String], _ incoming: inout Incoming,
        _ port: any RepositoryPort
    ) async throws(RegistryError) -> Release {
        var files: [(path: AssetPath, blob: BlobID, size: Int64, digests: [Digest])] = []
        for file in [dsc] + source.control.files {
            let path = try DebianFrontend.path(of: file.name, source: source.name.text, in: component)
            let asset: Asset
            if let waiting = incoming.assets[file.name] {
                asset = waiting
            } else if let pooled = try await port.asset(at: path) {
                asset = pooled
            } else {
                throw DebFile.refused(dsc.name, "it names \(file.name), which was neither uploaded with it nor is in the pool")
            }
            try Incoming.check(asset, is: file, in: dsc.name)
            files.append((path, asset.blob, asset.size, asset.digests))
        }
        return try Release(source, dsc: dsc, in: component, distributions, files: files)
    }

    /// `contrib/net` is in contrib, `net` in main.
    private static func component(of file: ListedSum, _ changesName: String) throws(RegistryError) -> String {
        guard let section = file.section, let slash = section.firstIndex(of: "/") else { return defaultComponent }
        let component = String(section[..<slash])
        guard DebianNames.isComponent(component) else { throw DebFile.refused(changesName, "it puts \(file.name) into no valid section: \(section)") }
        return component
    }
}

/// The files a `.changes` names, as they wait.
struct Incoming {
    private let port: any RepositoryPort
    private let changesName: String
    private(set) var assets: [String: Asset] = [:]
    private(set) var waiting: [AssetPath] = []

    init(_ port: any RepositoryPort, changesName: String) {
        self.port = port
        self.changesName = changesName
    }

    /// - Throws: `invalid` when the file was not uploaded, or is another than the `.changes` says.
    mutating func take(_ file: ListedSum) async throws(RegistryError) {
        guard let path = AssetPath(DebianFrontend.waiting + file.name), let asset = try await port.asset(at: path) else {
            throw DebFile.refused(changesName, "it names \(file.name), which was not uploaded before it")
        }
        try Incoming.check(asset, is: file, in: changesName)
        assets[file.name] = asset
        waiting.append(path)
    }

    /// The bytes, to be looked into.
    func staged(_ file: ListedSum) async throws(RegistryError) -> any StagedBytes {
        guard let asset = assets[file.name], let blob = try await port.link(asset.path, of: asset.path.text, from: port.context.repository) else {
            throw DebFile.refused(changesName, "it names \(file.name), which was not uploaded before it")
        }
        return KnownDigests(blob, asset.digests)
    }

    static func check(_ asset: Asset, is file: ListedSum, in listing: String) throws(RegistryError) {
        guard asset.size == file.size, file.digests.allSatisfy({ asset.digest($0.algorithm) == nil || asset.digest($0.algorithm) == $0 }) else {
            throw RegistryError(
                .digestMismatch, subject: .path(file.name), reason: "\(file.name) is not the file that \(listing) names: size or digest differs")
        }
    }
}

/// Stored bytes with the digests that were computed when they came.
final class KnownDigests: StagedBytes {
    private let blob: any StagedBytes
    let digests: [Digest]

    init(_ blob: any StagedBytes, _ more: [Digest]) {
        self.blob = blob
        digests = [blob.id.digest] + more.filter { $0.algorithm != .sha256 }
    }

    var id: BlobID { blob.id }
    var size: Int64 { blob.size }
    var unsynced: [any SyncableFile] { blob.unsynced }
    var location: (key: [UInt8], value: [UInt8])? { blob.location }
    func didCommit() { blob.didCommit() }
    func content() throws(RegistryError) -> BlobContent { try blob.content() }
}
