import Catalog
import CatalogRules
import Core
import Logging
import OrderedStore
import PostgresClient
import Synchronization
import TestSupport
import Testing

@testable import PostgresCatalog

@Suite("Catalog on PostgreSQL", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct PostgresCatalogTests {
    @Test("the claims of every catalog", arguments: CatalogConformance.all) func conformance(_ claim: CatalogConformance) async throws {
        let home = try await PostgresHome()
        try await claim.check(home.catalog)
    }

    @Test("one change after the other, it and the model accept, refuse and show the same") func sequential() async throws {
        let home = try await PostgresHome()
        let (model, seed) = try await CatalogModelCheck.oneByOne(home.catalog)
        let again = try await home.another()
        #expect(try await CatalogPicture(of: again.catalog) == CatalogPicture(of: model), "another node, seed \(seed)")
    }

    @Test("changes from many tasks on two nodes end as their log says, one after the other") func concurrent() async throws {
        let home = try await PostgresHome()
        let other = try await home.another()
        try await CatalogModelCheck.manyAtOnce([home.catalog, other.catalog], isQuiet: home.hasNoGraves)
    }

    @Test("what one node acknowledged, another answers with at once, and its followers wake") func nodes() async throws {
        let home = try await PostgresHome()
        let other = try await home.another()
        async let woken: Void = other.catalog.awaitChange(after: .zero)
        try await home.catalog.apply(RandomChanges.beginning)
        for round in 0..<20 {
            let record = Record(kind: .setting, id: "s", value: [UInt8(round)])
            let (writer, reader) = round % 2 == 0 ? (home.catalog, other.catalog) : (other.catalog, home.catalog)
            let revision = try await writer.apply(
                Change(actor: .system, at: Timestamp(seconds: 1), requestID: "", parts: [.putRecord(record, ifRevision: nil)]))
            #expect(try await reader.record(.setting, id: "s")?.value == record.value)
            #expect(try await reader.head() == revision)
        }
        try await woken
    }

    @Test("the columns beside a document say what is in it") func columns() async throws {
        let home = try await PostgresHome()
        try await home.catalog.apply(RandomChanges.beginning)
        let path = try #require(AssetPath("p/1.tar"))
        let draft = AssetDraft(
            path: path, blob: RandomChanges.blobs[2], size: 3, contentType: "text/plain", package: PackageName("p"), version: VersionName("1"))
        let package = try #require(PackageName("p"))
        let version = try #require(VersionName("1"))
        let edit = Edit(mutations: [.putVersion(package, version, manifest: .none, attributes: [:]), .putAsset(draft, overwrite: .never)])
        try await home.catalog.apply(
            Change(actor: .system, at: Timestamp(seconds: 1), requestID: "q", parts: [.edit(RandomChanges.repositories[1], edit)]),
            staged: [BlobRow(draft.blob)])
        let question = """
            SELECT r.key || ' ' || r.format || ' ' || a.package || ' ' || a.version || ' ' || a.path || ' ' || a.size || ' ' || a.is_release
                || ' ' || extract(epoch FROM a.created)::bigint || ' ' || v.state || ' ' || t.assets || ' ' || l.request_id || ' ' || l.actor
            FROM assets a JOIN repositories r USING (repository_id) JOIN repository_totals t USING (repository_id)
                JOIN versions v ON (v.repository_id, v.package, v.name) = (a.repository_id, a.package, a.version)
                JOIN log l ON l.revision = a.revision
            WHERE a.sha256 = $1
            """
        #expect(try home.ask(question, [.bytes(draft.blob.bytes)]) == ["r1 generic p 1 p/1.tar 3 true 1 active 1 q system"])
    }

    @Test("a database of a newer schema is refused") func newerSchema() async throws {
        let home = try await PostgresHome()
        _ = try home.ask("INSERT INTO schema_migrations VALUES (1000, 'later') RETURNING name")
        let error = await #expect(throws: RegistryError.self) { try await home.another() }
        #expect(error?.code == .unsupported)
    }

    @Test("nodes that start together on an empty database make one schema") func together() async throws {
        let address = try await PostgresCluster.shared().database("together")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 { group.addTask { _ = try await PostgresHome(at: address) } }
            try await group.waitForAll()
        }
        let applied = try await PostgresHome(at: address).ask("SELECT name FROM schema_migrations ORDER BY number")
        #expect(applied == Migrations.all.map(\.name))
    }

    @Test("the log keeps what it promises, and tells a late follower to start over") func retention() async throws {
        let home = try await PostgresHome(logEntriesMax: 20)
        for index in 0..<100 {
            let record = Record(kind: .setting, id: "s", value: [UInt8(index)])
            try await home.catalog.apply(
                Change(actor: .system, at: Timestamp(seconds: 1), requestID: "", parts: [.putRecord(record, ifRevision: nil)]))
        }
        let late = await #expect(throws: RegistryError.self) { try await home.catalog.log(after: Revision(60), limit: 10) }
        #expect(late?.code == .gone)
        let kept = try await home.catalog.log(after: Revision(80), limit: 100)
        #expect(kept.map(\.revision.number) == Array(81...100))
        let left = try home.ask("SELECT count(*)::text FROM log").first.flatMap { Int($0) } ?? 0
        #expect((20...25).contains(left), "\(left) entries are left")
    }

    @Test("lists of more rows than a page are whole, in order, and from anywhere") func pages() async throws {
        let home = try await PostgresHome()
        try await home.catalog.apply(RandomChanges.beginning, staged: [BlobRow(RandomChanges.blobs[0])])
        let (id, paths) = (RandomChanges.repositories[0], (0..<1100).map { "d/é\($0)" }.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) })
        let mutations = paths.compactMap { AssetPath($0) }.map {
            Mutation.putAsset(
                AssetDraft(path: $0, blob: RandomChanges.blobs[0], size: 1, contentType: "t", package: PackageName("p")), overwrite: .never)
        }
        try await home.catalog.apply(
            Change(actor: .system, at: Timestamp(seconds: 1), requestID: "", parts: [.edit(id, Edit(mutations: mutations))]))
        func list(_ prefix: String, after: String? = nil, limit: Int = .max) async throws -> [String] {
            try await home.catalog.assets(in: id, prefix: prefix, after: after.flatMap { AssetPath($0) }, limit: limit).map(\.path.text)
        }
        #expect(try await list("") == paths)
        #expect(try await list("d/é", after: paths[499], limit: 300) == Array(paths[500..<800]))
        #expect(try await list("d/é10") == paths.filter { $0.hasPrefix("d/é10") })
        #expect(try await list("e") == [])
        let package = try #require(PackageName("p"))
        let facts = try await home.catalog.facts(in: .package(package), of: id, after: nil, limit: 1)
        #expect(facts.assets.map(\.path.text) == paths)
    }

    @Test("a name that PostgreSQL cannot keep is refused, and only that") func zero() async throws {
        let home = try await PostgresHome()
        func put(_ id: String) async -> ChangeResult {
            let record = Record(kind: .setting, id: id, value: [1])
            return await outcome(
                of: Change(actor: .system, at: Timestamp(seconds: 1), requestID: "", parts: [.putRecord(record, ifRevision: nil)]), [],
                on: home.catalog)
        }
        #expect(await put("a\u{0}") == .refused(.invalid))
        #expect(await put("a") == .revision(Revision(1)))
    }

    @Test("a deleted repository is cleared away, whatever its id ends with") func clearing() async throws {
        let home = try await PostgresHome()
        let last = UInt64.max
        let ids = [
            EntityID(high: 1, low: 0xFF), EntityID(high: 2, low: 0xFF_FFFF), EntityID(high: last - 1, low: last), EntityID(high: last, low: last),
        ]
        for (number, id) in (ids + [EntityID(high: 3, low: 3)]).enumerated() {
            let key = try #require(RepositoryKey("r\(number)"))
            let repository = Repository(id: id, key: key, name: "r", format: "generic", kind: .local, created: Timestamp(seconds: 1))
            let draft = AssetDraft(path: try #require(AssetPath("a/b")), blob: RandomChanges.blobs[0], size: 1, contentType: "t")
            try await home.catalog.apply(
                Change(
                    actor: .system, at: Timestamp(seconds: 1), requestID: "",
                    parts: [.putRepository(repository), .edit(id, Edit(mutations: [.putAsset(draft, overwrite: .never)]))]),
                staged: [BlobRow(draft.blob)])
        }
        for id in ids {
            try await home.catalog.apply(Change(actor: .system, at: Timestamp(seconds: 1), requestID: "", parts: [.deleteRepository(id)]))
        }
        try await home.hasNoGraves()
        for table in ["repositories", "repository_totals", "packages", "assets", "pins"] {
            let left = try home.ask("SELECT count(*)::text FROM \(table)")
            #expect(left == [table == "packages" ? "0" : "1"], "\(table)")
        }
    }

    @Test("a change whose rows the database does not take fails alone, or with what was queued after it and needs it") func alone() async throws {
        let home = try await PostgresHome()
        let committer = Committer(logger: Logger(label: "test"))
        let results = Mutex<[String: RegistryError.Code?]>([:])
        // What is queued when it starts is one group.
        for name in ["a", "b\u{0}", "c", "must\u{0}", "late"] {
            committer.put(
                Committer.Request(files: [], isPatient: false, isPrerequisite: name.hasPrefix("must")) { batch throws(RegistryError) in
                    batch.put(Keyspace.repositoryKey(name).bytes, RowCoding.encode { $0.write(EntityID(high: 1, low: 1)) }, in: CatalogRows.family)
                } completion: { result in
                    var code: RegistryError.Code?
                    if case .failure(let error) = result { code = error.code }
                    results.withLock { $0[name] = .some(code) }
                })
        }
        try committer.start(on: PostgresTarget(address: home.address, writer: EntityID(high: 9, low: 9)))
        committer.stop()
        #expect(results.withLock { $0 } == ["a": nil, "b\u{0}": .invalid, "c": nil, "must\u{0}": .invalid, "late": .invalid])
        #expect(try home.ask("SELECT key FROM repository_keys ORDER BY key") == ["a", "c"])
    }
}

