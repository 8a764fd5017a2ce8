import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

/// Virtual repositories: what each caller sees of which member.
@Suite("virtual repositories") struct VirtualTests {
    static let json = [("Accept", "application/vnd.pypi.simple.v1+json")]

    @Test("the union: wheels of one version come from several members, the first member's file wins, links are the virtual's own")
    func union() async throws {
        let house = try await House()
        for key in ["a", "b"] { await house.repository(key, format: "pypi", isPublic: true) }
        await house.virtual("all", format: "pypi", of: ["a", "b"])
        let first = WheelFile("tool", "1.0", says: "a"), second = WheelFile("tool", "1.0", says: "b")
        let other = WheelFile("tool", "1.0", tag: "cp311-cp311-linux_x86_64", says: "b")
        #expect(await house.publish(first, to: "a").status == 201)
        #expect(await house.publish(second, to: "b").status == 201)
        #expect(await house.publish(other, to: "b").status == 201)
        let page = await house.send(.get, "/pypi/all/simple/tool/", as: .none, Self.json)
        #expect(page.json["files"]?.array?.map { $0["url"]?.string } == [other, first].map { "/pypi/all/simple/tool/\($0.name)" })
        #expect(page.json["files"]?.array?.map { $0["hashes"]?["sha256"]?.string } == [other, first].map(\.sha256))
        for (file, held) in [(first, first), (other, other)] {
            let answer = await house.send(.get, "/pypi/all/simple/tool/\(file.name)", as: .none)
            #expect(answer.body == held.bytes)
            #expect(answer.field("Cache-Control") == "public, max-age=31536000, immutable")
        }
        // The sidecar is that of the file the index lists.
        let announced = page.json["files"]?[1]?["core-metadata"]?["sha256"]?.string
        let sidecar = await house.send(.get, "/pypi/all/simple/tool/\(first.name).metadata", as: .none)
        #expect(Digest.of(.sha256, sidecar.body).hex == announced)
        let arranged = await house.send(
            .put, "/api/v1/repositories/all/members",
            json: ["members": [["member_key": "a", "priority": 9], ["member_key": "b", "priority": 1]]])
        #expect(arranged.json["members"]?.array?.map { $0["member_repo_key"]?.string } == ["b", "a"])
        #expect(await house.send(.get, "/pypi/all/simple/tool/\(first.name)", as: .none).body == second.bytes)
        let index = await house.send(.get, "/pypi/all/simple/", as: .none, Self.json)
        #expect(index.json["projects"]?.array?.map { $0["name"]?.string } == ["tool"])
    }

