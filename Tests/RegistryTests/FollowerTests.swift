import Catalog
import Core
import HTTPTypes
import Parsing
import Registry
import TestHouse
import Testing

@Suite("followers of the log") struct FollowerTests {
    @Test("storage counters count every change once, over a restart and whatever comes twice")
    func counters() async throws {
        let first = try await House()
        var house = first
        await house.repository("files")
        await house.repository("more")
        for number in 1...3 { await house.put("\(number)", at: "p/1/\(number)", in: "files") }
        #expect(try await first.followLog { first.counters.current.uploads == 3 })
        #expect(house.counters.current == totals(assets: 3, bytes: 3, uploads: 3, deletions: 0))
        // Not seen before the restart: caught up after it.
        await house.put("12345", at: "p/1/4", in: "more")
        await house.send(.delete, "/api/v1/repositories/files/artifacts/p/1/1")
        house.close()
        house = try await House(in: house.directory, clock: house.clock)
        #expect(house.counters.current == totals(assets: 3, bytes: 3, uploads: 3, deletions: 0))
        let second = house
        #expect(try await second.followLog { second.counters.current.deletions == 1 })
        #expect(house.counters.current == totals(assets: 3, bytes: 7, uploads: 4, deletions: 1))
        await house.send(.delete, "/api/v1/repositories/more")
        #expect(try await second.followLog { second.counters.current.assets == 2 })
        #expect(house.counters.current == totals(assets: 2, bytes: 2, uploads: 4, deletions: 1))
    }

    @Test("entries that come again after their sums were not committed are not counted twice")
    func again() async throws {
        let house = try await House()
        await house.repository("files")
        await house.put("hello", at: "p/1/f", in: "files")
        let entries = try await house.catalog.log(after: .zero, limit: 100)
        for _ in 1...3 { _ = try await house.counters.take(entries) }
        #expect(house.counters.current == totals(assets: 1, bytes: 5, uploads: 1, deletions: 0))
    }

    @Test("download counts survive a restart and go with what they count")
    func downloads() async throws {
        var house = try await House()
        await house.repository("files")
        for name in ["f", "g"] { await house.put(name, at: "p/1/\(name)", in: "files") }
        for name in ["f", "g", "g"] { #expect(await house.send(.get, "/general/files/p/1/\(name)").text == name) }
        try await house.registry.downloads.flush()
        #expect(await house.send(.get, "/general/files/p/1/f").text == "f")
        house.close()
        house = try await House(in: house.directory, clock: house.clock)
        let second = house
        func count(_ name: String) async -> Int? {
            let artifact = await second.send(.get, "/api/v1/repositories/files/artifacts/p/1/\(name)")
            return artifact.json["download_count"]?.int
        }
        #expect(await count("f") == 1)
        #expect(await count("g") == 2)
        // What it is told of a deleted asset, a deleted repository, and one that is still there.
        let before = try await second.catalog.head()
        await second.send(.delete, "/api/v1/repositories/files/artifacts/p/1/g")
        let parts = try await second.registry.downloads.take(try await second.catalog.log(after: before, limit: 10))
        try await second.catalog.apply(Change(actor: .system, at: second.clock.now, requestID: "test", parts: parts))
        #expect(try await second.catalog.records(.download, after: nil, limit: 10).count == 2)
        #expect(await count("f") == 1)
        await second.send(.delete, "/api/v1/repositories/files")
        _ = try await second.registry.downloads.take(try await second.catalog.log(after: before, limit: 100))
        #expect(try await second.catalog.records(.download, after: nil, limit: 10).map(\.id) == ["total"])
        #expect(try await second.registry.downloads.total() == 3)
    }

    private func totals(assets: Int64, bytes: Int64, uploads: Int64, deletions: Int64) -> StorageCounters.Totals {
        .init(assets: assets, bytes: bytes, uploads: uploads, deletions: deletions)
    }
}
