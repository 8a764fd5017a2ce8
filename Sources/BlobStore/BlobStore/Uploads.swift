public import Core
import Logging
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// How far a resumable upload is.
public struct UploadStatus: Sendable, Hashable {
    public let id: EntityID
    /// As given to `beginUpload`.
    public let context: [UInt8]
    /// Contiguous from the beginning, and on disk.
    public let received: Int64
    /// Everything that is on disk: disjoint, in order, none touching the next.
    public let ranges: [Range<Int64>]
    public let totalBytes: Int64?
    public let created: Timestamp
    /// From then on `expireUploads` may remove it; every append moves it on.
    public let expires: Timestamp
}

/// The open upload sessions.
final class Uploads: Sendable {
    let directory: String
    let lifetimeSeconds: Int64
    private let sessions = Mutex<[EntityID: UploadSession]>([:])

    /// Finds the sessions of an earlier run, and removes what is left of others; not when the store is only read.
    init(in directory: String, recovers: Bool, lifetimeSeconds: Int64, log: Logger) throws(RegistryError) {
        self.directory = directory
        self.lifetimeSeconds = lifetimeSeconds
        var found: [EntityID: UploadSession] = [:]
        let names = try recovers ? Disk.names(in: directory) : []
        var unreadable: Set<EntityID> = []
        for name in names where name.hasSuffix(".meta") {
            guard let id = EntityID(name.dropLast(5)) else { continue }
            do throws(RegistryError) {
                found[id] = try UploadSession(recovering: id, in: directory, lifetimeSeconds: lifetimeSeconds)
            } catch {
                log.warning("an upload cannot be read and is left alone", metadata: ["upload": "\(id)", "error": "\(error)"])
                unreadable.insert(id)
            }
        }
        for name in names {
            let parts = name.split(separator: ".")
            guard parts.count == 2, let id = EntityID(parts[0]), ["meta", "data", "tmp"].contains(parts[1]), found[id] == nil,
                !unreadable.contains(id)
            else { continue }
            log.info("a file of no upload is removed", metadata: ["file": "\(name)"])
            try Disk.remove("\(directory)/\(name)")
        }
        sessions.withLock { $0 = found }
    }

    var count: Int { sessions.withLock { $0.count } }

    func session(_ id: EntityID) -> UploadSession? { sessions.withLock { $0[id] } }

    func open(_ id: EntityID) throws(RegistryError) -> UploadSession {
        guard let session = session(id) else {
            throw RegistryError(.notFound, subject: .upload(id.description), reason: "there is no such upload; it may have expired")
        }
        return session
    }

    func insert(_ session: UploadSession) { sessions.withLock { $0[session.id] = session } }
    func forget(_ id: EntityID) { sessions.withLock { _ = $0.removeValue(forKey: id) } }

    /// - Returns: how many there were.
    func expire(at now: Timestamp) -> Int {
        let all = sessions.withLock { Array($0.values) }
        let expired = all.filter { $0.removeIfExpired(at: now) }
        for session in expired { forget(session.id) }
        return expired.count
    }
}

/// A session whose bytes are staged. Committed, the session is over; let go, it can be finished again.
final class SessionClaim: Sendable {
    private let session: UploadSession
    private let uploads: Uploads
    private let size: Int64
    /// The session's file, as long as it may be cut back to the client's bytes.
    private let file: OpenFile
    private let isCommitted = Atomic(false)

    init(_ session: UploadSession, in uploads: Uploads, file: OpenFile, size: Int64) {
        self.session = session
        self.uploads = uploads
        self.file = file
        self.size = size
    }

    deinit {
        guard !isCommitted.load(ordering: .acquiring) else { return }
        do throws(RegistryError) {
            // Once the file had a blob's name, its bytes are never touched again, whatever became of that change.
            guard try Disk.status(of: file).links == 1 else { return end() }
            try Disk.truncate(file, to: size)
            session.release()
        } catch {
            end()
        }
    }

    func committed() {
        if !isCommitted.exchange(true, ordering: .acquiringAndReleasing) { end() }
    }

    private func end() {
        uploads.forget(session.id)
        session.removeCommitted()
    }
}

/// Writes a body into a session's file on the thread that brings it.
private final class UploadSink: ByteSink {
    private struct State {
        var end: Int64
        var running: RunningHash?
        var early: EarlyWriting
        var nextSpaceCheck: Int64
    }

    private static let spaceCheckStepBytes: Int64 = 1 << 20

    private let store: BlobStore
    private let file: OpenFile
    private let endMax: Int64?
    private let state: Mutex<State>

