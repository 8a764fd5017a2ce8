import BuiltIn
import Core
import FrontendKit
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

/// What is deleted by a format's own route, or by REST where it has none, is out of its documents and comes back into them. No format does anything
/// for that, so each is held to it: a new one needs its row in `Deed.all`.
struct Deed: Sendable, CustomTestStringConvertible {
    struct Call: Sendable {
        let method: HTTPRequest.Method
        let target: String
        var type = "application/octet-stream"
        var body: [UInt8] = []
    }

    let format: String
    /// Two releases, or a file of two.
    let publish: [Call]
    let delete: Call
    /// What is gone after the deletion.
    let doomed: [String]
    /// What is still there, and says something else meanwhile where it lists things.
    let pages: [String]
    /// Blobs of the deletion are in the trash; a tag has none.
    var hasBlobs = true
    var name = ""

    var testDescription: String { name.isEmpty ? format : "\(format), \(name)" }

    static func put(_ target: String, _ body: [UInt8], type: String = "application/octet-stream") -> Call {
        Call(method: .put, target: target, type: type, body: body)
    }
    static func rest(_ path: String) -> Call { Call(method: .delete, target: "/api/v1/repositories/r/artifacts/\(path)") }

    static let all: [Deed] = [generic, maven, npm, npmTag, debian, manifest, tag, pypi]

    private static let generic = Deed(
        format: "generic", publish: ["1", "2"].map { put("/general/r/app/\($0)/f", Array("file \($0)".utf8)) },
        delete: Call(method: .delete, target: "/general/r/app/1/f"), doomed: ["/general/r/app/1/f"], pages: [])

    private static let maven = Deed(
        format: "maven",
        publish: ["1.0", "1.1"].flatMap { version in
            [put("/maven/r/org/x/a/\(version)/a-\(version).jar", Array("jar \(version)".utf8))]
        }, delete: rest("org/x/a/1.0/a-1.0.jar"), doomed: ["/maven/r/org/x/a/1.0/a-1.0.jar"], pages: ["/maven/r/org/x/a/maven-metadata.xml"])

    private static func packument(_ version: String) -> Call {
        let manifest: JSON = ["name": "tool", "version": .string(version)]
        let tarball = gzip(tar([("package/package.json", manifest.encoded())]))
        let attachment: JSON = ["content_type": "x", "data": .string(Base64.encode(tarball)), "length": JSON(tarball.count)]
        let document: JSON = [
            "_id": "tool", "name": "tool", "dist-tags": .object(.init([("v\(version.prefix(1))x", .string(version))])),
            "versions": .object(.init([(version, manifest)])), "_attachments": .object(.init([("tool-\(version).tgz", attachment)])),
        ]
        return put("/npm/r/tool", document.encoded(), type: "application/json")
    }

    // REV stands for the revision the client saw.
    private static let npm = Deed(
        format: "npm", publish: [packument("1.0.0"), packument("2.0.0")],
        delete: Call(method: .delete, target: "/npm/r/tool/-/tool-1.0.0.tgz/-rev/REV"), doomed: ["/npm/r/tool/-/tool-1.0.0.tgz"],
        pages: ["/npm/r/tool"])

