import CLzma
public import Core

/// The content of an .xz file, concatenated streams and padding included; its checksums are checked.
public final class XzReader: ExpandingReader {
    /// What a stream's dictionary may take: xz -9 needs 65 MiB.
    private static let memoryBytesMax: UInt64 = 128 << 20
    /// LZMA_CONCATENATED, which is a macro with a cast.
    private static let concatenated: UInt32 = 0x08

    // liblzma's state points into itself, so that it lives at one address.
    private let stream: UnsafeMutablePointer<lzma_stream>
    private let budget: Budget
    private let storedBytes: Int64
    private var window: InputWindow
    private var expanded: Int64 = 0
    private var isOver = false

    public init(_ source: any RandomAccessBytes, budget: Budget = .stream) throws(RegistryError) {
        self.budget = budget
        storedBytes = source.size
        window = InputWindow(source)
        stream = .allocate(capacity: 1)
        stream.initialize(to: lzma_stream())
        let code = lzma_stream_decoder(stream, XzReader.memoryBytesMax, XzReader.concatenated)
        guard code == LZMA_OK else {
            stream.deallocate()
            throw RegistryError(
                .internal, subject: .store, reason: "a decompressor could not be made", cause: "lzma_stream_decoder: \(code.rawValue)")
        }
    }

    deinit {
        lzma_end(stream)
        stream.deallocate()
    }

    public func next() throws(RegistryError) -> [UInt8]? {
        while !isOver {
            try window.refill(of: "xz")
            var code = LZMA_OK
            var consumed = 0
            let piece = [UInt8](unsafeUninitializedCapacity: InflateReader.windowBytes) { output, count in
                window.bytes.withUnsafeBufferPointer { input in
                    stream.pointee.next_in = input.baseAddress
                    stream.pointee.avail_in = input.count
                    stream.pointee.next_out = output.baseAddress
                    stream.pointee.avail_out = output.count
                    code = lzma_code(stream, window.isLast ? LZMA_FINISH : LZMA_RUN)
                    consumed = input.count - stream.pointee.avail_in
                    count = output.count - stream.pointee.avail_out
                }
            }
            window.use(consumed)
            switch code {
            case LZMA_OK: break
            case LZMA_STREAM_END: isOver = true
            case LZMA_MEMLIMIT_ERROR: throw refused("xz", "the file needs more than \(XzReader.memoryBytesMax >> 20) MiB to be expanded")
            case LZMA_BUF_ERROR: throw refused("xz", "the compressed bytes end too early")
            default: throw refused("xz", "the compressed bytes are damaged")
            }
            guard !piece.isEmpty else { continue }
            expanded += Int64(piece.count)
            guard budget.allows(expanded: expanded, from: storedBytes) else { throw refused("xz", "the file expands to too many bytes") }
            return piece
        }
        return nil
    }
}
