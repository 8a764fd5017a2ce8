import Catalog
import CatalogRules
import Core
import Logging
import OrderedStore
import RocksCatalog
import Synchronization
import TestSupport
import Testing

@testable import PostgresCatalog

@Suite("A catalog moves", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct CatalogMoveTests {
    private static let nothingIsLost: @Sendable ([BlobID]) async throws(RegistryError) -> CatalogMove.Brought = { _ in
        CatalogMove.Brought()
    }

    @Test("to PostgreSQL and back nothing of it changes, each home goes on where the other ended, and the old one is closed") func thereAndBack()
        async throws
    {
        let home = try await RocksHome()
        let (_, seed) = try await CatalogModelCheck.oneByOne(home.catalog)
        let before = try await CatalogPicture(of: home.catalog)
        let source = RocksMove(home.store)
        let address = try await PostgresCluster.shared().database("moved")
        let there = try await PostgresMove(address: address)
        let tally = try await CatalogMove(from: source, to: there, bringing: Self.nothingIsLost).run(to: there.place)
        #expect(tally.rows > 100, "the seed \(seed) writes enough")
        await #expect(throws: RegistryError.self) { try await home.reopened() }

        let postgres = try await PostgresHome(at: address)
        #expect(try await CatalogPicture(of: postgres.catalog) == before, "seed \(seed)")
        try await postgres.catalog.apply(Self.change("there"))
        let later = try await CatalogPicture(of: postgres.catalog)

        let other = try await RocksHome()
        try await other.clear()
        let back = try await PostgresMove(address: address)
        let moved = try await CatalogMove(from: back, to: RocksMove(other.store), bringing: Self.nothingIsLost).run(to: "elsewhere")
        #expect(moved.rows == tally.rows + 2, "a record and an entry of the log")
        let again = try await other.reopened()
        #expect(try await CatalogPicture(of: again.catalog) == later, "seed \(seed)")
        try await again.catalog.apply(Self.change("back"))
        await #expect(throws: RegistryError.self) { try await PostgresHome(at: address) }
        let late = await outcome(of: Self.change("late"), [], on: postgres.catalog)
        #expect(late == .refused(.unavailable), "a node that ran on")
        #expect(try await CatalogPicture(of: postgres.catalog) == later, "it still reads")
    }

    @Test("into one that is not empty it does not, and stays where it is") func notEmpty() async throws {
        let home = try await RocksHome()
        try await home.catalog.apply(RandomChanges.beginning)
        let postgres = try await PostgresHome()
        try await postgres.catalog.apply(Self.change("mine"))
        let there = try await PostgresMove(address: postgres.address)
        let error = await #expect(throws: RegistryError.self) {
            try await CatalogMove(from: RocksMove(home.store), to: there, bringing: Self.nothingIsLost).run(to: there.place)
        }
        #expect(error?.code == .conflict)
        try await home.reopened().catalog.apply(Self.change("here"))
        await there.abandon()
        try await postgres.catalog.apply(Self.change("there"))
    }

    @Test("without the bytes it names it does not") func dangling() async throws {
        let home = try await RocksHome()
        try await home.catalog.apply(RandomChanges.beginning, staged: RandomChanges.blobs.map { BlobRow($0) })
        let path = try #require(AssetPath("a"))
        let draft = AssetDraft(path: path, blob: RandomChanges.blobs[1], size: 1, contentType: "t")
        let edit = Edit(mutations: [.putAsset(draft, overwrite: .never)])
        try await home.catalog.apply(
            Change(actor: .system, at: Timestamp(seconds: 1), requestID: "", parts: [.edit(RandomChanges.repositories[0], edit)]))
        let there = try await PostgresMove(address: try await PostgresCluster.shared().database("dangling"))
        let error = await #expect(throws: RegistryError.self) {
            try await CatalogMove(from: RocksMove(home.store), to: there, bringing: { CatalogMove.Brought(lost: $0) }).run(to: there.place)
        }
        #expect(error?.code == .notFound)
        #expect(error?.reason.contains(RandomChanges.blobs[1].description) == true)
        try await home.reopened().catalog.apply(Self.change("here"))
    }

    @Test("half of it is nobody's catalog, and the next move begins anew") func interrupted() async throws {
        let postgres = try await PostgresHome()
        try await postgres.catalog.apply(RandomChanges.beginning)
        let home = try await RocksHome()
        try await home.clear()
        let half = RocksMove(home.store)
        try await half.begin()
        try await half.put([CatalogMove.Row(family: RocksCatalog.family, key: [200], value: [1])])
        let error = await #expect(throws: RegistryError.self) { try await home.reopened() }
        #expect(error?.code == .unsupported)

        let store = try OrderedStore(at: home.directory.file("db"), families: RocksCatalog.families, logger: Logger(label: "test"))
        let source = try await PostgresMove(address: postgres.address)
        _ = try await CatalogMove(from: source, to: RocksMove(store), bringing: Self.nothingIsLost).run(to: "elsewhere")
        #expect(try store.get([200], in: RocksCatalog.family) == nil)
        store.close()
        let opened = try await RocksHome(in: home.directory)
        #expect(try await CatalogPicture(of: opened.catalog) == CatalogPicture(of: postgres.catalog))
    }

    @Test("when the last look finds that the bytes are gone it does not, and begins anew the next time") func unconfirmed() async throws {
        let home = try await RocksHome()
        try await home.catalog.apply(RandomChanges.beginning)
        let address = try await PostgresCluster.shared().database("unconfirmed")
        let gone = RegistryError(.notFound, subject: .store, reason: "the bucket is another")
        let there = try await PostgresMove(address: address)
        let error = await #expect(throws: RegistryError.self) {
            try await CatalogMove(
                from: RocksMove(home.store), to: there, bringing: Self.nothingIsLost, confirming: { () throws(RegistryError) in throw gone }
            ).run(to: there.place)
        }
        #expect(error?.code == .notFound)
        try await home.catalog.apply(Self.change("here"))
        let again = try await PostgresMove(address: address)
        _ = try await CatalogMove(from: RocksMove(home.store), to: again, bringing: Self.nothingIsLost).run(to: again.place)
        #expect(try await CatalogPicture(of: PostgresHome(at: address).catalog) == CatalogPicture(of: home.catalog))
    }

    @Test("while it does, those who read read on, and those who change are told to come back") func online() async throws {
        let postgres = try await PostgresHome()
        try await postgres.catalog.apply(RandomChanges.beginning)
        let source = try await PostgresMove(address: postgres.address)
        #expect(try await postgres.catalog.repositories(after: nil, limit: 10).count == 3)
        let refused = await outcome(of: Self.change("meanwhile"), [], on: postgres.catalog)
        #expect(refused == .refused(.unavailable))
        await source.release()
        try await postgres.catalog.apply(Self.change("after"))
    }

    @Test("what was written wrong is found before anybody uses it, and the old home goes on") func wrong() async throws {
        let home = try await RocksHome()
        try await home.catalog.apply(RandomChanges.beginning)
        let address = try await PostgresCluster.shared().database("wrong")
        let there = try await PostgresMove(address: address)
        let error = await #expect(throws: RegistryError.self) {
            try await CatalogMove(from: RocksMove(home.store), to: Forgetful(target: there), bringing: Self.nothingIsLost).run(to: there.place)
        }
        #expect(error?.code == .corrupt)
        #expect(error?.reason.contains("log") == true)
        try await home.reopened().catalog.apply(Self.change("here"))
        #expect(try await PostgresHome(at: address).catalog.head() == .zero, "nothing of it is there")
    }

    @Test("out of a catalog that is used: until its rows move it takes changes, and all that it took moves; then it only reads")
    func used() async throws {
        let home = try await RocksHome()
        try await home.catalog.apply(RandomChanges.beginning, staged: RandomChanges.blobs.map { BlobRow($0) })
        try await home.catalog.apply(try Self.asset("before", RandomChanges.blobs[1]))
        let before = try await home.catalog.head()
        let there = try await PostgresMove(address: try await PostgresCluster.shared().database("used"))
        let asked = Mutex<[[BlobID]]>([])
        let move = CatalogMove(
            from: RocksMove(home.store),
            to: Hooked(target: there) { () async throws(RegistryError) in
                let late = await outcome(of: Self.change("late"), [], on: home.catalog)
                #expect(late == .refused(.unavailable))
                let error = await #expect(throws: RegistryError.self) { try await home.catalog.apply(Self.change("late")) }
                #expect(error?.retryAfterSeconds != nil)
                #expect(try await home.catalog.head().number == before.number + 2, "it reads")
                try await home.store.commit { batch in batch.put([1], [1], in: .chunks) }
            },
            bringing: { blobs async throws(RegistryError) in
                if asked.withLock({ $0.isEmpty }) {
                    try await home.catalog.apply(Self.change("meanwhile"))
                    try await home.catalog.apply(try Self.asset("meanwhile", RandomChanges.blobs[0]))
                }
                asked.withLock { $0.append(blobs) }
                return Self.found(blobs)
            })
        _ = try await move.run(to: there.place)
        #expect(asked.withLock { $0 } == [[RandomChanges.blobs[1]], [RandomChanges.blobs[0]]], "each once, late ones included")
        let postgres = try await PostgresHome(at: try await PostgresCluster.shared().address(of: "used"))
        #expect(try await CatalogPicture(of: postgres.catalog) == CatalogPicture(of: home.catalog))
        #expect(try await postgres.catalog.record(.setting, id: "meanwhile") != nil)
        #expect(try await postgres.catalog.record(.setting, id: "late") == nil)
        let error = await #expect(throws: RegistryError.self) { try await home.catalog.apply(Self.change("after")) }
        #expect(error?.reason.contains("started anew with database_url") == true)
    }

    @Test("a database that goes away half-way, or is not heard of at the end, leaves the source taking changes, and the next move begins anew")
    func databaseGone() async throws {
        let home = try await RocksHome()
        try await home.catalog.apply(RandomChanges.beginning, staged: RandomChanges.blobs.map { BlobRow($0) })
        try await home.catalog.apply(try Self.asset("before", RandomChanges.blobs[1]))
        let cluster = try await PostgresCluster.shared()
        let direct = try await cluster.database("goes")
        let proxy = try await PostgresProxy(to: cluster.socketDirectory)
        defer { proxy.close() }
        let address = try proxy.address(of: "goes")

        let half = try await PostgresMove(address: address)
        let cut = CatalogMove(from: RocksMove(home.store), to: half) { blobs async throws(RegistryError) in
            proxy.cutAll()
            return Self.found(blobs)
        }
        let first = await #expect(throws: RegistryError.self) { try await cut.run(to: half.place) }
        #expect(first?.code == .unavailable)
        try await home.catalog.apply(Self.change("first"))

        let unheard = try await PostgresMove(address: address)
        let late = CatalogMove(
            from: RocksMove(home.store), to: Hooked(target: unheard) { proxy.cutNext(.afterCommit) }, bringing: { Self.found($0) })
        await #expect(throws: RegistryError.self) { try await late.run(to: unheard.place) }
        try await home.catalog.apply(Self.change("second"))
        let opened = await #expect(throws: RegistryError.self) { try await PostgresHome(at: direct) }
        #expect(opened?.code == .unsupported, "all rows are in it, and nobody uses it")

        let again = try await PostgresMove(address: address)
        _ = try await CatalogMove(from: RocksMove(home.store), to: again, bringing: { Self.found($0) }).run(to: again.place)
        let postgres = try await PostgresHome(at: direct)
        #expect(try await CatalogPicture(of: postgres.catalog) == CatalogPicture(of: home.catalog))
        #expect(try await postgres.catalog.record(.setting, id: "second") != nil)
    }

    @Test("ended between the two marks, no home is used; the next move says its last word") func betweenMarks() async throws {
        let home = try await RocksHome()
        try await home.catalog.apply(RandomChanges.beginning)
        let before = try await CatalogPicture(of: home.catalog)
        let address = try await PostgresCluster.shared().database("between")
        let there = try await PostgresMove(address: address)
        let error = await #expect(throws: RegistryError.self) {
            let target = Hooked(target: there, losesLastWord: true)
            _ = try await CatalogMove(from: RocksMove(home.store), to: target, bringing: Self.nothingIsLost).run(to: there.place)
        }
        #expect(error?.reason.contains("run granary migrate-catalog again") == true)
        let refused = await outcome(of: Self.change("lost"), [], on: home.catalog)
        #expect(refused == .refused(.unavailable))
        await #expect(throws: RegistryError.self) { try await home.reopened() }
        await #expect(throws: RegistryError.self) { try await PostgresHome(at: address) }

        let store = try OrderedStore(at: home.directory.file("db"), families: RocksCatalog.families, logger: Logger(label: "test"))
        defer { store.close() }
        let again = try await PostgresMove(address: address)
        _ = try await CatalogMove(from: RocksMove(store), to: again, bringing: Self.nothingIsLost).run(to: again.place)
        #expect(try await CatalogPicture(of: PostgresHome(at: address).catalog) == before)
    }

    @Test("cancelled, it leaves both as they were") func cancelled() async throws {
        let home = try await RocksHome()
        try await home.catalog.apply(RandomChanges.beginning)
        let address = try await PostgresCluster.shared().database("cancelled")
        let there = try await PostgresMove(address: address)
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            _ = try await CatalogMove(from: RocksMove(home.store), to: there, bringing: Self.nothingIsLost).run(to: there.place)
        }
        let error = await #expect(throws: RegistryError.self) { try await task.value }
        #expect(error?.reason.contains("cancelled") == true)
        try await home.catalog.apply(Self.change("here"))
        #expect(try await PostgresHome(at: address).catalog.head() == .zero)
    }

    private static func found(_ blobs: [BlobID]) -> CatalogMove.Brought {
        var brought = CatalogMove.Brought()
        brought.rows = blobs.map { CatalogMove.Row(family: .blobLocations, key: $0.bytes, value: [1]) }
        return brought
    }

    private static func asset(_ name: String, _ blob: BlobID) throws(RegistryError) -> Change {
        guard let path = AssetPath(name) else { throw RegistryError(.invalid, subject: .request, reason: "\(name) is no path") }
        let edit = Edit(mutations: [.putAsset(AssetDraft(path: path, blob: blob, size: 1, contentType: "t"), overwrite: .never)])
        return Change(actor: .system, at: Timestamp(seconds: 1), requestID: name, parts: [.edit(RandomChanges.repositories[0], edit)])
    }

    private static func change(_ id: String) -> Change {
        let record = Record(kind: .setting, id: id, value: Array(id.utf8))
        return Change(actor: .system, at: Timestamp(seconds: 1), requestID: id, parts: [.putRecord(record, ifRevision: .zero)])
    }
}

