import Core
import FrontendKit
import HTTPTypes
import TestSupport
import Testing

@testable import OCI

@Suite("OCI errors") struct ErrorTests {
    /// A route as an error reply sees it.
    enum Place: String, CaseIterable { case manifest, newManifest, blob, upload, start, tags, nothing }

    static func outcome(_ code: RegistryError.Code, _ subject: RegistryError.Subject, at place: Place) throws -> String {
        let (method, path, values): (HTTPRequest.Method, String, [String: String]?) =
            switch place {
            case .manifest: (.get, "/v2/lib/app/manifests/v1", ["image": "app", "reference": "v1"])
            case .newManifest: (.put, "/v2/lib/app/manifests/v1", ["image": "app", "reference": "v1"])
            case .blob: (.get, "/v2/lib/app/blobs/x", ["image": "app", "digest": "x"])
            case .upload: (.patch, "/v2/lib/app/blobs/uploads/x", ["image": "app", "upload": "x"])
            case .start: (.post, "/v2/lib/app/blobs/uploads/", ["image": "app"])
            case .tags: (.get, "/v2/lib/app/tags/list", ["image": "app"])
            case .nothing: (.get, "/v2/lib/what", nil)
            }
        let head = try RequestHead(method: method, target: path, fields: [:], requestID: "test", peer: "127.0.0.1", isSecure: true)
        let context = ErrorContext(
            baseURL: "https://granary.test", repository: "lib", needs: .write,
            match: values.map { Match(values: $0, repository: RepositoryKey("lib")) })
        let failure = RegistryError(code, subject: subject, reason: "why")
        guard case .bytes(let body, let status, let fields) = OCIFrontend().reply(to: failure, for: head, in: context) else { return "no bytes" }
        return FrontendHarness.Answer(status: status.code, fields: fields, body: body).outcome
    }

    static let table: [(RegistryError.Code, RegistryError.Subject, Place, String)] = [
        (.notFound, .request, .blob, "404 BLOB_UNKNOWN"), (.notFound, .path("a"), .blob, "404 BLOB_UNKNOWN"),
        (.gone, .path("a"), .blob, "404 BLOB_UNKNOWN"), (.notFound, .request, .manifest, "404 MANIFEST_UNKNOWN"),
        (.notFound, .path("app/blobs/d"), .newManifest, "400 MANIFEST_BLOB_UNKNOWN"), (.notFound, .upload("u"), .upload, "404 BLOB_UPLOAD_UNKNOWN"),
        (.notFound, .repository("lib"), .blob, "404 NAME_UNKNOWN"), (.notFound, .repository("lib"), .newManifest, "404 NAME_UNKNOWN"),
        (.notFound, .package("lib/app"), .tags, "404 NAME_UNKNOWN"), (.notFound, .request, .nothing, "404 NAME_UNKNOWN"),
        (.invalid, .package("UP"), .tags, "400 NAME_INVALID"), (.invalid, .blob("x"), .blob, "400 DIGEST_INVALID"),
        (.invalid, .field("manifest"), .newManifest, "400 MANIFEST_INVALID"), (.invalid, .field("json"), .newManifest, "400 MANIFEST_INVALID"),
        (.invalid, .request, .upload, "400 BLOB_UPLOAD_INVALID"), (.invalid, .request, .start, "400 BLOB_UPLOAD_INVALID"),
        (.invalid, .field("size"), .upload, "400 SIZE_INVALID"), (.invalid, .field("n"), .tags, "400 UNSUPPORTED"),
        (.invalid, .repository("lib"), .newManifest, "405 UNSUPPORTED"), (.unsupported, .repository("lib"), .start, "405 UNSUPPORTED"),
        (.digestMismatch, .blob("x"), .upload, "400 DIGEST_INVALID"), (.digestMismatch, .blob("x"), .newManifest, "400 DIGEST_INVALID"),
        (.tooLarge, .request, .newManifest, "413 SIZE_INVALID"), (.tooLarge, .request, .upload, "413 SIZE_INVALID"),
        (.rangeUnsatisfiable, .upload("u"), .upload, "416 BLOB_UPLOAD_INVALID"), (.conflict, .upload("u"), .upload, "409 BLOB_UPLOAD_INVALID"),
        (.conflict, .repository("lib"), .newManifest, "409 DENIED"), (.immutable, .path("a"), .newManifest, "409 DENIED"),
        (.unauthenticated, .request, .blob, "401 UNAUTHORIZED"), (.forbidden, .request, .blob, "403 DENIED"),
        (.blocked, .blob("x"), .blob, "403 DENIED"),
        (.rateLimited, .request, .blob, "429 TOOMANYREQUESTS"), (.upstreamFailed, .request, .blob, "502 UNKNOWN"),
        (.unavailable, .store, .start, "503 UNAVAILABLE"), (.pending, .blob("x"), .blob, "423 UNAVAILABLE"),
        (.noSpace, .store, .upload, "507 UNAVAILABLE"), (.corrupt, .store, .blob, "500 UNKNOWN"),
        (.internal, .request, .blob, "500 UNKNOWN"),
    ]

