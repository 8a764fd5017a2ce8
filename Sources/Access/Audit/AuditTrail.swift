// Audit: every decision about a caller, once, in an order and a chain of hashes that show whether any was changed, removed or put in between.
// It promises that a decision is durable no later than what it allowed. It decides nothing. Bytes on disk: docs/internals/audit.md.

public import Access
public import Core
public import Logging
public import OrderedStore
import Synchronization

public struct AuditOptions: Sendable {
    /// Older records are removed; 0: never.
    public var days: Int64 = 400
    /// Every read that was allowed is kept, too. It costs: nothing is answered from memory then.
    public var keepsReads = false
    /// Decisions that wait to be written. Refusals fill half of that, so that a flood of them keeps nobody from what they may do.
    var pendingMax = 20_000
    public init() {}
}

/// The audit log: one chain, whatever writes to it. Of one node in its ordered store, of several in their database.
public final class AuditTrail: DecisionLog {
    private struct State {
        var pending = 0
        /// The last try to write failed.
        var isFailing = false
        /// What failed, and goes before the next.
        var unwritten: [[UInt8]] = []
        /// Refusals there was no room for since the time, which no record tells of yet.
        var lost: (count: UInt64, since: Timestamp)?
        var lostInAll: UInt64 = 0

        var waiting: Int { pending + unwritten.count }
    }

    private static let headKey: [UInt8] = [0], startKey: [UInt8] = [1]
    private static let recordPrefix: UInt8 = 2
    private static let head = RowName(headKey, in: .audit)

    private let rows: any RowStore
    private let options: AuditOptions
    private let world: World
    private let log: Logger
    private let state = Mutex(State())

    /// - Parameter rows: where changes to the catalog are queued, too, so that a record is in the commit of what it allowed, or in an earlier one.
    public init(in rows: any RowStore, options: AuditOptions = AuditOptions(), world: World, log: Logger) {
        self.rows = rows
        self.options = options
        self.world = world
        self.log = log
    }

    // MARK: Writing

    public var keepsReads: Bool { options.keepsReads }

    public func keep(_ decision: Decision) throws(RegistryError) {
        let members = AuditLine.members(of: decision, id: world.newID())
        let (lines, isKept) = state.withLock { state in
            let isKept =
                decision.refusal == nil ? state.waiting < options.pendingMax && !state.isFailing : state.waiting < options.pendingMax / 2
            if decision.refusal != nil, !isKept {
                state.lost = ((state.lost?.count ?? 0) &+ 1, state.lost?.since ?? decision.at)
                state.lostInAll &+= 1
            }
            // What failed is tried again by whoever asks next, allowed or not; until it is written, nothing is allowed.
            let lines = state.unwritten + takeLost(&state) + (isKept ? [members] : [])
            state.unwritten = []
            state.pending += lines.count
            return (lines, isKept)
        }
        if !lines.isEmpty { write(lines, isPatient: isKept) }
        guard isKept else {
            throw RegistryError(
                .unavailable, subject: .store, reason: "what is decided cannot be written to the audit log; try again", retryAfterSeconds: 5)
        }
    }

    /// One record for all refusals that had no room, once there is some: the chain says itself what it lacks.
    private func takeLost(_ state: inout State) -> [[UInt8]] {
        guard let lost = state.lost, state.waiting < options.pendingMax / 2, !state.isFailing else { return [] }
        state.lost = nil
        return [AuditLine.members(of: .notKept(refusals: lost.count, since: lost.since, at: world.now()), id: world.newID())]
    }

    /// Refusals that are in no record of their own, since the start.
    public var lostRefusals: UInt64 { state.withLock { $0.lostInAll } }

    public func publish(_ metrics: Metrics) {
        metrics.gauge("granary_audit_lost_refusals_total", help: "Refusals that found the audit log's queue full; one record sums them up.") {
            [self] in Double(lostRefusals)
        }
    }

