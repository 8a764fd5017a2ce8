import Core
import PostgresClient

/// Brings a database to the schema of this program.
enum Migrator {
    /// Nobody else takes this lock; two programs that start together wait for each other.
    private static let lock = "SELECT pg_advisory_lock(7219041553)"
    private static let unlock = "SELECT pg_advisory_unlock(7219041553)"
    private static let table = """
        CREATE TABLE IF NOT EXISTS schema_migrations (
            number int PRIMARY KEY, name text NOT NULL, applied timestamptz NOT NULL DEFAULT now()
        )
        """

    /// - Throws: `unsupported` unless the schema is this program's.
    static func check(_ connection: Connection) throws(RegistryError) {
        let found = try connection.run([Query("SELECT to_regclass('schema_migrations')::text")])
        guard found.first?.first.map({ !$0.isNull(0) }) ?? false else {
            throw RegistryError(.notFound, subject: .store, reason: "there is no registry in the database")
        }
        let applied = try numbers(in: connection)
        guard applied == Set(Migrations.all.map(\.number)) else {
            throw RegistryError(
                .unsupported, subject: .store,
                reason: "the database has schema \(applied.max() ?? 0) and this program is of schema \(Migrations.all.last?.number ?? 0)")
        }
    }

    private static func numbers(in connection: Connection) throws(RegistryError) -> Set<Int> {
        var applied: Set<Int> = []
        for row in try connection.run([Query("SELECT number FROM schema_migrations")]).first ?? [] {
            applied.insert(Int(clamping: try row.int(0)))
        }
        return applied
    }

    /// Applies what is missing, each step whole or not at all.
    /// - Throws: `unsupported` when a newer program was there; `unavailable`.
    static func migrate(_ connection: Connection) throws(RegistryError) {
        try connection.run([Query(lock)])
        try connection.run(script: table, within: .seconds(30))
        let applied = try numbers(in: connection)
        if let unknown = applied.subtracting(Migrations.all.map(\.number)).max() {
            throw RegistryError(
                .unsupported, subject: .store,
                reason: "the database has schema \(unknown) and this program knows up to \(Migrations.all.last?.number ?? 0); start a newer one")
        }
        for step in Migrations.all where !applied.contains(step.number) {
            let script = """
                BEGIN;
                SET LOCAL statement_timeout = 0;
                \(step.sql)
                INSERT INTO schema_migrations (number, name) VALUES (\(step.number), '\(step.name)');
                COMMIT;
                """
            try connection.run(script: script, within: .seconds(600))
        }
        try connection.run([Query(unlock)])
    }
}
