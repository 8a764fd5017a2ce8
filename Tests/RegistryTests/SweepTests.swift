import BlobStore
import Catalog
import Core
import HTTPTypes
import Parsing
import Synchronization
import TestHouse
import TestSupport
import Testing

@testable import Registry

/// What each path holds as far as its client was told: the number of its text, or nothing.
private final class Promises: Sendable {
    let places = Mutex<[String: Int?]>([:])
    let isOver = Atomic(false)
}

@Suite("sweep") struct SweepTests {
    private func options(grace: Int64 = 0, dryRun: Bool = false) -> SweepOptions {
        var options = SweepOptions()
        options.graceSeconds = grace
        options.isDryRun = dryRun
        options.bytesPerSecondMax = 0
        return options
    }

    private func id(_ text: String) -> BlobID {
        guard let id = BlobID(Digest.of(.sha256, Array(text.utf8))) else { preconditionFailure("a SHA-256 names a blob") }
        return id
    }

    private func stored(in house: House) async throws -> [BlobID] {
        try await house.registry.blobs.storedBlobs(after: nil, limit: 100_000).blobs.map(\.id)
    }

    @Test("what was deleted can be put back until its time of grace is over, then it is gone; what is named by anybody stays")
    func grace() async throws {
        let house = try await House()
        await house.repository("files")
        await house.repository("more")
        for (text, path) in [("one", "a/1/one"), ("two", "a/1/two"), ("both", "a/1/both")] { await house.put(text, at: path, in: "files") }
        await house.put("both", at: "b/1/both", in: "more")
        for path in ["a/1/one", "a/1/both"] { await house.send(.delete, "/api/v1/repositories/files/artifacts/\(path)") }
        house.clock.pass(seconds: 3599)
        let sweeper = house.registry.sweeper
        #expect(try await sweeper.sweep(options(grace: 3600)).tally.waitingBlobs == 1)
        #expect(try await Set(stored(in: house)) == [id("one"), id("two"), id("both")])
        // Put back, and deleted again: the time begins anew.
        await house.put("one", at: "a/1/one", in: "files")
        await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/one")
        house.clock.pass(seconds: 3599)
        #expect(try await sweeper.sweep(options(grace: 3600)).tally.removedBlobs == 0)
        house.clock.pass(seconds: 1)
        let last = try await sweeper.sweep(options(grace: 3600)).tally
        #expect(last.removedBlobs == 1 && last.removedBytes == 3 && last.blobs == 3)
        #expect(try await Set(stored(in: house)) == [id("two"), id("both")])
        #expect(await house.put("one", at: "a/1/one", in: "files").status == 201)
        #expect(await house.send(.get, "/api/v1/repositories/files/download/a/1/one").text == "one")
        #expect(await house.send(.get, "/api/v1/repositories/more/download/b/1/both").text == "both")
    }

    @Test("what was deleted while the clock was years ahead goes after its time of grace, not years later") func clockWasAhead() async throws {
        let house = try await House()
        await house.repository("files")
        await house.put("one", at: "a/1/one", in: "files")
        let years: Int64 = 3 * 365 * 86_400
        house.clock.pass(seconds: years)
        await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/one")
        house.clock.pass(seconds: -years)
        let sweeper = house.registry.sweeper
        #expect(try await sweeper.sweep(options(grace: 3600)).tally.waitingBlobs == 1)
        house.clock.pass(seconds: 3599)
        #expect(try await sweeper.sweep(options(grace: 3600)).tally.waitingBlobs == 1)
        house.clock.pass(seconds: 1)
        #expect(try await sweeper.sweep(options(grace: 3600)).tally.removedBlobs == 1)
    }

    @Test("a deleted repository's blobs go, shared ones stay") func repository() async throws {
        let house = try await House()
        for key in ["files", "more"] {
            await house.repository(key)
            for number in 0..<20 { await house.put("\(key) \(number)", at: "a/1/\(number)", in: key) }
            await house.put("shared", at: "a/1/shared", in: key)
        }
        await house.send(.delete, "/api/v1/repositories/files")
        // The repository's own rows may still be being cleared away: a second round finds what the first could not tell.
        for _ in 0..<2 { _ = try await house.registry.sweeper.sweep(options()) }
        let expected = Set((0..<20).map { id("more \($0)") } + [id("shared")])
        #expect(try await Set(stored(in: house)) == expected)
    }

