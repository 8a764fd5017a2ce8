import Catalog
import Core
import Testing

@testable import Access

@Suite struct RegistryTokenTests {
    private static let bad = Refusal(code: .unauthenticated, subject: "request", reason: "the credentials are not valid")

    @Test(
        "a scope is read as docker writes it",
        arguments: [
            ("repository:local/app:pull,push", "local/app pull,push"), ("repository:local/a/b:pull", "local/a/b pull"),
            ("repository:host:5000/app:delete", "host:5000/app delete"), ("repository:app:*", "app pull,push,delete"),
            ("repository:app:nonsense", "nil"), ("repository::pull", "nil"), ("registry:catalog:*", "nil"), ("repository:app", "nil"), ("", "nil"),
        ])
    func grammar(text: String, expected: String) {
        let scope = RegistryScope(parsing: text)
        #expect((scope.map { "\($0.name) \($0.actionNames.joined(separator: ","))" } ?? "nil") == expected)
    }

    @Test("a registry token can what it names and its holder may, and nothing else")
    func shrinks() async throws {
        let house = try House()
        let (one, two) = (try await house.repository("one"), try await house.repository("two"))
        let ada = try await house.user("ada")
        for repository in [one, two] { try await house.access.grant([.write], on: repository.id, to: ada.id, by: .system, requestID: "t") }
        let owner = try await house.caller("ada")
        let issued = try await house.access.issueRegistryToken(
            for: owner, scopes: ["repository:one/app:pull,push,delete", "repository:absent/app:pull"].compactMap { RegistryScope(parsing: $0) })
        #expect(issued.granted == [RegistryScope(name: "one/app", actions: [.read, .write])])
        #expect(issued.expiresIn == 300)
        let caller = try await house.access.authenticate(.bearer(issued.token.revealed))
        #expect(caller.account == ada.id && caller.credentialKind == .registryToken && !caller.isAdmin)
        #expect(house.access.permissions(of: caller, on: one, about: .name("app")) == [.read, .write])
        #expect(house.access.permissions(of: caller, on: one, about: .name("other")) == [])
        #expect(house.access.permissions(of: caller, on: one) == [])
        #expect(house.access.permissions(of: caller, on: one, about: .unknown) == [.read, .write])
        #expect(house.access.permissions(of: caller, on: two, about: .name("app")) == [])
        for scope in TokenScope.allCases { #expect(!caller.permits(scope)) }
        #expect(try await refusal { try await house.token(of: caller, scopes: ["read:artifacts"]) }?.code == .forbidden)
        #expect(try await refusal { try await house.access.issueRegistryToken(for: caller, scopes: []) }?.code == .forbidden)
        #expect(try await refusal { try await house.access.refresh(issued.token.revealed, requestID: "t") } == Self.bad)
        house.pass(seconds: 300)
        #expect(try await refusal { try await house.access.authenticate(.bearer(issued.token.revealed)) } == Self.bad)
    }

    @Test("an anonymous registry token pulls what is public")
    func anonymous() async throws {
        let house = try House()
        let (open, closed) = (try await house.repository("open", isPublic: true), try await house.repository("closed"))
        let scopes = [RegistryScope(name: "open/a", actions: [.read, .write]), RegistryScope(name: "closed/a", actions: [.read])]
        let issued = try await house.access.issueRegistryToken(for: .anonymous, scopes: scopes)
        #expect(issued.granted == [RegistryScope(name: "open/a", actions: [.read])])
        let caller = try await house.access.authenticate(.bearer(issued.token.revealed))
        #expect(caller.isAnonymous)
        #expect(house.access.permissions(of: caller, on: open, about: .name("a")) == [.read])
        #expect(house.access.permissions(of: caller, on: closed, about: .name("a")) == [])
    }

    @Test("a registry token dies with the credential it was exchanged for")
    func roots() async throws {
        let house = try House()
        let one = try await house.repository("one", isPublic: true)
        let ada = try await house.user("ada")
        let owner = try await house.caller("ada")
        let api = try await house.token(of: owner, scopes: ["read:artifacts"])
        let session = try await house.login("ada")
        let scopes = [RegistryScope(name: "one/a", actions: [.read])]
        func exchange(_ credentials: Credentials) async throws -> Credentials {
            .bearer(try await house.access.issueRegistryToken(for: house.access.authenticate(credentials), scopes: scopes).token.revealed)
        }
        let fromToken = try await exchange(.bearer(api.text.revealed))
        let fromSession = try await exchange(.bearer(session.accessToken.revealed))
        let fromPassword = try await exchange(.basic(user: "ada", password: House.password))
        for each in [fromToken, fromSession, fromPassword] {
            #expect(try await house.access.permissions(of: house.access.authenticate(each), on: one, about: .name("a")) == [.read])
        }
        try await house.access.revokeToken(api.token.id, of: ada.id, by: owner.actor, requestID: "t")
        #expect(try await refusal { try await house.access.authenticate(fromToken) } == Self.bad)
        try await house.access.logout(refreshToken: session.refreshToken.revealed, requestID: "t")
        #expect(try await refusal { try await house.access.authenticate(fromSession) } == Self.bad)
        _ = try await house.access.authenticate(fromPassword)
        try await house.access.setPassword(of: ada.id, current: House.password, new: "another long phrase", by: owner.actor, requestID: "t")
        #expect(try await refusal { try await house.access.authenticate(fromPassword) } == Self.bad)
    }

    @Test("an exchange keeps the limits of the API token behind it")
    func keepsLimits() async throws {
        let house = try House()
        let (one, two) = (try await house.repository("one"), try await house.repository("two"))
        try await house.user("root", admin: true)
        let text = try await house.token(of: house.caller("root"), scopes: ["read:artifacts"], repositories: [one.id]).text
        let limited = try await house.access.authenticate(.bearer(text.revealed))
        let all: Set<Core.Permission> = [.read, .write, .delete]
        let issued = try await house.access.issueRegistryToken(
            for: limited, scopes: [RegistryScope(name: "one/a", actions: all), RegistryScope(name: "two/a", actions: all)])
        #expect(issued.granted == [RegistryScope(name: "one/a", actions: [.read])])
        let caller = try await house.access.authenticate(.bearer(issued.token.revealed))
        #expect(house.access.permissions(of: caller, on: one, about: .name("a")) == [.read])
        #expect(house.access.permissions(of: caller, on: two, about: .name("a")) == [])
    }
}
