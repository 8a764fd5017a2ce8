public import Core

/// A tar stream read from front to back: ustar (POSIX.1-1988), pax (POSIX.1-2001) and GNU's long names. Nothing is written anywhere.
public final class TarReader {
    public struct Entry: Sendable, Hashable {
        public enum Kind: Sendable, Hashable {
            case file, directory, symbolicLink, hardLink
            /// Devices, pipes, and what else the type flag can say.
            case other(UInt8)
        }

        /// As written, a trailing slash taken away; it may lead anywhere.
        public let path: String
        public let kind: Kind
        public let size: Int64
        public let mode: UInt32
        public let linkTarget: String?
    }

    private static let block = 512
    private static let extensionBytesMax = 1 << 20

    private let pull: () throws(RegistryError) -> [UInt8]?
    private let budget: Budget
    private var buffer: ArraySlice<UInt8> = []
    /// Bytes of the current entry, padding included, that were not read.
    private var left: Int64 = 0
    private var entry: Entry?
    private var items = 0
    private var headerBytes = 0
    private var isOver = false

    /// - Parameter pull: the next piece of the stream, nil at its end.
    public init(budget: Budget = .stream, pull: @escaping () throws(RegistryError) -> [UInt8]?) {
        self.budget = budget
        self.pull = pull
    }

    /// The next entry, nil behind the last; then the whole stream has been read, so that its checksum has been checked too.
    /// - Throws: `invalid` for a damaged or cut stream, and beyond the budget: `items` entries, `bytes` of extended headers.
    public func next() throws(RegistryError) -> Entry? {
        guard !isOver else { return nil }
        try skip(left)
        left = 0
        entry = nil
        var pax: [String: String] = [:]
        var longName: String?
        var longLink: String?
        while true {
            guard let header = try take(TarReader.block, mayEnd: true) else { return try finish() }
            if header.allSatisfy({ $0 == 0 }) { return try finish() }
            items += 1
            guard items <= budget.items else { throw refused("tar", "the archive has more than \(budget.items) entries") }
            let raw = try TarHeader(header)
            switch raw.type {
            case UInt8(ascii: "x"): pax = try TarHeader.paxRecords(try extended(raw))
            case UInt8(ascii: "g"):
                // Comments are common here; a name or size for all that follows is used by nobody and understood differently.
                guard try TarHeader.paxRecords(try extended(raw)).isEmpty else { throw refused("tar", "a global header names or sizes every entry") }
            case UInt8(ascii: "L"): longName = TarHeader.text(try extended(raw))
            case UInt8(ascii: "K"): longLink = TarHeader.text(try extended(raw))
            default:
                return try begin(raw, pax: pax, longName: longName, longLink: longLink)
            }
        }
    }

    /// The content of the entry that `next` gave last; once.
    /// - Throws: `invalid` beyond `bytesMax`, and when the stream ends inside it.
    public func content(bytesMax: Int = 1 << 20) throws(RegistryError) -> [UInt8] {
        guard let entry else { return [] }
        guard entry.size <= Int64(bytesMax) else { throw refused("tar", "\(entry.path.prefix(200)) has more than \(bytesMax) bytes") }
        let size = min(entry.size, left)
        guard let content = try take(Int(size), mayEnd: false) else { return [] }
        left -= size
        self.entry = nil
        return content
    }

    private func begin(_ raw: TarHeader, pax: [String: String], longName: String?, longLink: String?) throws(RegistryError) -> Entry {
        var size = raw.size
        if let text = pax["size"] {
            guard let value = Int64(text), value >= 0 else { throw refused("tar", "an extended header gives an impossible size") }
            size = value
        }
        let path = pax["path"] ?? longName ?? raw.path
        let kind: Entry.Kind =
            switch raw.type {
            case 0, UInt8(ascii: "0"), UInt8(ascii: "7"): path.utf8.last == UInt8(ascii: "/") ? .directory : .file
            case UInt8(ascii: "1"): .hardLink
            case UInt8(ascii: "2"): .symbolicLink
            case UInt8(ascii: "5"): .directory
            default: .other(raw.type)
            }
        // GNU's sparse files have another content than bytes in the stream, and would be misread.
        if raw.type == UInt8(ascii: "S") || pax.keys.contains(where: { $0.hasPrefix("GNU.sparse") }) {
            throw refused("tar", "\(path.prefix(200)) is a sparse file, which is not supported")
        }
        // Readers differ in whether content follows a directory with a size, and so in where the next entry is.
        guard kind != .directory || size == 0 else { throw refused("tar", "\(path.prefix(200)) is a directory with content") }
        // Links have no content, whatever size their header names.
        let hasContent = kind == .file || raw.type > UInt8(ascii: "7")
        left = hasContent ? try TarReader.padded(size) : 0
        let target = kind == .hardLink || kind == .symbolicLink ? pax["linkpath"] ?? longLink ?? raw.linkTarget : nil
        let trimmedPath = path.utf8.last == UInt8(ascii: "/") && path.utf8.count > 1 ? String(path.dropLast()) : path
        guard !trimmedPath.isEmpty, !trimmedPath.utf8.contains(0) else { throw refused("tar", "an entry's name is empty or holds a zero byte") }
        let entry = Entry(path: trimmedPath, kind: kind, size: hasContent ? size : 0, mode: raw.mode, linkTarget: target)
        self.entry = entry
        return entry
    }

