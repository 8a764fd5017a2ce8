public import Catalog
public import Core

/// Changes over a small world of names, so that they meet each other: seeded, so that they can be repeated.
public struct RandomChanges: Sendable {
    private var random: SeededRandom
    private var made = 0
    private let label: String
    private let deletesRepositories: Bool

    /// `label` begins every request id. While a deleted repository is cleared away its id is refused, which is a matter of time: a run that
    /// compares refusals deletes none.
    public init(seed: UInt64, label: String, deletesRepositories: Bool) {
        random = SeededRandom(seed: seed)
        self.label = label
        self.deletesRepositories = deletesRepositories
    }

    public static let repositories = (1...3).map { EntityID(high: 0x7002, low: $0) }
    static let projects = (1...2).map { EntityID(high: 0x7003, low: $0) }
    public static let packages = ["p", "pa", "p-a"].compactMap { PackageName($0) }
    static let versions = ["1", "1.0", "10"].compactMap { VersionName($0) }
    static let tags = ["latest", "next"].compactMap { TagName($0) }
    static let paths = ["a", "a/b", "a-b", "b", "b/c"].compactMap { AssetPath($0) }
    public static let views = ["v", "v/w"]
    public static let blobs = (0..<6).map { TestBlob(UInt8($0)).id }

    /// The three repositories.
    public static let beginning = Change(
        actor: .system, at: Timestamp(seconds: 1), requestID: "beginning",
        parts: zip(repositories, ["r0", "r1", "r2"]).compactMap { id, key in
            RepositoryKey(key).map {
                .putRepository(Repository(id: id, key: $0, name: key, format: "generic", kind: .local, created: Timestamp(seconds: 1)))
            }
        })

    /// A change with its staged bytes.
    public mutating func next() -> (Change, [any StagedBytes]) {
        made += 1
        let count = pick([1, 1, 1, 2, 3])
        let parts = (0..<count).map { _ in part() }
        // Some blobs come with the change, some were stored before, some are missing.
        let staged = (0..<6).filter { _ in Bool.random(using: &random) }.map { TestBlob(UInt8($0)) }
        let change = Change(
            actor: Actor(name: "a\(pick(0..<2))", account: nil), at: Timestamp(milliseconds: Int64(1_800_000_000_000 + made)),
            requestID: "\(label)-\(made)", parts: parts,
            keepsDeletedUntil: pick([Int64?.none, 1, 2]).map { Timestamp(seconds: 1_900_000_000 + $0) })
        return (change, staged)
    }

    private mutating func pick<Values: Collection>(_ values: Values) -> Values.Element {
        guard let value = values.randomElement(using: &random) else { preconditionFailure("there is something to pick") }
        return value
    }

    private mutating func part() -> Change.Part {
        switch pick(0..<25) {
        case 0:
            let index = pick(0..<3)
            let key = pick(["r\(index)", "r\(index)", "r\((index + 1) % 3)"])
            guard let key = RepositoryKey(key) else { preconditionFailure("r is a key") }
            var repository = Repository(
                id: Self.repositories[index], key: key, name: "n\(pick(0..<2))", format: "generic", kind: .local, quotaBytes: pick([nil, 12]),
                created: Timestamp(seconds: 1))
            repository.project = pick([nil] + Self.projects)
            return .putRepository(repository)
        case 1:
            let unique: String? = pick([nil, "u", "w"])
            return .putRecord(
                Record(kind: .user, id: pick(["1", "2", "11"]), unique: unique, value: [UInt8(pick(0..<2))]), ifRevision: pick([nil, nil, .zero]))
        case 2:
            if deletesRepositories, pick(0..<3) == 0 { return .deleteRepository(pick(Self.repositories)) }
            return .deleteRecord(.user, id: pick(["1", "2", "11"]))
        case 3:
            return .putVerdict(
                Verdict(
                    blob: pick(Self.blobs), state: pick([.allowed, .pending, .blocked]), inspector: pick(["i", "j"]), reason: "",
                    at: Timestamp(seconds: Int64(pick(0..<3)))))
        case 4:
            let blob = pick(0..<6)
            return .learned(
                LearnedPage(
                    repository: pick(Self.repositories), view: pick(Self.views), block: .blob(Self.blobs[blob], size: 1, mediaType: "b"),
                    etag: pick(["x", "y"]), lastModified: nil, fetched: Timestamp(seconds: Int64(pick(0..<3))), freshUntil: Timestamp(seconds: 9)))
        case 5, 6, 7:
            // Most deletions are not worth waiting for: recent ones are met again.
            let paths: Set<AssetPath>? = pick([nil, nil, [pick(Self.paths)]])
            return .restore(deletion(), only: paths)
        case 8: return .purge(deletion())
        case 9: return .putQuota(project: pick(Self.projects), bytes: pick([nil, 6, 12, 100]))
        default:
            let count = pick([1, 1, 2, 3])
            let preconditions = pick(0..<6) == 0 ? [precondition()] : []
            return .edit(pick(Self.repositories), Edit(preconditions: preconditions, mutations: (0..<count).map { _ in mutation() }))
        }
    }

