/// Base 64 as header fields and tokens carry it (RFC 4648 sections 4 and 5). Replaced by the Parsing room's own when that has one.
enum HeaderText {
    private static let standard = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    private static let url = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    /// The standard alphabet; padding may be absent, but not wrong.
    static func decodeBase64(_ text: some StringProtocol) -> [UInt8]? {
        var characters = Array(text.utf8)
        if characters.count % 4 == 0 {
            for _ in 0..<2 where characters.last == UInt8(ascii: "=") { characters.removeLast() }
        }
        return decode(characters, standard)
    }

    /// The URL alphabet without padding, as RFC 7515 has it.
    static func decodeBase64URL(_ text: some StringProtocol) -> [UInt8]? { decode(Array(text.utf8), url) }
    static func encodeBase64URL(_ bytes: [UInt8]) -> String { encode(bytes, url) }
    static func encodeBase64(unpadded bytes: [UInt8]) -> String { encode(bytes, standard) }

    private static func encode(_ bytes: [UInt8], _ alphabet: [UInt8]) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count * 4 / 3 + 2)
        var bits: UInt32 = 0
        var held: UInt32 = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            held += 8
            while held >= 6 {
                held -= 6
                result.append(alphabet[Int(bits >> held & 63)])
            }
            bits &= (1 << held) - 1
        }
        if held > 0 { result.append(alphabet[Int(bits << (6 - held) & 63)]) }
        return String(decoding: result, as: UTF8.self)
    }

    /// Strict: a length that no bytes have, or bits set that belong to no byte, is no text of ours.
    private static func decode(_ characters: [UInt8], _ alphabet: [UInt8]) -> [UInt8]? {
        guard characters.count % 4 != 1 else { return nil }
        var result: [UInt8] = []
        result.reserveCapacity(characters.count * 3 / 4)
        var bits: UInt32 = 0
        var held: UInt32 = 0
        for character in characters {
            guard let value = alphabet.firstIndex(of: character) else { return nil }
            bits = bits << 6 | UInt32(value)
            held += 6
            if held >= 8 {
                held -= 8
                result.append(UInt8(truncatingIfNeeded: bits >> held))
                bits &= (1 << held) - 1
            }
        }
        return bits == 0 ? result : nil
    }
}
