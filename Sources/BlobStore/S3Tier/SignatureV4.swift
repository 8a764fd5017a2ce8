// S3Tier: whole segments and large blobs as objects of a bucket, at Amazon or at anything that speaks the same protocol. It promises that what
// it says is stored was received whole (each body goes with its SHA-256 and MD5, each object is looked at afterwards), that a read gives
// exactly the range asked for or fails, and that no request waits for ever. It needs no conditional write, and keeps no state but counts.
// Object names and what is in them: docs/internals/tier.md.

public import Core
import struct Crypto.HMAC
import struct Crypto.SHA256
import struct Crypto.SymmetricKey

/// What proves to an object store who asks. Never printed, never in an error.
public struct S3Credentials: Sendable, CustomStringConvertible, CustomReflectable {
    public let accessKey: String
    let secretKey: String
    /// Of temporary credentials.
    let sessionToken: String?

    public init(accessKey: String, secretKey: String, sessionToken: String? = nil) {
        self.accessKey = accessKey
        self.secretKey = secretKey
        self.sessionToken = sessionToken
    }

    public var description: String { "<credentials>" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// AWS Signature Version 4 ("Authenticating Requests: Using the Authorization Header" and "Using Query Parameters" of the S3 API reference).
///
/// A pure value: what is signed is what is given, so the caller sends exactly that path, query and fields.
public struct SignatureV4: Sendable {
    /// What is signed. Path and query are as they go over the wire: the path percent-encoded (`Percent.Place.strict`, slashes kept).
    public struct Request: Sendable {
        public var method: String
        /// As the `Host` field says it: with the port unless it is the scheme's own.
        public var host: String
        public var path: String
        /// Plain, not encoded.
        public var query: [(name: String, value: String)]
        /// Those to be signed, besides those that signing adds.
        public var fields: [(name: String, value: String)]

        public init(
            _ method: String, host: String, path: String, query: [(name: String, value: String)] = [], fields: [(name: String, value: String)] = []
        ) {
            self.method = method
            self.host = host
            self.path = path
            self.query = query
            self.fields = fields
        }
    }

    public enum Payload: Sendable {
        /// SHA-256 of the body; a store that checks it refuses a body that was changed on the way.
        case digest(Digest)
        case unsigned

        public static let empty = Payload.digest(Digest.of(.sha256, []))

        var text: String {
            switch self {
            case .digest(let digest): digest.hex
            case .unsigned: "UNSIGNED-PAYLOAD"
            }
        }
    }

    private static let algorithm = "AWS4-HMAC-SHA256"

    private let credentials: S3Credentials
    private let region: String
    /// `s3`; another only for the published examples of the algorithm.
    private let service: String

    public init(credentials: S3Credentials, region: String, service: String = "s3") {
        self.credentials = credentials
        self.region = region
        self.service = service
    }

    /// The fields to send besides those of the request, `Authorization` among them.
    public func fields(for request: Request, _ payload: Payload, at time: Timestamp) -> [(name: String, value: String)] {
        let date = SignatureV4.date(time)
        var added: [(name: String, value: String)] = [("x-amz-date", date)]
        if service == "s3" { added.append(("x-amz-content-sha256", payload.text)) }
        if let token = credentials.sessionToken { added.append(("x-amz-security-token", token)) }
        var signed = request
        signed.fields += added
        let (names, canonical) = SignatureV4.canonical(signed, payload)
        let scope = scope(date)
        let signature = signature(of: canonical, date, scope)
        let authorization =
            "\(SignatureV4.algorithm) Credential=\(credentials.accessKey)/\(scope), SignedHeaders=\(names), Signature=\(signature)"
        return added + [("Authorization", authorization)]
    }

    /// The query of a URL that whoever has it may use for this one request, and for so long. The body is not signed, nor any field but `Host`.
    public func presignedQuery(for request: Request, expiresSeconds: Int64, at time: Timestamp) -> String {
        let date = SignatureV4.date(time)
        let scope = scope(date)
        var signed = request
        signed.query += [
            ("X-Amz-Algorithm", SignatureV4.algorithm), ("X-Amz-Credential", "\(credentials.accessKey)/\(scope)"), ("X-Amz-Date", date),
            ("X-Amz-Expires", String(expiresSeconds)),
            ("X-Amz-SignedHeaders", (["host"] + request.fields.map { $0.name.lowercased() }).sorted().joined(separator: ";")),
        ]
        if let token = credentials.sessionToken { signed.query.append(("X-Amz-Security-Token", token)) }
        let canonical = SignatureV4.canonical(signed, .unsigned).text
        return SignatureV4.encoded(signed.query) + "&X-Amz-Signature=" + signature(of: canonical, date, scope)
    }

    /// As it is signed, and must be sent: encoded, and sorted by name, then value.
    public static func encoded(_ query: [(name: String, value: String)]) -> String {
        query.map { (Percent.encode($0.name, in: .strict), Percent.encode($0.value, in: .strict)) }
            .sorted { $0 < $1 }.map { "\($0)=\($1)" }.joined(separator: "&")
    }

    /// The names of the signed fields, and the canonical request.
    private static func canonical(_ request: Request, _ payload: Payload) -> (names: String, text: String) {
        let fields = ([("host", request.host)] + request.fields.map { ($0.name.lowercased(), collapsed($0.value)) }).sorted { $0.0 < $1.0 }
        let names = fields.map(\.0).joined(separator: ";")
        let lines = fields.map { "\($0):\($1)\n" }.joined()
        return (names, "\(request.method)\n\(request.path)\n\(encoded(request.query))\n\(lines)\n\(names)\n\(payload.text)")
    }

    /// Without outer white space, and with one space for each run of them.
    private static func collapsed(_ value: String) -> String { value.split(whereSeparator: { $0 == " " || $0 == "\t" }).joined(separator: " ") }

    private func scope(_ date: String) -> String { "\(date.prefix(8))/\(region)/\(service)/aws4_request" }

    private func signature(of canonical: String, _ date: String, _ scope: String) -> String {
        let text = "\(SignatureV4.algorithm)\n\(date)\n\(scope)\n\(Digest.of(.sha256, canonical.utf8).hex)"
        var key = Array("AWS4\(credentials.secretKey)".utf8)
        for part in [String(date.prefix(8)), region, service, "aws4_request"] { key = SignatureV4.hmac(key, part) }
        return Hex.encode(SignatureV4.hmac(key, text))
    }

    private static func hmac(_ key: [UInt8], _ text: String) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: SymmetricKey(data: key)))
    }

    /// `20130524T000000Z`
    static func date(_ time: Timestamp) -> String {
        // RFC 3339 with milliseconds, less its punctuation and its fraction.
        String(time.description.prefix(19).filter { $0 != "-" && $0 != ":" }) + "Z"
    }
}
