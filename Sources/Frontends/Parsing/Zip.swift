public import Core

/// A zip archive (PKWARE APPNOTE 6.3) that can be read in one way only.
///
/// Readers differ in what they believe: the central directory, the local headers, or whichever record they meet first. An archive that could
/// show two readers different files is refused: the local headers must say what the directory says, the entries must fill the file from its
/// first byte to the directory without gap or overlap, and the end record must be the file's last bytes. Nothing is expanded before `read`.
public struct ZipArchive: Sendable {
    public struct Entry: Sendable, Hashable {
        public enum Method: Sendable, Hashable {
            case stored, deflate
            /// Listed, not readable here (APPNOTE section 4.4.5).
            case other(UInt16)
        }

        public let name: String
        public let method: Method
        public let compressedSize: Int64
        public let size: Int64
        public let crc32: UInt32
        /// The mode of the file where it was packed; nil when it was not packed on Unix.
        public let unixMode: UInt16?
        /// Where its (possibly compressed) bytes begin.
        public let dataOffset: Int64

        public var isDirectory: Bool { name.utf8.last == UInt8(ascii: "/") }
        public var isSymbolicLink: Bool { unixMode.map { $0 & 0xF000 == 0xA000 } ?? false }
    }

    /// In the directory's order; no two have the same name.
    public let entries: [Entry]
    private let source: any RandomAccessBytes
    private let places: [String: Int]

    /// Reads the directory and every local header.
    /// - Throws: `invalid` when the archive is damaged, ambiguous, encrypted, split, or beyond the budget: `items` entries, `bytes` of
    ///   directory, `expandedBytes` and `ratio` over what the entries announce.
    public init(_ source: any RandomAccessBytes, budget: Budget = .archive) throws(RegistryError) {
        let directory = try ZipDirectory(source, budget: budget)
        entries = try ZipLayout(source, directoryOffset: directory.offset).entries(directory.records)
        self.source = source
        var places: [String: Int] = [:]
        for (at, entry) in entries.enumerated() {
            guard places.updateValue(at, forKey: entry.name) == nil else { throw refused("zip", "two entries are named \(entry.name.prefix(200))") }
        }
        self.places = places
        var expanded: Int64 = 0
        for entry in entries {
            let (sum, overflow) = expanded.addingReportingOverflow(entry.size)
            guard !overflow, budget.allows(expanded: sum, from: source.size) else { throw refused("zip", "the archive expands to too many bytes") }
            expanded = sum
        }
    }

    public subscript(name: String) -> Entry? { places[name].map { entries[$0] } }

    /// The content of an entry, its length and CRC-32 checked.
    /// - Throws: `invalid` when it is larger than `bytesMax`, or its bytes are not what the directory says; `unsupported` for a method other
    ///   than stored and deflate.
    public func read(_ entry: Entry, bytesMax: Int = 1 << 20) throws(RegistryError) -> [UInt8] {
        guard entry.size <= Int64(bytesMax) else { throw refused("zip", "\(entry.name.prefix(200)) has more than \(bytesMax) bytes") }
        let content: [UInt8]
        switch entry.method {
        case .stored: content = try source.bytes(at: entry.dataOffset, count: Int(entry.compressedSize))
        case .deflate: content = try inflate(entry)
        case .other(let method):
            throw RegistryError(
                .unsupported, subject: .field("zip"), reason: "\(entry.name.prefix(200)) is compressed by method \(method); use deflate or store it")
        }
        var checksum = CRC32()
        checksum.update(content)
        guard Int64(content.count) == entry.size, checksum.value == entry.crc32 else {
            throw refused("zip", "\(entry.name.prefix(200)) is damaged: its length or CRC-32 is not what the directory says")
        }
        return content
    }

    private func inflate(_ entry: Entry) throws(RegistryError) -> [UInt8] {
        let reader = try InflateReader(source, entry.dataOffset..<entry.dataOffset + entry.compressedSize, .raw, of: "zip")
        var content: [UInt8] = []
        while let piece = try reader.next() {
            guard Int64(content.count + piece.count) <= entry.size else {
                throw refused("zip", "\(entry.name.prefix(200)) expands beyond the \(entry.size) bytes that the directory says")
            }
            content += piece
        }
        guard reader.unread == 0 else { throw refused("zip", "\(entry.name.prefix(200)) hides bytes behind its compressed content") }
        return content
    }
}
