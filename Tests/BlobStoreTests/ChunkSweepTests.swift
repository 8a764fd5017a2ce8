import Core
import NIOCore
import OrderedStore
import Synchronization
import TestSupport
import Testing

@testable import BlobStore

@Suite("Freeing chunks") struct ChunkSweepTests {
    @Test("what no recipe names goes, what one still names stays; segments follow", arguments: [1 << 19, 3])
    func frees(marksMax: Int) async throws {
        let fixture = try Fixture(Fixture.small)
        let bytes = Fixture.text(4_000_000, seed: 20)
        let (first, second) = (try await fixture.store(bytes), try await fixture.store(Fixture.edited(bytes)))
        _ = try await fixture.cut(first)
        let once = try fixture.chunkRows
        _ = try await fixture.cut(second)
        let both = try fixture.chunkRows
        #expect(try await fixture.blobs.sweepChunks(dryRun: false, marksMax: marksMax).removedChunks == 0)
        try await fixture.remove([first])
        // Chunks of the first alone: around the change, and at the beginning.
        let dry = try await fixture.blobs.sweepChunks(dryRun: true, marksMax: marksMax)
        #expect(dry.removedChunks > 0 && dry.removedChunks < Int64(once) / 2)
        #expect(try fixture.chunkRows == both)
        #expect(try await fixture.blobs.sweepChunks(dryRun: false, marksMax: marksMax) == dry)
        #expect(try fixture.chunkRows == both - Int(dry.removedChunks))
        #expect(try await fixture.read(second) == Fixture.edited(bytes))
        try await fixture.remove([second])
        _ = try await fixture.blobs.sweepChunks(dryRun: false, marksMax: marksMax)
        #expect(try fixture.chunkRows == 0)
        fixture.blobs.segments.sealing.drain()
        _ = try await fixture.sweepSegments()
        // Those that still take records: of chunks, and of recipes.
        #expect(try fixture.segmentFiles().count == 2)
    }

    @Test("who reads a blob in chunks that is removed reads on to its end") func reading() async throws {
        let fixture = try Fixture(Fixture.small)
        let bytes = Fixture.text(3_000_000, seed: 21)
        let id = try await fixture.store(bytes)
        _ = try await fixture.cut(id)
        var content = try await fixture.blobs.content(of: id)
        try await fixture.remove([id])
        #expect(try await fixture.blobs.sweepChunks(dryRun: false).removedChunks == 0)
        #expect(try content?.bytes(at: 0, count: bytes.count) == bytes)
        #expect(try await fixture.blobs.content(of: id) == nil)
        content = nil
        fixture.blobs.mayHaveDeadChunks.store(true, ordering: .relaxed)
        #expect(try await fixture.blobs.sweepChunks(dryRun: false).removedChunks > 0)
    }

