import Access
import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport

/// Somebody who asks.
struct Principal: Sendable, CustomStringConvertible {
    let name: String
    /// Whose line of the table tells what they may do.
    let rule: String
    let credential: Credential
    /// Wrong passwords are counted by where they come from: everybody comes from a place of their own.
    var address = "127.0.0.1"
    var description: String { name }
}

/// A house with a private and a public repository of every format and kind, something published in each, and everybody who may ask.
///
/// Grants are the same on every repository, so that one line of the table holds for all of them. A virtual repository has one member, which is
/// private and takes what is published to it; a remote has an upstream that has nothing.
final class Stage: Sendable {
    static let formats = ["debian", "generic", "http-cache", "maven", "npm", "oci", "pypi"]
    static let kinds = ["local", "remote", "virtual"]

    let house: House
    let upstream: ScriptedServer
    let principals: [Principal]
    /// Of what stands in braces in a row; of repositories by `KEY rid`, `KEY package`, `KEY signer`.
    let names: [String: String]
    /// Accounts and groups with grants, and what they were granted.
    private let grantees: [Grantee]

    struct Grantee: Sendable {
        let type: String
        let id: String
        let actions: [String]
    }

    static func key(_ format: String, _ kind: String, _ visibility: Visibility) -> String { "\(format)-\(kind)-\(visibility)" }

    static let keys = formats.flatMap { format in
        kinds.flatMap { kind in Visibility.allCases.map { key(format, kind, $0) } }
    }

    private static let rights = [("reader", ["read"]), ("writer", ["write"]), ("deleter", ["delete"]), ("keeper", ["admin"]), ("tardy", ["admin"])]
    /// What of a row's braces an id that names nothing stands for.
    static let nothing = "01949000-0000-7000-8000-00000000dead"

    init() async throws {
        house = try await House()
        upstream = try await ScriptedServer.start { _ in .status(404) }
        var names = ["uuid": Stage.nothing, "blob": Publication.digest.description]
        var grantees: [Grantee] = []
        for (name, actions) in Stage.rights { grantees.append(Grantee(type: "user", id: await house.user(name), actions: actions)) }
        // What a group is given, its members have; nobody has what another group is given.
        for (name, member, actions) in [("publishers", "member", ["write"]), ("strangers", "outsider", [])] {
            let group = await house.send(.post, "/api/v1/groups", json: ["name": .string(name)]).json["id"]?.string ?? ""
            let account = await house.user(member)
            await house.send(.post, "/api/v1/groups/\(group)/members", json: ["user_ids": [.string(account)]])
            if !actions.isEmpty { grantees.append(Grantee(type: "group", id: group, actions: actions)) }
        }
        self.grantees = grantees
        names["user"] = await house.user("bystander")
        for format in Stage.formats {
            try await Stage.repository("\(format)-inner", format, in: house, grantees)
            for visibility in Visibility.allCases {
                for kind in Stage.kinds {
                    let key = Stage.key(format, kind, visibility)
                    let more: [(String, JSON)] =
                        switch kind {
                        case "remote": [("repo_type", "remote"), ("upstream_url", .string(upstream.url())), ("upstream_allow_private", true)]
                        case "virtual":
                            [
                                ("repo_type", "virtual"), ("member_repos", [["repo_key": .string("\(format)-inner")]]),
                                ("deploy_member_key", .string("\(format)-inner")),
                            ]
                        default: []
                        }
                    names["\(key) rid"] = try await Stage.repository(key, format, isPublic: visibility == .open, more, in: house, grantees)
                    if kind == "local" {
                        let packages = await house.send(.get, "/api/v1/packages?repository_key=\(key)").json["items"]?.array
                        names["\(key) package"] = packages?.first?["id"]?.string
                    }
                    // The first reader of the key makes it.
                    if format == "debian" { await house.send(.get, "/debian/\(key)/gpg-key.asc") }
                    let signers = await house.send(.get, "/api/v1/signing/keys?repository_id=\(names["\(key) rid"] ?? "")").json["keys"]?.array
                    names["\(key) signer"] = signers?.first?["id"]?.string
                }
            }
        }
        await house.repository("elsewhere", format: "oci")
        let cast = Cast(house)
        principals = try await cast.principals(ids: Stage.keys.compactMap { names["\($0) rid"].flatMap { EntityID($0) } })
        // What ends by the clock comes last.
        await house.grant(["write"], on: "generic-inner", to: names["user"] ?? "")
        let begun = await house.send(
            .post, "/api/v1/uploads", as: .user("bystander"),
            json: [
                "repository_key": "generic-inner", "artifact_path": "u/1/f", "total_size": 5, "checksum_sha256": .string(Publication.digest.hex),
            ])
        names["session"] = begun.json["session_id"]?.string
        let group = await house.send(.post, "/api/v1/groups", json: ["name": "circle"]).json["id"]?.string
        names["group"] = group
        await house.send(.post, "/api/v1/groups/\(group ?? "")/members", json: ["user_ids": [names["user"].map { .string($0) } ?? .null]])
        let tardy = grantees.dropFirst(Stage.rights.count - 1).first?.id ?? ""
        await house.send(.post, "/api/v1/users/\(tardy)/force-password-change")
        self.names = names
    }

