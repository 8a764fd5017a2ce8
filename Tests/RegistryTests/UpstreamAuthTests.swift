import Core
import HTTPTypes
import Parsing
import Synchronization
import TestHouse
import TestSupport
import Testing

/// Upstreams that want a token from a server of their own, and what a remote may tell whom.
@Suite("upstream authentication") struct UpstreamAuthTests {
    /// A registry that takes one token at a time, and the server that gives it: another origin.
    final class Realm: Sendable {
        let current = Mutex("first")
        let expires: Int
        init(expiresIn: Int = 300) { expires = expiresIn }

        func start() async throws -> (registry: ScriptedServer, tokens: ScriptedServer) {
            let tokens = try await ScriptedServer.start { _ in
                .ok(#"{"token":"\#(self.current.withLock { $0 })","expires_in":\#(self.expires)}"#)
            }
            let challenge = #"Bearer realm="\#(tokens.url("/token"))",service="far, away",scope="repository:a/b:pull,push""#
            let registry = try await ScriptedServer.start { request in
                guard request["authorization"] == "Bearer \(self.current.withLock { $0 })" else {
                    return .status(401, [("WWW-Authenticate", challenge)])
                }
                return .ok("bytes of \(request.target)")
            }
            return (registry, tokens)
        }
    }

    static let basic = "Basic " + Base64.encode(Array("user:canary".utf8))
    static let login: [(String, JSON)] = [("upstream_auth_type", "basic"), ("upstream_username", "user"), ("upstream_password", "canary")]

    @Test("a token is fetched once for a scope, used until it ends, and fetched again when it is refused")
    func tokens() async throws {
        let realm = Realm()
        let (registry, tokens) = try await realm.start()
        let house = try await House()
        await house.remote("mirror", format: "generic", of: registry.url())
        for name in ["x", "y", "z"] {
            #expect(await house.send(.get, "/general/mirror/a/b/\(name)", as: .none).text == "bytes of /a/b/\(name)")
        }
        #expect(tokens.requests.map(\.target) == ["/token?service=far%2C%20away&scope=repository%3Aa%2Fb%3Apull%2Cpush"])
        #expect(registry.counts.requests == 4)
        realm.current.withLock { $0 = "second" }
        #expect(await house.send(.get, "/general/mirror/a/b/u", as: .none).text == "bytes of /a/b/u")
        #expect(tokens.counts.requests == 2)
        house.clock.pass(seconds: 1000)
        #expect(await house.send(.get, "/general/mirror/a/b/v", as: .none).text == "bytes of /a/b/v")
        #expect(tokens.counts.requests == 3)
        await registry.stop()
        await tokens.stop()
    }

    @Test("the token server hears our password only when it is listed; the registry hears it, being the upstream")
    func foreignRealm() async throws {
        let (registry, tokens) = try await Realm().start()
        let house = try await House()
        await house.remote("mirror", format: "generic", of: registry.url(), Self.login)
        #expect(await house.send(.get, "/general/mirror/a/b/x", as: .none).status == 200)
        #expect(registry.requests.first?["authorization"] == Self.basic)
        #expect(tokens.requests.allSatisfy { !$0.text.contains("Authorization") })
        let listed: JSON = ["upstream_credential_hosts": .array([.string(tokens.url(""))])]
        #expect(await house.send(.patch, "/api/v1/repositories/mirror", json: listed).status == 200)
        #expect(await house.send(.get, "/api/v1/repositories/mirror").json["upstream_auth_configured"] == false)
        #expect(
            await house.send(
                .put, "/api/v1/repositories/mirror/upstream-auth", json: ["auth_type": "basic", "username": "user", "password": "canary"]
            ).status == 200)
        #expect(await house.send(.get, "/general/mirror/a/b/y", as: .none).status == 200)
        #expect(tokens.requests.last?["authorization"] == Self.basic)
        let wrong: JSON = ["upstream_credential_hosts": ["https://a.example/b"]]
        #expect(await house.send(.patch, "/api/v1/repositories/mirror", json: wrong).status == 400)
        await registry.stop()
        await tokens.stop()
    }

    @Test("rules send a path elsewhere or keep it from the upstream; the first that fits decides")
    func routingRules() async throws {
        let upstream = try await ScriptedServer.start { .ok("bytes of \($0.target)") }
        let house = try await House()
        await house.remote("mirror", format: "generic", of: upstream.url())
        let rules: JSON = [
            "rules": [
                ["path_pattern": "secret/**", "rewrite_to": ""], ["path_pattern": "old/*/v*.zip", "rewrite_to": "new/$2/$1.zip"],
                ["path_pattern": "**/twice", "rewrite_to": "$1/once"],
            ]
        ]
        let path = "/api/v1/repositories/mirror/routing-rules"
        #expect(await house.send(.post, path, json: rules).json["rules"] == rules["rules"])
        #expect(await house.send(.get, path).json["rules"] == rules["rules"])
        #expect(await house.send(.get, "/general/mirror/secret/plans", as: .none).status == 404)
        #expect(await house.send(.get, "/general/mirror/old/tool/v12.zip", as: .none).text == "bytes of /new/12/tool.zip")
        #expect(await house.send(.get, "/general/mirror/old/a/b/v12.zip", as: .none).text == "bytes of /old/a/b/v12.zip")
        #expect(await house.send(.get, "/general/mirror/a/b/twice", as: .none).text == "bytes of /a/b/once")
        #expect(await house.send(.get, "/general/mirror/plain", as: .none).text == "bytes of /plain")
        #expect(upstream.counts.requests == 4)
        for bad in [["", "x"], ["/a", "x"], ["a", "$1"], ["*", "../x"], ["*", "http://other/$1"]] {
            let rule: JSON = ["path_pattern": .string(bad[0]), "rewrite_to": .string(bad[1])]
            #expect(await house.send(.post, path, json: ["rules": [rule]]).status == 400)
        }
        #expect(await house.send(.delete, path).status == 200)
        #expect(await house.send(.get, path).json["rules"] == [])
        #expect(await house.send(.post, path, as: .none, [("Content-Type", "application/json")], body: rules.encoded()).status == 401)
        await upstream.stop()
    }

    @Test("what is cached of a path can be forgotten, and an upstream can be tried")
    func care() async throws {
        let text = Mutex("one")
        let upstream = try await ScriptedServer.start { _ in .ok(text.withLock { $0 }, [("ETag", "\"same\"")]) }
        let house = try await House()
        await house.remote("mirror", format: "generic", of: upstream.url())
        #expect(await house.send(.get, "/general/mirror/x", as: .none).text == "one")
        text.withLock { $0 = "two" }
        #expect(await house.send(.get, "/general/mirror/x", as: .none).text == "one")
        let forget = "/api/v1/repositories/mirror/cache/invalidate"
        let forgotten = await house.send(.post, forget + "?path=x").json
        #expect([forgotten["repository_key"], forgotten["path"], forgotten["invalidated"]] == ["mirror", "x", true])
        #expect(await house.send(.get, "/general/mirror/x", as: .none).text == "two")
        #expect(await house.send(.post, forget + "?path=none").json["invalidated"] == false)
        #expect(await house.send(.post, forget).status == 400)
        #expect(await house.send(.post, forget + "?path=x", as: .none).status == 401)
        let tried = await house.send(.post, "/api/v1/repositories/mirror/test-upstream").json
        #expect([tried["status"], tried["upstream_status"], tried["upstream_url"]] == ["ok", 200, .string(upstream.url())])
        await upstream.stop()
        #expect(await house.send(.post, "/api/v1/repositories/mirror/test-upstream").status == 503)
    }
}
