public import Core

/// A URI reference in its five parts (RFC 3986), kept as written: nothing is decoded, so nothing can be decoded twice.
public struct URLReference: Sendable, Hashable, CustomStringConvertible {
    public static let bytesMax = 8 << 10

    /// In lower case.
    public var scheme: String?
    public var authority: String?
    public var path: String
    public var query: String?
    public var fragment: String?

    /// Splits a reference, absolute or relative.
    /// - Throws: `invalid` for characters no URI holds (spaces, controls, `\`, `<`, `>`, `"`, anything beyond ASCII), for a broken escape,
    ///   beyond 8 KiB, and for an absolute reference that is neither http nor https or has no host.
    public static func parse(_ text: some StringProtocol) throws(RegistryError) -> URLReference {
        let text = String(text)
        guard text.utf8.count <= bytesMax else { throw refused("url", "a URL may have at most \(bytesMax) bytes") }
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && !"\\<>\"".utf8.contains($0) }), Percent.decodeBytes(text) != nil else {
            throw refused("url", "the URL holds a character or an escape that is not allowed")
        }
        let reference = URLReference(splitting: text)
        try reference.check()
        return reference
    }

    /// Appendix B of RFC 3986, without the regular expression.
    private init(splitting text: String) {
        var rest = text[...]
        if let hash = rest.firstIndex(of: "#") {
            fragment = String(rest[rest.index(after: hash)...])
            rest = rest[..<hash]
        }
        if let mark = rest.firstIndex(of: "?") {
            query = String(rest[rest.index(after: mark)...])
            rest = rest[..<mark]
        }
        if let colon = rest.firstIndex(where: { $0 == ":" || $0 == "/" }), rest[colon] == ":", URLReference.isScheme(rest[..<colon]) {
            scheme = rest[..<colon].lowercased()
            rest = rest[rest.index(after: colon)...]
        }
        if rest.hasPrefix("//") {
            rest = rest.dropFirst(2)
            let end = rest.firstIndex(of: "/") ?? rest.endIndex
            authority = String(rest[..<end])
            rest = rest[end...]
        }
        path = String(rest)
    }

    private static func isScheme(_ text: Substring) -> Bool {
        guard let first = text.utf8.first, (0x41...0x5A).contains(first) || (0x61...0x7A).contains(first) else { return false }
        return text.utf8.allSatisfy { HeaderScanner.isAlphanumeric($0) || "+-.".utf8.contains($0) }
    }

    private func check() throws(RegistryError) {
        if let scheme {
            guard scheme == "http" || scheme == "https" else { throw refused("url", "only http and https URLs are accepted") }
            guard authority != nil else { throw refused("url", "the URL names no host") }
        }
        if authority != nil {
            guard let host, !host.isEmpty else { throw refused("url", "the URL names no host, or a malformed one") }
            guard portText.map({ $0.isEmpty || UInt16($0) != nil }) ?? true else { throw refused("url", "the URL's port is malformed") }
        }
    }

    public var isAbsolute: Bool { scheme != nil }

    /// User and password, if the authority holds them.
    public var userInfo: String? { authority.flatMap { text in text.lastIndex(of: "@").map { String(text[..<$0]) } } }

    /// In lower case, without port; an IPv6 address keeps its brackets. nil when malformed.
    public var host: String? {
        guard let hostAndPort else { return nil }
        if hostAndPort.hasPrefix("[") {
            guard let close = hostAndPort.firstIndex(of: "]") else { return nil }
            let inside = hostAndPort[hostAndPort.index(after: hostAndPort.startIndex)..<close]
            let behind = hostAndPort[hostAndPort.index(after: close)...]
            guard !inside.isEmpty, inside.utf8.allSatisfy({ HeaderScanner.isAlphanumeric($0) || ":.".utf8.contains($0) }),
                behind.isEmpty || behind.hasPrefix(":")
            else { return nil }
            return hostAndPort[...close].lowercased()
        }
        let name = hostAndPort.prefix { $0 != ":" }
        guard name.utf8.allSatisfy({ HeaderScanner.isAlphanumeric($0) || "-._~%!$&'()*+,;=".utf8.contains($0) }) else { return nil }
        return name.lowercased()
    }

    /// As written, or the scheme's own.
    public var port: UInt16? {
        if let portText, !portText.isEmpty { return UInt16(portText) }
        return scheme == "https" ? 443 : scheme == "http" ? 80 : nil
    }

    private var hostAndPort: Substring? {
        authority.map { text in text.lastIndex(of: "@").map { text[text.index(after: $0)...] } ?? text[...] }
    }

    private var portText: Substring? {
        guard let hostAndPort else { return nil }
        let behindHost = hostAndPort.hasPrefix("[") ? hostAndPort.firstIndex(of: "]").map { hostAndPort[$0...] } ?? "" : hostAndPort
        return behindHost.firstIndex(of: ":").map { behindHost[behindHost.index(after: $0)...] }
    }

    /// The last segment of the path, decoded; nil when it is empty or no UTF-8.
    public var fileName: String? {
        let name = path.utf8.lastIndex(of: UInt8(ascii: "/")).map { path[path.utf8.index(after: $0)...] } ?? path[...]
        guard !name.isEmpty else { return nil }
        return Percent.decode(name)
    }

    /// What a reference in a document at this URL points to (RFC 3986 section 5.2.2, strict).
    public func resolving(_ reference: URLReference) -> URLReference {
        var target = reference
        if reference.scheme != nil {
            target.path = URLReference.removingDots(reference.path)
            return target
        }
        target.scheme = scheme
        if reference.authority != nil {
            target.path = URLReference.removingDots(reference.path)
            return target
        }
        target.authority = authority
        if reference.path.isEmpty {
            target.path = path
            target.query = reference.query ?? query
        } else if reference.path.hasPrefix("/") {
            target.path = URLReference.removingDots(reference.path)
        } else {
            target.path = URLReference.removingDots(merged(with: reference.path))
        }
        return target
    }

    /// Section 5.2.3.
    private func merged(with relative: String) -> String {
        if authority != nil, path.isEmpty { return "/" + relative }
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return relative }
        return path[...slash] + relative
    }

    /// Section 5.2.4, segment by segment.
    static func removingDots(_ path: String) -> String {
        var output: [Substring] = []
        let isRooted = path.utf8.first == UInt8(ascii: "/")
        let segments = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst(isRooted ? 1 : 0)
        for (at, segment) in segments.enumerated() {
            let isLast = at == segments.count - 1
            switch segment {
            case ".": if isLast { output.append("") }
            case "..":
                _ = output.popLast()
                if isLast { output.append("") }
            default: output.append(segment)
            }
        }
        return (isRooted ? "/" : "") + output.joined(separator: "/")
    }

    /// Section 5.3.
    public var description: String {
        var text = scheme.map { $0 + ":" } ?? ""
        if let authority { text += "//" + authority }
        text += path
        if let query { text += "?" + query }
        if let fragment { text += "#" + fragment }
        return text
    }
}
