import Catalog
import Core
import FrontendKit

/// Where an index's facts come from: one repository, or the union of several. The engine asks for packages and follows the log of `sources`.
struct IndexFeed: Sendable {
    /// Names the index, also as a file: equal ids, equal facts.
    let id: String
    /// Whose changes change the facts.
    let sources: [RepositoryID]
    /// Whose documents these are: base URL, settings, key.
    let repository: Repository
    let context: RenderContext
    let indexing: any Indexing
    /// One package as it is now; empty when there is none.
    let facts: @Sendable (PackageName) async throws(RegistryError) -> Facts
    /// At most so many whole packages after a name, in byte order.
    let page: @Sendable (_ after: PackageName?, _ limit: Int) async throws(RegistryError) -> Facts
}

extension Facts {
    /// What `Scope.everything` gives, package by package.
    func byPackage() -> [(PackageName, Facts)] {
        let versions = Dictionary(grouping: self.versions, by: \.package)
        let tags = Dictionary(grouping: self.tags, by: \.package)
        let links = Dictionary(grouping: self.links, by: \.package)
        let assets = Dictionary(grouping: self.assets.filter { $0.package != nil }, by: \.package)
        let listed = Dictionary(grouping: self.listed, by: \.package)
        return packages.map { package in
            var facts = Facts()
            facts.revision = revision
            facts.packages = [package]
            facts.versions = versions[package.name] ?? []
            facts.assets = assets[package.name] ?? []
            facts.tags = tags[package.name] ?? []
            facts.links = links[package.name] ?? []
            facts.listed = listed[package.name] ?? []
            return (package.name, facts)
        }
    }
}
