import Catalog
public import Core

// Who may call these is decided by `requireAdmin` before; `actor` is who did it, for the log.
extension Access {
    /// One account's groups, and one group's accounts.
    public static let groupsPerAccountMax = 256
    public static let accountsPerGroupMax = 10_000

    /// - Throws: `invalid` for a name that is none; `conflict` when it is taken, in either case.
    public func createGroup(name: String, description: String?, by actor: Actor, requestID: String) async throws(RegistryError) -> Group {
        try Access.check(groupName: name, description: description)
        let now = world.now()
        let group = Group(id: world.newID(), name: name, description: description, created: now, updated: now)
        do { try await commit([.putRecord(group.record, ifRevision: .zero)], of: [], by: actor, requestID: requestID) } catch {
            throw Access.taken(name, error)
        }
        return try await groupRow(group.id)
    }

    /// - Throws: `notFound`; `conflict` when the name is taken.
    public func updateGroup(
        _ id: EntityID, name: String, description: String?, by actor: Actor, requestID: String
    ) async throws(RegistryError) -> Group {
        try Access.check(groupName: name, description: description)
        if let other = try await catalog.record(.group, unique: name.lowercased()), other.id != id.description {
            throw Access.taken(name, RegistryError(.conflict, subject: .store, reason: "taken"))
        }
        return try await retrying { () throws(RegistryError) in
            var group = try await self.groupRow(id)
            (group.name, group.description) = (name, description)
            try await self.commit([group.touched(at: self.world.now())], of: [], by: actor, requestID: requestID)
            return try await self.groupRow(id)
        }
    }

    /// Removes the group, its members' places in it and what was given to it.
    /// - Throws: `notFound`.
    public func deleteGroup(_ id: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        try await retrying { () throws(RegistryError) in
            // The row is written before it goes, so that a member or a right added meanwhile makes us look again.
            var parts = [try await self.groupRow(id).touched(at: self.world.now())]
            for member in try await self.members(of: id) { parts += Membership.removal(id, member.account) }
            parts += try await self.grants(of: .group(id)).map { .deleteRecord(.permission, id: $0.recordID) }
            parts.append(.deleteRecord(.group, id: id.description))
            try await self.commit(parts, of: [id], by: actor, requestID: requestID)
        }
    }

    /// Who is in it already stays.
    /// - Throws: `notFound` for a group or an account that is none; `conflict` beyond the limits.
    public func addMembers(_ accounts: [EntityID], to id: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        for account in accounts where try await userRow(account) == nil { throw Access.noSuchUser }
        try await retrying { () throws(RegistryError) in
            let group = try await self.groupRow(id)
            let present = Set(try await self.members(of: id).map(\.account))
            let new = Set(accounts).subtracting(present)
            guard !new.isEmpty else { return }
            guard present.count + new.count <= Access.accountsPerGroupMax else {
                throw RegistryError(.conflict, subject: .request, reason: "a group has at most \(Access.accountsPerGroupMax) members")
            }
            for account in new where try await self.groups(of: account).count >= Access.groupsPerAccountMax {
                throw RegistryError(.conflict, subject: .request, reason: "an account is in at most \(Access.groupsPerAccountMax) groups")
            }
            let now = self.world.now()
            let parts = new.sorted().flatMap { Membership(group: id, account: $0, joined: now).parts }
            try await self.commit([group.touched(at: now)] + parts, of: new.sorted(), by: actor, requestID: requestID)
        }
    }

    /// Who is not in it is passed over.
    /// - Throws: `notFound` for a group that is none.
    public func removeMembers(_ accounts: [EntityID], from id: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        try await retrying { () throws(RegistryError) in
            let group = try await self.groupRow(id)
            let parts = Set(accounts).sorted().flatMap { Membership.removal(id, $0) }
            guard !parts.isEmpty else { return }
            try await self.commit([group.touched(at: self.world.now())] + parts, of: accounts, by: actor, requestID: requestID)
        }
    }

    public func group(_ id: EntityID) async throws(RegistryError) -> Group? {
        guard let record = try await catalog.record(.group, id: id.description) else { return nil }
        return try Group(record)
    }

    /// In the order they were made.
    public func groups() async throws(RegistryError) -> [Group] {
        var groups: [Group] = []
        for record in try await records(.group, prefix: "") { groups.append(try Group(record)) }
        return groups
    }

    /// The ids of the groups an account is in.
    public func groups(of account: EntityID) async throws(RegistryError) -> [EntityID] {
        var ids: [EntityID] = []
        for record in try await records(.membership, prefix: "a/\(account)/") { ids.append(try Membership(record).group) }
        return ids
    }

    public func members(of group: EntityID) async throws(RegistryError) -> [Membership] {
        var members: [Membership] = []
        for record in try await records(.membership, prefix: "g/\(group)/") { members.append(try Membership(record)) }
        return members
    }

    // MARK: Inside the room

    func groupRow(_ id: EntityID) async throws(RegistryError) -> Group {
        guard let group = try await group(id) else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such group")
        }
        return group
    }

    /// A change that reads rows and writes them: when somebody changed them in between, it is made again on the new ones.
    func retrying<Value>(_ change: () async throws(RegistryError) -> Value) async throws(RegistryError) -> Value {
        var attempts = 1
        while true {
            do throws(RegistryError) { return try await change() } catch {
                guard error.code == .conflict, attempts < 8 else { throw error }
                attempts += 1
            }
        }
    }

    private static func taken(_ name: String, _ failure: RegistryError) -> RegistryError {
        guard failure.code == .conflict else { return failure }
        return RegistryError(.conflict, subject: .field("name"), reason: "the name \(name) is taken")
    }

    private static func check(groupName name: String, description: String?) throws(RegistryError) {
        guard (1...128).contains(name.utf8.count), name.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }), name.utf8.first != 0x20,
            name.utf8.last != 0x20
        else { throw RegistryError(.invalid, subject: .field("name"), reason: "1 to 128 bytes, no control characters, no blank at its ends") }
        guard (description?.utf8.count ?? 0) <= 1024 else {
            throw RegistryError(.invalid, subject: .field("description"), reason: "at most 1024 bytes")
        }
    }
}
