import CZstd
import Core
import NIOCore
import Synchronization

/// One chunk at a time, whole (RFC 8878).
enum Zstd {
    static let level: Int32 = 3
    /// For what is written seldom and kept for long: a tenth less, at a fifth of the speed; reading is the same.
    static let slowLevel: Int32 = 15

    /// - Returns: nil when it does not get shorter.
    static func compress(_ bytes: UnsafeRawBufferPointer, level: Int32 = level) throws(RegistryError) -> [UInt8]? {
        guard bytes.count > 0, let context = unsafe compressors.take() else { return nil }
        defer { unsafe compressors.giveBack(context) }
        // A frame that needs as much room as the bytes themselves is not wanted, so none is given.
        return [UInt8](unsafeUninitializedCapacity: bytes.count) { target, count in
            let written = unsafe ZSTD_compressCCtx(context, target.baseAddress, bytes.count - 1, bytes.baseAddress, bytes.count, level)
            count = ZSTD_isError(written) == 0 ? written : 0
        }.nonEmpty
    }

    /// - Throws: `corrupt` unless the frame holds exactly `length` bytes.
    static func decompress(_ frame: UnsafeRawBufferPointer, to length: Int) throws(RegistryError) -> ByteBuffer {
        guard let context = unsafe decompressors.take() else {
            throw RegistryError(.unavailable, subject: .store, reason: "there is no memory to read with; try again", retryAfterSeconds: 1)
        }
        defer { unsafe decompressors.giveBack(context) }
        var buffer = ByteBufferAllocator().buffer(capacity: length)
        var isWhole = false
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: length) { target in
            let read = unsafe ZSTD_decompressDCtx(context, target.baseAddress, length, frame.baseAddress, frame.count)
            isWhole = ZSTD_isError(read) == 0 && read == length
            return isWhole ? length : 0
        }
        guard isWhole else { throw BinaryReader.damaged }
        return buffer
    }

    private static let compressors = ZstdContexts(make: { unsafe ZSTD_createCCtx() })
    private static let decompressors = ZstdContexts(make: { unsafe ZSTD_createDCtx() })
}

/// Contexts of the library that are used again: making one costs more than a chunk.
///
/// `@unchecked Sendable`: the list is under its lock, and who took a context alone has it until it is given back. Those kept are never freed;
/// there are never more than threads that used one at the same time.
private final class ZstdContexts: @unchecked Sendable {
    private let make: @Sendable () -> OpaquePointer?
    private let free = Mutex<[UInt]>([])

    init(make: @escaping @Sendable () -> OpaquePointer?) { self.make = make }

    /// nil when there is no memory.
    func take() -> OpaquePointer? {
        guard let kept = free.withLock({ $0.popLast() }) else { return unsafe make() }
        return unsafe OpaquePointer(bitPattern: kept)
    }

    func giveBack(_ context: OpaquePointer) { free.withLock { $0.append(UInt(bitPattern: context)) } }
}

extension Array {
    fileprivate var nonEmpty: [Element]? { isEmpty ? nil : self }
}
