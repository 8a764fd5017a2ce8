import Core
import NIOCore
import Outbound
import TestSupport
import Testing

@Suite("A hostile or broken upstream does no harm")
struct HostileUpstreamTests {
    @Test("truncated, reset, malformed and oversized answers are upstreamFailed, with a subject that hides the query")
    func broken() async throws {
        func raw(_ text: String, _ end: ScriptedServer.Step = .close) -> ScriptedServer.Answer { .init(raw: [.bytes(Array(text.utf8)), end]) }
        let bomb = String(repeating: "X-Bomb: \(String(repeating: "b", count: 1000))\r\n", count: 100)
        let many = String(repeating: "a: b\r\n", count: 600)
        let answers: [String: ScriptedServer.Answer] = [
            "/short": .init(200, [("Content-Length", "1000000")], steps: [.pattern(999_999), .close]),
            "/short-chunk": raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc"),
            "/no-last-chunk": raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            "/bad-chunk": raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"),
            "/reset": .init(200, [("Content-Length", "1000000")], steps: [.pattern(200_000), .reset]),
            "/reset-at-once": .init(raw: [.reset]),
            "/close-at-once": .init(raw: [.close]),
            "/half-head": raw("HTTP/1.1 200 OK\r\nContent-Le"),
            "/not-http": raw("SSH-2.0-OpenSSH_9.2\r\n"),
            "/http09": raw("<html>hello</html>"),
            "/bad-status": raw("HTTP/1.1 abc OK\r\n\r\n"),
            "/bad-length": raw("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nx"),
            "/negative-length": raw("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx"),
            "/two-lengths": raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"),
            "/nul-field": raw("HTTP/1.1 200 OK\r\nA: x\u{0}y\r\nContent-Length: 1\r\n\r\nx"),
            "/bomb": raw("HTTP/1.1 200 OK\r\n\(bomb)Content-Length: 1\r\n\r\nx"),
            "/many": raw("HTTP/1.1 200 OK\r\n\(many)Content-Length: 1\r\n\r\nx"),
            "/announced-too-large": .pattern(20_000_000),
            "/too-large": .init(200, [], steps: [.pattern(20_000_000), .close]),
            "/bad-gzip": .status(200, [("Content-Encoding", "gzip")], Array("this is no gzip".utf8)),
        ]
        let server = try await ScriptedServer.start { request in answers[String(request.target.prefix { $0 != "?" })] ?? .status(404) }
        let client = try makeClient(.init(breakerFailuresMax: 1000))
        for path in answers.keys.sorted() {
            var request = local(server.url("\(path)?token=secret"))
            request.limits.bodyBytesMax = 10_000_000
            request.decodesContent = path == "/bad-gzip"
            let error = await failure { _ = try await digest(client.fetch(request).body) }
            #expect(error?.code == .upstreamFailed, "\(path)")
            #expect(error?.subject.description == "upstream \(server.url(path))", "\(path)")
            #expect(error?.description.contains("secret") == false, "\(path)")
        }
        client.close()
        #expect(await server.reaches { $0.open == 0 })
        await server.stop()
    }

    @Test("a content coding stays as sent, unless plain bytes were asked for")
    func contentCoding() async throws {
        // gzip of "granary granary granary\n"
        let coded: [UInt8] = [
            0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x4b, 0x2f, 0x4a, 0xcc, 0x4b, 0x2c, 0xaa, 0x54, 0x48, 0x47, 0xa5, 0xb9,
            0x00, 0x5b, 0xe1, 0xd3, 0x81, 0x18, 0x00, 0x00, 0x00,
        ]
        let server = try await ScriptedServer.start { _ in .status(200, [("Content-Encoding", "gzip")], coded) }
        let client = try makeClient()
        let kept = try await client.fetch(local(server.url()))
        #expect(kept["content-encoding"] == "gzip")
        #expect(Array(buffer: try await kept.body.collect()) == coded)
        #expect(server.requests[0]["accept-encoding"] == nil)
        var request = local(server.url())
        request.decodesContent = true
        let plain = try await client.fetch(request)
        #expect(plain["content-encoding"] == nil)
        #expect(plain["content-length"] == nil)
        #expect(plain.body.length == nil)
        #expect(try await text(plain) == "granary granary granary\n")
        await server.stop()
    }

