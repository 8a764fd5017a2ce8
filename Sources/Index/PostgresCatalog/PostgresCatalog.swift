// PostgresCatalog: the catalog's home for several nodes. Rules and rows are those of CatalogRules; here is where they meet PostgreSQL. The changes
// of all nodes are serial, by one row's lock, and their order is the log's; reads go beside them and see what was committed. What memory keeps of
// them (NearRows) is asked by downloads alone, after they have learned what the log says. Tables, locks and cursors:
// docs/internals/postgres-catalog.md.

public import Catalog
import CatalogRules
public import Core
public import Logging
public import OrderedStore
public import PostgresClient
import Synchronization

/// The catalog in a PostgreSQL database.
public final class PostgresCatalog: Catalog, RowStore {
    public struct Options: Sendable {
        /// Entries the log keeps at least; older ones go in small runs.
        public var logEntriesMax: UInt64 = 1_000_000
        /// Of readers. One more changes, one listens.
        public var pool = ConnectionPool.Limits()
        public init() {}
    }

    let world: World
    private let options: Options
    let pool: ConnectionPool
    private let target: PostgresTarget
    private let committer: Committer
    private let watch: HeadWatch
    private let listener: ChangeListener
    private let clearing: Clearing
    let near = NearRows()

    /// Brings the database to this program's schema. What commits blocks meanwhile, on threads of its own.
    /// - Parameter address: a connection URI or string of libpq; it must be able to take part in changes (no read-only replica).
    /// - Throws: `unsupported` when a newer program was there; `unavailable`.
    public init(address: String, world: World, options: Options = Options(), logger: Logger) async throws(RegistryError) {
        self.world = world
        self.options = options
        pool = ConnectionPool(to: address, limits: options.pool)
        target = PostgresTarget(address: address, writer: world.newID())
        let head = try await BlockingPool(threads: 1, name: "migrations").run { () throws(RegistryError) in
            let connection = try Connection.insist(on: address, until: .now + .seconds(5))
            try Migrator.migrate(connection)
            try PostgresTarget.forgetOldWriters(connection)
            let rows = PostgresRows(over: connection)
            try MoveMark.requireNone(in: rows)
            return try CatalogRows(rows: rows).head()
        }
        watch = HeadWatch(head: head)
        listener = ChangeListener(address: address, watch: watch, logger: logger)
        let committer = Committer(logger: logger)
        self.committer = committer
        clearing = Clearing(world: world, logger: logger) { step, completion in
            committer.put(Committer.Request(files: [], isPatient: false, step, completion: completion))
        }
        try committer.start(on: target)
        try listener.start()
        clearing.start()
    }

    deinit { close() }

    public var isShared: Bool { true }

    /// What this node has committed.
    public var metrics: OrderedStore.Metrics { committer.metrics }

    /// Commits what is queued, and lets the connections go. May be called again.
    public func close() {
        listener.stop()
        committer.stop()
        pool.close()
    }

    // MARK: Changing

    @discardableResult
    public func apply(_ change: Change, staged: [any StagedBytes]) async throws(RegistryError) -> Revision {
        for _ in 0..<PostgresCatalog.placementsMax {
            do throws(RegistryError) { return try await commit(change, staged: staged) } catch {
                // A row that it relied on was swept by another node, between the question for it and this change.
                guard error.code == .internal, case .blob(let name) = error.subject, let blob = staged.first(where: { $0.id.description == name }),
                    try await blob.placeAgain()
                else { throw error }
            }
        }
        return try await commit(change, staged: staged)
    }

    /// So often at most bytes are placed again for one change.
    private static let placementsMax = 8

