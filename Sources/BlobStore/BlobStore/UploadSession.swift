import Core
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// One resumable upload: what is on disk of it, and who is at work on it.
///
/// It is in memory until its first byte comes: what was begun and never filled costs no write, and does not outlive the server. What it reports as
/// received was synced before, and noted in its `.meta` file. While the bytes come in order, their SHA-256 is carried along in memory; after a
/// restart they are read again.
final class UploadSession: Sendable {
    /// More pieces than that are a mistake, or malice.
    static let rangesMax = 10_000

    private enum Work: Equatable {
        case idle
        case appending
        /// Disjoint ranges, at the same time.
        case writing([Range<Int64>])
        /// Staged: its file may become a blob's.
        case finishing
        case gone
    }

    private struct State {
        var work = Work.idle
        var isOnDisk: Bool
        /// `isOnDisk`, or its files are being made.
        var mayBeOnDisk: Bool
        var received: ReceivedRanges
        /// Ranges are noted in the `.meta` file, whose end is here.
        var metaEnd: Int64
        var running: RunningHash?
        var expires: Timestamp
        var failure: RegistryError?
    }

    let id: EntityID
    let header: UploadHeader
    private let directory: String
    private let state: Mutex<State>
    /// Whose turn it is to note ranges.
    private let turn = Mutex(())

    var dataPath: String { "\(directory)/\(id).data" }
    var metaPath: String { "\(directory)/\(id).meta" }

    /// A new one.
    init(beginning id: EntityID, _ header: UploadHeader, in directory: String, expires: Timestamp) {
        self.id = id
        self.header = header
        self.directory = directory
        state = Mutex(
            State(
                isOnDisk: false, mayBeOnDisk: false, received: ReceivedRanges(), metaEnd: Int64(header.encoded.count), running: RunningHash(),
                expires: expires))
    }

    /// Its file, to be filled. The first time both are made; they are on disk when this returns. Blocks.
    func openData() throws(RegistryError) -> OpenFile {
        try turn.withLock { _ throws(RegistryError) in
            if !state.withLock({ $0.isOnDisk }) { try makeFiles() }
        }
        return try Disk.open(dataPath, O_RDWR)
    }

    private func makeFiles() throws(RegistryError) {
        state.withLock { $0.mayBeOnDisk = true }
        do throws(RegistryError) {
            let data = try Disk.open(dataPath, O_RDWR | O_CREAT | O_EXCL)
            try Disk.setModified(data, to: header.created)
            let meta = try Disk.open(metaPath, O_RDWR | O_CREAT | O_EXCL)
            try Disk.write(header.encoded, to: meta, at: 0)
            try Disk.synchronize(meta)
            try Disk.synchronizeDirectory(directory)
            let isCancelled = state.withLock { state in
                state.isOnDisk = true
                return state.work == .gone
            }
            if isCancelled { throw isGone }
        } catch {
            removeFiles()
            throw error
        }
    }

    /// What an earlier run left; nil when it is no whole session, or its file has become a blob's. Blocks.
    init?(recovering id: EntityID, in directory: String, lifetimeSeconds: Int64) throws(RegistryError) {
        self.id = id
        self.directory = directory
        guard let meta = try Disk.openExisting("\(directory)/\(id).meta"),
            let data = try Disk.openExisting("\(directory)/\(id).data")
        else { return nil }
        let metaBytes = try Disk.read(meta, at: 0, count: Int(min(try Disk.status(of: meta).size, UploadRangeEntry.bytesMax)))
        guard let (header, length) = UploadHeader.decode(metaBytes) else { return nil }
        self.header = header
        let status = try Disk.status(of: data)
        // A second name: a change committed it as a blob, and the crash came before the session was removed. Its bytes are nobody's to touch.
        guard status.links == 1 else { return nil }
        let noted = UploadRangeEntry.decodeAll(Array(metaBytes[length...]))
        let metaEnd = Int64(length + noted.count * UploadRangeEntry.bytes)
        // What is left of an entry must not come to life again behind the next one.
        if metaBytes.count > Int(metaEnd) { try Disk.truncate(try Disk.open("\(directory)/\(id).meta", O_RDWR), to: metaEnd) }
        // Only what is noted is believed. A power cut may leave a file longer than its bytes, with zeros at its end; and a file that was staged and
        // not committed has more than the client's bytes.
        var received = ReceivedRanges()
        for range in noted { received.insert(range.clamped(to: 0..<max(0, status.size))) }
        state = Mutex(
            State(
                isOnDisk: true, mayBeOnDisk: true, received: received, metaEnd: metaEnd,
                running: received.ranges.isEmpty ? RunningHash() : nil, expires: status.modified.adding(seconds: lifetimeSeconds)))
    }

