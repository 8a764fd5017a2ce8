public import Core

/// A named collection of one format.
public struct Repository: Sendable, Hashable {
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        case local, remote, virtual, staging
    }

    /// A place in a virtual repository.
    public struct Member: Sendable, Hashable {
        /// Of the membership; tells when it began.
        public var id: EntityID
        public var repository: RepositoryID
        /// Lower comes first; equal ones keep the order they were added in.
        public var priority: Int32
        public init(id: EntityID, repository: RepositoryID, priority: Int32) {
            self.id = id
            self.repository = repository
            self.priority = priority
        }
    }

    public var id: RepositoryID
    public var key: RepositoryKey
    public var name: String
    public var description: String?
    /// The string the creator gave (`docker`, `oras`); it is echoed, and mapped to a frontend by `Format.canonical`.
    public var format: String
    public var kind: Kind
    public var isPublic: Bool
    /// Logical bytes the repository may hold; nil is unlimited.
    public var quotaBytes: Int64?
    /// Remote: where the upstream is.
    public var upstreamURL: String?
    /// Virtual: members in order of precedence.
    public var members: [Member]
    /// Everything else an administrator sets, by the REST field's name: cache TTL, upstream credentials (sealed), format settings.
    public var settings: [String: String]
    public var created: Timestamp
    public var updated: Timestamp
    /// The revision of the last change inside it: fingerprint of repository-wide views.
    public var revision: Revision

    public init(
        id: RepositoryID, key: RepositoryKey, name: String, description: String? = nil, format: String, kind: Kind, isPublic: Bool = false,
        quotaBytes: Int64? = nil, upstreamURL: String? = nil, members: [Member] = [], settings: [String: String] = [:], created: Timestamp,
        updated: Timestamp? = nil, revision: Revision = .zero
    ) {
        self.id = id
        self.key = key
        self.name = name
        self.description = description
        self.format = format
        self.kind = kind
        self.isPublic = isPublic
        self.quotaBytes = quotaBytes
        self.upstreamURL = upstreamURL
        self.members = members
        self.settings = settings
        self.created = created
        self.updated = updated ?? created
        self.revision = revision
    }
}

/// What a repository holds. Totals change with the change that causes them; downloads are batched and may lose seconds in a crash.
public struct Usage: Sendable, Hashable {
    public var assets: Int64
    public var packages: Int64
    /// Logical bytes: each asset counts in full, whatever deduplication saves.
    public var bytes: Int64
    /// In the trash, and counted nowhere else: how often something was deleted, and the logical bytes of it.
    public var deletions: Int64
    public var trashBytes: Int64
    public init(assets: Int64 = 0, packages: Int64 = 0, bytes: Int64 = 0, deletions: Int64 = 0, trashBytes: Int64 = 0) {
        self.assets = assets
        self.packages = packages
        self.bytes = bytes
        self.deletions = deletions
        self.trashBytes = trashBytes
    }
}
