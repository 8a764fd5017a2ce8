public import Core

/// The content of a gzip file (RFC 1952), expanded piece by piece. Members follow each other; CRC and length of each are checked, names and
/// comments in their headers mean nothing here.
public final class GunzipReader {
    public static let membersMax = 1024

    private let reader: InflateReader
    private let budget: Budget
    private let storedBytes: Int64
    private var members = 1
    private var expanded: Int64 = 0

    /// - Throws: `invalid` when the file does not begin as gzip.
    public init(_ source: any RandomAccessBytes, budget: Budget = .stream) throws(RegistryError) {
        guard try source.bytes(at: 0, count: 3).starts(with: [0x1F, 0x8B, 8]) else { throw refused("gzip", "this is no gzip file") }
        storedBytes = source.size
        self.budget = budget
        reader = try InflateReader(source, 0..<source.size, .gzip, of: "gzip")
    }

    /// The next piece, never empty; nil at the end of the last member, when all of it has been checked.
    /// - Throws: `invalid` for damage, for anything behind the last member, beyond `membersMax`, and beyond the budget's `expandedBytes` and
    ///   `ratio`.
    public func next() throws(RegistryError) -> [UInt8]? {
        while true {
            if let piece = try reader.next() {
                expanded += Int64(piece.count)
                guard budget.allows(expanded: expanded, from: storedBytes) else { throw refused("gzip", "the file expands to too many bytes") }
                return piece
            }
            guard try reader.beginNextMember() else { return nil }
            members += 1
            guard members <= GunzipReader.membersMax else { throw refused("gzip", "the file has more than \(GunzipReader.membersMax) members") }
        }
    }

    /// The whole content in memory.
    /// - Throws: also `invalid` beyond `bytesMax`.
    public func readAll(bytesMax: Int) throws(RegistryError) -> [UInt8] {
        var content: [UInt8] = []
        while let piece = try next() {
            guard content.count + piece.count <= bytesMax else { throw refused("gzip", "the content has more than \(bytesMax) bytes") }
            content += piece
        }
        return content
    }
}
