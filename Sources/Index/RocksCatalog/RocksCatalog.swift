// RocksCatalog: the catalog's home on one node. Every change is one build on the store's committer thread, so changes are serial and their
// order is the log's; reads go beside it, from memory where they can. It never reads or writes a blob's bytes.
// Bytes on disk: docs/internals/catalog.md and log.md.

public import Catalog
import CatalogRules
public import Core
public import Logging
public import OrderedStore

/// The catalog on an ordered store.
public final class RocksCatalog: HotCatalog {
    /// Its rows. Where blobs lie is in `OrderedStore.Family.blobLocations`, keyed by the blob's 32 bytes; it is written in the same batch.
    public static let family = CatalogRows.family
    /// What the store must be opened with.
    public static let families = [family, .blobLocations, .chunks, .tierObjects, .heldBlobs, .audit]

    public struct Options: Sendable {
        /// Entries the log keeps at least; older ones go in small runs.
        public var logEntriesMax: UInt64 = 1_000_000
        /// The store is only read: what is left of deleted repositories stays.
        public var isReadOnly = false
        public init() {}
    }

    let store: OrderedStore
    let pool: BlockingPool
    /// For questions of the sweep, for which nobody waits.
    let sweepPool = BlockingPool(threads: 1, name: "pins", isBackground: true)
    private let world: World
    private let options: Options
    private let repositories = RepositoryMap()
    private let watch: HeadWatch
    private let recentLog: RecentLog
    public let stamps = FactStamps()
    private let clearing: Clearing

    /// Takes over the store's family, giving a new one its format number. Reads the repositories and nothing else, however much there is.
    /// - Throws: `unsupported` when a newer program wrote the store.
    public init(
        store: OrderedStore, pool: BlockingPool, world: World, options: Options = Options(), logger: Logger
    ) async throws(RegistryError) {
        self.store = store
        self.pool = pool
        self.world = world
        self.options = options
        clearing = Clearing(world: world, logger: logger) { step, completion in store.enqueue(step, completion: completion) }
        let (head, held) = try await store.commit { batch throws(RegistryError) in try RocksCatalog.adopt(batch, isReadOnly: options.isReadOnly) }
        watch = HeadWatch(head: head)
        recentLog = RecentLog(after: head, logEntriesMax: options.logEntriesMax)
        repositories.update(held)
        if !options.isReadOnly { clearing.start() }
    }

    private static func adopt(_ batch: OrderedStore.Batch, isReadOnly: Bool) throws(RegistryError) -> (Revision, [RepositoryID: Held?]) {
        let rows = CatalogRows(rows: batch)
        if !isReadOnly { try MoveMark.requireNone(in: batch) }
        var isOlder = true
        if let format = try rows.get(.format, { reader throws(RegistryError) in try reader.readUInt32() }) {
            isOlder = format < RowCoding.storeFormat
            guard format <= RowCoding.storeFormat else {
                throw RegistryError(
                    .unsupported, subject: .store,
                    reason: "the store has format \(format) and this program knows up to \(RowCoding.storeFormat); start a newer one")
            }
        }
        // Format 1 is this one without a trash: nothing has to be rewritten.
        if isOlder, !isReadOnly { batch.put(Keyspace.format.bytes, RowCoding.encode { $0.write(RowCoding.storeFormat) }, in: family) }
        let ids = try rows.list(Key(.repository)) { key, _ throws(RegistryError) -> RepositoryID? in
            if case .repository(let id) = key { id } else { nil }
        }
        var held: [RepositoryID: Held?] = [:]
        for id in ids { held[id] = try rows.held(id) }
        return (try rows.head(), held)
    }

    // MARK: Changing

    @discardableResult
    public func apply(_ change: Change, staged: [any StagedBytes]) async throws(RegistryError) -> Revision {
        let entriesMax = options.logEntriesMax
        let result = await withUnsafeContinuation { (waiter: UnsafeContinuation<Result<Revision, RegistryError>, Never>) in
            store.enqueue(files: staged.flatMap(\.unsynced), isPatient: change.isPatient) {
                [world, repositories, watch] batch throws(RegistryError) in
                for location in staged.compactMap(\.location) { batch.put(location.key, location.value, in: .blobLocations) }
                var run = try ChangeRun(change, on: batch, committed: (repositories, watch.head), world: world)
                return try run.run(logEntriesMax: entriesMax)
            } completion: { [self] result in
                // On the committer's thread: memory follows the log in its order, and before the caller hears of it.
                if case .success(let outcome) = result { complete(outcome, staged) }
                waiter.resume(returning: result.map(\.revision))
            }
        }
        return try result.get()
    }

