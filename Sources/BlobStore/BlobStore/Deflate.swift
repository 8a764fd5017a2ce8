import CDeflate
import Core

/// With what zlib made a deflate stream, and what makes it again. Window and strategy are always the usual ones.
struct DeflateSettings: Hashable, Sendable {
    let level: UInt8
    let memoryLevel: UInt8

    private init(_ level: UInt8, _ memoryLevel: UInt8) { (self.level, self.memoryLevel) = (level, memoryLevel) }

    /// As recipes have it: the level, and 16 times the memory level.
    init?(byte: UInt8) {
        self.init(byte & 0xF, byte >> 4)
        guard (1...9).contains(level), (8...9).contains(memoryLevel) else { return nil }
    }

    var byte: UInt8 { level | memoryLevel << 4 }

    /// The likely ones first: what Python's wheels and Java's jars have, what its source archives have, the others.
    static let all: [DeflateSettings] = [8, 9].flatMap { memory in [6, 9, 8, 7, 5, 4, 3, 2, 1].map { DeflateSettings($0, memory) } }
}

/// A raw deflate stream (RFC 1951) while it is made or read, by the zlib that never changes (CDeflate's README).
final class DeflateStream {
    struct Step {
        let used: Int
        let made: Int
        let isEnded: Bool
    }

    private let stream: OpaquePointer
    private let isInflating: Bool

    /// - Parameter settings: what it is made with; nil reads one.
    init(_ settings: DeflateSettings?) throws(RegistryError) {
        isInflating = settings == nil
        let made: OpaquePointer?
        if let settings {
            made = unsafe granary_deflate_new(Int32(settings.level), Int32(settings.memoryLevel))
        } else {
            made = unsafe granary_inflate_new()
        }
        guard let made = unsafe made else {
            throw RegistryError(.unavailable, subject: .store, reason: "there is no memory for a deflate stream; try again", retryAfterSeconds: 1)
        }
        stream = unsafe made
    }

    deinit { unsafe granary_stream_free(stream) }

    /// Takes some of `bytes` from `start` on, and makes what fits into `room`.
    /// - Parameter isLast: nothing follows them. A stream that is read knows its end.
    /// - Throws: `corrupt` when what is read is no deflate stream.
    func step(_ bytes: [UInt8], from start: Int, into room: inout [UInt8], isLast: Bool = false) throws(RegistryError) -> Step {
        var (used, made) = (0, 0)
        let result = bytes.withUnsafeBufferPointer { bytes in
            room.withUnsafeMutableBufferPointer { room in
                let rest = unsafe UnsafeBufferPointer(rebasing: bytes[start...])
                return isInflating
                    ? unsafe granary_inflate_step(stream, rest.baseAddress, rest.count, &used, room.baseAddress, room.count, &made)
                    : unsafe granary_deflate_step(
                        stream, rest.baseAddress, rest.count, &used, room.baseAddress, room.count, &made, isLast ? 1 : 0)
            }
        }
        guard result >= 0 else { throw BinaryReader.damaged }
        return Step(used: used, made: made, isEnded: result == Int32(granary_stream_ended))
    }
}
