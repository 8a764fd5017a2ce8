public import Core
import Logging
import NIOCore
import OrderedStore
import Synchronization

extension BlobStore {
    /// Makes the location index anew from what is on disk: the indexes of sealed segments, the record headers of others, and the ends of own files.
    /// Rows that nothing on disk bears out are deleted. Nobody may stage or commit blobs meanwhile.
    ///
    /// Blobs that an unsealed segment holds are read and checked; behind damage, only those whose SHA-256 is right are believed.
    /// - Returns: how many blobs were found.
    @discardableResult
    public func rebuildLocations() async throws(RegistryError) -> Int {
        let (found, chunks) = try await locations()
        // First: no recipe is to name what the index does not know.
        try await rebuildChunks(chunks)
        let stale = try await pool.run { [self] () throws(RegistryError) in
            var stale: [[UInt8]] = []
            try index.scan(.blobLocations, from: [], upTo: nil) { key, _ in
                if BlobID(bytes: key).flatMap({ found[$0] }) == nil { stale.append(key) }
                return true
            }
            return stale
        }
        try await inSteps(stale) { key, batch in batch.delete(key, in: .blobLocations) }
        try await inSteps(Array(found)) { row, batch in batch.put(row.key.bytes, row.value.encoded, in: .blobLocations) }
        return found.count
    }

    /// A batch of bounded size at a time.
    func inSteps<Row: Sendable>(
        _ rows: [Row], _ change: @escaping @Sendable (Row, OrderedStore.Batch) -> Void
    ) async throws(RegistryError) {
        for start in stride(from: 0, to: rows.count, by: 4096) {
            let step = Array(rows[start..<min(start + 4096, rows.count)])
            try await index.commit { batch throws(RegistryError) in
                for row in step { change(row, batch) }
            }
        }
    }

    /// On the disk and, where there is one, in the tier.
    private func locations() async throws(RegistryError) -> ([BlobID: BlobLocation], [BlobID: BlobLocation.RecordPlace]) {
        let remote = try await tiering?.indexFiles() ?? [:]
        var (found, chunks) = try await pool.run { [self] () throws(RegistryError) in try locationsOnDisk(remote) }
        for (id, length) in tiering?.remoteOwnFiles() ?? [:] where found[id] == nil { found[id] = BlobLocation(.ownFile, length: length) }
        return (found, chunks)
    }

    /// Of the blobs, and of the chunks. A recipe counts if all its chunks are there; of several records of a blob the last, and its own file
    /// before any.
    /// - Parameter remote: segments that are not on the disk, each by a file with its index.
    private func locationsOnDisk(
        _ remote: [UInt64: OpenFile]
    ) throws(RegistryError) -> ([BlobID: BlobLocation], [BlobID: BlobLocation.RecordPlace]) {
        var found: [BlobID: BlobLocation] = [:]
        var chunks: [BlobID: BlobLocation.RecordPlace] = [:]
        var recipes: [(entry: SegmentEntry, segment: UInt64, isProved: Bool)] = []
        try segments.writeOut()
        for number in try Set(Segments.numbers(in: segments.directory)).union(remote.keys).sorted() {
            var file = remote[number]
            if file == nil { file = try Disk.openExisting(segments.path(number)) }
            guard let file else { continue }
            let isSealed = try SegmentIndex.trailer(of: file, number: number) != nil
            for entry in try entries(of: file, number) {
                switch entry.kind {
                case .chunk: chunks[entry.id] = BlobLocation.RecordPlace(segment: number, offset: entry.offset, length: entry.length)
                case .recipe: recipes.append((entry, number, isSealed))
                default: found[entry.id] = BlobLocation(.segment(number, offset: entry.offset), length: entry.length)
                }
            }
        }
        for (entry, number, isProved) in recipes {
            // Whole and in chunks: the later record was the one in use.
            if case .segment(let other, let offset)? = found[entry.id]?.place, (other, offset) > (number, entry.offset) { continue }
            guard let length = try lengthByRecipe(entry, in: number, of: chunks, isProved: isProved) else { continue }
            found[entry.id] = BlobLocation(.recipe(number, offset: entry.offset, bytes: entry.length), length: length)
        }
        try blobs.blobs { id throws(RegistryError) in
            guard let file = try Disk.openExisting(blobs.path(of: id)), let trailer = try OwnFile.trailer(of: file), trailer.id == id else { return }
            found[id] = BlobLocation(.ownFile, length: trailer.length)
        }
        return (found, chunks)
    }

