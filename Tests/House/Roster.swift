import Catalog
public import Core
public import FrontendKit
import HTTPTypes
import Registry
import TestSupport

/// A format of our own with nothing but editions: a version's manifest is its entry, and its attribute `in` says which streams of which editions
/// have it (`stable/a stable/b`). Every edition has one document over all its streams, and a sum of everything, signed.
public struct Roster: Frontend, Indexing {
    public init() {}

    public let format = Format(name: "roster", mounts: ["/roster"])
    public var indexing: (any Indexing)? { self }
    public var separator: [UInt8] = []

    public var routes: [Route] {
        [
            .view("{edition}/by-hash/{hex}") { request throws(RegistryError) in
                guard let digest = Digest(.sha256, hex: request.match["hex"]) else {
                    throw RegistryError(.invalid, subject: .request, reason: "no digest")
                }
                return View(name: request.head.path.description, part: .digest(digest, of: request.match["edition"]))
            },
            .view("{edition}/{path+}") { request in
                View(name: request.head.path.description, part: .path(request.match["path"], of: request.match["edition"]))
            },
        ]
    }

    public func entries(of package: Facts, reading blobs: any BlobReading) async throws(RegistryError) -> [IndexEntry] {
        package.versions.flatMap { version -> [IndexEntry] in
            guard case .inline(let bytes, _) = version.manifest else { return [] }
            return (version.attributes["in"] ?? "").split(separator: " ").map { place in
                let names = place.split(separator: "/", maxSplits: 1).map(String.init)
                return IndexEntry(edition: names[0], stream: names.count > 1 ? names[1] : "", bytes: bytes)
            }
        }
    }

    public func documents(of edition: String, over streams: [IndexStream], in context: RenderContext) throws(RegistryError) -> [IndexDocument] {
        guard !streams.isEmpty || edition == "empty" else { return [] }
        var all = IndexDocument("all", contentType: "text/plain", streams: streams.map(\.name))
        all.header = { entries, bytes in Array("\(entries) entries, \(bytes) bytes\n".utf8) }
        return [all] + streams.map { IndexDocument($0.name, contentType: "text/plain", encodings: [.identity, .xz], streams: [$0.name]) }
            + (edition == "empty" ? [IndexDocument("none", contentType: "text/plain", streams: ["none"])] : [])
    }

    public func closing(_ edition: Edition, in context: RenderContext) throws(RegistryError) -> [ClosingDocument] {
        let lines = edition.files.map { "\($0.path) \($0.size) \($0.digests.map(\.description).joined(separator: " "))\n" }
        return [
            .page(path: "sum", contentType: "text/plain", bytes: Array((lines.joined() + (context.settings["note"] ?? "")).utf8)),
            .signature(path: "signed", contentType: "text/plain", form: .clearsigned, of: "sum"),
        ]
    }

    public func upstream(for resource: Resource, given facts: Facts) -> UpstreamRequest? { nil }
    public func learn(_ view: View, from document: Document, into facts: inout Facts) throws(RegistryError) {}
    public func render(_ view: View, from facts: Facts, in context: RenderContext, into page: inout Page) throws(RegistryError) {
        throw RegistryError(.notFound, subject: .request, reason: "there is no such page")
    }
    public func adopt(
        _ path: AssetPath, _ blob: any StagedBytes, contentType: String?, in workshop: any Workshop
    ) async throws(RegistryError) -> Adoption {
        throw RegistryError(.unsupported, subject: .request, reason: "nothing is published here")
    }
    public func reply(to failure: RegistryError, for request: RequestHead, in context: ErrorContext) -> Reply {
        .text(failure.reason, HTTPResponse.Status(code: failure.code.status))
    }
}

/// Changes of a roster repository, as a frontend would commit them.
extension House {
    public struct NoSuchRepository: Error {}

    public func rosterID(_ key: String) async throws -> RepositoryID {
        guard let key = RepositoryKey(key) else { throw NoSuchRepository() }
        let repository = try await catalog.repository(key)
        guard let id = repository?.id else { throw NoSuchRepository() }
        return id
    }

    public func edit(_ key: String, _ mutations: [Mutation]) async throws {
        let part = Change.Part.edit(try await rosterID(key), Edit(mutations: mutations))
        try await catalog.apply(Change(actor: .system, at: clock.now, requestID: "test", parts: [part]))
    }

    public func makeRoster(_ key: String = "r", isPublic: Bool = true) async { await repository(key, format: "roster", isPublic: isPublic) }
}

public enum RosterEdit {
    public static func put(_ package: String, _ version: String = "1", text: String? = nil, in places: String = "stable/a") -> Mutation {
        guard let name = PackageName(package), let release = VersionName(version) else { preconditionFailure("a test's names are well formed") }
        let manifest = Manifest.inline(Array((text ?? "\(package) \(version)\n").utf8), mediaType: "text/plain")
        return .putVersion(name, release, manifest: manifest, attributes: ["in": places])
    }
    public static func delete(_ package: String, _ version: String = "1") -> Mutation {
        guard let name = PackageName(package), let release = VersionName(version) else { preconditionFailure("a test's names are well formed") }
        return .deleteVersion(name, release)
    }
}
