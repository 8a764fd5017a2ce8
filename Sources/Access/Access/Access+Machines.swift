import Catalog
public import Core

// Accounts of machines: users without a password, who come with API tokens only. Who may call these is decided by `requireAdmin` before.
extension Access {
    /// Names of service accounts begin with it, so that logs and lists tell them from people.
    public static let servicePrefix = "svc-"

    /// - Throws: `invalid` for a name that is none; `conflict` when it is taken.
    public func createServiceAccount(
        name: String, displayName: String?, by actor: Actor, requestID: String
    ) async throws(RegistryError) -> User {
        let username = name.lowercased().hasPrefix(Access.servicePrefix) ? name : Access.servicePrefix + name
        try Access.check(username: username)
        try Access.check(displayName: displayName)
        let now = world.now()
        let user = User(
            id: world.newID(), username: username, email: "\(username)@localhost", displayName: displayName, isAdmin: false, isActive: true,
            mustChangePassword: false, created: now, updated: now, isService: true)
        do throws(RegistryError) {
            try await commit([.putRecord(UserRow(user: user, passwordHash: nil).record, ifRevision: .zero)], of: [], by: actor, requestID: requestID)
        } catch {
            guard error.code == .conflict else { throw error }
            throw RegistryError(.conflict, subject: .account(username), reason: "the name is taken")
        }
        return user
    }

    /// - Throws: `notFound` for an account that is none, or a person's.
    public func serviceAccount(_ id: EntityID) async throws(RegistryError) -> User {
        guard let user = try await user(id), user.isService else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such service account")
        }
        return user
    }

    /// In the order they were made.
    public func serviceAccounts() async throws(RegistryError) -> [User] {
        var found: [User] = []
        for record in try await records(.user, prefix: "") {
            let user = try UserRow(record).user
            if user.isService { found.append(user) }
        }
        return found
    }
}
