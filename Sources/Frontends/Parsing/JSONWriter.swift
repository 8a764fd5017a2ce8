public import NIOCore

extension JSON {
    /// The value without white space, members in their order: the same value always gives the same bytes.
    public func encoded() -> [UInt8] {
        var output: [UInt8] = []
        write(into: &output, indentation: nil)
        return output
    }

    /// The value for people to read: two spaces per level, one member or element a line, a newline at the end.
    public func pretty() -> [UInt8] {
        var output: [UInt8] = []
        write(into: &output, indentation: 0)
        output.append(UInt8(ascii: "\n"))
        return output
    }

    /// `encoded()` as text.
    public var text: String { String(decoding: encoded(), as: UTF8.self) }

    /// `encoded()` in a buffer.
    public func buffer() -> ByteBuffer { ByteBuffer(bytes: encoded()) }

    /// Appends a JSON string in its quotes: for documents that are written piece by piece.
    public static func write(_ text: String, into output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): output.append(contentsOf: [UInt8(ascii: "\\"), byte])
            case 0x0A: output.append(contentsOf: Array("\\n".utf8))
            case 0x0D: output.append(contentsOf: Array("\\r".utf8))
            case 0x09: output.append(contentsOf: Array("\\t".utf8))
            case 0x08: output.append(contentsOf: Array("\\b".utf8))
            case 0x0C: output.append(contentsOf: Array("\\f".utf8))
            case 0..<0x20:
                let digits = Array("0123456789abcdef".utf8)
                output.append(contentsOf: Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]])
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }

    private func write(into output: inout [UInt8], indentation: Int?) {
        switch self {
        case .null: output.append(contentsOf: "null".utf8)
        case .bool(let value): output.append(contentsOf: (value ? "true" : "false").utf8)
        case .number(let number): output.append(contentsOf: number.text.utf8)
        case .string(let text): JSON.write(text, into: &output)
        case .array(let values):
            JSON.list(values, between: "[", "]", into: &output, indentation) { value, output, inner in
                value.write(into: &output, indentation: inner)
            }
        case .object(let object):
            JSON.list(object.members, between: "{", "}", into: &output, indentation) { member, output, inner in
                JSON.write(member.name, into: &output)
                output.append(UInt8(ascii: ":"))
                if inner != nil { output.append(UInt8(ascii: " ")) }
                member.value.write(into: &output, indentation: inner)
            }
        }
    }

    private static func list<Element>(
        _ elements: [Element], between open: Unicode.Scalar, _ close: Unicode.Scalar, into output: inout [UInt8], _ indentation: Int?,
        write: (Element, inout [UInt8], Int?) -> Void
    ) {
        let inner = indentation.map { $0 + 2 }
        output.append(UInt8(ascii: open))
        for (at, element) in elements.enumerated() {
            if at > 0 { output.append(UInt8(ascii: ",")) }
            if let inner { breakLine(inner, into: &output) }
            write(element, &output, inner)
        }
        if let indentation, !elements.isEmpty { breakLine(indentation, into: &output) }
        output.append(UInt8(ascii: close))
    }

    private static func breakLine(_ indentation: Int, into output: inout [UInt8]) {
        output.append(UInt8(ascii: "\n"))
        output.append(contentsOf: repeatElement(UInt8(ascii: " "), count: indentation))
    }
}
