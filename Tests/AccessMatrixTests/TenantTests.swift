import Catalog
import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

@testable import AdminAPI

/// Two who share a server and nothing else.
@Suite("tenants") struct TenantTests {
    /// What one of them has, by the braces of the rows.
    private static func tenant(_ name: String, in house: House) async throws -> [String: String] {
        let key = "\(name)-debian"
        await house.repository(key, format: "debian")
        let account = await house.user(name)
        let granted = await house.grant(["admin"], on: key, to: account)
        for call in Publication.of("debian", in: key) {
            await house.send(call.method, call.target, as: .user(name), [("Content-Type", call.type)], body: call.body)
        }
        await house.send(.get, "/debian/\(key)/gpg-key.asc", as: .user(name))
        await house.send(.delete, "/api/v1/repositories/\(key)/artifacts/pool/main/d/demo/demo_2.0_amd64.deb", as: .user(name))
        let id = await house.send(.get, "/api/v1/repositories/\(key)", as: .user(name)).json["id"]?.string ?? ""
        let token = await house.send(.post, "/api/v1/auth/tokens", as: .user(name), json: ["name": "t", "scopes": ["read:artifacts"]]).json
        let session = await house.send(
            .post, "/api/v1/uploads", as: .user(name),
            json: [
                "repository_key": .string(key), "artifact_path": "pool/main/d/demo/demo_3_amd64.deb", "total_size": 5,
                "checksum_sha256": .string(Publication.digest.hex),
            ])
        let package = await house.send(.get, "/api/v1/packages?repository_key=\(key)", as: .user(name)).json["items"]?[0]?["id"]
        let signer = await house.send(.get, "/api/v1/signing/keys?repository_id=\(id)", as: .user(name)).json["keys"]?[0]?["id"]
        let deletion = await house.send(.get, "/api/v1/repositories/\(key)/trash", as: .user(name)).json["items"]?[0]?["id"]
        let group = await house.send(.post, "/api/v1/groups", json: ["name": .string("friends of \(name)")]).json["id"]?.string ?? ""
        await house.send(.post, "/api/v1/groups/\(group)/members", json: ["user_ids": [.string(account)]])
        return [
            "group": group, "r": key, "user": account, "victim": account, "rid": id, "token": token["id"]?.string ?? "",
            "text": token["token"]?.string ?? "",
            "session": session.json["session_id"]?.string ?? "", "package": package?.string ?? "", "signer": signer?.string ?? "",
            "permission": granted.json["id"]?.string ?? "", "deletion": deletion?.string ?? "",
        ]
    }

    private static func filled(_ text: String, _ names: [String: String]) -> String {
        names.reduce(text) { $0.replacing("{\($1.key)}", with: $1.value) }
    }

    @Test("with the ids of the other every endpoint answers as with ids of nothing, and nothing of the other's is touched")
    func foreignIDs() async throws {
        var options = House.Options()
        options.trashDays = 7
        let house = try await House(options)
        let ann = try await Self.tenant("ann", in: house)
        _ = try await Self.tenant("bob", in: house)
        #expect(ann.filter { $0.value.isEmpty }.map(\.key) == [])
        // Tokens and permissions have real ids here.
        let ids = ["{user}", "{victim}", "{rid}", "{token}", "{session}", "{package}", "{signer}", "{permission}", "{group}"]
        let rows = Rows.all.filter { $0.format == "rest" }.map { row in
            (
                row,
                row.target.replacing(
                    "{uuid}", with: row.pattern.contains("permissions") ? "{permission}" : row.pattern.contains("groups") ? "{group}" : "{token}")
            )
        }.filter { row in ids.contains { row.1.contains($0) } }
        #expect(rows.count > 20)
        let before = try await house.catalog.head()
        let nothing = Dictionary(uniqueKeysWithValues: ann.keys.map { ($0, Stage.nothing) })
        for (row, target) in rows {
            func ask(_ names: [String: String]) async -> String {
                let answer = await house.send(
                    row.method, Self.filled(target, names), as: .user("bob"), [("Content-Type", row.type)],
                    body: Array(Self.filled(row.body, names).utf8))
                #expect([403, 404].contains(answer.status), "\(row): \(answer.status) \(answer.text)")
                return answer.transcript
            }
            let absent = await ask(nothing)
            let answer = await ask(ann)
            #expect(ann.reduce(answer) { $1.value.isEmpty ? $0 : $0.replacing($1.value, with: Stage.nothing) } == absent, "\(row)")
        }
        // A deletion is named by a number inside its repository.
        for (method, end) in [(HTTPRequest.Method.get, ""), (.post, "/restore"), (.delete, "")] {
            let answer = await house.send(
                method, "/api/v1/repositories/bob-debian/trash/\(ann["deletion"] ?? "")\(end)", as: .user("bob"), json: [:])
            #expect(answer.status == 404, "\(answer.text)")
        }
        // Numbers of both are different ones, so that the question above was one.
        #expect(try await house.catalog.head() == before)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(ann["text"] ?? "")).status == 200)
    }

