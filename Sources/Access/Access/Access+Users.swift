import Catalog
public import Core

/// A change of an account: what is nil stays.
public struct UserEdit: Sendable {
    public var email: String?
    /// `.some(nil)` removes it.
    public var displayName: String??
    public var isAdmin: Bool?
    public var isActive: Bool?

    public init(email: String? = nil, displayName: String?? = nil, isAdmin: Bool? = nil, isActive: Bool? = nil) {
        self.email = email
        self.displayName = displayName
        self.isAdmin = isAdmin
        self.isActive = isActive
    }
}

// Who may call these is decided by `requireAdmin` and `requireAccount` before; `actor` is who did it, for the log.
extension Access {
    /// Without a password one is made, returned once, and must be changed at the first login.
    /// - Throws: `invalid` for a name, address or password that is none; `conflict` when the name is taken, in either case.
    public func createUser(
        username: String, email: String, displayName: String? = nil, password: String?, isAdmin: Bool = false, by actor: Actor, requestID: String
    ) async throws(RegistryError) -> (user: User, generatedPassword: Secret?) {
        try Access.check(username: username)
        try Access.check(email: email)
        try Access.check(displayName: displayName)
        let generated = password == nil ? generatedPassword() : nil
        let secret = generated ?? Secret(password ?? "")
        try policy.check(secret, for: username)
        let now = world.now()
        let user = User(
            id: world.newID(), username: username, email: email, displayName: displayName, isAdmin: isAdmin, isActive: true,
            mustChangePassword: generated != nil, created: now, updated: now)
        let hash = try await hasher.hash(secret, salt: hasher.salt(from: world))
        do {
            try await commit([.putRecord(UserRow(user: user, passwordHash: hash).record, ifRevision: .zero)], of: [], by: actor, requestID: requestID)
        } catch {
            guard error.code == .conflict else { throw error }
            throw RegistryError(.conflict, subject: .account(username), reason: "the name is taken")
        }
        return (user, generated)
    }

    public func user(_ id: EntityID) async throws(RegistryError) -> User? { try await userRow(id)?.user }
    /// Upper and lower case are the same name.
    public func user(named username: String) async throws(RegistryError) -> User? { try await userRow(named: username)?.user }

    /// In the order the accounts were made, to the millisecond.
    public func users(after: EntityID?, limit: Int) async throws(RegistryError) -> [User] {
        var users: [User] = []
        for record in try await catalog.records(.user, after: after?.description, limit: limit) { users.append(try UserRow(record).user) }
        return users
    }

    /// - Throws: `notFound`; `conflict` when it would leave no active administrator.
    @discardableResult
    public func updateUser(_ id: EntityID, _ edit: UserEdit, by actor: Actor, requestID: String) async throws(RegistryError) -> User {
        if let email = edit.email { try Access.check(email: email) }
        if let displayName = edit.displayName { try Access.check(displayName: displayName) }
        if edit.isAdmin == false || edit.isActive == false { try await checkNotLastAdmin(id) }
        return try await modify(id, by: actor, requestID: requestID) { row in
            row.user.email = edit.email ?? row.user.email
            row.user.displayName = edit.displayName ?? row.user.displayName
            row.user.isAdmin = edit.isAdmin ?? row.user.isAdmin
            row.user.isActive = edit.isActive ?? row.user.isActive
        }.user
    }

    /// Removes the account with its sessions, tokens, permissions, roles and places in groups.
    /// - Throws: `notFound`; `conflict` when it would leave no active administrator.
    public func deleteUser(_ id: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        guard try await userRow(id) != nil else { throw Access.noSuchUser }
        try await checkNotLastAdmin(id)
        var parts: [Change.Part] = [.deleteRecord(.user, id: id.description)]
        for (kind, prefix) in [(Record.Kind.session, "\(id)/"), (.token, "\(id)/"), (.permission, "u/\(id)/"), (.permission, "r/\(id)/")] {
            parts += try await records(kind, prefix: prefix).map { .deleteRecord(kind, id: $0.id) }
        }
        for group in try await groups(of: id) { parts += Membership.removal(group, id) }
        try await commit(parts, of: [id], by: actor, requestID: requestID)
    }

    /// The owner's own change. All sessions end, this one too; a lock on the setup is released.
    /// - Throws: `unauthenticated` for a wrong current password, `invalid` for a new one that is weak or the same.
    public func setPassword(
        of id: EntityID, current: String, new: String, from address: String = "", by actor: Actor, requestID: String
    ) async throws(RegistryError) {
        let (current, new) = (Secret(current), Secret(new))
        guard let row = try await userRow(id) else { throw Access.badCredentials }
        do { try await reprove(current, of: row, from: address) } catch {
            guard error.code == .unauthenticated else { throw error }
            throw RegistryError(.unauthenticated, subject: .account(row.user.username), reason: "the current password is not right")
        }
        guard current != new else {
            throw RegistryError(.invalid, subject: .field("new_password"), reason: "the new password is the old one: choose another")
        }
        try await replacePassword(of: row, with: new, mustChange: false, by: actor, requestID: requestID)
    }

