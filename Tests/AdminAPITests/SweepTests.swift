import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

@Suite("sweep over REST") struct SweepTests {
    @Test("an administrator runs it, sees what it did and asks why; nobody else may") func sweep() async throws {
        let house = try await House()
        await house.repository("files")
        let digest = try #require(await house.put("hello", at: "a/1/f", in: "files").json["checksum_sha256"]?.string)
        let why = await house.send(.get, "/api/v1/admin/sweep/sha256:\(digest)").json
        #expect(why["reasons"] == ["the artifact a/1/f of files"])
        #expect(why["is_dying"] == false && why["size_bytes"] == 5)
        await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/f")
        #expect(await house.send(.get, "/api/v1/admin/sweep/\(digest)").json["is_dying"] == true)
        let waiting = await house.send(.post, "/api/v1/admin/storage-gc", json: [:]).json
        #expect(waiting["storage_keys_deleted"] == 0 && waiting["waiting_blobs"] == 1)
        let dry = await house.send(.post, "/api/v1/admin/storage-gc", json: ["dry_run": true, "grace_seconds": 0]).json
        #expect(dry["dry_run"] == true && dry["storage_keys_deleted"] == 1 && dry["removed_bytes"] == 5)
        let done = await house.send(.post, "/api/v1/admin/storage-gc", json: ["grace_seconds": 0])
        #expect(done.status == 200 && done.json["storage_keys_deleted"] == 1 && done.json["errors"] == [])
        let status = await house.send(.get, "/api/v1/admin/sweep").json
        #expect(status["is_running"] == false && status["runs"] == 2 && status["last"]?["storage_keys_deleted"] == 1)
        #expect(await house.send(.get, "/api/v1/admin/sweep/\(digest)").json["is_stored"] == false)
        #expect(await house.send(.get, "/api/v1/admin/sweep/nonsense").outcome == "400 VALIDATION_ERROR")
        #expect(await house.send(.post, "/api/v1/admin/storage-gc", json: ["grace_seconds": -1]).outcome == "400 VALIDATION_ERROR")
        await house.user("ann")
        for (method, path) in [(HTTPRequest.Method.post, "storage-gc"), (.get, "sweep"), (.get, "sweep/\(digest)")] {
            #expect(await house.send(method, "/api/v1/admin/\(path)", as: .user("ann"), json: [:]).status == 403)
            #expect(await house.send(method, "/api/v1/admin/\(path)", as: .none, json: [:]).status == 401)
        }
    }
}
