import Core
import FrontendKit
import NIOSSL
import Server
import Synchronization
import TestSupport
import Testing

/// Clients that send frames of HTTP/2 to keep the server busy (RFC 9113, section 10.5), and those that keep a connection for nothing.
@Suite(
    "floods of frames", .timeLimit(.minutes(10)),
    .enabled("needs openssl and curl") { Command.path(of: "openssl") != nil && Command.path(of: "curl") != nil })
struct FloodTests {
    enum Flood: String, CaseIterable, CustomTestStringConvertible {
        /// CVE-2023-44487
        case resets = "requests that are taken back at once"
        /// The server's turn to reset: CVE-2025-8671
        case faults = "requests that are none"
        case streams = "requests that do not end"
        /// CVE-2019-9518
        case emptiness = "empty pieces of a body"
        /// CVE-2024-27316
        case continuations = "pieces of a head that does not end"
        /// CVE-2016-6581
        case repetitions = "a head that names a large field over and over"
        /// CVE-2019-9515
        case settings = "settings"
        /// CVE-2019-9512
        case pings = "pings"
        /// CVE-2019-9513
        case priorities = "priorities"
        var testDescription: String { rawValue }

        var opening: [UInt8] {
            switch self {
            case .emptiness: Frame(.headers, Frame.endHeaders, on: 1, holding: Frame.fields(.post, "/slow")).bytes
            case .continuations: Frame(.headers, on: 1, holding: Frame.fields(.get, "/slow")).bytes
            case .repetitions:
                // Into the table: a name of one byte, a value of 4000, whose length is 127 + 33 + 30 * 128.
                Frame(
                    .headers, Frame.endHeaders | Frame.endStream, on: 1,
                    holding: Frame.fields(.get, "/now") + [0x40, 1, UInt8(ascii: "a"), 0x7F, 0xA1, 0x1E]
                        + [UInt8](repeating: UInt8(ascii: "b"), count: 4000)
                ).bytes
            default: []
            }
        }

        func piece(_ number: Int) -> [UInt8] {
            let stream = 2 * number + 3
            let whole = Frame.endHeaders | Frame.endStream
            return switch self {
            case .resets:
                Frame(.headers, whole, on: stream, holding: Frame.fields(.get, "/slow")).bytes
                    + Frame(.reset, on: stream, holding: [0, 0, 0, 8]).bytes
            case .faults: Frame(.headers, whole, on: stream, holding: [Frame.Method.get.rawValue, 0x87]).bytes
            case .streams: Frame(.headers, Frame.endHeaders, on: stream, holding: Frame.fields(.post, "/slow")).bytes
            case .emptiness: Frame(.data, on: 1).bytes
            case .continuations: Frame(.continuation, on: 1, holding: [0x00, 1, UInt8(ascii: "a"), 1, UInt8(ascii: "b")]).bytes
            case .repetitions:
                Frame(.headers, whole, on: stream, holding: Frame.fields(.get, "/now") + [UInt8](repeating: 0xBE, count: 10_000)).bytes
            case .settings: Frame(.settings).bytes
            case .pings: Frame(.ping, holding: [UInt8](repeating: 7, count: 8)).bytes
            case .priorities: Frame(.priority, on: stream, holding: [0, 0, 0, 0, 1]).bytes
            }
        }

        /// Section 7: PROTOCOL_ERROR, COMPRESSION_ERROR, ENHANCE_YOUR_CALM
        var error: Int {
            switch self {
            case .streams: 1
            case .repetitions: 9
            default: 11
            }
        }

        /// Of a thousand pieces, how many requests may reach anybody.
        var requestsMax: Int {
            switch self {
            case .resets: 201
            case .streams: 100
            case .emptiness, .repetitions: 1
            default: 0
            }
        }

        /// What a good client may do now and then.
        static let tolerated: [Flood] = [.resets, .faults, .settings, .pings, .priorities]
    }

    private struct Site {
        var port: Int
        var tls: NIOSSLContext
        var curl: [String]
        var asked: @Sendable () -> Int
    }

    private static func withSite(
        _ metrics: Metrics = Metrics(), _ change: (inout ServerOptions) -> Void = { _ in }, _ body: (Site) async throws -> Void
    ) async throws {
        let asked = Counter()
        let responder = TestResponder(
            now: { head in
                if head.path.segments.first == "now" { asked.add() }
                return head.path.segments.first == "now" ? .text("well") : nil
            },
            answer: { _, _ in
                asked.add()
                // Work that ends when nobody waits for it.
                try? await Task.sleep(for: .seconds(600))
                return .text("late")
            })
        let directory = try TemporaryDirectory()
        let tls = try await TLSTests.certificate(in: directory)
        try await withServer(
            responder, metrics: metrics,
            {
                $0.tls = tls
                change(&$0)
            }
        ) { _, port in
            try await body(
                Site(
                    port: port, tls: try TLSTests.client(trusting: directory.file("cert.pem")),
                    curl: ["curl", "-sS", "--http2", "--noproxy", "*", "--max-time", "240", "--cacert", directory.file("cert.pem")],
                    asked: { asked.count }))
        }
    }

