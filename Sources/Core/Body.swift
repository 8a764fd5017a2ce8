public import NIOCore
import Synchronization

/// Where a body's slices go without leaving the thread they arrive on: parse, hash and write, then take the next.
public protocol ByteSink: AnyObject, Sendable {
    /// Takes the next slice. An error ends the transfer; no further call follows.
    func write(_ slice: ByteBuffer) throws(RegistryError)
}

/// Where a body's slices come from: a socket, a file, a list in memory. One consumer, once.
public protocol BodySource: Sendable {
    /// The next non-empty slice, nil at the end. Not asking is the back-pressure.
    func next() async throws(RegistryError) -> ByteBuffer?
    /// Hands every remaining slice to the sink where it arrives (on an event loop, without a hop per slice), and returns after the last.
    func drain(into sink: any ByteSink) async throws(RegistryError)
}

extension BodySource {
    public func drain(into sink: any ByteSink) async throws(RegistryError) {
        while let slice = try await next() { try sink.write(slice) }
    }
}

/// A stream of bytes that was not collected, with a hard cap on how much of it ever may be.
public struct Body: Sendable {
    /// The most that `collect` gives: what is larger is staged as a blob.
    public static let collectBytesMax = 1 << 20

    /// Bytes the sender announced, nil when it did not (chunked transfer).
    public let length: Int64?
    private let source: any BodySource

    public init(length: Int64?, source: any BodySource) {
        self.length = length
        self.source = source
    }

    public init(_ buffer: ByteBuffer) {
        self.init(length: Int64(buffer.readableBytes), source: BufferSource(buffer))
    }

    public static let empty = Body(ByteBuffer())

    public func next() async throws(RegistryError) -> ByteBuffer? { try await source.next() }
    public func drain(into sink: any ByteSink) async throws(RegistryError) { try await source.drain(into: sink) }

    /// The whole body in memory.
    /// - Throws: `tooLarge` beyond `bytesMax`, which is clamped to `collectBytesMax`.
    public func collect(upTo bytesMax: Int = Body.collectBytesMax) async throws(RegistryError) -> ByteBuffer {
        let limit = min(bytesMax, Body.collectBytesMax)
        if let length, length > Int64(limit) { throw Body.tooLarge(limit) }
        var whole = ByteBuffer()
        while var slice = try await source.next() {
            guard whole.readableBytes + slice.readableBytes <= limit else { throw Body.tooLarge(limit) }
            if whole.readableBytes == 0 { whole = slice } else { whole.writeBuffer(&slice) }
        }
        return whole
    }

    private static func tooLarge(_ limit: Int) -> RegistryError {
        RegistryError(.tooLarge, subject: .request, reason: "the body may have at most \(limit) bytes here")
    }
}

/// One buffer as a body.
private final class BufferSource: BodySource {
    private let buffer: Mutex<ByteBuffer?>
    init(_ buffer: ByteBuffer) { self.buffer = Mutex(buffer.readableBytes > 0 ? buffer : nil) }
    func next() async throws(RegistryError) -> ByteBuffer? {
        buffer.withLock { value in
            defer { value = nil }
            return value
        }
    }
}
