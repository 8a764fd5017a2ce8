import ArgumentParser
import BlobStore
import Core
import Logging
import NIOCore
import OrderedStore
import Outbound
import Parsing
import Registry
import RocksCatalog

/// Frees what nothing needs any more, says what it would free, or explains one blob. The data directory is one process's at a time: beside a
/// running server this asks the server (`--server`), without one it opens the directory itself.
struct Sweep: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Free what nothing needs any more.",
        discussion: """
            While a server runs, --server URL asks it over REST; GRANARY_TOKEN holds an administrator's API token. Without --server the data \
            directory is opened by this command, which is refused while a server has it (exit code 75).
            """)
    @OptionGroup var settings: SettingFlags
    @Flag(name: .customLong("dry-run"), help: "Say what would be freed; change nothing.") var isDryRun = false
    @Option(name: .customLong("explain"), help: "Say why this blob (sha256:HEX) lives, or when it goes.") var explained: String?
    @Option(name: .customLong("grace-seconds"), help: "Instead of the setting sweep_grace_minutes.") var graceSeconds: Int64?
    @Option(name: .customLong("server"), help: "URL of the running server.") var server: String?

    func run() async throws {
        let configuration = try settings.load()
        LoggingSystem.bootstrap { label in JSONLines(label: label, level: Logger.Level(rawValue: configuration.logLevel) ?? .info) }
        do throws(RegistryError) {
            if let server { try await ask(server) } else { try await perform(configuration) }
        } catch {
            TextFile.complain("granary: \(error.reason)\n")
            throw ExitCode(error.code == .invalid ? 78 : error.code == .unavailable ? 75 : 1)  // sysexits.h: EX_CONFIG, EX_TEMPFAIL
        }
    }

    // MARK: On the directory itself

    private func perform(_ configuration: Configuration) async throws(RegistryError) {
        try configuration.requireOwnCatalog()
        let log = Logger(label: "granary")
        let directories = try Directories(at: configuration.data)
        let store: OrderedStore
        do throws(RegistryError) {
            store = try OrderedStore(at: directories.index, families: RocksCatalog.families, logger: log)
        } catch {
            guard error.code == .unavailable else { throw error }
            throw RegistryError(
                .unavailable, subject: .store,
                reason: "the data directory cannot be opened; when a server has it, ask that: --server URL, with its token in GRANARY_TOKEN",
                cause: "\(error)")
        }
        defer { store.close() }
        let catalog = try await RocksCatalog(store: store, pool: BlockingPool(threads: 2, name: "worker"), world: .real, logger: log)
        let blobs = try BlobStore(at: directories.blobs, store: store, world: .real, log: log)
        defer { blobs.close() }
        let outbound = try configuration.outboundClient(log)
        defer { outbound.close() }
        try await Tier.attach(to: blobs, configuration, outbound: outbound, log: log)
        var options = configuration.sweepOptions
        options.isDryRun = isDryRun
        options.graceSeconds = graceSeconds ?? options.graceSeconds
        let sweeper = Sweeper(catalog: catalog, blobs: blobs, options: options, world: .real, log: log)
        if let explained {
            let explanation = try await sweeper.explain(try blob(explained))
            Sweep.show([
                ("digest", "\(explanation.blob)"), ("size_bytes", explanation.length.map(String.init) ?? "not stored"),
                ("place", explanation.place ?? "none"), ("is_dying", "\(explanation.isDying)"),
                ("goes_at", explanation.goesAt?.description ?? "never"),
            ])
            for reason in explanation.reasons { print("reason: \(reason)") }
            return
        }
        let report = try await sweeper.sweep(options)
        let tally = report.tally
        Sweep.show([
            ("dry_run", "\(report.isDryRun)"), ("blobs", "\(tally.blobs)"), ("waiting_blobs", "\(tally.waitingBlobs)"),
            ("removed_blobs", "\(tally.removedBlobs)"), ("removed_bytes", "\(tally.removedBytes)"), ("orphans", "\(tally.orphans)"),
            ("segments_removed", "\(tally.segmentsRemoved)"), ("segments_compacted", "\(tally.segmentsCompacted)"),
            ("moved_bytes", "\(tally.movedBytes)"), ("bytes_freed", "\(tally.freedBytes)"), ("damaged_blobs", "\(tally.damagedBlobs)"),
        ])
        if tally.damagedBlobs > 0 {
            throw RegistryError(.corrupt, subject: .store, reason: "damaged blobs were left alone; the log above names them")
        }
    }

    private func blob(_ text: String) throws(RegistryError) -> BlobID {
        guard let blob = Hex.decode(text.hasPrefix("sha256:") ? String(text.dropFirst(7)) : text).flatMap({ BlobID(bytes: $0) }) else {
            throw RegistryError(.invalid, subject: .request, reason: "--explain wants sha256: and 64 hexadecimal digits, not \(text)")
        }
        return blob
    }

    private static func show(_ lines: [(String, String)]) {
        for (name, value) in lines { print("\(name): \(value)") }
    }

    // MARK: By the server

    private func ask(_ server: String) async throws(RegistryError) {
        if let explained { return try await AskedServer.show(.get, "/api/v1/admin/sweep/\(try blob(explained).hex)", of: server) }
        var body: JSON = ["dry_run": .bool(isDryRun)]
        if let graceSeconds { body["grace_seconds"] = JSON(graceSeconds) }
        try await AskedServer.show(.post, "/api/v1/admin/storage-gc", body, of: server)
    }
}
