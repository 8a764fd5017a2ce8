import Catalog
import Core
import Testing

@testable import Access

@Suite struct SessionTests {
    private static let bad = Refusal(code: .unauthenticated, subject: "request", reason: "the credentials are not valid")

    @Test("an unknown user, a wrong password and a disabled account are refused in the same words")
    func sameWords() async throws {
        let house = try House()
        try await house.user("ada")
        let off = try await house.user("bob")
        try await house.access.updateUser(off.id, UserEdit(isActive: false), by: .system, requestID: "t")
        for (user, password) in [("nobody", House.password), ("ada", "wrong"), ("ada", ""), ("bob", House.password), ("", "")] {
            #expect(try await refusal { try await house.access.login(username: user, password: password, requestID: "t") } == Self.bad)
            #expect(try await refusal { try await house.caller(user, password: password) } == Self.bad)
        }
    }

    @Test("a login opens a session whose access token is its holder's, until it expires")
    func login() async throws {
        let house = try House()
        let ada = try await house.user("Ada")
        let session = try await house.login("ADA")
        #expect(session.expiresIn == 1800)
        #expect(session.user == ada)
        let caller = try await house.access.authenticate(.cookie(session.accessToken.revealed))
        #expect(caller.actor == Actor(name: "Ada", account: ada.id))
        #expect(caller.credentialKind == .session)
        house.pass(seconds: 1800)
        #expect(try await refusal { try await house.access.authenticate(.bearer(session.accessToken.revealed)) } == Self.bad)
    }

    @Test("a refresh token opens nothing, an access token refreshes nothing")
    func wrongPurpose() async throws {
        let house = try House()
        try await house.user("ada")
        let session = try await house.login("ada")
        #expect(try await refusal { try await house.access.authenticate(.bearer(session.refreshToken.revealed)) } == Self.bad)
        #expect(try await refusal { try await house.access.refresh(session.accessToken.revealed, requestID: "t") } == Self.bad)
    }

    @Test("a used refresh token ends the session: its newest access and refresh tokens too, and no other session")
    func reuse() async throws {
        let house = try House()
        try await house.user("ada")
        let first = try await house.login("ada")
        let other = try await house.login("ada")
        let second = try await house.access.refresh(first.refreshToken.revealed, requestID: "t")
        _ = try await house.access.authenticate(.bearer(first.accessToken.revealed))
        _ = try await house.access.authenticate(.bearer(second.accessToken.revealed))
        #expect(try await refusal { try await house.access.refresh(first.refreshToken.revealed, requestID: "t") } == Self.bad)
        #expect(try await refusal { try await house.access.refresh(second.refreshToken.revealed, requestID: "t") } == Self.bad)
        for token in [first.accessToken, second.accessToken] {
            #expect(try await refusal { try await house.access.authenticate(.bearer(token.revealed)) } == Self.bad)
        }
        _ = try await house.access.authenticate(.bearer(other.accessToken.revealed))
    }

    @Test("of 64 refreshes with one token at most one wins, and the session is over")
    func race() async throws {
        let house = try House()
        try await house.user("ada")
        let session = try await house.login("ada")
        let won: [Session] = try await withThrowingTaskGroup(of: Session?.self) { group in
            for _ in 0..<64 {
                group.addTask {
                    do { return try await house.access.refresh(session.refreshToken.revealed, requestID: "t") } catch let error as RegistryError {
                        #expect(error.code == .unauthenticated)
                        return nil
                    }
                }
            }
            return try await group.reduce(into: [Session]()) { if let session = $1 { $0.append(session) } }
        }
        #expect(won.count == 1)
        for session in won + [session] {
            #expect(try await refusal { try await house.access.refresh(session.refreshToken.revealed, requestID: "t") } == Self.bad)
            #expect(try await refusal { try await house.access.authenticate(.bearer(session.accessToken.revealed)) } == Self.bad)
        }
    }

    @Test("logging out ends the session, by its refresh token or by its caller")
    func logout() async throws {
        let house = try House()
        try await house.user("ada")
        let (one, two) = (try await house.login("ada"), try await house.login("ada"))
        let caller = try await house.access.authenticate(.bearer(two.accessToken.revealed))
        _ = try await house.access.authenticate(.bearer(one.accessToken.revealed))
        try await house.access.logout(refreshToken: one.refreshToken.revealed, requestID: "t")
        try await house.access.logout(refreshToken: one.refreshToken.revealed, requestID: "t")
        try await house.access.logout(caller, requestID: "t")
        for session in [one, two] {
            #expect(try await refusal { try await house.access.authenticate(.bearer(session.accessToken.revealed)) } == Self.bad)
            #expect(try await refusal { try await house.access.refresh(session.refreshToken.revealed, requestID: "t") } == Self.bad)
        }
    }

    @Test("a new password ends every session and the old password on the next request, and keeps API tokens")
    func passwordChange() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        let session = try await house.login("ada")
        let caller = try await house.caller("ada")
        let token = try await house.token(of: caller, scopes: nil).text
        _ = try await house.access.authenticate(.bearer(session.accessToken.revealed))
        try await house.access.setPassword(of: ada.id, current: House.password, new: "another long phrase", by: caller.actor, requestID: "t")
        #expect(try await refusal { try await house.access.authenticate(.bearer(session.accessToken.revealed)) } == Self.bad)
        #expect(try await refusal { try await house.access.refresh(session.refreshToken.revealed, requestID: "t") } == Self.bad)
        #expect(try await refusal { try await house.caller("ada") } == Self.bad)
        #expect(try await house.caller("ada", password: "another long phrase").account == ada.id)
        #expect(try await house.access.authenticate(.bearer(token.revealed)).account == ada.id)
    }

    @Test("an account has at most 64 sessions: the oldest make room, finished ones are swept")
    func bounded() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        let first = try await house.login("ada")
        _ = try await house.access.authenticate(.bearer(first.accessToken.revealed))
        for _ in 0..<64 {
            house.pass(seconds: 1)
            _ = try await house.login("ada")
        }
        #expect(try await house.access.records(.session, prefix: "\(ada.id)/").count == 64)
        #expect(try await refusal { try await house.access.authenticate(.bearer(first.accessToken.revealed)) } == Self.bad)
        house.pass(seconds: 8 * 86_400)
        _ = try await house.login("ada")
        #expect(try await house.access.records(.session, prefix: "\(ada.id)/").count == 1)
    }

    @Test("switching an account off, or deleting it, counts on the next request for every credential")
    func switchedOff() async throws {
        for delete in [false, true] {
            let house = try House()
            let ada = try await house.user("ada")
            let session = try await house.login("ada")
            let token = try await house.token(of: house.caller("ada"), scopes: nil).text
            let credentials: [Credentials] = [
                .bearer(session.accessToken.revealed), .bearer(token.revealed), .basic(user: "ada", password: House.password),
            ]
            for each in credentials { #expect(try await house.access.authenticate(each).account == ada.id) }
            if delete {
                try await house.access.deleteUser(ada.id, by: .system, requestID: "t")
                #expect(house.catalog.everything.isEmpty)
            } else {
                try await house.access.updateUser(ada.id, UserEdit(isActive: false), by: .system, requestID: "t")
            }
            for each in credentials { #expect(try await refusal { try await house.access.authenticate(each) } == Self.bad) }
        }
    }
}
