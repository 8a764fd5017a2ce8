public import Core
public import HTTPTypes
public import NIOCore

/// A complete answer for the server to send: it alone does HEAD, Range, conditionals, sendfile and framing.
public struct Response: Sendable {
    public enum Content: Sendable {
        case none
        case bytes(ByteBuffer)
        case blob(BlobContent)
        /// Of unknown or announced length, sent as it comes; no Range.
        case stream(Body)
    }

    /// What conditionals compare (RFC 9110 section 8.8).
    public struct Validator: Sendable, Hashable {
        /// Strong, with its quotes.
        public var etag: String
        public var lastModified: Timestamp?
        public init(etag: String, lastModified: Timestamp? = nil) {
            self.etag = etag
            self.lastModified = lastModified
        }
    }

    public var status: HTTPResponse.Status
    /// Without Content-Length, ETag, Last-Modified, Accept-Ranges, Date: those are the server's.
    public var fields: HTTPFields
    public var content: Content
    /// Present: 200 answers to GET and HEAD honour If-None-Match, If-Modified-Since, Range and If-Range.
    public var validator: Validator?
    /// For the log: why, when the status says failure.
    public var failure: RegistryError?
    /// Present: the same request may be given this answer again for as long as it holds, without asking the responder.
    public var currency: Currency?

    /// How long an answer stays right for who asked it, and what is to be done each time it is given again.
    public struct Currency: Sendable {
        /// Cheap, and true only while identity, rights and content are what they were.
        public let holds: @Sendable () -> Bool
        /// What the first giving did beside answering: a download is counted.
        public let given: @Sendable () -> Void
        public init(holds: @escaping @Sendable () -> Bool, given: @escaping @Sendable () -> Void) {
            self.holds = holds
            self.given = given
        }
    }

    public init(
        _ status: HTTPResponse.Status, fields: HTTPFields = [:], content: Content = .none, validator: Validator? = nil, failure: RegistryError? = nil
    ) {
        self.status = status
        self.fields = fields
        self.content = content
        self.validator = validator
        self.failure = failure
    }
}

/// Whoever answers requests behind the server.
public protocol Responder: Sendable {
    /// An answer that needs no waiting (a cached asset or view), given on the event loop; nil sends the request down the other road.
    func respondNow(to head: RequestHead) -> Response?
    /// Never throws: failures are answers in the client's dialect. The body may be left unread; the server then discards or closes.
    func respond(to head: RequestHead, body: Body) async -> Response
    /// An answer to a request so broken that it has no head (bad target, too many fields): general HTTP only.
    func respond(toUnreadable failure: RegistryError) -> Response
}

extension Responder {
    public func respondNow(to head: RequestHead) -> Response? { nil }

    public func respond(toUnreadable failure: RegistryError) -> Response {
        Response(
            HTTPResponse.Status(code: failure.code.status), fields: [.contentType: "text/plain; charset=utf-8"],
            content: .bytes(ByteBuffer(string: failure.reason + "\n")), failure: failure)
    }
}
