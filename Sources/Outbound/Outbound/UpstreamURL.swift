public import Core

/// Scheme, host and port: where credentials belong, what a connection is for, what a circuit breaker watches.
public struct Origin: Sendable, Hashable, CustomStringConvertible {
    public enum Scheme: String, Sendable, Hashable {
        case http, https
        public var defaultPort: UInt16 { self == .http ? 80 : 443 }
    }

    public let scheme: Scheme
    /// Lower case ASCII; IPv6 in brackets.
    public let host: String
    public let port: UInt16

    /// `https://registry.example:8443`; a bare host means HTTPS on 443. Nil when it is neither.
    public init?(_ text: String) {
        guard let url = try? UpstreamURL(text.contains("://") ? text : "https://\(text)"), url.target == "/" else { return nil }
        self = url.origin
    }

    init(scheme: Scheme, host: String, port: UInt16) {
        self.scheme = scheme
        self.host = host
        self.port = port
    }

    public var description: String { port == scheme.defaultPort ? "\(scheme)://\(host)" : "\(scheme)://\(host):\(port)" }
}

/// An absolute http(s) URL, taken apart, checked and built again: what reaches a request line was written here (RFC 3986).
///
/// No user information, no fragment, no control character (raw or percent-encoded), no dot segment (raw or encoded), no bad percent escape.
public struct UpstreamURL: Sendable, Hashable, CustomStringConvertible {
    public static let bytesMax = 8192

    public let origin: Origin
    /// Starts with `/`; percent-encoded.
    public let path: String
    /// Without the question mark; nil when there is none.
    public let query: String?

    /// - Throws: `invalid` with the field `url`; the reason does not repeat the text, which may hold a secret.
    public init(_ text: String) throws(RegistryError) {
        guard text.utf8.count <= UpstreamURL.bytesMax else { throw UpstreamURL.invalid("is longer than \(UpstreamURL.bytesMax) bytes") }
        let bytes = Array(text.utf8)
        guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")), bytes[colon...].starts(with: "://".utf8),
            let scheme = Origin.Scheme(rawValue: String(decoding: bytes[..<colon], as: UTF8.self).lowercased())
        else { throw UpstreamURL.invalid("must start with http:// or https://") }
        let rest = bytes[(colon + 3)...]
        let authorityEnd = rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") } ?? rest.endIndex
        origin = try UpstreamURL.origin(scheme, rest[..<authorityEnd])
        let tail = rest[authorityEnd...].prefix { $0 != UInt8(ascii: "#") }
        let mark = tail.firstIndex(of: UInt8(ascii: "?")) ?? tail.endIndex
        path = try UpstreamURL.rebuild(path: tail[..<mark])
        query = mark == tail.endIndex ? nil : try UpstreamURL.encode(tail[(mark + 1)...])
    }

    /// The URL that `reference` means when it stands in a document at this URL (RFC 3986 section 5.2).
    public func resolving(_ reference: String) throws(RegistryError) -> UpstreamURL {
        let reference = reference.prefix { $0 != "#" }
        if let colon = reference.firstIndex(of: ":"), !reference[..<colon].contains(where: { $0 == "/" || $0 == "?" }) {
            let schemeEnd = reference[reference.index(after: colon)...]
            guard schemeEnd.hasPrefix("//") else { throw UpstreamURL.invalid("must start with http:// or https://") }
            let authority = schemeEnd.dropFirst(2).prefix { $0 != "/" && $0 != "?" }
            return try UpstreamURL("\(reference[..<colon])://\(authority)" + UpstreamURL.withoutDots(String(schemeEnd[authority.endIndex...])))
        }
        if reference.hasPrefix("//") { return try resolving("\(origin.scheme):\(reference)") }
        if reference.isEmpty { return self }
        if reference.hasPrefix("?") { return try UpstreamURL("\(origin)\(path)\(reference)") }
        let folder = path[...(path.lastIndex(of: "/") ?? path.startIndex)]
        let target = reference.hasPrefix("/") ? String(reference) : "\(folder)\(reference)"
        return try UpstreamURL("\(origin)\(UpstreamURL.withoutDots(target))")
    }

    /// Path and query as they stand in a request line.
    public var target: String { query.map { "\(path)?\($0)" } ?? path }
    public var description: String { "\(origin)\(target)" }
    /// For logs and errors: queries may carry signatures and tokens.
    public var withoutQuery: String { "\(origin)\(path)" }

