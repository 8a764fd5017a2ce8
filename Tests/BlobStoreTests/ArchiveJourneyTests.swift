import Core
import NIOCore
import OrderedStore
import TestSupport
import Testing

@testable import BlobStore

@Suite("Archives that are kept opened, elsewhere") struct ArchiveJourneyTests {
    @Test("a backup has them opened, and what is restored of it reads bit for bit") func backup() async throws {
        let fixture = try Fixture(Fixture.archives)
        let archives = try (0..<3).map { try Fixture.wheel(version: $0) }
        var ids: [BlobID] = []
        for archive in archives { ids.append(try await fixture.store(archive)) }
        for id in ids { try await fixture.openedBytes(id) }
        // One that was made again, and whose opened form is still there.
        _ = try await fixture.read(ids[2])
        fixture.blobs.segments.sealing.drain()
        let place = try TemporaryDirectory()
        _ = try await fixture.blobs.backUp(to: place.file("backup"), keys: try .test(fixture.directory.file("keys"))) { 1 }
        _ = try await BackupRestore.restore(.directory(place.file("backup")), trusting: try .test(), to: place.file("restored"))
        let copy = try TemporaryDirectory()
        try copyTree(place.file("restored/index"), copy.file("index"))
        try copyTree(place.file("restored/store"), copy.file("data"))
        let restored = try Fixture(Fixture.archives, in: copy)
        #expect(try await restored.isOpened(ids[0]))
        #expect(try await !restored.isOpened(ids[2]))
        for (id, archive) in zip(ids, archives) { #expect(try await restored.read(id) == archive) }
        #expect(restored.blobs.rebuildTotals.archives == 2)
    }

    @Test("with their chunks in a tier alone they are made again from there, also by an empty store that takes the tier over") func tier()
        async throws
    {
        var options = TieredFixture.options
        options.segmentBytesMax = 1 << 20
        options.chunkCacheBytesMax = 0
        let tiered = try await TieredFixture(store: options)
        let archives = try (0..<2).map { try Fixture.wheel(version: $0, files: 300) }
        var ids: [BlobID] = []
        for archive in archives { ids.append(try await tiered.fixture.store(archive)) }
        for id in ids { try await tiered.fixture.openedBytes(id) }
        try await tiered.settle()
        try await tiered.storeLast()
        let location = try #require(try await tiered.fixture.blobs.location(of: ids[0]))
        #expect(try tiered.fixture.blobs.hasAwayChunks(ids[0], at: location))
        let lost = try await TieredFixture(bucket: tiered.bucket)
        for each in [tiered, lost] {
            for (id, archive) in zip(ids, archives) { #expect(try await each.fixture.read(id) == archive) }
            #expect(each.fixture.blobs.rebuildTotals.archives == 2)
        }
    }
}
