public import Core
public import FrontendKit
import HTTPTypes
import Parsing

/// Editions made from all facts at once, whenever asked: no fragment, no file, one generation. What the engine's must be equal to, expanded.
public struct MemoryEditions: Sendable {
    private let indexing: any Indexing
    private let context: RenderContext
    private let entries: [IndexEntry]
    /// What every edition says it was made at.
    public static let made = Timestamp(seconds: 1_800_000_000)

    /// A readable stand-in for a signature.
    public static func signature(_ bytes: [UInt8], _ form: SignatureForm, by repository: RepositoryKey) -> [UInt8] {
        switch form {
        case .clearsigned: Array("signed by \(repository):\n".utf8) + bytes
        case .detached: Array("signature of \(repository) over \(Digest.of(.sha256, bytes))\n".utf8)
        }
    }

    public init(_ frontend: any Frontend, _ port: MemoryPort) async throws(RegistryError) {
        try await self.init(
            frontend, of: try await port.facts(in: .everything, after: nil, limit: .max), in: port.context, reading: MemoryBlobs(port.repository))
    }

    public init(
        _ frontend: any Frontend, of facts: Facts, in context: RenderContext, reading blobs: any BlobReading
    ) async throws(RegistryError) {
        guard let indexing = frontend.indexing else {
            throw RegistryError(.internal, subject: .request, reason: "\(frontend.format.name) has no editions")
        }
        self.indexing = indexing
        self.context = context
        var entries: [IndexEntry] = []
        let versions = Dictionary(grouping: facts.versions, by: \.package)
        let assets = Dictionary(grouping: facts.assets.filter { $0.package != nil }, by: \.package)
        let tags = Dictionary(grouping: facts.tags, by: \.package)
        let links = Dictionary(grouping: facts.links, by: \.package)
        let listed = Dictionary(grouping: facts.listed, by: \.package)
        for package in facts.packages {
            var one = Facts()
            one.packages = [package]
            one.versions = versions[package.name] ?? []
            one.assets = assets[package.name] ?? []
            one.tags = tags[package.name] ?? []
            one.links = links[package.name] ?? []
            one.listed = listed[package.name] ?? []
            entries += try await indexing.entries(of: one, reading: blobs)
        }
        self.entries = entries
    }

    /// Every document of an edition by its path; empty when there is no such edition.
    public func documents(of name: String) throws(RegistryError) -> [String: (bytes: [UInt8], contentType: String)] {
        let mine = Dictionary(grouping: entries.filter { $0.edition == name }, by: \.stream)
        let streams = mine.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { name in
            IndexStream(name: name, entries: mine[name]?.count ?? 0, bytes: (mine[name] ?? []).reduce(0) { $0 + Int64($1.bytes.count) })
        }
        var all: [String: (bytes: [UInt8], contentType: String)] = [:]
        var files: [Edition.File] = []
        for document in try indexing.documents(of: name, over: streams, in: context) {
            let pieces = document.streams.flatMap { mine[$0] ?? [] }.map(\.bytes)
            let total = pieces.reduce(0) { $0 + Int64($1.count) }
            let bytes = document.header(pieces.count, total) + pieces.joined(separator: indexing.separator) + document.footer(pieces.count, total)
            for form in document.forms {
                let encoded = try Compression.compress(bytes, form.encoding)
                var hasher = MultiHasher(indexing.digests)
                encoded.withUnsafeBytes { unsafe hasher.update($0) }
                files.append(Edition.File(path: form.path, size: Int64(encoded.count), digests: hasher.finish()))
                all[form.path] = (encoded, form.contentType)
            }
        }
        guard !files.isEmpty else { return [:] }
        files.sort { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
        for document in try indexing.closing(Edition(name: name, files: files, streams: streams, made: MemoryEditions.made), in: context) {
            switch document {
            case .page(let path, let contentType, let bytes): all[path] = (bytes, contentType)
            case .signature(let path, let contentType, let form, let signed):
                guard let page = all[signed] else { throw RegistryError(.internal, subject: .request, reason: "\(path) signs no page") }
                all[path] = (MemoryEditions.signature(page.bytes, form, by: context.repository), contentType)
            }
        }
        return all
    }

    func answer(_ part: EditionPart) async throws(RegistryError) -> FrontendHarness.Answer {
        let all = try documents(of: part.edition)
        let found: (bytes: [UInt8], contentType: String)?
        switch part {
        case .path(let path, _): found = all[path]
        case .digest(let digest, _): found = all.values.first { Digest.of(.sha256, $0.bytes) == digest }
        }
        guard let found else { throw RegistryError(.notFound, subject: .request, reason: "the edition has no such document") }
        return FrontendHarness.Answer(status: 200, fields: [.contentType: found.contentType], body: found.bytes)
    }
}

/// The blobs of a repository in memory.
public struct MemoryBlobs: BlobReading {
    private let repository: MemoryRepository
    public init(_ repository: MemoryRepository) { self.repository = repository }

    public func bytes(of blob: BlobID) async throws(RegistryError) -> [UInt8] {
        guard let found = repository.bytes(of: blob) else {
            throw RegistryError(.corrupt, subject: .blob(blob.description), reason: "the bytes are missing")
        }
        return found
    }
}

extension Compression {
    static func compress(_ bytes: [UInt8], _ encoding: IndexDocument.Encoding) throws(RegistryError) -> [UInt8] {
        switch encoding {
        case .identity: bytes
        case .gzip: try gzip(bytes)
        case .xz: try xz(bytes)
        }
    }
}
