public import Core

/// One change to the truth: what is stored, logged, followed, replicated and audited.
public struct Change: Sendable {
    public enum Part: Sendable {
        case edit(RepositoryID, Edit)
        /// Creates or replaces; the catalog keeps the revision. `conflict` when the key belongs to another repository, or a repository of this
        /// id is still being deleted.
        case putRepository(Repository)
        /// Removes the repository with everything in it; its tombstones go too. `notFound` when there is none.
        case deleteRepository(RepositoryID)
        /// Creates or replaces a record. With `ifRevision`, `conflict` unless the stored one has that revision (zero: absent).
        /// `Record.unique` is another key the record owns inside its kind (a user's name); `conflict` when another record owns it.
        case putRecord(Record, ifRevision: Revision?)
        /// An absent one is no error.
        case deleteRecord(Record.Kind, id: String)
        /// How many bytes the repositories of a project may hold together; nil: as many as they like. What they hold now counts, and is not refused.
        /// From then on a change after which they would hold more than that, and more than before it, is refused: `noSpace`.
        case putQuota(project: EntityID, bytes: Int64?)
        /// Replaces what this inspector said of the blob before.
        case putVerdict(Verdict)
        /// What a remote has learned from one upstream document: replaces what it knew. A page that differs only in when it was fetched and how long
        /// it is fresh keeps its revision, and the repository's: what was rendered from it stays valid.
        case learned(LearnedPage)
        /// Puts back what was deleted, all of it or the assets at some paths with their versions, under its old ids and with a new revision.
        /// `notFound` when it is not in the trash (any more); `conflict` when a name is taken, or what it belongs to is gone; `noSpace` for a quota.
        case restore(DeletionID, only: Set<AssetPath>?)
        /// Forgets what was deleted for good. An absent one is no error.
        case purge(DeletionID)
    }

    public var actor: Actor
    public var at: Timestamp
    public var requestID: String
    public var parts: [Part]
    /// What its edits delete goes to the trash of its repository until then; nil: it is gone at once. What an edit deletes and the same change
    /// puts again is replaced, not deleted.
    public var keepsDeletedUntil: Timestamp?
    /// Nobody is kept waiting by it: a catalog may let it wait a second for another change, whose commit then does for both.
    public var isPatient: Bool

    public init(
        actor: Actor, at: Timestamp, requestID: String, parts: [Part], keepsDeletedUntil: Timestamp? = nil, isPatient: Bool = false
    ) {
        self.actor = actor
        self.at = at
        self.requestID = requestID
        self.parts = parts
        self.keepsDeletedUntil = keepsDeletedUntil
        self.isPatient = isPatient
    }
}

/// A small row that belongs to a room rather than to a repository: users, tokens, permissions, settings, cursors.
/// The room that owns the kind encodes the value; the catalog keeps it and finds it.
public struct Record: Sendable, Hashable {
    public enum Kind: UInt8, Sendable, CaseIterable {
        case user = 1
        case token, permission, session, setting, cursor, upload, download, signing, access, group, membership, project, lease, node, quota, edition
    }

    public var kind: Kind
    public var id: String
    /// A second key, unique inside the kind; found with `record(_:unique:)`.
    public var unique: String?
    public var value: [UInt8]
    public var revision: Revision

    public init(kind: Kind, id: String, unique: String? = nil, value: [UInt8], revision: Revision = .zero) {
        self.kind = kind
        self.id = id
        self.unique = unique
        self.value = value
        self.revision = revision
    }
}

/// A dated judgement of a blob by a named inspector. The gate on the read path asks for the strictest one.
public struct Verdict: Sendable, Hashable {
    public enum State: UInt8, Sendable, Comparable {
        case allowed = 0
        case pending, quarantined, blocked
        public static func < (a: State, b: State) -> Bool { a.rawValue < b.rawValue }
    }
    public var blob: BlobID
    public var state: State
    public var inspector: String
    public var reason: String
    public var at: Timestamp
    public init(blob: BlobID, state: State, inspector: String, reason: String, at: Timestamp) {
        self.blob = blob
        self.state = state
        self.inspector = inspector
        self.reason = reason
        self.at = at
    }
}

/// What a remote repository learned from one upstream document: one block of encoded facts with its validator.
public struct LearnedPage: Sendable, Hashable {
    public var repository: RepositoryID
    /// The identity of the view the document belongs to (`simple-project/requests`).
    public var view: String
    /// The facts, encoded by `FactsCoding`; empty when `absent`.
    public var block: Manifest
    /// The upstream said there is no such document.
    public var absent: Bool
    public var etag: String?
    public var lastModified: String?
    public var fetched: Timestamp
    /// Until then it is served without asking.
    public var freshUntil: Timestamp
    public var revision: Revision
    public init(
        repository: RepositoryID, view: String, block: Manifest, absent: Bool = false, etag: String?, lastModified: String?, fetched: Timestamp,
        freshUntil: Timestamp, revision: Revision = .zero
    ) {
        self.repository = repository
        self.view = view
        self.block = block
        self.absent = absent
        self.etag = etag
        self.lastModified = lastModified
        self.fetched = fetched
        self.freshUntil = freshUntil
        self.revision = revision
    }
}

/// A change as the log keeps it, with what it did in the eyes of a follower.
public struct LogEntry: Sendable {
    /// What was touched, so that a follower need not decode mutations.
    public enum Touched: Sendable, Hashable {
        case repository(RepositoryID)
        case package(RepositoryID, PackageName)
        /// With the blob the path now has (nil: deleted) and the growth in logical bytes.
        case asset(RepositoryID, AssetPath, BlobID?, deltaBytes: Int64)
        case tag(RepositoryID, PackageName, TagName)
        case record(Record.Kind, String)
        case verdict(BlobID)
        case learned(RepositoryID, view: String)
        /// A deletion was restored, in whole or in part, or purged.
        case trash(DeletionID)
    }
    public var revision: Revision
    public var actor: Actor
    public var at: Timestamp
    public var requestID: String
    public var touched: [Touched]
    public init(revision: Revision, actor: Actor, at: Timestamp, requestID: String, touched: [Touched]) {
        self.revision = revision
        self.actor = actor
        self.at = at
        self.requestID = requestID
        self.touched = touched
    }
}
