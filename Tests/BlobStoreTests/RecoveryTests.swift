import Core
import NIOCore
import OrderedStore
import TestSupport
import Testing

@testable import BlobStore

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Recovery") struct RecoveryTests {
    private var smallSegments: BlobStore.Options {
        var options = Fixture.options
        options.segmentBytesMax = 64 << 10
        return options
    }

    private func segment(_ fixture: Fixture, _ number: UInt64) -> String { fixture.directory.file("data/segments/" + Segment.fileName(number)) }

    /// All sealing that was asked for has been done: it has one thread.
    private func sealed(_ blobs: BlobStore) async throws -> [UInt64: [SegmentEntry]] {
        try await blobs.segments.sealing.run {}
        var found: [UInt64: [SegmentEntry]] = [:]
        for number in try Segments.numbers(in: blobs.segments.directory) {
            let file = try #require(try Disk.openExisting(blobs.segments.path(number)))
            if let entries = try SegmentIndex.entries(of: file, number: number) { found[number] = entries }
        }
        return found
    }

    @Test("after a crash what was committed is there and what was not is not", arguments: [1_000, 100_000, 9 << 20])
    func crash(length: Int) async throws {
        let fixture = try Fixture()
        var kept: [BlobID: [UInt8]] = [:]
        var dropped: [any StagedBytes] = []
        for seed in 0..<6 {
            let bytes = pattern(length + seed, seed: UInt64(seed))
            let staged = try await fixture.stage(bytes, announced: seed < 4)
            if seed % 2 == 0 {
                try await fixture.commit([staged])
                kept[staged.id] = bytes
            } else {
                dropped.append(staged)
            }
        }
        let open = try fixture.blobs.stage(expectedLength: 1 << 20, digests: .sha256)
        try open.write(ByteBuffer(bytes: pattern(100_000, seed: 99)))
        let later = try fixture.afterCrash()
        for (id, bytes) in kept { #expect(try await later.read(id) == bytes) }
        for staged in dropped { #expect(try await later.read(staged.id) == nil) }
        #expect(Set(try later.locations().keys) == Set(kept.keys))
        // And it goes on: what was dropped can be stored, and nothing that was kept is overwritten.
        for seed in [1, 3, 5] { try await later.store(pattern(length + seed, seed: UInt64(seed))) }
        for (id, bytes) in kept { #expect(try await later.read(id) == bytes) }
        for staged in dropped { #expect(try await later.read(staged.id) != nil) }
    }

    @Test("a torn last record is stepped over: earlier blobs stay, later ones find a place behind it") func tornTail() async throws {
        let fixture = try Fixture()
        let first = try await fixture.store(pattern(5_000, seed: 1))
        let second = try await fixture.store(pattern(6_000, seed: 2))
        let torn = try await fixture.stage(pattern(7_000, seed: 3))
        try fixture.blobs.segments.writeOut()
        for cut in [1, 63, 64, 65, 3_000, 7_067] {
            let later = try fixture.afterCrash()
            guard case .segment(_, let offset) = try BlobLocation(try #require(torn.location).value).place else { return }
            try later.cut(segment(later, 1), to: offset + Int64(cut))
            let blobs = try later.reopened()
            #expect(try await blobs.content(of: first)?.length == 5_000)
            #expect(try await blobs.content(of: second)?.length == 6_000)
            let staged = try await blobs.stage(ByteBuffer(bytes: pattern(8_000, seed: 4)), digests: .sha256)
            try await later.commit([staged])
            let again = try later.reopened()
            for (id, length) in [(first, 5_000), (second, 6_000), (staged.id, 8_000)] {
                #expect(try await again.content(of: id)?.length == Int64(length))
            }
        }
    }

    @Test("a segment whose header a power cut kept from the disk gets one at the next start, and is no damage before", arguments: [false, true])
    func unwrittenHeader(isShort: Bool) async throws {
        let fixture = try Fixture()
        let id = try await fixture.store(pattern(5_000, seed: 1))
        let later = try fixture.afterCrash()
        let path = segment(later, 2)
        let file = try Disk.open(path, O_RDWR | O_CREAT)
        try Disk.truncate(file, to: isShort ? 0 : 1 << 20)
        #expect(try await later.blobs.check(segment: 2).map(\.kind) == [.tornTail])
        let blobs = try later.reopened()
        _ = try await sealed(blobs)
        #expect(try await blobs.check(segment: 2) == [])
        #expect(try await blobs.content(of: id)?.length == 5_000)
    }

    @Test("a damaged header in the newest segment costs that blob only, also when the store goes on after it") func damagedHeader() async throws {
        let fixture = try Fixture()
        var ids: [BlobID] = []
        for seed in 0..<5 { ids.append(try await fixture.store(pattern(3_000 + seed, seed: UInt64(seed)))) }
        guard case .segment(_, let offset) = try #require(try fixture.locations()[ids[2]]).place else { return }
        try flip(segment(fixture, 1), at: offset + 20)
        let later = try fixture.afterCrash()
        try await later.store(pattern(9_000, seed: 50))
        for (seed, id) in ids.enumerated() where seed != 2 { #expect(try await later.read(id) == pattern(3_000 + seed, seed: UInt64(seed))) }
        #expect(await code { _ = try await later.read(ids[2]) } == .corrupt)
    }

    @Test("full segments are sealed once every record's fate is known, and list what was committed") func sealing() async throws {
        let fixture = try Fixture(smallSegments)
        var pending: [any StagedBytes] = []
        var committed: Set<BlobID> = []
        for seed in 0..<60 {
            let staged = try await fixture.stage(pattern(6_000, seed: UInt64(seed)))
            if seed % 10 == 3 {
                pending.append(staged)
            } else {
                try await fixture.commit([staged])
                committed.insert(staged.id)
            }
        }
        #expect(try await sealed(fixture.blobs).isEmpty)
        pending = []
        let found = try await sealed(fixture.blobs)
        let active = try #require(try Segments.numbers(in: fixture.blobs.segments.directory).last)
        #expect(found.count == Int(active) - 1)
        let expected = try fixture.locations().filter { if case .segment(active, _) = $0.value.place { false } else { true } }
        var listed: [BlobID: BlobLocation] = [:]
        for (number, entries) in found {
            for entry in entries { listed[entry.id] = BlobLocation(.segment(number, offset: entry.offset), length: entry.length) }
        }
        #expect(listed == expected)
        for seed in 0..<60 where seed % 10 != 3 {
            let bytes = pattern(6_000, seed: UInt64(seed))
            #expect(try await fixture.read(try #require(BlobID(Digest.of(.sha256, bytes)))) == bytes)
        }
    }

    @Test("a segment left unsealed by a crash is sealed by the next start, without the records nobody committed") func sealedLater() async throws {
        let fixture = try Fixture(smallSegments)
        let held = try await fixture.stage(pattern(6_000, seed: 1000))
        for seed in 0..<20 { try await fixture.store(pattern(6_000, seed: UInt64(seed))) }
        #expect(try await sealed(fixture.blobs)[1] == nil)
        let later = try fixture.afterCrash(smallSegments)
        let entries = try #require(try await sealed(later.blobs)[1])
        #expect(!entries.contains { $0.id == held.id })
        let first = try later.locations().filter { if case .segment(1, _) = $0.value.place { true } else { false } }
        #expect(Set(entries.map(\.id)) == Set(first.keys))
    }

    @Test("any damage to a sealed segment's index is noticed, and its records found without it") func damagedIndex() async throws {
        let fixture = try Fixture(smallSegments)
        for seed in 0..<12 { try await fixture.store(pattern(9_000, seed: UInt64(seed))) }
        let entries = try #require(try await sealed(fixture.blobs)[1])
        let file = try Disk.open(segment(fixture, 1), O_RDWR)
        let trailer = try #require(try SegmentIndex.trailer(of: file, number: 1))
        let before = try fixture.locations()
        for position in trailer.indexOffset..<(try Disk.status(of: file).size) {
            try flip(segment(fixture, 1), at: position)
            let found = try SegmentIndex.entries(of: file, number: 1)
            // Only the padding between index and trailer carries nothing.
            #expect(found == nil || found == entries)
            if position % 97 == 0 {
                try await fixture.reopened(smallSegments).rebuildLocations()
                #expect(try fixture.locations() == before)
            }
            try flip(segment(fixture, 1), at: position)
        }
    }

    @Test("the location index can be made anew from the files, row by row the same") func rebuild() async throws {
        let fixture = try Fixture(smallSegments)
        for seed in 0..<30 { try await fixture.store(pattern(5_000 + seed, seed: UInt64(seed))) }
        try await fixture.store([])
        try await fixture.store(pattern(300_000, seed: 70))
        try await fixture.store(pattern(2 << 20, seed: 71), announced: false)
        try await fixture.store(pattern(9 << 20, seed: 72))
        do {
            let dropped = [try await fixture.stage(pattern(777, seed: 73)), try await fixture.stage(pattern(9 << 20, seed: 74))]
            #expect(dropped.count == 2)
        }
        let before = try fixture.locations()
        #expect(before.count == 34)
        let stale = try #require(BlobID(Digest.of(.sha256, [9])))
        for wipe in [true, false] {
            try await fixture.index.commit { batch throws(RegistryError) in
                if wipe { batch.deleteRange(.blobLocations, from: [], upTo: [UInt8](repeating: 0xFF, count: 33)) }
                batch.put(stale.bytes, BlobLocation(.segment(1, offset: 64), length: 3).encoded, in: .blobLocations)
            }
            #expect(try await fixture.blobs.rebuildLocations() == 34)
            #expect(try fixture.locations() == before)
        }
    }

    @Test("what looks like a record inside a blob is not believed when the blob's own header is damaged") func forgedRecord() async throws {
        let fixture = try Fixture()
        let victim = try #require(BlobID(Digest.of(.sha256, Array("the real one".utf8))))
        let lie = Array("another one!".utf8)
        let table = lie.withUnsafeBytes { SliceChecksums.table(of: $0) }
        let forged = RecordHeader(.blob, segment: 1, length: Int64(lie.count), id: victim, table: table).encoded + lie + table
        let carrier = try await fixture.store(forged + [UInt8](repeating: 7, count: 500))
        let other = try await fixture.store(pattern(100, seed: 1))
        try flip(segment(fixture, 1), at: 64 + 8)
        try await fixture.blobs.rebuildLocations()
        #expect(try fixture.locations().keys.sorted() == [other])
        #expect(try await fixture.read(victim) == nil)
        #expect(carrier != victim)
    }
}

extension Fixture {
    /// Everything behind `end` never reached the disk.
    fileprivate func cut(_ path: String, to end: Int64) throws {
        let file = try Disk.open(path, O_RDWR)
        let size = try Disk.status(of: file).size
        try Disk.truncate(file, to: end)
        try Disk.truncate(file, to: size)
    }
}
