import Catalog
public import Core

/// Accounts that are given rights together.
public struct Group: Sendable, Hashable {
    public var id: EntityID
    public var name: String
    public var description: String?
    public var created: Timestamp
    public var updated: Timestamp
    var revision: Revision = .zero
}

/// An account's place in a group.
public struct Membership: Sendable, Hashable {
    public var group: EntityID
    public var account: EntityID
    public var joined: Timestamp
}

/// `Record(.group, id: <group>, unique: <name in lower case>)`
extension Group: Anchor {
    static let format: UInt8 = 1

    var record: Record {
        var writer = BinaryWriter()
        writer.write(Group.format)
        writer.write(name)
        writer.write(description) { $0.write($1) }
        writer.write(created)
        writer.write(updated)
        return Record(kind: .group, id: id.description, unique: name.lowercased(), value: writer.bytes)
    }

    init(_ record: Record) throws(RegistryError) {
        var reader = try Rows.reader(record, format: Group.format)
        guard let id = EntityID(record.id) else { throw BinaryReader.damaged }
        self.id = id
        name = try reader.readString()
        description = try reader.readOptional { (reader) throws(RegistryError) in try reader.readString() }
        created = try reader.readTimestamp()
        updated = try reader.readTimestamp()
        revision = record.revision
    }
}

/// `Record(.membership, id: a/<account>/<group>)` and its mirror `g/<group>/<account>`, always together.
extension Membership {
    static let format: UInt8 = 1

    static func ids(_ group: EntityID, _ account: EntityID) -> [String] { ["a/\(account)/\(group)", "g/\(group)/\(account)"] }

    var parts: [Change.Part] {
        var writer = BinaryWriter()
        writer.write(Membership.format)
        writer.write(joined)
        return Membership.ids(group, account).map {
            .putRecord(Record(kind: .membership, id: $0, value: writer.bytes), ifRevision: nil)
        }
    }

    static func removal(_ group: EntityID, _ account: EntityID) -> [Change.Part] {
        ids(group, account).map { .deleteRecord(.membership, id: $0) }
    }

    init(_ record: Record) throws(RegistryError) {
        var reader = try Rows.reader(record, format: Membership.format)
        let (first, second) = try Rows.pair(record.id.dropFirst(2))
        switch record.id.prefix(2) {
        case "a/": (account, group) = (first, second)
        case "g/": (group, account) = (first, second)
        default: throw BinaryReader.damaged
        }
        joined = try reader.readTimestamp()
    }
}
