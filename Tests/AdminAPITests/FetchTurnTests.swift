import Catalog
import Core
import HTTPTypes
import Logging
import Parsing
import Synchronization
import TestHouse
import TestSupport
import Testing

@testable import Registry

/// What a test opens, once it is time for it.
private final class Gate: Sendable {
    private let condition = Mutex<(@Sendable () -> Bool)?>(nil)
    private let isOpenFlag = Atomic(false)

    /// Opens for good when the condition holds.
    func opens(when condition: @escaping @Sendable () -> Bool) { self.condition.withLock { $0 = condition } }
    var isOpen: Bool {
        if condition.withLock({ $0 })?() == true { isOpenFlag.store(true, ordering: .relaxed) }
        return isOpenFlag.load(ordering: .relaxed)
    }
    func open() { isOpenFlag.store(true, ordering: .relaxed) }

    func wait() async { while !isOpen { try? await Task.sleep(for: .milliseconds(5)) } }

    /// The whole answer, head and all, behind the gate.
    func answer(_ status: Int, _ body: [UInt8] = [], _ fields: [(String, String)] = []) -> ScriptedServer.Answer {
        let lines = (fields + [("Content-Length", "\(body.count)")]).map { "\($0): \($1)\r\n" }.joined()
        return ScriptedServer.Answer(
            raw: [.until { self.isOpen }, .bytes(Array("HTTP/1.1 \(status) Gated\r\n\(lines)\r\n".utf8) + body)])
    }
}

/// What was stored, and by whom it was fetched.
private final class Tally: Sendable {
    let stored = Mutex<[String: Int]>([:])
    let fetched = Mutex<[Int]>([])
}

extension NodeHouses {
    fileprivate var waiting: Int { houses.reduce(0) { $0 + $1.registry.fetches.waiting } }

    /// Asks each node so many times, all at once.
    fileprivate func crowd(_ target: String, each count: Int = 20) async -> [Answer] {
        await withTaskGroup(of: Answer.self) { group in
            for house in houses { for _ in 0..<count { group.addTask { await house.send(.get, target, as: .none) } } }
            return await group.reduce(into: []) { $0.append($1) }
        }
    }
}

