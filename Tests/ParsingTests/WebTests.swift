import Core
import Parsing
import Testing

@Suite struct URLReferenceTests {
    @Test(
        "the examples of RFC 3986 section 5.4 resolve as printed",
        arguments: [
            ("g", "http://a/b/c/g"), ("./g", "http://a/b/c/g"), ("g/", "http://a/b/c/g/"), ("/g", "http://a/g"), ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"), ("g?y", "http://a/b/c/g?y"), ("#s", "http://a/b/c/d;p?q#s"), ("g#s", "http://a/b/c/g#s"),
            ("g?y#s", "http://a/b/c/g?y#s"), (";x", "http://a/b/c/;x"), ("g;x=1/../y", "http://a/b/c/y"), ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"), ("./", "http://a/b/c/"), ("..", "http://a/b/"), ("../g", "http://a/b/g"), ("../..", "http://a/"),
            ("../../../g", "http://a/g"), ("../../../../g", "http://a/g"), ("/./g", "http://a/g"), ("/../g", "http://a/g"), ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"), ("./../g", "http://a/b/g"), ("./g/.", "http://a/b/c/g/"), ("g/./h", "http://a/b/c/g/h"),
            ("g?y/./x", "http://a/b/c/g?y/./x"), ("g#s/../x", "http://a/b/c/g#s/../x"), ("https://h/../x", "https://h/x"),
        ])
    func resolution(_ reference: String, _ expected: String) throws {
        let base = try URLReference.parse("http://a/b/c/d;p?q")
        #expect(try base.resolving(URLReference.parse(reference)).description == expected)
    }

    @Test("an authority gives user, host and port")
    func authority() throws {
        let url = try URLReference.parse("HTTPS://user:p%40ss@Example.COM:8443/a%20b/c.whl?x=1#sha256=ab")
        #expect(url.scheme == "https" && url.host == "example.com" && url.port == 8443 && url.userInfo == "user:p%40ss")
        #expect(url.path == "/a%20b/c.whl" && url.fileName == "c.whl" && url.query == "x=1" && url.fragment == "sha256=ab")
        let six = try URLReference.parse("http://[2001:db8::1]/")
        #expect(six.host == "[2001:db8::1]" && six.port == 80)
        #expect(try URLReference.parse("http://[::1]:81").port == 81)
    }

    @Test(
        "other schemes, absent hosts and characters no URL holds are refused",
        arguments: [
            "ftp://a/", "javascript:alert(1)", "file:///etc/passwd", "http:g", "http:///x", "http://:80/", "//", "http://a:b/", "http://a:99999/",
            "http://[::1/", "http://[]/", "a b", "a\\b", "<", "http://a/%zz", "http://a/%4", "http://a/\n", "http://é/", "http://a[b/", "http://u@/",
        ])
    func refusals(_ text: String) {
        #expect(refusal { () throws(RegistryError) in try URLReference.parse(text) } != nil)
    }

    @Test("percent-encoding keeps what its place allows, and decodes back")
    func percent() {
        #expect(Percent.encode("a b/ü+%", in: .segment) == "a%20b%2F%C3%BC+%25")
        #expect(Percent.encode("a b/ü+%", in: .path) == "a%20b/%C3%BC+%25")
        #expect(Percent.encode("a b/ü+&=", in: .query) == "a%20b%2F%C3%BC%2B%26%3D")
        #expect(Percent.decode("a%20b%2F%C3%bc+%25") == "a b/ü+%")
        #expect(["%", "%4", "%4g", "%C3", "%ED%A0%80"].allSatisfy { Percent.decode($0) == nil })
    }

    @Test("form data decodes plus and percent, keeps order and repetition")
    func forms() throws {
        let form = try FormURL.parse("a=1&b=x+y%26&a=2&empty=&flag&&=v&c=d=e")
        #expect(
            form.pairs == [
                .init("a", "1"), .init("b", "x y&"), .init("a", "2"), .init("empty", ""), .init("flag", ""), .init("", "v"), .init("c", "d=e"),
            ])
        #expect(form["a"] == "1" && form.all("a") == ["1", "2"] && form["absent"] == nil)
        #expect(form.text == "a=1&b=x%20y%26&a=2&empty=&flag=&=v&c=d%3De")
        #expect(refusal { () throws(RegistryError) in try FormURL.parse("a=%zz") } != nil)
        #expect(refusal { () throws(RegistryError) in try FormURL.parse("a&b&c", budget: Budget(bytes: 10, items: 2)) } != nil)
    }
}

