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

extension Fixture {
    /// What the catalog's `forget` does for blobs that nothing pins: the rows of those that may go are deleted in one durable batch.
    func forget(_ ids: [BlobID]) -> (@escaping @Sendable (BlobID) -> Bool) async throws(RegistryError) -> [BlobID] {
        { [index] mayGo async throws(RegistryError) in
            try await index.commit { batch throws(RegistryError) in
                let going = ids.filter(mayGo)
                for id in going { batch.delete(id.bytes, in: .blobLocations) }
                return going
            }
        }
    }

    @discardableResult
    func remove(_ ids: [BlobID]) async throws -> SweepTally {
        let stored = try await blobs.storedBlobs(after: nil, limit: 10_000).blobs.filter { ids.contains($0.id) }
        return try await blobs.remove(stored, forgetting: forget(ids))
    }

    func sweepSegments(_ options: CompactionOptions = Fixture.quick) async throws -> SweepTally {
        var tally = SweepTally()
        let sealed = try await blobs.sealedSegments()
        let liveness = try await blobs.segmentLiveness()
        try await blobs.retireWastefulSegments(liveness, options)
        for number in sealed { tally += try await blobs.sweepSegment(number, liveness, options) }
        return tally
    }

    func orphans(pinned: Set<BlobID> = [], dryRun: Bool = false) async throws -> SweepTally {
        var tally = SweepTally()
        for shard in try await blobs.shards() {
            tally += try await blobs.removeOrphans(in: shard, dryRun: dryRun) { ids in ids.filter { !pinned.contains($0) } }
        }
        return tally
    }

    static var quick: CompactionOptions {
        var options = CompactionOptions()
        options.bytesPerSecondMax = 0
        return options
    }

    /// Segments of 1 MiB, so that some are full soon.
    static var smallSegments: BlobStore.Options {
        var options = Fixture.options
        options.segmentBytesMax = 1 << 20
        return options
    }

    /// Stores blobs of 10 to 110 KB until some segments are sealed.
    func fill(_ count: Int, seed: UInt64 = 1) async throws -> [BlobID] {
        var ids: [BlobID] = []
        for number in 0..<count { ids.append(try await store(pattern(10_000 + number % 5 * 25_000, seed: seed &+ UInt64(number) &* 7919))) }
        blobs.segments.sealing.drain()
        return ids
    }

    func content(_ number: Int, seed: UInt64 = 1) -> [UInt8] { pattern(10_000 + number % 5 * 25_000, seed: seed &+ UInt64(number) &* 7919) }

    func segmentFiles() throws -> [String: Int64] { try files().filter { $0.key.hasPrefix("/segments/") } }
}

extension BlockingPool {
    /// Everything queued before has run: the pool has one thread.
    func drain() {
        let done = Mailbox<Bool>()
        _ = try? post { _ = done.put(true) }
        _ = done.takeOne()
    }
}

@Suite("Taking blobs away") struct RemovalTests {
    @Test("a removed blob is gone from index, files and reads, in a segment and in a file of its own", arguments: [1_000, 9 << 20])
    func removed(length: Int) async throws {
        let fixture = try Fixture()
        let bytes = pattern(length, seed: 1)
        let id = try await fixture.store(bytes)
        let kept = try await fixture.store(pattern(2_000, seed: 2))
        _ = try await fixture.read(id)
        let tally = try await fixture.remove([id])
        #expect(tally.removedBlobs == 1 && tally.removedBytes == Int64(length))
        #expect(tally.freedBytes == (length > 8 << 20 ? OwnFile.fileBytes(length: Int64(length)) : 0))
        #expect(try await fixture.read(id) == nil)
        #expect(try fixture.files().keys.contains { $0.hasPrefix("/blobs/") && $0.hasSuffix(id.hex) } == false)
        #expect(try await fixture.read(kept) == pattern(2_000, seed: 2))
        try await fixture.store(bytes)
        #expect(try await fixture.read(id) == bytes)
        let later = try fixture.afterCrash()
        #expect(try await later.read(id) == bytes)
    }

