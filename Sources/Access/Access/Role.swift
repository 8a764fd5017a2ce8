import Catalog
public import Core

/// A bundle of rights that is given to an account as a whole.
public enum Role: String, Sendable, Hashable, CaseIterable {
    /// Everything: the same as the account's `isAdmin`.
    case admin
    /// Reads and writes every repository that belongs to no project.
    case developer
    /// Reads every repository that belongs to no project.
    case reader
    /// Every account has it; it gives nothing beyond what is public.
    case user
    /// Makes repositories, and administers those it made.
    case repositoryOwner = "repository-owner"

    /// Always the same, and no id of anything else.
    public var id: EntityID {
        let number: UInt64 =
            switch self {
            case .admin: 1
            case .developer: 2
            case .reader: 3
            case .user: 4
            case .repositoryOwner: 5
            }
        return EntityID(high: 0x7000, low: 0x8000_0000_0000_0000 | number)
    }

    public var summary: String {
        switch self {
        case .admin: "everything"
        case .developer: "reads and writes every repository that belongs to no project"
        case .reader: "reads every repository that belongs to no project"
        case .user: "what is public, and what is given besides"
        case .repositoryOwner: "makes repositories, and administers those it made"
        }
    }

    var rights: Rights {
        switch self {
        case .developer: Rights([.read, .write])
        case .reader: .read
        // An administrator's rights are not looked up.
        case .admin, .user, .repositoryOwner: []
        }
    }

    public var permissions: Set<Core.Permission> { self == .admin ? Rights.all.permissions : rights.permissions }
}

/// `Record(.permission, id: r/<account>/<role>)`, for the roles that are neither `admin` nor `user`.
extension Access {
    private static let roleFormat: UInt8 = 1

    /// - Throws: `notFound` for an account that is none.
    public func roles(of account: EntityID) async throws(RegistryError) -> [Role] {
        guard let row = try await userRow(account) else { throw Access.noSuchUser }
        let stored = try await storedRoles(of: account)
        return Role.allCases.filter { $0 == .user || $0 == .admin && row.user.isAdmin || stored.contains($0) }
    }

    /// Gives a role; it counts from the next request on. One that the account has already is no error.
    /// - Throws: `notFound` for an account that is none.
    public func assign(_ role: Role, to account: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        guard try await userRow(account) != nil else { throw Access.noSuchUser }
        switch role {
        case .user: return
        case .admin: try await updateUser(account, UserEdit(isAdmin: true), by: actor, requestID: requestID)
        case .developer, .reader, .repositoryOwner:
            let record = Record(kind: .permission, id: "r/\(account)/\(role.rawValue)", value: [Access.roleFormat])
            try await commit([.putRecord(record, ifRevision: nil)], of: [account], by: actor, requestID: requestID)
        }
    }

    /// - Throws: `notFound` for an account that is none, or does not have it; `invalid` for `user`, which every account has; `conflict` when it
    ///   would leave no active administrator.
    public func withdraw(_ role: Role, from account: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        guard try await roles(of: account).contains(role) else {
            throw RegistryError(.notFound, subject: .request, reason: "the account does not have this role")
        }
        switch role {
        case .user: throw RegistryError(.invalid, subject: .field("role_id"), reason: "every account has the role user")
        case .admin: try await updateUser(account, UserEdit(isAdmin: false), by: actor, requestID: requestID)
        case .developer, .reader, .repositoryOwner:
            try await commit(
                [.deleteRecord(.permission, id: "r/\(account)/\(role.rawValue)")], of: [account], by: actor, requestID: requestID)
        }
    }

    func storedRoles(of account: EntityID) async throws(RegistryError) -> [Role] {
        var roles: [Role] = []
        for record in try await records(.permission, prefix: "r/\(account)/") {
            _ = try Rows.reader(record, format: Access.roleFormat)
            // A role that is not known any more gives nothing.
            if let role = record.id.split(separator: "/").last.flatMap({ Role(rawValue: String($0)) }) { roles.append(role) }
        }
        return roles
    }
}
