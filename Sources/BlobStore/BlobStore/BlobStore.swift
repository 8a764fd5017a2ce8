// BlobStore: byte streams to verified, durable, immutable blobs and back. It promises that a committed blob is whole and on disk, that what
// it serves was checked, and that what was not committed is never seen and leaves nothing behind. It never decides who may read what, knows
// no names but SHA-256, and deletes nothing of its own accord: what the sweep may take away, the catalog says (`Removal.swift`).
// Bytes on disk: docs/internals/segment.md, blob-location.md, upload.md.

public import Core
public import Logging
public import NIOCore
public import OrderedStore
import Synchronization

/// Immutable blobs, named by SHA-256: small ones in segments, large ones in files of their own, found through rows of an `OrderedStore`.
public final class BlobStore: Sendable {
    public struct Options: Sendable {
        /// A segment takes no further record that would make it longer.
        public var segmentBytesMax: Int64 = 256 << 20
        /// Blobs of at least this length get a file of their own.
        public var ownFileBytesMin = 8 << 20
        /// A body that turns out longer leaves memory for the disk.
        public var stagedInMemoryBytesMax = 64 << 10
        /// A body of unknown length that went to a file is copied into a segment up to this length.
        public var copiedBytesMax = 1 << 20
        /// Bytes all bodies together may hold in memory; beyond that they go to the disk at once.
        public var bytesInFlightMax: Int64 = 64 << 20
        /// Bytes complete, but not yet committed, that a segment holds in memory before it writes them.
        public var waitingBytesMax: Int64 = 4 << 20
        /// An upload session that received nothing for so long may be expired.
        public var uploadLifetimeSeconds: Int64 = 24 * 3600
        /// Of several nodes this one's number, which is in the ids of its upload sessions; 0: there is one.
        public var node: UInt16 = 0
        /// Upload sessions open at once.
        public var uploadsMax = 10_000
        /// Space that is never given to blobs, so that the index, deletes and logs still work.
        public var reserveBytes: Int64 = 64 << 20
        /// As many files, of a file system that has a bound.
        public var reserveFiles: Int64 = 256
        /// Descriptors kept open for reading.
        public var openFilesMax = 256
        /// Blobs remembered as verified.
        public var verifiedBlobsMax = 1 << 16
        /// So long a verified blob is sent without being read and checked again; 0: until the next start.
        public var verificationSeconds: Int64 = 24 * 3600
        /// Every read is checked: each slice before it leaves, the SHA-256 of a whole blob before its last slice does.
        public var isStrict = false
        /// Opening changes nothing on disk, and nothing can be staged: for who checks a store or copies it.
        public var isReadOnly = false
        /// Chunks kept in memory as they were read last.
        public var chunkCacheBytesMax = 8 << 20
        /// Which archives may be opened.
        public var archives = ArchiveLimits()
        public init() {}
    }

    /// What memory alone knows of a blob.
    public enum CachedContent: Sendable {
        case found(BlobContent)
        /// There is no such blob.
        case absent
        /// Only the disk can tell: ask `content(of:)`.
        case unknown
    }

    /// Up to this length a blob is read into memory, and verified every time.
    static let readInMemoryBytesMax: Int64 = 64 << 10

    let directory: String
    let options: Options
    let world: World
    let log: Logger
    let index: OrderedStore
    let pool: BlockingPool
    /// The sweep's own thread, so that no reader waits behind it.
    let sweepPool = BlockingPool(threads: 1, name: "sweep", isBackground: true)
    let gauge = ByteGauge()
    let leases = Leases()
    let segments: Segments
    let blobs: BlobDirectory
    let openFiles: OpenFiles
    let verified: VerifiedBlobs
    let verification: SharedVerification
    let uploads: Uploads
    /// Blobs in chunks that are in use.
    let recipes = RecipesInUse()
    let chunkCache: ChunkCache
    /// What cuts blobs up, and what frees chunks, come one after the other.
    let chunkTurn = Turn()
    /// Their own thread.
    let chunkPool = BlockingPool(threads: 1, name: "chunks", isBackground: true)
    /// Chunks may have lost the last recipe that names them.
    let mayHaveDeadChunks = Atomic(true)
    /// Committed, and long enough to be cut up.
    let uncut = UncutBlobs()
    let counters = Counters()
    let damaged = DamagedBlobs()
    /// What was read since the last look for what was not.
    let reads = ReadMarks()
    let rebuilds = Rebuilds()
    let healer = Mutex<Healer?>(nil)
    /// Set once, by `attach`.
    let tieringBox = Mutex<Tiering?>(nil)
    /// Set once, by `share`.
    let sharingBox = Mutex<Sharing?>(nil)

