public import Core

/// The links of an index page (PEP 503, PEP 629), and nothing else of it: no tree is built, so no nesting can hurt.
public struct HTMLAnchors: Sendable, Hashable {
    public struct Anchor: Sendable, Hashable {
        /// As written, entities decoded; relative to `base`, else to the page.
        public let href: String
        /// What stands between the tags, without tags, entities decoded, white space collapsed.
        public let text: String
        /// Every attribute, names in lower case, entities decoded; one without a value is empty. Of two alike the first counts, as in HTML.
        public let attributes: [String: String]

        public init(href: String, text: String, attributes: [String: String]) {
            self.href = href
            self.text = text
            self.attributes = attributes
        }
    }

    /// In the page's order; anchors without `href` are left out.
    public let anchors: [Anchor]
    /// `<base href>`, the first.
    public let base: String?
    /// `<meta name="pypi:repository-version">` (PEP 629).
    public let repositoryVersion: String?

    /// Tolerant, as browsers and pip are: unknown elements are passed over, comments, scripts and styles skipped, unclosed things end with the page.
    /// - Throws: `invalid` when the page is no UTF-8, larger than `bytes`, or has more than `items` tags.
    public static func parse(_ bytes: [UInt8], budget: Budget = .upstreamDocument) throws(RegistryError) -> HTMLAnchors {
        guard bytes.count <= budget.bytes else { throw refused("html", "the page may have at most \(budget.bytes) bytes") }
        guard String(validating: bytes, as: UTF8.self) != nil else { throw refused("html", "the page is not UTF-8") }
        var scanner = HTMLScanner(bytes)
        var collected = Collected()
        var tags = 0
        while let piece = scanner.next() {
            switch piece {
            case .text(let text): collected.text?.append(contentsOf: text)
            case .tag(let tag):
                tags += 1
                guard tags <= budget.items else { throw refused("html", "the page has more than \(budget.items) tags") }
                collected.take(tag)
            }
        }
        collected.closeAnchor()
        return HTMLAnchors(anchors: collected.anchors, base: collected.base, repositoryVersion: collected.repositoryVersion)
    }

    private struct Collected {
        var anchors: [Anchor] = []
        var base: String?
        var repositoryVersion: String?
        /// The text of the anchor that is open.
        var text: [UInt8]?
        private var attributes: [String: String] = [:]

        mutating func take(_ tag: HTMLScanner.Tag) {
            switch tag.name {
            case "a":
                // Anchors do not nest: a second one closes the first.
                closeAnchor()
                guard !tag.isClosing else { return }
                attributes = tag.attributes
                text = []
            case "base": base = base ?? tag.attributes["href"]
            case "meta":
                if tag.attributes["name"]?.lowercased() == "pypi:repository-version" {
                    repositoryVersion = repositoryVersion ?? tag.attributes["content"]
                }
            default: break
            }
        }

        mutating func closeAnchor() {
            guard let written = text else { return }
            text = nil
            guard let href = attributes["href"] else { return }
            let words = written.split { HTMLScanner.isSpace($0) }.joined(separator: [0x20])
            anchors.append(Anchor(href: trimmed(href), text: HTMLText.unescape(Array(words)), attributes: attributes))
        }
    }
}

/// Tags and text of a page in one pass over its bytes (a subset of the tokenizer of the HTML standard, section 13.2.5).
struct HTMLScanner {
    struct Tag {
        var name: String
        var isClosing: Bool
        var attributes: [String: String]
    }
    enum Piece {
        case text(ArraySlice<UInt8>)
        case tag(Tag)
    }

