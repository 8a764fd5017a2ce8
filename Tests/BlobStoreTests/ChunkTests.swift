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
    /// Segments of 1 MiB, and own files from 2 MiB on.
    static var small: BlobStore.Options {
        var options = Fixture.options
        options.segmentBytesMax = 1 << 20
        options.ownFileBytesMin = 2 << 20
        return options
    }

    var quickPace: Pace { Pace(bytesPerSecond: 0, world: clock.world) }

    func cut(_ id: BlobID, as profile: ChunkProfile = .general) async throws -> Chunking { try await blobs.cut(id, as: profile, pace: quickPace) }

    var chunkRows: Int {
        get throws {
            var count = 0
            try index.scan(.chunks, from: [ChunkIndex.chunk], upTo: [ChunkIndex.chunk + 1]) { _, _ in
                count += 1
                return true
            }
            return count
        }
    }

    func blobFiles() throws -> [String] { try files().keys.filter { $0.hasPrefix("/blobs/") } }

    /// Compressible, and like nothing else with another seed.
    static func text(_ count: Int, seed: UInt64) -> [UInt8] {
        let words = pattern(count / 4 + 1, seed: seed)
        return (0..<count).map { UInt8(97 + words[$0 / 4] % 16) }
    }

    /// The bytes with some changed in the middle, and some more at the beginning.
    static func edited(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        bytes.insert(contentsOf: Array("a new beginning".utf8), at: 0)
        bytes[bytes.count / 2] ^= 0xFF
        return bytes
    }
}

@Suite("Blobs in chunks") struct ChunkTests {
    @Test("what saves space is kept in chunks and reads as before: whole, in ranges, by slices, after a restart", arguments: [1_200_000, 3_000_000])
    func readsAsBefore(length: Int) async throws {
        let fixture = try Fixture(Fixture.small)
        let bytes = Fixture.text(length, seed: 1)
        let id = try await fixture.store(bytes)
        #expect(try fixture.blobFiles().count == (length > 2 << 20 ? 1 : 0))
        guard case .cut(let newBytes) = try await fixture.cut(id) else {
            Issue.record("it was left whole")
            return
        }
        #expect(newBytes < Int64(length) * 9 / 10)
        #expect(try fixture.blobFiles() == [])
        #expect(try await fixture.cut(id) == .passedOver)
        let later = try fixture.afterCrash(Fixture.small)
        for store in [fixture.blobs, try fixture.reopened(Fixture.small), later.blobs] {
            let content = try #require(try await store.content(of: id))
            #expect(content.length == Int64(length))
            #expect(try content.bytes(at: 0, count: length + 1) == bytes)
            for range in [0..<1, 65_000..<66_000, 1_000_000..<length, length - 1..<length] {
                #expect(try content.bytes(at: Int64(range.lowerBound), count: range.count) == Array(bytes[range]))
            }
            guard case .streamed(let streamed) = content.storage else {
                Issue.record("it is not in chunks")
                return
            }
            for range in [0..<Int64(length), 70_000..<300_000] {
                let body = streamed.body(of: range)
                var read: [UInt8] = []
                while let slice = try await body.next() { read.append(contentsOf: slice.readableBytesView) }
                #expect(read == Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
            }
        }
    }

    @Test("of a second version only what differs is written") func secondVersion() async throws {
        let fixture = try Fixture(Fixture.small)
        let bytes = pattern(3_000_000, seed: 2) + Fixture.text(3_000_000, seed: 2)
        let first = try await fixture.store(bytes)
        let second = try await fixture.store(Fixture.edited(bytes))
        guard case .cut(let once) = try await fixture.cut(first), case .cut(let twice) = try await fixture.cut(second) else {
            Issue.record("they were left whole")
            return
        }
        #expect(twice < once / 10)
        #expect(try await fixture.read(first) == bytes)
        #expect(try await fixture.read(second) == Fixture.edited(bytes))
    }

    @Test("what saves nothing stays as it is, and nobody looks again; nothing of the attempt is left but dead space") func saveNothing() async throws
    {
        let fixture = try Fixture(Fixture.small)
        let bytes = pattern(3_000_000, seed: 3)
        let id = try await fixture.store(bytes)
        let before = try fixture.files()
        #expect(try await fixture.cut(id) == .keptWhole)
        #expect(try fixture.files() == before && fixture.chunkRows == 0)
        var looked: [BlobID] = []
        try await fixture.blobs.forEachUncut { looked.append($0) }
        #expect(looked == [])
        try await fixture.remove([id])
        try await fixture.blobs.removeStaleNotes()
        try await fixture.store(bytes)
        try await fixture.blobs.forEachUncut { looked.append($0) }
        #expect(looked == [id])
    }

