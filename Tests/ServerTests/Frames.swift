import NIOSSL

/// Frames of HTTP/2 made by hand (RFC 9113, section 4.1), and those that were heard.
struct Frame: Equatable {
    enum Kind: UInt8 { case data = 0, headers, priority, reset, settings, pushPromise, ping, goAway, windowUpdate, continuation, unknown = 0xB7 }
    static let (endStream, endHeaders): (UInt8, UInt8) = (0x1, 0x4)

    var kind: UInt8
    var flags: UInt8 = 0
    var stream = 0
    var payload: [UInt8] = []

    init(_ kind: Kind, _ flags: UInt8 = 0, on stream: Int = 0, holding payload: [UInt8] = []) {
        self.kind = kind.rawValue
        self.flags = flags
        self.stream = stream
        self.payload = payload
    }

    private static func bytes(_ value: Int, _ count: Int) -> [UInt8] {
        (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    var bytes: [UInt8] { Frame.bytes(payload.count, 3) + [kind, flags] + Frame.bytes(stream, 4) + payload }

    /// What is whole of what a server said.
    static func all(in heard: [UInt8]) -> [Frame] {
        var frames: [Frame] = []
        var rest = heard[...]
        func number(_ bytes: ArraySlice<UInt8>) -> Int { bytes.reduce(0) { $0 << 8 | Int($1) } }
        while rest.count >= 9 {
            let head = rest.prefix(9)
            let length = number(head.prefix(3))
            guard rest.count >= 9 + length else { break }
            var frame = Frame(.data, head[head.startIndex + 4], on: number(head.suffix(4)), holding: Array(rest.dropFirst(9).prefix(length)))
            frame.kind = head[head.startIndex + 3]
            frames.append(frame)
            rest = rest.dropFirst(9 + length)
        }
        return frames
    }

    /// What a GOAWAY names; nil for any other frame.
    var error: Int? { kind == Kind.goAway.rawValue && payload.count >= 8 ? payload[4..<8].reduce(0) { $0 << 8 | Int($1) } : nil }

    /// What a client says first.
    static let opening = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + Frame(.settings).bytes

    /// A request's fields (RFC 7541, appendix A), none of which enters the table.
    static func fields(_ method: Method, _ path: String) -> [UInt8] {
        [method.rawValue, 0x87, 0x04, UInt8(path.utf8.count)] + Array(path.utf8) + [0x01, 0x01, UInt8(ascii: "x")]
    }
    enum Method: UInt8 { case get = 0x82, post }

    /// A GET with these fields after it, in this order, written out (section 6.2.2); the names of pseudo-fields begin with a colon.
    static func fields(get path: String, _ more: [(name: String, value: String)]) -> [UInt8] {
        func text(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }
        return [Method.get.rawValue, 0x87, 0x04] + text(path) + more.flatMap { [0x00] + text($0.name) + text($0.value) }
    }
}

extension TLSTests {
    /// For a client of HTTP/2 that trusts the server's certificate.
    static func client(trusting certificate: String) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .file(certificate)
        configuration.applicationProtocols = ["h2"]
        return try NIOSSLContext(configuration: configuration)
    }
}
