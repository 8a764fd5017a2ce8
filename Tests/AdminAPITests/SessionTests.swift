import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

@Suite("sessions") struct SessionTests {
    static func login(_ house: House, _ user: String = "admin", _ password: String = House.password) async -> Answer {
        await house.send(.post, "/api/v1/auth/login", as: .none, json: ["username": .string(user), "password": .string(password)])
    }

    @Test("a login gives both tokens, in the body and as cookies no script can read")
    func login() async throws {
        let house = try await House()
        let answer = await Self.login(house)
        #expect(answer.status == 200)
        #expect(answer.json["token_type"] == "Bearer")
        #expect(answer.json["expires_in"] == 1800)
        #expect(answer.json["must_change_password"] == false)
        let access = try #require(answer.json["access_token"]?.string)
        let refresh = try #require(answer.json["refresh_token"]?.string)
        #expect(
            answer.values("Set-Cookie") == [
                "granary_access_token=\(access); Path=/; Max-Age=1800; HttpOnly; SameSite=Strict",
                "granary_refresh_token=\(refresh); Path=/api/v1/auth; Max-Age=604800; HttpOnly; SameSite=Strict",
            ])
        for credential in [Credential.bearer(access), .password("anybody", access), .fields([("Cookie", "granary_access_token=\(access)")])] {
            let me = await house.send(.get, "/api/v1/auth/me", as: credential)
            #expect(me.json["username"] == "admin")
            #expect(me.json["is_admin"] == true)
            #expect(me.json["totp_enabled"] == false)
        }
    }

    @Test("a wrong password, an unknown user and a bad token are refused alike, with a challenge")
    func refused() async throws {
        let house = try await House()
        let wrong = await Self.login(house, "admin", "not the password")
        let unknown = await Self.login(house, "nobody", "not the password")
        #expect(wrong.outcome == "401 UNAUTHORIZED")
        #expect(wrong.transcript == unknown.transcript)
        #expect(wrong.values("WWW-Authenticate") == [#"Basic realm="granary", charset="UTF-8""#, #"Bearer realm="granary""#])
        #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer("granary_feed")).status == 401)
        #expect(await house.send(.get, "/api/v1/formats", as: .bearer("granary_feed")).status == 401)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .none).status == 401)
        #expect(await Self.login(house, "admin", "").status == 401)
        #expect(await house.send(.post, "/api/v1/auth/login", as: .none, json: ["username": "admin"]).outcome == "400 VALIDATION_ERROR")
    }

    @Test("a refresh token is good once: used again, the whole session ends")
    func refresh() async throws {
        let house = try await House()
        let first = await Self.login(house).json
        let token = try #require(first["refresh_token"])
        let second = await house.send(.post, "/api/v1/auth/refresh", as: .none, json: ["refresh_token": token])
        #expect(second.status == 200)
        let access = try #require(second.json["access_token"]?.string)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(access)).status == 200)
        #expect(await house.send(.post, "/api/v1/auth/refresh", as: .none, json: ["refresh_token": token]).status == 401)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(access)).status == 401)
    }

    @Test("refresh and logout take the token from its cookie; after logout both tokens are void")
    func cookies() async throws {
        let house = try await House()
        let first = await Self.login(house).json
        let refresh = try #require(first["refresh_token"]?.string)
        let cookie = Credential.fields([("Cookie", "granary_refresh_token=\(refresh)")])
        let second = await house.send(.post, "/api/v1/auth/refresh", as: cookie, json: [:])
        #expect(second.status == 200)
        let renewed = try #require(second.json["refresh_token"]?.string)
        let access = try #require(second.json["access_token"]?.string)
        let out = await house.send(.post, "/api/v1/auth/logout", as: .fields([("Cookie", "granary_refresh_token=\(renewed)")]))
        #expect(out.status == 200)
        #expect(out.values("Set-Cookie").count == 2)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(access)).status == 401)
        #expect(await house.send(.post, "/api/v1/auth/refresh", as: .none, json: ["refresh_token": .string(renewed)]).status == 401)
    }

    @Test("a change asked for with the cookie needs X-Requested-With, on REST and on a format; reading does not")
    func forgery() async throws {
        let house = try await House()
        await house.repository("files")
        let access = try #require(await Self.login(house).json["access_token"]?.string)
        let browser = Credential.fields([("Cookie", "granary_access_token=\(access)")])
        let request: JSON = ["key": "made", "name": "made", "format": "generic", "repo_type": "local"]
        #expect(await house.send(.post, "/api/v1/repositories", as: browser, json: request).outcome == "403 FORBIDDEN")
        #expect(await house.send(.put, "/general/files/a.txt", as: browser, body: [1]).outcome == "403 FORBIDDEN")
        #expect(await house.send(.get, "/api/v1/repositories", as: browser).status == 200)
        let own = Credential.fields([("Cookie", "granary_access_token=\(access)"), ("X-Requested-With", "XMLHttpRequest")])
        #expect(await house.send(.post, "/api/v1/repositories", as: own, json: request).status == 200)
        #expect(await house.send(.put, "/general/files/a.txt", as: own, body: [1]).status == 201)
    }
}
