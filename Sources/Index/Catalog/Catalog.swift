// Catalog: the mutable truth. Which repositories, packages, versions, assets, tags and records exist, what they point to, and the log of
// how they changed. Nothing here knows a format, a wire protocol or where bytes lie. Two homes: RocksCatalog (one node) and PostgresCatalog
// (several nodes); both pass the one conformance suite of Tests/Support.

public import Core

/// The mutable truth. Reads see every change acknowledged before they began; every call may fail with `corrupt`, `unavailable` or `internal`.
public protocol Catalog: Sendable {
    /// Other processes change it, too: what is remembered of it counts only after a look at the log.
    var isShared: Bool { get }

    /// The one durable step: brings the staged bytes to disk, then applies every part or none, in the log's order, and returns once both
    /// are durable. Group commit: many callers share one sync. A change that changes nothing (a retry) takes no revision and leaves no entry:
    /// the head is returned.
    /// - Throws: what the broken precondition or mutation says (`conflict`, `immutable`, `notFound`, `noSpace` for a quota); nothing changed then.
    @discardableResult
    func apply(_ change: Change, staged: [any StagedBytes]) async throws(RegistryError) -> Revision

    // Repositories
    func repository(_ key: RepositoryKey) async throws(RegistryError) -> Repository?
    func repository(id: RepositoryID) async throws(RegistryError) -> Repository?
    /// In byte order of their keys.
    func repositories(after: RepositoryKey?, limit: Int) async throws(RegistryError) -> [Repository]
    func usage(of repository: RepositoryID) async throws(RegistryError) -> Usage

    // Facts
    /// Whole for `.package` and `.family`; for the other scopes at most `limit` rows after the name `after`, in byte order.
    func facts(in scope: Scope, of repository: RepositoryID, after: String?, limit: Int) async throws(RegistryError) -> Facts
    func package(_ name: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Package?
    func version(_ name: VersionName, of package: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Version?
    func tag(_ name: TagName, of package: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Tag?
    func asset(at path: AssetPath, in repository: RepositoryID) async throws(RegistryError) -> Asset?
    /// Assets whose path begins with `prefix`, after a path, in byte order.
    func assets(in repository: RepositoryID, prefix: String, after: AssetPath?, limit: Int) async throws(RegistryError) -> [Asset]
    func learned(_ view: String, in repository: RepositoryID) async throws(RegistryError) -> LearnedPage?
    /// What an id of the REST API stands for.
    func lookup(_ id: EntityID) async throws(RegistryError) -> Coordinates?

    // Judgements, and why a blob lives
    /// The strictest verdict on the blob; nil when nobody judged it.
    func verdict(on blob: BlobID) async throws(RegistryError) -> Verdict?
    /// Every (blob, repository, path) in order of blob.
    func pins(after: Pin?, limit: Int) async throws(RegistryError) -> [Pin]
    /// What holds this blob.
    func pins(of blob: BlobID, limit: Int) async throws(RegistryError) -> [Pin]

    // The sweep
    /// Which of the blobs, given in order, nothing pins. Only a proposal for `forget`: a change may pin one of them the moment after.
    func unpinned(among blobs: [BlobID]) async throws(RegistryError) -> [UnpinnedBlob]
    /// Notes for each blob that nothing pins, and of which nobody knows since when, that it is without a pin since `time`. So it does where a later
    /// time is noted: a clock was ahead then.
    func noteUnpinned(_ blobs: [BlobID], at time: Timestamp) async throws(RegistryError)
    /// The sweep's durable step: the blobs' locations are gone when this returns, of those alone that nothing pins, whose last pin went at `before`
    /// or earlier, and that `mayGo` lets go. All three are asked, `mayGo` last, at one place in the order of the changes: a change that comes
    /// before keeps the blob, a change that comes after finds that it is not stored. `mayGo` must not block.
    /// - Returns: the blobs forgotten.
    func forget(
        _ blobs: [BlobID], unpinnedBefore before: Timestamp, mayGo: @escaping @Sendable (BlobID) -> Bool
    ) async throws(RegistryError) -> [BlobID]

    // The trash
    /// What was deleted from the repository and is kept, the newest first, of those before a revision.
    func trash(of repository: RepositoryID, before: Revision?, limit: Int) async throws(RegistryError) -> [Deletion]
    func deletion(_ id: DeletionID) async throws(RegistryError) -> Deletion?
    /// Deletions, of whatever repository, whose time was over by `time`; the earliest first.
    func deletionsOver(by time: Timestamp, limit: Int) async throws(RegistryError) -> [DeletionID]

    // Records of other rooms
    func record(_ kind: Record.Kind, id: String) async throws(RegistryError) -> Record?
    func record(_ kind: Record.Kind, unique: String) async throws(RegistryError) -> Record?
    /// In byte order of their ids.
    func records(_ kind: Record.Kind, after: String?, limit: Int) async throws(RegistryError) -> [Record]

    // The log
    /// The newest revision that reads can see.
    func head() async throws(RegistryError) -> Revision
    /// Entries in order, without gaps. `gone` when the log no longer reaches back that far: the follower starts over from facts.
    func log(after: Revision, limit: Int) async throws(RegistryError) -> [LogEntry]
    /// Returns as soon as the head is past `revision` (or the task is cancelled).
    func awaitChange(after revision: Revision) async throws(RegistryError)
}

/// What an id stands for.
public enum Coordinates: Sendable, Hashable {
    case repository(RepositoryID)
    case package(RepositoryID, PackageName)
    case version(RepositoryID, PackageName, VersionName)
    case asset(RepositoryID, AssetPath)
}

/// A blob that nothing pins.
public struct UnpinnedBlob: Sendable, Hashable {
    public var blob: BlobID
    /// When its last pin went, or when it was first seen without one; nil when nobody noted it yet.
    public var since: Timestamp?
    public init(blob: BlobID, since: Timestamp?) {
        self.blob = blob
        self.since = since
    }
}

/// A reason not to sweep a blob. Whatever keeps a blob's id durably and reads the blob later must have a pin of one of these kinds, written and
/// deleted in the same change: there is no other way to keep a blob.
public struct Pin: Sendable, Hashable {
    public enum Reason: Sendable, Hashable {
        case asset(RepositoryID, AssetPath)
        case manifest(RepositoryID, PackageName, VersionName)
        case learned(RepositoryID, view: String)
        /// Something deleted that can be restored.
        case trash(DeletionID)
    }
    public var blob: BlobID
    public var reason: Reason
    public init(blob: BlobID, reason: Reason) {
        self.blob = blob
        self.reason = reason
    }
}

extension Catalog {
    public var isShared: Bool { false }

    @discardableResult
    public func apply(_ change: Change) async throws(RegistryError) -> Revision { try await apply(change, staged: []) }
}
