import Core
import FrontendKit
import HTTPTypes

/// Failures as build tools read them: the status is all that most look at, and a line of text is shown by the rest. Short, since Bazel's reader
/// breaks on long bodies. 404 is a miss to all of them; Maven's resolver sends its credentials only after a 401 with a challenge.
enum HTTPCacheErrors {
    static func reply(to failure: RegistryError, for method: HTTPRequest.Method) -> Reply {
        var fields: HTTPFields = [:]
        if failure.code == .unauthenticated { fields[.wwwAuthenticate] = "Basic realm=\"granary\"" }
        return .text(failure.reason + "\n", HTTPResponse.Status(code: status(of: failure.code, for: method)), fields)
    }

    /// What cannot be had now is a miss as well: of a 5xx tools conclude that the cache is broken, and stop asking the members that work.
    private static func status(of code: RegistryError.Code, for method: HTTPRequest.Method) -> Int {
        code == .unavailable && (method == .get || method == .head) ? RegistryError.Code.notFound.status : code.status
    }
}
