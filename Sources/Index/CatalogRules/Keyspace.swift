package import Catalog
package import Core

/// Every key of the catalog's family: the one place that encodes and decodes them. Byte order is the query plan (docs/internals/catalog.md).
///
/// A key is a tag byte and its parts: ids and blobs in their fixed width, revisions big-endian, texts escaped and closed so that no text is
/// the beginning of another's key and keys sort as their texts do.
package enum Keyspace: Hashable {
    /// The format number of the whole family.
    case format
    /// The newest revision.
    case head
    /// The oldest revision the log still has.
    case logStart
    /// The rows are being moved here, or were moved elsewhere.
    case move
    case repository(RepositoryID)
    case repositoryKey(String)
    case totals(RepositoryID)
    case package(RepositoryID, String)
    case version(RepositoryID, String, String)
    case tag(RepositoryID, String, String)
    case link(RepositoryID, String, relation: String, target: String, version: String)
    /// Finds a version's links.
    case versionLink(RepositoryID, String, version: String, relation: String, target: String)
    case asset(RepositoryID, String)
    /// Finds a package's and a version's assets; the version is empty when the asset has none.
    case packageAsset(RepositoryID, String, version: String, path: String)
    case tombstone(RepositoryID, String)
    case learned(RepositoryID, String)
    case entity(EntityID)
    case pin(Pin)
    case verdicts(BlobID)
    case record(UInt8, String)
    case recordUnique(UInt8, String)
    case log(Revision)
    /// A deleted repository whose rows are still being cleared away.
    case grave(RepositoryID)
    /// When the blob's last pin went. Gone as soon as something pins it again.
    case unpinned(BlobID)
    /// What a change deleted and can be restored.
    case deletion(DeletionID)
    /// Finds deletions whose time is over.
    case deletionEnd(Timestamp, DeletionID)

    /// What a key begins with. Numbers are never reused.
    package enum Tag: UInt8, CaseIterable {
        case meta = 1
        case repository, repositoryKey, totals, package, version, tag, link, versionLink, asset, packageAsset, tombstone, learned, entity, pin,
            verdicts
        case record, recordUnique, log, grave, unpinned, deletion, deletionEnd

        /// The rows that a repository owns and that are found by its id: cleared by range when it is deleted.
        package static let ownedByRepository: [Tag] = [.package, .version, .tag, .link, .versionLink, .asset, .packageAsset, .tombstone, .learned]
    }

    package var bytes: [UInt8] {
        switch self {
        case .format: Key(.meta).byte(0).bytes
        case .head: Key(.meta).byte(1).bytes
        case .logStart: Key(.meta).byte(2).bytes
        case .move: Key(.meta).byte(3).bytes
        case .repository(let id): Key(.repository).id(id).bytes
        case .repositoryKey(let key): Key(.repositoryKey).text(key).bytes
        case .totals(let id): Key(.totals).id(id).bytes
        case .package(let id, let package): Key(.package).id(id).text(package).bytes
        case .version(let id, let package, let version): Key(.version).id(id).text(package).text(version).bytes
        case .tag(let id, let package, let tag): Key(.tag).id(id).text(package).text(tag).bytes
        case .link(let id, let package, let relation, let target, let version):
            Key(.link).id(id).text(package).text(relation).text(target).text(version).bytes
        case .versionLink(let id, let package, let version, let relation, let target):
            Key(.versionLink).id(id).text(package).text(version).text(relation).text(target).bytes
        case .asset(let id, let path): Key(.asset).id(id).text(path).bytes
        case .packageAsset(let id, let package, let version, let path):
            Key(.packageAsset).id(id).text(package).text(version).text(path).bytes
        case .tombstone(let id, let path): Key(.tombstone).id(id).text(path).bytes
        case .learned(let id, let view): Key(.learned).id(id).text(view).bytes
        case .entity(let id): Key(.entity).id(id).bytes
        case .pin(let pin): Keyspace.bytes(of: pin)
        case .verdicts(let blob): Key(.verdicts).blob(blob).bytes
        case .record(let kind, let id): Key(.record).byte(kind).text(id).bytes
        case .recordUnique(let kind, let unique): Key(.recordUnique).byte(kind).text(unique).bytes
        case .log(let revision): Key(.log).number(revision.number).bytes
        case .grave(let id): Key(.grave).id(id).bytes
        case .unpinned(let blob): Key(.unpinned).blob(blob).bytes
        case .deletion(let id): Key(.deletion).deletion(id).bytes
        case .deletionEnd(let time, let id): Key(.deletionEnd).time(time).deletion(id).bytes
        }
    }

    private static func bytes(of pin: Pin) -> [UInt8] {
        let key = Key(.pin).blob(pin.blob)
        return switch pin.reason {
        case .asset(let id, let path): key.byte(1).id(id).text(path.text).bytes
        case .manifest(let id, let package, let version): key.byte(2).id(id).text(package.text).text(version.text).bytes
        case .learned(let id, let view): key.byte(3).id(id).text(view).bytes
        case .trash(let id): key.byte(4).deletion(id).bytes
        }
    }

    /// - Throws: `corrupt` unless the bytes are exactly one key.
    package init(_ bytes: [UInt8]) throws(RegistryError) {
        var key = try KeyReader(bytes)
        self = try Keyspace.read(from: &key)
        try key.end()
    }

    private static func read(from key: inout KeyReader) throws(RegistryError) -> Keyspace {
        switch key.tag {
        case .meta:
            switch try key.byte() {
            case 0: .format
            case 1: .head
            case 2: .logStart
            case 3: .move
            default: throw BinaryReader.damaged
            }
        case .repository: .repository(try key.id())
        case .repositoryKey: .repositoryKey(try key.text())
        case .totals: .totals(try key.id())
        case .package: .package(try key.id(), try key.text())
        case .version: .version(try key.id(), try key.text(), try key.text())
        case .tag: .tag(try key.id(), try key.text(), try key.text())
        case .link: .link(try key.id(), try key.text(), relation: try key.text(), target: try key.text(), version: try key.text())
        case .versionLink:
            .versionLink(try key.id(), try key.text(), version: try key.text(), relation: try key.text(), target: try key.text())
        case .asset: .asset(try key.id(), try key.text())
        case .packageAsset: .packageAsset(try key.id(), try key.text(), version: try key.text(), path: try key.text())
        case .tombstone: .tombstone(try key.id(), try key.text())
        case .learned: .learned(try key.id(), try key.text())
        case .entity: .entity(try key.id())
        case .pin: .pin(try pin(from: &key))
        case .verdicts: .verdicts(try key.blob())
        case .record: .record(try key.byte(), try key.text())
        case .recordUnique: .recordUnique(try key.byte(), try key.text())
        case .log: .log(Revision(try key.number()))
        case .grave: .grave(try key.id())
        case .unpinned: .unpinned(try key.blob())
        case .deletion: .deletion(try key.deletion())
        case .deletionEnd: .deletionEnd(try key.time(), try key.deletion())
        }
    }

    private static func pin(from key: inout KeyReader) throws(RegistryError) -> Pin {
        let blob = try key.blob()
        switch try key.byte() {
        case 1: return Pin(blob: blob, reason: .asset(try key.id(), try BinaryReader.checked(AssetPath(try key.text()))))
        case 2:
            let (id, package, version) = (try key.id(), PackageName(try key.text()), VersionName(try key.text()))
            return Pin(blob: blob, reason: .manifest(id, try BinaryReader.checked(package), try BinaryReader.checked(version)))
        case 3: return Pin(blob: blob, reason: .learned(try key.id(), view: try key.text()))
        case 4: return Pin(blob: blob, reason: .trash(try key.deletion()))
        default: throw BinaryReader.damaged
        }
    }
}

