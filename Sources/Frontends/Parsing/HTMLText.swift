import Core

/// Text in HTML.
public enum HTMLText {
    /// Safe as an element's text and in an attribute between quotes of either kind.
    public static func escape(_ text: some StringProtocol) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "&"): result.append(contentsOf: "&amp;".utf8)
            case UInt8(ascii: "<"): result.append(contentsOf: "&lt;".utf8)
            case UInt8(ascii: ">"): result.append(contentsOf: "&gt;".utf8)
            case UInt8(ascii: "\""): result.append(contentsOf: "&quot;".utf8)
            case UInt8(ascii: "'"): result.append(contentsOf: "&#39;".utf8)
            default: result.append(byte)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// Decodes the five named references of XML, `&nbsp;` and numeric ones; what is none of these stays as it is written.
    public static func unescape(_ text: some Collection<UInt8>) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var rest = Array(text)[...]
        while let byte = rest.first {
            if byte == UInt8(ascii: "&"), let semicolon = rest.prefix(12).firstIndex(of: UInt8(ascii: ";")),
                let scalar = scalar(rest[(rest.startIndex + 1)..<semicolon])
            {
                result.append(contentsOf: Array(String(scalar).utf8))
                rest = rest[(semicolon + 1)...]
            } else {
                result.append(byte)
                rest = rest.dropFirst()
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    private static func scalar(_ reference: ArraySlice<UInt8>) -> Unicode.Scalar? {
        let text = String(decoding: reference, as: UTF8.self)
        switch text {
        case "amp": return "&"
        case "lt": return "<"
        case "gt": return ">"
        case "quot": return "\""
        case "apos": return "'"
        case "nbsp": return "\u{A0}"
        default: break
        }
        guard text.hasPrefix("#") else { return nil }
        let digits = text.dropFirst()
        let isHex = digits.hasPrefix("x") || digits.hasPrefix("X")
        guard let first = digits.dropFirst(isHex ? 1 : 0).utf8.first, Percent.hexValue(first) != nil else { return nil }
        let value = isHex ? UInt32(digits.dropFirst(), radix: 16) : UInt32(digits)
        return value.flatMap { $0 == 0 ? nil : Unicode.Scalar($0) }
    }
}
