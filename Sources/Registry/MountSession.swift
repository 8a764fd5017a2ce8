import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes

/// One request to a row beside the repositories.
struct MountSession: MountPort {
    let registry: Registry
    let frontend: any Frontend
    let authenticated: Caller
    let head: RequestHead

    init(registry: Registry, frontend: any Frontend, caller: Caller, head: RequestHead) {
        self.registry = registry
        self.frontend = frontend
        self.authenticated = caller
        self.head = head
    }

    var caller: CallerName { CallerName(name: authenticated.actor.name, isAnonymous: authenticated.isAnonymous) }
    var baseURL: String { registry.options.baseURL.text }

    func repositories(after: RepositoryKey?, limit: Int) async throws(RegistryError) -> [RepositoryKey] {
        var visible: [RepositoryKey] = []
        var last = after
        while visible.count < limit {
            let page = try await registry.catalog.repositories(after: last, limit: 500)
            for repository in page where frontend.format.answers(to: repository.format) {
                if registry.access.mayRead(authenticated, repository) { visible.append(repository.key) }
            }
            guard page.count == 500, let end = page.last else { break }
            last = end.key
        }
        return Array(visible.prefix(limit))
    }

    func port(for key: RepositoryKey) async throws(RegistryError) -> any RepositoryPort {
        var repository = try await registry.catalog.repository(key)
        if let found = repository, !frontend.format.answers(to: found.format) { repository = nil }
        let authorized = try registry.access.authorize(authenticated, .read, on: repository)
        return RepositorySession(registry: registry, authorized: authorized, frontend: frontend, requestID: head.requestID)
    }

    func token(for scopes: [ResourceScope], login: (name: String, password: String)?) async throws(RegistryError) -> TokenGrant {
        var caller = authenticated
        if let login { caller = try await registry.access.authenticate(.basic(user: login.name, password: login.password), for: Asked(head)) }
        let wanted = scopes.map { RegistryScope(name: $0.name, actions: $0.permissions) }
        let issued = try await registry.access.issueRegistryToken(for: caller, scopes: wanted)
        return TokenGrant(token: issued.token.revealed, expiresInSeconds: Int(issued.expiresIn), issued: registry.world.now())
    }

    func logIn(_ name: String, password: String, label: String) async throws(RegistryError) -> String {
        let caller = try await registry.access.authenticate(.basic(user: name, password: password), for: Asked(head))
        guard let account = caller.account, caller.actor.name == name else {
            throw RegistryError(.unauthenticated, subject: .account(name), reason: "these credentials are not those of \(name)")
        }
        let made = try await registry.access.createToken(
            for: account, name: label, scopes: ["read:artifacts", "write:artifacts", "delete:artifacts"], expiresInDays: nil, by: caller,
            requestID: head.requestID)
        return made.text.revealed
    }

    func logOut(token: String) async throws(RegistryError) {
        try await registry.access.revokeToken(text: token, by: authenticated, requestID: head.requestID)
    }
}
