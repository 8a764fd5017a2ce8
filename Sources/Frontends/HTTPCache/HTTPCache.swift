// HTTPCache: the key-addressed GET, HEAD, PUT and DELETE that build tools share (ccache, sccache's WebDAV, Gradle, Bazel, Maven's build cache
// extension, vcpkg). It is no package format: it says no facts, so nothing of it is searched, listed as a package or learned. An entry may be
// lost at any time, which a client sees as a miss; it is never other bytes than those that were put.

public import Core
public import FrontendKit
import HTTPTypes

/// Entries under `/cache/{repository}/{key}`; `…/cas/{SHA-256}` is named by its content.
public struct HTTPCacheFrontend: Frontend {
    public let format = Format(
        name: "http-cache",
        aliases: ["build-cache", "ccache", "sccache", "gradle-cache", "bazel-cache", "maven-cache", "vcpkg-cache"], mounts: ["/cache"],
        isCache: true)
    public let routes: [Route]

    public func tokenName(of match: Match) -> String? { (try? CacheKey(match))?.path.text }

    public init() {
        let readKey: @Sendable (Match) throws(RegistryError) -> FileTarget = { match throws(RegistryError) in .path(try CacheKey(match).path) }
        routes = [
            // Content named by its digest (Bazel, bazel-remote). The empty blob is always present: clients do not upload it.
            .answer("{prefix*}/cas/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") { _, _ in
                .bytes([], .ok, HTTPCacheFrontend.inert)
            },
            .file("{prefix*}/cas/{digest}", freshness: .immutable, fields: { _ in HTTPCacheFrontend.inert }, readKey),
            .action(.put, "{prefix*}/cas/{digest}", needs: .write, HTTPCacheFrontend.put),
            .action(.delete, "{prefix*}/cas/{digest}", needs: .delete, HTTPCacheFrontend.delete),
            // Everything else is a key that the last writer owns.
            .file("{key+}", freshness: .pointer, fields: { _ in HTTPCacheFrontend.inert }, readKey),
            .action(.put, "{key+}", needs: .write, HTTPCacheFrontend.put),
            .action(.delete, "{key+}", needs: .delete, HTTPCacheFrontend.delete),
            // RFC 4918, as far as sccache asks for it: folders exist wherever somebody looks for one.
            .answer("{key*}[/]", methods: [.propfind], WebDAV.propfind),
            .action(.mkcol, "{key*}[/]", needs: .write, WebDAV.makeCollection),
        ]
    }

    /// Where a remote's upstream, another cache of this shape, keeps the entry; what is named by its digest must have it.
    public func upstream(for resource: Resource, given facts: Facts) -> UpstreamRequest? {
        guard case .file(let path) = resource else { return nil }
        return UpstreamRequest(url: Percent.encode(path.text, in: .path), expected: CacheKey(path).promised.map { [$0] } ?? [])
    }

    public func learn(_ view: View, from document: Document, into facts: inout Facts) throws(RegistryError) {
        throw RegistryError(.unsupported, subject: .upstream(document.url), reason: "a build cache has no documents to learn from")
    }

    public func render(_ view: View, from facts: Facts, in context: RenderContext, into page: inout Page) throws(RegistryError) {
        throw RegistryError(.notFound, subject: .request, reason: "a build cache has no documents: \(view.identity)")
    }

    /// REST and migration put entries as a client does.
    public func adopt(
        _ path: AssetPath, _ blob: any StagedBytes, contentType: String?, in workshop: any Workshop
    ) async throws(RegistryError) -> Adoption {
        let key = CacheKey(path)
        try key.check(blob)
        return Adoption(edit: Edit(mutations: [key.putting(blob, contentType: contentType)]), path: path)
    }

    public func reply(to failure: RegistryError, for request: RequestHead, in context: ErrorContext) -> Reply {
        HTTPCacheErrors.reply(to: failure, for: request.method)
    }

    // MARK: Writing

    /// 201 for a new entry, 204 for one that replaces another: every client takes any 2xx.
    private static func put(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let key = try CacheKey(request.match)
        try refusePartial(request.head.fields)
        let rule = OverwriteRule(port.context.settings)
        let before = try await port.asset(at: key.path)
        if before != nil, rule == .never, key.promised == nil { throw rule.refusal(of: key.path) }
        let parts = try await port.receive(request.body, as: .raw, digests: .sha256)
        guard case .staged(let blob)? = parts.first?.content else {
            throw RegistryError(.invalid, subject: .request, reason: "the body is missing")
        }
        try key.check(blob)
        var edit = Edit(mutations: [key.putting(blob, contentType: request.head.fields[.contentType])])
        if let before, before.blob == blob.id { return .status(.noContent) }
        if rule != .replace, key.promised == nil {
            guard before == nil else { throw rule.refusal(of: key.path) }
            // Two writers of one new key: the second finds it taken.
            edit.preconditions = [.absent(key.path)]
        }
        try await port.commit(edit, staged: [blob])
        return .status(before == nil ? .created : .noContent)
    }

    private static func delete(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        try await port.commit(Edit(mutations: [.deleteAsset(try CacheKey(request.match).path)]), staged: [])
        return .status(.noContent)
    }

    /// A part of an entry, or one in another coding, would be kept as if it were the entry.
    private static func refusePartial(_ fields: HTTPFields) throws(RegistryError) {
        if fields[.contentRange] != nil {
            throw RegistryError(.invalid, subject: .field("Content-Range"), reason: "an entry is put whole")
        }
        if let coding = fields[.contentEncoding], coding.lowercased() != "identity" {
            throw RegistryError(.invalid, subject: .field("Content-Encoding"), reason: "an entry is kept as it comes: send it without \(coding)")
        }
    }

    /// Nothing here is a page.
    private static let inert: HTTPFields = [.xContentTypeOptions: "nosniff"]
}

extension HTTPRequest.Method {
    static let propfind = named("PROPFIND")
    static let mkcol = named("MKCOL")

    private static func named(_ text: String) -> HTTPRequest.Method {
        guard let method = HTTPRequest.Method(text) else { preconditionFailure("not a method: \(text)") }
        return method
    }
}
