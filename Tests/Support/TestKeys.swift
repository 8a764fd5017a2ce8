public import BlobStore
public import Core

extension BackupSigner {
    /// The same for the same number.
    public static func test(_ number: UInt8 = 7) throws(RegistryError) -> BackupSigner {
        try BackupSigner(seed: [UInt8](repeating: number, count: BackupSigner.seedBytes))
    }
}

extension BackupKeys {
    /// Of a directory, which need not be there.
    public static func test(_ directory: String, _ number: UInt8 = 7) throws(RegistryError) -> BackupKeys {
        BackupKeys(directory: directory, signer: try .test(number))
    }
}

extension BackupTrust {
    /// Believes what `BackupSigner.test` of the same number signed.
    public static func test(_ number: UInt8 = 7) throws(RegistryError) -> BackupTrust { BackupTrust(keys: [try BackupSigner.test(number).key]) }
}
