import Catalog
import Core
import PostgresCatalog
import Synchronization
import TestSupport
import Testing

@Suite("PostgreSQL goes away and comes back", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct PostgresInterruptionTests {
    @Test("no acknowledged change is lost, the others fail with the time to come back, and nobody has to help", .timeLimit(.minutes(5)))
    func interrupted() async throws {
        let cluster = try await PostgresCluster.own()
        let home = try await PostgresHome(at: try await cluster.database("interrupted"))
        try await home.catalog.apply(RandomChanges.beginning)
        let witness = Witness()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<4 {
                group.addTask {
                    var number = 0
                    while !witness.isOver, !Task.isCancelled {
                        await witness.record("w\(writer)-\(number)", on: home.catalog)
                        number += 1
                    }
                }
            }
            group.addTask {
                while !witness.isOver, !Task.isCancelled { await witness.read(home.catalog) }
            }
            for interruption in PostgresCluster.Interruption.allCases + [.kill] {
                try await progress(home.catalog)
                try await cluster.interrupt(interruption)
            }
            try await progress(home.catalog)
            witness.stop()
            try await group.waitForAll()
        }
        #expect(witness.unexpected == [])
        // What failed may be there all the same: the answer was lost, not the change.
        var stored: Set<String> = []
        var after: String?
        while case let page = try await home.catalog.records(.cursor, after: after, limit: 500), let last = page.last {
            stored.formUnion(page.map(\.id))
            after = last.id
        }
        #expect(witness.acknowledged.subtracting(stored) == [])
        let log = try await home.catalog.log(after: .zero, limit: .max)
        #expect(log.map(\.revision.number) == Array(1...UInt64(log.count)))
        #expect(Set(log.map(\.requestID)) == stored.union(["beginning"]), "an entry for each change, and none for another")
    }

    /// Waits for forty more changes.
    private func progress(_ catalog: PostgresCatalog) async throws {
        try await catalog.awaitChange(after: Revision(try await catalog.head().number + 40))
    }

    @Test("a server that is not there is told as such, in bounded time") func absent() async throws {
        let error = await #expect(throws: RegistryError.self) { try await PostgresHome(at: "host=/nonexistent dbname=x connect_timeout=1") }
        #expect(error?.code == .unavailable)
        #expect(error?.retryAfterSeconds != nil)
    }
}

/// What was acknowledged, and what went otherwise than it should.
private final class Witness: Sendable {
    private struct State {
        var acknowledged: Set<String> = []
        var unexpected: [String] = []
        var isOver = false
    }
    private let state = Mutex(State())

    var acknowledged: Set<String> { state.withLock { $0.acknowledged } }
    var unexpected: [String] { state.withLock { $0.unexpected } }
    var isOver: Bool { state.withLock { $0.isOver } }
    func stop() { state.withLock { $0.isOver = true } }

    func record(_ id: String, on catalog: PostgresCatalog) async {
        let record = Record(kind: .cursor, id: id, value: Array(id.utf8))
        let change = Change(actor: .system, at: Timestamp(seconds: 1), requestID: id, parts: [.putRecord(record, ifRevision: .zero)])
        do throws(RegistryError) {
            try await catalog.apply(change)
            state.withLock { _ = $0.acknowledged.insert(id) }
        } catch { note(error) }
    }

    /// An answer is right or is none.
    func read(_ catalog: PostgresCatalog) async {
        let known = state.withLock { $0.acknowledged.randomElement() }
        guard let known else { return await Task.yield() }
        do throws(RegistryError) {
            if try await catalog.record(.cursor, id: known)?.value != Array(known.utf8) {
                state.withLock { $0.unexpected.append("\(known) is not what was acknowledged") }
            }
        } catch { note(error) }
    }

    private func note(_ error: RegistryError) {
        guard error.code != .unavailable || error.retryAfterSeconds == nil else { return }
        state.withLock { $0.unexpected.append("\(error)") }
    }
}
