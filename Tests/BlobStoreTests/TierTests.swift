import Core
import NIOCore
import OrderedStore
import Synchronization
import TestSupport
import Testing

@testable import BlobStore

#if canImport(Glibc)
    import Glibc
#endif

/// A directory that fails when a test says so.
final class FailingTier: SegmentTier {
    let inner: DirectoryTier
    let isDown = Mutex(false)
    /// Puts wait.
    let isHeld = Mutex(false)
    let reads = Mutex(0)

    init(_ inner: DirectoryTier) { self.inner = inner }

    func setDown(_ value: Bool) { isDown.withLock { $0 = value } }
    private func check() throws(RegistryError) {
        if isDown.withLock({ $0 }) { throw RegistryError(.upstreamFailed, subject: .store, reason: "down", retryAfterSeconds: 1) }
    }

    var place: String { inner.place }
    func put(_ name: TierName, _ bytes: any RandomAccessBytes) async throws(RegistryError) {
        while isHeld.withLock({ $0 }) { await Task.yield() }
        try check()
        try await inner.put(name, bytes)
    }
    func read(_ name: TierName, _ range: Range<Int64>) async throws(RegistryError) -> Body {
        try check()
        reads.withLock { $0 += 1 }
        return try await inner.read(name, range)
    }
    func length(of name: TierName) async throws(RegistryError) -> Int64? {
        try check()
        return try await inner.length(of: name)
    }
    func remove(_ name: TierName) async throws(RegistryError) {
        try check()
        try await inner.remove(name)
    }
    func list(_ kind: TierName.Kind, page: String?) async throws(RegistryError) -> TierPage {
        try check()
        return try await inner.list(kind, page: page)
    }
    func removeLeftovers(before time: Timestamp) async throws(RegistryError) { try await inner.removeLeftovers(before: time) }
    func url(of name: TierName, expiresSeconds: Int64, disposition: String, contentType: String) -> String? { "url of \(name)" }
}

/// A store with a tier beside it.
struct TieredFixture {
    let fixture: Fixture
    let tier: FailingTier
    let bucket: TemporaryDirectory

    static var tiering: TieringOptions {
        var options = TieringOptions()
        options.delaySeconds = 0
        options.diskBytesMax = 1
        options.deleteDelaySeconds = 3600
        return options
    }

    static var options: BlobStore.Options {
        var options = Fixture.options
        options.ownFileBytesMin = 2 << 20
        return options
    }

    init(
        _ tiering: TieringOptions = TieredFixture.tiering, bucket: TemporaryDirectory? = nil, in directory: TemporaryDirectory? = nil,
        store: BlobStore.Options = TieredFixture.options
    ) async throws {
        self.bucket = try bucket ?? TemporaryDirectory()
        fixture = try Fixture(store, in: directory)
        tier = FailingTier(try DirectoryTier(at: self.bucket.path, world: .real))
        // Whoever worked on it is gone.
        if bucket != nil { _ = try await TierAdoption.adopt(tier, by: fixture.directory.file("data"), world: .real) }
        try await fixture.blobs.attach(tier, tiering)
    }

    /// Copies and lets go, until nothing moves any more: sealing goes on in the background.
    func settle() async throws {
        for _ in 0..<200 {
            try await fixture.blobs.workTier()
            fixture.blobs.segments.sealing.drain()
            guard let numbers = fixture.blobs.tierStatistics else { return }
            let unsealed = try Segments.numbers(in: fixture.directory.file("data/segments")).count - fixture.blobs.segments.sealedNumbers().count
            if unsealed == 0, numbers.waitingFiles == 0 { return try await fixture.blobs.workTier() }
            await Task.yield()
        }
    }

    func filesOnDisk() throws -> Set<String> { Set(try fixture.files().keys.filter { $0.hasPrefix("/segments") || $0.hasPrefix("/blobs") }) }

    /// One more sealed segment, so that the others may leave: the newest stays.
    func storeLast() async throws {
        try await fixture.store(pattern(100, seed: 99))
        try await settle()
    }
}

@Suite("A store with a tier") struct TierTests {
    let small = pattern(5000, seed: 1)
    let middle = pattern(700_000, seed: 2)
    let large = pattern(3_500_001, seed: 3)

    @Test("a directory does what every tier must")
    func conformance() async throws {
        let directory = try TemporaryDirectory()
        #expect(try await TierConformance(DirectoryTier(at: directory.path, world: .real)).check(bytesMax: 300_000) == [])
    }

