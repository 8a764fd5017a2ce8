import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

/// The first administrator, and the lock until their password is their own.
@Suite("bootstrap") struct BootstrapTests {
    @Test("with a password of its own the server is open at once")
    func open() async throws {
        let house = try await House()
        #expect(await house.send(.get, "/api/v1/setup/status", as: .none).text == #"{"setup_required":false}"#)
        #expect(await house.send(.get, "/api/v1/auth/me").json["username"]?.string == "admin")
    }

    @Test("without a password, or with a trivial one, everything but health, login and the change is locked", arguments: [nil, "", "changeme"])
    func locked(password: String?) async throws {
        var options = House.Options()
        options.adminPassword = password
        let house = try await House(options)
        let given = try #require(house.directory.firstLine(of: "admin.password"))
        let admin = Credential.password("admin", given)

        let locked = await house.send(.get, "/api/v1/repositories", as: admin)
        #expect(locked.status == 403)
        #expect(locked.json["error"] == "SETUP_REQUIRED")
        #expect(locked.json["instructions"]?.array?.count == 2)
        #expect(await house.send(.get, "/pypi/any/simple/", as: .none).status == 403)
        let image = await house.send(.get, "/v2/", as: admin)
        #expect(image.status == 403)
        #expect(image.json["errors"]?[0]?["code"] == "DENIED")

        for path in ["/health", "/healthz", "/ready", "/readyz", "/livez"] { #expect(await house.send(.get, path, as: .none).status == 200) }
        #expect(await house.send(.get, "/api/v1/setup/status", as: .none).text == #"{"setup_required":true}"#)
        let login = await house.send(.post, "/api/v1/auth/login", as: .none, json: ["username": "admin", "password": .string(given)])
        #expect(login.status == 200)
        #expect(login.json["must_change_password"] == true)

        let change: JSON = ["current_password": .string(given), "new_password": .string(House.password)]
        #expect(await house.send(.post, "/api/v1/users/me/password", as: admin, json: change).status == 200)
        #expect(await house.send(.get, "/api/v1/repositories").status == 200)
        #expect(await house.send(.get, "/api/v1/auth/me", as: admin).status == 401)
        #expect(house.directory.firstLine(of: "admin.password") == nil)
    }

    @Test("whoever must change the password can do that, look at themselves, and nothing else")
    func mustChange() async throws {
        let house = try await House()
        let made = await house.send(.post, "/api/v1/users", json: ["username": "ann", "email": "ann@example.org"])
        let password = try #require(made.json["generated_password"]?.string)
        let ann = Credential.password("ann", password)
        let refused = await house.send(.get, "/api/v1/repositories", as: ann)
        #expect(refused.outcome == "428 PASSWORD_CHANGE_REQUIRED")
        #expect(await house.send(.get, "/api/v1/auth/me", as: ann).status == 200)
        let change: JSON = ["current_password": .string(password), "new_password": .string(House.password)]
        #expect(await house.send(.post, "/api/v1/users/me/password", as: ann, json: change).status == 200)
        #expect(await house.send(.get, "/api/v1/repositories", as: .user("ann")).status == 200)
    }
}