    /// An administrator's change of another account: a random password, returned once, to be changed at the first login.
    public func resetPassword(of id: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) -> Secret {
        guard let row = try await userRow(id) else { throw Access.noSuchUser }
        guard !row.user.isService else {
            throw RegistryError(.invalid, subject: .account(row.user.username), reason: "a service account has no password: give it a token")
        }
        let password = generatedPassword()
        try await replacePassword(of: row, with: password, mustChange: true, by: actor, requestID: requestID)
        guesses.forget(row.user.username)
        return password
    }

    /// Until the password is changed, the account can do nothing else.
    public func forcePasswordChange(of id: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        try await modify(id, by: actor, requestID: requestID) { $0.user.mustChangePassword = true }
    }

    // MARK: Inside the room

    func userRow(_ id: EntityID) async throws(RegistryError) -> UserRow? {
        guard let record = try await catalog.record(.user, id: id.description) else { return nil }
        return try UserRow(record)
    }

    func userRow(named username: String) async throws(RegistryError) -> UserRow? {
        guard let record = try await catalog.record(.user, unique: UserRow.unique(username)) else { return nil }
        return try UserRow(record)
    }

    /// 20 characters of 32: a hundred random bits, none of them easily misread.
    func generatedPassword() -> Secret {
        let alphabet = Array("abcdefghjkmnpqrstuvwxyz23456789A".utf8)
        return Secret(String(decoding: world.randomBytes(20).map { alphabet[Int($0 & 31)] }, as: UTF8.self))
    }

    /// One row, one revision: a password and what hangs on it change together or not at all.
    func replacePassword(of row: UserRow, with password: Secret, mustChange: Bool, by actor: Actor, requestID: String) async throws(RegistryError) {
        try policy.check(password, for: row.user.username)
        for earlier in row.earlierHashes.prefix(options.passwordHistory)
        where try await hasher.verify(PasswordHasher.bounded(password), against: earlier) {
            throw RegistryError(.invalid, subject: .field("new_password"), reason: "this password was used before: choose another")
        }
        let hash = try await hasher.hash(password, salt: hasher.salt(from: world))
        let known = row.credentialEpoch
        let changed = try await modify(row.user.id, by: actor, requestID: requestID) { (row) throws(RegistryError) in
            guard row.credentialEpoch == known else {
                throw RegistryError(.conflict, subject: .account(row.user.username), reason: "the password was changed meanwhile")
            }
            row.earlierHashes = Array(([row.passwordHash].compactMap { $0 } + row.earlierHashes).prefix(options.passwordHistory))
            row.passwordHash = hash
            row.credentialEpoch &+= 1
            row.user.mustChangePassword = mustChange
            if !mustChange { row.locksSetup = false }
        }
        if row.locksSetup, !changed.locksSetup { releaseSetupLock() }
    }

    @discardableResult
    func modify(
        _ id: EntityID, by actor: Actor, requestID: String, _ change: (inout UserRow) throws(RegistryError) -> Void
    ) async throws(RegistryError) -> UserRow {
        for _ in 0..<8 {
            guard var row = try await userRow(id) else { throw Access.noSuchUser }
            try change(&row)
            row.user.updated = world.now()
            do {
                try await commit([.putRecord(row.record, ifRevision: row.revision)], of: [id], by: actor, requestID: requestID)
                return row
            } catch {
                // Somebody changed the row between our reading and writing it: change the new one.
                guard error.code == .conflict else { throw error }
            }
        }
        throw RegistryError(.conflict, subject: .account(id.description), reason: "the account is being changed by others: try again")
    }

    private func checkNotLastAdmin(_ id: EntityID) async throws(RegistryError) {
        var after: EntityID?
        while true {
            let page = try await users(after: after, limit: 256)
            if page.contains(where: { $0.id != id && $0.isAdmin && $0.isActive }) { return }
            guard let last = page.last else { break }
            after = last.id
        }
        guard let row = try await userRow(id), row.user.isAdmin, row.user.isActive else { return }
        throw RegistryError(.conflict, subject: .account(row.user.username), reason: "this is the last active administrator: make another first")
    }

    static var noSuchUser: RegistryError { RegistryError(.notFound, subject: .request, reason: "there is no such account") }

    /// 1-64 of `[A-Za-z0-9._@+-]`, beginning with a letter or digit: it stands in URLs, logs and Basic credentials.
    static func check(username: String) throws(RegistryError) {
        let isAllowed: (UInt8) -> Bool = { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
            default: false
            }
        }
        guard (1...64).contains(username.utf8.count), let first = username.utf8.first, isAllowed(first),
            username.utf8.allSatisfy({ isAllowed($0) || "._@+-".utf8.contains($0) })
        else { throw RegistryError(.invalid, subject: .field("username"), reason: "1 to 64 letters, digits or . _ @ + -") }
        let reserved = [Actor.anonymous.name, Actor.system.name]
        guard !reserved.contains(username.lowercased()) else {
            throw RegistryError(.invalid, subject: .field("username"), reason: "the name \(username) is reserved")
        }
    }

    static func check(email: String) throws(RegistryError) {
        let parts = email.split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty }), email.utf8.count <= 254, email.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
            throw RegistryError(.invalid, subject: .field("email"), reason: "this is no mail address")
        }
    }

    static func check(displayName: String?) throws(RegistryError) {
        guard let displayName else { return }
        guard displayName.utf8.count <= 256, displayName.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw RegistryError(.invalid, subject: .field("display_name"), reason: "at most 256 bytes, no control characters")
        }
    }
}