    /// What the server says to a thousand pieces, or to as many as it hears, until it ends the connection.
    private static func attack(_ flood: Flood, _ site: Site) async throws -> [Frame] {
        let client = try await RawClient.connect(to: site.port, over: site.tls)
        client.close(afterSeconds: 120)
        try await client.send(Frame.opening + flood.opening)
        for batch in 0..<20 {
            let bytes = (0..<50).flatMap { flood.piece(50 * batch + $0) }
            // A failure is the end that the server made.
            do { try await client.send(bytes) } catch { break }
        }
        let heard = await client.readToEnd()
        await client.close()
        return Frame.all(in: heard)
    }

    @Test("the server says why, and ends the connection, within a thousand frames", arguments: Flood.allCases)
    func end(_ flood: Flood) async throws {
        let metrics = Metrics()
        try await Self.withSite(metrics) { site in
            let began = ContinuousClock.now
            let heard = try await Self.attack(flood, site)
            #expect(heard.compactMap(\.error).first == flood.error)
            #expect(ContinuousClock.now - began < .seconds(100))
            #expect(site.asked() <= flood.requestsMax)
            #expect(try await Command.run(site.curl + ["https://127.0.0.1:\(site.port)/now"]).output == "well")
        }
        let page = metrics.render()
        #expect(page.contains("granary_http_connections_broken_total 1\n"))
        #expect(page.contains("granary_http_requests_in_flight 0\n"))
        #expect(page.contains("granary_http_connections 0\n"))
    }

    @Test("a hundred are put up with, and the request after them is answered", arguments: Flood.tolerated)
    func tolerance(_ flood: Flood) async throws {
        try await Self.withSite { site in
            let client = try await RawClient.connect(to: site.port, over: site.tls)
            client.close(afterSeconds: 120)
            let request = Frame(.headers, Frame.endHeaders | Frame.endStream, on: 1001, holding: Frame.fields(.get, "/now"))
            try await client.send(Frame.opening + flood.opening + (0..<100).flatMap { flood.piece($0) } + request.bytes)
            func answer() -> [UInt8]? {
                Frame.all(in: client.heard).first { $0.stream == 1001 && $0.kind == Frame.Kind.data.rawValue }?.payload
            }
            var bytes = 1
            while answer() == nil, await client.waitForBytes(bytes) { bytes = client.heard.count + 1 }
            #expect(answer() == Array("well".utf8))
            await client.close()
        }
    }

    @Test("others are answered while all of them go on, again and again")
    func others() async throws {
        let metrics = Metrics()
        try await Self.withSite(metrics) { site in
            let done = Counter()
            let answers = try await withThrowingTaskGroup(of: [String].self) { group in
                for flood in Flood.allCases {
                    group.addTask {
                        for _ in 0..<200 where done.count == 0 { _ = try await Self.attack(flood, site) }
                        return []
                    }
                }
                group.addTask {
                    defer { done.add() }
                    var answers: [String] = []
                    for _ in 0..<5 {
                        let got = try await Command.run(site.curl + ["-w", "\n", "https://127.0.0.1:\(site.port)/now?[1-20]"])
                        answers += got.output.split(separator: "\n").map(String.init)
                    }
                    return answers
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(answers == Array(repeating: "well", count: 100))
        }
        #expect(metrics.render().contains("granary_http_requests_in_flight 0\n"))
    }

    @Test("a connection that asks nothing ends in time, whatever other frames come", arguments: [Frame.Kind.unknown, .windowUpdate])
    func nothingAsked(_ kind: Frame.Kind) async throws {
        try await Self.withSite(.init(), { $0.headerSeconds = 0.5 }) { site in
            let client = try await RawClient.connect(to: site.port, over: site.tls)
            client.close(afterSeconds: 120)
            try await client.send(Frame.opening)
            let began = ContinuousClock.now
            let bytes = (0..<20).flatMap { _ in Frame(kind, holding: [0, 0, 0, 1]).bytes }
            while ContinuousClock.now - began < .seconds(100) { do { try await client.send(bytes) } catch { break } }
            let heard = Frame.all(in: await client.readToEnd())
            #expect(ContinuousClock.now - began < .seconds(100))
            // NO_ERROR: it is told to go.
            #expect(heard.compactMap(\.error).first == 0)
            #expect(site.asked() == 0)
            await client.close()
        }
    }

    @Test("a head that does not end in time, and a client that ended its side, leave no connection behind", arguments: [false, true])
    func left(_ endsItsSide: Bool) async throws {
        try await Self.withSite(.init(), { if !endsItsSide { $0.headerSeconds = 0.5 } }) { site in
            let client = try await RawClient.connect(to: site.port, over: site.tls)
            client.close(afterSeconds: 120)
            try await client.send(Frame.opening + Flood.continuations.opening)
            let began = ContinuousClock.now
            if endsItsSide { try await client.endOutput() }
            _ = await client.readToEnd()
            #expect(ContinuousClock.now - began < .seconds(100))
            await client.close()
        }
    }
}

private final class Counter: Sendable {
    private let value = Atomic(0)
    func add() { value.add(1, ordering: .relaxed) }
    var count: Int { value.load(ordering: .relaxed) }
}
