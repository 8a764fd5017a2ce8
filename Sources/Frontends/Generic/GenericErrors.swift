import Core
import FrontendKit
import HTTPTypes
import Parsing

/// Failures as the REST API says them: `{code, message}`.
enum GenericErrors {
    static func reply(to failure: RegistryError) -> Reply {
        let document: JSON = ["code": .string(failure.code.word), "message": .string(failure.reason)]
        var fields: HTTPFields = [:]
        if failure.code == .unauthenticated { fields[.wwwAuthenticate] = "Basic realm=\"granary\"" }
        if let seconds = failure.retryAfterSeconds { fields[.retryAfter] = String(seconds) }
        return .json(document.encoded(), HTTPResponse.Status(code: failure.code.status), fields)
    }
}