    @Test("an upstream that goes silent is given up, before the head and in the body; one that drips is not")
    func stalls() async throws {
        let server = try await ScriptedServer.start { request in
            switch request.target {
            case "/silent": .init(raw: [.hang])
            case "/stalls": .init(200, [("Content-Length", "1000")], steps: [.bytes(Array("start".utf8)), .hang])
            default: .init(200, [("Content-Length", "8")], steps: (0..<8).flatMap { _ in [.wait(milliseconds: 300), .bytes([1])] })
            }
        }
        let client = try makeClient()
        for path in ["/silent", "/stalls"] {
            var request = local(server.url(path))
            request.limits.stallSeconds = 0.4
            let error = await failure { _ = try await digest(client.fetch(request).body) }
            #expect(error?.code == .upstreamFailed, "\(path)")
            #expect(error?.reason == "nothing moved for 0.4 seconds", "\(path)")
        }
        var request = local(server.url("/drip"))
        // Longer than any one wait, shorter than all of them.
        request.limits.stallSeconds = 1.5
        #expect(try await digest(client.fetch(request).body).bytes == 8)
        request.limits.totalSeconds = 0.3
        #expect(await failure { _ = try await digest(client.fetch(request).body) }?.code == .upstreamFailed)
        #expect(await server.reaches { $0.open <= 1 })
        await server.stop()
    }

    @Test("cancelling the task, dropping the response or closing the client frees the connection")
    func cancellation() async throws {
        let server = try await ScriptedServer.start { request in
            request.target == "/silent" ? .init(raw: [.hang]) : .init(200, [("Content-Length", "1000000")], steps: [.pattern(1000), .hang])
        }
        let client = try makeClient()
        // Before the head.
        let waiting = Task { try await client.fetch(local(server.url("/silent"))) }
        #expect(await server.reaches { $0.requests == 1 })
        waiting.cancel()
        #expect(await failure { _ = try await waiting.value }?.code == .unavailable)
        #expect(await server.reaches { $0.open == 0 })
        // In the body.
        let reading = Task { _ = try await digest(client.fetch(local(server.url("/body"))).body) }
        #expect(await server.reaches { $0.patternBytes == 1000 })
        reading.cancel()
        #expect(await failure { try await reading.value }?.code == .unavailable)
        #expect(await server.reaches { $0.open == 0 })
        // Before it starts.
        let never = Task {
            withUnsafeCurrentTask { unsafe $0?.cancel() }
            _ = try await client.fetch(local(server.url("/silent")))
        }
        #expect(await failure { try await never.value }?.code == .unavailable)
        // Dropped.
        do {
            let response = try await client.fetch(local(server.url("/body")))
            #expect(response.status == 200)
        }
        #expect(await server.reaches { $0.open == 0 })
        // Closed.
        let response = try await client.fetch(local(server.url("/body")))
        _ = try await response.body.next()
        client.close()
        client.close()
        #expect(await failure { while try await response.body.next() != nil {} }?.code == .unavailable)
        #expect(await server.reaches { $0.open == 0 })
        #expect(await failure { _ = try await client.fetch(local(server.url("/body"))) }?.code == .unavailable)
        await server.stop()
    }

    @Test("a read that was reset before any byte is tried once more; a write, and an answer that had begun, are not")
    func retries() async throws {
        let count = Counter()
        let server = try await ScriptedServer.start { request in
            let number = count.next()
            return switch request.target {
            case "/once": number % 2 == 0 ? .init(raw: [.reset]) : .ok("second")
            case "/begun": .init(raw: [.bytes(Array("HTTP/1.1 200 OK\r\n".utf8)), .reset])
            default: .init(raw: [.reset])
            }
        }
        #expect(try await text(makeClient().fetch(local(server.url("/once")))) == "second")
        #expect(count.count == 2)
        for (path, method, tries) in [("/always", FetchRequest.Method.get, 2), ("/always", .head, 2), ("/begun", .get, 1), ("/always", .post, 1)] {
            let before = count.count
            // A fresh one: no connection to use again, which libcurl would replace unasked.
            let client = try makeClient()
            #expect(await failure { _ = try await client.fetch(local(server.url(path), method)) }?.code == .upstreamFailed)
            #expect(count.count - before == Int64(tries), "\(method) \(path)")
        }
        await server.stop()
    }

    @Test("an origin that fails five times is left alone, others are not")
    func breaker() async throws {
        let bad = try await ScriptedServer.start { _ in .status(503) }
        let good = try await ScriptedServer.start { _ in .ok("fine") }
        let client = try makeClient()
        for _ in 0..<5 { #expect(try await client.fetch(local(bad.url())).status == 503) }
        let error = await failure { _ = try await client.fetch(local(bad.url())) }
        #expect(error?.code == .upstreamFailed)
        #expect((1...31).contains(error?.retryAfterSeconds ?? 0))
        #expect(bad.counts.requests == 5)
        #expect(try await text(client.fetch(local(good.url()))) == "fine")
        await bad.stop()
        await good.stop()
    }

    @Test("a port nobody listens on is upstreamFailed")
    func refusedConnection() async throws {
        let server = try await ScriptedServer.start { _ in .ok("") }
        await server.stop()
        let error = await failure { _ = try await makeClient().fetch(local(server.url("/gone"))) }
        #expect(error?.code == .upstreamFailed)
        #expect(error?.reason == "it accepts no connection")
    }
}
