import Catalog
import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

@testable import Registry

/// Repositories that may lose what they hold: kept below a budget, least recently used first.
@Suite("eviction") struct EvictionTests {
    static let kilobyte = [UInt8](repeating: 7, count: 1_000)

    /// A cache whose budget is ten entries of a kilobyte: eviction begins above 9,000 bytes and ends at 8,000.
    static func cache(_ more: [(String, JSON)] = []) async throws -> House {
        let house = try await House()
        let made = await house.repository("ci", format: "http-cache", isPublic: true, [("cache_bytes_max", 10_000)] + more)
        #expect(made.status == 200)
        return house
    }

    /// Each a minute after the other, so that each has an age of its own.
    static func fill(_ house: House, _ names: ClosedRange<Int>) async {
        for name in names {
            house.clock.pass(seconds: 60)
            #expect(await house.send(.put, "/cache/ci/k\(name)", body: Self.kilobyte).status == 201)
        }
    }

    static func held(_ house: House, of names: ClosedRange<Int>, in key: String = "ci") async -> [Int] {
        let listed = await house.send(.get, "/api/v1/repositories/\(key)/artifacts?per_page=100").json["items"]
        var paths: Set<String> = []
        for case .object(let item) in listed?.array ?? [] { paths.insert(item["path"]?.string ?? "") }
        return names.filter { paths.contains("k\($0)") }
    }

