public import Core
import Logging
import OrderedStore
import Synchronization

/// Blobs committed since the start that are long enough to be cut, in the order they came. Bounded: what does not fit is found by a look at all.
final class UncutBlobs: Sendable {
    struct Waiting: Sendable {
        let id: BlobID
        /// Monotonic nanoseconds.
        let since: UInt64
    }
    private struct State {
        var blobs: [Waiting] = []
        /// Where the queue begins in `blobs`.
        var first = 0
        var hasOverflown = true
    }

    private static let countMax = 10_000
    private let state = Mutex(State())

    func add(_ id: BlobID, length: Int64, at time: UInt64) {
        guard length >= ChunkProfile.general.blobBytesMin else { return }
        state.withLock { state in
            guard state.blobs.count - state.first < UncutBlobs.countMax else {
                state.hasOverflown = true
                return
            }
            state.blobs.append(Waiting(id: id, since: time))
        }
    }

    /// The oldest, if it has waited since before `time`.
    func take(before time: UInt64) -> BlobID? {
        state.withLock { state in
            guard state.first < state.blobs.count, state.blobs[state.first].since <= time else { return nil }
            defer {
                state.first += 1
                if state.first == state.blobs.count || state.first > 1024 {
                    state.blobs.removeFirst(state.first)
                    state.first = 0
                }
            }
            return state.blobs[state.first].id
        }
    }

    /// Whether blobs may wait that are not in the queue: told once, and true at the start.
    func takeOverflow() -> Bool {
        state.withLock { state in
            defer { state.hasOverflown = false }
            return state.hasOverflown
        }
    }

    var count: Int { state.withLock { $0.blobs.count - $0.first } }
}

public struct ChunkerOptions: Sendable {
    public var isOn = true
    /// How fast blobs are read and written for it, each of the three times; 0 is as fast as it can.
    public var bytesPerSecondMax: Int64 = 32 << 20
    /// So long a blob is left alone after it came.
    public var delaySeconds: Int64 = 60
    public init() {}
}

public struct ChunkerTotals: Sendable, Hashable {
    public var cutBlobs: UInt64 = 0
    /// Their lengths.
    public var cutBytes: Int64 = 0
    /// What was written for them.
    public var newBytes: Int64 = 0
    /// Looked at, and left whole.
    public var keptBlobs: UInt64 = 0
    public var failures: UInt64 = 0
}

/// Keeps blobs in chunks where that saves space: after they were acknowledged, one at a time, and not while the store is busy.
public final class Chunker: Sendable {
    private static let idleNanoseconds: UInt64 = 1_000_000_000
    /// So long at most it waits for the store to be idle.
    private static let busySecondsMax = 60

    public let options: ChunkerOptions
    private let blobs: BlobStore
    private let profile: @Sendable (BlobID) async -> ChunkProfile
    private let log: Logger
    private let state = Mutex(ChunkerTotals())

    /// - Parameter profile: how a blob is to be cut, by what it is used for.
    public init(
        blobs: BlobStore, options: ChunkerOptions, profile: @escaping @Sendable (BlobID) async -> ChunkProfile = { _ in .general }
    ) {
        self.blobs = blobs
        self.options = options
        self.profile = profile
        log = blobs.log
    }

    /// Since the start.
    public var totals: ChunkerTotals { state.withLock { $0 } }
    public var waiting: Int { blobs.uncut.count }

    /// Works until the task is cancelled.
    public func run() async {
        guard options.isOn else { return }
        while !Task.isCancelled {
            if blobs.uncut.takeOverflow() { await lookAtAll() }
            let delay = UInt64(max(0, options.delaySeconds)).multipliedReportingOverflow(by: 1_000_000_000).partialValue
            let now = blobs.world.monotonicNanoseconds()
            if let id = blobs.uncut.take(before: now > delay ? now - delay : 0) {
                await waitUntilIdle()
                await look(at: id)
            } else {
                try? await Task.sleep(nanoseconds: Chunker.idleNanoseconds)
            }
        }
    }

