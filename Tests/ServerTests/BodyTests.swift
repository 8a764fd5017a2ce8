import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Synchronization
import Testing

@testable import Server

@Suite("Request bodies", .timeLimit(.minutes(10)))
struct BodyTests {
    static let text = Array(String(repeating: "granary ", count: 40_000).utf8)

    @Test("100 is sent when the body is first asked for, and the body arrives whole", arguments: ["count", "slices"])
    func continues(_ path: String) async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            for _ in 0..<2 {
                let go = try await client.ask(
                    "PUT /\(path) HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: \(Self.text.count)\r\n\r\n")
                #expect(go.status == 100)
                try await client.send(Self.text)
                #expect(try await client.reply().body == "\(Self.text.count) \(sha256(Self.text))")
            }
            await client.close()
        }
    }

    @Test("a refusal is not preceded by 100, and a small body that comes nevertheless is dropped")
    func refusal() async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            let no = try await client.ask("PUT /refuse HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            #expect(no.status == 403)
            #expect(no.fields["connection"] == nil)
            #expect(try await client.ask("12345GET /now/1 HTTP/1.1\r\nHost: a\r\n\r\n").body == "now 1")
            let huge = try await client.ask("PUT /refuse HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5000000000\r\n\r\n")
            #expect(huge.status == 403)
            #expect(huge.fields["connection"] == "close")
            #expect(await client.readToEnd() == [])
        }
    }

    @Test("an expectation other than 100-continue is 417")
    func expectation() async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            #expect(try await client.ask("PUT /count HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\nContent-Length: 5\r\n\r\n").status == 417)
        }
    }

    @Test("a chunked body arrives whole, however it is cut", arguments: ["count", "slices"])
    func chunked(_ path: String) async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            var wire = Array("POST /\(path) HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".utf8)
            var rest = Self.text[...]
            for size in [1, 2, 7, 4096, 65_536, 100_000] + [Self.text.count] {
                let chunk = rest.prefix(size)
                rest = rest.dropFirst(size)
                wire += Array("\(String(chunk.count, radix: 16));ext=1\r\n".utf8) + chunk + Array("\r\n".utf8)
            }
            wire += Array("0\r\nTrailer: x\r\n\r\n".utf8)
            try await client.send(wire + Array("GET /now/1 HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
            #expect(try await client.reply().body == "\(Self.text.count) \(sha256(Self.text))")
            #expect(try await client.reply().body == "now 1")
            await client.close()
        }
    }

    @Test("a body in the smallest pieces arrives whole")
    func trickle() async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            for byte in Array("PUT /collect HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".utf8) { try await client.send([byte]) }
            #expect(try await client.reply().body == "hello")
            await client.close()
        }
    }

    @Test("a request with an empty body, of either framing, gives the responder nothing and ends")
    func empty() async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            let none = "0 \(sha256([]))"
            #expect(try await client.ask("PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").body == none)
            #expect(try await client.ask("PUT /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").body == none)
            #expect(try await client.ask("PUT /slices HTTP/1.1\r\nHost: a\r\n\r\n").body == none)
            await client.close()
        }
    }

    @Test("an unread body up to the limit is dropped after the answer, and the connection goes on")
    func unread() async throws {
        try await withServer(TestResponder.standard, { $0.discardBytesMax = 400_000 }) { _, port in
            let client = try await RawClient.connect(to: port)
            for framing in [
                "Content-Length: \(Self.text.count)\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n\(String(Self.text.count, radix: 16))\r\n",
            ] {
                try await client.send(Array("PUT /refuse HTTP/1.1\r\nHost: a\r\n\(framing)".utf8))
                let no = try await client.reply()
                #expect(no.status == 403)
                #expect(no.fields["connection"] == nil)
                try await client.send(Self.text)
                if framing.hasPrefix("T") { try await client.send("\r\n0\r\n\r\n") }
                #expect(try await client.ask("GET /now/1 HTTP/1.1\r\nHost: a\r\n\r\n").body == "now 1")
            }
            await client.close()
        }
    }

    @Test("a larger unread body ends the connection, and its sender still gets the answer")
    func unreadTooLarge() async throws {
        try await withServer { _, port in
            for framing in ["Content-Length: 5000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4c4b40\r\n"] {
                let client = try await RawClient.connect(to: port)
                client.sendAnyway(Array("PUT /refuse HTTP/1.1\r\nHost: a\r\n\(framing)".utf8))
                client.sendAnyway([UInt8](repeating: 1, count: 4_000_000))
                #expect(try await client.reply().status == 403)
                #expect(await client.readToEnd() == [])
            }
        }
    }

    @Test("a connection that ends inside a body fails the reader, with how far it came", arguments: [true, false])
    func cut(_ wholly: Bool) async throws {
        let reason = Mutex("")
        let told = Gate()
        let responder = TestResponder(answer: { _, body in
            do throws(RegistryError) { try await body.drain(into: HashingSink()) } catch { reason.withLock { $0 = "\(error.code): \(error.reason)" } }
            told.open()
            return Response(.badRequest)
        })
        try await withServer(responder) { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
            if wholly { await client.close() } else { try await client.endOutput() }
            await told.wait()
            #expect(reason.withLock { $0 } == "invalid: the body ended after 5 of 10 bytes")
            if !wholly { #expect(try await client.reply().status == 400) }
        }
    }

    @Test(
        "malformed chunks fail the reader, answer 400 and end the connection",
        arguments: ["zz\r\n", "5\r\nhelloX\r\n", "-1\r\n", "fffffffffffffffff\r\n"])
    func malformed(_ chunk: String) async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            let reply = try await client.ask("PUT /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n\(chunk)")
            #expect(reply.status == 400)
            #expect(reply.fields["connection"] == "close")
            #expect(await client.readToEnd() == [])
        }
    }

    @Test("a body that is wanted and does not come fails the reader")
    func stall() async throws {
        try await withServer(TestResponder.standard, { $0.bodyStallSeconds = 0.2 }) { _, port in
            let client = try await RawClient.connect(to: port)
            let reply = try await client.ask("PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
            #expect(reply.status == 400)
            #expect(reply.body == "the body came too slowly; try again")
            #expect(await client.readToEnd() == [])
        }
    }

    @Test("an error of the sink ends the transfer and is the responder's to answer")
    func sinkError() async throws {
        final class Full: ByteSink {
            func write(_ slice: ByteBuffer) throws(RegistryError) { throw RegistryError(.noSpace, subject: .store, reason: "full") }
        }
        let responder = TestResponder(answer: { _, body in
            do throws(RegistryError) { try await body.drain(into: Full()) } catch { return Response(HTTPResponse.Status(code: error.code.status)) }
            return Response(.ok)
        })
        try await withServer(responder) { _, port in
            let client = try await RawClient.connect(to: port)
            #expect(try await client.ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345").status == 507)
            #expect(try await client.ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345").status == 507)
            await client.close()
        }
    }

    @Test("a body that nobody asks for stays with its sender")
    func backPressureIn() async throws {
        let gate = Gate()
        let began = Gate()
        let responder = TestResponder(answer: { head, body in
            guard head.method == .put else { return .text("other") }
            began.open()
            guard (try? await body.next()) != nil else { return Response(.badRequest) }
            await gate.wait()
            let sink = HashingSink()
            guard (try? await body.drain(into: sink)) != nil else { return Response(.badRequest) }
            return .text(sink.result)
        })
        let metrics = Metrics()
        try await withServer(responder, metrics: metrics) { _, port in
            let client = try await RawClient.connect(to: port)
            let bytes = [UInt8](repeating: 7, count: 64 << 20)
            try await client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: \(bytes.count)\r\n\r\n")
            client.sendAnyway(bytes)
            await began.wait()
            // While the body waits, others are served; that is the time it gets to misbehave.
            let other = try await RawClient.connect(to: port)
            for _ in 0..<200 { #expect(try await other.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").body == "other") }
            let counter = metrics.counter("granary_http_received_bytes_total", help: "")
            #expect(counter.value <= 2 * UInt64(ServerContext.receiveBytesMax))
            gate.open()
            let reply = try await client.reply()
            #expect(reply.status == 200)
            #expect(counter.value == UInt64(bytes.count))
            await client.close()
        }
    }

    @Test("slices with consumers are bounded over all connections; who waits is served when one is let go")
    func allowance() async throws {
        let allowance = Allowance(2)
        let served = Mutex<[Int]>([])
        #expect(allowance.take { served.withLock { $0.append(0) } })
        #expect(allowance.take { served.withLock { $0.append(0) } })
        #expect(!allowance.take { served.withLock { $0.append(1) } })
        #expect(!allowance.take { served.withLock { $0.append(2) } })
        allowance.give()
        #expect(served.withLock { $0 } == [1])
        allowance.give()
        #expect(served.withLock { $0 } == [1, 2])
        #expect(allowance.taken == 2)
        allowance.give()
        allowance.give()
        #expect(allowance.taken == 0)
    }

    @Test("many bodies at once through the narrowest allowance all arrive, and nothing stays taken")
    func narrow() async throws {
        let metrics = Metrics()
        try await withServer(TestResponder.standard, metrics: metrics, { $0.bodyBytesInFlightMax = 1 }) { _, port in
            try await withThrowingTaskGroup(of: String.self) { group in
                for _ in 0..<20 {
                    group.addTask {
                        let client = try await RawClient.connect(to: port)
                        client.sendAnyway(Array("PUT /slices HTTP/1.1\r\nHost: a\r\nContent-Length: \(Self.text.count)\r\n\r\n".utf8) + Self.text)
                        let reply = try await client.reply()
                        await client.close()
                        return reply.body
                    }
                }
                for try await body in group { #expect(body == "\(Self.text.count) \(sha256(Self.text))") }
            }
            #expect(metrics.render().contains("granary_http_body_slices_in_flight 0\n"))
        }
    }
}
