import CatalogRules
import Core
import OrderedStore
import PostgresClient

#if canImport(Glibc)
    import Glibc
#endif

/// Where a node's group of changes meets those of all other nodes: one transaction, under the lock of the row that holds the newest revision. So
/// revisions have no gaps, nobody sees one before those below it, and a group costs two journeys: one to lock and to fetch what its changes are
/// likely to read, one to write and to commit.
///
/// `@unchecked Sendable`: the committer's thread alone calls it, its completions included.
final class PostgresTarget: CommitTarget, @unchecked Sendable {
    /// How long a group waits for a server that is being restarted.
    private static let patience = Duration.seconds(5)
    static let channel = "granary_changes"

    private let address: String
    /// This one among all that write to the database, ever.
    private let writer: EntityID
    private var connection: Connection?
    private var isOpen = false
    /// Of the group that is written: it is in the database once that is committed.
    private var number: Int64 = 0
    /// The group whose commit was not answered: nobody knows yet whether it is there.
    private var doubt: Int64?
    private var settled: [(Bool) -> Void] = []

    init(address: String, writer: EntityID) {
        self.address = address
        self.writer = writer
    }

    var recovers: Bool { true }
    /// What was written last is in doubt.
    private(set) var isInDoubt = false

    /// Called once it is known whether the transaction in doubt was committed.
    func whenSettled(_ body: @escaping (Bool) -> Void) { settled.append(body) }

    // MARK: One group

    func begin(reading names: [RowName]) throws(RegistryError) -> any OrderedRows {
        let end = ContinuousClock.now + PostgresTarget.patience
        isInDoubt = false
        if doubt != nil { try settle(until: end) }
        let isKnown = connection != nil
        do throws(RegistryError) {
            return try begin(on: try connected(until: end), names)
        } catch {
            guard isKnown, connection == nil else { throw error }
        }
        // It was lost since the last group: nothing has been done yet, so another one does.
        return try begin(on: try connected(until: end), names)
    }

    /// The lock, and with it a view of everything before, comes first: what is read after it is what the changes change.
    static let opening = [
        Query("BEGIN ISOLATION LEVEL READ COMMITTED"), Query("SELECT number FROM catalog_state WHERE item = 1 FOR UPDATE"),
    ]

    private func begin(on connection: Connection, _ names: [RowName]) throws(RegistryError) -> PostgresRows {
        let rows = PostgresRows(over: connection, opening: PostgresTarget.opening)
        do throws(RegistryError) {
            try rows.fetch(names + [RowName(Keyspace.move.bytes, in: CatalogRows.family)])
            guard try MoveMark.read(from: rows) == nil else { throw Refused.isMoved }
            isOpen = true
        } catch {
            rollBack()
            throw error
        }
        return rows
    }

    func write(_ overlay: Overlay) throws(RegistryError) {
        guard let connection, isOpen else { throw Refused.noTransaction }
        number += 1
        do throws(RegistryError) {
            try connection.run(try queries(overlay) + [mark, Query("COMMIT")])
            isOpen = false
        } catch {
            let isBroken = connection.isBroken
            rollBack()
            guard isBroken else { throw error }
            doubt = number
            isInDoubt = true
            guard try settle(until: .now + PostgresTarget.patience) else { throw error }
        }
    }

    private func queries(_ overlay: Overlay) throws(RegistryError) -> [Query] {
        var queries: [Query] = []
        for range in overlay.cleared { if let query = try Statements.deleteRange(range) { queries.append(query) } }
        for (family, rows) in overlay.rows {
            for row in rows {
                let query =
                    if let value = row.value { try Statements.put(row.key, value, in: family) } else { try Statements.delete(row.key, in: family) }
                if let query { queries.append(query) }
                if row.key == Keyspace.head.bytes { queries.append(Query("NOTIFY \(PostgresTarget.channel)")) }
            }
        }
        return queries
    }

    private var mark: Query {
        Query(
            "INSERT INTO writers (writer, group_number) VALUES ($1, $2) ON CONFLICT (writer) DO UPDATE"
                + " SET group_number = excluded.group_number, at = now()", [.id(writer), .int(number)])
    }

    /// What became of their groups nobody asks any more.
    static func forgetOldWriters(_ connection: Connection) throws(RegistryError) {
        try connection.run([Query("DELETE FROM writers WHERE at < now() - interval '30 days'")])
    }

    func abandon() { rollBack() }

    private func rollBack() {
        isOpen = false
        guard let connection else { return }
        do throws(RegistryError) {
            if !connection.isBroken, connection.isInTransaction { try connection.run([Query("ROLLBACK")]) }
        } catch {
            // A session that cannot be rolled back is not used again; the server does it when the connection is gone.
            self.connection = nil
        }
        if connection.isBroken { self.connection = nil }
    }

    private func connected(until end: ContinuousClock.Instant) throws(RegistryError) -> Connection {
        if let connection { return connection }
        let new = try Connection.insist(on: address, until: end)
        connection = new
        return new
    }

    // MARK: A commit in doubt

    /// Finds out what became of the group whose commit was not answered, for as long as there is time. The number of its transaction would not do:
    /// after a crash, or on a standby that took over, another transaction may have it.
    /// - Returns: whether it was committed.
    /// - Throws: `unavailable`: it is asked again before the next group.
    @discardableResult
    private func settle(until end: ContinuousClock.Instant) throws(RegistryError) -> Bool {
        guard let number = doubt else { return false }
        while true {
            do throws(RegistryError) {
                let isCommitted = try ask(about: number, on: try connected(until: end))
                doubt = nil
                isInDoubt = false
                for body in settled { body(isCommitted) }
                settled = []
                return isCommitted
            } catch {
                rollBack()
                guard .now < end else { throw error }
            }
            usleep(20_000)
        }
    }

    /// Behind the lock, so that the group has ended by now, however it did; and by a commit, which is where commits have to be, on a synchronous
    /// standby, too, once it is answered: so is then what came before it.
    private func ask(about number: Int64, on connection: Connection) throws(RegistryError) -> Bool {
        let answers = try connection.run(
            PostgresTarget.opening + [
                Query("UPDATE writers SET at = now() WHERE writer = $1 AND group_number = $2 RETURNING 1", [.id(writer), .int(number)]),
                Query("COMMIT"),
            ])
        return !answers[PostgresTarget.opening.count].isEmpty
    }

    private enum Refused {
        static let isMoved = RegistryError(
            .unavailable, subject: .store, reason: "the catalog was moved elsewhere: this server has to be started anew there", retryAfterSeconds: 30)
        static let noTransaction = RegistryError(.internal, subject: .store, reason: "a group of changes has no transaction")
    }
}
