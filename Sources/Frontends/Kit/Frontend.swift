// FrontendKit: the contract between a wire protocol and the registry. A frontend is a pure translator: values in, values out; no socket, no
// SQL, no key, no clock. It declares its protocol as a table of routes; authorization, caching, local, remote and virtual repositories,
// Range, ETag and limits are written once, around it.
public import Core
public import HTTPTypes

/// One package format as its own clients see it.
public protocol Frontend: Sendable {
    var format: Format { get }

    /// The wire protocol as a table, in the order of its specification. Checked for overlaps at start-up.
    var routes: [Route] { get }

    /// Where a remote's upstream keeps this resource; nil when upstream has no such thing.
    /// `facts` are those learned from the view that lists a file (empty for views).
    func upstream(for resource: Resource, given facts: Facts) -> UpstreamRequest?

    /// The same where the answer depends on which upstream it is (`library/` on Docker Hub), or on the repository's settings.
    func upstream(for resource: Resource, given facts: Facts, at upstream: Upstream) -> UpstreamRequest?

    /// The view whose upstream document tells the facts of a scope: a remote refreshes it before it answers a question about that scope, and a
    /// view that upstream has no document for is rendered from it. nil: upstream tells nothing of it, and only what was fetched is known.
    func source(of scope: Scope) -> View?

    /// Where a view that no one document stands behind has its facts: the pool of a Debian archive is listed by the indexes of its distributions.
    /// nil: the view has its own document.
    func listings(of view: View) -> Listings?

    /// Reads facts out of an upstream document. Hostile input: every link is data, nothing is fetched, bad rows are skipped or refused.
    /// - Throws: `invalid` when it is no such document; what was cached before stays then.
    func learn(_ view: View, from document: Document, into facts: inout Facts) throws(RegistryError)

    /// Computes a document from facts: equal facts and context, equal bytes.
    /// - Throws: `notFound` when the facts hold no such thing.
    func render(_ view: View, from facts: Facts, in context: RenderContext, into page: inout Page) throws(RegistryError)

    /// How documents over the whole repository are made; nil for formats whose clients read none.
    var indexing: (any Indexing)? { get }

    /// Bytes at a path become a release: what REST, migration and replication put, and where native publishing ends as well.
    /// May read the bytes (an archive's own metadata) through `workshop`.
    /// - Throws: `invalid` when the bytes are not what the format keeps at that path.
    func adopt(_ path: AssetPath, _ blob: any StagedBytes, contentType: String?, in workshop: any Workshop) async throws(RegistryError) -> Adoption

    /// Which rows of two members of a virtual repository are the same thing, so that only the first member's counts.
    var mergeUnit: MergeUnit { get }

    /// The name inside the repository that a matched row is about, the one its handler goes by: a package's, or a path. Rights that are limited to
    /// names, and bearer tokens that are (Docker token protocol: `repository:KEY/NAME:pull`), are asked about it. nil: about the repository as a
    /// whole, or a name that only the body has; never a guess.
    func tokenName(of match: Match) -> String?

    /// A failure in the dialect the format's client understands.
    func reply(to failure: RegistryError, for request: RequestHead, in context: ErrorContext) -> Reply
}

extension Frontend {
    public func upstream(for resource: Resource, given facts: Facts, at upstream: Upstream) -> UpstreamRequest? {
        self.upstream(for: resource, given: facts)
    }
    public func source(of scope: Scope) -> View? { nil }
    public var mergeUnit: MergeUnit { .version }
    public func listings(of view: View) -> Listings? { nil }
    public func tokenName(of match: Match) -> String? { nil }
    public var indexing: (any Indexing)? { nil }
}

/// The edit that makes bytes a release, and the path they are found at afterwards (the format's own, not always the one asked for).
public struct Adoption: Sendable {
    public var edit: Edit
    public var path: AssetPath
    /// Further blobs the edit names beside the adopted one (a wheel's metadata sidecar).
    public var staged: [any StagedBytes]
    public init(edit: Edit, path: AssetPath, staged: [any StagedBytes] = []) {
        self.edit = edit
        self.path = path
        self.staged = staged
    }
}