@Suite("several nodes fetch once", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason))) struct FetchTurnTests {
    static let wheel = Array("the bytes of a wheel".utf8)
    static let index = "/pypi/mirror/simple/tool/"
    static let page =
        #"{"meta":{"api-version":"1.1"},"name":"tool","versions":["1.0"],"files":[{"filename":"tool-1.0-py3-none-any.whl","#
        + #""url":"/files/tool","size":20,"hashes":{"sha256":"\#(Digest.of(.sha256, wheel).hex)"}}]}"#

    @Test("an index, then a file of it, then the index when it is stale: each is asked of the upstream once for three nodes with 20 callers each")
    func once() async throws {
        let gate = Mutex(Gate())
        let upstream = try await ScriptedServer.start { request in
            let gate = gate.withLock { $0 }
            return switch request.target {
            case "/simple/tool/":
                request["if-none-match"] == nil
                    ? gate.answer(200, Array(Self.page.utf8), [("Content-Type", "application/vnd.pypi.simple.v1+json"), ("ETag", "\"one\"")])
                    : gate.answer(304, [], [("ETag", "\"one\"")])
            case "/files/tool": gate.answer(200, Self.wheel)
            default: .status(404)
            }
        }
        let nodes = try await NodeHouses(3) { $0.fetchTurns.patienceSeconds = 600 }
        await nodes[0].remote("mirror", format: "pypi", of: upstream.url())
        for (target, asked, count) in [(Self.index, "/simple/tool/", 1), (Self.index + "tool-1.0-py3-none-any.whl", "/files/tool", 1)] {
            gate.withLock { $0 = Gate() }
            gate.withLock { $0 }.opens { nodes.waiting == 2 }
            let answers = await nodes.crowd(target)
            #expect(answers.count == 60 && answers.allSatisfy { $0.status == 200 && $0.body == answers[0].body })
            #expect(upstream.requests.count { $0.target == asked } == count)
        }
        nodes.clock.pass(seconds: 301)
        gate.withLock { $0 = Gate() }
        gate.withLock { $0 }.opens { nodes.waiting == 2 }
        #expect(await nodes.crowd(Self.index).allSatisfy { $0.status == 200 })
        #expect(upstream.requests.count { $0.target == "/simple/tool/" } == 2)
        #expect(upstream.requests.count { $0.target == "/files/tool" } == 1)
        #expect(nodes.waiting == 0)
        #expect(try await Self.turns(nodes) == [])
        await upstream.stop()
    }

    @Test("a failure of the upstream is that of all who waited for it, and is asked about anew by who comes after", arguments: [404, 403, 503])
    func failure(_ status: Int) async throws {
        let gate = Gate()
        let upstream = try await ScriptedServer.start { _ in gate.answer(status) }
        let nodes = try await NodeHouses(3) { ($0.fetchTurns.patienceSeconds, $0.fetchTurns.graceSeconds) = (600, 1) }
        await nodes[0].remote("mirror", format: "generic", of: upstream.url())
        gate.opens { nodes.waiting == 2 }
        let expected = [404: 404, 403: 502, 503: 503][status]
        // One caller each: who comes to a node after its flight has ended asks anew, as on a node alone.
        let answers = await nodes.crowd("/general/mirror/none", each: 1)
        #expect(answers.count == 3 && answers.allSatisfy { $0.status == expected })
        #expect(upstream.counts.requests == 1)
        #expect(await nodes[1].send(.get, "/general/mirror/none", as: .none).status == expected)
        // What it has not is believed for a while.
        #expect(upstream.counts.requests == (status == 404 ? 1 : 2))
        // What tells of failures goes when it was seen.
        let deadline = ContinuousClock.now + .seconds(120)
        while try await !Self.turns(nodes).isEmpty, ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(20)) }
        #expect(try await Self.turns(nodes) == [])
        await upstream.stop()
    }

    /// Rows of fetches.
    static func turns(_ nodes: NodeHouses) async throws -> [String] {
        try await nodes[0].catalog.records(.lease, after: "fetch/", limit: 100).map(\.id).filter { $0.hasPrefix("fetch/") }
    }

    @Test("what is there costs no change, what is missing two: one to say who fetches, one to store what came") func cost() async throws {
        let upstream = try await ScriptedServer.start { _ in .status(200, [], Self.wheel) }
        let nodes = try await NodeHouses()
        await nodes[0].remote("mirror", format: "generic", of: upstream.url())
        let before = try await nodes[0].catalog.head()
        #expect(await nodes[0].send(.get, "/general/mirror/a", as: .none).body == Self.wheel)
        let after = try await nodes[0].catalog.head()
        #expect(after.number == before.number + 2)
        for house in nodes.houses { #expect(await house.send(.get, "/general/mirror/a", as: .none).body == Self.wheel) }
        #expect(try await nodes[0].catalog.head() == after)
        #expect(upstream.counts.requests == 1)
        await upstream.stop()
    }

    /// The row of a node that fetches, of which nothing more will come.
    static func leave(_ nodes: NodeHouses, _ path: String, by node: UInt16 = 0) async throws -> EntityID {
        let key = try #require(RepositoryKey("mirror"))
        let repository = try #require(try await nodes[0].catalog.repository(key))
        let row = FetchTurns.Row(run: World.real.newID().made(by: node), flight: World.real.newID(), end: nodes.clock.now.adding(seconds: 16))
        let record = Record(kind: .lease, id: FetchTurns.id(of: "\(repository.id) file \(path)"), value: row.encoded)
        try await nodes[0].catalog.apply(
            Change(actor: .system, at: nodes.clock.now, requestID: "test", parts: [.putRecord(record, ifRevision: nil)]))
        return row.flight
    }

    @Test("who dies while it fetches delays the others by its grace; when that was long ago by the clock, by nothing", arguments: [true, false])
    func death(isLongAgo: Bool) async throws {
        let upstream = try await ScriptedServer.start { _ in .status(200, [], Self.wheel) }
        let nodes = try await NodeHouses(3) { ($0.fetchTurns.patienceSeconds, $0.fetchTurns.graceSeconds) = (600, isLongAgo ? 600 : 1) }
        await nodes[0].remote("mirror", format: "generic", of: upstream.url())
        _ = try await Self.leave(nodes, "a")
        if isLongAgo { nodes.clock.pass(seconds: 17) }
        #expect(await nodes.crowd("/general/mirror/a", each: 3).allSatisfy { $0.body == Self.wheel })
        #expect(upstream.counts.requests == 1)
        #expect(try await Self.turns(nodes) == [])
        // Nor does what nobody asks for any more stay for ever.
        _ = try await Self.leave(nodes, "b")
        try await nodes[1].registry.fetches.clear()
        #expect(try await Self.turns(nodes).count == 1)
        nodes.clock.pass(seconds: 77)
        try await nodes[1].registry.fetches.clear()
        #expect(try await Self.turns(nodes) == [])
        await upstream.stop()
    }

    @Test("who has waited for long fetches by itself, and leaves the other's row alone") func patience() async throws {
        let upstream = try await ScriptedServer.start { _ in .status(200, [], Self.wheel) }
        let nodes = try await NodeHouses(2) { ($0.fetchTurns.patienceSeconds, $0.fetchTurns.graceSeconds) = (0.5, 600) }
        await nodes[0].remote("mirror", format: "generic", of: upstream.url())
        let flight = try await Self.leave(nodes, "a")
        #expect(await nodes[1].send(.get, "/general/mirror/a", as: .none).body == Self.wheel)
        #expect(upstream.counts.requests == 1)
        let rows = try await nodes[0].catalog.records(.lease, after: "fetch/", limit: 10).compactMap { try FetchTurns.Row($0)?.flight }
        #expect(rows == [flight])
        await upstream.stop()
    }

    @Test("a fetch that takes long is waited for as long as its node gives signs of life, by one row for all its fetches") func signs() async throws {
        let nodes = try await NodeHouses()
        var options = FetchTurnOptions()
        (options.graceSeconds, options.patienceSeconds) = (2, 600)
        let turns = nodes.houses.map { FetchTurns(catalog: $0.catalog, options: options, world: nodes.clock.world, log: Logger(label: "test")) }
        let gate = Gate()
        let tally = Tally()
        @Sendable func ask(_ node: Int, _ name: String) async throws(RegistryError) -> Int {
            try await turns[node].once(name, subject: .request) { () throws(RegistryError) in
                tally.stored.withLock { $0[name] }
            } fetch: { (parts) async throws(RegistryError) in
                tally.fetched.withLock { $0.append(node) }
                await gate.wait()
                tally.stored.withLock { $0[name] = 7 }
                try await nodes[node].catalog.apply(Change(actor: .system, at: nodes.clock.now, requestID: "test", parts: parts))
                return 7
            }
        }
        let seen = try await withThrowingTaskGroup(of: Int.self) { group in
            for name in ["one", "two"] { group.addTask { try await ask(0, name) } }
            while tally.fetched.withLock({ $0.count }) < 2 { try await Task.sleep(for: .milliseconds(5)) }
            for name in ["one", "two"] { group.addTask { try await ask(1, name) } }
            // Longer than the grace: each sign is a third of it after the one before.
            var revisions: Set<Revision> = []
            while revisions.count < 6 {
                let rows = try await nodes[0].catalog.records(.lease, after: "fetch-node/", limit: 10).filter { $0.id.hasPrefix("fetch-node/") }
                try #require(rows.count <= 1)
                for row in rows { revisions.insert(row.revision) }
                try await Task.sleep(for: .milliseconds(5))
            }
            #expect(tally.fetched.withLock { $0 } == [0, 0])
            #expect(turns[1].waiting == 2)
            gate.open()
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(seen == [7, 7, 7, 7])
        #expect(tally.fetched.withLock { $0 } == [0, 0])
    }

    @Test("a failure of a node's own is no other's: the next one fetches") func ownFailure() async throws {
        let nodes = try await NodeHouses()
        let turns = nodes.houses.map(\.registry.fetches)
        let gate = Gate()
        let tally = Tally()
        @Sendable func ask(_ node: Int, _ error: RegistryError?) async -> Result<Int, RegistryError> {
            do throws(RegistryError) {
                let value = try await turns[node].once("it", subject: .request) { () throws(RegistryError) -> Int? in nil } fetch: {
                    (parts) async throws(RegistryError) in
                    tally.fetched.withLock { $0.append(node) }
                    if let error {
                        await gate.wait()
                        throw error
                    }
                    try await nodes[node].catalog.apply(Change(actor: .system, at: nodes.clock.now, requestID: "test", parts: parts))
                    return 7
                }
                return .success(value)
            } catch { return .failure(error) }
        }
        gate.opens { turns[1].waiting == 1 }
        let full = RegistryError(.noSpace, subject: .store, reason: "the disk is full")
        async let first = ask(0, full)
        while tally.fetched.withLock({ $0.isEmpty }) { try await Task.sleep(for: .milliseconds(5)) }
        let second = await ask(1, nil)
        #expect(try second.get() == 7)
        if case .failure(let error) = await first { #expect(error.code == .noSpace) } else { Issue.record("it did not fail") }
        #expect(tally.fetched.withLock { $0 } == [0, 1])
        #expect(try await Self.turns(nodes) == [])
    }
}
