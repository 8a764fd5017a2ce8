// PostgresClient: PostgreSQL through libpq, safely. Statements travel in pipelines: many queries are one journey there and back. Calls block, with
// a deadline each, and so belong on threads of their own; every result is read to its end before anything is thrown.

import CPostgres
public import Core

#if canImport(Glibc)
    import Glibc
#endif

/// One connection to PostgreSQL: the only file that calls libpq.
///
/// `@unchecked Sendable`: it may go from thread to thread, but one alone uses it at a time; a pool or a thread that owns it sees to that.
public final class Connection: @unchecked Sendable {
    private let handle: OpaquePointer
    private var prepared: [String: String] = [:]
    private var preparedCount = 0
    /// It answers no more, or what it would answer is not known: open another one.
    public private(set) var isBroken = false

    /// Connects, in a session that says when it is kept waiting instead of waiting on.
    /// - Parameter address: a connection URI or string of libpq (PostgreSQL, section 34.1.1). Of several hosts in it the first is taken that is no
    ///   standby.
    /// - Throws: `unavailable`.
    public init(to address: String, within limit: Duration = .seconds(5)) throws(RegistryError) {
        guard let handle = Connection.start(address) else { throw Refusal.lost("libpq has no memory") }
        self.handle = handle
        let end = ContinuousClock.now + limit
        guard unsafe PQstatus(handle) != CONNECTION_BAD else { throw lost() }
        // To be treated as if the last poll had said so.
        var next = PGRES_POLLING_WRITING
        while next != PGRES_POLLING_OK {
            guard next != PGRES_POLLING_FAILED else { throw lost() }
            try wait(for: next == PGRES_POLLING_READING ? POLLIN : POLLOUT, until: end)
            next = unsafe PQconnectPoll(handle)
        }
        guard unsafe PQsetnonblocking(handle, 1) == 0, unsafe PQenterPipelineMode(handle) == 1 else { throw lost() }
        unsafe PQsetNoticeProcessor(handle, { _, _ in }, nil)
        try run([Query(Connection.session)], within: limit)
    }

    deinit { unsafe PQfinish(handle) }

    /// What the address says itself counts for more. A standby may be behind what was acknowledged, so it is not even read from; a machine that is
    /// gone without a word is noticed before a caller's patience is over.
    private static func start(_ address: String) -> OpaquePointer? {
        let settings = [
            ("target_session_attrs", "primary"), ("tcp_user_timeout", "3000"), ("keepalives_idle", "5"), ("keepalives_interval", "1"),
            ("keepalives_count", "3"), ("dbname", address),
        ]
        let names = unsafe settings.map { unsafe strdup($0.0) }
        let values = unsafe settings.map { unsafe strdup($0.1) }
        defer { for text in unsafe names + values { unsafe free(text) } }
        return unsafe PQconnectStartParams(names.map { unsafe UnsafePointer($0) } + [nil], values.map { unsafe UnsafePointer($0) } + [nil], 1)
    }

    /// A statement, a wait for a lock and a session that forgot its transaction are ended by the server: who dies with a lock does not keep it long,
    /// and whoever waits for it gets it.
    /// What is acknowledged is on disk, whatever the server's default.
    private static let session = """
        SELECT set_config('client_encoding', 'UTF8', false), set_config('application_name', 'granary', false),
            set_config('statement_timeout', '20s', false), set_config('lock_timeout', '5s', false),
            set_config('idle_in_transaction_session_timeout', '4s', false),
            CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END
        """

    // MARK: Queries

