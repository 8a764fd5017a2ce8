import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Logging

// Virtual repositories: what a view, a file or a question is to the union of the members the caller may see.

extension Registry {
    // MARK: Views

    /// The union of the members' facts, and the fingerprint of it: which members, and what each of them has.
    func virtualSource(of view: View, in session: RepositorySession) async throws(RegistryError) -> ViewSource {
        let members = try await members(of: session)
        let candidates = try await candidates(for: view.scope, in: members)
        let answers = await each(candidates) { member throws(RegistryError) in try await self.source(of: view, in: member.session) }
        let sources = try known(answers, of: candidates, session)
        var source: ViewSource
        if sources.isEmpty {
            source = ViewSource(fingerprint: ViewSource.absent) { Facts() }
        } else {
            // Failed members are left out of the list, so that the page changes when they are back.
            var parts = sources.map { "\($0.member.repository.id) \($0.value.fingerprint)" }
            // Over the whole repository, what hidden members own counts as well.
            if view.scope.package == nil { parts += members.locals.map { "owner \($0.id) \($0.revision)" } }
            source = ViewSource(fingerprint: Registry.digest(of: parts)) { () async throws(RegistryError) -> Facts in
                try await self.union(of: sources, for: view.scope, in: members, session).facts
            }
        }
        source.audience = Registry.digest(of: members.visible.map(\.repository.id.description))
        source.isRestricted = !members.isOpen
        return source
    }

    /// The union, and what each source contributed to it.
    private func union(
        of sources: [(member: Member, value: ViewSource)], for scope: Scope, in members: Members, _ session: RepositorySession
    ) async throws(RegistryError) -> (facts: Facts, contributions: [Contribution]) {
        var union = FactsUnion(by: session.frontend.mergeUnit)
        var contributions: [Contribution] = []
        for source in sources {
            let facts = try await allowed(try await source.value.facts(), in: scope, of: source.member, members)
            contributions.append(Contribution(member: source.member, facts: union.add(facts), lists: facts))
        }
        var facts = union.facts
        facts.sort()
        return (facts, contributions)
    }

    private struct Contribution {
        let member: Member
        /// What of the member's facts counts.
        let facts: Facts
        /// All of them.
        let lists: Facts
    }

    private static func digest(of parts: [String]) -> String {
        "virtual " + Digest.of(.sha256, Array(parts.joined(separator: "\n").utf8)).hex
    }

    // MARK: Files

    /// The first member that has the file, as the merged index says it: its digest is what the index promised.
    func virtualFile(_ file: FileRoute, _ request: Request, in session: RepositorySession) async throws(RegistryError) -> Response {
        let target = try file.locate(request.match)
        var listing: View?
        if let listedIn = file.listedIn { listing = try listedIn(request.match) }
        var package = listing?.scope.package
        if case .tagged(let name, _, _, _) = target { package = name }
        if let name = file.package { package = try name(request.match) }

        let members = try await members(of: session)
        var ordered = try await candidates(for: package, in: members)
        if case .path(let path) = target, ordered.count > 1 {
            if let listing, listing.scope.package != nil {
                ordered = try await listers(of: path, in: listing, ordered, members, session)
            } else {
                ordered = try await nearestFirst(ordered, path, file.freshness)
            }
        }
        var failure: RegistryError?
        for member in ordered {
            do throws(RegistryError) {
                var response = try await fileResponse(for: file, request, in: member.session)
                if !session.authorized.repository.isPublic { response.keepPrivate() }
                return response
            } catch {
                // What a member refuses (a blocked file) is not replaced by another member's.
                guard error.code == .notFound || isUpstreamFailure(error, of: member) else { throw error }
                if error.code != .notFound, failure == nil { failure = error }
            }
        }
        let repository = session.authorized.repository
        throw failure ?? RegistryError(.notFound, subject: .path(request.head.path.description), reason: "\(repository.key) has no such file")
    }

    /// Local members and held copies before upstreams are asked; where the bytes can change, only local ones.
    private func nearestFirst(
        _ members: [Member], _ path: AssetPath, _ freshness: FileRoute.Freshness
    ) async throws(RegistryError) -> [Member] {
        var near: [Member] = []
        var far: [Member] = []
        for member in members {
            let isHeld =
                self.freshness(freshness, in: member.repository) == .immutable
                ? try await catalog.asset(at: path, in: member.repository.id) != nil : false
            if isLocal(member.repository) || isHeld { near.append(member) } else { far.append(member) }
        }
        return near + far
    }

