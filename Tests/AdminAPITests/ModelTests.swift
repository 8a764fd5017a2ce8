import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

/// Projects, roles, service accounts, tokens of a repository and tickets over REST.
@Suite("who may do what") struct ModelTests {
    private func project(_ house: House, _ key: String) async throws -> String {
        try #require(await house.send(.post, "/api/v1/projects", json: ["key": .string(key), "name": .string(key)]).json["id"]?.string)
    }

    @Test("a project's members see its repositories, a member of another sees nothing, and a repository that leaves is left to none of them")
    func projects() async throws {
        let house = try await House()
        let (ours, theirs) = (try await project(house, "ours"), try await project(house, "theirs"))
        let (ann, bob) = (await house.user("ann"), await house.user("bob"))
        #expect(await house.repository("mine", [("project_id", .string(ours))]).json["project_id"] == .string(ours))
        #expect(await house.put("x", at: "x", in: "mine").status == 201)
        for (id, user) in [(ours, ann), (theirs, bob)] {
            let member: JSON = ["principal_type": "user", "principal_id": .string(user), "actions": ["write"]]
            #expect(await house.send(.post, "/api/v1/projects/\(id)/members", json: member).json["actions"] == ["write"])
        }
        #expect(await house.put("y", at: "y", in: "mine", as: .user("ann")).status == 201)
        #expect(await house.send(.get, "/general/mine/x", as: .user("ann")).text == "x")
        let absent = await house.send(.get, "/general/none/x", as: .user("bob")).transcript
        #expect(await house.send(.get, "/general/mine/x", as: .user("bob")).transcript.replacing("mine", with: "none") == absent)
        #expect(await house.send(.get, "/api/v1/repositories", as: .user("bob")).json["items"]?.array?.isEmpty == true)
        #expect(await house.send(.get, "/api/v1/projects", as: .user("ann")).outcome == "403 FORBIDDEN")
        #expect(await house.send(.patch, "/api/v1/repositories/mine", json: ["project_id": .string(theirs)]).status == 200)
        #expect(await house.send(.get, "/general/mine/x", as: .user("ann")).status == 404)
        #expect(await house.send(.get, "/general/mine/x", as: .user("bob")).text == "x")
        #expect(await house.send(.delete, "/api/v1/projects/\(theirs)").status == 200)
        #expect(await house.send(.get, "/general/mine/x", as: .user("bob")).status == 404)
        #expect(await house.send(.get, "/api/v1/repositories/mine").json["project_id"] == nil)
        let gone: JSON = ["principal_type": "user", "principal_id": .string(ann)]
        #expect(await house.send(.delete, "/api/v1/projects/\(ours)/members", json: gone).status == 200)
        #expect(await house.send(.get, "/api/v1/projects/\(ours)/members").json["items"]?.array?.isEmpty == true)
    }

    @Test("who administers a project makes repositories in it and moves none; who owns repositories administers those they made")
    func making() async throws {
        let house = try await House()
        let ours = try await project(house, "ours")
        let (ann, bob) = (await house.user("ann"), await house.user("bob"))
        let member: JSON = ["principal_type": "user", "principal_id": .string(ann), "actions": ["admin"]]
        #expect(await house.send(.post, "/api/v1/projects/\(ours)/members", json: member).status == 200)
        func make(_ key: String, in project: String? = nil, as who: String, _ more: [(String, JSON)] = []) async -> String {
            var request: JSON = ["key": .string(key), "name": .string(key), "format": "generic", "repo_type": "local"]
            if let project { request["project_id"] = .string(project) }
            for (name, value) in more { request[name] = value }
            return await house.send(.post, "/api/v1/repositories", as: .user(who), json: request).outcome
        }
        #expect(await make("a", in: ours, as: "ann") == "200")
        #expect(await make("b", as: "ann") == "403 FORBIDDEN")
        #expect(await make("b", in: ours, as: "bob") == "404 NOT_FOUND")
        #expect(await make("b", as: "bob") == "403 FORBIDDEN")
        #expect(await house.send(.post, "/api/v1/users/\(bob)/roles", json: ["role_id": "repository-owner"]).status == 200)
        #expect(await make("b", as: "bob") == "200")
        #expect(await make("c", as: "bob", [("upstream_allow_private", true)]) == "403 FORBIDDEN")
        #expect(await house.put("x", at: "x", in: "b", as: .user("bob")).status == 201)
        #expect(await house.send(.patch, "/api/v1/repositories/b", as: .user("bob"), json: ["description": "mine"]).status == 200)
        #expect(await house.send(.patch, "/api/v1/repositories/b", as: .user("bob"), json: ["project_id": .string(ours)]).status == 403)
        #expect(await house.send(.patch, "/api/v1/repositories/a", as: .user("ann"), json: ["project_id": ""]).status == 403)
    }

