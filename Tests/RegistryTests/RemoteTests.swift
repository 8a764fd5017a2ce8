import Core
import HTTPTypes
import Parsing
import Synchronization
import TestHouse
import TestSupport
import Testing

/// A remote repository before an upstream that lies, stalls, dies and spies.
@Suite("remote repositories") struct RemoteTests {
    static let wheel = Array("the bytes of a wheel".utf8)
    static let file = "tool-1.0-py3-none-any.whl"

    /// A PEP 691 page that lists the wheel.
    static func page(at url: String = "/files/\(file)", digest: String = Digest.of(.sha256, wheel).hex, size: Int = wheel.count) -> String {
        #"{"meta":{"api-version":"1.1"},"name":"tool","versions":["1.0"],"files":[{"filename":"\#(file)","url":"\#(url)","size":\#(size),"#
            + #""hashes":{"sha256":"\#(digest)"},"requires-python":">=3.8"}]}"#
    }

    static let json = [("Content-Type", "application/vnd.pypi.simple.v1+json"), ("ETag", "\"one\"")]

    static func upstream(page: String = page(), file answer: ScriptedServer.Answer = .status(200, [], wheel)) async throws -> ScriptedServer {
        try await ScriptedServer.start { request in
            switch request.target {
            case "/simple/tool/": request["if-none-match"] == "\"one\"" ? .status(304, [("ETag", "\"one\"")]) : .ok(page, json)
            case "/files/\(file)": answer
            default: .status(404)
            }
        }
    }

    static let index = "/pypi/mirror/simple/tool/"

    static func requests(_ upstream: ScriptedServer, _ target: String) -> Int { upstream.requests.count { $0.target == target } }

    @Test("the index is learned and rendered with our own links, the file fetched once for all who wait")
    func once() async throws {
        let upstream = try await Self.upstream(
            file: ScriptedServer.Answer(
                200, [("Content-Length", String(Self.wheel.count))], steps: [.wait(milliseconds: 100), .bytes(Self.wheel)]))
        let house = try await House()
        await house.remote("mirror", format: "pypi", of: upstream.url())
        let page = await house.send(.get, Self.index, as: .none, [("Accept", "application/vnd.pypi.simple.v1+json")])
        #expect(page.status == 200)
        #expect(page.json["files"]?[0]?["requires-python"] == ">=3.8")
        #expect(page.json["files"]?[0]?["url"]?.string == Self.index + Self.file)
        let answers = await withTaskGroup(of: Answer.self) { group in
            for _ in 1...20 { group.addTask { await house.send(.get, Self.index + Self.file, as: .none) } }
            return await group.reduce(into: [Answer]()) { $0.append($1) }
        }
        #expect(answers.allSatisfy { $0.status == 200 && $0.body == Self.wheel })
        #expect(Self.requests(upstream, "/files/\(Self.file)") == 1)
        #expect(Self.requests(upstream, "/simple/tool/") == 1)
        await upstream.stop()
        #expect(await house.send(.get, Self.index + Self.file, as: .none).body == Self.wheel)
    }

    @Test("an index past its time is asked for again with its validator, and served stale when upstream is dead")
    func stale() async throws {
        let upstream = try await Self.upstream()
        let house = try await House()
        await house.remote("mirror", format: "pypi", of: upstream.url())
        let first = await house.send(.get, Self.index, as: .none)
        house.clock.pass(seconds: 301)
        let second = await house.send(.get, Self.index, as: .none)
        #expect(second.transcript == first.transcript)
        #expect(upstream.requests.last?["if-none-match"] == "\"one\"")
        #expect(Self.requests(upstream, "/simple/tool/") == 2)
        await upstream.stop()
        house.clock.pass(seconds: 301)
        let third = await house.send(.get, Self.index, as: .none)
        #expect(third.transcript == first.transcript)
        #expect(third.validator == first.validator)
        #expect(await house.send(.get, "/pypi/mirror/simple/never-seen/", as: .none).status == 503)
    }

    @Test(
        "bytes that are not those the index promised are refused, and nothing is kept",
        arguments: [
            ScriptedServer.Answer.status(200, [], Array("the bytes of a wheeL".utf8)), .status(200, [], Array("short".utf8)),
            ScriptedServer.Answer(200, [("Content-Length", "20")], steps: [.bytes(Array("the bytes".utf8)), .close]),
            .status(200, [], wheel + wheel), .status(503), .status(403),
        ])
    func wrongBytes(answer: ScriptedServer.Answer) async throws {
        let upstream = try await Self.upstream(file: answer)
        let house = try await House()
        await house.remote("mirror", format: "pypi", of: upstream.url())
        #expect([502, 503].contains(await house.send(.get, Self.index + Self.file, as: .none).status))
        #expect(await house.send(.get, "/api/v1/repositories/mirror/artifacts").json["items"] == [])
        #expect(await house.send(.get, "/api/v1/repositories/mirror").json["storage_used_bytes"] == 0)
        await upstream.stop()
    }