@Suite struct HeaderTests {
    @Test("RFC 4648's vectors encode and decode in both alphabets")
    func base64() {
        for (text, encoded) in [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
        ] {
            #expect(Base64.encode(Array(text.utf8)) == encoded)
            #expect(Base64.decode(encoded) == Array(text.utf8))
            #expect(Base64.encode(Array(text.utf8), .url) == encoded.filter { $0 != "=" })
            #expect(Base64.decode(encoded, .url) == Array(text.utf8))
        }
        #expect(Base64.encode([0xFB, 0xFF], .url) == "-_8" && Base64.decode("-_8", .url) == [0xFB, 0xFF] && Base64.encode([0xFB, 0xFF]) == "+/8=")
        for broken in ["Zg", "Zg=", "Zg===", "Zh==", "Z", "=", "Zm9v=", "Zm 9v", "-_8=", "Zg==Zg=="] {
            #expect(Base64.decode(broken) == nil, "\(broken)")
        }
    }

    @Test("credentials: Basic with a colon in the password, Bearer, other schemes, and a bare token")
    func credentials() throws {
        #expect(try Credentials("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==") == .basic(user: "Aladdin", password: "open sesame"))
        #expect(try Credentials("basic  dGVzdDoxMjPCow==") == .basic(user: "test", password: "123£"))
        #expect(try Credentials("Basic YTpiOmM") == .basic(user: "a", password: "b:c"))
        #expect(try Credentials("BEARER mF_9.B5f-4.1JqM") == .bearer("mF_9.B5f-4.1JqM"))
        #expect(try Credentials("Token abc:def") == .token(scheme: "token", "abc:def"))
        #expect(try Credentials("granary_abc123") == .bare("granary_abc123"))
        let printed = Credentials.basic(user: "Aladdin", password: "open sesame")
        var dumped = ""
        dump(["c": Optional(printed)], to: &dumped)
        for text in ["\(printed)", String(reflecting: printed), String(describing: [printed]), dumped] {
            #expect(!text.contains("Aladdin") && !text.contains("sesame"), "credentials print as nothing")
        }
        #expect(Credentials.basic(user: "Aladdin", password: "open sesame").headerValue == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        for value in ["", " ", "Basic", "Basic !", "Basic YQ==", "Bearer", "Bearer a b", "Basic YQo6Yg==", "Basic /w==", "a,b", "Bearer \u{7F}"] {
            #expect(refusal { () throws(RegistryError) in try Credentials(value) } != nil, "\(value)")
        }
    }

    @Test("challenges: a registry's token challenge, several in one field, parameters apart from schemes")
    func challenges() throws {
        #expect(
            try Challenge.parse(#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#)
                == [
                    Challenge(
                        scheme: "bearer",
                        parameters: ["realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:a/b:pull,push"])
                ])
        // RFC 9110 section 11.6.1.
        #expect(
            try Challenge.parse(#"Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"""#)
                == [
                    Challenge(scheme: "basic", parameters: ["realm": "simple"]),
                    Challenge(scheme: "newauth", parameters: ["realm": "apps", "type": "1", "title": "Login to \"apps\""]),
                ])
        #expect(try Challenge.parse("Negotiate, NTLM TlRMTVNTUAAC==, Basic realm = x").map(\.scheme) == ["negotiate", "ntlm", "basic"])
        for value in ["Basic realm=\"x", "Basic realm=x, realm=y", "=x", "Basic realm=\"x\" y"] {
            #expect(refusal { () throws(RegistryError) in try Challenge.parse(value) } != nil, "\(value)")
        }
    }

    private static let html: MediaType = "text/html"
    private static let v1: MediaType = "application/vnd.pypi.simple.v1+json"

    @Test(
        "the best offer follows weight, then specificity, then the server's order",
        arguments: [
            (nil, html), ("", html), ("*/*", html), ("application/vnd.pypi.simple.v1+json", v1), ("text/*", html), ("image/png", nil),
            ("application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01", v1), ("text/html;q=0, */*", v1),
            ("text/html;q=0.5, */*;q=0.6", v1), ("TEXT/HTML;Q=0.9, application/*;q=0.8", html), ("*/*;q=0", nil), ("text/html;q=2", html),
            ("text/html;q=0.0", nil), ("text/html;charset=utf-8", nil), ("a/b;x=\",\", text/html;q=0.001", html),
        ] as [(String?, MediaType?)])
    func negotiation(_ header: String?, _ expected: MediaType?) {
        #expect(Accept.best(of: [Self.html, Self.v1], header: header) == expected)
    }

    @Test("the weights of RFC 9110 section 12.5.1's example")
    func weights() {
        let accept = Accept("text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5")
        for (type, weight) in [
            ("text/plain;format=flowed", 1000), ("text/plain", 700), ("text/html", 300), ("image/jpeg", 500), ("text/plain;format=fixed", 400),
            ("text/html;level=3", 300),
        ] as [(MediaType, Int)] { #expect(accept.weight(of: type) == weight, "\(type)") }
    }

    @Test("media types parse and print")
    func mediaTypes() {
        #expect(MediaType(parsing: "Text/HTML; Charset=\"utf-8\"")?.description == "text/html;charset=utf-8")
        #expect(MediaType(parsing: "a/b;x=\"1 2\"")?.description == "a/b;x=\"1 2\"")
        for text in ["", "text", "text/", "/html", "text/html x", "text/html;a=b;a=c", "text/html;=b"] {
            #expect(MediaType(parsing: text) == nil, "\(text)")
        }
    }
}

