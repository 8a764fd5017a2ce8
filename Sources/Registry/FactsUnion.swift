import Core
import FrontendKit

/// The ordered union of facts: what was added first wins, by the format's merge unit, and tags by name. Rows of one addition never exclude
/// each other.
struct FactsUnion {
    private struct Release: Hashable {
        let package: PackageName
        let version: VersionName
    }

    private struct TagKey: Hashable {
        let package: PackageName
        let name: TagName
    }

    private struct LinkKey: Hashable {
        let relation: String
        let target: String
        let release: Release
    }

    private struct Taken {
        var names: Set<PackageName> = []
        var releases: Set<Release> = []
        var paths: Set<AssetPath> = []
        var tags: Set<TagKey> = []
        var links: Set<LinkKey> = []
    }

    private let unit: MergeUnit
    private var taken = Taken()
    private(set) var facts = Facts()

    init(by unit: MergeUnit) { self.unit = unit }

    /// Adds what nobody had before, and returns that.
    mutating func add(_ more: Facts) -> Facts {
        var new = Facts()
        new.revision = more.revision
        new.packages = more.packages.filter { !taken.names.contains($0.name) }
        new.versions = more.versions.filter { !isTaken(Release(package: $0.package, version: $0.name)) }
        new.assets = more.assets.filter { !isTaken($0.path, $0.package, $0.version) }
        new.listed = more.listed.filter { !isTaken($0.path, $0.package, $0.version) }
        new.tags = more.tags.filter { !isTaken($0.package) && !taken.tags.contains(TagKey(package: $0.package, name: $0.name)) }
        new.links = more.links.filter { link in
            let release = Release(package: link.package, version: link.version)
            return !isTaken(release) && !taken.links.contains(LinkKey(relation: link.relation, target: link.target, release: release))
        }
        take(more)
        facts.revision = max(facts.revision, new.revision)
        facts.packages += new.packages
        facts.versions += new.versions
        facts.assets += new.assets
        facts.listed += new.listed
        facts.tags += new.tags
        facts.links += new.links
        return new
    }

    private func isTaken(_ package: PackageName) -> Bool { unit == .package && taken.names.contains(package) }

    private func isTaken(_ release: Release) -> Bool {
        switch unit {
        case .package: taken.names.contains(release.package)
        // A version's own row is one thing whatever else is shared.
        case .version, .asset: taken.releases.contains(release)
        }
    }

    private func isTaken(_ path: AssetPath, _ package: PackageName?, _ version: VersionName?) -> Bool {
        if taken.paths.contains(path) { return true }
        switch unit {
        case .package: return package.map { taken.names.contains($0) } ?? false
        case .version:
            guard let package, let version else { return false }
            return taken.releases.contains(Release(package: package, version: version))
        case .asset: return isBesideTaken(path)
        }
    }

    /// What is about a file (`<file>.metadata`, `<file>.asc`) goes with it: a digest or signature of another member's bytes would be wrong.
    private func isBesideTaken(_ path: AssetPath) -> Bool {
        let name = path.fileName.utf8
        return name.indices.contains { index in
            guard name[index] == UInt8(ascii: "."), index > name.startIndex else { return false }
            return AssetPath(path.text[..<index]).map { taken.paths.contains($0) } ?? false
        }
    }

    private mutating func take(_ more: Facts) {
        for package in more.packages { taken.names.insert(package.name) }
        for version in more.versions {
            taken.names.insert(version.package)
            taken.releases.insert(Release(package: version.package, version: version.name))
        }
        for asset in more.assets { take(asset.path, asset.package, asset.version) }
        for file in more.listed { take(file.path, file.package, file.version) }
        for tag in more.tags { taken.tags.insert(TagKey(package: tag.package, name: tag.name)) }
        for link in more.links {
            let release = Release(package: link.package, version: link.version)
            taken.links.insert(LinkKey(relation: link.relation, target: link.target, release: release))
        }
    }

    private mutating func take(_ path: AssetPath, _ package: PackageName?, _ version: VersionName?) {
        taken.paths.insert(path)
        guard let package else { return }
        taken.names.insert(package)
        guard unit == .version, let version else { return }
        taken.releases.insert(Release(package: package, version: version))
    }
}
