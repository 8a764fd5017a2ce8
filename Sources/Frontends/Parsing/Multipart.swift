public import Core
public import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// `multipart/form-data` (RFC 7578, RFC 2046 section 5.1) as clients really send it.
public enum Multipart {
    public static let partsMax = 1000
    public static let partHeaderBytesMax = 16 << 10
    public static let boundaryBytesMax = 70

    /// The header of one part.
    public struct Part: Sendable, Hashable {
        /// The form field.
        public let name: String
        public let filename: String?
        public let contentType: String?

        public init(name: String, filename: String? = nil, contentType: String? = nil) {
            self.name = name
            self.filename = filename
            self.contentType = contentType
        }
    }

    public enum Event: Sendable, Hashable {
        case partBegan(Part)
        /// Never empty; a slice of what was received, not a copy.
        case partBytes(ByteBuffer)
        case partEnded
        /// The closing delimiter came.
        case finished
    }

    /// The boundary that a `Content-Type` names.
    /// - Throws: `invalid` when the type is not `multipart/form-data` or the boundary breaks RFC 2046's grammar.
    public static func boundary(ofContentType value: String) throws(RegistryError) -> String {
        var scanner = HeaderScanner(value)
        scanner.skipSpace()
        guard let type = scanner.token(), scanner.take("/"), let subtype = scanner.token(), "\(type)/\(subtype)".lowercased() == "multipart/form-data"
        else { throw refused("Content-Type", "the body must be multipart/form-data") }
        guard let parameters = scanner.parameters(), scanner.isAtEnd, let boundary = parameters["boundary"], isBoundary(boundary) else {
            throw refused("Content-Type", "multipart/form-data must name a boundary of 1 to \(boundaryBytesMax) characters")
        }
        return boundary
    }

    static func isBoundary(_ text: String) -> Bool {
        (1...boundaryBytesMax).contains(text.utf8.count) && text.utf8.last != 0x20
            && text.utf8.allSatisfy { HeaderScanner.isAlphanumeric($0) || "'()+_,-./:=? ".utf8.contains($0) }
    }
}

/// Takes a body's slices and says what they mean. It holds no content: at most a part's header and the length of a delimiter begun.
///
/// After an error it must not be used again.
public struct MultipartMachine: Sendable {
    private enum State {
        case preamble, afterDelimiter(DelimiterEnd), header, content, epilogue
    }
    /// What of the line that a delimiter stands on has been seen.
    private enum DelimiterEnd { case nothing, dash, padding, carriageReturn }

    private var state = State.preamble
    /// CRLF, two dashes, the boundary. CR is its first byte and no other, so a failed match restarts at the byte that failed it.
    private let delimiter: ByteBuffer
    /// How much of the delimiter the last bytes were. The first two are taken as read where a line begins anyway: at the start of the body,
    /// and behind a part's header (RFC 2046 lets the whole content be absent).
    private var matched = 2
    /// How much of what is matched was never in the body.
    private var assumed = 2
    private var header: [UInt8] = []
    private var parts = 0
    /// Bytes of preamble, padding and epilogue, which mean nothing.
    private var idleBytes = 0

    /// - Throws: `invalid` for a boundary outside RFC 2046's grammar.
    public init(boundary: String) throws(RegistryError) {
        guard Multipart.isBoundary(boundary) else { throw refused("multipart", "the boundary is malformed") }
        delimiter = ByteBuffer(string: "\r\n--" + boundary)
    }

    /// What the next slice of the body completes. Slices may be cut anywhere.
    public mutating func receive(_ slice: ByteBuffer) throws(RegistryError) -> [Multipart.Event] {
        var rest = slice
        var events: [Multipart.Event] = []
        while rest.readableBytes > 0 {
            switch state {
            case .preamble:
                let before = rest.readableBytes
                let found = scan(&rest) { _ in }
                try countIdle(before - rest.readableBytes)
                if found { state = .afterDelimiter(.nothing) }
            case .afterDelimiter(let end):
                if let byte = rest.readInteger(as: UInt8.self) { try delimiterLine(end, byte, &events) }
            case .header:
                try readHeader(&rest, &events)
            case .content:
                if scan(&rest, content: { events.append(.partBytes($0)) }) {
                    events.append(.partEnded)
                    state = .afterDelimiter(.nothing)
                }
            case .epilogue:
                try countIdle(rest.readableBytes)
                return events
            }
        }
        return events
    }

    /// The body is over.
    /// - Throws: `invalid` when its closing delimiter never came: the upload was cut short.
    public func end() throws(RegistryError) {
        guard case .epilogue = state else { throw refused("multipart", "the body ends before its closing boundary") }
    }

    /// Consumes up to the end of the next delimiter, or everything. What is no delimiter goes to `content`.
    /// - Returns: whether a delimiter was completed.
    private mutating func scan(_ rest: inout ByteBuffer, content: (ByteBuffer) -> Void) -> Bool {
        if matched > 0 {
            let more = MultipartMachine.common(rest, from: 0, delimiter, from: matched)
            rest.moveReaderIndex(forwardBy: more)
            matched += more
            if matched < delimiter.readableBytes {
                if rest.readableBytes == 0 { return false }
                if matched > assumed, let begun = delimiter.getSlice(at: delimiter.readerIndex + assumed, length: matched - assumed) {
                    content(begun)
                }
            } else {
                matched = 0
                assumed = 0
                return true
            }
            matched = 0
            assumed = 0
        }
        let (before, length) = MultipartMachine.find(delimiter, in: rest)
        if before > 0, let slice = rest.readSlice(length: before) { content(slice) }
        rest.moveReaderIndex(forwardBy: length)
        guard length == delimiter.readableBytes else {
            matched = length
            return false
        }
        return true
    }

