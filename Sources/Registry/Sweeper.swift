public import BlobStore
public import Catalog
public import Core
public import Logging
import Synchronization

public struct SweepOptions: Sendable {
    /// So long a blob stays after nothing pins it any more: who deleted something by mistake can put it back, and a slow reader can finish.
    public var graceSeconds: Int64 = 3600
    /// Between two sweeps of the schedule; 0: only when asked.
    public var intervalSeconds: Int64 = 3600
    /// A segment of which less than so many hundredths live is compacted.
    public var livePercentMin = 50
    /// How fast compaction moves bytes; 0 is as fast as it can.
    public var bytesPerSecondMax: Int64 = 32 << 20
    /// Looks, and changes nothing.
    public var isDryRun = false
    public init() {}
}

public struct SweepReport: Sendable, Hashable {
    public var started: Timestamp
    public var ended: Timestamp
    public var isDryRun: Bool
    /// False when it was interrupted; the next one goes on where this one was.
    public var isComplete: Bool
    public var tally: SweepTally
}

/// Frees what nothing needs any more: blobs without a pin, files without a row, segments without life. It walks and proposes; what is deleted is
/// decided by `Catalog.forget` alone, one blob after the other, in the order of the changes, and by the leases of the blob store. So a walk
/// that looks at what was, not at what is, costs at most another round.
public final class Sweeper: Sendable {
    private struct State {
        var isRunning = false
        /// Who wants no sweep to run, or is about to: none begins.
        var holds = 0
        var totals = SweepTally()
        var runs: UInt64 = 0
        /// Of those: over what nodes share.
        var sharedRuns: UInt64 = 0
        var last: SweepReport?
    }

    /// One look at the pins, in the order of the blobs.
    private static let pageBlobs = 512
    /// Rows deleted by one commit: the committer does nothing else meanwhile.
    private static let stepBlobs = 64
    /// Pages between two notes of how far it is.
    private static let pagesBetweenNotes = 64
    private static let cursor = "sweep"
    private static let cursorFormat: UInt8 = 1

    let catalog: any Catalog
    let blobs: BlobStore
    public let options: SweepOptions
    let world: World
    let log: Logger
    private let state = Mutex(State())

    public init(catalog: any Catalog, blobs: BlobStore, options: SweepOptions, world: World, log: Logger) {
        self.catalog = catalog
        self.blobs = blobs
        self.options = options
        self.world = world
        self.log = log
    }

    /// Everything swept since the start, dry runs left out.
    public var totals: (tally: SweepTally, runs: UInt64) { state.withLock { ($0.totals, $0.runs) } }
    public var sharedRuns: UInt64 { state.withLock { $0.sharedRuns } }
    public var isRunning: Bool { state.withLock { $0.isRunning } }
    public var last: SweepReport? { state.withLock { $0.last } }

