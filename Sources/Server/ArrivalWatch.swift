#if canImport(Glibc)
    import Glibc
#endif
import NIOCore
import Synchronization

/// In front of the codec: answers what was answered before, and sees that a head has begun before the codec can show it, so that a head which
/// never ends is noticed.
final class ArrivalWatch: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let conversation: Conversation

    init(_ conversation: Conversation) { self.conversation = conversation }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if conversation.awaitsHead {
            let bytes = Self.unwrapInboundIn(data)
            if conversation.answersAgain(bytes, through: context) { return }
            conversation.bytesArrived(bytes.readableBytes, lineEnd: bytes.lineEnd)
        }
        context.fireChannelRead(data)
        conversation.asked = nil
    }
}

extension ByteBuffer {
    fileprivate var lineEnd: Int? {
        withUnsafeReadableBytes { bytes in
            guard let start = bytes.baseAddress, let found = unsafe memchr(start, 0x0A, bytes.count) else { return nil }
            return unsafe UnsafeRawPointer(found) - start
        }
    }
}

/// How much one read takes from the socket: little while heads are awaited, since every few bytes of pipelined requests become objects;
/// much inside a body.
final class ReceiveBuffers: RecvByteBufferAllocator {
    static let headBytes = 16 << 10
    private let isInBody = Atomic<Bool>(false)

    /// Set on the connection's event loop; atomic only because the allocator has to be `Sendable`.
    func expectBody(_ expected: Bool) { isInBody.store(expected, ordering: .relaxed) }

    private var size: Int { isInBody.load(ordering: .relaxed) ? ServerContext.receiveBytesMax : ReceiveBuffers.headBytes }

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer { allocator.buffer(capacity: size) }
    func nextBufferSize() -> Int? { size }
    func record(actualReadBytes: Int) -> Bool { true }
}