    @Test("staged bytes hold their blob, whether they brought it or found it, until the last of them is let go") func leased() async throws {
        let fixture = try Fixture()
        let id = try await fixture.store(pattern(9 << 20, seed: 3))
        var found = try await fixture.blobs.staged(id)
        var same: (any StagedBytes)? = try await fixture.stage(pattern(9 << 20, seed: 3))
        #expect(found?.id == id && same?.location == nil)
        #expect(try await fixture.remove([id]) == SweepTally())
        found = nil
        #expect(try await fixture.remove([id]) == SweepTally())
        same = nil
        #expect(try await fixture.remove([id]).removedBlobs == 1)
        #expect(try await fixture.read(id) == nil)
    }

    @Test("who wants a blob that is being taken away waits, then finds none and stores it anew; the old file does not take the new one with it")
    func race() async throws {
        let fixture = try Fixture()
        let bytes = pattern(9 << 20, seed: 4)
        let id = try await fixture.store(bytes)
        let stored = try await fixture.blobs.storedBlobs(after: nil, limit: 10).blobs
        let isFound = Mutex<Bool?>(nil)
        let (condemned, open) = (Gate(), Gate())
        async let removal = fixture.blobs.remove(stored) { [index = fixture.index] mayGo async throws(RegistryError) in
            guard mayGo(id) else { return [] }
            condemned.open()
            await open.wait()
            return try await index.commit { batch throws(RegistryError) in
                batch.delete(id.bytes, in: .blobLocations)
                return [id]
            }
        }
        await condemned.wait()
        async let looking: (any StagedBytes)? = {
            let staged = try await fixture.blobs.staged(id)
            isFound.withLock { $0 = staged != nil }
            return staged
        }()
        async let pushing: any StagedBytes = fixture.stage(bytes)
        // Both have asked, or are about to: neither has an answer while the blob is condemned.
        for _ in 0..<50 { await Task.yield() }
        #expect(isFound.withLock { $0 } == nil)
        open.open()
        #expect(try await removal.removedBlobs == 1)
        let pushed = try await pushing
        // Whoever comes second of the two may share the place of the first; none has the old file.
        _ = try await looking
        #expect(pushed.location != nil)
        try await fixture.commit([pushed])
        #expect(try await fixture.read(id) == bytes)
        #expect(try await fixture.afterCrash().read(id) == bytes)
    }

    @Test("a step that fails leaves its blobs as they were, and nobody waiting") func failedStep() async throws {
        let fixture = try Fixture()
        let id = try await fixture.store(pattern(9 << 20, seed: 5))
        let stored = try await fixture.blobs.storedBlobs(after: nil, limit: 10).blobs
        let failed = await code {
            _ = try await fixture.blobs.remove(stored) { mayGo throws(RegistryError) in
                _ = mayGo(id)
                throw RegistryError(.unavailable, subject: .store, reason: "no")
            }
        }
        #expect(failed == .unavailable)
        #expect(try await fixture.blobs.staged(id) != nil)
        #expect(try await fixture.read(id) == pattern(9 << 20, seed: 5))
    }

    @Test("a crash after the row went leaves a file that the next sweep finds; what is named, leased or a stranger's is left alone")
    func orphans() async throws {
        let fixture = try Fixture()
        let lost = try await fixture.store(pattern(9 << 20, seed: 6))
        let kept = try await fixture.store(pattern(9 << 20, seed: 7))
        let named = try await fixture.store(pattern(9 << 20, seed: 8))
        let staged = try await fixture.stage(pattern(9 << 20, seed: 9))
        try await fixture.index.commit(files: staged.unsynced) { batch throws(RegistryError) in
            for id in [lost, named] { batch.delete(id.bytes, in: .blobLocations) }
        }
        let shard = "data/blobs/\(lost.hex.prefix(2))"
        for name in ["\(lost.hex).new", "notes.txt", "ff"] { _ = try Disk.open(fixture.directory.file("\(shard)/\(name)"), O_RDWR | O_CREAT) }
        let before = try fixture.files()
        let dry = try await fixture.orphans(pinned: [named], dryRun: true)
        #expect(try fixture.files() == before)
        let tally = try await fixture.orphans(pinned: [named])
        #expect(tally == dry)
        #expect(tally.orphans == 2 && tally.freedBytes == OwnFile.fileBytes(length: 9 << 20) && tally.damagedBlobs == 1)
        let left = try Set(fixture.files().keys.filter { $0.hasPrefix("/blobs/") }.map { String($0.split(separator: "/").last ?? "") })
        #expect(left == [kept.hex, named.hex, staged.id.hex, "notes.txt", "ff"])
        #expect(try await fixture.orphans(pinned: [named]).orphans == 0)
    }
}

