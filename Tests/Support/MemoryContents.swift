import Catalog
import Core

/// What one repository of the model holds.
struct MemoryContents: Sendable {
    struct LinkKey: Hashable {
        var package: PackageName
        var relation: String
        var target: String
        var version: VersionName
        init(_ link: Link) { (package, relation, target, version) = (link.package, link.relation, link.target, link.version) }
        var parts: [String] { [package.text, relation, target, version.text] }
    }

    var packages: [PackageName: Package] = [:]
    var versions: [PackageName: [VersionName: Version]] = [:]
    var assets: [AssetPath: (asset: Asset, isRelease: Bool)] = [:]
    var tags: [PackageName: [TagName: Tag]] = [:]
    var links: [LinkKey: Link] = [:]
    var tombstones: [AssetPath: BlobID] = [:]
    var learned: [String: LearnedPage] = [:]
    var trash: [Revision: Deletion] = [:]

    var usage: Usage {
        Usage(
            assets: Int64(assets.count), packages: Int64(packages.count), bytes: assets.values.reduce(0) { $0 + $1.asset.size },
            deletions: Int64(trash.count), trashBytes: trash.values.reduce(0) { $0 + $1.bytes })
    }

    func facts(in scope: Scope) -> Facts {
        var facts = Facts()
        switch scope {
        case .package(let name):
            guard let package = packages[name] else { return facts }
            facts.packages = [package]
            facts.versions = (versions[name] ?? [:]).values.sorted { $0.name < $1.name }
            facts.assets = assets.values.map(\.asset).filter { $0.package == name }.sorted {
                [$0.version?.text ?? "", $0.path.text].lexicographicallyPrecedes([$1.version?.text ?? "", $1.path.text]) {
                    $0.utf8.lexicographicallyPrecedes($1.utf8)
                }
            }
            facts.tags = (tags[name] ?? [:]).values.sorted { $0.name < $1.name }
            facts.links = links(where: { $0.package == name })
        case .family(let name, let prefix):
            facts = self.facts(in: .package(name))
            facts.packages += packages.values.filter { $0.name != name && $0.name.text.utf8.starts(with: prefix.utf8) }.sorted { $0.name < $1.name }
        case .packages: facts.packages = packages.values.sorted { $0.name < $1.name }
        case .everything: preconditionFailure("everything is paged by who asks")
        case .tags(let name): facts.tags = (tags[name] ?? [:]).values.sorted { $0.name < $1.name }
        case .linked(let name, let relation, let target):
            facts.links = links(where: { $0.package == name && $0.relation == relation && $0.target == target })
        }
        return facts
    }

    private func links(where isWanted: (LinkKey) -> Bool) -> [Link] {
        links.filter { isWanted($0.key) }.sorted { a, b in
            a.key.parts.lexicographicallyPrecedes(b.key.parts) { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        }.map(\.value)
    }

    func coordinates(of id: EntityID, in repository: RepositoryID) -> Coordinates? {
        if let package = packages.values.first(where: { $0.id == id }) { return .package(repository, package.name) }
        if let asset = assets.values.first(where: { $0.asset.id == id })?.asset { return .asset(repository, asset.path) }
        guard let version = versions.values.flatMap(\.values).first(where: { $0.id == id }) else { return nil }
        return .version(repository, version.package, version.name)
    }

    func pins(in repository: RepositoryID) -> [Pin] {
        var pins = assets.values.map { Pin(blob: $0.asset.blob, reason: .asset(repository, $0.asset.path)) }
        for version in versions.values.flatMap(\.values) {
            if case .blob(let blob, _, _) = version.manifest {
                pins.append(Pin(blob: blob, reason: .manifest(repository, version.package, version.name)))
            }
        }
        for page in learned.values {
            if case .blob(let blob, _, _) = page.block { pins.append(Pin(blob: blob, reason: .learned(repository, view: page.view))) }
        }
        for deletion in trash.values { pins += deletion.blobs.map { Pin(blob: $0, reason: .trash(deletion.id)) } }
        return pins
    }
}

/// One edit of the model.
struct MemoryEdit {
    let repository: RepositoryID
    let change: Change
    let revision: Revision
    let stored: Set<BlobID>
    let world: World
    private(set) var touched: [LogEntry.Touched] = []
    private var changedPackages: Set<PackageName> = []

    init(repository: RepositoryID, change: Change, revision: Revision, stored: Set<BlobID>, world: World) {
        self.repository = repository
        self.change = change
        self.revision = revision
        self.stored = stored
        self.world = world
    }

    mutating func apply(_ edit: Edit, to contents: inout MemoryContents) throws(RegistryError) {
        for precondition in edit.preconditions { try check(precondition, contents) }
        for mutation in edit.mutations { try apply(mutation, &contents) }
        for name in changedPackages { contents.packages[name]?.revision = revision }
        touched += changedPackages.map { .package(repository, $0) }
    }

    private func check(_ precondition: Precondition, _ contents: MemoryContents) throws(RegistryError) {
        func require(_ holds: Bool, or code: RegistryError.Code) throws(RegistryError) {
            if !holds { throw RegistryError(code, subject: .request, reason: "the precondition does not hold") }
        }
        switch precondition {
        case .absent(let path): try require(contents.assets[path] == nil, or: .conflict)
        case .present(let path): try require(contents.assets[path] != nil, or: .notFound)
        case .unchanged(let path, let since): try require(contents.assets[path]?.asset.revision == since, or: .conflict)
        case .packageRevision(let name, let revision): try require(contents.packages[name]?.revision ?? .zero == revision, or: .conflict)
        }
    }

    private static func missing() -> RegistryError { RegistryError(.notFound, subject: .request, reason: "there is no such thing") }

