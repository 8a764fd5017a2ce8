import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import NIOCore

// The three kinds of repository, written once: the only file that branches on them.

extension Registry {
    /// Runs one matched route over the session's repository.
    func perform(_ route: Route, _ request: Request, in session: RepositorySession) async throws(RegistryError) -> Response {
        let repository = session.authorized.repository
        switch route.kind {
        case .file(let file):
            let found = try await self.file(for: file, request, in: session)
            if let describe = file.describe, case .held(let asset) = found {
                try await gate(asset.blob, as: asset.path)
                return try await response(to: try describe(asset), from: session.frontend, over: session, head: request.head)
            }
            return try await fileResponse(
                found, session.authorized, isPointer: file.freshness == .pointer, head: request.head, fields: file.fields)
        case .view(let identify):
            let view = try identify(request)
            if repository.kind == .remote, route.options.contains(.verbatim) {
                let copy = try await verbatimFile(of: view, mayArrive: mayArrive(request.head), in: session)
                return try await fileResponse(copy, session.authorized, isPointer: true, head: request.head) { _ in [:] }
            }
            return try await viewResponse(view, in: session, head: request.head)
        case .answer(let compute):
            return try await response(to: try await compute(request, session), from: session.frontend, over: session, head: request.head)
        case .action(let perform):
            try refuseWrites(to: repository)
            return try await response(to: try await perform(request, session), from: session.frontend, over: session, head: request.head)
        case .mounted:
            preconditionFailure("rows of the mount are answered before a repository is resolved")
        }
    }

    /// Whether what the catalog holds is all there is.
    func isLocal(_ repository: Repository) -> Bool { repository.kind == .local || repository.kind == .staging }

    /// Publishing goes to local repositories: a remote is a memory of its upstream.
    func refuseWrites(to repository: Repository) throws(RegistryError) {
        switch repository.kind {
        case .local, .staging: return
        case .remote:
            throw RegistryError(
                .unsupported, subject: .repository(repository.key.text),
                reason: "\(repository.key) is a remote repository: publish to a local one, or to its upstream")
        case .virtual:
            throw RegistryError(
                .invalid, subject: .repository(repository.key.text),
                reason: "\(repository.key) is a virtual repository: publish to one of its members")
        }
    }

    /// HEAD and ranges are answered from the whole.
    private func mayArrive(_ head: RequestHead) -> Bool { head.method == .get && head.fields[.range] == nil }

    private func file(for file: FileRoute, _ request: Request, in session: RepositorySession) async throws(RegistryError) -> RemoteFile {
        let repository = session.authorized.repository
        let target = try file.locate(request.match)
        let absent = RegistryError(.notFound, subject: .path(request.head.path.description), reason: "\(repository.key) has no such file")
        switch repository.kind {
        case .local, .staging:
            guard let path = try await path(of: target, in: repository), let asset = try await catalog.asset(at: path, in: repository.id) else {
                throw absent
            }
            return .held(asset)
        case .remote:
            let path: AssetPath
            switch target {
            case .path(let exact): path = exact
            case .tagged(_, _, let named, _): path = named
            }
            let listing: View?
            if let listedIn = file.listedIn { listing = try listedIn(request.match) } else { listing = nil }
            return try await remoteFile(
                at: path, listedIn: listing, freshness: file.freshness, mayArrive: file.describe == nil && mayArrive(request.head), in: session)
        case .virtual:
            throw absent
        }
    }

    /// Follows a tag to its version's path.
    private func path(of target: FileTarget, in repository: Repository) async throws(RegistryError) -> AssetPath? {
        switch target {
        case .path(let path): return path
        case .tagged(let package, let tag, _, let locate):
            return try await catalog.tag(tag, of: package, in: repository.id).flatMap { locate($0.version) }
        }
    }

    /// The facts a view is computed from, and the fingerprint of them: equal fingerprint, equal facts.
    func source(of view: View, in session: RepositorySession) async throws(RegistryError) -> ViewSource {
        let repository = session.authorized.repository
        switch repository.kind {
        case .local, .staging:
            let revision: Revision
            if case .package(let name) = view.scope {
                guard let package = try await catalog.package(name, in: repository.id) else { return ViewSource(fingerprint: "absent") { Facts() } }
                revision = package.revision
            } else {
                revision = repository.revision
            }
            return ViewSource(fingerprint: "local \(revision)") { () async throws(RegistryError) -> Facts in
                try await self.wholeFacts(in: view.scope, of: repository.id)
            }
        case .remote:
            let page = try await learnedPage(for: view, in: session)
            guard !page.absent else { return ViewSource(fingerprint: "absent") { Facts() } }
            return ViewSource(fingerprint: "learned \(page.revision)") { () async throws(RegistryError) -> Facts in try await self.facts(of: page) }
        case .virtual:
            return ViewSource(fingerprint: "absent") { Facts() }
        }
    }

    /// Where a repository's index has its facts from.
    func indexFeed(in session: RepositorySession, _ indexing: any Indexing) async throws(RegistryError) -> IndexFeed {
        let repository = session.authorized.repository
        switch repository.kind {
        case .local, .staging:
            return IndexFeed(
                id: repository.id.description, sources: [repository.id], repository: repository, context: context(of: repository), indexing: indexing,
                facts: { package throws(RegistryError) in
                    try await self.catalog.facts(in: .package(package), of: repository.id, after: nil, limit: 1)
                },
                page: { after, limit throws(RegistryError) in
                    try await self.catalog.facts(in: .everything, of: repository.id, after: after?.text, limit: limit)
                })
        case .remote, .virtual:
            throw RegistryError(
                .unsupported, subject: .repository(repository.key.text), reason: "\(repository.key) has no index of its own")
        }
    }

    /// What a format asks through its port.
    func facts(in scope: Scope, after: String?, limit: Int, _ session: RepositorySession) async throws(RegistryError) -> Facts {
        if session.authorized.repository.kind == .remote { return try await remoteFacts(in: scope, after: after, limit: limit, session) }
        return try await catalog.facts(in: scope, of: session.authorized.repository.id, after: after, limit: limit)
    }

    func version(_ name: VersionName, of package: PackageName, _ session: RepositorySession) async throws(RegistryError) -> Version? {
        if session.authorized.repository.kind == .remote { return try await remoteVersion(name, of: package, session) }
        return try await catalog.version(name, of: package, in: session.authorized.repository.id)
    }

    func tag(_ name: TagName, of package: PackageName, _ session: RepositorySession) async throws(RegistryError) -> Tag? {
        if session.authorized.repository.kind == .remote { return try await remoteTag(name, of: package, session) }
        return try await catalog.tag(name, of: package, in: session.authorized.repository.id)
    }

    private func wholeFacts(in scope: Scope, of repository: RepositoryID) async throws(RegistryError) -> Facts {
        let batch = 5_000
        var whole = try await catalog.facts(in: scope, of: repository, after: nil, limit: batch)
        guard case .packages = scope else { return whole }
        var last = whole.packages.last
        while let after = last, whole.packages.count % batch == 0 {
            let next = try await catalog.facts(in: scope, of: repository, after: after.name.text, limit: batch)
            whole.packages += next.packages
            last = next.packages.last
        }
        return whole
    }
}

/// Where a view's facts come from.
struct ViewSource: Sendable {
    let fingerprint: String
    let facts: @Sendable () async throws(RegistryError) -> Facts
    init(fingerprint: String, facts: @escaping @Sendable () async throws(RegistryError) -> Facts) {
        self.fingerprint = fingerprint
        self.facts = facts
    }
}