    init(_ file: OpenFile, from offset: Int64, upTo endMax: Int64?, running: RunningHash?, of store: BlobStore) {
        self.store = store
        self.file = file
        self.endMax = endMax
        state = Mutex(State(end: offset, running: running, early: EarlyWriting(from: offset), nextSpaceCheck: offset))
    }

    /// What has been written, and the hash of everything up to there.
    var outcome: (end: Int64, running: RunningHash?) { state.withLock { ($0.end, $0.running) } }

    func write(_ slice: ByteBuffer) throws(RegistryError) {
        try state.withLock { state throws(RegistryError) in
            let (end, overflow) = state.end.addingReportingOverflow(Int64(slice.readableBytes))
            guard !overflow, end <= endMax ?? RecordHeader.lengthMax else {
                throw RegistryError(.invalid, subject: .request, reason: "the body has more bytes than the upload or its range")
            }
            if end > state.nextSpaceCheck {
                try store.checkSpace(for: Int64(slice.readableBytes))
                state.nextSpaceCheck = end + UploadSink.spaceCheckStepBytes
            }
            try slice.withBytes { bytes throws(RegistryError) in
                try unsafe Disk.write(bytes, to: file, at: state.end)
                unsafe state.running?.update(bytes)
            }
            state.end = end
            state.early.wrote(upTo: end, of: file)
        }
    }
}

extension BlobStore {
    /// Opens a resumable upload, which survives a crash from its first byte on. `context` comes back with every status.
    /// - Throws: `invalid` for a context above 16 KiB or a negative total, `noSpace`, `unavailable` when too many are open.
    public func beginUpload(context: [UInt8], totalBytes: Int64?) async throws(RegistryError) -> UploadStatus {
        guard context.count <= UploadHeader.contextBytesMax, (0...RecordHeader.lengthMax).contains(totalBytes ?? 0) else {
            throw RegistryError(.invalid, subject: .request, reason: "the upload's context or length is out of bounds")
        }
        guard uploads.count < options.uploadsMax else {
            throw RegistryError(.unavailable, subject: .store, reason: "too many uploads are open; finish or cancel some", retryAfterSeconds: 60)
        }
        try checkSpace(for: totalBytes ?? 0)
        let now = world.now()
        let id = world.newID().made(by: options.node)
        let session = UploadSession(
            beginning: id, UploadHeader(created: now, totalBytes: totalBytes, context: context), in: uploads.directory,
            expires: now.adding(seconds: uploads.lifetimeSeconds))
        uploads.insert(session)
        return session.status
    }

    /// nil when there is no such upload: never begun, finished, cancelled or expired.
    public func upload(_ id: EntityID) async throws(RegistryError) -> UploadStatus? { uploads.session(id)?.status }

    /// Adds the body behind what was received. What arrived of a body that breaks off is kept and counted, and the error thrown.
    /// - Throws: `rangeUnsatisfiable` unless `offset` (nil: wherever it is) is what was received, `conflict` when another is at work on it,
    ///   `invalid` beyond the total, `notFound`, `noSpace`.
    public func append(_ id: EntityID, at offset: Int64?, from body: Body) async throws(RegistryError) -> UploadStatus {
        let session = try uploads.open(id)
        let append = try session.beginAppend(at: offset)
        let file: OpenFile
        do throws(RegistryError) { file = try await pool.run { () throws(RegistryError) in try session.openData() } } catch {
            session.abandonAppend(append)
            throw error
        }
        let sink = UploadSink(file, from: append.offset, upTo: session.header.totalBytes, running: append.running, of: self)
        let failure = await fill(sink, from: body, at: append.offset, upTo: session.header.totalBytes)
        let (end, running) = sink.outcome
        let now = world.now()
        let expires = now.adding(seconds: options.uploadLifetimeSeconds)
        try await pool.run { () throws(RegistryError) in
            try session.endAppend(append.offset..<end, running: running, in: file, expires: expires, at: now)
        }
        if let failure { throw failure }
        return session.status
    }

