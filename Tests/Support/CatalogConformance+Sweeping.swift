import Catalog
import Core
import Synchronization

extension CatalogConformance {
    static let sweeping: [CatalogConformance] = [
        CatalogConformance(claim: "a blob is unpinned since its last pin went, or since somebody noticed") { f in
            try await f.begin()
            let blobs = [TestBlob(1).id, TestBlob(2).id, TestBlob(3).id].sorted()
            func since(_ number: UInt8) async throws -> Timestamp?? {
                let unpinned = try await f.catalog.unpinned(among: blobs)
                return unpinned.first { $0.blob == TestBlob(number).id }.map(\.since)
            }
            try await f.edit(try f.put("a", 1), try f.put("b", 1), try f.put("c", 2))
            try f.equal(try await f.catalog.unpinned(among: blobs), [UnpinnedBlob(blob: TestBlob(3).id, since: nil)])
            let noticed = Timestamp(seconds: 1_900_000_000)
            try await f.catalog.noteUnpinned(blobs, at: noticed)
            try await f.catalog.noteUnpinned(blobs, at: noticed.adding(seconds: 5))
            try f.equal(try await f.catalog.unpinned(among: blobs), [UnpinnedBlob(blob: TestBlob(3).id, since: noticed)])
            try await f.catalog.noteUnpinned(blobs, at: noticed.adding(seconds: -5))
            try f.equal(
                try await f.catalog.unpinned(among: blobs), [UnpinnedBlob(blob: TestBlob(3).id, since: noticed.adding(seconds: -5))],
                "the clock was ahead")
            try await f.edit(.deleteAsset(try f.name("a")))
            try f.equal(try await since(1), nil, "pinned once more")
            try f.equal(try await f.catalog.pins(of: TestBlob(1).id, limit: 9).map(\.reason), [.asset(f.main, try f.name("b"))])
            try await f.edit(.deleteAsset(try f.name("b")))
            try f.equal(try await since(1), .some(Timestamp(seconds: 1_800_000_000)), "the change's time")
            try await f.edit(try f.put("d", 3, .allowed))
            try await f.edit(try f.put("d", 2, .allowed))
            try f.equal(try await since(3), .some(Timestamp(seconds: 1_800_000_000)), "replaced")
        },
        CatalogConformance(claim: "only what nothing pins, long enough, and nobody holds, is forgotten, and cannot be named again unstored") { f in
            try await f.begin()
            let blobs = (1...4).map { TestBlob($0).id }.sorted()
            try await f.edit(try f.put("a", 1), try f.put("b", 2), try f.put("c", 4))
            let before = Timestamp(seconds: 1_900_000_000)
            let asked = Mutex<[BlobID]>([])
            func forget(_ before: Timestamp, but held: BlobID? = nil) async throws -> [BlobID] {
                try await f.catalog.forget(blobs, unpinnedBefore: before) { blob in
                    asked.withLock { $0.append(blob) }
                    return blob != held
                }
            }
            try f.equal(try await forget(before), [], "nobody noted since when")
            try await f.catalog.noteUnpinned(blobs, at: before.adding(seconds: 1))
            try f.equal(try await forget(before), [], "not long enough")
            try await f.edit(.deleteAsset(try f.name("a")), .deleteAsset(try f.name("b")))
            try f.equal(asked.withLock { $0 }, [], "nothing was close to going")
            try f.equal(try await forget(before, but: TestBlob(2).id), [TestBlob(1).id])
            try f.equal(Set(asked.withLock { $0 }), Set([TestBlob(1).id, TestBlob(2).id]), "pinned and young ones are not asked about")
            try f.equal(try await forget(before), [TestBlob(2).id])
            try f.equal(try await forget(before), [], "what is gone is not forgotten twice")
            try await f.refuses(.internal, .edit(f.main, Edit(mutations: [try f.put("e", 1, .allowed)])))
            try await f.edit(try f.put("e", 1, .allowed), staged: [TestBlob(1)])
            try f.equal(try await f.catalog.unpinned(among: [TestBlob(1).id]), [])
        },
        CatalogConformance(claim: "each kind of reference keeps its blob from being forgotten, and its end lets it go") { f in
            try await f.begin()
            let blob = TestBlob(3)
            func isKept() async throws -> Bool {
                // Whether the decision itself would let it go, not only the walk's proposal.
                let isAsked = Mutex(false)
                _ = try await f.catalog.forget([blob.id], unpinnedBefore: Timestamp(seconds: 2_000_000_000)) { _ in
                    isAsked.withLock { $0 = true }
                    return false
                }
                let isProposed = try await f.catalog.unpinned(among: [blob.id]).count == 1
                try f.equal(isAsked.withLock { $0 }, isProposed, "walk and decision")
                return !isProposed
            }
            func page(_ block: Manifest) -> Change.Part {
                .learned(
                    LearnedPage(
                        repository: f.main, view: "simple/p", block: block, etag: nil, lastModified: nil, fetched: Timestamp(seconds: 1),
                        freshUntil: Timestamp(seconds: 2)))
            }
            let held = Manifest.blob(blob.id, size: blob.size, mediaType: "m")
            // A switch without a default: a new kind of pin does not compile until it stands here with its change.
            func change(_ reason: Pin.Reason, isThere: Bool) throws -> Change.Part {
                let mutation: Mutation
                switch reason {
                case .trash(let id):
                    // It comes from a deletion, below.
                    return .purge(id)
                case .asset(_, let path): mutation = isThere ? try f.put(path.text, 3) : .deleteAsset(path)
                case .manifest(_, let package, let version):
                    mutation =
                        isThere ? .putVersion(package, version, manifest: held, attributes: [:]) : .deleteVersion(package, version)
                case .learned: return page(isThere ? held : .none)
                }
                return .edit(f.main, Edit(mutations: [mutation]))
            }
            let reasons: [Pin.Reason] = [
                .asset(f.main, try f.name("a")), .manifest(f.main, try f.name("p"), try f.name("1")), .learned(f.main, view: "simple/p"),
            ]
            for reason in reasons {
                try await f.apply(try change(reason, isThere: true))
                try f.equal(try await isKept(), true, "\(reason)")
                try f.equal(try await f.catalog.pins(of: blob.id, limit: 9).map(\.reason), [reason])
                try await f.apply(try change(reason, isThere: false))
                try f.equal(try await isKept(), false, "\(reason) ended")
            }
            try await f.edit(try f.put("t", 3))
            let deleted = DeletionID(f.main, try await f.delete(.deleteAsset(try f.name("t"))))
            try f.equal(try await isKept(), true, "the trash")
            try f.equal(try await f.catalog.pins(of: blob.id, limit: 9).map(\.reason), [.trash(deleted)])
            try await f.apply(try change(.trash(deleted), isThere: false))
            try f.equal(try await isKept(), false, "the trash ended")
            for reason in reasons {
                try await f.apply(try change(reason, isThere: true))
            }
            try await f.edit(try f.put("t", 3))
            try await f.delete(.deleteAsset(try f.name("t")))
            try await f.apply(.deleteRepository(f.main))
            try await f.catalog.noteUnpinned([blob.id], at: Timestamp(seconds: 1_900_000_000))
            try f.equal(try await isKept(), false, "its repository is gone")
        },
    ]
}
