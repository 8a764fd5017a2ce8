import Catalog
import Core
import OrderedStore

/// What one edit has changed so far, before it is written down at its end.
struct EditState {
    var held: Held
    let bytesBefore: Int64
    /// Packages the edit has met.
    var packages: [PackageName: Package] = [:]
    /// Those with a change in them.
    var changed: Set<PackageName> = []
    var isChanged = false
    /// What it deleted; nil where that is not kept.
    var deleted: Deleted?

    init(held: Held, deleted: Deleted? = nil) {
        self.held = held
        bytesBefore = held.usage.bytes
        self.deleted = deleted
    }

    var id: RepositoryID { held.repository.id }
}

extension ChangeRun {
    mutating func apply(_ edit: Edit, to id: RepositoryID) throws(RegistryError) {
        var state = EditState(held: try held(id), deleted: keepsDeleted(of: id))
        for precondition in edit.preconditions { try check(precondition, in: id) }
        for mutation in edit.mutations { try apply(mutation, &state) }
        deleted[id] = state.deleted
        try finish(&state)
    }

    /// Writes down what is kept in memory until an edit's end.
    mutating func finish(_ state: inout EditState) throws(RegistryError) {
        let (id, held) = (state.id, state.held)
        for name in state.changed.sorted() {
            guard var package = state.packages[name] else { continue }
            package.revision = revision
            put(.package(id, name.text)) { $0.write(package) }
            touch(.package(id, name))
        }
        if let quota = held.repository.quotaBytes, held.usage.bytes > quota, held.usage.bytes > state.bytesBefore {
            throw RegistryError(
                .noSpace, subject: .repository(held.repository.key.text), reason: "the repository's quota of \(quota) bytes would be exceeded")
        }
        // Neither is negative.
        try grow(held.repository.project, by: held.usage.bytes - state.bytesBefore)
        if state.isChanged { update(held) }
    }

    private func check(_ precondition: Precondition, in id: RepositoryID) throws(RegistryError) {
        switch precondition {
        case .absent(let path):
            guard try rows.asset(at: path, in: id) == nil else {
                throw RegistryError(.conflict, subject: .path(path.text), reason: "there is something already")
            }
        case .present(let path):
            guard try rows.asset(at: path, in: id) != nil else { throw Self.missing(.path(path.text)) }
        case .unchanged(let path, let since):
            guard try rows.asset(at: path, in: id)?.asset.revision == since else {
                throw RegistryError(.conflict, subject: .path(path.text), reason: "it was changed meanwhile")
            }
        case .packageRevision(let name, let expected):
            guard try rows.package(name, in: id)?.revision ?? .zero == expected else {
                throw RegistryError(.conflict, subject: .package(name.text), reason: "it was changed meanwhile")
            }
        }
    }

    private mutating func apply(_ mutation: Mutation, _ state: inout EditState) throws(RegistryError) {
        switch mutation {
        case .putPackage(let name, let displayName, let attributes):
            try putPackage(name, displayName, attributes, &state)
        case .putVersion(let package, let name, let manifest, let attributes):
            try putVersion(package, name, manifest, attributes, &state)
        case .ensureVersion(let package, let name):
            guard try rows.version(name, of: package, in: state.id) == nil else { return }
            try putVersion(package, name, .none, [:], &state)
        case .setState(let package, let name, let new):
            guard var version = try rows.version(name, of: package, in: state.id) else { throw Self.missing(.package("\(package) \(name)")) }
            if version.state == new { return }
            state.deleted?.note(package, name, version)
            version.state = new
            try write(version, &state)
        case .deleteVersion(let package, let name):
            try deleteVersion(package, name, &state)
        case .putAsset(let draft, let overwrite):
            try putAsset(draft, overwrite, &state)
        case .deleteAsset(let path):
            guard let stored = try rows.asset(at: path, in: state.id) else { throw Self.missing(.path(path.text)) }
            try delete(stored, &state)
        case .discardAsset(let path):
            guard let stored = try rows.asset(at: path, in: state.id) else { throw Self.missing(.path(path.text)) }
            state.deleted?.discard(path)
            try delete(StoredAsset(asset: stored.asset, isRelease: false), &state)
        case .putTag(let package, let name, let version):
            try putTag(package, name, version, &state)
        case .deleteTag(let package, let name):
            guard let tag = try rows.tag(name, of: package, in: state.id) else { throw Self.missing(.package("\(package):\(name)")) }
            try delete(tag, &state)
        case .putLink(let link):
            try putLink(link, &state)
        case .deleteLink(let link):
            try delete(link, &state)
        }
    }

    private static func missing(_ subject: RegistryError.Subject) -> RegistryError {
        RegistryError(.notFound, subject: subject, reason: "there is no such thing")
    }

    // MARK: Packages and versions

