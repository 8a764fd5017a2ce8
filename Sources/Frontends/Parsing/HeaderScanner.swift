import Core

/// The grammar that HTTP and MIME field values share (RFC 9110 section 5.6): tokens, quoted strings, parameters, lists.
struct HeaderScanner {
    private let bytes: [UInt8]
    private(set) var at = 0

    init(_ value: some StringProtocol) { bytes = Array(value.utf8) }

    var isAtEnd: Bool { at == bytes.count }
    var next: UInt8? { at < bytes.count ? bytes[at] : nil }
    /// What was not read yet.
    var rest: String { String(decoding: bytes[at...], as: UTF8.self) }

    mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x09 { at += 1 }
    }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        at += 1
        return true
    }

    /// 1*tchar; nil when there is none.
    mutating func token() -> String? { run(HeaderScanner.isTokenByte) }

    /// Base64 credentials and the like: 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" (RFC 9110 section 11.2).
    mutating func token68() -> String? {
        let start = at
        guard run({ HeaderScanner.isAlphanumeric($0) || "-._~+/".utf8.contains($0) }) != nil else { return nil }
        while take("=") {}
        return String(decoding: bytes[start..<at], as: UTF8.self)
    }

    mutating func run(_ belongs: (UInt8) -> Bool) -> String? {
        let start = at
        while let byte = next, belongs(byte) { at += 1 }
        return at > start ? String(decoding: bytes[start..<at], as: UTF8.self) : nil
    }

    /// The text between two quotes; nil when there is no opening or no closing one, or a control character.
    ///
    /// A backslash quotes a quote and a backslash only: old Windows clients put whole paths into file names and meant each backslash.
    mutating func quotedString() -> String? {
        guard take("\"") else { return nil }
        var text: [UInt8] = []
        while let byte = next {
            at += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"):
                guard let quoted = next, quoted == UInt8(ascii: "\"") || quoted == UInt8(ascii: "\\") else {
                    text.append(byte)
                    continue
                }
                at += 1
                text.append(quoted)
            case 0..<0x20 where byte != 0x09, 0x7F: return nil
            default: text.append(byte)
            }
        }
        return nil
    }

    mutating func tokenOrQuotedString() -> String? { next == UInt8(ascii: "\"") ? quotedString() : token() }

    /// `*( OWS ";" OWS [ name "=" value ] )`, names in lower case; nil for anything malformed and for a name given twice.
    mutating func parameters() -> [String: String]? {
        var result: [String: String] = [:]
        while true {
            skipSpace()
            guard take(";") else { return result }
            skipSpace()
            guard let name = token()?.lowercased() else {
                // An empty parameter: `a; ; b`, or a trailing semicolon.
                if isAtEnd || next == UInt8(ascii: ";") || next == UInt8(ascii: ",") { continue }
                return nil
            }
            guard take("="), let value = tokenOrQuotedString(), result.updateValue(value, forKey: name) == nil else { return nil }
        }
    }

    static func isTokenByte(_ byte: UInt8) -> Bool { isAlphanumeric(byte) || "!#$%&'*+-.^_`|~".utf8.contains(byte) }

    static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }
}

/// A value in RFC 8187's form, `UTF-8'en'na%C3%AFve`; nil when it is malformed or in another charset than UTF-8.
func extendedValue(_ text: String) -> String? {
    let pieces = text.split(separator: "'", maxSplits: 2, omittingEmptySubsequences: false)
    guard pieces.count == 3, pieces[0].lowercased() == "utf-8" else { return nil }
    return Percent.decode(pieces[2])
}