    /// The member whose file the merged index lists. When none is known to, those that may have learned of it since.
    private func listers(
        of path: AssetPath, in listing: View, _ candidates: [Member], _ members: Members, _ session: RepositorySession
    ) async throws(RegistryError) -> [Member] {
        let answers = await each(candidates) { member throws(RegistryError) in try await self.source(of: listing, in: member.session) }
        let sources = try known(answers, of: candidates, session)
        guard sources.count > 1 else { return sources.map(\.member) }
        let contributions = try await union(of: sources, for: listing.scope, in: members, session).contributions
        func has(_ member: Member, _ facts: Facts) -> Bool {
            if facts.assets.contains(where: { $0.path == path }) { return true }
            guard !facts.listed.isEmpty, let upstream = try? upstream(of: member.repository) else { return false }
            return session.frontend.upstream(for: .file(path), given: facts, at: upstream) != nil
        }
        if let lister = contributions.first(where: { has($0.member, $0.facts) }) { return [lister.member] }
        // Listed by a member, but not in the union: another member's release stands in its place.
        guard !contributions.contains(where: { has($0.member, $0.lists) }) else { return [] }
        return contributions.map(\.member)
    }

    // MARK: Indexes of everything

    /// The index of the union, as callers see it who see these members: each audience has its own, and nobody reads another's.
    func virtualFeed(in session: RepositorySession, _ indexing: any Indexing) async throws(RegistryError) -> IndexFeed {
        let members = try await members(of: session)
        var repository = session.authorized.repository
        repository.isPublic = repository.isPublic && members.isOpen
        // Upstream's documents are brought up to date before the index is asked whether it is.
        if let view = session.frontend.source(of: .everything) {
            let answers = await each(members.visible) { member throws(RegistryError) in try await self.source(of: view, in: member.session) }
            _ = try known(answers, of: members.visible, session)
        }
        // Whom it is made for stays what it is, also when the index is made again without a request.
        return IndexFeed(
            id: "\(repository.id)-\(Registry.digest(of: members.visible.map(\.repository.id.description)).suffix(64))",
            sources: [repository.id] + Set(members.visible.map(\.repository.id) + members.locals.map(\.id)).sorted(), repository: repository,
            context: context(of: repository), indexing: indexing,
            facts: { package throws(RegistryError) in
                try await self.unionFacts(in: .package(package), after: nil, limit: 1, of: members, session)
            },
            page: { after, limit throws(RegistryError) in
                try await self.unionFacts(in: .everything, after: after?.text, limit: limit, of: members, session)
            })
    }

    // MARK: Questions of a format

    func virtualFacts(in scope: Scope, after: String?, limit: Int, _ session: RepositorySession) async throws(RegistryError) -> Facts {
        try await unionFacts(in: scope, after: after, limit: limit, of: try await members(of: session), session)
    }

    private func unionFacts(
        in scope: Scope, after: String?, limit: Int, of members: Members, _ session: RepositorySession
    ) async throws(RegistryError) -> Facts {
        let candidates = try await candidates(for: scope, in: members)
        let answers = await each(candidates) { member throws(RegistryError) in
            try await self.page(of: scope, after: after, limit: limit, member, members)
        }
        var union = FactsUnion(by: session.frontend.mergeUnit)
        for answer in try known(answers, of: candidates, session) { _ = union.add(answer.value) }
        var facts = union.facts
        facts.sort()
        facts.truncate(to: limit, in: scope)
        return facts
    }

    /// A member's next rows that count: as many as asked for, unless there are no more.
    private func page(
        of scope: Scope, after: String?, limit: Int, _ member: Member, _ members: Members
    ) async throws(RegistryError) -> Facts {
        var page = Facts()
        var last = after
        while true {
            let more = try await facts(in: scope, after: last, limit: limit, member.session)
            page.append(try await allowed(more, in: scope, of: member, members))
            guard scope.package == nil, page.packages.count < limit, more.packages.count == limit, let end = more.packages.last else { return page }
            last = end.name.text
        }
    }

    func virtualVersion(_ name: VersionName, of package: PackageName, _ session: RepositorySession) async throws(RegistryError) -> Version? {
        try await first(about: package, session) { member throws(RegistryError) in try await self.version(name, of: package, member) }
    }

    func virtualTag(_ name: TagName, of package: PackageName, _ session: RepositorySession) async throws(RegistryError) -> Tag? {
        try await first(about: package, session) { member throws(RegistryError) in try await self.tag(name, of: package, member) }
    }

    /// The asset with the repository that holds it: of a local member, else one that a remote holds a copy of.
    func virtualAsset(
        at path: AssetPath, _ session: RepositorySession
    ) async throws(RegistryError) -> (asset: Asset, holder: Authorized)? {
        let members = try await members(of: session)
        for member in try await nearestFirst(members.visible, path, .immutable) {
            guard let asset = try await catalog.asset(at: path, in: member.repository.id) else { continue }
            // A copy from before the name was ours.
            guard try await candidates(for: asset.package, in: members).contains(where: { $0.repository.id == member.repository.id }) else {
                continue
            }
            return (asset, member.session.authorized)
        }
        return nil
    }

