import Core
import Outbound
import Testing

@Suite("A URL is taken apart, checked and built again")
struct UpstreamURLTests {
    @Test("what is well formed comes out in one spelling")
    func rebuilds() throws {
        let table: [(String, String)] = [
            ("https://Example.ORG", "https://example.org/"),
            ("HTTP://example.org:80/a", "http://example.org/a"),
            ("https://example.org:443", "https://example.org/"),
            ("https://example.org:8443/a/b?x=1&y=%2F#part", "https://example.org:8443/a/b?x=1&y=%2F"),
            ("http://[::1]:8080/x", "http://[::1]:8080/x"),
            ("https://example.org?q=1", "https://example.org/?q=1"),
            ("https://example.org/a//b/", "https://example.org/a//b/"),
            ("https://example.org/é|\"<>", "https://example.org/%C3%A9%7C%22%3C%3E"),
            ("https://example.org/@scope%2fname/v1.0+x~y", "https://example.org/@scope%2fname/v1.0+x~y"),
            ("https://example.org/a...b/.c", "https://example.org/a...b/.c"),
        ]
        for (text, expected) in table { #expect(try UpstreamURL(text).description == expected) }
    }

    @Test("what could split a request, climb, or hide a host is refused")
    func refuses() {
        let table = [
            "", "example.org/a", "ftp://example.org/", "file:///etc/passwd", "gopher://x/", "http:/example.org", "https://", "https:///a",
            "https://user:secret@example.org/", "https://user@example.org/", "https://good.example@evil.example/",
            "https://example.org/a b", "https://example.org/a\r\nHost: evil", "https://example.org/a\nb", "https://example.org/\u{0}",
            "https://example.org/\t", "https://example.org/a\\b", "https://example.org/\u{7f}",
            "https://example.org/%0d%0aX:1", "https://example.org/%00", "https://example.org/%7f", "https://example.org/%", "https://example.org/%4",
            "https://example.org/%zz", "https://example.org/a?b=%0A",
            "https://example.org/../a", "https://example.org/a/./b", "https://example.org/a/..", "https://example.org/%2e%2E/a",
            "https://example.org/a/.%2e/b", "https://example.org/%2e",
            "https://exa mple.org/", "https://exämple.org/", "https://example.org%2f/", "https://example.org:0/", "https://example.org:65536/",
            "https://example.org:8o/", "https://example.org:/", "https://example.org:-1/", "https://[::1/", "https://[::1]x/",
            "https://[fe80::1%25eth0]/",
            "https://[v1.a]/", "https://[127.0.0.1]/", "https://a,b/", "https://*.example.org/",
            "https://example.org/" + String(repeating: "a", count: 8192),
        ]
        for text in table {
            let error = #expect(throws: RegistryError.self, "\(text)") { try UpstreamURL(text) }
            #expect(error?.code == .invalid)
            #expect(error?.description.contains("secret") == false)
        }
    }

    @Test("references resolve as RFC 3986 section 5.4 says")
    func resolves() throws {
        let base = try UpstreamURL("http://a/b/c/d;p?q")
        let table: [(String, String)] = [
            ("g", "http://a/b/c/g"), ("./g", "http://a/b/c/g"), ("g/", "http://a/b/c/g/"), ("/g", "http://a/g"), ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"), ("g?y", "http://a/b/c/g?y"), ("#s", "http://a/b/c/d;p?q"), ("g#s", "http://a/b/c/g"),
            (";x", "http://a/b/c/;x"), ("", "http://a/b/c/d;p?q"), (".", "http://a/b/c/"), ("./", "http://a/b/c/"), ("..", "http://a/b/"),
            ("../", "http://a/b/"), ("../g", "http://a/b/g"), ("../..", "http://a/"), ("../../g", "http://a/g"), ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"), ("/../g", "http://a/g"), ("g.", "http://a/b/c/g."), ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"), ("g/../h", "http://a/b/c/h"), ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("https://x/p/../q?r", "https://x/q?r"), ("//x:8080/p", "http://x:8080/p"), ("g:80/x?y", ""), ("mailto:a@b", ""), ("javascript:1", ""),
        ]
        for (reference, expected) in table {
            if expected.isEmpty {
                #expect(throws: RegistryError.self, "\(reference)") { try base.resolving(reference) }
            } else {
                #expect(try base.resolving(reference).description == expected, "\(reference)")
            }
        }
    }

    @Test("an origin is scheme, host and port, and nothing more")
    func origins() throws {
        #expect(Origin("auth.example.org") == (try UpstreamURL("https://auth.example.org:443/x").origin))
        #expect(Origin("http://a:8080")?.description == "http://a:8080")
        #expect(try UpstreamURL("http://a/").origin != UpstreamURL("https://a/").origin)
        #expect(try UpstreamURL("http://a:1/").origin != UpstreamURL("http://a:2/").origin)
        for text in ["https://a/path", "a b", "", "user@a", "ftp://a"] { #expect(Origin(text) == nil, "\(text)") }
    }
}
