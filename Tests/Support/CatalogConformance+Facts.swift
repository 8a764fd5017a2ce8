import Catalog
import Core

extension CatalogConformance {
    static let assets: [CatalogConformance] = [
        CatalogConformance(claim: "a release takes the same bytes again and no others, also after it was deleted") { f in
            try await f.begin()
            let first = try await f.edit(try f.put("a/1.tar", 1))
            try f.equal(try await f.edit(try f.put("a/1.tar", 1)), first, "a retry takes no revision")
            try await f.refuses(.immutable, .edit(f.main, Edit(mutations: [try f.put("a/1.tar", 2)])))
            try await f.edit(.deleteAsset(try f.name("a/1.tar")))
            try f.equal(try await f.catalog.asset(at: try f.name("a/1.tar"), in: f.main), nil)
            try await f.refuses(.immutable, .edit(f.main, Edit(mutations: [try f.put("a/1.tar", 2)])))
            try await f.refuses(.notFound, .edit(f.main, Edit(mutations: [.deleteAsset(try f.name("a/1.tar"))])))
            let again = try await f.edit(try f.put("a/1.tar", 1))
            try f.equal(try await f.catalog.asset(at: try f.name("a/1.tar"), in: f.main)?.revision, again)
        },
        CatalogConformance(claim: "a pointer takes any bytes, keeps its id and leaves no tombstone") { f in
            try await f.begin()
            try await f.edit(try f.put("latest", 1, .allowed))
            let before = try await f.catalog.asset(at: try f.name("latest"), in: f.main)
            try await f.edit(try f.put("latest", 2, .allowed))
            let after = try await f.catalog.asset(at: try f.name("latest"), in: f.main)
            try f.equal(after?.blob, TestBlob(2).id)
            try f.equal(after?.id, before?.id)
            try await f.edit(.deleteAsset(try f.name("latest")))
            try await f.edit(try f.put("latest", 3))
            try f.equal(try await f.catalog.usage(of: f.main), Usage(assets: 1, packages: 0, bytes: 4))
        },
        CatalogConformance(claim: "a name never outlives its bytes: a blob that is not stored is refused, one staged or stored is not") { f in
            try await f.begin()
            try await f.refuses(.internal, .edit(f.main, Edit(mutations: [try f.put("x", 100)])))
            let manifest = Manifest.blob(TestBlob(100).id, size: 101, mediaType: "text/plain")
            let version = Mutation.putVersion(try f.name("p"), try f.name("1"), manifest: manifest, attributes: [:])
            try await f.refuses(.internal, .edit(f.main, Edit(mutations: [version])))
            try await f.edit(try f.put("x", 100), staged: [TestBlob(100)])
            try await f.edit(version)
            let expected = [
                Pin(blob: TestBlob(100).id, reason: .asset(f.main, try f.name("x"))),
                Pin(blob: TestBlob(100).id, reason: .manifest(f.main, try f.name("p"), try f.name("1"))),
            ]
            try f.equal(try await f.catalog.pins(after: nil, limit: 10), expected)
            try f.equal(try await f.catalog.pins(after: expected[0], limit: 10), [expected[1]])
        },
        CatalogConformance(claim: "preconditions are checked against what the change finds") { f in
            try await f.begin()
            let revision = try await f.edit(try f.put("a", 1, package: "p"))
            func edit(_ precondition: Precondition) throws -> Change.Part {
                .edit(f.main, Edit(preconditions: [precondition], mutations: [try f.put("b", 2)]))
            }
            try await f.refuses(.conflict, try edit(.absent(try f.name("a"))))
            try await f.refuses(.notFound, try edit(.present(try f.name("b"))))
            try await f.refuses(.conflict, try edit(.unchanged(try f.name("a"), since: .zero)))
            try await f.refuses(.conflict, try edit(.packageRevision(try f.name("p"), .zero)))
            try await f.apply(try edit(.packageRevision(try f.name("p"), revision)))
            try await f.apply(
                .edit(f.main, Edit(preconditions: [.unchanged(try f.name("a"), since: revision), .packageRevision(try f.name("q"), .zero)])))
        },
        CatalogConformance(claim: "assets are listed by prefix in byte order, and no path is the beginning of another's row") { f in
            try await f.begin()
            for path in ["a", "a/b", "a-b", "ab", "b/a", "a/b/c"] { try await f.edit(try f.put(path, 1)) }
            func list(_ prefix: String, after: String? = nil, limit: Int = 100) async throws -> [String] {
                try await f.catalog.assets(in: f.main, prefix: prefix, after: try after.map { try f.name($0) }, limit: limit).map(\.path.text)
            }
            try f.equal(try await list(""), ["a", "a-b", "a/b", "a/b/c", "ab", "b/a"])
            try f.equal(try await list("a/"), ["a/b", "a/b/c"])
            try f.equal(try await list("a", after: "a-b", limit: 2), ["a/b", "a/b/c"])
            try f.equal(try await list("b", after: "a"), ["b/a"])
            try f.equal(try await list("a", after: "b/a"), [])
            try f.equal(try await list("", limit: 0), [])
        },
    ]

