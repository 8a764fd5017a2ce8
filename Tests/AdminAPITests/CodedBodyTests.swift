import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

@Suite("coded bodies") struct CodedBodyTests {
    @Test("a file that comes in a coding is kept and given as it came, at the size it had; a document in one is no document")
    func kept() async throws {
        let house = try await House()
        await house.repository("files", isPublic: true)
        await house.repository("js", format: "npm")
        await house.repository("jars", format: "maven", isPublic: true)
        let coded = [("Content-Encoding", "gzip")]
        let small = gzip([UInt8](repeating: 0, count: 1000))
        for (target, artifact) in [
            ("/general/files/a/1/f", "files/artifacts/a/1/f"), ("/api/v1/repositories/files/artifacts/b/1/f", "files/artifacts/b/1/f"),
            ("/maven/jars/org/x/a/1/a-1.jar", "jars/artifacts/org/x/a/1/a-1.jar"),
        ] {
            #expect(await house.send(.put, target, coded, body: small).status == 201, "\(target)")
            let read = await house.send(.get, target.hasPrefix("/api") ? "/general/files/b/1/f" : target, as: .none, [("Accept-Encoding", "gzip")])
            #expect(read.body == small && read.field("Content-Encoding") == nil, "\(target)")
            #expect(await house.send(.get, "/api/v1/repositories/\(artifact)").json["size_bytes"] == JSON(small.count), "\(target)")
        }
        let request: JSON = ["key": "made", "name": "made", "format": "generic", "repo_type": "local"]
        let json = [("Content-Type", "application/json")] + coded
        #expect(await house.send(.post, "/api/v1/repositories", json, body: gzip(request.encoded())).status == 400)
        #expect(await house.send(.put, "/npm/js/tool", json, body: gzip(Publication.packument("1.0.0"))).status == 400)
        let login: JSON = ["username": "admin", "password": .string(House.password)]
        #expect(await house.send(.post, "/api/v1/auth/login", as: .none, json, body: gzip(login.encoded())).status == 400)
    }
}