    /// Runs queries one after the other in one journey. Unless they say otherwise they are one transaction.
    /// - Returns: the rows of each.
    /// - Throws: what the first that failed was refused with; those after it did not run. `unavailable` after the deadline, and the connection is
    ///   broken then: nobody knows how far it came.
    @discardableResult
    public func run(_ queries: [Query], within limit: Duration = .seconds(25)) throws(RegistryError) -> [[Row]] {
        guard !queries.isEmpty else { return [] }
        guard !isBroken else { throw Refusal.lost("the connection is broken") }
        let end = ContinuousClock.now + limit
        var isNew: [Bool] = []
        for query in queries { isNew.append(try send(query)) }
        guard unsafe PQpipelineSync(handle) == 1 else { throw lost() }
        try flush(until: end)
        var failure: RegistryError?
        var answers: [[Row]] = []
        for (query, isNew) in zip(queries, isNew) {
            if isNew { keepFirst(&failure, try answer(until: end).failure) }
            let answer = try answer(until: end)
            keepFirst(&failure, answer.failure)
            // A statement that came to nothing has left no name behind that can be relied on.
            if failure != nil, isNew { prepared[query.text] = nil }
            answers.append(answer.rows)
        }
        try endOfPipeline(until: end)
        if let failure { throw failure }
        return answers
    }

    /// Runs a text of many statements, without parameters.
    public func run(script: String, within limit: Duration) throws(RegistryError) {
        guard !isBroken, unsafe PQexitPipelineMode(handle) == 1 else { throw Refusal.lost("the connection is busy") }
        let end = ContinuousClock.now + limit
        guard unsafe PQsendQuery(handle, script) == 1 else { throw lost() }
        try flush(until: end)
        var failure: RegistryError?
        while let result = try result(until: end) {
            keepFirst(&failure, unsafe Connection.failure(in: result))
            unsafe PQclear(result)
        }
        guard unsafe PQenterPipelineMode(handle) == 1 else { throw lost() }
        if let failure { throw failure }
    }

    /// A transaction is open, or one has failed and was not ended.
    public var isInTransaction: Bool { unsafe PQtransactionStatus(handle) != PQTRANS_IDLE }

    /// Waits for notifications (LISTEN).
    /// - Returns: their texts; none when the time is over.
    public func notifications(within limit: Duration) throws(RegistryError) -> [String] {
        var texts = try takeNotifications()
        if texts.isEmpty {
            guard try isReady(for: POLLIN, until: ContinuousClock.now + limit) else { return [] }
            texts = try takeNotifications()
        }
        return texts
    }

    private func takeNotifications() throws(RegistryError) -> [String] {
        guard unsafe PQconsumeInput(handle) == 1 else { throw lost() }
        var texts: [String] = []
        while let notification = unsafe PQnotifies(handle) {
            texts.append(unsafe notification.pointee.extra.map { unsafe String(cString: $0) } ?? "")
            unsafe PQfreemem(notification)
        }
        return texts
    }

    // MARK: Sending

    /// - Returns: whether its text was sent along, to be prepared.
    private func send(_ query: Query) throws(RegistryError) -> Bool {
        let known = prepared[query.text]
        let name = known ?? "s\(preparedCount)"
        if known == nil {
            preparedCount += 1
            prepared[query.text] = name
            let types = query.values.map(\.type)
            guard unsafe PQsendPrepare(handle, name, query.text, Int32(types.count), types) == 1 else { throw lost() }
        }
        let lengths = query.values.map { Int32(clamping: $0.bytes?.count ?? 0) }
        let formats = [Int32](repeating: 1, count: lengths.count)
        let sent = unsafe withPointers(to: query.values) { values in
            unsafe PQsendQueryPrepared(handle, name, Int32(lengths.count), values, lengths, formats, 1)
        }
        guard sent == 1 else { throw lost() }
        return known == nil
    }

    /// The values' bytes, side by side in one buffer.
    private func withPointers(to values: [Value], _ body: ([UnsafePointer<CChar>?]) -> Int32) -> Int32 {
        // One more, so that an empty value has an address, too: nil is NULL.
        var all: [UInt8] = []
        for value in values { all += value.bytes ?? [] }
        all.append(0)
        return all.withUnsafeBytes { buffer in
            var at = 0
            var pointers: [UnsafePointer<CChar>?] = []
            for value in values {
                let start = unsafe buffer.baseAddress.map { unsafe ($0 + at).assumingMemoryBound(to: CChar.self) }
                unsafe pointers.append(value.bytes == nil ? nil : start)
                at += value.bytes?.count ?? 0
            }
            return unsafe body(pointers)
        }
    }

