import Catalog
import Core

extension CatalogConformance {
    static let wholes: [CatalogConformance] = [
        CatalogConformance(claim: "a change is applied whole or not at all") { f in
            try await f.begin()
            let good = Change.Part.edit(f.main, Edit(mutations: [try f.put("a", 1, package: "p")]))
            let bad = Change.Part.edit(f.main, Edit(mutations: [.deleteAsset(try f.name("nothing"))]))
            try await f.refuses(
                .notFound, good, .putVerdict(Verdict(blob: TestBlob(1).id, state: .blocked, inspector: "i", reason: "", at: Timestamp(seconds: 1))),
                bad)
            try f.equal(try await f.catalog.asset(at: try f.name("a"), in: f.main), nil)
            try f.equal(try await f.catalog.package(try f.name("p"), in: f.main), nil)
            try f.equal(try await f.catalog.verdict(on: TestBlob(1).id), nil)
            try f.equal(try await f.catalog.usage(of: f.main), Usage())
            try f.equal(try await f.catalog.pins(after: nil, limit: 10), [])
            try await f.refuses(.notFound, .edit(f.side, Edit(mutations: [try f.put("a", 1)])))
        },
        CatalogConformance(claim: "a quota refuses growth beyond it, and nothing else") { f in
            try await f.begin(quota: 10)
            try await f.edit(try f.put("a", 9))
            try await f.refuses(.noSpace, .edit(f.main, Edit(mutations: [try f.put("b", 0)])))
            try await f.edit(.putPackage(try f.name("p"), displayName: nil, attributes: nil))
            try await f.edit(.deleteAsset(try f.name("a")), try f.put("b", 8, .allowed))
            try await f.edit(try f.put("b", 2, .allowed))
            try f.equal(try await f.catalog.usage(of: f.main), Usage(assets: 1, packages: 1, bytes: 3))
        },
        CatalogConformance(claim: "a project's quota refuses growth of all its repositories together, and nothing else") { f in
            let (project, other) = (EntityID(high: 0x7004, low: 1), EntityID(high: 0x7004, low: 2))
            func inside(_ id: RepositoryID, _ key: String, _ project: EntityID?) throws -> Change.Part {
                var repository = try f.repository(id, key)
                repository.project = project
                return .putRepository(repository)
            }
            func quota(_ project: EntityID) async throws -> [Int64] {
                try await f.catalog.quota(of: project).map { [$0.bytes, $0.used] } ?? []
            }
            try await f.begin()
            try await f.apply(try inside(f.main, "main", project), try inside(f.side, "side", project))
            try await f.edit(try f.put("a", 3))
            // What is there counts from when the quota is set, and is not refused.
            try await f.apply(.putQuota(project: project, bytes: 3))
            try f.equal(try await quota(project), [3, 4])
            try await f.refuses(.noSpace, .edit(f.side, Edit(mutations: [try f.put("b", 0)])))
            try await f.apply(.putQuota(project: project, bytes: 10))
            try await f.apply(.edit(f.side, Edit(mutations: [try f.put("b", 5)])))
            try f.equal(try await quota(project), [10, 10])
            try await f.refuses(.noSpace, .edit(f.main, Edit(mutations: [try f.put("c", 0)])))
            // From one to the other, whichever comes first.
            try await f.apply(
                .edit(f.main, Edit(mutations: [try f.put("b", 5)])), .edit(f.side, Edit(mutations: [.deleteAsset(try f.name("b"))])))
            try f.equal(try await quota(project), [10, 10])
            try await f.edit(.deleteAsset(try f.name("b")))
            try f.equal(try await quota(project), [10, 4])
            // A repository comes with what it holds, and leaves with it.
            try await f.apply(.edit(f.side, Edit(mutations: [try f.put("d", 4)])), .putQuota(project: other, bytes: 4))
            try await f.refuses(.noSpace, try inside(f.side, "side", other))
            try await f.apply(try inside(f.side, "side", other), .putQuota(project: other, bytes: 5))
            try f.equal(try await [quota(project), quota(other)], [[10, 4], [5, 5]])
            try await f.apply(.deleteRepository(f.side))
            try f.equal(try await [quota(project), quota(other)], [[10, 4], [5, 0]])
            let before = try await f.catalog.head()
            try f.equal(try await f.apply(.putQuota(project: project, bytes: 10)), before)
            try await f.apply(.putQuota(project: project, bytes: nil))
            try f.equal(try await quota(project), [])
            try await f.edit(try f.put("e", 9))
        },
        CatalogConformance(claim: "a deleted repository is gone with everything in it, and its key is free again") { f in
            try await f.begin()
            try await f.apply(.putRepository(try f.repository(f.side, "side")))
            try await f.refuses(.conflict, .putRepository(try f.repository(f.side, "main")))
            try await f.edit(try f.put("a", 1, package: "p"), try f.put("b", 2))
            let id = try await f.catalog.asset(at: try f.name("a"), in: f.main)?.id
            try await f.apply(.edit(f.side, Edit(mutations: [try f.put("a", 1)])))
            try await f.apply(.deleteRepository(f.main))
            try await f.refuses(.notFound, .deleteRepository(f.main))
            try await f.refuses(.notFound, .edit(f.main, Edit(mutations: [try f.put("a", 1)])))
            try f.equal(try await f.catalog.repository(try f.name("main")), nil)
            try f.equal(try await f.catalog.repository(id: f.main), nil)
            try f.equal(try await f.catalog.asset(at: try f.name("a"), in: f.main), nil)
            try f.equal(try await f.catalog.assets(in: f.main, prefix: "", after: nil, limit: 10), [])
            try f.equal(try await f.catalog.facts(in: .packages, of: f.main, after: nil, limit: 10), Facts())
            try f.equal(try await f.catalog.usage(of: f.main), Usage())
            if let id { try f.equal(try await f.catalog.lookup(id), nil) }
            try f.equal(try await f.catalog.pins(after: nil, limit: 10), [Pin(blob: TestBlob(1).id, reason: .asset(f.side, try f.name("a")))])
            let next = EntityID(high: 0x7001, low: 3)
            let head = try await f.apply(.putRepository(try f.repository(next, "main")))
            try f.equal(try await f.catalog.repository(try f.name("main"))?.id, next)
            try await f.apply(.edit(next, Edit(mutations: [try f.put("a", 2)])))
            try f.equal(try await f.catalog.repositories(after: nil, limit: 10).map(\.key.text), ["main", "side"])
            try f.equal(try await f.catalog.repositories(after: try f.name("main"), limit: 10).map(\.key.text), ["side"])
            try f.equal(try await f.catalog.repositories(after: nil, limit: 1).map(\.revision), [Revision(head.number + 1)])
        },
        CatalogConformance(claim: "renaming a repository frees its old key and keeps what is in it") { f in
            try await f.begin()
            try await f.edit(try f.put("a", 1))
            var repository = try f.repository(f.main, "renamed")
            repository.settings = ["ttl": "5"]
            let revision = try await f.apply(.putRepository(repository))
            repository.updated = Timestamp(seconds: 99)
            try f.equal(try await f.apply(.putRepository(repository)), revision, "the same description again")
            try f.equal(try await f.catalog.repository(try f.name("main")), nil)
            repository.updated = repository.created
            repository.revision = revision
            try f.equal(try await f.catalog.repository(try f.name("renamed")), repository)
            try f.equal(try await f.catalog.usage(of: f.main), Usage(assets: 1, packages: 0, bytes: 2))
        },
        CatalogConformance(claim: "what upstream confirms keeps its revision; what it changes is replaced, pin and all") { f in
            try await f.begin()
            func page(_ blob: UInt8, fetched: Int64) -> LearnedPage {
                LearnedPage(
                    repository: f.main, view: "simple/p", block: .blob(TestBlob(blob).id, size: 1, mediaType: "b"), etag: "e\(blob)",
                    lastModified: nil, fetched: Timestamp(seconds: fetched), freshUntil: Timestamp(seconds: fetched + 60))
            }
            let learned = try await f.apply(.learned(page(1, fetched: 10)))
            let confirmed = try await f.apply(.learned(page(1, fetched: 20)))
            var expected = page(1, fetched: 20)
            expected.revision = learned
            try f.equal(try await f.catalog.learned("simple/p", in: f.main), expected)
            try f.equal(try await f.catalog.repository(id: f.main)?.revision, learned)
            let replaced = try await f.apply(.learned(page(2, fetched: 30)))
            try f.equal([learned.number + 1, learned.number + 2], [confirmed.number, replaced.number])
            try f.equal(try await f.catalog.repository(id: f.main)?.revision, replaced)
            try f.equal(
                try await f.catalog.pins(after: nil, limit: 10), [Pin(blob: TestBlob(2).id, reason: .learned(f.main, view: "simple/p"))])
            try await f.refuses(.internal, .learned(page(200, fetched: 40)))
        },
    ]