    var status: UploadStatus {
        state.withLock { state in
            UploadStatus(
                id: id, context: header.context, received: state.received.contiguous, ranges: state.received.ranges,
                totalBytes: header.totalBytes, created: header.created, expires: state.expires)
        }
    }

    // MARK: Who is at work

    struct Append: Sendable {
        let offset: Int64
        let running: RunningHash?
    }

    /// - Throws: `conflict` when anybody is at work, `rangeUnsatisfiable` when the upload does not continue at `offset`.
    func beginAppend(at offset: Int64?) throws(RegistryError) -> Append {
        try state.withLock { state throws(RegistryError) in
            try check(state)
            guard state.work == .idle else { throw isBusy }
            let received = state.received.contiguous
            guard offset == nil || offset == received else {
                throw RegistryError(
                    .rangeUnsatisfiable, subject: .upload(id.description), reason: "the upload continues at \(received), not at \(offset ?? 0)")
            }
            state.work = .appending
            // A failed append must not leave a hash of bytes that are not there.
            let running = state.running
            state.running = nil
            return Append(offset: received, running: running)
        }
    }

    /// - Throws: `conflict` when the range overlaps one being written, or somebody appends or finishes.
    func beginWrite(_ range: Range<Int64>) throws(RegistryError) {
        try state.withLock { state throws(RegistryError) in
            try check(state)
            var writing: [Range<Int64>] = []
            switch state.work {
            case .idle: break
            case .writing(let others): writing = others
            case .appending, .finishing, .gone: throw isBusy
            }
            guard !writing.contains(where: { $0.overlaps(range) }) else { throw isBusy }
            guard state.received.ranges.count + writing.count < UploadSession.rangesMax else {
                throw RegistryError(
                    .invalid, subject: .upload(id.description), reason: "the upload is in more than \(UploadSession.rangesMax) pieces")
            }
            state.work = .writing(writing + [range])
            state.running = nil
        }
    }

    /// - Throws: `conflict` when anybody is at work, `invalid` when bytes are missing.
    func beginFinish() throws(RegistryError) -> (size: Int64, running: RunningHash?) {
        try state.withLock { state throws(RegistryError) in
            try check(state)
            guard state.work == .idle else { throw isBusy }
            let received = state.received
            let size = header.totalBytes ?? received.contiguous
            guard received.contiguous == size, received.ranges.count <= 1 else {
                throw RegistryError(
                    .invalid, subject: .upload(id.description),
                    reason: "the upload is not complete: \(received.contiguous) bytes of \(size) have arrived in one piece")
            }
            state.work = .finishing
            return (size, state.running)
        }
    }

    /// The bytes in `range` are in the file: brings them to disk and counts them. Blocks.
    func endAppend(_ range: Range<Int64>, running: RunningHash?, in data: OpenFile, expires: Timestamp, at now: Timestamp) throws(RegistryError) {
        try keepingFailure { () throws(RegistryError) in
            try Disk.setModified(data, to: now)
            try Disk.synchronize(data)
        }
        if !range.isEmpty {
            do throws(RegistryError) { try note(range) } catch {
                // Cancelled meanwhile, and its files with it.
                throw state.withLock { $0.work == .gone } ? isGone : error
            }
        }
        try state.withLock { state throws(RegistryError) in
            if state.work == .gone { throw isGone }
            state.received.insert(range)
            state.running = running
            state.expires = max(state.expires, expires)
            state.work = .idle
        }
    }

