import Core
import NIOCore
import OrderedStore
import TestSupport
import Testing

@testable import BlobStore

#if canImport(Glibc)
    import Glibc
#endif

extension Fixture {
    /// As `small`, and short archives may be opened.
    static var archives: BlobStore.Options {
        var options = Fixture.small
        options.archives.archiveBytesMin = 70_000
        return options
    }

    func open(_ id: BlobID) async throws -> Chunking { try await blobs.open(archive: id, pace: quickPace) }

    /// Opened for certain.
    @discardableResult
    func openedBytes(_ id: BlobID) async throws -> Int64 {
        guard case .cut(let newBytes) = try await open(id) else {
            Issue.record("it stayed closed")
            return 0
        }
        return newBytes
    }

    func isOpened(_ id: BlobID) async throws -> Bool {
        guard let location = try await blobs.location(of: id) else { return false }
        return try await blobs.openedArchive(id, at: location) != nil
    }

    func keeper(coldSeconds: Int64) -> ArchiveKeeper {
        var options = ArchiveOptions()
        (options.coldSeconds, options.bytesPerSecondMax) = (coldSeconds, 0)
        return ArchiveKeeper(blobs: blobs, options: options)
    }

    /// A wheel of so many text files that begin alike, of which each version changes the first.
    static func wheel(version: Int, files: Int = 100, seed: UInt64 = 1) throws -> [UInt8] {
        let license = Fixture.text(4000, seed: 0)
        let members = (0..<files).map { index in
            let own = index == 0 ? seed + UInt64(100_000 + version) : seed + UInt64(index)
            return ArchiveMaker.Member(
                name: "package/\(index).py", bytes: license + Fixture.text(3000, seed: own), settings: DeflateSettings.all[0])
        }
        return try ArchiveMaker.zip(members + [ArchiveMaker.Member(name: "package/RECORD", bytes: Fixture.text(500, seed: UInt64(version)))])
    }
}

