import Core
import Outbound
import TestSupport
import Testing

@Suite("Requests go where they may, and take along what they may")
struct TrustTests {
    @Test("no notation of a private address gets a connection")
    func notations() async throws {
        let server = try await ScriptedServer.start { _ in .ok("reached") }
        let client = try makeClient(.init(breakerFailuresMax: 1000))
        let v4 = [
            "127.0.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "0x7f.1",
            "localhost", "0x7F.0x0.0x0.0x1", "00000177.0.0.1",
        ]
        let never = [
            "0.0.0.0", "0", "0x0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]", "[fe80::1]", "[ff02::1]", "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "10.0.0.1",
            "192.168.1.1", "100.64.0.1", "224.0.0.1", "255.255.255.255", "[fd00:ec2::254]", "[2002:7f00:1::]",
        ]
        for host in v4 + never {
            var request = FetchRequest(url: "http://\(host):\(server.port)/")
            request.limits.connectSeconds = 5
            let error = await failure { _ = try await client.fetch(request) }
            #expect(error?.code == .upstreamFailed, "\(host)")
            #expect(
                error?.reason == "its address is in a range that requests to it may not reach",
                "\(host): \(error.map(String.init(describing:)) ?? "")")
        }
        #expect(server.counts.connections == 0)
        for host in v4 {
            #expect(try await text(client.fetch(local("http://\(host):\(server.port)/"))) == "reached", "\(host)")
        }
        await server.stop()
    }

    @Test("a connection opened under a wider policy is not lent to a narrower request")
    func reusedConnection() async throws {
        let server = try await ScriptedServer.start { _ in .ok("reached") }
        let client = try makeClient()
        #expect(try await text(client.fetch(local(server.url()))) == "reached")
        #expect(await failure { _ = try await client.fetch(FetchRequest(url: server.url())) }?.code == .upstreamFailed)
        #expect(server.counts.requests == 1)
        #expect(try await text(client.fetch(local(server.url()))) == "reached")
        await server.stop()
    }

    @Test("redirects are followed up to five hops, each checked again")
    func redirects() async throws {
        let server = try await ScriptedServer.start { request in
            guard let hops = Int(request.target.dropFirst()) else {
                return switch request.target {
                case "/private": .redirect(to: "http://10.0.0.1/")
                case "/metadata": .redirect(to: "http://169.254.169.254/latest/meta-data/")
                case "/file": .redirect(to: "file:///etc/passwd")
                case "/user": .redirect(to: "http://user:secret@127.0.0.1/")
                case "/split": .init(raw: [.bytes(Array("HTTP/1.1 302 Found\r\nLocation: /a b\r\nContent-Length: 0\r\n\r\n".utf8))])
                case "/none": .status(302)
                case "/large": .init(302, [("Location", "/0"), ("Content-Length", "50000000")], steps: [.pattern(50_000_000)])
                default: .ok("end \(request.method) \(request.target)")
                }
            }
            return hops == 0 ? .ok("arrived \(request.method)") : .redirect(to: "../\(hops - 1)", status: [301, 302, 303, 307, 308][hops % 5])
        }
        let client = try makeClient()
        let response = try await client.fetch(local(server.url("/5")))
        #expect(response.url == server.url("/0"))
        #expect(try await text(response) == "arrived GET")
        #expect(await failure { _ = try await client.fetch(local(server.url("/6"))) }?.reason == "it redirects more than 5 times")
        #expect(try await client.fetch(local(server.url("/3"), .head)).status == 200)
        #expect(try await text(client.fetch(local(server.url("/large")))) == "arrived GET")
        #expect(try await client.fetch(local(server.url("/none"))).status == 302)
        #expect(try await client.fetch(local(server.url("/3"), .post)).status == 307)
        for path in ["/metadata", "/file", "/user", "/split"] {
            let error = await failure { _ = try await client.fetch(local(server.url(path))) }
            #expect(error?.code == .upstreamFailed, "\(path)")
            #expect(error?.description.contains("secret") == false, "\(path)")
        }
        var narrow = FetchRequest(url: server.url("/private"))
        narrow.addressPolicy.allowedCIDRs = [try #require(CIDR("127.0.0.1"))]
        let error = await failure { _ = try await client.fetch(narrow) }
        #expect(error?.reason == "its address is in a range that requests to it may not reach")
        await server.stop()
    }

    @Test("credentials and unknown fields stay on their origin")
    func canary() async throws {
        let canary = "canary-4711"
        let other = try await ScriptedServer.start { _ in .ok("other") }
        let home = try await ScriptedServer.start { request in
            request.target == "/away" ? .redirect(to: other.url("/taken")) : request.target == "/moved" ? .redirect(to: "/home") : .ok("home")
        }
        let client = try makeClient()
        var request = local(home.url("/away"))
        request.credentials = .bearer(canary)
        request.fields = [("X-Api-Key", canary), ("Cookie", canary), ("Accept", "text/plain")]
        #expect(try await text(client.fetch(request)) == "other")
        #expect(home.requests[0]["authorization"] == "Bearer \(canary)")
        #expect(home.requests[0]["x-api-key"] == canary)
        #expect(!other.requests[0].text.contains(canary))
        #expect(other.requests[0]["accept"] == "text/plain")

        request.url = home.url("/moved")
        #expect(try await text(client.fetch(request)) == "home")
        #expect(home.requests.last?["authorization"] == "Bearer \(canary)")

        request.url = home.url("/away")
        request.credentials = .basic(user: "user", password: "pässword")
        request.credentialHosts = [other.url("")]
        #expect(try await text(client.fetch(request)) == "other")
        #expect(other.requests[1]["authorization"] == "Basic dXNlcjpww6Rzc3dvcmQ=")
        #expect(other.requests[1]["x-api-key"] == nil)

        // A URL that an upstream's document named: the credentials belong elsewhere.
        request.url = other.url("/named")
        request.credentials = .bearer(canary)
        request.fields = []
        request.credentialHosts = []
        request.credentialOrigin = home.url("")
        #expect(try await text(client.fetch(request)) == "other")
        #expect(!(other.requests.last?.text.contains(canary) ?? true))
        await home.stop()
        await other.stop()
    }

    @Test("what would split or steer a request is refused before anything is sent")
    func splitting() async throws {
        let server = try await ScriptedServer.start { _ in .ok("reached") }
        let client = try makeClient()
        var requests = ["/a b", "/a\r\nX: 1", "/a\u{0}", "/../up", "/%2e%2e/up", "/%0d%0aX:1"].map { local(server.url($0)) }
        for field in [
            ("X", "a\r\nY: b"), ("X", "a\nb"), ("X\r\nY", "a"), ("X Y", "a"), ("", "a"), ("Host", "evil"), ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"), ("connection", "upgrade"), ("Proxy-Authorization", "x"),
        ] {
            var request = local(server.url())
            request.fields = [field]
            requests.append(request)
        }
        var agent = local(server.url())
        agent.userAgent = "a\r\nX: 1"
        var token = local(server.url())
        token.credentials = .bearer("a\r\nX: 1")
        var host = local(server.url())
        host.credentialHosts = ["http://a/path"]
        var body = local(server.url())
        body.body = .empty
        for request in requests + [agent, token, host, body] {
            #expect(await failure { _ = try await client.fetch(request) }?.code == .invalid, "\(request.url) \(request.fields)")
        }
        #expect(server.counts.connections == 0)
        await server.stop()
    }

    @Test("a configured proxy is used, its exceptions are not, and literal addresses are judged all the same")
    func proxy() async throws {
        let proxy = try await ScriptedServer.start { request in .ok("proxied \(request.target)") }
        let server = try await ScriptedServer.start { _ in .ok("direct") }
        let client = try makeClient(.init(proxy: "http://127.0.0.1:\(proxy.port)", proxyExceptions: ["127.0.0.1"]))
        let response = try await client.fetch(FetchRequest(url: "http://upstream.example/a?b=1"))
        #expect(try await text(response) == "proxied http://upstream.example/a?b=1")
        #expect(try await text(client.fetch(local(server.url()))) == "direct")
        for host in ["10.0.0.1", "0xa9fea9fe", "[::1]", "localhost"] {
            #expect(await failure { _ = try await client.fetch(FetchRequest(url: "http://\(host)/")) }?.code == .upstreamFailed, "\(host)")
        }
        #expect(proxy.counts.requests == 1)
        await proxy.stop()
        await server.stop()
    }

    @Test("a certificate is trusted when its authority is, and for its own name only; https never falls back to http")
    func certificates() async throws {
        let authority = try ThrowawayCA()
        let plain = try await ScriptedServer.start { _ in .ok("plain") }
        let server = try await ScriptedServer.start(tls: authority) { request in
            request.target == "/down" ? .redirect(to: plain.url()) : .pattern(3_000_000)
        }
        let stranger = try makeClient()
        let error = await failure { _ = try await stranger.fetch(local(server.url())) }
        #expect(error?.code == .upstreamFailed)
        #expect(error?.reason == "its certificate is not trusted")

        let client = try makeClient(.init(caFile: authority.caFile))
        for _ in 0..<2 {
            let whole = try await digest(client.fetch(local(server.url())).body)
            #expect(whole.digest == ScriptedServer.Pattern.digest(3_000_000))
        }
        let otherName = await failure { _ = try await client.fetch(local("https://127.0.0.1:\(server.port)/")) }
        #expect(otherName?.reason == "its certificate is not trusted")
        let down = await failure { _ = try await client.fetch(local(server.url("/down"))) }
        #expect(down?.reason == "it redirects from https to http")
        #expect(server.counts.requests == 3)
        #expect(plain.counts.connections == 0)
        await server.stop()
        await plain.stop()
    }

    @Test("settings that cannot work are refused at the start")
    func settings() {
        for options in [
            OutboundClient.Options(caFile: "/nonexistent/ca.pem"), .init(caFile: "/dev/null"), .init(proxy: "ftp://proxy"),
            .init(proxy: "proxy:8080"),
            .init(maxConnections: 0),
        ] {
            let error = #expect(throws: RegistryError.self) { try makeClient(options) }
            #expect(error?.code == .invalid)
        }
    }
}
