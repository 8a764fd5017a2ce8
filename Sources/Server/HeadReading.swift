import Core
import FrontendKit
import HTTPTypes
import NIOHTTP1

/// What a head says about the bytes around it, and the request in our words.
///
/// The codec (llhttp, strict) already refuses malformed lines, doubled or odd lengths, and a length beside a transfer coding. What is left to
/// refuse here is what is well-formed and still ambiguous or not for us.
struct HeadReading {
    var request: RequestHead
    /// Bytes of the body; nil when chunked, or when an HTTP/2 stream did not say.
    var announced: Int64?
    var expectsContinue: Bool
    /// The connection cannot carry another request after this one.
    var closes: Bool

    /// A head that gets an answer without a responder having seen it.
    struct Refusal: Error {
        var status: HTTPResponse.Status
        var failure: RegistryError
        /// The framing cannot be trusted, or is not worth reading.
        var closes: Bool

        init(_ status: HTTPResponse.Status, _ reason: String, closes: Bool = true) {
            self.status = status
            self.closes = closes
            failure = RegistryError(status.code == 405 || status.code == 501 ? .unsupported : .invalid, subject: .request, reason: reason)
        }

        init(_ failure: RegistryError) {
            status = HTTPResponse.Status(code: failure.code.status)
            self.failure = failure
            closes = false
        }
    }

    init(
        _ head: HTTPRequestHead, over transport: Transport, peer: String, forwarded: Forwarding? = nil, options: ServerOptions, requestID: String
    ) throws(Refusal) {
        guard head.headers.count <= options.headerFieldsMax else {
            throw Refusal(.requestHeaderFieldsTooLarge, "a request may have at most \(options.headerFieldsMax) header fields")
        }
        guard head.uri.utf8.count <= options.targetBytesMax else {
            throw Refusal(.uriTooLong, "a request target may have at most \(options.targetBytesMax) bytes")
        }
        var fields = HTTPFields()
        fields.reserveCapacity(head.headers.count)
        for (name, value) in head.headers {
            // The HTTP/2 codec marks a body of unknown length so; no client said it.
            if transport == .stream, name == "transfer-encoding" { continue }
            guard let name = HTTPField.Name(name) else { throw Refusal(.badRequest, "a header field has an invalid name") }
            fields.append(HTTPField(name: name, value: value))
        }
        announced = try HeadReading.length(of: head, over: transport)
        let host = try HeadReading.host(of: head, over: transport)
        let target = try HeadReading.target(of: head, host: host)
        switch head.headers[canonicalForm: "expect"].map({ $0.lowercased() }) {
        case []: expectsContinue = false
        case ["100-continue"]: expectsContinue = !head.version.isBefore11
        default: throw Refusal(.expectationFailed, "the only expectation met here is 100-continue")
        }
        // The codec stops at a request that asks for another protocol; we answer it and end there.
        closes = transport.isHTTP1 && (!head.isKeepAlive || head.headers.contains(name: "upgrade"))
        guard let method = HTTPRequest.Method(head.method.rawValue) else { throw Refusal(.badRequest, "the method is invalid") }
        do throws(RegistryError) {
            request = try RequestHead(
                method: method, target: target, fields: fields, requestID: requestID, peer: peer, isSecure: transport != .clear)
        } catch {
            throw Refusal(error)
        }
        if let forwarded {
            request.client = forwarded.client(before: peer, head.headers)
            request.isSecure = request.isSecure || forwarded.isSecure(head.headers)
        }
    }

    /// RFC 9112 section 6.
    private static func length(of head: HTTPRequestHead, over transport: Transport) throws(Refusal) -> Int64? {
        let codings = head.headers[canonicalForm: "transfer-encoding"]
        let lengths = head.headers["content-length"]
        if !codings.isEmpty {
            if transport == .stream { return nil }
            guard !head.version.isBefore11, lengths.isEmpty else {
                throw Refusal(.badRequest, "a transfer coding is not possible here")
            }
            guard codings.allSatisfy({ $0.lowercased() == "chunked" }) else {
                throw Refusal(.notImplemented, "the only transfer coding understood is chunked")
            }
            guard codings.count == 1 else { throw Refusal(.badRequest, "chunked may be applied once") }
            return nil
        }
        guard let text = lengths.first else { return 0 }
        guard lengths.count == 1, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let length = Int64(text) else {
            throw Refusal(.badRequest, "Content-Length is not a length")
        }
        return length
    }

    /// RFC 9112 section 3.2: exactly one Host, and one that is none of someone else's syntax.
    private static func host(of head: HTTPRequestHead, over transport: Transport) throws(Refusal) -> String {
        let hosts = head.headers["host"]
        guard hosts.count <= 1, hosts.count == 1 || !transport.isHTTP1 || head.version.isBefore11 else {
            throw Refusal(.badRequest, "a request needs exactly one Host")
        }
        let host = hosts.first ?? ""
        for byte in host.utf8 where !(isAlphanumeric(byte) || hostPunctuation.contains(byte)) {
            throw Refusal(.badRequest, "Host is not a host")
        }
        return host
    }

    /// The origin form; the absolute form only when it says what Host says (RFC 9112 section 3.2.2).
    private static func target(of head: HTTPRequestHead, host: String) throws(Refusal) -> String {
        switch head.method {
        case .CONNECT: throw Refusal(.methodNotAllowed, "this is no proxy")
        case .TRACE: throw Refusal(.methodNotAllowed, "TRACE is not answered", closes: false)
        default: break
        }
        let target = head.uri
        if target.utf8.first == UInt8(ascii: "/") { return target }
        if target == "*" { throw Refusal(.badRequest, "the asterisk form is not answered", closes: false) }
        let lowered = target.lowercased()
        for scheme in ["http://", "https://"] where lowered.hasPrefix(scheme) {
            let rest = target.dropFirst(scheme.count)
            let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
            guard rest[..<end].lowercased() == host.lowercased() else {
                throw Refusal(.badRequest, "the target names another host; this is no proxy")
            }
            return rest[end...].hasPrefix("/") ? String(rest[end...]) : "/" + rest[end...]
        }
        throw Refusal(.badRequest, "the request target must be an absolute path")
    }

    private static let hostPunctuation = Set(".-_:[]~!$&'()*+;=%".utf8)

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: false
        }
    }
}

/// What carries a conversation: it decides framing and whether the kernel can send files by itself.
enum Transport: Sendable {
    case clear, tls, stream
    var isHTTP1: Bool { self != .stream }
    var allowsSendfile: Bool { self == .clear }
    /// The largest piece of a file written at once: bounded, so that connections take turns and slow readers hold little.
    var sliceBytesMax: Int {
        switch self {
        case .clear: 1 << 20
        case .tls: 128 << 10
        case .stream: 32 << 10
        }
    }
}

/// A request's name in logs and answers: the client's own when it is sane, else ours.
enum RequestID {
    private static let names = ["x-request-id", "x-correlation-id"]

    /// nil: the client gave none.
    static func choose(from headers: HTTPHeaders) -> String? {
        for name in names {
            if let given = headers.first(name: name), isSane(given) { return given }
        }
        return nil
    }

    static func isGiven(in request: RequestHead?) -> Bool {
        request?.fields.contains { names.contains($0.name.canonicalName) } ?? false
    }

    static func isSane(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                switch $0 {
                case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: ":"): true
                default: false
                }
            }
    }
}

extension HTTPVersion {
    /// No chunks, no 100, no persistence unless asked for.
    var isBefore11: Bool { (major, minor) < (1, 1) }
}
