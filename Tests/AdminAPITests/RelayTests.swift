import Audit
import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Outbound
import Parsing
import Registry
import Server
import TestHouse
import TestSupport
import Testing

@Suite("a request that another node has to answer", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct RelayTests {
    private let bytes = (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }

    @Test("an upload goes on at whatever node the client meets, in chunks of megabytes, and ends there") func upload() async throws {
        let nodes = try await NodeHouses(3)
        var served: [ServedNode] = []
        for house in nodes.houses { served.append(try await ServedNode(house)) }
        await nodes[0].repository("images", format: "docker")
        let begun = try await served[0].ask(.post, "/v2/images/app/blobs/uploads/")
        #expect(begun.status == 202)
        var location = try #require(begun.answer["Location"])
        #expect(location.hasPrefix("/v2/images/app/blobs/uploads/"))
        var from = 0
        for (round, end) in [2_000_000, 2_000_001, 5_000_000].enumerated() {
            let chunk = try await served[(round + 1) % 3].ask(
                .patch, location, [("Content-Range", "\(from)-\(end - 1)"), ("Content-Type", "application/octet-stream")],
                body: Body(ByteBuffer(bytes: bytes[from..<end])))
            #expect(chunk.status == 202, "\(chunk.text)")
            #expect(chunk.answer["Range"] == "0-\(end - 1)")
            location = try #require(chunk.answer["Location"])
            from = end
        }
        let status = try await served[1].ask(.get, location)
        #expect(status.status == 204 && status.answer["Range"] == "0-4999999")
        let digest = Digest.of(.sha256, bytes)
        let wrong = try await served[1].ask(.put, location + "?digest=sha256:" + String(repeating: "0", count: 64))
        #expect(wrong.status == 400 && wrong.text.contains("DIGEST_INVALID"))
        let again = try await served[2].ask(.post, "/v2/images/app/blobs/uploads/")
        let whole = try #require(again.answer["Location"])
        let done = try await served[0].ask(.put, whole + "?digest=\(digest)", body: Body(ByteBuffer(bytes: bytes)))
        #expect(done.status == 201 && done.answer["Docker-Content-Digest"] == "\(digest)")
        for node in served { await node.server.stop() }
    }

    @Test("whoever asks is judged once, where the upload is, and counts there with the address they came from") func judged() async throws {
        let nodes = try await NodeHouses()
        let (here, there) = (try await ServedNode(nodes[0]), try await ServedNode(nodes[1]))
        await nodes[0].repository("images", format: "docker")
        let location = try #require(try await here.ask(.post, "/v2/images/app/blobs/uploads/").answer["Location"])
        let before = try await nodes[0].audit.head().number
        let refused = try await there.ask(
            .patch, location, [("X-Forwarded-For", "192.0.2.7")], body: Body(ByteBuffer(string: "x")), as: "wrong")
        #expect(refused.status == 401 && refused.answer["WWW-Authenticate"] != nil)
        // What waits patiently is written with the next that does not.
        _ = try await here.ask(.post, "/v2/images/app/blobs/uploads/")
        await nodes[0].repository("next")
        let records = try await nodes[0].audit.find(AuditQuery()).records
        #expect(records.filter { $0.action == "authenticate" }.map(\.peer) == ["192.0.2.7"])
        #expect(try await nodes[0].audit.head().number > before)
        // Nobody passes it on twice.
        let passed = try await there.ask(.get, location, [("X-Granary-Node", "7")])
        #expect(passed.status == 404 && passed.text.contains("BLOB_UPLOAD_UNKNOWN"))
        await here.server.stop()
        let gone = try await there.ask(.patch, location, body: Body(ByteBuffer(string: "x")))
        #expect(gone.status == 404 && gone.text.contains("BLOB_UPLOAD_UNKNOWN"))
        await there.server.stop()
    }

    @Test("a chunked upload over REST, and a ticket, are taken at any node") func rest() async throws {
        let nodes = try await NodeHouses()
        let (here, there) = (try await ServedNode(nodes[0]), try await ServedNode(nodes[1]))
        await nodes[0].repository("files")
        let begun = await nodes[0].send(
            .post, "/api/v1/uploads",
            json: [
                "repository_key": "files", "artifact_path": "a/1/f", "total_size": 2_000_000, "chunk_size": 1_048_576,
                "checksum_sha256": .string(Digest.of(.sha256, bytes.prefix(2_000_000)).hex),
            ])
        let session = "/api/v1/uploads/" + (begun.json["session_id"]?.string ?? "")
        for (first, end) in [(1_048_576, 2_000_000), (0, 1_048_576)] {
            let chunk = try await there.ask(
                .patch, session, [("Content-Range", "bytes \(first)-\(end - 1)/2000000")], body: Body(ByteBuffer(bytes: bytes[first..<end])))
            #expect(chunk.status == 200, "\(chunk.text)")
        }
        let status = try JSON.parse(Array(try await there.ask(.get, session).text.utf8))
        #expect(status["bytes_received"]?.int == 2_000_000 && status["chunks_completed"]?.int == 2)
        let path = "/api/v1/repositories/files/download/none"
        let ticket = await nodes[0].send(.post, "/api/v1/auth/ticket", json: ["purpose": "download", "resource_path": .string(path)]).json
        let query = "?ticket=" + (ticket["ticket"]?.string ?? "")
        // Who came with it may look, and finds nothing; it is good once, everywhere.
        #expect(try await there.ask(.get, path + query, as: nil).status == 404)
        for node in [here, there] { #expect(try await node.ask(.get, path + query, as: nil).status == 401) }
        await here.server.stop()
        await there.server.stop()
    }
}
