import Catalog
import Core

// The trash: what a change deletes is gathered while it runs and written down at its end, as one row for each repository, with a pin on every
// blob of it. Putting it back is the inverse: the same rows again under the change's own revision. docs/internals/trash.md.

/// What stood in one repository before a change, of all that the change touches: what does not stand there at its end was deleted.
struct Deleted {
    private(set) var facts = Facts()
    private(set) var releases: Set<AssetPath> = []
    private var names: Set<[String]> = []

    var isEmpty: Bool { facts.isEmpty }

    // What is noted first is what stood there before; nil: nothing did.

    mutating func note(_ path: AssetPath, _ stored: StoredAsset?) {
        guard names.insert(["asset", path.text]).inserted, let stored else { return }
        facts.assets.append(stored.asset)
        if stored.isRelease { releases.insert(path) }
    }

    /// Nobody wants it back.
    mutating func discard(_ path: AssetPath) {
        names.insert(["asset", path.text])
        facts.assets.removeAll { $0.path == path }
    }

    mutating func note(_ package: PackageName, _ name: VersionName, _ version: Version?) {
        if names.insert(["version", package.text, name.text]).inserted, let version { facts.versions.append(version) }
    }

    mutating func note(_ package: PackageName, _ name: TagName, _ tag: Tag?) {
        if names.insert(["tag", package.text, name.text]).inserted, let tag { facts.tags.append(tag) }
    }

    mutating func note(_ link: Link, payload: [UInt8]?) {
        guard names.insert(["link", link.package.text, link.relation, link.target, link.version.text]).inserted, let payload else { return }
        facts.links.append(Link(relation: link.relation, target: link.target, package: link.package, version: link.version, payload: payload))
    }

    /// Without what stands there at the end, as it was or replaced.
    mutating func drop(whatIsIn rows: CatalogRows, _ id: RepositoryID) throws(RegistryError) {
        var left = Facts()
        for asset in facts.assets where try rows.asset(at: asset.path, in: id) == nil { left.assets.append(asset) }
        for version in facts.versions where try rows.version(version.name, of: version.package, in: id) == nil { left.versions.append(version) }
        for tag in facts.tags where try rows.tag(tag.name, of: tag.package, in: id) == nil { left.tags.append(tag) }
        for link in facts.links where try rows.linkPayload(link, in: id) == nil { left.links.append(link) }
        facts = left
        releases.formIntersection(left.assets.map(\.path))
    }
}

extension ChangeRun {
    // MARK: Into the trash

    /// What an edit begins with; nil where what it deletes is not kept.
    func keepsDeleted(of id: RepositoryID) -> Deleted? { change.keepsDeletedUntil == nil ? nil : deleted[id] ?? Deleted() }

    /// Writes down what the change deleted; called once, at its end.
    mutating func keepDeleted() throws(RegistryError) {
        guard let until = change.keepsDeletedUntil else { return }
        for (id, var deleted) in deleted {
            // A repository that went with the same change has no trash.
            guard let known = repositories[id], var held = known else { continue }
            try deleted.drop(whatIsIn: rows, id)
            guard !deleted.isEmpty else { continue }
            var facts = deleted.facts
            facts.revision = revision
            var deletion = Deletion(
                repository: id, revision: revision, actor: change.actor, at: change.at, requestID: change.requestID, until: until, facts: facts,
                releases: deleted.releases)
            deletion.sort()
            try write(deletion)
            put(.deletionEnd(until, deletion.id)) { _ in }
            held.usage.deletions += 1
            held.usage.trashBytes = held.usage.trashBytes.addingReportingOverflow(deletion.bytes).partialValue
            repositories[id] = held
        }
    }

    private func write(_ deletion: Deletion) throws(RegistryError) {
        put(.deletion(deletion.id)) { $0.write(deletion) }
        for blob in deletion.blobs { try pin(blob, .trash(deletion.id)) }
    }

    /// The row goes with its pins; totals and log follow.
    private mutating func remove(_ deletion: Deletion, from held: inout Held) {
        delete(.deletion(deletion.id))
        delete(.deletionEnd(deletion.until, deletion.id))
        for blob in deletion.blobs { unpin(blob, .trash(deletion.id)) }
        held.usage.deletions -= 1
        held.usage.trashBytes = held.usage.trashBytes.subtractingReportingOverflow(deletion.bytes).partialValue
        touch(.trash(deletion.id))
    }

    // MARK: Out of it

