import Core
import FrontendKit
import HTTPTypes
import OCI
import TestSupport
import Testing

@Suite("OCI listings") struct ListingTests {
    let bench = Bench()

    @Test("tags come in ASCII order, page by page, and the last page has no link")
    func tagPages() async {
        for tag in ["v2", "V1", "_x", "v10", "latest"] { await bench.image("lib/app", tag: tag) }
        func page(_ query: String) async -> [String?] {
            let answer = await bench.harness.send(.get, "/v2/lib/app/tags/list\(query)")
            return [answer.text, answer.field("link")]
        }
        #expect(await page("") == [#"{"name":"lib/app","tags":["V1","_x","latest","v10","v2"]}"#, nil])
        #expect(await page("?n=2") == [#"{"name":"lib/app","tags":["V1","_x"]}"#, #"</v2/lib/app/tags/list?n=2&last=_x>; rel="next""#])
        #expect(
            await page("?n=2&last=_x") == [#"{"name":"lib/app","tags":["latest","v10"]}"#, #"</v2/lib/app/tags/list?n=2&last=v10>; rel="next""#])
        #expect(await page("?n=2&last=v10") == [#"{"name":"lib/app","tags":["v2"]}"#, nil])
        #expect(await page("?n=5") == [#"{"name":"lib/app","tags":["V1","_x","latest","v10","v2"]}"#, nil])
        #expect(await page("?n=0") == [#"{"name":"lib/app","tags":[]}"#, nil])
        #expect(await page("?last=zz") == [#"{"name":"lib/app","tags":[]}"#, nil])
        for bad in ["?n=-1", "?n=x", "?n=", "?n=99999999999999999999"] {
            #expect(await bench.harness.send(.get, "/v2/lib/app/tags/list\(bad)").outcome == "400 UNSUPPORTED", "\(bad)")
        }
    }

    @Test("an image nobody pushed has no tags, one without tags has an empty list")
    func unknownImage() async {
        #expect(await bench.harness.send(.get, "/v2/lib/none/tags/list").outcome == "404 NAME_UNKNOWN")
        await bench.image("lib/app", tag: "v1")
        _ = await bench.harness.send(.delete, "/v2/lib/app/manifests/v1")
        #expect(await bench.harness.send(.get, "/v2/lib/app/tags/list").text == #"{"name":"lib/app","tags":[]}"#)
    }

    @Test("the catalogue is in ASCII order of whole names, page by page, and shows only what the caller may read")
    func catalog() async {
        let harness = FrontendHarness(OCIFrontend(), repositories: ["a", "a-b", "a.b", "hidden"])
        for image in ["a/z", "a/b/c", "a-b/x", "a.b/x", "hidden/x"] {
            _ = await harness.send(.post, "/v2/\(image)/blobs/uploads/?digest=\(Bench.sha256(Bench.config))", body: Bench.config)
        }
        let who = MemoryCaller("erin") { _, key in key.text != "hidden" }
        func page(_ query: String) async -> [String?] {
            let answer = await harness.send(.get, "/v2/_catalog\(query)", as: who)
            return [answer.text, answer.field("link")]
        }
        #expect(await page("") == [#"{"repositories":["a-b/x","a.b/x","a/b/c","a/z"]}"#, nil])
        var walked: [String] = []
        var query = "?n=1"
        for _ in 0..<4 {
            let page = await page(query)
            walked.append(page[0] ?? "")
            query = page[1].flatMap { $0.split(separator: ">").first.map { String($0.dropFirst("</v2/_catalog".count)) } } ?? "end"
        }
        #expect(walked == ["a-b/x", "a.b/x", "a/b/c", "a/z"].map { #"{"repositories":["\#($0)"]}"# })
        #expect(query == "end")
        #expect(await page("?last=a.c") == [#"{"repositories":["a/b/c","a/z"]}"#, nil])
        let anonymous = await harness.send(.get, "/v2/_catalog", as: .anonymous)
        #expect(anonymous.outcome == "401 UNAUTHORIZED")
        #expect(
            anonymous.field("www-authenticate")
                == #"Bearer realm="https://granary.test/v2/token",service="granary",scope="registry:catalog:*""#)
    }

    @Test("referrers are listed by their descriptors, filtered by type, and nobody's list is empty rather than absent")
    func referrers() async {
        await bench.image("lib/app", tag: "v1")
        let subject = Bench.sha256(Bench.manifest())
        let link = #","subject":\#(Bench.descriptor(Bench.manifest(), Bench.ociManifest))"#
        let signature = Bench.manifest(#","artifactType":"application/sig","annotations":{"k":"v"}\#(link)"#)
        let plain = Bench.manifest(link)
        #expect(await bench.put(signature, to: "lib/app", as: Bench.sha256(signature)).field("oci-subject") == subject)
        #expect(await bench.put(plain, to: "lib/app", as: "plain").field("oci-subject") == subject)

        func entry(_ bytes: [UInt8], _ type: String, _ more: String = "") -> String {
            #"{"mediaType":"\#(Bench.ociManifest)","digest":"\#(Bench.sha256(bytes))","size":\#(bytes.count),"artifactType":"\#(type)"\#(more)}"#
        }
        func answer(_ manifests: [String], filtered: Bool = false) -> String {
            let fields = "200\ncontent-type: \(Bench.ociIndex)" + (filtered ? "\noci-filters-applied: artifactType" : "")
            return fields + "\n\n" + #"{"schemaVersion":2,"mediaType":"\#(Bench.ociIndex)","manifests":[\#(manifests.joined(separator: ","))]}"#
        }
        let sig = entry(signature, "application/sig", #","annotations":{"k":"v"}"#)
        let both = [(Bench.sha256(signature), sig), (Bench.sha256(plain), entry(plain, Bench.configType))].sorted { $0.0 < $1.0 }.map(\.1)
        #expect(await bench.get("lib/app/referrers/\(subject)") == answer(both))
        #expect(await bench.get("lib/app/referrers/\(subject)?artifactType=application/sig") == answer([sig], filtered: true))
        #expect(await bench.get("lib/app/referrers/\(Bench.sha256([1]))") == answer([]))
        #expect(await bench.harness.send(.get, "/v2/lib/app/referrers/nonsense").outcome == "400 DIGEST_INVALID")
        _ = await bench.harness.send(.delete, "/v2/lib/app/manifests/\(Bench.sha256(plain))")
        #expect(await bench.get("lib/app/referrers/\(subject)") == answer([sig]))
    }

    @Test("more referrers than an index may hold are paged by Link, each exactly once")
    func manyReferrers() async {
        await bench.image("lib/app", tag: "v1")
        let link = #","subject":\#(Bench.descriptor(Bench.manifest(), Bench.ociManifest))"#
        let filler = String(repeating: "x", count: 900_000)
        var pushed: Set<String> = []
        for number in 0..<9 {
            let manifest = Bench.manifest(#","artifactType":"application/sig","annotations":{"n":"\#(number)\#(filler)"}\#(link)"#)
            #expect(await bench.put(manifest, to: "lib/app", as: Bench.sha256(manifest)).status == 201)
            pushed.insert(Bench.sha256(manifest))
        }
        var listed: [String] = []
        var next: String? = "/v2/lib/app/referrers/\(Bench.sha256(Bench.manifest()))?artifactType=application/sig"
        var pages = 0
        while let target = next, pages < 10 {
            let answer = await bench.harness.send(.get, target)
            #expect(answer.body.count <= 4 << 20)
            listed += answer.text.split(separator: "\"").filter { $0.hasPrefix("sha256:") }.map(String.init)
            next = answer.field("link").map { String($0.dropFirst().prefix { $0 != ">" }) }
            pages += 1
        }
        #expect(pages == 3)
        #expect(listed == pushed.sorted())
    }
}
