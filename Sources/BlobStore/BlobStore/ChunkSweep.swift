public import Core
import Logging
import OrderedStore
import Synchronization

// Freeing chunks. Nothing counts who names a chunk, so nothing can be miscounted: the recipes of all blobs are read and what they name is marked,
// then the rows of what was not marked go. In bounded memory: a range of the chunks' digests at a time, each with a pass over the recipes.
// Nobody cuts blobs meanwhile (`chunkTurn`), so no chunk gets a new recipe between mark and sweep; records whose rows are gone are dead space in
// their segments, which compaction gets back.

extension BlobStore {
    /// Marks of one range, 8 bytes each, twice that in a set.
    public static let marksMax = 1 << 19
    private static let deletedRowsMax = 512

    /// Frees the chunks that no recipe names, neither of a stored blob nor of one that is being read.
    /// - Parameter dryRun: counts them only.
    public func sweepChunks(dryRun: Bool, marksMax: Int = BlobStore.marksMax) async throws(RegistryError) -> SweepTally {
        var tally = SweepTally()
        guard dryRun || mayHaveDeadChunks.load(ordering: .relaxed) else { return tally }
        await chunkTurn.begin()
        defer { chunkTurn.end() }
        // Before the recipes are read: what loses its last recipe meanwhile is for the next sweep.
        if !dryRun { mayHaveDeadChunks.store(false, ordering: .relaxed) }
        do throws(RegistryError) {
            let count = try await sweepPool.run { [self] () throws(RegistryError) in
                var count = 0
                _ = try chunkRows(after: nil, limit: .max) { _, _ in count += 1 }
                return count
            }
            let ranges = UInt64(count / max(1, marksMax) + 1)
            let width = UInt64.max / ranges
            for range in 0..<ranges {
                let first = range * width
                let last = range == ranges - 1 ? UInt64.max : first + (width - 1)
                if Task.isCancelled { break }
                try await sweepChunks(first...last, dryRun: dryRun, &tally)
            }
            if Task.isCancelled { mayHaveDeadChunks.store(true, ordering: .relaxed) }
        } catch {
            mayHaveDeadChunks.store(true, ordering: .relaxed)
            throw error
        }
        return tally
    }

    private func sweepChunks(_ range: ClosedRange<UInt64>, dryRun: Bool, _ tally: inout SweepTally) async throws(RegistryError) {
        let found = try await sweepPool.run { [self] () throws(RegistryError) in try marks(in: range) }
        guard let marks = found else {
            // Whose chunks they are cannot be known: all stay.
            tally.damagedBlobs += 1
            return
        }
        var last: [UInt8]? = [ChunkIndex.chunk] + BlobStore.bytes(of: range.lowerBound)
        let end = range.upperBound == .max ? [ChunkIndex.chunk + 1] : [ChunkIndex.chunk] + BlobStore.bytes(of: range.upperBound + 1)
        repeat {
            let after = last
            let (next, dead) = try await sweepPool.run { [self] () throws(RegistryError) in
                var dead: [(key: [UInt8], place: BlobLocation.RecordPlace)] = []
                let next = try chunkRows(after: after, upTo: end, limit: 4096) { key, place in
                    if !marks.contains(BlobStore.prefix(ofKey: key)) { dead.append((key, place)) }
                }
                return (next, dead)
            }
            last = next
            tally.removedChunks += Int64(dead.count)
            if dryRun { continue }
            for start in stride(from: 0, to: dead.count, by: BlobStore.deletedRowsMax) {
                let keys = dead[start..<min(start + BlobStore.deletedRowsMax, dead.count)].map(\.key)
                let began = world.monotonicNanoseconds()
                try await index.commit { batch throws(RegistryError) in
                    for key in keys { batch.delete(key, in: .chunks) }
                }
                // As long as it worked: of the committer's time others always get the greater part.
                try? await Task.sleep(nanoseconds: min(world.monotonicNanoseconds() &- began, 100_000_000))
            }
        } while last != nil && !Task.isCancelled
    }

    private static func bytes(of prefix: UInt64) -> [UInt8] {
        var writer = BinaryWriter(reserving: 8)
        writer.write(prefix)
        return writer.bytes
    }

    private static func prefix(ofKey key: [UInt8]) -> UInt64 { key[1..<9].reduce(0) { $0 << 8 | UInt64($1) } }

    /// What recipes name in that range of digests, by the first 64 bits: two chunks alike in those live and die together.
    /// - Returns: nil when a recipe cannot be read.
    private func marks(in range: ClosedRange<UInt64>) throws(RegistryError) -> Set<UInt64>? {
        var marks: Set<UInt64> = []
        func mark(_ recipe: Recipe) {
            recipe.forEachPrefix { if range.contains($0) { marks.insert($0) } }
        }
        var isWhole = true
        try index.scan(.blobLocations, from: [], upTo: nil) { key, row throws(RegistryError) in
            guard let id = BlobID(bytes: key) else { return true }
            do throws(RegistryError) {
                let location = try BlobLocation(row)
                guard !location.isWhole else { return true }
                mark(try currentRecipe(of: id, at: location))
            } catch {
                guard error.code == .corrupt else { throw error }
                log.error("no chunk is freed while this blob's recipe cannot be read", metadata: ["blob": "\(id)", "error": "\(error)"])
                isWhole = false
            }
            return isWhole
        }
        // After the rows: a reader whose blob had none any more had registered before, or found none either.
        for blob in recipes.living {
            mark(blob.recipe)
            // Held by a reader alone: its chunks are for a later sweep.
            let row = try index.get(blob.id.bytes, in: .blobLocations).map { row throws(RegistryError) in try BlobLocation(row) }
            if row?.isWhole ?? true { mayHaveDeadChunks.store(true, ordering: .relaxed) }
        }
        return isWhole ? marks : nil
    }

    /// The scan sees rows as they were when it began: compaction may have moved the recipe, and the sweep removed the blob.
    func currentRecipe(of id: BlobID, at location: BlobLocation) throws(RegistryError) -> Recipe {
        var location = location
        while let place = location.record {
            do throws(RegistryError) { return try readRecipe(id, at: place) } catch {
                guard error.code == .corrupt, let row = try index.get(id.bytes, in: .blobLocations) else { throw error }
                let now = try BlobLocation(row)
                guard now != location, !now.isWhole else { throw error }
                location = now
            }
        }
        throw BinaryReader.damaged
    }
}