    private static func invalid(_ what: String) -> RegistryError {
        RegistryError(.invalid, subject: .field("url"), reason: "the URL \(what)")
    }

    private static func origin(_ scheme: Origin.Scheme, _ authority: ArraySlice<UInt8>) throws(RegistryError) -> Origin {
        guard !authority.contains(UInt8(ascii: "@")) else { throw invalid("must not carry a user name or password") }
        let hostEnd: Int
        if authority.first == UInt8(ascii: "[") {
            guard let bracket = authority.firstIndex(of: UInt8(ascii: "]")),
                IPAddress(String(decoding: authority[(authority.startIndex + 1)..<bracket], as: UTF8.self))?.family == .v6
            else { throw invalid("has a malformed IPv6 address") }
            hostEnd = bracket + 1
        } else {
            hostEnd = authority.firstIndex(of: UInt8(ascii: ":")) ?? authority.endIndex
            let allowed = authority[..<hostEnd].allSatisfy {
                isAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "_")
            }
            guard allowed, hostEnd > authority.startIndex, hostEnd - authority.startIndex <= 253 else { throw invalid("has no usable host name") }
        }
        var port = scheme.defaultPort
        if hostEnd < authority.endIndex {
            let digits = authority[(hostEnd + 1)...]
            guard authority[hostEnd] == UInt8(ascii: ":"), digits.allSatisfy({ (0x30...0x39).contains($0) }), digits.count <= 5,
                let number = UInt16(String(decoding: digits, as: UTF8.self)), number > 0
            else { throw invalid("has a malformed port") }
            port = number
        }
        return Origin(scheme: scheme, host: String(decoding: authority[..<hostEnd], as: UTF8.self).lowercased(), port: port)
    }

    private static func rebuild(path: ArraySlice<UInt8>) throws(RegistryError) -> String {
        let encoded = try encode(path)
        for segment in encoded.split(separator: "/") {
            let plain = segment.lowercased().split(separator: "%2e", omittingEmptySubsequences: false).joined(separator: ".")
            guard plain != ".", plain != ".." else { throw invalid("has a dot segment in its path") }
        }
        return encoded.isEmpty ? "/" : encoded
    }

    /// Keeps what may stand in a path or query, checks escapes, escapes the rest.
    private static func encode(_ bytes: ArraySlice<UInt8>) throws(RegistryError) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        var at = bytes.startIndex
        while at < bytes.endIndex {
            let byte = bytes[at]
            at += 1
            guard byte > 0x20, byte != 0x7F, byte != UInt8(ascii: "\\") else { throw invalid("holds a space, a backslash or a control character") }
            if byte == UInt8(ascii: "%") {
                guard at + 2 <= bytes.endIndex, let high = hexValue(bytes[at]), let low = hexValue(bytes[at + 1]) else {
                    throw invalid("has a malformed percent escape")
                }
                guard high << 4 | low >= 0x20, high << 4 | low != 0x7F else { throw invalid("holds an escaped control character") }
                result.append(contentsOf: bytes[(at - 1)..<(at + 2)])
                at += 2
            } else if isAlphanumeric(byte) || unreserved.contains(byte) {
                result.append(byte)
            } else {
                result.append(contentsOf: [UInt8(ascii: "%"), hexDigits[Int(byte >> 4)], hexDigits[Int(byte & 15)]])
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// RFC 3986 section 5.2.4, on the path part only.
    private static func withoutDots(_ target: String) -> String {
        let mark = target.firstIndex(of: "?") ?? target.endIndex
        var kept: [Substring] = []
        let segments = target[..<mark].split(separator: "/", omittingEmptySubsequences: false)
        for (index, segment) in segments.enumerated() {
            let isLast = index == segments.count - 1
            if segment == ".." {
                if kept.count > 1 { kept.removeLast() }
                if isLast { kept.append("") }
            } else if segment == "." {
                if isLast { kept.append("") }
            } else {
                kept.append(segment)
            }
        }
        return kept.joined(separator: "/") + target[mark...]
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }
    private static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
    private static let hexDigits = Array("0123456789ABCDEF".utf8)
    private static let unreserved = Array("-._~!$&'()*+,;=:@/?".utf8)
}