    /// The package exists afterwards, and is marked as changed.
    private func change(_ name: PackageName, _ state: inout EditState) throws(RegistryError) {
        state.isChanged = true
        state.changed.insert(name)
        if state.packages[name] != nil { return }
        if let existing = try rows.package(name, in: state.id) {
            state.packages[name] = existing
            return
        }
        let package = Package(id: world.newID(), name: name, created: change.at)
        state.packages[name] = package
        state.held.usage.packages += 1
        put(.entity(package.id)) { [id = state.id] in $0.write(Coordinates.package(id, name)) }
    }

    private func putPackage(
        _ name: PackageName, _ displayName: String?, _ attributes: [String: String]?, _ state: inout EditState
    ) throws(RegistryError) {
        let known = if let known = state.packages[name] { known } else { try rows.package(name, in: state.id) }
        if let known, displayName ?? known.displayName == known.displayName, attributes ?? known.attributes == known.attributes { return }
        try change(name, &state)
        if let displayName { state.packages[name]?.displayName = displayName }
        if let attributes { state.packages[name]?.attributes = attributes }
    }

    private func putVersion(
        _ package: PackageName, _ name: VersionName, _ manifest: Manifest, _ attributes: [String: String], _ state: inout EditState
    ) throws(RegistryError) {
        let existing = try rows.version(name, of: package, in: state.id)
        if let existing, existing.manifest == manifest, existing.attributes == attributes { return }
        state.deleted?.note(package, name, existing)
        if let blob = manifest.blob { try requireStored(blob) }
        var version =
            existing
            ?? Version(id: world.newID(), package: package, name: name, created: change.at, creator: change.actor.name)
        let reason = Pin.Reason.manifest(state.id, package, name)
        unpin(version.manifest.blob, reason)
        try pin(manifest.blob, reason)
        version.manifest = manifest
        version.attributes = attributes
        if existing == nil { put(.entity(version.id)) { [id = state.id] in $0.write(Coordinates.version(id, package, name)) } }
        try write(version, &state)
    }

    func write(_ version: Version, _ state: inout EditState) throws(RegistryError) {
        var version = version
        version.revision = revision
        put(.version(state.id, version.package.text, version.name.text)) { $0.write(version) }
        try change(version.package, &state)
    }

    private mutating func deleteVersion(_ package: PackageName, _ name: VersionName, _ state: inout EditState) throws(RegistryError) {
        guard let version = try rows.version(name, of: package, in: state.id) else { throw Self.missing(.package("\(package) \(name)")) }
        let paths = try rows.assetPaths(of: package, name, in: state.id)
        try rows.willGet(paths.map { .asset(state.id, $0.text) })
        for path in paths {
            if let stored = try rows.asset(at: path, in: state.id) { try delete(stored, &state) }
        }
        for link in try rows.links(of: name, package, in: state.id) { try delete(link, &state) }
        for tag in try rows.tags(of: package, in: state.id) where tag.version == name { try delete(tag, &state) }
        unpin(version.manifest.blob, .manifest(state.id, package, name))
        delete(.entity(version.id))
        delete(.version(state.id, package.text, name.text))
        state.deleted?.note(package, name, version)
        try change(package, &state)
    }

    // MARK: Assets

    private mutating func putAsset(_ draft: AssetDraft, _ overwrite: Mutation.Overwrite, _ state: inout EditState) throws(RegistryError) {
        let existing = try rows.asset(at: draft.path, in: state.id)
        let isRelease = overwrite == .never
        let kept = if let existing { existing.asset.blob } else { try rows.tombstone(at: draft.path, in: state.id) }
        if isRelease, let kept, kept != draft.blob {
            throw RegistryError(
                .immutable, subject: .path(draft.path.text),
                reason: existing == nil
                    ? "a release was deleted here; its path does not take other bytes" : "a release is never replaced by other bytes")
        }
        var asset = draft.asset(id: existing?.asset.id ?? world.newID(), created: change.at, creator: change.actor.name)
        if let old = existing?.asset, old.blob == asset.blob {
            asset.created = old.created
            asset.creator = old.creator
            asset.revision = old.revision
            asset.digests = old.digests + asset.digests.filter { digest in !old.digests.contains { $0.algorithm == digest.algorithm } }
            if asset == old, existing?.isRelease == isRelease { return }
        }
        try put(StoredAsset(asset: asset, isRelease: isRelease), replacing: existing, &state)
    }

    /// Nothing speaks against it but a blob that is not stored.
    mutating func put(_ stored: StoredAsset, replacing existing: StoredAsset?, _ state: inout EditState) throws(RegistryError) {
        var asset = stored.asset
        try requireStored(asset.blob)
        state.deleted?.note(asset.path, existing)
        asset.revision = revision
        if let old = existing?.asset { unindex(old, in: state.id) } else { put(.entity(asset.id), coordinates: .asset(state.id, asset.path)) }
        delete(.tombstone(state.id, asset.path.text))
        put(.asset(state.id, asset.path.text)) { $0.write(StoredAsset(asset: asset, isRelease: stored.isRelease)) }
        try pin(asset.blob, .asset(state.id, asset.path))
        if let package = asset.package { put(Self.indexKey(asset, package, in: state.id)) { _ in } }
        state.held.usage.assets += existing == nil ? 1 : 0
        try account(for: asset, blob: asset.blob, growth: asset.size, replacing: existing?.asset.size ?? 0, &state)
        for package in Set([existing?.asset.package, asset.package].compactMap { $0 }) { try change(package, &state) }
    }

