import Core

/// RFC 8259 by recursive descent; the depth is bounded before each descent.
struct JSONParser {
    private let bytes: [UInt8]
    private var at = 0
    private var itemsLeft: Int
    private let budget: Budget

    init(_ bytes: [UInt8], budget: Budget) {
        self.bytes = bytes
        self.budget = budget
        itemsLeft = budget.items
    }

    mutating func document() throws(RegistryError) -> JSON {
        guard bytes.count <= budget.bytes else {
            throw refused("json", "the JSON document may have at most \(budget.bytes) bytes")
        }
        skipSpace()
        let value = try self.value(depth: 0)
        skipSpace()
        guard at == bytes.count else { throw broken("nothing may follow the value") }
        return value
    }

    private mutating func value(depth: Int) throws(RegistryError) -> JSON {
        guard itemsLeft > 0 else { throw broken("more than \(budget.items) values") }
        itemsLeft -= 1
        guard at < bytes.count else { throw broken("a value is missing") }
        switch bytes[at] {
        case UInt8(ascii: "{"): return try object(depth: depth + 1)
        case UInt8(ascii: "["): return try array(depth: depth + 1)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        default: throw broken("no value begins like this")
        }
    }

    private mutating func object(depth: Int) throws(RegistryError) -> JSON {
        try open(depth)
        var object = JSON.Object()
        if take("}") { return .object(object) }
        repeat {
            skipSpace()
            guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else { throw broken("a member's name must be a string") }
            let name = try string()
            skipSpace()
            guard take(":") else { throw broken("a colon must follow a member's name") }
            skipSpace()
            // Which of two equal names counts differs between readers, so a signed or checked document could say two things.
            guard object.append(name, try value(depth: depth)) else { throw broken("the name \"\(name.prefix(80))\" is given twice") }
            skipSpace()
        } while take(",")
        guard take("}") else { throw broken("a comma or closing brace is missing") }
        return .object(object)
    }

    private mutating func array(depth: Int) throws(RegistryError) -> JSON {
        try open(depth)
        var values: [JSON] = []
        if take("]") { return .array(values) }
        repeat {
            skipSpace()
            values.append(try value(depth: depth))
            skipSpace()
        } while take(",")
        guard take("]") else { throw broken("a comma or closing bracket is missing") }
        return .array(values)
    }

    private mutating func open(_ depth: Int) throws(RegistryError) {
        guard depth <= budget.depth, depth <= Budget.depthMax else { throw broken("nested deeper than \(min(budget.depth, Budget.depthMax)) levels") }
        at += 1
        skipSpace()
    }

    private mutating func literal(_ text: StaticString, _ value: JSON) throws(RegistryError) -> JSON {
        let length = text.utf8CodeUnitCount
        guard bytes.count - at >= length, (0..<length).allSatisfy({ unsafe bytes[at + $0] == text.utf8Start[$0] }) else {
            throw broken("no value begins like this")
        }
        at += length
        return value
    }

    private mutating func number() throws(RegistryError) -> JSON.Number {
        let start = at
        _ = take("-")
        if !take("0"), digits() == 0 { throw broken("a digit must follow the sign") }
        if take("."), digits() == 0 { throw broken("a digit must follow the decimal point") }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            if digits() == 0 { throw broken("a digit must follow the exponent's mark") }
        }
        if at < bytes.count, (0x30...0x39).contains(bytes[at]) { throw broken("a number may not begin with a needless zero") }
        return JSON.Number(checked: String(decoding: bytes[start..<at], as: UTF8.self))
    }

    /// Skips digits and says how many.
    private mutating func digits() -> Int {
        let start = at
        while at < bytes.count, (0x30...0x39).contains(bytes[at]) { at += 1 }
        return at - start
    }

    private mutating func string() throws(RegistryError) -> String {
        at += 1
        let start = at
        // Most strings hold no escape and are taken as they are.
        while at < bytes.count, bytes[at] != UInt8(ascii: "\""), bytes[at] != UInt8(ascii: "\\"), bytes[at] >= 0x20 { at += 1 }
        guard at < bytes.count else { throw broken("a string is not closed") }
        if bytes[at] == UInt8(ascii: "\"") {
            defer { at += 1 }
            return try text(bytes[start..<at])
        }
        var unescaped = Array(bytes[start..<at])
        while at < bytes.count {
            let byte = bytes[at]
            at += 1
            switch byte {
            case UInt8(ascii: "\""): return try text(unescaped[...])
            case UInt8(ascii: "\\"): try escape(into: &unescaped)
            case 0..<0x20: throw broken("a control character in a string must be escaped")
            default: unescaped.append(byte)
            }
        }
        throw broken("a string is not closed")
    }

    private func text(_ slice: ArraySlice<UInt8>) throws(RegistryError) -> String {
        guard let text = String(validating: slice, as: UTF8.self) else { throw broken("a string is not UTF-8") }
        return text
    }

    private mutating func escape(into unescaped: inout [UInt8]) throws(RegistryError) {
        guard at < bytes.count else { throw broken("a string is not closed") }
        let letter = bytes[at]
        at += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): unescaped.append(letter)
        case UInt8(ascii: "b"): unescaped.append(0x08)
        case UInt8(ascii: "f"): unescaped.append(0x0C)
        case UInt8(ascii: "n"): unescaped.append(0x0A)
        case UInt8(ascii: "r"): unescaped.append(0x0D)
        case UInt8(ascii: "t"): unescaped.append(0x09)
        case UInt8(ascii: "u"): unescaped.append(contentsOf: Array(String(try scalar()).utf8))
        default: throw broken("no such escape in a string")
        }
    }

    /// What `\uXXXX`, or a pair of them, stands for (RFC 8259 section 7).
    private mutating func scalar() throws(RegistryError) -> Unicode.Scalar {
        let first = try fourHexDigits()
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard (0xD800..<0xDC00).contains(first), take("\\"), take("u") else { throw broken("a surrogate without its partner") }
        let second = try fourHexDigits()
        guard (0xDC00..<0xE000).contains(second), let scalar = Unicode.Scalar(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)) else {
            throw broken("a surrogate without its partner")
        }
        return scalar
    }

    private mutating func fourHexDigits() throws(RegistryError) -> UInt32 {
        guard bytes.count - at >= 4, let pair = Hex.decode(String(decoding: bytes[at..<at + 4], as: UTF8.self)), pair.count == 2 else {
            throw broken("four hexadecimal digits must follow \\u")
        }
        at += 4
        return UInt32(pair[0]) << 8 | UInt32(pair[1])
    }

    private mutating func skipSpace() {
        while at < bytes.count, bytes[at] == 0x20 || bytes[at] == 0x0A || bytes[at] == 0x0D || bytes[at] == 0x09 { at += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard at < bytes.count, bytes[at] == UInt8(ascii: character) else { return false }
        at += 1
        return true
    }

    private func broken(_ reason: String, line: Int = #line) -> RegistryError {
        refused("json", "the JSON document is broken at byte \(at): \(reason)", line: line)
    }
}