    /// Opens the store in `directory`, which is made when missing (its parent is not), and recovers: an unfinished record at the end of the newest
    /// segment is skipped, open upload sessions are found again. Only that segment's headers are read.
    public init(
        at directory: String, store: OrderedStore, options: Options = Options(), world: World, log: Logger
    ) throws(RegistryError) {
        self.directory = directory
        self.options = options
        self.world = world
        self.log = log
        index = store
        let pool = BlockingPool(threads: 4, name: "blobs")
        self.pool = pool
        chunkCache = ChunkCache(bytesMax: options.chunkCacheBytesMax)
        openFiles = OpenFiles(filesMax: OpenFiles.limit(options.openFilesMax))
        verified = VerifiedBlobs(blobsMax: options.verifiedBlobsMax, seconds: options.verificationSeconds, world: world)
        verification = SharedVerification(on: pool)
        if !options.isReadOnly { try BlobStore.makeDirectories(in: directory) }
        blobs = BlobDirectory(at: directory + "/blobs")
        segments = try Segments(
            in: directory + "/segments", recovers: !options.isReadOnly, bytesMax: options.segmentBytesMax, gauge: gauge, world: world, log: log,
            areFatesKnown: { !store.hasFailed }
        ) { entry, segment throws(RegistryError) in
            try BlobStore.isNamed(entry, in: segment, by: store)
        }
        uploads = try Uploads(
            in: directory + "/uploads", recovers: !options.isReadOnly, lifetimeSeconds: options.uploadLifetimeSeconds, log: log)
    }

    private static func makeDirectories(in directory: String) throws(RegistryError) {
        var isNew = try Disk.makeDirectory(directory)
        for name in ["segments", "blobs", "uploads"] { isNew = try Disk.makeDirectory(directory + "/" + name) || isNew }
        guard isNew else { return }
        try Disk.synchronizeDirectory(directory)
        try Disk.synchronizeDirectory(directory + "/..")
    }

    /// Lets go of descriptors. What was committed is on disk already; staged bytes that were not are gone, as in a crash.
    public func close() {
        openFiles.removeAll()
        recipes.removeAll()
        chunkCache.removeAll()
        tieringBox.withLock { $0 = nil }
        sharingBox.withLock { $0 = nil }
    }

    // MARK: Staging

    /// Begins to take a blob of `expectedLength` bytes (nil: unknown).
    /// - Throws: `noSpace` when they do not fit, `invalid` for a negative length.
    public func stage(expectedLength: Int64?, digests: DigestSet) throws(RegistryError) -> Staging {
        if let expectedLength {
            guard expectedLength >= 0, expectedLength <= RecordHeader.lengthMax else {
                throw RegistryError(.invalid, subject: .request, reason: "the announced length \(expectedLength) is none")
            }
        }
        try checkSpace(for: expectedLength ?? 0)
        return Staging(in: self, expectedLength: expectedLength, digests: digests)
    }

    /// Takes bytes that are at hand.
    public func stage(_ bytes: ByteBuffer, digests: DigestSet) async throws(RegistryError) -> any StagedBytes {
        let staging = try stage(expectedLength: Int64(bytes.readableBytes), digests: digests)
        try staging.write(bytes)
        return try await staging.finish()
    }

    /// A blob that is stored (or being staged by another), held so that a change may name it again; nil when there is none.
    /// - Throws: `corrupt` when its bytes are damaged.
    public func staged(_ id: BlobID) async throws(RegistryError) -> (any StagedBytes)? {
        await leases.claim(id)
        defer { leases.unclaim(id) }
        if let placement = leases.join(id) { return try await secured(placement, [id.digest], nil) }
        guard let content = try await keptContent(of: id) else { return nil }
        let placement = leases.hold(Placement(id, size: content.length, in: .stored(content)))
        return try await secured(placement, [id.digest], nil)
    }

    private func keptContent(of id: BlobID) async throws(RegistryError) -> BlobContent? {
        guard let sharing else { return try await content(of: id, isKept: true) }
        do throws(RegistryError) {
            if let content = try await content(of: id, isKept: true) { return content }
        } catch {
            guard error.code == .corrupt else { throw error }
        }
        return try await sharing.fetch(id, of: self)
    }

    /// Whether staged bytes hold the blob: the sweep leaves it alone then.
    public func isLeased(_ id: BlobID) -> Bool { leases.isHeld(id) }

