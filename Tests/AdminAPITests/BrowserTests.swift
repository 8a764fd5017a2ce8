import Access
import Core
import FrontendKit
import HTTPTypes
import Parsing
import Registry
import TestHouse
import TestSupport
import Testing

@Suite("Browsers") struct BrowserTests {
    private static let login: JSON = ["username": "admin", "password": .string(House.password)]

    private static func house() async throws -> House {
        var options = House.Options()
        options.browsers.origins = ["https://ui.example.org"]
        return try await House(options)
    }

    @Test("an admitted origin is told so, exactly and with credentials; every other gets the same answer without a word of it")
    func cors() async throws {
        let house = try await Self.house()
        await house.repository("files", isPublic: true)
        await house.put("x", at: "a.txt", in: "files")
        for target in ["/api/v1/repositories", "/general/files/a.txt", "/healthz"] {
            let admitted = await house.send(.get, target, as: .none, [("Origin", "https://ui.example.org")])
            #expect(admitted.field("Access-Control-Allow-Origin") == "https://ui.example.org")
            #expect(admitted.field("Access-Control-Allow-Credentials") == "true")
            #expect(admitted.field("Vary")?.contains("Origin") == true)
            for origin in [
                "https://evil.example", "null", "https://ui.example.org.evil.example", "http://ui.example.org", "https://UI.example.org:443", "*",
                "https://ui.example.org/",
            ] {
                let other = await house.send(.get, target, as: .none, [("Origin", origin)])
                #expect(other.status == admitted.status)
                #expect(!other.fields.contains { $0.name.canonicalName.hasPrefix("access-control-") }, "\(origin)")
            }
        }
    }

