import Core
import FrontendKit
import NIOHTTP1
import Testing

@testable import Server

@Suite("Forwarded addresses") struct ForwardingTests {
    private let forwarding = Forwarding(trusting: ["10.0.0.0/8", "fd00::/8", "127.0.0.1"].compactMap { CIDR($0) })

    @Test("only a peer in a trusted range is believed, mapped addresses included; with no range, nobody")
    func trust() {
        #expect(["10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "127.0.0.1"].allSatisfy(forwarding.trusts))
        #expect(!["192.0.2.1", "11.0.0.1", "", "localhost", "::1"].contains(where: forwarding.trusts))
        #expect(!Forwarding(trusting: []).trusts("127.0.0.1"))
    }

    @Test("the client is the right-most hop that is no proxy of ours; what it wrote itself before that is not believed")
    func rightmost() {
        let cases: [(fields: [String], client: String)] = [
            ([], "10.0.0.1"),
            (["192.0.2.1"], "192.0.2.1"),
            (["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
            (["198.51.100.1, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            (["198.51.100.1", "192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            (["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            (["192.0.2.1:4711"], "192.0.2.1"),
            (["[2001:db8::1]:443"], "2001:db8:0:0:0:0:0:1"),
            (["2001:db8::1"], "2001:db8:0:0:0:0:0:1"),
            (["::ffff:192.0.2.1"], "192.0.2.1"),
            (["192.0.2.1, unknown"], "10.0.0.1"),
            (["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (["192.0.2.1,"], "192.0.2.1"),
            (["127.0.0.1, 192.0.2.1"], "192.0.2.1"),
        ]
        for (fields, client) in cases {
            var headers = HTTPHeaders()
            for field in fields { headers.add(name: "X-Forwarded-For", value: field) }
            #expect(forwarding.client(before: "10.0.0.1", headers) == client, "\(fields)")
        }
    }

    @Test("a request's client and scheme are the peer's own unless the peer is trusted")
    func heads() throws {
        let head = HTTPRequestHead(
            version: .http1_1, method: .GET, uri: "/",
            headers: ["host": "h", "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https", "x-forwarded-host": "evil.example"])
        let options = ServerOptions()
        let untrusted = try HeadReading(head, over: .clear, peer: "10.0.0.1", options: options, requestID: "1").request
        #expect([untrusted.peer, untrusted.client, "\(untrusted.isSecure)"] == ["10.0.0.1", "10.0.0.1", "false"])
        let trusted = try HeadReading(head, over: .clear, peer: "10.0.0.1", forwarded: forwarding, options: options, requestID: "1").request
        #expect([trusted.peer, trusted.client, "\(trusted.isSecure)"] == ["10.0.0.1", "192.0.2.1", "true"])
    }

    @Test("connections are counted by subscriber; those of this machine and of proxies are not")
    func counted() {
        #expect(forwarding.counted("192.0.2.1") == IPAddress("192.0.2.1"))
        #expect(forwarding.counted("2001:db8::1:1") == IPAddress("2001:db8::"))
        #expect(["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.2.3.4", nil].allSatisfy { forwarding.counted($0) == nil })
    }
}
