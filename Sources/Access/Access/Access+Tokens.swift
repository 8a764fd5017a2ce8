import Catalog
public import Core

extension Access {
    public static let tokensPerAccountMax = 1000
    /// A token that was made with one that was made with one: so many in all.
    static let tokenGenerationsMax = 4

    /// Makes an API token for an account: the caller's own, or any for an administrator. The text is returned once and kept nowhere.
    /// Who logged in makes what the account may give; what a token makes can no more than itself, and is void without it.
    /// - Parameters:
    ///   - scopes: words of `TokenScope`; nil gives all its owner may do, which only a session or password may ask for.
    ///   - repositories: nil covers all.
    ///   - expiresInDays: 1 to 3650; nil is never.
    /// - Throws: `invalid` for an unknown scope, a name or a lifetime that is none; `forbidden` for what the caller may not give, or when the login
    ///   was too long ago.
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
        let parent = try await parent(of: caller)
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
            scopes: scopes, repositories: repositories, created: now, expires: expires, parent: parent)
        let record = token.record(fingerprint: APIToken.fingerprint(of: text))
        try await commit([.putRecord(record, ifRevision: .zero)], of: [], by: caller.actor, requestID: requestID)
        return (text, token)
    }

    /// The tokens that are good for this repository and for no other, whoever's they are.
    public func tokens(for repository: RepositoryID) async throws(RegistryError) -> [APIToken] {
        let all = try await records(.token, prefix: "").map { (record) throws(RegistryError) in try APIToken(record) }
        return try await standing(all.filter { $0.repositories == [repository] }, among: all)
    }

    /// In the order they were made.
    public func tokens(of account: EntityID) async throws(RegistryError) -> [APIToken] {
        let own = try await records(.token, prefix: "\(account)/").map { (record) throws(RegistryError) in try APIToken(record) }
        return try await standing(own, among: own)
    }

    /// How many tokens each of the accounts has.
    public func tokenCounts(of accounts: Set<EntityID>) async throws(RegistryError) -> [EntityID: Int] {
        guard !accounts.isEmpty else { return [:] }
        let all = try await records(.token, prefix: "").map { (record) throws(RegistryError) in try APIToken(record) }
        var counts: [EntityID: Int] = [:]
        for token in try await standing(all.filter { accounts.contains($0.account) }, among: all) { counts[token.account, default: 0] += 1 }
        return counts
    }

    // MARK: Generations

    /// The tokens that it was made with, the nearest first, and what was marked before their rows were read.
    /// - Throws: `unauthenticated` when one of them is gone or has expired.
    func ancestors(of token: APIToken) async throws(RegistryError) -> (tokens: [APIToken], marks: [Stamps.Mark]) {
        var (tokens, marks) = ([APIToken](), [Stamps.Mark]())
        var next = token.parent
        while let place = next {
            marks.append(verified.epoch(of: place.account))
            guard let record = try await catalog.record(.token, id: place.recordID), tokens.count < Access.tokenGenerationsMax else {
                throw Access.badCredentials
            }
            let parent = try APIToken(record)
            guard !parent.isExpired(at: world.now()) else { throw Access.badCredentials }
            tokens.append(parent)
            next = parent.parent
        }
        return (tokens, marks)
    }

    /// Those with all the tokens that they were made with: what was made with one that is gone is nobody's concern any more.
    /// - Parameter known: rows that are at hand; any other is read once.
    private func standing(_ tokens: [APIToken], among known: [APIToken]) async throws(RegistryError) -> [APIToken] {
        let now = world.now()
        var rows: [String: APIToken?] = [:]
        for token in known { rows[APIToken.recordID(token.account, token.id)] = token }
        var standing: [APIToken] = []
        for token in tokens {
            var next = token.parent
            var generations = 0
            while let place = next, generations < Access.tokenGenerationsMax {
                if rows[place.recordID] == nil {
                    rows[place.recordID] = .some(
                        try await catalog.record(.token, id: place.recordID).map { (record) throws(RegistryError) in try APIToken(record) })
                }
                guard let parent = rows[place.recordID] ?? nil, !parent.isExpired(at: now) else { break }
                generations += 1
                next = parent.parent
            }
            if next == nil { standing.append(uses.told(token)) }
        }
        return standing
    }

    private func parent(of caller: Caller) async throws(RegistryError) -> APIToken.Place? {
        guard let place = caller.apiToken else { return nil }
        guard let record = try await catalog.record(.token, id: place.recordID) else { throw Access.badCredentials }
        guard try await ancestors(of: try APIToken(record)).tokens.count + 1 < Access.tokenGenerationsMax else {
            throw RegistryError(.forbidden, subject: .request, reason: "this token was made with a token too often already: log in for another")
        }
        return place
    }

    /// The next request that presents it is refused, and so is whatever was exchanged for it or made with it.
    /// - Throws: `notFound`.
    public func revokeToken(_ id: EntityID, of account: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        let recordID = APIToken.recordID(account, id)
        guard try await catalog.record(.token, id: recordID) != nil else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such token")
        }
        try await commit([.deleteRecord(.token, id: recordID)], of: [account], by: actor, requestID: requestID)
        try await tidyUp(after: id, of: account, by: actor, requestID: requestID)
    }

    /// What was made with a token is void without it; its rows go where they are at hand.
    private func tidyUp(after id: EntityID, of account: EntityID, by actor: Actor, requestID: String) async throws(RegistryError) {
        var gone: Set<EntityID> = [id]
        let made = try await records(.token, prefix: "\(account)/").map { (record) throws(RegistryError) in try APIToken(record) }
        for _ in 1..<Access.tokenGenerationsMax {
            for token in made where token.parent.map({ gone.contains($0.token) }) ?? false { gone.insert(token.id) }
        }
        for child in gone.subtracting([id]).sorted() {
            do throws(RegistryError) {
                let recordID = APIToken.recordID(account, child)
                try await commit([.deleteRecord(.token, id: recordID)], of: [account], by: actor, requestID: requestID)
            } catch {
                // Somebody else revoked it.
                guard error.code == .notFound else { throw error }
            }
        }
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
        try requireFreshLogin(caller)
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
