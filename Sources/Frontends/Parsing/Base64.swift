/// Base 64 (RFC 4648), strict: no white space, no stray bits, padding exactly where it belongs.
public enum Base64 {
    public enum Alphabet: Sendable {
        /// `+` and `/`, padded (section 4).
        case standard
        /// `-` and `_`, not padded (section 5, as JWT and WebAuthn use it).
        case url

        fileprivate var digits: [UInt8] {
            Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8) + Array((self == .standard ? "+/" : "-_").utf8)
        }
    }

    public static func encode(_ bytes: some Collection<UInt8>, _ alphabet: Alphabet = .standard) -> String {
        let digits = alphabet.digits
        var result: [UInt8] = []
        result.reserveCapacity((bytes.count + 2) / 3 * 4)
        var (word, bits): (UInt32, UInt32) = (0, 0)
        for byte in bytes {
            word = word << 8 | UInt32(byte)
            bits += 8
            while bits >= 6 {
                bits -= 6
                result.append(digits[Int(word >> bits & 63)])
            }
        }
        if bits > 0 { result.append(digits[Int(word << (6 - bits) & 63)]) }
        while alphabet == .standard, result.count % 4 != 0 { result.append(UInt8(ascii: "=")) }
        return String(decoding: result, as: UTF8.self)
    }

    /// nil unless the text is exactly what `encode` gives for some bytes; the URL alphabet may be padded too.
    public static func decode(_ text: some StringProtocol, _ alphabet: Alphabet = .standard) -> [UInt8]? {
        let digits = text.utf8.prefix { $0 != UInt8(ascii: "=") }
        let padding = text.utf8.dropFirst(digits.count)
        guard padding.allSatisfy({ $0 == UInt8(ascii: "=") }), digits.count % 4 != 1 else { return nil }
        if alphabet == .standard || !padding.isEmpty {
            guard padding.count == (4 - digits.count % 4) % 4 else { return nil }
        }
        var result: [UInt8] = []
        result.reserveCapacity(digits.count * 3 / 4)
        var (word, bits): (UInt32, UInt32) = (0, 0)
        for digit in digits {
            guard let value = value(of: digit, alphabet) else { return nil }
            word = word << 6 | value
            bits += 6
            if bits >= 8 {
                bits -= 8
                result.append(UInt8(truncatingIfNeeded: word >> bits))
            }
        }
        // Bits that belong to no byte must be zero, or one content would have several spellings.
        guard word & (1 << bits - 1) == 0 else { return nil }
        return result
    }

    private static func value(of digit: UInt8, _ alphabet: Alphabet) -> UInt32? {
        switch digit {
        case 0x41...0x5A: UInt32(digit) - 0x41
        case 0x61...0x7A: UInt32(digit) - 0x61 + 26
        case 0x30...0x39: UInt32(digit) - 0x30 + 52
        case UInt8(ascii: alphabet == .standard ? "+" : "-"): 62
        case UInt8(ascii: alphabet == .standard ? "/" : "_"): 63
        default: nil
        }
    }
}
