import CatalogRules
import Core
import OrderedStore

/// Where PostgreSQL keeps the rows of a tag: the parts of the key are columns, in the key's order, and are the table's primary key, or an index of
/// it. Texts have the collation "C" and so sort as keys do.
struct Table: Sendable {
    enum Kind: Sendable {
        case byte, number, time, id, blob, text

        /// Of each in a key; nil where they differ.
        var bytes: Int? {
            switch self {
            case .byte: 1
            case .number, .time: 8
            case .id: 16
            case .blob: 32
            case .text: nil
            }
        }
    }

    struct Column: Sendable {
        let name: String
        let kind: Kind
    }

    /// What stands beside the key.
    enum Content: Sendable {
        /// The row as `RowCoding` writes it, and columns that say what is in it.
        case row
        /// The bytes as they are.
        case bytes
        /// The same, and where a blob lies in the bucket that nodes share, if that is what they say.
        case location
        /// Nothing.
        case nothing
        /// Nothing, and the key is found in another table, by an index: it is written with that.
        case index
    }

    let name: String
    let tag: UInt8?
    let columns: [Column]
    let content: Content
    /// Of an index: which of the table's rows are in it.
    let condition: String?

    private init(_ name: String, byte tag: UInt8?, _ content: Content, _ columns: (String, Kind)...) {
        self.init(name: name, tag: tag, columns: columns.map { Column(name: $0.0, kind: $0.1) }, content: content, condition: nil)
    }

    private init(
        _ name: String, _ tag: Keyspace.Tag?, _ content: Content = .row, where condition: String? = nil, _ columns: (String, Kind)...
    ) {
        self.init(
            name: name, tag: tag?.rawValue, columns: columns.map { Column(name: $0.0, kind: $0.1) }, content: content, condition: condition)
    }

    private init(name: String, tag: UInt8?, columns: [Column], content: Content, condition: String?) {
        self.condition = condition
        self.name = name
        self.tag = tag
        self.content = content
        self.columns = columns
    }

    /// - Throws: `internal` for a family that has no table.
    static func of(_ key: [UInt8], in family: OrderedStore.Family) throws(RegistryError) -> Table {
        if family == .blobLocations { return locations }
        if family == .audit { return key.first == auditRecords.tag ? auditRecords : auditLinks }
        guard family == CatalogRows.family, let first = key.first, let tag = Keyspace.Tag(rawValue: first), let table = tables[tag] else {
            throw RegistryError(.internal, subject: .store, reason: "the database has no table for these rows", cause: family.name)
        }
        return table
    }

    private static let locations = Table("blob_locations", nil, .location, ("sha256", .blob))

    // docs/internals/audit.md: records have a first byte of their own, and a number; the two links beside them have only that byte.
    private static let auditRecords = Table("audit_records", byte: 2, .bytes, ("number", .number))
    private static let auditLinks = Table("audit_links", byte: nil, .bytes, ("item", .byte))

    private static let tables: [Keyspace.Tag: Table] = Dictionary(
        uniqueKeysWithValues: Keyspace.Tag.allCases.map { ($0, table(of: $0)) })

    /// All of them.
    static var names: Set<String> { Set((Array(tables.values) + [locations, auditRecords, auditLinks]).map(\.name)) }

    private static func table(of tag: Keyspace.Tag) -> Table {
        switch tag {
        case .meta: Table("catalog_state", tag, .row, ("item", .byte))
        case .repository: Table("repositories", tag, .row, ("repository_id", .id))
        case .repositoryKey: Table("repository_keys", tag, .row, ("key", .text))
        case .totals: Table("repository_totals", tag, .row, ("repository_id", .id))
        case .package: Table("packages", tag, .row, ("repository_id", .id), ("name", .text))
        case .version: Table("versions", tag, .row, ("repository_id", .id), ("package", .text), ("name", .text))
        case .tag: Table("tags", tag, .row, ("repository_id", .id), ("package", .text), ("name", .text))
        case .link:
            Table(
                "links", tag, .row, ("repository_id", .id), ("package", .text), ("relation", .text), ("target", .text), ("version", .text))
        case .versionLink:
            Table(
                "links", tag, .index, ("repository_id", .id), ("package", .text), ("version", .text), ("relation", .text), ("target", .text))
        case .asset: Table("assets", tag, .row, ("repository_id", .id), ("path", .text))
        case .packageAsset:
            Table(
                "assets", tag, .index, where: "package <> ''", ("repository_id", .id), ("package", .text), ("version", .text), ("path", .text))
        case .tombstone: Table("tombstones", tag, .row, ("repository_id", .id), ("path", .text))
        case .learned: Table("learned_pages", tag, .row, ("repository_id", .id), ("view", .text))
        case .entity: Table("entities", tag, .row, ("id", .id))
        case .pin:
            Table(
                "pins", tag, .nothing, ("sha256", .blob), ("reason", .byte), ("repository_id", .id), ("name", .text), ("version", .text),
                ("revision", .number))
        case .verdicts: Table("verdicts", tag, .row, ("sha256", .blob))
        case .record: Table("records", tag, .row, ("kind", .byte), ("id", .text))
        case .recordUnique: Table("record_keys", tag, .row, ("kind", .byte), ("unique_key", .text))
        case .log: Table("log", tag, .row, ("revision", .number))
        case .grave: Table("graves", tag, .nothing, ("repository_id", .id))
        case .unpinned: Table("unpinned_blobs", tag, .row, ("sha256", .blob))
        case .deletion: Table("deletions", tag, .row, ("repository_id", .id), ("revision", .number))
        case .deletionEnd: Table("deletions", tag, .index, ("until", .time), ("repository_id", .id), ("revision", .number))
        }
    }

    /// Which columns a key has, by their place. A pin's parts after its repository depend on its reason; the columns it has none for are empty.
    func layout(reason: UInt8?) -> [Int] {
        guard tag == Keyspace.Tag.pin.rawValue, let reason else { return Array(columns.indices) }
        return switch reason {
        case 2: [0, 1, 2, 3, 4]
        case 4: [0, 1, 2, 5]
        default: [0, 1, 2, 3]
        }
    }
}
