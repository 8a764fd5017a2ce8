import Core

/// How a Debian repository presents itself (`debian{}` of the REST API). What is not served is refused where asking for it means relying on it.
struct DebianRepositoryConfig: Codable, Sendable {
    let distribution_paths, distributions, components, architectures: [String]?
    let flat_repository: Bool?
    let package_queries: [String]?
}

/// Of a repository's settings, those that the Debian format reads. An empty value removes one.
func aptSettings(
    origin: String?, label: String?, version: String?, description: String?, _ debian: DebianRepositoryConfig?
) throws(RegistryError) -> [String: String] {
    var settings: [String: String] = [:]
    for (name, value) in [("apt_origin", origin), ("apt_label", label), ("apt_release_version", version), ("apt_description", description)] {
        guard let value else { continue }
        // They become lines of a signed document.
        guard value.utf8.count <= 256, value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw RegistryError(.invalid, subject: .field(name), reason: "\(name) is one line of at most 256 bytes")
        }
        settings[name] = value
    }
    guard let debian else { return settings }
    guard debian.flat_repository != true, (debian.package_queries ?? []).isEmpty else {
        throw RegistryError(.invalid, subject: .field("debian"), reason: "flat_repository and package_queries are not served by this version")
    }
    let lists = [
        ("distribution_paths", debian.distribution_paths ?? debian.distributions), ("components", debian.components),
        ("architectures", debian.architectures),
    ]
    for (name, list) in lists {
        guard let list else { continue }
        let isPlain = list.allSatisfy { item in
            AssetPath(item) != nil && item.utf8.count <= 128 && item.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
                && (name == "distribution_paths" || !item.contains("/"))
        }
        guard isPlain, list.count <= 64 else {
            throw RegistryError(.invalid, subject: .field("debian.\(name)"), reason: "\(name) has at most 64 names without spaces")
        }
        settings["debian.\(name)"] = list.joined(separator: " ")
    }
    return settings
}
