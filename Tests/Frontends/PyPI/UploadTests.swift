import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Parsing
import TestSupport
import Testing

@testable import PyPI

@Suite("upload") struct UploadTests {
    let bench = Bench()
    static let file = "demo-1.0-py3-none-any.whl"
    private var paths: [String] { bench.harness.registry.repository("py")?.paths ?? [] }

    @Test("a form that says what the archive says is accepted, however its client spells it")
    func honest() async {
        let fields = [
            ("metadata_version", "2.3"), ("filetype", "bdist_wheel"), ("pyversion", "py3"), ("summary", "a test"), ("keywords", "one, two"),
            ("license_expression", "MIT"), ("license_file", "LICENSE"), ("requires_python", ">=3.8"), ("classifiers", "Topic :: Utilities"),
            ("requires_dist", "idna"), ("project_urls", "Home, https://example.org"), ("description", "Words."), ("home_page", "UNKNOWN"),
            ("md5_digest", Digest.of(.md5, Bench.wheel()).hex), ("sha256_digest", Digest.of(.sha256, Bench.wheel()).hex.uppercased()),
            ("blake2_256_digest", "00"), ("comment", "none of the archive's"), ("provides", "module"), ("name", "DEMO"), ("version", "1.0.0"),
        ]
        #expect(await bench.upload(Self.file, Bench.wheel(), fields).status == 200)
        #expect(paths == ["demo/\(Self.file)", "demo/\(Self.file).metadata"])
        #expect(await bench.upload("demo-1.0.tar.gz", Bench.sdist(), [("filetype", "sdist"), ("license_files", "LICENSE")]).status == 200)
    }

    @Test(
        "a field that differs from the archive is refused by its name, and nothing is stored",
        arguments: [
            ("name", "other"), ("version", "1.1"), ("version", "one"), ("filetype", "sdist"), ("summary", "another"), ("keywords", "one"),
            ("description_content_type", "text/x-rst"), ("home_page", "https://example.org"), ("download_url", "https://example.org"),
            ("author", "Eve"), ("author_email", "eve@example.org"), ("maintainer", "Eve"), ("maintainer_email", "eve@example.org"),
            ("license", "GPL"), ("license_expression", "Apache-2.0"), ("requires_python", ">=2"), ("classifiers", "Private :: Yes"),
            ("requires_dist", "evil"), ("provides_dist", "x"), ("obsoletes_dist", "x"),
            ("requires_external", "x"), ("project_urls", "Home, https://evil.example"), ("provides_extra", "x"), ("license_file", "COPYING"),
            ("license_files", "COPYING"), ("platform", "x"), ("supported_platform", "x"), ("dynamic", "x"), ("description", "Other words."),
            ("md5_digest", "00"), ("sha256_digest", String(repeating: "0", count: 64)), (":action", "submit"), ("name", ""), ("version", ""),
        ])
    func mismatch(_ field: String, _ value: String) async {
        let answer = await bench.upload(Self.file, Bench.wheel(), [(field, value)])
        #expect(answer.status == 400 && answer.text.contains(field), "\(answer.text)")
        #expect(paths == [])
    }

    @Test("of a field that may be repeated, each value counts")
    func repeated() async {
        #expect(await bench.upload(Self.file, Bench.wheel(), [("requires_dist", "idna"), ("requires_dist", "evil")]).status == 400)
        let two = Bench.wheel(more: "Requires-Dist: six (>1) ; extra == 'x'\nProvides-Extra: x\n")
        #expect(await bench.upload(Self.file, two, [("requires_dist", "idna")]).status == 400)
        let fields = [("requires_dist", "six (>1) ; extra == 'x'"), ("requires_dist", "idna"), ("provides_extra", "x")]
        #expect(await bench.upload(Self.file, two, fields).status == 200)
    }

