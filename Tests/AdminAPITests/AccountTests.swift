import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

/// Users, their tokens, and what they may do.
@Suite("accounts") struct AccountTests {
    @Test("users are made, listed, changed and removed by administrators only")
    func users() async throws {
        let house = try await House()
        let ann = await house.user("ann")
        #expect(!ann.isEmpty)
        let again: JSON = ["username": "Ann", "email": "x@example.org", "password": .string(House.password)]
        #expect(await house.send(.post, "/api/v1/users", json: again).outcome == "409 CONFLICT")
        #expect(await house.send(.post, "/api/v1/users", as: .user("ann"), json: again).outcome == "403 FORBIDDEN")
        #expect(
            await house.send(.post, "/api/v1/users", json: ["username": "bob", "email": "b@example.org", "password": "changeme"]).outcome
                == "400 VALIDATION_ERROR")
        let list = await house.send(.get, "/api/v1/users?search=AN")
        #expect(list.json["items"]?.array?.compactMap { $0["username"]?.string } == ["ann"])
        #expect(list.json["pagination"]?["total"] == 1)
        let changed = await house.send(.patch, "/api/v1/users/\(ann)", json: ["display_name": "Ann", "is_active": false])
        #expect(changed.json["display_name"] == "Ann")
        #expect(await house.send(.get, "/api/v1/auth/me", as: .user("ann")).status == 401)
        #expect(await house.send(.delete, "/api/v1/users/\(ann)").status == 200)
        #expect(await house.send(.get, "/api/v1/users/\(ann)").outcome == "404 NOT_FOUND")
        let admin = try #require(await house.send(.get, "/api/v1/users/me").json["id"]?.string)
        #expect(await house.send(.delete, "/api/v1/users/\(admin)").outcome == "409 CONFLICT")
        #expect(await house.send(.get, "/api/v1/users/none-such").outcome == "400 VALIDATION_ERROR")
    }

    @Test("another's account looks like none; a password is changed by its owner and reset by an administrator")
    func passwords() async throws {
        let house = try await House()
        let ann = await house.user("ann")
        let bob = await house.user("bob")
        #expect(await house.send(.get, "/api/v1/users/\(bob)", as: .user("ann")).outcome == "404 NOT_FOUND")
        #expect(await house.send(.get, "/api/v1/users/\(ann)", as: .user("ann")).json["username"] == "ann")
        let new: JSON = ["current_password": .string(House.password), "new_password": "another long phrase"]
        #expect(await house.send(.post, "/api/v1/users/\(bob)/password", as: .user("ann"), json: new).status == 403)
        #expect(await house.send(.post, "/api/v1/users/\(ann)/password", as: .user("ann"), json: new).status == 200)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .user("ann")).status == 401)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .password("ann", "another long phrase")).status == 200)
        let wrong: JSON = ["current_password": "no", "new_password": "a third long phrase"]
        #expect(await house.send(.post, "/api/v1/users/me/password", as: .user("bob"), json: wrong).status == 401)
        let reset = await house.send(.post, "/api/v1/users/\(bob)/password/reset")
        let temporary = try #require(reset.json["temporary_password"]?.string)
        #expect(await house.send(.get, "/api/v1/repositories", as: .password("bob", temporary)).status == 428)
    }

    @Test("a token is shown once, is named by its prefix, works as Bearer, key and password everywhere, and ends with the next request")
    func tokens() async throws {
        let house = try await House()
        await house.repository("files")
        let made = await house.send(.post, "/api/v1/auth/tokens", json: ["name": "ci", "scopes": ["read:artifacts", "write:artifacts"]])
        let text = try #require(made.json["token"]?.string)
        let id = try #require(made.json["id"]?.string)
        #expect(text.hasPrefix("granary_"))
        let listed = await house.send(.get, "/api/v1/users/me/tokens")
        #expect(!listed.text.contains(text))
        #expect(listed.json["items"]?[0]?["token_prefix"]?.string.map { text.hasPrefix($0) } == true)
        #expect(listed.json["items"]?[0]?["scopes"] == ["read:artifacts", "write:artifacts"])

        let ways: [Credential] = [
            .bearer(text), .password("anybody", text), .fields([("X-API-Key", text)]), .fields([("Authorization", "Token \(text)")]),
        ]
        for way in ways {
            #expect(await house.send(.get, "/api/v1/auth/me", as: way).status == 200)
            #expect(await house.send(.get, "/general/files/none", as: way).status == 404)
        }
        #expect(await house.put("x", at: "a/1/x", in: "files", as: .bearer(text)).status == 201)
        #expect(await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/x", as: .bearer(text)).status == 403)
        #expect(await house.send(.get, "/api/v1/users", as: .bearer(text)).status == 403)
        #expect(await house.send(.delete, "/api/v1/auth/tokens/\(id)").status == 200)
        for way in ways { #expect(await house.send(.get, "/api/v1/auth/me", as: way).status == 401) }
    }

    @Test("one's access tokens are the same under the profile, where none that is named reads artifacts; a list says when each was used last")
    func profile() async throws {
        let house = try await House()
        let all = "/api/v1/profile/access-tokens"
        let made = await house.send(.post, all, json: ["name": "laptop"])
        let text = try #require(made.json["token"]?.string)
        func listed(_ path: String) async -> [JSON?] {
            let item = await house.send(.get, path).json["items"]?[0]
            return [item?["id"], item?["scopes"], item?["last_used_at"]]
        }
        #expect(await listed(all) == [made.json["id"], ["read:artifacts"], nil])
        #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(text)).status == 200)
        house.clock.pass(seconds: 7)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(text)).status == 200)
        let used: JSON = .string(house.clock.now.description)
        for path in [all, "/api/v1/users/me/tokens"] { #expect(await listed(path) == [made.json["id"], ["read:artifacts"], used]) }
        #expect(await house.send(.post, all, as: .bearer(text), json: ["name": "more", "scopes": ["write:artifacts"]]).status == 403)
        #expect(await house.send(.delete, "\(all)/\(made.json["id"]?.string ?? "")").status == 200)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(text)).status == 401)
    }

    @Test("a login of more than an hour ago makes no tokens over REST; a new one does, and so does the password")
    func freshLogin() async throws {
        let house = try await House()
        let login: JSON = ["username": "admin", "password": .string(House.password)]
        var session = await house.send(.post, "/api/v1/auth/login", as: .none, json: login).json
        func mint() async -> String {
            let mint: JSON = ["name": "ci", "scopes": ["read:artifacts"]]
            return await house.send(.post, "/api/v1/auth/tokens", as: .bearer(session["access_token"]?.string ?? ""), json: mint).outcome
        }
        #expect(await mint() == "200")
        for _ in 0..<3 {
            house.clock.pass(seconds: 1500)
            session = await house.send(.post, "/api/v1/auth/refresh", as: .none, json: ["refresh_token": session["refresh_token"] ?? .null]).json
        }
        #expect(await mint() == "403 FORBIDDEN")
        #expect(!(await house.token(["read:artifacts"])).isEmpty)
        session = await house.send(.post, "/api/v1/auth/login", as: .none, json: login).json
        #expect(await mint() == "200")
    }

    @Test("management takes the scopes named for it, and a token mints no more than it holds")
    func scopes() async throws {
        let house = try await House()
        let manage = Credential.bearer(await house.token(["read:repositories", "write:repositories"]))
        let request: JSON = ["key": "made", "name": "made", "format": "generic", "repo_type": "local"]
        #expect(await house.send(.post, "/api/v1/repositories", as: manage, json: request).status == 200)
        #expect(await house.send(.get, "/api/v1/repositories/made", as: manage).status == 200)
        #expect(await house.send(.get, "/general/made/x", as: manage).status == 403)
        #expect(await house.send(.delete, "/api/v1/repositories/made", as: manage).status == 403)
        let remove = Credential.bearer(await house.token(["delete:repositories"]))
        #expect(await house.send(.delete, "/api/v1/repositories/made", as: remove).status == 200)
        let more: JSON = ["name": "more", "scopes": ["admin"]]
        #expect(await house.send(.post, "/api/v1/auth/tokens", as: manage, json: more).status == 403)
        #expect(await house.send(.post, "/api/v1/auth/tokens", json: ["name": "x", "scopes": ["fly"]]).status == 400)
        await house.user("ann")
        #expect(await house.send(.post, "/api/v1/auth/tokens", as: .user("ann"), json: more).status == 403)
        let list = Credential.bearer(await house.token(["read:users"]))
        #expect(await house.send(.get, "/api/v1/users", as: list).status == 200)
        #expect(await house.send(.post, "/api/v1/users", as: list, json: ["username": "bob", "email": "b@example.org"]).status == 403)
        let ann = await house.send(.get, "/api/v1/users?search=ann").json["items"]?[0]?["id"]?.string ?? ""
        #expect(await house.send(.get, "/api/v1/users/\(ann)", as: list).json["username"] == "ann")
        #expect(await house.send(.get, "/api/v1/users/\(ann)/tokens", as: list).status == 200)
        #expect(await house.send(.post, "/api/v1/users/\(ann)/tokens", as: list, json: more).status == 404)
    }

    @Test("a missing right is 403 where the repository may be read, and 404 where it may not even be known")
    func rights() async throws {
        let house = try await House()
        await house.repository("open", isPublic: true)
        await house.repository("closed")
        let ann = await house.user("ann")
        #expect(await house.put("x", at: "x", in: "open", as: .user("ann")).outcome == "403 FORBIDDEN")
        #expect(await house.put("x", at: "x", in: "closed", as: .user("ann")).outcome == "404 NOT_FOUND")
        #expect(await house.put("x", at: "x", in: "closed", as: .none).outcome == "401 UNAUTHORIZED")
        let granted = await house.grant(["write"], on: "closed", to: ann)
        #expect(granted.json["actions"] == ["write"])
        #expect(granted.json["principal_name"] == "ann")
        #expect(await house.put("x", at: "x", in: "closed", as: .user("ann")).status == 201)
        #expect(await house.send(.delete, "/api/v1/repositories/closed/artifacts/x", as: .user("ann")).outcome == "403 FORBIDDEN")
        let id = try #require(granted.json["id"]?.string)
        #expect(await house.send(.get, "/api/v1/permissions/\(id)").json == granted.json)
        #expect(await house.send(.get, "/api/v1/permissions", as: .user("ann")).status == 403)
        #expect(await house.send(.delete, "/api/v1/permissions/\(id)").status == 200)
        #expect(await house.put("y", at: "y", in: "closed", as: .user("ann")).outcome == "404 NOT_FOUND")
    }
}