    private func complete(_ outcome: ChangeRun.Outcome, _ staged: [any StagedBytes]) {
        for bytes in staged { bytes.didCommit() }
        repositories.update(outcome.repositories)
        if let entry = outcome.entry {
            for touched in entry.touched { stamps.advance(touched) }
            recentLog.append(entry)
        }
        watch.advance(to: outcome.revision)
        if outcome.leavesGrave { clearing.start() }
    }

    // MARK: Reading one row

    private typealias Decode<Value> = @Sendable (inout BinaryReader) throws(RegistryError) -> Value

    /// From memory on the caller's thread; a row that only the disk has is read by the pool.
    private func row<Value: Sendable>(_ key: Keyspace, _ decode: @escaping Decode<Value>) async throws(RegistryError) -> Value? {
        switch try cachedRow(key, decode) {
        case .found(let value): return value
        case .absent: return nil
        case .unknown: return try await onPool { rows throws(RegistryError) in try rows.get(key, decode) }
        }
    }

    private func cachedRow<Value: Sendable>(_ key: Keyspace, _ decode: Decode<Value>) throws(RegistryError) -> CachedRead<Value> {
        switch try store.getCached(key.bytes, in: RocksCatalog.family) {
        case .found(let bytes): .found(try RowCoding.decode(bytes, decode))
        case .absent: .absent
        case .unknown: .unknown
        }
    }

    private func onPool<Value: Sendable>(
        _ read: @escaping @Sendable (CatalogRows) throws(RegistryError) -> Value
    ) async throws(RegistryError) -> Value {
        try await pool.run { [store] () throws(RegistryError) in try read(CatalogRows(rows: store)) }
    }

    /// For several reads that must agree.
    func onSnapshot<Value: Sendable>(
        by pool: BlockingPool? = nil, _ read: @escaping @Sendable (CatalogRows) throws(RegistryError) -> Value
    ) async throws(RegistryError) -> Value {
        try await (pool ?? self.pool).run { [store] () throws(RegistryError) in try read(CatalogRows(rows: try store.snapshot())) }
    }

    private func exists(_ id: RepositoryID) -> Bool { repositories.find(id) != nil }

    public func cachedRepository(_ key: RepositoryKey) -> CachedRead<Repository> { repositories.find(key).map { .found($0) } ?? .absent }

    public func cachedAsset(at path: AssetPath, in repository: RepositoryID) throws(RegistryError) -> CachedRead<Asset> {
        guard exists(repository) else { return .absent }
        return try cachedRow(.asset(repository, path.text)) { reader throws(RegistryError) in try reader.readStoredAsset().asset }
    }

    public func cachedPackage(_ name: PackageName, in repository: RepositoryID) throws(RegistryError) -> CachedRead<Package> {
        guard exists(repository) else { return .absent }
        return try cachedRow(.package(repository, name.text)) { reader throws(RegistryError) in try reader.readPackage() }
    }

    public func cachedVerdict(on blob: BlobID) throws(RegistryError) -> CachedRead<Verdict> {
        let verdicts = try cachedRow(.verdicts(blob)) { reader throws(RegistryError) in
            try reader.readEach { reader throws(RegistryError) in try reader.readVerdict(on: blob) }
        }
        return switch verdicts {
        case .found(let all): CatalogRows.strictest(all).map { .found($0) } ?? .absent
        case .absent: .absent
        case .unknown: .unknown
        }
    }

    public func repository(_ key: RepositoryKey) async throws(RegistryError) -> Repository? { repositories.find(key) }
    public func repository(id: RepositoryID) async throws(RegistryError) -> Repository? { repositories.find(id)?.repository }
    public func repositories(after: RepositoryKey?, limit: Int) async throws(RegistryError) -> [Repository] {
        repositories.list(after: after, limit: limit)
    }
    public func usage(of repository: RepositoryID) async throws(RegistryError) -> Usage { repositories.find(repository)?.usage ?? Usage() }

