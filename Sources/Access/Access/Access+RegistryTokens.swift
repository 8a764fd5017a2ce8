import Catalog
public import Core

extension Access {
    /// Exchanges the caller's credentials for a short-lived token that is good for these names and actions, as far as the caller has them
    /// now; what is not theirs is left out, not refused (distribution-spec token flow). Later checks ask again.
    ///
    /// The token dies with the credential behind it: a revoked API token, an ended session or a changed password void it.
    /// - Throws: `forbidden` when the caller came with a registry token: exchanges do not chain.
    public func issueRegistryToken(
        for caller: Caller, scopes: [RegistryScope]
    ) async throws(RegistryError) -> (token: Secret, expiresIn: Int64, granted: [RegistryScope]) {
        guard caller.credentialKind != .registryToken, caller.credentialKind != .ticket else {
            throw RegistryError(.forbidden, subject: .request, reason: "a registry token is not exchanged for another")
        }
        if caller.mustChangePassword { try requireAccount(caller) }
        guard scopes.count <= 64 else { throw RegistryError(.tooLarge, subject: .field("scope"), reason: "at most 64 scopes at once") }
        var granted: [RegistryScope] = []
        for scope in scopes {
            if scope == .catalogue, !caller.isAnonymous { granted.append(scope) }
            guard let key = scope.repositoryKey, scope.name.utf8.count <= 512, let repository = try await catalog.repository(key) else { continue }
            let actions = scope.actions.intersection(permissions(of: caller, on: repository, about: Subject(name: scope.package.map(String.init))))
            if !actions.isEmpty { granted.append(RegistryScope(name: scope.name, actions: actions)) }
        }
        var lifetime = options.registryTokenSeconds
        if let expires = caller.expires { lifetime = min(lifetime, expires.seconds - world.now().seconds) }
        var user: User?
        if let account = caller.account { user = try await self.user(account) }
        let claims = claims(
            for: user, purpose: .registry, lifetimeSeconds: lifetime, jti: world.newID(), root: caller.root, access: granted)
        return (Secret(signer.sign(claims)), lifetime, granted)
    }
}
