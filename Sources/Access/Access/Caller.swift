public import Core

/// Who is asking, with everything their rights follow from, gathered once per request.
///
/// Only `Access.authenticate` makes one that is not anonymous. Rights on a repository are the account's rights, less what the credential
/// does not cover; `Access.authorize` computes them.
public struct Caller: Sendable {
    /// What proved who the caller is.
    public enum CredentialKind: String, Sendable {
        case none, password, session, apiToken, registryToken, ticket
    }

    public let actor: Actor
    /// The spelling the account was made with; `anonymous` for nobody.
    public var username: String { actor.name }
    public var account: EntityID? { actor.account }
    public var isAnonymous: Bool { actor.account == nil }
    /// The account is an administrator's and the credential covers that.
    public let isAdmin: Bool
    /// What the credential is limited to; nil: nothing taken away.
    public let scopes: Set<TokenScope>?
    /// The repositories the credential is limited to; nil: all the account may see.
    public let tokenRepositories: Set<RepositoryID>?
    /// Nothing but the password change (and looking at oneself) may be done; `authorize` refuses everything.
    public let mustChangePassword: Bool
    public let credentialKind: CredentialKind

    /// The account is an administrator's, whatever the credential covers.
    let ownerIsAdmin: Bool
    /// What rows of permission give.
    var holdings: Holdings
    /// A registry token's own limits; nil for every other credential.
    var registryScopes: [RegistryScope]?
    /// What must still be there for the credential to hold.
    let root: CredentialRoot
    let expires: Timestamp?
    /// A session's: when its owner proved who they are.
    var loggedIn: Timestamp?
    /// What the caller came with; nil for who was made by hand or on the short road.
    public internal(set) var asked: Asked?

    /// Nobody in particular.
    public static let anonymous = Caller(anonymousWith: nil)

    /// Whether what a request is about inside a repository can make a difference to this caller.
    public var isBoundToNames: Bool { registryScopes != nil || holdings.hasNames }

    /// The credential does not forbid this use. What the account may do is another question.
    public func permits(_ scope: TokenScope) -> Bool {
        guard registryScopes == nil else { return false }
        guard let scopes else { return true }
        return scopes.contains(scope) || scopes.contains(.admin) || scopes.contains(.everything)
    }
}

/// What a credential hangs on. A token exchanged for another keeps the root of the first, so that it dies with it.
enum CredentialRoot: Sendable, Hashable {
    case none
    /// The password as it was at this epoch of the account.
    case password(epoch: UInt32)
    case session(family: EntityID)
    case apiToken(EntityID)
}

extension Caller {
    init(anonymousWith registryScopes: [RegistryScope]?, expires: Timestamp? = nil) {
        self.init(
            actor: .anonymous, isAdmin: false, scopes: nil, tokenRepositories: nil, mustChangePassword: false,
            credentialKind: registryScopes == nil ? .none : .registryToken, ownerIsAdmin: false, holdings: Holdings(), registryScopes: registryScopes,
            root: .none, expires: expires)
    }

    /// The same caller, limited further to a registry token's scopes.
    func limited(to registryScopes: [RegistryScope], expires: Timestamp) -> Caller {
        Caller(
            actor: actor, isAdmin: false, scopes: scopes, tokenRepositories: tokenRepositories, mustChangePassword: mustChangePassword,
            credentialKind: .registryToken, ownerIsAdmin: ownerIsAdmin, holdings: holdings, registryScopes: registryScopes, root: root,
            expires: min(expires, self.expires ?? expires), asked: asked)
    }
}
