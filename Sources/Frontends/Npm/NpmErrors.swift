public import Core
public import FrontendKit
import HTTPTypes
import Parsing

extension NpmFrontend {
    /// npm shows `error` behind the status. A challenge makes it speak of a wrong password instead, which is what happened then.
    public func reply(to failure: RegistryError, for request: RequestHead, in context: ErrorContext) -> Reply {
        var fields: HTTPFields = [:]
        if failure.code == .unauthenticated { fields[.wwwAuthenticate] = "Basic realm=\"granary\", charset=\"UTF-8\"" }
        return .json(JSON.object(.init([("error", JSON(failure.reason))])).encoded(), .init(code: failure.code.status), fields)
    }
}
