public import Core
import Logging
import OrderedStore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

// Taking blobs away. Who decides is the catalog; here is what holds a blob against it (`Leases`), and what is done to the files after the row is
// gone for good. A crash in between leaves a file that no row names: an orphan, which the next sweep finds.

/// A blob as its row describes it.
public struct StoredBlob: Sendable, Hashable {
    public let id: BlobID
    public let length: Int64
    let location: BlobLocation

    public var hasOwnFile: Bool { location.place == .ownFile }
    /// Of its record, or of its recipe; nil for a blob in a file of its own.
    public var segment: UInt64? {
        location.record?.segment
    }
}

/// Some rows of the location index, in the order of the blobs.
public struct StoredBlobs: Sendable {
    public let blobs: [StoredBlob]
    /// Where to go on; nil at the end.
    public let last: BlobID?
    /// Blobs whose rows do not decode.
    public let damaged: [BlobID]
}

/// What holds a blob in the store, and where it is.
public struct Whereabouts: Sendable, Hashable {
    /// nil when the store has no such blob.
    public let length: Int64?
    /// In words.
    public let place: String?
    public let isLeased: Bool
}

extension BlobStore {
    /// At most `limit` rows of the location index, after a blob.
    public func storedBlobs(after: BlobID?, limit: Int) async throws(RegistryError) -> StoredBlobs {
        try await sweepPool.run { [index, log] () throws(RegistryError) in
            var blobs: [StoredBlob] = []
            var damaged: [BlobID] = []
            var last: BlobID?
            var count = 0
            try index.scan(.blobLocations, from: after.map { $0.bytes + [0] } ?? [], upTo: nil) { key, row throws(RegistryError) in
                count += 1
                guard let id = BlobID(bytes: key) else { return count < limit }
                last = id
                do throws(RegistryError) {
                    let location = try BlobLocation(row)
                    blobs.append(StoredBlob(id: id, length: location.length, location: location))
                } catch {
                    log.error("the location of a blob is damaged, the sweep leaves it alone", metadata: ["blob": "\(id)"])
                    damaged.append(id)
                }
                return count < limit
            }
            return StoredBlobs(blobs: blobs, last: count < limit ? nil : last, damaged: damaged)
        }
    }

    public func whereabouts(of id: BlobID) async throws(RegistryError) -> Whereabouts {
        if let sharing {
            let place = try await sharing.asked.location(of: id)
            let words = place.map { place in
                place.holder.map { "on the disk of node \($0), not in the bucket yet" }
                    ?? "object \(place.object) of the bucket, from byte \(place.offset)"
            }
            return Whereabouts(length: place?.length, place: words, isLeased: isLeased(id))
        }
        let location = try await location(of: id)
        var place = location?.words
        if let location, try await openedArchive(id, at: location) != nil { place = "opened, in \(location.words)" }
        return Whereabouts(length: location?.length, place: place, isLeased: isLeased(id))
    }

    /// Removes those of the blobs whose rows `forget` deletes durably. `forget` asks the question it is given of each blob last of all, where the
    /// rows are deleted; whoever wants one of those blobs from then on waits until this has returned.
    public func remove(
        _ candidates: [StoredBlob],
        forgetting forget: (_ mayGo: @escaping @Sendable (BlobID) -> Bool) async throws(RegistryError) -> [BlobID]
    ) async throws(RegistryError) -> SweepTally {
        let condemned = Condemned(leases)
        defer { condemned.absolve() }
        let forgotten = Set(try await forget { condemned.add($0) })
        guard !forgotten.isEmpty else { return SweepTally() }
        let gone = candidates.filter { forgotten.contains($0.id) }
        return try await sweepPool.run { [self] () throws(RegistryError) in
            var tally = SweepTally()
            for blob in gone {
                tally.removedBlobs += 1
                tally.removedBytes += blob.length
                recipes.forget(blob.id)
                if blob.length >= min(ChunkProfile.general.blobBytesMin, options.archives.archiveBytesMin) {
                    mayHaveDeadChunks.store(true, ordering: .relaxed)
                }
                if blob.hasOwnFile { tally.freedBytes += try removeFile(of: blob.id) }
            }
            return tally
        }
    }

    /// Names of directories of own files, to be looked through one by one.
    public func shards() async throws(RegistryError) -> [String] {
        try await sweepPool.run { [blobs] () throws(RegistryError) in try Disk.names(in: blobs.path).filter { $0.utf8.count == 2 } }
    }

