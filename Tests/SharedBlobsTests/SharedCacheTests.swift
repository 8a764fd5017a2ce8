import Core
import NIOCore
import OrderedStore
import PostgresCatalog
import TestSupport
import Testing

@testable import BlobStore

@Suite("The disk of a node as a cache", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct SharedCacheTests {
    @Test("own files leave in the order they were read, those held and those read last stay, and what left is fetched again") func ownFiles()
        async throws
    {
        let nodes = try await Nodes()
        let a = try await nodes.node { $0.cacheBytesMax = 3_000_000 }
        let blobs = (0..<5).map { _ in World.real.randomBytes(1_200_000) }
        var ids: [BlobID] = []
        for (number, bytes) in blobs.enumerated() { ids.append(try await a.push(bytes, as: "\(number)", announced: false)) }
        try await a.settle()
        nodes.clock.advance(seconds: 100)
        #expect(try await a.read(ids[0]) == blobs[0])
        let held = try #require(try await a.blobs.staged(ids[1]))
        try await a.blobs.trimCache()
        #expect(try a.cached() == [ids[0], ids[1]])
        withExtendedLifetime(held) {}
        #expect(try #require(a.blobs.sharingStatistics).cacheBytes <= 3_000_000)
        for (id, bytes) in zip(ids, blobs) { #expect(try await a.read(id) == bytes) }
    }

    @Test("segments leave whole, the one that takes blobs when it is sealed; every blob is still read") func segments() async throws {
        let nodes = try await Nodes()
        let a = try await nodes.node({ $0.cacheBytesMax = 1_000_000 }, segmentBytesMax: 1 << 20)
        let blobs = (0..<12).map { _ in World.real.randomBytes(200_000) }
        var ids: [BlobID] = []
        for (number, bytes) in blobs.enumerated() { ids.append(try await a.push(bytes, as: "\(number)")) }
        for _ in 0..<3 {
            try await a.settle()
            // Behind whatever is to be sealed.
            try await a.blobs.segments.sealing.run { () throws(RegistryError) in }
            try await a.blobs.trimCache()
        }
        let statistics = try #require(a.blobs.sharingStatistics)
        #expect(statistics.cacheBytes <= 1_000_000)
        #expect(statistics.filesEvicted >= 2)
        #expect(try a.cached().count <= 4)
        for (id, bytes) in zip(ids, blobs) { #expect(try await a.read(id) == bytes) }
    }

    @Test("a node whose disk is full gives small blobs all the same, from the bucket and from who has them; large ones may be asked for again")
    func full() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(1), try await nodes.node(2) { $0.isBehind = true })
        // More than any disk has.
        let full = try await nodes.node(3, reserveBytes: 1 << 60)
        for node in [a, b] {
            let blobs = [0, 900, 1 << 20].map { World.real.randomBytes($0) }
            for (number, bytes) in blobs.enumerated() {
                let id = try await node.push(bytes, as: "\(number)")
                #expect(try await full.read(id) == bytes)
                #expect(try await full.read(id) == bytes)
            }
            let large = try await node.push(World.real.randomBytes((1 << 20) + 1), as: "large")
            let refused = await error { _ = try await full.read(large) }
            #expect(refused?.code == .unavailable && refused?.retryAfterSeconds != nil)
        }
        #expect(try full.cached().isEmpty)
        #expect(await error { try await full.push([1, 2, 3], as: "x") }?.code == .noSpace)
        // What is damaged or gone there is found all the same.
        let id = try await a.push(World.real.randomBytes(2000), as: "bad")
        let place = try #require(try await a.catalog.locations(of: [id])[id])
        try flip(nodes.bucket.path(of: .object(place.object)), at: Int(place.offset) + 100)
        #expect(await error { _ = try await full.read(id) }?.code == .corrupt)
        nodes.held.leave(2)
        let away = try await b.push(World.real.randomBytes(3000), as: "away")
        let refused = await error { _ = try await full.read(away) }
        #expect(refused?.code == .unavailable && refused?.reason.contains("node 2 ") == true)
    }

    @Test("a copy that the bucket has lost stays on the disk, and pushing it again puts it there") func lastCopy() async throws {
        let nodes = try await Nodes()
        let a = try await nodes.node { $0.cacheBytesMax = 1 }
        let bytes = World.real.randomBytes(1_200_000)
        let id = try await a.push(bytes, as: "x", announced: false)
        try await a.settle()
        let place = try #require(try await a.catalog.locations(of: [id])[id])
        a.blobs.sharing?.noteBroken(id, place)
        try await a.blobs.trimCache()
        #expect(try a.cached() == [id])
        try await a.push(bytes, as: "y", announced: false)
        try await a.settle()
        #expect(try await a.catalog.locations(of: [id])[id] != place)
        try await a.blobs.trimCache()
        #expect(try a.cached().isEmpty)
        #expect(try await a.read(id) == bytes)
    }

    @Test("an upload session's file becomes the cache's, and the session ends with its change") func session() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let bytes = World.real.randomBytes(9_000_000)
        let upload = try await a.blobs.beginUpload(context: [], totalBytes: nil).id
        _ = try await a.blobs.append(upload, at: 0, from: Body(ByteBuffer(bytes: bytes)))
        let staged = try await a.blobs.finishUpload(upload, digests: .sha256)
        try await a.name(staged, "x")
        try await a.settle()
        #expect(try a.cached() == [staged.id])
        #expect(try await a.blobs.upload(upload) == nil)
        #expect(!a.index.hasFailed)
        #expect(try await b.read(staged.id) == bytes)
    }
}
