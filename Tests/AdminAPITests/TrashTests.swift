import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

@Suite("trash over REST") struct TrashTests {
    private static func house(days: Int64 = 7) async throws -> House {
        var options = House.Options()
        options.trashDays = days
        return try await House(options)
    }

    private static func deletions(_ house: House, _ query: String = "", in key: String = "files") async -> [JSON] {
        await house.send(.get, "/api/v1/repositories/\(key)/trash\(query)").json["items"]?.array ?? []
    }

    @Test("a deletion says who, when, what and how long; some of it comes back, then the rest") func parts() async throws {
        let house = try await Self.house()
        await house.repository("maven", format: "maven")
        for name in ["a-1.jar", "a-1.txt", "a-1-sources.jar"] {
            #expect(await house.send(.put, "/maven/maven/org/x/a/1/\(name)", body: Array(name.utf8)).status == 201)
        }
        // Nothing is left of the version with its last file: one after the other.
        for name in ["a-1.jar", "a-1.txt"] { await house.send(.delete, "/api/v1/repositories/maven/artifacts/org/x/a/1/\(name)") }
        await house.send(.delete, "/api/v1/repositories/maven/artifacts/org/x/a/1/a-1-sources.jar")
        let items = await Self.deletions(house, in: "maven")
        #expect(items.map { $0["version_count"] } == [1, 0, 0], "the newest first")
        #expect(items.map { $0["deleted_by"] } == ["admin", "admin", "admin"])
        #expect(items[0]["deleted_at"]?.string == house.clock.now.description)
        #expect(items[0]["keep_until"]?.string == house.clock.now.adding(seconds: 7 * 86_400).description)
        let text = try #require(items[1]["id"]?.string), version = try #require(items[0]["id"]?.string)
        let early = await house.send(.post, "/api/v1/repositories/maven/trash/\(text)/restore", json: [:])
        #expect(early.outcome == "409 CONFLICT" && early.text.contains("deleted too"))
        let wrong = await house.send(.post, "/api/v1/repositories/maven/trash/\(version)/restore", json: ["paths": ["org/x/a/1/a-1.jar"]])
        #expect(wrong.outcome == "404 NOT_FOUND")
        let path: JSON = "org/x/a/1/a-1-sources.jar"
        let back = await house.send(.post, "/api/v1/repositories/maven/trash/\(version)/restore", json: ["paths": [path]])
        #expect(back.status == 200 && back.json["versions"]?.array?.count == 1 && back.json["artifacts"]?.array?.first?["path"] == path)
        #expect(await house.send(.post, "/api/v1/repositories/maven/trash/\(text)/restore", json: [:]).status == 200)
        #expect(await house.send(.get, "/maven/maven/org/x/a/1/a-1.txt").text == "a-1.txt")
        #expect(await house.send(.post, "/api/v1/repositories/maven/trash/\(text)/restore", json: [:]).outcome == "404 NOT_FOUND")
        #expect(await house.send(.post, "/api/v1/repositories/maven/trash/x/restore", json: [:]).outcome == "400 VALIDATION_ERROR")
        #expect(await house.send(.post, "/api/v1/repositories/maven/trash/\(version)/restore", json: ["paths": []]).outcome == "400 VALIDATION_ERROR")
    }

    @Test("a name taken meanwhile is a conflict; a release takes no other bytes before, while and after it is in the trash") func taken() async throws
    {
        let house = try await Self.house()
        await house.repository("files")
        await house.put("one", at: "a/1/f", in: "files")
        await house.send(.delete, "/general/files/a/1/f")
        let id = try #require(await Self.deletions(house).first?["id"]?.string)
        #expect(await house.put("two", at: "a/1/f", in: "files").status == 409)
        #expect(await house.put("one", at: "a/1/f", in: "files").status == 201)
        let refused = await house.send(.post, "/api/v1/repositories/files/trash/\(id)/restore", json: [:])
        #expect(refused.outcome == "409 CONFLICT" && refused.text.contains("a/1/f"))
        #expect(await house.send(.delete, "/api/v1/repositories/files/trash/\(id)").status == 200)
        #expect(await house.send(.get, "/general/files/a/1/f").text == "one")
        #expect(await house.send(.delete, "/api/v1/repositories/files/trash/\(id)").outcome == "404 NOT_FOUND")
    }

