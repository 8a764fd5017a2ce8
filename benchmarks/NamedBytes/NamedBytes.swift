public import Core

/// Bytes that are known by a name, and lie nowhere: for changes of a catalog alone.
public final class NamedBytes: StagedBytes {
    public let id: BlobID
    public let size: Int64
    private let row: [UInt8]

    /// - Parameter rowBytes: how long the row is that says where they lie.
    public init(_ name: String, rowBytes: Int = 1) {
        let bytes = Array(name.utf8)
        guard let id = BlobID(Digest.of(.sha256, bytes)) else { preconditionFailure("a SHA-256 names a blob") }
        self.id = id
        size = Int64(bytes.count)
        row = [UInt8](repeating: 1, count: rowBytes)
    }

    public var digests: [Digest] { [id.digest] }
    public var unsynced: [any SyncableFile] { [] }
    public var location: (key: [UInt8], value: [UInt8])? { (id.bytes, row) }
    public func didCommit() {}
    public func content() throws(RegistryError) -> BlobContent {
        throw RegistryError(.unsupported, subject: .blob(id.description), reason: "these bytes are only a name")
    }
}
