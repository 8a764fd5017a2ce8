// Outbound: the one way Granary talks to other machines over HTTP: upstreams, webhooks, identity providers, object stores, peers.
// It promises that every connection goes to an address the request's policy permits, that credentials stay where they belong, that every
// body streams with back-pressure under caps on bytes and time, and that the environment's proxy variables change nothing.
// It knows no format and no repository, keeps no cookies, and caches nothing.
public import Core

/// One request, as a value: what to ask, who we are, how much we take, where we may go.
public struct FetchRequest: Sendable {
    public enum Method: String, Sendable, Hashable {
        case get = "GET"
        case head = "HEAD"
        case post = "POST"
        case put = "PUT"
        case patch = "PATCH"
        case delete = "DELETE"
    }

    public var method: Method
    /// Absolute, http or https. `UpstreamURL` says what it may hold; `UpstreamURL.resolving` makes one from a link in a document.
    public var url: String
    /// Sent as given. Connection and framing fields are refused; when a redirect leaves the origin only negotiation fields go along.
    public var fields: [(String, String)]
    /// For POST, PUT and PATCH; streamed. Without a length it is sent chunked.
    public var body: Body?
    public var credentials: Credentials?
    /// The origin the credentials belong to (`https://host:port`); nil means that of `url`. Set it when an upstream's document named `url`.
    public var credentialOrigin: String?
    /// Further origins that may see the credentials: `auth.example.org` (HTTPS on 443) or `https://host:port`.
    public var credentialHosts: [String]
    public var limits: Limits
    public var addressPolicy: AddressPolicy
    public var userAgent: String
    /// Asks for gzip or deflate and hands out the plain bytes; `bodyBytesMax` then counts plain bytes. Otherwise a content coding stays as sent.
    public var decodesContent: Bool
    /// False for who keeps a count of failures of its own: the breaker of the origin neither refuses the request nor learns from it.
    public var countsFailures = true

    public init(
        _ method: Method = .get, url: String, fields: [(String, String)] = [], body: Body? = nil, credentials: Credentials? = nil,
        credentialOrigin: String? = nil, credentialHosts: [String] = [], limits: Limits = Limits(), addressPolicy: AddressPolicy = .publicOnly,
        userAgent: String = "Granary", decodesContent: Bool = false
    ) {
        self.method = method
        self.url = url
        self.fields = fields
        self.body = body
        self.credentials = credentials
        self.credentialOrigin = credentialOrigin
        self.credentialHosts = credentialHosts
        self.limits = limits
        self.addressPolicy = addressPolicy
        self.userAgent = userAgent
        self.decodesContent = decodesContent
    }
}

/// What proves who we are to an upstream. Never printed, never in an error.
public enum Credentials: Sendable, CustomStringConvertible {
    case basic(user: String, password: String)
    case bearer(String)

    public var description: String { "credentials" }

    /// The value of the Authorization field (RFC 7617, RFC 6750).
    var fieldValue: String {
        switch self {
        case .basic(let user, let password): "Basic \(Credentials.base64(Array("\(user):\(password)".utf8)))"
        case .bearer(let token): "Bearer \(token)"
        }
    }

    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func base64(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - group.count))
            for place in 0..<4 {
                text.append(place <= group.count ? alphabet[Int(bits >> UInt32(18 - 6 * place) & 63)] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}

/// How much of an upstream's bytes and time one fetch may take. Breaking a limit is `upstreamFailed`.
public struct Limits: Sendable, Hashable {
    /// Body bytes as handed out, announced or not.
    public var bodyBytesMax: Int64
    /// Name resolution, TCP and TLS of one connection.
    public var connectSeconds: Double
    /// Without a single byte either way. The time in which the consumer does not ask is not counted.
    public var stallSeconds: Double
    /// One hop from start to last byte, a slow consumer included; nil for as long as it flows.
    public var totalSeconds: Double?
    public var redirectsMax: Int
    /// All header lines of one answer, trailers and interim responses included.
    public var headerBytesMax: Int

    public init(
        bodyBytesMax: Int64 = 16 << 30, connectSeconds: Double = 10, stallSeconds: Double = 30, totalSeconds: Double? = nil,
        redirectsMax: Int = 5, headerBytesMax: Int = 64 << 10
    ) {
        self.bodyBytesMax = bodyBytesMax
        self.connectSeconds = connectSeconds
        self.stallSeconds = stallSeconds
        self.totalSeconds = totalSeconds
        self.redirectsMax = redirectsMax
        self.headerBytesMax = headerBytesMax
    }
}

/// The answer of the last hop. A status is never an error here: 304, 404 and 503 are answers.
public struct FetchResponse: Sendable {
    public let status: Int
    /// In the order they arrived; names as sent.
    public let fields: [(name: String, value: String)]
    /// Where the answer came from, after redirects.
    public let url: String
    /// At most 256 KiB wait here for the consumer; beyond, the upstream waits. Dropping it ends the transfer.
    public let body: Body

    /// The first value of a field, by its name in any case.
    public subscript(_ name: String) -> String? { fields.first { equalIgnoringCase($0.name, name) }?.value }
    /// All values of a field, in order.
    public func values(of name: String) -> [String] { fields.filter { equalIgnoringCase($0.name, name) }.map(\.value) }
}

/// ASCII only, as field names are.
func equalIgnoringCase(_ a: String, _ b: String) -> Bool {
    func lowered(_ byte: UInt8) -> UInt8 { (0x41...0x5A).contains(byte) ? byte | 0x20 : byte }
    return a.utf8.count == b.utf8.count && zip(a.utf8, b.utf8).allSatisfy { lowered($0) == lowered($1) }
}