    /// A file's name, its bytes, and a word of the answer.
    static let refused: [(String, [UInt8], String)] = [
        ("demo.whl", Bench.wheel(), "neither a wheel"), ("demo-1.0.exe", Bench.wheel(), "neither a wheel"),
        ("../demo-1.0.tar.gz", Bench.sdist(), "neither a wheel"), (file, Array(Bench.wheel().dropLast(30)), "was refused"),
        (file, [], "was refused"), (file, Bench.sdist(), "was refused"), (file, zip([("x", [1])]), "exactly one *.dist-info/METADATA"),
        (file, zip([("demo-1.0.dist-info/METADATA", [1, 2])], method: 12), "method 12"),
        (file, Bench.wheel(Bench.metadata("liar", "1.0"), in: "demo-1.0"), "Name: liar"),
        (file, Bench.wheel(Bench.metadata("demo", "1.1"), in: "demo-1.0"), "Version: 1.1"),
        (file, Bench.wheel(Bench.metadata("demo", "1.0"), in: "liar-1.0"), "liar-1.0.dist-info"),
        (file, Bench.wheel("Metadata-Version: 2.1\nVersion: 1.0\n", in: "demo-1.0"), "no valid Name"),
        (file, Bench.wheel("Metadata-Version: 2.1\nName: demo\nVersion: new\n", in: "demo-1.0"), "no valid Version"),
        (file, Bench.wheel("no metadata at all", in: "demo-1.0"), "was refused"),
        ("demo-1.0.tar.gz", Bench.wheel(), "PEP 625"), ("demo-1.0.tar.gz", Array(Bench.sdist().dropLast(9)), "was refused"),
        ("demo-1.0.tar.gz", gzip(tar([("demo-1.0/setup.py", [])])), "no */PKG-INFO"), ("demo-1.0.tar.gz", Array("BZh91AY".utf8), "PEP 625"),
        ("demo-1.0.tar.bz2", Array("BZh91AY".utf8), "PEP 625"), ("demo-2.0.tar.gz", Bench.sdist(), "file name says 2.0"),
    ]

