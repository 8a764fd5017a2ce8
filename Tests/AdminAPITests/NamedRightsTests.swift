import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

/// Rights that are limited to names inside a repository, over REST and over the formats.
@Suite("rights with patterns") struct NamedRightsTests {
    private func give(_ house: House, _ actions: [String], _ patterns: [String], on key: String, to user: String) async -> Answer {
        let repository = await house.send(.get, "/api/v1/repositories/\(key)").json["id"] ?? .null
        return await house.send(
            .post, "/api/v1/permissions",
            json: [
                "principal_type": "user", "principal_id": .string(user), "target_type": "repository", "target_id": repository,
                "actions": .array(actions.map { .string($0) }), "patterns": .array(patterns.map { .string($0) }),
            ])
    }

    @Test("files are read, written and deleted inside the patterns; outside them and in listings nothing is shown")
    func generic() async throws {
        let house = try await House()
        await house.repository("files")
        let ann = await house.user("ann")
        for path in ["team-a/1/x", "other/1/x", "loose"] { #expect(await house.put("x", at: path, in: "files").status == 201) }
        let granted = await give(house, ["write", "delete"], ["team-*"], on: "files", to: ann)
        #expect(granted.json["patterns"] == ["team-*"])
        let who = Credential.user("ann")
        for _ in 0..<2 {
            #expect(await house.send(.get, "/general/files/team-a/1/x", as: who).text == "x")
            #expect(await house.send(.get, "/general/files/other/1/x", as: who).status == 403)
            #expect(await house.send(.get, "/general/files/other/1/none", as: who).status == 403)
        }
        #expect(await house.send(.get, "/api/v1/repositories/files/artifacts/team-a/1/x", as: who).status == 200)
        #expect(await house.send(.get, "/api/v1/repositories/files/download/team-a/1/x", as: who).text == "x")
        for path in ["artifacts/other/1/x", "download/other/1/x", "artifacts", "artifacts?path_prefix=team-a", "trash"] {
            #expect(await house.send(.get, "/api/v1/repositories/files/\(path)", as: who).status == 403, "\(path)")
        }
        #expect(!(await house.send(.get, "/api/v1/packages", as: who)).text.contains("other"))
        #expect(await house.send(.get, "/api/v1/repositories", as: who).json["pagination"]?["total"] == 1)
        #expect(await house.put("y", at: "team-b/1/y", in: "files", as: who).status == 201)
        #expect(await house.put("y", at: "other/2/y", in: "files", as: who).outcome == "403 FORBIDDEN")
        #expect(await house.send(.put, "/general/files/other/2/y", as: who, body: Array("y".utf8)).status == 403)
        #expect(await house.send(.put, "/general/files/team-c/2/y", as: who, body: Array("y".utf8)).status == 201)
        #expect(await house.send(.delete, "/api/v1/repositories/files/artifacts/other/1/x", as: who).outcome == "403 FORBIDDEN")
        #expect(await house.send(.delete, "/api/v1/repositories/files/artifacts/team-b/1/y", as: who).status == 200)
        #expect(await house.send(.delete, "/general/files/team-c/2/y", as: who).status < 300)
        #expect(await house.send(.patch, "/api/v1/repositories/files", as: who, json: ["name": "mine"]).status == 403)
        let id = try #require(granted.json["id"]?.string)
        #expect(await house.send(.delete, "/api/v1/permissions/\(id)").status == 200)
        #expect(await house.send(.get, "/general/files/team-a/1/x", as: who).status == 404)
    }

    @Test("a page of one package is open by its name, the index of all is not, and an upload is judged by what is in it")
    func pypi() async throws {
        let house = try await House()
        await house.repository("wheels", format: "pypi")
        let ann = await house.user("ann")
        #expect(await give(house, ["write"], ["team-*"], on: "wheels", to: ann).status == 200)
        let who = Credential.user("ann")
        func upload(_ name: String, as who: Credential) async -> Int {
            let file = "\(name)-1.0-py3-none-any.whl"
            let about = "Metadata-Version: 2.1\nName: \(name)\nVersion: 1.0\n\n"
            let wheel = zip([("\(name).py", []), ("\(name)-1.0.dist-info/METADATA", Array(about.utf8))])
            var body: [UInt8] = []
            for (field, value) in [
                (":action", "file_upload"), ("protocol_version", "1"), ("filetype", "bdist_wheel"), ("name", name), ("version", "1.0"),
            ] {
                body += Array("--cut\r\nContent-Disposition: form-data; name=\"\(field)\"\r\n\r\n\(value)\r\n".utf8)
            }
            body += Array("--cut\r\nContent-Disposition: form-data; name=\"content\"; filename=\"\(file)\"\r\n\r\n".utf8)
            body += wheel + Array("\r\n--cut--\r\n".utf8)
            return await house.send(.post, "/pypi/wheels/", as: who, [("Content-Type", "multipart/form-data; boundary=cut")], body: body).status
        }
        #expect(await upload("other", as: .admin) == 200)
        #expect(await upload("team_a", as: who) == 200)
        #expect(await upload("secret", as: who) == 403)
        #expect(await house.send(.get, "/pypi/wheels/simple/team-a/", as: who).status == 200)
        #expect(await house.send(.get, "/pypi/wheels/simple/Team_A/", as: who).status == 200)
        for path in ["simple/", "simple/other/", "simple/other/other-1.0-py3-none-any.whl", "simple/none/"] {
            #expect(await house.send(.get, "/pypi/wheels/\(path)", as: who).status == 403, "\(path)")
        }
    }

    @Test("what is no pattern, or cannot be limited by one, is refused")
    func refusals() async throws {
        let house = try await House()
        await house.repository("files")
        let ann = await house.user("ann")
        for text in ["", "/a", "a\\*", "[ab]"] {
            #expect(await give(house, ["read"], [text], on: "files", to: ann).outcome == "400 VALIDATION_ERROR", "\(text)")
        }
        #expect(await give(house, ["admin"], ["a"], on: "files", to: ann).outcome == "400 VALIDATION_ERROR")
    }
}
