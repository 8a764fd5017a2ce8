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

/// What is damaged in a tier is found there, by the scrub and by fsck; what the disk still has is copied again, what it has not is named.
@Suite("The scrub of a tier") struct TierScrubTests {
    let small = pattern(5000, seed: 1)
    let middle = pattern(700_000, seed: 2)
    let large = pattern(3_500_001, seed: 3)

    /// Three blobs that only the tier has: two in segment 1, one with an object of its own.
    private func away(_ tiering: TieringOptions = TieredFixture.tiering) async throws -> (TieredFixture, ids: [BlobID]) {
        let tiered = try await TieredFixture(tiering)
        var ids: [BlobID] = []
        for bytes in [small, middle, large] { ids.append(try await tiered.fixture.store(bytes)) }
        try await tiered.settle()
        try await tiered.storeLast()
        return (tiered, ids)
    }

    private var keeping: TieringOptions {
        var options = TieredFixture.tiering
        options.diskBytesMax = 0
        return options
    }

    private func scrub(_ blobs: BlobStore) throws -> Scrub { try Scrub(of: blobs, options: ScrubTests.quick) { _ in ["the test"] } }

    /// As fsck does it: beside the store, without its part of the tier.
    private func check(_ tiered: TieredFixture, percent: Bool = true) async throws -> [Finding] {
        var options = TieredFixture.options
        options.isReadOnly = true
        let store = try tiered.fixture.reopened(options)
        try await store.checkMark(of: tiered.tier)
        let listing = try await store.list(tiered.tier)
        var findings: [Finding] = []
        for file in try await store.tierFiles() {
            findings += try await store.check(file, in: tiered.tier, listing, reading: percent).findings
        }
        return findings
    }

    @Test("reads every file, whether or not the disk has it, counts what it asks for, and makes the oldest unread byte young")
    func whole() async throws {
        let (tiered, _) = try await away()
        let start = tiered.fixture.clock.now
        tiered.fixture.clock.advance(seconds: 3600)
        let scrub = try scrub(tiered.fixture.blobs)
        #expect(scrub.oldestInTier == tiered.fixture.clock.now)
        let first = try self.scrub(tiered.fixture.blobs)
        tiered.fixture.clock.advance(seconds: 3600)
        #expect(try await first.readTier())
        #expect(first.oldestInTier == tiered.fixture.clock.now)
        #expect(first.totals.tierFiles == 3)
        let objects = try await tiered.tier.list(.segments, page: nil).objects
        #expect(first.totals.tierBytes >= 3_500_001 + 705_000)
        #expect(objects.count == 2)
        // A segment: its length, its end, its index, its beginning; an own file: two lengths, end, blob.
        #expect((8...14).contains(first.totals.tierRequests))
        #expect(first.totals.tierDamaged == 0 && tiered.fixture.blobs.tierStatistics?.returnedFiles == 0)
        #expect(start < first.oldest)
        // What it remembers outlives a restart.
        #expect(try self.scrub(tiered.fixture.blobs).oldestInTier == first.oldestInTier)
        #expect(try await check(tiered) == [])
    }