    @Test("pages and cursors go through everything once, the newest first; emptying leaves nothing") func pages() async throws {
        let house = try await Self.house()
        await house.repository("files")
        for number in 0..<25 {
            await house.put("file \(number)", at: "a/\(number)/f", in: "files")
            await house.send(.delete, "/general/files/a/\(number)/f")
        }
        func paths(_ items: [JSON]) -> [String] { items.compactMap { $0["paths"]?.array?.first?.string } }
        let all = (0..<25).reversed().map { "a/\($0)/f" }
        #expect(paths(await Self.deletions(house)) == Array(all.prefix(20)))
        #expect(paths(await Self.deletions(house, "?page=3&per_page=10")) == Array(all.suffix(5)))
        #expect(await Self.deletions(house, "?page=9") == [])
        var seen: [String] = []
        var cursor: String? = ""
        while let at = cursor {
            let page = await house.send(.get, "/api/v1/repositories/files/trash?per_page=7\(at.isEmpty ? "" : "&cursor=\(at)")").json
            #expect(page["pagination"]?["total"] == 25)
            seen += paths(page["items"]?.array ?? [])
            cursor = page["next_cursor"]?.string
        }
        #expect(seen == all)
        let storage = await house.send(.get, "/api/v1/repositories/files/storage").json
        #expect(storage["logical_bytes"] == 0 && storage["physical_bytes"] == 0)
        #expect(storage["trash_logical_bytes"] == JSON(10 * 6 + 15 * 7) && storage["trash_physical_bytes"] == JSON(25 * 128))
        #expect(await house.send(.delete, "/api/v1/repositories/files/trash").json["purged"] == 25)
        #expect(await Self.deletions(house) == [])
    }

    @Test("who may delete may restore, who administers may purge, and nobody else sees anything") func rights() async throws {
        let house = try await Self.house()
        await house.repository("files")
        let writer = await house.user("writer"), deleter = await house.user("deleter")
        await house.grant(["read", "write"], on: "files", to: writer)
        await house.grant(["read", "write", "delete"], on: "files", to: deleter)
        await house.user("ann")
        await house.put("one", at: "a/1/f", in: "files")
        #expect(await house.send(.delete, "/general/files/a/1/f", as: .user("deleter")).status == 204)
        let id = try #require(await Self.deletions(house).first?["id"]?.string)
        let root = "/api/v1/repositories/files/trash"
        for (method, path) in [
            (HTTPRequest.Method.get, root), (.get, "\(root)/\(id)"), (.post, "\(root)/\(id)/restore"), (.delete, "\(root)/\(id)"), (.delete, root),
        ] {
            #expect(await house.send(method, path, as: .user("writer"), json: [:]).status == 403, "\(method) \(path)")
            #expect(await house.send(method, path, as: .user("ann"), json: [:]).status == 404, "\(method) \(path)")
            #expect(await house.send(method, path, as: .none, json: [:]).status == 401, "\(method) \(path)")
        }
        for path in [root, "\(root)/\(id)"] { #expect(await house.send(.delete, path, as: .user("deleter")).status == 403) }
        #expect(await house.send(.get, root, as: .user("deleter")).json["items"]?.array?.first?["deleted_by"] == "deleter")
        #expect(await house.send(.post, "\(root)/\(id)/restore", as: .user("deleter"), json: [:]).status == 200)
    }

    @Test("days are the server's, or the repository's; zero is no trash; remotes and virtual repositories have none") func days() async throws {
        let house = try await Self.house()
        await house.repository("files", [("trash_days", 0)])
        #expect(await house.send(.get, "/api/v1/repositories/files").json["trash_days"] == 0)
        await house.put("one", at: "a/1/f", in: "files")
        await house.send(.delete, "/general/files/a/1/f")
        #expect(await Self.deletions(house) == [])
        #expect(await house.send(.patch, "/api/v1/repositories/files", json: ["trash_days": 1]).json["trash_days"] == 1)
        await house.put("two", at: "a/2/f", in: "files")
        await house.send(.delete, "/general/files/a/2/f")
        #expect(await Self.deletions(house).first?["keep_until"]?.string == house.clock.now.adding(seconds: 86_400).description)
        #expect(await house.send(.patch, "/api/v1/repositories/files", json: ["trash_days": -1]).json["trash_days"] == 7)
        #expect(await house.send(.patch, "/api/v1/repositories/files", json: ["trash_days": 3651]).outcome == "400 VALIDATION_ERROR")
        await house.repository("all", [("repo_type", "virtual"), ("member_repos", [["repo_key": "files"]])])
        #expect(await house.send(.get, "/api/v1/repositories/all/trash").outcome == "400 VALIDATION_ERROR")
        #expect(await house.send(.get, "/api/v1/repositories/all").json["trash_days"] == 0)
    }

    @Test("a quota counts the trash apart, and holds when something comes back") func quota() async throws {
        let house = try await Self.house()
        await house.repository("files", [("quota_bytes", 10)])
        #expect(await house.put("12345678", at: "a/1/f", in: "files").status == 201)
        await house.send(.delete, "/general/files/a/1/f")
        #expect(await house.put("abcdefgh", at: "a/2/f", in: "files").status == 201)
        let id = try #require(await Self.deletions(house).first?["id"]?.string)
        let refused = await house.send(.post, "/api/v1/repositories/files/trash/\(id)/restore", json: [:])
        #expect(refused.outcome == "507 QUOTA_EXCEEDED")
        #expect(await Self.deletions(house).count == 1)
    }
}
