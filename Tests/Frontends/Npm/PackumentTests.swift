import Core
import FrontendKit
import HTTPTypes
import Parsing
import TestSupport
import Testing

@testable import Npm

@Suite("packuments") struct PackumentTests {
    let frontend = NpmFrontend()
    static let context = RenderContext(
        baseURL: "https://granary.test", repository: RepositoryKey("far") ?? { preconditionFailure("a key") }())

    private func name(_ text: String) throws -> PackageName { try #require(PackageName(text)) }

    private func learn(_ text: String, of package: String = "demo", at url: String = "https://up.test/demo") throws -> Facts {
        var facts = Facts()
        let document = Document(bytes: Array(text.utf8), contentType: "application/json", url: url)
        try frontend.learn(View(try name(package)), from: document, into: &facts)
        return facts
    }

    private func render(_ facts: Facts, _ variant: Variant = .full, of package: String = "demo") throws -> Page {
        var page = Page()
        try frontend.render(View(try name(package), variant), from: facts, in: Self.context, into: &page)
        return page
    }

    private func text(_ page: Page) -> String { String(decoding: page.bytes, as: UTF8.self) }

    /// As the public registry writes it, with what it adds; and with rows that are none.
    static let upstream = #"""
        {"_id":"demo","_rev":"12-abc","name":"demo","description":"Top words","dist-tags":{"next":"2.0.0-rc.1","latest":"1.1.0","ghost":"9.9.9"},
        "versions":{
          "1.0.0":{"name":"demo","version":"1.0.0","_id":"demo@1.0.0","deprecated":"use 1.1","readme":"long","scripts":{"postinstall":"x"},
            "dist":{"shasum":"\#(String(repeating: "ab", count: 20))","tarball":"https://files.test/demo/-/demo-1.0.0.tgz"}},
          "1.1.0":{"name":"demo","version":"1.1.0","description":"Words","keywords":["one","two"],"homepage":"https://demo.test",
            "repository":{"type":"git","url":"git+https://demo.test"},"author":{"name":"Ann"},"license":"MIT","maintainers":[{"name":"ann","email":"a@b.test"}],
            "readmeFilename":"README.md","dependencies":{"left":"^1.0.0"},"dist":{"integrity":"sha512-\#(Base64.encode([UInt8](repeating: 7, count: 64)))",
            "shasum":"\#(String(repeating: "cd", count: 20))","tarball":"http://up.test/demo/-/demo-1.1.0.tgz","fileCount":3,"unpackedSize":400,
            "signatures":[{"keyid":"SHA256:x","sig":"y"}],
            "attestations":{"url":"https://up.test/-/npm/v1/attestations/demo@1.1.0","provenance":{"predicateType":"https://slsa.dev/provenance/v1"}}},
            "_npmUser":{"name":"ann"},"_hasShrinkwrap":false},
          "2.0.0-rc.1":{"name":"demo","version":"2.0.0-rc.1","dist":{"tarball":"/elsewhere/x?y=1"}},
          "3.0.0":{"name":"other","version":"3.0.0","dist":{"tarball":"https://files.test/x.tgz"}},
          "3.0.1":{"name":"demo","version":"3.0.1"}, "3.0.2":{"name":"demo","version":"3.0.2","dist":{"tarball":"file:///etc/passwd"}}, "3.0.3":7},
        "time":{"created":"2020-01-01T00:00:00.000Z","modified":"2022-01-01T00:00:00.500Z","1.1.0":"2021-01-01T00:00:00.000Z",
          "1.0.0":"2020-01-01T00:00:00.000Z","2.0.0-rc.1":"2020-06-01T00:00:00.000Z"},
        "readme":"# Demo","users":{"bob":true},"maintainers":[{"name":"ann","email":"a@b.test"}]}
        """#

    @Test("an upstream's packument becomes facts: releases with what they promise of their files, and nothing of what is no release")
    func learned() throws {
        let facts = try learn(Self.upstream)
        #expect(facts.versions.map(\.name.text) == ["1.0.0", "2.0.0-rc.1", "1.1.0"])
        #expect(facts.versions.map(\.state) == [.deprecated(reason: "use 1.1"), .active, .active])
        #expect(facts.tags.map { "\($0.name)=\($0.version)" } == ["latest=1.1.0", "next=2.0.0-rc.1"])
        #expect(facts.packages.map(\.attributes) == [["description": "Words", "keywords": "one two"]])
        #expect(
            facts.listed.map { "\($0.path) \($0.url) \($0.digests.map(\.algorithm.rawValue))" } == [
                #"demo/-/demo-1.0.0.tgz https://files.test/demo/-/demo-1.0.0.tgz ["sha1"]"#,
                #"demo/-/demo-1.1.0.attestations https://up.test/-/npm/v1/attestations/demo@1.1.0 []"#,
                #"demo/-/demo-1.1.0.tgz http://up.test/demo/-/demo-1.1.0.tgz ["sha512", "sha1"]"#,
                #"demo/-/demo-2.0.0-rc.1.tgz https://up.test/elsewhere/x?y=1 []"#,
            ])
        let request = try #require(frontend.upstream(for: .file(facts.listed[2].path), given: facts))
        #expect(request.url == "http://up.test/demo/-/demo-1.1.0.tgz" && request.expected == facts.listed[2].digests)
    }

    @Test("it is rendered with our addresses, the latest version's words at the top, provenance and signatures kept")
    func rendered() throws {
        let page = try JSON.parse(text(try render(learn(Self.upstream))))
        let at = "https://granary.test/npm/far/"
        #expect(
            page.object?.names == [
                "_id", "name", "description", "dist-tags", "versions", "time", "maintainers", "author", "homepage", "keywords", "repository",
                "license",
                "readmeFilename", "readme",
            ])
        #expect(page["description"] == "Words" && page["readme"] == "# Demo")
        #expect(page["versions"]?["1.1.0"]?["dist"]?["tarball"]?.string == at + "demo/-/demo-1.1.0.tgz")
        #expect(page["versions"]?["1.1.0"]?["dist"]?["signatures"] == [["keyid": "SHA256:x", "sig": "y"]])
        #expect(
            page["versions"]?["1.1.0"]?["dist"]?["attestations"] == [
                "provenance": ["predicateType": "https://slsa.dev/provenance/v1"], "url": .string(at + "-/npm/v1/attestations/demo@1.1.0"),
            ])
        #expect(page["versions"]?["1.0.0"]?["deprecated"] == "use 1.1" && page["versions"]?["1.0.0"]?["readme"] == nil)
        #expect(
            page["time"] == [
                "created": "2020-01-01T00:00:00.000Z", "modified": "2022-01-01T00:00:00.500Z", "1.0.0": "2020-01-01T00:00:00.000Z",
                "2.0.0-rc.1": "2020-06-01T00:00:00.000Z", "1.1.0": "2021-01-01T00:00:00.000Z",
            ])
        let short = try JSON.parse(text(try render(learn(Self.upstream), .abbreviated)))
        #expect(short["versions"]?["1.0.0"]?.object?.names == ["name", "version", "dist", "deprecated", "hasInstallScript"])
        #expect(short["versions"]?["1.1.0"]?.object?.names == ["name", "version", "dependencies", "dist", "_hasShrinkwrap"])
        #expect(short["modified"] == "2022-01-01T00:00:00.500Z")
    }

    /// Packuments of all sorts: with everything, with next to nothing, without times, without tags.
    static let packuments = [
        upstream, #"{"name":"demo","versions":{"1.0.0":{"name":"demo","version":"1.0.0","dist":{"tarball":"x.tgz"}}}}"#,
        #"{"name":"demo","versions":{"1.0.0":{"name":"demo","version":"1.0.0","dist":{"tarball":"x.tgz"},"deprecated":true},"#
            + #""old":{"name":"demo","version":"old","dist":{"tarball":"y.tgz"}}},"time":{"old":"yesterday","1.0.0":"2020-01-01T02:00:00+02:00"}}"#,
        #"{"name":"demo","dist-tags":{"x":"1.0.0"},"versions":{"1.0.0":{"dist":{"tarball":"x.tgz"},"version":"1.0.0","name":"demo","scripts":{}},"#
            + #""1.0.0-a":{"name":"demo","version":"1.0.0-a","dist":{"tarball":"z.tgz","attestations":{"url":"a b"}},"deprecated":""}},"#
            + #""time":{"modified":"2001-01-01T00:00:00.000Z","1.0.0":"2020-01-01T00:00:00.000Z"},"readme":"\#(String(repeating: "é", count: 9000))"}"#,
    ]

    @Test("a page rendered, learned and rendered again is the same byte for byte", arguments: packuments.indices)
    func renderLearnRender(_ at: Int) throws {
        let page = text(try render(learn(Self.packuments[at])))
        #expect(text(try render(learn(page))) == page)
    }

    @Test("what was learned, rendered and learned again is the same but for the addresses", arguments: packuments.indices)
    func learnRenderLearn(_ at: Int) throws {
        let first = try learn(Self.packuments[at])
        var again = try learn(text(try render(first)))
        for (index, file) in again.listed.enumerated() {
            #expect(file.url.hasPrefix("https://granary.test/npm/far/"))
            again.listed[index].url = first.listed[index].url
        }
        #expect(again == first)
    }

    @Test("what was published here and learned there is rendered the same")
    func acrossRegistries() async throws {
        let bench = Bench()
        await bench.publish("demo", "1.0.0", ["bin": ["demo": "index.js"], "license": "MIT"])
        await bench.publish("demo", "1.1.0-rc.1", tag: "next")
        for variant in ["demo", "demo/next"] { #expect(await bench.get(variant).status == 200) }
        let here = await bench.get("demo").text
        let there = text(try render(learn(here)))
        #expect(there == here.replacing("/npm/js/", with: "/npm/far/"))
    }

    @Test("what is no packument of the package is refused", arguments: ["[]", "{", #"{"name":"other","versions":{}}"#, #"{"name":"demo"}"#, ""])
    func noPackument(_ text: String) { #expect(throws: RegistryError.self) { try learn(text) } }

    @Test("a packument without a release is that of no package")
    func empty() throws {
        let facts = try learn(#"{"name":"demo","versions":{},"time":{"created":"2020-01-01T00:00:00.000Z"}}"#)
        #expect(throws: RegistryError.self) { try render(facts) }
    }

    @Test(
        "installers get the short form, everybody else the full one",
        arguments: [
            (nil, false), ("", false), ("*/*", false), ("application/json", false), ("application/vnd.npm.install-v1+json", true),
            ("application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*", true),
            ("application/vnd.npm.install-v1+json;q=0.5, application/json", false), ("application/vnd.npm.install-v1+json;q=0, */*;q=0.1", false),
            ("text/html", false), ("application/*;q=0.5, application/vnd.npm.install-v1+json", true), (";;,", false),
        ] as [(String?, Bool)])
    func negotiation(_ accept: String?, _ isShort: Bool) throws {
        let head = try RequestHead(
            method: .get, target: "/npm/js/demo", fields: accept.map { [.accept: $0] } ?? [:], requestID: "", peer: "", isSecure: false)
        #expect(Variant.asked(by: head) == (isShort ? .abbreviated : .full))
    }

    @Test("upstream is asked for a scoped package with its slash escaped")
    func upstreamNames() throws {
        #expect(frontend.upstream(for: .view(View(try name("@team/tool"))), given: Facts())?.url == "@team%2Ftool")
        #expect(frontend.upstream(for: .view(View(try name("demo"), .release("1.0.0"))), given: Facts())?.url == "demo")
        #expect(View(try name("demo"), .release("1.0.0")).identity == View(try name("demo"), .abbreviated).identity)
    }
}