    @Test("above the high-water mark the least recently used go, down to the low one; what was asked for stays")
    func leastRecentlyUsed() async throws {
        let house = try await Self.cache()
        await Self.fill(house, 1...9)
        try await house.registry.tendCachesOnce()
        #expect(await Self.held(house, of: 1...9) == Array(1...9))
        for name in [1, 3] { #expect(await house.send(.get, "/cache/ci/k\(name)", as: .none).status == 200) }
        // Past every lease.
        house.clock.pass(seconds: 700)
        await Self.fill(house, 10...10)
        try await house.registry.tendCachesOnce()
        #expect(await Self.held(house, of: 1...10) == [1, 3, 5, 6, 7, 8, 9, 10])
        #expect(house.registry.evicted == Evicted(entries: 2, bytes: 2_000))
        #expect(await house.send(.get, "/cache/ci/k2", as: .none).status == 404)
        #expect(await house.send(.get, "/api/v1/repositories/ci").json["storage_used_bytes"] == 8_000)
        // No tombstone: the same key takes other bytes.
        #expect(await house.send(.put, "/cache/ci/k2", body: [1]).status == 201)
    }

    @Test("recency outlives a restart, and the records of what is gone do not stay")
    func restart() async throws {
        let first = try await Self.cache()
        await Self.fill(first, 1...9)
        #expect(await first.send(.head, "/cache/ci/k1", as: .none).status == 200)
        try await first.registry.flushRecency()
        let clock = first.clock
        let directory = first.directory
        first.close()
        let house = try await House(in: directory, clock: clock)
        clock.pass(seconds: 700)
        await Self.fill(house, 10...10)
        try await house.registry.tendCachesOnce()
        #expect(await Self.held(house, of: 1...10) == [1, 4, 5, 6, 7, 8, 9, 10])
        #expect(try await house.catalog.records(.access, after: nil, limit: 10).count == 1)
        #expect(await house.send(.delete, "/cache/ci/k1").status == 204)
        await Self.fill(house, 11...13)
        try await house.registry.tendCachesOnce()
        #expect(try await house.catalog.records(.access, after: nil, limit: 10).isEmpty)
    }

    @Test("what was answered a moment ago is not evicted: a writer is told that the cache is full, and later finds room")
    func lease() async throws {
        let house = try await Self.cache()
        await Self.fill(house, 1...10)
        for name in 1...10 { #expect(await house.send(.head, "/cache/ci/k\(name)", as: .none).status == 200) }
        let refused = await house.send(.put, "/cache/ci/k11", body: Self.kilobyte)
        #expect(refused.status == 507)
        #expect(await Self.held(house, of: 1...10) == Array(1...10))
        house.clock.pass(seconds: 601)
        #expect(await house.send(.put, "/cache/ci/k11", body: Self.kilobyte).status == 201)
        #expect(await Self.held(house, of: 1...11).count <= 9)
    }

    @Test("an entry that could never be kept is refused before its body, and one over the entry limit too")
    func tooLarge() async throws {
        let house = try await Self.cache([("cache_entry_bytes_max", 2_000)])
        #expect(await house.send(.put, "/cache/ci/big", body: [UInt8](repeating: 1, count: 2_001)).status == 413)
        #expect(await house.send(.put, "/cache/ci/fits", body: [UInt8](repeating: 1, count: 2_000)).status == 201)
        #expect(await house.put("x", at: "by-rest", in: "ci").status == 201)
        await house.repository("small", format: "ccache", [("cache_bytes_max", 100)])
        #expect(await house.send(.put, "/cache/small/k", body: [UInt8](repeating: 1, count: 101)).status == 413)
    }

    @Test("writers at the ceiling make room for themselves: every PUT succeeds and the budget holds")
    func ceiling() async throws {
        let house = try await Self.cache()
        for name in 1...40 {
            #expect(await house.send(.put, "/cache/ci/k\(name)", body: Self.kilobyte).status == 201)
            #expect(try await house.catalog.usage(of: try await Self.id(of: "ci", in: house)).bytes <= 10_000)
        }
    }

    @Test("what nobody asked for goes after its idle time, whatever the budget")
    func idle() async throws {
        let house = try await House()
        await house.repository("ci", format: "http-cache", isPublic: true, [("cache_idle_seconds", 7_200)])
        await Self.fill(house, 1...3)
        house.clock.pass(seconds: 7_000)
        #expect(await house.send(.get, "/cache/ci/k2", as: .none).status == 200)
        house.clock.pass(seconds: 400)
        try await house.registry.tendCachesOnce()
        #expect(await Self.held(house, of: 1...3) == [2])
    }

    @Test("growth is noticed by following the log")
    func follower() async throws {
        let house = try await Self.cache()
        await Self.fill(house, 1...9)
        #expect(
            try await house.followLog {
                // Written inside the wait, since a follower begins at the head; so little that the writer has room.
                house.clock.pass(seconds: 1)
                await house.send(.put, "/cache/ci/\(house.clock.now.seconds)", body: [1])
                return house.registry.evicted.bytes >= 2_000
            })
    }

    @Test("the copies of a remote are evicted and fetched again, byte for byte")
    func remote() async throws {
        let upstream = try await ScriptedServer.start { request in .status(200, [], Array("bytes of \(request.target)".utf8) + Self.kilobyte) }
        let house = try await House()
        await house.remote("mirror", format: "generic", of: upstream.url(), [("cache_bytes_max", 3_000)])
        var before: [[UInt8]] = []
        for name in 1...3 {
            house.clock.pass(seconds: 700)
            before.append(await house.send(.get, "/general/mirror/k\(name)", as: .none).body)
        }
        try await house.registry.tendCachesOnce()
        #expect(await Self.held(house, of: 1...3, in: "mirror") == [2, 3])
        #expect(await house.send(.get, "/general/mirror/k1", as: .none).body == before[0])
        #expect(upstream.requests.count { $0.target == "/k1" } == 2)
        await upstream.stop()
    }

    @Test("what may not be lost takes no budget; limits are shown, changed and lifted over REST")
    func settings() async throws {
        let house = try await Self.cache([("cache_overwrite", "never"), ("cache_idle_seconds", 60)])
        #expect(await house.repository("files", [("cache_bytes_max", 1)]).outcome == "400 VALIDATION_ERROR")
        #expect(await house.repository("odd", format: "http-cache", [("cache_overwrite", "maybe")]).outcome == "400 VALIDATION_ERROR")
        #expect(await house.repository("odd", format: "http-cache", [("cache_bytes_max", -1)]).outcome == "400 VALIDATION_ERROR")
        let shown = await house.send(.get, "/api/v1/repositories/ci").json
        #expect(shown["cache_bytes_max"] == 10_000 && shown["cache_idle_seconds"] == 60 && shown["cache_overwrite"] == "never")
        let lifted = await house.send(.patch, "/api/v1/repositories/ci", json: ["cache_bytes_max": 0, "cache_overwrite": "same"]).json
        #expect(lifted["cache_bytes_max"] == nil || lifted["cache_bytes_max"] == .null)
        #expect(lifted["cache_overwrite"] == "same")
    }

    @Test(
        "an entry is overwritten as the repository says",
        arguments: [("replace", 204, 204), ("same", 204, 409), ("never", 409, 409)])
    func overwrite(rule: String, same: Int, other: Int) async throws {
        let house = try await Self.cache([("cache_overwrite", .string(rule))])
        #expect(await house.send(.put, "/cache/ci/k", body: [1]).status == 201)
        #expect(await house.send(.put, "/cache/ci/k", body: [1]).status == same)
        #expect(await house.send(.put, "/cache/ci/k", body: [2]).status == other)
        #expect(await house.send(.get, "/cache/ci/k").body == (rule == "replace" ? [2] : [1]))
    }

    @Test("a cache says no packages, and lists its entries as artifacts")
    func noFacts() async throws {
        let house = try await Self.cache()
        await Self.fill(house, 1...2)
        #expect(await house.send(.get, "/api/v1/packages?repository_key=ci").json["items"] == [])
        #expect(await Self.held(house, of: 1...2) == [1, 2])
    }

    private static func id(of key: String, in house: House) async throws -> EntityID {
        try #require(EntityID(await house.send(.get, "/api/v1/repositories/\(key)").json["id"]?.string ?? ""))
    }
}
