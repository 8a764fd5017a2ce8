import Catalog
import Core
import Synchronization
import TestSupport
import Testing

/// Random changes to a catalog and to the model: both accept, refuse and show the same.
enum CatalogModelCheck {
    /// - Returns: the model, as the catalog must be, and the seed.
    static func oneByOne(_ catalog: any Catalog) async throws -> (model: MemoryCatalog, seed: UInt64) {
        let seed = SeededRandom.runSeed
        print("GRANARY_SEED=\(seed)")
        let model = MemoryCatalog()
        try await compare(catalog, model, changes: 600, seed: seed)
        return (model, seed)
    }

    /// - Parameter catalogs: nodes of one catalog, which take turns.
    /// - Parameter isQuiet: returns when nothing is done in the background any more.
    static func manyAtOnce(_ catalogs: [any Catalog], isQuiet: () async throws -> Void = {}) async throws {
        let seed = SeededRandom.runSeed
        print("GRANARY_SEED=\(seed)")
        let applied = Applied()
        await applied.apply(RandomChanges.beginning, [], to: catalogs[0])
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask { [catalog = catalogs[task % catalogs.count]] in
                    var changes = RandomChanges(seed: seed &+ UInt64(task), label: "t\(task)", deletesRepositories: true)
                    for _ in 0..<100 {
                        let (change, staged) = changes.next()
                        await applied.apply(change, staged, to: catalog)
                    }
                }
            }
        }
        try await isQuiet()
        let model = MemoryCatalog()
        let entries = try await catalogs[0].log(after: .zero, limit: .max)
        try await applied.replay(entries, on: model)
        #expect(entries.count > 100, "the seed \(seed) changes enough")
        #expect(applied.revisionsDisagreeing(with: entries) == [])
        for catalog in catalogs { #expect(try await CatalogPicture(of: catalog) == CatalogPicture(of: model), "seed \(seed)") }
        // Tombstones show only in what is refused afterwards.
        try await compare(catalogs[0], model, changes: 200, seed: seed &+ 99)
    }

    /// The blobs both may name are those that were staged to both: the model learns the rest first.
    private static func compare(_ catalog: any Catalog, _ model: any Catalog, changes count: Int, seed: UInt64) async throws {
        let all = (0..<6).map { BlobRow(RandomChanges.blobs[$0]) }
        let marker = Change(actor: .system, at: Timestamp(seconds: 1), requestID: "all", parts: [])
        try await catalog.apply(marker, staged: all)
        try await model.apply(marker, staged: all)
        var changes = RandomChanges(seed: seed, label: "s", deletesRepositories: false)
        for _ in 0..<count {
            let (change, staged) = changes.next()
            let (ours, expected) = (await outcome(of: change, staged, on: catalog), await outcome(of: change, staged, on: model))
            try #require(ours == expected, "\(change) with seed \(seed)")
        }
        let (ours, expected) = (try await CatalogPicture(of: catalog), try await CatalogPicture(of: model))
        #expect(Set(ours.lines).symmetricDifference(expected.lines) == [], "seed \(seed)")
        #expect(ours == expected, "seed \(seed)")
    }
}

/// Bytes that are stored already, by name.
final class BlobRow: StagedBytes {
    let id: BlobID
    private let told = Atomic(0)
    init(_ id: BlobID) { self.id = id }
    var commits: Int { told.load(ordering: .relaxed) }
    var size: Int64 { 1 }
    var digests: [Digest] { [id.digest] }
    var unsynced: [any SyncableFile] { [] }
    var location: (key: [UInt8], value: [UInt8])? { (id.bytes, [1]) }
    func didCommit() { told.add(1, ordering: .relaxed) }
    func content() throws(RegistryError) -> BlobContent {
        throw RegistryError(.unsupported, subject: .blob(id.description), reason: "this blob is only a name")
    }
}

/// What happened to a change.
enum ChangeResult: Equatable {
    case revision(Revision)
    case refused(RegistryError.Code)
}

func outcome(of change: Change, _ staged: [any StagedBytes], on catalog: any Catalog) async -> ChangeResult {
    do throws(RegistryError) {
        return .revision(try await catalog.apply(change, staged: staged))
    } catch {
        return .refused(error.code)
    }
}

/// Every change that was tried, by its request id, with what came of it.
final class Applied: Sendable {
    private struct Tried {
        let change: Change
        let staged: [any StagedBytes]
        var result: ChangeResult?
    }
    private let tried = Mutex<[String: Tried]>([:])

    func apply(_ change: Change, _ staged: [any StagedBytes], to catalog: any Catalog) async {
        tried.withLock { $0[change.requestID] = Tried(change: change, staged: staged) }
        let result = await outcome(of: change, staged, on: catalog)
        tried.withLock { $0[change.requestID]?.result = result }
    }

    /// Applies the logged changes in the log's order, and compares what each touched.
    func replay(_ entries: [LogEntry], on model: MemoryCatalog) async throws {
        // A change that was refused or changed nothing may have stored blobs that a later one names: the model has them all.
        let everything = tried.withLock { $0.values.flatMap(\.staged) }
        try await model.apply(Change(actor: .system, at: Timestamp(seconds: 1), requestID: "", parts: []), staged: everything)
        for entry in entries {
            let tried = try #require(self.tried.withLock { $0[entry.requestID] })
            let revision = try await model.apply(tried.change, staged: tried.staged)
            try #require(revision == entry.revision, "\(tried.change)")
        }
        let replayed = try await model.log(after: .zero, limit: .max)
        for (ours, expected) in zip(entries, replayed) { #expect(Set(ours.touched) == Set(expected.touched)) }
    }

    /// The entries whose change was acknowledged as something else.
    func revisionsDisagreeing(with entries: [LogEntry]) -> [Revision] {
        tried.withLock { tried in
            entries.filter { tried[$0.requestID]?.result != .revision($0.revision) }.map(\.revision)
        }
    }
}
