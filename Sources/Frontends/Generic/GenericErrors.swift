import Core
import FrontendKit
import HTTPTypes
import Parsing

/// Failures as the REST API says them: `{code, message}`.
enum GenericErrors {
    static func reply(to failure: RegistryError) -> Reply {
        let document: JSON = ["code": .string(code(failure.code)), "message": .string(failure.reason)]
        var fields: HTTPFields = [:]
        if failure.code == .unauthenticated { fields[.wwwAuthenticate] = "Basic realm=\"granary\"" }
        if let seconds = failure.retryAfterSeconds { fields[.retryAfter] = String(seconds) }
        return .json(document.encoded(), HTTPResponse.Status(code: failure.code.status), fields)
    }

    private static func code(_ code: RegistryError.Code) -> String {
        switch code {
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
        case .unavailable, .pending: "SERVICE_UNAVAILABLE"
        case .rangeUnsatisfiable: "RANGE_NOT_SATISFIABLE"
        case .corrupt: "STORAGE_ERROR"
        case .internal: "INTERNAL_ERROR"
        }
    }
}
