/// Where a blob's bytes lie for all nodes that share a bucket: in which object of it, from which byte on; or on the disk of which node until they
/// are there. The value of the blob's row in the database (docs/internals/shared-blobs.md).
public struct SharedLocation: Hashable, Sendable {
    public enum Kind: UInt8, Sendable {
        /// Among other blobs, in a small segment.
        case group = 4
        /// The object is the blob and nothing else: a client can be sent there.
        case whole
        /// In no object yet: one node alone has it.
        case held
    }

    /// Of the rows that say where something lies in a bucket; those of one node's own files have lower ones.
    private static let format: UInt8 = 3
    /// Far beyond any object, and small enough that no sum of offsets overflows.
    private static let lengthMax: Int64 = 1 << 56

    public let kind: Kind
    /// A UUIDv7: when the object was made is in its name. Of a blob that a node holds it names none (`holder`).
    public let object: EntityID
    /// Of the blob's first byte in the object.
    public let offset: Int64
    /// Of the blob.
    public let length: Int64

    public init(_ kind: Kind, in object: EntityID, offset: Int64, length: Int64) {
        self.kind = kind
        self.object = object
        self.offset = offset
        self.length = length
    }

    /// On the disk of a node, which brings it into the bucket.
    public init(heldBy node: UInt16, length: Int64) {
        self.init(.held, in: EntityID(high: 0, low: UInt64(node)), offset: 0, length: length)
    }

    /// The node that alone has the bytes; nil when the bucket has them.
    public var holder: UInt16? { kind == .held ? object.node : nil }

    public var range: Range<Int64> { offset..<offset + length }

    public var encoded: [UInt8] {
        var writer = BinaryWriter(reserving: 34)
        writer.write(SharedLocation.format)
        writer.write(kind.rawValue)
        writer.write(length)
        writer.write(object)
        writer.write(offset)
        return writer.bytes
    }

    /// - Throws: `corrupt` for a row this program did not write.
    public init(_ row: [UInt8]) throws(RegistryError) {
        var reader = BinaryReader(row)
        guard try reader.readUInt8() == SharedLocation.format, let kind = Kind(rawValue: try reader.readUInt8()) else {
            throw BinaryReader.damaged
        }
        self.kind = kind
        length = try reader.readInt64()
        object = try reader.readEntityID()
        offset = try reader.readInt64()
        guard reader.remaining == 0, (0...SharedLocation.lengthMax).contains(length), (0...SharedLocation.lengthMax).contains(offset),
            kind == .group || offset == 0, kind != .held || object.high == 0 && (1...UInt64(UInt16.max)).contains(object.low)
        else { throw BinaryReader.damaged }
    }
}

/// The rows that say where blobs lie in the bucket, as every node of a registry sees them. A row comes with the change that first names its blob
/// (`StagedBytes.location`), and goes when the sweep forgets the blob.
///
/// Every call may fail with `unavailable`.
public protocol SharedLocations: Sendable {
    /// Of the registry's bytes: the bucket carries it, too.
    func sharedStoreID() async throws(RegistryError) -> EntityID
    /// Where the blobs lie, of those that have a row. One journey, however many are asked for (some hundreds).
    func locations(of blobs: [BlobID]) async throws(RegistryError) -> [BlobID: SharedLocation]
    /// The same for those who will name the blobs again: the time of grace of a blob that nothing pins begins anew at `time`, so that its row is
    /// there until then.
    func locations(using blobs: [BlobID], at time: Timestamp) async throws(RegistryError) -> [BlobID: SharedLocation]
    /// In the order of the blobs, at most `limit`. A row that does not decode has no location.
    func locations(after blob: BlobID?, limit: Int) async throws(RegistryError) -> [SharedRow]
    /// The objects that rows name, in the order of their names, at most `limit` after one.
    func objects(after object: EntityID?, limit: Int) async throws(RegistryError) -> [EntityID]
    /// How much of each object is named by rows; an object that none names is left out.
    func life(of objects: [EntityID]) async throws(RegistryError) -> [EntityID: SharedLife]
    /// The rows that name an object, in the order of the blobs, at most `limit` after one.
    func rows(naming object: EntityID, after blob: BlobID?, limit: Int) async throws(RegistryError) -> [SharedRow]
    /// How much of each node's disk is named by rows because the bucket does not have it yet.
    func held() async throws(RegistryError) -> [UInt16: SharedLife]
    /// The rows that name a node's disk, in the order of the blobs, at most `limit` after one.
    func rows(heldBy node: UInt16, after blob: BlobID?, limit: Int) async throws(RegistryError) -> [SharedRow]
    /// The rows say the new places, those of them that still said the old ones.
    /// - Returns: of which blobs.
    func move(_ moves: [SharedMove]) async throws(RegistryError) -> Set<BlobID>
}

public struct SharedRow: Sendable, Hashable {
    public let blob: BlobID
    public let location: SharedLocation?
    public init(blob: BlobID, location: SharedLocation?) {
        self.blob = blob
        self.location = location
    }
}

/// What rows name of an object.
public struct SharedLife: Sendable, Hashable {
    public var blobs: Int64
    public var bytes: Int64
    public init(blobs: Int64, bytes: Int64) {
        self.blobs = blobs
        self.bytes = bytes
    }
}

public struct SharedMove: Sendable, Hashable {
    public let blob: BlobID
    public let from: SharedLocation
    public let to: SharedLocation
    public init(_ blob: BlobID, from: SharedLocation, to: SharedLocation) {
        self.blob = blob
        self.from = from
        self.to = to
    }
}
