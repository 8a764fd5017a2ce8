public import Core
import Crypto

// Who made a backup. What a server signs its backups with (Ed25519, RFC 8032) is never in one of them: whoever can write to where backups lie could
// else sign others. The public half is what its operator takes along, and says when restoring (docs/backup.md).

/// The public half of what a server signs its backups with.
public struct BackupKey: Sendable, Hashable, CustomStringConvertible {
    private static let prefix = "ed25519:"
    private let key: [UInt8]

    fileprivate init(_ key: Curve25519.Signing.PublicKey) { self.key = Array(key.rawRepresentation) }

    /// `ed25519:` and 64 hexadecimal digits; nil for anything else.
    public init?(_ text: some StringProtocol) {
        guard text.hasPrefix(BackupKey.prefix), let bytes = Hex.decode(text.dropFirst(BackupKey.prefix.utf8.count)),
            (try? Curve25519.Signing.PublicKey(rawRepresentation: bytes)) != nil
        else { return nil }
        key = bytes
    }

    public var description: String { BackupKey.prefix + Hex.encode(key) }

    func holds(_ signature: [UInt8], for bytes: [UInt8]) -> Bool {
        guard let key = try? Curve25519.Signing.PublicKey(rawRepresentation: key) else { return false }
        return key.isValidSignature(signature, for: bytes)
    }
}

/// What a server signs its backups with.
public struct BackupSigner: Sendable {
    public static let seedBytes = 32
    static let signatureBytes = 64
    private let secret: Curve25519.Signing.PrivateKey

    /// - Throws: `invalid` unless the seed has 32 bytes.
    public init(seed: [UInt8]) throws(RegistryError) {
        do { secret = try Curve25519.Signing.PrivateKey(rawRepresentation: seed) } catch {
            throw RegistryError(
                .invalid, subject: .configuration("backup key"), reason: "the key that signs backups has \(BackupSigner.seedBytes) bytes")
        }
    }

    public var key: BackupKey { BackupKey(secret.publicKey) }

    func sign(_ bytes: [UInt8]) throws(RegistryError) -> [UInt8] {
        do { return Array(try secret.signature(for: bytes)) } catch {
            throw RegistryError(.internal, subject: .store, reason: "the backup could not be signed", cause: "\(error)")
        }
    }
}

/// What a backup has of a server's keys, and what signs it.
public struct BackupKeys: Sendable {
    /// What opens what is sealed in the catalog. Nothing else that a server keeps secret: what signs sessions can be made anew.
    public static let kept: Set<String> = ["seal"]

    public let directory: String
    public let signer: BackupSigner

    public init(directory: String, signer: BackupSigner) {
        self.directory = directory
        self.signer = signer
    }

    /// Names of files in the directory that go with a backup. Blocks.
    func names() throws(RegistryError) -> [String] { try Disk.names(in: directory).filter(BackupKeys.kept.contains) }
}

/// Which backups somebody believes.
public struct BackupTrust: Sendable {
    public var keys: Set<BackupKey>
    public var allowsUnsigned: Bool
    /// What was made earlier may be an old one put in the place of a newer.
    public var notBefore: Timestamp?

    public init(keys: Set<BackupKey> = [], allowsUnsigned: Bool = false, notBefore: Timestamp? = nil) {
        self.keys = keys
        self.allowsUnsigned = allowsUnsigned
        self.notBefore = notBefore
    }

    /// - Throws: `forbidden`, in words, for a backup that is not believed.
    public func check(_ manifest: BackupManifest) throws(RegistryError) {
        if let key = manifest.key {
            guard keys.contains(key) else {
                throw BackupTrust.refused(
                    "the backup is signed by \(key), which you did not name: if that is your server's (granary backup-key says it there), --trust it")
            }
        } else if !allowsUnsigned {
            throw BackupTrust.refused("the backup is not signed, so anybody may have made it: --unsigned takes it all the same")
        }
        if let notBefore {
            guard let made = Timestamp(rfc3339: manifest.made), made >= notBefore else {
                throw BackupTrust.refused("the backup was made at \(manifest.made), before \(notBefore)")
            }
        }
    }

    static func refused(_ reason: String) -> RegistryError { RegistryError(.forbidden, subject: .store, reason: reason) }
}
