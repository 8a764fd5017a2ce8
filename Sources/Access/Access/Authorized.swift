public import Catalog
public import Core

/// Proof that the caller may do exactly this on exactly this repository. Only `Access` makes one; whoever opens bytes or facts asks for one
/// and uses the repository inside it, so that what was checked is what is served.
public struct Authorized: Sendable {
    public let repository: Repository
    public let permission: Core.Permission
    public let caller: Caller
    /// What it was given for.
    public let subject: Subject
    /// The names it is limited to; nil: none.
    let names: [NamePattern]?

    init(repository: Repository, permission: Core.Permission, caller: Caller, subject: Subject, names: [NamePattern]?) {
        self.repository = repository
        self.permission = permission
        self.caller = caller
        self.subject = subject
        self.names = names
    }

    /// It holds for some names only: whoever shows or changes something asks `covers` about it.
    public var isLimited: Bool { names != nil }

    /// Whether it holds for the package or path of this name. Only rights are asked: a registry token's own names were asked with the subject.
    public func covers(_ name: String) -> Bool { names.map { $0.contains { $0.covers(name) } } ?? true }
}

extension Access {
    /// Decides. Effective rights are the account's, less what the token's scopes and repositories do not cover.
    ///
    /// A repository the caller may not see answers like one that does not exist (pass nil): the same code, subject and reason.
    /// - Parameters:
    ///   - name: what was asked for, whether it is there or not.
    ///   - subject: what it is about inside the repository, for rights and tokens that are limited to names.
    ///   - scope: the scope a token needs, where it is not the one of the permission (`read:repositories` for management).
    /// - Throws: `unauthenticated` when nobody asked and it is not public; `notFound` when they may not see it; `forbidden` when they see it,
    ///   but may not do this.
    public func authorize(
        _ caller: Caller, _ permission: Core.Permission, on repository: Repository?, named name: RepositoryKey? = nil,
        about subject: Subject = .whole, scope: TokenScope? = nil
    ) throws(RegistryError) -> Authorized {
        let decided = Result { () throws(RegistryError) in try decide(caller, permission, on: repository, about: subject, scope: scope) }
        switch decided {
        case .success(let authorized):
            if permission != .read || keepsReads { try keep(caller, "\(permission)", on: repository, package: subject.name) }
            return authorized
        case .failure(let error):
            try keep(caller, "\(permission)", on: repository, named: name, package: subject.name, refusal: error.code)
            throw error
        }
    }

    /// The same as a question that nobody keeps: whoever is refused asks `authorize`, to be told why.
    public func authorizeAtOnce(_ caller: Caller, _ permission: Core.Permission, on repository: Repository?, about subject: Subject) -> Authorized? {
        guard !keepsReads else { return nil }
        return try? decide(caller, permission, on: repository, about: subject, scope: nil)
    }

