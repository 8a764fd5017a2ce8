package import CatalogRules
package import Core
package import OrderedStore
import PostgresClient

/// A database whose rows are moved, out of it or into it: one transaction under the lock of all changes. Nodes that use it read on; what they change
/// waits for some seconds and is refused, as long as this lasts.
///
/// Rows that came into it are there for good with a mark that says nobody uses them yet, and the mark goes in a transaction of its own: between the
/// two the old home is closed.
///
/// `@unchecked Sendable`: its pool's one thread alone uses the connection.
package final class PostgresMove: MoveSource, MoveTarget, @unchecked Sendable {
    private static let patience = Duration.seconds(30)

    private let address: String
    private var connection: Connection
    private let pool: BlockingPool
    /// What it is called where it is said where rows are.
    package let place: String

    /// Brings the database to this program's schema, and holds changes up from now on.
    /// - Throws: `unavailable`, also when a change does not end within 5 s; `unsupported` when a newer program was there.
    package init(address: String) async throws(RegistryError) {
        let pool = BlockingPool(threads: 1, name: "postgres-move")
        self.pool = pool
        self.address = address
        (connection, place) = try await pool.run { () throws(RegistryError) in
            let connection = try Connection.insist(on: address, until: .now + .seconds(5))
            try Migrator.migrate(connection)
            // It waits for the other home, however long that takes.
            try connection.run([
                Query("SELECT set_config('idle_in_transaction_session_timeout', '0', false), set_config('statement_timeout', '0', false)")
            ])
            try connection.run(PostgresTarget.opening)
            let name = try connection.run([Query("SELECT current_database()::text")]).first?.first?.text(0) ?? ""
            return (connection, "the PostgreSQL database \(name)")
        }
    }

    package func look<R: Sendable>(
        _ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R
    ) async throws(RegistryError) -> R {
        try await pool.run { [self] () throws(RegistryError) in try read(PostgresRows(over: connection)) }
    }

    private func run(_ queries: [Query]) async throws(RegistryError) {
        try await pool.run { [self] () throws(RegistryError) in _ = try connection.run(queries, within: .seconds(600)) }
    }

    private func write(_ rows: [CatalogMove.Row]) async throws(RegistryError) {
        var queries: [Query] = []
        for row in rows { if let query = try Statements.put(row.key, row.value, in: row.family) { queries.append(query) } }
        try await run(queries)
    }

    // MARK: Out of it

    /// It is since it was opened.
    package func hold() async throws(RegistryError) {}

    package func retire(to place: String) async throws(RegistryError) {
        try await write([MoveMark.gone(to: place).row])
        try await run([Query("COMMIT")])
    }

    package func release() async { await abandon() }

    // MARK: Into it

    package func begin() async throws(RegistryError) {
        if try await look({ rows throws(RegistryError) in try MoveMark.read(from: rows) }) == .coming {
            try await clear()
            try await run(PostgresTarget.opening)
        }
        let tally = try await look { rows throws(RegistryError) in try RowTally(of: rows) }
        guard tally.rows == 0 else {
            throw RegistryError(
                .conflict, subject: .store, reason: "the database has a catalog of \(tally.rows) rows already; take an empty one")
        }
    }

    package func put(_ rows: [CatalogMove.Row]) async throws(RegistryError) { try await write(rows) }

    package func prepare() async throws(RegistryError) {
        try await write([MoveMark.coming.row])
        try await run([Query("COMMIT")])
    }

    package func finish() async throws(RegistryError) {
        let mark = MoveMark.coming.row
        guard let delete = try Statements.delete(mark.key, in: mark.family) else { return }
        try await pool.run { [self] () throws(RegistryError) in
            let end = ContinuousClock.now + PostgresMove.patience
            while true {
                do throws(RegistryError) {
                    // The other home is closed: a database that was restarted meanwhile is waited for.
                    if connection.isBroken { connection = try Connection.insist(on: address, until: end) }
                    if !connection.isInTransaction { try connection.run(PostgresTarget.opening) }
                    try connection.run([delete, Query("NOTIFY \(PostgresTarget.channel)"), Query("COMMIT")])
                    return
                } catch {
                    guard connection.isBroken, .now < end else { throw error }
                }
            }
        }
    }

    /// Nothing of what an unfinished move left. Nobody uses it: the mark goes last.
    private func clear() async throws(RegistryError) {
        let tables = Table.names.subtracting(["catalog_state"]).sorted().joined(separator: ", ")
        let head = try Statements.put(Keyspace.head.bytes, RowCoding.encode { $0.write(Revision.zero) }, in: CatalogRows.family)
        let beginning = [head].compactMap(\.self)
        try await run([Query("TRUNCATE \(tables)"), Query("DELETE FROM catalog_state WHERE item <> 1")] + beginning + [Query("COMMIT")])
    }

    package func abandon() async {
        // What cannot be rolled back the server rolls back itself, with the connection.
        do throws(RegistryError) { try await run([Query("ROLLBACK")]) } catch { return }
    }
}