    private func first<Value: Sendable>(
        about package: PackageName, _ session: RepositorySession,
        _ ask: (RepositorySession) async throws(RegistryError) -> Value?
    ) async throws(RegistryError) -> Value? {
        var failure: RegistryError?
        for member in try await candidates(for: package, in: try await members(of: session)) {
            do throws(RegistryError) {
                if let value = try await ask(member.session) { return value }
            } catch {
                guard error.code == .notFound || isUpstreamFailure(error, of: member) else { throw error }
                if error.code != .notFound, failure == nil { failure = error }
            }
        }
        if let failure { throw failure }
        return nil
    }

    // MARK: Several members at once

    /// Asks all members at the same time; answers in their order.
    private func each<Value: Sendable>(
        _ members: [Member], _ ask: @escaping @Sendable (Member) async throws(RegistryError) -> Value
    ) async -> [Result<Value, RegistryError>] {
        await withTaskGroup(of: (Int, Result<Value, RegistryError>).self) { group in
            for (index, member) in members.enumerated() {
                group.addTask {
                    do throws(RegistryError) { return (index, .success(try await ask(member))) } catch { return (index, .failure(error)) }
                }
            }
            var answers: [(Int, Result<Value, RegistryError>)] = []
            for await answer in group { answers.append(answer) }
            return answers.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    /// The members that know something. One whose upstream fails is left out while others have an answer.
    /// - Throws: its failure when nobody else knows anything: "there is no such thing" would be a guess.
    private func known<Value: Knowledge>(
        _ answers: [Result<Value, RegistryError>], of members: [Member], _ session: RepositorySession
    ) throws(RegistryError) -> [(member: Member, value: Value)] {
        var known: [(member: Member, value: Value)] = []
        var failure: RegistryError?
        for (member, answer) in zip(members, answers) {
            switch answer {
            case .success(let value) where !value.isEmpty: known.append((member, value))
            case .success: break
            case .failure(let error) where error.code == .notFound: break
            case .failure(let error):
                guard isUpstreamFailure(error, of: member) else { throw error }
                log.warning(
                    "a member's upstream failed, answered without it",
                    metadata: [
                        "repository": "\(session.authorized.repository.key)", "member": "\(member.repository.key)", "error": "\(error)",
                        "request": "\(session.requestID)",
                    ])
                if failure == nil { failure = error }
            }
        }
        if known.isEmpty, let failure { throw failure }
        return known
    }

    /// A remote member's failure is its upstream's, and hurts nobody else; our own store's is everybody's.
    private func isUpstreamFailure(_ error: RegistryError, of member: Member) -> Bool {
        guard !isLocal(member.repository) else { return false }
        return switch error.code {
        case .upstreamFailed, .unavailable, .rateLimited, .invalid, .unsupported, .tooLarge, .noSpace: true
        default: false
        }
    }
}

/// An answer that may say nothing.
private protocol Knowledge: Sendable {
    var isEmpty: Bool { get }
}
extension Facts: Knowledge {}
extension ViewSource: Knowledge {
    var isEmpty: Bool { fingerprint == ViewSource.absent }
}

extension Scope {
    /// The package all of it is about.
    var package: PackageName? {
        switch self {
        case .package(let package), .tags(let package), .linked(let package, _, _), .family(let package, _): package
        case .packages, .everything: nil
        }
    }
}

extension Facts {
    /// Names in byte order, as one repository gives them.
    fileprivate mutating func sort() {
        packages.sort { $0.name < $1.name }
        versions.sort { ($0.package, $0.name) < ($1.package, $1.name) }
        assets.sort { $0.path < $1.path }
        tags.sort { ($0.package, $0.name) < ($1.package, $1.name) }
        links.sort { ($0.package, $0.version) < ($1.package, $1.version) }
    }

    /// The first rows of a paged scope.
    fileprivate mutating func truncate(to limit: Int, in scope: Scope) {
        switch scope {
        case .package, .family: return
        case .packages: packages = Array(packages.prefix(limit))
        case .everything:
            let names = Set(packages.prefix(limit).map(\.name))
            packages.removeAll { !names.contains($0.name) }
            versions.removeAll { !names.contains($0.package) }
            assets.removeAll { $0.package.map { !names.contains($0) } ?? true }
            tags.removeAll { !names.contains($0.package) }
            links.removeAll { !names.contains($0.package) }
            listed.removeAll { !names.contains($0.package) }
        case .tags: tags = Array(tags.prefix(limit))
        case .linked: links = Array(links.prefix(limit))
        }
    }
}

extension Response {
    /// What came through a private repository is not for shared caches.
    mutating func keepPrivate() {
        guard let control = fields[.cacheControl], control.hasPrefix("public") else { return }
        fields[.cacheControl] = "private" + control.dropFirst("public".count)
    }
}
