import Core
import Logging
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// The segments of a store: those that take records, and those that are full, sealed as soon as every record's fate is known.
final class Segments: Sendable {
    /// What comes in, what compaction moves and what blobs are cut into do not share a segment: an upload's sync does not wait for the bytes of the
    /// others. Recipes lie apart from chunks, because they stay on the disk when chunks leave it for a tier.
    enum Purpose: Hashable { case uploads, compaction, chunks, recipes }

    private struct State {
        var active: [Purpose: Segment] = [:]
        var nextNumber: UInt64 = 1
        /// When each of them took its place, in monotonic nanoseconds.
        var activeSince: [Purpose: UInt64] = [:]
        /// Not sealed yet, or never to be in this run.
        var unsealed: Set<UInt64> = []
    }

    let directory: String
    private let bytesMax: Int64
    private let gauge: ByteGauge
    /// Its one thread seals, one segment after the other.
    let sealing = BlockingPool(threads: 1, name: "seal")
    private let world: World
    private let log: Logger
    /// Whether the index says that the record's content lies there: asked about records of an earlier run.
    private let isCommitted: @Sendable (SegmentEntry, _ segment: UInt64) throws(RegistryError) -> Bool
    /// False once a write of the index has failed: what it was to name may be named at the next start, or not.
    private let areFatesKnown: @Sendable () -> Bool
    private let state = Mutex(State())

    /// Recovers, unless it is told not to: goes on behind the last record of the newest segment, and seals older ones that were left unsealed, in
    /// the background.
    init(
        in directory: String, recovers: Bool, bytesMax: Int64, gauge: ByteGauge, world: World, log: Logger,
        areFatesKnown: @escaping @Sendable () -> Bool,
        isCommitted: @escaping @Sendable (SegmentEntry, _ segment: UInt64) throws(RegistryError) -> Bool
    ) throws(RegistryError) {
        self.directory = directory
        self.bytesMax = bytesMax
        self.gauge = gauge
        self.world = world
        self.log = log
        self.areFatesKnown = areFatesKnown
        self.isCommitted = isCommitted
        let numbers = try Segments.numbers(in: directory)
        var unsealed: [Segment] = []
        for number in numbers where recovers {
            guard let file = try open(number), try SegmentIndex.trailer(of: file, number: number) == nil else { continue }
            unsealed.append(try recover(number, file))
        }
        state.withLock { state in
            state.nextNumber = (numbers.last ?? 0) + 1
            state.unsealed = Set(unsealed.map(\.number))
            if let last = unsealed.last, last.number == numbers.last, last.tail < bytesMax {
                state.active[.uploads] = last
                state.activeSince[.uploads] = world.monotonicNanoseconds()
                unsealed.removeLast()
            }
        }
        for segment in unsealed { retire(segment) }
    }

    static func numbers(in directory: String) throws(RegistryError) -> [UInt64] {
        try Disk.names(in: directory).compactMap(Segment.number(ofFile:)).sorted()
    }

    func path(_ number: UInt64) -> String { directory + "/" + Segment.fileName(number) }

    private func open(_ number: UInt64) throws(RegistryError) -> OpenFile? { try Disk.open(path(number), O_RDWR) }

    private func recover(_ number: UInt64, _ file: OpenFile) throws(RegistryError) -> Segment {
        let header = try Disk.read(file, at: 0, count: SegmentHeader.bytes)
        let usedEnd = try SegmentWalk.usedEnd(of: file)
        // It never reached the disk, or the crash came in the midst of it.
        if SegmentHeader(header) == nil, SegmentHeader.isUnwritten(header) || usedEnd <= Int64(SegmentHeader.bytes) {
            try Disk.write(SegmentHeader(number: number, created: world.now()).encoded, to: file, at: 0)
        } else if SegmentHeader(header)?.number != number {
            // Nothing is read by it, so its damage loses nothing; but somebody should look at that disk.
            log.error("the header of a segment is damaged; its records are found without it", metadata: ["segment": "\(number)"])
        }
        let lastEnd = try SegmentWalk.records(of: file, number: number, upTo: usedEnd) { _ in }
        // Bytes of a torn record are stepped over, never overwritten: if they are damage instead, nothing of value is lost to it.
        let tail = max(lastEnd, (usedEnd + 63) & ~63)
        if tail > lastEnd {
            log.notice(
                "a segment ends in an unfinished record, which is skipped",
                metadata: ["segment": "\(number)", "from": "\(lastEnd)", "to": "\(tail)"])
        }
        return try Segment(recovered: number, file: file, in: directory, tail: tail, bytesMax: bytesMax, gauge: gauge)
    }

    // MARK: Taking records

    /// Takes a complete blob, or another kind of content; it is written with the segment's next sync.
    func append(
        _ kind: RecordHeader.Kind, _ id: BlobID, _ bytes: ByteBuffer, table: [UInt8], for purpose: Purpose = .uploads
    ) throws(RegistryError) -> (segment: Segment, offset: Int64) {
        while true {
            let segment = try active(for: purpose)
            if let offset = try segment.append(kind, id, bytes, table: table) { return (segment, offset) }
            retire(segment)
        }
    }

    /// Sets space aside for a blob of a known length.
    func reserve(length: Int64, for purpose: Purpose = .uploads) throws(RegistryError) -> Reservation {
        while true {
            let segment = try active(for: purpose)
            if let offset = try segment.reserve(length: length) {
                return Reservation(of: length, at: offset, in: segment, of: self)
            }
            retire(segment)
        }
    }

