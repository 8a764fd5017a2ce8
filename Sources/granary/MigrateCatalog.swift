import ArgumentParser
import CatalogRules
import Core
import Logging
import OrderedStore
import PostgresCatalog
import RocksCatalog

/// Moves the catalog from the data directory of one node to the database of several, or back.
struct MigrateCatalog: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate-catalog", abstract: "Move the catalog to PostgreSQL, or back.",
        discussion: """
            The settings name the data directory (data), the database (database_url) and the bucket (s3_bucket, or tier_directory). All rows and the \
            bytes they name are copied as they are, and those of both sides counted and compared, before anybody may use the new home; the old one \
            takes no changes from then on. The new home must be empty. What is interrupted is begun again from the start.

            The data directory is opened by this command, which is refused while a server has it (exit code 75). Servers that use the database read \
            on meanwhile; what would change the catalog (uploads, deletions, logins, what a remote repository fetches) is refused with 503 and \
            Retry-After. Exit codes: 0 moved; 66 bytes would be missing where the catalog goes; 3 the two sides differ; 1 failed. But for 0 nothing \
            is moved.
            """)

    enum Direction: String, ExpressibleByArgument, CaseIterable {
        case toPostgres = "to-postgres"
        case fromPostgres = "from-postgres"
    }

    @OptionGroup var settings: SettingFlags
    @Argument(help: "to-postgres or from-postgres.") var direction: Direction

    func run() async throws {
        let configuration = try settings.load()
        LoggingSystem.bootstrap { label in JSONLines(label: label, level: .error) }
        try await Exit.saying { () async throws(RegistryError) in
            guard let database = configuration.databaseURL else { throw Configuration.refused("database_url", "name the database") }
            let directories = try Directories(at: configuration.data)
            try directories.checkIndexIsThere()
            let store = try OrderedStore(at: directories.index, families: RocksCatalog.families, logger: Logger(label: "granary"))
            defer { store.close() }
            let log = Logger(label: "granary")
            let bytes = try await MovedBytes(configuration, directories, index: store, database: database, log: log)
            defer { bytes.close() }
            let (here, there) = (RocksMove(store), try await PostgresMove(address: database))
            let tally: RowTally
            switch direction {
            case .toPostgres:
                tally = try await CatalogMove(from: here, to: there) { blobs async throws(RegistryError) in try await bytes.put(blobs) }
                    .run(to: there.place)
            case .fromPostgres:
                try await bytes.requireUploaded()
                tally = try await CatalogMove(from: there, to: here) { blobs async throws(RegistryError) in try await bytes.fetch(blobs) }
                    .run(to: "the data directory \(directories.root)")
            }
            for kind in tally.kinds { print("\(kind.name): \(kind.rows) sha256:\(kind.digest.hex.prefix(16))") }
            print("rows: \(tally.rows)")
        }
    }
}
