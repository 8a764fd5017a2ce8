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
        var why: JSON = [:]
        // The upload holds its bytes for a moment after it was answered.
        for _ in 0..<10_000 where why["reasons"]?.array?.count != 1 { why = await house.send(.get, "/api/v1/admin/sweep/sha256:\(digest)").json }
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

@Suite("Storage of a repository") struct StorageTests {
    @Test("equal bytes count once, others' never; figures are for who may read the repository") func storage() async throws {
        let house = try await House()
        await house.repository("files")
        await house.repository("others")
        let text = String(repeating: "some text that repeats ", count: 100)
        for path in ["a/1/f", "a/2/f"] { await house.put(text, at: path, in: "files") }
        await house.put(text, at: "b/1/f", in: "others")
        let stats = await house.send(.get, "/api/v1/repositories/files/storage").json
        #expect(stats["repository_key"] == "files" && stats["logical_bytes"] == 4600 && stats["unique_bytes"] == 2300)
        // One record: header, the blob, a checksum, to the next multiple of 64.
        #expect(stats["physical_bytes"] == 2368 && stats["blob_count"] == 1 && stats["dedup_scope"] == "repository")
        #expect(stats["shared_bytes"] == nil && stats["computed_at"] != nil)
        #expect(await house.send(.get, "/api/v1/repositories/none/storage").status == 404)
        let anonymous = await house.send(.get, "/api/v1/repositories/files/storage", as: .none)
        #expect(anonymous.status == 401)
    }
}