    @Test("roles are listed, given by name or id, and taken; nobody but an administrator does so")
    func roles() async throws {
        let house = try await House()
        await house.repository("closed")
        let ann = await house.user("ann")
        let path = "/api/v1/users/\(ann)/roles"
        #expect(await house.send(.post, path, as: .user("ann"), json: ["role_id": "admin"]).outcome == "403 FORBIDDEN")
        #expect(await house.send(.get, "/api/v1/repositories/closed", as: .user("ann")).status == 404)
        #expect(await house.send(.post, path, json: ["role_id": "reader"]).status == 200)
        #expect(await house.send(.get, "/api/v1/repositories/closed", as: .user("ann")).status == 200)
        let items = await house.send(.get, path).json["items"]?.array ?? []
        #expect(items.compactMap { $0["name"]?.string } == ["reader", "user"])
        let id = try #require(items.first?["id"]?.string)
        #expect(await house.send(.delete, "\(path)/\(id)").status == 200)
        #expect(await house.send(.get, "/api/v1/repositories/closed", as: .user("ann")).status == 404)
        #expect(await house.send(.delete, "\(path)/\(id)").outcome == "404 NOT_FOUND")
        #expect(await house.send(.post, path, json: ["role_id": "king"]).outcome == "404 NOT_FOUND")
    }

    @Test("a service account works with its tokens and nothing else, and is in no list of people")
    func services() async throws {
        let house = try await House()
        await house.repository("files")
        let made = await house.send(.post, "/api/v1/service-accounts", json: ["name": "ci", "description": "builds"])
        let id = try #require(made.json["id"]?.string)
        #expect(made.json["username"] == "svc-ci" && made.json["display_name"] == "builds")
        let repository = try #require(await house.send(.get, "/api/v1/repositories/files").json["id"]?.string)
        let right: JSON = [
            "principal_type": "service_account", "principal_id": .string(id), "target_type": "repository", "target_id": .string(repository),
            "actions": ["write"],
        ]
        #expect(await house.send(.post, "/api/v1/permissions", json: right).status == 200)
        let path = "/api/v1/service-accounts/\(id)/tokens"
        let request: JSON = ["name": "t", "scopes": ["read:artifacts", "write:artifacts"], "repository_ids": [.string(repository)]]
        let token = await house.send(.post, path, json: request)
        let text = try #require(token.json["token"]?.string)
        #expect(await house.put("x", at: "x", in: "files", as: .bearer(text)).status == 201)
        #expect(await house.send(.get, path).json["items"]?[0]?["repository_ids"] == [.string(repository)])
        #expect(await house.send(.get, "/api/v1/service-accounts").json["items"]?[0]?["token_count"] == 1)
        #expect(await house.send(.get, "/api/v1/users?search=svc").json["pagination"]?["total"] == 0)
        #expect(await house.send(.post, "/api/v1/users/\(id)/password/reset").outcome == "400 VALIDATION_ERROR")
        let selector: JSON = ["name": "t", "scopes": ["read:artifacts"], "repo_selector": ["match_pattern": "*"]]
        #expect(await house.send(.post, path, json: selector).outcome == "400 VALIDATION_ERROR")
        let tokenID = try #require(token.json["id"]?.string)
        #expect(await house.send(.delete, "\(path)/\(tokenID)").status == 204)
        #expect(await house.put("y", at: "y", in: "files", as: .bearer(text)).status == 401)
        #expect(await house.send(.delete, "/api/v1/service-accounts/\(id)").status == 204)
        #expect(await house.send(.get, "/api/v1/service-accounts/\(id)").outcome == "404 NOT_FOUND")
    }

