public import Core

/// Work on bytes that a format may ask for, wherever it runs: reading archives off the event loops, staging what it derives.
public protocol Workshop: Sendable {
    /// Runs blocking work (archives, big hashes) on the engine's own threads.
    func offload<Result: Sendable>(_ work: @escaping @Sendable () throws(RegistryError) -> Result) async throws(RegistryError) -> Result
    /// Bytes the format derived, at most `Body.collectBytesMax`, staged like an upload.
    func stage(_ bytes: [UInt8]) async throws(RegistryError) -> any StagedBytes
}

/// Who asks, as far as a format may know.
public struct CallerName: Sendable {
    public let name: String
    public let isAnonymous: Bool
    public init(name: String, isAnonymous: Bool) {
        self.name = name
        self.isAnonymous = isAnonymous
    }
}

/// All a frontend can do to the registry: one repository, one caller, one request. The route's permission was checked before it was handed out.
public protocol RepositoryPort: Workshop {
    var caller: CallerName { get }
    var context: RenderContext { get }

    /// Facts the caller may see; of a virtual repository the union of its members'. Paged by name except for `.package`, by package name for
    /// `.everything`.
    func facts(in scope: Scope, after: String?, limit: Int) async throws(RegistryError) -> Facts
    func version(_ name: VersionName, of package: PackageName) async throws(RegistryError) -> Version?
    func tag(_ name: TagName, of package: PackageName) async throws(RegistryError) -> Tag?
    func asset(at path: AssetPath) async throws(RegistryError) -> Asset?
    /// The bytes of an asset, at most `Body.collectBytesMax`; `tooLarge` beyond.
    func bytes(of asset: Asset) async throws(RegistryError) -> [UInt8]

    /// Takes the request's body apart: files are hashed and staged while they arrive, never collected.
    func receive(_ body: Body, as form: BodyForm, digests: DigestSet) async throws(RegistryError) -> [Part]

    /// A resumable upload, bound to this caller and repository; `purpose` keeps one protocol's sessions apart from another's.
    func beginUpload(purpose: String, totalBytes: Int64?) async throws(RegistryError) -> UploadProgress
    /// `notFound` when there is none, or it is another caller's or repository's.
    func upload(_ id: EntityID, purpose: String) async throws(RegistryError) -> UploadProgress
    /// Appends at `offset` (nil: where it ends). What arrived before a cut is kept.
    /// - Throws: `rangeUnsatisfiable` when the offset is not the end, `conflict` while another append runs.
    func append(_ body: Body, to upload: EntityID, at offset: Int64?, purpose: String) async throws(RegistryError) -> UploadProgress
    /// The whole of what was appended, hashed. The upload is over once the blob is committed or dropped.
    func finish(_ upload: EntityID, digests: DigestSet, purpose: String) async throws(RegistryError) -> any StagedBytes
    func cancel(_ upload: EntityID, purpose: String) async throws(RegistryError)

    /// The bytes of another repository's asset, for a cross-repository mount: needs the right to read it there, by the name that such rights go by in
    /// this format (`Frontend.tokenName`); nil when not allowed or absent, alike.
    func link(_ path: AssetPath, of name: String, from other: RepositoryKey) async throws(RegistryError) -> (any StagedBytes)?

    /// The public half of the key that signs the repository's documents, in ASCII armour; nil when it has none.
    func publicKey() async throws(RegistryError) -> [UInt8]?

    /// Authority that only the body reveals.
    func require(_ permission: Permission) async throws(RegistryError)

    /// The one durable step: the staged bytes and the edit, whole or not at all.
    @discardableResult
    func commit(_ edit: Edit, staged: [any StagedBytes]) async throws(RegistryError) -> Revision
}

/// What a row of the mount itself may ask.
public protocol MountPort: Sendable {
    var caller: CallerName { get }
    var baseURL: String { get }
    /// Repositories of this frontend's format in which the caller may read something, in byte order of their keys.
    func repositories(after: RepositoryKey?, limit: Int) async throws(RegistryError) -> [RepositoryKey]
    /// Names of the packages in it that the caller may read, in byte order; none when it is absent or not to be seen.
    func packages(in repository: RepositoryKey, after: String?, limit: Int) async throws(RegistryError) -> [PackageName]
    /// A short-lived bearer token for the caller, holding of the wanted scopes what the caller has (Docker token authentication).
    /// - Parameters:
    ///   - listing: it also lists the names of all that the caller may read.
    ///   - login: the user name and password (or token) of an OAuth2-style form; nil: the request's own credentials.
    func token(for scopes: [ResourceScope], listing: Bool, login: (name: String, password: String)?) async throws(RegistryError) -> TokenGrant
    /// An API token of the account, for a client that keeps one instead of the password: it may read, write and delete what its owner may.
    /// - Parameter label: what lists of tokens call it.
    /// - Throws: `unauthenticated` unless the password, or a token in its place, is the account's.
    func logIn(_ name: String, password: String, label: String) async throws(RegistryError) -> String
    /// Revokes an API token by its text. `notFound` when the caller has none like it.
    func logOut(token: String) async throws(RegistryError)
}

/// A resource scope of the Docker token protocol: `repository:NAME:pull,push`, already taken apart.
public struct ResourceScope: Sendable, Hashable {
    public let repository: RepositoryKey
    /// The name as the client wrote it.
    public let name: String
    public let permissions: Set<Permission>
    public init(repository: RepositoryKey, name: String, permissions: Set<Permission>) {
        self.repository = repository
        self.name = name
        self.permissions = permissions
    }
}

public struct TokenGrant: Sendable {
    public let token: String
    public let expiresInSeconds: Int
    public let issued: Timestamp
    public init(token: String, expiresInSeconds: Int, issued: Timestamp) {
        self.token = token
        self.expiresInSeconds = expiresInSeconds
        self.issued = issued
    }
}

/// The shape of a body.
public enum BodyForm: Sendable {
    /// The body is the file. One part without a name.
    case raw
    /// multipart/form-data (RFC 7578): parts with a file name are staged, the others are text of at most 1 MiB in all.
    case multipart(contentType: String)
    /// A JSON document with files inside it: for each NAME that `isFile` holds for, the string at `member.NAME.data` is base64 and staged. One
    /// part for each such file, in their order, then one without a name: the document as text, at most 4 MiB, those strings empty in it.
    case json(filesIn: String, isFile: @Sendable (String) -> Bool)
}

/// One piece of a received body.
public struct Part: Sendable {
    public enum Content: Sendable {
        case text(String)
        case staged(any StagedBytes)
    }
    public let name: String
    public let fileName: String?
    public let contentType: String?
    public let content: Content
    public init(name: String, fileName: String?, contentType: String?, content: Content) {
        self.name = name
        self.fileName = fileName
        self.contentType = contentType
        self.content = content
    }
}

public struct UploadProgress: Sendable, Hashable {
    public let id: EntityID
    /// Bytes from the start that are durable without a gap.
    public let received: Int64
    public let totalBytes: Int64?
    public init(id: EntityID, received: Int64, totalBytes: Int64?) {
        self.id = id
        self.received = received
        self.totalBytes = totalBytes
    }
}
