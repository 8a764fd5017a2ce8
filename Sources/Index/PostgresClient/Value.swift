public import Core

/// A typed value on its way to the server or back, in PostgreSQL's binary format: it is neither quoted nor parsed.
public struct Value: Sendable, Hashable {
    /// PostgreSQL's number of the type.
    let type: UInt32
    /// nil: NULL.
    let bytes: [UInt8]?

    public static func bytes(_ value: [UInt8]?) -> Value { Value(type: 17, bytes: value) }
    /// - Throws: `invalid` for a text with a zero byte, which PostgreSQL cannot keep.
    public static func text(_ value: String) throws(RegistryError) -> Value {
        guard !value.utf8.contains(0) else {
            throw RegistryError(.invalid, subject: .request, reason: "a name with a zero byte in it cannot be kept")
        }
        return Value(type: 25, bytes: Array(value.utf8))
    }
    /// For people to read: what cannot be kept is replaced.
    public static func shown(_ value: String?) -> Value { Value(type: 25, bytes: value.map { $0.utf8.map { $0 == 0 ? UInt8(ascii: "?") : $0 } }) }
    public static func int(_ value: Int64?) -> Value { Value(type: 20, bytes: value.map { bigEndian(UInt64(bitPattern: $0)) }) }
    public static func bool(_ value: Bool) -> Value { Value(type: 16, bytes: [value ? 1 : 0]) }
    public static func id(_ value: EntityID?) -> Value { Value(type: 2950, bytes: value?.bytes) }
    /// `bytea[]`, for `= ANY ($1)`.
    public static func list(_ values: [[UInt8]]) -> Value { Value(type: 1001, bytes: array(of: 17, values)) }
    /// `uuid[]`.
    public static func list(_ values: [EntityID]) -> Value { Value(type: 2951, bytes: array(of: 2950, values.map(\.bytes))) }

    /// One dimension, no NULL, counted from 1.
    private static func array(of type: UInt32, _ elements: [[UInt8]]) -> [UInt8] {
        var writer = BinaryWriter()
        for word in [elements.isEmpty ? 0 : 1, 0, type] { writer.write(word) }
        if !elements.isEmpty {
            writer.write(UInt32(elements.count))
            writer.write(UInt32(1))
        }
        for element in elements {
            writer.write(UInt32(element.count))
            writer.write(raw: element)
        }
        return writer.bytes
    }
    /// Times beyond what PostgreSQL can say become the last, or the first, that it can.
    public static func time(_ value: Timestamp?) -> Value {
        let bounded = value.map { min(max($0.milliseconds, earliest), latest) }
        // Microseconds since 2000: no overflow within the bounds.
        return Value(type: 1184, bytes: bounded.map { bigEndian(UInt64(bitPattern: ($0 - epoch) * 1000)) })
    }

    private static let epoch: Int64 = 946_684_800_000
    private static let earliest: Int64 = -62_000_000_000_000
    private static let latest: Int64 = 9_000_000_000_000_000

    private static func bigEndian(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * UInt64($0))) } }

    /// An integer of 2, 4 or 8 bytes.
    static func integer(_ bytes: [UInt8]) -> Int64? {
        guard let first = bytes.first, [2, 4, 8].contains(bytes.count) else { return nil }
        return bytes.reduce(first & 0x80 == 0 ? 0 : -1) { $0 << 8 | Int64($1) }
    }

    static func time(_ bytes: [UInt8]) -> Timestamp? {
        guard bytes.count == 8, let microseconds = integer(bytes) else { return nil }
        let (sum, overflow) = (microseconds / 1000).addingReportingOverflow(epoch)
        return overflow ? nil : Timestamp(milliseconds: sum)
    }
}

/// One row of an answer. A column that is missing, NULL or of another shape is `internal`: the query and its reader disagree.
public struct Row: Sendable {
    let columns: [[UInt8]?]

    public func isNull(_ column: Int) -> Bool { !columns.indices.contains(column) || columns[column] == nil }
    public func bytes(_ column: Int) throws(RegistryError) -> [UInt8] {
        guard columns.indices.contains(column), let bytes = columns[column] else { throw Row.unexpected }
        return bytes
    }
    public func text(_ column: Int) throws(RegistryError) -> String { try checked(String(validating: bytes(column), as: UTF8.self)) }
    public func int(_ column: Int) throws(RegistryError) -> Int64 { try checked(Value.integer(bytes(column))) }
    public func id(_ column: Int) throws(RegistryError) -> EntityID { try checked(EntityID(bytes: bytes(column))) }
    public func time(_ column: Int) throws(RegistryError) -> Timestamp { try checked(Value.time(bytes(column))) }

    private func checked<Checked>(_ value: Checked?) throws(RegistryError) -> Checked {
        guard let value else { throw Row.unexpected }
        return value
    }

    private static let unexpected = RegistryError(.internal, subject: .store, reason: "the database answered something else than was asked")
}

/// A statement with its parameters. Statements are prepared once per connection and found again by their text: build few texts.
public struct Query: Sendable {
    public let text: String
    public let values: [Value]
    public init(_ text: String, _ values: [Value] = []) {
        self.text = text
        self.values = values
    }
}
