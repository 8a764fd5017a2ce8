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

    /// Applies what is missing, each step whole or not at all.
    /// - Throws: `unsupported` when a newer program was there; `unavailable`.
    static func migrate(_ connection: Connection) throws(RegistryError) {
        try connection.run([Query(lock)])
        try connection.run(script: table, within: .seconds(30))
        let newest = try connection.run([Query("SELECT coalesce(max(number), 0) FROM schema_migrations")])
        let number = Int(clamping: try newest.first?.first?.int(0) ?? 0)
        guard number <= Migrations.all.count else {
            throw RegistryError(
                .unsupported, subject: .store,
                reason: "the database has schema \(number) and this program knows up to \(Migrations.all.count); start a newer one")
        }
        for (index, step) in Migrations.all.enumerated().dropFirst(number) {
            let script = """
                BEGIN;
                SET LOCAL statement_timeout = 0;
                \(step.sql)
                INSERT INTO schema_migrations (number, name) VALUES (\(index + 1), '\(step.name)');
                COMMIT;
                """
            try connection.run(script: script, within: .seconds(600))
        }
        try connection.run([Query(unlock)])
    }
}
