import Core
import FrontendKit
import HTTPTypes
import TestSupport
import Testing

@Suite("Maven: files, checksums, refusals") struct DeployTests {
    private let jar = "org/example/app/1.0/app-1.0.jar"

    @Test("a release comes back with its checksums, in fields and in files beside it")
    func release() async throws {
        let house = MavenHouse()
        let put = await house.put(jar, "the jar")
        #expect((put.status, put.text) == (201, "Created\n"))
        let got = await house.get(jar)
        let bytes = Array("the jar".utf8)
        #expect(
            got.transcript == """
                200
                content-type: application/java-archive
                x-checksum-md5: \(Digest.of(.md5, bytes).hex)
                x-checksum-sha1: \(Digest.of(.sha1, bytes).hex)
                x-checksum-sha256: \(Digest.of(.sha256, bytes).hex)

                the jar
                """)
        for algorithm in DigestAlgorithm.allCases {
            let sidecar = await house.get("\(jar).\(algorithm.rawValue)")
            #expect(sidecar.text == Digest.of(algorithm, bytes).hex)
            #expect(sidecar.fields[.contentType] == "text/plain")
        }
    }

    @Test("the same bytes succeed again; other bytes of a release are 409 with the path, of a snapshot they replace")
    func redeploy() async throws {
        let house = MavenHouse()
        try await house.deploy(jar, "one")
        try await house.deploy(jar, "one")
        let refused = await house.put(jar, "two")
        #expect(refused.status == 409)
        #expect(refused.text.hasPrefix("\(jar): "))
        let snapshot = "org/example/app/1.0-SNAPSHOT/app-1.0-SNAPSHOT.jar"
        try await house.deploy(snapshot, "one")
        try await house.deploy(snapshot, "two")
        #expect(await house.get(snapshot).text == "two")
        #expect(await house.get(snapshot + ".sha1").text == Digest.of(.sha1, "two".utf8).hex)
    }

    @Test("a client's checksum must be the file's: 400 when it disagrees, 404 when there is no file")
    func checksums() async throws {
        let house = MavenHouse()
        try await house.deploy(jar, "the jar")
        try await house.deploy(jar + ".sha1", Digest.of(.sha1, "the jar".utf8).hex)
        try await house.deploy(jar + ".md5", Digest.of(.md5, "the jar".utf8).hex.uppercased() + "  app-1.0.jar\n")
        let wrong = await house.put(jar + ".sha1", Digest.of(.sha1, "another".utf8).hex)
        #expect(wrong.status == 400)
        #expect(wrong.text.contains(Digest.of(.sha1, "the jar".utf8).hex))
        #expect(await house.put(jar + ".sha1", "nonsense").status == 400)
        #expect(await house.put("org/example/app/1.0/app-1.0.war.sha1", Digest.of(.sha1, "x".utf8).hex).status == 404)
        // Of metadata it is of what the client wrote, which is not what is served.
        try await house.deploy("org/example/app/maven-metadata.xml.sha1", Digest.of(.sha1, "whatever".utf8).hex)
    }

    @Test("signatures, their checksums and Gradle's module metadata are kept")
    func besides() async throws {
        let house = MavenHouse()
        try await house.deploy(jar, "the jar")
        try await house.deploy(jar + ".asc", "a signature")
        try await house.deploy(jar + ".asc.sha1", Digest.of(.sha1, "a signature".utf8).hex)
        try await house.deploy("org/example/app/1.0/app-1.0.module", #"{"formatVersion":"1.1"}"#)
        #expect(await house.get(jar + ".asc").text == "a signature")
        #expect(await house.get(jar + ".asc.md5").text == Digest.of(.md5, "a signature".utf8).hex)
        let module = await house.get("org/example/app/1.0/app-1.0.module")
        #expect(module.text == #"{"formatVersion":"1.1"}"#)
        #expect(module.fields[.contentType] == "application/json")
    }

    @Test(
        "a path that is no coordinate is refused with what is wrong about it",
        arguments: [
            ("app.jar", "group/artifact/version/file"), ("org/example/app-1.0.jar", "group/artifact/version/file"),
            ("org/example/app/1.0/other-1.0.jar", "begins with app-1.0"), ("org/example/app/1.0/app-1.1.jar", "begins with app-1.0"),
            ("org/exa.mple/app/1.0/app-1.0.jar", "group and artifact"), ("org/example/a:b/1.0/a:b-1.0.jar", "group and artifact"),
            ("org/example/app/1.0/app-1.0", "no ending"), ("org/example/app/1.0/app-1.0-.jar", "empty classifier"),
            ("org/example/app/1.0-SNAPSHOT/app-1.0-2024.jar", "begins with app-1.0-SNAPSHOT"),
            ("org/example/app/1.0[x]/app-1.0[x].jar", "no version"),
        ])
    func layout(path: String, why: String) async {
        let answer = await MavenHouse().put(path.replacing("[", with: "%5B").replacing("]", with: "%5D"), "x")
        #expect(answer.status == 400)
        #expect(answer.text.contains(why), "\(answer.text)")
    }

    @Test("a POM must say the coordinates of its path, by itself or from its parent; a property says nothing")
    func poms() async throws {
        let house = MavenHouse()
        let path = "org/example/app/1.0/app-1.0.pom"
        for (text, why) in [
            (MavenHouse.pom("org.example", "app", "1.1"), "version 1.1"), (MavenHouse.pom("org.other", "app", "1.0"), "groupId org.other"),
            (MavenHouse.pom("org.example", "lib", "1.0"), "artifactId lib"), ("<project><artifactId>app</artifactId></project>", "no groupId"),
            ("<metadata/>", "<project>"), ("not xml", "outside the root"), ("<!DOCTYPE x [<!ENTITY a 'b'>]><project/>", "document types"),
            ("<project>", "ends before"),
        ] {
            let answer = await house.put(path, text)
            #expect(answer.status == 400)
            #expect(answer.text.contains(why), "\(answer.text)")
        }
        try await house.deploy(
            path,
            "<project><parent><groupId>org.example</groupId><version>${revision}</version></parent><artifactId>app</artifactId><name>S&oslash;</name></project>"
        )
        let version = house.harness.registry.repository("m")?.facts(in: .package(try #require(PackageName("org.example:app"))), after: nil, limit: 1)
            .versions.first
        guard case .inline(let bytes, "application/xml") = version?.manifest else {
            Issue.record("the POM is not the version's manifest: \(String(describing: version))")
            return
        }
        #expect(String(decoding: bytes, as: UTF8.self).contains("S&oslash;"))
    }

    @Test("a jar that comes after its POM, or again, leaves the manifest alone")
    func order() async throws {
        let house = MavenHouse()
        try await house.deploy("org/example/app/1.0/app-1.0.pom", MavenHouse.pom("org.example", "app", "1.0"))
        try await house.deploy(jar, "the jar")
        let facts = house.harness.registry.repository("m")?.facts(in: .package(try #require(PackageName("org.example:app"))), after: nil, limit: 1)
        #expect(facts?.versions.map { $0.manifest == .none } == [false])
        #expect(facts?.assets.count == 2)
    }

    @Test("what is not there is a plain 404; readers may not put; strangers are asked for credentials")
    func errors() async {
        let house = MavenHouse()
        for path in [jar, jar + ".sha1", "org/example/app/maven-metadata.xml", "org/maven-metadata.xml.md5", "archetype-catalog.xml", "x/y"] {
            #expect(await house.get(path).status == 404)
        }
        #expect(await house.harness.send(.put, "/maven/m/\(jar)", body: [1], as: .reader).status == 403)
        let asked = await house.harness.send(.put, "/maven/m/\(jar)", body: [1], as: .anonymous)
        #expect(asked.status == 401)
        #expect(asked.fields[.wwwAuthenticate] == "Basic realm=\"granary\", charset=\"UTF-8\"")
    }

    @Test(
        "every failure has its status, and says why in the reason phrase",
        arguments: [
            (.notFound, 404), (.immutable, 409), (.conflict, 409), (.invalid, 400), (.digestMismatch, 400), (.tooLarge, 413), (.forbidden, 403),
            (.blocked, 403), (.unsupported, 405), (.upstreamFailed, 502), (.noSpace, 507), (.unavailable, 503), (.pending, 423),
            (.unauthenticated, 401),
        ] as [(RegistryError.Code, Int)])
    func statuses(code: RegistryError.Code, status: Int) throws {
        let head = try RequestHead(method: .put, target: "/maven/m/x", fields: [:], requestID: "1", peer: "", isSecure: false)
        let reply = MavenHouse().harness.frontend.reply(
            to: RegistryError(code, subject: .request, reason: "wä\nhy"), for: head,
            in: ErrorContext(baseURL: "", repository: "m", needs: .write, match: nil))
        guard case .bytes(let body, let answered, _) = reply else {
            Issue.record("an error is bytes")
            return
        }
        #expect((answered.code, answered.reasonPhrase) == (status, "w???hy"))
        #expect(String(decoding: body, as: UTF8.self) == "wä\nhy\n")
    }
}
