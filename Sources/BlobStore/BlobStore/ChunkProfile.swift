import Core

/// How long the chunks of a blob are. Chunks of one profile are not found again among those of the other.
public enum ChunkProfile: UInt8, Sendable, CaseIterable {
    /// 64 KiB on average (16 to 256).
    case general = 1
    /// 512 KiB on average (128 to 2,048): what the Remote Execution API proposes, so that build clients name the same chunks.
    case buildCache = 2

    /// Shorter blobs stay whole.
    public var blobBytesMin: Int64 {
        switch self {
        case .general: 1 << 20
        case .buildCache: (2 << 20) + 1
        }
    }

    var cdc: FastCDC {
        switch self {
        case .general: ChunkProfile.generalCDC
        case .buildCache: ChunkProfile.buildCacheCDC
        }
    }

    private static let generalCDC = FastCDC(averageBytes: 64 << 10, gear: Gear.table)
    private static let buildCacheCDC = FastCDC(averageBytes: 512 << 10, gear: Gear.table)
}

/// The Remote Execution API's gear table: for each byte, the first 64 bits of the MD5 of 64 copies of it.
enum Gear {
    static let table: [UInt64] = (0...UInt8.max).map { byte in
        Digest.of(.md5, repeatElement(byte, count: 64)).bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
}