    @Test("compaction moves chunks and recipes, checked; blobs and the index follow, also after a crash and in a rebuilt index") func compaction()
        async throws
    {
        let fixture = try Fixture(Fixture.small)
        var kept: [BlobID: [UInt8]] = [:]
        var gone: [BlobID] = []
        for seed in 0..<6 {
            let bytes = Fixture.text(1_400_000, seed: UInt64(30 + seed))
            let id = try await fixture.store(bytes)
            _ = try await fixture.cut(id)
            if seed % 3 == 0 { kept[id] = bytes } else { gone.append(id) }
        }
        try await fixture.remove(gone)
        _ = try await fixture.blobs.sweepChunks(dryRun: false)
        fixture.blobs.segments.sealing.drain()
        var options = Fixture.quick
        options.livePercentMin = 100
        let tally = try await fixture.sweepSegments(options)
        #expect(tally.movedBlobs > 0 && tally.segmentsCompacted > 0 && tally.damagedBlobs == 0)
        for (id, bytes) in kept { #expect(try await fixture.read(id) == bytes) }
        // A crash is one moment; a copy of the files takes longer, and must not see half of what the background writes.
        fixture.blobs.segments.sealing.drain()
        let later = try fixture.afterCrash(Fixture.small)
        later.blobs.segments.sealing.drain()
        try await later.wipeIndex()
        #expect(try await later.blobs.rebuildLocations() >= kept.count)
        for (id, bytes) in kept { #expect(try await later.read(id) == bytes) }
    }

    @Test("a damaged chunk is not moved, and keeps its segment") func damagedChunk() async throws {
        let fixture = try Fixture(Fixture.small)
        let bytes = Fixture.text(2_000_000, seed: 40)
        let id = try await fixture.store(bytes)
        _ = try await fixture.cut(id)
        let recipe = try fixture.blobs.chunked(id, at: try #require(try fixture.locations()[id])).recipe
        let place = try ChunkIndex.place(try #require(try fixture.index.get(ChunkIndex.key(ofChunk: recipe[0].chunk), in: .chunks)))
        _ = try await fixture.store(Fixture.text(2_000_000, seed: 41))
        let later = try fixture.afterCrash(Fixture.small)
        try flip(later.blobs.segments.path(place.segment), at: place.offset + Int64(RecordHeader.bytes) + 100)
        later.blobs.segments.sealing.drain()
        var options = Fixture.quick
        options.livePercentMin = 101
        let tally = try await later.sweepSegments(options)
        #expect(tally.damagedBlobs == 1)
        #expect(try Disk.openExisting(later.blobs.segments.path(place.segment)) != nil)
    }
}

@Suite("Chunks after a crash") struct ChunkRecoveryTests {
    @Test("killed after any commit of a cut, the blob reads, the rest is freed, and the next attempt ends well") func anyCommit() async throws {
        let fixture = try Fixture(Fixture.small)
        let bytes = Fixture.text(3_000_000, seed: 50)
        let id = try await fixture.store(bytes)
        let before = try fixture.afterCrash(Fixture.small)
        _ = try await fixture.cut(id)
        // The states between the commits, made from the two ends: what the cut wrote, with only the first rows of it.
        let rows = try fixture.chunkPairs()
        let final = try #require(try fixture.index.get(id.bytes, in: .blobLocations))
        let old = try #require(try before.index.get(id.bytes, in: .blobLocations))
        for (count, isNamed, hasFile) in [(0, false, true), (rows.count / 2, false, true), (rows.count, false, true), (rows.count, true, true)] {
            let crashed = try fixture.afterCrash(Fixture.small)
            let some = Array(rows.prefix(count))
            try await crashed.index.commit { batch throws(RegistryError) in
                batch.deleteRange(.chunks, from: [], upTo: [0xFF])
                for row in some { batch.put(row.key, row.value, in: .chunks) }
                batch.put(id.bytes, isNamed ? final : old, in: .blobLocations)
            }
            if hasFile {
                try Disk.makeDirectory(crashed.directory.file("data/blobs/\(id.hex.prefix(2))"))
                try copyFile(
                    before.directory.file("data/blobs/\(id.hex.prefix(2))/\(id.hex)"),
                    crashed.directory.file("data/blobs/\(id.hex.prefix(2))/\(id.hex)"))
            }
            let again = try crashed.afterCrash(Fixture.small)
            #expect(try await again.read(id) == bytes)
            if isNamed {
                #expect(try await again.orphans(pinned: [id]).orphans == 1)
            } else {
                #expect(try await again.blobs.sweepChunks(dryRun: true).removedChunks == Int64(count))
                guard case .cut = try await again.cut(id) else {
                    Issue.record("it was left whole")
                    continue
                }
            }
            #expect(try await again.read(id) == bytes)
            #expect(try again.blobFiles() == [])
            try await again.remove([id])
            _ = try await again.blobs.sweepChunks(dryRun: false)
            #expect(try again.chunkRows == 0)
        }
    }

    @Test("locations are made anew from what is on disk: chunks, recipes whose chunks are all there, and of two forms the later") func rebuild()
        async throws
    {
        let fixture = try Fixture(Fixture.small)
        let (one, two) = (Fixture.text(1_500_000, seed: 51), Fixture.text(3_000_000, seed: 52))
        let (first, second) = (try await fixture.store(one), try await fixture.store(two))
        _ = try await fixture.cut(first)
        _ = try await fixture.cut(second)
        let (locations, chunks) = (try fixture.locations(), try fixture.chunkPairs())
        let later = try fixture.afterCrash(Fixture.small)
        // Sealing asks the index which records live: it must not find the wiped one.
        later.blobs.segments.sealing.drain()
        try await later.wipeIndex()
        #expect(try await later.blobs.rebuildLocations() == 2)
        #expect(try later.locations() == locations)
        #expect(try later.chunkPairs() == chunks)
        #expect(try await later.read(first) == one)
        #expect(try await later.read(second) == two)
        // Without one of its chunks a recipe is nothing; the first still lies whole in its segment.
        let torn = try fixture.afterCrash(Fixture.small)
        torn.blobs.segments.sealing.drain()
        for row in chunks {
            let place = try ChunkIndex.place(row.value)
            try flip(torn.blobs.segments.path(place.segment), at: place.offset + 8)
        }
        for number in try Segments.numbers(in: torn.blobs.segments.directory) { try torn.unseal(number) }
        try await torn.wipeIndex()
        #expect(try await torn.blobs.rebuildLocations() == 1)
        #expect(try await torn.read(first) == one)
    }

    @Test("a recipe inside a blob somebody made on purpose is none") func forged() async throws {
        let fixture = try Fixture(Fixture.small)
        let victim = BlobID.zeros
        let chunk = pattern(70_000, seed: 53)
        guard let chunkID = BlobID(Digest.of(.sha256, chunk)) else { return }
        var blob = [UInt8](repeating: 0, count: 64 - 64 % 64)
        for (kind, id, payload) in [
            (RecordHeader.Kind.chunk, chunkID, Array(try chunk.withUnsafeBytes { try unsafe ChunkRecord.encode($0) }.readableBytesView)),
            (.recipe, victim, Recipe(.general, [(chunkID, chunk.count)]).encoded),
        ] {
            let table = payload.withUnsafeBytes { unsafe SliceChecksums.table(of: $0) }
            blob += RecordHeader(kind, segment: 1, length: Int64(payload.count), id: id, table: table).encoded + payload + table
            blob += [UInt8](repeating: 0, count: (64 - blob.count % 64) % 64)
        }
        let id = try await fixture.store(blob)
        let place = try #require(try fixture.locations()[id]?.record)
        let later = try fixture.afterCrash(Fixture.small)
        // The header of the outer record is gone: the inner ones are found by searching.
        try flip(later.blobs.segments.path(place.segment), at: place.offset)
        try await later.wipeIndex()
        try await later.blobs.rebuildLocations()
        #expect(try later.locations()[victim] == nil)
    }
}

@Suite("What blobs take on the disk") struct FootprintTests {
    @Test("a chunk that two blobs have counts once for who has both, and for each who has one; in one round or many", arguments: [1 << 19, 4])
    func footprints(seenMax: Int) async throws {
        let fixture = try Fixture(Fixture.small)
        let bytes = Fixture.text(2_500_000, seed: 60)
        let (first, second) = (try await fixture.store(bytes), try await fixture.store(Fixture.edited(bytes)))
        let whole = try await fixture.store(pattern(100_000, seed: 61))
        guard case .cut = try await fixture.cut(first), case .cut = try await fixture.cut(second) else {
            Issue.record("they were left whole")
            return
        }
        let count = try fixture.blobs.footprintCount(owners: 4, seenMax: seenMax)
        #expect(count.rounds == (seenMax == 4 ? try fixture.chunkRows / 4 + 1 : 1))
        for round in 0..<count.rounds {
            count.begin(round: round)
            try await count.count([(first, [0, 2]), (second, [1, 2]), (whole, [2, 3]), (BlobID.zeros, [3])], round: round)
        }
        let (one, other, all, rest) = (count.footprints[0], count.footprints[1], count.footprints[2], count.footprints[3])
        #expect(one.blobs == 1 && one.bytes == 2_500_000 && one.storedBytes < 1_500_000)
        #expect(rest.blobs == 1 && rest.bytes == 100_000 && rest.storedBytes == RecordHeader.footprint(length: 100_000))
        #expect(all.blobs == 3 && all.bytes == one.bytes + other.bytes + rest.bytes)
        #expect(all.storedBytes < one.storedBytes + rest.storedBytes + 300_000)
        let chunks = try fixture.chunkPairs().reduce(0) { try $0 + RecordHeader.footprint(length: ChunkIndex.place($1.value).length) }
        let recipes = try [first, second].reduce(0) { try $0 + RecordHeader.footprint(length: fixture.locations()[$1]?.record?.length ?? 0) }
        #expect(all.storedBytes == chunks + recipes + rest.storedBytes)
    }
}

extension Fixture {
    struct Pair: Hashable, Sendable {
        let key: [UInt8]
        let value: [UInt8]
    }

    func chunkPairs() throws -> [Pair] {
        var pairs: [Pair] = []
        try index.scan(.chunks, from: [ChunkIndex.chunk], upTo: [ChunkIndex.chunk + 1]) { key, value in
            pairs.append(Pair(key: key, value: value))
            return true
        }
        return pairs
    }

    func wipeIndex() async throws {
        try await index.commit { batch throws(RegistryError) in
            batch.deleteRange(.blobLocations, from: [], upTo: [UInt8](repeating: 0xFF, count: 33))
            batch.deleteRange(.chunks, from: [], upTo: [0xFF])
        }
    }

    /// Damages the end of a sealed segment, so that it is read by its headers.
    func unseal(_ number: UInt64) throws {
        let path = blobs.segments.path(number)
        guard let file = try Disk.openExisting(path) else { return }
        let size = try Disk.status(of: file).size
        if try SegmentIndex.trailer(of: file, number: number) != nil { try flip(path, at: size - 64) }
    }
}

func copyFile(_ source: String, _ target: String) throws {
    let (from, to) = (try Disk.open(source, 0), try Disk.open(target, 0o102))
    var done: Int64 = 0
    while case let slice = try Disk.read(from, at: done, count: 1 << 20), !slice.isEmpty {
        try Disk.write(slice, to: to, at: done)
        done += Int64(slice.count)
    }
}
