import Catalog
import Core
import Logging
import Synchronization

public struct FetchTurnOptions: Sendable {
    /// A node of which no sign is seen for so long while it fetches is gone.
    public var graceSeconds: Double = 5
    /// After so long a node that waits for a file reads it along from the node that fetches it: what is small is there by then.
    public var followSeconds: Double = 1
    /// After so long without a byte a node that waits fetches by itself: the least patient of its clients wait for 15 s.
    public var patienceSeconds: Double = 10
    public init() {}
}

/// Fetches from upstreams, each by one node at a time where several share a catalog: who fetches leaves a row, who wants the same waits until it is
/// gone, and finds what was stored. The row is taken in a change of its own and goes with the change that stores what came, so that a fetch costs one
/// change more, and what is there already costs nothing. It says how a fetch failed, too: a failure is that of all who waited for it. And it says at
/// which node, so that who waits for a file can read it along from there, however long it takes.
///
/// No row is renewed while its fetch goes on. A node that has been at one for longer says by one row for all of them that it is alive; one that does
/// not has died, and the next takes over. Two may fetch the same for a moment: whatever they store is right, so that turns spare work and keep
/// nothing safe.
final class FetchTurns: Sendable {
    /// Whether and how a fetch goes on: `Record(.lease, id: fetch/<SHA-256 of its name>)`.
    struct Row: Sendable {
        /// Made by the node that fetches (`EntityID.made(by:)`), unless its program is older.
        var run: EntityID
        /// Of this attempt.
        var flight: EntityID
        /// By the clock. Only who finds the row goes by it: who watches it counts for itself.
        var end: Timestamp
        var failure: RegistryError?
    }

    private struct Running {
        let flight: EntityID
        let began: UInt64
    }

    private struct State {
        var running: [String: Running] = [:]
        /// Rows that tell of failures, until all who waited have seen them.
        var failed: [String: Running] = [:]
        var isTicking = false
        var waiting = 0
    }

    /// How reading along from the node that fetches went.
    enum Followed<Value: Sendable>: Sendable {
        /// All of it came, and is what was stored.
        case whole(Value)
        case brokeOff
        /// Nothing came.
        case never
    }

    /// Whether anything comes of what is read along.
    final class Pace: Sendable {
        private let count = Atomic(0)
        private let isOver = Atomic(false)
        var slices: Int { count.load(ordering: .relaxed) }
        func arrived() { count.add(1, ordering: .relaxed) }
        /// All of it is here: the other node is not needed any more.
        var hasEnded: Bool { isOver.load(ordering: .relaxed) }
        func ended() { isOver.store(true, ordering: .relaxed) }
    }

    /// Reads along from a node, which has so many seconds to begin.
    typealias Follow<Value: Sendable> =
        @Sendable (_ node: UInt16, _ seconds: Double, _ pace: Pace) async throws(RegistryError) -> Followed<Value>

    static let prefix = "fetch"
    private static let pageLength = 500
    /// What broke off so many times is waited for.
    private static let followsMax = 3

    private let catalog: any Catalog
    private let options: FetchTurnOptions
    private let world: World
    private let log: Logger
    /// Of this process.
    private let run: EntityID
    private let state = Mutex(State())

    /// - Parameter node: this one's number; 0: it has none.
    init(catalog: any Catalog, options: FetchTurnOptions, node: UInt16 = 0, world: World, log: Logger) {
        self.catalog = catalog
        self.options = options
        self.world = world
        self.log = log
        run = world.newID().made(by: node)
    }

    /// Fetches wanted here that another node is at.
    var waiting: Int { state.withLock { $0.waiting } }

    /// Fetches, or waits for the node that does. One call of a name at a time on this node.
    /// - Parameters:
    ///   - subject: of a failure that another node met.
    ///   - patienceSeconds: for so long a node that is alive is waited for; nil: as the options say.
    ///   - stored: what a node has stored since the caller looked.
    ///   - follow: reads along from the node that fetches; nil: there is nothing to be read before the end.
    ///   - fetch: asks upstream and stores what came, in one change with the parts that it is given.
    func once<Value: Sendable>(
        _ name: String, subject: RegistryError.Subject, patienceSeconds: Double? = nil, stored: () async throws(RegistryError) -> Value?,
        follow: Follow<Value>? = nil, fetch: ([Change.Part]) async throws(RegistryError) -> Value
    ) async throws(RegistryError) -> Value {
        guard catalog.isShared else { return try await fetch([]) }
        let id = FetchTurns.id(of: name)
        let flight: EntityID
        switch try await turn(id, patienceSeconds ?? options.patienceSeconds, stored, follow) {
        case .stored(let value): return value
        case .failed(let error):
            throw RegistryError(error.code, subject: subject, reason: error.reason, retryAfterSeconds: error.retryAfterSeconds)
        case .alone: return try await fetch([])
        case .mine(let taken): flight = taken
        }
        do throws(RegistryError) {
            // Another may have ended between the caller's look and now.
            if let value = try await stored() {
                await giveBack(id, flight)
                return value
            }
            let value = try await fetch([.deleteRecord(.lease, id: id)])
            state.withLock { $0.running[id] = nil }
            return value
        } catch {
            await giveBack(id, flight, error)
            throw error
        }
    }

