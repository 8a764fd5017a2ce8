/// Writes the rows of the store: fixed-width big-endian integers (so that byte order is number order) and length-prefixed bytes.
public struct BinaryWriter: Sendable {
    public private(set) var bytes: [UInt8] = []

    public init(reserving count: Int = 64) { bytes.reserveCapacity(count) }

    public mutating func write(_ value: UInt8) { bytes.append(value) }
    public mutating func write(_ value: Bool) { bytes.append(value ? 1 : 0) }
    public mutating func write(_ value: UInt32) {
        for shift in stride(from: 24, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: value >> UInt32(shift))) }
    }
    public mutating func write(_ value: UInt64) {
        for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift))) }
    }
    public mutating func write(_ value: Int64) { write(UInt64(bitPattern: value)) }
    public mutating func write(_ value: EntityID) {
        write(value.high)
        write(value.low)
    }
    public mutating func write(_ value: BlobID) { bytes.append(contentsOf: value.bytes) }
    public mutating func write(_ value: Timestamp) { write(value.milliseconds) }
    public mutating func write(raw value: some Sequence<UInt8>) { bytes.append(contentsOf: value) }

    /// LEB128 length, then the bytes.
    public mutating func write(_ value: some Collection<UInt8>) {
        writeCount(value.count)
        bytes.append(contentsOf: value)
    }
    public mutating func write(_ value: String) { write(Array(value.utf8)) }
    public mutating func writeCount(_ count: Int) {
        var rest = UInt64(count)
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
    /// A presence byte, then the value.
    public mutating func write<Value>(_ value: Value?, _ body: (inout BinaryWriter, Value) -> Void) {
        write(value != nil)
        if let value { body(&self, value) }
    }
    public mutating func write<Element>(each values: some Collection<Element>, _ body: (inout BinaryWriter, Element) -> Void) {
        writeCount(values.count)
        for value in values { body(&self, value) }
    }
}

/// Reads what `BinaryWriter` wrote. Every read is checked: damaged rows give `corrupt`, never a trap.
public struct BinaryReader: Sendable {
    private let bytes: ArraySlice<UInt8>
    private var at: Int

    public init(_ bytes: [UInt8]) {
        self.bytes = bytes[...]
        at = bytes.startIndex
    }

    public var remaining: Int { bytes.endIndex - at }

    public mutating func readBytes(_ count: Int) throws(RegistryError) -> ArraySlice<UInt8> {
        guard count >= 0, count <= remaining else { throw BinaryReader.damaged }
        defer { at += count }
        return bytes[at..<at + count]
    }
    public mutating func readUInt8() throws(RegistryError) -> UInt8 {
        guard at < bytes.endIndex else { throw BinaryReader.damaged }
        defer { at += 1 }
        return bytes[at]
    }
    public mutating func readBool() throws(RegistryError) -> Bool { try readUInt8() != 0 }
    public mutating func readUInt32() throws(RegistryError) -> UInt32 { try readBytes(4).reduce(0) { $0 << 8 | UInt32($1) } }
    public mutating func readUInt64() throws(RegistryError) -> UInt64 { try readBytes(8).reduce(0) { $0 << 8 | UInt64($1) } }
    public mutating func readInt64() throws(RegistryError) -> Int64 { Int64(bitPattern: try readUInt64()) }
    public mutating func readEntityID() throws(RegistryError) -> EntityID { EntityID(high: try readUInt64(), low: try readUInt64()) }
    public mutating func readBlobID() throws(RegistryError) -> BlobID {
        guard let id = BlobID(bytes: try readBytes(32)) else { throw BinaryReader.damaged }
        return id
    }
    public mutating func readTimestamp() throws(RegistryError) -> Timestamp { Timestamp(milliseconds: try readInt64()) }
    public mutating func readCount() throws(RegistryError) -> Int {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 63, by: 7) {
            let byte = try readUInt8()
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 {
                // No count can exceed the bytes that are left: a damaged one must not reserve memory.
                guard value <= UInt64(remaining) else { throw BinaryReader.damaged }
                return Int(value)
            }
        }
        throw BinaryReader.damaged
    }
    public mutating func readPrefixed() throws(RegistryError) -> [UInt8] { Array(try readBytes(try readCount())) }
    public mutating func readString() throws(RegistryError) -> String {
        guard let text = String(validating: try readPrefixed(), as: UTF8.self) else { throw BinaryReader.damaged }
        return text
    }
    public mutating func readOptional<Value>(_ body: (inout BinaryReader) throws(RegistryError) -> Value) throws(RegistryError) -> Value? {
        try readBool() ? try body(&self) : nil
    }
    public mutating func readEach<Element>(_ body: (inout BinaryReader) throws(RegistryError) -> Element) throws(RegistryError) -> [Element] {
        let count = try readCount()
        var values: [Element] = []
        for _ in 0..<count { values.append(try body(&self)) }
        return values
    }

    public static var damaged: RegistryError {
        RegistryError(.corrupt, subject: .store, reason: "a stored row does not decode")
    }
}
