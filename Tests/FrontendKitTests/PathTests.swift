import Core
import FrontendKit
import Testing

@Suite struct PathTests {
    @Test(
        "a path is split at its slashes, then decoded once; what is ambiguous is refused",
        arguments: [
            ("/", [], true), ("/a/b", ["a", "b"], false), ("/a/b/", ["a", "b"], true), ("/a%20b", ["a b"], false), ("/@s%2fn", ["@s/n"], false),
            ("/%C3%A4", ["ä"], false), ("/a%252e", ["a%2e"], false),
        ] as [(String, [String], Bool)])
    func parses(text: String, segments: [String], slash: Bool) throws {
        let path = try RequestPath(parsing: text)
        #expect(path.segments == segments)
        #expect(path.hasTrailingSlash == slash)
    }

    @Test(
        "no traversal gets through, however it is encoded",
        arguments: [
            "", "a", "//", "/a//b", "/.", "/..", "/a/../b", "/%2e%2e/x", "/%2E%2E", "/a%2f..%2fb", "/..%2f", "/%2f", "/a%2f", "/a%00b", "/a%0ab",
            "/a%5cb", "/a\\b",
            "/%", "/%4", "/%zz", "/%ff", "/%c0%ae%c0%ae/x", "/a%2F..%2F%CC%81b", "/%2E%2E%2F%CC%81b", "/" + String(repeating: "a", count: 9_000),
        ])
    func refuses(text: String) {
        let error = #expect(throws: RegistryError.self) { try RequestPath(parsing: text) }
        #expect(error?.code == .invalid)
    }

    private func match(_ pattern: PathPattern, _ path: String) throws -> [String: String]? {
        pattern.match(try RequestPath(parsing: path), in: nil)?.values
    }

    @Test("patterns bind single, greedy and optional parameters, the tail from the end")
    func patterns() throws {
        #expect(try match("simple/{project}[/]", "/simple/x") == ["project": "x"])
        #expect(try match("simple/{project}[/]", "/simple/x/") == ["project": "x"])
        #expect(try match("simple/{project}/", "/simple/x") == nil)
        #expect(try match("simple/{project}", "/simple/x/") == nil)
        #expect(try match("{name+}/manifests/{reference}", "/a/manifests/b/manifests/c") == ["name": "a/manifests/b", "reference": "c"])
        #expect(try match("{name+}/manifests/{reference}", "/manifests/c") == nil)
        #expect(try match("{name*}/manifests/{reference}", "/manifests/c") == ["name": "", "reference": "c"])
        #expect(try match("files/{path+}", "/files/a/b/c") == ["path": "a/b/c"])
        #expect(try match("{path+}/{file}.sha1", "/a/b.jar.sha1") == ["path": "a", "file": "b.jar"])
        #expect(try match("{path+}/{file}.sha1", "/a/.sha1") == nil)
        #expect(try match("{path+}/{version}-SNAPSHOT/{file}", "/a/1-SNAPSHOT/b") == ["path": "a", "version": "1", "file": "b"])
        #expect(try match("[/]", "/") == [:])
        #expect(try match("[/]", "/x") == nil)
    }

    @Test("rows that could both match one path at the same precision are found at start-up")
    func overlaps() {
        #expect(PathPattern(stringLiteral: "{a}/x").overlaps("{b}/x"))
        #expect(!PathPattern(stringLiteral: "{a}/x").overlaps("y/x"))
        #expect(!PathPattern(stringLiteral: "{a}/x").overlaps("{a}/y"))
        #expect(!PathPattern(stringLiteral: "{a}.x").overlaps("{a}.y"))
    }

    @Test("a query keeps its order and its repeats, reads plus as a space, and drops what does not decode")
    func queries() {
        let query = Query(parsing: "n=10&scope=a&scope=b%20c+d&bad=%zz&flag")
        #expect(query["n"] == "10")
        #expect(query.all("scope") == ["a", "b c d"])
        #expect(query["bad"] == nil)
        #expect(query["flag"] == "")
    }

    @Test("format names are compared without case, underscore and dash")
    func formats() {
        let format = Format(name: "oci", aliases: ["wasm_oci"], mounts: [])
        #expect(format.answers(to: "WASM-OCI"))
        #expect(format.answers(to: "wasmoci"))
        #expect(!format.answers(to: "npm"))
    }

    @Test("percent-encoding keeps what is unreserved and round-trips the rest")
    func percent() {
        #expect(Percent.encode("a b/ü~", in: .strict) == "a%20b%2F%C3%BC~")
        #expect(Percent.encode("@s/n+1", in: .path) == "@s/n+1")
        #expect(Percent.decodeBytes("a%20b") == Array("a b".utf8))
    }
}
