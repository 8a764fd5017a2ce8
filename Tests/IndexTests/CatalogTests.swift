import Catalog
import Core
import Logging
import OrderedStore
import RocksCatalog
import TestSupport
import Testing

@Suite("Catalog") struct CatalogTests {
    @Test("on the ordered store", arguments: CatalogConformance.all) func rocks(_ claim: CatalogConformance) async throws {
        let home = try await RocksHome()
        try await claim.check(home.catalog)
    }

    @Test("in the model", arguments: CatalogConformance.all) func model(_ claim: CatalogConformance) async throws {
        try await claim.check(MemoryCatalog())
    }

    @Test("one change after the other, the store and the model accept, refuse and show the same") func sequential() async throws {
        let home = try await RocksHome()
        let (model, seed) = try await CatalogModelCheck.oneByOne(home.catalog)
        let again = try await home.reopened()
        #expect(try await CatalogPicture(of: again.catalog) == CatalogPicture(of: model), "after a restart, seed \(seed)")
    }

    @Test("changes from many tasks end as their log says, one after the other") func concurrent() async throws {
        let home = try await RocksHome()
        try await CatalogModelCheck.manyAtOnce([home.catalog])
    }

    @Test("a copy taken under load opens as a prefix of the log, whole", .timeLimit(.minutes(10))) func crash() async throws {
        let seed = SeededRandom.runSeed
        print("GRANARY_SEED=\(seed)")
        let home = try await RocksHome()
        let applied = Applied()
        await applied.apply(RandomChanges.beginning, [], to: home.catalog)
        let acknowledged = try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<4 {
                group.addTask { [catalog = home.catalog] in
                    var changes = RandomChanges(seed: seed &+ UInt64(task), label: "t\(task)", deletesRepositories: true)
                    for _ in 0..<150 {
                        let (change, staged) = changes.next()
                        await applied.apply(change, staged, to: catalog)
                    }
                }
            }
            try await home.catalog.awaitChange(after: Revision(40))
            let acknowledged = try await home.catalog.head()
            try home.directory.copy("db", to: "copy")
            try await group.waitForAll()
            return acknowledged
        }
        let copy = try await RocksHome(in: home.directory, "copy")
        let entries = try await copy.catalog.log(after: .zero, limit: .max)
        #expect(entries.map(\.revision.number) == Array(1...UInt64(entries.count)))
        #expect(try await copy.catalog.head() >= acknowledged, "what was acknowledged before the copy is in it")
        let model = MemoryCatalog()
        try await applied.replay(entries, on: model)
        #expect(try await CatalogPicture(of: copy.catalog) == CatalogPicture(of: model), "seed \(seed)")
    }

    @Test("staged bytes are told once when they are committed, and not when their change is refused") func told() async throws {
        let home = try await RocksHome()
        await #expect(throws: RegistryError.self) {
            try await home.catalog.apply(
                Change(actor: .system, at: Timestamp(seconds: 1), requestID: "", parts: [.deleteRepository(EntityID(high: 1, low: 1))]),
                staged: [BlobRow(RandomChanges.blobs[0])])
        }
        #expect(try home.store.get(RandomChanges.blobs[0].bytes, in: .blobLocations) == nil)
        let blob = BlobRow(RandomChanges.blobs[1])
        try await home.catalog.apply(RandomChanges.beginning, staged: [blob])
        #expect(blob.commits == 1)
        #expect(try home.store.get(blob.id.bytes, in: .blobLocations) == [1])
    }

    @Test("memory answers the hot questions, and knows a deleted repository at once") func hot() async throws {
        let home = try await RocksHome()
        try await home.catalog.apply(RandomChanges.beginning)
        let id = RandomChanges.repositories[0]
        let key = try #require(RepositoryKey("r0"))
        let path = try #require(AssetPath("a"))
        let draft = AssetDraft(path: path, blob: RandomChanges.blobs[0], size: 1, contentType: "t")
        let change = Change(
            actor: .system, at: Timestamp(seconds: 1), requestID: "",
            parts: [.edit(id, Edit(mutations: [.putAsset(draft, overwrite: .never)]))])
        let revision = try await home.catalog.apply(change, staged: [BlobRow(draft.blob)])
        guard case .found(let repository) = home.catalog.cachedRepository(key),
            case .found(let asset) = try home.catalog.cachedAsset(at: path, in: id)
        else {
            Issue.record("what was just written is in memory")
            return
        }
        #expect([repository.revision, asset.revision] == [revision, revision])
        let verdict = Verdict(blob: draft.blob, state: .blocked, inspector: "i", reason: "", at: Timestamp(seconds: 1))
        try await home.catalog.apply(Change(actor: .system, at: verdict.at, requestID: "", parts: [.putVerdict(verdict)]))
        if case .found(let found) = try home.catalog.cachedVerdict(on: draft.blob) { #expect(found == verdict) } else { Issue.record("a verdict") }
        try await home.catalog.apply(Change(actor: .system, at: verdict.at, requestID: "", parts: [.deleteRepository(id)]))
        if case .absent = try home.catalog.cachedAsset(at: path, in: id), case .absent = home.catalog.cachedRepository(key) {
        } else {
            Issue.record("a deleted repository is absent")
        }
    }

    @Test("a store of a newer format is refused") func newerFormat() async throws {
        let home = try await RocksHome()
        try await home.store.commit { batch throws(RegistryError) in
            batch.put([1, 0], [1, 0, 0, 0, 3], in: RocksCatalog.family)
        }
        let error = await #expect(throws: RegistryError.self) { try await home.reopened() }
        #expect(error?.code == .unsupported)
    }

    @Test("a store of the format before the trash opens, and has one from then on") func olderFormat() async throws {
        let home = try await RocksHome()
        try await home.catalog.apply(RandomChanges.beginning, staged: [BlobRow(RandomChanges.blobs[0])])
        let path = try #require(AssetPath("a"))
        let id = RandomChanges.repositories[0]
        func edit(_ mutation: Mutation) -> Change {
            Change(
                actor: .system, at: Timestamp(seconds: 1), requestID: "", parts: [.edit(id, Edit(mutations: [mutation]))],
                keepsDeletedUntil: Timestamp(seconds: 2))
        }
        try await home.catalog.apply(
            edit(.putAsset(AssetDraft(path: path, blob: RandomChanges.blobs[0], size: 1, contentType: "t"), overwrite: .never)))
        try await home.store.commit { batch throws(RegistryError) in
            batch.put([1, 0], [1, 0, 0, 0, 1], in: RocksCatalog.family)
        }
        let again = try await home.reopened()
        #expect(try again.store.get([1, 0], in: RocksCatalog.family) == [1, 0, 0, 0, 2])
        #expect(try await again.catalog.usage(of: id) == Usage(assets: 1, bytes: 1))
        try await again.catalog.apply(edit(.deleteAsset(path)))
        let last = try await again.reopened()
        #expect(try await last.catalog.usage(of: id) == Usage(deletions: 1, trashBytes: 1))
    }

    @Test("the log keeps what it promises, trims in runs, and tells a late follower to start over") func retention() async throws {
        let home = try await RocksHome(logEntriesMax: 20)
        for index in 0..<100 {
            try await home.catalog.apply(
                Change(
                    actor: .system, at: Timestamp(seconds: 1), requestID: "",
                    parts: [.putRecord(Record(kind: .setting, id: "s", value: [UInt8(index)]), ifRevision: nil)]))
        }
        let late = await #expect(throws: RegistryError.self) { try await home.catalog.log(after: Revision(60), limit: 10) }
        #expect(late?.code == .gone)
        let kept = try await home.catalog.log(after: Revision(80), limit: 100)
        #expect(kept.map(\.revision.number) == Array(81...100))
        var rows = 0
        try home.store.scan(RocksCatalog.family, prefix: [19]) { _, _ in
            rows += 1
            return true
        }
        #expect((20...25).contains(rows), "\(rows) entries are left")
    }

    @Test("deleting a repository leaves no row of it behind, also when the server stopped meanwhile") func clearing() async throws {
        let home = try await RocksHome()
        let id = EntityID(high: 7, low: 7)
        var changes = RandomChanges(seed: 5, label: "c", deletesRepositories: false)
        for _ in 0..<200 {
            let (change, staged) = changes.next()
            _ = await outcome(of: change, staged, on: home.catalog)
        }
        for repository in RandomChanges.repositories + [id] {
            let change = Change(actor: .system, at: Timestamp(seconds: 1), requestID: "", parts: [.deleteRepository(repository)])
            _ = await outcome(of: change, [], on: home.catalog)
        }
        // The steps are queued behind each other: each commit of ours lets at least one pass. The tags: totals to entities' pins, and graves.
        let scattered: [UInt8] = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 20]
        func remaining() throws -> Int {
            var rows = 0
            for tag in scattered {
                try home.store.scan(RocksCatalog.family, prefix: [tag]) { _, _ in
                    rows += 1
                    return true
                }
            }
            return rows
        }
        for _ in 0..<50 where try remaining() > 0 { try await home.store.commit { _ in } }
        #expect(try remaining() == 0)
    }
}

/// A catalog in a directory of its own.
struct RocksHome {
    let directory: TemporaryDirectory
    let store: OrderedStore
    let catalog: RocksCatalog
    private let pool = BlockingPool()

    init(in directory: TemporaryDirectory? = nil, _ name: String = "db", logEntriesMax: UInt64 = 1_000_000) async throws {
        let directory = try directory ?? TemporaryDirectory()
        let logger = Logger(label: "test")
        var options = RocksCatalog.Options()
        options.logEntriesMax = logEntriesMax
        self.directory = directory
        store = try OrderedStore(at: directory.file(name), families: RocksCatalog.families, logger: logger)
        catalog = try await RocksCatalog(store: store, pool: pool, world: .real, options: options, logger: logger)
    }

    /// As after a restart.
    func reopened() async throws -> RocksHome {
        store.close()
        return try await RocksHome(in: directory)
    }
}
