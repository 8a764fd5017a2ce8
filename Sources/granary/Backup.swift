import ArgumentParser
import BlobStore
import Core
import Logging
import Outbound
import Registry

/// Brings a backup up to date: of a stopped server's data directory, or by a running server (`--server`).
struct Backup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Back up a data directory, or have a running server do it.",
        discussion: """
            Without --server the data directory (--data) is opened by this command, which is refused while a server has it (exit code 75). With it \
            the server backs itself up to its backup_directory or backup_s3_bucket; GRANARY_TOKEN holds an administrator's API token. \
            What the backup has already is not copied again. It is signed; granary backup-key says with which key, which restoring asks for.
            """)
    @OptionGroup var settings: SettingFlags
    @Argument(help: "The backup's directory, made when missing, or s3://BUCKET/PREFIX; default: what the settings name.") var place: String?
    @Option(name: .customLong("server"), help: "URL of the running server.") var server: String?

    func validate() throws {
        if server != nil, place != nil { throw ValidationError("a server backs up to where its settings say; name no place here") }
    }

    func run() async throws {
        let configuration = try settings.load()
        LoggingSystem.bootstrap { label in JSONLines(label: label, level: .error) }
        try await Exit.saying { () async throws(RegistryError) in
            if let server { return try await AskedServer.show(.post, "/api/v1/admin/backup", of: server) }
            let log = Logger(label: "granary")
            let outbound = try configuration.outboundClient(log)
            defer { outbound.close() }
            guard let target = try Configuration.backupTarget(place, configuration, outbound, log) else {
                throw Configuration.refused("backup_directory", "name a directory or s3://BUCKET/PREFIX, here or in the settings")
            }
            try await target.check()
            try configuration.requireOwnCatalog()
            let opened = try await OpenedStore(at: configuration.data, isReadOnly: false)
            defer { opened.close() }
            try await Tier.attach(to: opened.blobs, configuration, outbound: outbound, log: log)
            let sweeper = Sweeper(catalog: opened.catalog, blobs: opened.blobs, options: SweepOptions(), world: .real, log: log)
            let report = try await sweeper.backUp(to: target, keys: try configuration.backupKeys)
            print("revision: \(report.revision)\nkey: \(report.key)")
            Exit.show(report.tally)
        }
    }
}

/// How commands on a data directory end.
enum Exit {
    static func saying(_ work: () async throws(RegistryError) -> Void) async throws {
        let failure: RegistryError
        do throws(RegistryError) { return try await work() } catch { failure = error }
        TextFile.complain("granary: \(failure.reason)\(failure.cause.map { " (\($0))" } ?? "")\n")
        throw ExitCode(code(for: failure))
    }

    /// sysexits.h where it has one.
    static func code(for error: RegistryError) -> Int32 {
        switch error.code {
        case .invalid: 78
        case .notFound: 66
        case .unavailable: 75
        case .forbidden: 77
        case .corrupt: 3
        default: 1
        }
    }

    static func show(_ tally: BackupTally) {
        print("copied_files: \(tally.copiedFiles)\ncopied_bytes: \(tally.copiedBytes)")
        print("skipped_files: \(tally.skippedFiles)\nremoved_files: \(tally.removedFiles)")
        if tally.damagedFiles > 0 { print("damaged_files: \(tally.damagedFiles)") }
    }
}
