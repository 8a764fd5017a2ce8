import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Synchronization
import Testing

@testable import Server

@Suite("What is recorded of a request", .timeLimit(.minutes(10)))
struct RecordTests {
    @Test("one line per request, without secrets, and one more with the cause of a failure")
    func lines() async throws {
        let lines = LogBook.Lines()
        let responder = TestResponder(answer: { _, _ in
            Response(
                .internalServerError, content: .bytes(ByteBuffer(string: "broken")),
                failure: RegistryError(.corrupt, subject: .blob("sha256:00"), reason: "stored bytes are damaged", cause: "checksum"))
        })
        try await withServer(responder, log: lines) { _, port in
            let client = try await RawClient.connect(to: port)
            _ = try await client.ask("GET /a?ticket=s3cret&x=1&%74icket=s3cret HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\n\r\n")
            await client.close()
        }
        let all = lines.all.withLock { $0 }
        #expect(all.map(\.message) == ["request", "request failed"])
        var request = all[0].metadata
        #expect(request.removeValue(forKey: "ms").flatMap { Double($0) } != nil)
        #expect(
            request == [
                "method": "GET", "target": "/a?ticket=***&x=1&%74icket=***", "status": "500", "bytes": "6", "request": "mine", "peer": "127.0.0.1",
                "outcome": "complete",
            ])
        #expect(all[1].metadata["cause"] == "checksum")
        #expect(all[1].metadata["request"] == "mine")
    }

    @Test("the access log can be switched off; failures are still told")
    func off() async throws {
        let lines = LogBook.Lines()
        let responder = TestResponder(now: { _ in
            Response(.notFound, failure: RegistryError(.notFound, subject: .request, reason: "nothing here"))
        })
        try await withServer(responder, log: lines, { $0.accessLog = false }) { _, port in
            let client = try await RawClient.connect(to: port)
            _ = try await client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.close()
        }
        #expect(lines.all.withLock { $0.map(\.message) } == ["request failed"])
    }

    @Test("requests, bytes, connections and tasks are counted, and what is over is not in flight")
    func metrics() async throws {
        let metrics = Metrics()
        // An address of its own: a stray client of another test would be counted.
        let host = "127.0.77.2"
        try await withServer(TestResponder.standard, metrics: metrics, { $0.host = host }) { _, port in
            let client = try await RawClient.connect(to: port, at: host)
            _ = try await client.ask("PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            _ = try await client.ask("GET /missing HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(metrics.render().contains("granary_http_connections 1\n"))
            _ = try await client.ask("FROB /missing HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.close()
        }
        let page = metrics.render()
        for line in [
            "granary_http_requests_total{method=\"PUT\",status=\"2xx\"} 1", "granary_http_requests_total{method=\"GET\",status=\"4xx\"} 1",
            "granary_http_requests_total{method=\"other\",status=\"4xx\"} 1", "granary_http_received_bytes_total 5", "granary_http_connections 0",
            "granary_http_requests_in_flight 0", "granary_http_request_seconds_count 3",
        ] {
            #expect(page.contains(line + "\n"), "\(line)")
        }
    }

    @Test("a client that leaves is recorded as cut")
    func cut() async throws {
        let metrics = Metrics()
        let lines = LogBook.Lines()
        let began = Gate()
        let responder = TestResponder(answer: { _, _ in
            began.open()
            return Response(.ok, content: .stream(Body(length: nil, source: ContentTests.Endless(Gate()))))
        })
        try await withServer(responder, metrics: metrics, log: lines) { _, port in
            let client = try await RawClient.connect(to: port)
            try await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(await client.waitForBytes(100_000))
            await client.close()
        }
        #expect(metrics.render().contains("granary_http_requests_total{method=\"GET\",status=\"cut\"} 1\n"))
        #expect(lines.all.withLock { $0.first?.metadata["outcome"] } == "cut")
    }

    @Test("connections beyond the limit are closed at once and counted")
    func limit() async throws {
        let metrics = Metrics()
        try await withServer(TestResponder.standard, metrics: metrics, { $0.connectionsMax = 2 }) { _, port in
            var kept: [RawClient] = []
            for _ in 0..<2 {
                let client = try await RawClient.connect(to: port)
                #expect(try await client.ask("GET /now/1 HTTP/1.1\r\nHost: a\r\n\r\n").status == 200)
                kept.append(client)
            }
            let third = try await RawClient.connect(to: port)
            #expect(await third.readToEnd() == [])
            for client in kept { await client.close() }
        }
        #expect(metrics.render().contains("granary_http_connections_refused_total 1\n"))
    }

    @Test(
        "tokens and names of a login in a path are struck out, and nothing that only begins like one",
        arguments: [
            ("/npm/js/-/user/token/granary_\(String(repeating: "a", count: 43))", "/npm/js/-/user/token/***"),
            ("/npm/js/-/user/token/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl?x=1", "/npm/js/-/user/token/***?x=1"),
            ("/npm/js/granary_tools/-/granary_tools-1.0.0.tgz", "/npm/js/granary_tools/-/granary_tools-1.0.0.tgz"),
            ("/maven/m/eyJ/eyJ-1.0.jar?", "/maven/m/eyJ/eyJ-1.0.jar?"),
            ("/npm/js/-/user/org.couchdb.user:hunter2%21?x=1", "/npm/js/-/user/org.couchdb.user:***?x=1"),
            ("/npm/js/org.couchdb/-/org.couchdb-1.0.0.tgz", "/npm/js/org.couchdb/-/org.couchdb-1.0.0.tgz"),
        ])
    func tokens(target: String, written: String) { #expect(Redaction.target(target) == written) }
}
