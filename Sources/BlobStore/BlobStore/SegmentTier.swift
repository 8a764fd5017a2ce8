public import Core

/// What a tier keeps, by name (docs/internals/tier.md). All but the mark and the owner are immutable: a name never has other bytes.
public enum TierName: Hashable, Sendable, CustomStringConvertible {
    public enum Kind: String, Sendable, CaseIterable {
        case segments, blobs, ends, parts, objects

        /// Its names have a folder in them.
        var hasFolders: Bool { self == .blobs || self == .ends || self == .objects }
    }

    /// Says whose tier this is.
    case mark
    /// Says who works on it.
    case owner
    /// A sealed segment, as on disk.
    case segment(UInt64)
    /// The bytes of a blob that has a file of its own, and nothing else, so that a client can be sent there.
    case blob(BlobID)
    /// What follows the blob's bytes in that file: checksums, and whose they are.
    case end(BlobID)
    /// Some blobs of a segment that is not sealed yet, or not copied: a sealed segment, too, whose records say that they lie in that one.
    case part(of: UInt64, id: EntityID)
    /// What several nodes share (docs/internals/shared-blobs.md): one blob, or a small segment of some.
    case object(EntityID)
    /// Says which registry's objects these are.
    case sharedMark

    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let name: TierName? =
            switch (parts.first, parts.count) {
            case ("segments", 2): Segment.number(ofFile: parts[1]).map { .segment($0) }
            case ("blobs", 3): Hex.decode(parts[2]).flatMap { BlobID(bytes: $0) }.map { .blob($0) }
            case ("ends", 3): Hex.decode(parts[2]).flatMap { BlobID(bytes: $0) }.map { .end($0) }
            case ("parts", 2): TierName(part: parts[1])
            case ("objects", 3): EntityID(parts[2]).map { .object($0) }
            case ("granary.shared", 1): .sharedMark
            case ("granary.tier", 1): .mark
            case ("granary.owner", 1): .owner
            default: nil
            }
        guard let name, name.description == text else { return nil }
        self = name
    }

    private init?(part text: String) {
        // 16 digits, a hyphen, the id, and what every segment's name ends with.
        let number = text.prefix(16)
        guard text.hasSuffix(".segment"), text.dropFirst(16).first == "-", let segment = UInt64(number, radix: 16),
            let id = EntityID(text.dropFirst(17).dropLast(8))
        else { return nil }
        self = .part(of: segment, id: id)
    }

    public var description: String {
        switch self {
        case .mark: "granary.tier"
        case .owner: "granary.owner"
        case .segment(let number): "segments/\(Segment.fileName(number))"
        case .blob(let id): "blobs/\(BlobDirectory.shard(of: id))/\(id.hex)"
        case .part(let segment, let id): "parts/\(Segment.fileName(segment).dropLast(8))-\(id).segment"
        case .end(let id): "ends/\(BlobDirectory.shard(of: id))/\(id.hex)"
        // By what is random in it: what comes at the same time is spread.
        case .object(let id): "objects/\(id.description.suffix(2))/\(id)"
        case .sharedMark: "granary.shared"
        }
    }
}

/// Some of what a tier keeps.
public struct TierPage: Sendable {
    public let objects: [TierObject]
    /// Where to go on; nil at the end.
    public let next: String?
    public init(objects: [TierObject], next: String?) {
        self.objects = objects
        self.next = next
    }
}

public struct TierObject: Sendable, Hashable {
    public let name: TierName
    public let length: Int64
    public init(name: TierName, length: Int64) {
        self.name = name
        self.length = length
    }
}

/// A place besides the local disk where whole sealed segments and large blobs live. The store copies there, reads back what the disk has let go,
/// and deletes what nothing needs; the tier knows nothing of that.
///
/// Errors: `notFound` for what is not there, `upstreamFailed` otherwise, with `retryAfterSeconds` when it may pass by itself.
public protocol SegmentTier: Sendable {
    /// For people.
    var place: String { get }
    /// The bytes are the tier's when this returns, durable and whole. What had the name is replaced. Reads `bytes` on threads of its own.
    func put(_ name: TierName, _ bytes: any RandomAccessBytes) async throws(RegistryError)
    /// Exactly the range, which lies inside. The body fails when it ends early.
    func read(_ name: TierName, _ range: Range<Int64>) async throws(RegistryError) -> Body
    /// nil when there is no such thing.
    func length(of name: TierName) async throws(RegistryError) -> Int64?
    /// What is not there is as good as removed.
    func remove(_ name: TierName) async throws(RegistryError)
    /// In pages; foreign names are left out.
    func list(_ kind: TierName.Kind, page: String?) async throws(RegistryError) -> TierPage
    /// Removes what `put`s begun before then left behind when they failed.
    func removeLeftovers(before time: Timestamp) async throws(RegistryError)
    /// With which anybody can get the bytes by HTTP for so long; nil where there is no such thing.
    func url(of name: TierName, expiresSeconds: Int64, disposition: String, contentType: String) -> String?
}