    /// Before any change that the decisions allow in the committer's queue: in its commit, or in an earlier one.
    private func write(_ lines: [[UInt8]], isPatient: Bool) {
        rows.enqueue(reads: [AuditTrail.head], isPatient: isPatient) { batch throws(RegistryError) in
            for members in lines { try AuditTrail.append(members, to: batch) }
        } completion: { [self] result in
            let (isNew, summary) = state.withLock { state in
                state.pending -= lines.count
                let wasFailing = state.isFailing
                state.isFailing = if case .failure = result { true } else { false }
                if state.isFailing { state.unwritten += lines }
                let summary = takeLost(&state)
                state.pending += summary.count
                return (state.isFailing && !wasFailing, summary)
            }
            if !summary.isEmpty { write(summary, isPatient: true) }
            if isNew, case .failure(let error) = result { log.error("the audit log cannot be written", metadata: ["error": "\(error)"]) }
        }
    }

    private static func append(_ members: [UInt8], to batch: OrderedStore.Batch) throws(RegistryError) {
        let last = try link(headKey, batch)
        let line = AuditLine.line(last.number &+ 1, members)
        let link = last.next(line)
        batch.put(key(link.number), AuditRow(hash: link.hash, line: line).bytes, in: .audit)
        batch.put(headKey, link.row, in: .audit)
    }

    private static func key(_ number: UInt64) -> [UInt8] {
        var writer = BinaryWriter()
        writer.write(recordPrefix)
        writer.write(number)
        return writer.bytes
    }

    // MARK: Reading

    /// The newest record there is.
    public func head() async throws(RegistryError) -> AuditLink {
        try await rows.look { rows throws(RegistryError) in try AuditTrail.link(AuditTrail.headKey, rows) }
    }

    private static func link(_ key: [UInt8], _ rows: any OrderedRows) throws(RegistryError) -> AuditLink {
        try rows.get(key, in: .audit).map { (row) throws(RegistryError) in try AuditLink(row: row) } ?? .start
    }

    /// Looks at every record. Blocks.
    /// - Parameter rows: of one moment.
    /// - Throws: `corrupt` when one was changed, removed or added.
    public static func verify(_ rows: any OrderedRows, expecting expected: AuditLink? = nil) throws(RegistryError) -> AuditReport {
        var verifier = AuditVerifier(from: try link(startKey, rows), expecting: expected)
        try rows.scan(.audit, prefix: [recordPrefix]) { (key, value) throws(RegistryError) in
            let row = try AuditRow(value)
            guard AuditTrail.key(verifier.report.last.number &+ 1) == key else {
                throw AuditVerifier.broken("record \(verifier.report.last.number &+ 1) is missing")
            }
            try verifier.take(row.line, hash: row.hash)
            return true
        }
        return try verifier.finish(at: try link(headKey, rows))
    }

    /// Records after `number` as lines of an export, each ended by a newline; at most `limit`, oldest first. Without a number it begins with the
    /// oldest, and with the head of an export. Blocks.
    /// - Parameter rows: of one moment.
    /// - Returns: the lines, and the number to go on after; nil at the end.
    public static func export(
        _ rows: any OrderedRows, after number: UInt64?, limit: Int
    ) throws(RegistryError) -> (lines: [UInt8], next: UInt64?) {
        let newline = UInt8(ascii: "\n")
        var lines: [UInt8] = []
        var last = number ?? 0
        if number == nil {
            let start = try link(startKey, rows)
            lines = AuditLine.head(start) + [newline]
            last = start.number
        }
        var count = 0
        try rows.scan(.audit, from: key(last &+ 1), upTo: [recordPrefix + 1], reverse: false) { (_, value) throws(RegistryError) in
            let row = try AuditRow(value)
            lines += AuditLine.exported(row.line, hash: row.hash) + [newline]
            last = AuditLine.number(of: row.line) ?? last
            count += 1
            return count < limit
        }
        return (lines, count < limit ? nil : last)
    }

