package import Catalog
import Core
package import OrderedStore

// Where each read is a journey to a server, the rows that a change is likely to ask for are fetched in one. Only a hint: a row that is missing
// here is read when it is asked for.
extension Change {
    package var likelyReads: [RowName] {
        var reads = LikelyReads()
        reads.rows = [.head, .logStart]
        for part in parts { reads.add(part) }
        return reads.rows.map { RowName($0.bytes, in: CatalogRows.family) } + reads.blobs.map { RowName($0.bytes, in: .blobLocations) }
    }
}

private struct LikelyReads {
    var rows: Set<Keyspace> = []
    var blobs: Set<BlobID> = []

    mutating func add(_ part: Change.Part) {
        switch part {
        case .edit(let id, let edit):
            add(id)
            for precondition in edit.preconditions { add(precondition, id) }
            for mutation in edit.mutations { add(mutation, id) }
        case .putRepository(let repository):
            add(repository.id)
            rows.formUnion([.repositoryKey(repository.key.text), .grave(repository.id)])
        case .deleteRepository(let id): add(id)
        case .putRecord(let record, _):
            rows.insert(.record(record.kind.rawValue, record.id))
            if let unique = record.unique { rows.insert(.recordUnique(record.kind.rawValue, unique)) }
        case .deleteRecord(let kind, let id): rows.insert(.record(kind.rawValue, id))
        case .putQuota(let project, _): rows.insert(.record(Record.Kind.quota.rawValue, project.description))
        case .putVerdict(let verdict): rows.insert(.verdicts(verdict.blob))
        case .learned(let page):
            add(page.repository)
            rows.insert(.learned(page.repository, page.view))
            add(page.block)
        case .restore(let id, _), .purge(let id):
            add(id.repository)
            rows.insert(.deletion(id))
        }
    }

    private mutating func add(_ id: RepositoryID) { rows.formUnion([.repository(id), .totals(id)]) }

    private mutating func add(_ precondition: Precondition, _ id: RepositoryID) {
        switch precondition {
        case .absent(let path), .present(let path), .unchanged(let path, since: _): rows.insert(.asset(id, path.text))
        case .packageRevision(let name, _): rows.insert(.package(id, name.text))
        }
    }

    private mutating func add(_ mutation: Mutation, _ id: RepositoryID) {
        switch mutation {
        case .putPackage(let name, displayName: _, attributes: _): rows.insert(.package(id, name.text))
        case .putVersion(let package, let name, let manifest, attributes: _):
            add(package, name, id)
            add(manifest)
        case .ensureVersion(let package, let name), .setState(let package, let name, _), .deleteVersion(let package, let name):
            add(package, name, id)
        case .putAsset(let draft, overwrite: _):
            rows.formUnion([.asset(id, draft.path.text), .tombstone(id, draft.path.text), .unpinned(draft.blob)])
            if let package = draft.package { rows.insert(.package(id, package.text)) }
            blobs.insert(draft.blob)
        case .deleteAsset(let path), .discardAsset(let path): rows.insert(.asset(id, path.text))
        case .putTag(let package, let name, let version):
            add(package, version, id)
            rows.insert(.tag(id, package.text, name.text))
        case .deleteTag(let package, let name): rows.formUnion([.package(id, package.text), .tag(id, package.text, name.text)])
        case .putLink(let link), .deleteLink(let link):
            add(link.package, link.version, id)
            rows.insert(CatalogRows.key(of: link, in: id))
        }
    }

    private mutating func add(_ package: PackageName, _ version: VersionName, _ id: RepositoryID) {
        rows.formUnion([.package(id, package.text), .version(id, package.text, version.text)])
    }

    private mutating func add(_ manifest: Manifest) {
        guard let blob = manifest.blob else { return }
        blobs.insert(blob)
        rows.insert(.unpinned(blob))
    }
}
