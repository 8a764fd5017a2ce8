import Catalog
import CatalogRules
import Core
import PostgresClient

/// What stands beside a row's document, for people to read and to query by. Nothing reads it back, except where an index is made of it.
struct ShownColumns {
    private var columns: [(name: String, value: Value)] = []

    static func of(_ key: Keyspace, _ document: [UInt8]) throws(RegistryError) -> [(name: String, value: Value)] {
        var shown = ShownColumns()
        switch key {
        case .head, .logStart, .format: shown.add(number: try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readUInt64() })
        case .move: shown.add(number: 0)
        case .repository: shown.add(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readRepository() })
        case .repositoryKey:
            shown.add("repository_id", .id(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readEntityID() }))
        case .totals: shown.add(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readTotals() })
        case .package: shown.add(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readPackage() })
        case .version: shown.add(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readVersion() })
        case .tag: shown.add(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readTag() })
        case .asset: try shown.add(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readStoredAsset() })
        case .tombstone:
            shown.add("sha256", .bytes(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readBlobID() }.bytes))
        case .learned(let id, let view):
            shown.add(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readLearnedPage(id, view: view) })
        case .entity:
            let coordinates = try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readCoordinates() }
            shown.add("repository_id", .id(coordinates.repository))
        case .unpinned: shown.add("since", .time(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readTimestamp() }))
        case .verdicts(let blob):
            let verdicts = try RowCoding.decode(document) { reader throws(RegistryError) in
                try reader.readEach { reader throws(RegistryError) in try reader.readVerdict(on: blob) }
            }
            shown.add("state", .shown(CatalogRows.strictest(verdicts).map { "\($0.state)" } ?? ""))
        case .record(let kind, let id):
            let kind = try BinaryReader.checked(Record.Kind(rawValue: kind))
            shown.add(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readRecord(kind, id: id) })
        case .log(let revision): shown.add(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readLogEntry(revision) })
        case .deletion(let id): shown.add(try RowCoding.decode(document) { reader throws(RegistryError) in try reader.readDeletion(id) })
        case .link, .versionLink, .packageAsset, .pin, .recordUnique, .grave, .deletionEnd: break
        }
        return shown.columns
    }

    /// nil: the row tells of one node's own files, in a database that was written by it alone.
    static func of(_ location: SharedLocation?) -> [(name: String, value: Value)] {
        var shown = ShownColumns()
        shown.add("place", .shown(location.map { "\($0.kind)" }))
        // One that a node holds is in none.
        shown.add("object", .id(location.flatMap { $0.holder == nil ? $0.object : nil }))
        shown.add("start", .int(location?.offset))
        shown.add("length", .int(location?.length))
        shown.add("node", .int(location?.holder.map { Int64($0) }))
        return shown.columns
    }

    private mutating func add(_ name: String, _ value: Value) { columns.append((name, value)) }
    private mutating func add(number: UInt64) { add("number", .int(Int64(clamping: number))) }
    private mutating func add(_ revision: Revision) { add("revision", .int(Int64(clamping: revision.number))) }

    private mutating func add(_ repository: Repository) {
        add("key", .shown(repository.key.text))
        add("name", .shown(repository.name))
        add("format", .shown(repository.format))
        add("kind", .shown(repository.kind.rawValue))
        add("is_public", .bool(repository.isPublic))
        add("quota_bytes", .int(repository.quotaBytes))
        add("upstream_url", .shown(repository.upstreamURL))
        add("created", .time(repository.created))
        add("updated", .time(repository.updated))
    }

    private mutating func add(_ totals: (usage: Usage, revision: Revision)) {
        add("assets", .int(totals.usage.assets))
        add("packages", .int(totals.usage.packages))
        add("bytes", .int(totals.usage.bytes))
        add("deletions", .int(totals.usage.deletions))
        add("trash_bytes", .int(totals.usage.trashBytes))
        add(totals.revision)
    }

    private mutating func add(_ package: Package) {
        add("display_name", .shown(package.displayName))
        add("created", .time(package.created))
        add(package.revision)
    }

    private mutating func add(_ version: Version) {
        let state =
            switch version.state {
            case .active: "active"
            case .yanked: "yanked"
            case .deprecated: "deprecated"
            }
        add("state", .shown(state))
        add("manifest_sha256", .bytes(version.manifest.blob?.bytes))
        add("created", .time(version.created))
        add("creator", .shown(version.creator))
        add(version.revision)
    }

    private mutating func add(_ tag: Tag) {
        add("version", .shown(tag.version.text))
        add("updated", .time(tag.updated))
        add(tag.revision)
    }

    /// An index is made of package and version: they are what they are.
    private mutating func add(_ stored: StoredAsset) throws(RegistryError) {
        let asset = stored.asset
        add("package", try .text(asset.package?.text ?? ""))
        add("version", try .text(asset.version?.text ?? ""))
        add("sha256", .bytes(asset.blob.bytes))
        add("size", .int(asset.size))
        add("content_type", .shown(asset.contentType))
        add("is_release", .bool(stored.isRelease))
        add("created", .time(asset.created))
        add("creator", .shown(asset.creator))
        add(asset.revision)
    }

    private mutating func add(_ page: LearnedPage) {
        add("fetched", .time(page.fetched))
        add("fresh_until", .time(page.freshUntil))
        add(page.revision)
    }

    private mutating func add(_ record: Record) {
        add("unique_key", .shown(record.unique))
        add(record.revision)
    }

    private mutating func add(_ entry: LogEntry) {
        add("at", .time(entry.at))
        add("actor", .shown(entry.actor.name))
        add("request_id", .shown(entry.requestID))
    }

    private mutating func add(_ deletion: Deletion) {
        add("until", .time(deletion.until))
        add("actor", .shown(deletion.actor.name))
        add("at", .time(deletion.at))
    }
}
