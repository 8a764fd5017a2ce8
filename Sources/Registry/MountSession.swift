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
        let lister = registry.access.lister(authenticated)
        var visible: [RepositoryKey] = []
        var last = after
        while visible.count < limit {
            let page = try await registry.catalog.repositories(after: last, limit: 500)
            for repository in page where frontend.format.answers(to: repository.format) {
                if registry.access.mayRead(lister, repository, about: .unknown) { visible.append(repository.key) }
            }
            guard page.count == 500, let end = page.last else { break }
            last = end.key
        }
        return Array(visible.prefix(limit))
    }

    func packages(in key: RepositoryKey, after: String?, limit: Int) async throws(RegistryError) -> [PackageName] {
        let access = registry.access
        let lister = access.lister(authenticated)
        guard limit > 0, let repository = try await registry.catalog.repository(key), frontend.format.answers(to: repository.format),
            access.mayRead(lister, repository, about: .unknown)
        else { return [] }
        let session = RepositorySession(
            registry: registry, authorized: try access.authorizeNames(lister, on: repository), frontend: frontend,
            requestID: head.requestID)
        var names: [PackageName] = []
        var last = after
        while names.count < limit {
            let page = try await registry.facts(in: .packages, after: last, limit: limit, session).packages.map(\.name)
            names += page.filter { access.mayRead(lister, repository, about: .name($0.text)) }
            guard page.count >= limit, let end = page.last else { break }
            last = end.text
        }
        return Array(names.prefix(limit))
    }

    func token(
        for scopes: [ResourceScope], listing: Bool, login: (name: String, password: String)?
    ) async throws(RegistryError) -> TokenGrant {
        var caller = authenticated
        if let login { caller = try await authenticate(login.name, login.password) }
        let wanted = scopes.map { RegistryScope(name: $0.name, actions: $0.permissions) } + (listing ? [.catalogue] : [])
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