    private mutating func delete(_ stored: StoredAsset, _ state: inout EditState) throws(RegistryError) {
        let asset = stored.asset
        unindex(asset, in: state.id)
        delete(.entity(asset.id))
        delete(.asset(state.id, asset.path.text))
        state.deleted?.note(asset.path, stored)
        if stored.isRelease { put(.tombstone(state.id, asset.path.text)) { $0.write(asset.blob) } }
        state.held.usage.assets -= 1
        try account(for: asset, blob: nil, growth: 0, replacing: asset.size, &state)
        if let package = asset.package { try change(package, &state) }
    }

    private mutating func account(
        for asset: Asset, blob: BlobID?, growth: Int64, replacing old: Int64, _ state: inout EditState
    ) throws(RegistryError) {
        let (delta, isTooLarge) = growth.subtractingReportingOverflow(old)
        let (total, overflow) = state.held.usage.bytes.addingReportingOverflow(delta)
        guard growth >= 0, !isTooLarge, !overflow else {
            throw RegistryError(.invalid, subject: .path(asset.path.text), reason: "its size cannot be counted")
        }
        state.held.usage.bytes = total
        state.isChanged = true
        touch(.asset(state.id, asset.path, blob, deltaBytes: delta))
    }

    private func unindex(_ asset: Asset, in id: RepositoryID) {
        unpin(asset.blob, .asset(id, asset.path))
        if let package = asset.package { delete(Self.indexKey(asset, package, in: id)) }
    }

    private func put(_ key: Keyspace, coordinates: Coordinates) { put(key) { $0.write(coordinates) } }

    private static func indexKey(_ asset: Asset, _ package: PackageName, in id: RepositoryID) -> Keyspace {
        .packageAsset(id, package.text, version: asset.version?.text ?? "", path: asset.path.text)
    }

    // MARK: Tags and links

    private mutating func putTag(_ package: PackageName, _ name: TagName, _ version: VersionName, _ state: inout EditState) throws(RegistryError) {
        guard try rows.version(version, of: package, in: state.id) != nil else { throw Self.missing(.package("\(package) \(version)")) }
        let existing = try rows.tag(name, of: package, in: state.id)
        if existing?.version == version { return }
        state.deleted?.note(package, name, existing)
        try put(Tag(package: package, name: name, version: version, updated: change.at), &state)
    }

    /// Nothing speaks against it.
    mutating func put(_ tag: Tag, _ state: inout EditState) throws(RegistryError) {
        var tag = tag
        tag.revision = revision
        put(.tag(state.id, tag.package.text, tag.name.text)) { $0.write(tag) }
        touch(.tag(state.id, tag.package, tag.name))
        try change(tag.package, &state)
    }

    private mutating func delete(_ tag: Tag, _ state: inout EditState) throws(RegistryError) {
        delete(.tag(state.id, tag.package.text, tag.name.text))
        state.deleted?.note(tag.package, tag.name, tag)
        touch(.tag(state.id, tag.package, tag.name))
        try change(tag.package, &state)
    }

    func putLink(_ link: Link, _ state: inout EditState) throws(RegistryError) {
        guard try rows.version(link.version, of: link.package, in: state.id) != nil else {
            throw Self.missing(.package("\(link.package) \(link.version)"))
        }
        let existing = try rows.linkPayload(link, in: state.id)
        if existing == link.payload { return }
        state.deleted?.note(link, payload: existing)
        put(CatalogRows.key(of: link, in: state.id)) { $0.write(link.payload) }
        put(Self.indexKey(link, in: state.id)) { _ in }
        try change(link.package, &state)
    }

    /// Whatever its payload; an absent one is left alone.
    private func delete(_ link: Link, _ state: inout EditState) throws(RegistryError) {
        guard let payload = try rows.linkPayload(link, in: state.id) else { return }
        state.deleted?.note(link, payload: payload)
        delete(CatalogRows.key(of: link, in: state.id))
        delete(Self.indexKey(link, in: state.id))
        try change(link.package, &state)
    }

    private static func indexKey(_ link: Link, in id: RepositoryID) -> Keyspace {
        .versionLink(id, link.package.text, version: link.version.text, relation: link.relation, target: link.target)
    }
}

extension AssetDraft {
    func asset(id: EntityID, created: Timestamp, creator: String) -> Asset {
        Asset(
            id: id, path: path, blob: blob, size: size, digests: digests, contentType: contentType, package: package, version: version,
            attributes: attributes, created: created, creator: creator)
    }
}
