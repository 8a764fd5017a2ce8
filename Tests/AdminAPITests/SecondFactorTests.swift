import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

@testable import Access

@Suite("Second factors over REST") struct SecondFactorTests {
    private static func logIn(_ house: House) async -> Answer {
        await house.send(.post, "/api/v1/auth/login", as: .none, json: ["username": "admin", "password": .string(House.password)])
    }

    /// The code an authenticator would show; the algorithm's own vectors are AccessTests'.
    private static func code(_ setup: Answer, _ house: House) throws -> String {
        let text = try #require(setup.json["secret"]?.string)
        #expect(setup.json["qr_code_url"]?.string?.hasPrefix("otpauth://totp/Granary:admin?secret=\(text)&issuer=Granary") == true)
        return try #require(Self.shown(text, house))
    }

    private static func shown(_ secret: String, _ house: House) -> String? {
        Base32.decode(secret).map { TOTP.code($0, step: TOTP.step(at: house.clock.now)) }
    }

    @Test("set up, enable, log in with a code, disable: each step with what it needs, and tokens go on all the while")
    func life() async throws {
        let house = try await House()
        let token = await house.token(["*"])
        let session = Credential.bearer(try #require(await Self.logIn(house).json["access_token"]?.string))
        #expect(await house.send(.post, "/api/v1/auth/totp/setup", as: .bearer(token)).status == 403)
        let setup = await house.send(.post, "/api/v1/auth/totp/setup", as: session)
        #expect(await house.send(.post, "/api/v1/auth/totp/enable", as: session, json: ["code": "12345"]).status == 401)
        #expect(await Self.logIn(house).json["access_token"] != "")
        let enabled = await house.send(.post, "/api/v1/auth/totp/enable", as: session, json: ["code": .string(try Self.code(setup, house))])
        let backup = (enabled.json["backup_codes"]?.array ?? []).compactMap(\.string)
        try #require(backup.count == 10)
        #expect(Set(backup).count == 10)
        #expect(await house.send(.get, "/api/v1/auth/me", as: session).json["totp_enabled"] == true)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .admin).status == 401)
        #expect(await house.send(.get, "/v2/", as: .admin).status == 401)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(token)).status == 200)
        #expect(await house.send(.post, "/api/v1/auth/totp/setup", as: session).status == 409)

        let half = await Self.logIn(house)
        #expect(half.json["totp_required"] == true)
        #expect([half.json["access_token"], half.json["refresh_token"]] == ["", ""])
        #expect(half.values("Set-Cookie") == [])
        let pending = half.json["totp_token"] ?? .null
        func verify(_ code: String) async -> Answer {
            await house.send(.post, "/api/v1/auth/totp/verify", as: .none, json: ["totp_token": pending, "code": .string(code)])
        }
        // The code that turned it on is spent.
        let spent = try Self.code(setup, house)
        #expect(await verify(spent).status == 401)
        house.clock.pass(seconds: 60)
        let whole = await verify(try Self.code(setup, house))
        #expect(whole.status == 200)
        #expect(whole.values("Set-Cookie").count == 2)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(whole.json["access_token"]?.string ?? "")).status == 200)
        #expect(await verify(backup[0]).status == 200)
        #expect(await verify(backup[0]).status == 401)

        let wrong: JSON = ["password": "not it at all", "code": .string(backup[1])]
        #expect(await house.send(.post, "/api/v1/auth/totp/disable", as: session, json: wrong).status == 401)
        let right: JSON = ["password": .string(House.password), "code": .string(backup[1])]
        #expect(await house.send(.post, "/api/v1/auth/totp/disable", as: session, json: right).status == 200)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .admin).json["totp_enabled"] == false)
        #expect(await house.send(.post, "/api/v1/auth/totp/disable", as: session, json: right).status == 409)
    }

    @Test("where the policy wants one, a password leads to enrolment and nowhere else; a pending login ends after its time")
    func enrolment() async throws {
        var options = House.Options()
        options.totpPolicy = .requiredForAdmins
        let house = try await House(options)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .admin).status == 401)
        let half = await Self.logIn(house)
        #expect(half.json["totp_enrollment_required"] == true)
        let pending = half.json["totp_token"] ?? .null
        #expect(await house.send(.post, "/api/v1/auth/totp/verify", as: .none, json: ["totp_token": pending, "code": "000000"]).status == 401)
        let setup = await house.send(.post, "/api/v1/auth/totp/enroll/setup", as: .none, json: ["totp_token": pending])
        let code = try Self.code(setup, house)
        let done = await house.send(.post, "/api/v1/auth/totp/enroll/complete", as: .none, json: ["totp_token": pending, "code": .string(code)])
        #expect(done.json["backup_codes"]?.array?.count == 10)
        let session = Credential.bearer(try #require(done.json["access_token"]?.string))
        let policy = await house.send(.get, "/api/v1/admin/settings/totp-policy", as: session).json
        #expect(policy["policy"] == "required_for_admins")
        #expect([policy["local_admins"], policy["local_admins_with_totp"]] == [1, 1])
        let put = await house.send(.put, "/api/v1/admin/settings/totp-policy", as: session, json: ["policy": "disabled"])
        #expect(put.outcome == "409 CONFLICT")
        // Whom the policy does not concern logs in as before.
        let user = await house.send(
            .post, "/api/v1/users", as: session,
            json: ["username": "ada", "email": "ada@example.org", "password": .string(House.password)])
        #expect(user.status == 200)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .user("ada")).status == 200)
        house.clock.pass(seconds: 601)
        #expect(await house.send(.post, "/api/v1/auth/totp/enroll/setup", as: .none, json: ["totp_token": pending]).status == 401)
    }

