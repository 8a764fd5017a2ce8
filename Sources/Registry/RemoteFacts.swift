import Access
import Catalog
import Core
import FrontendKit

// Questions about the facts of a remote: what its upstream's documents say, and what was fetched of it.

extension Registry {
    /// The facts of a scope as upstream tells them. Of a package, `assets` are those fetched files that no listing has: each file is named once.
    /// A scope that no document tells of is answered from what was fetched.
    func remoteFacts(in scope: Scope, after: String?, limit: Int, _ session: RepositorySession) async throws(RegistryError) -> Facts {
        let repository = session.authorized.repository
        guard let view = session.frontend.source(of: scope) else {
            return try await catalog.facts(in: scope, of: repository.id, after: after, limit: limit)
        }
        let page = try await learnedPage(for: view, in: session)
        guard !page.absent else { return Facts() }
        var facts = try await facts(of: page).inside(scope, after: after, limit: limit)
        facts.revision = page.revision
        if case .package = scope {
            let listed = Set(facts.listed.map(\.path))
            facts.assets = try await catalog.facts(in: scope, of: repository.id, after: nil, limit: limit).assets.filter { !listed.contains($0.path) }
        }
        return facts
    }

    func remoteVersion(_ name: VersionName, of package: PackageName, _ session: RepositorySession) async throws(RegistryError) -> Version? {
        guard session.frontend.source(of: .package(package)) != nil else {
            return try await catalog.version(name, of: package, in: session.authorized.repository.id)
        }
        return try await remoteFacts(in: .package(package), after: nil, limit: .max, session).versions.first { $0.name == name }
    }

    func remoteTag(_ name: TagName, of package: PackageName, _ session: RepositorySession) async throws(RegistryError) -> Tag? {
        for scope in [Scope.tags(package), .package(package)] where session.frontend.source(of: scope) != nil {
            return try await remoteFacts(in: scope, after: nil, limit: .max, session).tags.first { $0.name == name }
        }
        return try await catalog.tag(name, of: package, in: session.authorized.repository.id)
    }
}

extension Facts {
    /// What several documents say of one archive: a row that several have counts once, links add up.
    init(gathered parts: [Facts]) {
        self.init()
        var names: Set<PackageName> = []
        var releases: Set<String> = []
        var paths: Set<AssetPath> = []
        var arrows: Set<Link> = []
        for part in parts {
            packages += part.packages.filter { names.insert($0.name).inserted }
            versions += part.versions.filter { releases.insert("\($0.package) \($0.name)").inserted }
            links += part.links.filter { arrows.insert($0).inserted }
            listed += part.listed.filter { paths.insert($0.path).inserted }
        }
        packages.sort { $0.name < $1.name }
    }

    /// What of a document's facts is in a scope, as the catalog would give it: whole for a package, else at most `limit` rows after the name `after`.
    func inside(_ scope: Scope, after: String?, limit: Int) -> Facts {
        func isAfter(_ name: String) -> Bool { after.map { $0.utf8.lexicographicallyPrecedes(name.utf8) } ?? true }
        var part = Facts()
        switch scope {
        case .package(let name):
            part.packages = packages.filter { $0.name == name }
            part.versions = versions.filter { $0.package == name }
            part.tags = tags.filter { $0.package == name }
            part.links = links.filter { $0.package == name }
            part.listed = listed.filter { $0.package == name }
        case .family(let name, let prefix):
            part = inside(.package(name), after: nil, limit: limit)
            part.packages += packages.filter { $0.name != name && $0.name.text.utf8.starts(with: prefix.utf8) }.sorted { $0.name < $1.name }
        case .everything:
            part.packages = inside(.packages, after: after, limit: limit).packages
            let names = Set(part.packages.map(\.name))
            part.versions = versions.filter { names.contains($0.package) }
            part.tags = tags.filter { names.contains($0.package) }
            part.links = links.filter { names.contains($0.package) }
            part.listed = listed.filter { names.contains($0.package) }
        case .packages:
            part.packages = Array(packages.filter { isAfter($0.name.text) }.sorted { $0.name < $1.name }.prefix(limit))
        case .tags(let name):
            part.tags = Array(tags.filter { $0.package == name && isAfter($0.name.text) }.sorted { $0.name < $1.name }.prefix(limit))
        case .linked(let name, let relation, let target):
            let wanted = links.filter { $0.package == name && $0.relation == relation && $0.target == target && isAfter($0.version.text) }
            part.links = Array(wanted.sorted { $0.version < $1.version }.prefix(limit))
        }
        return part
    }
}