/// A key, or the beginning of one, as it is put together.
package struct Key {
    package private(set) var bytes: [UInt8]

    package init(_ tag: Keyspace.Tag) {
        bytes = []
        bytes.reserveCapacity(64)
        bytes.append(tag.rawValue)
    }

    package func byte(_ value: UInt8) -> Key { adding { $0.append(value) } }
    package func id(_ value: EntityID) -> Key { number(value.high).number(value.low) }
    package func blob(_ value: BlobID) -> Key { adding { $0 += value.bytes } }
    package func deletion(_ value: DeletionID) -> Key { id(value.repository).number(value.revision.number) }
    /// Times before 1970 come after all others.
    package func time(_ value: Timestamp) -> Key { number(UInt64(bitPattern: value.milliseconds)) }
    package func number(_ value: UInt64) -> Key {
        adding { bytes in
            for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift))) }
        }
    }

    /// A whole text: a zero inside becomes `00 FF`, and `00 01` closes it, so that no closed text begins another.
    package func text(_ value: String) -> Key { opening(value).byte(0).byte(1) }

    /// The beginning of a text: what all texts that begin with `value` share.
    package func opening(_ value: String) -> Key {
        adding { bytes in
            for byte in value.utf8 {
                bytes.append(byte)
                if byte == 0 { bytes.append(0xFF) }
            }
        }
    }

    private func adding(_ body: (inout [UInt8]) -> Void) -> Key {
        var key = self
        body(&key.bytes)
        return key
    }
}

/// Takes a key apart. A part that is missing or damaged is `corrupt`.
private struct KeyReader {
    let tag: Keyspace.Tag
    private let bytes: [UInt8]
    private var at = 1

    init(_ bytes: [UInt8]) throws(RegistryError) {
        tag = try BinaryReader.checked(bytes.first.flatMap(Keyspace.Tag.init(rawValue:)))
        self.bytes = bytes
    }

    func end() throws(RegistryError) {
        guard at == bytes.count else { throw BinaryReader.damaged }
    }

    private mutating func take(_ count: Int) throws(RegistryError) -> ArraySlice<UInt8> {
        guard count <= bytes.count - at else { throw BinaryReader.damaged }
        defer { at += count }
        return bytes[at..<at + count]
    }

    mutating func byte() throws(RegistryError) -> UInt8 { try take(1).reduce(0) { $1 | $0 } }
    mutating func number() throws(RegistryError) -> UInt64 { try take(8).reduce(0) { $0 << 8 | UInt64($1) } }
    mutating func id() throws(RegistryError) -> EntityID { EntityID(high: try number(), low: try number()) }
    mutating func deletion() throws(RegistryError) -> DeletionID { DeletionID(try id(), Revision(try number())) }
    mutating func time() throws(RegistryError) -> Timestamp { Timestamp(milliseconds: Int64(bitPattern: try number())) }
    mutating func blob() throws(RegistryError) -> BlobID { try BinaryReader.checked(BlobID(bytes: try take(32))) }

    mutating func text() throws(RegistryError) -> String {
        var text: [UInt8] = []
        while true {
            let byte = try byte()
            if byte != 0 {
                text.append(byte)
                continue
            }
            switch try self.byte() {
            case 0xFF: text.append(0)
            case 0x01: return try BinaryReader.checked(String(validating: text, as: UTF8.self))
            default: throw BinaryReader.damaged
            }
        }
    }
}