    mutating func purge(_ id: DeletionID) throws(RegistryError) {
        let known = try heldNow(id.repository)
        guard var held = known, let deletion = try rows.deletion(id) else { return }
        remove(deletion, from: &held)
        // Nothing that anybody reads has changed: the repository's revision stays.
        repositories[id.repository] = held
    }

    mutating func restore(_ id: DeletionID, only paths: Set<AssetPath>?) throws(RegistryError) {
        var held = try held(id.repository)
        guard let deletion = try rows.deletion(id) else {
            throw RegistryError(.notFound, subject: .request, reason: "the trash has no such deletion: it was restored, or its time is over")
        }
        var (taken, left) = (deletion, deletion)
        left.facts = Facts()
        if let paths {
            guard let split = deletion.split(at: paths) else {
                throw RegistryError(.notFound, subject: .request, reason: "this deletion has no artifact at one of the paths")
            }
            (taken, left) = split
        }
        guard !taken.isEmpty else { return }
        remove(deletion, from: &held)
        if !left.isEmpty {
            try write(left)
            put(.deletionEnd(left.until, left.id)) { _ in }
            held.usage.deletions += 1
            held.usage.trashBytes = held.usage.trashBytes.addingReportingOverflow(left.bytes).partialValue
        }
        var state = EditState(held: held, deleted: keepsDeleted(of: id.repository))
        try putBack(taken, &state)
        deleted[id.repository] = state.deleted
        try finish(&state)
        // A tag that is back already changes nothing but the trash.
        if !state.isChanged { repositories[id.repository] = state.held }
    }

    private mutating func putBack(_ deletion: Deletion, _ state: inout EditState) throws(RegistryError) {
        let facts = deletion.facts
        for version in facts.versions { try putBack(version, &state) }
        for asset in facts.assets {
            try putBack(StoredAsset(asset: asset, isRelease: deletion.releases.contains(asset.path)), &state)
        }
        for tag in facts.tags {
            try require(tag.version, of: tag.package, for: "the tag \(tag.name)", state.id)
            if let present = try rows.tag(tag.name, of: tag.package, in: state.id) {
                // Beside a version the tag has moved on, as tags do.
                guard deletion.isTagsOnly, present.version != tag.version else { continue }
                throw Self.taken(.package("\(tag.package):\(tag.name)"), "the tag \(tag.name) was set to \(present.version) meanwhile")
            }
            state.deleted?.note(tag.package, tag.name, nil)
            try put(tag, &state)
        }
        for link in facts.links where try rows.linkPayload(link, in: state.id) == nil {
            try require(link.version, of: link.package, for: "the link \(link.relation)", state.id)
            try putLink(link, &state)
        }
    }

    private func putBack(_ version: Version, _ state: inout EditState) throws(RegistryError) {
        guard try rows.version(version.name, of: version.package, in: state.id) == nil else {
            throw Self.taken(.package("\(version.package) \(version.name)"), "\(version.package) \(version.name) was published again meanwhile")
        }
        state.deleted?.note(version.package, version.name, nil)
        if let blob = version.manifest.blob { try requireStored(blob) }
        try pin(version.manifest.blob, .manifest(state.id, version.package, version.name))
        put(.entity(version.id)) { [id = state.id] in $0.write(Coordinates.version(id, version.package, version.name)) }
        try write(version, &state)
    }

    private mutating func putBack(_ stored: StoredAsset, _ state: inout EditState) throws(RegistryError) {
        let asset = stored.asset
        guard try rows.asset(at: asset.path, in: state.id) == nil else {
            throw Self.taken(.path(asset.path.text), "there is something at \(asset.path) again")
        }
        if let kept = try rows.tombstone(at: asset.path, in: state.id), kept != asset.blob {
            throw Self.taken(.path(asset.path.text), "another release was put and deleted at \(asset.path) meanwhile")
        }
        if let package = asset.package, let version = asset.version {
            try require(version, of: package, for: asset.path.text, state.id)
        }
        try put(stored, replacing: nil, &state)
    }

    private func require(_ version: VersionName, of package: PackageName, for what: String, _ id: RepositoryID) throws(RegistryError) {
        guard try rows.version(version, of: package, in: id) != nil else {
            throw Self.taken(.package("\(package) \(version)"), "\(what) belongs to \(package) \(version), which was deleted too: restore that first")
        }
    }

    private static func taken(_ subject: RegistryError.Subject, _ reason: String) -> RegistryError {
        RegistryError(.conflict, subject: subject, reason: reason)
    }
}