    @Test("every failure has a code of the specification and the status its clients expect", arguments: table)
    func row(_ code: RegistryError.Code, _ subject: RegistryError.Subject, _ place: Place, _ expected: String) throws {
        #expect(try Self.outcome(code, subject, at: place) == expected)
    }

    @Test("the table has a row for every kind of failure")
    func complete() {
        #expect(Set(Self.table.map(\.0)) == Set(RegistryError.Code.allCases))
    }

    @Test("an error says what it is about")
    func body() async {
        let bench = Bench()
        let digest = Bench.sha256(Bench.layer)
        #expect(
            await bench.get("lib/app/blobs/\(digest)") == """
                404
                content-type: application/json
                docker-distribution-api-version: registry/2.0

                {"errors":[{"code":"BLOB_UNKNOWN","message":"there is no such file"}]}
                """)
        #expect(await bench.harness.send(.get, "/v2/lib/APP/tags/list").text.contains(#""detail":{"name":"APP"}"#))
    }

    @Test("a challenge asks for the scope that the refused request needs")
    func challenges() async {
        let bench = Bench()
        func challenge(_ method: HTTPRequest.Method, _ target: String) async -> String? {
            let nobody = MemoryCaller("anonymous", isAnonymous: true) { _, _ in false }
            return await bench.harness.send(method, "/v2/\(target)", as: nobody).field("www-authenticate")
        }
        let realm = #"Bearer realm="https://granary.test/v2/token",service="granary""#
        #expect(await challenge(.get, "lib/app/manifests/v1") == #"\#(realm),scope="repository:lib/app:pull""#)
        #expect(await challenge(.post, "lib/a/b/blobs/uploads/") == #"\#(realm),scope="repository:lib/a/b:pull,push""#)
        #expect(await challenge(.delete, "lib/app/manifests/v1") == #"\#(realm),scope="repository:lib/app:pull,delete""#)
        #expect(await challenge(.get, "lib/tags/list") == #"\#(realm),scope="repository:lib:pull""#)
        #expect(await challenge(.get, "private/app/tags/list") == #"\#(realm),scope="repository:private/app:pull""#)
        #expect(await challenge(.get, "lib/%22injected/tags/list") == #"\#(realm),scope="repository:lib:pull""#)
        #expect(await challenge(.get, "%22x/app/tags/list") == realm)
    }

    @Test("who may only read is denied to write, and told when to come back if told to wait")
    func denied() async throws {
        let bench = Bench()
        #expect(await bench.harness.send(.post, "/v2/lib/app/blobs/uploads/", as: .reader).outcome == "403 DENIED")
        let head = try RequestHead(method: .get, target: "/v2/", fields: [:], requestID: "t", peer: "::1", isSecure: false)
        let context = ErrorContext(baseURL: "", repository: nil, needs: nil, match: nil)
        let failure = RegistryError(.rateLimited, subject: .request, reason: "slow down", retryAfterSeconds: 7)
        guard case .bytes(_, _, let fields) = OCIFrontend().reply(to: failure, for: head, in: context) else { return }
        #expect(fields[.retryAfter] == "7")
    }
}
