import BlobStore
import Catalog
import Core
import NIOCore
import OrderedStore
import PostgresCatalog
import Registry
import Synchronization
import TestSupport
import Testing

@Suite("The sweep of a shared bucket", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct SharedSweepTests {
    @Test("rows go when their grace is over, objects a day after they were made, and what lives in the rest moves together") func round() async throws
    {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        // Each alone in its object.
        var blobs: [(path: String, id: BlobID, bytes: [UInt8])] = []
        for number in 0..<24 {
            let bytes = World.real.randomBytes(2000 + number)
            blobs.append(("p/\(number)", try await a.push(bytes, as: "p/\(number)"), bytes))
        }
        let large = try await a.push(World.real.randomBytes(1_200_000), as: "large", announced: false)
        for blob in blobs.prefix(12) { try await a.delete(blob.path) }
        try await a.delete("large")
        nodes.clock.advance(seconds: 1800)
        #expect(try await b.sweepShared(graceSeconds: 3600).removedBlobs == 0)
        nodes.clock.advance(seconds: 1900)
        let first = try await b.sweepShared(graceSeconds: 3600)
        #expect(first.removedBlobs == 13)
        #expect(first.orphans == 0, "the objects are young")
        #expect(try await nodes.bucket.objects().count == 25)
        #expect(try await a.catalog.locations(of: [large]).isEmpty)
        nodes.clock.advance(seconds: 90_000)
        let second = try await b.sweepShared(graceSeconds: 3600)
        #expect(second.orphans == 13)
        #expect(second.segmentsCompacted == 12)
        #expect(second.movedBlobs == 12)
        let third = try await a.sweepShared(graceSeconds: 3600)
        #expect(third.orphans == 12)
        #expect(try await nodes.bucket.objects().count == 1)
        #expect(try nodes.ask("SELECT count(DISTINCT object)::text FROM blob_locations") == ["1"])
        let c = try await nodes.node()
        for blob in blobs.suffix(12) { #expect(try await c.read(blob.id) == blob.bytes) }
        for blob in blobs.prefix(12) { #expect(try await c.read(blob.id) == nil) }
        // Nothing is left to do.
        nodes.clock.advance(seconds: 90_000)
        let last = try await b.sweepShared(graceSeconds: 3600)
        #expect([last.orphans, last.movedBlobs, last.removedBlobs] == [0, 0, 0])
    }

    @Test("what was put and never named is deleted a day later, and not before") func orphans() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        for length in [3000, 1_200_000] { _ = try await a.stage(World.real.randomBytes(length), announced: false) }
        #expect(try await nodes.bucket.objects().count == 2)
        nodes.clock.advance(seconds: 86_000)
        #expect(try await b.sweepShared(graceSeconds: 0).orphans == 0)
        nodes.clock.advance(seconds: 500)
        let look = try await b.sweepShared(graceSeconds: 0, isDryRun: true)
        #expect(look.orphans == 2)
        #expect(try await nodes.bucket.objects().count == 2)
        #expect(try await b.sweepShared(graceSeconds: 0).orphans == 2)
        #expect(try await nodes.bucket.objects().isEmpty)
    }

    @Test("a group of which little lives is written anew without what is dead; damage stays where it is and is named") func mostlyDead() async throws
    {
        let nodes = try await Nodes()
        let (a, sweeping) = (try await nodes.node(), try await nodes.node())
        let blobs = (0..<40).map { _ in World.real.randomBytes(5000) }
        let staged = try await withThrowingTaskGroup(of: (any StagedBytes).self) { group in
            for bytes in blobs { group.addTask { try await a.stage(bytes) } }
            return try await group.reduce(into: [any StagedBytes]()) { $0.append($1) }
        }
        for (number, blob) in staged.enumerated() { try await a.name(blob, "p/\(number)") }
        let rows = try await a.catalog.locations(of: staged.map(\.id))
        let groups = Dictionary(grouping: staged.indices) { rows[staged[$0].id]?.object }
        // One of each group lives.
        let living = groups.values.compactMap { $0.first }
        for number in staged.indices where !living.contains(number) { try await a.delete("p/\(number)") }
        let damaged = try #require(living.first)
        let place = try #require(rows[staged[damaged].id])
        try flip(nodes.bucket.path(of: .object(place.object)), at: Int(place.offset) + 100)
        nodes.clock.advance(seconds: 90_000)
        let tally = try await sweeping.sweepShared(graceSeconds: 0)
        #expect(tally.removedBlobs == Int64(staged.count - living.count))
        #expect(tally.movedBlobs == Int64(living.count - 1))
        _ = try await sweeping.sweepShared(graceSeconds: 0)
        let b = try await nodes.node()
        for number in living where number != damaged { #expect(try await b.read(staged[number].id) != nil) }
        #expect(await error { _ = try await b.read(staged[damaged].id) }?.code == .corrupt)
        #expect(try await a.catalog.locations(of: [staged[damaged].id])[staged[damaged].id] == place)
    }

    @Test("the sweep of a node takes from its cache what no row names, and no row") func cache() async throws {
        let nodes = try await Nodes()
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let keptBytes = World.real.randomBytes(4000)
        let kept = try await a.push(keptBytes, as: "kept")
        for (number, length) in [4000, 1_200_000].enumerated() {
            let id = try await a.push(World.real.randomBytes(length), as: "gone", announced: false)
            try await a.settle()
            try await a.delete("gone")
            #expect(try await b.catalog.forget([id], unpinnedBefore: nodes.clock.now) { _ in true } == [id], "\(number)")
        }
        try await a.settle()
        #expect(try a.cached().count == 3)
        let tally = try await a.sweeper(graceSeconds: 0).sweep(a.options(graceSeconds: 0)).tally
        #expect(tally.removedBlobs == 2)
        #expect(try a.cached() == [kept])
        #expect(try nodes.ask("SELECT count(*)::text FROM blob_locations") == ["1"])
        #expect(try await a.read(kept) == keptBytes)
        let words = try await a.sweeper(graceSeconds: 0).explain(kept)
        #expect(words.place?.hasPrefix("object ") == true)
        #expect(words.reasons == ["the artifact kept of r"])
    }

    @Test("pushes, deletions and reads on all nodes while one sweeps: nothing named is lost, and nothing dead is left after two rounds")
    func race() async throws {
        let seed = SeededRandom.runSeed
        let nodes = try await Nodes()
        let all = [try await nodes.node(), try await nodes.node(), try await nodes.node()]
        let contents = (0..<14).map { number in
            var random = SeededRandom(seed: seed &+ UInt64(number))
            return (0..<(number == 0 ? 1_200_000 : 200 + number * 700)).map { _ in UInt8.random(in: 0...255, using: &random) }
        }
        let model = Model()
        for phase in 0..<4 {
            // What the phases before it put is old now.
            nodes.clock.advance(seconds: 90_000)
            model.isOver.store(false, ordering: .relaxed)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    while !model.isOver.load(ordering: .relaxed) { _ = try await all[phase % 3].sweepShared(graceSeconds: 0) }
                }
                group.addTask {
                    defer { model.isOver.store(true, ordering: .relaxed) }
                    try await withThrowingTaskGroup(of: Void.self) { workers in
                        for worker in 0..<6 {
                            workers.addTask {
                                try await work(
                                    as: worker, on: all[worker % 3], contents, model, SeededRandom(seed: seed &+ UInt64(phase * 100 + worker)))
                            }
                        }
                        try await workers.waitForAll()
                    }
                }
                try await group.waitForAll()
            }
        }
        nodes.clock.advance(seconds: 90_000)
        // What was just pushed is held by its node until its disk has noted it.
        for node in all { try await node.settle() }
        for node in [all[0], all[1]] { _ = try await node.sweepShared(graceSeconds: 0) }
        let named = Set(model.paths.withLock { $0.values })
        let fresh = try await nodes.node()
        for number in named {
            let id = try #require(BlobID(Digest.of(.sha256, contents[number])))
            #expect(try await fresh.read(id) == contents[number], "dangling: content \(number), seed \(seed)")
        }
        let left = Set(try nodes.ask("SELECT encode(sha256, 'hex') FROM blob_locations"))
        #expect(left == Set(named.map { Digest.of(.sha256, contents[$0]).hex }), "seed \(seed)")
        let objects = Set(try await nodes.bucket.objects().keys.map(\.description))
        let rows = Set(try nodes.ask("SELECT DISTINCT object::text FROM blob_locations"))
        #expect(objects == rows, "leaks, seed \(seed)")
    }

    /// Which content is at which path.
    private final class Model: Sendable {
        let paths = Mutex<[String: Int]>([:])
        let isOver = Atomic(false)
    }

    /// Each worker has paths of its own, so that it knows what is at them.
    private func work(
        as worker: Int, on node: Node, _ contents: [[UInt8]], _ model: Model, _ seeded: SeededRandom
    ) async throws {
        var random = seeded
        for _ in 0..<25 {
            let path = "w\(worker)/\(Int.random(in: 0..<3, using: &random))"
            let known = model.paths.withLock { $0[path] }
            switch (Int.random(in: 0..<4, using: &random), known) {
            case (0, _?):
                try await node.delete(path)
                model.paths.withLock { $0[path] = nil }
            case (1, let known?):
                let id = try #require(BlobID(Digest.of(.sha256, contents[known])))
                #expect(try await node.read(id) == contents[known])
            default:
                let number = Int.random(in: 0..<contents.count, using: &random)
                try await node.push(contents[number], as: path, announced: number > 0)
                model.paths.withLock { $0[path] = number }
            }
        }
    }
}

extension Node {
    func options(graceSeconds: Int64, isDryRun: Bool = false) -> SweepOptions {
        var options = SweepOptions()
        options.graceSeconds = graceSeconds
        options.isDryRun = isDryRun
        options.bytesPerSecondMax = 0
        return options
    }

    func sweeper(graceSeconds: Int64) -> Sweeper {
        Sweeper(catalog: catalog, blobs: blobs, options: options(graceSeconds: graceSeconds), world: clock.world, log: Node.log)
    }

    @discardableResult
    func sweepShared(graceSeconds: Int64, isDryRun: Bool = false) async throws -> SweepTally {
        try await sweeper(graceSeconds: graceSeconds).sweepShared(options(graceSeconds: graceSeconds, isDryRun: isDryRun)).tally
    }
}