    @Test(
        "archives compressed as a whole, and what is short, are passed over",
        arguments: [[0x1F, 0x8B, 8], Array("PK".utf8) + [3, 4], Array("BZh9".utf8)])
    func archives(magic: [UInt8]) async throws {
        let fixture = try Fixture(Fixture.small)
        let archive = try await fixture.store(magic + Fixture.text(1_500_000, seed: 4))
        #expect(try await fixture.cut(archive) == .keptWhole)
        let short = try await fixture.store(Fixture.text(1 << 20 - 1, seed: 5))
        #expect(try await fixture.cut(short) == .passedOver)
        let cached = try await fixture.store(Fixture.text(2 << 20, seed: 6))
        #expect(try await fixture.cut(cached, as: .buildCache) == .passedOver)
    }

    @Test("of two versions that save nothing by themselves, the second has both cut; what is like nothing stays whole") func kin() async throws {
        let fixture = try Fixture(Fixture.small)
        let bytes = pattern(6_000_000, seed: 14)
        let (first, other) = (try await fixture.store(bytes), try await fixture.store(pattern(6_000_000, seed: 15)))
        #expect(try await fixture.cut(first) == .keptWhole)
        #expect(try await fixture.cut(other) == .keptWhole)
        let second = try await fixture.store(Fixture.edited(bytes))
        guard case .cut(let newBytes) = try await fixture.cut(second) else {
            Issue.record("it was left whole")
            return
        }
        #expect(newBytes < 600_000)
        #expect(try fixture.locations()[first]?.isWhole == false)
        #expect(try fixture.locations()[other]?.isWhole == true)
        #expect(try await fixture.read(first) == bytes)
        #expect(try await fixture.read(second) == Fixture.edited(bytes))
        #expect(try fixture.blobFiles().count == 1)
        try await fixture.blobs.removeStaleNotes()
        var kin: Set<BlobID> = []
        try fixture.index.scan(.chunks, from: [ChunkIndex.kinship], upTo: nil) { _, row throws(RegistryError) in
            kin.insert(try ChunkIndex.kin(row))
            return true
        }
        #expect(kin == [other])
    }

    @Test("a build cache's blobs are cut by their own profile") func profiles() async throws {
        let fixture = try Fixture(Fixture.small)
        let bytes = Fixture.text(6_000_000, seed: 7)
        let id = try await fixture.store(bytes)
        guard case .cut = try await fixture.cut(id, as: .buildCache) else {
            Issue.record("it was left whole")
            return
        }
        #expect(try fixture.chunkRows < 20)
        #expect(try await fixture.read(id) == bytes)
    }

    @Test("the chunker takes what was committed, and what an earlier run left") func chunker() async throws {
        let fixture = try Fixture(Fixture.small)
        var options = ChunkerOptions()
        options.bytesPerSecondMax = 0
        let id = try await fixture.store(Fixture.text(1_500_000, seed: 8))
        let later = try fixture.afterCrash(Fixture.small)
        for world in [fixture, later] {
            let chunker = Chunker(blobs: world.blobs, options: options)
            await chunker.runOnce()
            #expect(chunker.totals.cutBlobs == 1 && chunker.totals.cutBytes == 1_500_000 && chunker.totals.failures == 0)
            #expect(try world.locations()[id]?.isWhole == false)
        }
    }

    @Test("staged bytes of a blob that is being cut stay good; the same bytes pushed again share the chunks") func pushedAgain() async throws {
        let fixture = try Fixture(Fixture.small)
        let bytes = Fixture.text(3_000_000, seed: 9)
        let id = try await fixture.store(bytes)
        let held = try #require(try await fixture.blobs.staged(id))
        guard case .cut = try await fixture.cut(id) else {
            Issue.record("it was left whole")
            return
        }
        #expect(try held.content().bytes(at: 0, count: bytes.count) == bytes)
        // Held by somebody: the file is for the sweep.
        #expect(try fixture.blobFiles().count == 1)
        let again = try await fixture.stage(bytes)
        #expect(again.location == nil)
        #expect(try await fixture.orphans(pinned: [id]) == SweepTally())
        _ = (held, again)
        let free = try fixture.afterCrash(Fixture.small)
        #expect(try await free.orphans(pinned: [id]).orphans == 1)
        #expect(try free.blobFiles() == [])
        #expect(try await free.read(id) == bytes)
    }
}

@Suite("Damaged chunks") struct ChunkDamageTests {
    /// Flips a byte inside the first chunk record of a segment.
    private func damage(_ fixture: Fixture, _ chunk: BlobID) throws {
        let row = try #require(try fixture.index.get(ChunkIndex.key(ofChunk: chunk), in: .chunks))
        let place = try ChunkIndex.place(row)
        try flip(fixture.blobs.segments.path(place.segment), at: place.offset + Int64(RecordHeader.bytes) + place.length / 2)
    }