    @Test("a private member of a public virtual is invisible to who may not read it, on every road; each caller has its own page")
    func visibility() async throws {
        let house = try await House()
        await house.repository("open", format: "pypi", isPublic: true)
        await house.repository("closed", format: "pypi")
        await house.virtual("all", format: "pypi", of: ["closed", "open"])
        await house.virtual("control", format: "pypi", of: ["open"])
        await house.grant(["read"], on: "closed", to: await house.user("ann"))
        await house.user("bob")
        let secret = WheelFile("tool", "2.0", says: "secret"), plain = WheelFile("tool", "1.0", says: "plain")
        let hidden = WheelFile("hidden", "1.0", says: "hidden")
        await house.publish(secret, to: "closed")
        await house.publish(hidden, to: "closed")
        await house.publish(plain, to: "open")

        // Whoever may not read the member gets, in every word, what they would get without it.
        let roads = [
            "/pypi/all/simple/", "/pypi/all/simple/tool/", "/pypi/all/simple/hidden/", "/pypi/all/simple/tool/\(secret.name)",
            "/pypi/all/simple/tool/\(secret.name).metadata", "/pypi/all/simple/hidden/\(hidden.name)", "/api/v1/repositories/all/artifacts",
            "/api/v1/repositories/all/artifacts/tool/\(secret.name)", "/api/v1/repositories/all/download/tool/\(secret.name)",
            "/api/v1/repositories/all/artifacts?q=hidden", "/api/v1/packages?repository_key=all", "/api/v1/packages?repository_key=all&search=hid",
        ]
        for who in [Credential.none, .user("bob")] {
            for road in roads {
                // The owner's page is in the cache first.
                await house.send(.get, road, as: .user("ann"), Self.json)
                let seen = await house.send(.get, road, as: who, Self.json)
                let control = await house.send(.get, road.replacing("/all", with: "/control").replacing("=all", with: "=control"), as: who, Self.json)
                let expected = control.text.replacing("/control/", with: "/all/").replacing("control has", with: "all has")
                #expect(seen.status == control.status, "\(road)")
                #expect(seen.text == expected, "\(road)")
            }
        }
        let members = await house.send(.get, "/api/v1/repositories/all/members", as: .user("bob"))
        #expect(members.json["members"]?.array?.map { $0["member_repo_key"]?.string } == ["open"])
        let page = await house.send(.get, "/pypi/all/simple/tool/", as: .user("ann"), Self.json)
        #expect(page.json["files"]?.array?.count == 2)
        #expect(page.field("Cache-Control") == "private, no-cache")
        let bytes = await house.send(.get, "/pypi/all/simple/tool/\(secret.name)", as: .user("ann"))
        #expect(bytes.body == secret.bytes)
        #expect(bytes.field("Cache-Control") == "private, max-age=31536000, immutable")
        let list = await house.send(.get, "/api/v1/repositories/all/artifacts", as: .user("ann"))
        #expect(list.json["pagination"]?["total"] == 6)
        #expect(await house.send(.get, "/api/v1/packages?repository_key=all", as: .user("ann")).json["pagination"]?["total"] == 2)
        #expect(await house.send(.get, "/api/v1/packages?repository_key=all", as: .user("bob")).json["pagination"]?["total"] == 1)
        // Taken away: gone with the next request.
        let permissions = await house.send(.get, "/api/v1/permissions").json["items"]?.array ?? []
        for row in permissions { await house.send(.delete, "/api/v1/permissions/\(row["id"]?.string ?? "")") }
        #expect(await house.send(.get, "/pypi/all/simple/tool/\(secret.name)", as: .user("ann")).status == 404)
    }

    @Test("a public member seen through a private virtual is not for shared caches")
    func privateVirtual() async throws {
        let house = try await House()
        await house.repository("open", isPublic: true)
        await house.put("x", at: "a/1/f", in: "open")
        await house.virtual("inner", of: ["open"], isPublic: false)
        #expect(await house.send(.get, "/general/inner/a/1/f", as: .none).status == 401)
        let answer = await house.send(.get, "/general/inner/a/1/f")
        #expect(answer.text == "x")
        #expect(answer.field("Cache-Control") == "private, max-age=31536000, immutable")
        #expect(await house.send(.get, "/api/v1/repositories/inner/download/a/1/f").field("Cache-Control") == "private, no-cache")
    }

