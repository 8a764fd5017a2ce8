import Core
import HTTPTypes
import NIOCore
import Parsing
import Synchronization
import TestHouse
import TestSupport
import Testing

/// npm through the whole engine: what it alone asks of it.
@Suite("npm in the engine") struct NpmTests {
    static func manifest(_ version: String = "1.0.0") -> JSON { ["name": "tool", "version": .string(version), "description": "A tool"] }

    /// A tarball with so many bytes that nothing packs smaller.
    static func tarball(_ version: String = "1.0.0", bytes: Int = 10) -> [UInt8] {
        var state: UInt32 = 0x1234_5678
        let noise = (0..<bytes).map { _ in
            state = state &* 1_664_525 &+ 1_013_904_223
            return UInt8(truncatingIfNeeded: state >> 24)
        }
        return gzip(tar([("package/package.json", manifest(version).encoded()), ("package/noise", noise)]))
    }

    static func document(_ tarball: [UInt8], length: Int? = nil) -> [UInt8] {
        let attachment: JSON = ["content_type": "x", "data": .string(Base64.encode(tarball)), "length": JSON(length ?? tarball.count)]
        let document: JSON = [
            "_id": "tool", "name": "tool", "dist-tags": ["latest": "1.0.0"], "versions": ["1.0.0": manifest()],
            "_attachments": ["tool-1.0.0.tgz": attachment],
        ]
        return document.encoded()
    }

    /// A body in pieces of one size, without a length.
    private final class Pieces: BodySource {
        private let rest: Mutex<ByteBuffer>
        private let size: Int
        init(_ bytes: [UInt8], of size: Int) {
            rest = Mutex(ByteBuffer(bytes: bytes))
            self.size = size
        }
        func next() async throws(RegistryError) -> ByteBuffer? {
            rest.withLock { rest in rest.readableBytes == 0 ? nil : rest.readSlice(length: min(size, rest.readableBytes)) }
        }
    }

    @Test("a tarball larger than any document may be is decoded and stored while it arrives, and comes back whole", arguments: [1021, 65_536])
    func streamed(_ size: Int) async throws {
        let house = try await House()
        await house.repository("js", format: "npm", isPublic: true)
        let tarball = Self.tarball(bytes: JSONFileMachine.restBytesMax + 12_345)
        let body = Body(length: nil, source: Pieces(Self.document(tarball), of: size))
        let answer = await house.send(.put, "/npm/js/tool", [("Content-Type", "application/json")], streaming: body)
        #expect(answer.text == #"{"ok":true}"#)
        let packument = await house.send(.get, "/npm/js/tool", as: .none).json
        #expect(packument["versions"]?["1.0.0"]?["dist"]?["shasum"]?.string == Digest.of(.sha1, tarball).hex)
        #expect(await house.send(.get, "/npm/js/tool/-/tool-1.0.0.tgz", as: .none).body == tarball)
    }

    @Test("what is refused leaves nothing behind")
    func refused() async throws {
        let house = try await House()
        await house.repository("js", format: "npm", isPublic: true)
        let whole = Self.document(Self.tarball())
        for body in [
            Self.document(Self.tarball(), length: 1), Array(whole.dropLast(2)), Array(whole.prefix(whole.count / 2)),
            Self.document(Self.tarball("9.9.9")),
        ] {
            #expect(await house.send(.put, "/npm/js/tool", body: body).status == 400)
        }
        #expect(await house.send(.get, "/npm/js/tool", as: .none).status == 404)
        #expect(await house.send(.get, "/api/v1/repositories/js/artifacts").json["items"] == [])
    }

