import CZstd
public import Core

/// The content of a Zstandard file (RFC 8878), several frames included.
public final class ZstdReader: ExpandingReader {
    /// Windows up to 128 MiB: zstd's own default, and what `dpkg-deb -Zzstd` stays within.
    private static let windowLogMax: Int32 = 27

    private let stream: OpaquePointer
    private let budget: Budget
    private let storedBytes: Int64
    private var window: InputWindow
    private var expanded: Int64 = 0
    /// Zero between frames; what the decompressor still wants otherwise.
    private var pending = 1

    public init(_ source: any RandomAccessBytes, budget: Budget = .stream) throws(RegistryError) {
        self.budget = budget
        storedBytes = source.size
        window = InputWindow(source)
        guard let made = ZSTD_createDCtx() else {
            throw RegistryError(.internal, subject: .store, reason: "a decompressor could not be made", cause: "ZSTD_createDCtx")
        }
        stream = made
        _ = ZSTD_DCtx_setParameter(made, ZSTD_d_windowLogMax, ZstdReader.windowLogMax)
    }

    deinit { ZSTD_freeDCtx(stream) }

    public func next() throws(RegistryError) -> [UInt8]? {
        while true {
            try window.refill(of: "zstd")
            if window.isAtEnd, pending == 0 { return nil }
            var consumed = 0
            var code = 0
            let piece = [UInt8](unsafeUninitializedCapacity: InflateReader.windowBytes) { output, count in
                window.bytes.withUnsafeBytes { bytes in
                    var input = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
                    var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
                    code = ZSTD_decompressStream(stream, &target, &input)
                    consumed = input.pos
                    count = ZSTD_isError(code) == 0 ? target.pos : 0
                }
            }
            guard ZSTD_isError(code) == 0 else { throw refused("zstd", "the compressed bytes are damaged, or need too much memory") }
            pending = code
            window.use(consumed)
            if piece.isEmpty {
                guard consumed > 0 else { throw refused("zstd", "the compressed bytes end too early") }
                continue
            }
            expanded += Int64(piece.count)
            guard budget.allows(expanded: expanded, from: storedBytes) else { throw refused("zstd", "the file expands to too many bytes") }
            return piece
        }
    }
}
