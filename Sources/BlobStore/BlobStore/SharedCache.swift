public import Core
import Logging
import OrderedStore
import Synchronization

// The disk as a cache of the bucket: bounded, what was read longest ago goes first, whole segments and own files. Rows go before files, in a commit
// that asks the leases; a file is only unlinked when no row names it. What is on its way into the database is leased, all else is in the bucket, or
// nothing needs it. What the bucket does not have yet (Sharing+Hold.swift) stays.

extension BlobStore {
    private static let pageBlobs = 512
    /// Free space that is made again when it is used up, beside the reserve.
    private static let roomBytes: Int64 = 128 << 20

    /// Keeps the cache within its bounds, until the task is cancelled.
    public func runCache() async {
        guard let sharing else { return }
        while !Task.isCancelled {
            do throws(RegistryError) { try await trimCache() } catch {
                log.warning("the cache could not be trimmed; it is tried again", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(sharing.options.tickSeconds))
        }
    }

    /// One step of `runCache`.
    public func trimCache() async throws(RegistryError) {
        guard let sharing else { return }
        let files = try await sharing.pool.run { [self] () throws(RegistryError) in try cachedFiles() }
        var total = files.reduce(0) { $0 + $1.bytes }
        sharing.state.withLock { $0.statistics.cacheBytes = total }
        let limit = sharing.options.cacheBytesMax > 0 ? sharing.options.cacheBytesMax : .max
        let free = FreeSpace(at: directory)?.bytes ?? .max
        let missing = max(0, options.reserveBytes > 0 ? options.reserveBytes + BlobStore.roomBytes - free : 0)
        let bound = min(limit, total - missing)
        guard total > bound else { return }
        for file in files.sorted(by: { $0.lastUse < $1.lastUse }) where total > bound && !Task.isCancelled {
            guard try await evict(file) else { continue }
            total -= file.bytes
            sharing.state.withLock { state in
                state.statistics.filesEvicted += 1
                state.statistics.bytesEvicted += UInt64(file.bytes)
                state.statistics.cacheBytes = total
            }
        }
        // What still takes blobs can go when it is sealed.
        if total > bound { try await pool.run { [segments] () throws(RegistryError) in segments.retire(.uploads) } }
    }

    /// Removes from the disk what the database has no row for: nobody asks for it again.
    public func sweepCache(dryRun: Bool) async throws(RegistryError) -> SweepTally {
        guard let sharing else { return SweepTally() }
        var tally = SweepTally()
        var last: BlobID?
        repeat {
            let page = try await storedBlobs(after: last, limit: BlobStore.pageBlobs)
            last = page.last
            tally.blobs += Int64(page.blobs.count)
            let rows = try await sharing.locations.locations(of: page.blobs.map(\.id))
            let gone = page.blobs.filter { rows[$0.id] == nil }
            guard !gone.isEmpty else { continue }
            if dryRun {
                tally.removedBlobs += Int64(gone.count)
                tally.removedBytes += gone.reduce(0) { $0 + $1.length }
            } else {
                tally += try await removeHere(gone)
            }
        } while last != nil && !Task.isCancelled
        return tally
    }

    // MARK: Files

    private struct CachedFile: Sendable {
        let name: OpenFiles.Name
        let bytes: Int64
        let lastUse: Timestamp
    }

    /// Sealed segments and own files, with those read since the last look marked as used now. Blocks.
    private func cachedFiles() throws(RegistryError) -> [CachedFile] {
        let now = world.now()
        let used = openFiles.takeUsed()
        var names = try segments.sealedNumbers().map { OpenFiles.Name.segment($0) }
        try blobs.blobs { names.append(.ownFile($0)) }
        var files: [CachedFile] = []
        for name in names {
            guard let file = try Disk.openExisting(cachePath(of: name)) else { continue }
            let isUsed = used.contains(name)
            // Over a restart, too.
            if isUsed { try Disk.setModified(file, to: now) }
            let status = try Disk.status(of: file)
            files.append(CachedFile(name: name, bytes: status.size, lastUse: isUsed ? now : status.modified))
        }
        return files
    }

    private func cachePath(of name: OpenFiles.Name) -> String {
        switch name {
        case .segment(let number): segments.path(number)
        case .ownFile(let id): blobs.path(of: id)
        }
    }

    /// - Returns: whether the file is gone.
    private func evict(_ file: CachedFile) async throws(RegistryError) -> Bool {
        switch file.name {
        case .ownFile(let id):
            // Without such a row it is an orphan, and the sweep's.
            guard sharing?.held.has(id) != true, let location = try await location(of: id), location.place == .ownFile else { return false }
            return try await removeHere([StoredBlob(id: id, length: location.length, location: location)]).removedBlobs == 1
        case .segment(let number):
            guard let entries = try await living(in: number), !entries.contains(where: { sharing?.held.has($0.id) == true }) else { return false }
            for start in stride(from: 0, to: entries.count, by: BlobStore.pageBlobs) {
                let page = entries[start..<min(start + BlobStore.pageBlobs, entries.count)].map { entry in
                    let location = BlobLocation(.segment(number, offset: entry.offset), length: entry.length)
                    return StoredBlob(id: entry.id, length: entry.length, location: location)
                }
                // One that is held keeps its segment.
                guard try await removeHere(page).removedBlobs == page.count else { return false }
            }
            return try await sweepSegment(number, SegmentLiveness(), CompactionOptions()).segmentsRemoved == 1
        }
    }

    /// What rows name in the segment; nil when it has something other than whole blobs, or its index cannot be read.
    private func living(in number: UInt64) async throws(RegistryError) -> [SegmentEntry]? {
        try await pool.run { [self] () throws(RegistryError) in
            guard let file = try Disk.openExisting(segments.path(number)), let entries = try SegmentIndex.entries(of: file, number: number) else {
                return nil
            }
            var living: [SegmentEntry] = []
            for entry in entries where try BlobStore.isNamed(entry, in: number, by: index) {
                guard entry.kind == .blob else { return nil }
                living.append(entry)
            }
            return living
        }
    }

    /// The rows go, of those that still say the same place, that nobody holds, and whose bytes the bucket has, not known to be damaged; then the
    /// own files.
    private func removeHere(_ candidates: [StoredBlob]) async throws(RegistryError) -> SweepTally {
        guard let sharing else { return SweepTally() }
        let (index, broken) = (index, sharing.state.withLock { Set($0.broken.keys) })
        return try await remove(candidates) { mayGo async throws(RegistryError) in
            try await index.commit { batch throws(RegistryError) in
                var forgotten: [BlobID] = []
                for blob in candidates where !broken.contains(blob.id) {
                    guard try batch.get(blob.id.bytes, in: .blobLocations) == blob.location.encoded,
                        try batch.get(blob.id.bytes, in: .heldBlobs) == nil, mayGo(blob.id)
                    else { continue }
                    batch.delete(blob.id.bytes, in: .blobLocations)
                    forgotten.append(blob.id)
                }
                return forgotten
            }
        }
    }
}
