import Core
import Logging
import NIOCore
import Outbound
import TestSupport
import Testing

func makeClient(_ options: OutboundClient.Options = .init()) throws -> OutboundClient {
    try OutboundClient(options: options, log: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }), world: .real)
}

/// A request that may reach this machine.
func local(_ url: String, _ method: FetchRequest.Method = .get) -> FetchRequest {
    FetchRequest(method, url: url, addressPolicy: AddressPolicy(allowPrivate: true))
}

func text(_ response: FetchResponse) async throws -> String { String(buffer: try await response.body.collect()) }

/// Reads to the end.
func digest(_ body: Body) async throws -> (digest: Digest, bytes: Int64) {
    var hasher = Digest.Hasher(.sha256)
    var bytes: Int64 = 0
    while let slice = try await body.next() {
        slice.withUnsafeReadableBytes { unsafe hasher.update($0) }
        bytes += Int64(slice.readableBytes)
    }
    return (hasher.finish(), bytes)
}

/// The error a body or a fetch ends with.
func failure(_ operation: () async throws -> Void) async -> RegistryError? {
    do {
        try await operation()
        return nil
    } catch { return error as? RegistryError }
}

@Suite("A fetch brings what the upstream says, whole")
struct FetchTests {
    @Test("status, fields and body arrive; the request line and fields are what was asked")
    func plain() async throws {
        let server = try await ScriptedServer.start { _ in .status(203, [("ETag", "\"v1\""), ("X-A", "1"), ("x-a", "2")], Array("hello".utf8)) }
        let client = try makeClient()
        var request = local(server.url("/simple/a%20b/?q=%C3%A9"))
        request.fields = [("Accept", "text/html"), ("X-Empty", "")]
        let response = try await client.fetch(request)
        #expect(response.status == 203)
        #expect(response["etag"] == "\"v1\"")
        #expect(response.values(of: "X-A") == ["1", "2"])
        #expect(response.body.length == 5)
        #expect(response.url == server.url("/simple/a%20b/?q=%C3%A9"))
        #expect(try await text(response) == "hello")
        let port = server.port
        #expect(
            server.requests.map(\.text) == [
                "GET /simple/a%20b/?q=%C3%A9\nHost: 127.0.0.1:\(port)\nUser-Agent: Granary\nAccept: text/html\nX-Empty: \n"
            ])
        client.close()
        await server.stop()
    }

    @Test("64 MiB stream through equal, announced or chunked, over one connection")
    func large() async throws {
        let count: Int64 = 64 << 20
        let server = try await ScriptedServer.start { request in
            request.target == "/announced" ? .pattern(count) : .chunked([[1, 2, 3], Array(repeating: 7, count: 100_000), [9]])
        }
        let client = try makeClient()
        let response = try await client.fetch(local(server.url("/announced")))
        #expect(response.body.length == count)
        let whole = try await digest(response.body)
        #expect(whole.bytes == count)
        #expect(whole.digest == ScriptedServer.Pattern.digest(count))
        let chunked = try await client.fetch(local(server.url("/chunked")))
        #expect(chunked.body.length == nil)
        #expect(try await digest(chunked.body).digest == .of(.sha256, [1, 2, 3] + Array(repeating: 7, count: 100_000) + [9]))
        #expect(server.counts.connections == 1)
        await server.stop()
    }

    @Test("a consumer that stops makes the upstream wait, and gets everything when it goes on")
    func backPressure() async throws {
        let count: Int64 = 64 << 20
        let server = try await ScriptedServer.start { _ in .pattern(count) }
        let client = try makeClient()
        let response = try await client.fetch(local(server.url()))
        _ = try #require(await server.reaches { $0.patternBytes > 0 })
        // Until nothing moves: what was sent then lies in the kernel's buffers and ours.
        var seen: Int64 = -1
        while seen != server.counts.patternBytes {
            seen = server.counts.patternBytes
            try await Task.sleep(for: .milliseconds(300))
        }
        #expect(seen < 12 << 20, "the upstream sent \(seen) bytes to a consumer that took none")
        let whole = try await digest(response.body)
        #expect(whole.bytes == count)
        #expect(whole.digest == ScriptedServer.Pattern.digest(count))
        await server.stop()
    }

    @Test("a paused consumer is not a stall")
    func pauseIsNoStall() async throws {
        let count: Int64 = 16 << 20
        let server = try await ScriptedServer.start { _ in .pattern(count) }
        var request = local(server.url())
        request.limits.stallSeconds = 0.3
        let response = try await makeClient().fetch(request)
        try await Task.sleep(for: .milliseconds(900))
        #expect(try await digest(response.body).bytes == count)
        await server.stop()
    }

    @Test("a hundred fetches at once each get their own answer")
    func concurrent() async throws {
        let server = try await ScriptedServer.start { request in
            Int64(request.target.dropFirst()).map { .pattern($0) } ?? .status(400)
        }
        let client = try makeClient()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<100 {
                group.addTask {
                    let count = Int64(1 + index * 4001)
                    let response = try await client.fetch(local(server.url("/\(count)")))
                    let whole = try await digest(response.body)
                    #expect(whole.bytes == count)
                    #expect(whole.digest == ScriptedServer.Pattern.digest(count))
                }
            }
            try await group.waitForAll()
        }
        #expect(server.counts.requests == 100)
        client.close()
        #expect(await server.reaches { $0.open == 0 })
        await server.stop()
    }

    @Test("connections are used again, after redirects and 304 too")
    func reuse() async throws {
        let server = try await ScriptedServer.start { request in
            switch request.target {
            case "/moved": .redirect(to: "/here")
            case "/same": request["if-none-match"] == "\"v1\"" ? .status(304, [("ETag", "\"v1\"")]) : .ok("v1", [("ETag", "\"v1\"")])
            default: .ok("ok")
            }
        }
        let client = try makeClient()
        for _ in 0..<3 {
            #expect(try await text(client.fetch(local(server.url("/moved")))) == "ok")
            var request = local(server.url("/same"))
            request.fields = [("If-None-Match", "\"v1\"")]
            let response = try await client.fetch(request)
            #expect(response.status == 304)
            #expect(response["ETag"] == "\"v1\"")
            #expect(try await text(response) == "")
        }
        #expect(server.counts.requests == 9)
        #expect(server.counts.connections <= 2)
        await server.stop()
    }

    @Test("HEAD has fields and no body; errors of the upstream are answers")
    func headAndErrors() async throws {
        let server = try await ScriptedServer.start { request in
            request.method == "HEAD" ? .pattern(1 << 40) : .status(Int(request.target.dropFirst()) ?? 400, [], Array("why".utf8))
        }
        let client = try makeClient(.init(breakerFailuresMax: 100))
        let head = try await client.fetch(local(server.url(), .head))
        #expect(head["content-length"] == String(1 << 40))
        #expect(try await text(head) == "")
        for status in [400, 401, 403, 404, 410, 429, 500, 503] {
            let response = try await client.fetch(local(server.url("/\(status)")))
            #expect(response.status == status)
            #expect(try await text(response) == "why")
        }
        await server.stop()
    }

    @Test("bodies go up whole, with their length or chunked, and an early refusal comes back")
    func uploads() async throws {
        let server = try await ScriptedServer.start(
            early: { $0.target == "/refuse" ? .status(413, [("Connection", "close")], Array("too much".utf8)) : nil },
            { request in
                let digest = Digest.of(.sha256, Array(buffer: request.body))
                return .ok("\(request.method) \(request["content-length"] ?? request["transfer-encoding"] ?? "none") \(digest.hex)")
            })
        let client = try makeClient()
        let count: Int64 = 3 << 20
        let expected = ScriptedServer.Pattern.digest(count).hex
        var request = local(server.url("/up"), .put)
        request.body = Body(length: count, source: PatternSource(count))
        #expect(try await text(client.fetch(request)) == "PUT \(count) \(expected)")
        request.method = .post
        request.body = Body(length: nil, source: PatternSource(count))
        #expect(try await text(client.fetch(request)) == "POST chunked \(expected)")
        request.body = nil
        #expect(try await text(client.fetch(request)) == "POST 0 \(Digest.of(.sha256, []).hex)")
        request.body = .empty
        #expect(try await text(client.fetch(request)) == "POST 0 \(Digest.of(.sha256, []).hex)")

        request.url = server.url("/refuse")
        request.body = Body(length: 1 << 40, source: PatternSource(1 << 40))
        let refused = try await client.fetch(request)
        #expect(refused.status == 413)
        #expect(try await text(refused) == "too much")
        client.close()
        await server.stop()
    }

    @Test("a body that fails on our side ends the fetch with its own error, and the upstream never sees it whole")
    func failingUpload() async throws {
        let server = try await ScriptedServer.start { _ in .ok("stored") }
        var request = local(server.url("/up"), .put)
        request.body = Body(length: 1 << 20, source: PatternSource(1 << 20, failsAt: 500_000))
        let client = try makeClient()
        let error = await failure { _ = try await client.fetch(request) }
        #expect(error?.code == .corrupt)
        #expect(await server.reaches { $0.open == 0 })
        #expect(server.counts.requests == 0)
        await server.stop()
    }

    @Test("a cancelled upload without a length never looks whole to the upstream")
    func cancelledUpload() async throws {
        let server = try await ScriptedServer.start { _ in .ok("stored") }
        let client = try makeClient()
        for round in 1...20 {
            var request = local(server.url("/up"), .post)
            request.body = Body(length: nil, source: PatternSource(1 << 40))
            let upload = Task { [request] in try await client.fetch(request) }
            #expect(await server.reaches { $0.connections >= round })
            upload.cancel()
            #expect(await failure { _ = try await upload.value }?.code == .unavailable)
            #expect(await server.reaches { $0.open == 0 })
        }
        #expect(server.counts.requests == 0)
        await server.stop()
    }
}

/// A body made of `ScriptedServer.Pattern`.
final class PatternSource: BodySource {
    private let count: Int64
    private let failsAt: Int64?
    private let position = Counter()

    init(_ count: Int64, failsAt: Int64? = nil) {
        self.count = count
        self.failsAt = failsAt
    }

    func next() async throws(RegistryError) -> ByteBuffer? {
        let index = position.next()
        let start = index * Int64(ScriptedServer.Pattern.block(0, limit: .max).readableBytes)
        if let failsAt, start >= failsAt { throw RegistryError(.corrupt, subject: .store, reason: "the disk lost it") }
        return start < count ? ScriptedServer.Pattern.block(index, limit: count - start) : nil
    }
}
