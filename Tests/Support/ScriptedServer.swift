public import Core
public import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// An upstream that does what a test says: a real HTTP/1.1 server on a free loopback port, whose answers are bytes, so that they may also
/// be wrong, late, endless or cut off.
public final class ScriptedServer: Sendable {
    /// A request as it arrived, body included.
    public struct Request: Sendable {
        public var method: String
        public var target: String
        public var fields: [(name: String, value: String)]
        public var body: ByteBuffer
        /// Which of the server's connections, from 0 in order of arrival.
        public var connection: Int

        /// The first value of a field, by its name in any case.
        public subscript(_ name: String) -> String? { fields.first { $0.name.lowercased() == name.lowercased() }?.value }
        /// `GET /x HTTP/1.1` and the fields: for looking for what must not be there.
        public var text: String { "\(method) \(target)\n" + fields.map { "\($0.name): \($0.value)\n" }.joined() + String(buffer: body) }
    }

    public enum Step: Sendable {
        case bytes([UInt8])
        /// So many bytes of `Pattern`, no faster than the client takes them.
        case pattern(Int64)
        case wait(milliseconds: Int)
        /// What follows waits for it, for some minutes at most.
        case until(@Sendable () -> Bool)
        /// The connection ends with RST.
        case reset
        /// The connection ends with FIN.
        case close
        /// Nothing more, until the client goes.
        case hang
    }

    /// What goes out for one request: the head, and for all methods but HEAD the steps.
    public struct Answer: Sendable {
        public var head: [UInt8]
        public var steps: [Step]

        /// Fields exactly as given: a length only if it is among them.
        public init(_ status: Int, _ fields: [(String, String)] = [], steps: [Step]) {
            head = Array(("HTTP/1.1 \(status) Scripted\r\n" + fields.map { "\($0): \($1)\r\n" }.joined() + "\r\n").utf8)
            self.steps = steps
        }
        /// Not even a head.
        public init(raw steps: [Step]) {
            head = []
            self.steps = steps
        }

        /// A correct answer with its Content-Length.
        public static func status(_ status: Int, _ fields: [(String, String)] = [], _ body: [UInt8] = []) -> Answer {
            let length = status == 204 || status == 304 ? [] : [("Content-Length", String(body.count))]
            return Answer(status, fields + length, steps: body.isEmpty ? [] : [.bytes(body)])
        }
        public static func ok(_ text: String, _ fields: [(String, String)] = []) -> Answer { status(200, fields, Array(text.utf8)) }
        public static func redirect(to location: String, status: Int = 302) -> Answer { .status(status, [("Location", location)]) }
        public static func pattern(_ count: Int64, _ fields: [(String, String)] = []) -> Answer {
            Answer(200, fields + [("Content-Length", String(count))], steps: [.pattern(count)])
        }
        public static func chunked(_ chunks: [[UInt8]]) -> Answer {
            let steps = (chunks + [[]]).map { Step.bytes(Array("\(String($0.count, radix: 16))\r\n".utf8) + $0 + Array("\r\n".utf8)) }
            return Answer(200, [("Transfer-Encoding", "chunked")], steps: steps)
        }
    }

    /// Bytes that a test can make again, and in which no two blocks are alike.
    public enum Pattern {
        static let blockBytes = 61_441
        private static let block: [UInt8] = {
            var state: UInt32 = 0x9E37_79B9
            return (0..<blockBytes).map { _ in
                state = state &* 1_664_525 &+ 1_013_904_223
                return UInt8(truncatingIfNeeded: state >> 24)
            }
        }()

        /// Block `index`, at most `limit` bytes of it.
        public static func block(_ index: Int64, limit: Int64) -> ByteBuffer {
            var buffer = ByteBuffer(bytes: block)
            buffer.setInteger(index, at: 0)
            return limit < Int64(blockBytes) ? buffer.readSlice(length: Int(limit)) ?? buffer : buffer
        }