    static let records: [CatalogConformance] = [
        CatalogConformance(claim: "records are found by id and by their unique key, and change only as their reader saw them") { f in
            let ann = Record(kind: .user, id: "1", unique: "ann", value: [1])
            let made = try await f.apply(.putRecord(ann, ifRevision: .zero))
            var stored = ann
            stored.revision = made
            try f.equal(try await f.catalog.record(.user, id: "1"), stored)
            try f.equal(try await f.catalog.record(.user, unique: "ann"), stored)
            try f.equal(try await f.catalog.record(.token, unique: "ann"), nil)
            try await f.refuses(.conflict, .putRecord(ann, ifRevision: .zero))
            try await f.refuses(.conflict, .putRecord(Record(kind: .user, id: "2", unique: "ann", value: []), ifRevision: nil))
            try f.equal(try await f.apply(.putRecord(ann, ifRevision: made)), made, "nothing changed")
            try await f.apply(.putRecord(Record(kind: .user, id: "1", unique: "anne", value: [1]), ifRevision: made))
            try f.equal(try await f.catalog.record(.user, unique: "ann"), nil)
            try await f.apply(.putRecord(Record(kind: .user, id: "10", unique: "ann", value: []), ifRevision: nil))
            try await f.apply(.putRecord(Record(kind: .user, id: "2", value: []), ifRevision: nil))
            try f.equal(try await f.catalog.records(.user, after: nil, limit: 10).map(\.id), ["1", "10", "2"])
            try f.equal(try await f.catalog.records(.user, after: "1", limit: 1).map(\.id), ["10"])
            try await f.apply(.deleteRecord(.user, id: "10"))
            try f.equal(try await f.catalog.record(.user, unique: "ann"), nil)
            let head = try await f.catalog.head()
            try f.equal(try await f.apply(.deleteRecord(.user, id: "10")), head)
        },
        CatalogConformance(claim: "the strictest verdict counts, and an inspector's new one replaces its old one") { f in
            func verdict(_ state: Verdict.State, _ inspector: String, _ seconds: Int64) -> Verdict {
                Verdict(blob: TestBlob(1).id, state: state, inspector: inspector, reason: "", at: Timestamp(seconds: seconds))
            }
            try f.equal(try await f.catalog.verdict(on: TestBlob(1).id), nil)
            try await f.apply(.putVerdict(verdict(.quarantined, "a", 1)), .putVerdict(verdict(.allowed, "b", 2)))
            try f.equal(try await f.catalog.verdict(on: TestBlob(1).id), verdict(.quarantined, "a", 1))
            try await f.apply(.putVerdict(verdict(.allowed, "a", 3)))
            try f.equal(try await f.catalog.verdict(on: TestBlob(1).id), verdict(.allowed, "a", 3))
            try f.equal(try await f.catalog.verdict(on: TestBlob(2).id), nil)
        },
    ]