    private func extended(_ raw: TarHeader) throws(RegistryError) -> [UInt8] {
        guard raw.size <= Int64(TarReader.extensionBytesMax), headerBytes + Int(raw.size) <= budget.bytes else {
            throw refused("tar", "an extended header is too large")
        }
        headerBytes += Int(raw.size)
        let padded = Int(try TarReader.padded(raw.size))
        guard let bytes = try take(padded, mayEnd: false) else { return [] }
        return Array(bytes.prefix(Int(raw.size)))
    }

    private static func padded(_ size: Int64) throws(RegistryError) -> Int64 {
        let (sum, overflow) = size.addingReportingOverflow(511)
        guard !overflow else { throw refused("tar", "an entry's size is impossible") }
        return sum / 512 * 512
    }

    /// Reads the rest of the stream: padding, and whatever else the compressor put there.
    private func finish() throws(RegistryError) -> Entry? {
        isOver = true
        buffer = []
        while try pull() != nil {}
        return nil
    }

    private func fill() throws(RegistryError) -> Bool {
        guard let piece = try pull() else { return false }
        buffer = piece[...]
        return true
    }

    private func skip(_ count: Int64) throws(RegistryError) {
        var rest = count
        while rest > 0 {
            if buffer.isEmpty, try !fill() { throw refused("tar", "the archive is cut short") }
            let step = Int(min(rest, Int64(buffer.count)))
            buffer = buffer.dropFirst(step)
            rest -= Int64(step)
        }
    }

    /// Exactly `count` bytes; nil when the stream ends before the first and may.
    private func take(_ count: Int, mayEnd: Bool) throws(RegistryError) -> [UInt8]? {
        var result: [UInt8] = []
        while result.count < count {
            if buffer.isEmpty, try !fill() {
                if mayEnd, result.isEmpty { return nil }
                throw refused("tar", "the archive is cut short")
            }
            let step = min(count - result.count, buffer.count)
            result += buffer.prefix(step)
            buffer = buffer.dropFirst(step)
        }
        return result
    }
}

/// One header block, its checksum checked.
struct TarHeader {
    let path: String
    let linkTarget: String
    let size: Int64
    let mode: UInt32
    let type: UInt8

    init(_ block: [UInt8]) throws(RegistryError) {
        guard block.count == 512 else { throw refused("tar", "the archive is cut short") }
        let sum = block.enumerated().reduce(0) { $0 + ((148..<156).contains($1.offset) ? 0x20 : Int($1.element)) }
        guard try TarHeader.number(block[148..<156]) == Int64(sum) else {
            throw refused("tar", "a header's checksum is wrong: this is no tar archive, or it is damaged")
        }
        size = try TarHeader.number(block[124..<136])
        mode = UInt32(truncatingIfNeeded: try TarHeader.number(block[100..<108]))
        type = block[156]
        linkTarget = TarHeader.text(Array(block[157..<257]))
        let name = TarHeader.text(Array(block[0..<100]))
        // Only POSIX's magic makes the last field a prefix; GNU keeps times there.
        let prefix = block[257..<263].elementsEqual("ustar\0".utf8) ? TarHeader.text(Array(block[345..<500])) : ""
        path = prefix.isEmpty ? name : prefix + "/" + name
    }

    /// Octal digits between spaces, ended by a space or zero byte; or GNU's base 256, marked by the first bit.
    private static func number(_ field: ArraySlice<UInt8>) throws(RegistryError) -> Int64 {
        if let first = field.first, first & 0x80 != 0 {
            guard first == 0x80 else { throw refused("tar", "a header holds a negative number") }
            var value: Int64 = 0
            for byte in field.dropFirst() {
                guard value < 1 << 54 else { throw refused("tar", "a header holds an impossible number") }
                value = value << 8 | Int64(byte)
            }
            return value
        }
        let digits = field.drop { $0 == 0x20 }.prefix { (0x30...0x37).contains($0) }
        let behind = field[digits.endIndex...]
        // At most 12 digits, 36 bits.
        guard behind.allSatisfy({ $0 == 0x20 || $0 == 0 }) else { throw refused("tar", "a header holds a number that is not octal") }
        return digits.reduce(0) { $0 << 3 | Int64($1 - 0x30) }
    }

    /// Up to the first zero byte. Old archives hold test files named in any encoding: those are shown, not refused.
    static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }

    /// `length key=value\n`, the length counting itself (POSIX.1-2001, pax).
    static func paxRecords(_ bytes: [UInt8]) throws(RegistryError) -> [String: String] {
        var records: [String: String] = [:]
        var rest = bytes[...]
        while !rest.isEmpty {
            let digits = rest.prefix { (0x30...0x39).contains($0) }
            guard digits.count <= 7, let length = Int(String(decoding: digits, as: UTF8.self)), length > digits.count + 2, length <= rest.count else {
                throw refused("tar", "an extended header is malformed")
            }
            let record = rest.prefix(length).dropFirst(digits.count + 1).dropLast()
            guard rest[digits.endIndex] == 0x20, rest[rest.startIndex + length - 1] == 0x0A, let equals = record.firstIndex(of: UInt8(ascii: "="))
            else {
                throw refused("tar", "an extended header is malformed")
            }
            let key = String(decoding: record[..<equals], as: UTF8.self)
            // Only what is used must be text: attributes of foreign systems hold any bytes.
            if ["path", "linkpath", "size"].contains(key) || key.hasPrefix("GNU.sparse") {
                guard let value = String(validating: record[record.index(after: equals)...], as: UTF8.self) else {
                    throw refused("tar", "a name is not UTF-8")
                }
                records[key] = value
            }
            rest = rest.dropFirst(length)
        }
        return records
    }
}
