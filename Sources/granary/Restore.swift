import Access
import ArgumentParser
import Audit
import BlobStore
import Catalog
import Core
import Logging
import OrderedStore
import Outbound
import Registry
import RocksCatalog
import Synchronization

/// Makes a data directory of a backup, and reads all of it.
struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a data directory of a backup, and check every byte of it.",
        discussion: """
            A backup is taken when it is signed by a key that --trust or --key names (granary backup-key says it where the backup was made), or by \
            the one of DATA/backup.key. Without --credentials it is only looked at: who made it when, who is an administrator in it, which keys it \
            brings. With keep these come back, with reset nobody gets in by what is in it. Sessions end in any case.

            Exit codes: 0 restored and whole; 3 damaged: not restored, or with --salvage restored without what is damaged (granary fsck says what is \
            missing); 66 no complete backup; 77 not restored, since it is not to be believed, or --credentials was not said; 1 failed.
            """)

    enum Credentials: String, ExpressibleByArgument, CaseIterable { case keep, reset }

    @OptionGroup var settings: SettingFlags
    @OptionGroup var trust: TrustFlags
    @Argument(help: "The backup's directory, or s3://BUCKET/PREFIX; default: what the settings name.") var backup: String?
    @Option(
        help: """
            keep: accounts, passwords, API tokens and the sealing key come back. reset: they do not; the account admin is made anew at the next start.
            """)
    var credentials: Credentials?
    @Flag(name: .customLong("salvage"), help: "Of a damaged backup take what is whole.") var isSalvaging = false

    func run() async throws {
        let configuration = try settings.load()
        LoggingSystem.bootstrap { label in JSONLines(label: label, level: .error) }
        try await Exit.saying { () async throws(RegistryError) in
            try configuration.requireOwnCatalog()
            let log = Logger(label: "granary")
            let outbound = try configuration.outboundClient(log)
            defer { outbound.close() }
            guard let target = try Configuration.backupTarget(backup, configuration, outbound, log) else {
                throw Configuration.refused("backup_directory", "name the backup: a directory or s3://BUCKET/PREFIX")
            }
            let restore = try await BackupRestore(of: target, trusting: try trust.believed(own: configuration.data), to: configuration.data)
            let damaged: [String]
            do throws(RegistryError) { damaged = try await take(restore, from: target, log) } catch {
                await restore.abandon()
                throw error
            }
            Exit.show(restore.tally)
            for file in damaged { print("damaged: \(file)") }
            try await Restore.check(configuration.data, isSalvaging: isSalvaging)
        }
    }

    // MARK: Taking

    /// - Returns: files that were damaged, where that was not refused.
    private func take(_ restore: BackupRestore, from target: BackupTarget, _ log: Logger) async throws(RegistryError) -> [String] {
        let manifest = restore.manifest
        print("made: \(manifest.made)\nrevision: \(manifest.revision)\nsigned_by: \(manifest.key.map { "\($0)" } ?? "nobody")")
        if let directory = manifest.directory { print("data_directory: \(directory)") }
        if manifest.key == nil { TrustFlags.warn() }
        try await restore.takeIndex()
        let index = try await RestoredIndex(at: restore.indexPath, log)
        defer { index.close() }
        for user in try await index.accounts.administrators() {
            print("administrator: \(user.username)\(user.isActive ? "" : " (switched off)")")
        }
        print("api_tokens: \(try await index.accounts.tokenCount())\nkeys: \(restore.keys.joined(separator: " "))")
        guard let credentials else {
            throw RegistryError(
                .forbidden, subject: .store,
                reason: """
                    nothing was restored: say --credentials keep when these administrators, tokens and keys are to come back, or --credentials reset \
                    when nobody is to get in by them
                    """)
        }
        if credentials == .keep { try await restore.takeKeys() }
        let damaged = try await restore.takeStore(salvaging: isSalvaging)
        try await index.settle(credentials, from: target, manifest, damaged: damaged.count)
        index.close()
        try await restore.finish()
        return damaged
    }

    // MARK: Checking

    private static func check(_ data: String, isSalvaging: Bool) async throws(RegistryError) {
        let lost = Mutex<Set<BlobID>>([])
        var (damages, audit) = (0, "whole")
        do {
            let opened = try await OpenedStore(at: data, isReadOnly: true)
            defer { opened.close() }
            var options = CheckOptions()
            options.readPercent = 100
            let check = StoreCheck(catalog: opened.catalog, blobs: opened.blobs, options: options) { found in
                guard found.finding.kind.isDamage else { return }
                Fsck.show(found, asJSON: false)
                if let blob = found.finding.blob, found.finding.kind != .dangling { lost.withLock { _ = $0.insert(blob) } }
            } keep: { _ in
            }
            let progress = try await check.run(from: CheckProgress())
            do throws(RegistryError) { audit = "\(try AuditTrail.verify(try opened.store.snapshot()).last)" } catch {
                damages += 1
                audit = error.reason
            }
            damages += progress.damages
            print("read_blobs: \(progress.readBlobs)\nread_bytes: \(progress.readBytes)\nnames: \(progress.names)")
            print("audit: \(audit)\ndamages: \(damages)")
        }
        guard damages > 0 else { return }
        if isSalvaging { try await forget(lost.withLock { $0 }, in: data) }
        throw RegistryError(.corrupt, subject: .store, reason: "what was restored is damaged: \(damages) times, as listed above")
    }

    /// Bytes that are not what their name says are given to nobody.
    private static func forget(_ lost: Set<BlobID>, in data: String) async throws(RegistryError) {
        let store = try OrderedStore(at: "\(data)/index", families: RocksCatalog.families, logger: Logger(label: "granary"))
        defer { store.close() }
        try await store.commit { batch throws(RegistryError) in
            for blob in lost { batch.delete(blob.bytes, in: .blobLocations) }
        }
        print("forgotten_blobs: \(lost.count)")
    }
}

/// The catalog and the audit log of a backup, before they are a store's.
private final class RestoredIndex: Sendable {
    private let store: OrderedStore
    private let audit: AuditTrail
    let accounts: RestoredAccounts

    init(at path: String, _ log: Logger) async throws(RegistryError) {
        let pool = BlockingPool(threads: 2, name: "worker")
        store = try OrderedStore(at: path, families: RocksCatalog.families, logger: log)
        audit = AuditTrail(in: PooledStore(store, pool: pool), world: .real, log: log)
        accounts = RestoredAccounts(in: try await RocksCatalog(store: store, pool: pool, world: .real, logger: log), world: .real)
    }

    /// That it was restored, and how, is in the audit log no later than what follows from it.
    func settle(
        _ credentials: Restore.Credentials, from target: BackupTarget, _ manifest: BackupManifest, damaged: Int
    ) async throws(RegistryError) {
        let place =
            switch target {
            case .directory(let path): path
            case .shelf(let shelf): shelf.place
            }
        let who = manifest.key.map { "signed by \($0)" } ?? "signed by nobody"
        var detail = "made \(manifest.made), revision \(manifest.revision), \(who), credentials \(credentials.rawValue)"
        if damaged > 0 { detail += ", salvaged with \(damaged) damaged files" }
        try audit.keep(.restored(from: place, detail, at: World.real.now()))
        switch credentials {
        case .keep: try await accounts.endSessions()
        case .reset: try await accounts.reset()
        }
    }

    func close() { store.close() }
}
