import Core
import FrontendKit
import HTTPTypes
import TestSupport
import Testing

@testable import PyPI

@Suite("simple API") struct SimpleTests {
    let bench = Bench()
    let frontend = PyPIFrontend()
    static let context = RenderContext(
        baseURL: "https://granary.test", repository: RepositoryKey("far") ?? { preconditionFailure("a key") }())

    private func project(_ name: String = "demo") throws -> View {
        View(name: "simple-project", scope: .package(try #require(PackageName(name))), variant: "json")
    }

    private func render(_ facts: Facts, as variant: String, of view: View) throws -> Page {
        var view = view
        view.variant = variant
        var page = Page()
        try frontend.render(view, from: facts, in: Self.context, into: &page)
        return page
    }

    private func learn(_ text: String, _ contentType: String, at url: String = "https://up.test/simple/demo/", of view: View? = nil) throws -> Facts {
        var facts = Facts()
        try frontend.learn(view ?? project(), from: Document(bytes: Array(text.utf8), contentType: contentType, url: url), into: &facts)
        return facts
    }

    @Test("an uploaded wheel is listed in JSON, its attributes whole")
    func json() async {
        let wheel = Bench.wheel()
        #expect(await bench.upload("demo-1.0-py3-none-any.whl", wheel).transcript == "200\ncontent-type: text/plain; charset=utf-8\n\nOK\n")
        let sha = Digest.of(.sha256, wheel).hex
        let metadata = Digest.of(.sha256, Array(Bench.metadata("demo", "1.0").utf8)).hex
        #expect(
            await bench.get("/pypi/py/simple/Demo/", accept: Bench.json).transcript == """
                200
                content-type: application/vnd.pypi.simple.v1+json
                vary: Accept

                {"meta":{"api-version":"1.3"},"name":"demo","versions":["1.0"],"files":[{"filename":"demo-1.0-py3-none-any.whl",\
                "url":"/pypi/py/simple/demo/demo-1.0-py3-none-any.whl","hashes":{"sha256":"\(sha)"},"requires-python":">=3.8",\
                "core-metadata":{"sha256":"\(metadata)"},"dist-info-metadata":{"sha256":"\(metadata)"},"size":\(wheel.count),\
                "upload-time":"2027-01-15T08:00:01.000Z","yanked":false,"provenance":null}]}
                """)
    }

    @Test("... and in HTML")
    func html() async {
        let wheel = Bench.wheel()
        _ = await bench.upload("demo-1.0-py3-none-any.whl", wheel)
        _ = await bench.harness.send(.put, "/pypi/py/demo/1.0/yank", body: Array("\"eats\" <files>".utf8))
        let sha = Digest.of(.sha256, wheel).hex
        let metadata = "sha256=" + Digest.of(.sha256, Array(Bench.metadata("demo", "1.0").utf8)).hex
        #expect(
            await bench.get("/pypi/py/simple/demo").transcript == """
                200
                content-type: text/html; charset=utf-8
                vary: Accept

                <!DOCTYPE html>
                <html>
                <head>
                <meta name="pypi:repository-version" content="1.3">
                <title>Links for demo</title>
                </head>
                <body>
                <h1>Links for demo</h1>
                <a href="/pypi/py/simple/demo/demo-1.0-py3-none-any.whl#sha256=\(sha)" data-requires-python="&gt;=3.8" \
                data-dist-info-metadata="\(metadata)" data-core-metadata="\(metadata)" data-yanked="&quot;eats&quot; &lt;files&gt;">\
                demo-1.0-py3-none-any.whl</a><br>
                </body>
                </html>

                """)
        #expect(
            await bench.get("/pypi/py/simple/", accept: Bench.json).text == #"{"meta":{"api-version":"1.3"},"projects":[{"name":"demo"}]}"#)
    }

    @Test("versions come in their own order, files of one version by name")
    func order() async {
        for version in ["1.10", "1.9", "1.9rc1", "1.9+local.2"] {
            _ = await bench.upload("demo-\(version)-py3-none-any.whl", Bench.wheel("demo", version), version: version)
        }
        _ = await bench.upload("demo-1.9.tar.gz", Bench.sdist("demo", "1.9"), version: "1.9")
        let page = await bench.get("/pypi/py/simple/demo/", accept: Bench.json).text
        #expect(page.contains(#""versions":["1.9rc1","1.9","1.9+local.2","1.10"]"#))
        #expect(page.contains(#""url":"/pypi/py/simple/demo/demo-1.9%2Blocal.2-py3-none-any.whl""#))
        let file = await bench.get("/pypi/py/simple/demo/demo-1.9%2Blocal.2-py3-none-any.whl")
        #expect(file.status == 200 && file.body == Bench.wheel("demo", "1.9+local.2"))
        #expect(await bench.get("/pypi/py/simple/none/", accept: Bench.json).transcript.hasPrefix("404\n"))
    }

