import Core
import FrontendKit
import HTTPTypes
import TestSupport
import Testing

@testable import OCI

@Suite("OCI grammar") struct GrammarTests {
    @Test(
        "image names follow the specification",
        arguments: [
            ("app", true), ("a/b/c", true), ("a.b", true), ("a_b", true), ("a__b", true), ("a--b", true), ("a---b/c0", true), ("0", true),
            ("", false), ("App", false), ("a..b", false), ("a___b", false), ("a._b", false), ("-a", false), ("a-", false), ("a/", false),
            ("/a", false), ("a//b", false), ("a/.b", false), ("ä", false), ("a b", false), ("a:b", false), ("a-_b", false), ("a_", false),
        ])
    func names(_ text: String, _ isName: Bool) { #expect((ImageName(text) != nil) == isName, "\(text)") }

    @Test("an image name has at most 255 bytes")
    func longNames() {
        #expect(ImageName(String(repeating: "a", count: 255)) != nil)
        #expect(ImageName(String(repeating: "a", count: 256)) == nil)
    }

    @Test("a route finds the image before its last fixed segments, whatever the image is called")
    func routes() throws {
        let lib = RepositoryKey("lib")
        let cases: [(HTTPRequest.Method, String, String, String)] = [
            (.get, "/manifests/v1", "{image*}/manifests/{reference}", ""),
            (.get, "/manifests/manifests/v1", "{image*}/manifests/{reference}", "manifests"),
            (.get, "/tags/list/tags/list", "{image*}/tags/list[/]", "tags/list"),
            (.get, "/a/blobs/uploads/blobs/sha256:00", "{image*}/blobs/{digest}", "a/blobs/uploads"),
            (.patch, "/a/blobs/blobs/uploads/id", "{image*}/blobs/uploads/{upload}", "a/blobs"),
            (.post, "/a/b/blobs/uploads/", "{image*}/blobs/uploads[/]", "a/b"),
            (.post, "/a/b/blobs/uploads", "{image*}/blobs/uploads[/]", "a/b"),
            (.get, "/a/referrers/sha256:00", "{image*}/referrers/{subject}", "a"),
        ]
        for (method, path, pattern, image) in cases {
            let parsed = try RequestPath(parsing: path)
            let rows = OCIFrontend().routes.filter { $0.level == .repository && $0.methods.contains(method) }
            let found = rows.compactMap { row in row.pattern.match(parsed, in: lib).map { (row.pattern.text, $0["image"]) } }
            #expect(found.count == 1, "\(path): \(found)")
            #expect(found.first?.0 == pattern && found.first?.1 == image, "\(path): \(found)")
        }
    }

    @Test("no two rows of the table compete for one path")
    func overlaps() {
        let routes = OCIFrontend().routes
        for (number, a) in routes.enumerated() {
            for b in routes[(number + 1)...] where a.level == b.level && !Set(a.methods).isDisjoint(with: b.methods) {
                #expect(!a.pattern.overlaps(b.pattern), "\(a.pattern) \(b.pattern)")
            }
        }
    }

    @Test(
        "a bad reference is a bad request when it is put, and nothing when it is read",
        arguments: [
            (".INVALID", "404 MANIFEST_UNKNOWN", "400 MANIFEST_INVALID"), ("-x", "404 MANIFEST_UNKNOWN", "400 MANIFEST_INVALID"),
            (String(repeating: "t", count: 129), "404 MANIFEST_UNKNOWN", "400 MANIFEST_INVALID"),
            ("sha256:zz", "400 DIGEST_INVALID", "400 DIGEST_INVALID"),
            ("sha1:\(String(repeating: "0", count: 40))", "400 DIGEST_INVALID", "400 DIGEST_INVALID"),
        ])
    func references(_ text: String, _ read: String, _ put: String) async {
        let bench = Bench()
        await bench.image("lib/app", tag: "good")
        #expect(await bench.harness.send(.get, "/v2/lib/app/manifests/\(text)").outcome == read)
        #expect(await bench.harness.send(.delete, "/v2/lib/app/manifests/\(text)").outcome == read)
        #expect(await bench.put(Bench.manifest(), to: "lib/app", as: text).outcome == put)
    }

    @Test(
        "a chunk's range is two inclusive numbers",
        arguments: [
            ("0-0", 0, 0), ("5-9", 5, 9), ("bytes 5-9/10", 5, 9), ("bytes 5-9/*", 5, 9), ("", nil, nil), ("9-5", nil, nil), ("5", nil, nil),
            ("-5", nil, nil), ("5-", nil, nil), ("a-b", nil, nil), ("0-9223372036854775808", nil, nil), ("+1-2", nil, nil), ("1 - 2", nil, nil),
        ] as [(String, Int64?, Int64?)])
    func ranges(_ text: String, _ first: Int64?, _ last: Int64?) {
        let range = ChunkRange(text)
        #expect(range?.first == first && range?.last == last)
    }

    @Test(
        "token scopes are taken apart, what cannot exist here is left out",
        arguments: [
            ("repository:lib/app:pull,push", "lib", "lib/app", [.read, .write]), ("repository:lib:pull", "lib", "lib", [.read]),
            ("repository(plugin):lib/app:*", "lib", "lib/app", [.read, .write, .delete]), ("repository:lib/app:delete", "lib", "lib/app", [.delete]),
            ("repository:lib/app:", "lib", "lib/app", []), ("registry:catalog:*", nil, nil, []), ("repository:lib/APP:pull", nil, nil, []),
            ("repository:../x:pull", nil, nil, []), ("", nil, nil, []), ("repository:x", nil, nil, []), ("::", nil, nil, []),
        ] as [(String, String?, String?, Set<Permission>)])
    func scopes(_ text: String, _ repository: String?, _ name: String?, _ permissions: Set<Permission>) {
        let scope = ResourceScope(parsing: text)
        #expect(scope?.repository.text == repository && scope?.name == name)
        #expect(scope?.permissions ?? [] == permissions)
    }

    @Test("content paths of upstreams are those of ours")
    func upstream() throws {
        let digest = Bench.sha256(Bench.layer)
        let path = try #require(AssetPath("team/app/blobs/\(digest)"))
        let request = try #require(OCIFrontend().upstream(for: .file(path), given: Facts()))
        #expect(request.url == "v2/team/app/blobs/\(digest)")
        #expect(request.expected.map(\.description) == [digest])
        let other = try #require(AssetPath("team/app/readme"))
        #expect(OCIFrontend().upstream(for: .file(other), given: Facts()) == nil)
    }
}
