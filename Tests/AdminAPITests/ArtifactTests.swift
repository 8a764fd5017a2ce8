import Core
import HTTPTypes
import Parsing
import Registry
import TestHouse
import Testing

/// The generic artifact API.
@Suite("artifacts") struct ArtifactTests {
    static func hex(_ text: String) -> String { Digest.of(.sha256, Array(text.utf8)).hex }

    @Test("bytes put at a path are described, downloaded, and counted")
    func put() async throws {
        let house = try await House()
        await house.repository("files")
        let made = await house.put(
            "hello", at: "tool/1.0/tool.txt", in: "files", [("X-Checksum-SHA256", Self.hex("hello")), ("Content-Type", "text/plain")])
        #expect(made.status == 201)
        let path = "/api/v1/repositories/files/artifacts/tool/1.0/tool.txt"
        let seen = await house.send(.get, path)
        #expect(seen.json == made.json)
        #expect(seen.json["name"] == "tool")
        #expect(seen.json["version"] == "1.0")
        #expect(seen.json["size_bytes"] == 5)
        #expect(seen.json["checksum_sha256"]?.string == Self.hex("hello"))
        #expect(seen.json["content_type"] == "text/plain")
        #expect(seen.json["quarantine_status"] == "unscanned")
        #expect(seen.json["download_count"] == 0)
        let bytes = await house.send(.get, "/api/v1/repositories/files/download/tool/1.0/tool.txt")
        #expect(bytes.text == "hello")
        #expect(bytes.field("Content-Disposition") == #"attachment; filename="tool.txt""#)
        #expect(bytes.field("X-Checksum-SHA256") == Self.hex("hello"))
        #expect(await house.send(.head, "/general/files/tool/1.0/tool.txt").status == 200)
        #expect(await house.send(.get, "/general/files/tool/1.0/tool.txt", [("Range", "bytes=3-")]).status == 200)
        #expect(await house.send(.get, "/general/files/tool/1.0/tool.txt").text == "hello")
        #expect(await house.send(.get, path).json["download_count"] == 2)
        try await house.registry.downloads.flush()
        #expect(await house.send(.get, path).json["download_count"] == 2)
        #expect(await house.send(.get, "/api/v1/admin/stats").json["total_downloads"] == 2)
    }

    @Test("the same bytes may be put again; others may not, also after a delete; the same may then come back")
    func again() async throws {
        let house = try await House()
        await house.repository("files")
        #expect(await house.put("one", at: "a/1/f", in: "files").status == 201)
        #expect(await house.put("one", at: "a/1/f", in: "files").status == 201)
        #expect(await house.put("two", at: "a/1/f", in: "files").outcome == "409 CONFLICT")
        #expect(await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/f").status == 200)
        #expect(await house.send(.get, "/api/v1/repositories/files/artifacts/a/1/f").outcome == "404 NOT_FOUND")
        #expect(await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/f").outcome == "404 NOT_FOUND")
        #expect(await house.put("two", at: "a/1/f", in: "files").outcome == "409 CONFLICT")
        #expect(await house.put("one", at: "a/1/f", in: "files").status == 201)
    }

    @Test("what cannot be kept is refused with its reason, and nothing is stored")
    func refused() async throws {
        let house = try await House()
        await house.repository("files")
        await house.repository("small", [("quota_bytes", 4)])
        #expect(await house.put("x", at: "f", in: "files", [("X-Checksum-SHA256", Self.hex("y"))]).outcome == "400 VALIDATION_ERROR")
        #expect(await house.put("x", at: "f", in: "files", [("X-Checksum-MD5", "zz")]).outcome == "400 VALIDATION_ERROR")
        #expect(await house.put("x", at: String(repeating: "a", count: 2049), in: "files").outcome == "400 VALIDATION_ERROR")
        for path in ["a/../b", "a//b", "%2e%2e/b", "a%00b", "a%5Cb", "a/%2Fb"] {
            #expect(await house.put("x", at: path, in: "files").status == 400, "\(path)")
        }
        #expect(await house.put("12345", at: "f", in: "small").outcome == "507 QUOTA_EXCEEDED")
        #expect(await house.put("x", at: "f", in: "none").outcome == "404 NOT_FOUND")
        #expect(await house.send(.get, "/api/v1/repositories/files/artifacts").json["items"] == [])
        #expect(await house.send(.get, "/api/v1/repositories/small").json["storage_used_bytes"] == 0)
    }

    @Test("a form's file is put where the path or the form says; a form that was cut is refused")
    func form() async throws {
        let house = try await House()
        await house.repository("files")
        func body(_ more: String) -> [UInt8] {
            Array("\(more)--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.txt\"\r\n\r\nhello\r\n--x--\r\n".utf8)
        }
        let type = [("Content-Type", "multipart/form-data; boundary=x")]
        let root = "/api/v1/repositories/files/artifacts"
        #expect(await house.send(.post, root, type, body: body("")).json["path"] == "f.txt")
        let field = "--x\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\na/b/\r\n"
        #expect(await house.send(.post, root, type, body: body(field)).json["path"] == "a/b/f.txt")
        let placed = await house.send(.post, "\(root)/c/1/g.txt", type, body: body(""))
        #expect(placed.status == 201)
        #expect(placed.json["path"] == "c/1/g.txt")
        #expect(await house.send(.post, root, type, body: Array(body("").dropLast(8))).outcome == "400 VALIDATION_ERROR")
        #expect(await house.send(.post, root, body: body("")).outcome == "400 VALIDATION_ERROR")
    }

