public import Core

/// XML 1.0 as a stream of events: elements, their attributes, text. For documents strangers send, so there is no document type: `<!DOCTYPE` is
/// refused whole, and with it every entity but the five predefined ones and numeric references. Namespaces are not resolved: a name comes as it
/// is written, and `XML.localName` takes its prefix off.
///
/// Nesting is counted, not recursed into. UTF-8, US-ASCII and ISO-8859-1 are read.
public struct XMLReader: Sendable {
    /// What to do with a reference to an entity that only a document type could define.
    public enum UnknownEntity: Sendable {
        case refused
        /// Kept as it is written: POMs in the wild have `&oslash;` in their names of people.
        case verbatim
    }

    public enum Event: Sendable, Hashable {
        case start(name: String, attributes: [XML.Attribute])
        /// Of every element, `<empty/>` too.
        case end(name: String)
        /// References resolved, CDATA taken as it is. One run of text may come in several events.
        case text(String)
    }

    private let bytes: [UInt8]
    private let budget: Budget
    private let unknown: UnknownEntity
    private var at = 0
    private var itemsLeft: Int
    private var open: [String] = []
    private var pendingEnd: String?
    private var sawRoot = false

    private static let attributesMax = 64
    private static let nameBytesMax = 1024

    /// - Throws: `invalid` for a document over budget or in another encoding; what is wrong further on, `next` says.
    public init(_ bytes: [UInt8], budget: Budget = .document, unknownEntities unknown: UnknownEntity = .refused) throws(RegistryError) {
        guard bytes.count <= budget.bytes else { throw refused("xml", "the document may have at most \(budget.bytes) bytes") }
        self.bytes = try XMLEncoding.utf8(of: bytes, bytesMax: budget.bytes)
        self.budget = budget
        self.unknown = unknown
        itemsLeft = budget.items
        if starts(with: [0xEF, 0xBB, 0xBF]) { at = 3 }
    }

    /// The names of the elements the reader stands in, outermost first.
    public var path: [String] { open }

    /// nil after the end of a whole, well-formed document.
    /// - Throws: `invalid`, with the place in the document.
    public mutating func next() throws(RegistryError) -> Event? {
        if let name = pendingEnd {
            pendingEnd = nil
            open.removeLast()
            return .end(name: name)
        }
        while at < bytes.count {
            guard bytes[at] == UInt8(ascii: "<") else {
                let text = try text()
                if open.isEmpty {
                    guard text.utf8.allSatisfy({ $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }) else {
                        throw wrong("there is text outside the root element")
                    }
                    continue
                }
                try spend()
                return .text(text)
            }
            if starts(with: "<!--") {
                try skip(past: "-->", from: at + 4)
            } else if starts(with: "<![CDATA[") {
                return try cdata()
            } else if starts(with: "<?") {
                try skip(past: "?>", from: at + 2)
            } else if starts(with: "<!") {
                throw wrong("document types and entity definitions are refused")
            } else if starts(with: "</") {
                return try endTag()
            } else {
                return try startTag()
            }
        }
        guard open.isEmpty, sawRoot else { throw wrong("the document ends before its elements do") }
        return nil
    }

    // MARK: Markup

    private mutating func startTag() throws(RegistryError) -> Event {
        guard !open.isEmpty || !sawRoot else { throw wrong("there is a second root element") }
        try spend()
        at += 1
        let name = try name()
        var attributes: [XML.Attribute] = []
        while true {
            let hadSpace = skipSpace()
            guard at < bytes.count else { throw wrong("a tag does not end") }
            if bytes[at] == UInt8(ascii: ">") {
                at += 1
                break
            }
            if starts(with: "/>") {
                at += 2
                pendingEnd = name
                break
            }
            guard hadSpace else { throw wrong("attributes are parted by white space") }
            let attribute = try self.attribute()
            guard attributes.count < XMLReader.attributesMax, !attributes.contains(where: { $0.name == attribute.name }) else {
                throw wrong("an element has an attribute twice, or more than \(XMLReader.attributesMax)")
            }
            try spend()
            attributes.append(attribute)
        }
        guard open.count < budget.depth else { throw wrong("elements are nested deeper than \(budget.depth) levels") }
        open.append(name)
        sawRoot = true
        return .start(name: name, attributes: attributes)
    }

    private mutating func endTag() throws(RegistryError) -> Event {
        at += 2
        let name = try name()
        _ = skipSpace()
        guard at < bytes.count, bytes[at] == UInt8(ascii: ">") else { throw wrong("an end tag does not end") }
        at += 1
        guard open.last == name else { throw wrong("</\(name)> closes \(open.last.map { "<\($0)>" } ?? "nothing")") }
        open.removeLast()
        return .end(name: name)
    }

