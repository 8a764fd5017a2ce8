import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

/// Groups, and what is given to them.
@Suite("groups") struct GroupTests {
    @Test("members of a group use what it is given until either ends, and the same request with the same credential sees it at once")
    func rights() async throws {
        let house = try await House()
        await house.repository("closed")
        let ann = await house.user("ann")
        let made = await house.send(.post, "/api/v1/groups", json: ["name": "builders", "description": "who build"])
        let group = try #require(made.json["id"]?.string)
        #expect(made.json["member_count"] == 0)
        let repository = try #require(await house.send(.get, "/api/v1/repositories/closed").json["id"]?.string)
        let granted = await house.send(
            .post, "/api/v1/permissions",
            json: [
                "principal_type": "group", "principal_id": .string(group), "target_type": "repository", "target_id": .string(repository),
                "actions": ["write"],
            ])
        #expect(granted.json["principal_type"] == "group" && granted.json["principal_name"] == "builders")
        func put(_ name: String) async -> String { await house.put("x", at: name, in: "closed", as: .user("ann")).outcome }
        #expect(await put("a") == "404 NOT_FOUND")
        let members: JSON = ["user_ids": [.string(ann)]]
        #expect(await house.send(.post, "/api/v1/groups/\(group)/members", json: members).status == 200)
        #expect(await put("a") == "201")
        let detail = await house.send(.get, "/api/v1/groups/\(group)", as: .user("ann"))
        #expect(detail.json["members"]?[0]?["username"] == "ann" && detail.json["members_total"] == 1)
        #expect(await house.send(.delete, "/api/v1/groups/\(group)/members", json: members).status == 200)
        #expect(await put("b") == "404 NOT_FOUND")
        #expect(await house.send(.post, "/api/v1/groups/\(group)/members", json: members).status == 200)
        #expect(await put("b") == "201")
        #expect(await house.send(.delete, "/api/v1/groups/\(group)").status == 200)
        #expect(await put("c") == "404 NOT_FOUND")
        #expect(await house.send(.get, "/api/v1/permissions").json["items"]?.array?.isEmpty == true)
        #expect(await house.send(.get, "/api/v1/groups/\(group)").outcome == "404 NOT_FOUND")
    }

    @Test("a group somebody is not in looks like none, and only administrators change one")
    func hidden() async throws {
        let house = try await House()
        await house.user("ann")
        let made = await house.send(.post, "/api/v1/groups", json: ["name": "secret"])
        let group = try #require(made.json["id"]?.string)
        let absent = "0198f000-0000-7000-8000-000000000000"
        #expect(
            await house.send(.get, "/api/v1/groups/\(group)", as: .user("ann")).transcript
                == house.send(.get, "/api/v1/groups/\(absent)", as: .user("ann")).transcript)
        #expect(await house.send(.get, "/api/v1/groups", as: .user("ann")).json["items"]?.array?.isEmpty == true)
        #expect(await house.send(.get, "/api/v1/groups?search=SEC").json["pagination"]?["total"] == 1)
        #expect(await house.send(.get, "/api/v1/groups", as: .none).status == 401)
        for id in [group, absent] {
            #expect(await house.send(.put, "/api/v1/groups/\(id)", as: .user("ann"), json: ["name": "mine"]).outcome == "403 FORBIDDEN")
            #expect(await house.send(.delete, "/api/v1/groups/\(id)", as: .user("ann")).outcome == "403 FORBIDDEN")
            #expect(
                await house.send(.post, "/api/v1/groups/\(id)/members", as: .user("ann"), json: ["user_ids": []]).outcome == "403 FORBIDDEN")
        }
        #expect(await house.send(.post, "/api/v1/groups", as: .user("ann"), json: ["name": "mine"]).outcome == "403 FORBIDDEN")
        #expect(await house.send(.post, "/api/v1/groups", json: ["name": "SECRET"]).outcome == "409 CONFLICT")
        let limited = Credential.bearer(await house.token(["read:users"]))
        #expect(await house.send(.get, "/api/v1/groups", as: limited).json["pagination"]?["total"] == 1)
        #expect(await house.send(.post, "/api/v1/groups", as: limited, json: ["name": "more"]).outcome == "403 FORBIDDEN")
    }

    @Test("what was given on a repository is gone with it")
    func repositories() async throws {
        let house = try await House()
        await house.repository("closed")
        let ann = await house.user("ann")
        #expect(await house.grant(["write"], on: "closed", to: ann).status == 200)
        #expect(await house.send(.delete, "/api/v1/repositories/closed").status == 200)
        #expect(await house.send(.get, "/api/v1/permissions").json["items"]?.array?.isEmpty == true)
        await house.repository("closed")
        #expect(await house.put("x", at: "x", in: "closed", as: .user("ann")).outcome == "404 NOT_FOUND")
    }
}