    @Test("listing pages by number and by cursor, and filters by prefix and text")
    func listing() async throws {
        let house = try await House()
        await house.repository("files")
        for number in 1...5 { await house.put("\(number)", at: "d\(number % 2)/f\(number)", in: "files") }
        func paths(_ query: String) async -> [String] {
            await house.send(.get, "/api/v1/repositories/files/artifacts?\(query)").json["items"]?.array?.compactMap { $0["path"]?.string } ?? []
        }
        #expect(await paths("") == ["d0/f2", "d0/f4", "d1/f1", "d1/f3", "d1/f5"])
        #expect(await paths("page=2&per_page=2") == ["d1/f1", "d1/f3"])
        #expect(await paths("path_prefix=d0/") == ["d0/f2", "d0/f4"])
        #expect(await paths("q=F3") == ["d1/f3"])
        var cursor = ""
        var walked: [String] = []
        repeat {
            let page = await house.send(.get, "/api/v1/repositories/files/artifacts?per_page=2\(cursor)")
            walked += page.json["items"]?.array?.compactMap { $0["path"]?.string } ?? []
            #expect(page.json["has_more"]?.bool == (page.json["next_cursor"] != nil))
            cursor = page.json["next_cursor"]?.string.map { "&cursor=\($0)" } ?? ""
        } while !cursor.isEmpty && walked.count < 10
        #expect(walked == ["d0/f2", "d0/f4", "d1/f1", "d1/f3", "d1/f5"])
        let first = await house.send(.get, "/api/v1/repositories/files/artifacts?per_page=2")
        #expect(first.json["pagination"] == ["page": 1, "per_page": 2, "total": 5, "total_pages": 3])
        #expect(await house.send(.get, "/api/v1/repositories/files/artifacts?cursor=!").outcome == "400 VALIDATION_ERROR")
        #expect(await house.send(.get, "/api/v1/repositories/files/artifacts?page=0").outcome == "400 VALIDATION_ERROR")
    }
}

/// Repositories as things of their own.
@Suite("repositories") struct RepositoryTests {
    @Test("a repository is made, found, renamed with what is in it, and removed with it")
    func life() async throws {
        let house = try await House()
        let made = await house.repository("files", format: "Generic", isPublic: true, [("description", "d"), ("quota_bytes", 1000)])
        #expect(made.status == 200)
        #expect(made.json["repo_type"] == "local")
        #expect(made.json["is_public"] == true)
        #expect(made.json["allow_anonymous_access"] == true)
        #expect(made.json["quota_bytes"] == 1000)
        #expect(await house.repository("files").outcome == "409 CONFLICT")
        await house.repository("other")
        #expect(await house.send(.patch, "/api/v1/repositories/other", json: ["key": "files"]).outcome == "409 CONFLICT")
        await house.put("hello", at: "a/1/f", in: "files")
        let renamed = await house.send(.patch, "/api/v1/repositories/files", json: ["key": "renamed", "is_public": false])
        #expect(renamed.json["id"] == made.json["id"])
        #expect(renamed.json["storage_used_bytes"] == 5)
        #expect(await house.send(.get, "/general/renamed/a/1/f").text == "hello")
        #expect(await house.send(.get, "/general/files/a/1/f").status == 404)
        #expect(await house.send(.get, "/general/renamed/a/1/f", as: .none).status == 401)
        let keys = await house.send(.get, "/api/v1/repositories?q=ren").json["items"]?.array?.compactMap { $0["key"]?.string }
        #expect(keys == ["renamed"])
        #expect(await house.send(.delete, "/api/v1/repositories/renamed").status == 200)
        #expect(await house.send(.get, "/api/v1/repositories/renamed").outcome == "404 NOT_FOUND")
        await house.repository("renamed")
        #expect(await house.send(.get, "/general/renamed/a/1/f").status == 404)
        #expect(await house.put("other bytes", at: "a/1/f", in: "renamed").status == 201)
    }

