import Core
import FrontendKit
import HTTPTypes
import Logging
import NIOCore
import NIOHTTP1

/// One HTTP/1 connection, or one HTTP/2 stream: requests in, answers out, in order, one at a time. Everything here happens synchronously on
/// the connection's event loop; what needs waiting runs in one task per request (`Conversation+Answer.swift`).
///
/// Back-pressure is one gate: `read` passes while somebody wants bytes and is held otherwise. A pipelined request is read ahead, not begun.
final class Conversation: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    let shared: ServerContext
    let transport: Transport
    var context: ChannelHandlerContext?
    var exchange: Exchange?
    var clock = DeadlineClock()
    private(set) var peer = ""
    /// Where the peer is a proxy whose word counts.
    private(set) var forwarding: Forwarding?

    private var queue = CircularBuffer<HTTPServerRequestPart>(initialCapacity: 2)
    /// What the codec could not read; answered when all before it is.
    private var refusal: HeadReading.Refusal?
    /// The codec gave up, or the client ended its side: no further part comes.
    private var hasEnded = false
    private var isBroken = false
    private var isPumping = false
    private var isReading = false
    private var needsFlush = false
    private var holdsRead = false
    /// The last answer is out; what still arrives is dropped.
    private(set) var isClosing = false
    /// Bytes of a next head are under way.
    private(set) var headBegan = false
    private var requestLineBytes = 0
    private var requestLineEnded = false
    /// nil for a stream, whose connection reads for all of them.
    var buffers: ReceiveBuffers?
    /// Likewise.
    var memory: AnswerMemory?
    /// As the socket has it.
    var unsentLimit = UnsentLimit.bytesMax
    /// Bytes the codec is looking at, for which no answer was remembered.
    var asked: (key: AnswerMemory.Key, bytes: ByteBuffer)?

    init(_ shared: ServerContext, over transport: Transport) {
        self.shared = shared
        self.transport = transport
    }

    // MARK: Life

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        peer = context.channel.remoteAddress?.ipAddress ?? ""
        forwarding = shared.forwarding.trusts(peer) ? shared.forwarding : nil
        arm(.head, seconds: shared.options.headerSeconds)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        tearDown()
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        tearDown()
        context.fireChannelInactive()
    }

    private func tearDown() {
        isClosing = true
        clock.cancel()
        queue.removeAll()
        guard let exchange else { return }
        self.exchange = nil
        exchange.arrivals?.cut()
        exchange.task?.cancel()
        exchange.parked.take()?.resume(returning: false)
        record(exchange, wasCut: true)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ChannelShouldQuiesceEvent:
            if transport.isHTTP1 {
                if exchange == nil, queue.isEmpty { context.close(promise: nil) } else { exchange?.closes = true }
            }
        case let event as ChannelEvent where event == .inputClosed: inputClosed()
        default: break
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? HTTPParserError else {
            shared.log.debug("connection failed", metadata: ["peer": "\(peer)", "cause": "\(error)"])
            return context.close(promise: nil)
        }
        if error == .invalidEOFState { return inputClosed() }
        broke(error == .headerOverflow ? tooLong() : HeadReading.Refusal(.badRequest, "the request is malformed"))
    }

    private func tooLong() -> HeadReading.Refusal {
        requestLineBytes > shared.options.targetBytesMax
            ? HeadReading.Refusal(.uriTooLong, "the request target is too long")
            : HeadReading.Refusal(.requestHeaderFieldsTooLarge, "the header section is too large")
    }

    // MARK: In

    /// Bytes that come now belong to a head.
    var awaitsHead: Bool { exchange == nil && !isClosing }

    /// Nothing is under way, and the next byte begins a request.
    var isAtRest: Bool { exchange == nil && !isClosing && !headBegan && !hasEnded && !isBroken && queue.isEmpty }

    /// Bytes of a head came in front of the codec; the first of them end a line at `lineEnd`.
    func bytesArrived(_ count: Int, lineEnd: Int?) {
        if !headBegan { (requestLineBytes, requestLineEnded) = (0, false) }
        if !requestLineEnded { requestLineBytes += lineEnd ?? count }
        requestLineEnded = requestLineEnded || lineEnd != nil
        guard !headBegan else { return }
        headBegan = true
        arm(.head, seconds: shared.options.headerSeconds)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isReading = true
        let part = Self.unwrapInboundIn(data)
        if queue.isEmpty, mayTake(part) { take(part) } else if !isClosing { queue.append(part) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        if needsFlush { flushSoon() }
        context.fireChannelReadComplete()
    }

    /// A next request begins when the last is done, and when the client takes its answers.
    private func mayTake(_ part: HTTPServerRequestPart) -> Bool {
        guard case .head = part else { return true }
        return exchange == nil && !isClosing && context?.channel.isWritable == true
    }

    private func take(_ part: HTTPServerRequestPart) {
        guard !isClosing else { return }
        switch part {
        case .head(let head):
            headBegan = false
            begin(head)
        case .body(let slice): received(slice)
        case .end:
            guard let exchange else { return }
            exchange.isReceived = true
            exchange.arrivals?.finish()
            if exchange.answer == .sent { complete(exchange) } else if exchange.answer == .awaited { disarm() }
        }
    }

    private func received(_ slice: ByteBuffer) {
        guard let exchange else { return }
        shared.meters.bytesIn.add(UInt64(slice.readableBytes))
        exchange.expectsContinue = false
        guard exchange.answer == .awaited else {
            exchange.bytesDropped += slice.readableBytes
            if exchange.answer == .sent, exchange.bytesDropped > shared.options.discardBytesMax { leave() }
            return
        }
        exchange.arrivals?.deliver(slice)
    }

    /// What was read ahead. A loop, not a recursion: an answer given on the spot returns here.
    func pump() {
        guard !isPumping else { return }
        isPumping = true
        while let part = queue.first, mayTake(part) {
            queue.removeFirst()
            take(part)
        }
        isPumping = false
        if queue.isEmpty { settleEnding() }
        reopen()
    }

    /// The client ended its side. What it asked completely is still answered.
    private func inputClosed() {
        hasEnded = true
        if isClosing { context?.close(promise: nil) }
        if queue.isEmpty { settleEnding() }
    }

    private func broke(_ refusal: HeadReading.Refusal) {
        guard !isBroken else { return }
        isBroken = true
        self.refusal = refusal
        if queue.isEmpty { settleEnding() }
    }

    /// No part is left, and none will come.
    private func settleEnding() {
        guard hasEnded || isBroken, !isClosing else { return }
        if let exchange {
            exchange.closes = true
            guard !exchange.isReceived else { return }
            refusal = nil
            if exchange.answer == .sent { return leave() }
            if hasEnded {
                exchange.arrivals?.cut()
            } else {
                exchange.arrivals?.fail(RegistryError(.invalid, subject: .request, reason: "the body's framing is malformed"))
            }
        } else if let refusal = refusal.take() {
            refuse(refusal, head: nil)
        } else {
            context?.close(promise: nil)
        }
    }

    // MARK: The gate

    func read(context: ChannelHandlerContext) {
        if wantsRead { context.read() } else { holdsRead = true }
    }

    private var wantsRead: Bool {
        guard !isClosing, let exchange else { return isClosing || queue.isEmpty }
        if exchange.isReceived || exchange.answer == .sent { return queue.isEmpty }
        return exchange.answer == .awaited && exchange.arrivals?.wantsBytes ?? true
    }

    /// After anything that may have made bytes wanted.
    func reopen() {
        guard holdsRead, wantsRead, let context else { return }
        holdsRead = false
        context.read()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            exchange?.parked.take()?.resume(returning: true)
            sendFiles()
            pump()
        }
        context.fireChannelWritabilityChanged()
    }

    // MARK: Out

    /// While parts come in, their answers leave in one flush at the end of the read.
    func flushSoon() {
        guard !isReading else { return needsFlush = true }
        needsFlush = false
        context?.flush()
    }

    /// The exchange is over, both ways.
    func complete(_ exchange: Exchange) {
        guard self.exchange === exchange else { return }
        self.exchange = nil
        record(exchange, wasCut: false)
        guard !isClosing else { return }
        if exchange.closes { return leave(clientSaidClose: exchange.clientSaidClose) }
        if transport == .stream { return clock.cancel() }
        arm(.idle, seconds: shared.options.idleSeconds)
        if shared.isDraining, queue.isEmpty { return leave() }
        pump()
    }

    /// The last answer is written. We end our side and drop what the client still sends for a while: closing over unread bytes would make
    /// the kernel reset the connection, and the client could lose the answer (RFC 9112 section 9.6).
    func leave(clientSaidClose: Bool = false) {
        guard !isClosing, let context else { return }
        isClosing = true
        queue.removeAll()
        if let exchange {
            self.exchange = nil
            exchange.arrivals?.abandon()
            record(exchange, wasCut: false)
        }
        guard transport.isHTTP1, !hasEnded, !clientSaidClose else { return context.close(promise: nil) }
        context.flush()
        context.close(mode: .output, promise: nil)
        arm(.linger, seconds: 2)
        reopen()
    }
}
