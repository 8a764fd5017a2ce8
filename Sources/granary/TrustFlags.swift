import Access
import ArgumentParser
import BlobStore
import Core

/// Which backup somebody believes.
struct TrustFlags: ParsableArguments {
    @Option(help: "Key of the server that made the backup, as granary backup-key says it there; may be given again.") var trust: [String] = []
    @Option(name: .customLong("key"), help: "File with that key, a line of text.") var keyFile: String?
    @Flag(name: .customLong("unsigned"), help: "Take a backup that nobody signed, as those made before there were signatures.") var isUnsigned = false
    @Option(name: .customLong("not-before"), help: "Refuse a backup that was made before this time (RFC 3339).") var notBefore: String?

    /// - Parameter data: a data directory, whose own backups are believed; it need not be there.
    func believed(own data: String) throws(RegistryError) -> BackupTrust {
        var found = BackupTrust(allowsUnsigned: isUnsigned)
        for text in trust { found.keys.insert(try TrustFlags.key(text, "trust")) }
        if let keyFile {
            guard let text = TextFile.read(keyFile) else { throw Configuration.refused("key", "\(keyFile) cannot be read") }
            found.keys.insert(try TrustFlags.key(text.split(whereSeparator: \.isWhitespace).first.map(String.init) ?? "", "key"))
        }
        if KeyFile.exists(Directories.backupKey(in: data)) { found.keys.insert(try Directories(at: data).backupKeys(.real).signer.key) }
        if let notBefore {
            guard let time = Timestamp(rfc3339: notBefore) else {
                throw Configuration.refused("not-before", "a time as 2026-01-31T12:00:00Z, not \(notBefore)")
            }
            found.notBefore = time
        }
        return found
    }

    private static func key(_ text: String, _ option: String) throws(RegistryError) -> BackupKey {
        guard let key = BackupKey(text) else { throw Configuration.refused(option, "ed25519: and 64 hexadecimal digits, not \(text)") }
        return key
    }

    static func warn() {
        TextFile.complain("granary: warning: nobody signed this backup; what is in it, accounts and keys too, is whatever somebody put there\n")
    }
}

/// Says whose signature the backups of a data directory have.
struct ShownKey: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup-key", abstract: "Print the key that restoring a backup of this data directory asks for.",
        discussion: """
            The public half of what signs backups; it is no secret. Keep it away from the backups: by it they are known to be this server's. \
            The other half is made when first needed and is DATA/backup.key. Runs beside a server, too.
            """)
    @OptionGroup var settings: SettingFlags

    func run() async throws {
        let configuration = try settings.load()
        try await Exit.saying { () async throws(RegistryError) in
            try configuration.requireOwnCatalog()
            print("\(try configuration.backupKeys.signer.key)")
        }
    }
}