    private mutating func deletion() -> DeletionID {
        DeletionID(pick(Self.repositories), Revision(UInt64(pick(max(1, made - 60)...made))))
    }

    private mutating func precondition() -> Precondition {
        switch pick(0..<4) {
        case 0: .absent(pick(Self.paths))
        case 1: .present(pick(Self.paths))
        case 2: .unchanged(pick(Self.paths), since: Revision(UInt64(pick(0..<50))))
        default: .packageRevision(pick(Self.packages), .zero)
        }
    }

    private mutating func mutation() -> Mutation {
        let (package, version) = (pick(Self.packages), pick(Self.versions))
        let link = Link(relation: pick(["r", "r2"]), target: pick(["t", "t/"]), package: package, version: version, payload: [UInt8(pick(0..<2))])
        switch pick(0..<25) {
        case 0: return .putPackage(package, displayName: pick([nil, "P"]), attributes: pick([nil, ["k": "v"]]))
        case 1...4:
            let manifest = pick([Manifest.none, .inline([1], mediaType: "m"), .blob(pick(Self.blobs), size: 1, mediaType: "m")])
            return .putVersion(package, version, manifest: manifest, attributes: pick([[:], ["k": "v"]]))
        case 5:
            return pick(0..<3) == 0
                ? .ensureVersion(package, version) : .setState(package, version, pick([.active, .yanked(reason: "r"), .deprecated(reason: "d")]))
        case 6: return .deleteVersion(package, version)
        case 7...15:
            let number = UInt8(pick(0..<6))
            let draft = AssetDraft(
                path: pick(Self.paths), blob: Self.blobs[Int(number)], size: TestBlob(number).size, contentType: pick(["t", "u"]),
                package: pick([nil, package]), version: pick([nil, version]))
            return .putAsset(draft, overwrite: pick([.never, .allowed]))
        case 16, 17: return .deleteAsset(pick(Self.paths))
        case 18, 19: return .putTag(package, pick(Self.tags), version)
        case 24: return .discardAsset(pick(Self.paths))
        case 20: return .deleteTag(package, pick(Self.tags))
        case 21, 22: return .putLink(link)
        default: return .deleteLink(link)
        }
    }
}

/// Everything a catalog says of the small world, ids left out (every catalog makes its own): equal catalogs give equal pictures.
public struct CatalogPicture: Sendable, Equatable {
    public var lines: [String] = []

    public init(of catalog: any Catalog) async throws {
        lines.append("head \(try await catalog.head())")
        for repository in try await catalog.repositories(after: nil, limit: 100) {
            lines.append("\(repository)")
            lines.append("\(try await catalog.usage(of: repository.id))")
            try await add(repository.id, of: catalog)
        }
        for blob in RandomChanges.blobs { lines.append("verdict \(String(describing: try await catalog.verdict(on: blob)))") }
        for kind in [Record.Kind.user, .quota] {
            for record in try await catalog.records(kind, after: nil, limit: 100) { lines.append("\(record)") }
        }
        lines.append("\(try await catalog.deletionsOver(by: Timestamp(seconds: 1_900_000_001), limit: 1000))")
        for pin in try await catalog.pins(after: nil, limit: 1000) { lines.append("\(pin)") }
    }

    private mutating func add(_ id: RepositoryID, of catalog: any Catalog) async throws {
        let none = EntityID(high: 0, low: 0)
        var known: [(EntityID, Coordinates)] = []
        for var package in try await catalog.facts(in: .packages, of: id, after: nil, limit: 100).packages {
            let facts = try await catalog.facts(in: .package(package.name), of: id, after: nil, limit: 100)
            known.append((package.id, .package(id, package.name)))
            package.id = none
            lines.append("\(package)")
            for var version in facts.versions {
                known.append((version.id, .version(id, version.package, version.name)))
                version.id = none
                lines.append("\(version)")
            }
            lines += facts.tags.map { "\($0)" } + facts.links.map { "\($0)" } + facts.assets.map { "\($0.version?.text ?? "") \($0.path)" }
        }
        for var asset in try await catalog.assets(in: id, prefix: "", after: nil, limit: 1000) {
            known.append((asset.id, .asset(id, asset.path)))
            asset.id = none
            lines.append("\(asset)")
        }
        for (entity, coordinates) in known {
            let found = try await catalog.lookup(entity)
            if found != coordinates { lines.append("\(coordinates) is found as \(String(describing: found))") }
        }
        for view in RandomChanges.views {
            lines.append("\(view) \(String(describing: try await catalog.learned(view, in: id)))")
        }
        for var deletion in try await catalog.trash(of: id, before: nil, limit: 1000) {
            if try await catalog.deletion(deletion.id) != deletion { lines.append("\(deletion.id) is found as another") }
            for index in deletion.facts.versions.indices { deletion.facts.versions[index].id = none }
            for index in deletion.facts.assets.indices { deletion.facts.assets[index].id = none }
            lines.append("\(deletion.releases.sorted())")
            deletion.releases = []
            lines.append("\(deletion)")
        }
    }
}
