public import Core

/// Names, values and text of XML documents.
public enum XML {
    public struct Attribute: Sendable, Hashable {
        public let name: String
        public let value: String
        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    /// A name without its namespace prefix.
    public static func localName(_ name: String) -> Substring { name.lastIndex(of: ":").map { name[name.index(after: $0)...] } ?? name[...] }

    /// Safe as an element's text and in an attribute between quotes of either kind; characters that XML cannot hold become U+FFFD.
    public static func escape(_ text: some StringProtocol) -> String {
        let isPlain = text.utf8.allSatisfy { $0 >= 0x20 || $0 == 0x0A || $0 == 0x09 || $0 == 0x0D }
        return HTMLText.escape(isPlain ? String(text) : String(String.UnicodeScalarView(text.unicodeScalars.map { isAllowed($0) ? $0 : "\u{FFFD}" })))
    }

    private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value >= 0x20 && scalar.value != 0xFFFE && scalar.value != 0xFFFF || scalar == "\n" || scalar == "\t" || scalar == "\r"
    }

    /// What a reference stands for, by the text between `&` and `;`; nil when it is neither predefined nor numeric.
    /// - Throws: `invalid` for a number that is no character of XML.
    static func scalar(of reference: ArraySlice<UInt8>) throws(RegistryError) -> Unicode.Scalar? {
        let text = String(decoding: reference, as: UTF8.self)
        switch text {
        case "amp": return "&"
        case "lt": return "<"
        case "gt": return ">"
        case "quot": return "\""
        case "apos": return "'"
        default: break
        }
        guard text.hasPrefix("#") else { return nil }
        let digits = text.hasPrefix("#x") ? text.dropFirst(2) : text.dropFirst()
        guard digits.utf8.first != UInt8(ascii: "+"), let value = UInt32(digits, radix: text.hasPrefix("#x") ? 16 : 10),
            let scalar = Unicode.Scalar(value), isAllowed(scalar)
        else { throw refused("xml", "&\(text); is no character") }
        return scalar
    }
}

/// Where the text of one element among named ones ends up: a document read into the few values somebody wants.
public struct XMLElement: Sendable, Hashable {
    public var name: String
    public var attributes: [XML.Attribute]
    /// Its own text, runs joined, outer white space taken off.
    public var text: String
    public var children: [XMLElement]

    /// The whole document. For small ones only: everything is kept.
    /// - Throws: `invalid`.
    public init(
        parsing bytes: [UInt8], budget: Budget = .document, unknownEntities: XMLReader.UnknownEntity = .refused
    ) throws(RegistryError) {
        var reader = try XMLReader(bytes, budget: budget, unknownEntities: unknownEntities)
        var stack: [XMLElement] = []
        while let event = try reader.next() {
            switch event {
            case .start(let name, let attributes): stack.append(XMLElement(name: name, attributes: attributes, text: "", children: []))
            case .text(let text): stack[stack.count - 1].text += text
            case .end:
                var done = stack.removeLast()
                done.text = done.text.trimmingSpace()
                guard !stack.isEmpty else {
                    self = done
                    // What follows the root is read too: a second root is no document.
                    while try reader.next() != nil {}
                    return
                }
                stack[stack.count - 1].children.append(done)
            }
        }
        throw refused("xml", "the document has no root element")
    }

    private init(name: String, attributes: [XML.Attribute], text: String, children: [XMLElement]) {
        self.name = name
        self.attributes = attributes
        self.text = text
        self.children = children
    }

    /// The first child of that name, whatever its prefix.
    public subscript(name: String) -> XMLElement? { children.first { XML.localName($0.name) == name } }
    public func all(_ name: String) -> [XMLElement] { children.filter { XML.localName($0.name) == name } }
    /// The text of the first child of that name; nil when there is none, or it is empty.
    public func text(of name: String) -> String? { self[name].flatMap { $0.text.isEmpty ? nil : $0.text } }
}

extension String {
    fileprivate func trimmingSpace() -> String {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 }
        let rest = utf8.drop(while: isSpace)
        return String(Substring(rest.prefix(rest.count - rest.reversed().prefix(while: isSpace).count)))
    }
}

/// The encodings of XML documents that are read.
enum XMLEncoding {
    /// The document in UTF-8, its declaration left as it is.
    /// - Throws: `invalid` for an encoding that is not read.
    static func utf8(of bytes: [UInt8], bytesMax: Int) throws(RegistryError) -> [UInt8] {
        guard !bytes.starts(with: [0xFE, 0xFF]), !bytes.starts(with: [0xFF, 0xFE]), !bytes.prefix(4).contains(0) else {
            throw refused("xml", "the document is in UTF-16 or UTF-32: write it in UTF-8")
        }
        guard let name = declared(bytes) else { return bytes }
        switch name.lowercased() {
        case "utf-8", "utf8", "us-ascii", "ascii": return bytes
        case "iso-8859-1", "latin1", "latin-1", "windows-1252", "cp1252", "iso-8859-15":
            // Some say so of what is UTF-8: then it is UTF-8. For what is read here, the three differ in signs of punctuation and currency only.
            if String(validating: bytes, as: UTF8.self) != nil { return bytes }
            var result: [UInt8] = []
            result.reserveCapacity(bytes.count + bytes.count / 8)
            for byte in bytes {
                if byte < 0x80 { result.append(byte) } else { result += [0xC0 | byte >> 6, 0x80 | byte & 0x3F] }
            }
            guard result.count <= bytesMax else { throw refused("xml", "the document may have at most \(bytesMax) bytes") }
            return result
        default: throw refused("xml", "the encoding \(name.prefix(40)) is not read: write the document in UTF-8")
        }
    }

    /// What `<?xml … encoding="…"?>` says.
    private static func declared(_ bytes: [UInt8]) -> String? {
        let head = bytes.prefix(200)
        guard let start = head.firstRange(of: Array("<?xml".utf8)), let end = head.firstRange(of: Array("?>".utf8)), start.upperBound < end.lowerBound
        else { return nil }
        let declaration = head[start.upperBound..<end.lowerBound]
        guard let mark = declaration.firstRange(of: Array("encoding".utf8)) else { return nil }
        let rest = declaration[mark.upperBound...].drop { $0 == 0x20 || $0 == UInt8(ascii: "=") || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D }
        guard let quote = rest.first, quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") else { return nil }
        return String(decoding: rest.dropFirst().prefix { $0 != quote }, as: UTF8.self)
    }
}
