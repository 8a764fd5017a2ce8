import Catalog
import FrontendKit

extension Registry {
    /// What a route's freshness comes to in a repository: `.immutable` or `.pointer`.
    func freshness(_ declared: FileRoute.Freshness, in repository: Repository) -> FileRoute.Freshness {
        guard declared == .release else { return declared }
        return repository.settings["upstream_immutable"] == "false" ? .pointer : .immutable
    }
}
