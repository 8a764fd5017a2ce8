import Core
import FrontendKit
import HTTPTypes
import NIOCore

extension AdminAPI {
    /// `{code, message}` everywhere under /api/v1, `{error}` for upload sessions.
    func failure(_ failure: RegistryError, for head: RequestHead) -> Response {
        var status = failure.code.status
        let body: any Encodable & Sendable
        if head.path.segments.starts(with: ["api", "v1", "uploads"]), failure.code != .unauthenticated, failure.code != .forbidden {
            // A quota that cannot hold the announced upload is answered as a body that is too large.
            if failure.code == .noSpace, head.method == .post { status = 413 }
            if failure.code == .digestMismatch { status = 409 }
            body = UploadError(error: failure.reason)
        } else {
            body = Envelope(code: AdminAPI.word(for: failure.code), message: failure.reason)
        }
        var response: Response
        do throws(RegistryError) { response = try .json(body, status: status) } catch { response = Response(.internalServerError) }
        if failure.code == .unauthenticated {
            response.fields[values: .wwwAuthenticate] = ["Basic realm=\"granary\", charset=\"UTF-8\"", "Bearer realm=\"granary\""]
        }
        if let seconds = failure.retryAfterSeconds { response.fields[.retryAfter] = String(seconds) }
        response.failure = failure
        return response
    }

    private static func word(for code: RegistryError.Code) -> String {
        switch code {
        case .unauthenticated: "UNAUTHORIZED"
        case .forbidden, .blocked: "FORBIDDEN"
        case .notFound: "NOT_FOUND"
        case .gone: "GONE"
        case .conflict, .immutable: "CONFLICT"
        case .invalid, .digestMismatch: "VALIDATION_ERROR"
        case .tooLarge: "PAYLOAD_TOO_LARGE"
        case .unsupported: "METHOD_NOT_ALLOWED"
        case .rateLimited: "RATE_LIMITED"
        case .upstreamFailed: "BAD_GATEWAY"
        case .noSpace: "QUOTA_EXCEEDED"
        case .rangeUnsatisfiable: "RANGE_NOT_SATISFIABLE"
        case .pending: "LOCKED"
        case .unavailable: "SERVICE_UNAVAILABLE"
        case .corrupt: "STORAGE_ERROR"
        case .internal: "INTERNAL_ERROR"
        }
    }

    struct Envelope: Codable, Sendable {
        let code, message: String
    }

    private struct UploadError: Codable, Sendable {
        let error: String
    }
}
