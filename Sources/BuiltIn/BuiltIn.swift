import Debian
public import FrontendKit
import Generic
import HTTPCache
import Maven
import Npm
import OCI
import PyPI

/// What every server is made of, whatever its settings: the formats compiled in, and what signs.
public enum BuiltIn {
    public static var frontends: [any Frontend] {
        [DebianFrontend(), GenericFrontend(), HTTPCacheFrontend(), MavenFrontend(), NpmFrontend(), OCIFrontend(), PyPIFrontend()]
    }
}
