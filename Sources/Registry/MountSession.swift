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
        if let login { caller = try await authenticate(login.name, login.password) }
        let wanted = scopes.map { RegistryScope(name: $0.name, actions: $0.permissions) }
        let issued = try await registry.access.issueRegistryToken(for: caller, scopes: wanted)
        return TokenGrant(token: issued.token.revealed, expiresInSeconds: Int(issued.expiresIn), issued: registry.world.now())
    }

    func logIn(_ name: String, password: String, label: String) async throws(RegistryError) -> String {
        let caller = try await authenticate(name, password)
        guard let account = caller.account, caller.actor.name == name else {
            throw RegistryError(.unauthenticated, subject: .account(name), reason: "these credentials are not those of \(name)")
        }
        // What only administrators give to a token is left out for everybody else, else nobody else could log in.
        let scopes = ["read:artifacts", "write:artifacts"] + (caller.isAdmin ? ["delete:artifacts"] : [])
        let made = try await registry.access.createToken(
            for: account, name: label, scopes: scopes, expiresInDays: nil, by: caller, requestID: head.requestID)
        return made.text.revealed
    }

    /// A password in the body of a request counts as a guess from where the request came, as one in its fields does.
    private func authenticate(_ name: String, _ password: String) async throws(RegistryError) -> Caller {
        try await registry.access.authenticate(.basic(user: name, password: password, from: head.client), for: Asked(head))
    }

    func logOut(token: String) async throws(RegistryError) {
        try await registry.access.revokeToken(text: token, by: authenticated, requestID: head.requestID)
    }
}
