public import Core
import Logging
import OrderedStore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

public struct ScrubOptions: Sendable {
    /// No stored byte is to be unread for longer; 0: nothing is read by itself.
    public var intervalSeconds: Int64 = 14 * 24 * 3600
    /// How fast the disk is read, and how fast a tier; 0 is as fast as it can.
    public var bytesPerSecondMax: Int64 = 16 << 20
    /// No byte in a tier is to be unread for longer; 0: nothing is read there by itself. Requests to a bucket cost money.
    public var tierIntervalSeconds: Int64 = 90 * 24 * 3600
    public init() {}
}

/// What scrubbing has done since the start.
public struct ScrubTotals: Sendable, Hashable {
    public var blobs: Int64 = 0
    public var bytes: Int64 = 0
    /// Found damaged, each time.
    public var damaged: Int64 = 0
    /// Files that were read in the tier, what came of them, and the requests it took.
    public var tierFiles: Int64 = 0
    public var tierBytes: Int64 = 0
    public var tierRequests: Int64 = 0
    /// Found damaged, short or missing there, each time.
    public var tierDamaged: Int64 = 0
    /// Of those: copied again from the disk.
    public var tierHealed: Int64 = 0
}

/// Reads everything that is stored, again and again, in the background: of the 256 shards of the blobs always that whose last reading is the
/// longest ago. What is damaged is named, marked, and healed if there is something to heal it from.
public final class Scrub: Sendable {
    struct State {
        var kept: ScrubState
        var totals = ScrubTotals()
        var isRunning = false
        var isReadingTier = false
        var lastNote: UInt64 = 0
    }

    private static let pageBlobs = 64
    /// Between two notes of how far it is.
    static let noteNanoseconds: UInt64 = 30_000_000_000

    let blobs: BlobStore
    public let options: ScrubOptions
    /// What names a blob, in words, for the log.
    private let names: @Sendable (BlobID) async -> [String]
    /// Its own thread, which rests when the disk has done enough for a while.
    private let pool = BlockingPool(threads: 1, name: "scrub", isBackground: true)
    let state: Mutex<State>

    /// Goes on where the last one was.
    public init(
        of blobs: BlobStore, options: ScrubOptions, names: @escaping @Sendable (BlobID) async -> [String]
    ) throws(RegistryError) {
        self.blobs = blobs
        self.options = options
        self.names = names
        var kept = ScrubState(at: blobs.world.now())
        if let file = try Disk.openExisting(blobs.directory + "/scrub") {
            if let read = ScrubState(try Disk.read(file, at: 0, count: Int(min(try Disk.status(of: file).size, 16 << 20)))) {
                kept = read
            } else {
                blobs.log.warning("what the scrub remembered is damaged; it begins anew")
            }
        }
        for each in kept.damaged { _ = blobs.damaged.mark(each) }
        state = Mutex(State(kept: kept))
    }

    public var totals: ScrubTotals { state.withLock { $0.totals } }
    public var isRunning: Bool { state.withLock { $0.isRunning } }
    public var healedBlobs: UInt64 { blobs.counters.blobsHealed }
    public var damagedBlobs: Int { blobs.damaged.count }
    /// Every byte stored on the disk before then has been read since.
    public var oldest: Timestamp { state.withLock { $0.kept.oldest } }

    // MARK: Running

    /// Reads what is due, until the task is cancelled.
    public func runOnSchedule() async {
        guard options.intervalSeconds > 0 else { return }
        while !Task.isCancelled {
            let due = oldest.adding(seconds: options.intervalSeconds)
            let seconds = (due.milliseconds - blobs.world.now().milliseconds) / 1000
            guard seconds <= 0 else {
                try? await Task.sleep(for: .seconds(min(seconds, 3600)))
                continue
            }
            do throws(RegistryError) { try await exclusively { () async throws(RegistryError) in try await nextShard() } } catch {
                if error.code != .conflict { blobs.log.error("the scrub stopped, and goes on later", metadata: ["error": "\(error)"]) }
                try? await Task.sleep(for: .seconds(60))
            }
        }
    }

    /// Reads everything once, beginning with what is oldest. Cancelling the task ends it where it is.
    /// - Throws: `conflict` while another reading runs.
    public func pass() async throws(RegistryError) {
        try await exclusively { () async throws(RegistryError) in
            for shard in byAge where !Task.isCancelled {
                begin(shard)
                try await readOn()
            }
        }
    }

    /// The shards, the longest unread first.
    private var byAge: [Int] {
        state.withLock { state in state.kept.passed.indices.sorted { (state.kept.passed[$0], $0) < (state.kept.passed[$1], $1) } }
    }

    private func begin(_ shard: Int) {
        state.withLock { $0.kept.begin(UInt8(truncatingIfNeeded: shard), at: blobs.world.now()) }
    }

    private func exclusively(_ work: () async throws(RegistryError) -> Void) async throws(RegistryError) {
        let isFirst = state.withLock { state in
            defer { state.isRunning = true }
            return !state.isRunning
        }
        guard isFirst else { throw RegistryError(.conflict, subject: .store, reason: "a scrub is running", retryAfterSeconds: 60) }
        defer { state.withLock { $0.isRunning = false } }
        do throws(RegistryError) { try await work() } catch {
            try await note()
            throw error
        }
        try await note()
    }

