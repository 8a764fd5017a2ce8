import Core
import FrontendKit
import HTTPTypes
import NIOCore
import TestSupport
import Testing

@testable import HTTPCache

@Suite("http cache") struct HTTPCacheTests {
    let harness = FrontendHarness(HTTPCacheFrontend(), repositories: ["ci"])
    static let bytes = Array("an object file".utf8)
    static let digest = Digest.of(.sha256, bytes).hex

    @Test(
        "every dialect's key is put, found, and gone after DELETE",
        arguments: [
            "6f/8a5e1b0c9d2f3a4b5c6d7e8f90a1b2c3d4e5f6", "6f8a5e1b0c9d2f3a4b5c6d7e8f90a1b2c3d4e5f6",
            "ac/6f8a5e1b0c9d2f3a4b5c6d7e8f90a1b2c3d4e5f66f8a5e1b0c9d2f3a4b5c6d7e", "0123456789abcdef0123456789abcdef",
            "team/a/b/c/abc0123", ".sccache_check", "v1.2/org.example/app/9f86d081/buildinfo.xml", "zlib/1.3.1/deadbeef.zip", "cas",
        ])
    func keys(key: String) async {
        let target = "/cache/ci/\(key)"
        #expect(await harness.send(.get, target).status == 404)
        #expect(await harness.send(.put, target, body: Self.bytes).transcript == "201")
        #expect(
            await harness.send(.get, target, as: .reader).transcript == """
                200
                content-type: application/octet-stream
                x-content-type-options: nosniff

                an object file
                """)
        #expect(await harness.send(.put, target, body: [1]).transcript == "204")
        #expect(await harness.send(.get, target).body == [1])
        #expect(await harness.send(.delete, target).transcript == "204")
        #expect(await harness.send(.get, target).status == 404)
        // No tombstone: other bytes may come.
        #expect(await harness.send(.put, target, body: [2]).status == 201)
    }

    @Test("content under cas/ must have the digest that names it, with and without a prefix", arguments: ["cas", "team/x/cas"])
    func content(prefix: String) async {
        let target = "/cache/ci/\(prefix)/\(Self.digest)"
        let refused = await harness.send(.put, target, body: [1])
        #expect(refused.status == 400 && refused.text.contains("which is not their name"))
        #expect(harness.registry.repository("ci")?.paths.isEmpty == true)
        #expect(await harness.send(.put, target, body: Self.bytes).status == 201)
        #expect(await harness.send(.put, target, body: Self.bytes).status == 204)
        #expect(await harness.send(.get, target).body == Self.bytes)
        for name in ["abc", Self.digest.uppercased(), Self.digest + "0"] {
            #expect(await harness.send(.put, "/cache/ci/\(prefix)/\(name)", body: Self.bytes).status == 400)
        }
        // An escaped slash is no way around the check.
        #expect(await harness.send(.put, "/cache/ci/cas%2F\(Self.digest)", body: [1]).status == 400)
    }

    @Test("the empty blob is always present")
    func empty() async {
        let name = Digest.of(.sha256, []).hex
        for prefix in ["", "team/"] {
            let found = await harness.send(.get, "/cache/ci/\(prefix)cas/\(name)")
            #expect(found.status == 200 && found.body == [])
        }
        #expect(await harness.send(.put, "/cache/ci/cas/\(name)").status == 201)
    }

    @Test("a part of an entry, or one in another coding, is refused: it would be kept as the whole")
    func partial() async {
        #expect(await harness.send(.put, "/cache/ci/k", [.contentRange: "bytes 0-1/5"], body: [1, 2]).status == 400)
        #expect(await harness.send(.put, "/cache/ci/k", [.contentEncoding: "gzip"], body: [1, 2]).status == 400)
        #expect(await harness.send(.put, "/cache/ci/k", [.contentEncoding: "identity"], body: [1, 2]).status == 201)
    }

    @Test(
        "what a browser would run is kept as plain bytes",
        arguments: [
            ("application/vnd.gradle.build-cache-artifact.v1", "application/vnd.gradle.build-cache-artifact.v1"),
            ("text/html", "application/octet-stream"), ("application/xhtml+xml", "application/octet-stream"),
            ("application/javascript", "application/octet-stream"), ("application/x-www-form-urlencoded", "application/octet-stream"),
        ])
    func types(declared: String, kept: String) async {
        #expect(await harness.send(.put, "/cache/ci/k", [.contentType: declared], body: [1]).status == 201)
        #expect(await harness.send(.get, "/cache/ci/k").fields[.contentType] == kept)
    }

    @Test("folders exist wherever sccache looks for one, and nothing is kept of them")
    func webDAV() async throws {
        let folder = await harness.send(.propfind, "/cache/ci/a%20b/c/")
        #expect(folder.status == 207)
        #expect(folder.text.contains("<D:href>/cache/ci/a%20b/c/</D:href>") && folder.text.contains("<D:collection/>"))
        #expect(await harness.send(.propfind, "/cache/ci/").status == 207)
        #expect(await harness.send(.propfind, "/cache/ci/a/key").status == 404)
        #expect(await harness.send(.mkcol, "/cache/ci/a/").status == 201)
        #expect(await harness.send(.mkcol, "/cache/ci/a/", as: .reader).status == 403)
        #expect(harness.registry.repository("ci")?.paths.isEmpty == true)
        _ = await harness.send(.put, "/cache/ci/a/key", body: Self.bytes)
        let file = await harness.send(.propfind, "/cache/ci/a/key")
        #expect(file.status == 207 && file.text.contains("<D:getcontentlength>14</D:getcontentlength>") && !file.text.contains("collection"))
    }

    @Test("an entry is no package: facts stay empty")
    func facts() async throws {
        _ = await harness.send(.put, "/cache/ci/zlib/1.3.1/x.zip", body: Self.bytes)
        let facts = harness.registry.repository("ci")?.facts(in: .packages, after: nil, limit: 10)
        #expect(facts?.packages.isEmpty == true)
        let frontend = HTTPCacheFrontend()
        let view = View(name: "any", scope: .packages)
        var page = Page()
        #expect(throws: RegistryError.self) {
            try frontend.render(view, from: Facts(), in: RenderContext(baseURL: "", repository: try #require(RepositoryKey("r"))), into: &page)
        }
        #expect(frontend.upstream(for: .view(view), given: Facts()) == nil)
    }

    @Test("of an upstream, content must have the digest that names it; a key may be anything")
    func upstream() throws {
        let frontend = HTTPCacheFrontend()
        func wanted(_ path: String) throws -> UpstreamRequest? {
            frontend.upstream(for: .file(try #require(AssetPath(path))), given: Facts())
        }
        #expect(try wanted("x/cas/\(Self.digest)")?.expected == [Digest.of(.sha256, Self.bytes)])
        #expect(try wanted("ac/\(Self.digest)")?.expected == [])
        #expect(try wanted("a b/k")?.url == "a%20b/k")
    }

    /// The statuses that decide whether a build tool misses, stops asking or fails.
    @Test(
        "failures are short lines of text with the status that build tools expect",
        arguments: [
            (.notFound, 404), (.unauthenticated, 401), (.forbidden, 403), (.conflict, 409), (.tooLarge, 413), (.noSpace, 507), (.invalid, 400),
            (.digestMismatch, 400), (.unsupported, 405), (.upstreamFailed, 502), (.corrupt, 500), (.unavailable, 404),
        ] as [(RegistryError.Code, Int)])
    func errors(code: RegistryError.Code, status: Int) throws {
        let head = try RequestHead(method: .get, target: "/cache/ci/k", fields: [:], requestID: "t", peer: "", isSecure: false)
        let context = ErrorContext(baseURL: "", repository: "ci", needs: .read, match: nil)
        let failure = RegistryError(code, subject: .request, reason: "why")
        guard case .bytes(let bytes, let answered, let fields) = HTTPCacheFrontend().reply(to: failure, for: head, in: context) else {
            Issue.record("an error is answered with bytes")
            return
        }
        #expect(answered.code == status && bytes == Array("why\n".utf8))
        #expect((fields[.wwwAuthenticate] != nil) == (status == 401))
    }

    @Test("what cannot be had now is a miss, what cannot be put now is not")
    func unavailable() throws {
        let failure = RegistryError(.unavailable, subject: .request, reason: "later")
        let context = ErrorContext(baseURL: "", repository: "ci", needs: .write, match: nil)
        let head = try RequestHead(method: .put, target: "/cache/ci/k", fields: [:], requestID: "t", peer: "", isSecure: false)
        guard case .bytes(_, let answered, _) = HTTPCacheFrontend().reply(to: failure, for: head, in: context) else {
            Issue.record("an error is answered with bytes")
            return
        }
        #expect(answered.code == 503)
    }
}