    // MARK: Whose turn it is

    private enum Outcome<Value: Sendable>: Sendable {
        case mine(EntityID)
        case stored(Value)
        case failed(RegistryError)
        /// It took too long.
        case alone
    }

    /// The fetch of another node, as this one sees it.
    private struct Watched {
        let flight: EntityID
        var sign: Revision?
        var since: UInt64
    }

    private func turn<Value: Sendable>(
        _ id: String, _ patienceSeconds: Double, _ stored: () async throws(RegistryError) -> Value?, _ follow: Follow<Value>?
    ) async throws(RegistryError) -> Outcome<Value> {
        var began = world.monotonicNanoseconds()
        var asked = began
        var follows = 0
        var watched: Watched?
        defer { if watched != nil { state.withLock { $0.waiting -= 1 } } }
        var pauseMilliseconds = 10
        while true {
            let head = watched == nil ? nil : try await catalog.head()
            let record = try await catalog.record(.lease, id: id)
            guard let record, let row = try Row(record) else {
                if watched != nil, let value = try await stored() { return .stored(value) }
                if let flight = try await take(id, at: record?.revision ?? .zero) { return .mine(flight) }
                continue
            }
            if let failure = row.failure {
                if row.flight == watched?.flight { return .failed(failure) }
                if let flight = try await take(id, at: record.revision) { return .mine(flight) }
                continue
            }
            if try await isGone(row, &watched) {
                if let flight = try await take(id, at: record.revision) { return .mine(flight) }
                continue
            }
            let now = world.monotonicNanoseconds()
            let patience = patienceSeconds - Double(now &- began) / 1e9
            if let follow, let watched, follows < FetchTurns.followsMax, patience > 0, Double(now &- asked) > options.followSeconds * 1e9 {
                switch try await followed(id, row, watched, patience, follow) {
                case .whole(let value): return .stored(value)
                case .brokeOff:
                    follows += 1
                    began = world.monotonicNanoseconds()
                case .never: break
                }
                asked = world.monotonicNanoseconds()
                // Much may have happened meanwhile.
                continue
            }
            guard patience > 0 else {
                log.info("another node fetches this for long, so this one does, too", metadata: ["fetch": "\(id)"])
                return .alone
            }
            guard let head else { continue }
            await change(after: head)
            // Of a catalog in which much is changed each change is not looked at.
            try? await Task.sleep(for: .milliseconds(pauseMilliseconds))
            pauseMilliseconds = min(200, pauseMilliseconds * 2)
        }
    }

    // MARK: Reading along

    private enum Step<Value: Sendable>: Sendable {
        case ended(Result<Followed<Value>, RegistryError>)
        /// Nothing more is to come from that node.
        case gone
        /// Nobody needs to watch any more.
        case left
    }

    /// Follows for as long as the node that fetches is alive: one that froze breaks no connection.
    private func followed<Value: Sendable>(
        _ id: String, _ row: Row, _ watched: Watched, _ patienceSeconds: Double, _ follow: @escaping Follow<Value>
    ) async throws(RegistryError) -> Followed<Value> {
        let pace = Pace()
        let outcome = await withTaskGroup(of: Step<Value>.self) { group in
            group.addTask {
                do throws(RegistryError) { return .ended(.success(try await follow(row.run.node, patienceSeconds, pace))) } catch {
                    return .ended(.failure(error))
                }
            }
            group.addTask { await self.watch(id, row, watched, pace) }
            var outcome: Result<Followed<Value>, RegistryError> = .success(.never)
            for await step in group {
                switch step {
                case .ended(let how):
                    outcome = how
                    group.cancelAll()
                case .gone: group.cancelAll()
                case .left: break
                }
            }
            return outcome
        }
        return try outcome.get()
    }

