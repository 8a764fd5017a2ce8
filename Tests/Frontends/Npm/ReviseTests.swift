import Core
import FrontendKit
import HTTPTypes
import Parsing
import TestSupport
import Testing

@testable import Npm

@Suite("changing what is published") struct ReviseTests {
    let bench = Bench()
    private var paths: [String] { bench.repository?.paths ?? [] }

    private func writable(_ name: String = "demo") async -> JSON { await bench.json("\(name)?write=true") }
    private func revision() async -> String { await writable()["_rev"]?.string ?? "" }
    private func tags() async -> JSON { await bench.json("-/package/demo/dist-tags") }

    @Test("tags are set to versions there are, and removed", arguments: [HTTPRequest.Method.put, .post])
    func tagging(_ method: HTTPRequest.Method) async {
        await bench.publish("demo", "1.0.0")
        await bench.publish("demo", "1.1.0")
        func tag(_ name: String, _ body: String) async -> String {
            await bench.harness.send(method, "/npm/js/-/package/demo/dist-tags/\(name)", body: Array(body.utf8)).outcome
        }
        #expect(await tag("stable", "\"1.0.0\"") == #"200 {"ok":true}"#)
        #expect(await tags() == ["latest": "1.1.0", "stable": "1.0.0"])
        #expect(await bench.json("demo/stable")["version"] == "1.0.0")
        #expect(await tag("stable", "\"9.0.0\"") == "404 demo has no version 9.0.0")
        #expect(await tag("2.0.0", "\"1.0.0\"") == "400 2.0.0 is no tag: it may not look like a version")
        #expect(await tag("stable", "1.0.0").hasPrefix("400 "))
        #expect(await tag("stable", "7") == "400 demo was refused: the body must be a version, as a JSON string")
        #expect(await bench.harness.send(.delete, "/npm/js/-/package/demo/dist-tags/stable").status == 200)
        #expect(await bench.harness.send(.delete, "/npm/js/-/package/demo/dist-tags/stable").outcome == "404 demo has no tag stable")
        #expect(await tags() == ["latest": "1.1.0"])
    }

    @Test("a packument sent back with deprecations sets them, with empty ones takes them back; it adds no version")
    func deprecate() async {
        await bench.publish("demo", "1.0.0")
        await bench.publish("demo", "1.1.0")
        var packument = await writable()
        func set(_ reason: JSON?) {
            var versions = packument["versions"] ?? .null
            versions["1.0.0"]?["deprecated"] = reason
            packument["versions"] = versions
        }
        set("broken")
        #expect(await bench.put(packument).status == 200)
        #expect(await bench.json("demo/1.0.0")["deprecated"] == "broken")
        #expect(await bench.json("demo", accept: Bench.abbreviated)["versions"]?["1.0.0"]?["deprecated"] == "broken")
        #expect(await bench.json("demo/1.1.0")["deprecated"] == nil)
        set(nil)
        #expect(await bench.put(packument).status == 200)
        #expect(await bench.json("demo/1.0.0")["deprecated"] == "broken")
        set("")
        #expect(await bench.put(packument).status == 200)
        #expect(await bench.json("demo/1.0.0")["deprecated"] == nil)
        packument["versions"]?["7.0.0"] = ["name": "demo", "version": "7.0.0"]
        #expect(await bench.put(packument).outcome.hasPrefix("400 demo was refused: 7.0.0 is no version of it"))
        #expect(await bench.put(packument, at: "none").status == 400)
    }

    @Test("one version is unpublished as npm does it: the packument without it, then its tarball")
    func unpublishOne() async {
        for version in ["1.0.0", "1.1.0"] { await bench.publish("demo", version) }
        var packument = await writable()
        packument["versions"]?["1.1.0"] = nil
        packument["dist-tags"] = ["latest": "1.0.0"]
        let target = "/npm/js/demo/-rev/"
        let stale = await bench.harness.send(.put, target + "1", body: packument.encoded())
        #expect(stale.status == 409)
        let answer = await bench.harness.send(.put, target + (await revision()), body: packument.encoded())
        #expect(answer.outcome == #"200 {"ok":true}"#)
        #expect(await tags() == ["latest": "1.0.0"])
        #expect(paths == ["demo/-/demo-1.0.0.tgz"])
        #expect(await bench.harness.send(.delete, "/npm/js/demo/-/demo-1.1.0.tgz/-rev/\(await revision())").status == 200)
        #expect(await bench.harness.send(.delete, "/npm/js/demo/-/demo-1.0.0.tgz/-rev/\(await revision())").status == 200)
        #expect(await bench.get("demo").status == 404)
    }

    @Test("a package is unpublished as a whole, at the revision its owner saw")
    func unpublishAll() async {
        for version in ["1.0.0", "1.1.0"] { await bench.publish("demo", version) }
        #expect(await bench.harness.send(.delete, "/npm/js/demo/-rev/nonsense").status == 409)
        #expect(await bench.harness.send(.delete, "/npm/js/demo/-rev/1").status == 409)
        #expect(await bench.harness.send(.delete, "/npm/js/demo/-rev/\(await revision())").status == 200)
        #expect(paths == [])
        #expect(await bench.get("demo").status == 404)
        #expect(await bench.harness.send(.delete, "/npm/js/demo/-rev/3").outcome == "404 js has no package demo")
        #expect(await bench.json("-/v1/search?text=demo")["total"] == 0)
    }

    @Test("who may write and not delete changes tags and unpublishes nothing")
    func rights() async {
        await bench.publish("demo", "1.0.0")
        await bench.publish("demo", "1.1.0")
        let writer = MemoryCaller("carol") { permission, _ in permission <= .write }
        var packument = await writable()
        packument["dist-tags"] = ["latest": "1.0.0", "old": "1.0.0"]
        #expect(await bench.harness.send(.put, "/npm/js/demo/-rev/\(await revision())", body: packument.encoded(), as: writer).status == 200)
        #expect(await tags() == ["latest": "1.0.0", "old": "1.0.0"])
        packument["versions"]?["1.1.0"] = nil
        #expect(await bench.harness.send(.put, "/npm/js/demo/-rev/\(await revision())", body: packument.encoded(), as: writer).status == 403)
        #expect(await bench.harness.send(.delete, "/npm/js/demo/-rev/\(await revision())", as: writer).status == 403)
        #expect(await bench.put(Bench.document(), as: .reader).status == 403)
        #expect(await bench.put(Bench.document(), as: .anonymous).status == 401)
        #expect(paths.count == 2)
    }
}
