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
            body = Envelope(code: failure.code.word, message: failure.reason)
        }
        var response: Response
        do throws(RegistryError) { response = try .json(body, status: status) } catch { response = Response(.internalServerError) }
        if failure.code == .unauthenticated {
            response.fields[values: .wwwAuthenticate] = ["Basic realm=\"granary\", charset=\"UTF-8\"", "Bearer realm=\"granary\""]
        }
        if let seconds = failure.retryAfterSeconds { response.fields[.retryAfter] = String(seconds) }
        if failure.code == .rateLimited { response.fields[.rateLimitRemaining] = "0" }
        response.failure = failure
        return response
    }

    struct Envelope: Codable, Sendable {
        let code, message: String
    }

    private struct UploadError: Codable, Sendable {
        let error: String
    }
}