@Suite("Compaction") struct CompactionTests {
    @Test("a segment in which nothing lives is removed, one that mostly lives is left") func deadSegments() async throws {
        let fixture = try Fixture(Fixture.smallSegments)
        let ids = try await fixture.fill(60)
        let places = try fixture.locations()
        let sealed = Set(try await fixture.blobs.sealedSegments())
        #expect(sealed.count >= 2)
        func segment(_ id: BlobID) -> UInt64? { if case .segment(let number, _)? = places[id]?.place { number } else { nil } }
        let first = try #require(sealed.min())
        try await fixture.remove(ids.filter { segment($0) == first })
        let before = try fixture.segmentFiles()
        var dry = Fixture.quick
        dry.isDryRun = true
        let proposed = try await fixture.sweepSegments(dry)
        #expect(try fixture.segmentFiles() == before)
        let tally = try await fixture.sweepSegments()
        #expect(tally == proposed)
        #expect(tally.segmentsRemoved == 1 && tally.segmentsCompacted == 0 && tally.freedBytes > 900_000)
        #expect(try fixture.segmentFiles().count == before.count - 1)
        for (number, id) in ids.enumerated() {
            #expect(try await fixture.read(id) == (segment(id) == first ? nil : fixture.content(number)))
        }
        #expect(try await fixture.sweepSegments() == SweepTally())
    }

