import Core
import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import BlobStore

@Suite("Scrub") struct ScrubTests {
    static var quick: ScrubOptions {
        var options = ScrubOptions()
        options.bytesPerSecondMax = 0
        return options
    }

    private func scrub(_ blobs: BlobStore, _ options: ScrubOptions = quick) throws -> Scrub {
        try Scrub(of: blobs, options: options) { _ in ["the test"] }
    }

    @Test("a pass reads everything, makes the oldest unread byte young, names what is damaged, and its reads fail though they were verified before")
    func pass() async throws {
        let fixture = try Fixture()
        var ids: [BlobID] = []
        for seed in 0..<40 { ids.append(try await fixture.store(pattern(1000 + seed * 10_000, seed: UInt64(seed)))) }
        let own = try await fixture.store(pattern(9 << 20, seed: 99))
        let start = fixture.clock.now
        let scrub = try scrub(fixture.blobs)
        fixture.clock.advance(seconds: 3600)
        #expect(scrub.oldest == start)
        try await scrub.pass()
        #expect(scrub.oldest == fixture.clock.now)
        #expect(scrub.totals == ScrubTotals(blobs: 41, bytes: (0..<40).reduce(0) { $0 + 1000 + $1 * 10_000 } + 9 << 20, damaged: 0))
        #expect(await fixture.blobs.damagedBlobs() == [])
        #expect(try await fixture.read(own) != nil)
        let place = try fixture.place(of: own)
        try flip(place.path, at: 7_000_000)
        try flip(try fixture.place(of: ids[3]).path, at: try fixture.place(of: ids[3]).firstByte)
        fixture.clock.advance(seconds: 60)
        try await scrub.pass()
        #expect(scrub.totals.damaged == 2)
        let damaged = await fixture.blobs.damagedBlobs()
        #expect(Set(damaged.map(\.blob)) == [own, ids[3]])
        #expect(damaged.allSatisfy { $0.found == fixture.clock.now && $0.reason.contains("its bytes are damaged") })
        // Within the window, and refused all the same.
        #expect(await code { _ = try await fixture.read(own) } == .corrupt)
        // The marks outlive a restart, and go with the damage.
        let again = try self.scrub(try fixture.reopened())
        #expect(again.damagedBlobs == 2)
        try flip(place.path, at: 7_000_000)
        try await scrub.pass()
        #expect(await fixture.blobs.damagedBlobs().map(\.blob) == [ids[3]])
        _ = try await fixture.store(pattern(31_000, seed: 3))
        #expect(await fixture.blobs.damagedBlobs() == [])
    }

    @Test("cut off anywhere it goes on where it was, after a restart too: at most a page is read twice, nothing left out") func resumed() async throws
    {
        let fixture = try Fixture()
        for seed in 0..<600 { try await fixture.store(pattern(200, seed: UInt64(seed))) }
        var options = ScrubTests.quick
        options.bytesPerSecondMax = 100_000
        var read: Int64 = 0
        var rounds = 0
        let start = fixture.clock.now
        try await scrub(fixture.blobs).pass()
        fixture.clock.advance(seconds: 15 * 24 * 3600)
        while true {
            let scrub = try scrub(try fixture.reopened(), options)
            if scrub.oldest > start { break }
            let work = Task { await scrub.runOnSchedule() }
            while scrub.totals.blobs < 50, scrub.oldest == start { try await Task.sleep(for: .milliseconds(1)) }
            work.cancel()
            await work.value
            read += scrub.totals.blobs
            rounds += 1
        }
        #expect((600...600 + Int64(rounds) * 64).contains(read))
        #expect(rounds > 3)
    }

    @Test(
        "a damaged blob is healed from another place, by the scrub or by the first reader; wrong bytes from there are refused",
        arguments: [3000, 2 << 20, 9 << 20])
    func healed(length: Int) async throws {
        let fixture = try Fixture()
        let bytes = pattern(length, seed: 5)
        let id = try await fixture.store(bytes)
        let asked = Mutex<[LostBlob]>([])
        let offered = Mutex(pattern(length, seed: 6))
        fixture.blobs.heal { lost throws(RegistryError) in
            asked.withLock { $0.append(lost) }
            return body(offered.withLock { $0 })
        }
        let place = try fixture.place(of: id)
        try flip(place.path, at: place.firstByte + 100)
        fixture.clock.advance(seconds: 48 * 3600)
        #expect(await code { _ = try await fixture.read(id) } == .corrupt)
        #expect(asked.withLock { $0 } == [LostBlob(blob: id, length: Int64(length), segment: length < 8 << 20 ? 1 : nil)])
        offered.withLock { $0 = bytes }
        #expect(try await fixture.read(id) == bytes)
        let second = try fixture.place(of: id)
        try flip(second.path, at: second.firstByte + 100)
        let scrub = try scrub(fixture.blobs)
        try await scrub.pass()
        #expect(scrub.totals.damaged == 1 && scrub.healedBlobs == 2)
        #expect(await fixture.blobs.damagedBlobs() == [])
        #expect(try await fixture.read(id) == bytes)
        #expect(try await fixture.reopened().content(of: id)?.length == Int64(length))
    }

    @Test("what it remembers is whole or nothing: any flipped bit of its file makes it begin anew") func state() throws {
        var state = ScrubState(at: Timestamp(seconds: 5))
        state.shard = 7
        state.last = BlobStore.before(shard: 8)
        state.damaged = [DamagedBlob(blob: .zeros, found: Timestamp(seconds: 9), reason: "gone")]
        let encoded = state.encoded
        #expect(ScrubState(encoded) == state)
        for index in encoded.indices {
            var bytes = encoded
            bytes[index] ^= 0x10
            #expect(ScrubState(bytes) == nil)
        }
        #expect(ScrubState([]) == nil)
    }
}
