public import Core
public import HTTPTypes

/// A request before its body: parsed once, consumed by authorization and handler alike.
public struct RequestHead: Sendable {
    public var method: HTTPRequest.Method
    /// The path and query as they came, for logs and redirects.
    public var target: String
    /// Decoded and checked.
    public var path: RequestPath
    public var query: Query
    public var fields: HTTPFields
    public var requestID: String
    /// The address the connection came from, without the port.
    public var peer: String
    /// Who asked, as an address: the peer, or whom the proxies we trust name before themselves.
    public var client: String
    /// The client's side of the connection is encrypted, as far as we or a proxy we trust can tell.
    public var isSecure: Bool

    public init(
        method: HTTPRequest.Method, target: String, path: RequestPath, query: Query, fields: HTTPFields, requestID: String, peer: String,
        isSecure: Bool
    ) {
        self.method = method
        self.target = target
        self.path = path
        self.query = query
        self.fields = fields
        self.requestID = requestID
        self.peer = peer
        client = peer
        self.isSecure = isSecure
    }

    /// - Throws: `invalid` for a target that is not an unambiguous origin-form path (RFC 9112 section 3.2.1).
    public init(
        method: HTTPRequest.Method, target: String, fields: HTTPFields, requestID: String, peer: String, isSecure: Bool
    ) throws(RegistryError) {
        let mark = target.firstIndex(of: "?")
        let path = try RequestPath(parsing: mark.map { target[..<$0] } ?? target[...])
        let query = Query(parsing: mark.map { target[target.index(after: $0)...] } ?? "")
        self.init(method: method, target: target, path: path, query: query, fields: fields, requestID: requestID, peer: peer, isSecure: isSecure)
    }
}

/// A matched request as a route's closure sees it.
public struct Request: Sendable {
    public var head: RequestHead
    public var match: Match
    public var body: Body
    public init(head: RequestHead, match: Match, body: Body) {
        self.head = head
        self.match = match
        self.body = body
    }
}

/// A request's path: split at the slashes that came as slashes, then each segment percent-decoded once.
/// A segment may hold a decoded slash (npm's `@scope%2fname`); no `.`, `..`, control character or backslash gets through, however encoded.
public struct RequestPath: Sendable, Hashable, CustomStringConvertible {
    public let segments: [String]
    public let hasTrailingSlash: Bool

    public init(segments: [String], hasTrailingSlash: Bool = false) {
        self.segments = segments
        self.hasTrailingSlash = hasTrailingSlash
    }

    /// - Throws: `invalid` for an ambiguous or malformed path.
    public init(parsing text: some StringProtocol) throws(RegistryError) {
        let raw = Array(text.utf8)
        guard raw.first == UInt8(ascii: "/") else { throw RequestPath.refused("the request target must be an absolute path") }
        guard raw.count <= 8192 else { throw RequestPath.refused("the path may have at most 8192 bytes") }
        var parts = raw.dropFirst().split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        hasTrailingSlash = parts.count > 0 && parts.last?.isEmpty == true
        if hasTrailingSlash { parts.removeLast() }
        var segments: [String] = []
        for part in parts { segments.append(try RequestPath.decode(part)) }
        self.segments = segments
    }

    private static func decode(_ part: ArraySlice<UInt8>) throws(RegistryError) -> String {
        guard !part.isEmpty else { throw refused("the path has an empty segment") }
        // Nearly every segment stands for itself: nothing to decode, and no dot that comes first.
        if part.first != UInt8(ascii: "."), part.allSatisfy({ isPlain($0) }) { return String(decoding: part, as: UTF8.self) }
        guard let bytes = Percent.decodeBytes(part), let text = String(validating: bytes, as: UTF8.self) else {
            throw refused("the path is not percent-encoded UTF-8")
        }
        guard bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "\\") }) else {
            throw refused("the path has a control character or a backslash")
        }
        // By bytes: as characters, a slash and a combining mark after it are one.
        for piece in bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        where piece.isEmpty || piece.elementsEqual(".".utf8) || piece.elementsEqual("..".utf8) {
            throw refused("the path has an empty, '.' or '..' segment")
        }
        return text
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        byte >= 0x20 && byte < 0x7F && byte != UInt8(ascii: "%") && byte != UInt8(ascii: "\\")
    }

    private static func refused(_ reason: String) -> RegistryError { RegistryError(.invalid, subject: .request, reason: reason) }

    public var description: String { "/" + segments.joined(separator: "/") + (hasTrailingSlash && !segments.isEmpty ? "/" : "") }

    /// The rest after the first `count` segments.
    public func dropping(_ count: Int) -> RequestPath {
        RequestPath(segments: Array(segments.dropFirst(count)), hasTrailingSlash: hasTrailingSlash)
    }
}

/// A query in order, `+` read as a space. What does not decode is left out.
public struct Query: Sendable, Hashable {
    public let items: [(name: String, value: String)]

    public init(items: [(name: String, value: String)] = []) { self.items = items }

    public init(parsing text: some StringProtocol) {
        var items: [(name: String, value: String)] = []
        for pair in text.split(separator: "&").prefix(1000) {
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = Query.decode(halves[0]), let value = halves.count > 1 ? Query.decode(halves[1]) : "" else { continue }
            items.append((name, value))
        }
        self.items = items
    }

    private static func decode(_ text: some StringProtocol) -> String? {
        Percent.decodeBytes(text.utf8, plusIsSpace: true).flatMap { String(validating: $0, as: UTF8.self) }
    }

    /// The first value of that name.
    public subscript(name: String) -> String? { items.first { $0.name == name }?.value }
    public func all(_ name: String) -> [String] { items.filter { $0.name == name }.map(\.value) }
    public var isEmpty: Bool { items.isEmpty }

    public static func == (a: Query, b: Query) -> Bool { a.items.elementsEqual(b.items, by: ==) }
    public func hash(into hasher: inout Hasher) {
        for item in items {
            hasher.combine(item.name)
            hasher.combine(item.value)
        }
    }
}
