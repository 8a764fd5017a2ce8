import Core
import NIOCore
import OrderedStore
import Synchronization

// Chunks that only the tier has, record by record: a reader holds one of them at a time. Recipes stay on the disk.

extension Tiering {
    private static let stepBytes: Int64 = 1 << 20

    /// A whole record: header, content, slice table; nil when its segment is on the disk, or came back because so much of it was asked for.
    /// Nothing of it is checked.
    func record(at place: BlobLocation.RecordPlace) async throws(RegistryError) -> [UInt8]? {
        let name = Name.segment(place.segment)
        guard isRemote(name) else { return nil }
        guard isWorthRange(place.segment, RecordHeader.footprint(length: place.length)) else {
            try await bringBack(name)
            return nil
        }
        let wanted = Int64(RecordHeader.bytes) + place.length + SliceChecksums.tableBytes(length: place.length)
        var record: [UInt8] = []
        record.reserveCapacity(Int(wanted))
        while Int64(record.count) < wanted {
            let start = place.offset + Int64(record.count)
            let end = min(start + Tiering.stepBytes, place.offset + wanted)
            record.append(contentsOf: try await collect(.segment(place.segment), start..<end).readableBytesView)
        }
        state.withLock { state in
            state.statistics.rangedReads += 1
            state.statistics.rangedBytes += UInt64(wanted)
        }
        return record
    }

    /// As `record(at:)`, for threads that may wait: those of a `BlockingPool`.
    func recordWaiting(at place: BlobLocation.RecordPlace) throws(RegistryError) -> [UInt8]? {
        let answer = Mailbox<Result<[UInt8]?, RegistryError>>()
        // Not a child of anything: the thread that waits for it has no task.
        Task {
            do throws(RegistryError) { _ = answer.put(.success(try await record(at: place))) } catch { _ = answer.put(.failure(error)) }
        }
        guard let result = answer.takeOne() else { preconditionFailure("the mailbox is never closed") }
        return try result.get()
    }

    /// Whether a range of the segment is asked for alone, rather than all of it; counts it.
    func isWorthRange(_ number: UInt64, _ bytes: Int64) -> Bool {
        state.withLock { state in
            guard let length = state.present[.segment(number)], state.flights[.segment(number)] == nil else { return false }
            let before = state.ranged[number] ?? 0
            guard before + bytes <= max(length / Tiering.rangedShare, Tiering.rangedBytesMax) else { return false }
            state.ranged[number] = before + bytes
            return true
        }
    }
}

extension BlobStore {
    /// A chunk whose segment only the tier has, checked; nil when the disk has it (or nobody). Waits for the tier without a thread.
    func chunkFromTier(_ id: BlobID) async throws(RegistryError) -> ByteBuffer? {
        guard let tiering else { return nil }
        let row: [UInt8]?
        switch try index.getCached(ChunkIndex.key(ofChunk: id), in: .chunks) {
        case .absent: return nil
        case .found(let found): row = found
        case .unknown: row = try await pool.run { [index] () throws(RegistryError) in try index.get(ChunkIndex.key(ofChunk: id), in: .chunks) }
        }
        guard let place = try row.map({ row throws(RegistryError) in try ChunkIndex.place(row) }) else { return nil }
        guard let record = try await tiering.record(at: place) else { return nil }
        do throws(RegistryError) {
            return try await pool.run { [self] () throws(RegistryError) in
                let chunk = try chunk(id, of: record, at: place)
                chunkCache.insert(id, chunk)
                return chunk
            }
        } catch {
            if error.code == .corrupt { try await tiering.noteUnsound(.segment(place.segment)) }
            throw error
        }
    }

    /// Whether only the tier has some of the chunks the blob lies in. Blocks.
    func hasAwayChunks(_ id: BlobID, at location: BlobLocation) throws(RegistryError) -> Bool {
        let recipe = try chunked(id, at: location).recipe
        for index in 0..<recipe.count where try isAway(chunk: recipe[index].chunk) { return true }
        return false
    }

    /// As the rows have it, also for a store that was opened without its tier. Blocks.
    func isAway(chunk id: BlobID) throws(RegistryError) -> Bool {
        guard let row = try index.get(ChunkIndex.key(ofChunk: id), in: .chunks) else { return false }
        return try isAway(segment: try ChunkIndex.place(row).segment)
    }

    func isAway(segment number: UInt64) throws(RegistryError) -> Bool {
        if let tiering { return tiering.isRemote(.segment(number)) }
        guard try Disk.openExisting(segments.path(number)) == nil, try isMarked,
            let row = try index.get(TierRow.key(.segment(number)), in: .tierObjects)
        else { return false }
        return try TierRow(row).state != .arriving
    }
}
