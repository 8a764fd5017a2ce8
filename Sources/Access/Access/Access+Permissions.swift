public import Catalog
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

/// A row of permission: what a principal may do on a repository.
public struct Grant: Sendable, Hashable {
    public var id: EntityID
    public var principal: Principal
    public var repository: RepositoryID
    public var actions: Set<Core.Permission>
    public var created: Timestamp
    public var updated: Timestamp
}

/// `Record(.permission, id: <u or g>/<principal>/<repository>, unique: <the row's own id>)`
extension Grant {
    static let format: UInt8 = 1

    static func prefix(of principal: Principal) -> String {
        switch principal {
        case .account(let id): "u/\(id)/"
        case .group(let id): "g/\(id)/"
        }
    }

    static func recordID(_ principal: Principal, _ repository: RepositoryID) -> String { "\(prefix(of: principal))\(repository)" }

    var recordID: String { Grant.recordID(principal, repository) }

    var record: Record {
        var writer = BinaryWriter()
        writer.write(Grant.format)
        writer.write(id)
        writer.write(Rights(actions).rawValue)
        writer.write(created)
        writer.write(updated)
        return Record(kind: .permission, id: recordID, unique: id.description, value: writer.bytes)
    }

    init(_ record: Record) throws(RegistryError) {
        var reader = try Rows.reader(record, format: Grant.format)
        let (holder, repository) = try Rows.pair(record.id.dropFirst(2))
        switch record.id.prefix(2) {
        case "u/": principal = .account(holder)
        case "g/": principal = .group(holder)
        default: throw BinaryReader.damaged
        }
        self.repository = repository
        id = try reader.readEntityID()
        actions = Rights(rawValue: try reader.readUInt8()).permissions
        created = try reader.readTimestamp()
        updated = try reader.readTimestamp()
    }
}

extension Access {
    /// Gives the account these actions on the repository, in place of what it had there.
    @discardableResult
    public func grant(
        _ actions: Set<Core.Permission>, on repository: RepositoryID, to account: EntityID, by actor: Actor, requestID: String
    ) async throws(RegistryError) -> Grant {
        try await grant(actions, on: repository, to: .account(account), by: actor, requestID: requestID)
    }

    /// Gives the principal these actions on the repository, in place of what it had there. It counts from the next request on.
    /// - Throws: `notFound` when there is no such account, group or repository; `invalid` for no action at all.
    @discardableResult
    public func grant(
        _ actions: Set<Core.Permission>, on repository: RepositoryID, to principal: Principal, by actor: Actor, requestID: String
    ) async throws(RegistryError) -> Grant {
        guard !actions.isEmpty else { throw RegistryError(.invalid, subject: .field("actions"), reason: "give at least one action") }
        guard try await catalog.repository(id: repository) != nil else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such repository")
        }
        return try await retrying { () throws(RegistryError) in
            let now = self.world.now()
            let existing = try await self.catalog.record(.permission, id: Grant.recordID(principal, repository))
            var grant = Grant(id: self.world.newID(), principal: principal, repository: repository, actions: actions, created: now, updated: now)
            if let existing {
                let old = try Grant(existing)
                (grant.id, grant.created) = (old.id, old.created)
            }
            var parts = try await self.holding(principal)
            parts.append(.putRecord(grant.record, ifRevision: existing?.revision ?? .zero))
            try await self.commit(parts, of: [principal.id], by: actor, requestID: requestID)
            return grant
        }
    }

    /// A group stays while something is given to it; an account's rows go with it, and its id never comes back.
    private func holding(_ principal: Principal) async throws(RegistryError) -> [Change.Part] {
        switch principal {
        case .account(let id):
            guard try await userRow(id) != nil else { throw Access.noSuchUser }
            return []
        case .group(let id):
            return [try await groupRow(id).touched(at: world.now())]
        }
    }

    public func grant(id: EntityID) async throws(RegistryError) -> Grant? {
        guard let record = try await catalog.record(.permission, unique: id.description) else { return nil }
        return try Grant(record)
    }

    /// All rows, or a principal's, or a repository's.
    public func grants(of principal: Principal? = nil, on repository: RepositoryID? = nil) async throws(RegistryError) -> [Grant] {
        var grants: [Grant] = []
        for prefix in principal.map({ [Grant.prefix(of: $0)] }) ?? ["g/", "u/"] {
            for record in try await records(.permission, prefix: prefix) {
                let grant = try Grant(record)
                if repository == nil || grant.repository == repository { grants.append(grant) }
            }
        }
        return grants
    }

    public func grants(of account: EntityID, on repository: RepositoryID) async throws(RegistryError) -> [Grant] {
        try await grants(of: .account(account), on: repository)
    }

    /// - Throws: `notFound`.
    public func revoke(_ grant: Grant, by actor: Actor, requestID: String) async throws(RegistryError) {
        try await commit([.deleteRecord(.permission, id: grant.recordID)], of: [grant.principal.id], by: actor, requestID: requestID)
    }

    /// What deletes the rows about a repository, with those whose rights change by it.
    public func forgetting(_ repository: RepositoryID) async throws(RegistryError) -> Forgetting {
        let grants = try await grants(of: nil, on: repository)
        return Forgetting(
            parts: grants.map { .deleteRecord(.permission, id: $0.recordID) }, principals: Set(grants.map(\.principal.id)))
    }

    /// To be called once the parts are committed, or may be.
    public func forgot(_ forgetting: Forgetting) {
        for id in forgetting.principals { verified.advance(id) }
    }
}

/// Rows of rights that go with something else.
public struct Forgetting: Sendable {
    public let parts: [Change.Part]
    let principals: Set<EntityID>
}