    @Test("what upstream has not is not asked for again for a while: projects, files, and files of no listing")
    func absent() async throws {
        let upstream = try await Self.upstream()
        let house = try await House()
        await house.remote("mirror", format: "pypi", of: upstream.url())
        await house.remote("plain", format: "generic", of: upstream.url())
        for _ in 1...3 {
            #expect(await house.send(.get, "/pypi/mirror/simple/none/", as: .none).status == 404)
            #expect(await house.send(.get, "/pypi/mirror/simple/none/none-1.whl", as: .none).status == 404)
            #expect(await house.send(.get, Self.index + "tool-9.whl", as: .none).status == 404)
            #expect(await house.send(.get, "/general/plain/none", as: .none).status == 404)
        }
        #expect(upstream.requests.map(\.target).sorted() == ["/none", "/simple/none/", "/simple/tool/"])
        house.clock.pass(seconds: 61)
        #expect(await house.send(.get, "/general/plain/none", as: .none).status == 404)
        #expect(Self.requests(upstream, "/none") == 2)
        await upstream.stop()
    }

    @Test("an upstream may not send us to a private address unless the repository allows it, and hears our credentials only itself")
    func redirects() async throws {
        let spy = try await ScriptedServer.start { _ in .status(200, [], Self.wheel) }
        let upstream = try await Self.upstream(page: Self.page(at: spy.url("/stolen")))
        let house = try await House()
        await house.remote(
            "mirror", format: "pypi", of: upstream.url(),
            [("upstream_auth_type", "basic"), ("upstream_username", "user"), ("upstream_password", "canary")])
        #expect(await house.send(.get, Self.index + Self.file, as: .none).body == Self.wheel)
        #expect(upstream.requests.first?["authorization"] == "Basic " + Base64.encode(Array("user:canary".utf8)))
        #expect(spy.requests.count == 1)
        #expect(spy.requests.allSatisfy { $0["authorization"] == nil && $0["cookie"] == nil })
        await house.repository(
            "strict", format: "pypi", isPublic: true, [("repo_type", "remote"), ("upstream_url", .string(upstream.url()))])
        let before = upstream.counts.requests
        #expect(await house.send(.get, "/pypi/strict/simple/tool/", as: .none).status == 502)
        #expect(upstream.counts.requests == before)
        // Neither does a name that only private networks have; not 503, as where a name does not resolve.
        for (key, host) in [("single", "metadata"), ("cluster", "api.default.svc.cluster.local")] {
            await house.repository(
                key, format: "pypi", isPublic: true, [("repo_type", "remote"), ("upstream_url", .string("http://\(host):\(upstream.port)"))])
            #expect(await house.send(.get, "/pypi/\(key)/simple/tool/", as: .none).status == 502)
        }
        await upstream.stop()
        await spy.stop()
    }

    @Test("what does not fit the quota is not fetched or not kept; publishing to a remote is refused")
    func limits() async throws {
        let upstream = try await Self.upstream()
        let house = try await House()
        await house.remote("mirror", format: "pypi", of: upstream.url(), [("quota_bytes", 10)])
        #expect(await house.send(.get, Self.index + Self.file, as: .none).status == 507)
        #expect(Self.requests(upstream, "/files/\(Self.file)") == 0)
        await house.remote("plain", format: "generic", of: upstream.url(), [("quota_bytes", 10)])
        #expect([502, 507].contains(await house.send(.get, "/general/plain/files/\(Self.file)", as: .none).status))
        #expect(await house.send(.get, "/api/v1/repositories/plain").json["storage_used_bytes"] == 0)
        #expect(await house.put("x", at: "x", in: "plain").status == 405)
        #expect(await house.send(.put, "/general/plain/x", body: [1]).status == 405)
        await upstream.stop()
    }

    @Test("a page that is none, or too large, is 502 and teaches nothing", arguments: ["{", "<html>", #"{"meta":{}}"#])
    func badPage(text: String) async throws {
        let upstream = try await Self.upstream(page: text)
        let house = try await House()
        await house.remote("mirror", format: "pypi", of: upstream.url())
        #expect([404, 502].contains(await house.send(.get, Self.index, as: .none).status))
        #expect(await house.send(.get, Self.index + Self.file, as: .none).status != 200)
        await upstream.stop()
    }
}
