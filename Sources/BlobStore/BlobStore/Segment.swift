import Core
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Bytes held in memory on their way to disk, over the whole store.
final class ByteGauge: Sendable {
    private let value = Atomic<Int64>(0)
    var bytes: Int64 { value.load(ordering: .relaxed) }
    func add(_ count: Int64) { value.wrappingAdd(count, ordering: .relaxed) }
    func subtract(_ count: Int64) { value.wrappingSubtract(count, ordering: .relaxed) }
}

/// A segment that still takes records.
///
/// Small blobs wait in memory, encoded, until `synchronize` (or `writeOut`, when there are many) writes them, run by run. A blob of known length
/// gets a reservation whose header says "skip" until the bytes are complete. Whatever was appended before a call of `synchronize` is on disk
/// after it, so the chain of headers up to a committed record is always whole.
final class Segment: SyncableFile {
    private static let allocationStepBytes: Int64 = 16 << 20

    /// Records next to each other, complete, not yet written.
    private struct Run {
        let offset: Int64
        var bytes: [UInt8]
        var end: Int64 { offset + Int64(bytes.count) }
    }

    private struct State {
        /// Where the next record begins.
        var tail: Int64
        var allocatedEnd: Int64
        var runs: [Run] = []
        var waitingBytes: Int64 = 0
        /// Records that nobody committed, still to be marked as skipped.
        var dead: [SegmentEntry] = []
        /// Records whose fate is open.
        var unsettled = 0
        var isFull = false
        var isSealing = false
        var isNameDurable: Bool
        var failure: RegistryError?
    }

    let number: UInt64
    let file: OpenFile
    /// Records below it were written by an earlier run: whether they were committed only the index knows.
    let recoveredEnd: Int64
    private let directory: String
    private let bytesMax: Int64
    private let gauge: ByteGauge
    private let state: Mutex<State>
    /// One writer at a time, so that nobody syncs before another's writes have been made.
    private let turn = Mutex(())

    /// A new one, its header written. Its name becomes durable with the first `synchronize`.
    init(creating number: UInt64, in directory: String, bytesMax: Int64, gauge: ByteGauge, at time: Timestamp) throws(RegistryError) {
        self.number = number
        self.directory = directory
        self.bytesMax = bytesMax
        self.gauge = gauge
        recoveredEnd = 0
        let path = directory + "/" + Segment.fileName(number)
        file = try Disk.open(path, O_RDWR | O_CREAT | O_EXCL)
        state = Mutex(State(tail: Int64(SegmentHeader.bytes), allocatedEnd: 0, isNameDurable: false))
        do throws(RegistryError) {
            try state.withLock { state throws(RegistryError) in try allocate(upTo: state.tail, &state) }
            try Disk.write(SegmentHeader(number: number, created: time).encoded, to: file, at: 0)
        } catch {
            try? Disk.remove(path)
            throw error
        }
    }

    /// One that an earlier run left unsealed; appending goes on at `tail`.
    init(recovered number: UInt64, file: OpenFile, in directory: String, tail: Int64, bytesMax: Int64, gauge: ByteGauge) throws(RegistryError) {
        self.number = number
        self.file = file
        self.directory = directory
        self.bytesMax = bytesMax
        self.gauge = gauge
        recoveredEnd = tail
        state = Mutex(State(tail: tail, allocatedEnd: try Disk.status(of: file).size, isNameDurable: false))
    }

    static func fileName(_ number: UInt64) -> String {
        let hex = String(number, radix: 16)
        return String(repeating: "0", count: 16 - hex.utf8.count) + hex + ".segment"
    }

    static func number(ofFile name: String) -> UInt64? {
        guard name.hasSuffix(".segment"), let number = UInt64(name.dropLast(8), radix: 16), fileName(number) == name else { return nil }
        return number
    }

    var tail: Int64 { state.withLock { $0.tail } }
    var waitingBytes: Int64 { state.withLock { $0.waitingBytes } }
    var hasFailed: Bool { state.withLock { $0.failure != nil } }

    // MARK: Taking records

    /// Takes a complete blob, or another kind of content, into memory.
    /// - Returns: the offset of its record, nil when the segment is full.
    func append(_ kind: RecordHeader.Kind, _ id: BlobID, _ bytes: ByteBuffer, table: [UInt8]) throws(RegistryError) -> Int64? {
        let header = RecordHeader(kind, segment: number, length: Int64(bytes.readableBytes), id: id, table: table)
        return try state.withLock { state throws(RegistryError) in
            guard let offset = try claim(header.footprint, &state) else { return nil }
            if state.runs.last?.end != offset { state.runs.append(Run(offset: offset, bytes: [])) }
            let last = state.runs.count - 1
            state.runs[last].bytes.append(contentsOf: header.encoded)
            bytes.withUnsafeReadableBytes { unsafe state.runs[last].bytes.append(contentsOf: $0) }
            state.runs[last].bytes.append(contentsOf: table)
            let padding = offset + header.footprint - state.runs[last].end
            state.runs[last].bytes.append(contentsOf: repeatElement(0, count: Int(padding)))
            state.waitingBytes += header.footprint
            gauge.add(header.footprint)
            return offset
        }
    }

