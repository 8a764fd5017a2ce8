// Facts: packages with versions, tags, manifests, assets and links — all that a document may be computed from.
// A format writes them with an `Edit` and reads them with a `Scope`; it sees its own repository only.

/// A package: a name that has, or had, releases.
public struct Package: Sendable, Hashable {
    public var id: EntityID
    public var name: PackageName
    /// The spelling its publisher used, where normalisation changed it.
    public var displayName: String?
    public var attributes: [String: String]
    public var created: Timestamp
    /// The revision of the last change to anything in it: fingerprint of the package's views.
    public var revision: Revision

    public init(
        id: EntityID, name: PackageName, displayName: String? = nil, attributes: [String: String] = [:], created: Timestamp,
        revision: Revision = .zero
    ) {
        self.id = id
        self.name = name
        self.displayName = displayName
        self.attributes = attributes
        self.created = created
        self.revision = revision
    }
}

/// The format's own description of a version, kept byte for byte.
public enum Manifest: Sendable, Hashable {
    /// The largest manifest kept among the facts; a larger one is a blob.
    public static let inlineBytesMax = 32 << 10

    case none
    case inline([UInt8], mediaType: String)
    case blob(BlobID, size: Int64, mediaType: String)
}

/// One release of a package.
public struct Version: Sendable, Hashable {
    public enum State: Sendable, Hashable {
        case active
        /// Not chosen by resolvers, still served (PEP 592, cargo yank).
        case yanked(reason: String)
        case deprecated(reason: String)
    }

    public var id: EntityID
    public var package: PackageName
    public var name: VersionName
    public var state: State
    public var manifest: Manifest
    public var attributes: [String: String]
    public var created: Timestamp
    public var creator: String
    public var revision: Revision

    public init(
        id: EntityID, package: PackageName, name: VersionName, state: State = .active, manifest: Manifest = .none, attributes: [String: String] = [:],
        created: Timestamp, creator: String, revision: Revision = .zero
    ) {
        self.id = id
        self.package = package
        self.name = name
        self.state = state
        self.manifest = manifest
        self.attributes = attributes
        self.created = created
        self.creator = creator
        self.revision = revision
    }
}

/// A blob at a path in a repository (the REST API calls it an artifact).
public struct Asset: Sendable, Hashable {
    public var id: EntityID
    public var path: AssetPath
    public var blob: BlobID
    public var size: Int64
    /// Digests other than the SHA-256 that names the blob.
    public var digests: [Digest]
    public var contentType: String
    public var package: PackageName?
    public var version: VersionName?
    public var attributes: [String: String]
    public var created: Timestamp
    public var creator: String
    public var revision: Revision

    public init(
        id: EntityID, path: AssetPath, blob: BlobID, size: Int64, digests: [Digest] = [], contentType: String, package: PackageName? = nil,
        version: VersionName? = nil, attributes: [String: String] = [:], created: Timestamp, creator: String, revision: Revision = .zero
    ) {
        self.id = id
        self.path = path
        self.blob = blob
        self.size = size
        self.digests = digests
        self.contentType = contentType
        self.package = package
        self.version = version
        self.attributes = attributes
        self.created = created
        self.creator = creator
        self.revision = revision
    }

    public func digest(_ algorithm: DigestAlgorithm) -> Digest? {
        algorithm == .sha256 ? blob.digest : digests.first { $0.algorithm == algorithm }
    }
}

/// A movable name for a release of a package.
public struct Tag: Sendable, Hashable {
    public var package: PackageName
    public var name: TagName
    public var version: VersionName
    public var updated: Timestamp
    public var revision: Revision
    public init(package: PackageName, name: TagName, version: VersionName, updated: Timestamp, revision: Revision = .zero) {
        self.package = package
        self.name = name
        self.version = version
        self.updated = updated
        self.revision = revision
    }
}

/// A typed arrow from a version to something named by text: OCI subject, distribution, component.
public struct Link: Sendable, Hashable {
    public var relation: String
    public var target: String
    public var package: PackageName
    public var version: VersionName
    /// What the format wants to know of the source without reading it (an OCI descriptor).
    public var payload: [UInt8]
    public init(relation: String, target: String, package: PackageName, version: VersionName, payload: [UInt8] = []) {
        self.relation = relation
        self.target = target
        self.package = package
        self.version = version
        self.payload = payload
    }
}

/// A file as an upstream's index lists it: enough to render the index again, and to fetch and check the file.
public struct ListedFile: Sendable, Hashable {
    public var path: AssetPath
    /// Absolute.
    public var url: String
    /// What the index published; empty when it published none.
    public var digests: [Digest]
    public var size: Int64?
    public var package: PackageName
    public var version: VersionName?
    public var attributes: [String: String]
    public var uploaded: Timestamp?

    public init(
        path: AssetPath, url: String, digests: [Digest], size: Int64?, package: PackageName, version: VersionName?,
        attributes: [String: String] = [:],
        uploaded: Timestamp? = nil
    ) {
        self.path = path
        self.url = url
        self.digests = digests
        self.size = size
        self.package = package
        self.version = version
        self.attributes = attributes
        self.uploaded = uploaded
    }
}

