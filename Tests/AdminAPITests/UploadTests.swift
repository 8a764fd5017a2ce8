import Catalog
import Core
import HTTPTypes
import Parsing
import Registry
import TestHouse
import Testing

/// Resumable uploads of the REST API.
@Suite("upload sessions") struct UploadTests {
    static let chunk = 1 << 20
    static let bytes = (0..<(2 * chunk + 100)).map { UInt8(truncatingIfNeeded: $0 &* 31) }

    static func plan(_ bytes: [UInt8] = bytes, repository: String = "files", checksum: String? = nil) -> JSON {
        [
            "repository_key": .string(repository), "artifact_path": "big/1/big.bin", "total_size": .init(bytes.count),
            "checksum_sha256": .string(checksum ?? Digest.of(.sha256, bytes).hex), "chunk_size": .init(chunk),
        ]
    }

    static func begin(_ house: House, _ plan: JSON = plan(), as who: Credential = .admin) async -> String {
        await house.send(.post, "/api/v1/uploads", as: who, json: plan).json["session_id"]?.string ?? "none"
    }

    static func patch(_ house: House, _ id: String, _ range: Range<Int>, as who: Credential = .admin) async -> Answer {
        await house.send(
            .patch, "/api/v1/uploads/\(id)", as: who, [("Content-Range", "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(bytes.count)")],
            body: Array(bytes[range]))
    }

    @Test("chunks come in any order, the status says what is there, and completing makes the artifact")
    func whole() async throws {
        let house = try await House()
        await house.repository("files")
        let made = await house.send(.post, "/api/v1/uploads", json: Self.plan())
        #expect(made.status == 201)
        #expect(made.json["chunk_count"] == 3)
        #expect(made.json["chunk_size"]?.int == Self.chunk)
        let id = try #require(made.json["session_id"]?.string)
        #expect(await house.send(.get, "/api/v1/uploads/\(id)").json["status"] == "pending")
        let last = await Self.patch(house, id, 2 * Self.chunk..<Self.bytes.count)
        #expect(last.json == ["bytes_received": 100, "chunk_index": 2, "chunks_completed": 1, "chunks_remaining": 2])
        let early = await house.send(.put, "/api/v1/uploads/\(id)/complete")
        #expect(early.status == 400)
        #expect(early.json.object?.names == ["error"])
        #expect(await Self.patch(house, id, 0..<Self.chunk).status == 200)
        let status = await house.send(.get, "/api/v1/uploads/\(id)").json
        #expect(status["status"] == "in_progress")
        #expect(status["chunks_completed"] == 2)
        #expect(status["bytes_received"]?.int == Self.chunk + 100)
        #expect(await Self.patch(house, id, Self.chunk..<2 * Self.chunk).json["chunks_remaining"] == 0)
        let done = await house.send(.put, "/api/v1/uploads/\(id)/complete")
        #expect(done.status == 200)
        #expect(done.json["path"] == "big/1/big.bin")
        #expect(done.json["size"]?.int == Self.bytes.count)
        #expect(await house.send(.get, "/general/files/big/1/big.bin").body == Self.bytes)
        #expect(await house.send(.get, "/api/v1/uploads/\(id)").status == 404)
    }

    @Test("a wrong range, length, checksum or size is refused as {error}")
    func wrong() async throws {
        let house = try await House()
        await house.repository("files")
        await house.repository("small", [("quota_bytes", 10)])
        let id = await Self.begin(house)
        for range in ["bytes 0-9/5", "bytes 5-4/\(Self.bytes.count)", "bytes 1-2/\(Self.bytes.count)", "0-1", "bytes 0--1/\(Self.bytes.count)"] {
            let answer = await house.send(.patch, "/api/v1/uploads/\(id)", [("Content-Range", range)], body: [1, 2])
            #expect(answer.status == 400, "\(range)")
            #expect(answer.json.object?.names == ["error"])
        }
        #expect(await house.send(.patch, "/api/v1/uploads/\(id)", body: [1]).status == 400)
        #expect(await house.send(.post, "/api/v1/uploads", json: Self.plan(repository: "small")).status == 413)
        #expect(await house.send(.post, "/api/v1/uploads", json: Self.plan(repository: "none")).status == 404)
        #expect(await house.send(.post, "/api/v1/uploads", json: Self.plan([])).status == 400)
        #expect(await house.send(.post, "/api/v1/uploads", json: Self.plan(checksum: "beef")).status == 400)
        var odd = Self.plan()
        odd["artifact_path"] = "../x"
        #expect(await house.send(.post, "/api/v1/uploads", json: odd).status == 400)
        odd = Self.plan()
        odd["total_size"] = .init(Int64.max)
        #expect(await house.send(.post, "/api/v1/uploads", json: odd).status == 413)

        let lie = await Self.begin(house, Self.plan(checksum: Digest.of(.sha256, [1]).hex))
        for start in [0, Self.chunk, 2 * Self.chunk] {
            #expect(await Self.patch(house, lie, start..<min(start + Self.chunk, Self.bytes.count)).status == 200)
        }
        let mismatch = await house.send(.put, "/api/v1/uploads/\(lie)/complete")
        #expect(mismatch.status == 409)
        #expect(mismatch.json.object?.names == ["error"])
        #expect(await house.send(.get, "/api/v1/repositories/files/artifacts").json["items"] == [])
    }

    @Test("a session belongs to who began it: to others it does not exist, begun, cancelled or over")
    func owner() async throws {
        let house = try await House()
        await house.repository("files")
        let ann = await house.user("ann")
        await house.grant(["write"], on: "files", to: ann)
        let id = await Self.begin(house)
        let none = house.clock.world.newID()
        let stranger = await house.send(.get, "/api/v1/uploads/\(id)", as: .user("ann"))
        #expect(stranger.transcript == (await house.send(.get, "/api/v1/uploads/\(none)", as: .user("ann"))).transcript)
        #expect(stranger.status == 404)
        #expect(await Self.patch(house, id, 0..<Self.chunk, as: .user("ann")).status == 404)
        #expect(await house.send(.delete, "/api/v1/uploads/\(id)", as: .user("ann")).status == 404)
        #expect(await house.send(.get, "/api/v1/uploads/\(id)", as: .none).outcome == "401 UNAUTHORIZED")
        #expect(await house.send(.delete, "/api/v1/uploads/\(id)").status == 204)
        #expect(await house.send(.get, "/api/v1/uploads/\(id)").status == 404)
    }

    @Test("a session that received nothing for a day is gone, its record a day later; a restart loses neither bytes nor session")
    func expiry() async throws {
        var house = try await House()
        await house.repository("files")
        let id = await Self.begin(house)
        #expect(await Self.patch(house, id, 0..<Self.chunk).status == 200)
        house.close()
        house = try await House(in: house.directory, clock: house.clock)
        #expect(await house.send(.get, "/api/v1/uploads/\(id)").json["bytes_received"]?.int == Self.chunk)
        house.clock.pass(seconds: 24 * 3600 + 1)
        let gone = await house.send(.get, "/api/v1/uploads/\(id)")
        #expect(gone.status == 410)
        #expect(gone.json.object?.names == ["error"])
        try await house.registry.expireUploadsOnce()
        #expect(await Self.patch(house, id, Self.chunk..<2 * Self.chunk).status == 410)
        house.clock.pass(seconds: 24 * 3600 + 1)
        try await house.registry.expireUploadsOnce()
        #expect(await house.send(.get, "/api/v1/uploads/\(id)").status == 404)
        #expect(try await house.catalog.records(.upload, after: nil, limit: 10).isEmpty)
    }
}