    private func active(for purpose: Purpose) throws(RegistryError) -> Segment {
        try state.withLock { state throws(RegistryError) in
            if let segment = state.active[purpose], !segment.hasFailed { return segment }
            // A number is tried once: what is left of a file that could not be made may be in the way.
            let number = state.nextNumber
            state.nextNumber += 1
            let segment = try Segment(creating: number, in: directory, bytesMax: bytesMax, gauge: gauge, at: world.now())
            state.active[purpose] = segment
            state.activeSince[purpose] = world.monotonicNanoseconds()
            state.unsealed.insert(segment.number)
            return segment
        }
    }

    /// Takes no more records into a segment that has some and took the first so long ago: it is sealed when their fates are known.
    func retire(olderThanSeconds seconds: Int64) {
        let now = world.monotonicNanoseconds()
        let age = UInt64(max(0, seconds)).multipliedReportingOverflow(by: 1_000_000_000)
        let old = state.withLock { state in
            state.active.filter { purpose, segment in
                !age.overflow && now &- (state.activeSince[purpose] ?? now) >= age.partialValue && segment.tail > Int64(SegmentHeader.bytes)
            }
        }
        for segment in old.values { retire(segment) }
    }

    /// Those that take records now take no more if that is said of them: they are sealed when their records' fates are known.
    func retire(where isWanted: (_ number: UInt64, _ tail: Int64) -> Bool) {
        for segment in state.withLock({ Array($0.active.values) }) where isWanted(segment.number, segment.tail) { retire(segment) }
    }

    /// The segment that takes such records takes no more.
    func retire(_ purpose: Purpose) { if let segment = state.withLock({ $0.active[purpose] }) { retire(segment) } }

    /// Numbers up to this one were used, though no file here says so.
    func skipNumbers(upTo number: UInt64) { state.withLock { $0.nextNumber = max($0.nextNumber, number + 1) } }

    private func retire(_ segment: Segment) {
        state.withLock { state in
            for (purpose, active) in state.active where active === segment { state.active[purpose] = nil }
        }
        if segment.close() { sealLater(segment) }
    }

    // MARK: Sealing

    func settle(_ segment: Segment) {
        if segment.settle() { sealLater(segment) }
    }

    /// The record will not be named. While that is not known it stays, and its segment is not sealed in this run: the next start asks the index.
    func discard(_ entry: SegmentEntry, in segment: Segment) {
        guard areFatesKnown() else { return }
        if segment.discard(entry) { sealLater(segment) }
    }

    private func sealLater(_ segment: Segment) {
        do throws(RegistryError) {
            try sealing.post { [self] in
                do throws(RegistryError) { try seal(segment) } catch { reportUnsealed(segment, error) }
            }
        } catch {
            reportUnsealed(segment, error)
        }
    }

    private func reportUnsealed(_ segment: Segment, _ error: RegistryError) {
        // It stays readable; the next start tries again.
        log.warning("a segment could not be sealed", metadata: ["segment": "\(segment.number)", "error": "\(error)"])
    }

    private func seal(_ segment: Segment) throws(RegistryError) {
        try segment.writeOut()
        var entries: [SegmentEntry] = []
        try SegmentWalk.records(of: segment.file, number: segment.number, upTo: segment.tail) { record throws(RegistryError) in
            guard record.header.kind.isContent else { return }
            if record.isBehindDamage || record.offset < segment.recoveredEnd {
                guard try isCommitted(record.entry, segment.number) else { return }
            }
            entries.append(record.entry)
        }
        try SegmentIndex.write(entries, to: segment.file, number: segment.number, at: segment.tail)
        state.withLock { state in _ = state.unsealed.remove(segment.number) }
        log.debug("segment sealed", metadata: ["segment": "\(segment.number)", "records": "\(entries.count)"])
    }

    /// Writes what waits in memory, so that a walk over the files sees it.
    func writeOut() throws(RegistryError) {
        for segment in state.withLock({ Array($0.active.values) }) { try segment.writeOut() }
    }

    // MARK: Removing

    /// Segments that take no more records and whose records' fates are all known: rows of the index that point into one can only go away.
    func sealedNumbers() throws(RegistryError) -> [UInt64] {
        let numbers = try Segments.numbers(in: directory)
        let unsealed = state.withLock { $0.unsealed }
        return numbers.filter { !unsealed.contains($0) }
    }

    /// No row points into it any more. Who reads from it keeps its descriptor.
    func remove(_ number: UInt64) throws(RegistryError) { try Disk.remove(path(number)) }
}

/// Space in a segment for a blob of a known length. Given up when it goes away unused: the header on disk says "skip" already.
final class Reservation: Sendable {
    let segment: Segment
    let offset: Int64
    let length: Int64
    private let segments: Segments
    private let isUsed = Atomic(false)

    fileprivate init(of length: Int64, at offset: Int64, in segment: Segment, of segments: Segments) {
        self.segment = segment
        self.offset = offset
        self.length = length
        self.segments = segments
    }

    deinit {
        if !isUsed.load(ordering: .relaxed) { segments.settle(segment) }
    }

    /// Bytes of the blob, `at` from its beginning.
    func write(_ bytes: UnsafeRawBufferPointer, at position: Int64) throws(RegistryError) {
        precondition(position >= 0 && position + Int64(bytes.count) <= length, "a reservation is as long as was said")
        try unsafe Disk.write(bytes, to: segment.file, at: offset + Int64(RecordHeader.bytes) + position)
    }

    /// All bytes are written: the record holds the blob, and whoever placed it settles it.
    func complete(_ id: BlobID, table: [UInt8]) throws(RegistryError) {
        try segment.complete(id, length: length, table: table, at: offset)
        isUsed.store(true, ordering: .relaxed)
    }
}
