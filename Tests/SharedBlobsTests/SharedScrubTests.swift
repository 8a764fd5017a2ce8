import BlobStore
import Catalog
import Core
import PostgresCatalog
import Synchronization
import TestSupport
import Testing

@testable import Registry

#if canImport(Glibc)
    import Glibc
#endif

extension Node {
    /// As the node's server would have one.
    fileprivate func scrub() -> BucketScrub {
        var options = ScrubOptions()
        options.bytesPerSecondMax = 0
        let leases = Leases(catalog: catalog, node: 0, world: clock.world)
        return BucketScrub(catalog: catalog, blobs: blobs, leases: leases, options: options, world: clock.world, log: Node.log)
    }
}

@Suite("The scrub of a shared bucket", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct SharedScrubTests {
    @Test("every byte that rows name is read, groups in one request, large objects in windows, and what is right is called right")
    func sound() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        var bytes: Int64 = 0
        for (number, length) in [0, 1, 900, 70_000, 1_200_000, 9_000_000].enumerated() {
            try await a.push(World.real.randomBytes(length), as: "\(number)", announced: length < 1_000_000)
            bytes += Int64(length)
        }
        // Nobody names it.
        _ = try await a.stage(World.real.randomBytes(3000))
        let scrub = b.scrub()
        let began = nodes.clock.now
        nodes.clock.advance(seconds: 5)
        #expect(scrub.oldest == began)
        try await scrub.read()
        #expect(scrub.oldest == nodes.clock.now)
        let objects = try #require(Int64(try nodes.ask("SELECT count(DISTINCT object)::text FROM blob_locations")[0]))
        #expect(scrub.totals.objects == objects)
        #expect(scrub.totals.bytes == bytes)
        // Each is asked for its length; the largest takes two windows, an empty blob alone in its object none.
        #expect((2 * objects...2 * objects + 1).contains(scrub.totals.requests))
        #expect(scrub.totals.damaged == 0)
        #expect(scrub.damaged == [])
        // Another node knows.
        let other = a.scrub()
        try await other.heal()
        #expect(other.oldest == nodes.clock.now)
        #expect(other.totals.objects == 0)
    }

    @Test("damage is found, named on all nodes, and healed by one whose disk has the bytes; what no disk has waits for whoever brings it")
    func damage() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let contents = [900, 400_000, 9_000_000, 5000, 70_000].map { World.real.randomBytes($0) }
        var ids: [BlobID] = []
        for (number, bytes) in contents.prefix(4).enumerated() { ids.append(try await a.push(bytes, as: "\(number)")) }
        do {
            // Its disk is lost with it.
            let gone = try await nodes.node()
            ids.append(try await gone.push(contents[4], as: "4"))
            try await gone.settle()
        }
        let sound = try await a.push(World.real.randomBytes(2000), as: "sound")
        try await a.settle()
        let rows = try await a.catalog.locations(of: ids)
        for number in [0, 1, 2, 4] {
            let row = try #require(rows[ids[number]])
            try flip(nodes.bucket.path(of: .object(row.object)), at: Int(row.offset) + contents[number].count / 2)
        }
        let missing = try #require(rows[ids[3]])
        unsafe unlink(nodes.bucket.path(of: .object(missing.object)))
        // Its disk is empty.
        let reader = b.scrub()
        try await reader.read()
        #expect(reader.totals.damaged == 5)
        #expect(Set(reader.damaged.map(\.blob)) == Set(ids))
        let healer = a.scrub()
        try await healer.heal()
        #expect(healer.totals.healed == 4)
        #expect(healer.damaged.map(\.blob) == [ids[4]])
        let c = try await nodes.node()
        for number in 0..<4 { #expect(try await c.read(ids[number]) == contents[number]) }
        #expect(try await c.read(sound) != nil)
        #expect(await error { _ = try await c.read(ids[4]) }?.code == .corrupt)
        // What was found before is found again, and is one.
        try await healer.read()
        #expect(healer.totals.damaged == 1)
        #expect(healer.damaged.map(\.blob) == [ids[4]])
        // Every node that looked knows that these bytes are wanted.
        try await a.push(contents[4], as: "again")
        try await reader.heal()
        #expect(reader.damaged == [])
        #expect(try await (try await nodes.node()).read(ids[4]) == contents[4])
        try await reader.read()
        #expect(reader.totals.damaged == 5)
    }

    @Test("a reading that one node broke off, as the bucket went away, goes on at another where it was") func goingOn() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        for number in 0..<12 { try await a.push(World.real.randomBytes(1000 + number), as: "\(number)") }
        let (one, other) = (a.scrub(), b.scrub())
        let began = nodes.clock.now
        nodes.bucket.state.withLock { $0.readsMax = $0.reads + 5 }
        #expect(await error { try await one.read() }?.code == .unavailable)
        #expect(one.totals.objects == 5)
        nodes.bucket.state.withLock { $0.readsMax = .max }
        nodes.clock.advance(seconds: 1000)
        try await other.read()
        #expect(other.totals.objects == 7)
        #expect(other.oldest == began, "what was read then was read then")
        // The next one begins anew.
        try await other.read()
        #expect(other.totals.objects == 7 + 12)
        #expect(other.oldest == nodes.clock.now)
    }

    @Test("two nodes that want to read at once are one reading") func once() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        try await a.push([1, 2, 3], as: "x")
        let (one, other) = (a.scrub(), b.scrub())
        let leases = Leases(catalog: a.catalog, node: 7, world: nodes.clock.world)
        try await leases.holding(BucketScrub.lease) { () async throws(RegistryError) in
            for scrub in [one, other] {
                do throws(RegistryError) {
                    try await scrub.read()
                    Issue.record("it reads what another is reading")
                } catch { #expect(error.code == .conflict) }
            }
        }
        try await other.read()
        #expect([one.totals.objects, other.totals.objects] == [0, 1])
    }

    @Test("what moved to another object, or was forgotten, between the questions is no damage") func moved() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let bytes = World.real.randomBytes(5000)
        let id = try await a.push(bytes, as: "x")
        let row = try #require(try await a.catalog.locations(of: [id])[id])
        let copy = SharedLocation(.whole, in: World.real.newID(), offset: 0, length: row.length)
        try await nodes.bucket.put(.object(copy.object), Bytes(bytes))
        unsafe unlink(nodes.bucket.path(of: .object(row.object)))
        #expect(try await a.catalog.move([SharedMove(id, from: row, to: copy)]) == [id])
        let scrub = b.scrub()
        try await scrub.read()
        #expect(scrub.totals.damaged == 0)
        // Known to be damaged at a place where it is no more.
        #expect(try await a.blobs.healShared(SharedDamage(blob: id, place: row)))
        #expect(try await a.catalog.locations(of: [id])[id] == copy)
        #expect(try await (try await nodes.node()).read(id) == bytes)
    }
}

private struct Bytes: RandomAccessBytes {
    let bytes: [UInt8]
    init(_ bytes: [UInt8]) { self.bytes = bytes }
    var size: Int64 { Int64(bytes.count) }
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int {
        let piece = bytes.dropFirst(Int(offset)).prefix(buffer.count)
        unsafe buffer.copyBytes(from: piece)
        return piece.count
    }
}
