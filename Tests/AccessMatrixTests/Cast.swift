import Access
import Core
import HTTPTypes
import Parsing
import TestHouse

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
        add("names here", "names here", .user("namer"))
        add("member of a group with other names", "names elsewhere", .user("stray"))
        add("member of a group in the project", "project's writer", .user("sailor"))
        add("administrator of the project", "project's keeper", .user("captain"))
        add("administrator of another project", "no rights", .user("pirate"))
        for (name, role, rule) in [
            ("developer", "developer", "developer"), ("repository owner", "repository-owner", "repository owner"),
            ("administrator by role", "admin", "administrator"),
        ] {
            let id = await house.user("by-\(role)")
            await house.send(.post, "/api/v1/users/\(id)/roles", json: ["role_id": .string(role)])
            add(name, rule, .user("by-\(role)"))
        }
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
        add("a service account's token", "writer's read write", .bearer(await service(ids)))
        all.append(await repositoryTokens())
        let elsewhere: JSON = ["name": "t", "scopes": ["*"]]
        let foreign = await house.send(.post, "/api/v1/repositories/elsewhere/tokens", json: elsewhere).json["token"]?.string ?? ""
        add("token of another repository", "admin's bound elsewhere", .bearer(foreign))
        for (name, rule, who) in [
            ("reader's ticket", "ticket", Credential.user("reader")), ("administrator's ticket", "ticket", .admin),
            ("ticket of who has no rights", "ticket of no rights", .user("newcomer")),
        ] { all.append(Principal(name: name, rule: rule, credential: who, hasTicket: true)) }
        all += await docker()
        return all
    }

    /// A token of a service account that may write to all of these.
    private func service(_ ids: [EntityID]) async -> String {
        let id = await house.send(.post, "/api/v1/service-accounts", json: ["name": "robot"]).json["id"]?.string ?? ""
        let crew = await house.send(.post, "/api/v1/groups", json: ["name": "robots"]).json["id"]?.string ?? ""
        await house.send(.post, "/api/v1/groups/\(crew)/members", json: ["user_ids": [.string(id)]])
        // The members of virtual repositories, too.
        let inner = await house.send(.get, "/api/v1/repositories?per_page=100").json["items"]?.array ?? []
        let keys = Set(ids.map(\.description) + inner.filter { $0["key"]?.string?.contains("-inner-") == true }.compactMap { $0["id"]?.string })
        for key in keys {
            await house.send(
                .post, "/api/v1/permissions",
                json: [
                    "principal_type": "group", "principal_id": .string(crew), "target_type": "repository", "target_id": .string(key),
                    "actions": ["write"],
                ])
        }
        let mint: JSON = ["name": "t", "scopes": ["read:artifacts", "write:artifacts"]]
        return await house.send(.post, "/api/v1/service-accounts/\(id)/tokens", json: mint).json["token"]?.string ?? ""
    }

    /// To each repository comes a token of its own, made by who administers it.
    private func repositoryTokens() async -> Principal {
        var tokens: [String: Credential] = [:]
        for key in Stage.keys {
            let mint: JSON = ["name": "t", "scopes": ["read:artifacts", "write:artifacts"]]
            let made = await house.send(.post, "/api/v1/repositories/\(key)/tokens", as: .user("keeper"), json: mint)
            tokens[key] = .bearer(made.json["token"]?.string ?? "")
        }
        return Principal(
            name: "keeper's token of the repository", rule: "keeper's bound read write", credential: tokens[Stage.keys[0]] ?? .none,
            byRepository: tokens)
    }

    private func docker() async -> [Principal] {
        let here = Stage.keys.filter { $0.hasPrefix("oci-") }.map { "\($0)/app" }
        let other = Stage.keys.filter { $0.hasPrefix("oci-") }.map { "\($0)/other" }
        var all: [Principal] = []
        for (name, rule, who, images, actions) in [
            ("nobody's docker token", "docker nobody", Credential.none, here, "pull,push"), ("docker pull", "docker pull", .admin, here, "pull"),
            ("docker push", "docker push", .admin, here, "pull,push"), ("docker delete", "docker delete", .admin, here, "delete"),
            ("reader's docker token for everything", "docker pull", .user("reader"), here, "*"),
            ("docker token of a name", "docker push", .user("namer"), here, "pull,push"),
            ("docker token of another name", "docker other names", .user("stray"), here, "pull,push"),
            ("docker token of a reading token", "docker pull", .bearer(await house.token(["read:artifacts"])), here, "pull,push,delete"),
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