    private func decide(
        _ caller: Caller, _ permission: Core.Permission, on repository: Repository?, about subject: Subject, scope: TokenScope?
    ) throws(RegistryError) -> Authorized {
        let scope = scope ?? .needed(for: permission)
        // Both questions are asked of what is not there, too: the time that they take would tell.
        let asked = repository ?? .nowhere
        let reached = reach(of: caller, permission, on: asked, about: subject, scope: scope)
        if let repository, case .some(let names) = reached {
            guard !caller.mustChangePassword else { throw Access.passwordMustChange }
            return Authorized(repository: repository, permission: permission, caller: caller, subject: subject, names: names)
        }
        if caller.isAnonymous {
            throw RegistryError(.unauthenticated, subject: .request, reason: "this needs credentials: log in, or send a token")
        }
        let isSeen = isVisible(asked, to: caller)
        guard let repository, isSeen else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such repository, or you may not see it")
        }
        throw RegistryError(
            .forbidden, subject: .repository(repository.key.text), reason: "you may not \(permission) here: ask for the right, or use another token")
    }

    /// What an authority that is limited to names is used for, once that is known.
    /// - Parameter name: of the package or path; nil: everything.
    /// - Throws: `forbidden` unless it holds for that.
    public func require(_ authorized: Authorized, for name: String?) throws(RegistryError) {
        guard authorized.isLimited, !(name.map { authorized.covers($0) } ?? false) else { return }
        try keep(
            authorized.caller, "\(authorized.permission)", on: authorized.repository, package: name ?? authorized.subject.name, refusal: .forbidden)
        throw RegistryError(
            .forbidden, subject: .repository(authorized.repository.key.text),
            reason:
                "your right to \(authorized.permission) here is limited to some names, and this is about \(name == nil ? "all of them" : "another")")
    }

    /// The right on a member that is reached through its virtual repository: the account's own right on the member. Limits of the credential
    /// to repositories and names were met by the virtual, so they are not asked again. nil when the caller may not: the member is skipped.
    /// - Parameter permission: what is done to the member; nil: what was asked of the virtual.
    public func authorize(member: Repository, through virtual: Authorized, for permission: Core.Permission? = nil) -> Authorized? {
        guard virtual.repository.members.contains(where: { $0.repository == member.id }) else { return nil }
        let permission = permission ?? virtual.permission
        // Whoever may only read the virtual does no more to its members.
        guard permission <= virtual.permission,
            case .some(let names) = accountReach(of: virtual.caller, permission, on: member, about: virtual.subject)
        else { return nil }
        return Authorized(repository: member, permission: permission, caller: virtual.caller, subject: virtual.subject, names: names)
    }

    /// Whether the caller may read this of it: `authorize` for `read`, as a question.
    public func mayRead(_ caller: Caller, _ repository: Repository, about subject: Subject = .whole) -> Bool {
        !caller.mustChangePassword && reach(of: caller, .read, on: repository, about: subject, scope: .readArtifacts) != nil
    }

    /// Who lists names. A registry token for the catalogue names what the credential behind it may read; any other what it is good for itself.
    public func lister(_ caller: Caller) -> Caller {
        guard caller.registryScopes?.contains(.catalogue) == true else { return caller }
        var lister = caller
        lister.registryScopes = nil
        return lister
    }

    /// For a list of names of which each is shown only if `mayRead` holds for it: something in the repository may be read. Of a virtual repository's
    /// members those are listed of which something may be read, each name that the right on the member covers.
    public func authorizeNames(_ caller: Caller, on repository: Repository) throws(RegistryError) -> Authorized {
        try authorize(caller, .read, on: repository, about: .unknown)
    }

    /// Whether listings name it; nil, what is not there, takes as long as what they do not name. A token may list repositories whose bytes it does
    /// not cover.
    public func mayList(_ caller: Caller, _ repository: Repository?) -> Bool {
        let isSeen = isVisible(repository ?? .nowhere, to: caller)
        return !caller.mustChangePassword && isSeen && repository != nil
    }

    /// What the caller may do here, all limits counted.
    public func permissions(of caller: Caller, on repository: Repository, about subject: Subject = .whole) -> Set<Core.Permission> {
        Set(
            Core.Permission.allCases.filter {
                reach(of: caller, $0, on: repository, about: subject, scope: .needed(for: $0)) != nil
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

    /// The same as a question.
    public func mayAdminister(_ caller: Caller, scope: TokenScope? = nil) -> Bool {
        do throws(RegistryError) { try decideAdmin(caller, scope) } catch { return false }
        return true
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
        guard caller.credentialKind != .ticket else {
            throw RegistryError(.forbidden, subject: .request, reason: "a ticket is good for a download and for nothing else")
        }
        if let scope, !caller.permits(scope) {
            throw RegistryError(.forbidden, subject: .request, reason: "the token lacks the scope \(scope.rawValue)")
        }
    }

    private static var passwordMustChange: RegistryError {
        RegistryError(.forbidden, subject: .request, reason: "the password must be changed first")
    }

    /// Names a permission holds for: `.some(nil)` is all of them. nil: it is not given.
    private typealias Reach = [NamePattern]??

    private func reach(
        of caller: Caller, _ permission: Core.Permission, on repository: Repository, about subject: Subject, scope: TokenScope
    ) -> Reach {
        guard case .some(let names) = accountReach(of: caller, permission, on: repository, about: subject) else { return nil }
        if let limits = caller.registryScopes {
            guard limits.contains(where: { $0.covers(permission, in: repository.key, about: subject) }) else { return nil }
            // The token the registry token came from keeps its own limits.
            guard Caller.allows(caller.scopes, scope) else { return nil }
        } else {
            guard caller.permits(scope) else { return nil }
        }
        guard caller.tokenRepositories?.contains(repository.id) ?? true else { return nil }
        return .some(names)
    }

    /// The account's own right, whatever the credential takes away.
    private func accountReach(
        of caller: Caller, _ permission: Core.Permission, on repository: Repository, about subject: Subject
    ) -> Reach {
        if caller.ownerIsAdmin || caller.holdings.rights(on: repository).contains(Rights(permission)) { return .some(nil) }
        if permission == .read, repository.isPublic, options.guestAccess || !caller.isAnonymous { return .some(nil) }
        let names = caller.holdings.names(for: permission, on: repository)
        switch subject {
        case .whole: return nil
        case .unknown: return names.isEmpty ? nil : .some(names)
        case .name(let name): return names.contains { $0.covers(name) } ? .some(names) : nil
        }
    }

    /// It is no secret to the caller: they may do at least one thing with it, or with something in it.
    private func isVisible(_ repository: Repository, to caller: Caller) -> Bool {
        Core.Permission.allCases.contains { reach(of: caller, $0, on: repository, about: .unknown, scope: .needed(for: $0)) != nil }
            || reach(of: caller, .read, on: repository, about: .unknown, scope: .readRepositories) != nil
    }
}

extension Caller {
    static func allows(_ scopes: Set<TokenScope>?, _ scope: TokenScope) -> Bool {
        guard let scopes else { return true }
        return scopes.contains(scope) || scopes.contains(.admin) || scopes.contains(.everything)
    }
}