    public func export(after number: UInt64?, limit: Int) async throws(RegistryError) -> (lines: [UInt8], next: UInt64?) {
        try await rows.look { rows throws(RegistryError) in try AuditTrail.export(rows, after: number, limit: limit) }
    }

    /// Records that fit, the newest first, and how many fit of all that were looked at: without a condition all, else the newest 100,000.
    public func find(_ query: AuditQuery) async throws(RegistryError) -> (records: [AuditRecord], total: Int) {
        try await rows.look { rows throws(RegistryError) in
            let isAll = query.isAll
            var (seen, fitting, records) = (0, 0, [AuditRecord]())
            try rows.scan(.audit, from: [AuditTrail.recordPrefix], upTo: [AuditTrail.recordPrefix + 1], reverse: true) {
                (_, value) throws(RegistryError) in
                seen += 1
                let isWanted = fitting >= query.skip && records.count < query.limit
                if !isAll || isWanted {
                    let record = try AuditRecord(try AuditRow(value).line)
                    guard query.fits(record) else { return seen < AuditQuery.recordsMax }
                    if isWanted { records.append(record) }
                }
                fitting += 1
                return seen < AuditQuery.recordsMax && (!isAll || records.count < query.limit)
            }
            guard isAll else { return (records, fitting) }
            let count = try AuditTrail.link(AuditTrail.headKey, rows).number &- AuditTrail.link(AuditTrail.startKey, rows).number
            return (records, Int(clamping: count))
        }
    }

    // MARK: Removing what is old

    /// Removes records older than the options say, from the oldest on; once a day until its task is cancelled.
    public func trimOnSchedule() async {
        while !Task.isCancelled {
            do throws(RegistryError) { try await trim() } catch {
                log.error("old records of the audit log were not removed", metadata: ["error": "\(error)"])
            }
            // The head in the log is outside of what it vouches for.
            if let head = try? await head() { log.notice("audit log", metadata: ["head": "\(head)"]) }
            try? await Task.sleep(for: .seconds(86_400))
        }
    }

    func trim() async throws(RegistryError) {
        guard options.days > 0 else { return }
        let end = world.now().adding(seconds: -options.days * 86_400)
        let removed: UInt64 = try await rows.commit { batch throws(RegistryError) in
            let start = try AuditTrail.link(AuditTrail.startKey, batch)
            var kept = start
            try batch.scan(.audit, from: AuditTrail.key(start.number &+ 1), upTo: [AuditTrail.recordPrefix + 1], reverse: false) {
                (_, value) throws(RegistryError) in
                let row = try AuditRow(value)
                guard let at = AuditLine.time(of: row.line), at < end, kept.number &- start.number < AuditTrail.trimMax else { return false }
                kept = AuditLink(number: kept.number &+ 1, hash: row.hash)
                return true
            }
            guard kept.number > start.number else { return 0 }
            batch.deleteRange(.audit, from: AuditTrail.key(0), upTo: AuditTrail.key(kept.number &+ 1))
            batch.put(AuditTrail.startKey, kept.row, in: .audit)
            return kept.number &- start.number
        }
        if removed > 0 { log.notice("old records of the audit log were removed", metadata: ["records": "\(removed)"]) }
        if removed == AuditTrail.trimMax { try await trim() }
    }

    /// In one commit, which keeps others waiting.
    private static let trimMax: UInt64 = 10_000
}

/// The value of a record's row: hash, line.
struct AuditRow {
    let hash: [UInt8]
    let line: [UInt8]

    init(hash: [UInt8], line: [UInt8]) {
        self.hash = hash
        self.line = line
    }

    init(_ bytes: [UInt8]) throws(RegistryError) {
        guard bytes.count > AuditLink.hashBytes else { throw BinaryReader.damaged }
        hash = Array(bytes[..<AuditLink.hashBytes])
        line = Array(bytes[AuditLink.hashBytes...])
    }

    var bytes: [UInt8] { hash + line }
}
