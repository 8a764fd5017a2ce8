import Catalog
public import Core

extension Access {
    /// Who presented these credentials. No credentials: `Caller.anonymous`.
    /// - Throws: `unauthenticated`, always in the same words, when what was presented does not hold: unknown, wrong, expired, revoked, or of
    ///   an account that was switched off; `rateLimited` when too many passwords were guessed from where it came.
    public func authenticate(_ credentials: Credentials, for asked: Asked? = nil) async throws(RegistryError) -> Caller {
        var credentials = credentials
        if credentials.address.isEmpty, let asked { credentials.address = asked.peer }
        do {
            var caller = try await identify(credentials)
            caller.asked = asked
            return caller
        } catch {
            if Access.isGuessed(error), let asked {
                let name = await auditName(of: credentials.claimedName)
                try keep("authenticate", account: name, refusal: error.code, asked: asked, requestID: asked.requestID)
            }
            throw error
        }
    }

    private func identify(_ credentials: Credentials) async throws(RegistryError) -> Caller {
        if let (caller, _) = try authenticateAtOnce(credentials) { return caller }
        let caller = try await identifyAnew(credentials)
        uses.note(caller.apiToken, at: world.now())
        return caller
    }

    private func identifyAnew(_ credentials: Credentials) async throws(RegistryError) -> Caller {
        if case .ticket(let text, let path) = credentials.presented { return try await authenticate(ticket: text, path: path) }
        guard let key = verified.key(for: credentials.presented) else { throw Access.badCredentials }
        switch credentials.presented {
        case .none: return .anonymous
        case .malformed, .ticket: throw Access.badCredentials
        case .token(let token): return try await authenticate(token: token, key: key)
        case .password(let user, let password):
            let proven = try await prove(user, password, from: credentials.address)
            let caller = try await passwordCaller(for: proven.row)
            verified.remember(caller, for: key, at: proven.epoch)
            return caller
        }
    }

    /// The same without waiting, for an event loop, and how long it is true: nil when it would take a row or a hash to know.
    public func authenticateAtOnce(_ credentials: Credentials) throws(RegistryError) -> (caller: Caller, standing: Standing)? {
        if case .none = credentials.presented { return (.anonymous, Standing.nobodys) }
        // Good once: there is nothing to know beforehand.
        if case .ticket = credentials.presented { return nil }
        guard let key = verified.key(for: credentials.presented) else { throw Access.badCredentials }
        let now = world.now()
        var isGuessable = false
        if case .password(let user, _) = credentials.presented {
            isGuessable = true
            // Right or not: an address that guessed too often must not learn what others have proved.
            if guesses.mayRefuse(at: now) { try guesses.check(user, from: credentials.address, at: now) }
        }
        return verified.caller(for: key, at: now).map {
            let token = $0.caller.apiToken
            uses.note(token, at: now)
            return ($0.caller, Standing(epoch: $0.epoch, expires: $0.caller.expires, isGuessable: isGuessable, token: token))
        }
    }

    /// Until when a credential proves its caller, with all that caller's rights: nothing of the account has changed since, and it has not expired.
    public struct Standing: Sendable {
        /// nil: nobody's.
        fileprivate let epoch: VerifiedCache.Epoch?
        fileprivate let expires: Timestamp?
        /// A password: while addresses are refused, who sends it has to be asked for.
        fileprivate let isGuessable: Bool
        fileprivate let token: APIToken.Place?

        fileprivate static let nobodys = Standing(epoch: nil, expires: nil, isGuessable: false, token: nil)
    }

    /// Asked before what it stands for is given again, which is a use of it.
    public func isCurrent(_ standing: Standing) -> Bool {
        guard let epoch = standing.epoch else { return true }
        let now = world.now()
        guard verified.isCurrent(epoch), !(standing.isGuessable && guesses.mayRefuse(at: now)) else { return false }
        guard standing.expires.map({ now < $0 }) ?? true else { return false }
        uses.note(standing.token, at: now)
        return true
    }

    static var badCredentials: RegistryError {
        RegistryError(.unauthenticated, subject: .request, reason: "the credentials are not valid")
    }

    // MARK: Tokens

    private func authenticate(token: Secret, key: VerifiedCache.Key) async throws(RegistryError) -> Caller {
        if token.revealed.hasPrefix(TokenText.apiTokenPrefix) { return try await authenticate(apiToken: token, key: key) }
        guard let claims = signer.verify(token, for: [.access, .registry], at: world.now()) else { throw Access.badCredentials }
        let expires = claims.expires
        if claims.purpose == .registry, claims.subject == Actor.anonymous.name {
            return Caller(anonymousWith: claims.access ?? [], expires: expires)
        }
        guard let account = EntityID(claims.subject) else { throw Access.badCredentials }
        let epoch = verified.epoch(of: account)
        let caller =
            switch claims.purpose {
            case .access: try await sessionCaller(claims, of: account)
            case .registry: try await rooted(claims.root, of: account).limited(to: claims.access ?? [], expires: expires)
            case .refresh, .totpPending, .totpEnrolment: throw Access.badCredentials
            }
        verified.remember(caller, for: key, at: epoch)
        return caller
    }