    /// - Throws: `noSpace` when `count` more bytes would touch the reserve.
    func checkSpace(for count: Int64) throws(RegistryError) {
        guard !options.isReadOnly else { throw RegistryError(.unavailable, subject: .store, reason: "the store is open for reading only") }
        guard let free = FreeSpace(at: directory) else { throw Disk.error(while: "statvfs") }
        guard free.bytes - options.reserveBytes >= count else {
            throw RegistryError(
                .noSpace, subject: .store, reason: "the disk is nearly full; free some space",
                cause: "\(free.bytes) bytes free, \(options.reserveBytes) kept in reserve, \(count) wanted")
        }
        if let files = free.files, files < options.reserveFiles {
            throw RegistryError(
                .noSpace, subject: .store, reason: "the file system has nearly as many files as it can have; free some", cause: "\(files) free")
        }
    }

    func newTemporaryFile() throws(RegistryError) -> TemporaryFile {
        try TemporaryFile(in: blobs, named: "\(directory)/uploads/\(world.newID()).tmp")
    }

    /// Gives complete bytes their place, or gives them up when the store has them.
    /// - Parameter isHereAlone: the bucket that is shared, if one is, has them: they come from there.
    func place(_ arrival: Arrival, isHereAlone: Bool = false) async throws(RegistryError) -> StagedBlob {
        guard let id = arrival.digests.first.flatMap({ BlobID($0) }) else { preconditionFailure("SHA-256 is the first digest") }
        await leases.claim(id)
        defer { leases.unclaim(id) }
        if let placement = leases.join(id) { return try await found(placement, arrival, isHereAlone) }
        var isReplaced = isStoredAnew(arrival)
        do throws(RegistryError) {
            if !isReplaced { isReplaced = try await isAway(id, length: arrival.size) }
            if !isReplaced, let content = try await content(of: id, isKept: true) {
                let placement = leases.hold(Placement(id, size: content.length, in: .stored(content)))
                return try await found(placement, arrival, isHereAlone)
            }
        } catch {
            guard error.code == .corrupt else { throw error }
            log.error("a damaged blob is stored anew from an upload of the same bytes", metadata: ["blob": "\(id)", "error": "\(error)"])
            isReplaced = true
        }
        let placement = try await newPlacement(id, arrival, replacing: isReplaced)
        let held = leases.hold(placement)
        if held !== placement { abandon(placement) }
        return try await secured(held, arrival.digests, arrival.session, isHereAlone)
    }

    /// Small bytes go into a record of their own without a look for another, which would cost as much as it spares, and tell by the time it takes
    /// that somebody has them. The record that the blob had is dead then, damaged or not. Blobs as small as that are never in chunks.
    private func isStoredAnew(_ arrival: Arrival) -> Bool {
        // Where they would have to go into a bucket first, it is that which takes the time.
        guard case .memory = arrival.bytes, sharing == nil, tiering?.options.policy != .writeThrough else { return false }
        return arrival.size <= BlobStore.readInMemoryBytesMax
    }

    /// What is handed out: with a tier that is written through, or a bucket that is shared, when that has the bytes.
    private func secured(
        _ placement: Placement, _ digests: [Digest], _ session: SessionClaim?, _ isHereAlone: Bool = false, _ inVain: WrittenInVain? = nil
    ) async throws(RegistryError) -> StagedBlob {
        // First, so that the hold ends with it whatever happens.
        let staged = StagedBlob(placement, digests: digests, session: session, inVain: inVain, of: self)
        try await tiering?.secure(placement, of: self)
        if !isHereAlone { try await staged.share() }
        return staged
    }

    /// Bytes that the store has, or that another upload brings, are written and synced all the same: else the time of an upload would tell whether
    /// anybody has them. What is written is as good as what an upload left that nobody committed.
    /// - Parameter placement: held.
    private func found(_ placement: Placement, _ arrival: Arrival, _ isHereAlone: Bool) async throws(RegistryError) -> StagedBlob {
        // Where nodes share a bucket it is sending them there that takes the time, and known bytes are not sent.
        guard !isHereAlone, sharing == nil else { return try await secured(placement, arrival.digests, arrival.session, isHereAlone) }
        let inVain: WrittenInVain
        do throws(RegistryError) {
            if case .file(let file, let temporary) = arrival.bytes, arrival.size > Int64(options.copiedBytesMax) {
                inVain = WrittenInVain(.file(file, temporary), in: self)
            } else {
                inVain = WrittenInVain(.record(try await newPlacement(placement.id, arrival, replacing: false)), in: self)
            }
        } catch {
            release(placement)
            throw error
        }
        return try await secured(placement, arrival.digests, arrival.session, false, inVain)
    }

