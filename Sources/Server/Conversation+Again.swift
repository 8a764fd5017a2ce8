import Core
import FrontendKit
import HTTPTypes
import NIOCore
import NIOHTTP1

/// Requests that are the same, byte by byte, as one that was answered before.
extension Conversation {
    /// Answers the request that these bytes are, if its answer is remembered and holds. It leaves the same trace as the first: metrics, the access
    /// log, what the responder counts.
    /// - Returns: false when the bytes have to go to the codec.
    func answersAgain(_ bytes: ByteBuffer, through context: ChannelHandlerContext) -> Bool {
        guard let memory, isAtRest, context.channel.isWritable, !shared.isDraining, let key = memory.key(of: bytes) else { return false }
        let began = shared.world.monotonicNanoseconds()
        guard let answer = memory.find(key, at: began) else {
            asked = (key, bytes)
            return false
        }
        shared.meters.requestBegan()
        let requestID = shared.newRequestID()
        let rendered = memory.rendered(answer, date: shared.dateNow(), requestID: requestID)
        context.writeAndFlush(NIOAny(rendered), promise: nil)
        shared.meters.bytesOut.add(UInt64(answer.bodyBytes))
        answer.currency.given()
        arm(.idle, seconds: shared.options.idleSeconds)
        let nanoseconds = shared.world.monotonicNanoseconds() &- began
        shared.meters.requestEnded(answer.method, status: answer.status, nanoseconds: nanoseconds)
        if shared.access.isOn {
            shared.access.write(
                AccessLog.Entry(
                    method: answer.method.rawValue, target: answer.target, status: answer.status, bytes: Int64(answer.bodyBytes),
                    nanoseconds: nanoseconds, requestID: requestID.description, peer: peer, wasCut: false, failure: nil))
        }
        return true
    }

    /// Keeps an answer that was given on the spot to a request that came in one piece.
    func remember(_ head: HTTPResponseHead, _ response: Response, _ bytes: Range<Int64>?, for exchange: Exchange) {
        guard let memory, let (key, request) = asked, let currency = response.currency, exchange.failure == nil, exchange.announced == 0,
            !exchange.closes,
            head.version == .http1_1, AnswerMemory.isOneHead(request), !RequestID.isGiven(in: exchange.request),
            let method = exchange.request?.method, let status = exchange.status
        else { return }
        var body: ByteBuffer?
        if let bytes {
            guard let buffer = response.content.buffer,
                let part = buffer.getSlice(at: buffer.readerIndex + Int(bytes.lowerBound), length: Int(bytes.upperBound - bytes.lowerBound))
            else { return }
            body = part
        }
        memory.remember(
            key, head, body, currency, method: method, target: exchange.target, status: status, at: exchange.began)
    }
}

extension Response.Content {
    /// All of it, when it is in memory.
    fileprivate var buffer: ByteBuffer? {
        switch self {
        case .bytes(let buffer): buffer
        case .blob(let blob): if case .memory(let buffer) = blob.storage { buffer } else { nil }
        case .none, .stream: nil
        }
    }
}
