import Core
import NIOCore
import OrderedStore
import PostgresCatalog
import Registry
import TestSupport
import Testing

@testable import BlobStore

@Suite("Uploads behind", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct HeldBlobsTests {
    private static let lengths = [0, 900, 70_000, 1_000_000, 3_000_000, 9_000_000]

    private static func behind(_ options: inout SharingOptions) { options.isBehind = true }

    /// The rows of the database by the place they say.
    private func places(_ nodes: Nodes) throws -> [String] { try nodes.ask("SELECT place FROM blob_locations ORDER BY length") }

    @Test("what comes while the bucket is down is acknowledged, read everywhere, and goes to the bucket when it is back") func down() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(1, Self.behind), try await nodes.node(2, Self.behind))
        nodes.bucket.goDown()
        let blobs = Self.lengths.map { World.real.randomBytes($0) }
        var ids: [BlobID] = []
        for (number, bytes) in blobs.enumerated() { ids.append(try await a.push(bytes, as: "\(number)", announced: number % 2 == 0)) }
        #expect(try places(nodes) == Array(repeating: "held", count: 6))
        #expect(try nodes.ask("SELECT DISTINCT node::text FROM blob_locations") == ["1"])
        #expect(try nodes.ask("SELECT count(object)::text FROM blob_locations") == ["0"])
        #expect(try await a.blobs.held() == [1: SharedLife(blobs: 6, bytes: Int64(Self.lengths.reduce(0, +)))])
        for (id, bytes) in zip(ids, blobs) {
            #expect(try await a.read(id) == bytes)
            #expect(try await b.read(id) == bytes)
        }
        #expect(await error { try await a.blobs.uploadHeld() }?.code == .unavailable)
        #expect(try places(nodes) == Array(repeating: "held", count: 6))
        let waiting = try #require(a.blobs.sharingStatistics)
        #expect(waiting.heldBlobs == 6 && waiting.heldBytes == Int64(Self.lengths.reduce(0, +)) && waiting.heldSince == nodes.clock.now)

        nodes.bucket.goDown(false)
        try await a.settle()
        try await a.blobs.uploadHeld()
        // Small ones together.
        #expect(try places(nodes) == ["group", "group", "group", "group", "whole", "whole"])
        #expect(nodes.bucket.puts == 3 + 1, "and the mark")
        #expect(try nodes.ask("SELECT count(node)::text FROM blob_locations") == ["0"])
        #expect(a.blobs.sharingStatistics?.heldBlobs == 0 && a.blobs.sharingStatistics?.heldBytes == 0)
        #expect(try await a.blobs.held().isEmpty)
        let questions = nodes.held.questions
        let c = try await nodes.node(3)
        for (id, bytes) in zip(ids, blobs) { #expect(try await c.read(id) == bytes) }
        #expect(nodes.held.questions == questions)
        // Nothing is left to do.
        try await a.blobs.uploadHeld()
        #expect(nodes.bucket.puts == 4)
    }

    @Test("however many ask for a blob, its holder is asked once; while it is away the answer says so, and when it is back it is read") func away()
        async throws
    {
        let nodes = try await Nodes()
        let directory = try TemporaryDirectory()
        let b = try await nodes.node(2)
        let (first, second) = (World.real.randomBytes(500_000), World.real.randomBytes(9_000_000))
        let (one, other): (BlobID, BlobID)
        do {
            let a = try await nodes.node(1, in: directory, Self.behind)
            (one, other) = (try await a.push(first, as: "x"), try await a.push(second, as: "y"))
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 0..<30 { group.addTask { try await b.read(one) == first } }
                for try await isRight in group { #expect(isRight) }
            }
            #expect(nodes.held.questions == 1)
            a.blobs.close()
            a.index.close()
            nodes.held.leave(1)
        }
        let refused = await error { _ = try await b.read(other) }
        #expect(refused?.code == .unavailable && refused?.retryAfterSeconds != nil)
        #expect(refused?.reason.contains("node 1 ") == true)
        // HEAD asks nobody.
        #expect(try await b.blobs.lengthAlone(of: other)?.length == 9_000_000)
        #expect(try await b.read(one) == first, "it is cached")
        let a = try await nodes.node(1, in: directory, Self.behind)
        #expect(try await b.read(other) == second)
        try await a.blobs.uploadHeld()
        #expect(try places(nodes) == ["group", "whole"])
    }

    @Test("a node that ends anywhere on the way begins there again: nothing is lost, whatever the setting is then", arguments: [
        HeldCalls.Step?.none, .beforeMove, .afterMove,
    ])
    func restart(_ step: HeldCalls.Step?) async throws {
        let nodes = try await Nodes()
        let directory = try TemporaryDirectory()
        let blobs = Self.lengths.map { World.real.randomBytes($0) }
        var ids: [BlobID] = []
        do {
            let a = try await nodes.node(1, in: directory, Self.behind)
            for (number, bytes) in blobs.enumerated() { ids.append(try await a.push(bytes, as: "\(number)")) }
            if let step {
                try await a.settle()
                nodes.held.fail(step)
                #expect(await error { try await a.blobs.uploadHeld() } != nil)
                nodes.held.fail(nil)
            }
            #expect(a.blobs.sharingStatistics?.heldBlobs == 6)
            a.blobs.close()
            a.index.close()
        }
        let a = try await nodes.node(1, in: directory)
        #expect(a.blobs.sharingStatistics?.heldBlobs == 6)
        try await a.blobs.uploadHeld()
        #expect(a.blobs.sharingStatistics?.heldBlobs == 0)
        #expect(try places(nodes) == ["group", "group", "group", "group", "whole", "whole"])
        let b = try await nodes.node(2)
        for (id, bytes) in zip(ids, blobs) { #expect(try await b.read(id) == bytes) }
    }

    @Test("what was noted and never named goes an hour later, and not while somebody is about to name it") func unnamed() async throws {
        let nodes = try await Nodes()
        let directory = try TemporaryDirectory()
        let bytes = World.real.randomBytes(9_000_000)
        do {
            let a = try await nodes.node(1, in: directory, Self.behind)
            let staged = try await a.stage(World.real.randomBytes(5000))
            _ = try await a.stage(bytes)
            try await a.settle()
            nodes.clock.advance(seconds: 4000)
            try await a.blobs.uploadHeld()
            #expect(a.blobs.sharingStatistics?.heldBlobs == 1, "one of the two is held by the test, too")
            try await a.name(staged, "x")
            #expect(try places(nodes) == ["held"])
            try await a.settle()
            _ = try await a.stage(bytes)
            a.blobs.close()
            a.index.close()
        }
        let a = try await nodes.node(1, in: directory, Self.behind)
        #expect(a.blobs.sharingStatistics?.heldBlobs == 2)
        try await a.blobs.uploadHeld()
        #expect(a.blobs.sharingStatistics?.heldBlobs == 1)
        #expect(try places(nodes) == ["group"])
        #expect(try await a.blobs.sweepCache(dryRun: false).removedBlobs == 0, "it could still be named")
        nodes.clock.advance(seconds: 4000)
        try await a.blobs.uploadHeld()
        #expect(a.blobs.sharingStatistics?.heldBlobs == 0)
        #expect(try await a.blobs.sweepCache(dryRun: false).removedBlobs == 1)
    }

    @Test("the cache keeps what is held, however full it is, and lets it go once the bucket has it") func eviction() async throws {
        let nodes = try await Nodes()
        let a = try await nodes.node(1, { $0.isBehind = true; $0.cacheBytesMax = 1 }, segmentBytesMax: 1 << 20)
        let blobs = (0..<12).map { World.real.randomBytes($0 < 10 ? 200_000 : 9_000_000) }
        var ids: [BlobID] = []
        for (number, bytes) in blobs.enumerated() { ids.append(try await a.push(bytes, as: "\(number)")) }
        func trim() async throws {
            for _ in 0..<3 {
                try await a.settle()
                try await a.blobs.segments.sealing.run { () throws(RegistryError) in }
                try await a.blobs.trimCache()
                _ = try await a.blobs.sweepCache(dryRun: false)
            }
        }
        try await trim()
        #expect(try a.cached() == Set(ids))
        try await a.blobs.uploadHeld()
        try await trim()
        #expect(try a.cached().isEmpty)
        for (id, bytes) in zip(ids, blobs) { #expect(try await a.read(id) == bytes) }
    }

    @Test("beyond the bound bytes are put before they are acknowledged, and behind again when there is room") func bound() async throws {
        let nodes = try await Nodes()
        let a = try await nodes.node(1) { ($0.isBehind, $0.behindBytesMax) = (true, 1_000_000) }
        try await a.push(World.real.randomBytes(700_000), as: "a")
        try await a.push(World.real.randomBytes(700_001), as: "b")
        #expect(try places(nodes) == ["held", "group"])
        nodes.bucket.goDown()
        #expect(await error { try await a.push(World.real.randomBytes(700_002), as: "c") }?.code == .unavailable)
        try await a.push(World.real.randomBytes(300_000), as: "d")
        #expect(try places(nodes) == ["held", "held", "group"])
        nodes.bucket.goDown(false)
        try await a.settle()
        try await a.blobs.uploadHeld()
        nodes.bucket.goDown()
        try await a.push(World.real.randomBytes(999_999), as: "e")
        #expect(try places(nodes) == ["group", "group", "group", "held"])
    }

    @Test("the sweep walks rows of held blobs as others, and never takes a disk for an object; what it forgot is not put") func sweep() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(1, Self.behind), try await nodes.node(2))
        let (kept, gone) = (World.real.randomBytes(5000), World.real.randomBytes(6000))
        let (one, other) = (try await a.push(kept, as: "x"), try await a.push(gone, as: "y"))
        #expect(try await b.blobs.sharedRows(after: nil, limit: 10).rows.map(\.blob) == [one, other].sorted())
        #expect(try await b.catalog.life(of: [EntityID(high: 0, low: 1)]).isEmpty)
        #expect(try await b.catalog.rows(naming: EntityID(high: 0, low: 1), after: nil, limit: 10).isEmpty)
        #expect(try await b.catalog.rows(heldBy: 1, after: nil, limit: 10).map(\.blob) == [one, other].sorted())
        try await a.delete("y")
        try await a.settle()
        nodes.clock.advance(seconds: 90_000)
        #expect(try await b.catalog.forget([one, other], unpinnedBefore: nodes.clock.now) { _ in true } == [other])
        #expect(try await b.blobs.sweepObjects(CompactionOptions()).orphans == 0)
        try await a.blobs.uploadHeld()
        #expect(a.blobs.sharingStatistics?.heldBlobs == 0)
        #expect(try await nodes.bucket.objects().count == 1)
        #expect(try await a.blobs.sweepCache(dryRun: false).removedBlobs == 1)
        #expect(try a.cached() == [one])
        #expect(try await b.read(one) == kept)
        #expect(try await b.read(other) == nil)
    }

    @Test("bytes that another node alone has are taken once more, so that a disk that is lost is healed by who brings them again") func healing()
        async throws
    {
        let nodes = try await Nodes()
        let b = try await nodes.node(2, Self.behind)
        let bytes = World.real.randomBytes(40_000)
        let id: BlobID
        do {
            let a = try await nodes.node(1, Self.behind)
            id = try await a.push(bytes, as: "x")
            a.blobs.close()
            a.index.close()
        }
        // It is back, with an empty disk.
        let a = try await nodes.node(1, Self.behind)
        let lost = await error { _ = try await b.read(id) }
        #expect(lost?.code == .corrupt && lost?.reason.contains("node 1,") == true)
        #expect(await error { _ = try await a.read(id) }?.code == .corrupt)
        #expect(try await a.blobs.held() == [1: SharedLife(blobs: 1, bytes: 40_000)])
        try await b.push(bytes, as: "y")
        #expect(try await b.blobs.held() == [2: SharedLife(blobs: 1, bytes: 40_000)])
        #expect(try await a.read(id) == bytes)
        try await b.settle()
        try await b.blobs.uploadHeld()
        #expect(try places(nodes) == ["group"])
        // To the one that had it, just so.
        let other = World.real.randomBytes(50_000)
        nodes.held.leave(3)
        var c: Node? = try await nodes.node(3, Self.behind)
        try await c?.push(other, as: "z")
        c = nil
        let d = try await nodes.node(3, Self.behind)
        let again = try await d.push(other, as: "w")
        #expect(d.blobs.sharingStatistics?.heldBlobs == 1)
        #expect(try await b.read(again) == other)
    }

    @Test("a copy that is damaged where it is held is never put, holds nothing up, and is healed by who brings it again") func damage() async throws {
        let nodes = try await Nodes()
        let a = try await nodes.node(1, Self.behind)
        let (bad, good) = (World.real.randomBytes(9_000_000), World.real.randomBytes(9_000_001))
        let (one, other) = (try await a.push(bad, as: "x"), try await a.push(good, as: "y"))
        try await a.settle()
        try flip(a.directory.file("data/blobs/\(one.hex.prefix(2))/\(one.hex)"), at: 300)
        a.blobs.verified.remove(one)
        try await a.blobs.uploadHeld()
        #expect(try places(nodes) == ["held", "whole"])
        #expect(await error { _ = try await a.read(one) }?.code == .corrupt)
        let b = try await nodes.node(2)
        #expect(await error { _ = try await b.read(one) }?.code == .corrupt)
        #expect(try await b.read(other) == good)
        try await a.push(bad, as: "z")
        try await a.settle()
        try await a.blobs.uploadHeld()
        #expect(try places(nodes) == ["whole", "whole"])
        #expect(try await b.read(one) == bad)
    }

    @Test("the same bytes at two nodes at once are one blob: an object is said rather than a disk, and one disk is as good as the other") func both()
        async throws
    {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(1, Self.behind), try await nodes.node(2))
        let bytes = World.real.randomBytes(30_000)
        let (here, there) = (try await a.stage(bytes), try await b.stage(bytes))
        try await a.name(here, "x")
        #expect(try places(nodes) == ["held"])
        try await b.name(there, "y")
        #expect(try places(nodes) == ["group"])
        let puts = nodes.bucket.puts
        #expect(a.blobs.sharingStatistics?.heldBlobs == 1)
        try await a.blobs.uploadHeld()
        #expect(nodes.bucket.puts == puts)

        let c = try await nodes.node(3, Self.behind)
        let more = World.real.randomBytes(31_000)
        let (first, second) = (try await a.stage(more), try await c.stage(more))
        try await a.name(first, "v")
        try await c.name(second, "w")
        #expect(try nodes.ask("SELECT node::text FROM blob_locations WHERE place = 'held'") == ["1"])
        // Whoever comes first brings it.
        try await c.blobs.uploadHeld()
        #expect(try places(nodes) == ["group", "group"])
        #expect(try await b.read(second.id) == more)
    }

    @Test("bytes that come again on a node that holds them, or has them cached, are durable and noted there") func again() async throws {
        let nodes = try await Nodes()
        let a = try await nodes.node(1, Self.behind)
        let bytes = World.real.randomBytes(20_000)
        let id = try await a.push(bytes, as: "x")
        try await a.push(bytes, as: "y")
        try await a.settle()
        try await a.push(bytes, as: "z")
        #expect(a.blobs.sharingStatistics?.heldBlobs == 1)
        try await a.settle()
        try await a.blobs.uploadHeld()
        for path in ["x", "y", "z"] { try await a.delete(path) }
        #expect(try await a.catalog.forget([id], unpinnedBefore: nodes.clock.now) { _ in true } == [id])
        // The disk still has it, and no row says so.
        try await a.push(bytes, as: "w")
        #expect(a.blobs.sharingStatistics?.heldBlobs == 1)
        #expect(try places(nodes) == ["held"])
        try await a.settle()
        try await a.blobs.uploadHeld()
        #expect(try await (try await nodes.node(2)).read(id) == bytes)
    }

    @Test("a node that stops brings what it holds into the bucket, or says that it did not") func stop() async throws {
        let nodes = try await Nodes()
        let a = try await nodes.node(1, Self.behind)
        try await a.push(World.real.randomBytes(1000), as: "x")
        try await a.settle()
        nodes.bucket.goDown()
        await a.blobs.finishUploads(seconds: 30)
        #expect(a.blobs.sharingStatistics?.heldBlobs == 1)
        nodes.bucket.goDown(false)
        await a.blobs.finishUploads(seconds: 30)
        #expect(try places(nodes) == ["group"])
    }

    @Test("a row says the node, and nothing else is taken for one") func rows() throws {
        for node in [1, 7, UInt16.max] {
            let location = SharedLocation(heldBy: node, length: 5)
            #expect(location.holder == node)
            #expect(try SharedLocation(location.encoded) == location)
        }
        #expect(SharedLocation(.whole, in: EntityID(high: 0, low: 7), offset: 0, length: 5).holder == nil)
        var none = SharedLocation(heldBy: 1, length: 5).encoded
        none[25] = 0
        #expect(throws: RegistryError.self) { try SharedLocation(none) }
        var large = SharedLocation(heldBy: 1, length: 5).encoded
        large[20] = 1
        #expect(throws: RegistryError.self) { try SharedLocation(large) }
        let note = HeldNote(length: 9, since: Timestamp(seconds: 3))
        #expect(try HeldNote(note.encoded) == note)
        #expect(throws: RegistryError.self) { try HeldNote(note.encoded + [0]) }
    }
}