    static let versions: [CatalogConformance] = [
        CatalogConformance(claim: "everything is what the packages hold one by one, in pages of whole packages in byte order of their names") { f in
            try await f.begin()
            for name in ["b", "a-b", "a", "c"] {
                let (package, version): (PackageName, VersionName) = (try f.name(name), try f.name("1"))
                try await f.edit(try f.put("\(name)/1", 1, package: name))
                try await f.edit(.putVersion(package, version, manifest: .inline([1], mediaType: "text/plain"), attributes: [:]))
                try await f.edit(.putLink(Link(relation: "suite", target: "stable", package: package, version: version)))
            }
            try await f.edit(.putTag(try f.name("a"), try f.name("latest"), try f.name("1")))
            func everything(after: String?, limit: Int) async throws -> Facts {
                try await f.catalog.facts(in: .everything, of: f.main, after: after, limit: limit)
            }
            var whole = Facts()
            for name in ["a", "a-b", "b", "c"] {
                whole.append(try await f.catalog.facts(in: .package(try f.name(name)), of: f.main, after: nil, limit: 1))
            }
            whole.revision = try await f.catalog.head()
            try f.equal(try await everything(after: nil, limit: 100), whole)
            var paged = try await everything(after: nil, limit: 3)
            try f.equal(paged.packages.map(\.name.text), ["a", "a-b", "b"])
            paged.append(try await everything(after: "b", limit: 3))
            try f.equal(paged, whole)
            try f.equal(try await everything(after: "c", limit: 3).isEmpty, true)
        },
        CatalogConformance(claim: "deleting a version takes its assets, links and tags along, and leaves tombstones of its releases") { f in
            try await f.begin()
            let package: PackageName = try f.name("p")
            let (one, two): (VersionName, VersionName) = (try f.name("1"), try f.name("2"))
            let link = Link(relation: "subject", target: "t", package: package, version: one, payload: [7])
            let kept = Link(relation: "subject", target: "t", package: package, version: two, payload: [8])
            try await f.edit(
                .putVersion(package, one, manifest: .blob(TestBlob(5).id, size: 6, mediaType: "m"), attributes: [:]),
                .putVersion(package, two, manifest: .inline([1], mediaType: "m"), attributes: ["k": "v"]),
                try f.put("p/1", 1, package: "p", version: "1"), try f.put("p/1.sig", 2, package: "p", version: "1", .allowed),
                try f.put("p/2", 3, package: "p", version: "2"), try f.put("p/any", 4, package: "p"),
                .putTag(package, try f.name("old"), one), .putTag(package, try f.name("new"), two), .putLink(link), .putLink(kept))
            let linked = Scope.linked(package, relation: "subject", target: "t")
            try f.equal(try await f.catalog.facts(in: linked, of: f.main, after: nil, limit: 10).links, [link, kept])
            try f.equal(try await f.catalog.facts(in: linked, of: f.main, after: "1", limit: 10).links, [kept])
            let revision = try await f.edit(.deleteVersion(package, one))
            let facts = try await f.catalog.facts(in: .package(package), of: f.main, after: nil, limit: 10)
            try f.equal(facts.versions.map(\.name), [two])
            try f.equal(facts.assets.map(\.path.text), ["p/any", "p/2"])
            try f.equal(facts.tags.map(\.name.text), ["new"])
            try f.equal(facts.links, [kept])
            try f.equal(facts.packages.map(\.revision), [revision])
            try f.equal(facts.revision, revision)
            try f.equal(try await f.catalog.usage(of: f.main), Usage(assets: 2, packages: 1, bytes: 9))
            try f.equal(try await f.catalog.pins(after: nil, limit: 10).count, 2)
            try await f.refuses(.notFound, .edit(f.main, Edit(mutations: [.deleteVersion(package, one)])))
            try await f.refuses(.immutable, .edit(f.main, Edit(mutations: [try f.put("p/1", 9)])))
            try await f.edit(try f.put("p/1.sig", 9))
        },
        CatalogConformance(
            claim: "a family is one package whole, and those whose names begin with a prefix; a version is ensured without touching it"
        ) { f in
            try await f.begin()
            let (package, one): (PackageName, VersionName) = (try f.name("g:a"), try f.name("1"))
            let family = Scope.family(package, prefix: "g.a:")
            try await f.edit(.putPackage(try f.name("g.a:y"), displayName: nil, attributes: ["k": "v"]))
            try f.equal(try await f.catalog.facts(in: family, of: f.main, after: nil, limit: 10).packages.map(\.name.text), ["g.a:y"])
            try await f.edit(
                .ensureVersion(package, one), .putPackage(try f.name("g.a"), displayName: nil, attributes: nil),
                .putPackage(try f.name("g.a:x"), displayName: nil, attributes: nil),
                .putPackage(try f.name("g.b:x"), displayName: nil, attributes: nil))
            let facts = try await f.catalog.facts(in: family, of: f.main, after: nil, limit: 1)
            try f.equal(facts.packages.map(\.name.text), ["g:a", "g.a:x", "g.a:y"])
            try f.equal(facts.versions.map(\.manifest), [.none])
            let manifest = Manifest.inline([1], mediaType: "m")
            let put = try await f.edit(.putVersion(package, one, manifest: manifest, attributes: ["k": "v"]))
            try f.equal(try await f.edit(.ensureVersion(package, one)), put, "nothing changed")
            try f.equal(try await f.catalog.version(one, of: package, in: f.main)?.manifest, manifest)
        },
        CatalogConformance(claim: "tags and links never dangle; states and attributes change in place") { f in
            try await f.begin()
            let (package, one): (PackageName, VersionName) = (try f.name("p"), try f.name("1"))
            try await f.refuses(.notFound, .edit(f.main, Edit(mutations: [.putTag(package, try f.name("t"), one)])))
            let link = Link(relation: "r", target: "t", package: package, version: one)
            try await f.refuses(.notFound, .edit(f.main, Edit(mutations: [.putLink(link)])))
            try await f.refuses(.notFound, .edit(f.main, Edit(mutations: [.deleteTag(package, try f.name("t"))])))
            try await f.refuses(.notFound, .edit(f.main, Edit(mutations: [.setState(package, one, .yanked(reason: ""))])))
            try await f.edit(.putVersion(package, one, manifest: .none, attributes: [:]), .putTag(package, try f.name("t"), one))
            let made = try await f.catalog.version(one, of: package, in: f.main)
            let yanked = try await f.edit(.setState(package, one, .yanked(reason: "bad")))
            let head = try await f.edit(.setState(package, one, .yanked(reason: "bad")), .putTag(package, try f.name("t"), one), .deleteLink(link))
            try f.equal(head, yanked, "nothing changed")
            var expected = made
            expected?.state = .yanked(reason: "bad")
            expected?.revision = yanked
            try f.equal(try await f.catalog.version(one, of: package, in: f.main), expected)
            try await f.edit(.putPackage(package, displayName: "P", attributes: nil))
            try await f.edit(.putPackage(package, displayName: nil, attributes: ["a": "b"]))
            let row = try await f.catalog.package(package, in: f.main)
            try f.equal(row?.displayName, "P")
            try f.equal(row?.attributes, ["a": "b"])
        },
        CatalogConformance(claim: "an id leads to what it names for as long as that exists") { f in
            try await f.begin()
            let (package, one): (PackageName, VersionName) = (try f.name("p"), try f.name("1"))
            try await f.edit(.putVersion(package, one, manifest: .none, attributes: [:]), try f.put("a", 1, package: "p", version: "1"))
            let facts = try await f.catalog.facts(in: .package(package), of: f.main, after: nil, limit: 1)
            let ids = facts.packages.map(\.id) + facts.versions.map(\.id) + facts.assets.map(\.id)
            var found: [Coordinates?] = []
            for id in ids + [f.main, f.side] { found.append(try await f.catalog.lookup(id)) }
            try f.equal(
                found, [.package(f.main, package), .version(f.main, package, one), .asset(f.main, try f.name("a")), .repository(f.main), nil])
            try await f.edit(.deleteVersion(package, one))
            found = []
            for id in ids { found.append(try await f.catalog.lookup(id)) }
            try f.equal(found, [.package(f.main, package), nil, nil])
        },
    ]
}
