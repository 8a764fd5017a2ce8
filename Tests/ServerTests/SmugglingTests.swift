import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Server
import Synchronization
import Testing

@Suite("Ambiguous requests", .timeLimit(.minutes(10)))
struct SmugglingTests {
    struct Vector: Sendable, CustomTestStringConvertible {
        var name: String
        var bytes: String
        var statuses: Set<Int>
        var testDescription: String { name }
        init(_ name: String, _ bytes: String, _ statuses: Set<Int> = [400]) {
            self.name = name
            self.bytes = bytes
            self.statuses = statuses
        }
    }

    static let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"

    static func post(_ fields: String, _ body: String = "0\r\n\r\n\(hidden)") -> String {
        "POST /seen HTTP/1.1\r\nHost: a\r\n\(fields)\r\n\r\n\(body)"
    }

    static let vectors: [Vector] = [
        Vector("length and chunked", post("Content-Length: 5\r\nTransfer-Encoding: chunked")),
        Vector("chunked and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5")),
        Vector("two lengths", post("Content-Length: 5\r\nContent-Length: 6")),
        Vector("the same length twice", post("Content-Length: 5\r\nContent-Length: 5")),
        Vector("a list of lengths", post("Content-Length: 5, 5")),
        Vector("a signed length", post("Content-Length: +5")),
        Vector("a negative length", post("Content-Length: -5")),
        Vector("a hexadecimal length", post("Content-Length: 0x5")),
        Vector("a length beyond 64 bits", post("Content-Length: 18446744073709551617")),
        Vector("a length of 63 bits and one", post("Content-Length: 9223372036854775808"), [400]),
        Vector("an empty length", post("Content-Length:")),
        Vector("a length with a space inside", post("Content-Length: 5 0")),
        Vector("an unknown coding", post("Transfer-Encoding: gzip"), [400, 501]),
        Vector("an unknown coding before chunked", post("Transfer-Encoding: gzip, chunked"), [400, 501]),
        Vector("chunked before an unknown coding", post("Transfer-Encoding: chunked, identity"), [400, 501]),
        Vector("chunked twice", post("Transfer-Encoding: chunked, chunked"), [400, 501]),
        Vector("chunked in two fields", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), [400, 501]),
        Vector("chunked with a vertical tab", post("Transfer-Encoding: \u{0B}chunked"), [400, 501]),
        Vector("xchunked", post("Transfer-Encoding: xchunked"), [400, 501]),
        Vector("quoted chunked", post("Transfer-Encoding: \"chunked\""), [400, 501]),
        Vector("a space before the colon", post("Transfer-Encoding : chunked")),
        Vector("a space before the field", "POST /seen HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n\(hidden)"),
        Vector("a folded coding", post("Transfer-Encoding:\r\n chunked"), [400, 501]),
        Vector("a folded field", post("X: 1\r\n 2\r\nContent-Length: 0", hidden)),
        Vector("bare line feeds", "GET /seen HTTP/1.1\nHost: a\n\n\(hidden)"),
        Vector("a bare line feed between fields", "GET /seen HTTP/1.1\r\nHost: a\nX: y\r\n\r\n\(hidden)"),
        Vector("a bare carriage return in a value", "GET /seen HTTP/1.1\r\nHost: a\r\nX: y\rZ: w\r\n\r\n\(hidden)"),
        Vector("a NUL in a value", "GET /seen HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n\(hidden)"),
        Vector("a NUL in a name", "GET /seen HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n\(hidden)"),
        Vector("an empty field name", "GET /seen HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n\(hidden)"),
        Vector("a field without a colon", "GET /seen HTTP/1.1\r\nHost: a\r\nContent-Length\r\n\r\n\(hidden)"),
        Vector("no Host", "GET /seen HTTP/1.1\r\n\r\n\(hidden)"),
        Vector("two Hosts", "GET /seen HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n\(hidden)"),
        Vector("a Host with a path", "GET /seen HTTP/1.1\r\nHost: a/b\r\n\r\n\(hidden)"),
        Vector("a Host with a user", "GET /seen HTTP/1.1\r\nHost: u@a\r\n\r\n\(hidden)"),
        Vector("chunked in HTTP/1.0", "POST /seen HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\(hidden)"),
        Vector("an unknown version", "GET /seen HTTP/1.9\r\nHost: a\r\n\r\n\(hidden)"),
        Vector("HTTP/2.0 in clear text", "GET /seen HTTP/2.0\r\nHost: a\r\n\r\n\(hidden)"),
        Vector("an unknown method", "FROB /seen HTTP/1.1\r\nHost: a\r\n\r\n\(hidden)"),
        Vector("a lower-case method", "get /seen HTTP/1.1\r\nHost: a\r\n\r\n\(hidden)"),
        Vector("spaces in the target", "GET /seen /x HTTP/1.1\r\nHost: a\r\n\r\n\(hidden)"),
        Vector("another host's target", "GET http://b/seen HTTP/1.1\r\nHost: a\r\n\r\n\(hidden)"),
        Vector("a user in the target", "GET http://a@b/seen HTTP/1.1\r\nHost: a\r\n\r\n\(hidden)"),
        Vector("CONNECT", "CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n\(hidden)", [405]),
        Vector("a chunk size with a sign", post("Transfer-Encoding: chunked", "+1\r\nx\r\n0\r\n\r\n\(hidden)")),
        Vector("a chunk size in hexadecimal notation", post("Transfer-Encoding: chunked", "0x1\r\nx\r\n0\r\n\r\n\(hidden)")),
        Vector("a chunk size that overflows", post("Transfer-Encoding: chunked", "10000000000000000\r\n\(hidden)")),
        Vector("a chunk ended by a bare line feed", post("Transfer-Encoding: chunked", "1\nx\n0\n\n\(hidden)")),
        Vector("a chunk longer than it said", post("Transfer-Encoding: chunked", "1\r\nxy\r\n0\r\n\r\n\(hidden)")),
    ]

    @Test("is refused, the connection ends, and nothing after it is taken for a request", arguments: vectors)
    func refused(_ vector: Vector) async throws {
        let paths = Mutex<[String]>([])
        let responder = TestResponder(answer: { head, body in
            paths.withLock { $0.append(head.target) }
            do throws(RegistryError) { try await body.drain(into: HashingSink()) } catch {
                return Response(.init(code: error.code.status))
            }
            return Response(.ok)
        })
        try await withServer(responder) { _, port in
            let client = try await RawClient.connect(to: port)
            client.sendAnyway(Array(vector.bytes.utf8))
            let reply = try await client.reply()
            #expect(vector.statuses.contains(reply.status), "\(reply)")
            #expect(reply.fields["connection"] == "close")
            #expect(String(decoding: await client.readToEnd(), as: UTF8.self) == "")
        }
        #expect(!paths.withLock { $0 }.contains("/hidden"))
    }

    @Test("the answers before a malformed request are sent before its refusal")
    func order() async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send("GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /now/1 HTTP/1.1\r\nHost: a\r\n\r\nNONSENSE\r\n\r\n")
            #expect(try await client.reply().body == "later")
            #expect(try await client.reply().body == "now 1")
            #expect(try await client.reply().status == 400)
            #expect(await client.readToEnd() == [])
        }
    }

    @Test(
        "what is well-formed and not for us is refused, and the connection goes on",
        arguments: [
            ("TRACE /later HTTP/1.1\r\nHost: a\r\n\r\n", 405), ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET //b HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ])
    func unfit(_ ask: String, _ status: Int) async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            #expect(try await client.ask(ask).status == status)
            #expect(try await client.ask("GET /now/1 HTTP/1.1\r\nHost: a\r\n\r\n").body == "now 1")
            await client.close()
        }
    }

    @Test("the absolute form with our own host is a path; an upgrade is answered and ends the connection")
    func absolute() async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            #expect(try await client.ask("GET http://A:1/now/1 HTTP/1.1\r\nHost: a:1\r\n\r\n").body == "now 1")
            let upgrade = try await client.ask("GET /now/2 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            #expect(upgrade.body == "now 2")
            #expect(upgrade.fields["connection"] == "close")
            #expect(await client.readToEnd() == [])
        }
    }
}