    private mutating func apply(_ mutation: Mutation, _ contents: inout MemoryContents) throws(RegistryError) {
        switch mutation {
        case .putPackage(let name, let displayName, let attributes):
            if let old = contents.packages[name], displayName ?? old.displayName == old.displayName, attributes ?? old.attributes == old.attributes {
                return
            }
            changed(name, &contents)
            if let displayName { contents.packages[name]?.displayName = displayName }
            if let attributes { contents.packages[name]?.attributes = attributes }
        case .putVersion(let package, let name, let manifest, let attributes):
            var version =
                contents.versions[package]?[name]
                ?? Version(id: world.newID(), package: package, name: name, created: change.at, creator: change.actor.name)
            if version.revision != .zero, version.manifest == manifest, version.attributes == attributes { return }
            if case .blob(let blob, _, _) = manifest { try requireStored(blob) }
            (version.manifest, version.attributes, version.revision) = (manifest, attributes, revision)
            contents.versions[package, default: [:]][name] = version
            changed(package, &contents)
        case .ensureVersion(let package, let name):
            guard contents.versions[package]?[name] == nil else { return }
            try apply(.putVersion(package, name, manifest: .none, attributes: [:]), &contents)
        case .setState(let package, let name, let state):
            guard let version = contents.versions[package]?[name] else { throw Self.missing() }
            if version.state == state { return }
            contents.versions[package]?[name]?.state = state
            contents.versions[package]?[name]?.revision = revision
            changed(package, &contents)
        case .deleteVersion(let package, let name):
            guard contents.versions[package]?.removeValue(forKey: name) != nil else { throw Self.missing() }
            for asset in contents.assets.values.map(\.asset) where asset.package == package && asset.version == name {
                try delete(asset.path, &contents)
            }
            contents.links = contents.links.filter { !($0.key.package == package && $0.key.version == name) }
            for tag in (contents.tags[package] ?? [:]).values where tag.version == name {
                contents.tags[package]?[tag.name] = nil
                touched.append(.tag(repository, package, tag.name))
            }
            changed(package, &contents)
        case .putAsset(let draft, let overwrite): try put(draft, isRelease: overwrite == .never, &contents)
        case .deleteAsset(let path): try delete(path, &contents)
        case .discardAsset(let path):
            let kept = contents.tombstones[path]
            try delete(path, &contents)
            contents.tombstones[path] = kept
        case .putTag(let package, let name, let version):
            guard contents.versions[package]?[version] != nil else { throw Self.missing() }
            if contents.tags[package]?[name]?.version == version { return }
            contents.tags[package, default: [:]][name] = Tag(
                package: package, name: name, version: version, updated: change.at, revision: revision)
            touched.append(.tag(repository, package, name))
            changed(package, &contents)
        case .deleteTag(let package, let name):
            guard contents.tags[package]?.removeValue(forKey: name) != nil else { throw Self.missing() }
            touched.append(.tag(repository, package, name))
            changed(package, &contents)
        case .putLink(let link):
            guard contents.versions[link.package]?[link.version] != nil else { throw Self.missing() }
            if contents.links[.init(link)] == link { return }
            contents.links[.init(link)] = link
            changed(link.package, &contents)
        case .deleteLink(let link):
            if contents.links.removeValue(forKey: .init(link)) != nil { changed(link.package, &contents) }
        }
    }

    private mutating func changed(_ name: PackageName, _ contents: inout MemoryContents) {
        changedPackages.insert(name)
        if contents.packages[name] == nil { contents.packages[name] = Package(id: world.newID(), name: name, created: change.at) }
    }

    private func requireStored(_ blob: BlobID) throws(RegistryError) {
        guard stored.contains(blob) else { throw RegistryError(.internal, subject: .blob("\(blob)"), reason: "not stored") }
    }

    private mutating func put(_ draft: AssetDraft, isRelease: Bool, _ contents: inout MemoryContents) throws(RegistryError) {
        let old = contents.assets[draft.path]
        if isRelease, let kept = old?.asset.blob ?? contents.tombstones[draft.path], kept != draft.blob {
            throw RegistryError(.immutable, subject: .path(draft.path.text), reason: "other bytes")
        }
        var asset = Asset(
            id: old?.asset.id ?? world.newID(), path: draft.path, blob: draft.blob, size: draft.size, digests: draft.digests,
            contentType: draft.contentType, package: draft.package, version: draft.version, attributes: draft.attributes, created: change.at,
            creator: change.actor.name)
        if let old, old.asset.blob == draft.blob {
            (asset.created, asset.creator, asset.revision) = (old.asset.created, old.asset.creator, old.asset.revision)
            asset.digests = old.asset.digests + draft.digests.filter { old.asset.digest($0.algorithm) == nil }
            if asset == old.asset, isRelease == old.isRelease { return }
        }
        try requireStored(draft.blob)
        asset.revision = revision
        contents.assets[draft.path] = (asset, isRelease)
        contents.tombstones[draft.path] = nil
        touched.append(.asset(repository, draft.path, draft.blob, deltaBytes: draft.size - (old?.asset.size ?? 0)))
        for package in [old?.asset.package, draft.package].compactMap({ $0 }) { changed(package, &contents) }
    }

    private mutating func delete(_ path: AssetPath, _ contents: inout MemoryContents) throws(RegistryError) {
        guard let old = contents.assets.removeValue(forKey: path) else { throw Self.missing() }
        if old.isRelease { contents.tombstones[path] = old.asset.blob }
        touched.append(.asset(repository, path, nil, deltaBytes: -old.asset.size))
        if let package = old.asset.package { changed(package, &contents) }
    }
}
