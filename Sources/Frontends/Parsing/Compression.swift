import CLzma
import CZlib
public import Core

/// Bytes compressed in one call, reproducibly: equal bytes, equal result, no name and no time inside. Results laid end to end are a file whose
/// content is the inputs end to end (RFC 1952 section 2.2; the .xz file format, section 2).
public enum Compression {
    /// One gzip member.
    /// - Parameter level: 1 (fast) to 9.
    public static func gzip(_ bytes: [UInt8], level: Int32 = 6) throws(RegistryError) -> [UInt8] {
        var stream = z_stream()
        // 15 bits of window, and 16 for gzip's frame around it.
        guard deflateInit2_(&stream, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw failure("gzip", "deflateInit2")
        }
        defer { deflateEnd(&stream) }
        // Both are counted in 32 bits.
        let bound = deflateBound(&stream, uLong(bytes.count))
        guard bytes.count <= Int(UInt32.max), bound <= uLong(UInt32.max) else { throw failure("gzip", "more than 4 GiB at once") }
        var code: Int32 = Z_OK
        let result = [UInt8](unsafeUninitializedCapacity: Int(bound)) { output, count in
            bytes.withUnsafeBufferPointer { input in
                unsafe stream.next_in = UnsafeMutablePointer(mutating: input.baseAddress)
                stream.avail_in = UInt32(input.count)
                unsafe stream.next_out = output.baseAddress
                stream.avail_out = UInt32(output.count)
                code = deflate(&stream, Z_FINISH)
                count = output.count - Int(stream.avail_out)
            }
        }
        guard code == Z_STREAM_END else { throw failure("gzip", "deflate: \(code)") }
        return result
    }

    /// One .xz stream.
    /// - Parameter preset: 0 (fast) to 9. Memory follows the input's length, not the preset.
    public static func xz(_ bytes: [UInt8], preset: UInt32 = 6) throws(RegistryError) -> [UInt8] {
        var options = lzma_options_lzma()
        guard lzma_lzma_preset(&options, preset) == 0 else { throw failure("xz", "no such preset: \(preset)") }
        // A dictionary larger than the input is memory to clear for nothing; 4 KiB is the least.
        let needed = UInt32(clamping: max(bytes.count, 4096))
        options.dict_size = min(options.dict_size, needed)
        var code = LZMA_OK
        let result = unsafe withUnsafeMutablePointer(to: &options) { options in
            var filters = unsafe [
                lzma_filter(id: filterLZMA2, options: UnsafeMutableRawPointer(options)), lzma_filter(id: filterEnd, options: nil),
            ]
            return [UInt8](unsafeUninitializedCapacity: lzma_stream_buffer_bound(bytes.count)) { output, count in
                code = unsafe bytes.withUnsafeBufferPointer { input in
                    unsafe lzma_stream_buffer_encode(
                        &filters, LZMA_CHECK_CRC64, nil, input.baseAddress, input.count, output.baseAddress, &count, output.count)
                }
            }
        }
        guard code == LZMA_OK else { throw failure("xz", "lzma_stream_buffer_encode: \(code.rawValue)") }
        return result
    }

    // LZMA_FILTER_LZMA2 and LZMA_VLI_UNKNOWN, which are macros with casts.
    private static let filterLZMA2: lzma_vli = 0x21
    private static let filterEnd: lzma_vli = .max

    private static func failure(_ method: String, _ cause: String) -> RegistryError {
        RegistryError(.internal, subject: .store, reason: "bytes could not be compressed by \(method)", cause: cause)
    }
}
