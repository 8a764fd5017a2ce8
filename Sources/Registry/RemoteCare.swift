import Access
public import Catalog
public import Core
import FrontendKit
import HTTPTypes
import Outbound

// What an administrator does to a remote: look whether its upstream answers, forget what is cached, say what is asked for and where.

extension Registry {
    /// Forgets what is held of a path, as clients ask for it below the repository: a file's copy, what was learned of a page, and that upstream
    /// has no such thing. The next request asks upstream.
    /// - Returns: whether there was anything to forget.
    public func invalidateCache(_ path: String, in key: RepositoryKey, by origin: RequestOrigin) async throws(RegistryError) -> Bool {
        let repository = try await authorize(origin.caller, .admin, in: key).repository
        guard repository.kind == .remote, let frontend = frontend(for: repository.format) else { throw notRemote(repository) }
        var text = path[...]
        while text.hasPrefix("/") { text = text.dropFirst() }
        var parts: [Change.Part] = []
        if let file = AssetPath(text) {
            if try await catalog.asset(at: file, in: repository.id) != nil {
                parts.append(.edit(repository.id, Edit(mutations: [.deleteAsset(file)])))
            }
            absences.forget("\(repository.id) \(file)")
            parts += try await expired(Registry.validatorName(of: file), of: repository)
        }
        if let view = view(at: text, of: frontend, in: repository.key) { parts += try await expired(view.identity, of: repository) }
        guard !parts.isEmpty else { return false }
        try await catalog.apply(Change(actor: origin.caller.actor, at: world.now(), requestID: origin.requestID, parts: parts))
        return true
    }

    private func expired(_ view: String, of repository: Repository) async throws(RegistryError) -> [Change.Part] {
        guard var page = try await catalog.learned(view, in: repository.id) else { return [] }
        page.freshUntil = Timestamp(milliseconds: 0)
        // Asked without a validator: a cache that went wrong at the same validator would stay wrong.
        page.etag = nil
        page.lastModified = nil
        return [.learned(page)]
    }

    /// The view that a GET of the path would be answered with.
    private func view(at path: Substring, of frontend: any Frontend, in key: RepositoryKey) -> View? {
        do throws(RegistryError) {
            let target = try RequestPath(parsing: "/" + path)
            guard case .found(let route, let match) = routes[frontend.format.name]?.find(target, .get, of: key) else { return nil }
            let head = RequestHead(
                method: .get, target: "/" + path, path: target, query: Query(), fields: [:], requestID: "", peer: "", isSecure: true)
            switch route.kind {
            case .view(let identify): return try identify(Request(head: head, match: match, body: .empty))
            default: return nil
            }
        } catch {
            // What is no path of this format has no page.
            return nil
        }
    }

    /// Replaces the rules; none lets every path through as it is.
    public func setRoutingRules(_ rules: [RoutingRule], of key: RepositoryKey, by origin: RequestOrigin) async throws(RegistryError) -> Repository {
        let repository = try await authorize(origin.caller, .admin, in: key).repository
        guard repository.kind == .remote else { throw notRemote(repository) }
        guard rules.count <= RoutingRule.rulesMax else {
            throw RegistryError(.invalid, subject: .field("rules"), reason: "at most \(RoutingRule.rulesMax) rules")
        }
        for rule in rules { try rule.check() }
        var draft = RepositoryDraft()
        draft.settings[RoutingRule.setting] = rules.isEmpty ? "" : RoutingRule.encode(rules)
        return try await updateRepository(key, with: draft, by: origin)
    }

    /// Asks the upstream's own URL.
    /// - Throws: `upstreamFailed` or `unavailable` when it does not answer.
    public func testUpstream(of key: RepositoryKey, by origin: RequestOrigin) async throws(RegistryError) -> (status: Int, url: String) {
        let repository = try await authorize(origin.caller, .admin, in: key).repository
        guard repository.kind == .remote else { throw notRemote(repository) }
        let url = try upstream(of: repository).url
        var request = try fetchRequest(UpstreamRequest(url: url), to: repository, bodyBytesMax: .max)
        request.limits.totalSeconds = 30
        return (try await ask(request, for: repository).status, url)
    }

    private func notRemote(_ repository: Repository) -> RegistryError {
        RegistryError(.invalid, subject: .repository(repository.key.text), reason: "\(repository.key) is no remote repository")
    }
}