/// A kind of package and where its protocol is mounted.
public struct Format: Sendable {
    public let name: String
    /// Other names a repository of this format may be created with (`poetry` for `pypi`).
    public let aliases: [String]
    /// URL prefixes (`/pypi`); the segment after one is the repository key.
    public let mounts: [String]
    /// What every stored file is known by, whichever road it came: publishing, the REST API, an upstream.
    public let digests: DigestSet

    /// What a repository holds may be lost at any time, and clients are ready for it: it may be evicted, also from a local repository.
    public let isCache: Bool

    /// Clients trade their credentials for short-lived tokens at its mount. Such a token is good at that mount, and nowhere else.
    public let givesTokens: Bool

    public init(
        name: String, aliases: [String] = [], mounts: [String], digests: DigestSet = .sha256, isCache: Bool = false, givesTokens: Bool = false
    ) {
        self.name = name
        self.aliases = aliases
        self.mounts = mounts
        self.digests = digests
        self.isCache = isCache
        self.givesTokens = givesTokens
    }

    /// Comparison ignores case, `_` and `-`: `wasm_oci`, `wasm-oci` and `wasmoci` are one.
    public static func canonical(_ name: String) -> String {
        name.lowercased().filter { $0 != "_" && $0 != "-" }
    }

    public func answers(to name: String) -> Bool {
        let wanted = Format.canonical(name)
        return ([self.name] + aliases).contains { Format.canonical($0) == wanted }
    }
}

/// A file or a document that an upstream may have.
public enum Resource: Sendable {
    case view(View)
    case file(AssetPath)
}

/// What to ask an upstream for.
public struct UpstreamRequest: Sendable {
    /// Absolute, or relative to the repository's upstream URL.
    public var url: String
    public var accept: String?
    /// The digest the listing published; the fetched bytes must have it.
    public var expected: [Digest]
    public var expectedSize: Int64?
    /// Whose file it is, where no listing says.
    public var package: PackageName?
    /// Of a view: its document is a file of the upstream, kept at this path as it came, and learned from there. What a `.verbatim` route serves.
    /// The file is asked for as any other: `upstream(for: .file(copy), given:)`.
    public var copy: AssetPath?
    /// Of a view with a copy: the view that lists that file with its digest.
    public var listedIn: View?
    /// Of a file: another path the same bytes are found at, once they are known (a manifest asked for by tag, under its digest).
    public var alsoAt: (@Sendable (BlobID) -> AssetPath?)?
    /// Asked when upstream has nothing at `url`.
    public var fallback: String?
    /// Of a file that no listing tells the digest of: documents beside it that do (`FILE.sha1`), best first. The first that upstream has is
    /// believed; when it has none of them, the bytes are taken as they come.
    public var statedIn: [DigestDocument] = []

    public init(
        url: String, accept: String? = nil, expected: [Digest] = [], expectedSize: Int64? = nil, package: PackageName? = nil, copy: AssetPath? = nil,
        listedIn: View? = nil, alsoAt: (@Sendable (BlobID) -> AssetPath?)? = nil, fallback: String? = nil
    ) {
        self.url = url
        self.accept = accept
        self.expected = expected
        self.expectedSize = expectedSize
        self.package = package
        self.copy = copy
        self.listedIn = listedIn
        self.alsoAt = alsoAt
        self.fallback = fallback
    }
}

/// A document that begins with a file's digest in hex.
public struct DigestDocument: Sendable, Hashable {
    public var algorithm: DigestAlgorithm
    /// As `UpstreamRequest.url`.
    public var url: String
    public init(_ algorithm: DigestAlgorithm, url: String) {
        self.algorithm = algorithm
        self.url = url
    }
}