    private func watch<Value: Sendable>(_ id: String, _ row: Row, _ watched: Watched, _ pace: Pace) async -> Step<Value> {
        var known: Watched? = watched
        var (slices, quietLooks) = (-1, 0)
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(Int64(options.graceSeconds / 2 * 1000)))
            if pace.hasEnded { return .left }
            do throws(RegistryError) {
                if let record = try await catalog.record(.lease, id: id), let now = try Row(record) {
                    // Another is at it by now, or it failed.
                    if now.flight != row.flight || now.failure != nil { return .gone }
                    if try await isGone(row, &known) { return .gone }
                } else {
                    // It is over, and what is left of it on its way; or another who took it over was through with it before this look.
                    quietLooks = pace.slices == slices ? quietLooks + 1 : 0
                    slices = pace.slices
                    if quietLooks == 2 { return .gone }
                }
            } catch {
                log.debug("whether another node still fetches cannot be told now", metadata: ["fetch": "\(id)", "error": "\(error)"])
            }
        }
        return .left
    }

    // MARK: Waiting

    /// Returns when the catalog has changed, or half a second later.
    private func change(after head: Revision) async {
        await withTaskGroup(of: Void.self) { [catalog] group in
            group.addTask { _ = try? await catalog.awaitChange(after: head) }
            group.addTask { try? await Task.sleep(for: .milliseconds(500)) }
            await group.next()
            group.cancelAll()
        }
    }

    /// Whether who fetches is dead, as far as one can tell. The first look at a fetch counts as a sign of life, unless by the clock it is long over.
    private func isGone(_ row: Row, _ watched: inout Watched?) async throws(RegistryError) -> Bool {
        let now = world.monotonicNanoseconds()
        guard var known = watched, known.flight == row.flight else {
            let sign = try await catalog.record(.lease, id: FetchTurns.signID(of: row.run))
            let end = try max(row.end, sign.flatMap { record throws(RegistryError) in try Row(record)?.end } ?? row.end)
            // Of this process, which has no such fetch any more: it could not give it back.
            if end <= world.now() || row.run == run { return true }
            if watched == nil { state.withLock { $0.waiting += 1 } }
            watched = Watched(flight: row.flight, sign: sign?.revision, since: now)
            return false
        }
        guard Double(now &- known.since) > options.graceSeconds / 2 * 1e9 else { return false }
        let sign = try await catalog.record(.lease, id: FetchTurns.signID(of: row.run))?.revision
        guard sign == known.sign else {
            (known.sign, known.since) = (sign, now)
            watched = known
            return false
        }
        return Double(now &- known.since) > options.graceSeconds * 1e9
    }

    /// - Returns: nil when another was quicker.
    func take(_ id: String, at revision: Revision) async throws(RegistryError) -> EntityID? {
        let row = Row(run: run, flight: world.newID(), end: end)
        do throws(RegistryError) { try await put(row, id, ifRevision: revision) } catch {
            guard error.code == .conflict else { throw error }
            return nil
        }
        let begins = state.withLock { state in
            state.running[id] = Running(flight: row.flight, began: world.monotonicNanoseconds())
            defer { state.isTicking = true }
            return !state.isTicking
        }
        // Unstructured on purpose: it belongs to all fetches of this node, and ends by itself when there are none.
        if begins { Task { await tick() } }
        return row.flight
    }

    /// Clocks of nodes may differ by some seconds.
    private var end: Timestamp { world.now().adding(seconds: Int64(3 * options.graceSeconds) + 1) }

    private func put(_ row: Row, _ id: String, ifRevision revision: Revision?) async throws(RegistryError) {
        let record = Record(kind: .lease, id: id, value: row.encoded)
        try await catalog.apply(
            Change(actor: .system, at: world.now(), requestID: "fetch", parts: [.putRecord(record, ifRevision: revision)]))
    }

    /// The fetch is over and stored nothing. Upstream's failures are left to be seen by those who wait; others are this node's own.
    private func giveBack(_ id: String, _ flight: EntityID, _ error: RegistryError? = nil) async {
        let isShared = error.map { $0.code == .notFound || Registry.isUpstreamFailure($0) } ?? false
        state.withLock { state in
            state.running[id] = nil
            if isShared { state.failed[id] = Running(flight: flight, began: world.monotonicNanoseconds()) }
        }
        do throws(RegistryError) {
            guard let record = try await catalog.record(.lease, id: id), var row = try Row(record), row.flight == flight else { return }
            if isShared {
                row.failure = error
                try await put(row, id, ifRevision: record.revision)
            } else {
                try await remove([id])
            }
        } catch {
            log.debug("nodes that wait for a fetch find out for themselves that it is over", metadata: ["fetch": "\(id)", "error": "\(error)"])
        }
    }

    private func remove(_ ids: [String]) async throws(RegistryError) {
        guard !ids.isEmpty else { return }
        try await catalog.apply(
            Change(actor: .system, at: world.now(), requestID: "fetch", parts: ids.map { .deleteRecord(.lease, id: $0) }))
    }

    // MARK: Signs of life

    /// As long as this node fetches, or has failures to clear away.
    private func tick() async {
        let pause = options.graceSeconds / 3
        while true {
            try? await Task.sleep(for: .milliseconds(Int64(pause * 1000)))
            let now = world.monotonicNanoseconds()
            @Sendable func isOld(_ running: Running, _ seconds: Double) -> Bool { Double(now &- running.began) > seconds * 1e9 }
            let (isOver, isLong, failed) = state.withLock { state in
                let failed = state.failed.filter { isOld($0.value, options.graceSeconds) }
                for id in failed.keys { state.failed[id] = nil }
                let isOver = state.running.isEmpty && state.failed.isEmpty
                if isOver { state.isTicking = false }
                return (isOver, state.running.values.contains { isOld($0, pause) }, failed)
            }
            do throws(RegistryError) {
                // Another value each time: one that is put again as it was changes nothing.
                if isLong { try await put(Row(run: run, flight: world.newID(), end: end), FetchTurns.signID(of: run), ifRevision: nil) }
                var seen: [String] = []
                for (id, attempt) in failed {
                    if let record = try await catalog.record(.lease, id: id), try Row(record)?.flight == attempt.flight { seen.append(id) }
                }
                try await remove(seen)
            } catch {
                log.debug("other nodes may take this one for dead, and fetch what it fetches", metadata: ["error": "\(error)"])
            }
            if isOver { return }
        }
    }

    /// What nodes that died have left; for whoever tends what they share.
    func clear() async throws(RegistryError) {
        var ends: [(id: String, run: EntityID, end: Timestamp)] = []
        var last = FetchTurns.prefix
        while true {
            let page = try await catalog.records(.lease, after: last, limit: FetchTurns.pageLength)
            for record in page where record.id.hasPrefix(FetchTurns.prefix) {
                guard let row = try Row(record) else { continue }
                ends.append((record.id, row.run, row.end))
            }
            guard page.count == FetchTurns.pageLength, let end = page.last?.id, end.hasPrefix(FetchTurns.prefix) else { break }
            last = end
        }
        var alive: Set<EntityID> = []
        let before = world.now().adding(seconds: -60)
        for row in ends where row.end > before { alive.insert(row.run) }
        try await remove(ends.filter { !alive.contains($0.run) }.map(\.id))
    }

    /// Names may be as long as a path.
    static func digest(of name: String) -> Digest { Digest.of(.sha256, Array(name.utf8)) }
    static func id(of name: String) -> String { "\(prefix)/\(digest(of: name).hex)" }
    static func signID(of run: EntityID) -> String { "\(prefix)-node/\(run)" }
}

extension FetchTurns.Row {
    private static let formatNumber: UInt8 = 1

    /// nil for a format of another program.
    init?(_ record: Record) throws(RegistryError) {
        var reader = BinaryReader(record.value)
        guard try reader.readUInt8() == Self.formatNumber else { return nil }
        run = try reader.readEntityID()
        flight = try reader.readEntityID()
        end = try reader.readTimestamp()
        failure = try reader.readOptional { reader throws(RegistryError) in
            let code = RegistryError.Code(rawValue: try reader.readString()) ?? .unavailable
            let reason = try reader.readString()
            let seconds = try reader.readOptional { reader throws(RegistryError) in try reader.readInt64() }
            return RegistryError(code, subject: .request, reason: reason, retryAfterSeconds: seconds.map { Int(clamping: $0) })
        }
    }

    var encoded: [UInt8] {
        var writer = BinaryWriter()
        writer.write(Self.formatNumber)
        writer.write(run)
        writer.write(flight)
        writer.write(end)
        writer.write(failure) { writer, failure in
            writer.write(failure.code.rawValue)
            writer.write(String(failure.reason.prefix(500)))
            writer.write(failure.retryAfterSeconds.map { Int64($0) }) { $0.write($1) }
        }
        return writer.bytes
    }
}
