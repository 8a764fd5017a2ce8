public import Catalog
public import Core

/// Proof that the caller may do exactly this on exactly this repository. Only `Access` makes one; whoever opens bytes or facts asks for one
/// and uses the repository inside it, so that what was checked is what is served.
public struct Authorized: Sendable {
    public let repository: Repository
    public let permission: Core.Permission
    public let caller: Caller

    init(repository: Repository, permission: Core.Permission, caller: Caller) {
        self.repository = repository
        self.permission = permission
        self.caller = caller
    }
}

extension Access {
    /// Decides. Effective rights are the account's, less what the token's scopes and repositories do not cover.
    ///
    /// A repository the caller may not see answers like one that does not exist (pass nil): the same code, subject and reason.
    /// - Parameters:
    ///   - package: the name inside the repository, for tokens that are bound to names (docker's).
    ///   - scope: the scope a token needs, where it is not the one of the permission (`read:repositories` for management).
    /// - Throws: `unauthenticated` when nobody asked and it is not public; `notFound` when they may not see it; `forbidden` when they see it,
    ///   but may not do this.
    public func authorize(
        _ caller: Caller, _ permission: Core.Permission, on repository: Repository?, package: String? = nil, scope: TokenScope? = nil
    ) throws(RegistryError) -> Authorized {
        let decided = Result { () throws(RegistryError) in try decide(caller, permission, on: repository, package: package, scope: scope) }
        switch decided {
        case .success(let authorized):
            if permission != .read || keepsReads { try keep(caller, "\(permission)", on: repository, package: package) }
            return authorized
        case .failure(let error):
            try keep(caller, "\(permission)", on: repository, package: package, refusal: error.code)
            throw error
        }
    }

    /// The same as a question that nobody keeps: whoever is refused asks `authorize`, to be told why.
    public func authorizeAtOnce(_ caller: Caller, _ permission: Core.Permission, on repository: Repository, package: String?) -> Authorized? {
        guard !keepsReads else { return nil }
        return try? decide(caller, permission, on: repository, package: package, scope: nil)
    }

