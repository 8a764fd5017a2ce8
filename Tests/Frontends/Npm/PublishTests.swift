import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Parsing
import TestSupport
import Testing

@testable import Npm

@Suite("npm publish") struct PublishTests {
    let bench = Bench()
    private var paths: [String] { bench.repository?.paths ?? [] }

    @Test("a package is published: its packument is ours, its tarball the very bytes")
    func publish() async {
        #expect(
            await bench.publish("demo", "1.0.0", ["scripts": ["install": "x"]]).transcript == "200\ncontent-type: application/json\n\n{\"ok\":true}")
        let tarball = Bench.tarball(Bench.manifest("demo", "1.0.0", ["scripts": ["install": "x"]]))
        let dist =
            #"{"integrity":"\#(Integrity.text(of: .of(.sha512, tarball)))","shasum":"\#(Digest.of(.sha1, tarball).hex)","#
            + #""tarball":"https://granary.test/npm/js/demo/-/demo-1.0.0.tgz"}"#
        let time = "2027-01-15T08:00:01.000Z"
        #expect(
            await bench.get("demo").transcript == """
                200
                content-type: application/json
                vary: Accept

                {"_id":"demo","name":"demo","description":"A demo","dist-tags":{"latest":"1.0.0"},\
                "versions":{"1.0.0":{"name":"demo","version":"1.0.0",\
                "description":"A demo","scripts":{"install":"x"},"dist":\(dist),"_id":"demo@1.0.0"}},\
                "time":{"created":"\(time)","modified":"\(time)","1.0.0":"\(time)"},"readme":"# Demo"}
                """)
        #expect(
            await bench.get("demo", accept: "\(Bench.abbreviated); q=1.0, application/json; q=0.8, */*").transcript == """
                200
                content-type: application/vnd.npm.install-v1+json
                vary: Accept

                {"name":"demo","modified":"\(time)","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"demo","version":"1.0.0",\
                "dist":\(dist),"hasInstallScript":true}}}
                """)
        let file = await bench.get("demo/-/demo-1.0.0.tgz")
        #expect(file.status == 200 && file.body == tarball && file.fields[.contentType] == "application/octet-stream")
    }

    @Test("a scoped package is found in both spellings, whole, by version and by tag")
    func scoped() async {
        await bench.publish("@team/tool", "1.0.0")
        #expect(paths == ["@team/tool/-/tool-1.0.0.tgz"])
        for name in ["@team/tool", "@team%2ftool", "@team%2Ftool", "%40team%2ftool"] {
            #expect(await bench.json(name)["name"] == "@team/tool", "\(name)")
            for version in ["1.0.0", "latest"] { #expect(await bench.json("\(name)/\(version)")["_id"] == "@team/tool@1.0.0", "\(name)") }
            #expect(await bench.get("\(name)/2.0.0").status == 404)
            #expect(await bench.get("\(name)/-/tool-1.0.0.tgz").status == 200)
        }
        #expect(await bench.json("@team/tool/1.0.0")["dist"]?["tarball"] == "https://granary.test/npm/js/@team/tool/-/tool-1.0.0.tgz")
    }

    @Test("the same again is a retry that moves no tag; other bytes are a conflict, also after the version is gone")
    func immutable() async {
        await bench.publish("demo", "1.0.0")
        await bench.publish("demo", "1.1.0")
        #expect(await bench.publish("demo", "1.0.0").status == 200)
        #expect(await bench.json("-/package/demo/dist-tags") == ["latest": "1.1.0"])
        let other = Bench.document(tarball: gzip(tar([("package/package.json", Bench.manifest().encoded())])))
        #expect(
            await bench.put(other).outcome == "409 You cannot publish over the previously published versions: 1.0.0 of demo has other bytes already.")
        let revision = await bench.json("demo?write=true")["_rev"]?.string ?? ""
        #expect(await bench.harness.send(.delete, "/npm/js/demo/-rev/\(revision)").status == 200)
        #expect(await bench.get("demo").status == 404)
        #expect(await bench.put(other).status == 409)
        #expect(await bench.publish("demo", "1.0.0").status == 200)
    }

    /// A document npm would not send, what makes it so, and a word of the answer.
    private static func altered(_ change: (inout JSON) -> Void) -> JSON {
        var document = Bench.document()
        change(&document)
        return document
    }

    private static func with(_ path: [String], _ value: JSON?) -> JSON {
        func set(_ json: JSON, _ path: ArraySlice<String>) -> JSON {
            guard let first = path.first else { return value ?? .null }
            var json = json
            json[first] = path.count == 1 ? value : set(json[first] ?? .object(.init()), path.dropFirst())
            return json
        }
        return set(Bench.document(), path[...])
    }

    private static let file = "demo-1.0.0.tgz"
    static let lies: [(JSON, String)] = [
        (with(["name"], "other"), "document is that of other"), (with(["name"], nil), "no package"),
        (with(["versions", "1.0.0", "name"], "other"), "another name or version"), (with(["versions", "1.0.0", "version"], "2.0.0"), "another name"),
        (with(["versions"], ["2.0.0": ["name": "demo", "version": "2.0.0"]]), "none of its versions"),
        (with(["versions"], nil), "none of its versions"),
        (with(["versions", "1.0.0", "dist", "integrity"], .string(Integrity.text(of: .of(.sha512, [])))), "another sha512"),
        (with(["versions", "1.0.0", "dist", "shasum"], "00"), "another SHA-1"),
        (with(["versions", "1.0.0", "dependencies"], ["left": "1"]), "dependency left"),
        (with(["versions", "1.0.0", "scripts"], ["postinstall": "evil"]), "script postinstall"),
        (with(["_attachments", file, "length"], 5), "5"), (with(["_attachments", file, "length"], "many"), "many"),
        (with(["_attachments", file, "data"], "AAAA"), "3 bytes came"), (with(["_attachments", file, "data"], "AAA"), "cut off"),
        (with(["_attachments", file, "data"], "!"), "no base64 digit"), (with(["_attachments", file, "data"], 7), "no tarball"),
        (with(["_attachments", "demo-2.0.0.tgz"], ["data": "AAAA"]), "one version"),
        (with(["_attachments", "evil.exe"], ["data": "AAAA"]), "only its provenance"), (with(["_attachments", file], nil), "no package demo"),
        (with(["_attachments"], ["readme.md": ["data": "AAAA"]]), "no tarball"), (with(["dist-tags"], ["1.0.0": "1.0.0"]), "no tag"),
        (with(["dist-tags"], ["v1.0.0": "1.0.0"]), "no tag"),
    ]

    @Test("a document that does not tell the truth of its tarball is refused, and nothing is stored", arguments: PublishTests.lies.indices)
    func refused(_ at: Int) async {
        let (document, word) = Self.lies[at]
        let answer = await bench.put(document)
        #expect([400, 404].contains(answer.status) && answer.outcome.contains(word), "\(answer.outcome)")
        #expect(paths == [])
    }

    static let archives: [([UInt8], String)] = [
        (Bench.tarball(Bench.manifest("other")), "\"other\""), (Bench.tarball(Bench.manifest("demo", "1.0.1")), "\"1.0.1\""),
        (Bench.tarball(Bench.manifest("demo", "1.0.0", ["scripts": ["install": "evil"]])), "script install"),
        (Bench.tarball(Bench.manifest("demo", "1.0.0", ["dependencies": ["left": "1"]])), "dependency left"),
        (gzip(tar([("package/index.js", [])])), "no package.json"),
        (gzip(tar([("package/lib/package.json", Bench.manifest().encoded())])), "no package.json"),
        (gzip(tar([("a/package.json", Bench.manifest().encoded()), ("b/package.json", Bench.manifest().encoded())])), "two package.json"),
        (gzip(tar([("package/package.json", Bench.manifest().encoded()), ("package/../../x", [])])), "leads out"),
        (gzip(tar([("package/package.json", Array("{".utf8))])), "was refused"), (Array("no gzip".utf8), "no gzip"),
        (Array(Bench.tarball().dropLast(20)), "too early"), (tar([("package/package.json", Bench.manifest().encoded())]), "no gzip"),
    ]

    @Test("a tarball that is not what its document says is refused, and nothing is stored", arguments: PublishTests.archives.indices)
    func archive(_ at: Int) async {
        let (tarball, word) = Self.archives[at]
        let answer = await bench.put(Bench.document(tarball: tarball))
        #expect(answer.status == 400 && answer.outcome.contains(word), "\(answer.outcome)")
        #expect(paths == [])
    }

    @Test("what npm itself rewrites is no lie: Git addresses, optional dependencies, the script of a binding.gyp, a byte order mark")
    func honest() async {
        let inside = Bench.manifest("demo", "1.0.0", ["dependencies": ["a": "user/a"], "optionalDependencies": ["b": "1.x"]])
        let tarball = gzip(tar([("./anything/package.json", [0xEF, 0xBB, 0xBF] + inside.encoded())]))
        let shown = Bench.manifest(
            "demo", "1.0.0",
            [
                "dependencies": ["a": "github:user/a", "b": "1.x"], "optionalDependencies": ["b": "1.x"],
                "scripts": ["install": "node-gyp rebuild"], "gypfile": true,
            ])
        #expect(await bench.put(Bench.document(shown, tarball: tarball)).outcome == #"200 {"ok":true}"#)
    }

    @Test("a name that npm takes from nobody is refused", arguments: ["Demo", "_demo", "de~mo", "@Team/x", "@team/_x", "node_modules", "a b"])
    func names(_ name: String) async {
        let target = Percent.encode(name, in: .segment)
        #expect(await [400, 404].contains(bench.put(Bench.document(Bench.manifest(name)), at: target).status))
        #expect(paths == [])
    }

    @Test("a first version under another tag is the latest nevertheless, until one is")
    func latest() async {
        await bench.publish("demo", "1.0.0-beta.2", tag: "next")
        #expect(await bench.json("-/package/demo/dist-tags") == ["latest": "1.0.0-beta.2", "next": "1.0.0-beta.2"])
        await bench.publish("demo", "0.9.0", tag: "old")
        #expect(await bench.json("demo/latest")["version"] == "0.9.0")
        await bench.publish("demo", "0.8.0")
        #expect(await bench.json("demo/latest")["version"] == "0.8.0")
    }

    @Test("REST puts a tarball anywhere: it is kept where the packument says")
    func adopted() async throws {
        let repository = try #require(bench.repository)
        let port = MemoryPort(bench.harness.registry, repository)
        let manifest = Bench.manifest("@team/tool", "3.0.0", ["readme": "words"])
        let staged = try #require(try await port.receive(Body(ByteBuffer(bytes: Bench.tarball(manifest))), as: .raw, digests: .all).first)
        guard case .staged(let blob) = staged.content else { return }
        let path = try #require(AssetPath("some/where.tgz"))
        let adoption = try await NpmFrontend().adopt(path, blob, contentType: nil, in: port)
        try await port.commit(adoption.edit, staged: [blob])
        #expect(adoption.path.text == "@team/tool/-/tool-3.0.0.tgz")
        #expect(await bench.json("@team/tool")["dist-tags"] == ["latest": "3.0.0"])
        #expect(await bench.json("@team/tool/3.0.0")["dist"]?["integrity"]?.string == Integrity.text(of: .of(.sha512, Bench.tarball(manifest))))
        await #expect(throws: RegistryError.self) {
            let bad = try await port.stage(Bench.tarball(["name": "Bad", "version": "1.0.0"]))
            _ = try await NpmFrontend().adopt(path, bad, contentType: nil, in: port)
        }
    }
}
