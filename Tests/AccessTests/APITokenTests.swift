import Catalog
import Core
import Testing

@testable import Access

@Suite struct APITokenTests {
    private static let bad = Refusal(code: .unauthenticated, subject: "request", reason: "the credentials are not valid")

    @Test("a token's text has 256 random bits, is shown once and stored nowhere")
    func text() async throws {
        let house = try House()
        try await house.user("ada")
        let (text, token) = try await house.token(of: house.caller("ada"), scopes: ["read:artifacts"])
        #expect(text.revealed.hasPrefix("granary_"))
        #expect(Hex.decode(text.revealed.dropFirst(8))?.count == 32)
        #expect(text.revealed.hasPrefix(token.prefix) && token.prefix.count == 14)
        let stored = String(decoding: house.catalog.everything, as: UTF8.self)
        #expect(!stored.contains(text.revealed.dropFirst(14)))
        #expect(!stored.contains(House.password))
        #expect(try await house.access.tokens(of: token.account) == [token])
    }

    @Test("every carrier takes a token, whatever the user name beside it")
    func carriers() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        let text = try await house.token(of: house.caller("ada"), scopes: nil).text.revealed
        for credentials in [Credentials.bearer(text), .apiKey(text), .cookie(text), .basic(user: "__token__", password: text)] {
            let caller = try await house.access.authenticate(credentials)
            #expect(caller.account == ada.id && caller.credentialKind == .apiToken)
        }
        #expect(try await refusal { try await house.access.authenticate(.bearer(text + "0")) } == Self.bad)
        #expect(try await refusal { try await house.access.authenticate(.bearer("granary_")) } == Self.bad)
    }

    @Test("a token expires")
    func expiry() async throws {
        let house = try House()
        try await house.user("ada")
        let text = try await house.token(of: house.caller("ada"), scopes: nil, days: 1).text.revealed
        house.pass(seconds: 86_399)
        _ = try await house.access.authenticate(.bearer(text))
        house.pass(seconds: 1)
        #expect(try await refusal { try await house.access.authenticate(.bearer(text)) } == Self.bad)
    }

    @Test("revoking a token under load is effective on the next request, with a warm cache", .timeLimit(.minutes(10)))
    func revocation() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        let caller = try await house.caller("ada")
        for _ in 0..<50 {
            let (text, token) = try await house.token(of: caller, scopes: nil)
            let credentials = Credentials.bearer(text.revealed)
            _ = try await house.access.authenticate(credentials)
            #expect(try house.access.authenticateAtOnce(credentials)?.caller.account == ada.id)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<4 {
                    group.addTask {
                        // Ends only because the revocation is seen.
                        while try await refusal({ try await house.access.authenticate(credentials) }) == nil { await Task.yield() }
                    }
                }
                try await house.access.revokeToken(token.id, of: ada.id, by: caller.actor, requestID: "t")
                #expect(try house.access.authenticateAtOnce(credentials)?.caller.account == nil)
                #expect(try await refusal { try await house.access.authenticate(credentials) } == Self.bad)
                try await group.waitForAll()
            }
            #expect(try house.access.authenticateAtOnce(credentials)?.caller.account == nil)
        }
    }

    @Test("unknown scopes are invalid, and an administrator's are not given by others")
    func scopes() async throws {
        let house = try House()
        try await house.user("ada")
        try await house.user("root", admin: true)
        let (ada, root) = (try await house.caller("ada"), try await house.caller("root"))
        for scopes in [["read"], ["read:artifacts", "nonsense"], ["READ:ARTIFACTS"], []] {
            #expect(try await refusal { try await house.token(of: ada, scopes: scopes) }?.code == .invalid)
        }
        for scope in TokenScope.allCases {
            let refused = try await refusal { try await house.token(of: ada, scopes: [scope.rawValue]) }
            #expect((refused?.code == .forbidden) == scope.isForAdminsToGrant)
            #expect(try await refusal { try await house.token(of: root, scopes: [scope.rawValue]) } == nil)
        }
        for days in [0, -1, 3651] as [Int64] {
            #expect(try await refusal { try await house.token(of: ada, scopes: nil, days: days) }?.code == .invalid)
        }
        let others = try await refusal {
            try await house.access.createToken(
                for: #require(root.account), name: "x", scopes: nil, expiresInDays: nil, by: ada, requestID: "t")
        }
        #expect(others?.code == .forbidden)
    }

    @Test("a token makes no token that can more than itself, or lives longer")
    func minting() async throws {
        let house = try House()
        try await house.user("root", admin: true)
        let root = try await house.caller("root")
        let (one, two) = (try await house.repository("one"), try await house.repository("two"))
        let text = try await house.token(of: root, scopes: ["read:artifacts", "write:artifacts"], repositories: [one.id], days: 2).text
        let parent = try await house.access.authenticate(.bearer(text.revealed))
        let wider: [([String]?, Set<RepositoryID>?)] = [
            (nil, [one.id]), (["*"], [one.id]), (["admin"], [one.id]), (["delete:artifacts"], [one.id]), (["read:artifacts"], nil),
            (["read:artifacts"], [one.id, two.id]),
        ]
        for (scopes, repositories) in wider {
            #expect(try await refusal { try await house.token(of: parent, scopes: scopes, repositories: repositories) }?.code == .forbidden)
        }
        let child = try await house.token(of: parent, scopes: ["read:artifacts"], repositories: [one.id], days: 30).token
        #expect(child.expires == house.now.adding(seconds: 2 * 86_400))
    }

    @Test("what a token made is void with it, whoever's it is, and so is what that made; no list has it any more")
    func generations() async throws {
        let house = try House()
        let root = try await house.user("root", admin: true)
        let bob = try await house.user("bob")
        let parent = try await house.token(of: house.caller("root"), scopes: ["*"])
        let holder = try await house.access.authenticate(.bearer(parent.text.revealed))
        let child = try await house.token(of: holder, scopes: ["read:artifacts", "write:artifacts"])
        let grandchild = try await house.token(of: house.access.authenticate(.bearer(child.text.revealed)), scopes: ["read:artifacts"])
        let given = try await house.access.createToken(
            for: bob.id, name: "ci", scopes: ["read:artifacts"], expiresInDays: nil, by: holder, requestID: "t")
        let texts = [parent, child, grandchild, given].map(\.text.revealed)
        for text in texts { _ = try await house.access.authenticate(.bearer(text)) }
        for text in texts { #expect(try house.access.authenticateAtOnce(.bearer(text)) != nil) }
        #expect(try await house.access.tokens(of: root.id).count == 3)
        #expect(try await house.access.tokens(of: bob.id).count == 1)
        try await house.access.revokeToken(parent.token.id, of: root.id, by: .system, requestID: "t")
        for text in texts {
            #expect(try house.access.authenticateAtOnce(.bearer(text)) == nil)
            #expect(try await refusal { try await house.access.authenticate(.bearer(text)) } == Self.bad)
        }
        #expect(try await house.access.tokens(of: root.id) == [])
        #expect(try await house.access.tokens(of: bob.id) == [])
        // Who asked before, and makes another one now, makes none that is good.
        #expect(try await refusal { try await house.token(of: holder, scopes: ["read:artifacts"]) } == Self.bad)
    }

    @Test("tokens make tokens over four generations; with an ancestor that expired a token is void")
    func depth() async throws {
        let house = try House()
        try await house.user("ada")
        var caller = try await house.caller("ada")
        var texts: [String] = []
        for days in [2, 1, nil, nil] as [Int64?] {
            texts.append(try await house.token(of: caller, scopes: ["read:artifacts"], days: days).text.revealed)
            caller = try await house.access.authenticate(.bearer(texts[texts.count - 1]))
        }
        let last = caller
        #expect(try await refusal { try await house.token(of: last, scopes: ["read:artifacts"]) }?.code == .forbidden)
        house.pass(seconds: 86_400)
        _ = try await house.access.authenticate(.bearer(texts[0]))
        for text in texts.dropFirst() { #expect(try await refusal { try await house.access.authenticate(.bearer(text)) } == Self.bad) }
    }

    @Test("a session makes tokens and changes the second factor for an hour after its login, refreshed or not; passwords and tokens go on")
    func freshLogin() async throws {
        let house = try House()
        try await house.user("ada")
        var session = try await house.login("ada")
        func attempts() async throws -> [RegistryError.Code?] {
            let caller = try await house.access.authenticate(.bearer(session.accessToken.revealed))
            return [
                try await refusal { try await house.token(of: caller, scopes: ["read:artifacts"]) }?.code,
                try await refusal { try await house.access.setUpTOTP(for: caller, requestID: "t") }?.code,
            ]
        }
        let token = try await house.token(of: house.caller("ada"), scopes: ["read:artifacts"]).text
        for _ in 0..<2 {
            house.pass(seconds: 1799)
            session = try await house.access.refresh(session.refreshToken.revealed, requestID: "t")
        }
        #expect(try await attempts() == [nil, nil])
        house.pass(seconds: 2)
        #expect(try await attempts() == [.forbidden, .forbidden])
        _ = try await house.token(of: house.caller("ada"), scopes: ["read:artifacts"])
        _ = try await house.token(of: house.access.authenticate(.bearer(token.revealed)), scopes: ["read:artifacts"])
        session = try await house.login("ada")
        #expect(try await attempts() == [nil, nil])
    }

    @Test("when a token was last used is known at once and written later, all together; what was revoked meanwhile stays so")
    func lastUsed() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        let caller = try await house.caller("ada")
        let kept = try await house.token(of: caller, scopes: nil)
        // Lists are in the order of making, to the millisecond.
        house.pass(seconds: 1)
        let gone = try await house.token(of: caller, scopes: nil)
        func stored() async throws -> [Timestamp?] {
            try await house.catalog.records(.token, after: nil, limit: 10).map { try APIToken($0).lastUsed }
        }
        let head = try await house.catalog.head()
        for text in [kept.text, gone.text] { _ = try await house.access.authenticate(.bearer(text.revealed)) }
        house.pass(seconds: 90)
        _ = try house.access.authenticateAtOnce(.bearer(kept.text.revealed))
        #expect(try await house.access.tokens(of: ada.id).map(\.lastUsed) == [house.now, house.now.adding(seconds: -90)])
        #expect(try await stored() == [nil, nil])
        #expect(try await house.catalog.head() == head)
        try await house.access.revokeToken(gone.token.id, of: ada.id, by: .system, requestID: "t")
        try await house.access.flushTokenUses()
        #expect(try await stored() == [house.now])
        #expect(try await house.access.tokens(of: ada.id).map(\.lastUsed) == [house.now])
        #expect(try house.access.authenticateAtOnce(.bearer(kept.text.revealed)) == nil, "revoking forgot what was remembered of the account")
        _ = try await house.access.authenticate(.bearer(kept.text.revealed))
    }

    @Test("a row that was stored before tokens had parents is read")
    func formatOne() async throws {
        let house = try House()
        try await house.user("ada")
        let token = try await house.token(of: house.caller("ada"), scopes: ["read:artifacts"], days: 3).token
        var record = token.record(fingerprint: "f")
        #expect(record.value[0] == 2 && record.value.suffix(2) == [0, 0])
        record.value[0] = 1
        record.value.removeLast(2)
        #expect(try APIToken(record) == token)
    }

    @Test("a token of an administrator is one only when its scopes and repositories say so")
    func effectiveAdmin() async throws {
        let house = try House()
        try await house.user("root", admin: true)
        let root = try await house.caller("root")
        let one = try await house.repository("one")
        #expect(root.isAdmin)
        let cases: [([String]?, Set<RepositoryID>?, Bool)] = [
            (nil, nil, true), (["*"], nil, true), (["admin"], nil, true), (["read:artifacts"], nil, false), (nil, [one.id], false),
            (["*"], [one.id], false),
        ]
        for (scopes, repositories, expected) in cases {
            let text = try await house.token(of: root, scopes: scopes, repositories: repositories).text
            let caller = try await house.access.authenticate(.bearer(text.revealed))
            #expect(caller.isAdmin == expected)
            #expect((try await refusal { try house.access.requireAdmin(caller) } == nil) == expected)
        }
    }
}