    private func decide(
        _ caller: Caller, _ permission: Core.Permission, on repository: Repository?, package: String?, scope: TokenScope?
    ) throws(RegistryError) -> Authorized {
        let scope = scope ?? .needed(for: permission)
        if let repository, allows(caller, permission, on: repository, package: package, scope: scope) {
            guard !caller.mustChangePassword else { throw Access.passwordMustChange }
            return Authorized(repository: repository, permission: permission, caller: caller)
        }
        if caller.isAnonymous {
            throw RegistryError(.unauthenticated, subject: .request, reason: "this needs credentials: log in, or send a token")
        }
        guard let repository, isVisible(repository, to: caller) else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such repository, or you may not see it")
        }
        throw RegistryError(
            .forbidden, subject: .repository(repository.key.text), reason: "you may not \(permission) here: ask for the right, or use another token")
    }

    /// The right on a member that is reached through its virtual repository: the account's own right on the member. Limits of the credential
    /// to repositories and names were met by the virtual, so they are not asked again. nil when the caller may not: the member is skipped.
    /// - Parameter permission: what is done to the member; nil: what was asked of the virtual.
    public func authorize(member: Repository, through virtual: Authorized, for permission: Core.Permission? = nil) -> Authorized? {
        guard virtual.repository.members.contains(where: { $0.repository == member.id }) else { return nil }
        let permission = permission ?? virtual.permission
        // Whoever may only read the virtual does no more to its members.
        guard permission <= virtual.permission, accountRights(of: virtual.caller, on: member).contains(Rights(permission)) else { return nil }
        return Authorized(repository: member, permission: permission, caller: virtual.caller)
    }

    /// Whether the caller may read what is in it: `authorize` for `read`, as a question.
    public func mayRead(_ caller: Caller, _ repository: Repository, package: String? = nil) -> Bool {
        !caller.mustChangePassword && allows(caller, .read, on: repository, package: package, scope: .readArtifacts)
    }

    /// Whether listings name it. A token may list repositories whose bytes it does not cover.
    public func mayList(_ caller: Caller, _ repository: Repository) -> Bool { !caller.mustChangePassword && isVisible(repository, to: caller) }

    /// What the caller may do here, all limits counted.
    public func permissions(of caller: Caller, on repository: Repository, package: String? = nil) -> Set<Core.Permission> {
        Set(
            Core.Permission.allCases.filter {
                allows(caller, $0, on: repository, package: package, scope: .needed(for: $0))
            })
    }

    /// A registry token names images, and means nothing where nobody asks for images.
    /// - Throws: `unauthenticated` for a caller who came with one.
    public func refuseRegistryToken(_ caller: Caller) throws(RegistryError) {
        guard caller.credentialKind == .registryToken else { return }
        try keep(caller, "authenticate", on: nil, refusal: .unauthenticated)
        throw Access.badCredentials
    }

    /// For what belongs to no repository.
    /// - Parameter scope: a narrower scope than `admin` that is enough for a token of an administrator (`read:users`).
    /// - Throws: `unauthenticated` for nobody, `forbidden` for who is no administrator or holds a credential that does not cover it.
    public func requireAdmin(_ caller: Caller, scope: TokenScope? = nil) throws(RegistryError) {
        do throws(RegistryError) { try decideAdmin(caller, scope) } catch {
            try keep(caller, "administer", on: nil, refusal: error.code)
            throw error
        }
        if caller.asked?.isChange == true || keepsReads { try keep(caller, "administer", on: nil) }
    }

    private func decideAdmin(_ caller: Caller, _ scope: TokenScope?) throws(RegistryError) {
        try decideAccount(caller, nil)
        if let scope, caller.ownerIsAdmin, caller.tokenRepositories == nil, caller.permits(scope) { return }
        guard caller.isAdmin else {
            throw RegistryError(.forbidden, subject: .request, reason: "this needs an administrator, with a credential that covers it")
        }
    }

    /// - Throws: `unauthenticated` for nobody; `forbidden` when the credential lacks the scope, or the password must change first.
    public func requireAccount(_ caller: Caller, scope: TokenScope? = nil) throws(RegistryError) {
        do throws(RegistryError) { try decideAccount(caller, scope) } catch {
            try keep(caller, "act", on: nil, refusal: error.code)
            throw error
        }
    }

    private func decideAccount(_ caller: Caller, _ scope: TokenScope?) throws(RegistryError) {
        guard !caller.isAnonymous else {
            throw RegistryError(.unauthenticated, subject: .request, reason: "this needs credentials: log in, or send a token")
        }
        guard !caller.mustChangePassword else { throw Access.passwordMustChange }
        if let scope, !caller.permits(scope) {
            throw RegistryError(.forbidden, subject: .request, reason: "the token lacks the scope \(scope.rawValue)")
        }
    }

    private static var passwordMustChange: RegistryError {
        RegistryError(.forbidden, subject: .request, reason: "the password must be changed first")
    }

    private func allows(
        _ caller: Caller, _ permission: Core.Permission, on repository: Repository, package: String?, scope: TokenScope
    ) -> Bool {
        guard accountRights(of: caller, on: repository).contains(Rights(permission)) else { return false }
        if let limits = caller.registryScopes {
            guard limits.contains(where: { $0.covers(permission, in: repository.key, package: package) }) else { return false }
            // The token the registry token came from keeps its own limits.
            guard Caller.allows(caller.scopes, scope) else { return false }
        } else {
            guard caller.permits(scope) else { return false }
        }
        return caller.tokenRepositories?.contains(repository.id) ?? true
    }

    private func accountRights(of caller: Caller, on repository: Repository) -> Rights {
        if caller.ownerIsAdmin { return .all }
        var rights = caller.holdings.rights(on: repository)
        if repository.isPublic, options.guestAccess || !caller.isAnonymous { rights.formUnion(.read) }
        return rights
    }

    /// It is no secret to the caller: they may do at least one thing with it.
    private func isVisible(_ repository: Repository, to caller: Caller) -> Bool {
        Core.Permission.allCases.contains { allows(caller, $0, on: repository, package: nil, scope: .needed(for: $0)) }
            || allows(caller, .read, on: repository, package: nil, scope: .readRepositories)
    }
}

extension Caller {
    static func allows(_ scopes: Set<TokenScope>?, _ scope: TokenScope) -> Bool {
        guard let scopes else { return true }
        return scopes.contains(scope) || scopes.contains(.admin) || scopes.contains(.everything)
    }
}
