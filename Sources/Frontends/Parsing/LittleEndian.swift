import Core

/// Reads the fixed-width little-endian fields of a record; a record that is too short is refused, never a trap.
struct LittleEndian {
    private let bytes: ArraySlice<UInt8>
    private var at: Int
    private let thing: String

    init(_ bytes: ArraySlice<UInt8>, of thing: String) {
        self.bytes = bytes
        at = bytes.startIndex
        self.thing = thing
    }

    var remaining: Int { bytes.endIndex - at }

    mutating func take(_ count: Int) throws(RegistryError) -> ArraySlice<UInt8> {
        guard count >= 0, count <= remaining else { throw refused(thing, "a record is cut short") }
        defer { at += count }
        return bytes[at..<at + count]
    }
    mutating func u16() throws(RegistryError) -> UInt16 { UInt16(truncatingIfNeeded: try number(2)) }
    mutating func u32() throws(RegistryError) -> UInt32 { UInt32(truncatingIfNeeded: try number(4)) }
    mutating func u64() throws(RegistryError) -> UInt64 { try number(8) }

    private mutating func number(_ width: Int) throws(RegistryError) -> UInt64 {
        try take(width).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
