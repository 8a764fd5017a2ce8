import Core
import Logging
import NIOCore
import NIOHTTP2

/// Sees to the end of one HTTP/2 connection; what ends a single stream is for its `Conversation`. It stands in front of the codec.
///
/// - The codec tells whoever breaks the protocol, or sends too much of what is cheap to send, in a GOAWAY that names an error. It leaves the
///   connection open. Here nothing is read after that, and the connection ends.
/// - A connection without a stream ends as one of HTTP/1 does, whatever other frames come: late, when no request came or a next one; at once,
///   when the client ended its side. First it is told so; an answer to that is not waited for longer than `farewellSeconds`.
final class StreamsEnd: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = IOData
    typealias OutboundOut = IOData

    private enum Phase {
        case open
        /// The client was told to open no more streams.
        case leaving
        /// What still arrives is dropped.
        case over
    }

    private static let farewellSeconds = 2.0

    private let shared: ServerContext
    private var context: ChannelHandlerContext?
    private var phase = Phase.open
    private var streams = 0
    private var inputEnded = false
    private var written = WrittenFrames()
    private var deadline: NIODeadline?
    private var timer: (Scheduled<Void>, at: NIODeadline)?

    init(_ shared: ServerContext) { self.shared = shared }

    // MARK: Life

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        expire(after: shared.options.headerSeconds)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.0.cancel()
        timer = nil
        self.context = nil
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ChannelShouldQuiesceEvent where phase == .open:
            phase = .leaving
            if streams == 0 { expire(after: StreamsEnd.farewellSeconds) }
        case let event as ChannelEvent where event == .inputClosed:
            inputEnded = true
            if streams == 0 || phase == .over { context.close(promise: nil) }
        default: break
        }
        context.fireUserInboundEventTriggered(event)
    }

    /// Of TLS or of the socket; the codec's go the other way.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        shared.log.debug("connection failed", metadata: ["peer": "\(context.channel.remoteAddress?.ipAddress ?? "")", "cause": "\(error)"])
        context.close(promise: nil)
    }

    // MARK: Bytes

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if phase != .over { context.fireChannelRead(data) }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if written.endInError(Self.unwrapOutboundIn(data)) { end() }
        context.write(data, promise: promise)
    }

    private func end() {
        guard phase != .over, let context else { return }
        phase = .over
        shared.meters.connectionsBroken.add()
        // After what is being written. Closing over unread bytes would make the kernel reset the connection, and the client could lose it.
        context.eventLoop.assumeIsolated().execute { [self] in
            guard let context = self.context else { return }
            context.flush()
            context.close(mode: .output, promise: nil)
            expire(after: StreamsEnd.farewellSeconds)
        }
    }

    // MARK: Streams

    fileprivate func streamOpened() {
        streams += 1
        if phase != .over { deadline = nil }
    }

    fileprivate func streamClosed() {
        streams -= 1
        guard streams == 0, phase != .over, let context else { return }
        guard inputEnded else { return expire(after: phase == .open ? shared.options.idleSeconds : StreamsEnd.farewellSeconds) }
        // The frame that closed it is written, and flushed after this.
        context.eventLoop.assumeIsolated().execute { [self] in self.context?.close(promise: nil) }
    }

    /// What the codec tells of streams, told to the connection's manager as well.
    func delegate(beside manager: NIOHTTP2ServerConnectionManagementHandler, on loop: any EventLoop) -> some NIOHTTP2StreamDelegate {
        Told(manager: manager.http2StreamDelegate, end: NIOLoopBound(self, eventLoop: loop))
    }

    private struct Told: NIOHTTP2StreamDelegate {
        let manager: NIOHTTP2ServerConnectionManagementHandler.HTTP2StreamDelegate
        let end: NIOLoopBound<StreamsEnd>

        func streamCreated(_ id: HTTP2StreamID, channel: any Channel) {
            manager.streamCreated(id, channel: channel)
            end.value.streamOpened()
        }

        func streamClosed(_ id: HTTP2StreamID, channel: any Channel) {
            manager.streamClosed(id, channel: channel)
            end.value.streamClosed()
        }
    }

    // MARK: Time

    /// One timer, which finds out when it fires whether the deadline has moved: a stream costs a clock reading.
    private func expire(after seconds: Double) {
        let deadline = NIODeadline.now() + .nanoseconds(Int64(max(0.001, min(seconds, 1e6)) * 1e9))
        self.deadline = deadline
        if let timer, timer.at <= deadline { return }
        schedule(at: deadline)
    }

    private func schedule(at deadline: NIODeadline) {
        guard let loop = context?.eventLoop else { return }
        timer?.0.cancel()
        timer = (loop.assumeIsolated().scheduleTask(deadline: deadline) { self.timerFired() }, deadline)
    }

    private func timerFired() {
        timer = nil
        guard let deadline, let context else { return }
        if NIODeadline.now() < deadline { return schedule(at: deadline) }
        self.deadline = nil
        // The manager says goodbye when it hears this, and closes once the client answered; this handler hears it, too.
        if phase == .open { context.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) } else { context.close(promise: nil) }
    }
}

/// Follows the frames that the codec writes (RFC 9113, section 4.1).
struct WrittenFrames {
    private static let headBytes = 9
    private static let goAway: UInt8 = 7
    private var payloadLeft = 0

    /// Whether a GOAWAY with an error (section 6.8) is among them. The codec writes a frame's head in one piece.
    mutating func endInError(_ data: IOData) -> Bool {
        guard case .byteBuffer(let bytes) = data else {
            payloadLeft -= min(payloadLeft, data.readableBytes)
            return false
        }
        var at = bytes.readerIndex
        while true {
            let skipped = min(payloadLeft, bytes.writerIndex - at)
            at += skipped
            payloadLeft -= skipped
            guard bytes.writerIndex - at >= WrittenFrames.headBytes, let head = bytes.getInteger(at: at, as: UInt32.self) else { return false }
            // The stream's number, the last stream's, then the error.
            if UInt8(truncatingIfNeeded: head) == WrittenFrames.goAway, let code = bytes.getInteger(at: at + 13, as: UInt32.self), code != 0 {
                return true
            }
            at += WrittenFrames.headBytes
            payloadLeft = Int(head >> 8)
        }
    }
}