    @Test("a login at a private repository gives a token that reads and writes what its owner may, until the logout")
    func login() async throws {
        let house = try await House()
        await house.repository("closed", format: "npm")
        func login(_ password: String) async -> Answer {
            await house.send(
                .put, "/npm/closed/-/user/org.couchdb.user:admin", as: .none,
                body: (["name": "admin", "password": .string(password)] as JSON).encoded())
        }
        #expect(await login("wrong").status == 401)
        let token = await login(House.password).json["token"]?.string ?? ""
        #expect(await house.send(.get, "/npm/closed/-/whoami", as: .bearer(token)).json == ["username": "admin"])
        #expect(await house.send(.put, "/npm/closed/tool", as: .bearer(token), body: Self.document(Self.tarball())).status == 200)
        #expect(await house.send(.get, "/npm/closed/tool", as: .none).status == 401)
        // It is no administrator, whoever its owner is.
        #expect(await house.send(.get, "/api/v1/users", as: .bearer(token)).status == 403)
        #expect(await house.send(.delete, "/npm/closed/-/user/token/\(token)", as: .none).status == 404)
        #expect(await house.send(.delete, "/npm/closed/-/user/token/\(token)", as: .bearer(token)).status == 200)
        #expect(await house.send(.get, "/npm/closed/-/whoami", as: .bearer(token)).status == 401)
    }

    /// A registry with one package, whose tarball has these bytes.
    private static func upstream(_ sent: [UInt8], promised: [UInt8]) async throws -> ScriptedServer {
        try await ScriptedServer.start { request in
            let packument =
                #"{"name":"tool","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"tool","version":"1.0.0","dist":{"shasum":""#
                + Digest.of(.sha1, promised).hex + #"","tarball":"/files/tool.tgz"}}}}"#
            return switch request.target {
            case "/tool": .ok(packument, [("Content-Type", "application/json")])
            case "/files/tool.tgz": .status(200, [], sent)
            case "/-/v1/search?text=to%20ol&size=3": .ok(#"{"objects":[],"total":7}"#, [("Content-Type", "application/json; charset=utf-8")])
            case "/-/npm/v1/security/advisories/bulk": .ok(#"{"tool":[]}"#, [("Content-Type", "text/html")])
            default: .status(404)
            }
        }
    }

    @Test("a remote passes searches and audits on as they came, but for who asks, and does not call an upstream's failure an answer")
    func live() async throws {
        let upstream = try await Self.upstream([], promised: [])
        let house = try await House()
        await house.remote("far", format: "npm", of: upstream.url())
        let search = await house.send(.get, "/npm/far/-/v1/search?text=to%20ol&size=3", as: .admin)
        #expect(search.json["total"] == 7 && search.field("Content-Type") == "application/json")
        #expect(upstream.requests.last?["authorization"] == nil)
        let audit = await house.send(
            .post, "/npm/far/-/npm/v1/security/advisories/bulk", [("Content-Type", "application/json"), ("Content-Encoding", "gzip")],
            body: [0x1F, 0x8B, 1, 2])
        #expect(audit.text == #"{"tool":[]}"# && audit.field("Content-Type") == "application/octet-stream")
        let question = upstream.requests.last
        #expect(question?["content-encoding"] == "gzip" && question.map { Array($0.body.readableBytesView) } == [0x1F, 0x8B, 1, 2])
        #expect(await house.send(.post, "/npm/far/-/npm/v1/security/audits/quick", body: []).status == 502)
        #expect(await house.send(.put, "/npm/far/tool", body: Self.document(Self.tarball())).status == 405)
    }

    @Test("a remote keeps a tarball under our name for it, if it has the digest the packument promises")
    func tampered() async throws {
        let tarball = Self.tarball(bytes: 5000)
        let honest = try await Self.upstream(tarball, promised: tarball)
        let lying = try await Self.upstream(tarball, promised: Self.tarball(bytes: 5001))
        let house = try await House()
        await house.remote("far", format: "npm", of: honest.url())
        await house.remote("liar", format: "npm", of: lying.url())
        #expect(await house.send(.get, "/npm/far/tool/-/tool-1.0.0.tgz", as: .none).body == tarball)
        _ = await house.send(.get, "/npm/liar/tool/-/tool-1.0.0.tgz", as: .none)
        #expect(await house.send(.get, "/api/v1/repositories/liar/artifacts").json["items"] == [])
        await honest.stop()
        await lying.stop()
        #expect(await house.send(.get, "/npm/far/tool/-/tool-1.0.0.tgz", as: .none).body == tarball)
        #expect(await house.send(.get, "/npm/liar/tool/-/tool-1.0.0.tgz", as: .none).status >= 500)
    }
}