@Suite struct HTMLTests {
    @Test("a simple page as PyPI writes it gives its anchors, version and nothing else")
    func simplePage() throws {
        let page = """
            <!DOCTYPE html>
            <html><head><meta name="pypi:repository-version" content="1.3">
            <base href="https://files.example/"><title>Links <a href="no">for</a></title>
            <style>a > b { content: "<a href='no'>" }</style></head>
            <body><h1>Links for x</h1><!-- <a href="no">no</a> --><script>document.write("<a href=no>")</script>
            <a href="../../x/x-1.0.tar.gz#sha256=ab" data-requires-python="&gt;=3.7,&lt;4"
            data-yanked="it&#x27;s &quot;bad&quot; &amp; old">x-1.0.tar.gz</a><br />
            <A HREF='/y.whl' data-core-metadata=sha256=cd data-yanked rel=internal>\n  <b>y</b>&#46;whl\n</A>
            <a name="anchor">not a link</a><a href=z.whl>z.whl<a href="w.whl" href="no">w.whl
            """
        let parsed = try HTMLAnchors.parse(Array(page.utf8))
        #expect(parsed.repositoryVersion == "1.3" && parsed.base == "https://files.example/")
        #expect(
            parsed.anchors == [
                .init(
                    href: "../../x/x-1.0.tar.gz#sha256=ab", text: "x-1.0.tar.gz",
                    attributes: [
                        "href": "../../x/x-1.0.tar.gz#sha256=ab", "data-requires-python": ">=3.7,<4", "data-yanked": "it's \"bad\" & old",
                    ]),
                .init(
                    href: "/y.whl", text: "y.whl",
                    attributes: ["href": "/y.whl", "data-core-metadata": "sha256=cd", "data-yanked": "", "rel": "internal"]),
                .init(href: "z.whl", text: "z.whl", attributes: ["href": "z.whl"]),
                .init(href: "w.whl", text: "w.whl", attributes: ["href": "w.whl"]),
            ])
    }

    @Test("whatever is escaped is read back, and holds no character that means something in HTML")
    func escaping() {
        let text = "a<b>&\"c\"'é' &amp; &#x41; &nothing; &"
        let escaped = HTMLText.escape(text)
        #expect(!escaped.contains { "<>\"'".contains($0) })
        #expect(HTMLText.unescape(Array(escaped.utf8)) == text)
        #expect(HTMLText.unescape(Array("&#x0;&#xD800;&#99999999999;&#+1;&;&bogus;".utf8)) == "&#x0;&#xD800;&#99999999999;&#+1;&;&bogus;")
    }

    @Test("broken pages end where they end; no UTF-8, too large and too many tags are refused")
    func limits() throws {
        for page in ["<", "<a", "<a href", "<a href=", "<a href='x", "<!--", "<script>", "</", "<!", "<a/////", "<a =x=y>"] {
            #expect(try HTMLAnchors.parse(Array(page.utf8)).anchors.allSatisfy { $0.text.isEmpty }, "\(page)")
        }
        #expect(refusal { () throws(RegistryError) in try HTMLAnchors.parse([0xFF]) } != nil)
        #expect(refusal { () throws(RegistryError) in try HTMLAnchors.parse(Array("<b><b><b>".utf8), budget: Budget(bytes: 100, items: 2)) } != nil)
        #expect(refusal { () throws(RegistryError) in try HTMLAnchors.parse(Array("<b><b><b>".utf8), budget: Budget(bytes: 8, items: 9)) } != nil)
    }
}
