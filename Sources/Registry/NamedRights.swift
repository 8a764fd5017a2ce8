import Access
import Catalog
import Core
import FrontendKit

// Rights that are limited to names inside a repository (docs/access.md): what a request touches must be within them, whatever it said it was about.

extension RepositorySession {
    /// Every right this session rests on.
    var steps: [Authorized] { through + [authorized] }

    /// What was asked for by name was decided with the name; an action that has it in its body asks here.
    func checkMayRead(_ package: PackageName?) throws(RegistryError) {
        for step in steps where step.subject == .unknown { try registry.access.require(step, for: package?.text) }
    }
}

extension Registry {
    func requireNames(of target: FileTarget, _ authorized: Authorized) throws(RegistryError) {
        switch target {
        case .path(let path): try access.require(authorized, for: path.text)
        case .tagged(let package, _, _, _): try access.require(authorized, for: package.text)
        }
    }

    /// - Throws: `forbidden` when the edit changes anything outside the names the right is limited to.
    func requireNames(of edit: Edit, _ authorized: Authorized) throws(RegistryError) {
        guard authorized.isLimited else { return }
        // A release goes with its files: where names are paths, a package has none of its own.
        var packages: Set<PackageName> = []
        for mutation in edit.mutations {
            switch mutation {
            case .putAsset(let draft, _):
                try access.require(authorized, for: draft.path.text)
                if let package = draft.package { packages.insert(package) }
            case .deleteAsset(let path), .discardAsset(let path): try access.require(authorized, for: path.text)
            default: break
            }
        }
        for mutation in edit.mutations {
            guard let package = mutation.package, !packages.contains(package) else { continue }
            try access.require(authorized, for: package.text)
        }
    }
}

extension Mutation {
    /// The package it changes beside assets.
    fileprivate var package: PackageName? {
        switch self {
        case .putAsset, .deleteAsset, .discardAsset: nil
        case .putPackage(let package, _, _): package
        case .putVersion(let package, _, _, _), .ensureVersion(let package, _), .setState(let package, _, _), .deleteVersion(let package, _),
            .putTag(let package, _, _), .deleteTag(let package, _):
            package
        case .putLink(let link), .deleteLink(let link): link.package
        }
    }
}
