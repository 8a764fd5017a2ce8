// OrderedStore: a durable, ordered key-value store with families, on RocksDB. It promises that a commit is on disk when it returns, that a
// group of commits is applied in order and shares its syncs, and that after a failed sync nothing is accepted any more. It knows no meaning
// of any row. Bytes on disk: docs/internals/ordered-store.md.

public import Core
public import Logging
import Synchronization

/// A durable ordered key-value store. Many readers on any thread; one committer thread writes.
public final class OrderedStore: OrderedRows, Sendable {
    /// Bounds on memory and files. The defaults keep an idle server small.
    public struct Options: Sendable {
        /// Data, index and filter blocks in memory.
        public var blockCacheBytes = 32 << 20
        /// One family's memtable, before it is flushed.
        public var memtableBytes = 8 << 20
        /// All memtables together.
        public var memtablesBytesMax = 24 << 20
        /// The write-ahead log, before the oldest family is flushed; bounds the time recovery takes.
        public var logBytesMax = 48 << 20
        public var openFilesMax: Int32 = 256
        /// With less space left, or fewer files that can be made, nothing is committed: after a write that found none RocksDB takes no other until
        /// it is opened again, and flushes and compactions need some. Reads go on.
        public var reserve = FreeSpace(bytes: 32 << 20, files: 64)
        /// Nothing on disk is changed, not even by opening; what is committed fails. Other processes are kept out all the same.
        public var isReadOnly = false
        public init() {}
    }

    /// What has happened since the store was opened.
    public struct Metrics: Sendable, Hashable {
        /// Commits asked for, refused ones included.
        public var commits: UInt64 = 0
        /// Groups they were made in.
        public var groups: UInt64 = 0
        /// Syncs of the callers' files.
        public var fileSyncs: UInt64 = 0
        /// Syncs of the write-ahead log.
        public var logSyncs: UInt64 = 0
        /// Estimated bytes of the rows that are alive.
        public var liveBytes: UInt64 = 0
    }

    private let database: Mutex<Database?>
    private let committer: Committer

    /// Opens the store in the directory `path`, which is made when missing (its parent is not).
    /// - Throws: `unavailable` when another process has it open, `corrupt` when it is damaged, `notFound` when it is only to be read and is
    ///   not there.
    public init(at path: String, families: [Family], options: Options = Options(), logger: Logger) throws(RegistryError) {
        let database = try Database(at: path, families: families, options: options)
        committer = Committer(logger: logger) { Database.hasRoom(at: path, reserve: options.reserve) }
        self.database = Mutex(database)
        try committer.start(on: database)
    }

    deinit { committer.stop() }

    // MARK: Reading

    public func get(_ key: [UInt8], in family: Family) throws(RegistryError) -> [UInt8]? { try opened().get(key, in: family) }

    /// What memory knows of the row, without touching the disk: fit for an event loop.
    public func getCached(_ key: [UInt8], in family: Family) throws(RegistryError) -> CachedRow { try opened().getCached(key, in: family) }

    /// A scan sees the store as it was when it began.
    public func scan(
        _ family: Family, from: [UInt8], upTo: [UInt8]?, reverse: Bool = false,
        _ body: (_ key: [UInt8], _ value: [UInt8]) throws(RegistryError) -> Bool
    ) throws(RegistryError) {
        try opened().scan(family, from: from, upTo: upTo, reverse: reverse, body)
    }

    /// Reads every row there is.
    /// - Throws: `corrupt` when one cannot be read.
    public func readAll() throws(RegistryError) { try opened().readAll() }

    /// For several reads that must agree. Short-lived: it keeps overwritten rows on disk.
    public func snapshot() throws(RegistryError) -> Snapshot { Snapshot(of: try opened()) }

    // MARK: Committing

    /// Brings `files` and what `build` writes to disk, in this order, and returns once both are durable.
    ///
    /// Builds run one after the other on the committer's thread, each seeing those before it; a throwing build leaves no trace, and its error is
    /// thrown here. After a failed sync or write this and every later commit throws `unavailable`, until the store is opened again.
    public func commit<R: Sendable>(
        files: [any SyncableFile] = [], _ build: @escaping @Sendable (Batch) throws(RegistryError) -> R
    ) async throws(RegistryError) -> R {
        let result = await withUnsafeContinuation { (waiter: UnsafeContinuation<Result<R, RegistryError>, Never>) in
            enqueue(files: files, build) { waiter.resume(returning: $0) }
        }
        return try result.get()
    }

    /// As `commit`, without waiting: `completion` runs on the committer's thread, in the order of the builds, and must not block.
    /// - Parameter isPatient: it waits a second for the next one that is not, and is committed with that: it costs no sync of its own then.
    public func enqueue<R: Sendable>(
        files: [any SyncableFile] = [], isPatient: Bool = false, _ build: @escaping @Sendable (Batch) throws(RegistryError) -> R,
        completion: @escaping @Sendable (Result<R, RegistryError>) -> Void
    ) {
        committer.put(Committer.Request(files: files, isPatient: isPatient, build, completion: completion))
    }

    // MARK: Holding changes up

    /// Every commit that would change a row of one of the families is refused from now on, until `release`; reads go on, and commits to other
    /// families. Returns once all that came before it is durable. Called again, the last one counts.
    package func hold(_ families: Set<Family>, refusing refusal: RegistryError) async throws(RegistryError) {
        try await commit { [committer] _ in committer.hold(Committer.Hold(families: families, refusal: refusal)) }
    }

    package func release() { committer.hold(nil) }

    /// As `commit`, and not held up.
    package func commitPastHold(_ build: @escaping @Sendable (Batch) throws(RegistryError) -> Void) async throws(RegistryError) {
        let result = await withUnsafeContinuation { (waiter: UnsafeContinuation<Result<Void, RegistryError>, Never>) in
            committer.put(Committer.Request(files: [], isPatient: false, passesHold: true, build) { waiter.resume(returning: $0) })
        }
        try result.get()
    }

    /// The store as it is now, in a directory that does not exist yet, to be opened or copied; its files may be shared with the store's. Blocks.
    public func checkpoint(at path: String) throws(RegistryError) { try opened().checkpoint(at: path) }

    /// A sync or a write failed: nothing is committed any more, and of what was being committed nobody knows whether it is on disk.
    public var hasFailed: Bool { committer.hasFailed }

    public var metrics: Metrics {
        var metrics = committer.metrics
        metrics.liveBytes = database.withLock { $0 }?.property("rocksdb.estimate-live-data-size") ?? 0
        return metrics
    }

    /// Commits what is queued and lets the directory go, once the last read under way and the last snapshot have ended. May be called again.
    public func close() {
        committer.stop()
        database.withLock { $0 = nil }
    }

    private func opened() throws(RegistryError) -> Database {
        guard let database = database.withLock({ $0 }) else {
            throw RegistryError(.unavailable, subject: .store, reason: "the store is closed")
        }
        return database
    }
}
