import Core
import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import BlobStore

#if canImport(Glibc)
    import Glibc
#endif

@Suite("A tier that is written through") struct WriteThroughTests {
    let small = pattern(5000, seed: 1)
    let middle = pattern(700_000, seed: 2)
    let large = pattern(3_500_001, seed: 3)

    static var tiering: TieringOptions {
        var options = TieredFixture.tiering
        options.policy = .writeThrough
        options.delaySeconds = 3600
        options.diskBytesMax = 0
        return options
    }

    @Test("what is acknowledged is in the tier at once: an empty disk beside it has every blob, and a second one, too")
    func lostDisk() async throws {
        let tiered = try await TieredFixture(WriteThroughTests.tiering)
        var ids: [BlobID] = []
        for bytes in [small, middle, large] { ids.append(try await tiered.fixture.store(bytes)) }
        ids.append(try await tiered.fixture.store(pattern(300_000, seed: 9), announced: false))
        #expect(tiered.fixture.blobs.tierStatistics?.parts == 3)
        let lost = try await TieredFixture(WriteThroughTests.tiering, bucket: tiered.bucket)
        #expect(Set(try lost.fixture.locations().keys) == Set(ids))
        for (id, bytes) in zip(ids, [small, middle, large]) { #expect(try await lost.fixture.read(id) == bytes) }
        // What was taken in is in the tier again before its old parts are not.
        var options = WriteThroughTests.tiering
        options.delaySeconds = 0
        let again = try await TieredFixture(options, bucket: tiered.bucket)
        for (id, bytes) in zip(ids, [small, middle, large]) { #expect(try await again.fixture.read(id) == bytes) }
        try await again.settle()
        #expect(try await again.tier.list(.parts, page: nil).objects == [])
        #expect(try await again.tier.list(.segments, page: nil).objects.count == 1)
    }

    @Test("an unnamed blob is no less in a part: what is wanted again is found, what is not is swept")
    func refusedChange() async throws {
        let tiered = try await TieredFixture(WriteThroughTests.tiering)
        try await tiered.fixture.store(middle)
        var staged: (any StagedBytes)? = try await tiered.fixture.stage(small)
        #expect(staged != nil)
        staged = nil
        #expect(tiered.fixture.blobs.tierStatistics?.parts == 2)
        var other: (any StagedBytes)? = try await tiered.fixture.stage(large)
        #expect(other != nil)
        other = nil
        let id = try #require(BlobID(digest(of: large)))
        #expect(try await tiered.tier.length(of: .blob(id)) == 3_500_001)
        #expect(tiered.fixture.blobs.tierStatistics?.copiedFiles == 1)
        // It is named after all, and sent only once.
        #expect(try await tiered.fixture.store(large) == id)
        #expect(tiered.fixture.blobs.tierStatistics?.copiedFiles == 1)
        #expect(try await tiered.fixture.read(id) == large)
    }

    @Test("large blobs that nobody named are deleted in the tier, those that somebody is about to name are not")
    func unnamed() async throws {
        var options = WriteThroughTests.tiering
        options.deleteDelaySeconds = 0
        let tiered = try await TieredFixture(options)
        let blobs = tiered.fixture.blobs
        var staged: (any StagedBytes)? = try await tiered.fixture.stage(large)
        let id = try #require(staged?.id)
        for _ in 0..<2 { _ = try await blobs.sweepTier([], SegmentLiveness(), dryRun: false) }
        #expect(try await tiered.tier.length(of: .blob(id)) != nil)
        staged = nil
        for _ in 0..<2 { _ = try await blobs.sweepTier([], SegmentLiveness(), dryRun: false) }
        #expect(try await tiered.tier.length(of: .blob(id)) == nil)
        #expect(try await tiered.tier.length(of: .end(id)) == nil)
    }

    @Test("while the tier takes nothing, uploads are refused and leave nothing; what is stored is served, and named again")
    func down() async throws {
        let tiered = try await TieredFixture(WriteThroughTests.tiering)
        let ids = [try await tiered.fixture.store(small), try await tiered.fixture.store(large)]
        tiered.tier.setDown(true)
        let before = try tiered.fixture.locations()
        for bytes in [pattern(5000, seed: 11), pattern(700_000, seed: 12), pattern(3_000_000, seed: 13)] {
            #expect(await code { try await tiered.fixture.store(bytes) } == .unavailable)
        }
        #expect(try tiered.fixture.locations() == before)
        for (id, bytes) in zip(ids, [small, large]) {
            #expect(try await tiered.fixture.read(id) == bytes)
            #expect(try await tiered.fixture.store(bytes) == id)
        }
        tiered.tier.setDown(false)
        let id = try await tiered.fixture.store(pattern(5000, seed: 11))
        #expect(try await tiered.fixture.read(id) == pattern(5000, seed: 11))
    }

    @Test("who comes while others are put goes with the next group: one object for all of them")
    func groups() async throws {
        let tiered = try await TieredFixture(WriteThroughTests.tiering)
        let tiering = try #require(tiered.fixture.blobs.tiering)
        tiered.tier.isHeld.withLock { $0 = true }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for seed in 0..<50 { group.addTask { try await tiered.fixture.store(pattern(1000, seed: UInt64(seed))) } }
            while tiering.groups.waiting < 47 { await Task.yield() }
            tiered.tier.isHeld.withLock { $0 = false }
            try await group.waitForAll()
        }
        // Three led at first, and three at most after them.
        #expect((4...6).contains(tiered.fixture.blobs.tierStatistics?.parts ?? 0))
        let lost = try await TieredFixture(WriteThroughTests.tiering, bucket: tiered.bucket)
        #expect(try lost.fixture.locations().count == 50)
    }

    @Test("who leads a group and hangs up does not take the others along")
    func leaderHangsUp() async throws {
        let puts = GroupPuts()
        let record = SmallSegment.Record(try #require(BlobID(digest(of: small))), ByteBuffer(bytes: small), segment: 1)
        let entered = Shared(0)
        let sent = Shared(0)
        let leaders = (0..<3).map { _ in
            Task {
                try await puts.put(record, of: 1) { _ async throws(RegistryError) in
                    entered.withLock { $0 += 1 }
                    while !Task.isCancelled { await Task.yield() }
                    throw RegistryError(.upstreamFailed, subject: .store, reason: "hung up")
                }
            }
        }
        while entered.withLock({ $0 }) < 3 { await Task.yield() }
        let followers = (0..<5).map { _ in
            Task { try await puts.put(record, of: 1) { group async throws(RegistryError) in sent.withLock { $0 += group.records.count } } }
        }
        while puts.waiting < 5 { await Task.yield() }
        for leader in leaders {
            leader.cancel()
            #expect(await code { try await leader.value } == .upstreamFailed)
        }
        for follower in followers { try await follower.value }
        #expect(sent.withLock { $0 } == 5)
    }

    @Test("blobs of an earlier policy are in the tier before they are acknowledged again")
    func changedPolicy() async throws {
        var behind = WriteThroughTests.tiering
        behind.policy = .writeBehind
        let tiered = try await TieredFixture(behind)
        let ids = [try await tiered.fixture.store(small), try await tiered.fixture.store(middle), try await tiered.fixture.store(large)]
        #expect(try await tiered.tier.list(.parts, page: nil).objects == [])
        let store = try tiered.fixture.reopened(TieredFixture.options)
        try await store.attach(tiered.tier, WriteThroughTests.tiering)
        for bytes in [small, middle, large] {
            let staged = try await store.stage(ByteBuffer(bytes: bytes), digests: .sha256)
            #expect(staged.location == nil)
        }
        let lost = try await TieredFixture(WriteThroughTests.tiering, bucket: tiered.bucket)
        #expect(Set(try lost.fixture.locations().keys) == Set(ids))
    }

    @Test("parts stay until their segment is in the tier, and go then")
    func partsGo() async throws {
        var options = WriteThroughTests.tiering
        options.delaySeconds = 0
        let tiered = try await TieredFixture(options)
        let id = try await tiered.fixture.store(middle)
        #expect(try await tiered.tier.list(.parts, page: nil).objects.count == 1)
        // The tier takes parts of a restarted store, too.
        let crashed = try tiered.fixture.afterCrash(TieredFixture.options)
        try await crashed.blobs.attach(tiered.tier, options)
        try await crashed.store(small)
        #expect(try await tiered.tier.list(.parts, page: nil).objects.count == 2)
        for _ in 0..<200 where try await !tiered.tier.list(.parts, page: nil).objects.isEmpty {
            try await crashed.blobs.workTier()
            crashed.blobs.segments.sealing.drain()
        }
        #expect(try await tiered.tier.list(.parts, page: nil).objects == [])
        #expect(try await tiered.tier.list(.segments, page: nil).objects.count == 1)
        #expect(try await crashed.read(id) == middle)
    }

    @Test("a part with a damaged blob is kept, and the others in it are stored anew")
    func damagedPart() async throws {
        let tiered = try await TieredFixture(WriteThroughTests.tiering)
        tiered.tier.isHeld.withLock { $0 = true }
        let tiering = try #require(tiered.fixture.blobs.tiering)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for seed in 0..<10 { group.addTask { try await tiered.fixture.store(pattern(1000, seed: UInt64(seed))) } }
            while tiering.groups.waiting < 7 { await Task.yield() }
            tiered.tier.isHeld.withLock { $0 = false }
            try await group.waitForAll()
        }
        let parts = try await tiered.tier.list(.parts, page: nil).objects
        let longest = try #require(parts.max { $0.length < $1.length })
        try flip(tiered.bucket.file("\(longest.name)"), at: 64 + 64 + 10)
        let lost = try await TieredFixture(WriteThroughTests.tiering, bucket: tiered.bucket)
        #expect(try lost.fixture.locations().count == 9)
        try await lost.settle()
        #expect(try await tiered.tier.length(of: longest.name) == longest.length)
    }

    @Test("whenever the machine is lost, the tier has what was acknowledged until then")
    func anyTime() async throws {
        var options = WriteThroughTests.tiering
        options.delaySeconds = 0
        var files = TieredFixture.options
        files.stagedInMemoryBytesMax = 4000
        files.ownFileBytesMin = 60_000
        let tiered = try await TieredFixture(options, store: files)
        let acknowledged = Shared<Set<BlobID>>([])
        let isOver = Shared(false)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<4 {
                group.addTask {
                    var number: UInt64 = 0
                    while !isOver.withLock({ $0 }) {
                        number += 1
                        let count = [300, 2000, 9000, 70_000][Int(number % 8 == 0 ? 3 : number % 3)]
                        let id = try await tiered.fixture.store(pattern(count, seed: UInt64(writer) << 32 | number))
                        acknowledged.withLock { _ = $0.insert(id) }
                    }
                }
            }
            group.addTask {
                while !isOver.withLock({ $0 }) {
                    try await tiered.fixture.blobs.workTier()
                    await Task.yield()
                }
            }
            for round in 1...4 {
                while acknowledged.withLock({ $0.count }) < round * 15 { await Task.yield() }
                let expected = acknowledged.withLock { $0 }
                let copy = try TemporaryDirectory()
                // In the order in which nothing is missed: a part goes when its segment has come.
                for folder in ["parts", "ends", "blobs", "segments"] { try copyWhatStays(tiered.bucket.file(folder), copy.file(folder)) }
                try copyWhatStays(tiered.bucket.file("granary.tier"), copy.file("granary.tier"))
                let lost = try await TieredFixture(options, bucket: copy)
                let found = Set(try lost.fixture.locations().keys)
                #expect(expected.subtracting(found) == [])
                for id in expected { #expect(BlobID(digest(of: try await lost.fixture.read(id) ?? [])) == id) }
            }
            isOver.withLock { $0 = true }
            try await group.waitForAll()
        }
    }

    /// A file, or a directory of which files may go meanwhile.
    private func copyWhatStays(_ source: String, _ target: String) throws {
        guard let file = try Disk.openExisting(source) else { return }
        var status = stat()
        _ = fstat(file.descriptor, &status)
        if status.st_mode & S_IFMT == S_IFDIR {
            try Disk.makeDirectory(target)
            for name in try Disk.names(in: source) where !name.hasSuffix(".part") { try copyWhatStays(source + "/" + name, target + "/" + name) }
        } else {
            let copy = try Disk.open(target, O_RDWR | O_CREAT)
            try Disk.write(try Disk.read(file, at: 0, count: Int(status.st_size)), to: copy, at: 0)
        }
    }
}

private func digest(of bytes: [UInt8]) -> Digest { BlobStore.digest(of: ByteBuffer(bytes: bytes)) }

/// What several tasks change.
private final class Shared<Value: Sendable>: Sendable {
    private let value: Mutex<Value>
    init(_ value: Value) { self.value = Mutex(value) }
    func withLock<R: Sendable>(_ body: (inout Value) -> R) -> R {
        value.withLock { value in
            let result = body(&value)
            return result
        }
    }
}
