// Core: the vocabulary every other room speaks. Value types that can only be made by parsing, one error type, the seams to clock and
// randomness, and the three shapes of bytes: `Body` arriving, `StagedBytes` not yet acknowledged, `BlobContent` leaving.
// It opens no file and no socket, and knows no format, no store and no caller.

/// The one error that crosses room borders: a code to branch on, a subject to log, words for a human.
///
/// Foreign errors (C libraries, system calls, NIO) are converted at the wrapper that made the foreign call.
public struct RegistryError: Error, Sendable, CustomStringConvertible {
    /// What kind of failure this is. HTTP status is a property of the code; a format overrides it where its client disagrees.
    public enum Code: String, Sendable, CaseIterable {
        case notFound, gone, conflict, immutable, invalid, digestMismatch, tooLarge, unauthenticated, forbidden, blocked, unsupported
        case rateLimited, upstreamFailed, noSpace, corrupt, unavailable, rangeUnsatisfiable, pending, `internal`

        /// The status of RFC 9110 that says this in general HTTP.
        public var status: Int {
            switch self {
            case .notFound: 404
            case .gone: 410
            case .conflict, .immutable: 409
            case .invalid, .digestMismatch: 400
            case .tooLarge: 413
            case .unauthenticated: 401
            case .forbidden, .blocked: 403
            case .unsupported: 405
            case .rateLimited: 429
            case .upstreamFailed: 502
            case .noSpace: 507
            case .unavailable: 503
            case .rangeUnsatisfiable: 416
            case .pending: 423
            case .corrupt, .internal: 500
            }
        }

        /// The word of the JSON envelope `{code, message}`.
        public var word: String {
            switch self {
            case .notFound: "NOT_FOUND"
            case .gone: "GONE"
            case .conflict, .immutable: "CONFLICT"
            case .invalid, .digestMismatch: "VALIDATION_ERROR"
            case .tooLarge: "PAYLOAD_TOO_LARGE"
            case .unauthenticated: "UNAUTHORIZED"
            case .forbidden, .blocked: "FORBIDDEN"
            case .unsupported: "METHOD_NOT_ALLOWED"
            case .rateLimited: "RATE_LIMITED"
            case .upstreamFailed: "BAD_GATEWAY"
            case .noSpace: "QUOTA_EXCEEDED"
            case .unavailable: "SERVICE_UNAVAILABLE"
            case .rangeUnsatisfiable: "RANGE_NOT_SATISFIABLE"
            case .pending: "LOCKED"
            case .corrupt: "STORAGE_ERROR"
            case .internal: "INTERNAL_ERROR"
            }
        }
    }

    /// What the failure is about, typed so that logs can be searched.
    public enum Subject: Sendable, CustomStringConvertible {
        case request
        case repository(String)
        case package(String)
        case path(String)
        case blob(String)
        case upload(String)
        case account(String)
        case upstream(String)
        case field(String)
        case store
        case configuration(String)

        public var description: String {
            switch self {
            case .request: "request"
            case .repository(let key): "repository \(key)"
            case .package(let name): "package \(name)"
            case .path(let path): "path \(path)"
            case .blob(let digest): "blob \(digest)"
            case .upload(let id): "upload \(id)"
            case .account(let name): "account \(name)"
            case .upstream(let url): "upstream \(url)"
            case .field(let name): "field \(name)"
            case .store: "store"
            case .configuration(let key): "setting \(key)"
            }
        }
    }

    public let code: Code
    public let subject: Subject
    /// For the caller: what failed and what to do. Never a disk path, never a secret.
    public let reason: String
    /// For the log only: the foreign error as it came.
    public let cause: String?
    /// Seconds after which trying again makes sense (`Retry-After`).
    public let retryAfterSeconds: Int?
    public let location: String

    public init(
        _ code: Code, subject: Subject, reason: String, cause: String? = nil, retryAfterSeconds: Int? = nil,
        file: String = #fileID, line: Int = #line
    ) {
        self.code = code
        self.subject = subject
        self.reason = reason
        self.cause = cause
        self.retryAfterSeconds = retryAfterSeconds
        self.location = "\(file):\(line)"
    }

    public var description: String {
        "\(code.rawValue): \(subject): \(reason)" + (cause.map { " (\($0))" } ?? "") + " [\(location)]"
    }
}