    @Test("a dry run says what a sweep would do and changes nothing: no row, no file, no revision") func dryRun() async throws {
        var small = House.Options()
        small.segmentBytesMax = 64 << 10
        small.ownFileBytesMin = 96 << 10
        let house = try await House(small)
        await house.repository("files")
        for number in 0..<24 { await house.put(text(number), at: "a/1/\(number)", in: "files") }
        for number in 0..<16 { await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/\(number)") }
        let (rows, head, files) = (try await stored(in: house), try await house.catalog.head(), house.directory.lengths(below: "store"))
        let unpinned = try await house.catalog.unpinned(among: rows)
        let dry = try await house.registry.sweeper.sweep(options(dryRun: true))
        #expect(dry.isDryRun && dry.isComplete)
        #expect(dry.tally.removedBlobs == 16 && dry.tally.freedBytes > 0)
        #expect(try await stored(in: house) == rows)
        #expect(try await house.catalog.head() == head)
        #expect(try await house.catalog.unpinned(among: rows) == unpinned)
        #expect(house.directory.lengths(below: "store") == files)
        #expect(house.registry.sweeper.totals.runs == 0)
        let real = try await house.registry.sweeper.sweep(options())
        #expect(real.tally.removedBlobs == 16 && real.tally.removedBytes == dry.tally.removedBytes)
        #expect(house.directory.lengths(below: "store") != files)
        for number in 16..<24 { #expect(await house.send(.get, "/api/v1/repositories/files/download/a/1/\(number)").text == text(number)) }
    }

    @Test("an interrupted sweep is gone on with where it was, and a complete one begins anew") func resumed() async throws {
        let house = try await House()
        await house.repository("files")
        for number in 0..<10 {
            await house.put("\(number)", at: "a/1/\(number)", in: "files")
            await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/\(number)")
        }
        let all = try await stored(in: house)
        let sweeper = house.registry.sweeper
        try await sweeper.note(all[3])
        #expect(try await sweeper.sweep(options()).tally.blobs == 6)
        #expect(try await stored(in: house) == Array(all[...3]))
        #expect(try await sweeper.place() == nil)
        #expect(try await sweeper.sweep(options()).tally.removedBlobs == 4)
        #expect(try await stored(in: house) == [])
    }

    @Test("what an interruption left undone is done by the next sweep, not by the one after it") func interrupted() async throws {
        let house = try await House()
        await house.repository("files")
        for number in 0..<5 {
            await house.put("\(number)", at: "a/1/\(number)", in: "files")
            await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/\(number)")
        }
        let all = try await stored(in: house)
        let sweeper = house.registry.sweeper
        try await sweeper.note(all[1])
        let cut = try await Task {
            withUnsafeCurrentTask { unsafe $0?.cancel() }
            return try await sweeper.sweep(options())
        }.value
        #expect(!cut.isComplete && cut.tally.removedBlobs == 0)
        #expect(try await sweeper.place() == all[1])
        #expect(try await sweeper.sweep(options()).tally.removedBlobs == 3)
        #expect(try await sweeper.sweep(options()).tally.removedBlobs == 2)
        #expect(try await stored(in: house) == [])
    }

    @Test("a deletion that is over time leaves the trash with the next sweep; a dry run leaves it there") func trash() async throws {
        var options = House.Options()
        options.trashDays = 1
        let house = try await House(options)
        await house.repository("files")
        await house.put("one", at: "a/1/f", in: "files")
        await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/f")
        let sweeper = house.registry.sweeper
        house.clock.pass(seconds: 86_399)
        #expect(try await sweeper.sweep(self.options()).tally.removedBlobs == 0)
        house.clock.pass(seconds: 1)
        let head = try await house.catalog.head()
        #expect(try await sweeper.sweep(self.options(dryRun: true)).tally.removedBlobs == 0)
        #expect(try await house.catalog.head() == head)
        #expect(try await sweeper.sweep(self.options()).tally.removedBlobs == 1)
        #expect(try await house.catalog.deletionsOver(by: house.clock.now, limit: 9) == [])
    }

    @Test("each blob is explained: who names it, who holds it, when it goes") func explained() async throws {
        let house = try await House()
        await house.repository("files")
        await house.put("one", at: "a/1/one", in: "files")
        let sweeper = house.registry.sweeper
        // The answer goes out before its request lets the staged bytes go.
        while try await house.registry.blobs.whereabouts(of: id("one")).isLeased { await Task.yield() }
        #expect(try await sweeper.explain(id("one")).reasons == ["the artifact a/1/one of files"])
        #expect(try await sweeper.explain(id("one")).isDying == false)
        #expect(try await sweeper.explain(id("none")).reasons == ["it is not stored"])
        await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/one")
        let dying = try await sweeper.explain(id("one"))
        #expect(dying.isDying && dying.goesAt == house.clock.now.adding(seconds: 3600))
        var staged = try await house.registry.blobs.staged(id("one"))
        #expect(staged?.size == 3)
        #expect(try await sweeper.explain(id("one")).reasons == ["bytes staged by a request under way hold it"])
        #expect(try await sweeper.sweep(options()).tally.removedBlobs == 0)
        staged = nil
        #expect(try await sweeper.sweep(options()).tally.removedBlobs == 1)
        #expect(try await sweeper.explain(id("one")).length == nil)
    }

    /// 20 to 150 KB: in memory, in reservations and in files of their own.
    private func text(_ number: Int) -> String { String(repeating: "\(number) is a number. ", count: 1_200 + number % 8 * 1_200) }

    @Test(
        "pushes, deletes, pushes of the same again and sweeps at the same time, over a restart: nothing dangles, and after two rounds nothing leaks")
    func race() async throws {
        let seed = SeededRandom.runSeed
        print("GRANARY_SEED=\(seed)")
        var small = House.Options()
        small.segmentBytesMax = 512 << 10
        small.ownFileBytesMin = 96 << 10
        var house = try await House(small)
        await house.repository("files")
        let promises = Promises()
        for round in 0..<3 {
            let current = house
            promises.isOver.store(false, ordering: .relaxed)
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    while !promises.isOver.load(ordering: .relaxed) { _ = try? await current.registry.sweeper.sweep(self.options()) }
                }
                await withTaskGroup(of: Void.self) { pushers in
                    for pusher in 0..<6 {
                        pushers.addTask { await self.push(pusher, in: current, seed: seed &+ UInt64(round * 100 + pusher), promises) }
                    }
                }
                promises.isOver.store(true, ordering: .relaxed)
            }
            if round < 2 {
                house.close()
                house = try await House(small, in: house.directory, clock: house.clock)
            }
        }
        for _ in 0..<2 { _ = try await house.registry.sweeper.sweep(options()) }
        var named: Set<BlobID> = []
        for (path, number) in promises.places.withLock({ $0 }) {
            let answer = await house.send(.get, "/api/v1/repositories/files/download/\(path)")
            #expect(number.map { text($0) } == (answer.status == 404 ? nil : answer.text), "\(path) with seed \(seed)")
            if let number { named.insert(id(text(number))) }
        }
        #expect(try await Set(stored(in: house)) == named, "seed \(seed)")
        for blob in named { #expect(try await house.registry.blobs.content(of: blob) != nil) }
        let again = try await house.registry.sweeper.sweep(options(dryRun: true)).tally
        #expect(again.removedBlobs == 0 && again.orphans == 0 && again.segmentsRemoved == 0 && again.damagedBlobs == 0, "seed \(seed)")
    }

    /// One client that knows what its paths hold, and says so when it is told otherwise.
    private func push(_ pusher: Int, in house: House, seed: UInt64, _ promises: Promises) async {
        var random = SeededRandom(seed: seed)
        for _ in 0..<60 {
            // Few contents, so that all push and delete the same bytes.
            let number = Int.random(in: 0..<10, using: &random)
            let path = "p\(pusher)/1/\(number)"
            let address = "/api/v1/repositories/files/artifacts/\(path)"
            switch Int.random(in: 0..<3, using: &random) {
            case 0:
                let answer = await house.send(.delete, address)
                #expect(answer.status == 204 || answer.status == 200 || answer.status == 404, "\(answer.status) \(answer.text)")
                promises.places.withLock { $0[path] = .some(nil) }
            case 1:
                let answer = await house.send(.put, address, body: Array(text(number).utf8))
                #expect(answer.status == 201 || answer.status == 200, "seed \(seed): \(answer.status) \(answer.text.prefix(200))")
                promises.places.withLock { $0[path] = number }
            default:
                let answer = await house.send(.get, "/api/v1/repositories/files/download/\(path)")
                let expected = promises.places.withLock { $0[path] } ?? nil
                #expect(answer.status == (expected == nil ? 404 : 200), "seed \(seed): \(path) \(answer.status) \(answer.text.prefix(200))")
            }
        }
    }
}