    /// Sweeps by the schedule until the task is cancelled.
    public func runOnSchedule() async {
        guard options.intervalSeconds > 0 else { return }
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(options.intervalSeconds))
            if Task.isCancelled { return }
            do throws(RegistryError) { _ = try await sweep(options) } catch {
                log.error("the sweep stopped, the next one goes on", metadata: ["error": "\(error)"])
            }
        }
    }

    /// One sweep of what this node has: of all, or of its cache where nodes share a bucket. Cancelling the task ends it after the step it is at.
    /// - Throws: `conflict` while another is running.
    public func sweep(_ options: SweepOptions) async throws(RegistryError) -> SweepReport {
        try await run(options) { run, tally async throws(RegistryError) in try await run.perform(&tally) }
    }

    /// One round over what nodes share: the rows of the database, the objects of the bucket. Whoever calls it has the lease for it.
    /// - Throws: as `sweep`.
    public func sweepShared(_ options: SweepOptions) async throws(RegistryError) -> SweepReport {
        let report = try await run(options) { run, tally async throws(RegistryError) in try await run.performShared(&tally) }
        state.withLock { $0.sharedRuns += 1 }
        return report
    }

    private func run(
        _ options: SweepOptions, _ work: (SweepRun, inout SweepTally) async throws(RegistryError) -> Void
    ) async throws(RegistryError) -> SweepReport {
        let isFirst = state.withLock { state in
            guard !state.isRunning, state.holds == 0 else { return false }
            state.isRunning = true
            return true
        }
        guard isFirst else {
            throw RegistryError(.conflict, subject: .store, reason: "a sweep is running, or has to wait for a backup", retryAfterSeconds: 60)
        }
        defer { state.withLock { $0.isRunning = false } }
        let started = world.now()
        let run = SweepRun(sweeper: self, options: options)
        var tally = SweepTally()
        do throws(RegistryError) { try await work(run, &tally) } catch {
            // What was done before the failure counts.
            keep(report(started, options, tally, isComplete: false))
            throw error
        }
        let report = report(started, options, tally, isComplete: !Task.isCancelled)
        keep(report)
        log.notice(
            options.isDryRun ? "sweep, dry run: nothing was changed" : "sweep",
            metadata: [
                "blobs": "\(tally.blobs)", "removed": "\(tally.removedBlobs)", "removedBytes": "\(tally.removedBytes)",
                "waiting": "\(tally.waitingBlobs)", "orphans": "\(tally.orphans)",
                "chunks": "\(tally.removedChunks)", "segmentsRemoved": "\(tally.segmentsRemoved)",
                "moved": "\(tally.movedBlobs)", "movedBytes": "\(tally.movedBytes)", "freedBytes": "\(tally.freedBytes)",
                "damaged": "\(tally.damagedBlobs)", "complete": "\(report.isComplete)",
                "milliseconds": "\(report.ended.milliseconds - started.milliseconds)",
            ])
        return report
    }

    /// Nothing is taken away while `work` runs, which begins when the sweep under way has ended.
    func hold<R>(_ work: () async throws(RegistryError) -> R) async throws(RegistryError) -> R {
        state.withLock { $0.holds += 1 }
        defer { state.withLock { $0.holds -= 1 } }
        while isRunning {
            do { try await Task.sleep(for: .milliseconds(200)) } catch {
                throw RegistryError(.unavailable, subject: .store, reason: "given up while a sweep was running")
            }
        }
        return try await work()
    }

    private func report(_ started: Timestamp, _ options: SweepOptions, _ tally: SweepTally, isComplete: Bool) -> SweepReport {
        SweepReport(started: started, ended: world.now(), isDryRun: options.isDryRun, isComplete: isComplete, tally: tally)
    }

    private func keep(_ report: SweepReport) {
        state.withLock { state in
            state.last = report
            guard !report.isDryRun else { return }
            state.totals += report.tally
            state.runs += 1
        }
    }

    // MARK: How far it is

    /// Where an interrupted sweep was; nil at the beginning.
    func place() async throws(RegistryError) -> BlobID? {
        guard let record = try await catalog.record(.cursor, id: Sweeper.cursor) else { return nil }
        var reader = BinaryReader(record.value)
        guard try reader.readUInt8() == Sweeper.cursorFormat else { return nil }
        return try reader.readBlobID()
    }

    func note(_ place: BlobID?) async throws(RegistryError) {
        var part = Change.Part.deleteRecord(.cursor, id: Sweeper.cursor)
        if let place {
            var writer = BinaryWriter()
            writer.write(Sweeper.cursorFormat)
            writer.write(place)
            part = .putRecord(Record(kind: .cursor, id: Sweeper.cursor, value: writer.bytes), ifRevision: nil)
        }
        try await catalog.apply(Change(actor: .system, at: world.now(), requestID: "sweep", parts: [part]))
    }

    /// One sweep under way.
    private struct SweepRun {
        let sweeper: Sweeper
        let options: SweepOptions

        private var catalog: any Catalog { sweeper.catalog }
        private var blobs: BlobStore { sweeper.blobs }
        private var world: World { sweeper.world }

        func perform(_ tally: inout SweepTally) async throws(RegistryError) {
            if blobs.isShared { return try await performOnCache(&tally) }
            if !options.isDryRun { try await sweeper.purgeTrash() }
            // Before anything is counted: a segment sealed later may yet get rows.
            let sealed = try await blobs.sealedSegments()
            var liveness = SegmentLiveness()
            try await sweepBlobs(&tally, &liveness)
            try await sweepFiles(&tally)
            if !Task.isCancelled { tally += try await blobs.sweepChunks(dryRun: options.isDryRun) }
            try await sweepSegments(sealed, &tally, liveness)
        }

        /// What lives, the database says; here is what nobody asks for any more, and space that it left.
        private func performOnCache(_ tally: inout SweepTally) async throws(RegistryError) {
            let sealed = try await blobs.sealedSegments()
            tally += try await blobs.sweepCache(dryRun: options.isDryRun)
            for shard in try await blobs.shards() where !Task.isCancelled {
                tally += try await blobs.removeOrphans(in: shard, dryRun: options.isDryRun) { ids in ids }
            }
            try await sweepSegments(sealed, &tally, try await blobs.segmentLiveness())
        }

        func performShared(_ tally: inout SweepTally) async throws(RegistryError) {
            guard blobs.isShared else {
                throw RegistryError(.unsupported, subject: .store, reason: "this store shares no bucket with others")
            }
            if !options.isDryRun { try await sweeper.purgeTrash() }
            try await walk { after async throws(RegistryError) in
                let page = try await blobs.sharedRows(after: after, limit: Sweeper.pageBlobs)
                tally.blobs += Int64(page.rows.count + page.damaged.count)
                tally.damagedBlobs += Int64(page.damaged.count)
                let due = try await due(among: page.rows.map(\.blob), &tally)
                try await forget(page.rows.filter { due.contains($0.blob) }, &tally)
                return page.last
            }
            if !Task.isCancelled { tally += try await blobs.sweepObjects(compaction) }
        }

        private var compaction: CompactionOptions {
            var compaction = CompactionOptions()
            compaction.livePercentMin = options.livePercentMin
            compaction.bytesPerSecondMax = options.bytesPerSecondMax
            compaction.isDryRun = options.isDryRun
            return compaction
        }

        // MARK: Blobs

        private func sweepBlobs(_ tally: inout SweepTally, _ liveness: inout SegmentLiveness) async throws(RegistryError) {
            try await walk { after async throws(RegistryError) in
                let page = try await blobs.storedBlobs(after: after, limit: Sweeper.pageBlobs)
                tally.blobs += Int64(page.blobs.count + page.damaged.count)
                tally.damagedBlobs += Int64(page.damaged.count)
                let due = try await due(among: page.blobs.map(\.id), &tally)
                for blob in page.blobs where !due.contains(blob.id) { liveness.count(blob) }
                try await remove(page.blobs.filter { due.contains($0.id) }, &tally)
                return page.last
            }
        }

        /// From where an interrupted sweep was, page by page.
        /// - Parameter sweepPage: is told after which blob it begins, and tells the last one it looked at, nil at the end.
        private func walk(_ sweepPage: (BlobID?) async throws(RegistryError) -> BlobID?) async throws(RegistryError) {
            var last = options.isDryRun ? nil : try await sweeper.place()
            var isNoted = last != nil
            var pages = 0
            repeat {
                let begin = last
                last = try await sweepPage(last)
                pages += 1
                // What an interruption left of this page is the next sweep's.
                if Task.isCancelled {
                    if !options.isDryRun { try await sweeper.note(begin) }
                    return
                }
                if !options.isDryRun, let last, pages % Sweeper.pagesBetweenNotes == 0 {
                    try await sweeper.note(last)
                    isNoted = true
                }
            } while last != nil
            if isNoted, last == nil, !options.isDryRun { try await sweeper.note(nil) }
        }

        /// The blobs whose time of grace is over, as far as the walk can tell.
        private func due(among blobs: [BlobID], _ tally: inout SweepTally) async throws(RegistryError) -> Set<BlobID> {
            let unpinned = try await catalog.unpinned(among: blobs)
            guard !unpinned.isEmpty else { return [] }
            let now = world.now()
            // What was noted by a clock that was ahead would wait until that time has come.
            let fresh = unpinned.filter { $0.since.map { $0 > now } ?? true }.map(\.blob)
            if !options.isDryRun { try await catalog.noteUnpinned(fresh, at: now) }
            let before = now.adding(seconds: -options.graceSeconds)
            let due = Set(unpinned.filter { min($0.since ?? now, now) <= before }.map(\.blob))
            tally.waitingBlobs += Int64(unpinned.count - due.count)
            return due
        }

        /// Rows of the database. What they named in the bucket goes when no row names its object.
        private func forget(_ dead: [(blob: BlobID, length: Int64)], _ tally: inout SweepTally) async throws(RegistryError) {
            let blobs = blobs
            for start in stride(from: 0, to: dead.count, by: Sweeper.stepBlobs) where !Task.isCancelled {
                let step = dead[start..<min(start + Sweeper.stepBlobs, dead.count)]
                var forgotten = Set(step.map(\.blob))
                let began = world.monotonicNanoseconds()
                if !options.isDryRun {
                    let before = world.now().adding(seconds: -options.graceSeconds)
                    forgotten = Set(try await catalog.forget(step.map(\.blob), unpinnedBefore: before) { !blobs.isLeased($0) })
                }
                for blob in step where forgotten.contains(blob.blob) {
                    tally.removedBlobs += 1
                    tally.removedBytes += blob.length
                }
                try? await Task.sleep(nanoseconds: min(world.monotonicNanoseconds() &- began, 100_000_000))
            }
        }

        private func remove(_ dead: [StoredBlob], _ tally: inout SweepTally) async throws(RegistryError) {
            if options.isDryRun {
                for blob in dead where !blobs.isLeased(blob.id) {
                    tally.removedBlobs += 1
                    tally.removedBytes += blob.length
                    if blob.hasOwnFile { tally.freedBytes += blob.length }
                }
                return
            }
            let catalog = catalog
            for start in stride(from: 0, to: dead.count, by: Sweeper.stepBlobs) where !Task.isCancelled {
                let step = Array(dead[start..<min(start + Sweeper.stepBlobs, dead.count)])
                let before = world.now().adding(seconds: -options.graceSeconds)
                let began = world.monotonicNanoseconds()
                tally += try await blobs.remove(step) { mayGo async throws(RegistryError) in
                    try await catalog.forget(step.map(\.id), unpinnedBefore: before, mayGo: mayGo)
                }
                // As long as it worked: of the committer's and the disk's time others always get the greater part.
                try? await Task.sleep(nanoseconds: min(world.monotonicNanoseconds() &- began, 100_000_000))
            }
        }

        // MARK: Files and segments

        private func sweepFiles(_ tally: inout SweepTally) async throws(RegistryError) {
            let catalog = catalog
            for shard in try await blobs.shards() where !Task.isCancelled {
                tally += try await blobs.removeOrphans(in: shard, dryRun: options.isDryRun) { ids async throws(RegistryError) in
                    try await catalog.unpinned(among: ids).map(\.blob)
                }
            }
        }

        private func sweepSegments(_ sealed: [UInt64], _ tally: inout SweepTally, _ walked: SegmentLiveness) async throws(RegistryError) {
            if Task.isCancelled { return }
            // A dry run has deleted nothing: it counts what its walk would leave.
            let isWalked = options.isDryRun && !blobs.isShared
            let liveness = isWalked ? try await blobs.withChunks(walked) : try await blobs.segmentLiveness()
            try await blobs.retireWastefulSegments(liveness, compaction)
            for segment in sealed where !Task.isCancelled { tally += try await blobs.sweepSegment(segment, liveness, compaction) }
            tally += try await blobs.sweepTier(sealed, liveness, dryRun: options.isDryRun)
        }
    }
}
