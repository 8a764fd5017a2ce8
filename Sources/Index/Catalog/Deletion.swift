public import Core

/// What one change deleted from one repository and what can be put back: facts as they were, out of every reader's sight. A repository's
/// deletions are its trash (docs/internals/trash.md).
public struct Deletion: Sendable, Hashable {
    public var repository: RepositoryID
    /// Of the change that deleted: with the repository, what names the deletion.
    public var revision: Revision
    public var actor: Actor
    public var at: Timestamp
    public var requestID: String
    /// So long it is kept.
    public var until: Timestamp
    /// Versions, assets, tags and links; sorted, and nothing else. Packages stay when their versions go.
    public var facts: Facts
    /// Paths of assets that were releases: their paths take no other bytes.
    public var releases: Set<AssetPath>

    public init(
        repository: RepositoryID, revision: Revision, actor: Actor, at: Timestamp, requestID: String, until: Timestamp, facts: Facts = Facts(),
        releases: Set<AssetPath> = []
    ) {
        self.repository = repository
        self.revision = revision
        self.actor = actor
        self.at = at
        self.requestID = requestID
        self.until = until
        self.facts = facts
        self.releases = releases
    }

    public var isEmpty: Bool { facts.isEmpty }

    /// Logical bytes of its assets, as quotas would count them.
    public var bytes: Int64 { facts.assets.reduce(0) { $0.addingReportingOverflow($1.size).partialValue } }

    /// Every blob it keeps, each once, in order.
    public var blobs: [BlobID] {
        var blobs = Set(facts.assets.map(\.blob))
        for case .blob(let blob, _, _) in facts.versions.map(\.manifest) { blobs.insert(blob) }
        return blobs.sorted()
    }

    /// Only tags: then a tag that was set anew meanwhile is in the way, while beside a version it has moved on.
    public var isTagsOnly: Bool { facts.versions.isEmpty && facts.assets.isEmpty && facts.links.isEmpty && !facts.tags.isEmpty }

    /// In a fixed order, so that equal deletions are equal values.
    public mutating func sort() {
        func text(_ link: Link) -> [String] { [link.package.text, link.relation, link.target, link.version.text] }
        facts.versions.sort { ($0.package, $0.name) < ($1.package, $1.name) }
        facts.assets.sort { $0.path < $1.path }
        facts.tags.sort { ($0.package, $0.name) < ($1.package, $1.name) }
        facts.links.sort { text($0).lexicographicallyPrecedes(text($1)) { $0.utf8.lexicographicallyPrecedes($1.utf8) } }
    }

    /// The assets at some paths with the versions they belong to and what hangs on those, and what is left without them.
    /// - Returns: nil when it has no asset at one of the paths.
    public func split(at paths: Set<AssetPath>) -> (taken: Deletion, left: Deletion)? {
        guard paths.isSubset(of: facts.assets.map(\.path)) else { return nil }
        var (taken, left) = (self, self)
        func isTaken(_ asset: Asset) -> Bool { paths.contains(asset.path) }
        var versions: Set<[String]> = []
        for asset in facts.assets where isTaken(asset) {
            if let package = asset.package, let version = asset.version { versions.insert([package.text, version.text]) }
        }
        func isTaken(_ package: PackageName, _ version: VersionName) -> Bool { versions.contains([package.text, version.text]) }
        taken.facts.assets.removeAll { !isTaken($0) }
        left.facts.assets.removeAll { isTaken($0) }
        taken.facts.versions.removeAll { !isTaken($0.package, $0.name) }
        left.facts.versions.removeAll { isTaken($0.package, $0.name) }
        taken.facts.tags.removeAll { !isTaken($0.package, $0.version) }
        left.facts.tags.removeAll { isTaken($0.package, $0.version) }
        taken.facts.links.removeAll { !isTaken($0.package, $0.version) }
        left.facts.links.removeAll { isTaken($0.package, $0.version) }
        taken.releases.formIntersection(paths)
        left.releases.subtract(paths)
        return (taken, left)
    }
}

/// A deletion by its name.
public struct DeletionID: Sendable, Hashable {
    public var repository: RepositoryID
    public var revision: Revision
    public init(_ repository: RepositoryID, _ revision: Revision) {
        self.repository = repository
        self.revision = revision
    }
}

extension Deletion {
    public var id: DeletionID { DeletionID(repository, revision) }
}
