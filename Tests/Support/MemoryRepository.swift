public import Core
import NIOCore
import Synchronization

/// A small real repository in memory: edits are applied whole or not at all, as `Core.Edit` documents them.
public final class MemoryRepository: Sendable {
    public let key: RepositoryKey
    private let state = Mutex(State())

    public init(_ key: RepositoryKey) { self.key = key }

    struct Upload {
        var bytes: [UInt8] = []
        let purpose: String
        let caller: String
    }

    struct State {
        var revision = Revision.zero
        var packages: [PackageName: Package] = [:]
        var versions: [PackageName: [VersionName: Version]] = [:]
        var tags: [PackageName: [TagName: Tag]] = [:]
        var links: [Link] = []
        var assets: [AssetPath: Asset] = [:]
        var final: Set<AssetPath> = []
        var tombstones: [AssetPath: BlobID] = [:]
        var blobs: [BlobID: [UInt8]] = [:]
        var uploads: [EntityID: Upload] = [:]
        var made: UInt64 = 0

        /// Ids and times are counted, so that transcripts repeat.
        mutating func newID() -> EntityID {
            made += 1
            return EntityID(high: 0x7000, low: 0x8000_0000_0000_0000 | made)
        }
        var now: Timestamp { Timestamp(seconds: 1_800_000_000 + Int64(revision.number)) }
    }

    func with<Result>(_ body: (inout sending State) throws(RegistryError) -> sending Result) throws(RegistryError) -> sending Result {
        try state.withLock { (state) throws(RegistryError) in try body(&state) }
    }

    public func asset(at path: AssetPath) -> Asset? { state.withLock { $0.assets[path] } }
    public func bytes(of blob: BlobID) -> [UInt8]? { state.withLock { $0.blobs[blob] } }
    public func tag(_ name: TagName, of package: PackageName) -> Tag? { state.withLock { $0.tags[package]?[name] } }
    public func version(_ name: VersionName, of package: PackageName) -> Version? { state.withLock { $0.versions[package]?[name] } }
    /// Every path that has an asset, in byte order: what a failed request must not have changed.
    public var paths: [String] { state.withLock { $0.assets.keys.sorted().map(\.text) } }

    public func facts(in scope: Scope, after: String?, limit: Int) -> Facts {
        if case .everything = scope {
            var whole = facts(in: .packages, after: after, limit: limit)
            let packages = whole.packages
            whole.packages = []
            for package in packages { whole.append(facts(in: .package(package.name), after: nil, limit: .max)) }
            return whole
        }
        return state.withLock { state in
            var facts = Facts()
            facts.revision = state.revision
            let isNext: (String) -> Bool = { name in after.map { $0.utf8.lexicographicallyPrecedes(name.utf8) } ?? true }
            switch scope {
            case .package(let name), .family(let name, _):
                facts.packages = state.packages[name].map { [$0] } ?? []
                if case .family(_, let prefix) = scope {
                    let kin = state.packages.values.filter { $0.name != name && $0.name.text.utf8.starts(with: prefix.utf8) }
                    facts.packages += kin.sorted { $0.name < $1.name }
                }
                facts.versions = (state.versions[name] ?? [:]).values.sorted { $0.name < $1.name }
                facts.assets = state.assets.values.filter { $0.package == name }.sorted { $0.path < $1.path }
                facts.tags = (state.tags[name] ?? [:]).values.sorted { $0.name < $1.name }
                facts.links = state.links.filter { $0.package == name }
            case .everything: preconditionFailure("answered package by package")
            case .packages:
                facts.packages = Array(state.packages.values.filter { isNext($0.name.text) }.sorted { $0.name < $1.name }.prefix(limit))
            case .tags(let name):
                facts.tags = Array((state.tags[name] ?? [:]).values.filter { isNext($0.name.text) }.sorted { $0.name < $1.name }.prefix(limit))
            case .linked(let name, let relation, let target):
                let links = state.links.filter { $0.package == name && $0.relation == relation && $0.target == target && isNext($0.version.text) }
                facts.links = Array(links.sorted { $0.version < $1.version }.prefix(limit))
            }
            return facts
        }
    }

    func commit(_ edit: Edit, staged: [any StagedBytes], by creator: String) throws(RegistryError) -> Revision {
        var bytes: [BlobID: [UInt8]] = [:]
        for blob in staged { bytes[blob.id] = try blob.content().bytes(at: 0, count: Int(blob.size)) }
        let revision = try state.withLock { (state) throws(RegistryError) in
            var next = state
            next.revision = Revision(next.revision.number + 1)
            next.blobs.merge(bytes) { first, _ in first }
            for precondition in edit.preconditions { try next.check(precondition) }
            for mutation in edit.mutations { try next.apply(mutation, by: creator) }
            state = next
            return next.revision
        }
        for blob in staged { blob.didCommit() }
        return revision
    }
}

