package import Catalog
package import Core

/// The values of the catalog's rows: a format byte, then fields (docs/internals/catalog.md). Entities among the facts are written by `FactsCoding`.
package enum RowCoding {
    /// The number of the whole family; a store with a greater one is refused.
    package static let storeFormat: UInt32 = 2
    /// The first byte of every value.
    private static let rowFormat: UInt8 = 1

    package static func encode(_ body: (inout BinaryWriter) -> Void) -> [UInt8] {
        var writer = BinaryWriter(reserving: 192)
        writer.write(rowFormat)
        body(&writer)
        return writer.bytes
    }

    package static func decode<Value>(
        _ bytes: [UInt8], _ body: (inout BinaryReader) throws(RegistryError) -> Value
    ) throws(RegistryError) -> Value {
        var reader = BinaryReader(bytes)
        guard try reader.readUInt8() == rowFormat else { throw BinaryReader.damaged }
        let value = try body(&reader)
        guard reader.remaining == 0 else { throw BinaryReader.damaged }
        return value
    }
}

/// An asset with what only the catalog knows of it.
package struct StoredAsset {
    package var asset: Asset
    /// It was put with `overwrite: .never`: deleting it leaves a tombstone.
    package var isRelease: Bool
}

/// A repository with its running totals.
package struct Held: Sendable, Hashable {
    package var repository: Repository
    package var usage: Usage
}

extension BinaryWriter {
    /// Without its revision, which is kept with the totals: a change inside a repository does not rewrite its description.
    mutating func write(_ value: Repository) {
        write(value.id)
        write(value.key.text)
        write(value.name)
        write(value.description) { $0.write($1) }
        write(value.format)
        write(value.kind.rawValue)
        write(value.isPublic)
        write(value.quotaBytes) { $0.write($1) }
        write(value.upstreamURL) { $0.write($1) }
        write(each: value.members) { writer, member in
            writer.write(member.id)
            writer.write(member.repository)
            writer.write(Int64(member.priority))
        }
        write(value.settings)
        write(value.created)
        write(value.updated)
    }

    mutating func write(totals usage: Usage, _ revision: Revision) {
        write(usage.assets)
        write(usage.packages)
        write(usage.bytes)
        write(revision)
        // Absent in stores that never had a trash.
        guard usage.deletions != 0 else { return }
        write(usage.deletions)
        write(usage.trashBytes)
    }

    mutating func write(_ value: StoredAsset) {
        write(value.isRelease)
        write(value.asset)
    }

    /// Without what its key says.
    mutating func write(_ value: Deletion) {
        write(value.actor.name)
        write(value.actor.account) { $0.write($1) }
        write(value.at)
        write(value.requestID)
        write(value.until)
        write(each: value.releases.sorted()) { $0.write($1.text) }
        write(FactsCoding.encode(value.facts))
    }

    mutating func write(_ value: Coordinates) {
        switch value {
        case .repository(let id):
            write(UInt8(0))
            write(id)
        case .package(let id, let package):
            write(UInt8(1))
            write(id)
            write(package.text)
        case .version(let id, let package, let version):
            write(UInt8(2))
            write(id)
            write(package.text)
            write(version.text)
        case .asset(let id, let path):
            write(UInt8(3))
            write(id)
            write(path.text)
        }
    }

    mutating func write(_ value: Verdict) {
        write(value.state.rawValue)
        write(value.inspector)
        write(value.reason)
        write(value.at)
    }

    mutating func write(_ value: LearnedPage) {
        write(value.block)
        write(value.absent)
        write(value.etag) { $0.write($1) }
        write(value.lastModified) { $0.write($1) }
        write(value.fetched)
        write(value.freshUntil)
        write(value.revision)
    }

    mutating func write(_ value: Record) {
        write(value.unique) { $0.write($1) }
        write(value.value)
        write(value.revision)
    }
}

extension BinaryReader {
    package mutating func readRepository() throws(RegistryError) -> Repository {
        let id = try readEntityID()
        let key = try BinaryReader.checked(RepositoryKey(try readString()))
        let name = try readString()
        let description = try readOptionalString()
        let format = try readString()
        let kind = try BinaryReader.checked(Repository.Kind(rawValue: try readString()))
        return Repository(
            id: id, key: key, name: name, description: description, format: format, kind: kind, isPublic: try readBool(),
            quotaBytes: try readOptional { reader throws(RegistryError) in try reader.readInt64() }, upstreamURL: try readOptionalString(),
            members: try readEach { reader throws(RegistryError) in try reader.readMember() }, settings: try readAttributes(),
            created: try readTimestamp(), updated: try readTimestamp())
    }

    private mutating func readMember() throws(RegistryError) -> Repository.Member {
        Repository.Member(
            id: try readEntityID(), repository: try readEntityID(), priority: try BinaryReader.checked(Int32(exactly: try readInt64())))
    }

    package mutating func readTotals() throws(RegistryError) -> (usage: Usage, revision: Revision) {
        var usage = Usage(assets: try readInt64(), packages: try readInt64(), bytes: try readInt64())
        let revision = try readRevision()
        if remaining > 0 {
            usage.deletions = try readInt64()
            usage.trashBytes = try readInt64()
        }
        return (usage, revision)
    }

    package mutating func readStoredAsset() throws(RegistryError) -> StoredAsset {
        let isRelease = try readBool()
        return StoredAsset(asset: try readAsset(), isRelease: isRelease)
    }

    package mutating func readDeletion(_ id: DeletionID) throws(RegistryError) -> Deletion {
        let name = try readString()
        let account = try readOptional { reader throws(RegistryError) in try reader.readEntityID() }
        var deletion = Deletion(
            repository: id.repository, revision: id.revision, actor: Actor(name: name, account: account), at: try readTimestamp(),
            requestID: try readString(), until: try readTimestamp())
        deletion.releases = Set(try readEach { reader throws(RegistryError) in try reader.readAssetPath() })
        deletion.facts = try FactsCoding.decode(try readPrefixed())
        return deletion
    }

    package mutating func readCoordinates() throws(RegistryError) -> Coordinates {
        switch try readUInt8() {
        case 0: .repository(try readEntityID())
        case 1: .package(try readEntityID(), try readPackageName())
        case 2: .version(try readEntityID(), try readPackageName(), try readVersionName())
        case 3: .asset(try readEntityID(), try readAssetPath())
        default: throw BinaryReader.damaged
        }
    }

    package mutating func readVerdict(on blob: BlobID) throws(RegistryError) -> Verdict {
        let state = try BinaryReader.checked(Verdict.State(rawValue: try readUInt8()))
        return Verdict(blob: blob, state: state, inspector: try readString(), reason: try readString(), at: try readTimestamp())
    }

    package mutating func readLearnedPage(_ repository: RepositoryID, view: String) throws(RegistryError) -> LearnedPage {
        let block = try readManifest()
        let absent = try readBool()
        let etag = try readOptionalString()
        let lastModified = try readOptionalString()
        return LearnedPage(
            repository: repository, view: view, block: block, absent: absent, etag: etag, lastModified: lastModified, fetched: try readTimestamp(),
            freshUntil: try readTimestamp(), revision: try readRevision())
    }

    package mutating func readRecord(_ kind: Record.Kind, id: String) throws(RegistryError) -> Record {
        Record(kind: kind, id: id, unique: try readOptionalString(), value: try readPrefixed(), revision: try readRevision())
    }

    package mutating func readOptionalString() throws(RegistryError) -> String? {
        try readOptional { reader throws(RegistryError) in try reader.readString() }
    }
}
