import Catalog
import Core
import Testing

@testable import Access

@Suite struct UserTests {
    @Test("a name is taken in either case, and an account is found by both")
    func names() async throws {
        let house = try House()
        let ada = try await house.user("Ada.Lovelace")
        #expect(try await refusal { try await house.user("ada.lovelace") }?.code == .conflict)
        #expect(try await house.access.user(named: "ADA.LOVELACE") == ada)
        #expect(try await house.access.user(ada.id) == ada)
        // Ids sort by the millisecond.
        house.pass(seconds: 1)
        let bob = try await house.user("bob")
        #expect(try await house.access.users(after: nil, limit: 1) == [ada])
        #expect(try await house.access.users(after: ada.id, limit: 10) == [bob])
    }

    @Test(
        "what is no name, address or password is invalid",
        arguments: [
            ("", "a@b", House.password), ("a b", "a@b", House.password), ("-a", "a@b", House.password), ("a/b", "a@b", House.password),
            ("anonymous", "a@b", House.password), ("System", "a@b", House.password), ("ädä", "a@b", House.password),
            (String(repeating: "a", count: 65), "a@b", House.password), ("ada", "ab", House.password), ("ada", "@b", House.password),
            ("ada", "a@b@c", House.password), ("ada", "a@b", "short"), ("ada", "a@b", "Password1"), ("ada", "a@b", "aaaaaaaaaaaa"),
            ("ada-lovelace", "a@b", "ADA-lovelace"), ("ada", "a@b", "granary_0123456789"), ("ada", "a@b", String(repeating: "ab", count: 513)),
        ])
    func invalid(username: String, email: String, password: String) async throws {
        let house = try House()
        let refused = try await refusal {
            try await house.access.createUser(username: username, email: email, password: password, by: .system, requestID: "t")
        }
        #expect(refused?.code == .invalid)
    }

    @Test("an account made without a password gets one that must change")
    func generated() async throws {
        let house = try House()
        let made = try await house.access.createUser(username: "ada", email: "a@b", password: nil, by: .system, requestID: "t")
        let password = try #require(made.generatedPassword?.revealed)
        #expect(password.count == 20 && made.user.mustChangePassword)
        #expect(try await house.caller("ada", password: password).mustChangePassword)
        try await house.access.setPassword(of: made.user.id, current: password, new: House.password, by: .system, requestID: "t")
        #expect(try await house.caller("ada").mustChangePassword == false)
    }

    @Test("a password change asks for the current one and for another one")
    func changes() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        func change(_ current: String, _ new: String) async throws -> RegistryError.Code? {
            try await refusal { try await house.access.setPassword(of: ada.id, current: current, new: new, by: .system, requestID: "t") }?.code
        }
        #expect(try await change("wrong", "another long phrase") == .unauthenticated)
        #expect(try await change(House.password, House.password) == .invalid)
        #expect(try await change(House.password, "short") == .invalid)
        #expect(try await house.caller("ada").account == ada.id)
    }

    @Test("a reset password is returned once, replaces the old one and must change")
    func reset() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        _ = try await house.caller("ada")
        let password = try await house.access.resetPassword(of: ada.id, by: .system, requestID: "t")
        #expect(try await refusal { try await house.caller("ada") }?.code == .unauthenticated)
        #expect(try await house.caller("ada", password: password.revealed).mustChangePassword)
    }

    @Test("the last active administrator stays one")
    func lastAdmin() async throws {
        let house = try House()
        let root = try await house.user("root", admin: true)
        try await house.user("ada")
        for edit in [UserEdit(isAdmin: false), UserEdit(isActive: false)] {
            #expect(try await refusal { try await house.access.updateUser(root.id, edit, by: .system, requestID: "t") }?.code == .conflict)
        }
        #expect(try await refusal { try await house.access.deleteUser(root.id, by: .system, requestID: "t") }?.code == .conflict)
        let second = try await house.user("second", admin: true)
        try await house.access.deleteUser(root.id, by: .system, requestID: "t")
        #expect(try await refusal { try await house.access.deleteUser(second.id, by: .system, requestID: "t") }?.code == .conflict)
        #expect(try await refusal { try await house.access.deleteUser(root.id, by: .system, requestID: "t") }?.code == .notFound)
    }

    @Test("concurrent edits of one account all count")
    func concurrentEdits() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { _ = try await house.access.updateUser(ada.id, UserEdit(email: "new@example.org"), by: .system, requestID: "t") }
            group.addTask { _ = try await house.access.updateUser(ada.id, UserEdit(displayName: "Ada"), by: .system, requestID: "t") }
            group.addTask { _ = try await house.access.updateUser(ada.id, UserEdit(isAdmin: true), by: .system, requestID: "t") }
            try await group.waitForAll()
        }
        let user = try #require(try await house.access.user(ada.id))
        #expect(user.email == "new@example.org" && user.displayName == "Ada" && user.isAdmin)
    }

    @Test("a row that is damaged is an error, never a trap")
    func damagedRows() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        var record = try #require(try await house.catalog.record(.user, id: ada.id.description))
        let whole = record.value
        for count in whole.indices {
            record.value = Array(whole.prefix(count))
            #expect(try await refusal { try UserRow(record) }?.code == .corrupt)
        }
        record.value = [9] + whole.dropFirst()
        #expect(try await refusal { try UserRow(record) }?.code == .corrupt)
    }
}
