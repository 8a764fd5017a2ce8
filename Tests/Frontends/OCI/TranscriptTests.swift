import Core
import FrontendKit
import HTTPTypes
import NIOCore
import OCI
import TestSupport
import Testing

@Suite("OCI transcripts") struct TranscriptTests {
    let bench = Bench()

    @Test("the version check greets who logged in and challenges who did not")
    func base() async {
        let greeting = """
            200
            content-type: application/json
            docker-distribution-api-version: registry/2.0

            {}
            """
        #expect(await bench.get("") == greeting)
        let challenge = """
            401
            content-type: application/json
            docker-distribution-api-version: registry/2.0
            www-authenticate: Bearer realm="https://granary.test/v2/token",service="granary"

            {"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}
            """
        #expect(await bench.get("", as: .anonymous) == challenge)
        let withToken = await bench.harness.send(.get, "/v2/", [.authorization: "Bearer anonymous"], as: .anonymous)
        #expect(withToken.transcript == greeting)
    }

    @Test("an image goes up and comes down as it was, by tag and by digest")
    func pushAndPull() async {
        let manifest = Bench.manifest()
        let blob = Bench.sha256(Bench.layer)
        let digest = Bench.sha256(manifest)
        #expect(
            await bench.push(Bench.layer, to: "lib/app").transcript == """
                201
                docker-content-digest: \(blob)
                location: /v2/lib/app/blobs/\(blob)
                """)
        await bench.push(Bench.config, to: "lib/app")
        #expect(
            await bench.put(manifest, to: "lib/app", as: "v1").transcript == """
                201
                docker-content-digest: \(digest)
                location: /v2/lib/app/manifests/\(digest)
                """)
        let served = """
            200
            content-type: application/vnd.oci.image.manifest.v1+json
            docker-content-digest: \(digest)

            \(String(decoding: manifest, as: UTF8.self))
            """
        #expect(await bench.get("lib/app/manifests/v1") == served)
        #expect(await bench.get("lib/app/manifests/\(digest)") == served)
        #expect(
            await bench.get("lib/app/blobs/\(blob)") == """
                200
                content-type: application/octet-stream
                docker-content-digest: \(blob)

                layer one
                """)
        #expect(
            await bench.get("lib/app/tags/list") == """
                200
                content-type: application/json

                {"name":"lib/app","tags":["v1"]}
                """)
    }

    @Test("a blob in chunks: the session says where it ends, refuses what does not continue it, and closes with the last chunk")
    func chunks() async {
        let started = await bench.harness.send(.post, "/v2/lib/app/blobs/uploads/")
        let location = started.field("location") ?? ""
        let id = location.split(separator: "/").last.map(String.init) ?? ""
        func progress(_ status: Int, _ range: String) -> String {
            "\(status)\ndocker-upload-uuid: \(id)\nlocation: /v2/lib/app/blobs/uploads/\(id)\nrange: \(range)"
        }
        #expect(started.transcript == progress(202, "0-0"))
        func chunk(_ text: String, _ range: String?) async -> FrontendHarness.Answer {
            await bench.harness.send(.patch, location, range.map { [.contentRange: $0] } ?? [:], body: Array(text.utf8))
        }
        #expect(await chunk("layer", "0-4").transcript == progress(202, "0-4"))
        #expect(await chunk("x", "3-3").status == 416)
        #expect(await chunk("x", "7-7").field("range") == "0-4")
        #expect(await chunk("x", "nonsense").outcome == "416 BLOB_UPLOAD_INVALID")
        #expect(await chunk("xy", "5-5").outcome == "400 SIZE_INVALID")
        #expect(await bench.get(String(location.dropFirst(4))) == progress(204, "0-4"))
        #expect(await chunk(" o", nil).transcript == progress(202, "0-6"))
        let digest = Bench.sha256(Bench.layer)
        let misplaced = await bench.harness.send(.put, "\(location)?digest=\(digest)", [.contentRange: "9-10"], body: Array("ne".utf8))
        #expect(misplaced.outcome == "416 BLOB_UPLOAD_INVALID")
        let closed = await bench.harness.send(.put, "\(location)?digest=\(digest)", [.contentRange: "7-8"], body: Array("ne".utf8))
        #expect(closed.transcript == "201\ndocker-content-digest: \(digest)\nlocation: /v2/lib/app/blobs/\(digest)")
        #expect(await bench.harness.send(.get, "/v2/lib/app/blobs/\(digest)").body == Bench.layer)
        #expect(await chunk("late", nil).outcome == "404 BLOB_UPLOAD_UNKNOWN")
    }

    @Test("a session belongs to its image and its caller, and a cancelled one is gone")
    func sessions() async {
        let location = await bench.harness.send(.post, "/v2/lib/app/blobs/uploads/").field("location") ?? ""
        let other = location.replacing("/app/", with: "/else/")
        #expect(await bench.harness.send(.get, other).outcome == "404 BLOB_UPLOAD_UNKNOWN")
        let carol = MemoryCaller("carol") { _, _ in true }
        #expect(await bench.harness.send(.patch, location, body: [1], as: carol).outcome == "404 BLOB_UPLOAD_UNKNOWN")
        #expect(await bench.harness.send(.get, "/v2/lib/app/blobs/uploads/no-id").outcome == "404 BLOB_UPLOAD_UNKNOWN")
        #expect(await bench.harness.send(.delete, location).transcript == "204")
        #expect(await bench.harness.send(.delete, location).outcome == "404 BLOB_UPLOAD_UNKNOWN")
    }

    @Test("bytes with another digest than promised are refused and not stored, however they come")
    func mismatch() async {
        let promised = Bench.sha256(Bench.config)
        let once = await bench.harness.send(.post, "/v2/lib/app/blobs/uploads/?digest=\(promised)", body: Bench.layer)
        #expect(once.outcome == "400 DIGEST_INVALID")
        let location = await bench.harness.send(.post, "/v2/lib/app/blobs/uploads/").field("location") ?? ""
        #expect(await bench.harness.send(.put, "\(location)?digest=\(promised)", body: Bench.layer).outcome == "400 DIGEST_INVALID")
        #expect(await bench.harness.send(.get, location).outcome == "404 BLOB_UPLOAD_UNKNOWN")
        let open = await bench.harness.send(.post, "/v2/lib/app/blobs/uploads/").field("location") ?? ""
        #expect(await bench.harness.send(.put, open, body: Bench.layer).outcome == "400 DIGEST_INVALID")
        #expect(bench.harness.registry.repository("lib")?.paths == [])
    }

    @Test("SHA-512 names blobs and manifests as SHA-256 does")
    func sha512() async {
        let digest = Bench.sha512(Bench.layer)
        let pushed = await bench.harness.send(.post, "/v2/lib/app/blobs/uploads/?digest=\(digest)", body: Bench.layer)
        #expect(pushed.field("docker-content-digest") == digest)
        #expect(await bench.harness.send(.get, "/v2/lib/app/blobs/\(digest)").body == Bench.layer)
        await bench.image("lib/app", tag: "v1")
        let manifest = Bench.manifest(#","annotations":{"by":"512"}"#)
        #expect(await bench.put(manifest, to: "lib/app", as: Bench.sha512(manifest)).status == 201)
        #expect(await bench.harness.send(.get, "/v2/lib/app/manifests/\(Bench.sha512(manifest))").body == manifest)
        #expect(await bench.put(manifest, to: "lib/app", as: Bench.sha512(Bench.layer)).outcome == "400 DIGEST_INVALID")
    }

    @Test("a blob is mounted from where the caller may read, else the client uploads")
    func mount() async {
        await bench.push(Bench.layer, to: "other/base")
        let digest = Bench.sha256(Bench.layer)
        func mount(_ query: String, as who: MemoryCaller = .publisher) async -> Int {
            await bench.harness.send(.post, "/v2/lib/app/blobs/uploads/?\(query)", as: who).status
        }
        let narrow = MemoryCaller("dave") { _, key in key.text == "lib" }
        #expect(await mount("mount=\(digest)&from=other/base", as: narrow) == 202)
        #expect(await mount("mount=\(digest)&from=other/none") == 202)
        #expect(await mount("mount=\(digest)") == 202)
        #expect(await mount("mount=nonsense&from=other/base") == 202)
        #expect(await mount("mount=\(digest)&from=../x") == 202)
        #expect(bench.harness.registry.repository("lib")?.paths == [])
        let mounted = await bench.harness.send(.post, "/v2/lib/app/blobs/uploads/?mount=\(digest)&from=other/base")
        #expect(mounted.transcript == "201\ndocker-content-digest: \(digest)\nlocation: /v2/lib/app/blobs/\(digest)")
        #expect(await bench.harness.send(.get, "/v2/lib/app/blobs/\(digest)").body == Bench.layer)
    }

    @Test("deleting a tag leaves the manifest, deleting the manifest takes its tags and links, blobs go by themselves")
    func deletes() async {
        let manifest = Bench.manifest()
        let digest = Bench.sha256(manifest)
        await bench.image("lib/app", tag: "v1")
        await bench.image("lib/app", tag: "v2")
        #expect(await bench.harness.send(.delete, "/v2/lib/app/manifests/v1").transcript == "202")
        #expect(await bench.harness.send(.delete, "/v2/lib/app/manifests/v1").outcome == "404 MANIFEST_UNKNOWN")
        #expect(await bench.harness.send(.get, "/v2/lib/app/manifests/v2").status == 200)
        #expect(await bench.harness.send(.delete, "/v2/lib/app/manifests/\(digest)").transcript == "202")
        #expect(await bench.harness.send(.get, "/v2/lib/app/manifests/v2").outcome == "404 MANIFEST_UNKNOWN")
        #expect(await bench.harness.send(.delete, "/v2/lib/app/manifests/\(digest)").outcome == "404 MANIFEST_UNKNOWN")
        let blob = "/v2/lib/app/blobs/\(Bench.sha256(Bench.layer))"
        #expect(await bench.harness.send(.delete, blob).transcript == "202")
        #expect(await bench.harness.send(.delete, blob).outcome == "404 BLOB_UNKNOWN")
        #expect(await bench.image("lib/app", tag: "v3").status == 201, "what was deleted may come again")
    }

    @Test("a push by digest sets the tags it asks for")
    func tagsByQuery() async {
        await bench.image("lib/app", tag: "v1")
        let manifest = Bench.manifest()
        let digest = Bench.sha256(manifest)
        let answer = await bench.put(manifest, to: "lib/app", as: "\(digest)?tag=v2&tag=latest")
        #expect(answer.fields[values: HTTPField.Name("OCI-Tag") ?? .location] == ["v2", "latest"])
        #expect(await bench.harness.send(.get, "/v2/lib/app/tags/list").text == #"{"name":"lib/app","tags":["latest","v1","v2"]}"#)
        #expect(await bench.put(manifest, to: "lib/app", as: "\(digest)?tag=.bad").outcome == "400 MANIFEST_INVALID")
    }

    @Test("a name of one segment is the image called like its repository")
    func oneSegment() async {
        await bench.image("lib", tag: "v1")
        #expect(await bench.harness.send(.get, "/v2/lib/manifests/v1").body == Bench.manifest())
        #expect(await bench.harness.send(.get, "/v2/lib/lib/manifests/v1").body == Bench.manifest())
        #expect(await bench.harness.send(.get, "/v2/lib/tags/list").text == #"{"name":"lib","tags":["v1"]}"#)
        #expect(await bench.image("lib", tag: "v2").field("location")?.hasPrefix("/v2/lib/manifests/sha256:") == true)
    }

    @Test("a body longer than a manifest may be is refused, announced or not")
    func tooLong() async {
        let announced = await bench.put([UInt8](repeating: 0x20, count: (4 << 20) + 1), to: "lib/app", as: "v1")
        #expect(announced.outcome == "413 SIZE_INVALID")
        let target = "/v2/lib/app/manifests/v1"
        let endless = await bench.harness.send(.put, target, streaming: Body(length: nil, source: Endless()))
        #expect(endless.outcome == "413 SIZE_INVALID")
    }
}

/// A body that never ends by itself.
private struct Endless: BodySource {
    func next() async throws(RegistryError) -> ByteBuffer? { ByteBuffer(repeating: 0x20, count: 1 << 16) }
}
