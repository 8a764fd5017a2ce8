import Core
import FrontendKit
import HTTPTypes
import TestSupport
import Testing

@testable import Generic

@Suite("generic") struct GenericTests {
    let harness = FrontendHarness(GenericFrontend(), repositories: ["files"])
    static let bytes = Array("hello".utf8)
    static let sha256 = Digest.of(.sha256, bytes).hex

    @Test("a file comes back as it was put, for saving and not for showing")
    func roundTrip() async {
        let put = await harness.send(.put, "/general/files/tool/1.0/tool%20x.html", body: Self.bytes)
        #expect(put.transcript == "201\nlocation: /general/files/tool/1.0/tool%20x.html\nx-checksum-sha256: \(Self.sha256)")
        #expect(
            await harness.send(.get, "/general/files/tool/1.0/tool%20x.html").transcript == """
                200
                content-disposition: attachment; filename="tool x.html"
                content-type: text/html
                x-checksum-sha256: \(Self.sha256)
                x-content-type-options: nosniff

                hello
                """)
    }

    @Test("a file is a release: the same bytes again succeed, others do not, also after a delete")
    func immutable() async {
        #expect(await harness.send(.put, "/general/files/a", body: Self.bytes).status == 201)
        #expect(await harness.send(.put, "/general/files/a", body: Self.bytes).status == 201)
        #expect(await harness.send(.put, "/general/files/a", body: [1]).status == 409)
        #expect(await harness.send(.delete, "/general/files/a").transcript == "204")
        #expect(await harness.send(.delete, "/general/files/a").status == 404)
        #expect(await harness.send(.put, "/general/files/a", body: [1]).status == 409)
        #expect(await harness.send(.put, "/general/files/a", body: Self.bytes).status == 201)
    }

    @Test("declared digests are checked, and a wrong one stores nothing")
    func digests() async throws {
        for (name, algorithm) in [("X-Checksum-SHA256", DigestAlgorithm.sha256), ("X-Checksum-SHA1", .sha1), ("X-Checksum-MD5", .md5)] {
            let field = try #require(HTTPField.Name(name))
            let right = Digest.of(algorithm, Self.bytes).hex
            let wrong = Digest.of(algorithm, [0]).hex
            let refused = await harness.send(.put, "/general/files/\(name)", [field: wrong], body: Self.bytes)
            #expect(refused.status == 400 && refused.text.hasPrefix(#"{"code":"VALIDATION_ERROR","message":"the bytes have the digest "#))
            #expect(await harness.send(.put, "/general/files/\(name)", [field: "short"], body: Self.bytes).status == 400)
            #expect(harness.registry.repository("files")?.paths.contains(name) == false)
            #expect(await harness.send(.put, "/general/files/\(name)", [field: right.uppercased()], body: Self.bytes).status == 201)
        }
    }

    @Test("a missing right is said in the REST dialect")
    func rights() async {
        let anonymous = await harness.send(.put, "/general/files/a", body: Self.bytes, as: .anonymous)
        #expect(
            anonymous.transcript == """
                401
                content-type: application/json
                www-authenticate: Basic realm="granary"

                {"code":"UNAUTHORIZED","message":"not allowed"}
                """)
        #expect(await harness.send(.put, "/general/files/a", body: Self.bytes, as: .reader).status == 403)
        #expect(await harness.send(.get, "/general/none/a").transcript.contains(#"{"code":"NOT_FOUND""#))
    }

    @Test(
        "a path says its release by the layout of its format",
        arguments: [
            ("tool/1.0/tool.tgz", "tool", "1.0"), ("a/b/c/d/e", "a", "b"), ("models/m/versions/3/artifacts/w.bin", "m", "3"),
            ("modules/rules_go/0.50/MODULE.bazel", "rules_go", "0.50"), ("plugins/org.x_1.2.3.jar", "org.x", "1.2.3"),
            ("curl_8.1-1_arm.ipk", "curl", "8.1-1"), ("feed/curl_8.1-1_arm.ipk", "curl", "8.1-1"),
            ("acme/box/versions/2/providers/kvm/download", "acme/box", "2"), ("file", nil, nil), ("dir/file", nil, nil),
        ] as [(String, String?, String?)])
    func layout(_ path: String, _ package: String?, _ version: String?) throws {
        let release = GenericLayout.release(at: try #require(AssetPath(path)))
        #expect(release?.package.text == package && release?.version.text == version)
    }

    @Test("the release a path says is among the facts")
    func facts() async throws {
        _ = await harness.send(.put, "/general/files/tool/1.0/a.tgz", body: Self.bytes)
        let facts = harness.registry.repository("files")?.facts(in: .package(try #require(PackageName("tool"))), after: nil, limit: 10)
        #expect(facts?.versions.map(\.name.text) == ["1.0"])
        #expect(facts?.assets.map(\.path.text) == ["tool/1.0/a.tgz"])
        #expect(facts?.assets.map(\.contentType) == ["application/gzip"])
    }

    @Test(
        "a name for saving cannot break out of its field",
        arguments: [
            ("a b.txt", #"attachment; filename="a b.txt""#), (#"a"b.txt"#, #"attachment; filename="a_b.txt"; filename*=UTF-8''a%22b.txt"#),
            ("é.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A9.txt"),
        ])
    func disposition(_ name: String, _ field: String) { #expect(ContentDisposition.attachment(name) == field) }
}
