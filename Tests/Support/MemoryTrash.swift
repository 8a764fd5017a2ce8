import Catalog
import Core

// The model's trash: what was there before the change and is not there after it.

extension MemoryCatalog.State {
    mutating func keepDeleted(from id: RepositoryID, _ before: MemoryContents?, _ change: Change, _ revision: Revision) {
        guard let until = change.keepsDeletedUntil, let before, let after = contents[id], after.trash[revision] == nil else { return }
        var discarded: Set<AssetPath> = []
        for case .edit(id, let edit) in change.parts {
            for case .discardAsset(let path) in edit.mutations { discarded.insert(path) }
        }
        var deletion = Deletion(repository: id, revision: revision, actor: change.actor, at: change.at, requestID: change.requestID, until: until)
        deletion.facts.revision = revision
        for (path, stored) in before.assets where after.assets[path] == nil && !discarded.contains(path) {
            deletion.facts.assets.append(stored.asset)
            if stored.isRelease { deletion.releases.insert(path) }
        }
        deletion.facts.versions = before.versions.values.flatMap(\.values).filter { after.versions[$0.package]?[$0.name] == nil }
        deletion.facts.tags = before.tags.values.flatMap(\.values).filter { after.tags[$0.package]?[$0.name] == nil }
        deletion.facts.links = before.links.filter { after.links[$0.key] == nil }.map(\.value)
        deletion.sort()
        if !deletion.isEmpty { contents[id]?.trash[revision] = deletion }
    }

    mutating func restore(
        _ id: DeletionID, _ paths: Set<AssetPath>?, _ change: Change, _ revision: Revision, _ world: World
    ) throws(RegistryError) -> [LogEntry.Touched] {
        guard var contents = contents[id.repository], let whole = contents.trash[id.revision] else { throw Self.refusal(.notFound) }
        var (taken, left): (Deletion, Deletion?) = (whole, nil)
        if let paths {
            guard let split = whole.split(at: paths) else { throw Self.refusal(.notFound) }
            (taken, left) = (split.taken, split.left.isEmpty ? nil : split.left)
        }
        if taken.isEmpty { return [] }
        let bytes = contents.usage.bytes
        contents.trash[id.revision] = left
        var touched: [LogEntry.Touched] = [.trash(id)]
        var packages: Set<PackageName> = []
        for var version in taken.facts.versions {
            guard contents.versions[version.package]?[version.name] == nil else { throw Self.refusal(.conflict) }
            version.revision = revision
            contents.versions[version.package, default: [:]][version.name] = version
            packages.insert(version.package)
        }
        for var asset in taken.facts.assets {
            guard contents.assets[asset.path] == nil, contents.tombstones[asset.path].map({ $0 == asset.blob }) ?? true else {
                throw Self.refusal(.conflict)
            }
            if let package = asset.package, let version = asset.version, contents.versions[package]?[version] == nil {
                throw Self.refusal(.conflict)
            }
            asset.revision = revision
            contents.assets[asset.path] = (asset, taken.releases.contains(asset.path))
            contents.tombstones[asset.path] = nil
            touched.append(.asset(id.repository, asset.path, asset.blob, deltaBytes: asset.size))
            if let package = asset.package { packages.insert(package) }
        }
        for var tag in taken.facts.tags {
            guard contents.versions[tag.package]?[tag.version] != nil else { throw Self.refusal(.conflict) }
            if let present = contents.tags[tag.package]?[tag.name] {
                if taken.isTagsOnly, present.version != tag.version { throw Self.refusal(.conflict) }
                continue
            }
            tag.revision = revision
            contents.tags[tag.package, default: [:]][tag.name] = tag
            touched.append(.tag(id.repository, tag.package, tag.name))
            packages.insert(tag.package)
        }
        for link in taken.facts.links where contents.links[.init(link)] == nil {
            guard contents.versions[link.package]?[link.version] != nil else { throw Self.refusal(.conflict) }
            contents.links[.init(link)] = link
            packages.insert(link.package)
        }
        for name in packages {
            if contents.packages[name] == nil { contents.packages[name] = Package(id: world.newID(), name: name, created: change.at) }
            contents.packages[name]?.revision = revision
            touched.append(.package(id.repository, name))
        }
        if let quota = repositories[id.repository]?.quotaBytes, contents.usage.bytes > quota, contents.usage.bytes > bytes {
            throw Self.refusal(.noSpace)
        }
        self.contents[id.repository] = contents
        if touched.count > 1 { repositories[id.repository]?.revision = revision }
        return touched
    }

    private static func refusal(_ code: RegistryError.Code) -> RegistryError {
        RegistryError(code, subject: .request, reason: "it cannot be restored")
    }
}
