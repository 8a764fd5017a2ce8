public import Core
import Parsing

/// What a registry token is good for: actions on one name, as docker asks for it (`repository:docker-local/app:pull,push`).
///
/// The name's first segment is the repository's key, the rest the package inside it.
public struct RegistryScope: Sendable, Hashable {
    public var name: String
    public var actions: Set<Core.Permission>

    public init(name: String, actions: Set<Core.Permission>) {
        self.name = name
        self.actions = actions
    }

    /// Reads `repository:NAME:ACTIONS` (distribution-spec token grammar); nil for another type, an empty name or no known action.
    /// The name may hold colons (a host with a port).
    public init?(parsing text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count >= 3, parts[0] == "repository", let last = parts.last else { return nil }
        let name = parts.dropFirst().dropLast().joined(separator: ":")
        let actions = last.split(separator: ",").reduce(into: Set<Core.Permission>()) { $0.formUnion(RegistryScope.actions[String($1)] ?? []) }
        guard !name.isEmpty, !actions.isEmpty else { return nil }
        self.init(name: name, actions: actions)
    }

    var repositoryKey: RepositoryKey? { name.split(separator: "/", maxSplits: 1).first.flatMap { RepositoryKey($0) } }
    var package: Substring? {
        let parts = name.split(separator: "/", maxSplits: 1)
        return parts.count == 2 ? parts[1] : nil
    }

    /// Without a package the question is about the repository as a whole.
    func covers(_ permission: Core.Permission, in key: RepositoryKey, package: String?) -> Bool {
        guard actions.contains(permission), repositoryKey == key else { return false }
        guard let package else { return true }
        return self.package.map { $0 == package } ?? false
    }

    private static let actions: [String: Set<Core.Permission>] = [
        "pull": [.read], "push": [.write], "delete": [.delete], "*": [.read, .write, .delete],
    ]
}

/// In a token's `access` claim, as docker's own servers write it: `{"type":"repository","name":..,"actions":["pull"]}`.
extension RegistryScope {
    var json: JSON { ["type": "repository", "name": .string(name), "actions": .array(actionNames.map { .string($0) })] }

    init?(_ json: JSON) {
        guard json["type"]?.string == "repository", let name = json["name"]?.string, let words = json["actions"]?.array else { return nil }
        self.init(name: name, actions: words.reduce(into: []) { $0.formUnion(RegistryScope.actions[$1.string ?? ""] ?? []) })
    }

    /// `pull`, `push`, `delete`.
    public var actionNames: [String] {
        actions.sorted().compactMap { permission in
            switch permission {
            case .read: "pull"
            case .write: "push"
            case .delete: "delete"
            case .admin: nil
            }
        }
    }
}