    /// nil when the recipe is damaged, or names a chunk that is not there. Unless it is proved, the chunks are read, too: it may be the inside of
    /// a blob somebody made on purpose.
    private func lengthByRecipe(
        _ entry: SegmentEntry, in number: UInt64, of chunks: [BlobID: BlobLocation.RecordPlace], isProved: Bool
    ) throws(RegistryError) -> Int64? {
        do throws(RegistryError) {
            let place = BlobLocation.RecordPlace(segment: number, offset: entry.offset, length: entry.length)
            let recipe = try readRecipe(entry.id, at: place)
            for index in 0..<recipe.count where chunks[recipe[index].chunk] == nil { return nil }
            if isProved { return recipe.length }
            let made = try BlobStore.digest(of: recipe) { [self] piece throws(RegistryError) in
                guard let place = chunks[piece.chunk] else { throw BinaryReader.damaged }
                return try readChunk(piece.chunk, at: place)
            }
            return made == entry.id ? recipe.length : nil
        } catch {
            guard error.code == .corrupt else { throw error }
            log.error("a recipe is damaged", metadata: ["blob": "\(entry.id)", "error": "\(error)"])
            return nil
        }
    }

    private func rebuildChunks(_ found: [BlobID: BlobLocation.RecordPlace]) async throws(RegistryError) {
        let stale = try await pool.run { [self] () throws(RegistryError) in
            var stale: [[UInt8]] = []
            try index.scan(.chunks, from: [ChunkIndex.chunk], upTo: [ChunkIndex.chunk + 1]) { key, _ in
                if BlobID(bytes: key.dropFirst()).flatMap({ found[$0] }) == nil { stale.append(key) }
                return true
            }
            return stale
        }
        try await inSteps(stale) { key, batch in batch.delete(key, in: .chunks) }
        try await inSteps(Array(found)) { row, batch in batch.put(ChunkIndex.key(ofChunk: row.key), ChunkIndex.row(row.value), in: .chunks) }
        mayHaveDeadChunks.store(true, ordering: .relaxed)
    }

    private func entries(of file: OpenFile, _ number: UInt64) throws(RegistryError) -> [SegmentEntry] {
        if let entries = try SegmentIndex.entries(of: file, number: number) { return entries }
        var entries: [SegmentEntry] = []
        try SegmentWalk.records(of: file, number: number, upTo: try SegmentWalk.usedEnd(of: file)) { record throws(RegistryError) in
            guard record.header.kind.isContent else { return }
            if try isWhole(record, in: file) { entries.append(record.entry) }
        }
        return entries
    }

    private func isWhole(_ record: SegmentWalk.Record, in file: OpenFile) throws(RegistryError) -> Bool {
        let first = record.offset + Int64(RecordHeader.bytes)
        var hasher = MultiHasher(.sha256)
        var checksums = SliceChecksums()
        var done: Int64 = 0
        while done < record.header.length {
            let slice = try Disk.read(file, at: first + done, count: Int(min(Int64(SliceChecksums.sliceBytes), record.header.length - done)))
            guard !slice.isEmpty else { return false }
            slice.withUnsafeBytes { bytes in
                unsafe checksums.update(bytes)
                if record.isBehindDamage { unsafe hasher.update(bytes) }
            }
            done += Int64(slice.count)
        }
        guard CRC32C.of(checksums.table) == record.header.tableChecksum else { return false }
        guard record.isBehindDamage else { return true }
        switch record.header.kind {
        case .blob: return hasher.finish().first.flatMap { BlobID($0) } == record.header.id
        case .chunk:
            guard record.header.length <= Int64(ChunkRecord.headBytes + Recipe.chunkBytesMax) else { return false }
            let bytes = try Disk.read(file, at: first, count: Int(record.header.length))
            let chunk = bytes.withUnsafeBytes { bytes in try? unsafe ChunkRecord.decode(bytes) }
            return chunk.flatMap { BlobID(BlobStore.digest(of: $0)) } == record.header.id
        // Proved by its chunks, once all are found.
        default: return true
        }
    }
}
