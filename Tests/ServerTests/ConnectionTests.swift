import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Server
import Synchronization
import Testing

@Suite("Connections", .timeLimit(.minutes(10)))
struct ConnectionTests {
    @Test("one connection carries request after request")
    func keepAlive() async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            for round in 0..<3 {
                let now = try await client.ask("GET /now/\(round) HTTP/1.1\r\nHost: a\r\n\r\n")
                #expect(now.status == 200)
                #expect(now.body == "now \(round)")
                let later = try await client.ask("GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
                #expect(later.body == "later")
            }
            await client.close()
        }
    }

    @Test("pipelined requests are answered in order, whether the answer is at hand or takes a task")
    func pipelining() async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            let paths = ["/later", "/now/1", "/stream", "/now/2", "/missing", "/later"]
            try await client.send(paths.map { "GET \($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined())
            var answers: [String] = []
            for _ in paths { answers.append(try await client.reply().body) }
            #expect(answers == ["later", "now 1", "slice slice slice ", "now 2", "", "later"])
            await client.close()
        }
    }

    @Test("a client that closes its side after asking still gets its answers")
    func halfClose() async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send("GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /now/1 HTTP/1.1\r\nHost: a\r\n\r\n")
            try await client.endOutput()
            #expect(try await client.reply().body == "later")
            #expect(try await client.reply().body == "now 1")
            #expect(await client.readToEnd() == [])
        }
    }

    @Test("HTTP/1.0 and Connection: close end the connection after the answer")
    func closing() async throws {
        try await withServer { _, port in
            for ask in ["GET /later HTTP/1.0\r\n\r\n", "GET /later HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"] {
                let client = try await RawClient.connect(to: port)
                let reply = try await client.ask(ask)
                #expect(reply.body == "later")
                #expect(reply.fields["connection"] == "close")
                #expect(await client.readToEnd() == [])
            }
            let client = try await RawClient.connect(to: port)
            let kept = try await client.ask("GET /later HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            #expect(kept.fields["connection"] == "keep-alive")
            let stream = try await client.ask("GET /stream HTTP/1.0\r\n\r\n")
            #expect(stream.fields["transfer-encoding"] == nil)
            #expect(String(decoding: await client.readToEnd(), as: UTF8.self) == "slice slice slice ")
        }
    }

    @Test("every answer carries date, server, request id and nosniff; a sane id is echoed, another is replaced")
    func serverFields() async throws {
        try await withServer { _, port in
            let client = try await RawClient.connect(to: port)
            let echoed = try await client.ask("GET /later HTTP/1.1\r\nHost: a\r\nX-Request-ID: abc-1.2_3:4\r\n\r\n")
            #expect(echoed.fields["x-request-id"] == "abc-1.2_3:4")
            #expect(echoed.fields["x-correlation-id"] == "abc-1.2_3:4")
            #expect(echoed.fields["server"] == "granary")
            #expect(echoed.fields["x-content-type-options"] == "nosniff")
            #expect(
                echoed.fields["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'")
            #expect(echoed.fields["referrer-policy"] == "no-referrer")
            #expect(echoed.fields["strict-transport-security"] == nil)
            #expect(echoed.fields["date"].flatMap(Timestamp.init(httpDate:)) != nil)
            let replaced = try await client.ask("GET /later HTTP/1.1\r\nHost: a\r\nX-Request-ID: a b\"<>\r\n\r\n")
            #expect(replaced.fields["x-request-id"].flatMap { EntityID($0) } != nil)
            await client.close()
        }
    }

    @Test("a head that does not end in time is answered 408, a silent connection is closed")
    func slowHead() async throws {
        try await withServer(TestResponder.standard, { $0.headerSeconds = 4 }) { _, port in
            try await timesOut(port) { try await $0.send("GET /later HTTP/1.1\r\nHost") }
            let silent = try await RawClient.connect(to: port)
            #expect(await silent.readToEnd() == [])
            // On a connection that was used already, too.
            try await timesOut(port) { client in
                _ = try await client.ask("GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
                try await client.send("G")
            }
        }
    }

    /// A client that is itself too slow to begin sees its connection closed, as a silent one: then another one tries.
    private func timesOut(_ port: Int, after begin: (RawClient) async throws -> Void) async throws {
        var outcomes: [String] = []
        for _ in 0..<5 {
            let client = try await RawClient.connect(to: port)
            do {
                try await begin(client)
                #expect(try await client.reply().status == 408)
                #expect(await client.readToEnd() == [])
                return
            } catch { outcomes.append("\(error)") }
        }
        Issue.record("never answered: \(outcomes)")
    }

    @Test("an idle connection is closed")
    func idle() async throws {
        try await withServer(TestResponder.standard, { $0.idleSeconds = 2 }) { _, port in
            let client = try await RawClient.connect(to: port)
            _ = try await client.ask("GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(await client.readToEnd() == [])
        }
    }

    @Test("too many or too large header fields are 431, a too long target is 414, and the connection ends")
    func floods() async throws {
        try await withServer { _, port in
            let floods: [(String, Int)] = [
                ("GET / HTTP/1.1\r\nHost: a\r\n" + (0..<120).map { "X-\($0): v\r\n" }.joined() + "\r\n", 431),
                ("GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "v", count: 33_000) + "\r\n\r\n", 431),
                ("GET / HTTP/1.1\r\nHost: a\r\n" + (0..<40).map { "X-\($0): \(String(repeating: "v", count: 1000))\r\n" }.joined() + "\r\n", 431),
                ("GET /" + String(repeating: "a", count: 13_000) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414),
                ("GET /" + String(repeating: "a", count: 40_000) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414),
            ]
            for (flood, status) in floods {
                let client = try await RawClient.connect(to: port)
                client.sendAnyway(Array(flood.utf8))
                let reply = try await client.reply()
                #expect(reply.status == status)
                #expect(reply.fields["connection"] == "close")
                #expect(await client.readToEnd() == [])
            }
        }
    }

    @Test("a graceful stop finishes what is in flight, closes what is idle and takes nothing new")
    func gracefulStop() async throws {
        let gate = Gate()
        let began = Gate()
        let responder = TestResponder(answer: { _, _ in
            began.open()
            await gate.wait()
            return .text("finished")
        })
        // An address of its own: the port of the stopped server must not become that of another test's.
        let host = "127.0.77.1"
        try await withServer(responder, { ($0.gracefulSeconds, $0.host) = (300, host) }) { server, port in
            let idle = try await RawClient.connect(to: port, at: host)
            let busy = try await RawClient.connect(to: port, at: host)
            try await busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await began.wait()
            async let stopped: Void = server.stop()
            #expect(await idle.readToEnd() == [])
            await #expect(throws: (any Error).self) { try await RawClient.connect(to: port, at: host) }
            gate.open()
            let reply = try await busy.reply()
            #expect(reply.body == "finished")
            #expect(reply.fields["connection"] == "close")
            await stopped
        }
    }

    @Test("a graceful stop is bounded: what does not end is cancelled and closed")
    func boundedStop() async throws {
        let began = Gate()
        let wasCancelled = Mutex(false)
        let responder = TestResponder(answer: { _, _ in
            began.open()
            let forever = Gate()
            await withTaskCancellationHandler {
                await forever.wait()
            } onCancel: {
                wasCancelled.withLock { $0 = true }
                forever.open()
            }
            return Response(.ok)
        })
        try await withServer(responder, { $0.gracefulSeconds = 0.2 }) { server, port in
            let client = try await RawClient.connect(to: port)
            try await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await began.wait()
            await server.stop()
            #expect(await client.readToEnd() == [])
            #expect(wasCancelled.withLock { $0 })
        }
    }

    @Test("a thousand connections open, ask and close; none is left")
    func thousand() async throws {
        let metrics = Metrics()
        try await withServer(TestResponder.standard, metrics: metrics) { _, port in
            for _ in 0..<10 {
                try await withThrowingTaskGroup(of: String.self) { group in
                    for index in 0..<100 {
                        group.addTask {
                            let client = try await RawClient.connect(to: port)
                            let reply = try await client.ask("GET /\(index % 2 == 0 ? "now/x" : "later") HTTP/1.1\r\nHost: a\r\n\r\n")
                            await client.close()
                            return reply.body
                        }
                    }
                    for try await body in group { #expect(body == "now x" || body == "later") }
                }
            }
        }
        #expect(metrics.render().contains("granary_http_connections 0\n"))
        #expect(metrics.render().contains("granary_http_requests_total{method=\"GET\",status=\"2xx\"} 1000\n"))
    }
}