    /// As `endAppend`, for bytes out of order; `claimed` is what `beginWrite` was given.
    func endWrite(
        _ range: Range<Int64>, claimed: Range<Int64>, in data: OpenFile, expires: Timestamp, at now: Timestamp
    ) throws(RegistryError) {
        defer { unclaim(claimed) }
        guard !range.isEmpty else { return }
        try keepingFailure { () throws(RegistryError) in
            try Disk.setModified(data, to: now)
            try Disk.synchronize(data)
        }
        try note(range)
        try state.withLock { state throws(RegistryError) in
            if state.work == .gone { throw isGone }
            state.received.insert(range)
            state.expires = max(state.expires, expires)
        }
    }

    private func unclaim(_ range: Range<Int64>) {
        state.withLock { state in
            guard case .writing(var ranges) = state.work else { return }
            ranges.removeAll { $0 == range }
            state.work = ranges.isEmpty ? .idle : .writing(ranges)
        }
    }

    /// One at a time: an entry behind a hole would be lost in a crash.
    private func note(_ range: Range<Int64>) throws(RegistryError) {
        try turn.withLock { _ throws(RegistryError) in
            try keepingFailure { () throws(RegistryError) in
                let bytes = UploadRangeEntry.encode(range)
                let meta = try Disk.open(metaPath, O_RDWR)
                let end = state.withLock { $0.metaEnd }
                try Disk.write(bytes, to: meta, at: end)
                try Disk.synchronize(meta)
                state.withLock { $0.metaEnd = end + Int64(bytes.count) }
            }
        }
    }

    /// After a failed write or sync nobody knows what is on disk: the client has to begin again.
    private func keepingFailure(_ body: () throws(RegistryError) -> Void) throws(RegistryError) {
        do throws(RegistryError) { try body() } catch {
            state.withLock { state in
                state.failure = error
                if state.work == .appending { state.work = .idle }
            }
            throw error
        }
    }

    /// Nothing was written.
    func abandonAppend(_ append: Append) {
        state.withLock { state in
            guard state.work == .appending else { return }
            state.work = .idle
            state.running = append.running
        }
    }

    /// Nothing was written.
    func abandonWrite(_ range: Range<Int64>) { unclaim(range) }

    // MARK: The end

    /// Another may work on it again.
    func release() {
        state.withLock { state in
            if state.work == .finishing { state.work = .idle }
        }
    }

    /// - Throws: `conflict` while it is being finished. A running append finds out at its end.
    func remove() throws(RegistryError) {
        try state.withLock { state throws(RegistryError) in
            if state.work == .finishing { throw isBusy }
            state.work = .gone
        }
        removeFiles()
    }

    func removeCommitted() {
        state.withLock { $0.work = .gone }
        removeFiles()
    }

    /// - Returns: whether it was past its time, and nobody was at work on it.
    func removeIfExpired(at now: Timestamp) -> Bool {
        let isExpired = state.withLock { state in
            guard state.work == .idle, state.expires <= now else { return false }
            state.work = .gone
            return true
        }
        if isExpired { removeFiles() }
        return isExpired
    }

    /// `.meta` first: `.data` alone is no session, and is removed by the next start.
    private func removeFiles() {
        guard state.withLock({ $0.mayBeOnDisk }) else { return }
        try? Disk.remove(metaPath)
        try? Disk.remove(dataPath)
    }

    private func check(_ state: State) throws(RegistryError) {
        if state.work == .gone { throw isGone }
        if let failure = state.failure {
            throw RegistryError(
                failure.code == .noSpace ? .noSpace : .unavailable, subject: .upload(id.description),
                reason: "an earlier write of this upload failed; begin it again", cause: "\(failure)")
        }
    }

    private var isBusy: RegistryError {
        RegistryError(.conflict, subject: .upload(id.description), reason: "another request is at work on this upload", retryAfterSeconds: 1)
    }
    private var isGone: RegistryError {
        RegistryError(.notFound, subject: .upload(id.description), reason: "the upload was cancelled or has expired")
    }
}

/// SHA-256 and checksums of what came in order.
struct RunningHash: Sendable {
    var hasher = MultiHasher(.sha256)
    var checksums = SliceChecksums()

    mutating func update(_ bytes: UnsafeRawBufferPointer) { unsafe Staging.hash(bytes, into: &hasher, &checksums) }
}