    /// Sets space aside for a blob of that length. Until `complete`, the record is one to skip.
    /// - Returns: the offset of its record, nil when the segment is full.
    func reserve(length: Int64) throws(RegistryError) -> Int64? {
        let header = RecordHeader(.skip, segment: number, length: length)
        return try state.withLock { state throws(RegistryError) in
            guard let offset = try claim(header.footprint, &state) else { return nil }
            // Under the lock: no later record may reach the disk before the header that leads to it.
            do throws(RegistryError) { try Disk.write(header.encoded, to: file, at: offset) } catch {
                state.failure = error
                throw error
            }
            return offset
        }
    }

    /// The reserved bytes have been written at `offset + RecordHeader.bytes`: the record now holds the blob.
    func complete(_ id: BlobID, length: Int64, table: [UInt8], at offset: Int64) throws(RegistryError) {
        try Disk.write(table, to: file, at: offset + Int64(RecordHeader.bytes) + length)
        try Disk.write(RecordHeader(.blob, segment: number, length: length, id: id, table: table).encoded, to: file, at: offset)
    }

    /// The fate of one record is known: committed, or a reservation given up.
    /// - Returns: whether the segment can be sealed now, which is told once.
    func settle() -> Bool {
        state.withLock { state in
            state.unsettled -= 1
            return becomesSealable(&state)
        }
    }

    /// A complete record will not be committed.
    /// - Returns: as `settle`.
    func discard(_ entry: SegmentEntry) -> Bool {
        state.withLock { state in
            state.dead.append(entry)
            state.unsettled -= 1
            return becomesSealable(&state)
        }
    }

    /// No more records.
    /// - Returns: as `settle`.
    func close() -> Bool {
        state.withLock { state in
            state.isFull = true
            return becomesSealable(&state)
        }
    }

    private func becomesSealable(_ state: inout State) -> Bool {
        precondition(state.unsettled >= 0, "a record is settled once")
        guard state.isFull, state.unsettled == 0, !state.isSealing, state.failure == nil else { return false }
        state.isSealing = true
        return true
    }

    private func claim(_ footprint: Int64, _ state: inout State) throws(RegistryError) -> Int64? {
        if let failure = state.failure { throw failure }
        guard !state.isFull else { return nil }
        let offset = state.tail
        let end = offset + footprint
        // One record is always taken: a blob may be larger than a segment is meant to be.
        guard end <= bytesMax || offset == Int64(SegmentHeader.bytes) else {
            state.isFull = true
            return nil
        }
        try allocate(upTo: end, &state)
        state.tail = end
        state.unsettled += 1
        return offset
    }

    /// In steps, so that an empty registry is small and a full disk is noticed here, where nobody has been promised anything.
    private func allocate(upTo end: Int64, _ state: inout State) throws(RegistryError) {
        guard end > state.allocatedEnd else { return }
        let wanted = max(end, min(state.allocatedEnd + Segment.allocationStepBytes, bytesMax))
        do throws(RegistryError) {
            try Disk.allocate(file, at: state.allocatedEnd, count: wanted - state.allocatedEnd)
            state.allocatedEnd = wanted
        } catch {
            guard error.code == .noSpace, wanted > end else { throw error }
            try Disk.allocate(file, at: state.allocatedEnd, count: end - state.allocatedEnd)
            state.allocatedEnd = end
        }
    }

    // MARK: Writing

    /// Writes what waits in memory. Blocks.
    func writeOut() throws(RegistryError) {
        try turn.withLock { _ throws(RegistryError) in
            let (runs, dead, failure) = state.withLock { state in
                defer {
                    state.runs = []
                    state.dead = []
                    gauge.subtract(state.waitingBytes)
                    state.waitingBytes = 0
                }
                return (state.runs, state.dead, state.failure)
            }
            if let failure { throw failure }
            do throws(RegistryError) {
                for run in runs { try Disk.write(run.bytes, to: file, at: run.offset) }
                for entry in dead {
                    try Disk.write(RecordHeader(.skip, segment: number, length: entry.length).encoded, to: file, at: entry.offset)
                }
            } catch {
                state.withLock { $0.failure = error }
                throw error
            }
        }
    }

    func synchronize() throws(RegistryError) {
        try writeOut()
        do throws(RegistryError) {
            try Disk.synchronize(file)
            if !state.withLock({ $0.isNameDurable }) {
                try Disk.synchronizeDirectory(directory)
                state.withLock { $0.isNameDurable = true }
            }
        } catch {
            // What did not reach the disk may be gone from memory too: this segment is never appended to again.
            state.withLock { $0.failure = error }
            throw error
        }
    }
}
