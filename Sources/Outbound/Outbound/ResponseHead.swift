/// Status and fields of one answer.
struct ResponseHead: Sendable {
    var status: Int
    var fields: [(name: String, value: String)] = []

    func first(_ name: String) -> String? { fields.first { equalIgnoringCase($0.name, name) }?.value }

    /// The body length a complete answer to `method` has, nil when only the end of the stream tells.
    func bodyLength(for method: FetchRequest.Method) -> Int64? {
        if method == .head || status == 204 || status == 304 { return 0 }
        guard first("transfer-encoding") == nil, let text = first("content-length") else { return nil }
        return Int64(text)
    }
}

/// Builds the head from the lines libcurl hands over one by one: interim responses (1xx), the final one, trailers.
struct HeadReader {
    enum Step: Equatable {
        case more
        /// The final head is complete: `head` holds it.
        case complete
        case refuse(String)
    }

    static let fieldsMax = 500

    private(set) var head = ResponseHead(status: 0)
    private var isComplete = false
    private var bytes = 0
    private let bytesMax: Int

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    mutating func take(_ line: some Collection<UInt8>) -> Step {
        bytes += line.count
        guard bytes <= bytesMax else { return .refuse("the header is larger than \(bytesMax) bytes") }
        if isComplete { return .more }  // Trailers are counted, and ignored.
        var content = Array(line)
        if content.last == UInt8(ascii: "\n") { content.removeLast() }
        if content.last == UInt8(ascii: "\r") { content.removeLast() }
        guard !content.contains(where: { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7F }) else { return .refuse("a header line holds a control character") }
        if content.starts(with: "HTTP/".utf8), head.fields.isEmpty {
            return start(content)
        }
        if content.isEmpty {
            guard head.status >= 200 else {
                head = ResponseHead(status: 0)
                return .more
            }
            // Two lengths that differ are two answers to someone (RFC 9112 section 6.3).
            guard Set(head.fields.filter { equalIgnoringCase($0.name, "content-length") }.map(\.value)).count <= 1 else {
                return .refuse("there are two lengths")
            }
            isComplete = true
            return .complete
        }
        return field(content)
    }

    private mutating func start(_ line: [UInt8]) -> Step {
        let parts = line.split(separator: UInt8(ascii: " "), maxSplits: 2)
        guard parts.count >= 2, parts[1].count == 3, let status = Int(String(decoding: parts[1], as: UTF8.self)), (100...599).contains(status) else {
            return .refuse("the status line is malformed")
        }
        head = ResponseHead(status: status)
        return .more
    }

    private mutating func field(_ line: [UInt8]) -> Step {
        if line[0] == 0x20 || line[0] == 0x09 {
            // A folded line (RFC 9112 section 5.2): one space instead of the fold.
            guard let last = head.fields.indices.last else { return .refuse("the first field is folded") }
            head.fields[last].value += " " + HeadReader.trimmed(line[...])
            return .more
        }
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")), isToken(line[..<colon]) else { return .refuse("a field name is malformed") }
        guard head.fields.count < HeadReader.fieldsMax else { return .refuse("there are more than \(HeadReader.fieldsMax) fields") }
        head.fields.append((String(decoding: line[..<colon], as: UTF8.self), HeadReader.trimmed(line[(colon + 1)...])))
        return .more
    }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> String {
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
        let start = bytes.firstIndex { !isBlank($0) } ?? bytes.endIndex
        let end = bytes.lastIndex { !isBlank($0) }.map { $0 + 1 } ?? start
        return String(decoding: bytes[start..<max(start, end)], as: UTF8.self)
    }
}

/// A token of RFC 9110 section 5.6.2.
func isToken(_ bytes: some Collection<UInt8>) -> Bool {
    !bytes.isEmpty
        && bytes.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0) || "!#$%&'*+-.^_`|~".utf8.contains($0)
        }
}
