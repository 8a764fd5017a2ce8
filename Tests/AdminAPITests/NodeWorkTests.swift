import BlobStore
import Catalog
import Core
import HTTPTypes
import Synchronization
import TestHouse
import TestSupport
import Testing

@testable import Registry

/// Who is at work, how many were at most, and who has begun.
private final class Turns: Sendable {
    let atWork = Mutex(Set<Int>())
    let most = Mutex(0)
    let done = Mutex<[Int]>([])
}

/// Work on what nodes share, which one of them does for all.
@Suite("work of one node for all", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason))) struct NodeWorkTests {
    /// Looks for some minutes at most.
    static func comes(_ isWanted: () async throws -> Bool) async throws -> Bool {
        let deadline = ContinuousClock.now + .seconds(180)
        while try await !isWanted() {
            guard ContinuousClock.now < deadline else { return false }
            try await Task.sleep(for: .milliseconds(10))
        }
        return true
    }

    /// Lets the clock go, until the task is cancelled: who renews a lease writes down the time.
    static func goes(_ clock: HouseClock) -> Task<Void, Never> {
        Task {
            while !Task.isCancelled {
                try? await Task.sleep(for: .seconds(1))
                clock.pass(seconds: 1)
            }
        }
    }

    @Test("work that is under way is begun by nobody else, and who tries takes nothing from it") func underWay() async throws {
        let nodes = try await NodeHouses { $0.leaseSeconds = 6 }
        let (mine, theirs) = (nodes[0].registry.leases, nodes[1].registry.leases)
        let time = Self.goes(nodes.clock)
        defer { time.cancel() }
        let wasCancelled = try await mine.holding("work") { () async throws(RegistryError) -> Bool in
            let before = try await nodes[0].catalog.record(.lease, id: "work")?.revision
            for leases in [mine, theirs, mine] {
                let ran = try await leases.holding("work") { () async throws(RegistryError) -> Int in 1 }
                #expect(ran == nil)
            }
            // It is renewed, and still this one's.
            while !Task.isCancelled {
                guard let lease = try await nodes[0].catalog.record(.lease, id: "work"), lease.revision == before else { break }
                try? await Task.sleep(for: .milliseconds(10))
            }
            let ran = try await theirs.holding("work") { () async throws(RegistryError) -> Int in 1 }
            #expect(ran == nil)
            return Task.isCancelled
        }
        #expect(wasCancelled == false)
        #expect(try await theirs.holding("work") { () async throws(RegistryError) in 2 } == 2)
    }

    @Test("of nodes that want the same work at once one does it, and the next one when that ends", arguments: [2, 4]) func keeping(_ count: Int)
        async throws
    {
        let nodes = try await NodeHouses(count) { $0.leaseSeconds = 1 }
        let turns = Turns()
        let tasks = nodes.houses.enumerated().map { number, house in
            Task {
                await house.registry.leases.keeping("work") {
                    let together = turns.atWork.withLock { atWork in
                        atWork.insert(number)
                        return atWork.count
                    }
                    turns.most.withLock { $0 = max($0, together) }
                    turns.done.withLock { $0.append(number) }
                    while !Task.isCancelled { try? await Task.sleep(for: .milliseconds(10)) }
                    turns.atWork.withLock { _ = $0.remove(number) }
                }
            }
        }
        for round in 1...count {
            #expect(try await Self.comes { turns.done.withLock { $0.count } >= round })
            let holder = try #require(turns.done.withLock { $0.last })
            tasks[holder].cancel()
            await tasks[holder].value
        }
        #expect(turns.done.withLock { Set($0) } == Set(0..<count))
        #expect(turns.most.withLock { $0 } == 1)
    }

    @Test("what nodes share is swept by one at a time: the others are refused, whoever asks") func sweepOnce() async throws {
        let nodes = try await NodeHouses(3)
        let codes = try await nodes[0].registry.leases.holding("sweep") { () async throws(RegistryError) in
            var codes: [RegistryError.Code?] = []
            for house in nodes.houses {
                do throws(RegistryError) {
                    _ = try await house.registry.sweep(house.registry.sweeper.options)
                    codes.append(nil)
                } catch { codes.append(error.code) }
            }
            return codes
        }
        #expect(codes == [.conflict, .conflict, .conflict])
        #expect(nodes.houses.allSatisfy { $0.registry.sweeper.sharedRuns == 0 })
        _ = try await nodes[2].registry.sweep(nodes[2].registry.sweeper.options)
        #expect(nodes[2].registry.sweeper.sharedRuns == 1)
    }

    @Test("by the schedule one node sweeps what all share, each its own cache; another goes on when that one ends")
    func sweepSchedule() async throws {
        let nodes = try await NodeHouses {
            $0.sweep.intervalSeconds = 1
            $0.leaseSeconds = 6
        }
        let time = Self.goes(nodes.clock)
        defer { time.cancel() }
        let registries = nodes.houses.map(\.registry)
        let schedules = registries.map { registry in Task { await registry.sweepOnSchedule() } }
        #expect(try await Self.comes { registries.contains { $0.sweeper.sharedRuns >= 2 } })
        let shared = registries.map(\.sweeper.sharedRuns)
        let holder = shared[0] > 0 ? 0 : 1
        #expect(shared[1 - holder] == 0)
        #expect(try await Self.comes { registries.allSatisfy { $0.sweeper.totals.runs > $0.sweeper.sharedRuns } })
        schedules[holder].cancel()
        await schedules[holder].value
        #expect(try await Self.comes { registries[1 - holder].sweeper.sharedRuns > 0 })
        for schedule in schedules { schedule.cancel() }
        for schedule in schedules { await schedule.value }
    }

    @Test("trash whose time is over is purged once, by the sweep of what nodes share, and not by that of a node's own cache")
    func trash() async throws {
        let nodes = try await NodeHouses { $0.trashDays = 1 }
        await nodes[0].repository("files")
        #expect(await nodes[0].put("text", at: "a/1/x", in: "files").status == 201)
        #expect(await nodes[1].send(.delete, "/api/v1/repositories/files/artifacts/a/1/x").status < 300)
        nodes.clock.pass(seconds: 86_401)
        func over() async throws -> Int { try await nodes[0].catalog.deletionsOver(by: nodes.clock.now, limit: 10).count }
        for house in nodes.houses { _ = try await house.registry.sweeper.sweep(house.registry.sweeper.options) }
        #expect(try await over() == 1)
        _ = try await nodes[1].registry.sweep(nodes[1].registry.sweeper.options)
        #expect(try await over() == 0)
    }
}
