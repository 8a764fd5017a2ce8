import CZlib
import Core

/// zlib's decompressor. Its state points back at the `z_stream`, which therefore lives at one address until the end.
final class Inflater {
    enum Framing: Int32 {
        /// Bare deflate (RFC 1951), as in zip.
        case raw = -15
        /// One gzip member (RFC 1952): zlib skips its header and checks CRC and length.
        case gzip = 31
    }

    struct Step {
        enum Outcome { case more, ended, damaged }
        var consumed: Int
        var produced: Int
        var outcome: Outcome
    }

    private let stream: UnsafeMutablePointer<z_stream>

    init(_ framing: Framing) throws(RegistryError) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        let code = inflateInit2_(stream, framing.rawValue, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard code == Z_OK else {
            stream.deallocate()
            throw RegistryError(.internal, subject: .store, reason: "a decompressor could not be made", cause: "inflateInit2: \(code)")
        }
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    /// Ready for the next member.
    func reset() { inflateReset(stream) }

    /// Reads from `input` and writes to `output` until one of them is used up. Both hold at most 2^31 bytes.
    func inflate(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Step {
        // zlib declares its input as mutable and does not write to it.
        stream.pointee.next_in = UnsafeMutableRawPointer(mutating: input.baseAddress)?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_in = UInt32(input.count)
        stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = UInt32(output.count)
        let code = CZlib.inflate(stream, Z_NO_FLUSH)
        let outcome: Step.Outcome =
            switch code {
            case Z_STREAM_END: .ended
            // No progress was possible: not an error, more input or room is needed.
            case Z_OK, Z_BUF_ERROR: .more
            default: .damaged
            }
        return Step(
            consumed: input.count - Int(stream.pointee.avail_in), produced: output.count - Int(stream.pointee.avail_out), outcome: outcome)
    }
}

/// Expands a region of an archive piece by piece.
final class InflateReader {
    static let windowBytes = 64 << 10

    private let source: any RandomAccessBytes
    private let thing: String
    private let inflater: Inflater
    private var position: Int64
    private let end: Int64
    private var window: ArraySlice<UInt8> = []
    private var ended = false

    /// The caller has checked that the region lies within the source.
    init(_ source: any RandomAccessBytes, _ region: Range<Int64>, _ framing: Inflater.Framing, of thing: String) throws(RegistryError) {
        self.source = source
        self.thing = thing
        position = region.lowerBound
        end = region.upperBound
        inflater = try Inflater(framing)
    }

    /// Compressed bytes of the region that were not used.
    var unread: Int64 { end - position + Int64(window.count) }

    /// The next piece, never empty; nil behind the end of the compressed stream.
    func next(bytesMax: Int = InflateReader.windowBytes) throws(RegistryError) -> [UInt8]? {
        while !ended {
            if window.isEmpty, position < end { try refill() }
            var step = Inflater.Step(consumed: 0, produced: 0, outcome: .damaged)
            let piece = [UInt8](unsafeUninitializedCapacity: bytesMax) { output, count in
                step = window.withUnsafeBytes { inflater.inflate($0, into: UnsafeMutableRawBufferPointer(output)) }
                count = step.produced
            }
            window = window.dropFirst(step.consumed)
            switch step.outcome {
            case .damaged: throw refused(thing, "the compressed bytes are damaged")
            case .ended: ended = true
            case .more:
                if piece.isEmpty, window.isEmpty, position == end { throw refused(thing, "the compressed bytes end too early") }
            }
            if !piece.isEmpty { return piece }
        }
        return nil
    }

    /// Whether another member follows the one that ended; goes on with it if so.
    func beginNextMember() throws(RegistryError) -> Bool {
        guard ended, unread > 0 else { return false }
        inflater.reset()
        ended = false
        return true
    }

    private func refill() throws(RegistryError) {
        let wanted = Int(min(Int64(InflateReader.windowBytes), end - position))
        let bytes = try source.bytes(at: position, count: wanted)
        guard bytes.count == wanted else { throw refused(thing, "the file ends too early") }
        position += Int64(wanted)
        window = bytes[...]
    }
}

/// A running CRC-32 as zip and gzip use it.
struct CRC32 {
    private(set) var value: UInt32 = 0

    mutating func update(_ bytes: [UInt8]) {
        value = bytes.withUnsafeBytes { buffer in
            UInt32(truncatingIfNeeded: crc32_z(UInt(value), buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), buffer.count))
        }
    }
}
