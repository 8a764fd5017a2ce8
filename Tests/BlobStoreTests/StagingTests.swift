import Core
import NIOCore
import OrderedStore
import TestSupport
import Testing

@testable import BlobStore

@Suite("Staging and reading") struct StagingTests {
    static let lengths = [
        0, 1, 63, 64, 65, 65_535, 65_536, 65_537, 1_048_575, 1_048_576, 1_048_577, 8_388_607, 8_388_608, 8_388_609, 20 << 20,
    ]

    @Test("bytes come back as they went in, at every border of size, announced or not, before and after a crash", arguments: lengths)
    func roundTrip(length: Int) async throws {
        for announced in [true, false] {
            let fixture = try Fixture()
            let bytes = pattern(length, seed: UInt64(length) * 2 + (announced ? 1 : 0))
            let staged = try await fixture.stage(bytes, announced: announced)
            #expect(staged.id.digest == Digest.of(.sha256, bytes))
            #expect(staged.size == Int64(length))
            #expect(try staged.content().bytes(at: 0, count: length) == bytes)
            #expect(try await fixture.read(staged.id) == nil)
            try await fixture.commit([staged])
            #expect(try await fixture.read(staged.id) == bytes)
            #expect(try await atHand(staged.id, in: fixture)?.bytes(at: 0, count: length) == bytes)
            let later = try fixture.afterCrash()
            #expect(try await later.read(staged.id) == bytes)
        }
    }

    /// What was read a moment ago is answered from memory, unless the kernel took its pages back meanwhile: then another read brings them.
    private func atHand(_ id: BlobID, in fixture: Fixture) async throws -> BlobContent? {
        for _ in 0..<20 {
            if case .found(let content) = try fixture.blobs.cachedContent(of: id) { return content }
            _ = try await fixture.read(id)
        }
        return nil
    }

