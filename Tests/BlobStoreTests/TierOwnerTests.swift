import Core
import TestSupport
import Testing

@testable import BlobStore

@Suite("Who works on a tier") struct TierOwnerTests {
    @Test("what names an owner is read back, and what is none is refused")
    func text() throws {
        let owner = TierOwner(directory: World.real.newID(), run: World.real.newID(), seen: Timestamp(milliseconds: 1_700_000_000_123))
        #expect(TierOwner(owner.text) == owner)
        for text in ["", "granary-owner 2\n", String(owner.text.dropLast()), owner.text.replacing("run ", with: "ran ")] {
            #expect(TierOwner(text) == nil)
        }
    }

    @Test("a second data directory is refused, in words, until it takes the tier over")
    func second() async throws {
        let tiered = try await TieredFixture()
        let id = try await tiered.fixture.store(pattern(3_000_000, seed: 1))
        try await tiered.settle()
        let other = try Fixture(TieredFixture.options)
        do {
            try await other.blobs.attach(tiered.tier, TieredFixture.tiering)
            Issue.record("it was not refused")
        } catch {
            #expect(error.code == .invalid)
            #expect(error.reason.contains("in use by another data directory"))
            #expect(error.reason.hasSuffix("take the tier over: granary tier adopt"))
        }
        _ = try await TierAdoption.adopt(tiered.tier, by: other.directory.file("data"), world: .real)
        let fresh = try other.reopened(TieredFixture.options)
        try await fresh.attach(tiered.tier, TieredFixture.tiering)
        #expect(try await fresh.content(of: id)?.length == 3_000_000)
    }

    @Test("who has lost the tier to another copies, lets go and deletes nothing any more, and goes on serving")
    func lost() async throws {
        var options = WriteThroughTests.tiering
        options.diskBytesMax = 1
        let tiered = try await TieredFixture(options)
        let id = try await tiered.fixture.store(pattern(3_000_000, seed: 1))
        let other = try Fixture(TieredFixture.options)
        _ = try await TierAdoption.adopt(tiered.tier, by: other.directory.file("data"), world: .real)
        tiered.fixture.clock.advance(seconds: 40)
        let blobs = tiered.fixture.blobs
        #expect(blobs.ownsTier)
        #expect(await code { try await blobs.workTier() } == .unavailable)
        #expect(!blobs.ownsTier)
        #expect(try tiered.filesOnDisk().count == 1)
        #expect(await code { try await tiered.fixture.store(pattern(5000, seed: 2)) } == .unavailable)
        #expect(try await blobs.sweepTier([], SegmentLiveness(), dryRun: false) == SweepTally())
        #expect(try await tiered.fixture.read(id)?.count == 3_000_000)
    }

    @Test("a restart on the same directory needs nobody's leave, also after a crash")
    func restart() async throws {
        let tiered = try await TieredFixture()
        try await tiered.fixture.store(pattern(5000, seed: 1))
        let again = try tiered.fixture.afterCrash(TieredFixture.options)
        try await again.blobs.attach(tiered.tier, TieredFixture.tiering)
        again.clock.advance(seconds: 40)
        try await again.blobs.workTier()
        #expect(again.blobs.ownsTier)
    }
}
