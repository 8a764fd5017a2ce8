import Catalog
import CatalogRules
import Core
import Logging
import OrderedStore
import RocksCatalog
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

    private static func change(_ id: String) -> Change {
        let record = Record(kind: .setting, id: id, value: Array(id.utf8))
        return Change(actor: .system, at: Timestamp(seconds: 1), requestID: id, parts: [.putRecord(record, ifRevision: .zero)])
    }
}

/// Loses the last row of what it is given.
private struct Forgetful: MoveTarget {
    let target: PostgresMove
    func look<R: Sendable>(_ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R) async throws(RegistryError) -> R {
        try await target.look(read)
    }
    func begin() async throws(RegistryError) { try await target.begin() }
    func put(_ rows: [CatalogMove.Row]) async throws(RegistryError) { try await target.put(rows.dropLast()) }
    func finish() async throws(RegistryError) { try await target.finish() }
    func abandon() async { await target.abandon() }
}

extension RocksHome {
    /// As no server has used it: a catalog writes its format when it is opened first.
    fileprivate func clear() async throws {
        try await store.commit { batch in batch.deleteRange(RocksCatalog.family, from: [0], upTo: [0xFF]) }
    }
}