@Suite("Archives that are kept opened") struct ArchiveTests {
    @Test("versions share what is in them, and each reads bit for bit, whole, in ranges and after a crash; the first reader makes it again for all")
    func shares() async throws {
        let fixture = try Fixture(Fixture.archives)
        let archives = try (0..<4).map { try Fixture.wheel(version: $0) }
        var ids: [BlobID] = []
        for archive in archives { ids.append(try await fixture.store(archive)) }
        let first = try await fixture.openedBytes(ids[0])
        for id in ids.dropFirst() { #expect(try await fixture.openedBytes(id) < first / 3) }
        #expect(try await fixture.open(ids[0]) == .passedOver)
        #expect(try await fixture.cut(ids[0]) == .passedOver)
        let later = try fixture.afterCrash(Fixture.archives)
        for each in [fixture, later] {
            for (id, archive) in zip(ids, archives) {
                #expect(try await each.isOpened(id))
                #expect(try await each.blobs.lengthAlone(of: id)?.length == Int64(archive.count))
                let content = try #require(try await each.blobs.content(of: id))
                #expect(try content.bytes(at: 70_001, count: 5000) == Array(archive[70_001..<75_001]))
                #expect(try await each.read(id) == archive)
                #expect(try await !each.isOpened(id))
            }
            #expect(each.blobs.rebuildTotals.archives == 4)
            #expect(each.blobs.rebuildTotals.bytes == archives.reduce(0) { $0 + Int64($1.count) })
        }
        // And opened again it costs nothing new but a recipe.
        #expect(try await fixture.openedBytes(ids[1]) < 4000)
        #expect(try await fixture.read(ids[1]) == archives[1])
    }

    @Test("of two archives that save nothing by themselves the second has both opened, but not while somebody reads the first")
    func kin() async throws {
        let fixture = try Fixture(Fixture.archives)
        let bytes = pattern(6_000_000, seed: 14)
        let archives = try [bytes, pattern(6_000_000, seed: 15), Fixture.edited(bytes)].map { try ArchiveMaker.gzip($0, DeflateSettings.all[0]) }
        var ids: [BlobID] = []
        for archive in archives { ids.append(try await fixture.store(archive)) }
        #expect(try await fixture.open(ids[0]) == .keptWhole)
        #expect(try await fixture.open(ids[1]) == .keptWhole)
        fixture.blobs.reads.mark(ids[0])
        #expect(try await fixture.blobs.open(archive: ids[2], pace: fixture.quickPace, sparing: fixture.blobs.reads.take()) == .passedOver)
        #expect(try await !fixture.isOpened(ids[0]))
        #expect(try await fixture.openedBytes(ids[2]) < 600_000)
        for (id, isOpened) in zip(ids, [true, false, true]) { #expect(try await fixture.isOpened(id) == isOpened) }
        #expect(try fixture.blobFiles().count == 1)
        for (id, archive) in zip(ids, archives) { #expect(try await fixture.read(id) == archive) }
    }

    @Test("an archive in a file of its own leaves that file, and comes back to it") func ownFile() async throws {
        let fixture = try Fixture(Fixture.archives)
        let archive = try Fixture.wheel(version: 1, files: 1600)
        #expect(archive.count > 2 << 20)
        let id = try await fixture.store(archive)
        #expect(try fixture.blobFiles().count == 1)
        try await fixture.openedBytes(id)
        #expect(try fixture.blobFiles() == [])
        #expect(try await fixture.blobs.whereabouts(of: id).place?.hasPrefix("opened, in chunks") == true)
        #expect(try await fixture.read(id) == archive)
        #expect(try fixture.blobFiles().count == 1)
        #expect(try await fixture.blobs.whereabouts(of: id).place == "a file of its own")
    }

    @Test("fifty readers at once have one made, and all have its bytes") func crowd() async throws {
        let fixture = try Fixture(Fixture.archives)
        let archive = try Fixture.wheel(version: 1)
        let id = try await fixture.store(archive)
        try await fixture.openedBytes(id)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<50 {
                group.addTask {
                    let content = try #require(try await fixture.blobs.content(of: id))
                    let start = index * 1000
                    return try content.bytes(at: Int64(start), count: 3000) == Array(archive[start..<start + 3000])
                }
            }
            for try await isRight in group { #expect(isRight) }
        }
        #expect(fixture.blobs.rebuildTotals.archives == 1)
        #expect(fixture.blobs.leases.count == 0)
    }

    @Test("the same bytes pushed again lie whole again; naming them without bytes makes them again") func pushedAgain() async throws {
        let fixture = try Fixture(Fixture.archives)
        let archive = try Fixture.wheel(version: 1)
        let id = try await fixture.store(archive)
        try await fixture.openedBytes(id)
        #expect(try await fixture.store(archive) == id)
        #expect(try await !fixture.isOpened(id))
        #expect(fixture.blobs.rebuildTotals.archives == 0)
        #expect(try await fixture.read(id) == archive)
        try await fixture.openedBytes(id)
        let staged = try #require(try await fixture.blobs.staged(id))
        try await fixture.commit([staged])
        #expect(fixture.blobs.rebuildTotals.archives == 1)
        #expect(try await fixture.read(id) == archive)
    }

    @Test("the sweep frees the chunks of an archive that is gone or whole again, and none that another needs") func sweeping() async throws {
        let fixture = try Fixture(Fixture.archives)
        let archives = try (0..<2).map { try Fixture.wheel(version: $0) }
        let (one, other) = (try await fixture.store(archives[0]), try await fixture.store(archives[1]))
        try await fixture.openedBytes(one)
        try await fixture.openedBytes(other)
        let both = try fixture.chunkRows
        #expect(try await fixture.blobs.sweepChunks(dryRun: false).removedChunks == 0)
        try await fixture.remove([one])
        let removed = try await fixture.blobs.sweepChunks(dryRun: false).removedChunks
        #expect(removed > 0 && removed < Int64(both) / 2)
        let opened = try #require(try await fixture.blobs.location(of: other))
        var reader = try await fixture.blobs.openedArchive(other, at: opened)
        #expect(reader != nil)
        #expect(try await fixture.read(other) == archives[1])
        // It is whole now, and somebody reads on in the recipe.
        fixture.blobs.recipes.removeAll()
        _ = try await fixture.blobs.sweepChunks(dryRun: false)
        withExtendedLifetime(reader) {}
        #expect(try fixture.chunkRows > 0)
        reader = nil
        // Who made it whole does so for a moment, too.
        for _ in 0..<1000 where try fixture.chunkRows > 0 { _ = try await fixture.blobs.sweepChunks(dryRun: false) }
        #expect(try fixture.chunkRows == 0)
        #expect(try await fixture.read(other) == archives[1])
    }

    @Test("locations made anew know archives that were opened, sealed and unsealed; compaction moves them") func rebuilding() async throws {
        let fixture = try Fixture(Fixture.archives)
        var kept: [BlobID: [UInt8]] = [:]
        for version in 0..<4 {
            let archive = try Fixture.wheel(version: version, seed: UInt64(version / 2 * 5000))
            let id = try await fixture.store(archive)
            try await fixture.openedBytes(id)
            if version % 2 == 0 { kept[id] = archive } else { try await fixture.remove([id]) }
        }
        _ = try await fixture.blobs.sweepChunks(dryRun: false)
        fixture.blobs.segments.sealing.drain()
        var options = Fixture.quick
        options.livePercentMin = 100
        #expect(try await fixture.sweepSegments(options).damagedBlobs == 0)
        fixture.blobs.segments.sealing.drain()
        let later = try fixture.afterCrash(Fixture.archives)
        later.blobs.segments.sealing.drain()
        // Whole copies may still lie in segments: what counts is the later record.
        try await later.wipeIndex()
        #expect(try await later.blobs.rebuildLocations() >= kept.count)
        for (id, archive) in kept {
            #expect(try await later.isOpened(id))
            #expect(try await later.read(id) == archive)
        }
        for id in kept.keys { #expect(try await fixture.isOpened(id)) }
    }

    @Test("a check reads an archive by making it again, the scrub its chunks; damage of a chunk is found by both, and never served") func damage()
        async throws
    {
        let fixture = try Fixture(Fixture.archives)
        let archive = try Fixture.wheel(version: 1)
        let id = try await fixture.store(archive)
        try await fixture.openedBytes(id)
        let location = try #require(try await fixture.blobs.location(of: id))
        try fixture.blobs.verifyWhole(id, at: location)
        try fixture.blobs.verifyWhole(id, at: location, isRebuilding: false)
        var places: [BlobLocation.RecordPlace] = []
        _ = try fixture.blobs.chunkRows(after: nil, limit: .max) { _, place in places.append(place) }
        let place = try #require(places.last)
        try flip(fixture.blobs.segments.path(place.segment), at: place.offset + 64 + place.length / 2)
        for isRebuilding in [true, false] {
            #expect(await code { try fixture.blobs.verifyWhole(id, at: location, isRebuilding: isRebuilding) } == .corrupt)
        }
        fixture.blobs.chunkCache.removeAll()
        #expect(await code { _ = try await fixture.read(id) } == .corrupt)
        #expect(await fixture.blobs.damagedBlobs().map(\.blob) == [id])
        #expect(try await fixture.store(archive) == id)
        #expect(try await fixture.read(id) == archive)
        #expect(await fixture.blobs.damagedBlobs() == [])
        // The next version finds the damaged chunk, and writes it again.
        let next = try await fixture.store(try Fixture.wheel(version: 2))
        try await fixture.openedBytes(next)
        #expect(try await fixture.read(next) == Fixture.wheel(version: 2))
    }

    @Test("what is no archive, or saves nothing, stays closed and is not looked at again; a damaged one is not touched") func staysClosed()
        async throws
    {
        let fixture = try Fixture(Fixture.archives)
        let noise = try ArchiveMaker.zip([ArchiveMaker.Member(name: "a", bytes: pattern(300_000, seed: 1), settings: DeflateSettings.all[0])])
        let plain = try await fixture.store(Fixture.text(300_000, seed: 1))
        let closed = try await fixture.store(noise)
        let damaged = try await fixture.store(try Fixture.wheel(version: 1))
        let location = try #require(try await fixture.blobs.location(of: damaged))
        try flip(fixture.blobs.segments.path(try #require(location.record).segment), at: location.firstByte + 1000)
        let reopened = try fixture.reopened(Fixture.archives)
        let keeper = ArchiveKeeper(
            blobs: reopened,
            options: {
                var options = ArchiveOptions()
                (options.coldSeconds, options.bytesPerSecondMax) = (0, 0)
                return options
            }())
        await keeper.runOnce()
        #expect(keeper.totals.openedBlobs == 0 && keeper.totals.closedBlobs == 1 && keeper.totals.failures == 1)
        await keeper.runOnce()
        #expect(keeper.totals.closedBlobs == 1 && keeper.totals.failures == 2)
        for id in [plain, closed] { #expect(try await reopened.location(of: id)?.isWhole == true) }
        try await fixture.remove([closed])
        try await fixture.blobs.removeStaleNotes()
        #expect(try fixture.index.get(ChunkIndex.key(ofArchive: closed), in: .chunks) == nil)
        #expect(try fixture.index.get(ChunkIndex.key(ofArchive: plain), in: .chunks) == ArchiveWatch.closed.encoded)
    }

    @Test("an archive is opened when nobody has read it for the time set, also over restarts, and again when that has passed again")
    func cold() async throws {
        let fixture = try Fixture(Fixture.archives)
        let archive = try Fixture.wheel(version: 1)
        let id = try await fixture.store(archive)
        let day: Int64 = 24 * 3600
        let keeper = fixture.keeper(coldSeconds: 7 * day)
        await keeper.runOnce()
        fixture.clock.advance(seconds: 6 * day)
        _ = try await fixture.read(id)
        await keeper.runOnce()
        fixture.clock.advance(seconds: 6 * day)
        await keeper.runOnce()
        #expect(try await !fixture.isOpened(id))
        // A restart forgets nothing that was noted. From here on the files are the new store's alone.
        let later = try fixture.reopened(Fixture.archives)
        let again = ArchiveKeeper(blobs: later, options: keeper.options)
        fixture.clock.advance(seconds: day)
        await again.runOnce()
        #expect(try await later.location(of: id)?.isWhole == false)
        let content = try #require(try await later.content(of: id))
        #expect(try await fixture.bytes(of: content, count: archive.count) == archive)
        fixture.clock.advance(seconds: 6 * day)
        await again.runOnce()
        #expect(try await later.location(of: id)?.isWhole == true)
        fixture.clock.advance(seconds: 7 * day)
        await again.runOnce()
        #expect(try await later.location(of: id)?.isWhole == false)
    }

    @Test("too many to be made again at once are sent away for a while") func tooMany() async throws {
        let rebuilds = Rebuilds()
        let ids = try (0...BlobStore.rebuildsMax).map { try #require(BlobID(Digest.of(.sha256, "\($0)".utf8))) }
        let gate = Turn()
        await gate.begin()
        await withTaskGroup(of: Void.self) { group in
            for id in ids.dropFirst() {
                group.addTask {
                    try? await rebuilds.run(id) { () async throws(RegistryError) in
                        await gate.begin()
                        gate.end()
                    }
                }
            }
            while rebuilds.underWay < BlobStore.rebuildsMax { await Task.yield() }
            #expect(await code { try await rebuilds.run(ids[0]) { () async throws(RegistryError) in } } == .unavailable)
            gate.end()
        }
        #expect(rebuilds.totals.refused == 1 && rebuilds.underWay == 0)
    }
}
