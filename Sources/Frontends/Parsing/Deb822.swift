public import Core

/// Control data as Debian writes it (deb822(5)): stanzas of fields, folded lines, comments.
///
/// A value is kept as written: its first line without the space around it, each continuation line with the white space that folds it, so that
/// what is written again is what was read.
public struct Deb822: Sendable, Hashable {
    public struct Field: Sendable, Hashable {
        /// As written.
        public let name: String
        /// Lines joined by line feeds; every line but the first begins with a space or a tab.
        public var value: String

        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }

        /// What stands on the continuation lines, without white space around each.
        public var lines: [Substring] {
            value.utf8.split(separator: 0x0A).map { Deb822.trimmed(Substring($0)) }.filter { !$0.isEmpty }
        }
    }

    public var fields: [Field]

    public init(_ fields: [Field] = []) { self.fields = fields }

    /// The value of a field, whatever the case of its name.
    public subscript(name: String) -> String? {
        get { fields.first { Deb822.same($0.name, name) }?.value }
        set {
            let index = fields.firstIndex { Deb822.same($0.name, name) }
            switch (index, newValue) {
            case (let index?, let value?): fields[index].value = value
            case (let index?, nil): fields.remove(at: index)
            case (nil, let value?): fields.append(Field(name: name, value: value))
            case (nil, nil): break
            }
        }
    }

    public func field(_ name: String) -> Field? { fields.first { Deb822.same($0.name, name) } }

    /// One line per field and continuation, no empty line at the end.
    public var text: String {
        var text = ""
        for field in fields {
            text += field.value.isEmpty || field.value.utf8.first == 0x0A ? "\(field.name):\(field.value)\n" : "\(field.name): \(field.value)\n"
        }
        return text
    }

    /// One stanza and nothing else.
    /// - Throws: `invalid` also for none and for several.
    public static func one(_ bytes: [UInt8], budget: Budget = .document) throws(RegistryError) -> Deb822 {
        var found: Deb822?
        var count = 0
        try each(bytes, budget: budget) { stanza, _ throws(RegistryError) in
            count += 1
            found = stanza
        }
        guard let found, count == 1 else { throw refused("control", "one stanza is wanted, there are \(count)") }
        return found
    }

    /// Every stanza in order, with the bytes it was read from, without the empty line behind it.
    /// - Throws: `invalid` for what is no UTF-8, a line that is no field, a field that comes twice in one stanza, and beyond the budget.
    public static func each(
        _ bytes: [UInt8], budget: Budget = .upstreamDocument, _ take: (Deb822, ArraySlice<UInt8>) throws(RegistryError) -> Void
    ) throws(RegistryError) {
        guard bytes.count <= budget.bytes else { throw refused("control", "the text may have at most \(budget.bytes) bytes") }
        var items = 0
        var stanza = Deb822()
        var begin = 0
        var at = 0
        var number = 0
        while at < bytes.count {
            let end = bytes[at...].firstIndex(of: 0x0A) ?? bytes.count
            var line = bytes[at..<end]
            if line.last == 0x0D { line = line.dropLast() }
            number += 1
            if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 }) {
                if !stanza.fields.isEmpty { try take(stanza, bytes[begin..<at]) }
                stanza = Deb822()
                begin = min(end + 1, bytes.count)
            } else if line.first != UInt8(ascii: "#") {
                items += 1
                guard items <= budget.items else { throw refused("control", "the text has more than \(budget.items) lines") }
                try stanza.take(line, number: number)
            }
            at = end + 1
        }
        if !stanza.fields.isEmpty { try take(stanza, bytes[begin...]) }
    }

    private mutating func take(_ line: ArraySlice<UInt8>, number: Int) throws(RegistryError) {
        guard let text = String(validating: line, as: UTF8.self), !line.contains(0) else { throw refused("control", "line \(number) is not UTF-8") }
        if line.first == 0x20 || line.first == 0x09 {
            guard let last = fields.indices.last else { throw refused("control", "line \(number) continues nothing") }
            fields[last].value += "\n" + text
            return
        }
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex, line.first != UInt8(ascii: "-"),
            line[..<colon].allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { throw refused("control", "line \(number) is no field: a name and a colon are missing") }
        let name = String(decoding: line[..<colon], as: UTF8.self)
        guard field(name) == nil else { throw refused("control", "the field \(name) comes twice in one stanza") }
        fields.append(Field(name: name, value: String(Deb822.trimmed(Substring(decoding: line[(colon + 1)...], as: UTF8.self)))))
    }

    static func trimmed(_ text: Substring) -> Substring {
        var rest = text
        while let last = rest.utf8.last, last == 0x20 || last == 0x09 { rest = Substring(rest.utf8.dropLast()) }
        return Substring(rest.utf8.drop { $0 == 0x20 || $0 == 0x09 })
    }

    private static func same(_ a: String, _ b: String) -> Bool {
        a.utf8.count == b.utf8.count && zip(a.utf8, b.utf8).allSatisfy { lower($0) == lower($1) }
    }

    private static func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5A).contains(byte) ? byte | 0x20 : byte }
}

/// Text that may be signed in the clear (RFC 9580 section 7): `.dsc`, `.changes`, `InRelease`.
public enum Clearsigned {
    private static let head = Array("-----BEGIN PGP SIGNED MESSAGE-----".utf8)
    private static let tail = Array("-----BEGIN PGP SIGNATURE-----".utf8)

    /// What was signed, or the bytes themselves when they are not signed. The signature is not checked.
    /// - Throws: `invalid` when the frame is broken, or text stands before or behind the signed part: readers would differ in what was signed.
    public static func content(of bytes: [UInt8]) throws(RegistryError) -> [UInt8] {
        var lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)[...]
        func trimmed(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
            var line = line
            while let last = line.last, last == 0x0D || last == 0x20 || last == 0x09 { line = line.dropLast() }
            return line
        }
        while let first = lines.first, trimmed(first).isEmpty { lines = lines.dropFirst() }
        guard let first = lines.first, trimmed(first).elementsEqual(head) else {
            guard !bytes.starts(with: Array("-----BEGIN".utf8)) else { throw refused("signature", "this is no text signed in the clear") }
            return bytes
        }
        // Armor headers (Hash: SHA512) up to an empty line.
        guard let gap = lines.firstIndex(where: { trimmed($0).isEmpty }), let end = lines.firstIndex(where: { trimmed($0).elementsEqual(tail) }),
            gap < end
        else { throw refused("signature", "the signed text has no end") }
        var content: [UInt8] = []
        for line in lines[(gap + 1)..<end] {
            let plain = line.starts(with: [0x2D, 0x20]) ? line.dropFirst(2) : line
            guard plain.startIndex != line.startIndex || line.first != 0x2D else { throw refused("signature", "the signed text holds another frame") }
            content += plain.last == 0x0D ? plain.dropLast() : plain
            content.append(0x0A)
        }
        let closing = Array("-----END PGP SIGNATURE-----".utf8)
        guard let last = lines[end...].firstIndex(where: { trimmed($0).elementsEqual(closing) }),
            lines[(last + 1)...].allSatisfy({ trimmed($0).isEmpty })
        else { throw refused("signature", "the signature has no end, or text stands behind it") }
        return content
    }
}
