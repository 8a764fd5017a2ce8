import AdminAPI
import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

@Suite("Defence") struct DefenceTests {
    private static func logIn(_ house: House, _ password: String, from client: String) async -> Answer {
        await house.send(
            .post, "/api/v1/auth/login", as: .none, json: ["username": "admin", "password": .string(password)], from: client)
    }

    @Test("10,000 guesses with the right one among them do not get in, whatever address the client claims, and the owner does")
    func tenThousand() async throws {
        let house = try await House()
        var seen: [String: Int] = [:]
        for number in 0..<10_000 {
            // No trusted proxies are configured: the fields are what an attacker writes, the peer is where he is.
            let forged = [("X-Forwarded-For", "10.9.\(number / 256).\(number % 256)"), ("X-Real-IP", "10.9.0.\(number % 256)")]
            let password = number == 5000 ? House.password : "guess \(number)"
            let target = number % 2 == 0 ? "/api/v1/auth/me" : "/v2/"
            let answer = await house.send(.get, target, as: .password("admin", password), forged, from: "192.0.2.66")
            seen["\(answer.status)", default: 0] += 1
            if answer.status == 429 { #expect(answer.field("Retry-After") == "1800") }
        }
        #expect(seen == ["401": 5, "429": 9995])
        #expect(await Self.logIn(house, House.password, from: "192.0.2.66").status == 429)
        #expect(await Self.logIn(house, House.password, from: "198.51.100.4").status == 200)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .admin, from: "198.51.100.4").status == 200)
    }

    @Test("2,000 guessing addresses lock nobody out: sessions, tokens and the right password from elsewhere work")
    func manyAddresses() async throws {
        let house = try await House()
        let session = try #require(await Self.logIn(house, House.password, from: "198.51.100.4").json["access_token"]?.string)
        let token = await house.token(["*"])
        var heard = 0
        for number in 0..<2000 {
            for guess in 0..<2 {
                let answer = await Self.logIn(house, "guess \(number) \(guess)", from: "10.7.\(number / 256).\(number % 256)")
                if answer.status == 401 { heard += 1 }
            }
        }
        #expect(heard <= 2000 + 5)
        // From the very address that failed, what was proven before is still good.
        for credential in [Credential.bearer(session), .bearer(token), .password("x", token)] {
            #expect(await house.send(.get, "/api/v1/auth/me", as: credential, from: "10.7.0.1").status == 200)
        }
        #expect(await Self.logIn(house, House.password, from: "203.0.113.200").status == 200)
        #expect(await Self.logIn(house, House.password, from: "10.7.0.1").status == 429)
    }

    @Test("a refusal is 429 with Retry-After in the dialect of each format")
    func dialects() async throws {
        let house = try await House()
        for (key, format) in [("g", "generic"), ("p", "pypi"), ("n", "npm"), ("m", "maven"), ("d", "debian")] {
            await house.repository(key, format: format)
        }
        for number in 0..<5 { _ = await Self.logIn(house, "guess \(number)", from: "192.0.2.1") }
        let targets = ["/general/g/a", "/pypi/p/simple/x/", "/npm/n/x", "/maven/m/a/b/1/b-1.jar", "/debian/d/dists/x/Release", "/v2/", "/v2/token"]
        var answers: [String] = []
        for target in targets {
            let answer = await house.send(.get, target, as: .admin, from: "192.0.2.1")
            answers.append("\(target) \(answer.status) \(answer.field("Retry-After") ?? "")")
        }
        #expect(answers == targets.map { "\($0) 429 1800" })
        let oci = await house.send(.get, "/v2/", as: .admin, from: "192.0.2.1")
        #expect(oci.json["errors"]?.array?.first?["code"] == "TOOMANYREQUESTS")
    }

    @Test("the control plane's limits count by account, else by address, say what is left, and leave bytes and probes alone")
    func controlPlane() async throws {
        var options = House.Options()
        options.limits = RequestLimits()
        options.limits.requestsMax = 6
        options.limits.loginsMax = 3
        let house = try await House(options)
        await house.repository("files", isPublic: true)
        let told = await house.send(.get, "/api/v1/repositories")
        #expect([told.field("X-RateLimit-Limit"), told.field("X-RateLimit-Remaining")] == ["6", "4"])
        for _ in 0..<20 { #expect(await house.put("x", at: "a.txt", in: "files").status < 300) }
        for _ in 0..<20 { #expect(await house.send(.get, "/api/v1/repositories/files/download/a.txt", as: .none).status == 200) }
        for _ in 0..<20 { #expect(await house.send(.get, "/healthz", as: .none).status == 200) }
        for _ in 0..<4 { #expect(await house.send(.get, "/api/v1/repositories").status == 200) }
        let refused = await house.send(.get, "/api/v1/repositories")
        #expect(refused.outcome == "429 RATE_LIMITED")
        #expect([refused.field("Retry-After"), refused.field("X-RateLimit-Remaining")] == ["10", "0"])
        #expect(await house.send(.get, "/api/v1/repositories", as: .none).status == 200)
        // Logging in, and credentials that do not hold, count together by address.
        #expect(await Self.logIn(house, House.password, from: "192.0.2.1").status == 200)
        let bad = Credential.bearer("granary_" + String(repeating: "0", count: 64))
        for _ in 0..<2 { #expect(await house.send(.get, "/api/v1/auth/me", as: bad, from: "192.0.2.1").status == 401) }
        #expect(await house.send(.get, "/api/v1/auth/me", as: bad, from: "192.0.2.1").outcome == "429 RATE_LIMITED")
        #expect(await Self.logIn(house, House.password, from: "192.0.2.1").status == 429)
        #expect(await Self.logIn(house, House.password, from: "192.0.2.2").status == 200)
        house.clock.pass(seconds: 60)
        #expect(await house.send(.get, "/api/v1/repositories").status == 200)
    }

    @Test("exempt users and addresses are not counted, and are told so")
    func exempt() async throws {
        var options = House.Options()
        options.limits = RequestLimits()
        options.limits.requestsMax = 1
        options.limits.exemptUsernames = ["admin"]
        options.limits.exemptCIDRs = ["192.0.2.0/24"].compactMap { CIDR($0) }
        let house = try await House(options)
        for _ in 0..<5 { #expect(await house.send(.get, "/api/v1/repositories").field("X-RateLimit-Exempt") == "username") }
        for _ in 0..<5 {
            #expect(await house.send(.get, "/api/v1/repositories", as: .none, from: "192.0.2.9").field("X-RateLimit-Exempt") == "address")
        }
    }

    @Test("limits and who is exempt are shown as they are set; another is refused, and so is taking one away")
    func shown() async throws {
        var options = House.Options()
        options.limits = RequestLimits()
        options.limits.exemptUsernames = ["admin"]
        options.limits.exemptCIDRs = ["192.0.2.0/24"].compactMap { CIDR($0) }
        let house = try await House(options)
        let limits = await house.send(.get, "/api/v1/admin/rate-limits").json
        #expect([limits["auth"]?["limit"], limits["api"]?["limit"], limits["api"]?["window_secs"]] == [120, 10_000, 60])
        let all = "/api/v1/admin/rate-limits/exemptions"
        let listed = await house.send(.get, all).json["exemptions"]?.array ?? []
        #expect(listed.map { $0["type"] } == ["username", "cidr"] && listed.map { $0["value"] } == ["admin", "192.0.2.0/24"])
        #expect(await house.send(.post, all, json: ["type": "cidr", "value": "192.0.2.0/24"]).json == listed.last)
        #expect(await house.send(.post, all, json: ["type": "username", "value": "ann"]).outcome == "409 CONFLICT")
        #expect(await house.send(.delete, "\(all)/\(listed[0]["id"]?.string ?? "")").outcome == "409 CONFLICT")
        #expect(await house.send(.delete, "\(all)/none").outcome == "404 NOT_FOUND")
    }
}
