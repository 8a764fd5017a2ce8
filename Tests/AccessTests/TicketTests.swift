import Catalog
import Core
import Testing

@testable import Access

@Suite struct TicketTests {
    private func use(_ house: House, _ text: Secret, _ path: String) async throws -> Caller {
        try await house.access.authenticate(.ticket(text.revealed, path: path))
    }

    @Test("a ticket is good once, for its path, for half a minute, and reads as its maker may")
    func once() async throws {
        let house = try House()
        let one = try await house.repository("one")
        let ada = try await house.user("ada")
        try await house.access.grant([.write], on: one.id, to: ada.id, by: .system, requestID: "t")
        let caller = try await house.caller("ada")
        let ticket = try house.access.issueTicket(for: caller, path: "/a")
        let used = try await use(house, ticket, "/a")
        #expect(used.username == "ada" && house.access.permissions(of: used, on: one) == [.read])
        #expect(try await refusal { try await use(house, ticket, "/a") }?.code == .unauthenticated)
        let wrong = try house.access.issueTicket(for: caller, path: "/a")
        for _ in 0..<2 { #expect(try await refusal { try await use(house, wrong, "/b") }?.code == .unauthenticated) }
        #expect(try await refusal { try await use(house, wrong, "/a") }?.code == .unauthenticated)
        let late = try house.access.issueTicket(for: caller, path: "/a")
        house.pass(seconds: 30)
        #expect(try await refusal { try await use(house, late, "/a") }?.code == .unauthenticated)
        #expect(try house.access.authenticateAtOnce(.ticket("none", path: "/a")) == nil)
        #expect(!house.catalog.everything.contains(ticket.revealed.utf8))
    }

    @Test("a ticket is never an administrator's, does nothing but read artifacts, and makes nothing")
    func narrow() async throws {
        let house = try House()
        let one = try await house.repository("one")
        try await house.user("root", admin: true)
        let root = try await house.caller("root")
        let used = try await use(house, try house.access.issueTicket(for: root, path: "/a"), "/a")
        #expect(!used.isAdmin && house.access.permissions(of: used, on: one) == [.read])
        for scope in [nil] + TokenScope.allCases.map(Optional.some) {
            #expect(try await refusal { try house.access.requireAdmin(used, scope: scope) }?.code == .forbidden)
        }
        #expect(try await refusal { try house.access.issueTicket(for: used, path: "/a") }?.code == .forbidden)
        #expect(try await refusal { try await house.token(of: used, scopes: ["read:artifacts"]) }?.code == .forbidden)
        #expect(try await refusal { try await house.access.issueRegistryToken(for: used, scopes: []) }?.code == .forbidden)
        #expect(try await refusal { try house.access.issueTicket(for: .anonymous, path: "/a") }?.code == .unauthenticated)
        let text = try await house.token(of: root, scopes: ["write:artifacts"]).text
        let writer = try await house.access.authenticate(.bearer(text.revealed))
        #expect(try await refusal { try house.access.issueTicket(for: writer, path: "/a") }?.code == .forbidden)
    }

    @Test("a ticket dies with the credential behind it, and keeps its limits")
    func roots() async throws {
        let house = try House()
        let (one, two) = (try await house.repository("one"), try await house.repository("two"))
        let ada = try await house.user("ada")
        for repository in [one, two] { try await house.access.grant([.read], on: repository.id, to: ada.id, by: .system, requestID: "t") }
        let made = try await house.token(of: house.caller("ada"), scopes: ["read:artifacts"], repositories: [one.id])
        let limited = try await house.access.authenticate(.bearer(made.text.revealed))
        let used = try await use(house, try house.access.issueTicket(for: limited, path: "/a"), "/a")
        #expect(house.access.mayRead(used, one) && !house.access.mayRead(used, two))
        let ticket = try house.access.issueTicket(for: limited, path: "/a")
        try await house.access.revokeToken(made.token.id, of: ada.id, by: .system, requestID: "t")
        #expect(try await refusal { try await use(house, ticket, "/a") }?.code == .unauthenticated)
        let other = try house.access.issueTicket(for: try await house.caller("ada"), path: "/a")
        try await house.access.updateUser(ada.id, UserEdit(isActive: false), by: .system, requestID: "t")
        #expect(try await refusal { try await use(house, other, "/a") }?.code == .unauthenticated)
    }
}
