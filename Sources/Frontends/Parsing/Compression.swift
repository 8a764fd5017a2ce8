import CLzma
import CZlib
public import Core

/// Bytes compressed in one call, reproducibly: equal bytes, equal result, no name and no time inside. Results can be joined without compressing
/// anything again: gzip members as they are (RFC 1952 section 2.2), .xz blocks between a header and a trailer.
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

    /// A block of an .xz stream: blocks laid end to end between `xzHeader` and `xzTrailer(of:)` are one stream, whose content is the inputs end
    /// to end (the .xz file format, section 3). Readers that stop after the first stream, as apt does, read all of it.
    public struct XzBlock: Sendable {
        public let bytes: [UInt8]
        public let sizes: Sizes

        /// What the stream's index says of a block.
        public struct Sizes: Sendable, Hashable {
            /// In bytes, as the format (section 4.3 of the .xz file format) means them.
            public let unpadded: UInt64
            public let content: UInt64

            public init(unpadded: UInt64, content: UInt64) {
                self.unpadded = unpadded
                self.content = content
            }
        }
    }

    /// The first bytes of every stream of ours: its check is CRC-64.
    public static let xzHeader: [UInt8] = {
        var flags = streamFlags
        var bytes = [UInt8](repeating: 0, count: Int(LZMA_STREAM_HEADER_SIZE))
        let code = unsafe lzma_stream_header_encode(&flags, &bytes)
        precondition(code == LZMA_OK, "a stream's header can be written")
        return bytes
    }()

    /// - Parameter preset: 0 (fast) to 9. Memory follows the input's length, not the preset.
    public static func xzBlock(_ bytes: [UInt8], preset: UInt32 = 6) throws(RegistryError) -> XzBlock {
        var options = lzma_options_lzma()
        guard lzma_lzma_preset(&options, preset) == 0 else { throw failure("xz", "no such preset: \(preset)") }
        // A dictionary larger than the input is memory to clear for nothing; 4 KiB is the least.
        options.dict_size = min(options.dict_size, UInt32(clamping: max(bytes.count, 4096)))
        var block = lzma_block()
        block.check = LZMA_CHECK_CRC64
        var code = LZMA_OK
        let result = unsafe withUnsafeMutablePointer(to: &options) { options in
            var filters = unsafe [
                lzma_filter(id: filterLZMA2, options: UnsafeMutableRawPointer(options)), lzma_filter(id: filterEnd, options: nil),
            ]
            return unsafe filters.withUnsafeMutableBufferPointer { filters in
                unsafe block.filters = filters.baseAddress
                defer { unsafe block.filters = nil }
                return [UInt8](unsafeUninitializedCapacity: lzma_block_buffer_bound(bytes.count)) { output, count in
                    code = unsafe bytes.withUnsafeBufferPointer { input in
                        unsafe lzma_block_buffer_encode(&block, nil, input.baseAddress, input.count, output.baseAddress, &count, output.count)
                    }
                }
            }
        }
        guard code == LZMA_OK else { throw failure("xz", "lzma_block_buffer_encode: \(code.rawValue)") }
        return XzBlock(bytes: result, sizes: .init(unpadded: lzma_block_unpadded_size(&block), content: UInt64(bytes.count)))
    }

    /// What ends a stream of these blocks: their index, and the footer.
    public static func xzTrailer(of blocks: [XzBlock.Sizes]) throws(RegistryError) -> [UInt8] {
        guard let index = unsafe lzma_index_init(nil) else { throw failure("xz", "lzma_index_init") }
        defer { unsafe lzma_index_end(index, nil) }
        for block in blocks {
            let code = unsafe lzma_index_append(index, nil, block.unpadded, block.content)
            guard code == LZMA_OK else { throw failure("xz", "lzma_index_append: \(code.rawValue)") }
        }
        let indexBytes = Int(unsafe lzma_index_size(index))
        var bytes = [UInt8](repeating: 0, count: indexBytes + Int(LZMA_STREAM_HEADER_SIZE))
        var (flags, count, code) = (streamFlags, 0, LZMA_OK)
        flags.backward_size = lzma_vli(indexBytes)
        bytes.withUnsafeMutableBufferPointer { output in
            code = unsafe lzma_index_buffer_encode(index, output.baseAddress, &count, indexBytes)
            guard code == LZMA_OK, let base = output.baseAddress else { return }
            code = unsafe lzma_stream_footer_encode(&flags, base + indexBytes)
        }
        guard code == LZMA_OK else { throw failure("xz", "the end of a stream: \(code.rawValue)") }
        return bytes
    }

    /// One .xz stream, of one block.
    public static func xz(_ bytes: [UInt8], preset: UInt32 = 6) throws(RegistryError) -> [UInt8] {
        let block = try xzBlock(bytes, preset: preset)
        return xzHeader + block.bytes + (try xzTrailer(of: [block.sizes]))
    }

    private static var streamFlags: lzma_stream_flags {
        var flags = lzma_stream_flags()
        flags.check = LZMA_CHECK_CRC64
        return flags
    }

    // LZMA_FILTER_LZMA2 and LZMA_VLI_UNKNOWN, which are macros with casts.
    private static let filterLZMA2: lzma_vli = 0x21
    private static let filterEnd: lzma_vli = .max

    private static func failure(_ method: String, _ cause: String) -> RegistryError {
        RegistryError(.internal, subject: .store, reason: "bytes could not be compressed by \(method)", cause: cause)
    }
}