        /// SHA-256 of the first `count` bytes.
        public static func digest(_ count: Int64) -> Digest {
            var hasher = Digest.Hasher(.sha256)
            var left = count
            var index: Int64 = 0
            while left > 0 {
                let slice = block(index, limit: left)
                slice.withUnsafeReadableBytes { unsafe hasher.update($0) }
                left -= Int64(slice.readableBytes)
                index += 1
            }
            return hasher.finish()
        }
    }

    public struct Counts: Sendable, Equatable {
        public var requests = 0
        public var connections = 0
        public var open = 0
        /// Bytes of patterns that the kernel took.
        public var patternBytes: Int64 = 0
    }

    fileprivate struct State {
        var counts = Counts()
        var requests: [Request] = []
        var channels: [Int: any Channel] = [:]
        var listener: (any Channel)?
    }

    fileprivate let state = Mutex(State())
    public let port: Int
    private let scheme: String

    /// Serves from now on, with TLS when an authority is given. The script runs when a request is complete;
    /// `early` may answer at its head, before the body is read.
    public static func start(
        tls authority: ThrowawayCA? = nil, early: (@Sendable (Request) -> Answer?)? = nil,
        _ script: @escaping @Sendable (Request) -> Answer
    ) async throws -> ScriptedServer {
        let box = Box()
        let tls = try authority.map { authority in
            try NIOSSLContext(
                configuration: .makeServerConfiguration(
                    certificateChain: NIOSSLCertificate.fromPEMFile(authority.certificateFile).map { .certificate($0) },
                    privateKey: .privateKey(NIOSSLPrivateKey(file: authority.keyFile, format: .pem))))
        }
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.backlog, value: 1024)
            .childChannelOption(.socketOption(.so_sndbuf), value: 128 << 10)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls)) }
                    let decoder = ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes))
                    try channel.pipeline.syncOperations.addHandler(decoder)
                    try channel.pipeline.syncOperations.addHandler(ScriptedConnection(box, early: early, script: script))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let server = ScriptedServer(port: listener.localAddress?.port ?? 0, scheme: tls == nil ? "http" : "https")
        server.state.withLock { $0.listener = listener }
        box.server.withLock { $0 = server }
        return server
    }

    private init(port: Int, scheme: String) {
        self.port = port
        self.scheme = scheme
    }

    public func url(_ path: String = "/") -> String { "\(scheme)://\(scheme == "https" ? "localhost" : "127.0.0.1"):\(port)\(path)" }
    public var counts: Counts { state.withLock { $0.counts } }
    public var requests: [Request] { state.withLock { $0.requests } }

    /// Closes the port and every connection.
    public func stop() async {
        let channels = state.withLock { state in
            defer { state.listener = nil }
            return Array(state.channels.values) + (state.listener.map { [$0] } ?? [])
        }
        for channel in channels { try? await channel.close().get() }
    }

    /// Looks until the counts are as wanted, for at most so many seconds.
    /// - Returns: whether they became so.
    public func reaches(seconds: Int = 120, _ isWanted: (Counts) -> Bool) async -> Bool {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while !isWanted(counts) {
            guard ContinuousClock.now < deadline else { return false }
            try? await Task.sleep(for: .milliseconds(5))
        }
        return true
    }

    fileprivate final class Box: Sendable { let server = Mutex<ScriptedServer?>(nil) }
}

