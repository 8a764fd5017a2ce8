import CatalogRules
import Core
import PostgresClient

/// Keys as bytes, as every home of the catalog names its rows, and as columns, as PostgreSQL does. Both sort alike.
struct KeyColumns {
    /// The values of the first columns.
    var values: [Value] = []
    /// Nothing of the key is left over, and no column is without a value.
    var isWhole = false

    /// Takes apart a key, or the bound of a scan. A bound may end within a part: what is not said in full is left out then, so that the columns are
    /// a lower bound not above it. `isUpper`: not below it.
    /// - Throws: `invalid` when a text has a zero byte.
    init(_ key: [UInt8], of table: Table, isUpper: Bool = false) throws(RegistryError) {
        var rest = key[...]
        if let tag = table.tag {
            // The bound after a whole table: everything is below it.
            guard rest.popFirst() == tag else { return }
        }
        var layout = table.layout(reason: nil)
        var at = 0
        while at < layout.count {
            let place = layout[at]
            guard let value = try KeyColumns.take(table.columns[place].kind, from: &rest, isUpper: isUpper) else { return }
            while values.count < place { values.append(try KeyColumns.nothing(table.columns[values.count].kind)) }
            values.append(value.value)
            if value.endsKey { return }
            if place == 1, table.tag == Keyspace.Tag.pin.rawValue { layout = table.layout(reason: key[33]) }
            at += 1
        }
        guard rest.isEmpty else { return }
        while values.count < table.columns.count { values.append(try KeyColumns.nothing(table.columns[values.count].kind)) }
        isWhole = true
    }

    private static func nothing(_ kind: Table.Kind) throws(RegistryError) -> Value {
        try kind == .text ? .text("") : .int(0)
    }

    /// - Returns: nil when the part is not there in full. `endsKey`: what comes after it says nothing in columns.
    private static func take(
        _ kind: Table.Kind, from rest: inout ArraySlice<UInt8>, isUpper: Bool
    ) throws(RegistryError) -> (value: Value, endsKey: Bool)? {
        func take(_ count: Int) -> [UInt8]? {
            guard rest.count >= count else { return nil }
            defer { rest = rest.dropFirst(count) }
            return Array(rest.prefix(count))
        }
        func number(_ bytes: [UInt8]) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
        switch kind {
        case .byte: return take(1).map { (.int(Int64($0[0])), false) }
        case .number: return take(8).map { (.int(Int64(clamping: number($0))), false) }
        case .time: return take(8).map { (.time(Timestamp(milliseconds: Int64(clamping: number($0)))), false) }
        case .id: return take(16).flatMap { EntityID(bytes: $0) }.map { (.id($0), false) }
        case .blob: return take(32).map { (.bytes($0), false) }
        case .text: return try text(from: &rest, isUpper: isUpper)
        }
    }

    private static func text(
        from rest: inout ArraySlice<UInt8>, isUpper: Bool
    ) throws(RegistryError) -> (value: Value, endsKey: Bool)? {
        if rest.isEmpty { return nil }
        var bytes: [UInt8] = []
        var isClosed = false
        var endsKey = true
        scanning: while let byte = rest.popFirst() {
            guard byte == 0 else {
                bytes.append(byte)
                continue
            }
            switch rest.popFirst() {
            case 1:
                isClosed = true
                endsKey = false
                break scanning
            case 0xFF: bytes.append(0)
            default:
                // The bound just after a whole text.
                isClosed = true
                break scanning
            }
        }
        if let text = String(validating: bytes, as: UTF8.self) { return (try .text(text), endsKey) }
        guard !isClosed else { throw BinaryReader.damaged }
        // The beginning of texts, up to or past the middle of a character.
        if isUpper { return nil }
        while !bytes.isEmpty {
            bytes.removeLast()
            if let text = String(validating: bytes, as: UTF8.self) { return (try .text(text), true) }
        }
        return nil
    }

    /// The key that a row of the table has.
    static func key(of row: Row, in table: Table) throws(RegistryError) -> [UInt8] {
        guard let tag = table.tag.flatMap({ Keyspace.Tag(rawValue: $0) }) else {
            return table.columns[0].kind == .byte ? [UInt8(truncatingIfNeeded: try row.int(0))] : try row.bytes(0)
        }
        var key = Key(tag)
        let reason = tag == .pin ? UInt8(truncatingIfNeeded: try row.int(1)) : nil
        for place in table.layout(reason: reason) {
            switch table.columns[place].kind {
            case .byte: key = key.byte(UInt8(truncatingIfNeeded: try row.int(place)))
            case .number: key = key.number(UInt64(bitPattern: try row.int(place)))
            case .time: key = key.time(try row.time(place))
            case .id: key = key.id(try row.id(place))
            case .blob: key = key.blob(try BinaryReader.checked(BlobID(bytes: try row.bytes(place))))
            case .text: key = key.text(try row.text(place))
            }
        }
        return key.bytes
    }
}
