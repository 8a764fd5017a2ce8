public import Catalog
public import Core

/// What every catalog must do, whatever it is made of: each check gets an empty catalog and throws where the catalog disagrees.
public struct CatalogConformance: Sendable, CustomStringConvertible {
    public let claim: String
    let body: @Sendable (CatalogFixture) async throws -> Void

    public var description: String { claim }

    /// - Throws: `CatalogDisagreement`, or what the catalog threw unexpectedly.
    public func check(_ catalog: any Catalog) async throws { try await body(CatalogFixture(catalog)) }

    public static let all: [CatalogConformance] = assets + versions + wholes + records + log + sweeping + trash
}

public struct CatalogDisagreement: Error, CustomStringConvertible {
    public let description: String
}

/// A catalog under test with short ways to change it.
struct CatalogFixture: Sendable {
    let catalog: any Catalog
    let main = EntityID(high: 0x7001, low: 1)
    let side = EntityID(high: 0x7001, low: 2)

    init(_ catalog: any Catalog) { self.catalog = catalog }

    func equal<Value: Equatable>(_ actual: Value, _ expected: Value, _ what: String = "", line: Int = #line) throws {
        guard actual == expected else { throw CatalogDisagreement(description: "line \(line) \(what): \(actual) is not \(expected)") }
    }

    func refuses(_ code: RegistryError.Code, _ parts: Change.Part..., line: Int = #line) async throws {
        let head = try await catalog.head()
        do throws(RegistryError) {
            try await catalog.apply(change(parts), staged: [])
        } catch {
            try equal(error.code, code, "refusal", line: line)
            try equal(try await catalog.head(), head, "the head after a refusal", line: line)
            return
        }
        throw CatalogDisagreement(description: "line \(line): accepted, should be \(code)")
    }

    @discardableResult
    func apply(_ parts: Change.Part..., staged: [TestBlob] = []) async throws -> Revision {
        try await catalog.apply(change(parts), staged: staged)
    }

    @discardableResult
    func edit(_ mutations: Mutation..., if preconditions: [Precondition] = [], staged: [TestBlob] = []) async throws -> Revision {
        try await apply(.edit(main, Edit(preconditions: preconditions, mutations: mutations)), staged: staged)
    }

    /// An edit whose deletions go to the trash.
    @discardableResult
    func delete(_ mutations: Mutation..., until: Timestamp = Timestamp(seconds: 1_900_000_000)) async throws -> Revision {
        var change = change([.edit(main, Edit(mutations: mutations))])
        change.keepsDeletedUntil = until
        return try await catalog.apply(change, staged: [])
    }

    private func change(_ parts: [Change.Part]) -> Change {
        Change(actor: Actor(name: "ann", account: nil), at: Timestamp(seconds: 1_800_000_000), requestID: "r", parts: parts)
    }

    func repository(_ id: RepositoryID, _ key: String, quota: Int64? = nil) throws -> Repository {
        Repository(
            id: id, key: try name(key), name: key, format: "generic", kind: .local, quotaBytes: quota, created: Timestamp(seconds: 1))
    }

    /// The main repository exists afterwards, and blobs 0 to 9 are stored.
    func begin(quota: Int64? = nil) async throws {
        try await apply(.putRepository(try repository(main, "main", quota: quota)), staged: (0..<10).map { TestBlob($0) })
    }

    func draft(_ path: String, _ blob: UInt8, package: String? = nil, version: String? = nil, attributes: [String: String] = [:]) throws -> AssetDraft
    {
        AssetDraft(
            path: try name(path), blob: TestBlob(blob).id, size: TestBlob(blob).size, contentType: "text/plain",
            package: try package.map { try name($0) }, version: try version.map { try name($0) }, attributes: attributes)
    }

    func put(
        _ path: String, _ blob: UInt8, package: String? = nil, version: String? = nil, _ overwrite: Mutation.Overwrite = .never
    ) throws -> Mutation {
        .putAsset(try draft(path, blob, package: package, version: version), overwrite: overwrite)
    }

    func name<Name: ParsedName>(_ text: String) throws -> Name {
        guard let name = Name(text) else { throw CatalogDisagreement(description: "\(text) is no name") }
        return name
    }
}

/// The types that are made by parsing.
protocol ParsedName { init?(_ text: String) }
extension RepositoryKey: ParsedName { init?(_ text: String) { self.init(text[...]) } }
extension PackageName: ParsedName { init?(_ text: String) { self.init(text[...]) } }
extension VersionName: ParsedName { init?(_ text: String) { self.init(text[...]) } }
extension TagName: ParsedName { init?(_ text: String) { self.init(text[...]) } }
extension AssetPath: ParsedName { init?(_ text: String) { self.init(text[...]) } }

/// A blob of one repeated byte that needs no sync: its size is its number plus one.
final class TestBlob: StagedBytes {
    let bytes: [UInt8]
    let id: BlobID

    init(_ number: UInt8) {
        bytes = [UInt8](repeating: number, count: Int(number) + 1)
        guard let id = BlobID(Digest.of(.sha256, bytes)) else { preconditionFailure("a SHA-256 names a blob") }
        self.id = id
    }

    var size: Int64 { Int64(bytes.count) }
    var digests: [Digest] { [id.digest] }
    var unsynced: [any SyncableFile] { [] }
    var location: (key: [UInt8], value: [UInt8])? { (id.bytes, [1]) }
    func didCommit() {}
    func content() throws(RegistryError) -> BlobContent {
        throw RegistryError(.unsupported, subject: .blob(id.description), reason: "this blob is only a name")
    }
}
