import Catalog
import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

/// Virtual repositories with upstreams behind them: whom is asked what, and what is left when one fails.
@Suite("name ownership") struct OwnershipTests {
    static let json = VirtualTests.json

    /// An index that has these wheels.
    static func index(_ wheels: [WheelFile], corrupt: Bool = false) async throws -> ScriptedServer {
        try await ScriptedServer.start { request in
            if let wheel = wheels.first(where: { request.target == "/files/\($0.name)" }) {
                return .status(200, [], corrupt ? wheel.bytes + [0] : wheel.bytes)
            }
            let names = Set(wheels.map { project($0) })
            if request.target == "/simple/" {
                let projects = names.sorted().map { #"{"name":"\#($0)"}"# }.joined(separator: ",")
                return .ok(#"{"meta":{"api-version":"1.1"},"projects":[\#(projects)]}"#, RemoteTests.json)
            }
            guard let name = names.first(where: { request.target == "/simple/\($0)/" }) else { return .status(404) }
            let files = wheels.filter { project($0) == name }.map { wheel in
                #"{"filename":"\#(wheel.name)","url":"/files/\#(wheel.name)","size":\#(wheel.bytes.count),"hashes":{"sha256":"\#(wheel.sha256)"}}"#
            }
            return .ok(
                #"{"meta":{"api-version":"1.1"},"name":"\#(name)","versions":["1.0"],"files":[\#(files.joined(separator: ","))]}"#, RemoteTests.json)
        }
    }

    private static func project(_ wheel: WheelFile) -> String { String(wheel.name.prefix { $0 != "-" }) }

    static func files(_ house: House, _ key: String, _ project: String, as who: Credential = .none) async -> [String] {
        let page = await house.send(.get, "/pypi/\(key)/simple/\(project)/", as: who, json)
        return page.json["files"]?.array?.compactMap { $0["hashes"]?["sha256"]?.string } ?? ["\(page.status)"]
    }

    @Test("a name a local member owns is not asked of upstreams: they do not even see the request, hidden owners and deleted releases included")
    func owned() async throws {
        let ours = WheelFile("acme", "1.0", says: "ours"), theirs = WheelFile("acme", "9.0", says: "theirs")
        let hidden = WheelFile("inner", "1.0", says: "ours"), squatted = WheelFile("inner", "9.0", says: "theirs")
        let plain = WheelFile("plain", "1.0", says: "theirs")
        let upstream = try await Self.index([theirs, squatted, plain])
        let house = try await House()
        await house.repository("local", format: "pypi", isPublic: true)
        await house.repository("closed", format: "pypi")
        await house.remote("mirror", format: "pypi", of: upstream.url())
        // The remote comes first: precedence is no protection.
        await house.virtual("all", format: "pypi", of: ["mirror", "local", "closed"])
        await house.publish(ours, to: "local")
        await house.publish(hidden, to: "closed")

        #expect(await Self.files(house, "all", "acme") == [ours.sha256])
        #expect(await house.send(.get, "/pypi/all/simple/acme/\(theirs.name)", as: .none).status == 404)
        #expect(await Self.files(house, "all", "inner") == ["404"])
        #expect(await house.send(.get, "/pypi/all/simple/inner/\(squatted.name)", as: .none).status == 404)
        #expect(await Self.files(house, "all", "inner", as: .admin) == [hidden.sha256])
        await house.send(.delete, "/api/v1/repositories/local/artifacts/acme/\(ours.name)")
        #expect(await house.send(.get, "/pypi/all/simple/acme/\(theirs.name)", as: .none).status == 404)
        #expect(upstream.requests.map(\.target) == [])

        #expect(await Self.files(house, "all", "plain") == [plain.sha256])
        #expect(await house.send(.get, "/pypi/all/simple/plain/\(plain.name)", as: .none).body == plain.bytes)
        #expect(upstream.requests.map(\.target) == ["/simple/plain/", "/files/\(plain.name)"])
        let names = await house.send(.get, "/pypi/all/simple/", as: .none, Self.json).json["projects"]?.array?.map { $0["name"]?.string }
        #expect(names == ["acme", "plain"])
        await upstream.stop()
    }

    @Test("a shared name is the union of both; without the rule it is ours again, what was cached too")
    func shared() async throws {
        let ours = WheelFile("acme", "1.0", says: "ours"), same = WheelFile("acme", "1.0", says: "theirs")
        let theirs = WheelFile("acme", "9.0", says: "theirs")
        let upstream = try await Self.index([same, theirs])
        let house = try await House()
        await house.repository("local", format: "pypi", isPublic: true)
        await house.remote("mirror", format: "pypi", of: upstream.url())
        await house.virtual("inner", format: "pypi", of: ["local", "mirror"], [("shared_names", ["other", "ac*e"])])
        await house.virtual("all", format: "pypi", of: ["inner"], [("shared_names", ["*"])])
        await house.virtual("strict", format: "pypi", of: ["inner"])
        await house.publish(ours, to: "local")
        for key in ["inner", "all"] {
            #expect(await Self.files(house, key, "acme") == [ours.sha256, theirs.sha256])
            #expect(await house.send(.get, "/pypi/\(key)/simple/acme/\(theirs.name)", as: .none).body == theirs.bytes)
            #expect(await house.send(.get, "/pypi/\(key)/simple/acme/\(ours.name)", as: .none).body == ours.bytes)
        }
        // Every virtual repository on the way has to share it.
        #expect(await Self.files(house, "strict", "acme") == [ours.sha256])
        await house.send(.patch, "/api/v1/repositories/inner", json: ["shared_names": []])
        for key in ["inner", "all"] {
            #expect(await Self.files(house, key, "acme") == [ours.sha256])
            #expect(await house.send(.get, "/pypi/\(key)/simple/acme/\(theirs.name)", as: .none).status == 404)
            #expect(await house.send(.get, "/api/v1/repositories/\(key)/download/acme/\(theirs.name)", as: .none).status == 404)
        }
        await upstream.stop()
    }

    @Test("with one upstream down the others are served; what only it could know is its failure, no false 404; what it taught is served stale")
    func down() async throws {
        let a = WheelFile("alpha", "1.0", says: "a"), b = WheelFile("beta", "1.0", says: "b"), both = WheelFile("gamma", "1.0", says: "a")
        let other = WheelFile("gamma", "2.0", says: "b")
        let first = try await Self.index([a, both]), second = try await Self.index([b, other])
        let house = try await House()
        await house.remote("one", format: "pypi", of: first.url())
        await house.remote("two", format: "pypi", of: second.url())
        await house.virtual("all", format: "pypi", of: ["one", "two"])
        #expect(await Self.files(house, "all", "gamma") == [both.sha256, other.sha256])
        for wheel in [both, other] {
            #expect(await house.send(.get, "/pypi/all/simple/gamma/\(wheel.name)", as: .none).body == wheel.bytes)
        }
        await first.stop()
        // The first answers 404 for it in life; dead, it leaves the second.
        #expect(await Self.files(house, "all", "beta") == [b.sha256])
        #expect(await house.send(.get, "/pypi/all/simple/beta/\(b.name)", as: .none).body == b.bytes)
        #expect([502, 503].contains(await house.send(.get, "/pypi/all/simple/alpha/", as: .none).status))
        #expect([502, 503].contains(await house.send(.get, "/pypi/all/simple/alpha/\(a.name)", as: .none).status))
        house.clock.pass(seconds: 301)
        #expect(await Self.files(house, "all", "gamma") == [both.sha256, other.sha256])
        #expect(await house.send(.get, "/pypi/all/simple/gamma/\(both.name)", as: .none).body == both.bytes)
        await second.stop()
    }

    @Test("two upstreams with the same file: the bytes are of the member whose digest the index shows")
    func promised() async throws {
        let one = WheelFile("tool", "1.0", says: "one"), two = WheelFile("tool", "1.0", says: "two")
        let first = try await Self.index([one], corrupt: true), second = try await Self.index([two])
        let house = try await House()
        await house.remote("one", format: "pypi", of: first.url())
        await house.remote("two", format: "pypi", of: second.url())
        await house.virtual("all", format: "pypi", of: ["one", "two"])
        #expect(await Self.files(house, "all", "tool") == [one.sha256])
        // The first sends other bytes than it promised: refused, and not replaced by the second's.
        #expect([502, 503].contains(await house.send(.get, "/pypi/all/simple/tool/\(one.name)", as: .none).status))
        #expect(second.requests.map(\.target) == ["/simple/tool/"])
        await house.send(
            .put, "/api/v1/repositories/all/members",
            json: ["members": [["member_key": "one", "priority": 2], ["member_key": "two", "priority": 1]]])
        #expect(await Self.files(house, "all", "tool") == [two.sha256])
        #expect(await house.send(.get, "/pypi/all/simple/tool/\(two.name)", as: .none).body == two.bytes)
        await first.stop()
        await second.stop()
    }

    @Test("files without an index: local ones and held copies come before upstreams are asked")
    func plainFiles() async throws {
        let upstream = try await ScriptedServer.start { request in
            request.target.hasSuffix("/f") ? .status(200, [], Array("theirs".utf8)) : .status(404)
        }
        let house = try await House()
        await house.repository("local", isPublic: true)
        await house.remote("far", format: "generic", of: upstream.url("/far"))
        await house.remote("near", format: "generic", of: upstream.url("/near"))
        await house.virtual("all", of: ["far", "near", "local"])
        await house.put("ours", at: "x/1/f", in: "local")
        #expect(await house.send(.get, "/general/all/x/1/f", as: .none).text == "ours")
        #expect(await house.send(.get, "/general/near/y/1/f", as: .none).text == "theirs")
        #expect(await house.send(.get, "/general/all/y/1/f", as: .none).text == "theirs")
        #expect(upstream.requests.map(\.target) == ["/near/y/1/f"])
        #expect(await house.send(.get, "/general/all/z/1/none", as: .none).status == 404)
        #expect(upstream.requests.map(\.target) == ["/near/y/1/f", "/far/z/1/none", "/near/z/1/none"])
        await upstream.stop()
    }

    @Test("a file that is blocked in its member is not replaced by another member's")
    func blocked() async throws {
        let house = try await House()
        await house.repository("a", isPublic: true)
        await house.repository("b", isPublic: true)
        await house.virtual("all", of: ["a", "b"])
        await house.put("bad", at: "x/1/f", in: "a")
        await house.put("good", at: "x/1/f", in: "b")
        try await GateTests.judge(house, "bad", .blocked)
        #expect(await house.send(.get, "/general/all/x/1/f", as: .none).status == 403)
        try await GateTests.judge(house, "bad", .allowed)
        #expect(await house.send(.get, "/general/all/x/1/f", as: .none).text == "bad")
    }
}
