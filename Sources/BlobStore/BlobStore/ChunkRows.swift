public import Core
import OrderedStore

// What the two indexes say of records in segments: which are named, and how a name moves.

extension BlobStore {
    /// Whether the row of the record's content points to this very record.
    static func isNamed(_ entry: SegmentEntry, in segment: UInt64, by rows: some OrderedRows) throws(RegistryError) -> Bool {
        let place = BlobLocation.RecordPlace(segment: segment, offset: entry.offset, length: entry.length)
        switch entry.kind {
        case .chunk: return try rows.get(ChunkIndex.key(ofChunk: entry.id), in: .chunks) == ChunkIndex.row(place)
        case .blob, .recipe:
            guard let row = try rows.get(entry.id.bytes, in: .blobLocations) else { return false }
            let location = try BlobLocation(row)
            return location.isWhole == (entry.kind == .blob) && location.record == place
        case .skip, .index, .ownFile: return false
        }
    }

    /// The row of the record's content, which points to the record, points to a copy of it afterwards.
    static func point(_ entry: SegmentEntry, to segment: UInt64, _ offset: Int64, in batch: OrderedStore.Batch) throws(RegistryError) {
        switch entry.kind {
        case .chunk:
            let place = BlobLocation.RecordPlace(segment: segment, offset: offset, length: entry.length)
            batch.put(ChunkIndex.key(ofChunk: entry.id), ChunkIndex.row(place), in: .chunks)
        case .recipe:
            guard let row = try batch.get(entry.id.bytes, in: .blobLocations) else { return }
            let moved = BlobLocation(.recipe(segment, offset: offset, bytes: entry.length), length: try BlobLocation(row).length)
            batch.put(entry.id.bytes, moved.encoded, in: .blobLocations)
        case .blob:
            let moved = BlobLocation(.segment(segment, offset: offset), length: entry.length)
            batch.put(entry.id.bytes, moved.encoded, in: .blobLocations)
        case .skip, .index, .ownFile: preconditionFailure("only content moves")
        }
    }

    /// At most `limit` rows of the chunk index after a key. Blocks.
    func chunkRows(
        after key: [UInt8]?, upTo end: [UInt8] = [ChunkIndex.chunk + 1], limit: Int,
        _ body: (_ key: [UInt8], BlobLocation.RecordPlace) throws(RegistryError) -> Void
    ) throws(RegistryError) -> [UInt8]? {
        var last: [UInt8]?
        var count = 0
        try index.scan(.chunks, from: key.map { $0 + [0] } ?? [ChunkIndex.chunk], upTo: end) { key, row throws(RegistryError) in
            count += 1
            last = key
            try body(key, try ChunkIndex.place(row))
            return count < limit
        }
        return count < limit ? nil : last
    }

    /// What a walk over the blobs alone has counted, with the chunks.
    public func withChunks(_ walked: SegmentLiveness) async throws(RegistryError) -> SegmentLiveness {
        var liveness = walked
        try await countChunks(&liveness)
        return liveness
    }

    func countChunks(_ liveness: inout SegmentLiveness) async throws(RegistryError) {
        var last: [UInt8]?
        repeat {
            let after = last
            let (next, page) = try await sweepPool.run { [self] () throws(RegistryError) in
                var page: [BlobLocation.RecordPlace] = []
                let next = try chunkRows(after: after, limit: 4096) { _, place in page.append(place) }
                return (next, page)
            }
            for place in page { liveness.count(place) }
            last = next
        } while last != nil && !Task.isCancelled
    }
}