    private static let npmTag = Deed(
        format: "npm", publish: [packument("1.0.0"), put("/npm/r/-/package/tool/dist-tags/beta", Array(#""1.0.0""#.utf8), type: "application/json")],
        delete: Call(method: .delete, target: "/npm/r/-/package/tool/dist-tags/beta"), doomed: [], pages: ["/npm/r/-/package/tool/dist-tags"],
        hasBlobs: false, name: "tag")

    private static func deb(_ version: String) -> [UInt8] {
        let control = "Package: demo\nVersion: \(version)\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: a test\n"
        let members = [
            ("debian-binary", Array("2.0\n".utf8)), ("control.tar", tar([("./control", Array(control.utf8))])), ("data.tar", tar([])),
        ]
        func padded(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: width - text.utf8.count) }
        return members.reduce(Array("!<arch>\n".utf8)) { file, member in
            let head =
                padded(member.0, 16) + padded("0", 12) + padded("0", 6) + padded("0", 6) + padded("100644", 8) + padded("\(member.1.count)", 10)
                + "`\n"
            return file + Array(head.utf8) + member.1 + (member.1.count.isMultiple(of: 2) ? [] : [0x0A])
        }
    }

    private static let debian = Deed(
        format: "debian", publish: ["1.0", "2.0"].map { put("/debian/r/pool/main/d/demo/demo_\($0)_amd64.deb", deb($0)) },
        delete: rest("pool/main/d/demo/demo_1.0_amd64.deb"), doomed: ["/debian/r/pool/main/d/demo/demo_1.0_amd64.deb"],
        pages: ["/debian/r/dists/stable/main/binary-amd64/Packages"])

    private static let manifestType = "application/vnd.oci.image.manifest.v1+json"
    private static let layer = Array("layer".utf8)
    private static func image(_ note: String) -> [UInt8] {
        let digest = Digest.of(.sha256, layer).description
        return Array(
            (#"{"schemaVersion":2,"mediaType":"\#(manifestType)","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"\#(digest)","#
                + #""size":5},"layers":[],"annotations":{"note":"\#(note)"}}"#).utf8)
    }
    private static let pushes =
        [Call(method: .post, target: "/v2/r/app/blobs/uploads/?digest=\(Digest.of(.sha256, layer))", body: layer)]
        + ["one", "two"].map { put("/v2/r/app/manifests/\($0)", image($0), type: manifestType) }

    private static let manifest = Deed(
        format: "oci", publish: pushes, delete: Call(method: .delete, target: "/v2/r/app/manifests/\(Digest.of(.sha256, image("one")))"),
        doomed: ["/v2/r/app/manifests/\(Digest.of(.sha256, image("one")))", "/v2/r/app/manifests/one"], pages: ["/v2/r/app/tags/list"])

    private static let tag = Deed(
        format: "oci", publish: pushes, delete: Call(method: .delete, target: "/v2/r/app/manifests/one"), doomed: ["/v2/r/app/manifests/one"],
        pages: ["/v2/r/app/tags/list", "/v2/r/app/manifests/\(Digest.of(.sha256, image("one")))"], hasBlobs: false, name: "tag")

    private static let pypi = Deed(
        format: "pypi",
        publish: ["1.0", "2.0"].map { version in
            let metadata = Array("Metadata-Version: 2.1\nName: demo\nVersion: \(version)\n\n".utf8)
            return put("/api/v1/repositories/r/artifacts/demo-\(version)-py3-none-any.whl", zip([("demo-\(version).dist-info/METADATA", metadata)]))
        }, delete: rest("demo/demo-1.0-py3-none-any.whl"), doomed: ["/pypi/r/simple/demo/demo-1.0-py3-none-any.whl"],
        pages: ["/pypi/r/simple/demo/", "/pypi/r/simple/"])
}

@Suite("trash of every format") struct TrashConformance {
    @Test("every format has its deletion here, but build caches, whose entries may be lost at any time")
    func complete() {
        let known = Set(Deed.all.map(\.format))
        #expect(known == Set(BuiltIn.frontends.map(\.format).filter { !$0.isCache }.map(\.name)))
    }

    /// Bodies of what is asked for, without the revision that npm's clients send back, and what REST lists.
    private func picture(_ deed: Deed, _ house: House) async -> [String] {
        var lines: [String] = []
        for target in deed.doomed + deed.pages {
            let answer = await house.send(.get, target)
            var text = answer.text
            if case .object = answer.json {
                var json = answer.json
                json["_rev"] = nil
                text = String(decoding: json.encoded(), as: UTF8.self)
            }
            lines.append("\(target) \(answer.status) \(Digest.of(.sha256, answer.body.isEmpty ? [] : Array(text.utf8)).hex)\n\(text)")
        }
        let items = await house.send(.get, "/api/v1/repositories/r/artifacts").json["items"]?.array ?? []
        return lines + items.map { "\($0["id"]?.string ?? "") \($0["path"]?.string ?? "") \($0["checksum_sha256"]?.string ?? "")" }
    }

    @Test("deleted it is out of sight, restored it is served and listed as before, and after its time the sweep frees it", arguments: Deed.all)
    func trash(_ deed: Deed) async throws {
        var options = House.Options()
        options.trashDays = 7
        let house = try await House(options)
        await house.repository("r", format: deed.format, isPublic: true)
        for call in deed.publish {
            let answer = await house.send(call.method, call.target, [("Content-Type", call.type)], body: call.body)
            try #require((200..<300).contains(answer.status), "\(call.target): \(answer.text)")
        }
        let before = await picture(deed, house)
        for target in deed.doomed + deed.pages { #expect(await house.send(.get, target).status == 200, "\(target)") }

        try await delete(deed, house)
        for target in deed.doomed { #expect(await house.send(.get, target).status == 404, "\(target)") }
        #expect(await picture(deed, house) != before)
        let trash = await house.send(.get, "/api/v1/repositories/r/trash").json
        #expect(trash["pagination"]?["total"] == 1 && trash["items"]?.array?.count == 1)
        let id = try #require(trash["items"]?.array?.first?["id"]?.string)
        let deletion = await house.send(.get, "/api/v1/repositories/r/trash/\(id)").json
        #expect(deletion["deleted_by"] == "admin" && deletion["request_id"] == "test")
        let digests = deletion["artifacts"]?.array?.compactMap { $0["checksum_sha256"]?.string } ?? []
        #expect(digests.isEmpty != deed.hasBlobs)
        house.clock.pass(seconds: 3 * 86_400)
        _ = await house.send(.post, "/api/v1/admin/storage-gc", json: ["grace_seconds": 0])
        for digest in digests {
            let why = await house.send(.get, "/api/v1/admin/sweep/\(digest)").json
            #expect(why["is_stored"] == true && why["is_dying"] == false)
            let until = deletion["keep_until"]?.string ?? ""
            #expect(why["reasons"]?.array?.contains { $0.string?.hasPrefix("kept by the trash of r until \(until)") == true } == true)
        }

        let restored = await house.send(.post, "/api/v1/repositories/r/trash/\(id)/restore", json: [:])
        #expect(restored.status == 200, "\(restored.text)")
        #expect(await picture(deed, house) == before)
        #expect(await house.send(.get, "/api/v1/repositories/r/trash").json["items"] == [])

        try await delete(deed, house)
        house.clock.pass(seconds: 8 * 86_400)
        _ = await house.send(.post, "/api/v1/admin/storage-gc", json: ["grace_seconds": 0])
        #expect(await house.send(.get, "/api/v1/repositories/r/trash").json["items"] == [])
        for digest in digests {
            #expect(await house.send(.get, "/api/v1/admin/sweep/\(digest)").json["is_stored"] == false, "\(digest)")
        }
    }

    private func delete(_ deed: Deed, _ house: House) async throws {
        var target = deed.delete.target
        if target.hasSuffix("REV") {
            target = target.dropLast(3) + (await house.send(.get, deed.pages[0] + "?write=true").json["_rev"]?.string ?? "")
        }
        let answer = await house.send(deed.delete.method, target)
        try #require((200..<300).contains(answer.status), "\(target): \(answer.text)")
    }

    @Test("what a build cache loses is gone") func cache() async throws {
        var options = House.Options()
        options.trashDays = 7
        let house = try await House(options)
        await house.repository("ci", format: "http-cache", isPublic: true)
        #expect(await house.send(.put, "/cache/ci/k", body: Array("entry".utf8)).status == 201)
        #expect(await house.send(.delete, "/cache/ci/k").status == 204)
        #expect(await house.send(.get, "/api/v1/repositories/ci/trash").json["items"] == [])
        #expect(await house.send(.get, "/api/v1/repositories/ci").json["trash_days"] == 0)
    }
}
