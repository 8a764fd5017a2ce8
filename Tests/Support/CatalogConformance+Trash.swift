import Catalog
import Core

extension CatalogConformance {
    static let trash: [CatalogConformance] = [
        CatalogConformance(claim: "what was deleted is in the trash as it was, out of sight, and comes back under its ids with a new revision") { f in
            try await f.begin()
            let (package, version) = try (f.name("p") as PackageName, f.name("1") as VersionName)
            let link = Link(relation: "r", target: "t", package: package, version: version, payload: [7])
            try await f.edit(
                .putVersion(package, version, manifest: .inline([1], mediaType: "m"), attributes: ["k": "v"]),
                .putAsset(try f.draft("a", 1, package: "p", version: "1"), overwrite: .never),
                .putAsset(try f.draft("b", 2, package: "p", version: "1"), overwrite: .allowed),
                .putTag(package, try f.name("latest"), version), .putLink(link))
            let before = try await f.catalog.facts(in: .package(package), of: f.main, after: nil, limit: 1)
            let usage = try await f.catalog.usage(of: f.main)
            let revision = try await f.delete(.deleteVersion(package, version))
            var deletion = Deletion(
                repository: f.main, revision: revision, actor: Actor(name: "ann", account: nil), at: Timestamp(seconds: 1_800_000_000),
                requestID: "r", until: Timestamp(seconds: 1_900_000_000), releases: [try f.name("a")])
            deletion.facts = before
            deletion.facts.packages = []
            deletion.facts.revision = revision
            try f.equal(try await f.catalog.trash(of: f.main, before: nil, limit: 9), [deletion])
            try f.equal(try await f.catalog.deletion(deletion.id), deletion)
            try f.equal(try await f.catalog.facts(in: .package(package), of: f.main, after: nil, limit: 1).versions, [])
            try f.equal(try await f.catalog.lookup(before.versions[0].id), nil)
            try f.equal(
                try await f.catalog.usage(of: f.main), Usage(assets: 0, packages: 1, bytes: 0, deletions: 1, trashBytes: usage.bytes))
            try await f.refuses(.immutable, .edit(f.main, Edit(mutations: [try f.put("a", 3)])))

            let restored = try await f.apply(.restore(deletion.id, only: nil))
            var after = try await f.catalog.facts(in: .package(package), of: f.main, after: nil, limit: 1)
            try f.equal(after.revision, restored)
            try f.equal(Set(after.versions.map(\.revision) + after.assets.map(\.revision) + after.packages.map(\.revision)), [restored])
            try f.equal(try await f.catalog.lookup(before.versions[0].id), .version(f.main, package, version))
            try f.equal(try await f.catalog.lookup(before.assets[0].id), .asset(f.main, try f.name("a")))
            after.revision = before.revision
            after.packages = before.packages
            for index in after.versions.indices { after.versions[index].revision = before.versions[index].revision }
            for index in after.assets.indices { after.assets[index].revision = before.assets[index].revision }
            for index in after.tags.indices { after.tags[index].revision = before.tags[index].revision }
            try f.equal(after, before)
            try f.equal(try await f.catalog.usage(of: f.main), usage)
            try f.equal(try await f.catalog.trash(of: f.main, before: nil, limit: 9), [])
            let touched = try await f.catalog.log(after: revision, limit: 9).map { Set($0.touched) }
            try f.equal(
                touched,
                [
                    [
                        .trash(deletion.id), .package(f.main, package), .tag(f.main, package, try f.name("latest")),
                        .asset(f.main, try f.name("a"), TestBlob(1).id, deltaBytes: TestBlob(1).size),
                        .asset(f.main, try f.name("b"), TestBlob(2).id, deltaBytes: TestBlob(2).size),
                    ]
                ])
            // A release again: deleted for good it leaves its tombstone.
            try await f.edit(.deleteVersion(package, version))
            try f.equal(try await f.catalog.trash(of: f.main, before: nil, limit: 9), [], "nobody asked for the trash")
            try await f.refuses(.immutable, .edit(f.main, Edit(mutations: [try f.put("a", 3)])))
            try await f.edit(try f.put("b", 3))
        },
        CatalogConformance(claim: "a taken name is a conflict and changes nothing; a tag that moved on beside a version stays where it is") { f in
            try await f.begin()
            let (package, one, two) = try (f.name("p") as PackageName, f.name("1") as VersionName, f.name("2") as VersionName)
            let latest = try f.name("latest") as TagName
            try await f.edit(
                .ensureVersion(package, one), .ensureVersion(package, two), .putTag(package, latest, one), try f.put("a", 1, .allowed))
            let file = DeletionID(f.main, try await f.delete(.deleteAsset(try f.name("a"))))
            try await f.edit(try f.put("a", 2, .allowed))
            try await f.refuses(.conflict, .restore(file, only: nil))
            try await f.edit(.deleteAsset(try f.name("a")))
            let tag = DeletionID(f.main, try await f.delete(.deleteTag(package, latest)))
            try await f.edit(.putTag(package, latest, two))
            try await f.refuses(.conflict, .restore(tag, only: nil))
            try await f.edit(.putTag(package, latest, one))
            let version = DeletionID(f.main, try await f.delete(.deleteVersion(package, one)))
            try await f.refuses(.conflict, .restore(tag, only: nil))
            try await f.edit(.putTag(package, latest, two))
            try await f.edit(.ensureVersion(package, one))
            try await f.refuses(.conflict, .restore(version, only: nil))
            try await f.edit(.deleteVersion(package, one))
            try await f.apply(.restore(version, only: nil))
            try f.equal(try await f.catalog.tag(latest, of: package, in: f.main)?.version, two)
            try f.equal(try await f.catalog.trash(of: f.main, before: nil, limit: 9).map(\.id), [tag, file], "the newest first")
            try f.equal(try await f.catalog.trash(of: f.main, before: tag.revision, limit: 9).map(\.id), [file])
            try await f.apply(.restore(file, only: nil))
            try await f.refuses(.notFound, .restore(file, only: nil))
        },
        CatalogConformance(claim: "some assets come back with their version, the others later") { f in
            try await f.begin()
            let (package, version) = try (f.name("p") as PackageName, f.name("1") as VersionName)
            try await f.edit(
                .ensureVersion(package, version), .putAsset(try f.draft("a", 1, package: "p", version: "1"), overwrite: .never),
                .putAsset(try f.draft("b", 2, package: "p", version: "1"), overwrite: .never))
            let id = DeletionID(f.main, try await f.delete(.deleteVersion(package, version)))
            try await f.refuses(.notFound, .restore(id, only: [try f.name("a"), try f.name("c")]))
            try await f.apply(.restore(id, only: [try f.name("a")]))
            let facts = try await f.catalog.facts(in: .package(package), of: f.main, after: nil, limit: 1)
            try f.equal(facts.assets.map(\.path.text), ["a"])
            try f.equal(facts.versions.map(\.name), [version])
            try f.equal(
                try await f.catalog.usage(of: f.main),
                Usage(assets: 1, packages: 1, bytes: TestBlob(1).size, deletions: 1, trashBytes: TestBlob(2).size))
            try f.equal(try await f.catalog.pins(of: TestBlob(1).id, limit: 9).map(\.reason), [.asset(f.main, try f.name("a"))])
            try f.equal(try await f.catalog.pins(of: TestBlob(2).id, limit: 9).map(\.reason), [.trash(id)])
            try await f.apply(.restore(id, only: [try f.name("b")]))
            try f.equal(try await f.catalog.usage(of: f.main), Usage(assets: 2, packages: 1, bytes: TestBlob(1).size + TestBlob(2).size))
        },
        CatalogConformance(claim: "what is replaced or only passing through is not deleted; time and quota hold for the trash") { f in
            try await f.begin()
            try await f.edit(try f.put("a", 1, .allowed), try f.put("b", 2, .allowed))
            try await f.delete(.deleteAsset(try f.name("a")), try f.put("a", 3, .allowed), .discardAsset(try f.name("b")))
            try await f.delete(try f.put("c", 1, .allowed), .deleteAsset(try f.name("c")))
            try f.equal(try await f.catalog.trash(of: f.main, before: nil, limit: 9), [])
            let soon = DeletionID(f.main, try await f.delete(.deleteAsset(try f.name("a")), until: Timestamp(seconds: 1_800_000_001)))
            try await f.edit(try f.put("d", 2, .allowed))
            let later = DeletionID(f.main, try await f.delete(.deleteAsset(try f.name("d"))))
            try f.equal(try await f.catalog.deletionsOver(by: Timestamp(seconds: 1_800_000_000), limit: 9), [])
            try f.equal(try await f.catalog.deletionsOver(by: Timestamp(seconds: 1_800_000_001), limit: 9), [soon])
            try f.equal(try await f.catalog.deletionsOver(by: Timestamp(seconds: 1_900_000_000), limit: 9), [soon, later])
            try f.equal(try await f.catalog.deletionsOver(by: Timestamp(seconds: 1_900_000_000), limit: 1), [soon])
            let revision = try await f.catalog.repository(id: f.main)?.revision
            try await f.apply(.purge(soon))
            try f.equal(try await f.catalog.repository(id: f.main)?.revision, revision, "no reader sees a difference")
            let head = try await f.catalog.head()
            try await f.apply(.purge(soon))
            try f.equal(try await f.catalog.head(), head, "a second time it is nothing")
            try await f.refuses(.notFound, .restore(soon, only: nil))
            try f.equal(try await f.catalog.deletionsOver(by: Timestamp(seconds: 1_900_000_000), limit: 9), [later])
            try f.equal(try await f.catalog.usage(of: f.main), Usage(deletions: 1, trashBytes: TestBlob(2).size))
            try await f.apply(.putRepository(try f.repository(f.main, "main", quota: 1)))
            try await f.refuses(.noSpace, .restore(later, only: nil))
            try await f.apply(.deleteRepository(f.main))
            try f.equal(try await f.catalog.trash(of: f.main, before: nil, limit: 9), [], "the trash goes with its repository")
            try f.equal(try await f.catalog.deletionsOver(by: Timestamp(seconds: 1_900_000_000), limit: 9), [])
        },
    ]
}
