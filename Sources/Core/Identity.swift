/// A UUID version 7 (RFC 9562 section 5.7): sorts by the time it was made.
public struct EntityID: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let high: UInt64
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// When it was made.
    public var time: Timestamp { Timestamp(milliseconds: Int64(high >> 16)) }

    /// The same, made by this node of several; 0 changes nothing.
    public func made(by node: UInt16) -> EntityID { node == 0 ? self : EntityID(high: high, low: low & ~0xFFFF | UInt64(node)) }

    /// Of what was `made(by:)` one, the node; of others, chance.
    public var node: UInt16 { UInt16(truncatingIfNeeded: low) }

    public init(at time: Timestamp, random: (UInt64, UInt64)) {
        let milliseconds = UInt64(clamping: time.milliseconds) & 0xFFFF_FFFF_FFFF
        high = milliseconds << 16 | 0x7000 | (random.0 & 0x0FFF)
        low = random.1 & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    }

    /// The canonical 8-4-4-4-12 text, either case; nil for anything else.
    public init?(_ text: some StringProtocol) {
        let bytes = text.withUTF8Bytes { text -> [UInt8]? in
            guard text.count == EntityID.textBytes, [8, 13, 18, 23].allSatisfy({ text[$0] == UInt8(ascii: "-") }) else { return nil }
            var digits: [UInt8] = []
            digits.reserveCapacity(32)
            for index in text.indices where text[index] != UInt8(ascii: "-") { digits.append(text[index]) }
            return Hex.decode(digits.span)
        }
        guard let bytes else { return nil }
        self.init(bytes: bytes)
    }

    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        var words: (UInt64, UInt64) = (0, 0)
        for (index, byte) in bytes.enumerated() {
            if index < 8 { words.0 = words.0 << 8 | UInt64(byte) } else { words.1 = words.1 << 8 | UInt64(byte) }
        }
        self.init(high: words.0, low: words.1)
    }

    public var bytes: [UInt8] {
        var result: [UInt8] = []
        for word in [high, low] {
            for shift in stride(from: 56, through: 0, by: -8) { result.append(UInt8(truncatingIfNeeded: word >> UInt64(shift))) }
        }
        return result
    }

    /// Of its text.
    public static let textBytes = 36

    public var description: String {
        unsafe String(unsafeUninitializedCapacity: EntityID.textBytes) { unsafe write(into: UnsafeMutableRawBufferPointer($0)) }
    }

    /// Its text, in place.
    /// - Returns: `textBytes`, which `text` has at least.
    public func write(into text: UnsafeMutableRawBufferPointer) -> Int {
        precondition(text.count >= EntityID.textBytes, "the text of an id has 36 bytes")
        var at = 0
        for (word, isFirst) in [(high, true), (low, false)] {
            for digit in 0..<16 {
                if isFirst && (digit == 8 || digit == 12) || !isFirst && (digit == 0 || digit == 4) {
                    unsafe text[at] = UInt8(ascii: "-")
                    at += 1
                }
                let value = UInt8(truncatingIfNeeded: word >> UInt64(60 - 4 * digit)) & 0xF
                unsafe text[at] = value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") - 10 + value
                at += 1
            }
        }
        return at
    }

    public static func < (a: EntityID, b: EntityID) -> Bool { (a.high, a.low) < (b.high, b.low) }
}

/// A repository's identity: keys use it, so renaming its `RepositoryKey` is one row.
public typealias RepositoryID = EntityID

/// A position in the log of changes. Zero is before the first.
public struct Revision: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let number: UInt64
    public init(_ number: UInt64) { self.number = number }
    public static let zero = Revision(0)
    public var description: String { String(number) }
    public static func < (a: Revision, b: Revision) -> Bool { a.number < b.number }
}

/// Who made a change, as it is logged and audited.
public struct Actor: Sendable, Hashable, CustomStringConvertible {
    public let name: String
    /// nil for the system itself and for anonymous callers.
    public let account: EntityID?

    public init(name: String, account: EntityID?) {
        self.name = name
        self.account = account
    }

    public static let system = Actor(name: "system", account: nil)
    public static let anonymous = Actor(name: "anonymous", account: nil)
    public var description: String { name }
}

/// What a route asks of its caller, on one repository.
public enum Permission: UInt8, Sendable, CaseIterable, Comparable {
    case read = 1
    case write, delete, admin
    public static func < (a: Permission, b: Permission) -> Bool { a.rawValue < b.rawValue }
}
