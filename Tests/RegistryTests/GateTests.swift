import Catalog
import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

/// What stands between a request and the bytes.
@Suite("the read path") struct GateTests {
    static func judge(_ house: House, _ text: String, _ state: Verdict.State) async throws {
        let verdict = Verdict(
            blob: try #require(BlobID(Digest.of(.sha256, Array(text.utf8)))), state: state, inspector: "test", reason: "because", at: house.clock.now)
        try await house.catalog.apply(Change(actor: .system, at: house.clock.now, requestID: "test", parts: [.putVerdict(verdict)]))
    }

    @Test("a verdict counts from the next request on, on every road to the bytes, and so does its end")
    func verdicts() async throws {
        let house = try await House()
        await house.repository("files", isPublic: true)
        await house.put("hello", at: "a/1/f", in: "files")
        await house.put("other", at: "a/1/g", in: "files")
        let roads = ["/general/files/a/1/f", "/api/v1/repositories/files/download/a/1/f"]
        func statuses() async -> [Int] {
            var all: [Int] = []
            for road in roads { for who in [Credential.none, .admin] { all.append(await house.send(.get, road, as: who).status) } }
            return all
        }
        #expect(await statuses() == [200, 200, 200, 200])
        for (state, status, word) in [(Verdict.State.quarantined, 409, "quarantined"), (.blocked, 403, "rejected"), (.pending, 423, "unscanned")] {
            try await Self.judge(house, "hello", state)
            #expect(await statuses() == [status, status, status, status])
            #expect(await house.send(.head, roads[0]).status == status)
            #expect(await house.send(.get, roads[0]).json["message"]?.string == "a/1/f is \(state) by test: because")
            #expect(await house.send(.get, "/api/v1/repositories/files/artifacts/a/1/f").json["quarantine_status"]?.string == word)
            #expect(await house.send(.get, "/general/files/a/1/g").text == "other")
        }
        try await Self.judge(house, "hello", .allowed)
        #expect(await statuses() == [200, 200, 200, 200])
    }

    @Test("on a format's routes, a private repository answers like an absent one, in every word")
    func hidden() async throws {
        let house = try await House()
        await house.user("ann")
        for (format, mount, rest) in [
            ("generic", "/general", "a/1/f"), ("pypi", "/pypi", "simple/"), ("pypi", "/pypi", "simple/p/p-1.tar.gz"), ("oci", "/v2", "x/tags/list"),
            ("oci", "/v2", "x/manifests/latest"),
        ] {
            await house.repository("closed-\(format)", format: format)
            if format == "generic" { await house.put("x", at: rest, in: "closed-generic") }
            for who in [Credential.none, .user("ann")] {
                for method in [HTTPRequest.Method.get, .head, .put, .delete] {
                    let hidden = await house.send(method, "\(mount)/closed-\(format)/\(rest)", as: who)
                    let absent = await house.send(method, "\(mount)/absent-\(format)/\(rest)", as: who)
                    let renamed = hidden.transcript.replacing("closed-", with: "absent-")
                    #expect(renamed == absent.transcript)
                    #expect([401, 404].contains(hidden.status), "\(method) \(mount) \(rest): \(hidden.transcript)")
                }
            }
        }
    }

    @Test("a repository of another format is not there")
    func otherFormat() async throws {
        let house = try await House()
        await house.repository("files", isPublic: true)
        await house.put("x", at: "simple/x", in: "files")
        #expect(await house.send(.get, "/pypi/files/simple/x").transcript == (await house.send(.get, "/pypi/none/simple/x")).transcript)
    }

    @Test("a view keeps its bytes until something it was made of changes, and is never stale")
    func views() async throws {
        let house = try await House()
        await house.repository("index", format: "pypi", isPublic: true)
        await house.repository("inner", format: "pypi")
        func publish(_ name: String) async throws {
            let key = try #require(RepositoryKey("index"))
            let repository = try #require(try await house.catalog.repository(key))
            let package = try #require(PackageName(name))
            let version = try #require(VersionName("1.0"))
            let edit = Edit(mutations: [.putVersion(package, version, manifest: .none, attributes: [:])])
            try await house.catalog.apply(
                Change(actor: .system, at: house.clock.now, requestID: "test", parts: [.edit(repository.id, edit)]))
        }
        let json = [("Accept", "application/vnd.pypi.simple.v1+json")]
        try await publish("one")
        let first = await house.send(.get, "/pypi/index/simple/", as: .none, json)
        let again = await house.send(.get, "/pypi/index/simple/", as: .none, json)
        #expect(first.status == 200)
        #expect(first.transcript == again.transcript)
        #expect(first.validator != nil)
        #expect(first.validator == again.validator)
        #expect(first.field("Cache-Control") == "public, no-cache")
        #expect(await house.send(.get, "/pypi/inner/simple/").field("Cache-Control") == "private, no-cache")
        try await publish("two")
        let changed = await house.send(.get, "/pypi/index/simple/", as: .none, json)
        #expect(changed.json["projects"]?.array?.compactMap { $0["name"]?.string } == ["one", "two"])
        #expect(changed.validator != first.validator)
    }

    @Test("a form with more text than a form may have, or too many files, is refused")
    func forms() async throws {
        let house = try await House()
        await house.repository("files")
        let root = "/api/v1/repositories/files/artifacts"
        let type = [("Content-Type", "multipart/form-data; boundary=x")]
        let field = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\(String(repeating: "a", count: (1 << 20) + 1))\r\n--x--\r\n"
        #expect(await house.send(.post, root, type, body: Array(field.utf8)).outcome == "413 PAYLOAD_TOO_LARGE")
        let file = "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\n\r\nx\r\n"
        let many = String(repeating: file, count: 17) + "--x--\r\n"
        #expect(await house.send(.post, root, type, body: Array(many.utf8)).outcome == "413 PAYLOAD_TOO_LARGE")
        #expect(await house.send(.get, root).json["items"] == [])
    }
}