    @Test("nested virtuals unfold in their place; a repository counts where it comes first; circles are refused")
    func nesting() async throws {
        let house = try await House()
        for key in ["a", "b", "c"] {
            await house.repository(key, isPublic: true)
            await house.put(key, at: "x/1/f", in: key)
            await house.put(key, at: "only/1/\(key)", in: key)
        }
        await house.virtual("inner", of: ["b", "a"])
        await house.virtual("outer", of: ["inner", "c", "a"])
        #expect(await house.send(.get, "/general/outer/x/1/f", as: .none).text == "b")
        for key in ["a", "b", "c"] { #expect(await house.send(.get, "/general/outer/only/1/\(key)", as: .none).text == key) }
        #expect(await house.send(.get, "/general/outer/only/1/d", as: .none).status == 404)
        let list = await house.send(.get, "/api/v1/repositories/outer/artifacts?per_page=3", as: .none)
        #expect(list.json["items"]?.array?.map { $0["path"]?.string } == ["only/1/a", "only/1/b", "only/1/c"])
        let rest = await house.send(
            .get, "/api/v1/repositories/outer/artifacts?per_page=3&cursor=\(list.json["next_cursor"]?.string ?? "")", as: .none)
        #expect(rest.json["items"]?.array?.map { $0["repository_key"]?.string } == ["b"])
        for (member, key) in [("outer", "inner"), ("inner", "inner"), ("outer", "outer")] {
            let answer = await house.send(.post, "/api/v1/repositories/\(key)/members", json: ["member_key": .string(member)])
            #expect(answer.outcome == "400 VALIDATION_ERROR")
        }
        // A nested virtual one may not read hides what is only reached through it.
        await house.send(.patch, "/api/v1/repositories/inner", json: ["is_public": false])
        #expect(await house.send(.get, "/general/outer/x/1/f", as: .none).text == "c")
        #expect(await house.send(.get, "/general/outer/only/1/b", as: .none).status == 404)
        #expect(await house.send(.get, "/general/outer/only/1/b").text == "b")
    }

    @Test("members are managed over REST: order, conflicts, other formats, unknown ones, and what a deleted member leaves")
    func members() async throws {
        let house = try await House()
        for key in ["a", "b", "c"] { await house.repository(key, isPublic: true) }
        await house.repository("py", format: "pypi")
        let made = await house.repository(
            "all", isPublic: true,
            [
                ("repo_type", "virtual"), ("member_repos", [["repo_key": "b", "priority": 5], ["repo_key": "a", "priority": 1]]),
                ("deploy_member_key", "b"), ("shared_names", ["acme-*"]),
            ])
        #expect(made.json["deploy_member_key"] == "b")
        #expect(made.json["shared_names"] == ["acme-*"])
        let root = "/api/v1/repositories/all/members"
        func order() async -> [String] {
            await house.send(.get, root).json["members"]?.array?.map { "\($0["member_repo_key"]?.string ?? "") \($0["priority"]?.int ?? -1)" } ?? []
        }
        #expect(await order() == ["a 1", "b 5"])
        #expect(await house.send(.post, root, json: ["member_key": "c"]).json["priority"] == 6)
        #expect(await house.send(.post, root, json: ["member_key": "c"]).outcome == "409 CONFLICT")
        #expect(await house.send(.post, root, json: ["member_key": "py"]).outcome == "400 VALIDATION_ERROR")
        #expect(await house.send(.post, root, json: ["member_key": "nobody"]).outcome == "404 NOT_FOUND")
        #expect(await house.send(.put, root, json: ["members": [["member_key": "py", "priority": 1]]]).outcome == "404 NOT_FOUND")
        await house.send(.put, root, json: ["members": [["member_key": "c", "priority": 0]]])
        #expect(await order() == ["c 0", "a 1", "b 5"])
        #expect(await house.send(.delete, root + "/a").status == 200)
        #expect(await house.send(.delete, root + "/a").outcome == "404 NOT_FOUND")
        #expect(await house.send(.get, "/api/v1/repositories/a/members").outcome == "400 VALIDATION_ERROR")
        #expect(await house.send(.patch, "/api/v1/repositories/all", json: ["deploy_member_key": "py"]).outcome == "400 VALIDATION_ERROR")
        #expect(await house.send(.delete, "/api/v1/repositories/b").status == 200)
        #expect(await order() == ["c 0"])
        #expect(await house.send(.get, "/api/v1/repositories/all").json["deploy_member_key"] == nil)
        #expect(await house.send(.put, "/general/all/x/1/f", body: [1]).outcome == "400 VALIDATION_ERROR")
        // Renaming a member changes nothing.
        await house.send(.patch, "/api/v1/repositories/c", json: ["key": "d"])
        #expect(await order() == ["d 0"])
    }

    @Test("publishing goes to the deploy member, under the rights on both, and is found at the virtual under its own name")
    func deploy() async throws {
        let house = try await House()
        await house.repository("mine", isPublic: true)
        await house.repository("other", isPublic: true)
        await house.virtual("all", of: ["other", "mine"], [("deploy_member_key", "mine")])
        await house.virtual("outer", of: ["all"], [("deploy_member_key", "all")])
        await house.virtual("mute", of: ["mine"])
        let ann = await house.user("ann")
        await house.grant(["read", "write"], on: "all", to: ann)
        func put(_ key: String, _ who: Credential) async -> Answer { await house.send(.put, "/general/\(key)/t/1/f", as: who, body: Array("f".utf8)) }
        #expect(await put("mute", .admin).outcome == "400 VALIDATION_ERROR")
        let refused = await put("all", .user("ann"))
        #expect(refused.outcome == "403 FORBIDDEN")
        #expect(!refused.text.contains("mine"))
        await house.grant(["read", "write"], on: "mine", to: ann)
        let made = await put("all", .user("ann"))
        #expect(made.status == 201)
        #expect(made.field("Location") == "/general/all/t/1/f")
        #expect(await house.send(.get, "/general/mine/t/1/f", as: .none).text == "f")
        #expect(await house.send(.get, "/general/other/t/1/f", as: .none).status == 404)
        #expect(await house.send(.get, "/general/outer/t/1/f", as: .none).text == "f")
        #expect(await house.put("g", at: "t/1/g", in: "outer").status == 201)
        #expect(await house.send(.get, "/general/mine/t/1/g", as: .none).text == "g")
        #expect(await house.send(.delete, "/general/all/t/1/g", as: .user("ann")).status == 403)
        #expect(await house.send(.delete, "/general/all/t/1/g").status == 204)
        #expect(await house.send(.delete, "/api/v1/repositories/outer/artifacts/t/1/f").status == 200)
        #expect(await house.send(.get, "/api/v1/repositories/mine/artifacts").json["items"] == [])
    }

    @Test("an image pushed through a virtual builds on blobs its members hold; tags and referrers are the union")
    func images() async throws {
        let house = try await House()
        await house.repository("base", format: "oci", isPublic: true)
        await house.repository("mine", format: "oci", isPublic: true)
        await house.virtual("all", format: "oci", of: ["base", "mine"], [("deploy_member_key", "mine")])
        let layer = Array("layer".utf8), config = Array("{}".utf8)
        func digest(_ bytes: [UInt8]) -> String { "sha256:" + Digest.of(.sha256, bytes).hex }
        func push(_ bytes: [UInt8], to image: String) async -> Int {
            await house.send(.post, "/v2/\(image)/blobs/uploads/?digest=\(digest(bytes))", body: bytes).status
        }
        let type = "application/vnd.oci.image.manifest.v1+json"
        let manifest = Array(
            (#"{"schemaVersion":2,"mediaType":"\#(type)","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"\#(digest(config))","#
                + #""size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"\#(digest(layer))","size":5}]}"#).utf8)
        for blob in [layer, config] { #expect(await push(blob, to: "base/app") == 201) }
        #expect(await house.send(.put, "/v2/base/app/manifests/one", [("Content-Type", type)], body: manifest).status == 201)
        // The client sees both blobs at the virtual and sends neither.
        #expect(await house.send(.head, "/v2/all/app/blobs/\(digest(layer))").status == 200)
        #expect(await house.send(.put, "/v2/all/app/manifests/two", [("Content-Type", type)], body: manifest).status == 201)
        #expect(await house.send(.get, "/v2/mine/app/blobs/\(digest(layer))").body == layer)
        #expect(await house.send(.get, "/v2/mine/app/manifests/two").body == manifest)
        #expect(await house.send(.get, "/v2/all/app/tags/list").json["tags"] == ["one", "two"])
        let page = await house.send(.get, "/v2/all/app/tags/list?n=1")
        #expect(page.json["tags"] == ["one"])
        #expect(page.field("Link") == #"</v2/all/app/tags/list?n=1&last=one>; rel="next""#)
        #expect(await house.send(.get, "/v2/all/app/manifests/one").body == manifest)
        // A resumable upload begun at the virtual goes on there.
        let begun = await house.send(.post, "/v2/all/new/blobs/uploads/")
        let session = begun.field("Location") ?? ""
        #expect(session.hasPrefix("/v2/all/new/blobs/uploads/"))
        #expect(await house.send(.patch, session, body: layer).status == 202)
        #expect(await house.send(.get, session).field("Range") == "0-4")
        #expect(await house.send(.put, session + "?digest=\(digest(layer))").status == 201)
        #expect(await house.send(.get, "/v2/mine/new/blobs/\(digest(layer))").body == layer)
        await house.virtual("mute", format: "oci", of: ["mine"])
        #expect(await house.send(.post, "/v2/mute/app/blobs/uploads/").status == 405)
    }
}
