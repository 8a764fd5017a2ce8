public import Core
import Logging
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

// Several nodes, one bucket: what is acknowledged is there, and where it lies the database says. The disk of a node is a cache: filled by what comes
// in and by what was asked for, bounded, lost without harm. Bytes, rows and order: docs/internals/shared-blobs.md.

public struct SharingOptions: Sendable {
    /// Bytes of blobs on the disk, beyond which those read longest ago leave it; 0: they stay.
    public var cacheBytesMax: Int64 = 0
    /// An object that no row names is deleted when its name is so old. Longer than any request from its first byte to its change.
    public var deleteDelaySeconds: Int64 = 24 * 3600
    /// Between two looks at how much the cache has.
    public var tickSeconds: Int64 = 5
    /// Bytes are acknowledged when this node's disk has them, and put afterwards (Sharing+Hold.swift).
    public var isBehind = false
    /// So many bytes at most; beyond that they are put before they are acknowledged, as without it.
    public var behindBytesMax: Int64 = 4 << 30
    /// nil: what another node holds cannot be read here.
    public var askHolder: HolderQuestion?
    public init() {}
}

/// What went to the bucket, came from it, and left the disk since the start.
public struct SharingStatistics: Sendable, Hashable {
    public var objectsPut: UInt64 = 0
    public var blobsPut: UInt64 = 0
    public var bytesPut: UInt64 = 0
    public var blobsFetched: UInt64 = 0
    public var bytesFetched: UInt64 = 0
    public var filesEvicted: UInt64 = 0
    public var bytesEvicted: UInt64 = 0
    /// Of blobs on the disk, when it was looked last.
    public var cacheBytes: Int64 = 0
    /// What this node has and the bucket does not yet.
    public var heldBlobs: Int64 = 0
    public var heldBytes: Int64 = 0
    /// Since when one of them waits; nil: none does.
    public var heldSince: Timestamp?
}

/// A blob's place in the bucket, or on this node's disk until it is there.
struct Secured: Sendable {
    let location: SharedLocation
    /// The database says so already; else the row travels with the change that names the blob.
    let isKnown: Bool
}

/// The bucket and the database as one node uses them.
final class Sharing: Sendable {
    struct State {
        /// Where records of groups that were just put lie, until those who wait for them have looked.
        var landed: [BlobID: SharedLocation] = [:]
        /// Places whose bytes were found missing or wrong: who brings the blob again puts it anew.
        var broken: [BlobID: SharedLocation] = [:]
        var statistics = SharingStatistics()
    }

    static let brokenMax = 10_000

    let bucket: any SegmentTier
    let locations: any SharedLocations
    let options: SharingOptions
    let directory: String
    /// Of several nodes this one's number.
    let node: UInt16
    let world: World
    let log: Logger
    let pool = BlockingPool(threads: 2, name: "sharing")
    let groups = GroupPuts()
    /// Of readers.
    let asked: GatheredQuestions
    /// Of those who are about to name the blob.
    let used: GatheredQuestions
    let puts = Flights<Secured>()
    let fetches = Flights<BlobContent?>()
    let held = HeldBlobs()
    /// One round of uploads comes after the other.
    let uploadTurn = Turn()
    let state = Mutex(State())

    init(_ bucket: any SegmentTier, _ locations: any SharedLocations, _ options: SharingOptions, of store: BlobStore) {
        self.bucket = bucket
        self.locations = locations
        self.options = options
        directory = store.directory
        node = store.options.node
        world = store.world
        log = store.log
        let clock = store.world
        asked = GatheredQuestions { blobs async throws(RegistryError) in try await locations.locations(of: blobs) }
        used = GatheredQuestions { blobs async throws(RegistryError) in try await locations.locations(using: blobs, at: clock.now()) }
    }

    var reading: PiecedRead { PiecedRead(tier: bucket, pool: pool) }

    // MARK: Whose it is