    /// The shard that was left, or else the one that was read the longest ago.
    private func nextShard() async throws(RegistryError) {
        if state.withLock({ $0.kept.shard == nil }), let oldest = byAge.first { begin(oldest) }
        try await readOn()
    }

    /// Reads the shard that was begun to its end, or until the task is cancelled.
    private func readOn() async throws(RegistryError) {
        let kept = state.withLock { $0.kept }
        guard let shard = kept.shard else { return }
        var last = kept.last ?? BlobStore.before(shard: shard)
        while !Task.isCancelled {
            let page = try await blobs.storedBlobs(after: last, limit: Scrub.pageBlobs)
            let mine = page.blobs.filter { $0.id.bytes[0] == shard }
            for id in page.damaged where id.bytes[0] == shard { await tell(id, BlobStore.corrupt(id, "its location does not decode")) }
            for blob in mine.sorted(by: { $0.location.isBefore($1.location) }) where !Task.isCancelled { try await read(blob) }
            if Task.isCancelled { return }
            guard let next = page.last, next.bytes[0] == shard else { break }
            last = next
            let isDue = state.withLock { state in
                state.kept.last = next
                return blobs.world.monotonicNanoseconds() &- state.lastNote > Scrub.noteNanoseconds
            }
            if isDue { try await note() }
        }
        if Task.isCancelled { return }
        state.withLock { state in
            state.kept.passed[Int(shard)] = kept.began
            (state.kept.shard, state.kept.last) = (nil, nil)
        }
    }

    // MARK: One blob

    private func read(_ blob: StoredBlob) async throws(RegistryError) {
        // What only the tier has is read there (`Scrub+Tier.swift`).
        guard !blobs.hasLeft(blob.id, blob.location) else { return }
        let isOver = Flag()
        let outcome = await withTaskCancellationHandler {
            await verify(blob, isOver)
        } onCancel: {
            isOver.set()
        }
        switch outcome {
        case .success:
            state.withLock { state in
                state.totals.blobs += 1
                state.totals.bytes += blob.length
            }
            blobs.damaged.clear(blob.id)
            blobs.verified.insert(blob.id)
        case .failure(let error):
            guard !isOver.isSet else { return }
            guard error.code == .corrupt else { throw error }
            // Moved or taken away meanwhile: that is no damage, and what was moved was checked.
            guard try await blobs.location(of: blob.id) == blob.location, !blobs.hasLeft(blob.id, blob.location) else { return }
            state.withLock { $0.totals.damaged += 1 }
            await tell(blob.id, error)
            if await blobs.heal(blob.id, at: blob.location) { blobs.damaged.clear(blob.id) }
        }
    }

    private func verify(_ blob: StoredBlob, _ isOver: Flag) async -> Result<Void, RegistryError> {
        let (rate, world, blobs) = (options.bytesPerSecondMax, blobs.world, blobs)
        do throws(RegistryError) {
            try await pool.run { () throws(RegistryError) in
                var began = world.monotonicNanoseconds()
                try blobs.verifyWhole(blob.id, at: blob.location, isRebuilding: false) { count throws(RegistryError) in
                    if isOver.isSet { throw RegistryError(.unavailable, subject: .store, reason: "the scrub ends") }
                    if rate > 0 {
                        let wanted = UInt64(Double(count) / Double(rate) * 1e9)
                        let took = world.monotonicNanoseconds() &- began
                        if took < wanted { usleep(UInt32(truncatingIfNeeded: min((wanted - took) / 1000, 999_999))) }
                        began = world.monotonicNanoseconds()
                    }
                }
            }
            return .success(())
        } catch { return .failure(error) }
    }

    func tell(_ id: BlobID, _ error: RegistryError) async {
        var failure = error
        if case .store = error.subject { failure = BlobStore.corrupt(id, error.reason, cause: error.cause) }
        blobs.noteDamage(id, failure)
        let names = await names(id).joined(separator: ", ")
        blobs.log.error(
            "the scrub found a damaged blob",
            metadata: ["blob": "\(id)", "error": "\(failure)", "named by": "\(names)"])
    }

    /// Writes how far it is, in one piece.
    func note() async throws(RegistryError) {
        let kept = state.withLock { state in
            state.lastNote = blobs.world.monotonicNanoseconds()
            state.kept.damaged = blobs.damaged.all
            return state.kept
        }
        let path = blobs.directory + "/scrub"
        try await pool.run { () throws(RegistryError) in
            let file = try Disk.open(path + ".new", O_RDWR | O_CREAT | O_TRUNC)
            try Disk.write(kept.encoded, to: file, at: 0)
            try Disk.synchronize(file)
            try Disk.move(path + ".new", over: path)
        }
    }
}

/// Set once.
final class Flag: Sendable {
    private let value = Atomic(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
}

extension BlobStore {
    /// The last blob that could come before those of a shard; nil for the first shard.
    static func before(shard: UInt8) -> BlobID? {
        guard shard > 0 else { return nil }
        return BlobID(bytes: [shard - 1] + [UInt8](repeating: 0xFF, count: 31))
    }
}
