import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A socket that says exactly what it is told to, and keeps what it hears.
final class RawClient: Sendable {
    struct Reply: Equatable {
        var status: Int
        var fields: [String: String]
        var body: String
    }

    enum Failure: Error { case ended(String), malformed(String) }

    private let channel: any Channel
    private let inbox: Inbox

    private init(_ channel: any Channel, _ inbox: Inbox) {
        self.channel = channel
        self.inbox = inbox
    }

    /// - Parameter tls: nil: in clear text.
    static func connect(
        to port: Int, at host: String = "127.0.0.1", readsAtOnce: Bool = true, over tls: NIOSSLContext? = nil
    ) async throws -> RawClient {
        let inbox = Inbox()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.autoRead, value: readsAtOnce)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls { try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: tls, serverHostname: nil)) }
                    try channel.pipeline.syncOperations.addHandler(inbox)
                }
            }
            .connect(host: host, port: port).get()
        return RawClient(channel, inbox)
    }

    /// Returns when the bytes are with the kernel; a failure is the server's closing.
    func send(_ text: String) async throws { try await send(Array(text.utf8)) }
    func send(_ bytes: [UInt8]) async throws { try await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get() }
    /// Sends, and does not care whether it arrives.
    func sendAnyway(_ bytes: [UInt8]) { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }
    func endOutput() async throws { try await channel.close(mode: .output).get() }
    func close() async { try? await channel.close().get() }
    /// Whatever waits for the server then sees an end.
    func close(afterSeconds seconds: Int64) {
        let channel = channel
        channel.eventLoop.scheduleTask(in: .seconds(seconds)) { channel.close(promise: nil) }
    }
    /// Asks for one more read, for a client that does not read at once.
    func readOnce() { channel.read() }
    func readFromNowOn() async throws { try await channel.setOption(.autoRead, value: true).get() }

    var heard: [UInt8] { inbox.state.withLock { $0.bytes } }

    /// Everything until the server ends its side.
    func readToEnd() async -> [UInt8] {
        while await inbox.more() {}
        return inbox.state.withLock { state in
            defer { state.bytes = [] }
            return state.bytes
        }
    }

    /// Waits until the server has said something, without taking it.
    func waitForBytes(_ count: Int = 1) async -> Bool {
        while inbox.state.withLock({ $0.bytes.count < count }) { guard await inbox.more() else { return false } }
        return true
    }

    /// The next reply on the connection, 100 included.
    func reply(toHead: Bool = false) async throws -> Reply {
        let head = String(decoding: try await take(through: "\r\n\r\n"), as: UTF8.self)
        let lines = head.split(separator: "\r\n")
        guard let line = lines.first, line.hasPrefix("HTTP/1."), let status = Int(line.split(separator: " ")[1]) else {
            throw Failure.malformed(head)
        }
        var fields: [String: String] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { throw Failure.malformed(head) }
            fields[line[..<colon].lowercased()] = String(line[line.index(after: colon)...].drop { $0 == " " })
        }
        var body: [UInt8] = []
        if toHead || status < 200 || status == 204 || status == 304 {
        } else if fields["transfer-encoding"] == "chunked" {
            while true {
                let size = String(decoding: try await take(through: "\r\n").dropLast(2), as: UTF8.self)
                guard let count = Int(size, radix: 16) else { throw Failure.malformed(size) }
                body += try await take(count)
                _ = try await take(2)
                if count == 0 { break }
            }
        } else if let length = fields["content-length"].flatMap({ Int($0) }) {
            body = try await take(length)
        }
        return Reply(status: status, fields: fields, body: String(decoding: body, as: UTF8.self))
    }

    func ask(_ text: String, toHead: Bool = false) async throws -> Reply {
        try await send(text)
        return try await reply(toHead: toHead)
    }

    private func take(through end: String) async throws -> [UInt8] {
        let mark = Array(end.utf8)
        while true {
            let found: [UInt8]? = inbox.state.withLock { state in
                guard let range = state.bytes.firstRange(of: mark) else { return nil }
                defer { state.bytes.removeFirst(range.upperBound) }
                return Array(state.bytes[..<range.upperBound])
            }
            if let found { return found }
            guard await inbox.more() else { throw Failure.ended(String(decoding: heard, as: UTF8.self)) }
        }
    }

    func take(_ count: Int) async throws -> [UInt8] {
        while true {
            let found: [UInt8]? = inbox.state.withLock { state in
                guard state.bytes.count >= count else { return nil }
                defer { state.bytes.removeFirst(count) }
                return Array(state.bytes[..<count])
            }
            if let found { return found }
            guard await inbox.more() else { throw Failure.ended("\(heard.count) of \(count) bytes") }
        }
    }
}

private final class Inbox: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer
    struct State {
        var bytes: [UInt8] = []
        var hasEnded = false
        var seen = 0
        var waiter: CheckedContinuation<Bool, Never>?
    }
    let state = Mutex(State())

    /// False at the end; otherwise something arrived since the last call, or arrives now.
    func more() async -> Bool {
        await withCheckedContinuation { continuation in
            let ready: Bool? = state.withLock { state in
                // The last bytes may have come with the end.
                if state.seen > 0 {
                    state.seen = 0
                    return true
                }
                if state.hasEnded { return false }
                state.waiter = continuation
                return nil
            }
            if let ready { continuation.resume(returning: ready) }
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let slice = Self.unwrapInboundIn(data)
        let waiter: CheckedContinuation<Bool, Never>? = state.withLock { state in
            state.bytes.append(contentsOf: slice.readableBytesView)
            guard state.waiter == nil else {
                state.seen = 0
                return state.waiter.take()
            }
            state.seen += 1
            return nil
        }
        waiter?.resume(returning: true)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed { end() }
    }
    func channelInactive(context: ChannelHandlerContext) { end() }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func end() {
        let waiter: CheckedContinuation<Bool, Never>? = state.withLock { state in
            state.hasEnded = true
            return state.waiter.take()
        }
        waiter?.resume(returning: false)
    }
}