    @Test("names of objects are read back, and foreign ones are none")
    func names() {
        let id = BlobID(bytes: (0..<32).map { UInt8($0) })
        var names: [TierName] = [.mark, .owner, .sharedMark, .segment(0xAB), .part(of: 0xAB, id: World.real.newID())]
        names.append(.object(World.real.newID()))
        if let id { names += [.blob(id), .end(id)] }
        for name in names {
            #expect(TierName("\(name)") == name)
        }
        for text in [
            "", "segments/1.segment", "blobs/ff/\(id?.hex ?? "")", "segments/00000000000000AB.segment", "x/granary.tier",
            "parts/00000000000000ab-1.segment",
        ] {
            #expect(TierName(text) == nil, "\(text)")
        }
    }

    @Test("the length of a blob follows from that of its file")
    func lengths() {
        for length: Int64 in [0, 1, 1 << 20, (1 << 20) + 1, (1 << 20) - 1, 5 << 20, 12_345_678, 1 << 40, (1 << 40) + 1] {
            #expect(OwnFile.length(ofFile: OwnFile.fileBytes(length: length)) == length)
        }
    }

    @Test("what was stored is copied, leaves the disk, and is read back whole: short blobs by ranges, the rest by bringing their files back")
    func lifeCycle() async throws {
        let tiered = try await TieredFixture()
        let store = tiered.fixture
        let ids = [try await store.store(small), try await store.store(middle), try await store.store(large)]
        try await tiered.settle()
        try await tiered.storeLast()
        #expect(try tiered.filesOnDisk() == ["/segments/0000000000000002.segment"])
        #expect(try await store.read(ids[0]) == small)
        #expect(store.blobs.tierStatistics?.rangedReads == 1)
        #expect(store.blobs.tierStatistics?.returnedFiles == 0)
        #expect(try await store.read(ids[2]) == large)
        #expect(try await store.read(ids[1]) == middle)
        #expect(store.blobs.tierStatistics?.returnedFiles == 2)
        // The bound holds for what comes back, too: what was read longest ago made room.
        try await tiered.settle()
        #expect(try tiered.filesOnDisk() == ["/segments/0000000000000002.segment"])
        for (id, bytes) in zip(ids, [small, middle, large]) { #expect(try await store.read(id) == bytes) }
    }

    @Test("a check of the store, with or without the tier, finds nothing wrong with what has left the disk")
    func checking() async throws {
        let tiered = try await TieredFixture()
        for bytes in [small, middle, large] { try await tiered.fixture.store(bytes) }
        try await tiered.settle()
        try await tiered.storeLast()
        let alone = try tiered.fixture.reopened(TieredFixture.options)
        let page = try await alone.checkBlobs(after: nil, limit: 100, reading: { _ in true })
        #expect(page.findings == [])
        #expect(page.blobs.count == 4)
    }

    @Test("a thousand readers of one file bring it back once")
    func oneFlight() async throws {
        let tiered = try await TieredFixture()
        let id = try await tiered.fixture.store(large)
        try await tiered.settle()
        let before = tiered.tier.reads.withLock { $0 }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<1000 { group.addTask { try await tiered.fixture.blobs.content(of: id)?.length == 3_500_001 } }
            for try await isRight in group { #expect(isRight) }
        }
        #expect(tiered.tier.reads.withLock { $0 } - before == 2)  // the blob, and its end
    }

    @Test("an empty disk takes over what the tier has, and serves it")
    func adoption() async throws {
        let tiered = try await TieredFixture()
        let ids = [try await tiered.fixture.store(small), try await tiered.fixture.store(middle), try await tiered.fixture.store(large)]
        try await tiered.settle()
        let lost = try await TieredFixture(bucket: tiered.bucket)
        #expect(Set(try lost.fixture.locations().keys) == Set(ids))
        #expect(try lost.filesOnDisk() == [])
        for (id, bytes) in zip(ids, [small, middle, large]) { #expect(try await lost.fixture.read(id) == bytes) }
        // No number is used twice.
        try await lost.fixture.store(pattern(10, seed: 7))
        try await lost.settle()
        #expect(try lost.filesOnDisk().contains("/segments/0000000000000002.segment"))
        // Once taken over, it is the same store after a restart.
        let again = try lost.fixture.reopened(TieredFixture.options)
        try await again.attach(lost.tier, TieredFixture.tiering)
        #expect(try await again.content(of: ids[2])?.length == 3_500_001)
    }

    @Test("another store's tier is refused, and so is one that lost its mark")
    func marks() async throws {
        let tiered = try await TieredFixture()
        try await tiered.fixture.store(large)
        let other = try await TieredFixture()
        try await other.fixture.store(large)
        #expect(await code { try await other.fixture.reopened().attach(tiered.tier, TieredFixture.tiering) } == .invalid)
        let fresh = try Fixture()
        try await fresh.store(large)
        #expect(await code { try await fresh.blobs.attach(tiered.tier, TieredFixture.tiering) } == .invalid)
        try await tiered.tier.remove(.mark)
        #expect(await code { try await tiered.fixture.reopened().attach(tiered.tier, TieredFixture.tiering) } == .invalid)
    }

    @Test("while the tier is down, hot blobs are read and new ones stored; cold ones are unavailable, and come when it is back")
    func down() async throws {
        let tiered = try await TieredFixture()
        let cold = try await tiered.fixture.store(large)
        try await tiered.settle()
        tiered.tier.setDown(true)
        let hot = try await tiered.fixture.store(pattern(2_500_000, seed: 8))
        #expect(await code { try await tiered.fixture.blobs.workTier() } == .upstreamFailed)
        #expect(try await tiered.fixture.read(hot)?.count == 2_500_000)
        #expect(await code { _ = try await tiered.fixture.read(cold) } == .unavailable)
        // Its bytes at hand take its place at once.
        #expect(try await tiered.fixture.store(large) == cold)
        #expect(try await tiered.fixture.read(cold) == large)
        tiered.tier.setDown(false)
        try await tiered.settle()
        #expect(try tiered.filesOnDisk() == [])
        #expect(try await tiered.fixture.read(hot)?.count == 2_500_000)
    }

    @Test("nothing leaves the disk that the tier has lost: it is copied again")
    func lostInTier() async throws {
        var options = TieredFixture.tiering
        options.diskBytesMax = 0
        let tiered = try await TieredFixture(options)
        let id = try await tiered.fixture.store(large)
        try await tiered.settle()
        try await tiered.tier.remove(.end(id))
        let tiering = try #require(tiered.fixture.blobs.tiering)
        try await tiering.drop(.ownFile(id))
        #expect(try tiered.filesOnDisk().count == 1)
        try await tiered.settle()
        #expect(try await tiered.tier.length(of: .end(id)) != nil)
    }

    @Test("a damaged file is not copied; a damaged copy is not brought back")
    func damage() async throws {
        var options = TieredFixture.tiering
        options.diskBytesMax = 0
        let tiered = try await TieredFixture(options)
        let id = try await tiered.fixture.store(large)
        try flip(tiered.fixture.blobs.blobs.path(of: id), at: 1_500_000)
        try await tiered.settle()
        #expect(try await tiered.tier.length(of: .blob(id)) == nil)

        let second = try await TieredFixture()
        let good = try await second.fixture.store(large)
        try await second.settle()
        try flip(second.bucket.file("\(TierName.blob(good))"), at: 77)
        #expect(await code { _ = try await second.fixture.read(good) } == .corrupt)
        #expect(try second.filesOnDisk() == [])
    }

    @Test("what is damaged on the disk is healed from the tier")
    func healing() async throws {
        var options = TieredFixture.tiering
        options.diskBytesMax = 0
        let tiered = try await TieredFixture(options)
        let ids = [try await tiered.fixture.store(large), try await tiered.fixture.store(middle)]
        try await tiered.settle()
        let store = try tiered.fixture.reopened(TieredFixture.options)
        try await store.attach(tiered.tier, options)
        try flip(store.blobs.path(of: ids[0]), at: 1_500_000)
        try flip(store.segments.path(1), at: 300_000)
        for (id, bytes) in zip(ids, [large, middle]) {
            let content = try #require(try await store.content(of: id))
            #expect(try content.bytes(at: 0, count: bytes.count) == bytes)
        }
    }

    @Test("cold-only copies nothing until it is cold, and then lets it go")
    func coldOnly() async throws {
        var options = TieredFixture.tiering
        options.policy = .coldOnly
        options.diskBytesMax = 0
        options.coldSeconds = 1000
        let tiered = try await TieredFixture(options)
        let (hot, cold) = (try await tiered.fixture.store(large), try await tiered.fixture.store(pattern(3_000_000, seed: 5)))
        tiered.fixture.clock.advance(seconds: 600)
        _ = try await tiered.fixture.read(hot)
        try await tiered.fixture.blobs.workTier()
        #expect(try tiered.filesOnDisk().count == 2)
        #expect(try await tiered.tier.list(.blobs, page: nil).objects == [])
        tiered.fixture.clock.advance(seconds: 600)
        try await tiered.fixture.blobs.workTier()
        #expect(try tiered.filesOnDisk().count == 1)
        #expect(try await tiered.tier.length(of: .blob(cold)) == 3_000_000)
        #expect(try await tiered.tier.length(of: .blob(hot)) == nil)
    }

    @Test("the tier keeps what is dead for a while, then deletes it; what is named again lives")
    func sweeping() async throws {
        let tiered = try await TieredFixture()
        let (dead, living) = (try await tiered.fixture.store(large), try await tiered.fixture.store(pattern(3_000_000, seed: 5)))
        let record = try await tiered.fixture.store(small)
        try await tiered.settle()
        try await tiered.storeLast()
        let blobs = tiered.fixture.blobs
        func forget(_ ids: [BlobID]) async throws {
            try await tiered.fixture.index.commit { batch in for id in ids { batch.delete(id.bytes, in: .blobLocations) } }
        }
        func sweep() async throws {
            let sealed = try await blobs.sealedSegments()
            _ = try await blobs.sweepTier(sealed, try await blobs.segmentLiveness(), dryRun: false)
        }
        try await forget([dead, record])
        try await sweep()
        #expect(try await tiered.tier.length(of: .blob(dead)) != nil)
        tiered.fixture.clock.advance(seconds: 3000)
        try await sweep()
        #expect(try await tiered.tier.length(of: .segment(1)) != nil)
        // Comes again before its time: it is not deleted, whatever was said of it.
        #expect(try await tiered.fixture.store(large) == dead)
        tiered.fixture.clock.advance(seconds: 1000)
        try await sweep()
        #expect(try await tiered.tier.length(of: .segment(1)) == nil)
        #expect(try await tiered.tier.length(of: .blob(dead)) != nil)
        try await tiered.settle()
        #expect(try await tiered.fixture.read(dead) == large)
        #expect(try await tiered.fixture.read(living)?.count == 3_000_000)
        try await forget([dead])
        try await sweep()
        tiered.fixture.clock.advance(seconds: 4000)
        try await tiered.settle()
        _ = try? Disk.remove(blobs.blobs.path(of: dead))
        try await sweep()
        #expect(try await tiered.tier.length(of: .blob(dead)) == nil)
        #expect(try await tiered.tier.length(of: .end(dead)) == nil)
        // And is copied again when it is stored once more.
        #expect(try await tiered.fixture.store(large) == dead)
        try await tiered.settle()
        #expect(try await tiered.tier.length(of: .blob(dead)) == 3_500_001)
    }

    @Test("a segment that only the tier has and that is mostly dead comes back to be compacted")
    func compaction() async throws {
        let tiered = try await TieredFixture()
        let (dead, living) = (try await tiered.fixture.store(middle), try await tiered.fixture.store(small))
        try await tiered.settle()
        try await tiered.storeLast()
        #expect(try tiered.filesOnDisk() == ["/segments/0000000000000002.segment"])
        try await tiered.fixture.index.commit { batch in batch.delete(dead.bytes, in: .blobLocations) }
        let blobs = tiered.fixture.blobs
        let sealed = try await blobs.sealedSegments()
        #expect(sealed == [1, 2])
        let tally = try await blobs.sweepSegment(1, try await blobs.segmentLiveness(), CompactionOptions())
        #expect(tally.movedBlobs == 1)
        #expect(try await tiered.fixture.read(living) == small)
        let place = try #require(try tiered.fixture.locations()[living]?.record)
        #expect(place.segment != 1)
    }

    @Test("a crash at any time loses nothing: the copy goes on, nothing is copied twice")
    func crash() async throws {
        let tiered = try await TieredFixture()
        let id = try await tiered.fixture.store(large)
        try await tiered.settle()
        let second = try await tiered.fixture.store(middle)
        let crashed = try tiered.fixture.afterCrash(TieredFixture.options)
        try await crashed.blobs.attach(tiered.tier, TieredFixture.tiering)
        #expect(try await crashed.read(id) == large)
        #expect(try await crashed.read(second) == middle)
        #expect(crashed.blobs.tierStatistics?.copiedFiles == 0)
    }
}

@Suite("Blobs in chunks, with a tier") struct TieredChunkTests {
    /// Segments of 1 MiB; everything leaves the disk that may.
    static func store() async throws -> (TieredFixture, [(id: BlobID, bytes: [UInt8])]) {
        var options = TieredFixture.options
        options.segmentBytesMax = 1 << 20
        options.chunkCacheBytesMax = 0
        let tiered = try await TieredFixture(store: options)
        let first = Fixture.text(3_000_000, seed: 1)
        var blobs: [(id: BlobID, bytes: [UInt8])] = []
        for bytes in [first, Fixture.edited(first)] {
            let id = try await tiered.fixture.store(bytes)
            guard case .cut = try await tiered.fixture.cut(id) else {
                Issue.record("it was left whole")
                continue
            }
            blobs.append((id, bytes))
        }
        try await tiered.settle()
        try await tiered.storeLast()
        return (tiered, blobs)
    }

    private func isOnDisk(_ tiered: TieredFixture, chunksOf id: BlobID) async throws -> Bool {
        let location = try #require(try await tiered.fixture.blobs.location(of: id))
        return try !tiered.fixture.blobs.hasAwayChunks(id, at: location)
    }

    @Test("chunks leave the disk, recipes stay; a read brings pieces, and what is much asked for whole; a thread that waits reads the same")
    func lifeCycle() async throws {
        let (tiered, blobs) = try await TieredChunkTests.store()
        for (id, bytes) in blobs {
            #expect(try await !isOnDisk(tiered, chunksOf: id))
            let content = try #require(try await tiered.fixture.blobs.content(of: id))
            guard case .streamed(let streamed) = content.storage else {
                Issue.record("it is not in chunks")
                continue
            }
            let before = tiered.fixture.blobs.tierStatistics?.rangedReads ?? 0
            let range = try await streamed.body(of: 100_000..<100_010).collect()
            #expect(Array(range.readableBytesView) == Array(bytes[100_000..<100_010]))
            #expect((tiered.fixture.blobs.tierStatistics?.rangedReads ?? 0) == before + 1)
            var read: [UInt8] = []
            let body = streamed.body(of: 0..<Int64(bytes.count))
            while let slice = try await body.next() { read += Array(slice.readableBytesView) }
            #expect(read == bytes)
            try await tiered.settle()
            #expect(try await tiered.fixture.bytes(of: content, count: bytes.count) == bytes)
            try await tiered.settle()
        }
        #expect((tiered.fixture.blobs.tierStatistics?.returnedFiles ?? 0) > 0)
    }

    @Test("a check, the scrub and the sweep of chunks leave alone what only the tier has; a push of the same bytes does not wait for it")
    func others() async throws {
        let (tiered, blobs) = try await TieredChunkTests.store()
        let reads = tiered.tier.reads.withLock { $0 }
        let page = try await tiered.fixture.blobs.checkBlobs(after: nil, limit: 100, reading: { _ in true })
        #expect(page.findings == [])
        #expect(try await tiered.fixture.blobs.sweepChunks(dryRun: false).removedChunks == 0)
        tiered.tier.setDown(true)
        #expect(try await tiered.fixture.store(blobs[0].bytes) == blobs[0].id)
        #expect(try await tiered.fixture.read(blobs[0].id) == blobs[0].bytes)
        let other = try #require(try await tiered.fixture.blobs.content(of: blobs[1].id))
        #expect(await code { _ = try await tiered.fixture.bytes(of: other, count: 10) } == .unavailable)
        #expect(tiered.tier.reads.withLock { $0 } == reads)
    }

    @Test("an empty disk takes over blobs in chunks, too, and only their recipes come back for it")
    func adoption() async throws {
        let (tiered, blobs) = try await TieredChunkTests.store()
        let lost = try await TieredFixture(bucket: tiered.bucket)
        for (id, _) in blobs { #expect(try await !isOnDisk(lost, chunksOf: id)) }
        for (id, bytes) in blobs { #expect(try await lost.fixture.read(id) == bytes) }
    }

    @Test("a damaged chunk in the tier is found, and nothing wrong is read")
    func damage() async throws {
        let (tiered, blobs) = try await TieredChunkTests.store()
        let location = try #require(try await tiered.fixture.blobs.location(of: blobs[0].id))
        let recipe = try tiered.fixture.blobs.chunked(blobs[0].id, at: location).recipe
        let row = try #require(try tiered.fixture.index.get(ChunkIndex.key(ofChunk: recipe[0].chunk), in: .chunks))
        let place = try ChunkIndex.place(row)
        try flip(tiered.bucket.file("\(TierName.segment(place.segment))"), at: place.offset + 100)
        let content = try #require(try await tiered.fixture.blobs.content(of: blobs[0].id))
        #expect(await code { _ = try await tiered.fixture.bytes(of: content, count: 10) } == .corrupt)
    }
}

@Suite("A backup of a store with a tier") struct TieredBackupTests {
    @Test("has what only the tier has, too, copied once; restored it needs no tier, and is whole to the last byte")
    func drill() async throws {
        let tiered = try await TieredFixture()
        let wanted = [pattern(5000, seed: 1), pattern(700_000, seed: 2), pattern(3_500_001, seed: 3)]
        var ids: [BlobID] = []
        for bytes in wanted { ids.append(try await tiered.fixture.store(bytes)) }
        try await tiered.settle()
        try await tiered.storeLast()
        let place = try TemporaryDirectory()
        try Disk.makeDirectory(place.file("keys"))
        func backUp() async throws -> BackupTally {
            try await tiered.fixture.blobs.backUp(to: place.file("backup"), keys: try .test(place.file("keys"))) { 7 }.tally
        }
        #expect(try await backUp().skippedFiles == 0)
        #expect(try tiered.filesOnDisk().count == 1)
        let reads = tiered.tier.reads.withLock { $0 }
        #expect(try await backUp().skippedFiles == 3)
        #expect(tiered.tier.reads.withLock { $0 } == reads)

        _ = try await BackupRestore.restore(.directory(place.file("backup")), trusting: try .test(), to: place.file("restored"))
        let index = try OrderedStore(
            at: place.file("restored/index"), families: [.blobLocations, .chunks, .tierObjects], logger: Fixture.log)
        let store = try BlobStore(at: place.file("restored/store"), store: index, options: TieredFixture.options, world: .real, log: Fixture.log)
        #expect(try await !store.hasTier())
        let page = try await store.checkBlobs(after: nil, limit: 100, reading: { _ in true })
        #expect(page.findings == [])
        #expect(page.readBlobs == 4)
        for (id, bytes) in zip(ids, wanted) {
            let content = try #require(try await store.content(of: id))
            #expect(try content.bytes(at: 0, count: bytes.count) == bytes)
        }
        // What the rows tell of the tier it had is not believed: a file that is missing is damage.
        store.openFiles.forget(.ownFile(ids[2]))
        try Disk.remove(store.blobs.path(of: ids[2]))
        let damaged = try await store.checkBlobs(after: nil, limit: 100, reading: { _ in false })
        #expect(damaged.findings.map(\.kind) == [.blobPlace])
        // A tier of its own begins with what there is.
        let other = try TemporaryDirectory()
        try await store.attach(FailingTier(try DirectoryTier(at: other.path, world: .real)), TieredFixture.tiering)
        #expect(store.tierStatistics?.tierBytes == 0)
    }

    @Test("is refused, naming the file, when the tier has it damaged; and without the tier")
    func damage() async throws {
        let tiered = try await TieredFixture()
        let id = try await tiered.fixture.store(pattern(3_500_001, seed: 3))
        try await tiered.settle()
        try flip(tiered.bucket.file("\(TierName.blob(id))"), at: 1_000_000)
        let place = try TemporaryDirectory()
        try Disk.makeDirectory(place.file("keys"))
        #expect(
            await code { _ = try await tiered.fixture.blobs.backUp(to: place.file("backup"), keys: try .test(place.file("keys"))) { 7 } } == .corrupt)
        #expect(try BackupManifest.read(in: place.file("backup")) == nil)
        let alone = try tiered.fixture.reopened(TieredFixture.options)
        #expect(await code { _ = try await alone.backUp(to: place.file("backup"), keys: try .test(place.file("keys"))) { 7 } } == .unsupported)
    }
}