/// Documents of an upstream that together tell what one view is about.
public struct Listings: Sendable {
    /// Where the copies of those lie that somebody has read, and the view that a file is looked up in; nil for a copy that lists no files.
    public let prefix: String
    public let files: @Sendable (AssetPath) -> View?
    /// Documents that name the others, whether somebody has read them or not.
    public let roots: @Sendable (Upstream) -> [View]
    /// The views whose facts together are those of the view, from what a root says.
    public let named: @Sendable (Facts, Upstream) -> [View]
    public init(
        below prefix: String, files: @escaping @Sendable (AssetPath) -> View?, roots: @escaping @Sendable (Upstream) -> [View],
        named: @escaping @Sendable (Facts, Upstream) -> [View]
    ) {
        self.prefix = prefix
        self.files = files
        self.roots = roots
        self.named = named
    }
}

/// The foreign registry behind a remote, as far as a format may know it.
public struct Upstream: Sendable, Hashable {
    /// As the administrator gave it.
    public var url: String
    /// The repository's own settings, by REST field name.
    public var settings: [String: String]
    public init(url: String, settings: [String: String] = [:]) {
        self.url = url
        self.settings = settings
    }
}

/// An upstream's document as it came.
public struct Document: Sendable {
    public var bytes: [UInt8]
    public var contentType: String?
    /// After redirects: what relative links are relative to.
    public var url: String
    public init(bytes: [UInt8], contentType: String?, url: String) {
        self.bytes = bytes
        self.contentType = contentType
        self.url = url
    }
}

/// A document computed from facts, named by what it is computed from: equal views of one repository are one cache entry.
public struct View: Sendable, Hashable {
    /// The document's kind in the format's own words: `simple-project`.
    public var name: String
    public var scope: Scope
    /// Which representation (`json`, `html`); upstream is asked once for all of them.
    public var variant: String
    /// Request fields that chose the variant (`Vary`, RFC 9110 section 12.5.5).
    public var vary: String?
    /// The document belongs to an edition (`Indexing`): it is assembled by the engine, not rendered by `render`.
    public var part: EditionPart?

    public init(name: String, scope: Scope, variant: String = "", vary: String? = nil) {
        self.name = name
        self.scope = scope
        self.variant = variant
        self.vary = vary
    }

    /// A document of an edition.
    /// - Parameter name: the path below the repository, as the client asks for it: what a remote's upstream has it under.
    public init(name: String, part: EditionPart) {
        self.init(name: name, scope: .everything)
        self.part = part
    }

    /// The document behind all variants, as a key: `simple-project/requests`.
    public var identity: String {
        switch scope {
        case .package(let package), .tags(let package), .family(let package, _): "\(name)/\(package.text)"
        case .packages, .everything: name
        case .linked(let package, let relation, let target): "\(name)/\(package.text)/\(relation)/\(target)"
        }
    }
}

/// What rendering may depend on beside facts; part of a cached view's fingerprint.
public struct RenderContext: Sendable, Hashable {
    /// Scheme and authority under which clients reach us, no trailing slash. Never taken from a request's Host.
    public var baseURL: String
    public var repository: RepositoryKey
    /// The repository's own settings, by REST field name.
    public var settings: [String: String]

    public init(baseURL: String, repository: RepositoryKey, settings: [String: String] = [:]) {
        self.baseURL = baseURL
        self.repository = repository
        self.settings = settings
    }
}

/// What an error reply may name.
public struct ErrorContext: Sendable {
    public var baseURL: String
    /// nil when the request named none.
    public var repository: String?
    /// What the matched route needs; nil when no route matched.
    public var needs: Permission?
    /// The parameters of the matched route.
    public var match: Match?
    public init(baseURL: String, repository: String?, needs: Permission?, match: Match?) {
        self.baseURL = baseURL
        self.repository = repository
        self.needs = needs
        self.match = match
    }
}

/// A document under construction.
public struct Page: Sendable {
    public var contentType: String
    public var fields: HTTPFields
    public private(set) var bytes: [UInt8]

    public init(contentType: String = "application/octet-stream", fields: HTTPFields = [:], bytes: [UInt8] = []) {
        self.contentType = contentType
        self.fields = fields
        self.bytes = bytes
    }

    public mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }
    public mutating func append(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }
}