    @Test("small blobs share a segment, medium ones of known length too, large ones have files of their own")
    func places() async throws {
        let fixture = try Fixture()
        var found: [Int: BlobLocation.Place] = [:]
        for (length, announced) in [(10, true), (100_000, true), (1 << 20, false), (1 << 20 + 1, false), (8 << 20, true)] {
            let id = try await fixture.store(pattern(length, seed: 7), announced: announced)
            found[length] = try fixture.locations()[id]?.place
        }
        let first: Int64 = 64
        let second = first + RecordHeader.footprint(length: 10)
        let third = second + RecordHeader.footprint(length: 100_000)
        #expect(
            found == [
                10: .segment(1, offset: first), 100_000: .segment(1, offset: second), 1 << 20: .segment(1, offset: third),
                1 << 20 + 1: .ownFile, 8 << 20: .ownFile,
            ])
    }

    @Test("every digest asked for is that of the whole, SHA-256 first, whatever the slices")
    func digests() async throws {
        let fixture = try Fixture()
        let bytes = pattern(300_001, seed: 3)
        let staged = try await fixture.stage(bytes, digests: .all, sliceBytes: 7_777)
        #expect(staged.digests == DigestSet.all.algorithms.map { Digest.of($0, bytes) })
        #expect(staged.digest(.md5) == Digest.of(.md5, bytes))
    }

    @Test(
        "what is stored already is written and synced as new bytes are, then given up: no row, no file, nothing held",
        arguments: [200_000, 9 << 20])
    func deduplicated(length: Int) async throws {
        let fixture = try Fixture()
        let bytes = pattern(length, seed: 5)
        try await fixture.store(bytes)
        let before = try fixture.files()
        for announced in [true, false] {
            let again = try await fixture.stage(bytes, announced: announced)
            // What a commit waits for does not tell whether somebody has the bytes.
            #expect(again.unsynced.count == 1)
            #expect(again.location == nil)
            #expect(try again.content().bytes(at: 0, count: length) == bytes)
            try await fixture.commit([again])
        }
        #expect(try fixture.files().keys.sorted() == before.keys.sorted())
        #expect(fixture.blobs.statistics.blobsWritten == 1)
        #expect(fixture.blobs.statistics.leases == 0)
        #expect(try fixture.locations().count == 1)
        #expect(try await fixture.read(try #require(BlobID(Digest.of(.sha256, bytes)))) == bytes)
    }

    @Test("small bytes that are stored already get a record as new ones do, where the blob lies from then on, unless they are given up")
    func storedAnew() async throws {
        let fixture = try Fixture()
        let bytes = pattern(100, seed: 5)
        let id = try await fixture.store(bytes)
        let first = try #require(try fixture.locations()[id])
        var again: (any StagedBytes)? = try await fixture.stage(bytes)
        #expect(again?.unsynced.count == 1)
        #expect(again?.location != nil)
        again = nil
        #expect(try fixture.locations() == [id: first])
        try await fixture.commit([try await fixture.stage(bytes, announced: false)])
        #expect(try fixture.locations().count == 1)
        #expect(try fixture.locations()[id] != first)
        #expect(fixture.blobs.statistics.leases == 0)
        #expect(try await fixture.read(id) == bytes)
        #expect(try await fixture.afterCrash().read(id) == bytes)
    }

    @Test("equal bytes staged at the same time share one place, and any of them may commit it") func sharedPlace() async throws {
        let fixture = try Fixture()
        let bytes = pattern(50_000, seed: 6)
        var first: (any StagedBytes)? = try await fixture.stage(bytes)
        let second = try await fixture.stage(bytes, announced: false)
        #expect(first?.location?.value == second.location?.value)
        first = nil
        try await fixture.commit([second])
        #expect(try await fixture.read(second.id) == bytes)
        #expect(try fixture.locations().count == 1)
    }

    @Test("a body shorter or longer than announced is refused") func wrongLength() async throws {
        let fixture = try Fixture()
        for length in [10, 100_000, 9 << 20] {
            let bytes = pattern(length, seed: 8)
            let short = try fixture.blobs.stage(expectedLength: Int64(length) + 1, digests: .sha256)
            for slice in slices(bytes, of: 65_536) { try short.write(slice) }
            #expect(await code { _ = try await short.finish() } == .invalid)
            let long = try fixture.blobs.stage(expectedLength: Int64(length) - 1, digests: .sha256)
            #expect(await code { for slice in slices(bytes, of: 65_536) { try long.write(slice) } } == .invalid)
            #expect(await code { try long.write(ByteBuffer(bytes: [1])) } == .conflict)
        }
        #expect(await code { _ = try fixture.blobs.stage(expectedLength: -1, digests: .sha256) } == .invalid)
        #expect(fixture.blobs.statistics.bytesInFlight == 0)
    }

    @Test("a cancelled or forgotten body leaves nothing: no file, no row, no bytes in memory") func cancelled() async throws {
        let fixture = try Fixture()
        try await fixture.store(pattern(10, seed: 1))
        let before = try fixture.files().keys.sorted()
        for announced in [true, false] {
            for length in [10, 100_000, 9 << 20] {
                let bytes = pattern(length, seed: 9)
                let cancelled = try fixture.blobs.stage(expectedLength: announced ? Int64(length) : nil, digests: .sha256)
                for slice in slices(bytes, of: 65_536) { try cancelled.write(slice) }
                cancelled.cancel()
                #expect(await code { _ = try await cancelled.finish() } == .conflict)
                let forgotten = try fixture.blobs.stage(expectedLength: announced ? Int64(length) : nil, digests: .sha256)
                for slice in slices(bytes, of: 65_536) { try forgotten.write(slice) }
            }
        }
        var staged: (any StagedBytes)? = try await fixture.stage(pattern(9 << 20, seed: 10))
        #expect(fixture.blobs.isLeased(try #require(staged?.id)))
        staged = nil
        #expect(try fixture.files().keys.sorted() == before)
        #expect(try fixture.locations().count == 1)
        #expect(fixture.blobs.statistics.leases == 0)
    }

    @Test("a stored blob can be held to be named again; an absent one cannot") func heldAgain() async throws {
        let fixture = try Fixture()
        let bytes = pattern(70_000, seed: 11)
        let id = try await fixture.store(bytes)
        #expect(!fixture.blobs.isLeased(id))
        let staged = try #require(try await fixture.blobs.staged(id))
        #expect(staged.unsynced.isEmpty)
        #expect(staged.location == nil)
        #expect(staged.size == 70_000)
        #expect(fixture.blobs.isLeased(id))
        let absent = try #require(BlobID(Digest.of(.sha256, [1])))
        #expect(try await fixture.blobs.staged(absent) == nil)
        #expect(try await fixture.blobs.content(of: absent) == nil)
        guard case .absent = try fixture.blobs.cachedContent(of: absent) else {
            Issue.record("an empty index is known")
            return
        }
    }

    @Test("when all bodies together hold too much memory, new bytes go to the disk at once") func boundedMemory() async throws {
        var options = Fixture.options
        options.bytesInFlightMax = 10_000
        let fixture = try Fixture(options)
        let stagings = try (0..<20).map { _ in try fixture.blobs.stage(expectedLength: nil, digests: .sha256) }
        for (seed, staging) in stagings.enumerated() {
            for slice in slices(pattern(3_000, seed: UInt64(seed)), of: 1_000) { try staging.write(slice) }
        }
        #expect(fixture.blobs.statistics.bytesInFlight <= 10_000)
        for (seed, staging) in stagings.enumerated() {
            let staged = try await staging.finish()
            try await fixture.commit([staged])
            #expect(try await fixture.read(staged.id) == pattern(3_000, seed: UInt64(seed)))
        }
        #expect(fixture.blobs.statistics.bytesInFlight == 0)
    }

    @Test("a hundred small blobs committed at once cost a few syncs of one segment") func groupCommit() async throws {
        let fixture = try Fixture()
        var staged: [any StagedBytes] = []
        for seed in 0..<100 { staged.append(try await fixture.stage(pattern(4096, seed: UInt64(seed)))) }
        #expect(Set(staged.flatMap(\.unsynced).map { ObjectIdentifier($0) }).count == 1)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for each in staged { group.addTask { try await fixture.commit([each]) } }
            try await group.waitForAll()
        }
        let metrics = fixture.index.metrics
        #expect(metrics.commits == 100)
        #expect(metrics.fileSyncs <= 30)
        for seed in 0..<100 {
            let bytes = pattern(4096, seed: UInt64(seed))
            #expect(try await fixture.read(try #require(BlobID(Digest.of(.sha256, bytes)))) == bytes)
        }
    }

    @Test("a file that had to have a temporary name gets the blob's and loses the other") func namedTemporary() async throws {
        let fixture = try Fixture()
        let bytes = pattern(5_000, seed: 12)
        let id = try #require(BlobID(Digest.of(.sha256, bytes)))
        let path = fixture.directory.file("data/uploads/x.tmp")
        var temporary: TemporaryFile? = try TemporaryFile(named: path)
        let file = try #require(temporary?.file)
        try Disk.write(bytes, to: file, at: 0)
        let table = bytes.withUnsafeBytes { SliceChecksums.table(of: $0) }
        var own: OwnFile? = try OwnFile(
            id, length: 5_000, table: table, in: file, temporary, of: BlobDirectory(at: fixture.directory.file("data/blobs")), replaces: false)
        temporary = nil
        try own?.synchronize()
        try own?.synchronize()
        own = nil
        #expect(try fixture.files() == ["/blobs/\(id.hex.prefix(2))/\(id.hex)": 5_000 + 4 + 64])
    }
}