    @Test("a segment that still takes records is given back, too, once most of it is dead; while most of it lives it goes on taking them")
    func deadOpenSegment() async throws {
        let fixture = try Fixture()
        let ids = try await fixture.fill(60)
        let open = Set(try fixture.segmentFiles().keys)
        #expect(open.count == 1)
        #expect(try await fixture.sweepSegments() == SweepTally())
        _ = try await fixture.fill(1, seed: 99)
        #expect(try Set(fixture.segmentFiles().keys) == open)
        let kept = ids.indices.filter { $0 % 7 == 0 }
        try await fixture.remove(ids.indices.filter { $0 % 7 != 0 }.map { ids[$0] })
        // A dry run changes nothing, not even which segment takes records.
        var dry = Fixture.quick
        dry.isDryRun = true
        for _ in 0..<2 { #expect(try await fixture.sweepSegments(dry) == SweepTally()) }
        // Sealed by the first sweep, given back by the second.
        #expect(try await fixture.sweepSegments() == SweepTally())
        let tally = try await fixture.sweepSegments()
        #expect(tally.segmentsCompacted == 1 && tally.movedBlobs == Int64(kept.count + 1) && tally.freedBytes > 1_000_000)
        #expect(try open.isDisjoint(with: fixture.segmentFiles().keys))
        for index in kept { #expect(try await fixture.read(ids[index]) == fixture.content(index), "\(index)") }
    }

    @Test("what was dead before a start is given back after it, though it is in the segment that is open then")
    func deadAfterStart() async throws {
        let fixture = try Fixture()
        let ids = try await fixture.fill(60)
        try await fixture.remove(ids)
        let later = try fixture.afterCrash()
        for _ in 0..<2 { _ = try await later.sweepSegments() }
        #expect(try later.segmentFiles().isEmpty)
    }

    @Test("of mostly dead segments what lives is moved, byte for byte, readable throughout and after a restart") func moving() async throws {
        let fixture = try Fixture(Fixture.smallSegments)
        let ids = try await fixture.fill(60)
        let kept = ids.indices.filter { $0 % 7 == 0 }
        let early = try #require(try await fixture.blobs.content(of: ids[14]))
        try await fixture.remove(ids.indices.filter { $0 % 7 != 0 }.map { ids[$0] })
        let tally = try await fixture.sweepSegments()
        #expect(tally.segmentsCompacted >= 2 && tally.movedBlobs >= 4 && tally.damagedBlobs == 0)
        #expect(tally.freedBytes > 1_000_000)
        for index in kept { #expect(try await fixture.read(ids[index]) == fixture.content(index), "\(index)") }
        #expect(try early.bytes(at: 0, count: Int(early.length)) == fixture.content(14))
        let later = try fixture.afterCrash(Fixture.smallSegments)
        for index in kept { #expect(try await later.read(ids[index]) == fixture.content(index), "\(index)") }
        let rows = try later.locations()
        try await later.blobs.rebuildLocations()
        #expect(try Set(rows.keys).isSubset(of: later.locations().keys))
        for index in kept { #expect(try await later.read(ids[index]) == fixture.content(index), "\(index)") }
    }

    @Test("compaction moves no more bytes a second than it may, and ends at once when it is told to") func bandwidth() async throws {
        let fixture = try Fixture(Fixture.smallSegments)
        let ids = try await fixture.fill(60)
        let kept = ids.indices.filter { $0 % 7 == 0 }
        try await fixture.remove(ids.indices.filter { $0 % 7 != 0 }.map { ids[$0] })
        var options = CompactionOptions()
        options.bytesPerSecondMax = 200_000
        let slow = options
        let began = ContinuousClock.now
        let work = Task { try await fixture.sweepSegments(slow) }
        let tally = try await work.value
        #expect(tally.movedBytes > 100_000)
        #expect(ContinuousClock.now - began >= .seconds(Double(tally.movedBytes) / 200_000))
        for index in kept { #expect(try await fixture.read(ids[index]) == fixture.content(index), "\(index)") }

        let other = try Fixture(Fixture.smallSegments)
        let more = try await other.fill(60)
        try await other.remove(more.indices.filter { $0 % 7 != 0 }.map { more[$0] })
        options.bytesPerSecondMax = 1
        let slower = options
        let endless = Task { try await other.sweepSegments(slower) }
        endless.cancel()
        _ = try await endless.value
        for index in kept { #expect(try await other.read(more[index]) == other.content(index), "\(index)") }
    }

    @Test("a damaged blob is neither moved nor deleted, and keeps its segment; everything else is moved") func damage() async throws {
        let fixture = try Fixture(Fixture.smallSegments)
        let ids = try await fixture.fill(40)
        let victim = ids[7]
        guard case .segment(let number, let offset) = try #require(try fixture.locations()[victim]).place else { return }
        try flip(fixture.directory.file("data/segments/\(Segment.fileName(number))"), at: offset + 64 + 5_000)
        try await fixture.remove(ids.indices.filter { $0 % 7 != 0 }.map { ids[$0] })
        let tally = try await fixture.sweepSegments()
        #expect(tally.damagedBlobs == 1)
        let rows = try fixture.locations()
        #expect(rows[victim] == BlobLocation(.segment(number, offset: offset), length: Int64(fixture.content(7).count)))
        #expect(await code { _ = try await fixture.read(victim) } == .corrupt)
        #expect(try fixture.segmentFiles()["/segments/\(Segment.fileName(number))"] != nil)
        #expect(rows.filter { $0.value.place == .segment(number, offset: offset) }.count == 1)
        for index in ids.indices where index % 7 == 0 && index != 7 { #expect(try await fixture.read(ids[index]) == fixture.content(index)) }
        // The same bytes again heal it, and the next sweep has the segment.
        try await fixture.store(fixture.content(7))
        #expect(try await fixture.read(victim) == fixture.content(7))
        #expect(try await fixture.sweepSegments().damagedBlobs == 0)
        #expect(try fixture.segmentFiles()["/segments/\(Segment.fileName(number))"] == nil)
    }

    @Test("blobs whose headers are lost are found missing, and their segment is kept") func lostHeader() async throws {
        let fixture = try Fixture(Fixture.smallSegments)
        let ids = try await fixture.fill(30)
        guard case .segment(let number, let offset) = try #require(try fixture.locations()[ids[0]]).place else { return }
        let path = fixture.directory.file("data/segments/\(Segment.fileName(number))")
        let file = try Disk.open(path, O_RDWR)
        // Neither the index nor the header shows it any more.
        try Disk.write([UInt8](repeating: 0xAA, count: 64), to: file, at: offset)
        let trailer = try #require(try SegmentIndex.trailer(of: file, number: number))
        try flip(path, at: trailer.indexOffset + 70)
        try await fixture.remove(Array(ids.dropFirst()))
        let tally = try await fixture.sweepSegments()
        #expect(tally.damagedBlobs == 1)
        #expect(try fixture.segmentFiles()["/segments/\(Segment.fileName(number))"] != nil)
        #expect(try fixture.locations()[ids[0]] != nil)
    }

    @Test("a crash anywhere while blobs are moved loses nothing: old place or new, never neither") func crashes() async throws {
        let fixture = try Fixture(Fixture.smallSegments)
        let ids = try await fixture.fill(60)
        let kept = ids.indices.filter { $0 % 7 == 0 }
        try await fixture.remove(ids.indices.filter { $0 % 7 != 0 }.map { ids[$0] })
        let sealed = try await fixture.blobs.sealedSegments()
        let liveness = try await fixture.blobs.segmentLiveness()
        // After each segment, and, by not acknowledging the last batch, in the middle of one.
        for number in sealed {
            _ = try await fixture.blobs.sweepSegment(number, liveness, Fixture.quick)
            let later = try fixture.afterCrash(Fixture.smallSegments)
            for index in kept { #expect(try await later.read(ids[index]) == fixture.content(index), "\(index) after segment \(number)") }
            later.blobs.segments.sealing.drain()
            _ = try await later.sweepSegments()
            for index in kept { #expect(try await later.read(ids[index]) == fixture.content(index), "\(index) swept again") }
        }
    }

    @Test("copies whose rows never came are dead space that a later sweep gets back") func unacknowledged() async throws {
        let fixture = try Fixture(Fixture.smallSegments)
        let ids = try await fixture.fill(40)
        let kept = ids.indices.filter { $0 % 7 == 0 }
        try await fixture.remove(ids.indices.filter { $0 % 7 != 0 }.map { ids[$0] })
        let copy = try TemporaryDirectory()
        try copyTree(fixture.directory.file("index"), copy.file("index"))
        try copyTree(fixture.directory.file("data"), copy.file("data"))
        let old = try Set(fixture.segmentFiles().keys)
        _ = try await fixture.sweepSegments()
        // As after a crash just before the rows changed: the copies are on disk beside the old segments, and the rows are those of before.
        for name in try fixture.segmentFiles().keys where !old.contains(name) {
            let bytes = try Disk.read(try Disk.open(fixture.directory.file("data\(name)"), O_RDONLY), at: 0, count: 2 << 20)
            try Disk.write(bytes, to: try Disk.open(copy.file("data\(name)"), O_RDWR | O_CREAT), at: 0)
        }
        var crashed: Fixture? = try Fixture(Fixture.smallSegments, in: copy)
        for index in kept { #expect(try await crashed?.read(ids[index]) == fixture.content(index)) }
        _ = try await crashed?.sweepSegments()
        crashed?.index.close()
        crashed = nil
        let last = try Fixture(Fixture.smallSegments, in: copy)
        last.blobs.segments.sealing.drain()
        _ = try await last.sweepSegments()
        for index in kept { #expect(try await last.read(ids[index]) == fixture.content(index)) }
        let living = kept.reduce(Int64(0)) { $0 + Int64(fixture.content($1).count) }
        // What lives, and per segment that still takes records the space set aside for it.
        #expect(try last.segmentFiles().values.reduce(0, +) < living * 2 + 3 << 20)
    }
}

/// Opens once.
private final class Gate: Sendable {
    private struct State {
        var isOpen = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }
    private let state = Mutex(State())
    func open() {
        let waiters = state.withLock { state in
            state.isOpen = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }
    func wait() async {
        await withCheckedContinuation { waiter in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiters.append(waiter) }
                return state.isOpen
            }
            if isOpen { waiter.resume() }
        }
    }
}
