import Catalog
import Core
import Logging
import OrderedStore
import PostgresClient
import Synchronization
import TestSupport
import Testing

@testable import PostgresCatalog

/// Every refusal is `unavailable` with the time to come back, comes within a bounded time, and is over when its reason is.
@Suite("PostgreSQL is slow, full or closed", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct PostgresFaultTests {
    // MARK: Journeys

    @Test("a change is two journeys, and the sweep's steps are four at most, for however many blobs") func journeys() async throws {
        let (home, _, proxy) = try await slowHome()
        defer { proxy.close() }
        func journeys(of work: () async throws -> Void) async throws -> Int {
            let before = proxy.journeys
            try await work()
            return proxy.journeys - before
        }
        try await home.catalog.apply(RandomChanges.beginning, staged: RandomChanges.blobs.map { BlobRow($0) })
        let (gone, kept) = (Array(RandomChanges.blobs[..<3]), Array(RandomChanges.blobs[3...]))
        // Whoever listens is known as such.
        try await home.catalog.awaitChange(after: .zero)
        // Its first words, before it listens, may come beside one of these.
        var counts: [Int] = []
        for round in 0..<3 {
            let mutations = kept.enumerated().compactMap { place, blob in
                AssetPath("kept/\(round)/\(place)").map {
                    Mutation.putAsset(AssetDraft(path: $0, blob: blob, size: 1, contentType: "t", package: PackageName("p")), overwrite: .never)
                }
            }
            let edit = Change(
                actor: .system, at: Timestamp(seconds: 1), requestID: "", parts: [.edit(RandomChanges.repositories[0], Edit(mutations: mutations))])
            counts.append(try await journeys { try await home.catalog.apply(edit) })
        }
        #expect(counts.min() == 2, "\(counts)")
        let blobs = RandomChanges.blobs.sorted()
        #expect(try await journeys { try await home.catalog.noteUnpinned(blobs, at: Timestamp(seconds: 5)) } == 4)
        let forgotten = Mutex<[BlobID]>([])
        #expect(
            try await journeys {
                let ids = try await home.catalog.forget(blobs, unpinnedBefore: Timestamp(seconds: 9)) { _ in true }
                forgotten.withLock { $0 = ids }
            } == 3)
        #expect(forgotten.withLock { $0 } == gone.sorted())
    }

    @Test("over a network of 20 ms each way everything is right, and as slow as its journeys") func slowNetwork() async throws {
        let (home, _, proxy) = try await slowHome()
        defer { proxy.close() }
        proxy.setDelay(milliseconds: 20)
        try await home.catalog.apply(RandomChanges.beginning)
        let began = ContinuousClock.now
        for number in 0..<10 { try await home.put("s\(number)") }
        #expect(ContinuousClock.now - began > .milliseconds(10 * 2 * 40))
        #expect(try await home.catalog.records(.setting, after: nil, limit: 100).count == 10)
        let before = try await home.catalog.head()
        // Those that come together go together.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 10..<200 { group.addTask { try await home.put("s\(number)") } }
            try await group.waitForAll()
        }
        #expect(try await home.catalog.head() == Revision(before.number + 190))
    }

    @Test("a commit whose answer is lost is acknowledged if it happened, and fails if it did not") func doubt() async throws {
        let (home, other, proxy) = try await slowHome()
        defer { proxy.close() }
        for round in 0..<4 {
            proxy.cutNext(.afterCommit)
            try await home.put("committed\(round)")
            #expect(try await other.catalog.record(.setting, id: "committed\(round)") != nil)
            proxy.cutNext(.beforeCommit)
            #expect(await home.refusal(of: "lost\(round)").isPassing)
            #expect(try await other.catalog.record(.setting, id: "lost\(round)") == nil)
            proxy.cutAll()
            #expect(try await home.catalog.record(.setting, id: "committed\(round)") != nil)
        }
    }

    // MARK: The server is slow

    @Test("a change waits for a lock for five seconds, then fails; reads go on meanwhile; afterwards all is as before") func lockHeld() async throws {
        let home = try await PostgresHome()
        try await home.put("before")
        let holder = try Connection(to: home.address)
        // A session without this program's bounds.
        try holder.run([Query("SET idle_in_transaction_session_timeout = 0")])
        try holder.run([Query("BEGIN"), Query("SELECT 1 FROM catalog_state WHERE item = 1 FOR UPDATE")])
        let began = ContinuousClock.now
        async let refusal = home.refusal(of: "meanwhile")
        #expect(try await home.catalog.record(.setting, id: "before") != nil)
        #expect(ContinuousClock.now - began < .seconds(3))
        #expect(await refusal.isPassing)
        #expect(ContinuousClock.now - began < .seconds(15))
        try holder.run([Query("ROLLBACK")])
        try await home.put("after")
        #expect(try await home.catalog.record(.setting, id: "meanwhile") == nil)
    }

    @Test("a node that stops with the lock in its hands loses it, and the others' changes succeed") func hungNode() async throws {
        let home = try await PostgresHome()
        let hung = try Connection(to: home.address)
        try hung.run([Query("BEGIN"), Query("SELECT 1 FROM catalog_state WHERE item = 1 FOR UPDATE")])
        try await home.put("s")
        // It learns of it when it goes on.
        let error = #expect(throws: RegistryError.self) { try hung.run([Query("SELECT 1")]) }
        #expect(error.isPassing)
        #expect(hung.isBroken)
    }

    @Test("a statement that takes too long is told as such, by the server and by us") func slowStatement() async throws {
        let connection = try Connection(to: try await PostgresCluster.shared().address(of: "postgres"))
        try connection.run([Query("SET statement_timeout = '200ms'")])
        let ended = #expect(throws: RegistryError.self) { try connection.run([Query("SELECT pg_sleep(20)")]) }
        #expect(ended.isPassing)
        #expect(!connection.isBroken)
        try connection.run([Query("SET statement_timeout = 0")])
        let began = ContinuousClock.now
        let given = #expect(throws: RegistryError.self) { try connection.run([Query("SELECT pg_sleep(20)")], within: .milliseconds(200)) }
        #expect(given.isPassing)
        #expect(ContinuousClock.now - began < .seconds(10))
        #expect(connection.isBroken, "nobody knows how far it came")
    }

    @Test("more readers than may wait are turned away at once, the others wait as long as they may") func fullPool() async throws {
        var limits = ConnectionPool.Limits()
        limits.connections = 1
        limits.waiting = 1
        limits.patience = .seconds(2)
        let home = try await PostgresHome(at: try await PostgresCluster.shared().database("full_pool"), pool: limits)
        try await home.put("s")
        let holder = try Connection(to: home.address)
        try holder.run([Query("BEGIN"), Query("LOCK TABLE records IN ACCESS EXCLUSIVE MODE")])
        let refusals = await withTaskGroup(of: (RegistryError?, Duration).self) { group in
            for _ in 0..<8 {
                group.addTask {
                    let began = ContinuousClock.now
                    return (await home.refusalToRead("s"), .now - began)
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        // The holder's session is ended after four seconds: who holds the one connection is answered then, and who waits behind it came too late.
        #expect(refusals.filter { $0.0 == nil }.count == 1)
        #expect(refusals.filter { $0.0.isPassing }.count == 7)
        #expect(refusals.filter { $0.1 < .seconds(2) }.count == 6)
        #expect(try await home.catalog.record(.setting, id: "s") != nil)
    }

    // MARK: The server is closed

    @Test("a server without a free connection is told as such, and used again once it has one") func noConnections() async throws {
        let owner = try await PostgresHome()
        try Connection(to: owner.address).run(
            script: "CREATE ROLE few LOGIN CONNECTION LIMIT 0; GRANT ALL ON ALL TABLES IN SCHEMA public TO few; GRANT ALL ON SCHEMA public TO few",
            within: .seconds(5))
        let address = owner.address.replacing("user=postgres", with: "user=few")
        func permit(_ count: Int) throws {
            try Connection(to: owner.address).run(script: "ALTER ROLE few CONNECTION LIMIT \(count)", within: .seconds(5))
        }
        let began = ContinuousClock.now
        let start = await #expect(throws: RegistryError.self) { try await PostgresHome(at: address) }
        #expect(start.isPassing)
        #expect(ContinuousClock.now - began < .seconds(15))
        try permit(10)
        let home = try await PostgresHome(at: address)
        try await home.put("s")
        try permit(0)
        try Connection(to: owner.address).run([
            Query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'few'")
        ])
        #expect(await home.refusal(of: "t").isPassing)
        #expect(await home.refusalToRead("s").isPassing)
        try permit(10)
        try await home.put("t")
        #expect(try await home.catalog.records(.setting, after: nil, limit: 10).map(\.id) == ["s", "t"])
    }

    @Test("a database that takes no changes refuses them, and gives what it has") func readOnly() async throws {
        let home = try await PostgresHome()
        try await home.put("s")
        let database = try #require(try home.ask("SELECT current_database()::text").first)
        func set(_ value: String) throws {
            let connection = try Connection(to: home.address)
            try connection.run(script: "SET default_transaction_read_only = off", within: .seconds(5))
            try connection.run(script: "ALTER DATABASE \(database) SET default_transaction_read_only = \(value)", within: .seconds(5))
            try connection.run([
                Query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
            ])
        }
        try set("on")
        #expect(await home.refusal(of: "t").isPassing)
        #expect(try await home.catalog.record(.setting, id: "s") != nil)
        try set("off")
        try await home.put("t")
    }

    @Test("a group that finds no room on the way lets the lock go") func noRoom() async throws {
        let home = try await PostgresHome()
        let committer = Committer(logger: Logger(label: "test")) { false }
        try committer.start(on: PostgresTarget(address: home.address, writer: World.real.newID()))
        let result = await withUnsafeContinuation { (waiter: UnsafeContinuation<Result<Void, RegistryError>, Never>) in
            committer.put(
                Committer.Request(files: [], isPatient: false) { batch in
                    batch.put(RandomChanges.blobs[0].bytes, [1], in: .blobLocations)
                } completion: {
                    waiter.resume(returning: $0)
                })
        }
        #expect(throws: RegistryError.self) { try result.get() }
        #expect(try home.ask("SELECT number::text FROM catalog_state WHERE item = 1 FOR UPDATE NOWAIT") == ["0"])
        committer.stop()
    }

    /// A node behind a network that can be made worse, and one that is not.
    private func slowHome() async throws -> (PostgresHome, PostgresHome, PostgresProxy) {
        let proxy = try await PostgresProxy(to: try await PostgresCluster.shared().socketDirectory)
        let other = try await PostgresHome()
        let database = try #require(try other.ask("SELECT current_database()::text").first)
        return (try await PostgresHome(at: try proxy.address(of: database)), other, proxy)
    }
}

extension PostgresHome {
    /// A change of its own.
    fileprivate func put(_ id: String) async throws(RegistryError) {
        let record = Record(kind: .setting, id: id, value: Array(id.utf8))
        try await catalog.apply(
            Change(actor: .system, at: Timestamp(seconds: 1), requestID: id, parts: [.putRecord(record, ifRevision: .zero)]))
    }

    /// nil: it succeeded.
    fileprivate func refusal(of id: String) async -> RegistryError? {
        do throws(RegistryError) { try await put(id) } catch { return error }
        return nil
    }

    fileprivate func refusalToRead(_ id: String) async -> RegistryError? {
        do throws(RegistryError) { _ = try await catalog.record(.setting, id: id) } catch { return error }
        return nil
    }
}

extension RegistryError? {
    /// It says when to come back.
    fileprivate var isPassing: Bool { self?.code == .unavailable && self?.retryAfterSeconds != nil }
}