    @discardableResult
    private static func repository(
        _ key: String, _ format: String, isPublic: Bool = false, _ more: [(String, JSON)] = [], in house: House,
        _ grantees: [Grantee]
    ) async throws -> String {
        let made = await house.repository(key, format: format, isPublic: isPublic, more)
        guard let id = made.json["id"]?.string else {
            throw RegistryError(.internal, subject: .repository(key), reason: made.text)
        }
        for grantee in grantees {
            await house.send(
                .post, "/api/v1/permissions",
                json: [
                    "principal_type": .string(grantee.type), "principal_id": .string(grantee.id), "target_type": "repository",
                    "target_id": .string(id), "actions": .array(grantee.actions.map { .string($0) }),
                ])
        }
        guard more.isEmpty else { return id }
        for call in Publication.of(format, in: key) {
            let answer = await house.send(call.method, call.target, [("Content-Type", call.type)], body: call.body)
            guard (200..<300).contains(answer.status) else {
                throw RegistryError(.internal, subject: .repository(key), reason: "\(call.target): \(answer.text)")
            }
        }
        return id
    }

    /// One more repository like the others, to be lost.
    func throwaway(_ key: String) async throws { try await Stage.repository(key, "generic", in: house, grantees) }

    func close() async { await upstream.stop() }
}

/// Everybody who asks, each with a credential of their own kind.
struct Cast {
    let house: House
    init(_ house: House) { self.house = house }

    private static let scopes = [
        "read:artifacts", "write:artifacts", "delete:artifacts", "read:repositories", "write:repositories", "delete:repositories", "read:users",
        "write:users", "trigger:sync",
    ]

    func principals(ids: [EntityID]) async throws -> [Principal] {
        for name in ["newcomer", "stranger", "victim", "leaver"] { _ = await house.user(name) }
        let stranger = await house.send(.get, "/api/v1/users/me", as: .user("stranger")).json["id"]?.string ?? ""
        await house.grant(["admin"], on: "elsewhere", to: stranger)
        // What ends by the clock comes before everything else.
        var all = try await refused()
        func add(_ name: String, _ rule: String, _ credential: Credential) { all.append(Principal(name: name, rule: rule, credential: credential)) }

        add("nobody", "nobody", .none)
        add("no rights", "no rights", .user("newcomer"))
        add("owner of another repository", "no rights", .user("stranger"))
        for name in ["reader", "writer", "deleter", "keeper"] { add(name, name, .user(name)) }
        add("member of a group that may write", "writer", .user("member"))
        add("member of another group", "no rights", .user("outsider"))
        add("administrator", "administrator", .admin)
        for (name, rule) in [("reader", "reader"), ("keeper", "keeper"), ("admin", "administrator")] {
            let session = try await login(name)
            add("\(name)'s session", rule, .bearer(session))
            add("\(name)'s cookie", rule, .fields([("Cookie", "granary_access_token=\(session)"), ("X-Requested-With", "fetch")]))
        }

        for scope in Cast.scopes { add("admin's token \(scope)", "admin's \(scope)", .bearer(await house.token([scope]))) }
        add("admin's token promote:artifacts", "admin's trigger:sync", .bearer(await house.token(["promote:artifacts"])))
        add("admin's token *", "administrator", .fields([("X-API-Key", await house.token(["*"]))]))
        add("admin's token admin", "administrator", .password("whoever", await house.token(["admin"])))
        let caller = try await house.access.authenticate(.basic(user: "admin", password: House.password))
        for (name, repositories) in [("bound here", Set(ids)), ("bound elsewhere", [])] {
            guard let account = caller.account else { continue }
            let made = try await house.access.createToken(
                for: account, name: name, scopes: ["*"], repositories: repositories, expiresInDays: nil, by: caller, requestID: "test")
            add("admin's token \(name)", "admin's \(name)", .bearer(made.text.revealed))
        }
        add(
            "writer's token", "writer's read write",
            .bearer(await house.token(["read:artifacts", "write:artifacts"], as: .user("writer"))))
        add("reader's token to write", "reader's write", .bearer(await house.token(["write:artifacts"], as: .user("reader"))))
        add("stranger's token", "stranger's read", .bearer(await house.token(["read:artifacts"], as: .user("stranger"))))
        all += await docker()
        return all
    }

