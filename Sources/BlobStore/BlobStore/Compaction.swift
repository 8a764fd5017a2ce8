public import Core
import Logging
import NIOCore
import OrderedStore

// Getting space back from segments: those that nothing points into are removed, and of those that are mostly dead what lives is moved first.
// A blob is moved whole and checked (header, checksums, SHA-256); its row changes from the one place to the other on the committer's thread,
// only if it still says the first. What is damaged stays where it is, named in the log, and its segment with it.

public struct CompactionOptions: Sendable {
    /// A segment of which less than so many hundredths live is compacted.
    public var livePercentMin = 50
    /// How fast live bytes are moved.
    public var bytesPerSecondMax: Int64 = 32 << 20
    /// Looks, and changes nothing.
    public var isDryRun = false
    public init() {}
}

/// How much of each segment lives: what rows of the location index, and of the chunk index, point to.
public struct SegmentLiveness: Sendable {
    struct Share: Sendable {
        var bytes: Int64 = 0
        var records = 0
    }
    private(set) var shares: [UInt64: Share] = [:]
    public init() {}

    public mutating func count(_ blob: StoredBlob) {
        if let record = blob.location.record { count(record) }
    }

    mutating func count(_ record: BlobLocation.RecordPlace) {
        shares[record.segment, default: Share()].bytes += RecordHeader.footprint(length: record.length)
        shares[record.segment, default: Share()].records += 1
    }
}

extension BlobStore {
    /// So much is moved at a time: one sync of its own, then one short batch of rows.
    private static let stepBytesMax: Int64 = 8 << 20
    private static let stepBlobsMax = 256
    /// So much must be dead in a segment that still takes records for that to end.
    private static let openWasteBytesMin: Int64 = 1 << 20

    /// Sealed segments in the order of their numbers. What was sealed before liveness is counted can only become deader.
    public func sealedSegments() async throws(RegistryError) -> [UInt64] {
        let here = try await sweepPool.run { [segments] () throws(RegistryError) in try segments.sealedNumbers() }
        return Set(here).union(remoteSegments()).sorted()
    }

    /// Counts every row of the two indexes.
    public func segmentLiveness() async throws(RegistryError) -> SegmentLiveness {
        var liveness = SegmentLiveness()
        var last: BlobID?
        repeat {
            let page = try await storedBlobs(after: last, limit: 4096)
            for blob in page.blobs { liveness.count(blob) }
            last = page.last
        } while last != nil && !Task.isCancelled
        try await countChunks(&liveness)
        return liveness
    }

    /// Segments that still take records, and of which too little lives, take no more: the next sweep finds them sealed. Without this the one that
    /// is open at a start, whatever is in it, would keep that until uploads have filled it.
    public func retireWastefulSegments(_ liveness: SegmentLiveness, _ options: CompactionOptions) async throws(RegistryError) {
        guard !options.isDryRun else { return }
        segments.retire { number, tail in
            let live = liveness.shares[number]?.bytes ?? 0
            return tail - live >= BlobStore.openWasteBytesMin && live < tail / 100 * Int64(options.livePercentMin)
        }
        // So that the next sweep finds them sealed however soon it comes, if nobody is at work in them.
        try await segments.sealing.run {}
    }

    /// Removes the segment when nothing in it lives, or when less than the least does and that could be moved.
    /// - Parameter liveness: counted after the segment was sealed.
    public func sweepSegment(
        _ number: UInt64, _ liveness: SegmentLiveness, _ options: CompactionOptions
    ) async throws(RegistryError) -> SweepTally {
        let share = liveness.shares[number] ?? SegmentLiveness.Share()
        if share.records > 0, let size = tieredBytes(of: number), share.bytes < size / 100 * Int64(options.livePercentMin), !options.isDryRun {
            try await bringBackToCompact(number)
        }
        guard let file = try Disk.openExisting(segments.path(number)) else { return SweepTally() }
        let size = try Disk.status(of: file).size
        guard share.records == 0 || share.bytes < size / 100 * Int64(options.livePercentMin) else { return SweepTally() }
        var tally = SweepTally()
        if options.isDryRun {
            tally.segmentsRemoved = 1
            tally.segmentsCompacted = share.records == 0 ? 0 : 1
            (tally.movedBlobs, tally.movedBytes) = (Int64(share.records), share.bytes)
            tally.freedBytes = size - share.bytes
            return tally
        }
        var live = try await sweepPool.run { [self] () throws(RegistryError) in try livingEntries(of: file, number) }
        if live.count < share.records, try await counted(in: number) > live.count {
            // Rows point to records that neither the index nor the headers show: damage, which a reader finds and an upload heals.
            log.error("a segment has lost the headers of blobs that live in it, and is kept", metadata: ["segment": "\(number)"])
            tally.damagedBlobs += 1
            return tally
        }
        let pace = Pace(bytesPerSecond: options.bytesPerSecondMax, world: world)
        while !live.isEmpty {
            if Task.isCancelled { return tally }
            let step = BlobStore.step(of: &live)
            let began = world.monotonicNanoseconds()
            let moved = try await move(step, from: file, number)
            tally += moved
            await pace.pause(after: moved.movedBytes, since: began)
        }
        guard tally.damagedBlobs == 0 else { return tally }
        tally += try await sweepPool.run { [self] () throws(RegistryError) in try removeSegment(number, file, size, wasEmpty: share.records == 0) }
        return tally
    }

