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
    private var connection: Connection?
    private var transaction: String?
    /// The connection was lost while it committed: nobody knows yet whether it did.
    private var doubt: String?
    private var settled: [(Bool) -> Void] = []

    init(address: String) { self.address = address }

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

    private func begin(on connection: Connection, _ names: [RowName]) throws(RegistryError) -> PostgresRows {
        // The lock, and with it a view of everything before, comes first: what is read after it is what the changes change.
        let rows = PostgresRows(
            over: connection,
            opening: [
                Query("BEGIN ISOLATION LEVEL READ COMMITTED"), Query("SELECT number FROM catalog_state WHERE item = 1 FOR UPDATE"),
                Query("SELECT pg_current_xact_id()::text"),
            ])
        do throws(RegistryError) {
            try rows.fetch(names)
            transaction = try rows.opened.last?.first?.text(0)
        } catch {
            rollBack()
            throw error
        }
        return rows
    }

    func write(_ overlay: Overlay) throws(RegistryError) {
        guard let connection, let transaction else { throw Refused.noTransaction }
        do throws(RegistryError) {
            try connection.run(try queries(overlay) + [Query("COMMIT")])
            self.transaction = nil
        } catch {
            guard connection.isBroken else {
                rollBack()
                throw error
            }
            self.connection = nil
            doubt = transaction
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

    func abandon() { rollBack() }

    private func rollBack() {
        transaction = nil
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

    /// Asks the server what became of the transaction, for as long as there is time.
    /// - Returns: whether it was committed.
    /// - Throws: `unavailable`: it is asked again before the next group.
    @discardableResult
    private func settle(until end: ContinuousClock.Instant) throws(RegistryError) -> Bool {
        guard let transaction = doubt else { return false }
        while true {
            let status = try status(of: transaction, until: end)
            // Its session may not have noticed yet that nobody listens.
            guard status == "in progress" else {
                doubt = nil
                isInDoubt = false
                self.transaction = nil
                for body in settled { body(status == "committed") }
                settled = []
                return status == "committed"
            }
            guard .now < end else { throw Refused.inDoubt }
            usleep(20_000)
        }
    }

    private func status(of transaction: String, until end: ContinuousClock.Instant) throws(RegistryError) -> String {
        let connection = try connected(until: end)
        do throws(RegistryError) {
            let rows = try connection.run([Query("SELECT coalesce(pg_xact_status($1::xid8), 'unknown')", [try .text(transaction)])])
            return try rows.first?.first?.text(0) ?? "unknown"
        } catch {
            if connection.isBroken {
                self.connection = nil
                throw error
            }
            // A server that was promoted and has never heard of it.
            return "unknown"
        }
    }

    private enum Refused {
        static let noTransaction = RegistryError(.internal, subject: .store, reason: "a group of changes has no transaction")
        static let inDoubt = RegistryError(
            .unavailable, subject: .store, reason: "the database was lost while it committed; try again", retryAfterSeconds: 2)
    }
}