    private func commit(_ change: Change, staged: [any StagedBytes]) async throws(RegistryError) -> Revision {
        let entriesMax = options.logEntriesMax
        let isBuilt = Atomic(false)
        return try await commit(files: staged.flatMap(\.unsynced), reads: change.likelyReads, isPatient: change.isPatient) {
            [world] batch throws(RegistryError) in
            // What another node's change said first, holds: its bytes are as good, and others may be reading them. An object is better than a disk.
            for location in staged.compactMap(\.location) {
                if let row = try batch.get(location.key, in: .blobLocations), let known = try? SharedLocation(row),
                    known.holder == nil || (try? SharedLocation(location.value))?.holder != nil
                {
                    continue
                }
                batch.put(location.key, location.value, in: .blobLocations)
            }
            var run = try ChangeRun(change, on: batch, committed: nil, world: world)
            let outcome = try run.run(logEntriesMax: entriesMax)
            isBuilt.store(true, ordering: .relaxed)
            return outcome
        } completion: { [self] result in
            switch result {
            case .success(let outcome):
                for bytes in staged { bytes.didCommit() }
                watch.advance(to: outcome.revision)
                if outcome.leavesGrave { clearing.start() }
            case .failure:
                guard target.isInDoubt, isBuilt.load(ordering: .relaxed) else { return }
                // Until it is known whether names stand for them, the bytes are not let go.
                target.whenSettled { isCommitted in if isCommitted { for bytes in staged { bytes.didCommit() } } }
            }
        }.revision
    }

    /// - Parameter completion: runs on the committer's thread, before the caller goes on.
    func commit<R: Sendable>(
        files: [any SyncableFile] = [], reads: [RowName] = [], isPatient: Bool = false,
        _ build: @escaping @Sendable (OrderedStore.Batch) throws(RegistryError) -> R,
        completion: @escaping @Sendable (Result<R, RegistryError>) -> Void = { _ in }
    ) async throws(RegistryError) -> R {
        let result = await withUnsafeContinuation { (waiter: UnsafeContinuation<Result<R, RegistryError>, Never>) in
            committer.put(
                Committer.Request(files: files, reads: reads, isPatient: isPatient, build) { result in
                    completion(result)
                    waiter.resume(returning: result)
                })
        }
        return try result.get()
    }

    // MARK: Rows of other rooms

    public func enqueue<R: Sendable>(
        reads: [RowName], isPatient: Bool, _ build: @escaping @Sendable (OrderedStore.Batch) throws(RegistryError) -> R,
        completion: @escaping @Sendable (Result<R, RegistryError>) -> Void
    ) {
        committer.put(Committer.Request(files: [], reads: reads, isPatient: isPatient, isPrerequisite: true, build, completion: completion))
    }

    public func look<R: Sendable>(
        _ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R
    ) async throws(RegistryError) -> R {
        try await pool.read { connection throws(RegistryError) in try read(PostgresRows(over: connection, opening: [PostgresCatalog.moment])) }
    }

    /// The same of a database that no catalog is opened on: for commands beside running nodes, which change nothing.
    /// - Throws: `unsupported` when its schema is not this program's.
    public static func look<R: Sendable>(
        at address: String, _ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R
    ) async throws(RegistryError) -> R {
        try await BlockingPool(threads: 1, name: "postgres").run { () throws(RegistryError) in
            let connection = try Connection.insist(on: address, until: .now + .seconds(5))
            try Migrator.check(connection)
            return try read(PostgresRows(over: connection, opening: [moment]))
        }
    }

    private static let moment = Query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    // MARK: Reading

    private typealias Read<Value> = @Sendable (CatalogRows) throws(RegistryError) -> Value

    /// One query, or several that need not agree.
    private func rows<Value: Sendable>(_ read: @escaping Read<Value>) async throws(RegistryError) -> Value {
        try await pool.read { connection throws(RegistryError) in try read(CatalogRows(rows: PostgresRows(over: connection))) }
    }

    /// For several reads that must agree.
    private func snapshot<Value: Sendable>(_ read: @escaping Read<Value>) async throws(RegistryError) -> Value {
        try await pool.read { connection throws(RegistryError) in
            try read(CatalogRows(rows: PostgresRows(over: connection, opening: [PostgresCatalog.moment])))
        }
    }

    /// One row of a repository that exists.
    private func row<Value: Sendable>(
        _ key: Keyspace, in repository: RepositoryID, _ read: @escaping Read<Value?>
    ) async throws(RegistryError) -> Value? {
        try await rows { rows throws(RegistryError) in
            try rows.willGet([.repository(repository), key])
            guard try rows.exists(repository) else { return nil }
            return try read(rows)
        }
    }

