import Core
import Outbound
import TestSupport
import Testing

@Suite("Which names a request may ask for")
struct HostNameTests {
    static let inside = [
        "intranet", "metadata", "metadata.", "METADATA", "kubernetes", "instance-data", "x", "_x", "intranet..", ".intranet",
        "printer.local", "printer.local.", "api.default.svc.cluster.local", "api.default.svc", "metadata.google.internal",
        "ip-10-0-0-1.ec2.internal.", "HOST.Docker.Internal", "nas.home.arpa", "1.0.0.10.in-addr.arpa", "router.lan", "git.corp", "wiki.intranet",
        "nas.home", "a.private", "relay.mail", "host.localdomain", "db.service.consul", "app.test", "web.docker",
        // No address in any notation, to most readers.
        "127.0.0.08", "1.2.3.4.5", "a.0x7f", "8", "09", "256.256.256.256",
        // No name at all.
        "", ".", "..",
    ]
    static let outside = [
        "registry.example", "example.org", "example.org.", "EXAMPLE.ORG", "local.example.org", "internal.example", "svc.example.com",
        "a.b.c.d.example.net", "xn--bcher-kva.example", "mylocal.dev", "notinternal.io", "1.2.3.4.example", "under_score.example", "0x.example",
    ]

    @Test("names of one label, of private networks and those that end in a number need leave; names of the Internet do not")
    func names() {
        for name in Self.inside { #expect(!AddressPolicy.publicOnly.permits(name: name), "\(name)") }
        for name in Self.outside { #expect(AddressPolicy.publicOnly.permits(name: name), "\(name)") }
        let wide = AddressPolicy(allowPrivate: true)
        for name in Self.inside.dropLast(3) + Self.outside { #expect(wide.permits(name: name), "\(name)") }
        for name in Self.inside.suffix(3) { #expect(!wide.permits(name: name), "\(name)") }
    }

    @Test("a named name, and what is below it, may be asked for, and nothing beside it")
    func allowed() {
        let policy = AddressPolicy(allowPrivate: false, allowedNames: ["Mirror", "hub.internal.", ".svc", ".", ""])
        for name in ["mirror", "MIRROR.", "a.mirror", "hub.internal", "a.b.hub.internal.", "a.default.svc", "svc", "example.org"] {
            #expect(policy.permits(name: name), "\(name)")
        }
        for name in ["mirror2", "internal", "xhub.internal", "hub.internal.corp", "intranet", "a.local", "", "."] {
            #expect(!policy.permits(name: name), "\(name)")
        }
    }

    @Test("a name that may not be asked for reaches no resolver and no proxy, at the first hop or a later one")
    func proxied() async throws {
        let proxy = try await ScriptedServer.start { request in
            request.target.hasSuffix("/to-metadata") ? .redirect(to: "http://metadata/latest") : .ok("proxied \(request.target)")
        }
        let client = try makeClient(.init(proxy: "http://127.0.0.1:\(proxy.port)"))
        let asked = ["intranet", "metadata.", "host.docker.internal", "a.svc.cluster.local", "127.0.0.08"]
        for name in asked {
            let error = await failure { _ = try await client.fetch(FetchRequest(url: "http://\(name)/")) }
            #expect(error?.code == .upstreamFailed, "\(name)")
            #expect(error?.reason == "its host name has a meaning on private networks only, which requests to it may not reach", "\(name)")
            #expect(error?.cause == name)
            // It will not pass by itself.
            #expect(error?.retryAfterSeconds == nil)
        }
        // Addresses, and the name that is one, are judged as such, with a dot at the end, too.
        for host in ["127.0.0.1.", "localhost.", "app.localhost", "0x7f.1.."] {
            let error = await failure { _ = try await client.fetch(FetchRequest(url: "http://\(host)/")) }
            #expect(error?.reason == "its address is in a range that requests to it may not reach", "\(host)")
        }
        #expect(proxy.counts.requests == 0)
        let moved = await failure { _ = try await client.fetch(FetchRequest(url: "http://upstream.example/to-metadata")) }
        #expect(moved?.reason == "its host name has a meaning on private networks only, which requests to it may not reach")
        #expect(moved?.cause == "metadata")
        #expect(proxy.counts.requests == 1)
        for name in asked { #expect(try await text(client.fetch(local("http://\(name)/"))).hasPrefix("proxied "), "\(name)") }
        var named = FetchRequest(url: "http://intranet/x")
        named.addressPolicy.allowedNames = ["intranet"]
        #expect(try await text(client.fetch(named)) == "proxied http://intranet/x")
        await proxy.stop()
    }

    @Test("leave to ask for a name is no leave to reach what it stands for")
    func addressOfName() async throws {
        let server = try await ScriptedServer.start { _ in .ok("reached") }
        let client = try makeClient()
        for host in ["localhost", "app.localhost"] {
            var request = FetchRequest(url: "http://\(host):\(server.port)/")
            request.addressPolicy.allowedNames = ["localhost"]
            let error = await failure { _ = try await client.fetch(request) }
            #expect(error?.code == .upstreamFailed, "\(host)")
        }
        #expect(server.counts.connections == 0)
        #expect(try await text(client.fetch(local("http://localhost:\(server.port)/"))) == "reached")
        await server.stop()
    }
}
