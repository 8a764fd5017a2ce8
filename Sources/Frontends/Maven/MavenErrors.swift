public import Core
public import FrontendKit

extension MavenFrontend {
    /// mvn shows the status and the reason phrase, Gradle both and no body. Both send their credentials to be read with only after they were
    /// asked for them.
    public func reply(to failure: RegistryError, for request: RequestHead, in context: ErrorContext) -> Reply { .phrased(failure) }
}
