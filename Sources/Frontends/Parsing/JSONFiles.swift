public import Core
public import NIOCore

/// Files that travel inside a JSON document as base64 (npm's `_attachments`, CouchDB's inline attachments): taken out while the document
/// arrives.
///
/// The strings at `member.NAME.data` are decoded and handed on, for each NAME that is wanted; all other bytes are kept as they came, with an
/// empty string where each file stood. The machine only cuts, the strict parser judges: a rest that `JSON.parse` accepts has the structure the
/// machine saw, and names given twice are refused there.
public struct JSONFileMachine {
    public enum Event: Sendable, Hashable {
        case fileBegan(name: String)
        /// Decoded, never empty.
        case fileBytes(ByteBuffer)
        case fileEnded
    }

    /// Bytes of the document beside its files: a packument of some thousand versions.
    public static let restBytesMax = 4 << 20
    public static let filesMax = 16
    static let nameBytesMax = 1024

    private struct Level {
        let isObject: Bool
        var expectsName = false
        /// The member being read, where the path to it matters.
        var name: String?
    }

    private enum State {
        case between
        /// A string that is kept; whether the next byte is escaped.
        case string(escaped: Bool)
        /// A member's name that may matter.
        case name(escaped: Bool)
        case file(Base64Decoder, escaped: Bool)
    }

    private let member: String
    private let isWanted: @Sendable (String) -> Bool
    private var state = State.between
    private var levels: [Level] = []
    private var name: [UInt8] = []
    private var files = 0
    /// The document without its files.
    public private(set) var rest: [UInt8] = []

    /// - Parameters:
    ///   - member: the name, at the top of the document, of the object that holds the files.
    ///   - isWanted: whether the `data` of the file of that name is base64 to be taken out; else it stays text.
    public init(member: String, isWanted: @escaping @Sendable (String) -> Bool) {
        self.member = member
        self.isWanted = isWanted
    }

    /// What the next slice of the body completes. Slices may be cut anywhere.
    /// - Throws: `invalid` for what is no base64, for too long a name, too many files or levels; `tooLarge` when the rest grows too long.
    public mutating func receive(_ slice: ByteBuffer) throws(RegistryError) -> [Event] {
        var events: [Event] = []
        var bytes = slice.readableBytesView[...]
        while let byte = bytes.first {
            if case .file(var decoder, let escaped) = state {
                // The decoder has one owner while it works.
                state = .between
                try file(&decoder, escaped, &bytes, &events)
            } else {
                bytes.removeFirst()
                try keep(byte)
                try take(byte, &events)
            }
        }
        return events
    }

    /// The body is over.
    /// - Throws: `invalid` when it ends inside a file; whether the rest is a document is for the parser to say.
    public func end() throws(RegistryError) {
        if case .file = state { throw refused("json", "the body ends inside a file") }
    }

    private mutating func keep(_ byte: UInt8) throws(RegistryError) {
        guard rest.count < JSONFileMachine.restBytesMax else {
            throw RegistryError(
                .tooLarge, subject: .request, reason: "the document beside its files may have at most \(JSONFileMachine.restBytesMax) bytes")
        }
        rest.append(byte)
    }

    private mutating func take(_ byte: UInt8, _ events: inout [Event]) throws(RegistryError) {
        switch state {
        case .between: try structure(byte, &events)
        case .string(let escaped):
            if !escaped, byte == UInt8(ascii: "\"") { state = .between } else { state = .string(escaped: !escaped && byte == UInt8(ascii: "\\")) }
        case .name(let escaped):
            if !escaped, byte == UInt8(ascii: "\"") {
                levels[levels.count - 1].name = try named()
                state = .between
            } else {
                // Too long to be any of ours; where it names a file, that is refused when it ends.
                if name.count <= JSONFileMachine.nameBytesMax { name.append(byte) }
                state = .name(escaped: !escaped && byte == UInt8(ascii: "\\"))
            }
        case .file: preconditionFailure("files are read in slices")
        }
    }

    /// A byte outside of strings.
    private mutating func structure(_ byte: UInt8, _ events: inout [Event]) throws(RegistryError) {
        switch byte {
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            guard levels.count < Budget.depthMax else { throw refused("json", "nested deeper than \(Budget.depthMax) levels") }
            levels.append(Level(isObject: byte == UInt8(ascii: "{"), expectsName: byte == UInt8(ascii: "{")))
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
            guard levels.popLast() != nil else { throw refused("json", "a bracket is closed that was never opened") }
        case UInt8(ascii: ","):
            if let last = levels.indices.last, levels[last].isObject { levels[last].expectsName = true }
        case UInt8(ascii: ":"):
            if let last = levels.indices.last { levels[last].expectsName = false }
        case UInt8(ascii: "\""): try beginString(&events)
        default: break
        }
    }

