/// Percent-encoding (RFC 3986 section 2.1).
public enum Percent {
    /// Decodes `%XX`; nil for a broken escape and for bytes that are no UTF-8.
    public static func decode(_ text: some StringProtocol) -> String? {
        decodeBytes(text.utf8).flatMap { String(validating: $0, as: UTF8.self) }
    }

    /// Decodes `%XX` to the bytes themselves; nil for a broken escape.
    public static func decodeBytes(_ text: some StringProtocol) -> [UInt8]? { decodeBytes(text.utf8) }

    public static func decodeBytes(_ text: some Sequence<UInt8>, plusIsSpace: Bool = false) -> [UInt8]? {
        var result: [UInt8] = []
        result.reserveCapacity(text.underestimatedCount)
        var rest = text.makeIterator()
        while let byte = rest.next() {
            guard byte == UInt8(ascii: "%") else {
                result.append(plusIsSpace && byte == UInt8(ascii: "+") ? 0x20 : byte)
                continue
            }
            guard let high = rest.next().flatMap(hexValue), let low = rest.next().flatMap(hexValue) else { return nil }
            result.append(high << 4 | low)
        }
        return result
    }

    /// What else than the unreserved characters may stand as it is.
    public enum Place: Sendable {
        /// One segment of a path: sub-delims, `:` and `@` stay, `/` is escaped.
        case segment
        /// A whole path: as a segment, and `/` stays.
        case path
        /// A name or value of a query: only unreserved characters stay.
        case query
        /// A path as the value of a query: `/` stays too.
        case pathInQuery
        /// Only unreserved characters stay, as in RFC 8187 and Signature V4.
        case strict

        fileprivate var kept: String.UTF8View {
            switch self {
            case .segment: "!$&'()*+,;=:@".utf8
            case .path: "!$&'()*+,;=:@/".utf8
            case .pathInQuery: "/".utf8
            case .query, .strict: "".utf8
            }
        }
    }

    /// Escapes whatever the place does not allow, with upper-case digits.
    public static func encode(_ text: some StringProtocol, in place: Place) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count)
        let digits = Array("0123456789ABCDEF".utf8)
        for byte in text.utf8 {
            if isUnreserved(byte) || place.kept.contains(byte) {
                result.append(byte)
            } else {
                result.append(contentsOf: [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]])
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"): true
        default: false
        }
    }

    /// The value of one hex digit in either case.
    public static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x41...0x46: digit - 0x37
        case 0x61...0x66: digit - 0x57
        default: nil
        }
    }
}