    /// Writes one range of an upload whose total is known; ranges may come in any order, and disjoint ones at the same time. What arrived of a body
    /// that breaks off is kept and counted, and the error thrown.
    /// - Throws: `rangeUnsatisfiable` for a range outside the total, `conflict` when it overlaps one being written, `invalid` unless the body is as
    ///   long as the range, `notFound`, `noSpace`.
    public func write(_ id: EntityID, range: Range<Int64>, from body: Body) async throws(RegistryError) -> UploadStatus {
        let session = try uploads.open(id)
        guard let total = session.header.totalBytes else {
            throw RegistryError(.invalid, subject: .upload(id.description), reason: "an upload of unknown length takes bytes in order only")
        }
        guard range.lowerBound >= 0, range.upperBound <= total else {
            throw RegistryError(.rangeUnsatisfiable, subject: .upload(id.description), reason: "the upload has \(total) bytes")
        }
        try session.beginWrite(range)
        let file: OpenFile
        do throws(RegistryError) { file = try await pool.run { () throws(RegistryError) in try session.openData() } } catch {
            session.abandonWrite(range)
            throw error
        }
        let sink = UploadSink(file, from: range.lowerBound, upTo: range.upperBound, running: nil, of: self)
        var failure = await fill(sink, from: body, at: range.lowerBound, upTo: range.upperBound)
        let end = sink.outcome.end
        let now = world.now()
        let expires = now.adding(seconds: options.uploadLifetimeSeconds)
        try await pool.run { () throws(RegistryError) in
            try session.endWrite(range.lowerBound..<end, claimed: range, in: file, expires: expires, at: now)
        }
        if failure == nil, end < range.upperBound {
            failure = RegistryError(
                .invalid, subject: .upload(id.description), reason: "the body ended after \(end - range.lowerBound) of \(range.count) bytes")
        }
        if let failure { throw failure }
        return session.status
    }

    /// - Returns: why it ended early.
    private func fill(_ sink: UploadSink, from body: Body, at offset: Int64, upTo endMax: Int64?) async -> RegistryError? {
        do throws(RegistryError) {
            if let length = body.length {
                if let endMax, length > endMax - offset {
                    throw RegistryError(.invalid, subject: .request, reason: "the body has more bytes than the upload or its range")
                }
                try checkSpace(for: length)
            }
            try await body.drain(into: sink)
            return nil
        } catch {
            return error
        }
    }

    /// Everything has arrived: hashes what was not hashed on the way, and gives the bytes their place. The session ends when the staged bytes are
    /// committed; if they are let go instead, it can be continued.
    /// - Throws: `invalid` when bytes are missing, `conflict` when another is at work on it, `notFound`.
    public func finishUpload(_ id: EntityID, digests: DigestSet) async throws(RegistryError) -> any StagedBytes {
        let session = try uploads.open(id)
        let (size, running) = try session.beginFinish()
        let file: OpenFile
        do throws(RegistryError) { file = try await pool.run { () throws(RegistryError) in try session.openData() } } catch {
            session.release()
            throw error
        }
        // Whatever fails from here on lets the session go on.
        let claim = SessionClaim(session, in: uploads, file: file, size: size)
        let arrival: Arrival
        if let running, digests == .sha256 {
            arrival = Arrival(
                digests: running.hasher.finish(), size: size, table: running.checksums.table, bytes: .file(file, nil), session: claim)
        } else {
            let (found, table) = try await pool.run { () throws(RegistryError) in try BlobStore.hash(file, size: size, digests) }
            arrival = Arrival(digests: found, size: size, table: table, bytes: .file(file, nil), session: claim)
        }
        return try await place(arrival)
    }

    static func hash(_ file: OpenFile, size: Int64, _ digests: DigestSet) throws(RegistryError) -> ([Digest], [UInt8]) {
        var hasher = MultiHasher(digests)
        var checksums = SliceChecksums()
        var done: Int64 = 0
        while done < size {
            let slice = try Disk.read(file, at: done, count: Int(min(Int64(SliceChecksums.sliceBytes), size - done)))
            guard !slice.isEmpty else {
                throw RegistryError(.corrupt, subject: .store, reason: "an upload's file is shorter than what was received; begin it again")
            }
            slice.withUnsafeBytes { unsafe Staging.hash($0, into: &hasher, &checksums) }
            done += Int64(slice.count)
        }
        return (hasher.finish(), checksums.table)
    }

    /// Forgets the upload and its bytes.
    /// - Throws: `notFound`, `conflict` while it is being finished.
    public func cancelUpload(_ id: EntityID) async throws(RegistryError) {
        let session = try uploads.open(id)
        try session.remove()
        uploads.forget(id)
    }

    /// Removes the uploads that received nothing for `uploadLifetimeSeconds`, unless somebody is at work on them.
    /// - Returns: how many there were.
    @discardableResult
    public func expireUploads(now: Timestamp) async throws(RegistryError) -> Int {
        try await pool.run { [uploads] () throws(RegistryError) in uploads.expire(at: now) }
    }
}