    private static func step(of entries: inout [SegmentEntry]) -> [SegmentEntry] {
        var bytes: Int64 = 0
        let step = entries.prefix { entry in
            defer { bytes += entry.length }
            return bytes == 0 || bytes + entry.length <= stepBytesMax
        }.prefix(stepBlobsMax)
        entries.removeFirst(step.count)
        return Array(step)
    }

    /// The entries of a segment, by its index or else its headers, that rows point to.
    private func livingEntries(of file: OpenFile, _ number: UInt64) throws(RegistryError) -> [SegmentEntry] {
        var entries: [SegmentEntry] = []
        if let listed = try SegmentIndex.entries(of: file, number: number) {
            entries = listed
        } else {
            try SegmentWalk.records(of: file, number: number, upTo: try SegmentWalk.usedEnd(of: file)) { record in
                if record.header.kind.isContent { entries.append(record.entry) }
            }
        }
        var living: [SegmentEntry] = []
        for entry in entries where try isLiving(entry, in: number) { living.append(entry) }
        return living
    }

    private func isLiving(_ entry: SegmentEntry, in number: UInt64) throws(RegistryError) -> Bool {
        try BlobStore.isNamed(entry, in: number, by: index)
    }

    private func counted(in number: UInt64) async throws(RegistryError) -> Int {
        try await segmentLiveness().shares[number]?.records ?? 0
    }

    /// The last look, by another way than the one that proposed it: no entry of the segment is what a row points to.
    private func removeSegment(_ number: UInt64, _ file: OpenFile, _ size: Int64, wasEmpty: Bool) throws(RegistryError) -> SweepTally {
        var tally = SweepTally()
        guard try livingEntries(of: file, number).isEmpty else { return tally }
        try segments.remove(number)
        openFiles.forget(.segment(number))
        tally.segmentsRemoved = 1
        tally.segmentsCompacted = wasEmpty ? 0 : 1
        tally.freedBytes = size
        log.info("segment removed", metadata: ["segment": "\(number)", "bytes": "\(size)"])
        return tally
    }

    // MARK: Moving

    private struct Moved: Sendable {
        let entry: SegmentEntry
        let segment: Segment
        let offset: Int64
    }

    /// Copies and syncs the blobs on the sweep's thread, then changes their rows.
    private func move(_ entries: [SegmentEntry], from file: OpenFile, _ number: UInt64) async throws(RegistryError) -> SweepTally {
        var tally = SweepTally()
        let (copies, damaged) = try await sweepPool.run { [self] () throws(RegistryError) in try copy(entries, from: file, number) }
        tally.damagedBlobs = damaged
        let switched: Set<SegmentEntry>
        do throws(RegistryError) {
            switched = try await index.commit { batch throws(RegistryError) in
                var switched: Set<SegmentEntry> = []
                for copy in copies where try BlobStore.isNamed(copy.entry, in: number, by: batch) {
                    try BlobStore.point(copy.entry, to: copy.segment.number, copy.offset, in: batch)
                    switched.insert(copy.entry)
                }
                return switched
            }
        } catch {
            for copy in copies { discard(copy) }
            throw error
        }
        for copy in copies {
            guard switched.contains(copy.entry) else {
                discard(copy)
                continue
            }
            segments.settle(copy.segment)
            tally.movedBlobs += 1
            tally.movedBytes += copy.entry.length
            tally.freedBytes -= RecordHeader.footprint(length: copy.entry.length)
        }
        return tally
    }

    private func discard(_ copy: Moved) {
        segments.discard(SegmentEntry(copy.entry.kind, id: copy.entry.id, offset: copy.offset, length: copy.entry.length), in: copy.segment)
    }

    /// The undamaged of them, on disk, and how many are damaged.
    private func copy(_ entries: [SegmentEntry], from file: OpenFile, _ number: UInt64) throws(RegistryError) -> ([Moved], damaged: Int64) {
        var copies: [Moved] = []
        var damaged: Int64 = 0
        do throws(RegistryError) {
            for entry in entries {
                // Gone since the step was planned: not worth the work.
                guard try isLiving(entry, in: number) else { continue }
                do throws(RegistryError) { copies.append(try copy(entry, from: file, number)) } catch {
                    guard error.code == .corrupt else { throw error }
                    damaged += 1
                    log.error("a damaged blob is not moved", metadata: ["segment": "\(number)", "error": "\(error)"])
                }
            }
            var synced: Set<UInt64> = []
            // Here, and not by the committer: nobody's upload waits for these bytes.
            for copy in copies where synced.insert(copy.segment.number).inserted { try copy.segment.synchronize() }
        } catch {
            for copy in copies { discard(copy) }
            throw error
        }
        return (copies, damaged)
    }