/// Which facts of a repository are wanted.
public enum Scope: Sendable, Hashable {
    /// One package with its versions, assets, tags and links.
    case package(PackageName)
    /// The packages themselves, without what is in them, in byte order of their names.
    case packages
    /// Packages with everything that is in them, in byte order of their names: what `.package` gives, for many.
    case everything
    /// A package's tags only, in byte order.
    case tags(PackageName)
    /// The links of a relation that point at a target, in one package.
    case linked(PackageName, relation: String, target: String)
    /// One package as `.package` gives it, and after it those whose names begin with the prefix, without what is in them: what a folder holds
    /// that is a package and a group of packages at once.
    case family(PackageName, prefix: String)
}

/// A set of facts read at one revision.
public struct Facts: Sendable, Hashable {
    public var packages: [Package] = []
    public var versions: [Version] = []
    public var assets: [Asset] = []
    public var tags: [Tag] = []
    public var links: [Link] = []
    /// Files an upstream lists and nobody has fetched yet (remote repositories only).
    public var listed: [ListedFile] = []
    public var revision: Revision = .zero

    public init() {}

    /// Adds what another set holds; the revision stays.
    public mutating func append(_ other: Facts) {
        packages += other.packages
        versions += other.versions
        assets += other.assets
        tags += other.tags
        links += other.links
        listed += other.listed
    }

    public var isEmpty: Bool { packages.isEmpty && versions.isEmpty && assets.isEmpty && tags.isEmpty && links.isEmpty && listed.isEmpty }
}

/// A change to one repository, as a format asks for it: preconditions plus mutations, whole or not at all.
/// The engine adds who, when and which request, and checks the caller's right before it is committed.
public struct Edit: Sendable {
    public var preconditions: [Precondition]
    public var mutations: [Mutation]
    public init(preconditions: [Precondition] = [], mutations: [Mutation] = []) {
        self.preconditions = preconditions
        self.mutations = mutations
    }
}

/// What must still be true when the change is applied. A broken one is `conflict`.
public enum Precondition: Sendable {
    /// No asset at the path.
    case absent(AssetPath)
    /// An asset at the path (an OCI manifest names blobs that must be there); broken: `notFound`.
    case present(AssetPath)
    /// The asset at the path was last changed at this revision.
    case unchanged(AssetPath, since: Revision)
    /// The package as a whole was last changed at this revision; zero: it does not exist.
    case packageRevision(PackageName, Revision)
}

public enum Mutation: Sendable {
    public enum Overwrite: Sendable {
        /// The coordinate is a release: the same bytes succeed again, other bytes are `immutable`, also after a delete (tombstone).
        case never
        /// The path is a pointer or scratch space: the last writer wins, over a release and its tombstone too, and no tombstone is kept.
        case allowed
    }

    /// Creates the package if need be; sets what is given.
    case putPackage(PackageName, displayName: String?, attributes: [String: String]?)
    /// Creates or replaces a version; its package comes into being with it.
    case putVersion(PackageName, VersionName, manifest: Manifest, attributes: [String: String])
    /// Creates the version if there is none, without a manifest; one that is there stays as it is.
    case ensureVersion(PackageName, VersionName)
    /// `notFound` when there is no such version.
    case setState(PackageName, VersionName, Version.State)
    /// Removes a version with its assets, links and the tags that point to it. `notFound` when there is none.
    case deleteVersion(PackageName, VersionName)
    /// Creates or replaces an asset; the package it names comes into being with it. Replacing keeps the asset's id. The same bytes keep time and
    /// creator too, and digests add up. `internal` when the blob is not stored.
    case putAsset(AssetDraft, overwrite: Overwrite)
    /// Leaves a tombstone if the asset was put with `overwrite: .never`. `notFound` when there is none.
    case deleteAsset(AssetPath)
    /// The same of what was only put down on the way to somewhere else: it leaves no tombstone and is not kept in the trash.
    case discardAsset(AssetPath)
    /// `notFound` when there is no such version: a tag never dangles.
    case putTag(PackageName, TagName, VersionName)
    /// `notFound` when there is none.
    case deleteTag(PackageName, TagName)
    /// Creates a link or replaces its payload. `notFound` when there is no such version.
    case putLink(Link)
    /// Whatever its payload; an absent one is no error.
    case deleteLink(Link)
}

/// An asset as a change proposes it: the catalog adds identity, time, creator and revision.
public struct AssetDraft: Sendable {
    public var path: AssetPath
    public var blob: BlobID
    public var size: Int64
    public var digests: [Digest]
    public var contentType: String
    public var package: PackageName?
    public var version: VersionName?
    public var attributes: [String: String]

    public init(
        path: AssetPath, blob: BlobID, size: Int64, digests: [Digest] = [], contentType: String, package: PackageName? = nil,
        version: VersionName? = nil, attributes: [String: String] = [:]
    ) {
        self.path = path
        self.blob = blob
        self.size = size
        self.digests = digests.filter { $0.algorithm != .sha256 }
        self.contentType = contentType
        self.package = package
        self.version = version
        self.attributes = attributes
    }
}
