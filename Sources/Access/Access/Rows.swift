import Catalog
public import Core

/// An account as others see it: nothing secret in it.
public struct User: Sendable, Hashable {
    public var id: EntityID
    public var username: String
    public var email: String
    public var displayName: String?
    public var isAdmin: Bool
    public var isActive: Bool
    public var mustChangePassword: Bool
    /// A second factor is on.
    public var hasTOTP = false
    public var created: Timestamp
    public var updated: Timestamp
    /// It belongs to a machine: it has no password, and comes with tokens only.
    public var isService = false
}

// The rows, bytes first, are described in docs/internals/accounts.md. Each begins with its format number.

/// `Record(.user, id: <account>, unique: <username in lower case>)`
struct UserRow: Sendable, Hashable {
    static let format: UInt8 = 3

    var user: User
    /// A PHC string; nil when the account has no password.
    var passwordHash: String?
    /// Grows with every change of the password: what hangs on an earlier one is void.
    var credentialEpoch: UInt32
    /// The server stays locked until this account's password is changed.
    var locksSetup: Bool
    /// PHC strings of the passwords before this one, the latest first.
    var earlierHashes: [String] = []
    /// Set up, and on where `user.hasTOTP`.
    var secondFactor: SecondFactor?
    var revision: Revision = .zero

    static func unique(_ username: String) -> String { username.lowercased() }

    var record: Record {
        var writer = BinaryWriter(reserving: 256)
        writer.write(UserRow.format)
        writer.write(user.username)
        writer.write(user.email)
        writer.write(user.displayName) { $0.write($1) }
        writer.write(user.isAdmin)
        writer.write(user.isActive)
        writer.write(user.mustChangePassword)
        writer.write(user.created)
        writer.write(user.updated)
        writer.write(passwordHash) { $0.write($1) }
        writer.write(credentialEpoch)
        writer.write(locksSetup)
        writer.write(user.isService)
        writer.write(each: earlierHashes) { $0.write($1) }
        writer.write(user.hasTOTP)
        writer.write(secondFactor) { writer, factor in
            writer.write(factor.sealed)
            writer.write(UInt64(clamping: factor.lastStep))
            writer.write(each: factor.recovery) { $0.write($1) }
        }
        return Record(kind: .user, id: user.id.description, unique: UserRow.unique(user.username), value: writer.bytes)
    }

    init(user: User, passwordHash: String?, credentialEpoch: UInt32 = 0, locksSetup: Bool = false) {
        self.user = user
        self.passwordHash = passwordHash
        self.credentialEpoch = credentialEpoch
        self.locksSetup = locksSetup
    }

    init(_ record: Record) throws(RegistryError) {
        var (format, reader) = try Rows.reader(record, formats: 1...UserRow.format)
        guard let id = EntityID(record.id) else { throw BinaryReader.damaged }
        user = User(
            id: id, username: try reader.readString(), email: try reader.readString(),
            displayName: try reader.readOptional { (reader) throws(RegistryError) in try reader.readString() },
            isAdmin: try reader.readBool(), isActive: try reader.readBool(), mustChangePassword: try reader.readBool(),
            created: try reader.readTimestamp(), updated: try reader.readTimestamp())
        passwordHash = try reader.readOptional { (reader) throws(RegistryError) in try reader.readString() }
        credentialEpoch = try reader.readUInt32()
        locksSetup = try reader.readBool()
        // Before format 2 every account was a person's.
        user.isService = format >= 2 ? try reader.readBool() : false
        revision = record.revision
        guard format >= 3 else { return }
        earlierHashes = try reader.readEach { (reader) throws(RegistryError) in try reader.readString() }
        user.hasTOTP = try reader.readBool()
        secondFactor = try reader.readOptional { (reader) throws(RegistryError) in
            SecondFactor(
                sealed: try reader.readString(), lastStep: Int64(clamping: try reader.readUInt64()),
                recovery: try reader.readEach { (reader) throws(RegistryError) in try reader.readString() })
        }
    }
}

/// `Record(.session, id: <account>/<family>)`: a login, alive until it expires, is logged out, or a used refresh token comes back.
struct SessionRow: Sendable, Hashable {
    static let format: UInt8 = 1

    var account: EntityID
    var family: EntityID
    /// The one refresh token that is good now.
    var refresh: EntityID
    var credentialEpoch: UInt32
    var created: Timestamp
    var expires: Timestamp
    var revision: Revision = .zero

    static func id(_ account: EntityID, _ family: EntityID) -> String { "\(account)/\(family)" }

    var record: Record {
        var writer = BinaryWriter()
        writer.write(SessionRow.format)
        writer.write(refresh)
        writer.write(credentialEpoch)
        writer.write(created)
        writer.write(expires)
        return Record(kind: .session, id: SessionRow.id(account, family), value: writer.bytes)
    }

    init(account: EntityID, family: EntityID, refresh: EntityID, credentialEpoch: UInt32, created: Timestamp, expires: Timestamp) {
        self.account = account
        self.family = family
        self.refresh = refresh
        self.credentialEpoch = credentialEpoch
        self.created = created
        self.expires = expires
    }

    init(_ record: Record) throws(RegistryError) {
        var reader = try Rows.reader(record, format: SessionRow.format)
        (account, family) = try Rows.pair(record.id[...])
        refresh = try reader.readEntityID()
        credentialEpoch = try reader.readUInt32()
        created = try reader.readTimestamp()
        expires = try reader.readTimestamp()
        revision = record.revision
    }
}

/// A row that every change of what hangs on it writes too, a group's members or what is given on a project: two changes at once are then one after
/// the other, and none outlives the row.
protocol Anchor {
    var updated: Timestamp { get set }
    var revision: Revision { get }
    var record: Record { get }
}

extension Anchor {
    func touched(at now: Timestamp) -> Change.Part {
        var row = self
        // The clock may stand still; a row that is the same would be no change.
        row.updated = max(now, Timestamp(milliseconds: updated.milliseconds &+ 1))
        return .putRecord(row.record, ifRevision: revision)
    }
}

enum Rows {
    static func reader(_ record: Record, format: UInt8) throws(RegistryError) -> BinaryReader {
        try reader(record, formats: format...format).reader
    }

    /// The row's format, and the reader behind it.
    static func reader(_ record: Record, formats: ClosedRange<UInt8>) throws(RegistryError) -> (format: UInt8, reader: BinaryReader) {
        var reader = BinaryReader(record.value)
        let format = try reader.readUInt8()
        guard formats.contains(format) else {
            throw RegistryError(.corrupt, subject: .store, reason: "a stored account row has a format this version does not know")
        }
        return (format, reader)
    }

    /// `<id>/<id>`
    static func pair(_ text: Substring) throws(RegistryError) -> (EntityID, EntityID) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let first = EntityID(parts[0]), let second = EntityID(parts[1]) else { throw BinaryReader.damaged }
        return (first, second)
    }
}
