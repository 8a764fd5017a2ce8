import AdminAPI
import ArgumentParser
import BlobStore
import CatalogRules
import Core
import Logging
import OrderedStore
import Outbound
import Parsing
import RocksCatalog

/// Moves the catalog from the data directory of one node to the database of several, or back.
struct MigrateCatalog: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate-catalog", abstract: "Move the catalog to PostgreSQL, or back.",
        discussion: """
            The settings name the data directory (data), the database (database_url) and the bucket (s3_bucket, or tier_directory). All rows and the \
            bytes they name are copied as they are, and those of both sides counted and compared, before anybody may use the new home; the old one \
            takes no changes from then on. The new home must be empty. What is interrupted is begun again from the start.

            To PostgreSQL while the server runs: --server URL has it move its own catalog, to the database and the bucket that the settings of this \
            command name, and waits; GRANARY_TOKEN holds an administrator's API token. Who reads reads on; what would change the catalog is refused \
            with 503 and Retry-After for the last part of it, and for good once it is done, until the server is started anew with database_url. \
            Interrupting this command does not interrupt the server; DELETE /api/v1/admin/catalog-move does.

            Without --server the data directory is opened by this command, which is refused while a server has it (exit code 75). Servers that use \
            the database read on meanwhile; what would change the catalog (uploads, deletions, logins, what a remote repository fetches) is refused \
            with 503 and Retry-After. Exit codes: 0 moved; 66 bytes would be missing where the catalog goes; 75 the database or the bucket does not \
            answer; 3 the two sides differ; 1 failed. But for 0 nothing is moved.
            """)

    enum Direction: String, ExpressibleByArgument, CaseIterable {
        case toPostgres = "to-postgres"
        case fromPostgres = "from-postgres"
    }

    @OptionGroup var settings: SettingFlags
    @Argument(help: "to-postgres or from-postgres.") var direction: Direction
    @Option(name: .customLong("server"), help: "URL of the running server; to-postgres only.") var server: String?

    func validate() throws {
        if server != nil, direction == .fromPostgres {
            throw ValidationError("from-postgres goes to a data directory that no server has: nobody is to be asked")
        }
    }

    func run() async throws {
        let configuration = try settings.load()
        LoggingSystem.bootstrap { label in JSONLines(label: label, level: .error) }
        try await Exit.saying { () async throws(RegistryError) in
            if let server { return try await AskedMove(configuration, of: server).run() }
            let directories = try Directories(at: configuration.data)
            try directories.checkIndexIsThere()
            let log = Logger(label: "granary")
            let store: OrderedStore
            do throws(RegistryError) { store = try OrderedStore(at: directories.index, families: RocksCatalog.families, logger: log) } catch {
                guard error.code == .unavailable, direction == .toPostgres else { throw error }
                throw RegistryError(
                    .unavailable, subject: .store,
                    reason: "the data directory cannot be opened; when a server has it, ask that: --server URL, with its token in GRANARY_TOKEN",
                    cause: "\(error)")
            }
            defer { store.close() }
            let disk = try BlobStore(at: directories.blobs, store: store, options: configuration.blobOptions, world: .real, log: log)
            defer { disk.close() }
            let sides = MoveSides(configuration: configuration, directories: directories, index: store, disk: disk, log: log)
            let tally = try await sides.run(direction).tally
            for kind in tally.kinds { print("\(kind.name): \(kind.rows) \(kind.shownDigest)") }
            print("rows: \(tally.rows)")
        }
    }
}

extension RowTally.Kind {
    var shownDigest: String { "sha256:\(digest.hex.prefix(16))" }
}

/// A running server moves its catalog; who asked waits, and says what came of it.
struct AskedMove {
    private static let path = "/api/v1/admin/catalog-move"
    private static let interval = Duration.seconds(1)

    private let configuration: Configuration
    private let server: String

    init(_ configuration: Configuration, of server: String) {
        self.configuration = configuration
        self.server = server
    }

    func run() async throws(RegistryError) {
        guard configuration.databaseURL != nil else { throw Configuration.refused("database_url", "name the database") }
        guard configuration.s3Bucket != nil else {
            throw Configuration.refused("s3_bucket", "a server that runs moves its bytes to a bucket: name it")
        }
        var body: JSON = [:]
        for name in CatalogMoveRequest.settings {
            guard let value = Setting.all.first(where: { $0.name == name })?.show(configuration), !value.isEmpty else { continue }
            body[name] = name == "s3_allow_private" ? .bool(value == "true") : .string(value)
        }
        try await AskedServer.asking(server) { asked async throws(RegistryError) in
            var status = try await asked.ask(.post, AskedMove.path, body)
            var last = ""
            while true {
                let state = status["state"]?.string ?? ""
                if state != last { print("state: \(state)") }
                last = state
                guard status["is_running"]?.bool == true else { break }
                do { try await Task.sleep(for: AskedMove.interval) } catch { break }
                status = try await asked.ask(.get, AskedMove.path, nil)
            }
            try AskedMove.end(status)
        }
    }

    private static func end(_ status: JSON) throws(RegistryError) {
        guard status["state"]?.string == CatalogMoveStatus.State.moved.rawValue else {
            let code = RegistryError.Code.allCases.first { $0.word == status["code"]?.string }
            throw RegistryError(code ?? .internal, subject: .store, reason: status["reason"]?.string ?? "the server moves its catalog no more")
        }
        for kind in status["kinds"]?.array ?? [] {
            print("\(kind["name"]?.string ?? ""): \(kind["rows"]?.int ?? 0) \(kind["digest"]?.string ?? "")")
        }
        print("rows: \(status["rows"]?.int ?? 0)")
        print("moved to \(status["place"]?.string ?? ""): start the server anew with database_url")
    }
}
