import Core
import HTTPTypes
import Parsing
import Synchronization
import TestHouse
import TestSupport
import Testing

/// Plain files of an upstream: kept for good or asked for again, and checked against the checksums that lie beside them.
@Suite("plain files of an upstream") struct GenericRemoteTests {
    static let bytes = Array("a tool".utf8)

    /// One file, which changes when told to.
    final class Files: Sendable {
        let now = Mutex(GenericRemoteTests.bytes)
        var current: [UInt8] { now.withLock { $0 } }
    }

    static func upstream(_ files: Files, sidecar: String? = nil) async throws -> ScriptedServer {
        try await ScriptedServer.start { request in
            let etag = "\"\(Digest.of(.md5, files.current).hex)\""
            switch request.target {
            case "/tool": return request["if-none-match"] == etag ? .status(304, [("ETag", etag)]) : .status(200, [("ETag", etag)], files.current)
            case "/tool.sha256": return sidecar.map { .status(200, [], Array($0.utf8)) } ?? .status(404)
            default: return .status(404)
            }
        }
    }

    static func asked(_ upstream: ScriptedServer, _ target: String) -> Int { upstream.requests.count { $0.target == target } }

    @Test("a file is kept for good, unless the repository says that its upstream replaces files")
    func freshness() async throws {
        let files = Files()
        let upstream = try await Self.upstream(files)
        let house = try await House()
        await house.remote("kept", format: "generic", of: upstream.url())
        await house.remote("followed", format: "generic", of: upstream.url(), [("upstream_immutable", false)])
        let kept = await house.send(.get, "/general/kept/tool", as: .none)
        #expect(kept.body == Self.bytes && kept.field("Cache-Control")?.contains("immutable") == true)
        let followed = await house.send(.get, "/general/followed/tool", as: .none)
        #expect(followed.body == Self.bytes && followed.field("Cache-Control") == "public, no-cache")
        files.now.withLock { $0 = [1, 2, 3] }
        #expect(await house.send(.get, "/general/followed/tool", as: .none).body == Self.bytes)
        house.clock.pass(seconds: 301)
        #expect(await house.send(.get, "/general/followed/tool", as: .none).body == [1, 2, 3])
        #expect(await house.send(.get, "/general/kept/tool", as: .none).body == Self.bytes)
        house.clock.pass(seconds: 301)
        #expect(await house.send(.get, "/general/followed/tool", as: .none).body == [1, 2, 3])
        #expect(upstream.requests.last?["if-none-match"] != nil)
        await upstream.stop()
        house.clock.pass(seconds: 301)
        #expect(await house.send(.get, "/general/followed/tool", as: .none).body == [1, 2, 3])
    }

    @Test(
        "the checksum beside a file decides whether it is kept",
        arguments: [
            ("\(Digest.of(.sha256, bytes).hex)  tool\n", 200), (Digest.of(.sha256, bytes).hex.uppercased(), 200), (nil, 200),
            ("\(Digest.of(.sha256, [0]).hex)  tool\n", 502), ("<html>", 200),
        ] as [(String?, Int)])
    func checksums(sidecar: String?, status: Int) async throws {
        let upstream = try await Self.upstream(Files(), sidecar: sidecar)
        let house = try await House()
        await house.remote("mirror", format: "generic", of: upstream.url(), [("upstream_checksums", "sha256")])
        let answer = await house.send(.get, "/general/mirror/tool", as: .none)
        #expect(answer.status == status)
        #expect((await house.send(.get, "/api/v1/repositories/mirror").json["storage_used_bytes"] == 0) == (status != 200))
        if status == 200 {
            #expect(await house.send(.get, "/general/mirror/tool", as: .none).body == Self.bytes)
            #expect(Self.asked(upstream, "/tool") == 1 && Self.asked(upstream, "/tool.sha256") == 1)
        }
        // A checksum file is a file too, and has none of its own.
        #expect(await house.send(.get, "/general/mirror/tool.sha256", as: .none).status == (sidecar == nil ? 404 : 200))
        #expect(Self.asked(upstream, "/tool.sha256.sha256") == 0)
        await upstream.stop()
    }

    @Test("a kind of checksum that nobody knows is refused")
    func unknownKind() async throws {
        let house = try await House()
        #expect(
            await house.remote("odd", format: "generic", of: "http://127.0.0.1:9", [("upstream_checksums", "crc32")]).outcome
                == "400 VALIDATION_ERROR")
    }
}
