import Catalog
import Core
import OrderedStore
import TestSupport
import Testing

@testable import Access
@testable import Audit

@Suite("audit log of several nodes", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason))) struct NodesTests {
    private func decision(_ number: Int, on node: Int, refusal: RegistryError.Code? = nil) -> Decision {
        Decision(
            at: World.real.now(), actor: .system, credential: .none, action: "write", kind: "repository", subject: "r\(number)", refusal: refusal,
            requestID: "\(node).\(number)")
    }

    @Test("what nodes decide at the same time is one chain, and each record is in it once") func oneChain() async throws {
        let first = try await AuditHome(.database)
        let homes = [first, try await AuditHome(.database, at: first.address), try await AuditHome(.database, at: first.address)]
        let trails = homes.map { AuditTrail(in: $0.rows, world: .real, log: $0.log) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (node, trail) in trails.enumerated() {
                group.addTask {
                    for number in 0..<100 {
                        try trail.keep(self.decision(number, on: node, refusal: number % 3 == 0 ? .forbidden : nil))
                        if number % 10 == 0 { try await homes[node].rows.commit { _ in } }
                    }
                    try await homes[node].rows.commit { _ in }
                }
            }
            try await group.waitForAll()
        }
        for home in homes { #expect(try await home.verify().records == 300) }
        var query = AuditQuery()
        query.limit = 1_000
        let found = try await trails[0].find(query)
        #expect(found.total == 300 && Set(found.records.map(\.requestID)).count == 300)
        for home in homes { home.close() }
    }

    @Test("a decision is in the database, for every node, when what it allowed is acknowledged; what another commit refused is not lost")
    func order() async throws {
        let home = try await AuditHome(.database)
        let other = try await AuditHome(.database, at: home.address)
        let trail = AuditTrail(in: home.rows, world: .real, log: home.log)
        let elsewhere = AuditTrail(in: other.rows, world: .real, log: other.log)
        let catalog = try #require(home.rows as? any Catalog)
        for number in 1...20 {
            try trail.keep(decision(number, on: 0))
            let record = Record(kind: .setting, id: "s", value: [UInt8(number)])
            // Every other one is refused: the decision stays.
            let part = Change.Part.putRecord(record, ifRevision: number % 2 == 0 ? .zero : nil)
            _ = try? await catalog.apply(Change(actor: .system, at: World.real.now(), requestID: "", parts: [part]))
            #expect(try await elsewhere.head().number == UInt64(number))
        }
        #expect(try await other.verify(expecting: try await trail.head()).records == 20)
        home.close()
        other.close()
    }
}
