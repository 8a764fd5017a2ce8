/// Texts that may repeat what a client sent, before they are logged; what has a type that prints nothing needs no such care.
extension Redaction {
    private static let tokenPrefix = Array("granary_".utf8)
    /// Base64url of `{"`, which begins every header of a signed token.
    private static let signedPrefix = Array("eyJ".utf8)
    private static let struckOut = Array("***".utf8)
    /// Shorter runs after the prefix are words, as in `granary_data`.
    private static let tokenBytesMin = 16
    private static let signedBytesMin = 24

    /// Strikes out what is a credential by its look, wherever it stands: API tokens of ours, and signed tokens (RFC 7519) of anybody.
    public static func text(_ text: String) -> String {
        guard text.utf8.count >= tokenBytesMin else { return text }
        let bytes = Array(text.utf8)
        var result: [UInt8] = []
        var kept = 0
        var index = 0
        while index < bytes.count {
            guard let end = secret(in: bytes, at: index) else {
                index += 1
                continue
            }
            result += bytes[kept..<index] + struckOut
            (kept, index) = (end, end)
        }
        guard kept > 0 else { return text }
        return String(decoding: result + bytes[kept...], as: UTF8.self)
    }

    /// Where the credential that begins here ends.
    private static func secret(in bytes: [UInt8], at start: Int) -> Int? {
        func begins(_ prefix: [UInt8]) -> Bool { bytes[start] == prefix[0] && bytes[start...].starts(with: prefix) }
        func run(from index: Int, while isPart: (UInt8) -> Bool) -> Int { bytes[index...].firstIndex { !isPart($0) } ?? bytes.count }
        if begins(tokenPrefix) {
            let end = run(from: start + tokenPrefix.count, while: isWord)
            return end - start - tokenPrefix.count >= tokenBytesMin ? end : nil
        }
        guard begins(signedPrefix) else { return nil }
        let end = run(from: start) { isWord($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "=") }
        return end - start >= signedBytesMin && bytes[start..<end].contains(UInt8(ascii: ".")) ? end : nil
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "_"): true
        default: false
        }
    }
}