    private mutating func attribute() throws(RegistryError) -> XML.Attribute {
        let name = try name()
        _ = skipSpace()
        guard at < bytes.count, bytes[at] == UInt8(ascii: "=") else { throw wrong("the attribute \(name) has no value") }
        at += 1
        _ = skipSpace()
        guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") || bytes[at] == UInt8(ascii: "'") else {
            throw wrong("the value of \(name) is not quoted")
        }
        let quote = bytes[at]
        at += 1
        guard let end = bytes[at...].firstIndex(of: quote) else { throw wrong("the value of \(name) does not end") }
        let raw = bytes[at..<end]
        guard !raw.contains(UInt8(ascii: "<")) else { throw wrong("the value of \(name) has a '<'") }
        let value = try resolved(raw)
        at = end + 1
        return XML.Attribute(name: name, value: value)
    }

    private mutating func cdata() throws(RegistryError) -> Event {
        guard !open.isEmpty else { throw wrong("there is text outside the root element") }
        try spend()
        let start = at + 9
        try skip(past: "]]>", from: start)
        return .text(try checked(bytes[start..<(at - 3)]))
    }

    private mutating func text() throws(RegistryError) -> String {
        let end = bytes[at...].firstIndex(of: UInt8(ascii: "<")) ?? bytes.count
        let text = try resolved(bytes[at..<end])
        at = end
        return text
    }

    private mutating func skip(past mark: StaticString, from start: Int) throws(RegistryError) {
        try spend()
        let wanted = XMLReader.bytes(of: mark)
        guard start <= bytes.count, let found = bytes[start...].firstRange(of: wanted) else {
            throw wrong("a comment, instruction or section does not end")
        }
        at = found.upperBound
    }

    // MARK: Characters

    /// NameStartChar and NameChar of XML 1.0, everything beyond ASCII taken as one.
    private mutating func name() throws(RegistryError) -> String {
        let start = at
        while at < bytes.count, XMLReader.isName(bytes[at], first: at == start) { at += 1 }
        guard at > start, at - start <= XMLReader.nameBytesMax else { throw wrong("a name is missing or too long") }
        return try checked(bytes[start..<at])
    }

    private static func isName(_ byte: UInt8, first: Bool) -> Bool {
        switch byte {
        case 0x41...0x5A, 0x61...0x7A, 0x80...0xFF, UInt8(ascii: "_"), UInt8(ascii: ":"): true
        case 0x30...0x39, UInt8(ascii: "-"), UInt8(ascii: "."): !first
        default: false
        }
    }

    private mutating func skipSpace() -> Bool {
        let start = at
        while at < bytes.count, bytes[at] == 0x20 || bytes[at] == 0x0A || bytes[at] == 0x0D || bytes[at] == 0x09 { at += 1 }
        return at > start
    }

    private func resolved(_ raw: ArraySlice<UInt8>) throws(RegistryError) -> String {
        guard raw.contains(UInt8(ascii: "&")) else { return try checked(raw) }
        var result: [UInt8] = []
        result.reserveCapacity(raw.count)
        var rest = raw
        while let mark = rest.firstIndex(of: UInt8(ascii: "&")) {
            result.append(contentsOf: rest[..<mark])
            guard let semicolon = rest[mark...].prefix(40).firstIndex(of: UInt8(ascii: ";")) else { throw wrong("a reference does not end") }
            let name = rest[(mark + 1)..<semicolon]
            if let scalar = try XML.scalar(of: name) {
                result.append(contentsOf: String(scalar).utf8)
            } else {
                guard unknown == .verbatim, !name.isEmpty, name.first != UInt8(ascii: "#"), name.allSatisfy({ XMLReader.isName($0, first: false) })
                else {
                    throw wrong("&\(String(decoding: name, as: UTF8.self)); is none of the five predefined entities")
                }
                result.append(contentsOf: rest[mark...semicolon])
            }
            rest = rest[(semicolon + 1)...]
        }
        result.append(contentsOf: rest)
        return try checked(result[...])
    }

    private func checked(_ raw: ArraySlice<UInt8>) throws(RegistryError) -> String {
        guard let text = String(validating: raw, as: UTF8.self) else { throw wrong("the text is not UTF-8") }
        guard raw.allSatisfy({ $0 >= 0x20 || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D }) else { throw wrong("the text has a control character") }
        return text
    }

    private func starts(with mark: StaticString) -> Bool { starts(with: XMLReader.bytes(of: mark)) }
    private func starts(with mark: [UInt8]) -> Bool { bytes[at...].starts(with: mark) }
    private static func bytes(of mark: StaticString) -> [UInt8] { Array(mark.description.utf8) }

    private mutating func spend() throws(RegistryError) {
        guard itemsLeft > 0 else { throw wrong("the document has more than \(budget.items) parts") }
        itemsLeft -= 1
    }

    private func wrong(_ why: String) -> RegistryError {
        let line = bytes[..<min(at, bytes.count)].count { $0 == 0x0A }
        return refused("xml", "line \(line + 1) of the XML document: \(why)")
    }
}
