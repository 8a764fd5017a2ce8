public import Core

/// Python core metadata, versions 1.0 to 2.x: the header format of `METADATA` and `PKG-INFO` (PEP 241, 314, 345, 566, 621, 643, 685).
///
/// Fields in order, none interpreted: which are required, and what their values may be, is for who uses them.
public struct CoreMetadata: Sendable, Hashable {
    public struct Field: Sendable, Hashable {
        /// As written.
        public let name: String
        /// Continuation lines joined by line feeds, each without the marker that folds it.
        public fileprivate(set) var value: String

        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    public let fields: [Field]
    /// What stands behind the empty line: the description since metadata 2.1. nil when there is nothing.
    public let body: String?

    /// - Throws: `invalid` for what is no UTF-8, a line that is no field, and beyond the budget's bytes and items.
    public static func parse(_ bytes: [UInt8], budget: Budget = .document) throws(RegistryError) -> CoreMetadata {
        guard bytes.count <= budget.bytes else { throw refused("metadata", "the metadata may have at most \(budget.bytes) bytes") }
        guard String(validating: bytes, as: UTF8.self) != nil else { throw refused("metadata", "the metadata is not UTF-8") }
        var fields: [Field] = []
        var rest = bytes[...]
        if rest.starts(with: [0xEF, 0xBB, 0xBF]) { rest = rest.dropFirst(3) }
        while let line = nextLine(&rest) {
            if line.isEmpty { break }
            if line.first == 0x20 || line.first == 0x09 {
                guard let last = fields.indices.last else { throw refused("metadata", "the first line continues nothing") }
                // In place: a description of many short lines must not be copied for each.
                fields[last].value += "\n" + unfolded(line)
                continue
            }
            guard fields.count < budget.items else { throw refused("metadata", "the metadata has more than \(budget.items) fields") }
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex,
                line[..<colon].allSatisfy({ $0 > 0x20 && $0 < 0x7F })
            else { throw refused("metadata", "line \(fields.count + 1) of the metadata is no field: a name and a colon are missing") }
            fields.append(
                Field(
                    name: String(decoding: line[..<colon], as: UTF8.self),
                    value: trimmed(String(decoding: line[line.index(after: colon)...], as: UTF8.self))))
        }
        return CoreMetadata(fields: fields, body: rest.isEmpty ? nil : String(decoding: rest, as: UTF8.self))
    }

    /// The first value of a field, whatever the case of its name.
    public subscript(name: String) -> String? { fields.first { CoreMetadata.same($0.name, name) }?.value }

    /// Every value of a field that may be used several times, in order.
    public func all(_ name: String) -> [String] { fields.filter { CoreMetadata.same($0.name, name) }.map(\.value) }

    /// The description, wherever this version of the format puts it.
    public var description: String? { body ?? self["Description"] }

    private static func same(_ a: String, _ b: String) -> Bool {
        a.utf8.count == b.utf8.count && a.lowercased() == b.lowercased()
    }

    /// Up to the next line's end, which is LF or CR LF; nil behind the last.
    private static func nextLine(_ rest: inout ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard !rest.isEmpty else { return nil }
        let end = rest.firstIndex(of: 0x0A) ?? rest.endIndex
        let line = rest[..<end]
        rest = rest[min(end + 1, rest.endIndex)...]
        return line.last == 0x0D ? line.dropLast() : line
    }

    /// Without what folds the line: PEP 566's eight spaces or seven and a bar, else any white space (PEP 314 writes a description so).
    private static func unfolded(_ line: ArraySlice<UInt8>) -> String {
        let spaces = line.prefix { $0 == 0x20 }.count
        if spaces == 7, line.dropFirst(7).first == UInt8(ascii: "|") { return String(decoding: line.dropFirst(8), as: UTF8.self) }
        if spaces >= 8 { return String(decoding: line.dropFirst(8), as: UTF8.self) }
        return String(decoding: line.drop { $0 == 0x20 || $0 == 0x09 }, as: UTF8.self)
    }
}