    static let log: [CatalogConformance] = [
        CatalogConformance(claim: "the log has one entry per change, without gaps, that says what was touched") { f in
            try await f.begin()
            try await f.edit(try f.put("a", 3, package: "p", .allowed))
            try await f.edit(try f.put("a", 3, package: "p", .allowed))
            try await f.edit(try f.put("a", 1, package: "p", .allowed))
            let entries = try await f.catalog.log(after: .zero, limit: 10)
            try f.equal(entries.map(\.revision.number), [1, 2, 3])
            let package = LogEntry.Touched.package(f.main, try f.name("p"))
            try f.equal(entries[0].touched, [.repository(f.main)])
            try f.equal(Set(entries[2].touched), [.asset(f.main, try f.name("a"), TestBlob(1).id, deltaBytes: -2), package])
            try f.equal(entries[2].actor.name, "ann")
            try f.equal(entries[2].requestID, "r")
            try f.equal(try await f.catalog.log(after: Revision(1), limit: 1).map(\.revision.number), [2])
            try f.equal(try await f.catalog.log(after: Revision(3), limit: 1).count, 0)
            try f.equal(try await f.catalog.head(), Revision(3))
        },
        CatalogConformance(claim: "who waits for a change is woken by it, and by being cancelled") { f in
            try await f.begin()
            try await f.catalog.awaitChange(after: .zero)
            let head = try await f.catalog.head()
            async let waiting: Void = f.catalog.awaitChange(after: head)
            try await f.edit(try f.put("a", 1))
            try await waiting
            let later = try await f.catalog.head()
            let sleeper = Task { try await f.catalog.awaitChange(after: later) }
            sleeper.cancel()
            try await sleeper.value
        },
    ]
}
