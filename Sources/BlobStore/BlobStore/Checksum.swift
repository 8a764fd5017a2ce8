import CBlobStore
import Core
import NIOCore

/// CRC-32C: finds damage, and is no protection against malice. That is what the SHA-256 is for.
enum CRC32C {
    static func of(_ bytes: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
        unsafe granary_crc32c(crc, bytes.baseAddress, bytes.count)
    }

    static func of(_ bytes: some Sequence<UInt8>) -> UInt32 {
        let result = bytes.withContiguousStorageIfAvailable { unsafe of(UnsafeRawBufferPointer($0)) }
        return result ?? Array(bytes).withUnsafeBytes { unsafe of($0) }
    }
}

/// The checksums of a stream, one per slice of 1 MiB (the last may be shorter; an empty stream has none).
struct SliceChecksums: Sendable {
    static let sliceBytes = 1 << 20

    private var finished: [UInt32] = []
    private var current: UInt32 = 0
    private var filled = 0

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        var rest = unsafe bytes
        while !rest.isEmpty {
            let count = min(rest.count, SliceChecksums.sliceBytes - filled)
            current = unsafe CRC32C.of(UnsafeRawBufferPointer(rebasing: rest[..<count]), continuing: current)
            filled += count
            unsafe rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            if filled == SliceChecksums.sliceBytes {
                finished.append(current)
                current = 0
                filled = 0
            }
        }
    }

    /// As it is stored: four bytes for each slice, big-endian.
    var table: [UInt8] {
        var writer = BinaryWriter(reserving: (finished.count + 1) * 4)
        for checksum in finished { writer.write(checksum) }
        if filled > 0 { writer.write(current) }
        return writer.bytes
    }

    /// The bytes of the table of a blob that long. `length` is below 2^61.
    static func tableBytes(length: Int64) -> Int64 {
        (length / Int64(sliceBytes) + (length % Int64(sliceBytes) == 0 ? 0 : 1)) * 4
    }

    static func table(of bytes: UnsafeRawBufferPointer) -> [UInt8] {
        var checksums = SliceChecksums()
        unsafe checksums.update(bytes)
        return checksums.table
    }
}

extension ByteBuffer {
    /// As `withUnsafeReadableBytes`, with a typed error.
    func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws(RegistryError) -> R) throws(RegistryError) -> R {
        try withUnsafeReadableBytes { bytes in Result { () throws(RegistryError) in try unsafe body(bytes) } }.get()
    }
}
