/// `Facts` as bytes: what a remote repository has learned from one upstream document, and the rows of the catalog.
///
/// A block is a format byte, the revision, then packages, versions, assets, tags, links and listed files, each a count and its rows. Dictionaries are
/// written in byte order of their keys, so that equal facts are equal bytes.
public enum FactsCoding {
    /// The first byte of every block; another one is refused.
    public static let format: UInt8 = 1

    public static func encode(_ facts: Facts) -> [UInt8] {
        var writer = BinaryWriter(reserving: 256 + 256 * (facts.versions.count + facts.assets.count))
        writer.write(format)
        writer.write(facts.revision)
        writer.write(each: facts.packages) { $0.write($1) }
        writer.write(each: facts.versions) { $0.write($1) }
        writer.write(each: facts.assets) { $0.write($1) }
        writer.write(each: facts.tags) { $0.write($1) }
        writer.write(each: facts.links) { $0.write($1) }
        writer.write(each: facts.listed) { $0.write($1) }
        return writer.bytes
    }

    /// - Throws: `corrupt` unless the bytes are exactly one block.
    public static func decode(_ bytes: [UInt8]) throws(RegistryError) -> Facts {
        var reader = BinaryReader(bytes)
        guard try reader.readUInt8() == format else { throw BinaryReader.damaged }
        var facts = Facts()
        facts.revision = try reader.readRevision()
        facts.packages = try reader.readEach { reader throws(RegistryError) in try reader.readPackage() }
        facts.versions = try reader.readEach { reader throws(RegistryError) in try reader.readVersion() }
        facts.assets = try reader.readEach { reader throws(RegistryError) in try reader.readAsset() }
        facts.tags = try reader.readEach { reader throws(RegistryError) in try reader.readTag() }
        facts.links = try reader.readEach { reader throws(RegistryError) in try reader.readLink() }
        facts.listed = try reader.readEach { reader throws(RegistryError) in try reader.readListedFile() }
        guard reader.remaining == 0 else { throw BinaryReader.damaged }
        return facts
    }
}

extension BinaryWriter {
    public mutating func write(_ value: Revision) { write(value.number) }

    public mutating func write(_ value: [String: String]) {
        write(each: value.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) { writer, pair in
            writer.write(pair.key)
            writer.write(pair.value)
        }
    }

    public mutating func write(_ value: Package) {
        write(value.id)
        write(value.name.text)
        write(value.displayName) { $0.write($1) }
        write(value.attributes)
        write(value.created)
        write(value.revision)
    }

    public mutating func write(_ value: Manifest) {
        switch value {
        case .none:
            write(UInt8(0))
        case .inline(let bytes, let mediaType):
            write(UInt8(1))
            write(bytes)
            write(mediaType)
        case .blob(let blob, let size, let mediaType):
            write(UInt8(2))
            write(blob)
            write(size)
            write(mediaType)
        }
    }

    public mutating func write(_ value: Version) {
        write(value.id)
        write(value.package.text)
        write(value.name.text)
        switch value.state {
        case .active:
            write(UInt8(0))
        case .yanked(let reason):
            write(UInt8(1))
            write(reason)
        case .deprecated(let reason):
            write(UInt8(2))
            write(reason)
        }
        write(value.manifest)
        write(value.attributes)
        write(value.created)
        write(value.creator)
        write(value.revision)
    }

    private mutating func write(_ value: [Digest]) {
        write(each: value) { writer, digest in
            writer.write(FactsCoding.code(of: digest.algorithm))
            writer.write(digest.bytes)
        }
    }

    public mutating func write(_ value: Asset) {
        write(value.id)
        write(value.path.text)
        write(value.blob)
        write(value.size)
        write(value.digests)
        write(value.contentType)
        write(value.package) { $0.write($1.text) }
        write(value.version) { $0.write($1.text) }
        write(value.attributes)
        write(value.created)
        write(value.creator)
        write(value.revision)
    }

    public mutating func write(_ value: Tag) {
        write(value.package.text)
        write(value.name.text)
        write(value.version.text)
        write(value.updated)
        write(value.revision)
    }

    public mutating func write(_ value: Link) {
        write(value.relation)
        write(value.target)
        write(value.package.text)
        write(value.version.text)
        write(value.payload)
    }

    public mutating func write(_ value: ListedFile) {
        write(value.path.text)
        write(value.url)
        write(value.digests)
        write(value.size) { $0.write($1) }
        write(value.package.text)
        write(value.version) { $0.write($1.text) }
        write(value.attributes)
        write(value.uploaded) { $0.write($1) }
    }
}

extension BinaryReader {
    public mutating func readRevision() throws(RegistryError) -> Revision { Revision(try readUInt64()) }