    @Test(
        "a wrong draft is refused and says which field",
        arguments: [
            (#"{"key":"x","name":"x","format":"generic"}"#, "repo_type"),
            (#"{"key":"../x","name":"x","format":"generic","repo_type":"local"}"#, "key"),
            (#"{"key":"x","name":"x","format":"nonesuch","repo_type":"local"}"#, "format"),
            (#"{"key":"x","name":"x","format":"generic","repo_type":"odd"}"#, "local, remote"),
            (#"{"key":"x","name":"x","format":"pypi","repo_type":"remote"}"#, "upstream_url"),
            (#"{"key":"x","name":"x","format":"pypi","repo_type":"virtual","member_repos":[]}"#, "member"),
            (#"{"key":"x","name":"x","format":"pypi","repo_type":"local","promotion_only":true}"#, "promotion_only"),
            (#"{"key":"x","name":"x","format":"pypi","repo_type":"local","quota_bytes":-1}"#, "quota"),
            (#"{"key":"x","name":"x","format":"pypi","repo_type":"local","quota_bytes":"1"}"#, "quota_bytes"), ("[", "JSON"), ("", "missing"),
        ])
    func wrong(body: String, word: String) async throws {
        let house = try await House()
        let answer = await house.send(.post, "/api/v1/repositories", body: Array(body.utf8))
        #expect(answer.outcome == "400 VALIDATION_ERROR")
        #expect(answer.json["message"]?.string?.contains(word) == true, "\(answer.text)")
    }

    @Test("anonymous callers see public repositories, with their content; the rest is not there")
    func visibility() async throws {
        let house = try await House()
        await house.repository("open", isPublic: true)
        await house.repository("closed")
        await house.put("1", at: "shown/1/f", in: "open")
        await house.put("2", at: "hidden/1/f", in: "closed")
        let list = await house.send(.get, "/api/v1/repositories", as: .none)
        #expect(list.json["items"]?.array?.compactMap { $0["key"]?.string } == ["open"])
        #expect(list.json["pagination"]?["total"] == 1)
        let packages = await house.send(.get, "/api/v1/packages", as: .none)
        #expect(packages.json["items"]?.array?.compactMap { $0["name"]?.string } == ["shown"])
        #expect(packages.json["pagination"]?["total"] == 1)
        let all = await house.send(.get, "/api/v1/packages?search=hid")
        #expect(all.json["pagination"]?["total"] == 1)
        let hidden = try #require(all.json["items"]?[0]?["id"]?.string)
        #expect(await house.send(.get, "/api/v1/packages/\(hidden)").json["version"] == "1")
        #expect(await house.send(.get, "/api/v1/packages/\(hidden)/versions").json["versions"]?[0]?["size_bytes"] == 1)
        let absent = house.clock.world.newID()
        for path in ["", "/versions"] {
            let refused = await house.send(.get, "/api/v1/packages/\(hidden)\(path)", as: .none)
            #expect(refused.outcome == "404 NOT_FOUND")
            #expect(refused.transcript == (await house.send(.get, "/api/v1/packages/\(absent)\(path)", as: .none)).transcript)
        }
        await house.user("ann")
        let manage = Credential.bearer(await house.token(["read:repositories"]))
        #expect(await house.send(.get, "/api/v1/packages", as: manage).json["pagination"]?["total"] == 0)
    }

    @Test("a repository nobody may know of answers like one that is not there, in every word")
    func hidden() async throws {
        let house = try await House()
        await house.repository("closed")
        await house.put("1", at: "p/1/f", in: "closed")
        await house.user("ann")
        for who in [Credential.none, .user("ann")] {
            for path in ["", "/artifacts", "/artifacts/p/1/f", "/download/p/1/f", "/cache-ttl"] {
                let hidden = await house.send(.get, "/api/v1/repositories/closed\(path)", as: who)
                let absent = await house.send(.get, "/api/v1/repositories/absent\(path)", as: who)
                #expect(hidden.transcript == absent.transcript)
                #expect([401, 404].contains(hidden.status))
            }
            for method in ["closed", "absent"] {
                #expect([401, 404].contains(await house.send(.delete, "/api/v1/repositories/\(method)", as: who).status))
            }
        }
    }

    @Test("an upstream's credentials are never shown, and do not follow it to another origin")
    func upstreamCredentials() async throws {
        let house = try await House()
        let made = await house.remote(
            "mirror", format: "pypi", of: "http://127.0.0.1:9/a",
            [("upstream_auth_type", "basic"), ("upstream_username", "u"), ("upstream_password", "canary-secret")])
        #expect(made.json["upstream_auth_configured"] == true)
        #expect(!made.text.contains("canary-secret"))
        let same = await house.send(.patch, "/api/v1/repositories/mirror", json: ["upstream_url": "http://127.0.0.1:9/b"])
        #expect(same.json["upstream_auth_configured"] == true)
        let moved = await house.send(.patch, "/api/v1/repositories/mirror", json: ["upstream_url": "http://127.0.0.1:10/b"])
        #expect(moved.json["upstream_auth_configured"] == false)
        let given = await house.send(
            .put, "/api/v1/repositories/mirror/upstream-auth", json: ["auth_type": "bearer", "password": "canary-secret"])
        #expect(given.json["auth_type"] == "bearer")
        #expect(!given.text.contains("canary-secret"))
        #expect(await house.send(.put, "/api/v1/repositories/mirror/cache-ttl", json: ["cache_ttl_seconds": 5]).json["cache_ttl_seconds"] == 5)
        #expect(await house.send(.get, "/api/v1/repositories/mirror/cache-ttl").json["cache_ttl_seconds"] == 5)
        #expect(await house.send(.put, "/api/v1/repositories/mirror/cache-ttl", json: ["cache_ttl_seconds": 0]).status == 400)
    }
}
