public import Core
import Parsing

/// What a registry token is good for: actions on one name, as docker asks for it (`repository:docker-local/app:pull,push`).
///
/// The name's first segment is the repository's key, the rest the image inside it.
public struct RegistryScope: Sendable, Hashable {
    public var name: String
    public var actions: Set<Core.Permission>

    public init(name: String, actions: Set<Core.Permission>) {
        self.name = name
        self.actions = actions
    }

    /// The names of all images its holder may read, and nothing of them: `registry:catalog:*`.
    public static let catalogue = RegistryScope(name: "", actions: [.read])

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
    /// A name of one segment is the image that is called like its repository.
    var package: Substring? { name.split(separator: "/", maxSplits: 1).last }

    /// A token names images: it is good for nothing that is about a repository as a whole.
    func covers(_ permission: Core.Permission, in key: RepositoryKey, about subject: Subject) -> Bool {
        guard actions.contains(permission), repositoryKey == key else { return false }
        return switch subject {
        case .whole: false
        case .name(let name): package.map { $0 == name } ?? false
        case .unknown: true
        }
    }

    private static let actions: [String: Set<Core.Permission>] = [
        "pull": [.read], "push": [.write], "delete": [.delete], "*": [.read, .write, .delete],
    ]
}

/// In a token's `access` claim, as docker's own servers write it: `{"type":"repository","name":..,"actions":["pull"]}`.
extension RegistryScope {
    var json: JSON {
        guard self != .catalogue else { return ["type": "registry", "name": "catalog", "actions": ["*"]] }
        return ["type": "repository", "name": .string(name), "actions": .array(actionNames.map { .string($0) })]
    }

    init?(_ json: JSON) {
        if json["type"]?.string == "registry", json["name"]?.string == "catalog" {
            self = .catalogue
            return
        }
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
