public import Core
public import HTTPTypes

/// One row of a wire protocol.
public struct Route: Sendable {
    /// Where the pattern starts: after the repository's key, or right after the mount (`/v2/`, `/v2/token`).
    public enum Level: Sendable { case repository, mount }

    /// Escape hatches; a test lists their uses.
    public enum Option: Sendable, Hashable {
        /// A remote passes the action on to its upstream.
        case forwardable
        /// The answer depends on more than facts tell (the request's body, all that an upstream has): a remote passes the question on.
        case live
        /// A document the upstream signed, or whose digest it signed: a remote serves it as it came, from the copy that
        /// `upstream(for: .view)` names. Local and virtual repositories render it.
        case verbatim
    }

    public enum Kind: Sendable {
        /// Bytes at coordinates.
        case file(FileRoute)
        /// A stored document computed from facts. GET and HEAD.
        case view(@Sendable (Request) throws(RegistryError) -> View)
        /// Read-only, depends on query or caller, never stored.
        case answer(@Sendable (Request, any RepositoryPort) async throws(RegistryError) -> Reply)
        /// Publish, yank, tag, delete.
        case action(@Sendable (Request, any RepositoryPort) async throws(RegistryError) -> Reply)
        /// A row of the mount itself, beside the repositories.
        case mounted(@Sendable (Request, any MountPort) async throws(RegistryError) -> Reply)
    }

    public let methods: [HTTPRequest.Method]
    public let pattern: PathPattern
    public let level: Level
    public let needs: Permission
    public let kind: Kind
    public let options: Set<Option>

    private init(
        _ methods: [HTTPRequest.Method], _ pattern: PathPattern, level: Level = .repository, needs: Permission, options: Set<Option> = [],
        _ kind: Kind
    ) {
        self.methods = methods
        self.pattern = pattern
        self.level = level
        self.needs = needs
        self.kind = kind
        self.options = options
    }

    /// Bytes at coordinates: GET and HEAD, Range and conditionals included.
    /// - Parameters:
    ///   - listedIn: the view that lists the file: a remote refreshes it first and takes URL and expected digest from it.
    ///   - package: whose file it is, where neither `listedIn` nor a tag tells: a name that a local member of a virtual repository owns is not
    ///     asked of upstreams.
    ///   - fields: what the protocol wants beside the engine's own fields.
    public static func file(
        _ pattern: PathPattern, listedIn: (@Sendable (Match) throws(RegistryError) -> View)? = nil,
        package: (@Sendable (Match) throws(RegistryError) -> PackageName?)? = nil, freshness: FileRoute.Freshness = .immutable,
        fields: @escaping @Sendable (Asset) -> HTTPFields = { _ in [:] }, _ locate: @escaping @Sendable (Match) throws(RegistryError) -> FileTarget
    ) -> Route {
        let file = FileRoute(locate: locate, listedIn: listedIn, package: package, freshness: freshness, fields: fields, describe: nil)
        return Route([.get, .head], pattern, needs: .read, .file(file))
    }

    /// What is known about the bytes at coordinates, instead of them: a checksum. The file is found, gated and (by a remote) fetched as by `file`.
    public static func about(
        _ pattern: PathPattern, package: (@Sendable (Match) throws(RegistryError) -> PackageName?)? = nil,
        freshness: FileRoute.Freshness = .immutable, _ locate: @escaping @Sendable (Match) throws(RegistryError) -> FileTarget,
        describe: @escaping @Sendable (Asset) throws(RegistryError) -> Reply
    ) -> Route {
        let file = FileRoute(locate: locate, listedIn: nil, package: package, freshness: freshness, fields: { _ in [:] }, describe: describe)
        return Route([.get, .head], pattern, needs: .read, .file(file))
    }

    public static func view(
        _ pattern: PathPattern, options: Set<Option> = [], _ identify: @escaping @Sendable (Request) throws(RegistryError) -> View
    ) -> Route {
        Route([.get, .head], pattern, needs: .read, options: options, .view(identify))
    }

    public static func answer(
        _ pattern: PathPattern, needs: Permission = .read, methods: [HTTPRequest.Method] = [.get, .head], options: Set<Option> = [],
        _ compute: @escaping @Sendable (Request, any RepositoryPort) async throws(RegistryError) -> Reply
    ) -> Route {
        Route(methods, pattern, needs: needs, options: options, .answer(compute))
    }

    public static func action(
        _ method: HTTPRequest.Method, _ pattern: PathPattern, needs: Permission, options: Set<Option> = [],
        _ perform: @escaping @Sendable (Request, any RepositoryPort) async throws(RegistryError) -> Reply
    ) -> Route {
        Route([method], pattern, needs: needs, options: options, .action(perform))
    }

    public static func mounted(
        _ methods: [HTTPRequest.Method], _ pattern: PathPattern,
        _ compute: @escaping @Sendable (Request, any MountPort) async throws(RegistryError) -> Reply
    ) -> Route {
        Route(methods, pattern, level: .mount, needs: .read, .mounted(compute))
    }
}

/// How a file route finds its bytes.
public struct FileRoute: Sendable {
    /// Whether the bytes at the coordinates can change.
    public enum Freshness: Sendable {
        /// Never: a release, or content named by its digest.
        case immutable
        /// They can: a tag, a snapshot. A remote asks again once the copy is older than the repository's cache TTL.
        case pointer
        /// Never, unless a remote's `upstream_immutable` says that its upstream replaces files: then a pointer.
        case release
    }

    public let locate: @Sendable (Match) throws(RegistryError) -> FileTarget
    public let listedIn: (@Sendable (Match) throws(RegistryError) -> View)?
    public let package: (@Sendable (Match) throws(RegistryError) -> PackageName?)?
    public let freshness: Freshness
    public let fields: @Sendable (Asset) -> HTTPFields
    /// What is answered instead of the bytes; nil: the bytes.
    public let describe: (@Sendable (Asset) throws(RegistryError) -> Reply)?
}

/// Where a file is.
public enum FileTarget: Sendable {
    case path(AssetPath)
    /// The asset of the version a tag points to. A remote, which has no tags of its own, keeps what upstream has under the tag at `named`.
    case tagged(PackageName, TagName, named: AssetPath, @Sendable (VersionName) -> AssetPath?)
}

/// What a frontend answers; the engine and the server move the bytes.
public enum Reply: Sendable {
    case asset(Asset, HTTPFields)
    case view(View, HTTPFields)
    case bytes([UInt8], HTTPResponse.Status, HTTPFields)

    public static func status(_ status: HTTPResponse.Status, _ fields: HTTPFields = [:]) -> Reply { .bytes([], status, fields) }
    public static func text(_ text: String, _ status: HTTPResponse.Status = .ok, _ fields: HTTPFields = [:]) -> Reply {
        var fields = fields
        if fields[.contentType] == nil { fields[.contentType] = "text/plain; charset=utf-8" }
        return .bytes(Array(text.utf8), status, fields)
    }
    public static func json(_ bytes: [UInt8], _ status: HTTPResponse.Status = .ok, _ fields: HTTPFields = [:]) -> Reply {
        var fields = fields
        if fields[.contentType] == nil { fields[.contentType] = "application/json" }
        return .bytes(bytes, status, fields)
    }
}
