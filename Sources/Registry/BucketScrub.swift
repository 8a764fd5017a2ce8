public import BlobStore
import Catalog
public import Core
import Logging
import Synchronization

/// What this node's scrub of the bucket has done since the start.
public struct BucketScrubTotals: Sendable, Hashable {
    public var objects: Int64 = 0
    /// Of blobs that were right.
    public var bytes: Int64 = 0
    public var requests: Int64 = 0
    /// Blobs found damaged or missing, each time.
    public var damaged: Int64 = 0
    /// Of those that any node found: put there anew by this one, or gone when it looked.
    public var healed: Int64 = 0
}

/// The scrub of the bucket that nodes share: every object that rows name is read back by whichever node holds the lease, and each blob in it checked
/// by its SHA-256. How far it is, and what it found, is a record of the catalog, so that another node goes on where this one was. What is damaged is
/// named, and every node looks each minute whether its disk can heal it. Bytes: docs/internals/shared-blobs.md.
public final class BucketScrub: Sendable {
    /// What all nodes know.
    struct Kept: Sendable, Hashable {
        /// Every byte that was in the bucket before then has been read since.
        var passed: Timestamp
        /// Of the reading under way.
        var began: Timestamp?
        /// That was read last in it.
        var last: EntityID?
        /// Now, the first that were found.
        var damaged: [SharedDamage] = []
    }

    private struct State {
        var kept: Kept
        var totals = BucketScrubTotals()
        var isReading = false
    }

    static let lease = "bucket-scrub"
    static let record = "bucket-scrub"
    private static let damagedMax = 1_000
    private static let pageObjects = 256
    private static let triesMax = 8
    /// Between two notes of how far it is.
    private static let noteNanoseconds: UInt64 = 60_000_000_000
    private static let lookSeconds: Int64 = 60
    /// After a failure.
    private static let restSeconds: Int64 = 900

    private let catalog: any Catalog
    private let blobs: BlobStore
    private let leases: Leases
    private let options: ScrubOptions
    private let world: World
    private let log: Logger
    private let state: Mutex<State>

    init(catalog: any Catalog, blobs: BlobStore, leases: Leases, options: ScrubOptions, world: World, log: Logger) {
        self.catalog = catalog
        self.blobs = blobs
        self.leases = leases
        self.options = options
        self.world = world
        self.log = log
        state = Mutex(State(kept: Kept(passed: world.now())))
    }

    public var totals: BucketScrubTotals { state.withLock { $0.totals } }
    public var isReading: Bool { state.withLock { $0.isReading } }
    /// Every byte that was in the bucket before then has been read since, by whatever node; as of the last look.
    public var oldest: Timestamp { state.withLock { $0.kept.passed } }
    /// Blobs known to be damaged in the bucket; as of the last look.
    public var damaged: [SharedDamage] { state.withLock { $0.kept.damaged } }

    // MARK: Running

    /// Heals what this node can heal, and reads when that is due and no other node does, until the task is cancelled.
    public func runOnSchedule() async {
        var rests = world.now()
        while !Task.isCancelled {
            do throws(RegistryError) { try await heal() } catch {
                log.warning("what is damaged in the bucket is looked at again in a minute", metadata: ["error": "\(error)"])
            }
            if options.tierIntervalSeconds > 0, rests <= world.now(), isDue {
                do throws(RegistryError) { try await read() } catch {
                    if error.code != .conflict {
                        log.error("the scrub of the bucket stopped, and goes on later", metadata: ["error": "\(error)"])
                        rests = world.now().adding(seconds: BucketScrub.restSeconds)
                    }
                }
            }
            try? await Task.sleep(for: .seconds(BucketScrub.lookSeconds))
        }
    }

    private var isDue: Bool {
        let kept = state.withLock { $0.kept }
        return kept.began != nil || kept.passed.adding(seconds: options.tierIntervalSeconds) <= world.now()
    }

    /// Reads everything in the bucket once, or goes on with a reading that was broken off, on whatever node. Cancelling the task ends it where it is.
    /// - Throws: `conflict` while it is read, here or on another node; `unavailable` while bucket or database do not answer.
    public func read() async throws(RegistryError) {
        let isDone = try await leases.holding(BucketScrub.lease) { [self] () async throws(RegistryError) -> Bool in
            state.withLock { $0.isReading = true }
            defer { state.withLock { $0.isReading = false } }
            try await readOn()
            return true
        }
        guard isDone != nil else {
            throw RegistryError(.conflict, subject: .store, reason: "the bucket is being read already", retryAfterSeconds: 60)
        }
    }

    private func readOn() async throws(RegistryError) {
        var kept = try await update { [world] kept in
            if kept.began == nil { (kept.began, kept.last) = (world.now(), nil) }
        }
        var lastNote = world.monotonicNanoseconds()
        while true {
            let page = try await blobs.sharedObjects(after: kept.last, limit: BucketScrub.pageObjects)
            for object in page {
                let found: [SharedDamage]
                do throws(RegistryError) { found = try await read(object) } catch {
                    try await note(kept.last)
                    throw error
                }
                if Task.isCancelled { return try await note(kept.last) }
                kept.last = object
                guard !found.isEmpty || world.monotonicNanoseconds() &- lastNote > BucketScrub.noteNanoseconds else { continue }
                lastNote = world.monotonicNanoseconds()
                try await note(object, found)
            }
            guard !page.isEmpty else { break }
        }
        try await update { kept in
            if let began = kept.began { kept.passed = began }
            (kept.began, kept.last) = (nil, nil)
        }
        try await heal()
    }