    public func package(_ name: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Package? {
        guard exists(repository) else { return nil }
        return try await row(.package(repository, name.text)) { reader throws(RegistryError) in try reader.readPackage() }
    }

    public func version(_ name: VersionName, of package: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Version? {
        guard exists(repository) else { return nil }
        return try await row(.version(repository, package.text, name.text)) { reader throws(RegistryError) in try reader.readVersion() }
    }

    public func tag(_ name: TagName, of package: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Tag? {
        guard exists(repository) else { return nil }
        return try await row(.tag(repository, package.text, name.text)) { reader throws(RegistryError) in try reader.readTag() }
    }

    public func asset(at path: AssetPath, in repository: RepositoryID) async throws(RegistryError) -> Asset? {
        guard exists(repository) else { return nil }
        return try await row(.asset(repository, path.text)) { reader throws(RegistryError) in try reader.readStoredAsset().asset }
    }

    public func learned(_ view: String, in repository: RepositoryID) async throws(RegistryError) -> LearnedPage? {
        guard exists(repository) else { return nil }
        return try await row(.learned(repository, view)) { reader throws(RegistryError) in try reader.readLearnedPage(repository, view: view) }
    }

    public func lookup(_ id: EntityID) async throws(RegistryError) -> Coordinates? {
        if exists(id) { return .repository(id) }
        let found = try await row(.entity(id)) { reader throws(RegistryError) in try reader.readCoordinates() }
        return found.flatMap { exists($0.repository) ? $0 : nil }
    }

    public func verdict(on blob: BlobID) async throws(RegistryError) -> Verdict? {
        let verdicts = try await row(.verdicts(blob)) { reader throws(RegistryError) in
            try reader.readEach { reader throws(RegistryError) in try reader.readVerdict(on: blob) }
        }
        return verdicts.flatMap(CatalogRows.strictest)
    }

    public func record(_ kind: Record.Kind, id: String) async throws(RegistryError) -> Record? {
        try await row(.record(kind.rawValue, id)) { reader throws(RegistryError) in try reader.readRecord(kind, id: id) }
    }

    public func record(_ kind: Record.Kind, unique: String) async throws(RegistryError) -> Record? {
        let owner = try await row(.recordUnique(kind.rawValue, unique)) { reader throws(RegistryError) in try reader.readString() }
        guard let owner else { return nil }
        // Between the two reads the key may have moved to another record.
        let record = try await record(kind, id: owner)
        return record?.unique == unique ? record : nil
    }

    // MARK: Reading many rows

    public func facts(in scope: Scope, of repository: RepositoryID, after: String?, limit: Int) async throws(RegistryError) -> Facts {
        guard exists(repository) else { return Facts() }
        return try await onSnapshot { rows throws(RegistryError) in try rows.facts(in: scope, of: repository, after: after, limit: limit) }
    }

    public func assets(in repository: RepositoryID, prefix: String, after: AssetPath?, limit: Int) async throws(RegistryError) -> [Asset] {
        guard exists(repository) else { return [] }
        return try await onPool { rows throws(RegistryError) in try rows.assets(in: repository, prefix: prefix, after: after, limit: limit) }
    }

    public func trash(of repository: RepositoryID, before: Revision?, limit: Int) async throws(RegistryError) -> [Deletion] {
        guard exists(repository) else { return [] }
        return try await onPool { rows throws(RegistryError) in try rows.trash(of: repository, before: before, limit: limit) }
    }

    public func deletion(_ id: DeletionID) async throws(RegistryError) -> Deletion? {
        guard exists(id.repository) else { return nil }
        return try await row(.deletion(id)) { reader throws(RegistryError) in try reader.readDeletion(id) }
    }

    public func deletionsOver(by time: Timestamp, limit: Int) async throws(RegistryError) -> [DeletionID] {
        try await onPool { rows throws(RegistryError) in
            // Those of a repository that is being cleared away go with it.
            try rows.deletionsOver(by: time, limit: limit) { id in self.exists(id.repository) }
        }
    }

    public func records(_ kind: Record.Kind, after: String?, limit: Int) async throws(RegistryError) -> [Record] {
        try await onPool { rows throws(RegistryError) in try rows.records(kind, after: after, limit: limit) }
    }

    // MARK: The log

    public func head() async throws(RegistryError) -> Revision { watch.head }

    public func log(after: Revision, limit: Int) async throws(RegistryError) -> [LogEntry] {
        if let entries = recentLog.entries(after: after, limit: limit) { return entries }
        let head = watch.head
        return try await onSnapshot { rows throws(RegistryError) in try rows.log(after: after, limit: limit, head: head) }
    }

    public func awaitChange(after revision: Revision) async throws(RegistryError) { await watch.wait(after: revision) }
}
