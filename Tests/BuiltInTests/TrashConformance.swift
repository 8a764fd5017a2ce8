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
    typealias Call = Publication.Call

    let format: String
    /// What is published beyond the two releases.
    var further: [Call] = []
    let delete: Call
    /// What is gone after the deletion.
    let doomed: [String]
    /// What is still there, and says something else meanwhile where it lists things.
    let pages: [String]
    /// Blobs of the deletion are in the trash; a tag has none.
    var hasBlobs = true
    var name = ""

    var testDescription: String { name.isEmpty ? format : "\(format), \(name)" }

    static func rest(_ path: String) -> Call { Call(.delete, "/api/v1/repositories/r/artifacts/\(path)") }

    static let all: [Deed] = [generic, maven, npm, npmTag, debian, manifest, tag, pypi]

    private static let generic = Deed(
        format: "generic", delete: Call(.delete, "/general/r/app/1/f"), doomed: ["/general/r/app/1/f"], pages: [])

    private static let maven = Deed(
        format: "maven", delete: rest("org/x/a/1.0/a-1.0.jar"), doomed: ["/maven/r/org/x/a/1.0/a-1.0.jar"],
        pages: ["/maven/r/org/x/a/maven-metadata.xml"])

    // REV stands for the revision the client saw.
    private static let npm = Deed(
        format: "npm", delete: Call(.delete, "/npm/r/tool/-/tool-1.0.0.tgz/-rev/REV"), doomed: ["/npm/r/tool/-/tool-1.0.0.tgz"],
        pages: ["/npm/r/tool"])

    private static let npmTag = Deed(
        format: "npm",
        further: [Call(.put, "/npm/r/-/package/tool/dist-tags/beta", type: "application/json", body: Array(#""1.0.0""#.utf8))],
        delete: Call(.delete, "/npm/r/-/package/tool/dist-tags/beta"), doomed: [], pages: ["/npm/r/-/package/tool/dist-tags"],
        hasBlobs: false, name: "tag")

    private static let debian = Deed(
        format: "debian", delete: rest("pool/main/d/demo/demo_1.0_amd64.deb"), doomed: ["/debian/r/pool/main/d/demo/demo_1.0_amd64.deb"],
        pages: ["/debian/r/dists/stable/main/binary-amd64/Packages"])

    private static let one = "/v2/r/app/manifests/\(Digest.of(.sha256, Publication.image("one")))"

    private static let manifest = Deed(
        format: "oci", delete: Call(.delete, one), doomed: [one, "/v2/r/app/manifests/one"], pages: ["/v2/r/app/tags/list"])

    private static let tag = Deed(
        format: "oci", delete: Call(.delete, "/v2/r/app/manifests/one"), doomed: ["/v2/r/app/manifests/one"],
        pages: ["/v2/r/app/tags/list", one], hasBlobs: false, name: "tag")

    private static let pypi = Deed(
        format: "pypi", delete: rest("demo/demo-1.0-py3-none-any.whl"), doomed: ["/pypi/r/simple/demo/demo-1.0-py3-none-any.whl"],
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
        for call in Publication.of(deed.format, in: "r") + deed.further {
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