    @Test("a repository's token is good there alone, is made by who administers it, and ends with the repository")
    func repositoryTokens() async throws {
        let house = try await House()
        for key in ["one", "two"] { await house.repository(key) }
        let (ann, bob) = (await house.user("ann"), await house.user("bob"))
        for key in ["one", "two"] { await house.grant(["admin"], on: key, to: ann) }
        await house.grant(["write"], on: "one", to: bob)
        let path = "/api/v1/repositories/one/tokens"
        let request: JSON = ["name": "ci", "scopes": ["read:artifacts", "write:artifacts"], "description": "builds"]
        #expect(await house.send(.post, path, as: .none, json: request).status == 401)
        #expect(await house.send(.post, path, as: .user("bob"), json: request).outcome == "403 FORBIDDEN")
        let made = await house.send(.post, path, as: .user("ann"), json: request)
        let text = try #require(made.json["token"]?.string)
        #expect(made.json["repository_key"] == "one")
        #expect(await house.put("x", at: "x", in: "one", as: .bearer(text)).status == 201)
        #expect(await house.put("x", at: "x", in: "two", as: .bearer(text)).status == 404)
        #expect(await house.send(.post, path, as: .bearer(text), json: request).status == 403)
        let listed = await house.send(.get, path)
        #expect(listed.json["items"]?[0]?["created_by"] == "ann" && !listed.text.contains(text))
        let id = try #require(made.json["id"]?.string)
        #expect(await house.send(.get, "\(path)/\(id)").json["description"] == "builds")
        #expect(await house.send(.get, "/api/v1/repositories/two/tokens/\(id)").outcome == "404 NOT_FOUND")
        let admin: JSON = ["name": "ci", "scopes": ["admin"]]
        #expect(await house.send(.post, path, as: .user("ann"), json: admin).outcome == "403 FORBIDDEN")
        let other = try #require(await house.send(.post, path, json: request).json["id"]?.string)
        #expect(await house.send(.delete, "\(path)/\(other)", as: .user("ann")).status == 204)
        #expect(await house.send(.delete, "/api/v1/repositories/one").status == 200)
        #expect(await house.put("y", at: "y", in: "one", as: .bearer(text)).status == 401)
        #expect(await house.send(.get, "/api/v1/users/\(ann)/tokens").json["items"]?.array?.isEmpty == true)
    }

    @Test("a ticket downloads one path once, whoever has it, and is good for nothing else")
    func tickets() async throws {
        let house = try await House()
        await house.repository("closed")
        #expect(await house.put("x", at: "a/x", in: "closed").status == 201)
        func ticket(_ path: String, as who: Credential = .admin) async -> String {
            let request: JSON = ["purpose": "download", "resource_path": .string(path)]
            let answer = await house.send(.post, "/api/v1/auth/ticket", as: who, json: request)
            #expect(answer.json["expires_in"] == 30)
            return answer.json["ticket"]?.string ?? ""
        }
        for path in ["/api/v1/repositories/closed/download/a/x", "/general/closed/a/x"] {
            let text = await ticket(path)
            #expect(await house.send(.get, "\(path)?ticket=\(text)", as: .none).text == "x")
            #expect(await house.send(.get, "\(path)?ticket=\(text)", as: .none).status == 401)
            #expect(await house.send(.get, "\(path)?ticket=\(await ticket(path + "y"))", as: .none).status == 401)
            #expect(await house.send(.head, "\(path)?ticket=\(await ticket(path))", as: .none).status == 200)
            #expect(await house.send(.get, path, as: .none).status == 401)
            #expect(
                await house.send(.put, "\(path)?ticket=\(await ticket(path))", as: .none, body: [1]).status
                    == (path.hasPrefix("/general") ? 401 : 405))
        }
        for path in ["/api/v1/users", "/api/v1/auth/me", "/api/v1/users/me/tokens", "/api/v1/permissions"] {
            #expect(await house.send(.get, "\(path)?ticket=\(await ticket(path))", as: .none).status == 403, "\(path)")
        }
        #expect(await house.send(.get, "/v2/?ticket=\(await ticket("/v2/"))", as: .none).status == 401)
        await house.user("ann")
        let path = "/api/v1/repositories/closed/download/a/x"
        #expect(await house.send(.get, "\(path)?ticket=\(await ticket(path, as: .user("ann")))", as: .none).status == 404)
        for body: JSON in [["purpose": "download"], ["purpose": "download", "resource_path": "a/x"]] {
            #expect(await house.send(.post, "/api/v1/auth/ticket", json: body).outcome == "400 VALIDATION_ERROR")
        }
        #expect(await house.send(.post, "/api/v1/auth/ticket", as: .none, json: ["purpose": "download"]).status == 401)
    }
}