    @Test("an archive that is broken or lies is 400 with the reason, by form and by REST alike", arguments: refused.indices)
    func archives(_ at: Int) async throws {
        let (name, bytes, word) = Self.refused[at]
        let answer = await bench.upload(name, bytes)
        #expect(answer.status == 400 && answer.text.contains(word), "\(answer.text)")
        #expect(paths == [])
        guard let path = AssetPath(name) else { return }
        let port = try #require(bench.harness.registry.repository("py").map { MemoryPort(bench.harness.registry, $0) })
        let error = await #expect(throws: RegistryError.self) {
            try await PyPIFrontend().adopt(path, MemoryStaged(bytes), contentType: nil, in: port)
        }
        #expect(error?.code == .invalid && error?.reason.contains(word) == true)
    }

    @Test("bytes that REST puts anywhere are a release where the index names it")
    func adopt() async throws {
        let port = try #require(bench.harness.registry.repository("py").map { MemoryPort(bench.harness.registry, $0) })
        let path = try #require(AssetPath("somewhere/else/Old-Name-1.0.post1.tar.gz"))
        let bytes = gzip(tar([("x/PKG-INFO", Array(Bench.metadata("Old.Name", "1.0-1").utf8))]))
        let staged = MemoryStaged(bytes)
        let adoption = try await PyPIFrontend().adopt(path, staged, contentType: nil, in: port)
        #expect(adoption.path.text == "old-name/Old-Name-1.0.post1.tar.gz")
        try await port.commit(adoption.edit, staged: [staged] + adoption.staged)
        #expect(await bench.get("/pypi/py/simple/OLD_NAME/", accept: Bench.json).text.contains(#""versions":["1.0.post1"]"#))
        #expect(await bench.get("/pypi/py/simple/old-name/Old-Name-1.0.post1.tar.gz").body == bytes)
    }

    @Test("the same file again succeeds and changes nothing, other bytes are a conflict that names the file")
    func again() async {
        #expect(await bench.upload(Self.file, Bench.wheel()).status == 200)
        let before = await bench.get("/pypi/py/simple/demo/", accept: Bench.json)
        #expect(await bench.upload(Self.file, Bench.wheel()).status == 200)
        #expect(await bench.get("/pypi/py/simple/demo/", accept: Bench.json).transcript == before.transcript)
        let other = await bench.upload(Self.file, Bench.wheel(more: "Author: Eve\n"))
        #expect(other.transcript == "409\ncontent-type: text/plain; charset=utf-8\n\ndemo/\(Self.file): demo/\(Self.file) has other bytes already\n")
    }

    @Test("the metadata sidecar is the archive's own, with the fields clients want")
    func sidecar() async {
        _ = await bench.upload(Self.file, Bench.wheel())
        let answer = await bench.get("/pypi/py/simple/demo/\(Self.file).metadata")
        #expect(answer.status == 200 && answer.text == Bench.metadata("demo", "1.0"))
        #expect(answer.fields[.contentType] == "text/plain; charset=utf-8")
        let file = await bench.get("/pypi/py/simple/demo/\(Self.file)")
        #expect(file.fields[.contentDisposition] == "attachment; filename=\"\(Self.file)\"")
        #expect(HTTPField.Name("X-PyPI-File-SHA256").flatMap { file.fields[$0] } == Digest.of(.sha256, Bench.wheel()).hex)
    }

    private func attestations(
        subject: String = file, digest: String = Digest.of(.sha256, Bench.wheel()).hex, version: Int = 1, count: Int = 1
    ) -> String {
        let statement = #"{"_type":"t","subject":[{"name":"\#(subject)","digest":{"sha256":"\#(digest)"}}]}"#
        let envelope = #"{"statement":"\#(Base64.encode(Array(statement.utf8)))","signature":"eA=="}"#
        let one = #"{"version":\#(version),"verification_material":{"certificate":"eA=="},"envelope":\#(envelope)}"#
        return "[\(Array(repeating: one, count: count).joined(separator: ","))]"
    }

    @Test("attestations are kept and served as the file's provenance (PEP 740)")
    func provenance() async {
        #expect(await bench.upload(Self.file, Bench.wheel(), [("attestations", attestations())]).status == 200)
        let url = "https://granary.test/pypi/py/simple/demo/\(Self.file).provenance"
        #expect(await bench.get("/pypi/py/simple/demo/", accept: Bench.json).text.contains(#""provenance":"\#(url)""#))
        #expect(await bench.get("/pypi/py/simple/demo/").text.contains("data-provenance=\"\(url)\""))
        #expect(
            await bench.get("/pypi/py/simple/demo/\(Self.file).provenance").text
                == #"{"version":1,"attestation_bundles":[{"publisher":{"kind":"Granary","user":"alice"},"attestations":\#(attestations())}]}"#)
        // A retry without them takes nothing away.
        #expect(await bench.upload(Self.file, Bench.wheel()).status == 200)
        #expect(await bench.get("/pypi/py/simple/demo/").text.contains("data-provenance"))
    }

    @Test("an attestation about something else, or none at all, is refused")
    func badProvenance() async {
        let bad = [
            attestations(subject: "demo-1.1-py3-none-any.whl"), attestations(digest: String(repeating: "0", count: 64)), attestations(version: 2),
            attestations(count: 17), "[]", "{}", "[1]", "[", #"[{"version":1}]"#,
        ]
        for text in bad { #expect(await bench.upload(Self.file, Bench.wheel(), [("attestations", text)]).status == 400, "\(text)") }
        #expect(paths == [])
    }

    @Test("yanking needs the right and a release, and is undone by DELETE")
    func yank() async {
        _ = await bench.upload(Self.file, Bench.wheel())
        #expect(await bench.harness.send(.put, "/pypi/py/demo/1.0/yank", as: .reader).status == 403)
        #expect(await bench.harness.send(.put, "/pypi/py/demo/2.0/yank").status == 404)
        #expect(await bench.harness.send(.put, "/pypi/py/demo/what/yank").status == 404)
        let json = Array(#"{"reason":"wrong"}"#.utf8)
        #expect(await bench.harness.send(.put, "/pypi/py/Demo/v1.0/yank", [.contentType: "application/json"], body: json).status == 200)
        #expect(await bench.get("/pypi/py/simple/demo/", accept: Bench.json).text.contains(#""yanked":"wrong""#))
        #expect(await bench.harness.send(.delete, "/pypi/py/demo/1.0/yank").status == 200)
        #expect(await bench.get("/pypi/py/simple/demo/", accept: Bench.json).text.contains(#""yanked":false"#))
    }

    @Test("a missing right is said before the body is read, to the anonymous with a challenge")
    func rights() async {
        let anonymous = await bench.upload(Self.file, Bench.wheel(), as: .anonymous)
        #expect(anonymous.status == 401 && anonymous.fields[.wwwAuthenticate] == "Basic realm=\"granary\", charset=\"UTF-8\"")
        #expect(await bench.upload(Self.file, Bench.wheel(), as: .reader).status == 403)
        #expect(await bench.harness.send(.post, "/pypi/py/", body: [1]).status == 400)
    }

    @Test("every failure has its status, and its reason in the phrase where twine shows it", arguments: RegistryError.Code.allCases)
    func errors(_ code: RegistryError.Code) {
        let error = RegistryError(code, subject: .path("demo/x"), reason: "why\r\nSet-Cookie: é")
        let head = RequestHead(
            method: .get, target: "/", path: RequestPath(segments: []), query: Query(), fields: [:], requestID: "", peer: "", isSecure: false)
        let context = ErrorContext(baseURL: "", repository: nil, needs: nil, match: nil)
        guard case .bytes(let body, let status, _) = PyPIFrontend().reply(to: error, for: head, in: context) else {
            Issue.record("an error is bytes")
            return
        }
        #expect(status.code == code.status)
        #expect(status.reasonPhrase.hasSuffix("why??Set-Cookie: ??"))
        #expect(String(decoding: body, as: UTF8.self).hasSuffix("why\r\nSet-Cookie: é\n"))
    }
}
