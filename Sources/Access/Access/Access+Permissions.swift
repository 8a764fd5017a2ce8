import Catalog
public import Core

/// A row of permission: what an account may do on a repository.
public struct Grant: Sendable, Hashable {
    public var id: EntityID
    public var account: EntityID
    public var repository: RepositoryID
    public var actions: Set<Core.Permission>
    public var created: Timestamp
    public var updated: Timestamp
}

/// `Record(.permission, id: u/<account>/<repository>, unique: <the row's own id>)`
extension Grant {
    static let format: UInt8 = 1

    static func recordID(_ account: EntityID, _ repository: RepositoryID) -> String { "u/\(account)/\(repository)" }

    var record: Record {
        var writer = BinaryWriter()
        writer.write(Grant.format)
        writer.write(id)
        writer.write(Rights(actions).rawValue)
        writer.write(created)
        writer.write(updated)
        return Record(kind: .permission, id: Grant.recordID(account, repository), unique: id.description, value: writer.bytes)
    }

    init(_ record: Record) throws(RegistryError) {
        var reader = try Rows.reader(record, format: Grant.format)
        guard record.id.hasPrefix("u/") else { throw BinaryReader.damaged }
        (account, repository) = try Rows.pair(record.id.dropFirst(2))
        id = try reader.readEntityID()
        actions = Rights(rawValue: try reader.readUInt8()).permissions
        created = try reader.readTimestamp()
        updated = try reader.readTimestamp()
    }
}

extension Access {
    /// Gives the account these actions on the repository, in place of what it had there. It counts from the next request on.
    /// - Throws: `notFound` when there is no such account or repository; `invalid` for no action at all.
    @discardableResult
    public func grant(
        _ actions: Set<Core.Permission>, on repository: RepositoryID, to account: EntityID, by actor: Actor, requestID: String
    ) async throws(RegistryError) -> Grant {
        guard !actions.isEmpty else { throw RegistryError(.invalid, subject: .field("actions"), reason: "give at least one action") }
        guard try await userRow(account) != nil else { throw Access.noSuchUser }
        guard try await catalog.repository(id: repository) != nil else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such repository")
        }
        let now = world.now()
        let existing = try await catalog.record(.permission, id: Grant.recordID(account, repository))
        var grant = Grant(id: world.newID(), account: account, repository: repository, actions: actions, created: now, updated: now)
        if let existing {
            let old = try Grant(existing)
            (grant.id, grant.created) = (old.id, old.created)
        }
        let part = Change.Part.putRecord(grant.record, ifRevision: existing?.revision ?? .zero)
        try await commit([part], of: [account], by: actor, requestID: requestID)
        return grant
    }

    public func grant(id: EntityID) async throws(RegistryError) -> Grant? {
        guard let record = try await catalog.record(.permission, unique: id.description) else { return nil }
        return try Grant(record)
    }

    /// All rows, or an account's, or a repository's.
    public func grants(of account: EntityID? = nil, on repository: RepositoryID? = nil) async throws(RegistryError) -> [Grant] {
        var grants: [Grant] = []
        for record in try await records(.permission, prefix: account.map { "u/\($0)/" } ?? "u/") {
            let grant = try Grant(record)
            if repository == nil || grant.repository == repository { grants.append(grant) }
        }
        return grants
    }

    /// - Throws: `notFound`.
    public func revoke(_ grant: Grant, by actor: Actor, requestID: String) async throws(RegistryError) {
        let part = Change.Part.deleteRecord(.permission, id: Grant.recordID(grant.account, grant.repository))
        try await commit([part], of: [grant.account], by: actor, requestID: requestID)
    }

    func grants(of account: EntityID) async throws(RegistryError) -> [RepositoryID: Rights] {
        var rights: [RepositoryID: Rights] = [:]
        for grant in try await grants(of: account, on: nil) { rights[grant.repository] = Rights(grant.actions).implied }
        return rights
    }
}
