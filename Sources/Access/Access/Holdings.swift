import Catalog
import Core

/// What an account has been given, itself, by its roles and through its groups: read once, when its credential is proven.
struct Holdings: Sendable {
    private struct Limited: Sendable {
        let rights: Rights
        let names: [NamePattern]
    }

    /// By repository or project, already widened to what it implies.
    private var rights: [EntityID: Rights] = [:]
    private var limited: [EntityID: [Limited]] = [:]
    private var roles: Set<Role> = []
    private var isAdminOfSystem = false
    /// Of the groups the account is in, taken before their rows were read: while they hold, so does this.
    var marks: [Stamps.Mark] = []

    mutating func add(_ grant: Grant) {
        let given = Rights(grant.actions).implied
        if grant.target == .system {
            isAdminOfSystem = isAdminOfSystem || grant.actions.contains(.admin)
        } else if grant.patterns.isEmpty {
            rights[grant.target.id, default: []].formUnion(given)
        } else {
            limited[grant.target.id, default: []].append(Limited(rights: given, names: grant.patterns))
        }
    }

    mutating func add(_ role: Role) { roles.insert(role) }

    /// On all that is in the repository.
    func rights(on repository: Repository) -> Rights {
        var rights = rights[repository.id] ?? []
        if let project = repository.project { return rights.union(self.rights[project] ?? []) }
        // A project is a wall: only its members' rights count inside it.
        for role in roles { rights.formUnion(role.rights) }
        return rights
    }

    /// The names for which a right with patterns is held.
    func names(for permission: Core.Permission, on repository: Repository) -> [NamePattern] {
        guard !limited.isEmpty else { return [] }
        let rows = (limited[repository.id] ?? []) + (repository.project.flatMap { limited[$0] } ?? [])
        return rows.filter { $0.rights.contains(Rights(permission)) }.flatMap(\.names)
    }

    var hasNames: Bool { !limited.isEmpty }

    var makesRepositories: Bool { isAdminOfSystem || roles.contains(.repositoryOwner) }

    func isAdmin(of project: EntityID) -> Bool { rights[project]?.contains(Rights(.admin)) ?? false }
}

extension Access {
    /// The account's epoch must have been taken before.
    func holdings(of account: EntityID) async throws(RegistryError) -> Holdings {
        var holdings = Holdings()
        for grant in try await grants(of: .account(account)) { holdings.add(grant) }
        for role in try await storedRoles(of: account) { holdings.add(role) }
        for group in try await groups(of: account) {
            holdings.marks.append(verified.epoch(of: group))
            for grant in try await grants(of: .group(group)) { holdings.add(grant) }
        }
        return holdings
    }
}