    @Test("a preflight is answered for admitted origins only, and by a server without any for nobody")
    func preflight() async throws {
        let house = try await Self.house()
        func ask(_ house: House, _ origin: String) async -> Answer {
            await house.send(
                .options, "/api/v1/repositories", as: .none, [("Origin", origin), ("Access-Control-Request-Method", "DELETE")])
        }
        let admitted = await ask(house, "https://ui.example.org")
        #expect(admitted.status == 204)
        #expect(admitted.field("Access-Control-Allow-Methods")?.contains("DELETE") == true)
        #expect(admitted.field("Access-Control-Allow-Headers")?.contains("Authorization") == true)
        #expect(await ask(house, "https://evil.example").field("Access-Control-Allow-Origin") == nil)
        let closed = try await House()
        #expect(
            await ask(closed, "https://ui.example.org").fields.contains { $0.name.canonicalName.hasPrefix("access-control-") } == false)
    }

    @Test("a foreign page logs nobody in, and neither renews nor ends a session; our own and an admitted one do")
    func loginForgery() async throws {
        let house = try await Self.house()
        func login(_ more: [(String, String)]) async -> Int {
            await house.send(.post, "/api/v1/auth/login", as: .none, more, body: Self.login.encoded()).status
        }
        for foreign in [
            [("Origin", "https://evil.example")], [("Origin", "null")], [("Sec-Fetch-Site", "cross-site")], [("Sec-Fetch-Site", "same-site")],
            [("Origin", "https://evil.example"), ("Host", "granary.test")],
        ] { #expect(await login(foreign) == 403) }
        for own in [
            [], [("Origin", "https://granary.test")], [("Origin", "https://ui.example.org")], [("Sec-Fetch-Site", "same-origin")],
            [("Origin", "http://127.0.0.1:8080"), ("Host", "127.0.0.1:8080")],
        ] { #expect(await login(own) == 200) }
        let refresh = try #require(
            await house.send(.post, "/api/v1/auth/login", as: .none, json: Self.login).json["refresh_token"]?.string)
        let cookie = [("Cookie", "granary_refresh_token=\(refresh)"), ("Origin", "https://evil.example")]
        for target in ["/api/v1/auth/refresh", "/api/v1/auth/logout"] { #expect(await house.send(.post, target, as: .none, cookie).status == 403) }
        #expect(await house.send(.post, "/api/v1/auth/refresh", as: .none, [cookie[0]]).status == 200)
    }

    @Test("a change with a session cookie needs our origin as well as our field")
    func cookieForgery() async throws {
        let house = try await Self.house()
        let access = try #require(await house.send(.post, "/api/v1/auth/login", as: .none, json: Self.login).json["access_token"]?.string)
        let request: JSON = ["key": "made", "name": "made", "format": "generic", "repo_type": "local"]
        func make(_ more: [(String, String)]) async -> Int {
            await house.send(
                .post, "/api/v1/repositories", as: .none, [("Cookie", "ak_access_token=\(access)")] + more, body: request.encoded()
            ).status
        }
        #expect(await make([("X-Requested-With", "x"), ("Origin", "https://evil.example")]) == 403)
        #expect(await make([("X-Requested-With", "x"), ("Sec-Fetch-Site", "cross-site")]) == 403)
        #expect(await make([("Origin", "https://granary.test")]) == 403)
        #expect(await make([("X-Requested-With", "x"), ("Origin", "https://granary.test")]) == 200)
    }

    @Test("a demonstration can be read and logged in to, and nothing in it can be changed")
    func demonstration() async throws {
        var options = House.Options()
        let before = try await House(options)
        await before.repository("files", isPublic: true)
        await before.repository("img", format: "docker")
        await before.put("x", at: "a.txt", in: "files")
        before.close()
        options.isDemonstration = true
        let house = try await House(options, in: before.directory)
        #expect(await house.send(.post, "/api/v1/auth/login", as: .none, json: Self.login).status == 200)
        #expect(await house.send(.get, "/general/files/a.txt", as: .none).status == 200)
        #expect(await house.send(.get, "/v2/token?service=granary&scope=repository:img/x:pull").status == 200)
        #expect(await house.send(.get, "/api/v1/system/config", as: .none).json["demo_mode"] == true)
        let refused = await house.put("y", at: "b.txt", in: "files")
        #expect(refused.status == 403)
        #expect(refused.json["error"]?.string?.contains("demonstration") == true)
        let token: JSON = ["name": "ci", "scopes": ["*"]]
        #expect(await house.send(.post, "/api/v1/auth/tokens", json: token).status == 403)
        #expect(await house.send(.delete, "/api/v1/repositories/files").status == 403)
        #expect(await house.send(.put, "/general/files/b.txt", body: [1]).status == 403)
        #expect(await house.send(.delete, "/general/files/a.txt").status == 403)
        let push = await house.send(.post, "/v2/img/x/blobs/uploads/")
        #expect(push.status == 403)
        #expect(push.json["errors"]?.array?.first?["code"] == "DENIED")
        #expect(await house.send(.put, "/npm/js/-/user/org.couchdb.user:admin", json: ["name": "admin"]).status == 403)
    }

    @Test("until it is set up, a server is set up from its own machine, and not through a proxy nobody declared")
    func setup() async throws {
        var options = House.Options()
        options.adminPassword = nil
        let house = try await House(options)
        let password = try #require(house.directory.firstLine(of: "admin.password"))
        let login: JSON = ["username": "admin", "password": .string(password)]
        func ask(_ more: [(String, String)], from client: String) async -> Answer {
            await house.send(.post, "/api/v1/auth/login", as: .none, more, body: login.encoded(), from: client)
        }
        for (more, client) in [
            ([], "192.0.2.1"), ([("X-Forwarded-For", "192.0.2.1")], "127.0.0.1"), ([("Forwarded", "for=192.0.2.1")], "::1"),
            ([("Via", "1.1 p")], "::1"),
            ([("X-Forwarded-For", "127.0.0.1")], "192.0.2.1"),
        ] as [([(String, String)], String)] {
            let refused = await ask(more, from: client)
            #expect(refused.status == 403)
            #expect(refused.json["error"] == "SETUP_REQUIRED")
        }
        #expect(await house.send(.get, "/api/v1/setup/status", as: .none, from: "192.0.2.1").json["setup_required"] == true)
        #expect(await house.send(.get, "/healthz", as: .none, from: "192.0.2.1").status == 200)
        #expect(await ask([], from: "::ffff:127.0.0.1").json["must_change_password"] == true)
        let change: JSON = ["current_password": .string(password), "new_password": .string(House.password)]
        #expect(await house.send(.post, "/api/v1/users/me/password", as: .password("admin", password), json: change, from: "::1").status == 200)
        #expect(
            await house.send(.post, "/api/v1/auth/login", as: .none, json: Self.login, from: "192.0.2.1").status == 200)
    }

    @Test("origins are written as browsers write them")
    func origins() {
        #expect(BrowserRules.origin("https://UI.example.org:8443") == "https://ui.example.org:8443")
        for bad in ["*", "null", "", "ui.example.org", "https://", "https://a/b", "https://a b", "ftp://a", "https://u@a"] {
            #expect(BrowserRules.origin(bad) == nil, "\(bad)")
        }
    }
}