/// A database of its own with a catalog in it.
struct PostgresHome {
    let address: String
    let catalog: PostgresCatalog
    private static let made = Atomic(0)

    init(logEntriesMax: UInt64 = 1_000_000) async throws {
        let number = PostgresHome.made.add(1, ordering: .relaxed).newValue
        try await self.init(at: try await PostgresCluster.shared().database("test\(number)"), logEntriesMax: logEntriesMax)
    }

    init(at address: String, logEntriesMax: UInt64 = 1_000_000, pool: ConnectionPool.Limits? = nil) async throws {
        self.address = address
        var options = PostgresCatalog.Options()
        options.logEntriesMax = logEntriesMax
        options.pool.connections = 2
        if let pool { options.pool = pool }
        catalog = try await PostgresCatalog(address: address, world: .real, options: options, logger: Logger(label: "test"))
    }

    /// As on another node, or after a restart.
    func another() async throws -> PostgresHome { try await PostgresHome(at: address) }

    /// The first column of what the database answers.
    func ask(_ question: String, _ values: [Value] = []) throws -> [String] {
        try Connection(to: address).run([Query(question, values)]).first?.map { row in try row.text(0) } ?? []
    }

    /// Returns when what is left of deleted repositories is cleared away.
    func hasNoGraves() async throws {
        for _ in 0..<1000 {
            if try ask("SELECT repository_id::text FROM graves") == [] { return }
            // As long as a change takes, which the clearing's steps alternate with.
            try await catalog.noteUnpinned([RandomChanges.blobs[0]], at: Timestamp(seconds: 2_000_000_000))
        }
        Issue.record("deleted repositories are not cleared away")
    }
}
