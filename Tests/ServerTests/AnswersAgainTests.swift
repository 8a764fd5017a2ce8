import Core
import FrontendKit
import HTTPTypes
import NIOCore
import NIOHTTP1
import Synchronization
import Testing

@testable import Server

@Suite("Answers that are given again", .timeLimit(.minutes(10)))
struct AnswersAgainTests {
    /// Gives answers that hold until it is told otherwise, and counts.
    final class Source: Sendable {
        let isCurrent = Mutex(true)
        let asked = Mutex(0)
        let given = Mutex(0)

        var responder: TestResponder {
            TestResponder(now: { head in
                let number = self.asked.withLock { asked in
                    asked += 1
                    return asked
                }
                var response = Response.text("\(head.path) \(number)", validator: .init(etag: "\"v1\""))
                response.currency = Response.Currency {
                    self.isCurrent.withLock { $0 }
                } given: {
                    self.given.withLock { $0 += 1 }
                }
                return response
            })
        }

        /// How often the responder was asked, and how often its answer was given again.
        var counts: [Int] { [asked.withLock { $0 }, given.withLock { $0 }] }
    }

    /// Time stands still, so that no answer grows old on a starved machine.
    private static let frozen = World(now: World.real.now, monotonicNanoseconds: { 1 }, random: World.real.random)

    private func stable(_ reply: RawClient.Reply) -> RawClient.Reply {
        var reply = reply
        for name in ["x-request-id", "x-correlation-id", "date"] { reply.fields[name] = reply.fields[name] == nil ? nil : "-" }
        return reply
    }

    @Test("the same bytes get the same answer under a new id, on any connection, until it no longer holds")
    func again() async throws {
        let source = Source()
        try await withServer(source.responder, world: Self.frozen, { $0.eventLoopThreads = 1 }) { _, port in
            let request = "GET /a/b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n\r\n"
            let client = try await RawClient.connect(to: port)
            let first = try await client.ask(request)
            let second = try await client.ask(request)
            #expect(first.body == "/a/b 1")
            #expect(stable(second) == stable(first))
            #expect(second.fields["x-request-id"] != first.fields["x-request-id"])
            #expect(second.fields["x-request-id"] == second.fields["x-correlation-id"])
            await client.close()
            let other = try await RawClient.connect(to: port)
            #expect(stable(try await other.ask(request)) == stable(first))
            #expect(source.counts == [1, 2])
            source.isCurrent.withLock { $0 = false }
            #expect(try await other.ask(request).body == "/a/b 2")
            await other.close()
        }
    }

    @Test(
        "what is not byte by byte the whole of one plain request is asked anew",
        arguments: [
            "GET /a HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\n\r\n", "GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: a\r\n\r\n",
        ])
    func asksAnew(_ request: String) async throws {
        let source = Source()
        let requests = request.split(separator: "GET /a").count == 2 ? 2 : 1
        try await withServer(source.responder, world: Self.frozen, { $0.eventLoopThreads = 1 }) { _, port in
            let client = try await RawClient.connect(to: port)
            for turn in 0..<3 {
                try await client.send(request)
                for number in 1...requests { #expect(try await client.reply().body == "/a \(turn * requests + number)") }
            }
            await client.close()
        }
        #expect(source.counts == [3 * requests, 0])
    }

    @Test("one byte more or less is another request")
    func oneByte() async throws {
        let source = Source()
        try await withServer(source.responder, world: Self.frozen, { $0.eventLoopThreads = 1 }) { _, port in
            let client = try await RawClient.connect(to: port)
            for (number, field) in ["Bearer x", "Bearer y", "Bearer x "].enumerated() {
                #expect(try await client.ask("GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: \(field)\r\n\r\n").body == "/a \(number + 1)")
            }
            await client.close()
        }
    }

    @Test("HEAD, 304 and a range are remembered as what they are")
    func conditions() async throws {
        let source = Source()
        try await withServer(source.responder, world: Self.frozen, { $0.eventLoopThreads = 1 }) { _, port in
            let client = try await RawClient.connect(to: port)
            let get = "GET /a HTTP/1.1\r\nHost: a\r\n"
            let requests = ["\(get)\r\n", "\(get)If-None-Match: \"v1\"\r\n\r\n", "\(get)Range: bytes=1-2\r\n\r\n"]
            for (request, expected) in zip(requests, [(200, "/a"), (304, ""), (206, "a ")]) {
                // Asked before the server is at rest after the one before, it is answered anew.
                var (fresh, again) = (stable(try await client.ask(request)), RawClient.Reply?.none)
                for _ in 0..<1000 where again == nil {
                    let given = source.counts[1]
                    let reply = stable(try await client.ask(request))
                    if source.counts[1] > given { again = reply } else { fresh = reply }
                }
                #expect(fresh.status == expected.0 && fresh.body.hasPrefix(expected.1))
                #expect(fresh == again)
            }
            await client.close()
        }
    }

    @Test("they are logged and counted like the first")
    func records() async throws {
        let source = Source()
        let lines = LogBook.Lines()
        let metrics = Metrics()
        try await withServer(source.responder, metrics: metrics, log: lines, world: Self.frozen, { $0.eventLoopThreads = 1 }) { _, port in
            let client = try await RawClient.connect(to: port)
            for _ in 1...3 { _ = try await client.ask("GET /a?ticket=x HTTP/1.1\r\nHost: a\r\n\r\n") }
            await client.close()
        }
        var logged = lines.all.withLock { $0.map(\.metadata) }
        let ids = Set(logged.compactMap { $0["request"] })
        for index in logged.indices {
            logged[index]["ms"] = nil
            logged[index]["request"] = nil
        }
        #expect(logged.count == 3)
        #expect(Set(logged).count == 1)
        #expect(ids.count == 3)
        #expect(logged.first?["target"] == "/a?ticket=***")
        let page = metrics.render()
        #expect(page.contains("granary_http_requests_total{method=\"GET\",status=\"2xx\"} 3\n"))
        #expect(page.contains("granary_http_request_seconds_count 3\n"))
        #expect(page.contains("granary_http_requests_in_flight 0\n"))
        #expect(page.contains("granary_http_sent_bytes_total 12\n"))
    }

    @Test("memory is bounded: what comes in pushes out what was there")
    func bounded() {
        let memory = AnswerMemory(salt: [1, 2, 3])
        let body = ByteBuffer(repeating: 7, count: 64 << 10)
        let currency = Response.Currency {
            true
        } given: {
        }
        let keys = (0..<2000).compactMap { memory.key(of: ByteBuffer(string: "GET /\($0) HTTP/1.1\r\nHost: a\r\n\r\n")) }
        #expect(keys.count == 2000)
        for key in keys {
            memory.remember(key, .init(version: .http1_1, status: .ok), body, currency, method: .get, target: "/", status: 200, at: 0)
        }
        let kept = keys.filter { memory.find($0, at: 1) != nil }
        #expect((100...256).contains(kept.count))
        #expect(kept.last == keys.last)
        #expect(memory.find(keys[1999], at: (AnswerMemory.secondsMax + 1) * 1_000_000_000) == nil)
    }
}