    private mutating func beginString(_ events: inout [Event]) throws(RegistryError) {
        if levels.last?.expectsName == true {
            // Only the names on the way to a file are read.
            if levels.count == 1 || levels.count <= 3 && isInside {
                name.removeAll(keepingCapacity: true)
                state = .name(escaped: false)
            } else {
                state = .string(escaped: false)
            }
            return
        }
        guard levels.count == 3, isInside, levels[2].name == "data", let file = levels[1].name, isWanted(file) else {
            state = .string(escaped: false)
            return
        }
        files += 1
        guard files <= JSONFileMachine.filesMax else { throw refused("json", "a document may carry at most \(JSONFileMachine.filesMax) files") }
        events.append(.fileBegan(name: file))
        state = .file(Base64Decoder(), escaped: false)
    }

    private var isInside: Bool { levels[0].name == member && levels.allSatisfy(\.isObject) }

    private func named() throws(RegistryError) -> String? {
        guard name.count <= JSONFileMachine.nameBytesMax else {
            guard levels.count == 1 else { throw refused("json", "the name of a file may have at most \(JSONFileMachine.nameBytesMax) bytes") }
            return nil
        }
        // Escapes and all, as the parser will read it.
        return try JSON.parse([UInt8(ascii: "\"")] + name + [UInt8(ascii: "\"")]).string
    }

    /// Decodes up to the closing quote or the slice's end.
    private mutating func file(
        _ decoder: inout Base64Decoder, _ wasEscaped: Bool, _ bytes: inout ByteBufferView.SubSequence, _ events: inout [Event]
    ) throws(RegistryError) {
        var escaped = wasEscaped
        var decoded = ByteBuffer()
        while let first = bytes.first {
            if escaped {
                // Some writers escape slashes; no other escape stands for a digit that could not be written plainly.
                guard first == UInt8(ascii: "/") else { throw refused("json", "a file's base64 holds an escape") }
                escaped = false
                try decoder.decode(bytes.prefix(1), into: &decoded)
                bytes.removeFirst()
                continue
            }
            let end = bytes.firstIndex { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") } ?? bytes.endIndex
            try decoder.decode(bytes[bytes.startIndex..<end], into: &decoded)
            bytes = bytes[end...]
            guard let stop = bytes.popFirst() else { break }
            if stop == UInt8(ascii: "\\") {
                escaped = true
                continue
            }
            try decoder.end()
            if decoded.readableBytes > 0 { events.append(.fileBytes(decoded)) }
            events.append(.fileEnded)
            try keep(stop)
            return
        }
        if decoded.readableBytes > 0 { events.append(.fileBytes(decoded)) }
        state = .file(decoder, escaped: escaped)
    }
}

/// Base 64 (RFC 4648 section 4) piece by piece, as strict as `Base64.decode`.
public struct Base64Decoder: Sendable {
    private var word: UInt32 = 0
    private var digits = 0
    private var padding = 0

    public init() {}

    /// Decodes what the next digits complete; up to three of them wait for the next call.
    /// - Throws: `invalid` for a byte that is no digit, and for digits behind padding.
    public mutating func decode(_ text: some Sequence<UInt8>, into output: inout ByteBuffer) throws(RegistryError) {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(text.underestimatedCount / 4 * 3 + 3)
        for byte in text {
            let value = Base64Decoder.values[Int(byte)]
            guard value < 64, padding == 0 else {
                try pad(byte, &decoded)
                continue
            }
            word = word << 6 | UInt32(value)
            digits += 1
            guard digits == 4 else { continue }
            decoded.append(UInt8(truncatingIfNeeded: word >> 16))
            decoded.append(UInt8(truncatingIfNeeded: word >> 8))
            decoded.append(UInt8(truncatingIfNeeded: word))
            (word, digits) = (0, 0)
        }
        output.writeBytes(decoded)
    }

    /// - Throws: `invalid` when digits or padding are missing.
    public func end() throws(RegistryError) {
        guard digits == 0 || digits + padding == 4 else { throw refused("base64", "the base64 text is cut off") }
    }

    private mutating func pad(_ byte: UInt8, _ decoded: inout [UInt8]) throws(RegistryError) {
        guard byte == UInt8(ascii: "="), digits >= 2, digits + padding < 4 else { throw refused("base64", "a character is no base64 digit") }
        padding += 1
        guard padding == 1 else { return }
        // Bits that belong to no byte must be zero, or one content would have several spellings.
        let spare: UInt32 = digits == 2 ? 4 : 2
        guard word & (1 << spare - 1) == 0 else { throw refused("base64", "the last base64 digit has bits too many") }
        let whole = word >> spare
        if digits == 3 { decoded.append(UInt8(truncatingIfNeeded: whole >> 8)) }
        decoded.append(UInt8(truncatingIfNeeded: whole))
    }

    /// The value of each byte as a digit; 255 for what is none.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 255, count: 256)
        for (value, digit) in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8.enumerated() {
            values[Int(digit)] = UInt8(value)
        }
        return values
    }()
}