    @Test("an administrator says who needs one, and it counts from the next request on, with a warm cache")
    func policy() async throws {
        let house = try await House()
        await house.user("ada")
        let session = Credential.bearer(try #require(await Self.logIn(house).json["access_token"]?.string))
        func set(_ policy: String) async -> Answer {
            await house.send(.put, "/api/v1/admin/settings/totp-policy", as: session, json: ["policy": .string(policy)])
        }
        func me(_ who: Credential) async -> Int { await house.send(.get, "/api/v1/auth/me", as: who).status }
        let docker = await house.send(.get, "/v2/token?service=granary&scope=repository:x/y:pull", as: .user("ada")).json["token"]?.string ?? ""
        #expect(await [me(.admin), me(.user("ada"))] == [200, 200])
        let before = await house.send(.get, "/api/v1/admin/settings/totp-policy", as: session).json
        #expect([before["policy"], before["source"], before["editable"]] == ["disabled", "database", true])
        #expect(await set("sometimes").status == 400)

        let admins = await set("required_for_admins")
        #expect([admins.json["policy"], admins.json["source"], admins.json["local_admins_with_totp"]] == ["required_for_admins", "database", 0])
        #expect(await [me(.admin), me(.user("ada")), me(session)] == [401, 200, 200])
        #expect(await house.send(.get, "/v2/x/y/tags/list", as: .bearer(docker)).status == 404)
        #expect(await set("required_for_all").status == 200)
        #expect(await [me(.admin), me(.user("ada")), me(session)] == [401, 401, 200])
        // What a password was exchanged for hangs on it.
        #expect(await house.send(.get, "/v2/x/y/tags/list", as: .bearer(docker)).status == 401)
        #expect(await Self.logIn(house).json["totp_enrollment_required"] == true)
        #expect(await set("disabled").status == 200)
        #expect(await [me(.admin), me(.user("ada")), me(session)] == [200, 200, 200])
    }

    @Test("an administrator takes away a factor whose owner lost it, and gives none")
    func lost() async throws {
        let house = try await House()
        let id = await house.user("ada")
        let session = Credential.user("ada")
        let setup = await house.send(.post, "/api/v1/auth/totp/setup", as: session)
        let text = try #require(setup.json["secret"]?.string)
        let code = try #require(Self.shown(text, house))
        #expect(await house.send(.post, "/api/v1/auth/totp/enable", as: session, json: ["code": .string(code)]).status == 200)
        #expect(await house.send(.get, "/api/v1/auth/me", as: session).status == 401)
        #expect(await house.send(.patch, "/api/v1/users/\(id)", json: ["totp_enabled": true]).status == 400)
        #expect(await house.send(.patch, "/api/v1/users/\(id)", json: ["totp_enabled": false]).status == 200)
        #expect(await house.send(.get, "/api/v1/auth/me", as: session).json["totp_enabled"] == false)
    }
}