    private let bytes: [UInt8]
    private var at = 0
    /// Inside these elements nothing is a tag but their own end.
    private static let raw: Set<String> = ["script", "style", "textarea", "title"]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) && byte != 0x0B }

    mutating func next() -> Piece? {
        while at < bytes.count {
            guard bytes[at] == UInt8(ascii: "<") else {
                let start = at
                at = bytes[at...].firstIndex(of: UInt8(ascii: "<")) ?? bytes.count
                return .text(bytes[start..<at])
            }
            let isClosing = at + 1 < bytes.count && bytes[at + 1] == UInt8(ascii: "/")
            let nameAt = at + (isClosing ? 2 : 1)
            if nameAt < bytes.count, isLetter(bytes[nameAt]) { return .tag(tag(from: nameAt, isClosing: isClosing)) }
            if bytes[at...].starts(with: "<!--".utf8) {
                at = end(of: "-->", from: at + 4)
            } else if nameAt < bytes.count, isClosing || bytes[nameAt] == UInt8(ascii: "!") || bytes[nameAt] == UInt8(ascii: "?") {
                at = end(of: ">", from: nameAt)
            } else {
                at += 1
                return .text(bytes[at - 1..<at])
            }
        }
        return nil
    }

    private mutating func tag(from nameAt: Int, isClosing: Bool) -> Tag {
        at = nameAt
        let name = word { HTMLScanner.isSpace($0) || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: ">") }.lowercased()
        var tag = Tag(name: name, isClosing: isClosing, attributes: [:])
        while at < bytes.count, bytes[at] != UInt8(ascii: ">") {
            if HTMLScanner.isSpace(bytes[at]) || bytes[at] == UInt8(ascii: "/") {
                at += 1
                continue
            }
            let (name, value) = attribute()
            if tag.attributes[name] == nil { tag.attributes[name] = value }
        }
        at = min(at + 1, bytes.count)
        if !isClosing, HTMLScanner.raw.contains(name) { skipRaw(name) }
        return tag
    }

    private mutating func attribute() -> (String, String) {
        let start = at
        // An equals sign in front is part of the name, as the standard has it; so each attribute takes at least one byte.
        at += 1
        while at < bytes.count, !HTMLScanner.isSpace(bytes[at]), !"/>=".utf8.contains(bytes[at]) { at += 1 }
        let name = String(decoding: bytes[start..<at], as: UTF8.self).lowercased()
        skipSpace()
        guard at < bytes.count, bytes[at] == UInt8(ascii: "=") else { return (name, "") }
        at += 1
        skipSpace()
        guard at < bytes.count else { return (name, "") }
        let quote = bytes[at]
        guard quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") else {
            let valueAt = at
            _ = word { HTMLScanner.isSpace($0) || $0 == UInt8(ascii: ">") }
            return (name, HTMLText.unescape(bytes[valueAt..<at]))
        }
        let valueAt = at + 1
        at = bytes[valueAt...].firstIndex(of: quote) ?? bytes.count
        defer { at = min(at + 1, bytes.count) }
        return (name, HTMLText.unescape(bytes[valueAt..<at]))
    }

    private mutating func word(until ends: (UInt8) -> Bool) -> String {
        let start = at
        while at < bytes.count, !ends(bytes[at]) { at += 1 }
        return String(decoding: bytes[start..<at], as: UTF8.self)
    }

    private mutating func skipSpace() {
        while at < bytes.count, HTMLScanner.isSpace(bytes[at]) { at += 1 }
    }

    /// To the element's end tag, or to the end of the page.
    private mutating func skipRaw(_ name: String) {
        while at < bytes.count {
            guard let open = bytes[at...].firstIndex(of: UInt8(ascii: "<")) else { break }
            at = open + 1
            let candidate = bytes[at...].prefix(name.utf8.count + 1)
            if String(decoding: candidate, as: UTF8.self).lowercased() == "/" + name {
                at = open
                return
            }
        }
        at = bytes.count
    }

    /// Just behind the next such mark, or the end of the page.
    private func end(of mark: StaticString, from start: Int) -> Int {
        let text = Array(mark.description.utf8)
        var from = min(start, bytes.count)
        while let hit = bytes[from...].firstIndex(of: text[0]) {
            if bytes[hit...].starts(with: text) { return hit + text.count }
            from = hit + 1
        }
        return bytes.count
    }

    private func isLetter(_ byte: UInt8) -> Bool { (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) }
}