    /// Many rows of a repository; none unless it exists.
    private func list<Value: Sendable>(
        in repository: RepositoryID, else nothing: Value, _ read: @escaping Read<Value>
    ) async throws(RegistryError) -> Value {
        try await snapshot { rows throws(RegistryError) in
            try rows.willGet([.repository(repository), .head])
            guard try rows.exists(repository) else { return nothing }
            return try read(rows)
        }
    }

    public func repository(_ key: RepositoryKey) async throws(RegistryError) -> Repository? {
        let mark = near.mark(.repository(key))
        let repository: Repository? = try await snapshot { rows throws(RegistryError) in
            guard let id = try rows.owner(ofKey: key) else { return nil }
            try rows.willGet([.repository(id), .totals(id)])
            return try rows.held(id)?.repository
        }
        near.keep(repository.map { .repository($0) }, as: .repository(key), since: mark)
        return repository
    }

    private func held(_ id: RepositoryID) async throws(RegistryError) -> Held? {
        try await rows { rows throws(RegistryError) in
            try rows.willGet([.repository(id), .totals(id)])
            return try rows.held(id)
        }
    }

    public func repository(id: RepositoryID) async throws(RegistryError) -> Repository? { try await held(id)?.repository }
    public func usage(of repository: RepositoryID) async throws(RegistryError) -> Usage { try await held(repository)?.usage ?? Usage() }
    public func repositories(after: RepositoryKey?, limit: Int) async throws(RegistryError) -> [Repository] {
        try await snapshot { rows throws(RegistryError) in try rows.repositories(after: after, limit: limit) }
    }