    private func sessionCaller(_ claims: Claims, of account: EntityID) async throws(RegistryError) -> Caller {
        guard let family = claims.family, let row = try await userRow(account), row.user.isActive,
            let session = try await liveSession(family, of: row)
        else { throw Access.badCredentials }
        var caller = try await caller(for: row, kind: .session, root: .session(family: family), expires: claims.expires)
        caller.loggedIn = session.created
        return caller
    }

    private func authenticate(apiToken text: Secret, key: VerifiedCache.Key) async throws(RegistryError) -> Caller {
        let fingerprint = APIToken.fingerprint(of: text)
        guard
            let account = try await catalog.record(.token, unique: fingerprint).map({ (record) throws(RegistryError) in try APIToken(record) })?
                .account
        else { throw Access.badCredentials }
        // As with passwords: the row is read again under the epoch of its account.
        let epoch = verified.epoch(of: account)
        guard let record = try await catalog.record(.token, unique: fingerprint) else { throw Access.badCredentials }
        let caller = try await caller(for: try APIToken(record))
        verified.remember(caller, for: key, at: epoch)
        return caller
    }

    private func caller(for token: APIToken) async throws(RegistryError) -> Caller {
        guard !token.isExpired(at: world.now()), let row = try await userRow(token.account), row.user.isActive else { throw Access.badCredentials }
        // Whoever revokes one of these must be heard by those who come with this one.
        let marks = try await ancestors(of: token).marks
        var caller = try await caller(
            for: row, kind: .apiToken, root: .apiToken(token.id), scopes: token.scopes, repositories: token.repositories, expires: token.expires)
        caller.holdings.marks += marks
        return caller
    }

    /// The caller a registry token was issued to, as the first credential stands now.
    func rooted(_ root: CredentialRoot, of account: EntityID) async throws(RegistryError) -> Caller {
        switch root {
        case .none:
            throw Access.badCredentials
        case .apiToken(let id):
            guard let record = try await catalog.record(.token, id: APIToken.recordID(account, id)) else { throw Access.badCredentials }
            return try await caller(for: try APIToken(record))
        case .password(let epoch):
            guard let row = try await userRow(account), row.user.isActive, row.credentialEpoch == epoch else { throw Access.badCredentials }
            return try await passwordCaller(for: row)
        case .session(let family):
            guard let row = try await userRow(account), row.user.isActive, try await liveSession(family, of: row) != nil else {
                throw Access.badCredentials
            }
            return try await caller(for: row, kind: .session, root: root)
        }
    }

    // MARK: Assembly

    /// Who came with the password, and with nothing else.
    /// - Throws: `unauthenticated` where that is not enough.
    private func passwordCaller(for row: UserRow) async throws(RegistryError) -> Caller {
        let mark = try await requireNoSecondFactor(row)
        var caller = try await caller(for: row, kind: .password, root: .password(epoch: row.credentialEpoch))
        caller.holdings.marks.append(mark)
        return caller
    }

    /// Everything the caller's rights follow from, in one value.
    func caller(
        for row: UserRow, kind: Caller.CredentialKind, root: CredentialRoot, scopes: Set<TokenScope>? = nil,
        repositories: Set<RepositoryID>? = nil, expires: Timestamp? = nil
    ) async throws(RegistryError) -> Caller {
        let coversAdmin = repositories == nil && Caller.allows(scopes, .admin)
        return Caller(
            actor: Actor(name: row.user.username, account: row.user.id), isAdmin: row.user.isAdmin && coversAdmin, scopes: scopes,
            tokenRepositories: repositories,
            // A token is its own secret: a password that must change does not void it.
            mustChangePassword: row.user.mustChangePassword && kind != .apiToken,
            credentialKind: kind, ownerIsAdmin: row.user.isAdmin, holdings: try await holdings(of: row.user.id), registryScopes: nil, root: root,
            expires: expires)
    }
}

extension CredentialRoot {
    /// `session:<id>`, `token:<id>`, `password:<epoch>`; nil when nothing stands behind it.
    var text: String? {
        switch self {
        case .none: nil
        case .password(let epoch): "password:\(epoch)"
        case .session(let family): "session:\(family)"
        case .apiToken(let id): "token:\(id)"
        }
    }

    init?(text: String) {
        let parts = text.split(separator: ":", maxSplits: 1)
        guard parts.count == 2 else { return nil }
        switch parts[0] {
        case "password":
            guard let epoch = UInt32(parts[1]) else { return nil }
            self = .password(epoch: epoch)
        case "session":
            guard let id = EntityID(parts[1]) else { return nil }
            self = .session(family: id)
        case "token":
            guard let id = EntityID(parts[1]) else { return nil }
            self = .apiToken(id)
        default: return nil
        }
    }
}
