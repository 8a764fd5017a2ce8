public import Core
public import FrontendKit

extension DebianFrontend {
    /// apt and dput show the status and the reason phrase, people with curl read the body.
    public func reply(to failure: RegistryError, for request: RequestHead, in context: ErrorContext) -> Reply { .phrased(failure) }
}
