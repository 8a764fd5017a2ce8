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
        switch route.kind {
        case .file(let file):
            if session.authorized.isLimited { try requireNames(of: try file.locate(request.match), session.authorized) }
            return try await fileResponse(for: file, request, in: session)
        case .view(let identify):
            let view = try identify(request)
            // A page about many packages names them all.
            if view.scope.package == nil { try access.require(session.authorized, for: nil) }
            if session.authorized.repository.kind == .remote, route.options.contains(.verbatim) {
                let copy = try await verbatimFile(of: view, mayArrive: mayArrive(request.head), in: session)
                return try await fileResponse(copy, session.authorized, isPointer: true, head: request.head) { _ in [:] }
            }
            return try await viewResponse(view, in: session, head: request.head)
        case .answer(let compute):
            if session.authorized.repository.kind == .remote, route.options.contains(.live) { return try await liveResponse(request, in: session) }
            return try await response(to: try await compute(request, session), from: session.frontend, over: session, head: request.head)
        case .action(let perform):
            let reply = try await perform(request, try await writable(session))
            return try await response(to: reply, from: session.frontend, over: session, head: request.head)
        case .mounted:
            preconditionFailure("rows of the mount are answered before a repository is resolved")
        }
    }

    /// Whether what the catalog holds is all there is.
    func isLocal(_ repository: Repository) -> Bool { repository.kind == .local || repository.kind == .staging }

    func isVirtual(_ repository: Repository) -> Bool { repository.kind == .virtual }

    /// Where a change of the session's repository is made. Publishing goes to local repositories: a remote is a memory of its upstream, a virtual
    /// repository hands on to the member it was told to.
    func writable(_ session: RepositorySession) async throws(RegistryError) -> RepositorySession {
        let repository = session.authorized.repository
        switch repository.kind {
        case .local, .staging: return session
        case .remote:
            throw RegistryError(
                .unsupported, subject: .repository(repository.key.text),
                reason: "\(repository.key) is a remote repository: publish to a local one, or to its upstream")
        case .virtual:
            return try await writable(try await deploySession(of: session))
        }
    }

    /// HEAD and ranges are answered from the whole.
    private func mayArrive(_ head: RequestHead) -> Bool { head.method == .get && head.fields[.range] == nil }

    /// A file's bytes, wherever its repository has them from.
    func fileResponse(for file: FileRoute, _ request: Request, in session: RepositorySession) async throws(RegistryError) -> Response {
        if isVirtual(session.authorized.repository) { return try await virtualFile(file, request, in: session) }
        let found = try await self.file(for: file, request, in: session)
        if let describe = file.describe, case .held(let asset) = found {
            try await gate(asset.blob, as: asset.path)
            return try await response(to: try describe(asset), from: session.frontend, over: session, head: request.head)
        }
        return try await fileResponse(
            found, session.authorized, isPointer: freshness(file.freshness, in: session.authorized.repository) == .pointer, head: request.head,
            fields: file.fields)
    }

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
            preconditionFailure("a virtual repository's files are its members'")
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
                guard let package = try await catalog.package(name, in: repository.id) else {
                    return ViewSource(fingerprint: ViewSource.absent) { Facts() }
                }
                revision = package.revision
            } else {
                revision = repository.revision
            }
            return ViewSource(fingerprint: ViewSource.local(revision)) { () async throws(RegistryError) -> Facts in
                try await self.wholeFacts(in: view.scope, of: repository.id)
            }
        case .remote:
            let page = try await learnedPage(for: view, in: session)
            guard !page.absent else { return ViewSource(fingerprint: ViewSource.absent) { Facts() } }
            return ViewSource(fingerprint: "learned \(page.revision)") { () async throws(RegistryError) -> Facts in try await self.facts(of: page) }
        case .virtual:
            return try await virtualSource(of: view, in: session)
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
        case .virtual: return try await virtualFeed(in: session, indexing)
        case .remote:
            throw RegistryError(
                .unsupported, subject: .repository(repository.key.text), reason: "\(repository.key) has no index of its own")
        }
    }

    // What a format asks through its port.

    func facts(in scope: Scope, after: String?, limit: Int, _ session: RepositorySession) async throws(RegistryError) -> Facts {
        let repository = session.authorized.repository
        switch repository.kind {
        case .local, .staging: return try await catalog.facts(in: scope, of: repository.id, after: after, limit: limit)
        case .remote: return try await remoteFacts(in: scope, after: after, limit: limit, session)
        case .virtual: return try await virtualFacts(in: scope, after: after, limit: limit, session)
        }
    }

    func version(_ name: VersionName, of package: PackageName, _ session: RepositorySession) async throws(RegistryError) -> Version? {
        let repository = session.authorized.repository
        switch repository.kind {
        case .local, .staging: return try await catalog.version(name, of: package, in: repository.id)
        case .remote: return try await remoteVersion(name, of: package, session)
        case .virtual: return try await virtualVersion(name, of: package, session)
        }
    }

    func tag(_ name: TagName, of package: PackageName, _ session: RepositorySession) async throws(RegistryError) -> Tag? {
        let repository = session.authorized.repository
        switch repository.kind {
        case .local, .staging: return try await catalog.tag(name, of: package, in: repository.id)
        case .remote: return try await remoteTag(name, of: package, session)
        case .virtual: return try await virtualTag(name, of: package, session)
        }
    }

    func asset(at path: AssetPath, _ session: RepositorySession) async throws(RegistryError) -> Asset? {
        switch session.authorized.repository.kind {
        case .local, .staging, .remote: return try await catalog.asset(at: path, in: session.authorized.repository.id)
        case .virtual: return try await virtualAsset(at: path, session)?.asset
        }
    }

    private func wholeFacts(in scope: Scope, of repository: RepositoryID) async throws(RegistryError) -> Facts {
        let batch = 5_000
        var whole = try await catalog.facts(in: scope, of: repository, after: nil, limit: batch)
        switch scope {
        case .packages, .everything: break
        case .package, .family, .tags, .linked: return whole
        }
        var last = whole.packages.last
        while let after = last, whole.packages.count % batch == 0 {
            let next = try await catalog.facts(in: scope, of: repository, after: after.name.text, limit: batch)
            whole.append(next)
            last = next.packages.last
        }
        return whole
    }
}

/// Where a view's facts come from.
struct ViewSource: Sendable {
    static let absent = "absent"
    static func local(_ revision: Revision) -> String { "local \(revision)" }

    let fingerprint: String
    /// Callers of one audience see the same: each has its own cached page.
    var audience = ""
    /// Made of what not everybody may see who may read the repository.
    var isRestricted = false
    let facts: @Sendable () async throws(RegistryError) -> Facts
    init(fingerprint: String, facts: @escaping @Sendable () async throws(RegistryError) -> Facts) {
        self.fingerprint = fingerprint
        self.facts = facts
    }
}
