public import Core
import OrderedStore
import Synchronization

/// What some blobs take on the disk if they were alone in the store: every blob once, and of blobs in chunks every chunk once, as it is stored.
public struct Footprint: Sendable, Hashable {
    public var blobs: Int64 = 0
    /// Lengths of the blobs.
    public var bytes: Int64 = 0
    /// What is stored of them: lengths of records and files, recipes included.
    public var storedBytes: Int64 = 0
    public init() {}
}

/// Footprints of several owners of blobs, counted in one walk. Which chunks were seen is kept for a range of digests at a time, so that memory
/// is bounded: the walk is repeated for each range.
public final class FootprintCount: Sendable {
    private struct State {
        var footprints: [Footprint]
        var seen: [Set<UInt64>]
    }

    private let store: BlobStore
    private let state: Mutex<State>
    /// How often the walk is made.
    public let rounds: Int
    private let width: UInt64

    /// Reads the chunk index once. Blocks.
    fileprivate init(of store: BlobStore, owners: Int, seenMax: Int) throws(RegistryError) {
        self.store = store
        var chunks = 0
        _ = try store.chunkRows(after: nil, limit: .max) { _, _ in chunks += 1 }
        rounds = chunks / max(1, seenMax) + 1
        width = UInt64.max / UInt64(rounds)
        state = Mutex(State(footprints: Array(repeating: Footprint(), count: owners), seen: Array(repeating: [], count: owners)))
    }

    /// Complete after the last round.
    public var footprints: [Footprint] { state.withLock { $0.footprints } }

    public func begin(round: Int) {
        state.withLock { state in
            for owner in state.seen.indices { state.seen[owner] = [] }
        }
    }

    /// Counts each of the blobs for its owners. In every round, all blobs come, each once.
    public func count(_ blobs: [(id: BlobID, owners: Set<Int>)], round: Int) async throws(RegistryError) {
        try await store.sweepPool.run { [self] () throws(RegistryError) in
            for blob in blobs { try count(blob.id, for: blob.owners, round) }
        }
    }

    private func count(_ id: BlobID, for owners: Set<Int>, _ round: Int) throws(RegistryError) {
        guard let row = try store.index.get(id.bytes, in: .blobLocations) else { return }
        let location = try BlobLocation(row)
        if round == 0 {
            let stored = location.record.map { RecordHeader.footprint(length: $0.length) } ?? OwnFile.fileBytes(length: location.length)
            state.withLock { state in
                for owner in owners {
                    state.footprints[owner].blobs += 1
                    state.footprints[owner].bytes += location.length
                    state.footprints[owner].storedBytes += stored
                }
            }
        }
        guard !location.isWhole else { return }
        let recipe: Recipe
        do throws(RegistryError) { recipe = try store.currentRecipe(of: id, at: location) } catch {
            guard error.code == .corrupt else { throw error }
            // Damage is told by who reads the blob.
            return
        }
        let first = UInt64(round) * width
        let last = round == rounds - 1 ? UInt64.max : first + (width - 1)
        for index in 0..<recipe.count {
            let prefix = recipe.prefix(index)
            guard prefix >= first, prefix <= last else { continue }
            let fresh = state.withLock { state in owners.filter { state.seen[$0].insert(prefix).inserted } }
            guard !fresh.isEmpty, let row = try store.index.get(ChunkIndex.key(ofChunk: recipe[index].chunk), in: .chunks) else { continue }
            let stored = RecordHeader.footprint(length: try ChunkIndex.place(row).length)
            state.withLock { state in
                for owner in fresh { state.footprints[owner].storedBytes += stored }
            }
        }
    }
}

extension BlobStore {
    /// - Parameter owners: how many.
    public func footprintCount(owners: Int) async throws(RegistryError) -> FootprintCount {
        try await sweepPool.run { [self] () throws(RegistryError) in
            try FootprintCount(of: self, owners: owners, seenMax: BlobStore.marksMax)
        }
    }

    /// For tests: other borders.
    func footprintCount(owners: Int, seenMax: Int) throws(RegistryError) -> FootprintCount {
        try FootprintCount(of: self, owners: owners, seenMax: seenMax)
    }
}