    /// - Throws: `corrupt` when the record is not, byte for byte, the blob it names.
    private func copy(_ entry: SegmentEntry, from file: OpenFile, _ number: UInt64) throws(RegistryError) -> Moved {
        guard let header = RecordHeader(try Disk.read(file, at: entry.offset, count: RecordHeader.bytes)), header.kind == entry.kind,
            header.segment == number, header.id == entry.id, header.length == entry.length
        else { throw BlobStore.corrupt(entry.id, "its header is damaged") }
        let first = entry.offset + Int64(RecordHeader.bytes)
        let table = try Disk.read(file, at: first + entry.length, count: Int(header.tableBytes))
        guard CRC32C.of(table) == header.tableChecksum else { throw BlobStore.corrupt(entry.id, "its checksums are damaged") }
        guard entry.kind == .blob, entry.length > Int64(options.stagedInMemoryBytesMax) else {
            let bytes = try Disk.read(file, at: first, count: Int(entry.length))
            try BlobStore.check(bytes, entry, table)
            let purpose: Segments.Purpose = entry.kind == .recipe ? .recipes : .compaction
            let (segment, offset) = try segments.append(entry.kind, entry.id, ByteBuffer(bytes: bytes), table: table, for: purpose)
            return Moved(entry: entry, segment: segment, offset: offset)
        }
        let reservation = try segments.reserve(length: entry.length, for: .compaction)
        var hasher = MultiHasher(.sha256)
        var checksums = SliceChecksums()
        var done: Int64 = 0
        while done < entry.length {
            let slice = try Disk.read(file, at: first + done, count: Int(min(Int64(SliceChecksums.sliceBytes), entry.length - done)))
            guard !slice.isEmpty else { throw BlobStore.corrupt(entry.id, "its segment ends too early") }
            let written = slice.withUnsafeBytes { bytes in
                unsafe Staging.hash(bytes, into: &hasher, &checksums)
                return Result { () throws(RegistryError) in try unsafe reservation.write(bytes, at: done) }
            }
            try written.get()
            done += Int64(slice.count)
        }
        try BlobStore.check(hasher, checksums, entry, table)
        try reservation.complete(entry.id, table: table)
        return Moved(entry: entry, segment: reservation.segment, offset: reservation.offset)
    }

    private static func check(_ bytes: [UInt8], _ entry: SegmentEntry, _ table: [UInt8]) throws(RegistryError) {
        var hasher = MultiHasher(.sha256)
        var checksums = SliceChecksums()
        bytes.withUnsafeBytes { unsafe Staging.hash($0, into: &hasher, &checksums) }
        guard Int64(bytes.count) == entry.length else { throw BlobStore.corrupt(entry.id, "its segment ends too early") }
        guard entry.kind != .blob else { return try check(hasher, checksums, entry, table) }
        guard checksums.table == table else { throw BlobStore.corrupt(entry.id, "its bytes are damaged") }
        guard entry.kind == .chunk else { return _ = try Recipe(bytes) }
        let chunk = try bytes.withUnsafeBytes { bytes in
            Result { () throws(RegistryError) in try unsafe ChunkRecord.decode(bytes) }
        }.get()
        guard BlobID(digest(of: chunk)) == entry.id else { throw BlobStore.corrupt(entry.id, "the chunk is damaged") }
    }

    private static func check(
        _ hasher: MultiHasher, _ checksums: SliceChecksums, _ entry: SegmentEntry, _ table: [UInt8]
    ) throws(RegistryError) {
        guard checksums.table == table, hasher.finish().first == entry.id.digest else {
            throw BlobStore.corrupt(entry.id, "its bytes are damaged")
        }
    }
}

/// Keeps work below a rate by resting after each piece of it.
public struct Pace: Sendable {
    let bytesPerSecond: Int64
    let world: World

    /// - Parameter bytesPerSecond: 0 is as fast as it can.
    public init(bytesPerSecond: Int64, world: World) {
        self.bytesPerSecond = bytesPerSecond
        self.world = world
    }

    func pause(after bytes: Int64, since began: UInt64) async {
        guard bytesPerSecond > 0, bytes > 0 else { return }
        let wanted = Double(bytes) / Double(bytesPerSecond) * 1e9
        let rest = wanted - Double(world.monotonicNanoseconds() &- began)
        // A cancelled sleep ends at once, and the caller looks whether it was cancelled.
        if rest > 0 { try? await Task.sleep(nanoseconds: UInt64(rest)) }
    }
}
