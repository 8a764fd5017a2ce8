import Catalog
public import Core
import Logging
import Synchronization

extension Access {
    static let firstAdmin = "admin"

    /// Makes the first administrator, `admin`, when there is none yet; to be called once, before anything is served.
    ///
    /// With a password that is not trivial the account is active at once. Otherwise a random one waits in `passwordFile` (mode 0600, first
    /// line; never logged), and the server is locked (`setupRequired`) until it was changed. A password given later releases such a lock. Of
    /// several nodes the one that makes the account has the file; the others are locked without one.
    public func bootstrapAdmin(password: String?, passwordFile: String, skip: Bool) async throws(RegistryError) {
        guard !skip else { return }
        do throws(RegistryError) { try await bootstrap(password, passwordFile) } catch {
            // Another node that starts at this moment was first: what it made is there now.
            guard error.code == .conflict, catalog.isShared else { throw error }
            try await bootstrap(password, passwordFile)
        }
    }

    private func bootstrap(_ password: String?, _ passwordFile: String) async throws(RegistryError) {
        let given = password.map(Secret.init).flatMap { $0.isEmpty ? nil : $0 }
        let usable = given.flatMap { PasswordPolicy.isTrivial($0) ? nil : $0 }
        if given != nil, usable == nil { log.warning("ADMIN_PASSWORD is trivial and was not used") }
        if let row = try await userRow(named: Access.firstAdmin) {
            guard row.locksSetup else { return }
            if let usable {
                lockSetup(passwordFile)
                try await replacePassword(of: row, with: usable, mustChange: false, by: .system, requestID: "start")
            } else if KeyFile.exists(passwordFile) || catalog.isShared {
                lockSetup(passwordFile)
            } else {
                // The file was lost before anybody used it: another password, or nobody could ever get in.
                try await makeOneTimePassword(in: passwordFile) { (password) throws(RegistryError) in
                    try await self.relock(row, with: password)
                }
            }
            return
        }
        if let usable {
            try policy.check(usable, for: Access.firstAdmin)
            try await makeFirstAdmin(usable, locked: false)
        } else {
            try await makeOneTimePassword(in: passwordFile) { (password) throws(RegistryError) in
                try await self.makeFirstAdmin(password, locked: true)
            }
        }
    }

    /// The file first: a crash in between leaves a password nobody has, which the next start replaces.
    private func makeOneTimePassword(
        in file: String, then commit: (Secret) async throws(RegistryError) -> Void
    ) async throws(RegistryError) {
        let password = generatedPassword()
        try KeyFile.write(Array("\(password.revealed)\n".utf8), to: file)
        do throws(RegistryError) { try await commit(password) } catch {
            // Nobody's: another node made the account.
            if error.code == .conflict, !KeyFile.remove(file) { log.warning("a password that was never used stays in \(file)") }
            throw error
        }
        lockSetup(file)
        log.notice("the first administrator's password waits in a file; the server is locked until it is changed", metadata: ["file": "\(file)"])
    }

    private func makeFirstAdmin(_ password: Secret, locked: Bool) async throws(RegistryError) {
        let now = world.now()
        let user = User(
            id: world.newID(), username: Access.firstAdmin, email: "admin@localhost", displayName: nil, isAdmin: true, isActive: true,
            mustChangePassword: locked, created: now, updated: now)
        let hash = try await hasher.hash(password, salt: hasher.salt(from: world))
        let row = UserRow(user: user, passwordHash: hash, locksSetup: locked)
        try await commit([.putRecord(row.record, ifRevision: .zero)], of: [user.id], by: .system, requestID: "start")
    }

    private func relock(_ row: UserRow, with password: Secret) async throws(RegistryError) {
        var row = row
        row.passwordHash = try await hasher.hash(password, salt: hasher.salt(from: world))
        row.credentialEpoch &+= 1
        row.user.mustChangePassword = true
        try await commit([.putRecord(row.record, ifRevision: row.revision)], of: [row.user.id], by: .system, requestID: "start")
    }

    private func lockSetup(_ passwordFile: String) {
        setup.withLock { $0 = Setup(required: true, passwordFile: passwordFile) }
    }

    func releaseSetupLock() {
        let file = setup.withLock { setup in
            defer { setup = Setup() }
            return setup.passwordFile
        }
        // The password in it is void; a file that stays is untidy, not dangerous.
        if let file, !KeyFile.remove(file) { log.warning("the first administrator's password file could not be removed") }
    }
}