    /// Removes the files of a shard that no row names, and what a crash left of a file that was to replace a damaged one. The file of a blob that
    /// `unpinned` does not return is kept: something names it, so the row is what is missing.
    public func removeOrphans(
        in shard: String, dryRun: Bool, unpinned: ([BlobID]) async throws(RegistryError) -> [BlobID]
    ) async throws(RegistryError) -> SweepTally {
        let orphans = try await sweepPool.run { [self] () throws(RegistryError) in try blobs.orphans(in: shard, isRowed, hasRow) }
        var tally = SweepTally()
        for start in stride(from: 0, to: orphans.count, by: 256) {
            let some = Array(orphans[start..<min(start + 256, orphans.count)])
            let dead = Set(try await unpinned(Array(Set(some.map(\.blob))).sorted()))
            for orphan in some {
                guard orphan.isLeftover || orphan.liesElsewhere || dead.contains(orphan.blob) else {
                    if try await !sweepPool.run({ [self] () throws(RegistryError) in try isRowed(orphan.blob) }) {
                        log.error("a blob that is named has a file but no location: rebuild the locations", metadata: ["blob": "\(orphan.blob)"])
                        tally.damagedBlobs += 1
                    }
                    continue
                }
                tally += try await remove(orphan, dryRun: dryRun)
            }
        }
        return tally
    }

    private func remove(_ orphan: BlobDirectory.Orphan, dryRun: Bool) async throws(RegistryError) -> SweepTally {
        let condemned = Condemned(leases)
        defer { condemned.absolve() }
        guard condemned.add(orphan.blob) else { return SweepTally() }
        return try await sweepPool.run { [self] () throws(RegistryError) in
            var tally = SweepTally()
            // Nobody holds it and nobody can: what the row says now, it says until this has ended.
            if !orphan.isLeftover, try isRowed(orphan.blob) { return tally }
            tally.orphans = 1
            tally.freedBytes = try dryRun ? fileBytes(at: orphan.path) : removeFile(at: orphan.path, of: orphan.blob)
            return tally
        }
    }

    /// Whether the blob's row says that it has a file of its own. A row that does not decode might.
    private func isRowed(_ id: BlobID) throws(RegistryError) -> Bool {
        guard let row = try index.get(id.bytes, in: .blobLocations) else { return false }
        do throws(RegistryError) { return try BlobLocation(row).place == .ownFile } catch { return true }
    }

    /// Whether the index knows a place of it, whichever.
    private func hasRow(_ id: BlobID) throws(RegistryError) -> Bool { try index.get(id.bytes, in: .blobLocations) != nil }

    private func removeFile(of id: BlobID) throws(RegistryError) -> Int64 { try removeFile(at: blobs.path(of: id), of: id) }

    /// - Returns: how long it was.
    private func removeFile(at path: String, of id: BlobID) throws(RegistryError) -> Int64 {
        let bytes = try fileBytes(at: path)
        try Disk.remove(path)
        openFiles.forget(.ownFile(id))
        return bytes
    }

    private func fileBytes(at path: String) throws(RegistryError) -> Int64 {
        try Disk.openExisting(path).map { file throws(RegistryError) in try Disk.status(of: file).size } ?? 0
    }
}

extension BlobDirectory {
    /// A file that no row names.
    struct Orphan: Sendable {
        let blob: BlobID
        let path: String
        /// Not the blob's file, but one that was to replace it.
        let isLeftover: Bool
        /// The row names another place: the blob was cut into chunks.
        let liesElsewhere: Bool
    }

    func orphans(
        in shard: String, _ isRowed: (BlobID) throws(RegistryError) -> Bool, _ hasRow: (BlobID) throws(RegistryError) -> Bool
    ) throws(RegistryError) -> [Orphan] {
        var orphans: [Orphan] = []
        for name in try Disk.names(in: "\(path)/\(shard)") {
            let isLeftover = name.hasSuffix(BlobDirectory.replacementSuffix)
            let hex = isLeftover ? String(name.dropLast(BlobDirectory.replacementSuffix.utf8.count)) : name
            guard let bytes = Hex.decode(hex), let id = BlobID(bytes: bytes), id.hex == hex, BlobDirectory.shard(of: id) == shard else { continue }
            if !isLeftover, try isRowed(id) { continue }
            orphans.append(Orphan(blob: id, path: "\(path)/\(shard)/\(name)", isLeftover: isLeftover, liesElsewhere: try hasRow(id)))
        }
        return orphans
    }
}

/// The blobs one step of the sweep has condemned.
private final class Condemned: Sendable {
    private let leases: Leases
    private let blobs = Mutex<[BlobID]>([])

    init(_ leases: Leases) { self.leases = leases }

    /// - Returns: whether it may be taken away.
    func add(_ id: BlobID) -> Bool {
        guard leases.condemn(id) else { return false }
        blobs.withLock { $0.append(id) }
        return true
    }

    func absolve() {
        let all = blobs.withLock { blobs in
            defer { blobs = [] }
            return blobs
        }
        for id in all { leases.absolve(id) }
    }
}