    /// The server may have to be heard before it takes more.
    private func flush(until end: ContinuousClock.Instant) throws(RegistryError) {
        while true {
            switch unsafe PQflush(handle) {
            case 0: return
            case 1:
                try wait(for: POLLIN | POLLOUT, until: end)
                guard unsafe PQconsumeInput(handle) == 1 else { throw lost() }
            default: throw lost()
            }
        }
    }

    // MARK: Hearing

    private typealias Answer = (rows: [Row], failure: RegistryError?)

    /// All that one statement of a pipeline is answered with.
    private func answer(until end: ContinuousClock.Instant) throws(RegistryError) -> Answer {
        var answer: Answer = ([], nil)
        while let result = try result(until: end) {
            keepFirst(&answer.failure, unsafe Connection.failure(in: result))
            answer.rows += unsafe Connection.rows(of: result)
            unsafe PQclear(result)
        }
        return answer
    }

    private func endOfPipeline(until end: ContinuousClock.Instant) throws(RegistryError) {
        guard let result = try result(until: end) else { throw lost() }
        defer { unsafe PQclear(result) }
        guard unsafe PQresultStatus(result) == PGRES_PIPELINE_SYNC else { throw lost() }
    }

    /// nil: the statement has nothing more to say.
    private func result(until end: ContinuousClock.Instant) throws(RegistryError) -> OpaquePointer? {
        while unsafe PQisBusy(handle) == 1 {
            try wait(for: POLLIN, until: end)
            guard unsafe PQconsumeInput(handle) == 1 else { throw lost() }
        }
        guard let result = unsafe PQgetResult(handle) else {
            if unsafe PQstatus(handle) == CONNECTION_BAD { throw lost() }
            return nil
        }
        return result
    }

    private static func failure(in result: OpaquePointer) -> RegistryError? {
        switch unsafe PQresultStatus(result) {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY, PGRES_PIPELINE_SYNC: return nil
        case PGRES_PIPELINE_ABORTED: return Refusal.lost("a statement before it failed")
        default:
            let state = unsafe PQresultErrorField(result, 67).map { unsafe String(cString: $0) } ?? ""
            let message = unsafe PQresultErrorMessage(result).map { unsafe String(cString: $0) } ?? ""
            return Refusal.of(state, String(message.prefix(500)))
        }
    }

    private static func rows(of result: OpaquePointer) -> [Row] {
        let width = unsafe PQnfields(result)
        return unsafe (0..<PQntuples(result)).map { row in
            Row(
                columns: (0..<width).map { column in
                    guard unsafe PQgetisnull(result, row, column) == 0, let start = unsafe PQgetvalue(result, row, column) else { return nil }
                    let count = Int(unsafe PQgetlength(result, row, column))
                    return unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
                })
        }
    }

    private func keepFirst(_ failure: inout RegistryError?, _ other: RegistryError?) { failure = failure ?? other }

    // MARK: Waiting

    private func wait(for events: Int32, until end: ContinuousClock.Instant) throws(RegistryError) {
        guard try isReady(for: events, until: end) else {
            isBroken = true
            throw Refusal.slow("no answer in time")
        }
    }

    private func isReady(for events: Int32, until end: ContinuousClock.Instant) throws(RegistryError) -> Bool {
        let socket = unsafe PQsocket(handle)
        guard socket >= 0 else { throw lost() }
        while true {
            let (seconds, attoseconds) = max(.zero, end - .now).components
            let milliseconds = Int32(clamping: seconds * 1000 + attoseconds / 1_000_000_000_000_000 + 1)
            var watched = pollfd(fd: socket, events: Int16(truncatingIfNeeded: events), revents: 0)
            let count = unsafe poll(&watched, 1, milliseconds)
            if count > 0 { return true }
            if count < 0, errno != EINTR { throw lost() }
            if end <= .now { return false }
        }
    }

    private func lost() -> RegistryError {
        isBroken = true
        return Refusal.lost(unsafe PQerrorMessage(handle).map { unsafe String(cString: $0) } ?? "")
    }
}
