import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

/// Files that no listing tells of, checked against the document beside them.
@Suite("checksums beside an upstream's files") struct StatedDigestTests {
    private static let jar = Array("the bytes of a jar".utf8)
    private static let path = "org/example/app/1.0/app-1.0.jar"
    private static let file = "/maven/mirror/\(path)"

    /// An upstream with the jar and the documents given by their endings.
    private static func upstream(_ documents: [String: String], jar: [UInt8] = jar) async throws -> ScriptedServer {
        try await ScriptedServer.start { request in
            if request.target == "/\(path)" { return .status(200, [], jar) }
            let ending = request.target.split(separator: ".").last.map(String.init) ?? ""
            guard request.target == "/\(path).\(ending)", let text = documents[ending] else { return .status(404) }
            return text == "fails" ? .status(503) : .status(200, [], Array(text.utf8))
        }
    }

    private static func house(of upstream: ScriptedServer) async throws -> House {
        let house = try await House()
        await house.remote("mirror", format: "maven", of: upstream.url())
        return house
    }

    @Test(
        "a file is kept when the first document that is there says its digest, or there is none that does",
        arguments: [
            ["sha1": Digest.of(.sha1, jar).hex], ["sha1": Digest.of(.sha1, jar).hex.uppercased() + "  app-1.0.jar\n"],
            ["sha256": Digest.of(.sha256, jar).hex], ["md5": Digest.of(.md5, jar).hex], [:], ["sha1": "<html>this page is no checksum</html>"],
            ["sha1": Digest.of(.sha1, jar).hex, "md5": "not asked for"],
        ])
    func kept(documents: [String: String]) async throws {
        let upstream = try await Self.upstream(documents)
        let house = try await Self.house(of: upstream)
        let answer = await house.send(.get, Self.file, as: .none)
        #expect(answer.status == 200)
        #expect(answer.body == Self.jar)
        // Whatever upstream publishes, clients get every checksum of what is kept.
        for algorithm in DigestAlgorithm.allCases {
            #expect(await house.send(.get, "\(Self.file).\(algorithm.rawValue)", as: .none).text == Digest.of(algorithm, Self.jar).hex)
        }
        #expect(upstream.requests.count { $0.target == "/\(Self.path)" } == 1)
        await upstream.stop()
        #expect(await house.send(.get, Self.file, as: .none).body == Self.jar)
    }

    @Test(
        "a file that is another than its document says is refused and not kept; nor is one whose document may be there",
        arguments: [["sha1": Digest.of(.sha1, "other".utf8).hex], ["sha512": Digest.of(.sha512, "other".utf8).hex], ["sha1": "fails"]])
    func refused(documents: [String: String]) async throws {
        let upstream = try await Self.upstream(documents)
        let house = try await Self.house(of: upstream)
        #expect([502, 503].contains(await house.send(.get, Self.file, as: .none).status))
        #expect([502, 503].contains(await house.send(.get, Self.file + ".sha1", as: .none).status))
        #expect(await house.send(.get, "/api/v1/repositories/mirror/artifacts").json["items"] == [])
        await upstream.stop()
    }

    @Test("a checksum asked for first brings the file, and a file that upstream lacks costs one question")
    func first() async throws {
        let upstream = try await Self.upstream([:])
        let house = try await Self.house(of: upstream)
        #expect(await house.send(.get, Self.file + ".sha256", as: .none).text == Digest.of(.sha256, Self.jar).hex)
        let asked = upstream.requests.count
        #expect(await house.send(.get, "/maven/mirror/org/example/app/2.0/app-2.0.jar", as: .none).status == 404)
        #expect(upstream.requests.count == asked + 1)
        await upstream.stop()
    }

    @Test("metadata is learned and rendered with checksums of its own; a broken document is no answer of ours")
    func metadata() async throws {
        let upstream = try await ScriptedServer.start { request in
            switch request.target {
            case "/org/example/app/maven-metadata.xml":
                .ok("<metadata><versioning><release>1.0</release><versions><version>1.0</version></versions></versioning></metadata>")
            case "/org/example/bad/maven-metadata.xml": .ok("<metadata><versioning>")
            default: .status(404)
            }
        }
        let house = try await Self.house(of: upstream)
        let page = await house.send(.get, "/maven/mirror/org/example/app/maven-metadata.xml", as: .none)
        #expect(page.text.contains("<release>1.0</release>"))
        let sum = await house.send(.get, "/maven/mirror/org/example/app/maven-metadata.xml.sha1", as: .none)
        #expect(sum.text == Digest.of(.sha1, page.body).hex)
        #expect(upstream.requests.map(\.target) == ["/org/example/app/maven-metadata.xml"])
        #expect([502, 503].contains(await house.send(.get, "/maven/mirror/org/example/bad/maven-metadata.xml", as: .none).status))
        await upstream.stop()
    }
}