    /// Bucket, database and disk say that they belong together.
    /// - Throws: `invalid` when they do not.
    func open(isEmpty: Bool) async throws(RegistryError) {
        let mark = TierMark(id: try await locations.sharedStoreID()).encoded
        let own = try await pool.run { [markPath] () throws(RegistryError) in
            try Disk.openExisting(markPath).map { file throws(RegistryError) in try Disk.read(file, at: 0, count: TierMark.bytes + 1) }
        }
        guard own != nil || isEmpty else {
            throw Sharing.refused("this data directory has blobs of its own, which the other nodes would not see: give an empty one")
        }
        guard own == nil || own == mark else {
            throw Sharing.refused("this data directory has the cache of another registry: give an empty one")
        }
        do throws(RegistryError) { try await checkBucket(mark) } catch {
            // A node that knows its bucket serves what the disk has until the bucket is back.
            guard own != nil, error.retryAfterSeconds != nil else { throw error }
            log.error("the bucket does not answer; it is taken to be what it was", metadata: ["bucket": "\(bucket.place)", "error": "\(error)"])
        }
        if own == nil { try await keepMark(mark) }
    }

    private func checkBucket(_ mark: [UInt8]) async throws(RegistryError) {
        if let found = try await bucketMark() {
            guard found == mark else { throw Sharing.refused("\(bucket.place) has the blobs of another registry: take another prefix") }
            return
        }
        guard try await bucket.length(of: .mark) == nil else {
            throw Sharing.refused("\(bucket.place) is the tier of a single node: take another prefix")
        }
        var page: String?
        repeat {
            let list = try await bucket.list(.objects, page: page)
            guard list.objects.isEmpty else {
                throw Sharing.refused("\(bucket.place) has objects, and nothing says whose (\(TierName.sharedMark) is missing)")
            }
            page = list.next
        } while page != nil
        try await bucket.put(.sharedMark, BlobContent(.memory(ByteBuffer(bytes: mark))))
    }

    /// nil when there is none.
    private func bucketMark() async throws(RegistryError) -> [UInt8]? {
        guard let length = try await bucket.length(of: .sharedMark) else { return nil }
        return length > 1024 ? [] : Array(try await bucket.read(.sharedMark, 0..<length).collect().readableBytesView)
    }

    func isBucketTheSame() async throws(RegistryError) -> Bool {
        let mark = TierMark(id: try await locations.sharedStoreID()).encoded
        do throws(RegistryError) { return try await bucketMark() == mark } catch { throw Sharing.unanswered(error) }
    }

    private var markPath: String { Sharing.markPath(in: directory) }
    static func markPath(in directory: String) -> String { directory + "/shared.mark" }

    private func keepMark(_ mark: [UInt8]) async throws(RegistryError) {
        try await pool.run { [directory, markPath] () throws(RegistryError) in
            let file = try Disk.open(markPath + ".new", O_RDWR | O_CREAT | O_TRUNC)
            try Disk.write(mark, to: file, at: 0)
            try Disk.synchronize(file)
            try Disk.move(markPath + ".new", over: markPath)
            try Disk.synchronizeDirectory(directory)
        }
    }

    static func refused(_ reason: String) -> RegistryError {
        RegistryError(.invalid, subject: .configuration("s3_bucket"), reason: "the bucket cannot be shared: \(reason)")
    }

    // MARK: What is broken there

    func isBroken(_ id: BlobID, _ location: SharedLocation) -> Bool { state.withLock { $0.broken[id] == location } }

    func noteBroken(_ id: BlobID, _ location: SharedLocation) {
        let isNew = state.withLock { state in
            guard state.broken[id] != location, state.broken.count < Sharing.brokenMax else { return false }
            state.broken[id] = location
            return true
        }
        guard isNew else { return }
        if let holder = location.holder {
            log.error(
                "the node that alone had a blob has lost or damaged it; pushing it again heals it",
                metadata: ["blob": "\(id)", "node": "\(holder)"])
            return
        }
        log.error(
            "a blob is damaged or missing in the bucket; pushing it again heals it",
            metadata: ["blob": "\(id)", "object": "\(location.object)", "offset": "\(location.offset)"])
    }

    func noteSound(_ id: BlobID) { state.withLock { _ = $0.broken.removeValue(forKey: id) } }
}
