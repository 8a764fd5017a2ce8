public import Core
public import FrontendKit

extension PyPIFrontend {
    /// twine and pip show the reason phrase, uv and poetry the body.
    public func reply(to failure: RegistryError, for request: RequestHead, in context: ErrorContext) -> Reply { .phrased(failure) }
}