extension MemoryRepository.State {
    func check(_ precondition: Precondition) throws(RegistryError) {
        switch precondition {
        case .absent(let path):
            guard assets[path] == nil else { throw RegistryError(.conflict, subject: .path(path.text), reason: "\(path) is there already") }
        case .present(let path):
            guard assets[path] != nil else { throw missing(.path(path.text)) }
        case .unchanged(let path, let revision):
            guard assets[path]?.revision == revision else { throw RegistryError(.conflict, subject: .path(path.text), reason: "\(path) has changed") }
        case .packageRevision(let name, let revision):
            guard packages[name]?.revision ?? .zero == revision else {
                throw RegistryError(.conflict, subject: .package(name.text), reason: "\(name) has changed")
            }
        }
    }

    mutating func apply(_ mutation: Mutation, by creator: String) throws(RegistryError) {
        switch mutation {
        case .putPackage(let name, let displayName, let attributes):
            touch(name)
            if let displayName { packages[name]?.displayName = displayName }
            if let attributes { packages[name]?.attributes = attributes }
        case .putVersion(let package, let name, let manifest, let attributes):
            touch(package)
            var version =
                versions[package]?[name] ?? Version(id: newID(), package: package, name: name, created: now, creator: creator)
            version.manifest = manifest
            version.attributes = attributes
            version.revision = revision
            versions[package, default: [:]][name] = version
        case .ensureVersion(let package, let name):
            guard versions[package]?[name] == nil else { return }
            try apply(.putVersion(package, name, manifest: .none, attributes: [:]), by: creator)
        case .setState(let package, let name, let state):
            guard versions[package]?[name] != nil else { throw missing(.package(package.text)) }
            touch(package)
            versions[package]?[name]?.state = state
            versions[package]?[name]?.revision = revision
        case .deleteVersion(let package, let name):
            guard versions[package]?.removeValue(forKey: name) != nil else { throw missing(.path("\(package)/\(name)")) }
            touch(package)
            for asset in assets.values where asset.package == package && asset.version == name { remove(asset) }
            tags[package] = tags[package]?.filter { $0.value.version != name }
            links.removeAll { $0.package == package && $0.version == name }
        case .putAsset(let draft, let overwrite): try put(draft, overwrite, by: creator)
        case .deleteAsset(let path), .discardAsset(let path):
            guard let asset = assets[path] else { throw missing(.path(path.text)) }
            if let package = asset.package { touch(package) }
            remove(asset)
        case .putTag(let package, let name, let version):
            guard versions[package]?[version] != nil else { throw missing(.package(package.text)) }
            touch(package)
            tags[package, default: [:]][name] = Tag(package: package, name: name, version: version, updated: now, revision: revision)
        case .deleteTag(let package, let name):
            guard tags[package]?.removeValue(forKey: name) != nil else { throw missing(.path(name.text)) }
            touch(package)
        case .putLink(let link):
            links.removeAll { $0.isSame(as: link) }
            links.append(link)
        case .deleteLink(let link): links.removeAll { $0.isSame(as: link) }
        }
    }

    private mutating func put(_ draft: AssetDraft, _ overwrite: Mutation.Overwrite, by creator: String) throws(RegistryError) {
        let path = draft.path
        guard blobs[draft.blob] != nil else {
            throw RegistryError(.internal, subject: .blob(draft.blob.description), reason: "the blob was not staged")
        }
        if overwrite == .never, let taken = assets[path]?.blob ?? tombstones[path], taken != draft.blob {
            throw RegistryError(.immutable, subject: .path(path.text), reason: "\(path) has other bytes already")
        }
        if let package = draft.package { touch(package) }
        assets[path] = Asset(
            id: assets[path]?.id ?? newID(), path: path, blob: draft.blob, size: draft.size, digests: draft.digests, contentType: draft.contentType,
            package: draft.package, version: draft.version, attributes: draft.attributes, created: assets[path]?.created ?? now, creator: creator,
            revision: revision)
        if overwrite == .never { final.insert(path) }
    }

    private mutating func remove(_ asset: Asset) {
        assets[asset.path] = nil
        if final.contains(asset.path) { tombstones[asset.path] = asset.blob }
    }

    private mutating func touch(_ name: PackageName) {
        if packages[name] == nil { packages[name] = Package(id: newID(), name: name, created: now) }
        packages[name]?.revision = revision
    }

    private func missing(_ subject: RegistryError.Subject) -> RegistryError {
        RegistryError(.notFound, subject: subject, reason: "\(subject) is not there")
    }
}

extension Link {
    fileprivate func isSame(as other: Link) -> Bool {
        relation == other.relation && target == other.target && package == other.package && version == other.version
    }
}

/// Bytes in memory, hashed for real.
public final class MemoryStaged: StagedBytes {
    public let id: BlobID
    public let digests: [Digest]
    private let bytes: [UInt8]

    public init(_ bytes: [UInt8], digests set: DigestSet = .sha256) {
        self.bytes = bytes
        var hasher = MultiHasher(set)
        bytes.withUnsafeBytes { unsafe hasher.update($0) }
        digests = hasher.finish()
        guard let id = digests.first.flatMap({ BlobID($0) }) else { preconditionFailure("SHA-256 comes first") }
        self.id = id
    }

    public var size: Int64 { Int64(bytes.count) }
    public var unsynced: [any SyncableFile] { [] }
    public var location: (key: [UInt8], value: [UInt8])? { nil }
    public func didCommit() {}
    public func content() throws(RegistryError) -> BlobContent { BlobContent(.memory(ByteBuffer(bytes: bytes))) }
}