    @Test(
        "a flipped bit in what only the tier has is found by the scrub and by fsck, names the blob it concerns, and leaves its neighbours",
        arguments: [0, 1, 2, 3])
    func flipped(kind: Int) async throws {
        let (tiered, ids) = try await away()
        let locations = try tiered.fixture.locations()
        let object: TierName = kind < 2 ? .segment(1) : kind == 2 ? .blob(ids[2]) : .end(ids[2])
        let hurt = ids[min(kind, 2)]
        let offset = kind < 2 ? (locations[hurt]?.firstByte ?? 0) + 4000 : kind == 2 ? 2_222_222 : 3
        try flip(tiered.bucket.file("\(object)"), at: offset)
        let found = try await check(tiered)
        #expect(found.map(\.kind) == [.tierObject, .blobBytes])
        #expect(found.last?.blob == hurt)
        #expect(try await check(tiered, percent: false) == [])
        let scrub = try scrub(tiered.fixture.blobs)
        #expect(try await scrub.readTier())
        #expect(scrub.totals.tierDamaged == 1 && scrub.totals.tierHealed == 0)
        #expect(await tiered.fixture.blobs.damagedBlobs().map(\.blob) == [hurt])
        #expect(scrub.damagedInTier == ["\(TierName(kind < 2 ? .segment(1) : .ownFile(ids[2])))"])
        for (id, bytes) in zip(ids, [small, middle, large]) where id != hurt { #expect(try await tiered.fixture.read(id) == bytes) }
        #expect(await code { _ = try await tiered.fixture.read(hurt) } == .corrupt)
        // Pushed again it is whole, and the tier has it whole, too.
        #expect(try await tiered.fixture.store([small, middle, large][min(kind, 2)]) == hurt)
        try await tiered.settle()
        try await tiered.fixture.store(pattern(100, seed: 98))
        try await tiered.settle()
        #expect(try await tiered.fixture.read(hurt) == [small, middle, large][min(kind, 2)])
        if kind > 1 {
            #expect(try await check(tiered) == [])
            #expect(scrub.damagedInTier == [])
        }
    }

    @Test("what is damaged, short or missing in the tier is copied there again from the disk, once that was checked", arguments: [0, 1, 2, 3, 4])
    func healed(kind: Int) async throws {
        let (tiered, ids) = try await away(keeping)
        let scrub = try scrub(tiered.fixture.blobs)
        switch kind {
        case 0: try flip(tiered.bucket.file("\(TierName.segment(1))"), at: 300_000)
        case 1: try flip(tiered.bucket.file("\(TierName.blob(ids[2]))"), at: 3_000_000)
        case 2: #expect(truncate(tiered.bucket.file("\(TierName.segment(1))"), 300_000) == 0)
        case 3: try await tiered.tier.remove(.end(ids[2]))
        default: try await tiered.tier.remove(.segment(1))
        }
        let found = try await check(tiered)
        #expect(found.map(\.kind) == [.tierObject])
        #expect(found.first?.text.contains("the disk has it, too") == true)
        #expect(try await check(tiered, percent: false).count == (kind < 2 ? 0 : 1))
        #expect(try await scrub.readTier())
        #expect(scrub.totals.tierDamaged == 1 && scrub.totals.tierHealed == 1)
        #expect(scrub.damagedInTier == [])
        #expect(await tiered.fixture.blobs.damagedBlobs() == [])
        #expect(try await check(tiered) == [])
    }

    @Test("damaged in the tier and on the disk: nothing is copied, both are named, and a restart does not let it leave the disk")
    func both() async throws {
        let (tiered, ids) = try await away(keeping)
        try flip(tiered.bucket.file("\(TierName.blob(ids[2]))"), at: 3_000_000)
        try flip(tiered.fixture.blobs.blobs.path(of: ids[2]), at: 5)
        let scrub = try scrub(tiered.fixture.blobs)
        #expect(try await scrub.readTier())
        #expect(scrub.totals.tierDamaged == 1 && scrub.totals.tierHealed == 0)
        #expect(scrub.damagedInTier == ["\(TierName.blob(ids[2]))"])
        let again = try tiered.fixture.reopened(TieredFixture.options)
        try await again.attach(tiered.tier, TieredFixture.tiering)
        try await again.workTier()
        #expect(again.tiering?.unsoundFiles == ["\(TierName.blob(ids[2]))"])
        #expect(try Disk.openExisting(again.blobs.path(of: ids[2])) != nil)
    }

    @Test("while the tier is away nothing is called damaged; it goes on where it was when the tier is back")
    func down() async throws {
        let (tiered, _) = try await away()
        let scrub = try scrub(tiered.fixture.blobs)
        tiered.fixture.clock.advance(seconds: 10)
        tiered.tier.setDown(true)
        #expect(await code { _ = try await scrub.readTier() } == .upstreamFailed)
        #expect(await code { _ = try await check(tiered) } == .upstreamFailed)
        #expect(scrub.totals.tierFiles == 0 && scrub.totals.tierDamaged == 0)
        #expect(scrub.oldestInTier != tiered.fixture.clock.now)
        #expect(await tiered.fixture.blobs.damagedBlobs() == [])
        tiered.tier.setDown(false)
        #expect(try await scrub.readTier())
        #expect(scrub.totals.tierFiles == 3)
        #expect(scrub.oldestInTier == tiered.fixture.clock.now)
    }

    @Test("a segment that is missing in the tier, or whose index is damaged there, names the blobs that rows say it had", arguments: [true, false])
    func index(isMissing: Bool) async throws {
        let (tiered, ids) = try await away()
        let path = tiered.bucket.file("\(TierName.segment(1))")
        if isMissing {
            try await tiered.tier.remove(.segment(1))
        } else {
            let length = try #require(try await tiered.tier.length(of: .segment(1)))
            try flip(path, at: length - 100)
        }
        let found = try await check(tiered)
        #expect(found.first?.kind == .tierObject)
        // Without its index, the records are still right.
        #expect(Set(found.dropFirst().compactMap(\.blob)) == (isMissing ? Set(ids[..<2]) : []))
        let scrub = try scrub(tiered.fixture.blobs)
        #expect(try await scrub.readTier())
        #expect(scrub.damagedInTier == ["\(TierName.segment(1))"])
        #expect(Set(await tiered.fixture.blobs.damagedBlobs().map(\.blob)) == (isMissing ? Set(ids[..<2]) : []))
    }

    @Test("a segment with a damaged record comes back for its neighbours' sake; it never leaves again, and the damaged one is not served")
    func salvaged() async throws {
        let tiered = try await TieredFixture()
        let (good, bad) = (try await tiered.fixture.store(middle), try await tiered.fixture.store(pattern(600_000, seed: 9)))
        try await tiered.settle()
        try await tiered.storeLast()
        let place = try #require(try tiered.fixture.locations()[bad])
        try flip(tiered.bucket.file("\(TierName.segment(1))"), at: place.firstByte + 77)
        // Verified before it left: that counts no more.
        tiered.fixture.blobs.verified.insert(bad)
        #expect(try await tiered.fixture.read(good) == middle)
        #expect(await code { _ = try await tiered.fixture.read(bad) } == .corrupt)
        #expect(await tiered.fixture.blobs.damagedBlobs().map(\.blob) == [bad])
        try await tiered.settle()
        #expect(try tiered.filesOnDisk().contains("/segments/0000000000000001.segment"))
    }

    @Test("a damaged chunk in the tier names the blobs that are made of it")
    func chunks() async throws {
        let (tiered, blobs) = try await TieredChunkTests.store()
        let location = try #require(try await tiered.fixture.blobs.location(of: blobs[1].id))
        let recipe = try tiered.fixture.blobs.chunked(blobs[1].id, at: location).recipe
        #expect(try await check(tiered) == [])
        // The last piece of the second version, which the first has, too.
        let row = try #require(try tiered.fixture.index.get(ChunkIndex.key(ofChunk: recipe[recipe.count - 1].chunk), in: .chunks))
        let place = try ChunkIndex.place(row)
        try flip(tiered.bucket.file("\(TierName.segment(place.segment))"), at: place.offset + 100)
        let found = try await check(tiered)
        #expect(found.map(\.kind) == [.tierObject, .blobBytes, .blobBytes])
        #expect(Set(found.compactMap(\.blob)) == Set(blobs.map(\.id)))
    }

    @Test("a blob in chunks that is damaged on the disk, in a chunk or in its recipe, is healed by the file of the tier", arguments: [true, false])
    func chunksOnDisk(isRecipe: Bool) async throws {
        var options = TieredFixture.options
        options.segmentBytesMax = 1 << 20
        let tiered = try await TieredFixture(keeping, store: options)
        let bytes = Fixture.text(3_000_000, seed: 1)
        let id = try await tiered.fixture.store(bytes)
        guard case .cut = try await tiered.fixture.cut(id) else {
            Issue.record("it was left whole")
            return
        }
        try await tiered.settle()
        let location = try #require(try await tiered.fixture.blobs.location(of: id))
        let recipe = try tiered.fixture.blobs.chunked(id, at: location).recipe
        let row = try #require(try tiered.fixture.index.get(ChunkIndex.key(ofChunk: recipe[0].chunk), in: .chunks))
        let place = try #require(isRecipe ? location.record : try ChunkIndex.place(row))
        let path = tiered.fixture.blobs.segments.path(place.segment)
        try flip(path, at: place.offset + 100)
        let scrub = try scrub(tiered.fixture.blobs)
        try await scrub.pass()
        #expect(scrub.totals.damaged == 1 && scrub.healedBlobs == 1)
        #expect(await tiered.fixture.blobs.damagedBlobs() == [])
        let alone = try tiered.fixture.reopened(options)
        #expect(try await alone.checkBlobs(after: nil, limit: 100, reading: { _ in true }).findings == [])
        #expect(try await tiered.fixture.read(id) == bytes)
        // Damaged in both, it stays damaged, and is named.
        try flip(path, at: place.offset + 100)
        try flip(tiered.bucket.file("\(TierName.segment(place.segment))"), at: place.offset + 100)
        try await scrub.pass()
        #expect(scrub.healedBlobs == 1)
        #expect(await tiered.fixture.blobs.damagedBlobs().map(\.blob) == [id])
        #expect(scrub.damagedInTier == ["\(TierName.segment(place.segment))"])
    }

    @Test("the rate is kept, and a reading that is cut off goes on at the file it was at")
    func rate() async throws {
        let (tiered, _) = try await away()
        var options = ScrubTests.quick
        options.bytesPerSecondMax = 100_000
        options.tierIntervalSeconds = 1000
        let scrub = try Scrub(of: tiered.fixture.blobs, options: options) { _ in [] }
        tiered.fixture.clock.advance(seconds: 2000)
        let before = tiered.tier.reads.withLock { $0 }
        let work = Task { await scrub.runTierOnSchedule() }
        while tiered.tier.reads.withLock({ $0 }) == before { try await Task.sleep(for: .milliseconds(1)) }
        work.cancel()
        await work.value
        #expect(scrub.totals.tierFiles <= 1)
        let next = try self.scrub(tiered.fixture.blobs)
        #expect(try await next.readTier())
        #expect(next.totals.tierFiles + scrub.totals.tierFiles == 3)
    }
}
