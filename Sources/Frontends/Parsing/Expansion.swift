public import Core

/// The content of a compressed file, expanded piece by piece.
public protocol ExpandingReader: AnyObject {
    /// The next piece, never empty; nil at the end, when all of it has been checked.
    /// - Throws: `invalid` for damage, for anything behind the end, and beyond the budget's `expandedBytes` and `ratio`.
    func next() throws(RegistryError) -> [UInt8]?
}

extension GunzipReader: ExpandingReader {}

/// How a file is compressed.
public enum Expansion: String, Sendable, Hashable, CaseIterable {
    case none = ""
    case gzip = ".gz"
    case xz = ".xz"
    case zstd = ".zst"

    /// By its first bytes, whatever its name says; nil for a compression that is not read here (bzip2, lzma).
    public static func sniff(_ source: any RandomAccessBytes) throws(RegistryError) -> Expansion? {
        switch try ArchiveKind.sniff(source) {
        case .gzip: .gzip
        case .xz: .xz
        case .zstd: .zstd
        case .bzip2, .compress: nil
        case .tar, .zip, .unknown: Expansion.none
        }
    }

    public func reader(of source: any RandomAccessBytes, budget: Budget = .stream) throws(RegistryError) -> any ExpandingReader {
        switch self {
        case .none: PlainReader(source, budget: budget)
        case .gzip: try GunzipReader(source, budget: budget)
        case .xz: try XzReader(source, budget: budget)
        case .zstd: try ZstdReader(source, budget: budget)
        }
    }

    /// The whole content in memory.
    /// - Throws: also `invalid` beyond `bytesMax`.
    public func expand(_ source: any RandomAccessBytes, bytesMax: Int, budget: Budget = .stream) throws(RegistryError) -> [UInt8] {
        let reader = try reader(of: source, budget: budget)
        var content: [UInt8] = []
        while let piece = try reader.next() {
            guard content.count + piece.count <= bytesMax else { throw refused("archive", "the content has more than \(bytesMax) bytes") }
            content += piece
        }
        return content
    }
}

/// Bytes that are not compressed, through the same budget.
final class PlainReader: ExpandingReader {
    private let source: any RandomAccessBytes
    private let budget: Budget
    private var position: Int64 = 0

    init(_ source: any RandomAccessBytes, budget: Budget) {
        self.source = source
        self.budget = budget
    }

    func next() throws(RegistryError) -> [UInt8]? {
        guard source.size <= budget.expandedBytes else { throw refused("archive", "the content has more than \(budget.expandedBytes) bytes") }
        let piece = try source.bytes(at: position, count: InflateReader.windowBytes)
        position += Int64(piece.count)
        return piece.isEmpty ? nil : piece
    }
}

/// Compressed bytes on their way into a C decompressor.
struct InputWindow {
    private let source: any RandomAccessBytes
    private var position: Int64 = 0
    private(set) var bytes: ArraySlice<UInt8> = []

    init(_ source: any RandomAccessBytes) { self.source = source }

    var isAtEnd: Bool { bytes.isEmpty && position == source.size }
    /// What was read is the last of the source.
    var isLast: Bool { position == source.size }

    /// Reads on when everything was used.
    mutating func refill(of thing: String) throws(RegistryError) {
        guard bytes.isEmpty, position < source.size else { return }
        let wanted = Int(min(Int64(InflateReader.windowBytes), source.size - position))
        let read = try source.bytes(at: position, count: wanted)
        guard read.count == wanted else { throw refused(thing, "the file ends too early") }
        position += Int64(wanted)
        bytes = read[...]
    }

    mutating func use(_ count: Int) { bytes = bytes.dropFirst(count) }
}