/// One connection: reads whole requests, plays answers.
private final class ScriptedConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = ByteBuffer

    private let box: ScriptedServer.Box
    private let early: (@Sendable (ScriptedServer.Request) -> ScriptedServer.Answer?)?
    private let script: @Sendable (ScriptedServer.Request) -> ScriptedServer.Answer
    private var number = 0
    private var request: ScriptedServer.Request?
    private var steps: [ScriptedServer.Step] = []
    private var isWaiting = false
    private var patternIndex: Int64 = 0
    private var looks = 0

    init(
        _ box: ScriptedServer.Box, early: (@Sendable (ScriptedServer.Request) -> ScriptedServer.Answer?)?,
        script: @escaping @Sendable (ScriptedServer.Request) -> ScriptedServer.Answer
    ) {
        self.box = box
        self.early = early
        self.script = script
    }

    private var server: ScriptedServer? { box.server.withLock { $0 } }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        number =
            server?.state.withLock { state in
                defer {
                    state.counts.connections += 1
                    state.counts.open += 1
                }
                state.channels[state.counts.connections] = channel
                return state.counts.connections
            } ?? 0
    }

    func channelInactive(context: ChannelHandlerContext) {
        steps = []
        server?.state.withLock { state in
            state.counts.open -= 1
            state.channels[number] = nil
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            let fields = head.headers.map { (name: $0.name, value: $0.value) }
            let request = ScriptedServer.Request(
                method: head.method.rawValue, target: head.uri, fields: fields, body: ByteBuffer(), connection: number)
            if let answer = early?(request) {
                record(request)
                return play(answer, for: request, in: context)
            }
            self.request = request
            if request["expect"] != nil { write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8), in: context) }
        case .body(var slice):
            request?.body.writeBuffer(&slice)
        case .end:
            guard let request else { return }
            self.request = nil
            record(request)
            play(script(request), for: request, in: context)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { advance(in: context) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func record(_ request: ScriptedServer.Request) {
        server?.state.withLock { state in
            state.requests.append(request)
            state.counts.requests += 1
        }
    }

    private func play(_ answer: ScriptedServer.Answer, for request: ScriptedServer.Request, in context: ChannelHandlerContext) {
        if !answer.head.isEmpty { write(answer.head, in: context) }
        steps = request.method == "HEAD" && !answer.head.isEmpty ? [] : answer.steps
        patternIndex = 0
        advance(in: context)
    }

    private func advance(in context: ChannelHandlerContext) {
        while !isWaiting, context.channel.isActive, context.channel.isWritable, let step = steps.first {
            steps.removeFirst()
            switch step {
            case .bytes(let bytes): write(bytes, in: context)
            case .pattern(let count): writePattern(count, in: context)
            case .wait(let milliseconds):
                isWaiting = true
                context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Int64(milliseconds))) {
                    self.isWaiting = false
                    self.advance(in: context)
                }
            case .until(let isTime):
                guard !isTime(), looks < 60_000 else { continue }
                looks += 1
                steps.insert(step, at: 0)
                isWaiting = true
                context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(5)) {
                    self.isWaiting = false
                    self.advance(in: context)
                }
            case .reset: end(in: context, abruptly: true)
            case .close: end(in: context, abruptly: false)
            case .hang: isWaiting = true
            }
        }
    }

    private func writePattern(_ count: Int64, in context: ChannelHandlerContext) {
        let block = ScriptedServer.Pattern.block(patternIndex, limit: count)
        patternIndex += 1
        let written = Int64(block.readableBytes)
        if count > written { steps.insert(.pattern(count - written), at: 0) }
        let promise = context.eventLoop.makePromise(of: Void.self)
        let server = server
        promise.futureResult.whenSuccess { server?.state.withLock { $0.counts.patternBytes += written } }
        context.writeAndFlush(wrapOutboundOut(block), promise: promise)
    }

    private func write(_ bytes: [UInt8], in context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }

    /// After all that was written has left.
    private func end(in context: ChannelHandlerContext, abruptly: Bool) {
        isWaiting = true
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { _ in
            guard abruptly, let options = context.channel as? any SocketOptionProvider else { return context.close(promise: nil) }
            options.setSoLinger(linger(l_onoff: 1, l_linger: 0)).assumeIsolated().whenComplete { _ in context.close(promise: nil) }
        }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: promise)
    }
}