    private func newPlacement(_ id: BlobID, _ arrival: Arrival, replacing: Bool) async throws(RegistryError) -> Placement {
        switch arrival.bytes {
        case .memory(let bytes):
            return try await append(id, bytes, table: arrival.table)
        case .segment(let reservation):
            try await pool.run { () throws(RegistryError) in try reservation.complete(id, table: arrival.table) }
            return Placement(id, size: arrival.size, in: .segment(reservation.segment, offset: reservation.offset, nil))
        case .file(let file, _) where arrival.size <= Int64(options.copiedBytesMax):
            let bytes = try await pool.run { () throws(RegistryError) in
                ByteBuffer(bytes: try Disk.read(file, at: 0, count: Int(arrival.size)))
            }
            return try await append(id, bytes, table: arrival.table)
        case .file(let file, let temporary):
            let blobs = blobs
            let own = try await pool.run { () throws(RegistryError) in
                try OwnFile(id, length: arrival.size, table: arrival.table, in: file, temporary, of: blobs, replaces: replacing)
            }
            return Placement(id, size: arrival.size, in: .ownFile(own), session: arrival.session)
        }
    }

    private func append(_ id: BlobID, _ bytes: ByteBuffer, table: [UInt8]) async throws(RegistryError) -> Placement {
        let (segment, offset) = try segments.append(.blob, id, bytes, table: table)
        let placement = Placement(id, size: Int64(bytes.readableBytes), in: .segment(segment, offset: offset, bytes))
        if segment.waitingBytes > options.waitingBytesMax {
            do throws(RegistryError) {
                try await pool.run { () throws(RegistryError) in try segment.writeOut() }
            } catch {
                abandon(placement)
                throw error
            }
        }
        return placement
    }

    // MARK: The fate of a placement

    func committed(_ placement: Placement) { if becameStored(placement) { placement.session?.committed() } }

    /// The row of this node's files is durable; whether a change names the blob, too, is another question.
    /// - Returns: whether this was the first time.
    func becameStored(_ placement: Placement) -> Bool {
        guard placement.markCommitted() else { return false }
        counters.blobCommitted(bytes: placement.size)
        verified.insert(placement.id)
        uncut.add(placement.id, length: placement.size, at: world.monotonicNanoseconds())
        damaged.clear(placement.id)
        reads.mark(placement.id)
        switch placement.home {
        case .stored: break
        case .segment(let segment, _, _): segments.settle(segment)
        case .ownFile:
            openFiles.forget(.ownFile(placement.id))
            tiering?.noteStored(placement.id, length: placement.size)
        }
        return true
    }

    func release(_ placement: Placement) {
        leases.release(placement.id) { abandon($0) }
    }

    /// Nobody will commit it.
    fileprivate func abandon(_ placement: Placement) {
        switch placement.home {
        case .stored: break
        case .segment(let segment, let offset, _):
            segments.discard(SegmentEntry(id: placement.id, offset: offset, length: placement.size), in: segment)
        case .ownFile(let own):
            tiering?.noteAbandoned(placement.id)
            // After a failed write of the index nobody knows whether the row will be there at the next start: the file stays, an orphan if not.
            guard own.isLinked, !index.hasFailed else { return }
            do throws(RegistryError) {
                // Unless memory alone knows that no row names the blob, the file stays: an orphan at worst, which the sweep finds.
                if try index.getCached(placement.id.bytes, in: .blobLocations) == .absent { try own.unlink() }
            } catch {
                log.warning("an uncommitted blob's file stays", metadata: ["blob": "\(placement.id)", "error": "\(error)"])
            }
        }
    }
}

/// Bytes of a blob that the store has already, written where new ones are written, and given up when this object goes.
final class WrittenInVain: SyncableFile {
    enum Place: Sendable {
        case record(Placement)
        /// Without a name, or with one that goes with it.
        case file(OpenFile, TemporaryFile?)
    }

    private let place: Place
    private let store: BlobStore

    init(_ place: Place, in store: BlobStore) {
        self.place = place
        self.store = store
    }

    deinit {
        if case .record(let placement) = place { store.abandon(placement) }
    }

    /// What a commit brings to disk: the very segment where it is one, which other uploads of the same group share.
    var file: any SyncableFile {
        guard case .record(let placement) = place, let segment = placement.file else { return self }
        return segment
    }

    func synchronize() throws(RegistryError) {
        if case .file(let file, _) = place { try Disk.synchronize(file) }
    }
}
