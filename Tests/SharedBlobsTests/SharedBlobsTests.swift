import BlobStore
import Catalog
import Core
import NIOCore
import OrderedStore
import PostgresCatalog
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Blobs of several nodes", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct SharedBlobsTests {
    @Test(
        "what one node acknowledged another reads at once, and so does one with an empty disk",
        arguments: [
            (0, true), (100, true), (60_000, false), (700_000, true), (700_001, false), (5_000_000, true), (9_000_000, true), (9_000_001, false),
        ])
    func acknowledged(_ length: Int, _ announced: Bool) async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let bytes = World.real.randomBytes(length)
        let id = try await a.push(bytes, as: "x", announced: announced)
        #expect(try await b.read(id) == bytes)
        #expect(try await a.read(id) == bytes)
        // The database says where: the very bytes, for whoever has nothing but the two.
        let row = try #require(try await a.catalog.locations(of: [id])[id])
        let file = try #require(unsafe fopen(nodes.bucket.path(of: .object(row.object)), "r"))
        defer { unsafe fclose(file) }
        unsafe fseek(file, Int(row.offset), SEEK_SET)
        var found = [UInt8](repeating: 0, count: length)
        #expect(unsafe fread(&found, 1, length, file) == length)
        #expect(found == bytes)
        let reads = nodes.bucket.reads
        #expect(try await b.read(id) == bytes)
        #expect(nodes.bucket.reads == reads, "it is on the disk, or on its way there")
    }

    @Test("a disk that is lost takes nothing with it, and one that is back has what it had") func lostDisk() async throws {
        let nodes = try await Nodes()
        let blobs = [10, 70_000, 300_000, 9_000_000].map { World.real.randomBytes($0) }
        var ids: [BlobID] = []
        let directory = try TemporaryDirectory()
        do {
            let a = try await nodes.node(in: directory)
            for (index, bytes) in blobs.enumerated() { ids.append(try await a.push(bytes, as: "f\(index)")) }
            try await a.settle()
            #expect(try a.cached() == Set(ids))
            a.blobs.close()
            a.index.close()
        }
        let back = try await nodes.node(in: directory)
        let empty = try await nodes.node()
        for (id, bytes) in zip(ids, blobs) {
            #expect(try await empty.read(id) == bytes)
            let reads = nodes.bucket.reads
            #expect(try await back.read(id) == bytes)
            #expect(nodes.bucket.reads == reads)
        }
    }

    @Test("many readers of one blob fetch it once") func singleFlight() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let bytes = World.real.randomBytes(500_000)
        let id = try await a.push(bytes, as: "x")
        let reads = nodes.bucket.reads
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<50 { group.addTask { try await b.read(id) == bytes } }
            for try await isRight in group { #expect(isRight) }
        }
        #expect(nodes.bucket.reads == reads + 1)
    }

    @Test("the same bytes pushed to all nodes at once are one blob with one row") func sameBytes() async throws {
        let nodes = try await Nodes()
        let all = [try await nodes.node(), try await nodes.node(), try await nodes.node()]
        for (round, length) in [500, 90_000, 9_000_000].enumerated() {
            let bytes = World.real.randomBytes(length)
            let ids = try await withThrowingTaskGroup(of: BlobID.self) { group in
                for number in 0..<9 { group.addTask { try await all[number % 3].push(bytes, as: "\(round)/\(number)") } }
                return try await group.reduce(into: Set<BlobID>()) { $0.insert($1) }
            }
            let id = try #require(ids.first)
            #expect(ids.count == 1)
            for node in all { #expect(try await node.read(id) == bytes) }
        }
        #expect(try nodes.ask("SELECT count(*)::text FROM blob_locations") == ["3"])
        // Known by then: nobody puts it once more.
        let puts = nodes.bucket.puts
        let again = World.real.randomBytes(400)
        try await all[0].push(again, as: "a")
        try await all[1].push(again, as: "b")
        #expect(nodes.bucket.puts == puts + 1)
    }

    @Test("small blobs that come together are few objects, never one each") func groups() async throws {
        let nodes = try await Nodes()
        let a = try await nodes.node()
        // As many as wait while three are being put.
        let staged = try await withThrowingTaskGroup(of: (any StagedBytes).self) { group in
            for number in 0..<100 { group.addTask { try await a.stage(World.real.randomBytes(1000 + number)) } }
            return try await group.reduce(into: [any StagedBytes]()) { $0.append($1) }
        }
        for (number, blob) in staged.enumerated() { try await a.name(blob, "p/\(number)") }
        let objects = try await nodes.bucket.objects().count
        #expect(objects < 50, "\(objects) objects of 100 blobs")
        #expect(try nodes.ask("SELECT count(DISTINCT object)::text FROM blob_locations WHERE place = 'group'") == ["\(objects)"])
        let b = try await nodes.node()
        for blob in staged { #expect(try await b.read(blob.id) != nil) }
    }

    @Test("while the bucket is down pushes are refused for now and leave nothing, what is here is served, and all goes on after") func down()
        async throws
    {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let (old, new) = (World.real.randomBytes(200_000), World.real.randomBytes(300_000))
        let id = try await a.push(old, as: "old")
        nodes.bucket.goDown()
        for node in [a, b] {
            let refusal = await error { try await node.push(new, as: "new") }
            #expect(refusal?.code == .unavailable)
            #expect(refusal?.retryAfterSeconds != nil)
        }
        #expect(try nodes.ask("SELECT count(*)::text FROM blob_locations") == ["1"])
        #expect(try await a.read(id) == old)
        let unanswered = await error { _ = try await b.read(id) }
        #expect(unanswered?.code == .unavailable)
        #expect(unanswered?.retryAfterSeconds != nil)
        // Known bytes need no bucket.
        try await b.push(old, as: "again")
        nodes.bucket.goDown(false)
        #expect(try await b.read(id) == old)
        let other = try await b.push(new, as: "new")
        #expect(try await a.read(other) == new)
    }

    @Test("damage in the bucket is named, served by nobody, and healed by pushing the bytes again", arguments: [900, 400_000, 9_000_000])
    func damaged(_ length: Int) async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let bytes = World.real.randomBytes(length)
        let id = try await a.push(bytes, as: "x")
        let row = try #require(try await a.catalog.locations(of: [id])[id])
        try flip(nodes.bucket.path(of: .object(row.object)), at: Int(row.offset) + length / 2)
        #expect(await error { _ = try await b.read(id) }?.code == .corrupt)
        // Who has it whole serves it.
        #expect(try await a.read(id) == bytes)
        try await b.push(bytes, as: "y")
        let c = try await nodes.node()
        #expect(try await c.read(id) == bytes)
        // Missing is no better.
        let healed = try #require(try await a.catalog.locations(of: [id])[id])
        #expect(healed != row)
        unsafe unlink(nodes.bucket.path(of: .object(healed.object)))
        let d = try await nodes.node()
        let missing = await error { _ = try await d.read(id) }
        #expect(missing?.code == .corrupt)
        #expect(missing.map { "\($0)".contains(id.hex) } == true)
    }

    @Test("a copy on the disk that is damaged is fetched anew", arguments: [900, 400_000, 9_000_000])
    func damagedHere(_ length: Int) async throws {
        let nodes = try await Nodes()
        let directory = try TemporaryDirectory()
        let bytes = World.real.randomBytes(length)
        let id: BlobID
        do {
            let a = try await nodes.node(in: directory)
            id = try await a.push(bytes, as: "x")
            try await a.settle()
            a.blobs.close()
            a.index.close()
        }
        let path = length > 8 << 20 ? "data/blobs/\(id.hex.prefix(2))/\(id.hex)" : "data/segments/0000000000000001.segment"
        try flip(directory.file(path), at: 300)
        let a = try await nodes.node(in: directory)
        let reads = nodes.bucket.reads
        #expect(try await a.read(id) == bytes)
        #expect(nodes.bucket.reads > reads)
        try await a.settle()
        let after = nodes.bucket.reads
        #expect(try await a.read(id) == bytes)
        #expect(nodes.bucket.reads == after)
    }

    @Test("a row that was swept between the question for it and the change is made again") func sweptBetween() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let bytes = World.real.randomBytes(3000)
        let id = try await a.push(bytes, as: "x")
        try await a.delete("x")
        nodes.clock.advance(seconds: 10)
        let staged = try await b.stage(bytes)
        #expect(staged.location == nil)
        // Its grace began anew with the question.
        #expect(try await a.catalog.forget([id], unpinnedBefore: nodes.clock.now.adding(seconds: -1)) { _ in true } == [])
        #expect(try await a.catalog.forget([id], unpinnedBefore: nodes.clock.now) { _ in true } == [id])
        try await b.name(staged, "y")
        #expect(try await (try await nodes.node()).read(id) == bytes)
    }

    @Test("a blob that is here, and whose row was swept, is put anew; a mount of one that is elsewhere is not") func again() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let bytes = World.real.randomBytes(100_000)
        let id = try await a.push(bytes, as: "x")
        try await a.settle()
        try await a.delete("x")
        #expect(try await b.catalog.forget([id], unpinnedBefore: nodes.clock.now) { _ in true } == [id])
        #expect(try await b.blobs.staged(id) == nil)
        let staged = try #require(try await a.blobs.staged(id))
        try await a.name(staged, "y")
        let puts = nodes.bucket.puts
        let mounted = try #require(try await b.blobs.staged(id))
        #expect(mounted.size == 100_000)
        try await b.name(mounted, "z")
        #expect(nodes.bucket.puts == puts)
        #expect(try await b.read(id) == bytes)
    }

    @Test("HEAD and redirects need no bytes") func noBytes() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let (small, large) = (try await a.push(World.real.randomBytes(5000), as: "s"), try await a.push(World.real.randomBytes(9_000_000), as: "l"))
        let reads = nodes.bucket.reads
        #expect(try await b.blobs.lengthAlone(of: small)?.length == 5000)
        #expect(try await b.blobs.lengthAlone(of: large)?.length == 9_000_000)
        func url(_ id: BlobID, _ node: Node) async throws -> String? {
            try await node.blobs.tierURL(of: id, expiresSeconds: 60, disposition: "", contentType: "")
        }
        let row = try #require(try await a.catalog.locations(of: [large])[large])
        #expect(try await url(large, b) == "https://bucket/objects/\(row.object.description.suffix(2))/\(row.object)")
        #expect(try await url(small, b) == nil)
        #expect(try await url(large, a) == nil, "its disk has it")
        #expect(nodes.bucket.reads == reads)
        #expect(try await b.blobs.content(of: RandomChanges.blobs[0]) == nil)
    }

    @Test("a bucket, a database and a disk that do not belong together are refused") func strangers() async throws {
        let (one, other) = (try await Nodes(), try await Nodes())
        let directory = try TemporaryDirectory()
        do {
            let node = try await one.node(in: directory)
            try await node.push([1, 2, 3], as: "x")
            node.blobs.close()
            node.index.close()
        }
        _ = try await other.node()
        #expect(await error { _ = try await Nodes(one.bucket).node() }?.code == .invalid)
        #expect(await error { _ = try await other.node(in: directory) }?.code == .invalid)
        // A store of its own.
        let own = try TemporaryDirectory()
        try TemporaryDirectory.write([], to: own.file("data/segments/0000000000000001.segment"))
        #expect(await error { _ = try await one.node(in: own) }?.code == .invalid)
    }
}

extension TemporaryDirectory {
    fileprivate static func write(_ bytes: [UInt8], to path: String) throws {
        var directory = ""
        for part in path.split(separator: "/").dropLast() {
            directory += "/\(part)"
            mkdir(directory, 0o700)
        }
        let file = try #require(unsafe fopen(path, "w"))
        unsafe fclose(file)
    }
}