    /// Everything that waits, now: for tools and tests.
    public func runOnce() async {
        if blobs.uncut.takeOverflow() { await lookAtAll() }
        while !Task.isCancelled, let id = blobs.uncut.take(before: .max) { await look(at: id) }
    }

    /// Busy is who takes in more than this may move.
    private func waitUntilIdle() async {
        guard options.bytesPerSecondMax > 0 else { return }
        for _ in 0..<Chunker.busySecondsMax where !Task.isCancelled {
            let before = blobs.statistics.bytesWritten
            try? await Task.sleep(nanoseconds: Chunker.idleNanoseconds)
            if blobs.statistics.bytesWritten &- before <= UInt64(options.bytesPerSecondMax) { return }
        }
    }

    /// Blobs of an earlier run, or that came too fast.
    private func lookAtAll() async {
        do throws(RegistryError) {
            try await blobs.forEachUncut { id async in
                await waitUntilIdle()
                await look(at: id)
            }
            try await blobs.removeStaleNotes()
        } catch {
            log.error("not every blob was looked at for what chunks would save", metadata: ["error": "\(error)"])
        }
    }

    private func look(at id: BlobID) async {
        do throws(RegistryError) {
            let pace = Pace(bytesPerSecond: options.bytesPerSecondMax, world: blobs.world)
            let length = try await blobs.location(of: id)?.length ?? 0
            let chunking = try await blobs.cut(id, as: await profile(id), pace: pace)
            state.withLock { totals in
                switch chunking {
                case .cut(let newBytes):
                    totals.cutBlobs += 1
                    totals.cutBytes += length
                    totals.newBytes += newBytes
                case .keptWhole: totals.keptBlobs += 1
                case .passedOver: break
                }
            }
            if case .cut(let newBytes) = chunking {
                log.debug("blob cut into chunks", metadata: ["blob": "\(id)", "bytes": "\(length)", "newBytes": "\(newBytes)"])
            }
        } catch {
            if Task.isCancelled { return }
            state.withLock { $0.failures += 1 }
            log.warning("a blob could not be cut into chunks and stays as it is", metadata: ["blob": "\(id)", "error": "\(error)"])
        }
    }
}

extension BlobStore {
    /// Blobs that lie whole, are long enough, and that nobody has looked at.
    func forEachUncut(_ body: (BlobID) async -> Void) async throws(RegistryError) {
        var last: BlobID?
        repeat {
            let page = try await storedBlobs(after: last, limit: 1024)
            for blob in page.blobs where blob.location.isWhole && blob.length >= ChunkProfile.general.blobBytesMin && !Task.isCancelled {
                let isNoted = try await sweepPool.run { [index] () throws(RegistryError) in
                    try index.get(ChunkIndex.key(ofNote: blob.id), in: .chunks) != nil
                }
                if !isNoted { await body(blob.id) }
            }
            last = page.last
        } while last != nil && !Task.isCancelled
    }

    /// Notes of blobs that are gone, and kinships with blobs that no longer lie whole.
    func removeStaleNotes() async throws(RegistryError) {
        let stale = try await sweepPool.run { [index] () throws(RegistryError) in
            var stale: [[UInt8]] = []
            for kind in [ChunkIndex.note, ChunkIndex.archive] {
                try index.scan(.chunks, from: [kind], upTo: [kind + 1]) { key, _ throws(RegistryError) in
                    if try index.get(Array(key.dropFirst()), in: .blobLocations) == nil { stale.append(key) }
                    return stale.count < 100_000
                }
            }
            try index.scan(.chunks, from: [ChunkIndex.kinship], upTo: [ChunkIndex.kinship + 1]) { key, row throws(RegistryError) in
                let kin = try index.get(try ChunkIndex.kin(row).bytes, in: .blobLocations)
                if try kin.map({ row throws(RegistryError) in try BlobLocation(row).isWhole }) != true { stale.append(key) }
                return stale.count < 100_000
            }
            return stale
        }
        for start in stride(from: 0, to: stale.count, by: 512) {
            let step = Array(stale[start..<min(start + 512, stale.count)])
            try await index.commit { batch throws(RegistryError) in
                for key in step { batch.delete(key, in: .chunks) }
            }
        }
    }
}