    /// Where the delimiter, or at the slice's end a beginning of it, stands: the bytes before it, and how many of its bytes are there.
    private static func find(_ delimiter: ByteBuffer, in buffer: ByteBuffer) -> (before: Int, length: Int) {
        buffer.withUnsafeReadableBytes { bytes in
            var from = 0
            while let base = bytes.baseAddress, from < bytes.count, let hit = unsafe memchr(base + from, 0x0D, bytes.count - from) {
                let at = unsafe UnsafeRawPointer(hit) - base
                let length = common(buffer, from: at, delimiter, from: 0)
                if length == delimiter.readableBytes || at + length == bytes.count { return (at, length) }
                from = at + length
            }
            return (bytes.count, 0)
        }
    }

    /// How many bytes are the same in both from there on.
    private static func common(_ a: ByteBuffer, from aStart: Int, _ b: ByteBuffer, from bStart: Int) -> Int {
        a.withUnsafeReadableBytes { a in
            b.withUnsafeReadableBytes { b in
                var length = 0
                while aStart + length < a.count, bStart + length < b.count, unsafe a[aStart + length] == b[bStart + length] { length += 1 }
                return length
            }
        }
    }

    /// Behind a delimiter: two dashes close the body, a line's end (with white space before it at most) opens a part.
    private mutating func delimiterLine(_ end: DelimiterEnd, _ byte: UInt8, _ events: inout [Multipart.Event]) throws(RegistryError) {
        switch (end, byte) {
        case (.nothing, UInt8(ascii: "-")): state = .afterDelimiter(.dash)
        case (.dash, UInt8(ascii: "-")):
            events.append(.finished)
            state = .epilogue
        case (.nothing, 0x20), (.nothing, 0x09), (.padding, 0x20), (.padding, 0x09):
            try countIdle(1)
            state = .afterDelimiter(.padding)
        case (.nothing, 0x0D), (.padding, 0x0D): state = .afterDelimiter(.carriageReturn)
        case (.carriageReturn, 0x0A):
            parts += 1
            guard parts <= Multipart.partsMax else { throw refused("multipart", "more than \(Multipart.partsMax) parts") }
            header.removeAll(keepingCapacity: true)
            state = .header
        default: throw refused("multipart", "a line begins with the boundary but is no delimiter")
        }
    }

    private mutating func countIdle(_ bytes: Int) throws(RegistryError) {
        idleBytes += bytes
        guard idleBytes <= Multipart.partHeaderBytesMax else {
            throw refused("multipart", "more than \(Multipart.partHeaderBytesMax) bytes outside the parts")
        }
    }

    private mutating func readHeader(_ rest: inout ByteBuffer, _ events: inout [Multipart.Event]) throws(RegistryError) {
        while let byte = rest.readInteger(as: UInt8.self) {
            header.append(byte)
            guard header.count <= Multipart.partHeaderBytesMax else {
                throw refused("multipart", "a part's header has more than \(Multipart.partHeaderBytesMax) bytes")
            }
            guard byte == 0x0A, header.count == 2 || header.suffix(4) == [0x0D, 0x0A, 0x0D, 0x0A] else { continue }
            events.append(.partBegan(try Multipart.Part(header: header)))
            state = .content
            matched = 2
            assumed = 2
            return
        }
    }
}

extension Multipart.Part {
    /// Reads the header block of a part, its empty line included.
    fileprivate init(header: [UInt8]) throws(RegistryError) {
        guard let text = String(validating: header, as: UTF8.self) else { throw refused("multipart", "a part's header is not UTF-8") }
        var fields: [String: String] = [:]
        for line in text.utf8.split(separator: 0x0A) {
            guard line.last == 0x0D else { throw refused("multipart", "a header line must end with CR LF") }
            let line = line.dropLast()
            if line.isEmpty { continue }
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")), line[..<colon].allSatisfy(HeaderScanner.isTokenByte), colon > line.startIndex,
                line.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 })
            else { throw refused("multipart", "a part's header line is malformed") }
            let name = String(Substring(line[..<colon])).lowercased()
            guard fields.updateValue(String(Substring(line[line.index(after: colon)...])), forKey: name) == nil else {
                throw refused("multipart", "a part gives the header \(name) twice")
            }
        }
        var scanner = HeaderScanner(fields["content-disposition"] ?? "")
        scanner.skipSpace()
        guard scanner.token()?.lowercased() == "form-data", let parameters = scanner.parameters(), scanner.isAtEnd, let name = parameters["name"]
        else {
            throw refused("multipart", "each part must have a Content-Disposition of form-data with a name")
        }
        if let encoding = fields["content-transfer-encoding"], !["binary", "8bit", "7bit"].contains(trimmed(encoding).lowercased()) {
            throw refused("multipart", "the Content-Transfer-Encoding \(trimmed(encoding).prefix(40)) is not supported (RFC 7578 section 4.7)")
        }
        var filename = parameters["filename"]
        if let extended = parameters["filename*"] {
            guard let decoded = extendedValue(extended) else { throw refused("multipart", "a part's filename* is malformed") }
            filename = decoded
        }
        self.init(name: name, filename: filename, contentType: fields["content-type"].map(trimmed))
    }
}

/// Without spaces and tabs at either end.
func trimmed(_ text: some StringProtocol) -> String {
    func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
    let utf8 = Substring(text).utf8.drop(while: isSpace)
    guard let last = utf8.lastIndex(where: { !isSpace($0) }) else { return "" }
    return String(Substring(utf8[...last]))
}
