import Catalog
import Core
import Testing

@testable import Access

@Suite struct RoleTests {
    @Test("a role counts from the next request on, and no longer than it is held")
    func roles() async throws {
        let house = try House()
        let access = house.access
        let one = try await house.repository("one")
        let ada = try await house.user("ada")
        let expected: [(Role, Set<Core.Permission>)] = [
            (.user, []), (.reader, [.read]), (.developer, [.read, .write]), (.repositoryOwner, []), (.admin, Set(Core.Permission.allCases)),
        ]
        try await house.user("root", admin: true)
        for (role, rights) in expected {
            try await access.assign(role, to: ada.id, by: .system, requestID: "t")
            #expect(access.permissions(of: try await house.caller("ada"), on: one) == rights)
            #expect(try await access.roles(of: ada.id) == Role.allCases.filter { $0 == .user || $0 == role })
            guard role != .user else { continue }
            try await access.withdraw(role, from: ada.id, by: .system, requestID: "t")
            #expect(access.permissions(of: try await house.caller("ada"), on: one) == [])
            #expect(try await refusal { try await access.withdraw(role, from: ada.id, by: .system, requestID: "t") }?.code == .notFound)
        }
        #expect(try await refusal { try await access.withdraw(.user, from: ada.id, by: .system, requestID: "t") }?.code == .invalid)
        #expect(try await refusal { try await access.assign(.reader, to: one.id, by: .system, requestID: "t") }?.code == .notFound)
        #expect(Set(Role.allCases.map(\.id)).count == Role.allCases.count)
    }

    @Test("the last administrator keeps the role, and a deleted account leaves none")
    func ends() async throws {
        let house = try House()
        let root = try await house.user("root", admin: true)
        let ada = try await house.user("ada")
        #expect(try await refusal { try await house.access.withdraw(.admin, from: root.id, by: .system, requestID: "t") }?.code == .conflict)
        try await house.access.assign(.reader, to: ada.id, by: .system, requestID: "t")
        try await house.access.deleteUser(ada.id, by: .system, requestID: "t")
        #expect(try await house.access.storedRoles(of: ada.id) == [])
    }

    @Test("a service account has no password and comes with tokens only, which end with it")
    func services() async throws {
        let house = try House()
        let access = house.access
        try await house.user("root", admin: true)
        let root = try await house.caller("root")
        let one = try await house.repository("one")
        let robot = try await access.createServiceAccount(name: "ci", displayName: "CI", by: .system, requestID: "t")
        #expect(robot.username == "svc-ci" && robot.isService)
        #expect(try await access.serviceAccounts() == [robot])
        for password in ["", House.password] {
            #expect(try await refusal { try await house.caller("svc-ci", password: password) }?.code == .unauthenticated)
        }
        #expect(try await refusal { try await access.resetPassword(of: robot.id, by: .system, requestID: "t") }?.code == .invalid)
        try await access.grant([.write], on: one.id, to: robot.id, by: .system, requestID: "t")
        let made = try await access.createToken(
            for: robot.id, name: "t", scopes: ["read:artifacts"], repositories: [one.id], expiresInDays: nil, by: root, requestID: "t")
        let caller = try await access.authenticate(.bearer(made.text.revealed))
        #expect(caller.username == "svc-ci" && access.permissions(of: caller, on: one) == [.read])
        #expect(try await access.tokens(for: one.id).map(\.id) == [made.token.id])
        #expect(
            try await refusal { try await access.createServiceAccount(name: "svc-CI", displayName: nil, by: .system, requestID: "t") }?.code
                == .conflict)
        try await access.updateUser(robot.id, UserEdit(isActive: false), by: .system, requestID: "t")
        #expect(try await refusal { try await access.authenticate(.bearer(made.text.revealed)) }?.code == .unauthenticated)
        try await access.deleteUser(robot.id, by: .system, requestID: "t")
        #expect(try await access.tokens(for: one.id) == [])
        let ada = try await house.user("ada")
        #expect(try await refusal { try await access.serviceAccount(ada.id) }?.code == .notFound)
    }

    @Test("a user row of format 1 is a person's")
    func oldRow() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        let row = try #require(try await access(house, ada))
        var record = row.record
        #expect(record.value.first == 3)
        // Format 2 added whether it is a service account, format 3 earlier passwords and the second factor: three bytes when there are none.
        record.value = [1] + record.value.dropFirst().dropLast(4)
        #expect(try UserRow(record).user == ada)
    }

    private func access(_ house: House, _ user: User) async throws -> UserRow? { try await house.access.userRow(user.id) }
}