    private func recipe(_ fixture: Fixture, _ id: BlobID) throws -> Recipe {
        try fixture.blobs.chunked(id, at: try #require(try fixture.locations()[id])).recipe
    }

    @Test("a damaged chunk is found when it is read, whole bytes before it are given, pushing the same bytes again heals this blob and others")
    func damagedChunk() async throws {
        let fixture = try Fixture(Fixture.small)
        let bytes = Fixture.text(1_500_000, seed: 10)
        let (one, other) = (try await fixture.store(bytes), try await fixture.store(Fixture.edited(bytes)))
        _ = try await fixture.cut(one)
        _ = try await fixture.cut(other)
        let recipe = try recipe(fixture, one)
        let last = recipe[recipe.count - 1]
        try damage(fixture, last.chunk)
        let later = try fixture.afterCrash(Fixture.small)
        let content = try #require(try await later.blobs.content(of: one))
        #expect(try content.bytes(at: 0, count: Int(last.start)) == Array(bytes[..<Int(last.start)]))
        #expect(await code { _ = try content.bytes(at: last.start, count: 1) } == .corrupt)
        #expect(await code { _ = try await later.blobs.staged(one) } == .corrupt)
        try await later.store(bytes)
        #expect(try later.locations()[one]?.isWhole == true)
        #expect(try await later.read(one) == bytes)
        #expect(await code { _ = try await later.read(other) } == .corrupt)
        // Cut anew, it finds the damaged chunk and writes it again.
        guard case .cut = try await later.cut(one) else {
            Issue.record("it was left whole")
            return
        }
        #expect(try await later.read(one) == bytes)
        #expect(try await later.read(other) == Fixture.edited(bytes))
    }

    @Test("a damaged recipe names its blob, and no chunk is freed while it is there") func damagedRecipe() async throws {
        let fixture = try Fixture(Fixture.small)
        let (kept, gone) = (Fixture.text(1_500_000, seed: 11), Fixture.text(1_500_000, seed: 12))
        let (id, dead) = (try await fixture.store(kept), try await fixture.store(gone))
        _ = try await fixture.cut(id)
        _ = try await fixture.cut(dead)
        let place = try #require(try fixture.locations()[id]?.record)
        try flip(fixture.blobs.segments.path(place.segment), at: place.offset + Int64(RecordHeader.bytes) + 20)
        let later = try fixture.afterCrash(Fixture.small)
        #expect(await code { _ = try await later.read(id) } == .corrupt)
        try await later.remove([dead])
        let rows = try later.chunkRows
        let tally = try await later.blobs.sweepChunks(dryRun: false)
        #expect(tally.damagedBlobs == 1 && tally.removedChunks == 0)
        #expect(try later.chunkRows == rows)
        try await later.store(kept)
        #expect(try await later.read(id) == kept)
        #expect(try await later.blobs.sweepChunks(dryRun: true).removedChunks == Int64(rows))
    }

    @Test("rows, records and recipes that are not what they should be are refused") func decoding() throws {
        let chunks = [(id: BlobID.zeros, length: 70_000), (id: BlobID.zeros, length: 5)]
        let recipe = Recipe(.general, chunks)
        #expect(recipe.length == 70_005 && recipe.index(at: 69_999) == 0 && recipe.index(at: 70_000) == 1 && recipe.index(at: 70_004) == 1)
        #expect(try Recipe(recipe.encoded)[1] == recipe[1])
        for index in [0, 1, 7, 15, recipe.encoded.count - 1] {
            var bytes = recipe.encoded
            bytes[index] ^= 0x81
            #expect(throws: RegistryError.self) { try Recipe(bytes) }
        }
        #expect(throws: RegistryError.self) { try Recipe(Array(recipe.encoded.dropLast())) }
        let text = Fixture.text(50_000, seed: 1)
        let record = Array(try text.withUnsafeBytes { try unsafe ChunkRecord.encode($0) }.readableBytesView)
        #expect(record.count < 40_000)
        #expect(try record.withUnsafeBytes { try unsafe ChunkRecord.decode($0) } == ByteBuffer(bytes: text))
        for index in [0, 1, 5, 7] {
            var bytes = record
            bytes[index] ^= 0x41
            #expect(throws: RegistryError.self) { try bytes.withUnsafeBytes { try unsafe ChunkRecord.decode($0) } }
        }
        let location = BlobLocation(.recipe(7, offset: 128, bytes: 4000), length: 5 << 20)
        #expect(try BlobLocation(location.encoded) == location)
        #expect(throws: RegistryError.self) { try BlobLocation([1] + location.encoded.dropFirst()) }
        let place = BlobLocation.RecordPlace(segment: 3, offset: 64, length: 900)
        #expect(try ChunkIndex.place(ChunkIndex.row(place)) == place)
        #expect(throws: RegistryError.self) { try ChunkIndex.place(ChunkIndex.row(place) + [0]) }
    }
}
