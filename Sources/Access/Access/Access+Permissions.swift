public import Catalog
public import Core

extension Access {
    /// Rows of permission of one principal.
    public static let grantsPerPrincipalMax = 1000

    /// Gives the account these actions on the repository, in place of what it had there.
    @discardableResult
    public func grant(
        _ actions: Set<Core.Permission>, on repository: RepositoryID, to account: EntityID, by actor: Actor, requestID: String
    ) async throws(RegistryError) -> Grant {
        try await grant(actions, on: .repository(repository), to: .account(account), by: actor, requestID: requestID)
    }

    /// Gives the principal these actions on the target. It counts from the next request on. Without patterns it stands in place of what the
    /// principal had there without patterns; each row with patterns is one more.
    /// - Parameter patterns: of names inside the repository that this is limited to.
    /// - Throws: `notFound` when there is no such account, group, repository or project; `invalid` for no action at all, or one that the target or
    ///   patterns cannot take; `conflict` beyond the limit.
    @discardableResult
    public func grant(
        _ actions: Set<Core.Permission>, on target: GrantTarget, to principal: Principal, patterns: [NamePattern] = [], by actor: Actor,
        requestID: String
    ) async throws(RegistryError) -> Grant {
        try Access.check(actions, on: target, patterns)
        return try await retrying { () throws(RegistryError) in
            let now = self.world.now()
            let existing =
                patterns.isEmpty ? try await self.catalog.record(.permission, id: Grant.recordID(principal, target)) : nil
            var grant = Grant(
                id: self.world.newID(), principal: principal, target: target, actions: actions, patterns: patterns, created: now, updated: now)
            if let existing {
                let old = try Grant(existing)
                (grant.id, grant.created) = (old.id, old.created)
            } else {
                guard try await self.grants(of: principal).count < Access.grantsPerPrincipalMax else {
                    throw RegistryError(.conflict, subject: .request, reason: "at most \(Access.grantsPerPrincipalMax) permissions of one principal")
                }
            }
            var parts = try await self.holding(principal) + (try await self.holding(target))
            parts.append(.putRecord(grant.record, ifRevision: existing?.revision ?? .zero))
            try await self.commit(parts, of: [principal.id], by: actor, requestID: requestID)
            return grant
        }
    }

    /// Changes what a row gives; its principal and target stay.
    /// - Throws: `notFound` when it is gone; `invalid` as above; `conflict` when it loses its patterns and there is a row without them.
    public func change(
        _ id: EntityID, to actions: Set<Core.Permission>, patterns: [NamePattern], by actor: Actor, requestID: String
    ) async throws(RegistryError) -> Grant {
        try await retrying { () throws(RegistryError) in
            guard let record = try await self.catalog.record(.permission, unique: id.description) else { throw Access.noSuchPermission }
            let old = try Grant(record)
            try Access.check(actions, on: old.target, patterns)
            var grant = old
            (grant.actions, grant.patterns, grant.updated) = (actions, patterns, self.world.now())
            var parts = try await self.holding(old.principal) + (try await self.holding(old.target))
            if grant.recordID == old.recordID {
                parts.append(.putRecord(grant.record, ifRevision: record.revision))
            } else {
                guard try await self.catalog.record(.permission, id: grant.recordID) == nil else {
                    throw RegistryError(.conflict, subject: .field("patterns"), reason: "there is a permission without patterns already: change that")
                }
                parts += [.deleteRecord(.permission, id: old.recordID), .putRecord(grant.record, ifRevision: .zero)]
            }
            try await self.commit(parts, of: [grant.principal.id], by: actor, requestID: requestID)
            return grant
        }
    }

    private static func check(_ actions: Set<Core.Permission>, on target: GrantTarget, _ patterns: [NamePattern]) throws(RegistryError) {
        guard !actions.isEmpty else { throw RegistryError(.invalid, subject: .field("actions"), reason: "give at least one action") }
        guard patterns.count <= NamePattern.countMax else {
            throw RegistryError(.invalid, subject: .field("patterns"), reason: "at most \(NamePattern.countMax) patterns")
        }
        if target == .system {
            guard actions == [.admin], patterns.isEmpty else {
                throw RegistryError(.invalid, subject: .field("actions"), reason: "on the system there is admin, without patterns, and nothing else")
            }
        }
        // Settings, members and deletion are the repository's as a whole.
        guard patterns.isEmpty || !actions.contains(.admin) else {
            throw RegistryError(.invalid, subject: .field("patterns"), reason: "admin is of a whole repository: it takes no patterns")
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

    private func holding(_ target: GrantTarget) async throws(RegistryError) -> [Change.Part] {
        switch target {
        case .repository(let id):
            guard try await catalog.repository(id: id) != nil else {
                throw RegistryError(.notFound, subject: .request, reason: "there is no such repository")
            }
            return []
        case .project(let id): return [try await projectRow(id).touched(at: world.now())]
        case .system: return []
        }
    }

    static var noSuchPermission: RegistryError { RegistryError(.notFound, subject: .request, reason: "there is no such permission") }

    public func grant(id: EntityID) async throws(RegistryError) -> Grant? {
        guard let record = try await catalog.record(.permission, unique: id.description) else { return nil }
        return try Grant(record)
    }

    /// All rows, or a principal's, or a target's.
    public func grants(of principal: Principal? = nil, on target: GrantTarget? = nil) async throws(RegistryError) -> [Grant] {
        var grants: [Grant] = []
        for prefix in principal.map({ [Grant.prefix(of: $0)] }) ?? ["g/", "u/"] {
            for record in try await records(.permission, prefix: prefix) {
                let grant = try Grant(record)
                if target == nil || grant.target == target { grants.append(grant) }
            }
        }
        return grants
    }

    public func grants(of account: EntityID, on repository: RepositoryID) async throws(RegistryError) -> [Grant] {
        try await grants(of: .account(account), on: .repository(repository))
    }

    /// One that is gone is no error.
    public func revoke(_ grant: Grant, by actor: Actor, requestID: String) async throws(RegistryError) {
        try await commit([.deleteRecord(.permission, id: grant.recordID)], of: [grant.principal.id], by: actor, requestID: requestID)
    }

    /// What deletes the rows about a repository, with those whose rights change by it.
    public func forgetting(_ repository: RepositoryID) async throws(RegistryError) -> Forgetting {
        var forgetting = Forgetting()
        for grant in try await grants(on: .repository(repository)) {
            forgetting.parts.append(.deleteRecord(.permission, id: grant.recordID))
            forgetting.accounts.insert(grant.principal.id)
        }
        for token in try await tokens(for: repository) {
            forgetting.parts.append(.deleteRecord(.token, id: APIToken.recordID(token.account, token.id)))
            forgetting.accounts.insert(token.account)
        }
        return forgetting
    }

    /// To be called once the parts are committed, or may be.
    public func forgot(_ forgetting: Forgetting) {
        for id in forgetting.accounts { verified.advance(id) }
    }
}

/// Rows of rights that go with something else.
public struct Forgetting: Sendable {
    public fileprivate(set) var parts: [Change.Part] = []
    /// And groups.
    fileprivate var accounts: Set<EntityID> = []
}
