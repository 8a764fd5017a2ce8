import Core

/// Which release a file belongs to, read from its path: the layouts of the formats that are stored as plain files, then
/// `name/version/…/file`.
enum GenericLayout {
    struct Release: Equatable {
        let package: PackageName
        let version: VersionName
    }

    /// nil when the path says no version: the file then belongs to the repository only.
    static func release(at path: AssetPath) -> Release? {
        let segments = path.segments
        for layout in [mlmodel, bazel, vagrant, p2, opkg, plain] {
            guard let (name, version) = layout(segments) else { continue }
            guard let package = PackageName(name), let version = VersionName(version) else { return nil }
            return Release(package: package, version: version)
        }
        return nil
    }

    private typealias Layout = @Sendable ([Substring]) -> (String, Substring)?

    /// `models/{name}/versions/{version}/artifacts/{path}`
    private static let mlmodel: Layout = { path in
        guard path.count >= 6, path[0] == "models", path[2] == "versions", path[4] == "artifacts" else { return nil }
        return (String(path[1]), path[3])
    }

    /// `modules/{name}/{version}/{file}`
    private static let bazel: Layout = { path in
        guard path.count >= 4, path[0] == "modules" else { return nil }
        return (String(path[1]), path[2])
    }

    /// `{org}/{name}/versions/{version}[/providers/{provider}[/download]]`
    private static let vagrant: Layout = { path in
        guard path.count >= 4, path[2] == "versions", path.count == 4 || path[4] == "providers" else { return nil }
        return ("\(path[0])/\(path[1])", path[3])
    }

    /// `plugins/{id}_{version}.jar`, `features/{id}_{version}.jar`
    private static let p2: Layout = { path in
        guard path.count == 2, path[0] == "plugins" || path[0] == "features", path[1].hasSuffix(".jar") else { return nil }
        let stem = path[1].dropLast(4)
        guard let mark = stem.lastIndex(of: "_") else { return nil }
        return (String(stem[..<mark]), stem[stem.index(after: mark)...])
    }

    /// `{name}_{version}_{arch}.ipk`
    private static let opkg: Layout = { path in
        guard let file = path.last, file.hasSuffix(".ipk") else { return nil }
        let parts = file.dropLast(4).split(separator: "_", omittingEmptySubsequences: false)
        guard parts.count == 3 else { return nil }
        return (String(parts[0]), parts[1])
    }

    private static let plain: Layout = { path in
        path.count >= 3 ? (String(path[0]), path[1]) : nil
    }
}
