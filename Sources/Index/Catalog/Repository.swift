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

    private struct Fields: Sendable, Hashable {
        var id: RepositoryID
        var key: RepositoryKey
        var name: String
        var description: String?
        var format: String
        var kind: Kind
        var isPublic: Bool
        var quotaBytes: Int64?
        var upstreamURL: String?
        var members: [Member]
        var settings: [String: String]
        var created: Timestamp
        var updated: Timestamp
        var revision: Revision
    }

    /// One reference, whatever the fields are: every request copies its repository a few times, and one that is not there costs as much as any.
    private final class Kept: Sendable {
        let fields: Fields
        init(_ fields: Fields) { self.fields = fields }
    }

    private var kept: Kept

    private mutating func change(_ body: (inout Fields) -> Void) {
        var fields = kept.fields
        body(&fields)
        kept = Kept(fields)
    }

    public var id: RepositoryID {
        get { kept.fields.id }
        set { change { $0.id = newValue } }
    }
    public var key: RepositoryKey {
        get { kept.fields.key }
        set { change { $0.key = newValue } }
    }
    public var name: String {
        get { kept.fields.name }
        set { change { $0.name = newValue } }
    }
    public var description: String? {
        get { kept.fields.description }
        set { change { $0.description = newValue } }
    }
    /// The string the creator gave (`docker`, `oras`); it is echoed, and mapped to a frontend by `Format.canonical`.
    public var format: String {
        get { kept.fields.format }
        set { change { $0.format = newValue } }
    }
    public var kind: Kind {
        get { kept.fields.kind }
        set { change { $0.kind = newValue } }
    }
    public var isPublic: Bool {
        get { kept.fields.isPublic }
        set { change { $0.isPublic = newValue } }
    }
    /// Logical bytes the repository may hold; nil is unlimited.
    public var quotaBytes: Int64? {
        get { kept.fields.quotaBytes }
        set { change { $0.quotaBytes = newValue } }
    }
    /// Remote: where the upstream is.
    public var upstreamURL: String? {
        get { kept.fields.upstreamURL }
        set { change { $0.upstreamURL = newValue } }
    }
    /// Virtual: members in order of precedence.
    public var members: [Member] {
        get { kept.fields.members }
        set { change { $0.members = newValue } }
    }
    /// Everything else an administrator sets, by the REST field's name: cache TTL, upstream credentials (sealed), format settings.
    public var settings: [String: String] {
        get { kept.fields.settings }
        set { change { $0.settings = newValue } }
    }
    public var created: Timestamp {
        get { kept.fields.created }
        set { change { $0.created = newValue } }
    }
    public var updated: Timestamp {
        get { kept.fields.updated }
        set { change { $0.updated = newValue } }
    }
    /// The revision of the last change inside it: fingerprint of repository-wide views.
    public var revision: Revision {
        get { kept.fields.revision }
        set { change { $0.revision = newValue } }
    }

    public init(
        id: RepositoryID, key: RepositoryKey, name: String, description: String? = nil, format: String, kind: Kind, isPublic: Bool = false,
        quotaBytes: Int64? = nil, upstreamURL: String? = nil, members: [Member] = [], settings: [String: String] = [:], created: Timestamp,
        updated: Timestamp? = nil, revision: Revision = .zero
    ) {
        kept = Kept(
            Fields(
                id: id, key: key, name: name, description: description, format: format, kind: kind, isPublic: isPublic, quotaBytes: quotaBytes,
                upstreamURL: upstreamURL, members: members, settings: settings, created: created, updated: updated ?? created, revision: revision))
    }

    public static func == (a: Repository, b: Repository) -> Bool { a.kept === b.kept || a.kept.fields == b.kept.fields }
    public func hash(into hasher: inout Hasher) { hasher.combine(kept.fields) }

    /// Stands in for a repository that is not there, where the time that a question takes would tell. No repository has its id.
    public static let nowhere: Repository = {
        guard let key = RepositoryKey("nowhere") else { preconditionFailure("a key") }
        return Repository(
            id: RepositoryID(high: 0, low: 0), key: key, name: "", format: "", kind: .local, created: Timestamp(milliseconds: 0))
    }()
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
