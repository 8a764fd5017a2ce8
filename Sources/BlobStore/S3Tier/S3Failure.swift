import Core
import NIOCore
import Outbound
import Parsing

/// A refusal of the object store, as its error document or its bare status tells it ("Error Responses" of the S3 API reference).
struct S3Failure: Sendable {
    let status: Int
    /// `NoSuchKey`, `SlowDown`, ...; empty when there is no document.
    let code: String
    let message: String
    private let requestID: String

    private static let documentBytesMax = 64 << 10

    /// Reads the body, which is the store's own words or nothing.
    init(_ response: FetchResponse) async {
        var document: XMLElement?
        do throws(RegistryError) {
            let bytes = try await response.body.collect(upTo: S3Failure.documentBytesMax)
            document = try XMLElement(parsing: Array(bytes.readableBytesView), budget: Budget(bytes: S3Failure.documentBytesMax, items: 1000))
        } catch {
            // A proxy's page, or nothing at all: the status has to do.
            document = nil
        }
        self.init(status: response.status, document, requestID: response["x-amz-request-id"])
    }

    init(status: Int, _ document: XMLElement?, requestID: String?) {
        self.status = status
        let isError = document.map { XML.localName($0.name) == "Error" } ?? false
        code = isError ? document?.text(of: "Code") ?? "" : ""
        message = isError ? String((document?.text(of: "Message") ?? "").prefix(300)) : ""
        self.requestID = document?.text(of: "RequestId") ?? requestID ?? ""
    }

    var isAbsence: Bool { code == "NoSuchKey" || code == "NoSuchUpload" || status == 404 && code != "NoSuchBucket" }

    /// Trying again may help.
    var isPassing: Bool {
        status >= 500 && status != 501 || status == 429
            || ["RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "BadDigest", "OperationAborted"].contains(code)
    }

    /// Nothing will help but another configuration; in words for whoever configures.
    var misconfiguration: String? {
        switch code {
        case "NoSuchBucket": "there is no such bucket"
        case "InvalidAccessKeyId": "it does not know this access key"
        case "SignatureDoesNotMatch": "the signature does not match: is the secret key right?"
        case "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException":
            "the bucket is in another region or at another endpoint"
        case "RequestTimeTooSkewed": "this machine's clock is wrong"
        case "ExpiredToken", "InvalidToken": "the session token is not valid (any more)"
        case "AccessDenied", "AllAccessDisabled", "AccountProblem": "these credentials may not do that"
        default:
            switch status {
            case 301, 307: "the bucket is in another region or at another endpoint"
            case 401, 403: "these credentials may not do that, or are wrong"
            default: nil
            }
        }
    }

    func error(_ action: String, _ subject: RegistryError.Subject) -> RegistryError {
        let words = misconfiguration ?? (isAbsence ? "there is no such object" : isPassing ? "it is not able to, now" : "it refuses to")
        let cause = "\(status) \(code)\(message.isEmpty ? "" : ": \(message)")\(requestID.isEmpty ? "" : " [\(requestID)]")"
        return RegistryError(
            isAbsence ? .notFound : .upstreamFailed, subject: subject, reason: "the object store did not \(action): \(words)", cause: cause,
            retryAfterSeconds: isPassing ? 5 : nil)
    }
}