    public func package(_ name: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Package? {
        let mark = near.mark(.package(repository, name))
        let package = try await row(.package(repository, name.text), in: repository) { rows throws(RegistryError) in
            try rows.package(name, in: repository)
        }
        near.keep(package.map { .package($0) }, as: .package(repository, name), since: mark)
        return package
    }

    public func version(_ name: VersionName, of package: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Version? {
        try await row(.version(repository, package.text, name.text), in: repository) { rows throws(RegistryError) in
            try rows.version(name, of: package, in: repository)
        }
    }

    public func tag(_ name: TagName, of package: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Tag? {
        try await row(.tag(repository, package.text, name.text), in: repository) { rows throws(RegistryError) in
            try rows.tag(name, of: package, in: repository)
        }
    }

    public func asset(at path: AssetPath, in repository: RepositoryID) async throws(RegistryError) -> Asset? {
        let mark = near.mark(.asset(repository, path))
        let asset = try await row(.asset(repository, path.text), in: repository) { rows throws(RegistryError) in
            try rows.asset(at: path, in: repository)?.asset
        }
        near.keep(asset.map { .asset($0) }, as: .asset(repository, path), since: mark)
        return asset
    }

    public func learned(_ view: String, in repository: RepositoryID) async throws(RegistryError) -> LearnedPage? {
        try await row(.learned(repository, view), in: repository) { rows throws(RegistryError) in try rows.learned(view, in: repository) }
    }

    public func deletion(_ id: DeletionID) async throws(RegistryError) -> Deletion? {
        try await row(.deletion(id), in: id.repository) { rows throws(RegistryError) in try rows.deletion(id) }
    }

    public func lookup(_ id: EntityID) async throws(RegistryError) -> Coordinates? {
        try await rows { rows throws(RegistryError) in
            try rows.willGet([.repository(id), .entity(id)])
            if try rows.exists(id) { return .repository(id) }
            guard let found = try rows.coordinates(of: id), try rows.exists(found.repository) else { return nil }
            return found
        }
    }

    public func verdict(on blob: BlobID) async throws(RegistryError) -> Verdict? {
        let mark = near.mark(.verdict(blob))
        let verdict = try await rows { rows throws(RegistryError) in try rows.verdict(on: blob) }
        near.keep(.verdict(verdict), as: .verdict(blob), since: mark)
        return verdict
    }

    public func record(_ kind: Record.Kind, id: String) async throws(RegistryError) -> Record? {
        try await rows { rows throws(RegistryError) in try rows.record(kind, id: id) }
    }

    public func record(_ kind: Record.Kind, unique: String) async throws(RegistryError) -> Record? {
        try await snapshot { rows throws(RegistryError) in
            guard let owner = try rows.owner(ofUnique: unique, kind) else { return nil }
            return try rows.record(kind, id: owner)
        }
    }

    public func records(_ kind: Record.Kind, after: String?, limit: Int) async throws(RegistryError) -> [Record] {
        try await rows { rows throws(RegistryError) in try rows.records(kind, after: after, limit: limit) }
    }

    public func facts(in scope: Scope, of repository: RepositoryID, after: String?, limit: Int) async throws(RegistryError) -> Facts {
        try await list(in: repository, else: Facts()) { rows throws(RegistryError) in
            try rows.facts(in: scope, of: repository, after: after, limit: limit)
        }
    }

    public func assets(in repository: RepositoryID, prefix: String, after: AssetPath?, limit: Int) async throws(RegistryError) -> [Asset] {
        try await list(in: repository, else: []) { rows throws(RegistryError) in
            try rows.assets(in: repository, prefix: prefix, after: after, limit: limit)
        }
    }

    public func trash(of repository: RepositoryID, before: Revision?, limit: Int) async throws(RegistryError) -> [Deletion] {
        try await list(in: repository, else: []) { rows throws(RegistryError) in try rows.trash(of: repository, before: before, limit: limit) }
    }

    public func deletionsOver(by time: Timestamp, limit: Int) async throws(RegistryError) -> [DeletionID] {
        try await snapshot { rows throws(RegistryError) in
            // Those of a repository that is being cleared away go with it.
            try rows.deletionsOver(by: time, limit: limit) { id throws(RegistryError) in try rows.exists(id.repository) }
        }
    }

    // MARK: The sweep

    public func pins(after: Pin?, limit: Int) async throws(RegistryError) -> [Pin] {
        try await snapshot { rows throws(RegistryError) in try rows.pins(after: after, limit: limit) }
    }

    public func pins(of blob: BlobID, limit: Int) async throws(RegistryError) -> [Pin] {
        try await snapshot { rows throws(RegistryError) in try rows.pins(of: blob, limit: limit) }
    }

    public func unpinned(among blobs: [BlobID]) async throws(RegistryError) -> [UnpinnedBlob] {
        try await snapshot { rows throws(RegistryError) in try rows.unpinned(among: blobs) }
    }

    public func noteUnpinned(_ blobs: [BlobID], at time: Timestamp) async throws(RegistryError) {
        guard !blobs.isEmpty else { return }
        try await commit(reads: PostgresCatalog.notes(of: blobs)) { batch throws(RegistryError) in
            try CatalogRows.noteUnpinned(blobs, at: time, on: batch)
        }
    }

    public func forget(
        _ blobs: [BlobID], unpinnedBefore before: Timestamp, mayGo: @escaping @Sendable (BlobID) -> Bool
    ) async throws(RegistryError) -> [BlobID] {
        guard !blobs.isEmpty else { return [] }
        let locations = blobs.map { RowName($0.bytes, in: .blobLocations) }
        return try await commit(reads: locations + PostgresCatalog.notes(of: blobs)) { batch throws(RegistryError) in
            try CatalogRows.forget(blobs, unpinnedBefore: before, mayGo: mayGo, on: batch)
        }
    }

    private static func notes(of blobs: [BlobID]) -> [RowName] { blobs.map { RowName(Keyspace.unpinned($0).bytes, in: CatalogRows.family) } }

    // MARK: The log

    public func head() async throws(RegistryError) -> Revision { try await rows { rows throws(RegistryError) in try rows.head() } }

    public func log(after: Revision, limit: Int) async throws(RegistryError) -> [LogEntry] {
        try await snapshot { rows throws(RegistryError) in
            try rows.willGet([.head, .logStart])
            return try rows.log(after: after, limit: limit, head: try rows.head())
        }
    }

    public func awaitChange(after revision: Revision) async throws(RegistryError) { await watch.wait(after: revision) }
}
