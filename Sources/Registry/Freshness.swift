import Catalog
import FrontendKit

extension Registry {
    /// What a route's freshness comes to in a repository: `.immutable` or `.pointer`.
    func freshness(of file: FileRoute, in repository: Repository) -> FileRoute.Freshness {
        guard file.freshness == .release else { return file.freshness }
        return repository.settings["upstream_immutable"] == "false" ? .pointer : .immutable
    }
}
