import Catalog
import Core
import FrontendKit
import Logging
import Outbound
import Parsing
import Synchronization

// Token servers of upstreams: a registry that answers 401 with a Bearer challenge says where a token for the very thing asked is to be had
// (Docker token authentication, distribution-spec "Authentication"). The realm is often another host than the registry: it hears of our
// credentials only when an administrator listed it.

extension Registry {
    /// Asks, with the token that served the same folder last; answers a Bearer challenge once.
    func askAuthenticated(_ request: FetchRequest, for repository: Repository) async throws(RegistryError) -> FetchResponse {
        var request = request
        let folder = UpstreamTokens.Folder(repository: repository.id, url: request.url)
        let known = upstreamTokens.token(for: folder, at: world.now())
        let ours = request.credentials
        if let known { request.credentials = .bearer(known) }
        let answer = try await outbound.fetch(request)
        guard answer.status == 401, let challenge = Registry.bearerChallenge(of: answer) else { return answer }
        request.credentials = ours
        guard let token = try await token(for: challenge, refused: known, request, of: repository) else { return answer }
        upstreamTokens.remember(challenge, for: folder)
        request.credentials = .bearer(token)
        return try await outbound.fetch(request)
    }

    private static func bearerChallenge(of answer: FetchResponse) -> TokenChallenge? {
        for field in answer.values(of: "WWW-Authenticate") {
            for challenge in (try? Challenge.parse(field)) ?? [] where challenge.scheme == "bearer" {
                guard let realm = challenge.realm else { continue }
                return TokenChallenge(realm: realm, service: challenge.parameters["service"], scope: challenge.parameters["scope"])
            }
        }
        return nil
    }

    /// nil when no token is to be had this way: the upstream's refusal stands.
    private func token(
        for challenge: TokenChallenge, refused: String?, _ request: FetchRequest, of repository: Repository
    ) async throws(RegistryError) -> String? {
        let key = UpstreamTokens.Key(repository: repository.id, challenge: challenge)
        if let known = upstreamTokens.token(key, at: world.now()), known != refused { return known }
        return try await tokenFetches.run(key) { () async throws(RegistryError) -> String? in
            try await self.fetchToken(key, request, of: repository)
        }
    }

    private func fetchToken(_ key: UpstreamTokens.Key, _ request: FetchRequest, of repository: Repository) async throws(RegistryError) -> String? {
        guard request.url.hasPrefix("http://") || key.challenge.realm.hasPrefix("https://") else {
            throw RegistryError(
                .upstreamFailed, subject: .repository(repository.key.text),
                reason: "the upstream of \(repository.key) asks for a token from a server without TLS")
        }
        // The credentials go along where the request's own lists say so: to the upstream's origin and the listed hosts.
        var asking = request
        asking.method = .get
        asking.url = key.challenge.url
        asking.fields = [("Accept", "application/json")]
        asking.limits.bodyBytesMax = Int64(UpstreamTokens.answerBytesMax)
        asking.limits.totalSeconds = 30
        let answer = try await outbound.fetch(asking)
        guard answer.status == 200 else {
            log.warning(
                "the upstream's token server refused",
                metadata: ["repository": "\(repository.key)", "realm": "\(key.challenge.realm)", "status": "\(answer.status)"])
            return nil
        }
        let document = try JSON.parse(try await answer.body.collect(upTo: UpstreamTokens.answerBytesMax))
        guard let token = document["token"]?.string ?? document["access_token"]?.string, token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }),
            !token.isEmpty
        else {
            throw RegistryError(
                .upstreamFailed, subject: .repository(repository.key.text), reason: "the token server of \(repository.key)'s upstream sent no token")
        }
        // At least a minute, as the protocol has it; a little less than it says, since it must still be good on arrival.
        let seconds = max(60, min(document["expires_in"]?.int64 ?? 60, 86_400)) - 10
        upstreamTokens.keep(token, key, until: world.now().adding(seconds: seconds))
        return token
    }
}

/// What a token is asked for.
struct TokenChallenge: Hashable, Sendable {
    let realm: String
    let service: String?
    let scope: String?

    var url: String {
        var query: [String] = []
        if let service { query.append("service=\(Percent.encode(service, in: .strict))") }
        if let scope { query += scope.split(separator: " ").map { "scope=\(Percent.encode($0, in: .strict))" } }
        return query.isEmpty ? realm : realm + (realm.contains("?") ? "&" : "?") + query.joined(separator: "&")
    }
}

/// Tokens that token servers gave, each for one repository and scope, until they end. Memory only: losing all costs a question each.
final class UpstreamTokens: Sendable {
    struct Key: Hashable, Sendable {
        let repository: RepositoryID
        let challenge: TokenChallenge
    }

    /// Things that stand beside each other have one scope.
    struct Folder: Hashable, Sendable {
        let repository: RepositoryID
        let path: Substring

        init(repository: RepositoryID, url: String) {
            self.repository = repository
            path = url[..<(url.lastIndex(of: "/") ?? url.endIndex)]
        }
    }

    static let answerBytesMax = 64 << 10
    private static let entriesMax = 4096

    private struct State {
        var tokens: [Key: (text: String, until: Timestamp)] = [:]
        var challenges: [Folder: TokenChallenge] = [:]
    }

    private let state = Mutex(State())

    func token(_ key: Key, at now: Timestamp) -> String? {
        state.withLock { state in state.tokens[key].flatMap { $0.until > now ? $0.text : nil } }
    }

    func token(for folder: Folder, at now: Timestamp) -> String? {
        guard let challenge = state.withLock({ $0.challenges[folder] }) else { return nil }
        return token(Key(repository: folder.repository, challenge: challenge), at: now)
    }

    func keep(_ token: String, _ key: Key, until: Timestamp) {
        state.withLock { state in
            if state.tokens.count >= UpstreamTokens.entriesMax { state.tokens = [:] }
            state.tokens[key] = (token, until)
        }
    }

    func remember(_ challenge: TokenChallenge, for folder: Folder) {
        state.withLock { state in
            if state.challenges.count >= UpstreamTokens.entriesMax { state.challenges = [:] }
            state.challenges[folder] = challenge
        }
    }

    /// The repository's credentials changed: what they bought is void.
    func forget(_ repository: RepositoryID) {
        state.withLock { state in
            state.tokens = state.tokens.filter { $0.key.repository != repository }
            state.challenges = state.challenges.filter { $0.key.repository != repository }
        }
    }
}