    @Test(
        "the representation is the one the client prefers (PEP 691)",
        arguments: [
            (nil, "legacy"), ("", "legacy"), ("*/*", "legacy"), ("text/html", "legacy"), ("text/*", "legacy"), ("image/png", "legacy"),
            ("application/vnd.pypi.simple.v1+json", "json"), ("application/vnd.pypi.simple.v1+html", "html"),
            ("application/vnd.pypi.simple.latest+json", "json"), ("application/vnd.pypi.simple.latest+html", "html"),
            ("application/vnd.pypi.simple.v2+json", "legacy"), ("application/json", "legacy"),
            ("application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01", "json"),
            ("application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01", "json"),
            ("text/html;q=0.1, application/vnd.pypi.simple.v1+json;q=0.9", "json"),
            ("application/vnd.pypi.simple.v1+json;q=0.2, application/vnd.pypi.simple.v1+html;q=0.8", "html"),
            ("application/vnd.pypi.simple.v1+json;q=0, */*", "legacy"), ("APPLICATION/VND.PYPI.SIMPLE.V1+JSON", "json"),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "legacy"), ("application/*", "json"), (";;;,=", "legacy"),
        ] as [(String?, String)])
    func negotiation(_ accept: String?, _ wanted: String) throws {
        let head = try RequestHead(
            method: .get, target: "/pypi/py/simple/", fields: accept.map { [.accept: $0] } ?? [:], requestID: "", peer: "", isSecure: false)
        #expect(Representation.best(for: head).rawValue == wanted)
    }

    /// Rows as upstreams write them: with every key, with few, of other orders.
    static let upstream = #"""
        {"meta":{"api-version":"1.1"},"name":"demo","versions":["1.0","2.0"],"files":[
        {"filename":"demo-1.0-py3-none-any.whl","url":"../../files/demo-1.0-py3-none-any.whl","hashes":{"sha256":"\#(String(repeating: "ab", count: 32))",
        "md5":"\#(String(repeating: "cd", count: 16))","blake2b":"00"},"requires-python":">=3.8","size":10,"core-metadata":true,
        "upload-time":"2024-01-02T03:04:05.678Z","yanked":"broken"},
        {"filename":"demo-2.0.tar.gz","url":"https://files.test/demo-2.0.tar.gz#x","hashes":{},"size":20,"yanked":true,
        "data-dist-info-metadata":{"sha256":"\#(String(repeating: "ef", count: 32))"}},
        {"filename":"demo-2.1.tar.gz","url":"/f/demo-2.1.tar.gz","hashes":{},"size":0,"yanked":false}]}
        """#

    @Test("what was learned from a page, rendered and learned again, is the same but for the URLs")
    func learnRenderLearn() throws {
        let view = try project()
        let first = try learn(Self.upstream, "application/vnd.pypi.simple.v1+json; charset=utf-8")
        #expect(
            first.listed.map(\.url) == [
                "https://up.test/files/demo-1.0-py3-none-any.whl", "https://files.test/demo-2.0.tar.gz", "https://up.test/f/demo-2.1.tar.gz",
            ])
        let page = try render(first, as: "json", of: view)
        var again = try learn(String(decoding: page.bytes, as: UTF8.self), page.contentType)
        for at in again.listed.indices { again.listed[at].url = first.listed[at].url }
        #expect(again == first)
    }

    @Test("a page rendered, learned and rendered again is the same byte for byte", arguments: ["json", "html", "legacy"])
    func renderLearnRender(_ variant: String) throws {
        let view = try project()
        let page = try render(try learn(Self.upstream, "application/json"), as: variant, of: view)
        let again = try render(try learn(String(decoding: page.bytes, as: UTF8.self), page.contentType), as: variant, of: view)
        #expect(String(decoding: again.bytes, as: UTF8.self) == String(decoding: page.bytes, as: UTF8.self))
    }

    @Test("the list of projects survives the same, each name once", arguments: ["json", "html", "legacy"])
    func index(_ variant: String) throws {
        let view = View(name: "simple-index", scope: .packages)
        let text = #"{"meta":{"api-version":"1.0"},"projects":[{"name":"Foo.Bar"},{"name":"foo_bar"},{"name":"-"},{"name":"a/b"},{"name":"zed"}]}"#
        let facts = try learn(text, "application/vnd.pypi.simple.v1+json", of: view)
        #expect(facts.packages.map(\.name.text) == ["foo-bar", "zed"])
        let page = try render(facts, as: variant, of: view)
        #expect(try learn(String(decoding: page.bytes, as: UTF8.self), page.contentType, of: view) == facts)
    }

    @Test("an HTML page is read as pip reads it: names from links, base, entities, digests in fragments")
    func foreignHTML() throws {
        let facts = try learn(
            """
            <html><head><base href="https://files.test/d/"></head><body>
            <a href="demo-1.0%2Bx.tar.gz#sha256=\(String(repeating: "AB", count: 32))" data-yanked data-requires-python="&gt;=3">demo-1.0+..&gt;</a>
            <A HREF='demo-2.0-py3-none-any.whl' DATA-CORE-METADATA='true'>Demo</A> <a href="../">Parent</a> <a name="x">none</a>
            """, "text/html")
        let package = try #require(PackageName("demo"))
        #expect(
            facts.listed == [
                ListedFile(
                    path: try #require(AssetPath("demo/demo-1.0+x.tar.gz")), url: "https://files.test/d/demo-1.0%2Bx.tar.gz",
                    digests: [try #require(Digest(.sha256, hex: String(repeating: "ab", count: 32)))], size: nil, package: package,
                    version: VersionName("1.0+x"), attributes: ["requires-python": ">=3", "yanked": ""]),
                ListedFile(
                    path: try #require(AssetPath("demo/demo-2.0-py3-none-any.whl")), url: "https://files.test/d/demo-2.0-py3-none-any.whl",
                    digests: [], size: nil, package: package, version: VersionName("2.0"), attributes: ["core-metadata": "true"]),
            ])
    }

    @Test(
        "a link that is no file of ours to serve is passed over",
        arguments: [
            #"<a href="javascript:alert(1)">demo-1.0.tar.gz</a>"#, #"<a href="file:///etc/demo-1.0.tar.gz">demo-1.0.tar.gz</a>"#,
            #"<a href="..%2f..%2fdemo-1.0.tar.gz">x</a>"#, #"<a href="demo-1.0.tar.gz.metadata">x</a>"#, #"<a href="demo-1.0.whl.provenance">x</a>"#,
            #"<a href="a%22;x=demo-1.0.tar.gz">x</a>"#, #"<a href="%0d%0ademo-1.0.tar.gz">x</a>"#, #"<a href="/">x</a>"#,
            #"<a href="//:99999/x">x</a>"#,
            #"<a href="dém.tar.gz">x</a>"#,
        ])
    func hostile(_ anchor: String) throws { #expect(try learn(anchor, "text/html").listed == []) }

    @Test("the same in JSON", arguments: ["a/b.whl", "../b.whl", "..", "", "b\\u0000.whl", "b\\\"c.whl", "x.metadata"])
    func hostileJSON(_ name: String) throws {
        #expect(try learn(#"{"files":[{"filename":"\#(name)","url":"https://up.test/x","hashes":{}}]}"#, "application/json").listed == [])
    }

    @Test("what is no index is refused, so that what was known stays", arguments: ["[]", "{}", #"{"files":{}}"#, "<html>", "\u{FEFF}{}"])
    func notAnIndex(_ text: String) throws {
        let error = #expect(throws: RegistryError.self) { try learn(text, "application/json") }
        #expect(error?.code == .invalid)
    }

    @Test("a page of ten thousand links is read and rendered")
    func many() throws {
        let links = (0..<10_000).map { "<a href=\"demo-1.\($0).tar.gz\">x</a>" }.joined(separator: "\n")
        let facts = try learn(links, "text/html")
        #expect(facts.listed.count == 10_000)
        let page = try render(facts, as: "json", of: try project())
        #expect(try learn(String(decoding: page.bytes, as: UTF8.self), page.contentType).listed.last?.version?.text == "1.9999")
    }

    @Test("an upstream is asked for what its index announced")
    func upstreamRequests() throws {
        let facts = try learn(Self.upstream, "application/json")
        let ask = { (path: String) in frontend.upstream(for: .file(try #require(AssetPath(path))), given: facts) }
        let wheel = try #require(try ask("demo/demo-1.0-py3-none-any.whl"))
        #expect(wheel.url == "https://up.test/files/demo-1.0-py3-none-any.whl" && wheel.expected.count == 2 && wheel.expectedSize == 10)
        #expect(try ask("demo/demo-1.0-py3-none-any.whl.metadata")?.url == "https://up.test/files/demo-1.0-py3-none-any.whl.metadata")
        #expect(try ask("demo/demo-2.0.tar.gz.metadata")?.expected.map(\.hex) == [String(repeating: "ef", count: 32)])
        #expect(try ask("demo/demo-2.1.tar.gz.metadata") == nil)
        #expect(try ask("demo/demo-3.0.tar.gz") == nil)
        #expect(frontend.upstream(for: .view(try project()), given: Facts())?.url == "simple/demo/")
    }
}
