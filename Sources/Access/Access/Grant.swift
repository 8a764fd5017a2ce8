import Catalog
public import Core

/// Whom a row of permission is for.
public enum Principal: Sendable, Hashable {
    case account(EntityID)
    case group(EntityID)

    public var id: EntityID {
        switch self {
        case .account(let id), .group(let id): id
        }
    }
}

/// What a row of permission is about.
public enum GrantTarget: Sendable, Hashable {
    case repository(RepositoryID)
    /// Every repository of a project, those to come as well.
    case project(EntityID)
    /// The server: `admin` there lets make repositories, and nothing else.
    case system

    /// There is one system; its id is the nil UUID (RFC 9562 section 5.9).
    public var id: EntityID {
        switch self {
        case .repository(let id), .project(let id): id
        case .system: EntityID(high: 0, low: 0)
        }
    }

    fileprivate var number: UInt8 {
        switch self {
        case .repository: 1
        case .project: 2
        case .system: 3
        }
    }

    fileprivate init?(_ number: UInt8, _ id: EntityID) {
        switch number {
        case 1: self = .repository(id)
        case 2: self = .project(id)
        case 3: self = .system
        default: return nil
        }
    }
}

/// A row of permission: what a principal may do on a target.
public struct Grant: Sendable, Hashable {
    public var id: EntityID
    public var principal: Principal
    public var target: GrantTarget
    public var actions: Set<Core.Permission>
    /// The names inside a repository it is limited to; empty: all of it.
    public var patterns: [NamePattern]
    public var created: Timestamp
    public var updated: Timestamp
}

/// `Record(.permission, id: <u or g>/<principal>/<target>, unique: <the row's own id>)`; one with patterns has `/<the row's own id>` behind it,
/// so that a principal may have several on one target.
extension Grant {
    static let format: UInt8 = 2

    static func prefix(of principal: Principal) -> String {
        switch principal {
        case .account(let id): "u/\(id)/"
        case .group(let id): "g/\(id)/"
        }
    }

    /// Of the row without patterns.
    static func recordID(_ principal: Principal, _ target: GrantTarget) -> String { "\(prefix(of: principal))\(target.id)" }

    var recordID: String { Grant.recordID(principal, target) + (patterns.isEmpty ? "" : "/\(id)") }

    var record: Record {
        var writer = BinaryWriter()
        writer.write(Grant.format)
        writer.write(id)
        writer.write(target.number)
        writer.write(Rights(actions).rawValue)
        writer.write(each: patterns.map(\.text)) { $0.write($1) }
        writer.write(created)
        writer.write(updated)
        return Record(kind: .permission, id: recordID, unique: id.description, value: writer.bytes)
    }

    init(_ record: Record) throws(RegistryError) {
        var (format, reader) = try Rows.reader(record, formats: 1...Grant.format)
        let parts = record.id.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3 || parts.count == 4, let holder = EntityID(parts[1]), let about = EntityID(parts[2]) else {
            throw BinaryReader.damaged
        }
        switch parts[0] {
        case "u": principal = .account(holder)
        case "g": principal = .group(holder)
        default: throw BinaryReader.damaged
        }
        id = try reader.readEntityID()
        // In format 1 everything was about all of a repository.
        guard let target = GrantTarget(format == 1 ? 1 : try reader.readUInt8(), about) else { throw BinaryReader.damaged }
        self.target = target
        actions = Rights(rawValue: try reader.readUInt8()).permissions
        patterns = format == 1 ? [] : try reader.readEach { (reader) throws(RegistryError) in
            guard let pattern = NamePattern(try reader.readString()) else { throw BinaryReader.damaged }
            return pattern
        }
        // A row whose limits were lost would give everything.
        guard patterns.isEmpty == (parts.count == 3) else { throw BinaryReader.damaged }
        created = try reader.readTimestamp()
        updated = try reader.readTimestamp()
    }
}