/// At its end something happens.
private struct Hooked: MoveTarget {
    let target: PostgresMove
    var losesLastWord = false
    let atTheEnd: @Sendable () async throws(RegistryError) -> Void

    init(target: PostgresMove, losesLastWord: Bool = false, atTheEnd: @escaping @Sendable () async throws(RegistryError) -> Void = {}) {
        self.target = target
        self.losesLastWord = losesLastWord
        self.atTheEnd = atTheEnd
    }

    func look<R: Sendable>(_ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R) async throws(RegistryError) -> R {
        try await target.look(read)
    }
    func begin() async throws(RegistryError) { try await target.begin() }
    func put(_ rows: [CatalogMove.Row]) async throws(RegistryError) { try await target.put(rows) }
    func prepare() async throws(RegistryError) {
        try await atTheEnd()
        try await target.prepare()
    }
    func finish() async throws(RegistryError) {
        if losesLastWord { throw RegistryError(.unavailable, subject: .store, reason: "it is gone") }
        try await target.finish()
    }
    func abandon() async { await target.abandon() }
}

/// Loses the last row of what it is given.
private struct Forgetful: MoveTarget {
    let target: PostgresMove
    func look<R: Sendable>(_ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R) async throws(RegistryError) -> R {
        try await target.look(read)
    }
    func begin() async throws(RegistryError) { try await target.begin() }
    func put(_ rows: [CatalogMove.Row]) async throws(RegistryError) { try await target.put(rows.dropLast()) }
    func prepare() async throws(RegistryError) { try await target.prepare() }
    func finish() async throws(RegistryError) { try await target.finish() }
    func abandon() async { await target.abandon() }
}

extension RocksHome {
    /// As no server has used it: a catalog writes its format when it is opened first.
    fileprivate func clear() async throws {
        try await store.commit { batch in batch.deleteRange(RocksCatalog.family, from: [0], upTo: [0xFF]) }
    }
}