    private func note(_ last: EntityID?, _ found: [SharedDamage] = []) async throws(RegistryError) {
        try await update { kept in
            kept.last = last
            for each in found where !kept.damaged.contains(each) && kept.damaged.count < BucketScrub.damagedMax { kept.damaged.append(each) }
        }
    }

    private func read(_ object: EntityID) async throws(RegistryError) -> [SharedDamage] {
        let reading = try await blobs.readShared(object, bytesPerSecondMax: options.bytesPerSecondMax)
        state.withLock { state in
            state.totals.objects += 1
            state.totals.bytes += reading.bytes
            state.totals.requests += reading.requests
            state.totals.damaged += Int64(reading.damaged.count)
        }
        for each in reading.damaged {
            let names = await catalog.names(of: each.blob).joined(separator: ", ")
            log.error(
                "the scrub found a blob missing or damaged in the bucket",
                metadata: ["blob": "\(each.blob)", "object": "\(each.place.object)", "named by": "\(names)"])
        }
        return reading.damaged
    }

    // MARK: What was found

    /// Puts anew what this node's disk has, and learns how far the reading is.
    public func heal() async throws(RegistryError) {
        let kept = try await look()?.kept
        state.withLock { $0.kept = kept ?? $0.kept }
        guard let kept else {
            // What is stored by now counts from now on.
            _ = try await update { _ in }
            return
        }
        var healed: Set<SharedDamage> = []
        for each in kept.damaged where !Task.isCancelled {
            guard try await blobs.healShared(each) else { continue }
            healed.insert(each)
            state.withLock { $0.totals.healed += 1 }
            log.notice("a blob that was damaged in the bucket is whole again, or gone", metadata: ["blob": "\(each.blob)"])
        }
        guard !healed.isEmpty else { return }
        try await update { [healed] kept in kept.damaged.removeAll { healed.contains($0) } }
    }

    // MARK: What is kept

    private func look() async throws(RegistryError) -> (kept: Kept, revision: Revision)? {
        guard let record = try await catalog.record(.cursor, id: BucketScrub.record), let kept = try Kept(record.value) else { return nil }
        return (kept, record.revision)
    }

    /// Who reads and who heals write to the same record, each what is theirs.
    @discardableResult
    private func update(_ change: (inout Kept) -> Void) async throws(RegistryError) -> Kept {
        for attempt in 1... {
            let known = try await look()
            var kept = known?.kept ?? Kept(passed: world.now())
            change(&kept)
            if kept != known?.kept {
                let record = Record(kind: .cursor, id: BucketScrub.record, value: kept.encoded)
                do throws(RegistryError) {
                    try await catalog.apply(
                        Change(
                            actor: .system, at: world.now(), requestID: "bucket scrub",
                            parts: [.putRecord(record, ifRevision: known?.revision ?? .zero)]))
                } catch {
                    guard error.code == .conflict, attempt < BucketScrub.triesMax else { throw error }
                    continue
                }
            }
            state.withLock { $0.kept = kept }
            return kept
        }
        preconditionFailure("the attempts have no end of their own")
    }

    // MARK: Metrics

    public func publish(_ metrics: Metrics, world: World) {
        metrics.gauge(
            "granary_scrub_oldest_unverified_seconds", help: "Since when the longest unread byte there was not read.",
            labels: [("place", "bucket")]
        ) { [self] in Double(max(0, world.now().milliseconds - oldest.milliseconds)) / 1000 }
        func gauge(_ name: String, _ help: String, _ value: @escaping @Sendable (BucketScrubTotals) -> Int64) {
            metrics.gauge("granary_scrub_bucket_\(name)", help: help) { [self] in Double(value(totals)) }
        }
        gauge("objects_total", "Objects this node's scrub read in the bucket since the start.") { $0.objects }
        gauge("bytes_total", "Bytes of the blobs in them.") { $0.bytes }
        gauge("requests_total", "Requests to the bucket that this took.") { $0.requests }
        gauge("damaged_found_total", "Blobs this node's scrub found damaged or missing in the bucket since the start.") { $0.damaged }
        gauge("healed_total", "Blobs of the bucket that this node put there anew since the start.") { $0.healed }
        metrics.gauge("granary_damaged_bucket_blobs", help: "Blobs known to be damaged in the bucket now.") { [self] in Double(damaged.count) }
        metrics.gauge("granary_scrub_bucket_running", help: "1 while this node reads the bucket.") { [self] in isReading ? 1 : 0 }
    }
}

extension BucketScrub.Kept {
    private static let formatNumber: UInt8 = 1

    /// nil for a format of another program.
    init?(_ bytes: [UInt8]) throws(RegistryError) {
        var reader = BinaryReader(bytes)
        guard try reader.readUInt8() == Self.formatNumber else { return nil }
        passed = try reader.readTimestamp()
        began = try reader.readOptional { reader throws(RegistryError) in try reader.readTimestamp() }
        last = try reader.readOptional { reader throws(RegistryError) in try reader.readEntityID() }
        damaged = try reader.readEach { reader throws(RegistryError) in
            SharedDamage(blob: try reader.readBlobID(), place: try SharedLocation(try reader.readPrefixed()))
        }
    }

    var encoded: [UInt8] {
        var writer = BinaryWriter()
        writer.write(Self.formatNumber)
        writer.write(passed)
        writer.write(began) { $0.write($1) }
        writer.write(last) { $0.write($1) }
        writer.write(each: damaged) { writer, damage in
            writer.write(damage.blob)
            writer.write(damage.place.encoded)
        }
        return writer.bytes
    }
}
