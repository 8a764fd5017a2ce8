import Catalog
public import Core
import Logging

/// What a login gives.
public struct Session: Sendable {
    public let accessToken: Secret
    public let refreshToken: Secret
    /// Seconds the access token is good for.
    public let expiresIn: Int64
    /// Seconds the refresh token is good for.
    public let refreshExpiresIn: Int64
    public let mustChangePassword: Bool
    public let user: User
}

extension Access {
    /// Sessions one account may have open; the oldest make room.
    static let sessionsPerAccountMax = 64

    /// - Throws: `unauthenticated`, in the same words and after the same work for an unknown user, a wrong password and a disabled account;
    ///   `rateLimited` after too many of those from where it was asked.
    public func login(username: String, password: String, requestID: String, for asked: Asked? = nil) async throws(RegistryError) -> Login {
        do {
            let row = try await prove(username, Secret(password), from: asked?.peer ?? "").row
            return try await proceed(row, requestID: requestID, for: asked)
        } catch {
            if Access.isGuessed(error) {
                try keep("log in", account: await auditName(of: username), refusal: error.code, asked: asked, requestID: requestID)
            }
            throw error
        }
    }

    /// Trades a refresh token for a new pair. Each is good once: when one comes back, somebody else has a copy, and the whole session ends,
    /// its access tokens too.
    /// - Throws: `unauthenticated`.
    public func refresh(_ refreshToken: String, requestID: String) async throws(RegistryError) -> Session {
        guard let claims = signer.verify(Secret(refreshToken), for: [.refresh], at: world.now()), let account = EntityID(claims.subject),
            let family = claims.family
        else { throw Access.badCredentials }
        guard let row = try await userRow(account), row.user.isActive, var session = try await liveSession(family, of: row) else {
            throw Access.badCredentials
        }
        let actor = Actor(name: row.user.username, account: account)
        guard session.refresh == claims.jti else {
            try await end(family, of: account, by: actor, requestID: requestID)
            log.warning("a used refresh token came back: its session was ended", metadata: ["account": "\(row.user.username)"])
            throw Access.badCredentials
        }
        session.refresh = world.newID()
        session.expires = world.now().adding(seconds: options.refreshDays * 86_400)
        do {
            // No epoch advances: access tokens of the session stay as good as they were.
            try await commit([.putRecord(session.record, ifRevision: session.revision)], of: [], by: actor, requestID: requestID)
        } catch {
            guard error.code == .conflict else { throw error }
            // Somebody else used the same token at the same moment. One of us is not its owner, and we cannot tell which.
            try await end(family, of: account, by: actor, requestID: requestID)
            throw Access.badCredentials
        }
        return issue(session, to: row.user)
    }

    /// Ends the session a refresh token belongs to, used or not. A token that is no good ends nothing and is no error.
    public func logout(refreshToken: String, requestID: String) async throws(RegistryError) {
        guard let claims = signer.verify(Secret(refreshToken), for: [.refresh], at: world.now()), let account = EntityID(claims.subject),
            let family = claims.family
        else { return }
        try await end(family, of: account, by: Actor(name: claims.username, account: account), requestID: requestID)
    }

    /// Ends the session the caller came with; nothing happens for other credentials.
    public func logout(_ caller: Caller, requestID: String) async throws(RegistryError) {
        guard case .session(let family) = caller.root, let account = caller.account else { return }
        try await end(family, of: account, by: caller.actor, requestID: requestID)
    }

    /// The session, if it exists, has not expired, and no password change came after it.
    func liveSession(_ family: EntityID, of row: UserRow) async throws(RegistryError) -> SessionRow? {
        guard let record = try await catalog.record(.session, id: SessionRow.id(row.user.id, family)) else { return nil }
        let session = try SessionRow(record)
        guard session.credentialEpoch == row.credentialEpoch, world.now() < session.expires else { return nil }
        return session
    }

    /// What outlives a session, or changes how its account logs in, is for who proved just now who they are: whoever finds a session open may not
    /// make themselves at home. A password in the request proves it; a token is its own secret, and what it may make is limited by it.
    /// - Throws: `forbidden` for a session whose login is longer ago than the options say.
    public func requireFreshLogin(_ caller: Caller) throws(RegistryError) {
        guard let loggedIn = caller.loggedIn, options.freshLoginMinutes > 0 else { return }
        guard world.now() >= loggedIn.adding(seconds: options.freshLoginMinutes * 60) else { return }
        throw RegistryError(
            .forbidden, subject: .request,
            reason: "log in again for this: your login is more than \(options.freshLoginMinutes) minutes ago")
    }

    func open(for row: UserRow, requestID: String) async throws(RegistryError) -> Session {
        let now = world.now()
        let session = SessionRow(
            account: row.user.id, family: world.newID(), refresh: world.newID(), credentialEpoch: row.credentialEpoch, created: now,
            expires: now.adding(seconds: options.refreshDays * 86_400))
        var parts = try await sessionsToDrop(of: row)
        parts.append(.putRecord(session.record, ifRevision: .zero))
        let actor = Actor(name: row.user.username, account: row.user.id)
        // Dropped sessions are void already or the oldest of too many; only the latter can be remembered.
        try await commit(parts, of: parts.count > 1 ? [row.user.id] : [], by: actor, requestID: requestID)
        return issue(session, to: row.user)
    }

    /// Sessions that are over, and the oldest beyond the limit: each login cleans up behind earlier ones.
    private func sessionsToDrop(of row: UserRow) async throws(RegistryError) -> [Change.Part] {
        let now = world.now()
        var live: [SessionRow] = []
        var dropped: [SessionRow] = []
        for record in try await records(.session, prefix: "\(row.user.id)/") {
            let session = try SessionRow(record)
            if session.credentialEpoch == row.credentialEpoch, now < session.expires { live.append(session) } else { dropped.append(session) }
        }
        live.sort { $0.created < $1.created }
        dropped += live.prefix(max(0, live.count - Access.sessionsPerAccountMax + 1))
        return dropped.map { .deleteRecord(.session, id: SessionRow.id($0.account, $0.family)) }
    }

    private func end(_ family: EntityID, of account: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        do {
            try await commit([.deleteRecord(.session, id: SessionRow.id(account, family))], of: [account], by: actor, requestID: requestID)
        } catch {
            // It has ended already.
            guard error.code == .notFound else { throw error }
        }
    }

    private func issue(_ session: SessionRow, to user: User) -> Session {
        let accessSeconds = options.accessMinutes * 60
        let refreshSeconds = options.refreshDays * 86_400
        let access = claims(for: user, purpose: .access, lifetimeSeconds: accessSeconds, jti: world.newID(), family: session.family)
        let refresh = claims(for: user, purpose: .refresh, lifetimeSeconds: refreshSeconds, jti: session.refresh, family: session.family)
        return Session(
            accessToken: Secret(signer.sign(access)), refreshToken: Secret(signer.sign(refresh)), expiresIn: accessSeconds,
            refreshExpiresIn: refreshSeconds, mustChangePassword: user.mustChangePassword, user: user)
    }
}