    private func docker() async -> [Principal] {
        let here = Stage.keys.filter { $0.hasPrefix("oci-") }.map { "\($0)/app" }
        let other = Stage.keys.filter { $0.hasPrefix("oci-") }.map { "\($0)/other" }
        var all: [Principal] = []
        for (name, rule, who, images, actions) in [
            ("nobody's docker token", "docker nobody", Credential.none, here, "pull,push"), ("docker pull", "docker pull", .admin, here, "pull"),
            ("docker push", "docker push", .admin, here, "pull,push"), ("docker delete", "docker delete", .admin, here, "delete"),
            ("reader's docker token for everything", "docker pull", .user("reader"), here, "*"),
            ("docker token for another image", "docker another image", .admin, other, "pull,push,delete"),
            ("docker token for another repository", "docker another repository", .admin, ["elsewhere/app"], "pull,push,delete"),
        ] {
            let scopes = images.map { "&scope=repository:\($0):\(actions)" }.joined()
            let token = await house.send(.get, "/v2/token?service=granary\(scopes)", as: who).json["token"]?.string ?? ""
            all.append(Principal(name: name, rule: rule, credential: .bearer(token)))
        }
        return all
    }

    private func login(_ name: String) async throws -> String {
        let answer = await house.send(
            .post, "/api/v1/auth/login", as: .none, json: ["username": .string(name), "password": .string(House.password)])
        guard let token = answer.json["access_token"]?.string else {
            throw RegistryError(.internal, subject: .account(name), reason: answer.text)
        }
        return token
    }

    /// Credentials that were good once, or never.
    private func refused() async throws -> [Principal] {
        let make: JSON = ["name": "short", "scopes": ["*"], "expires_in_days": 1]
        let expired = await house.send(.post, "/api/v1/auth/tokens", json: make).json["token"]?.string ?? ""
        let oldSession = try await login("admin")
        let oldDocker = await house.send(.get, "/v2/token?service=granary&scope=repository:elsewhere/app:pull").json["token"]?.string ?? ""
        house.clock.pass(seconds: 2 * 86_400)

        let revoked = await house.send(.post, "/api/v1/auth/tokens", json: ["name": "gone", "scopes": ["*"]]).json
        await house.send(.delete, "/api/v1/auth/tokens/\(revoked["id"]?.string ?? "")")
        let both = await house.send(
            .post, "/api/v1/auth/login", as: .none, json: ["username": "admin", "password": .string(House.password)]
        ).json
        let ended = try await login("admin")
        await house.send(.post, "/api/v1/auth/logout", as: .bearer(ended))
        let leaver = await house.token(["read:artifacts"], as: .user("leaver"))
        let id = await house.send(.get, "/api/v1/users/me", as: .user("leaver")).json["id"]?.string ?? ""
        await house.send(.patch, "/api/v1/users/\(id)", json: ["is_active": false])
        let bad: [(String, Credential)] = [
            ("expired token", .bearer(expired)), ("expired session", .bearer(oldSession)), ("expired docker token", .bearer(oldDocker)),
            ("revoked token", .bearer(revoked["token"]?.string ?? "")),
            ("revoked token as a key", .fields([("X-API-Key", revoked["token"]?.string ?? "")])),
            ("ended session", .bearer(ended)), ("ended session's cookie", .fields([("Cookie", "granary_access_token=\(ended)")])),
            ("refresh token", .bearer(both["refresh_token"]?.string ?? "")), ("wrong password", .password("victim", "not the password")),
            ("unknown account", .password("who", House.password)), ("account switched off", .user("leaver")),
            ("token of an account switched off", .bearer(leaver)), ("no token of ours", .bearer("granary_feed")),
            ("two credentials", .fields([("Authorization", "Bearer \(both["access_token"]?.string ?? "")"), ("Authorization", "Bearer x")])),
        ]
        return bad.enumerated().map { index, bad in
            Principal(name: bad.0, rule: "bad credentials", credential: bad.1, address: "192.0.2.\(index + 1)")
        }
    }
}
