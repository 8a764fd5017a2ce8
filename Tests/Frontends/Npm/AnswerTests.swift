import Core
import FrontendKit
import HTTPTypes
import Parsing
import TestSupport
import Testing

@testable import Npm

@Suite("search, login, audit and errors") struct AnswerTests {
    let bench = Bench()

    private func found(_ query: String) async -> [String] {
        await bench.json("-/v1/search?\(query)")["objects"]?.array?.compactMap { $0["package"]?["name"]?.string } ?? []
    }

    @Test("a search finds packages whose name, description or keywords have every word, names first")
    func search() async {
        await bench.publish("left-pad", "1.0.0", ["description": "Pads strings", "keywords": ["text", "padding"]])
        await bench.publish("@team/pad", "1.0.0", ["description": "Pads better"])
        await bench.publish("other", "1.0.0", ["description": "has a pad in its words"])
        await bench.publish("quiet", "1.0.0-rc.1", ["keywords": ["padding"]], tag: "next")
        #expect(await found("text=pad") == ["@team/pad", "left-pad", "quiet", "other"])
        #expect(await found("text=PADS+strings") == ["left-pad"])
        #expect(await found("text=keywords:padding") == ["left-pad", "quiet"])
        #expect(await found("text=scope:team") == ["@team/pad"])
        #expect(await found("text=pad&size=1&from=1") == ["left-pad"])
        #expect(await found("text=none") == [])
        #expect(await bench.json("-/v1/search?text=pad&size=0")["total"] == 4)
        let row = await bench.json("-/v1/search?text=left-pad")["objects"]?[0]
        #expect(
            row?["package"] == [
                "name": "left-pad", "scope": "unscoped", "version": "1.0.0", "description": "Pads strings", "keywords": ["text", "padding"],
                "date": "2027-01-15T08:00:01.000Z", "links": [:], "publisher": ["username": "alice"], "maintainers": [],
            ])
    }

    @Test("a login gives a token to who knows the password, and names no other account")
    func login() async {
        func login(_ user: String, _ name: String, _ password: String) async -> FrontendHarness.Answer {
            let body: JSON = ["_id": "x", "name": .string(name), "password": .string(password), "type": "user", "roles": []]
            return await bench.harness.send(.put, "/npm/js/-/user/org.couchdb.user:\(user)", body: body.encoded(), as: .anonymous)
        }
        #expect(
            await login("alice", "alice", "correct").transcript
                == "201\ncontent-type: application/json\n\n"
                + #"{"ok":true,"id":"org.couchdb.user:alice","rev":"1","token":"npm login of alice"}"#)
        #expect(await login("alice", "alice", "wrong").status == 401)
        #expect(await login("alice", "bob", "correct").status == 400)
        #expect(await login("al%20ice", "al ice", "correct").status == 201)
        #expect(await bench.harness.send(.delete, "/npm/js/-/user/token/npm%20login%20of%20alice").status == 200)
        #expect(await bench.harness.send(.delete, "/npm/js/-/user/token/other").status == 404)
    }

    @Test("who asks is told their name, who is nobody is told to log in")
    func whoami() async {
        #expect(await bench.json("-/whoami") == ["username": "alice"])
        #expect(
            await bench.harness.send(.get, "/npm/js/-/whoami", as: .anonymous).transcript == """
                401
                content-type: application/json
                www-authenticate: Basic realm="granary", charset="UTF-8"

                {"error":"You must be logged in: npm login"}
                """)
        #expect(await bench.get("-/ping").text == "{}")
    }

    @Test("an audit finds nothing here")
    func audit() async {
        #expect(await bench.harness.send(.post, "/npm/js/-/npm/v1/security/advisories/bulk", body: [0x1F, 0x8B]).text == "{}")
        let quick = await bench.harness.send(.post, "/npm/js/-/npm/v1/security/audits/quick", body: Array("{}".utf8))
        #expect((try? JSON.parse(quick.body))?["metadata"]?["vulnerabilities"]?["critical"] == 0)
    }

    @Test("provenance is kept with its version and served; about other bytes it is refused")
    func provenance() async {
        func document(_ digest: String) -> JSON {
            let statement: JSON = [
                "_type": "x", "predicateType": "https://slsa.dev/provenance/v1",
                "subject": [["name": "pkg:npm/demo@1.0.0", "digest": ["sha512": .string(digest)]]],
            ]
            let bundle: JSON = [
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": [:],
                "dsseEnvelope": ["payload": .string(Base64.encode(statement.encoded())), "signatures": []],
            ]
            var document = Bench.document()
            var attachments = document["_attachments"] ?? .null
            attachments["demo-1.0.0.sigstore"] = ["content_type": "x", "data": .string(bundle.text), "length": 1]
            document["_attachments"] = attachments
            return document
        }
        #expect(await bench.put(document("00")).outcome == "400 demo was refused: its provenance is about other bytes than the tarball")
        #expect(await bench.put(document(Digest.of(.sha512, Bench.tarball()).hex)).status == 200)
        let url = await bench.json("demo/1.0.0")["dist"]?["attestations"]?["url"]?.string
        #expect(url == "https://granary.test/npm/js/-/npm/v1/attestations/demo@1.0.0")
        let kept = await bench.json("-/npm/v1/attestations/demo@1.0.0")
        #expect(kept["attestations"]?[0]?["predicateType"] == "https://slsa.dev/provenance/v1")
        #expect(kept["attestations"]?[0]?["bundle"]?["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json")
        for absent in ["demo@2.0.0", "demo", "@demo", "demo@", "@team/demo@1.0.0", "@team%2fdemo@1.0.0"] {
            #expect(await bench.get("-/npm/v1/attestations/\(absent)").status == 404, "\(absent)")
        }
    }

    @Test(
        "what is not there is 404 in words npm shows",
        arguments: [
            ("none", "js has no package none"), ("npm", "js has no package npm"), ("none/-/none-1.0.0.tgz", "there is no such file"),
            ("_none", "js has no package _none"), (".none", ".none is no package name"), ("a%20b", "a b is no package name"),
            ("@team/", "nothing is here"), ("none/1.0.0", "js has no package none"), ("none/-/a%2fb", "a/b is no file name of none"),
            ("-/npm/v1/keys", "nothing is here"),
        ])
    func absent(_ path: String, _ words: String) async { #expect(await bench.get(path).outcome == "404 \(words)") }

    @Test("every failure has its status, and its reason as npm reads it", arguments: RegistryError.Code.allCases)
    func errors(_ code: RegistryError.Code) throws {
        let head = try RequestHead(method: .get, target: "/npm/js/x", fields: [:], requestID: "", peer: "", isSecure: false)
        let context = ErrorContext(baseURL: "", repository: "js", needs: .read, match: nil)
        let reply = NpmFrontend().reply(to: RegistryError(code, subject: .request, reason: "why \"so\""), for: head, in: context)
        guard case .bytes(let body, let status, let fields) = reply else { return }
        #expect(status.code == code.status && String(decoding: body, as: UTF8.self) == #"{"error":"why \"so\""}"#)
        #expect((fields[.wwwAuthenticate] != nil) == (code == .unauthenticated))
    }
}