    @Test("fields that an endpoint does not know, or of which it does not take this value, promote nobody")
    func extraFields() async throws {
        let house = try await House()
        await house.repository("secret")
        let kept = await house.repository("kept").json["id"]?.string ?? ""
        let ann = await house.user("ann")
        await house.grant(["write"], on: "kept", to: ann)
        let admin = await house.send(.get, "/api/v1/users/me").json["id"]?.string ?? ""
        let more: [(String, JSON)] = [
            ("is_admin", true), ("isAdmin", true), ("admin", true), ("role", "admin"), ("roles", ["admin"]), ("user_id", .string(admin)),
            ("account", .string(admin)), ("owner_id", .string(admin)), ("principal_id", .string(admin)), ("sub", .string(admin)),
            ("permissions", [["target_id": .string(kept), "actions": ["admin"]]]), ("actions", ["admin"]), ("is_active", true),
            ("must_change_password", false), ("repositories", .null), ("repository_ids", .null), ("allowed_repo_ids", .null), ("groups", ["admins"]),
        ]
        func described() async -> [String] {
            let users = await house.send(.get, "/api/v1/users?is_admin=true").json["items"]?.array?.compactMap { $0["username"]?.string } ?? []
            let grants = await house.send(.get, "/api/v1/permissions").json["items"]?.array?.map {
                "\($0["principal_name"] ?? "") \($0["actions"] ?? "")"
            }
            let admins = await house.send(.get, "/api/v1/users/\(admin)/tokens").json["items"]?.array?.count ?? -1
            return users + (grants ?? []) + ["\(admins)"]
        }
        let before = await described()
        let rows = Rows.all.filter { $0.format == "rest" && $0.body.hasPrefix("{") && $0.needs != .open }
        #expect(rows.count > 15)
        for row in rows {
            let names = ["r": "kept", "rid": kept, "user": ann, "victim": ann, "uuid": Stage.nothing, "blob": "x", "session": Stage.nothing]
            guard var body = try? JSON.parse(Array(Self.filled(row.body, names).utf8)) else { continue }
            for (name, value) in more where body[name] == nil { body[name] = value }
            _ = await house.send(row.method, Self.filled(row.target, names), as: .user("ann"), json: body)
        }
        #expect(await described() == before)
        #expect(await house.send(.get, "/api/v1/users", as: .user("ann")).status == 403)
        #expect(await house.send(.get, "/api/v1/repositories/secret", as: .user("ann")).status == 404)
        #expect(await house.send(.delete, "/api/v1/repositories/kept", as: .user("ann")).status == 403)
        for (token, scopes) in [(await house.token(["read:artifacts"], as: .user("ann")), ["write:artifacts"])] {
            // What a token makes is no more than it.
            let minted = await house.send(
                .post, "/api/v1/auth/tokens", as: .bearer(token),
                json: ["name": "more", "scopes": .array(scopes.map { .string($0) }), "user_id": .string(admin), "is_admin": true])
            #expect(minted.status == 403)
        }
    }

    @Test("a virtual repository is changed only by who may change the member behind it")
    func deployMember() async throws {
        let house = try await House()
        await house.repository("inner")
        await house.repository(
            "front", isPublic: true,
            [("repo_type", "virtual"), ("member_repos", [["repo_key": "inner"]]), ("deploy_member_key", "inner")])
        let ann = await house.user("ann")
        await house.grant(["admin"], on: "front", to: ann)
        #expect(await house.send(.put, "/general/front/a/1/f", as: .user("ann"), body: [1]).status == 403)
        #expect(await house.send(.put, "/api/v1/repositories/front/artifacts/a/1/f", as: .user("ann"), body: [1]).status == 403)
        await house.grant(["read"], on: "inner", to: ann)
        #expect(await house.send(.put, "/general/front/a/1/f", as: .user("ann"), body: [1]).status == 403)
        await house.grant(["write"], on: "inner", to: ann)
        #expect(await house.send(.put, "/general/front/a/1/f", as: .user("ann"), body: [1]).status == 201)
        #expect(await house.send(.delete, "/general/front/a/1/f", as: .user("ann")).status == 403)
    }
}