    public mutating func readPackageName() throws(RegistryError) -> PackageName { try BinaryReader.checked(PackageName(try readString())) }
    public mutating func readVersionName() throws(RegistryError) -> VersionName { try BinaryReader.checked(VersionName(try readString())) }
    public mutating func readTagName() throws(RegistryError) -> TagName { try BinaryReader.checked(TagName(try readString())) }
    public mutating func readAssetPath() throws(RegistryError) -> AssetPath { try BinaryReader.checked(AssetPath(try readString())) }

    public mutating func readAttributes() throws(RegistryError) -> [String: String] {
        var attributes: [String: String] = [:]
        for _ in 0..<(try readCount()) {
            let key = try readString()
            attributes[key] = try readString()
        }
        return attributes
    }

    public mutating func readPackage() throws(RegistryError) -> Package {
        Package(
            id: try readEntityID(), name: try readPackageName(),
            displayName: try readOptional { reader throws(RegistryError) in try reader.readString() }, attributes: try readAttributes(),
            created: try readTimestamp(), revision: try readRevision())
    }

    public mutating func readManifest() throws(RegistryError) -> Manifest {
        switch try readUInt8() {
        case 0: .none
        case 1: .inline(try readPrefixed(), mediaType: try readString())
        case 2: .blob(try readBlobID(), size: try readInt64(), mediaType: try readString())
        default: throw BinaryReader.damaged
        }
    }

    public mutating func readVersion() throws(RegistryError) -> Version {
        Version(
            id: try readEntityID(), package: try readPackageName(), name: try readVersionName(), state: try readState(),
            manifest: try readManifest(), attributes: try readAttributes(), created: try readTimestamp(), creator: try readString(),
            revision: try readRevision())
    }

    private mutating func readState() throws(RegistryError) -> Version.State {
        switch try readUInt8() {
        case 0: .active
        case 1: .yanked(reason: try readString())
        case 2: .deprecated(reason: try readString())
        default: throw BinaryReader.damaged
        }
    }

    public mutating func readAsset() throws(RegistryError) -> Asset {
        Asset(
            id: try readEntityID(), path: try readAssetPath(), blob: try readBlobID(), size: try readInt64(),
            digests: try readDigests(), contentType: try readString(),
            package: try readOptional { reader throws(RegistryError) in try reader.readPackageName() },
            version: try readOptional { reader throws(RegistryError) in try reader.readVersionName() }, attributes: try readAttributes(),
            created: try readTimestamp(), creator: try readString(), revision: try readRevision())
    }

    private mutating func readDigests() throws(RegistryError) -> [Digest] {
        try readEach { reader throws(RegistryError) in try reader.readDigest() }
    }

    private mutating func readDigest() throws(RegistryError) -> Digest {
        let algorithm = try FactsCoding.algorithm(of: try readUInt8())
        return try BinaryReader.checked(Digest(algorithm, bytes: try readPrefixed()))
    }

    public mutating func readTag() throws(RegistryError) -> Tag {
        Tag(
            package: try readPackageName(), name: try readTagName(), version: try readVersionName(), updated: try readTimestamp(),
            revision: try readRevision())
    }

    public mutating func readLink() throws(RegistryError) -> Link {
        Link(
            relation: try readString(), target: try readString(), package: try readPackageName(), version: try readVersionName(),
            payload: try readPrefixed())
    }

    public mutating func readListedFile() throws(RegistryError) -> ListedFile {
        ListedFile(
            path: try readAssetPath(), url: try readString(), digests: try readDigests(),
            size: try readOptional { reader throws(RegistryError) in try reader.readInt64() }, package: try readPackageName(),
            version: try readOptional { reader throws(RegistryError) in try reader.readVersionName() }, attributes: try readAttributes(),
            uploaded: try readOptional { reader throws(RegistryError) in try reader.readTimestamp() })
    }

    /// What was parsed, or `corrupt`: a name that was valid when written must be valid when read.
    public static func checked<Value>(_ value: Value?) throws(RegistryError) -> Value {
        guard let value else { throw damaged }
        return value
    }
}

extension FactsCoding {
    fileprivate static func code(of algorithm: DigestAlgorithm) -> UInt8 {
        switch algorithm {
        case .sha256: 1
        case .sha512: 2
        case .sha1: 3
        case .md5: 4
        }
    }

    fileprivate static func algorithm(of code: UInt8) throws(RegistryError) -> DigestAlgorithm {
        switch code {
        case 1: .sha256
        case 2: .sha512
        case 3: .sha1
        case 4: .md5
        default: throw BinaryReader.damaged
        }
    }
}
