import Catalog
public import Core

extension Access {
    public static let tokensPerAccountMax = 1000

    /// Makes an API token for an account: the caller's own, or any for an administrator. The text is returned once and kept nowhere.
    /// - Parameters:
    ///   - scopes: words of `TokenScope`; nil gives all its owner may do, which only a session or password may ask for.
    ///   - repositories: nil covers all.
    ///   - expiresInDays: 1 to 3650; nil is never.
    /// - Throws: `invalid` for an unknown scope, a name or a lifetime that is none; `forbidden` for what the caller may not give.
    public func createToken(
        for account: EntityID, name: String, description: String? = nil, scopes words: [String]?, repositories: Set<RepositoryID>? = nil,
        expiresInDays: Int64?, by caller: Caller, requestID: String
    ) async throws(RegistryError) -> (text: Secret, token: APIToken) {
        try Access.check(tokenName: name, description: description)
        if let days = expiresInDays, !(1...3650).contains(days) {
            throw RegistryError(.invalid, subject: .field("expires_in_days"), reason: "1 to 3650, or none for never")
        }
        let scopes = try words.map { (words) throws(RegistryError) in try Access.scopes(words) }
        try checkMayMint(scopes: scopes, repositories: repositories, for: account, by: caller)
        guard try await userRow(account) != nil else { throw Access.noSuchUser }
        guard try await records(.token, prefix: "\(account)/").count < Access.tokensPerAccountMax else {
            throw RegistryError(.conflict, subject: .account(caller.username), reason: "too many tokens: revoke some first")
        }
        let now = world.now()
        let asked = expiresInDays.map { now.adding(seconds: $0 * 86_400) }
        // What a token makes does not outlive it.
        let expires = [asked, caller.expires.flatMap { caller.credentialKind == .apiToken ? $0 : nil }].compactMap { $0 }.min()
        let text = Secret(TokenText.apiTokenPrefix + Hex.encode(world.randomBytes(TokenText.randomBytes)))
        let token = APIToken(
            id: world.newID(), account: account, name: name, description: description, prefix: String(text.revealed.prefix(TokenText.shownCount)),
            scopes: scopes, repositories: repositories, created: now, expires: expires)
        let record = token.record(fingerprint: APIToken.fingerprint(of: text))
        try await commit([.putRecord(record, ifRevision: .zero)], of: [], by: caller.actor, requestID: requestID)
        return (text, token)
    }

    /// The tokens that are good for this repository and for no other, whoever's they are.
    public func tokens(for repository: RepositoryID) async throws(RegistryError) -> [APIToken] {
        var tokens: [APIToken] = []
        for record in try await records(.token, prefix: "") {
            let token = try APIToken(record)
            if token.repositories == [repository] { tokens.append(token) }
        }
        return tokens
    }

    /// In the order they were made.
    public func tokens(of account: EntityID) async throws(RegistryError) -> [APIToken] {
        var tokens: [APIToken] = []
        for record in try await records(.token, prefix: "\(account)/") { tokens.append(try APIToken(record)) }
        return tokens
    }

    /// The next request that presents it is refused, and so is whatever was exchanged for it.
    /// - Throws: `notFound`.
    public func revokeToken(_ id: EntityID, of account: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        let recordID = APIToken.recordID(account, id)
        guard try await catalog.record(.token, id: recordID) != nil else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such token")
        }
        try await commit([.deleteRecord(.token, id: recordID)], of: [account], by: actor, requestID: requestID)
    }

    /// The same by the token's text, for one of the caller's own.
    public func revokeToken(text: String, by caller: Caller, requestID: String) async throws(RegistryError) {
        let record = try await catalog.record(.token, unique: APIToken.fingerprint(of: Secret(text)))
        guard let token = try record.map({ (record) throws(RegistryError) in try APIToken(record) }), token.account == caller.account else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such token")
        }
        try await revokeToken(token.id, of: token.account, by: caller.actor, requestID: requestID)
    }

    /// A caller gives no more than they hold: an exchange may only shrink rights.
    private func checkMayMint(
        scopes: Set<TokenScope>?, repositories: Set<RepositoryID>?, for account: EntityID, by caller: Caller
    ) throws(RegistryError) {
        try requireAccount(caller)
        func refuse(_ reason: String) -> RegistryError { RegistryError(.forbidden, subject: .request, reason: reason) }
        guard caller.credentialKind != .registryToken else { throw refuse("a registry token makes no tokens") }
        guard account == caller.account || caller.isAdmin else { throw refuse("only an administrator makes tokens for others") }
        if !caller.ownerIsAdmin, let word = scopes?.filter(\.isForAdminsToGrant).map(\.rawValue).min() {
            throw refuse("only an administrator gives the scope \(word)")
        }
        if let held = caller.scopes, !held.contains(.everything) {
            guard let scopes, scopes.isSubset(of: held.contains(.admin) ? Set(TokenScope.allCases).subtracting([.everything]) : held) else {
                throw refuse("a token makes no token with more scopes than its own")
            }
        }
        if let held = caller.tokenRepositories {
            guard let repositories, repositories.isSubset(of: held) else { throw refuse("a token makes no token for more repositories than its own") }
        }
    }

    private static func scopes(_ words: [String]) throws(RegistryError) -> Set<TokenScope> {
        var scopes: Set<TokenScope> = []
        for word in words {
            guard let scope = TokenScope(rawValue: word) else {
                let known = TokenScope.allCases.map(\.rawValue).joined(separator: " ")
                throw RegistryError(.invalid, subject: .field("scopes"), reason: "unknown scope; known are: \(known)")
            }
            scopes.insert(scope)
        }
        guard !scopes.isEmpty else { throw RegistryError(.invalid, subject: .field("scopes"), reason: "a token needs at least one scope") }
        return scopes
    }

    private static func check(tokenName name: String, description: String?) throws(RegistryError) {
        guard (1...128).contains(name.utf8.count), name.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw RegistryError(.invalid, subject: .field("name"), reason: "1 to 128 bytes, no control characters")
        }
        guard (description?.utf8.count ?? 0) <= 1024 else {
            throw RegistryError(.invalid, subject: .field("description"), reason: "at most 1024 bytes")
        }
    }
}
