import Core
import Crypto
import FrontendKit
import HTTPTypes
import Logging
import NIOCore
import Server
import Synchronization

/// Answers as its closures say; what they leave out is a 404.
struct TestResponder: Responder {
    var now: @Sendable (RequestHead) -> Response? = { _ in nil }
    var answer: @Sendable (RequestHead, Body) async -> Response = { _, _ in Response(.notFound) }

    func respondNow(to head: RequestHead) -> Response? { now(head) }
    func respond(to head: RequestHead, body: Body) async -> Response { await answer(head, body) }

    /// The paths most tests need: what a small registry would do with bodies.
    static let standard = TestResponder(
        now: { head in
            guard head.method == .get || head.method == .head, head.path.segments.first == "now" else { return nil }
            return .text("now \(head.path.segments.dropFirst().joined(separator: "/"))", validator: .init(etag: "\"v1\""))
        },
        answer: { head, body in
            switch head.path.segments.first {
            case "later": return .text("later")
            case "count": return await reading { () throws(RegistryError) in try await count(body) }
            case "slices": return await reading { () throws(RegistryError) in try await countSlices(body) }
            case "collect": return await reading { () throws(RegistryError) in String(buffer: try await body.collect()) }
            case "refuse": return Response(.forbidden, content: .bytes(ByteBuffer(string: "no")))
            case "stream": return Response(.ok, content: .stream(Body(length: nil, source: Repeated(slice: ByteBuffer(string: "slice "), times: 3))))
            default: return Response(.notFound)
            }
        })

    private static func reading(_ work: () async throws(RegistryError) -> String) async -> Response {
        do throws(RegistryError) { return .text(try await work()) } catch {
            return Response(HTTPResponse.Status(code: error.code.status), content: .bytes(ByteBuffer(string: error.reason)), failure: error)
        }
    }

    private static func count(_ body: Body) async throws(RegistryError) -> String {
        let sink = HashingSink()
        try await body.drain(into: sink)
        return sink.result
    }

    private static func countSlices(_ body: Body) async throws(RegistryError) -> String {
        let sink = HashingSink()
        while let slice = try await body.next() { try sink.write(slice) }
        return sink.result
    }
}

extension Response {
    static func text(_ text: String, validator: Validator? = nil) -> Response {
        Response(.ok, fields: [.contentType: "text/plain"], content: .bytes(ByteBuffer(string: text)), validator: validator)
    }
}

/// Counts and hashes what it is given: "BYTES HEX".
final class HashingSink: ByteSink {
    private let state = Mutex((bytes: 0, hash: SHA256()))
    func write(_ slice: ByteBuffer) throws(RegistryError) {
        state.withLock { state in
            state.bytes += slice.readableBytes
            slice.withUnsafeReadableBytes { state.hash.update(bufferPointer: $0) }
        }
    }
    var result: String {
        state.withLock { "\($0.bytes) \($0.hash.finalize().map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined())" }
    }
}

func sha256(_ bytes: [UInt8]) -> String {
    SHA256.hash(data: bytes).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}

/// One slice, several times; counts how often it was asked for.
final class Repeated: BodySource {
    private let slice: ByteBuffer
    private let left: Mutex<Int>
    private let gave = Mutex(0)
    init(slice: ByteBuffer, times: Int) {
        self.slice = slice
        left = Mutex(times)
    }
    var slicesGiven: Int { gave.withLock { $0 } }
    func next() async throws(RegistryError) -> ByteBuffer? {
        let more = left.withLock { left in
            left -= 1
            return left >= 0
        }
        guard more else { return nil }
        gave.withLock { $0 += 1 }
        return slice
    }
}

/// Opens once, for any number of waiters.
final class Gate: Sendable {
    private let state = Mutex<(isOpen: Bool, waiting: [CheckedContinuation<Void, Never>])>((false, []))
    func wait() async {
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiting.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }
    func open() {
        let waiting = state.withLock { state in
            defer { state = (true, []) }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }
}

/// Keeps what was logged.
struct LogBook: LogHandler {
    final class Lines: Sendable {
        let all = Mutex<[(message: String, metadata: [String: String])]>([])
    }
    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .info
    init(_ lines: Lines) { self.lines = lines }
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
    func log(event: LogEvent) {
        let fields = (event.metadata ?? [:]).mapValues { "\($0)" }
        lines.all.withLock { $0.append((event.message.description, fields)) }
    }
}

/// A server on a free port for the length of a closure.
func withServer(
    _ responder: any Responder = TestResponder.standard, metrics: Metrics = Metrics(), log lines: LogBook.Lines = .init(), world: World = .real,
    _ change: (inout ServerOptions) -> Void = { _ in }, _ body: (HTTPServer, Int) async throws -> Void
) async throws {
    var options = ServerOptions(port: 0)
    options.gracefulSeconds = 2
    // Where a test is not about a deadline, a starved machine meets none.
    (options.headerSeconds, options.bodyStallSeconds, options.idleSeconds, options.writeStallSeconds) = (300, 300, 300, 300)
    change(&options)
    let server = HTTPServer(
        options: options, responder: responder, world: world, log: Logger(label: "test") { _ in LogBook(lines) }, metrics: metrics)
    let port = try await server.start()
    do {
        try await body(server, port)
    } catch {
        await server.stop()
        throw error
    }
    await server.stop()
}
