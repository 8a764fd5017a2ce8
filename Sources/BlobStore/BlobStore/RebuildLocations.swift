public import Core
import OrderedStore

extension BlobStore {
    /// Makes the location index anew from what is on disk: the indexes of sealed segments, the record headers of others, and the ends of own files.
    /// Rows that nothing on disk bears out are deleted. Nobody may stage or commit blobs meanwhile.
    ///
    /// Blobs that an unsealed segment holds are read and checked; behind damage, only those whose SHA-256 is right are believed.
    /// - Returns: how many blobs were found.
    @discardableResult
    public func rebuildLocations() async throws(RegistryError) -> Int {
        let found = try await pool.run { [self] () throws(RegistryError) in try locationsOnDisk() }
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

    private func locationsOnDisk() throws(RegistryError) -> [BlobID: BlobLocation] {
        var found: [BlobID: BlobLocation] = [:]
        try segments.writeOut()
        for number in try Segments.numbers(in: segments.directory) {
            guard let file = try Disk.openExisting(segments.path(number)) else { continue }
            for entry in try entries(of: file, number) {
                found[entry.id] = BlobLocation(.segment(number, offset: entry.offset), length: entry.length)
            }
        }
        try blobs.blobs { id throws(RegistryError) in
            guard let file = try Disk.openExisting(blobs.path(of: id)), let trailer = try OwnFile.trailer(of: file), trailer.id == id else { return }
            found[id] = BlobLocation(.ownFile, length: trailer.length)
        }
        return found
    }

    private func entries(of file: OpenFile, _ number: UInt64) throws(RegistryError) -> [SegmentEntry] {
        if let entries = try SegmentIndex.entries(of: file, number: number) { return entries }
        var entries: [SegmentEntry] = []
        try SegmentWalk.records(of: file, number: number, upTo: try SegmentWalk.usedEnd(of: file)) { record throws(RegistryError) in
            guard record.header.kind == .blob else { return }
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
        return !record.isBehindDamage || hasher.finish().first.flatMap { BlobID($0) } == record.header.id
    }
}
