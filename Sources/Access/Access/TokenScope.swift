import Core

/// What an API token may be used for. A token never gives more than its owner has: scopes only take away.
public enum TokenScope: String, Sendable, Hashable, CaseIterable {
    case readArtifacts = "read:artifacts"
    case writeArtifacts = "write:artifacts"
    case deleteArtifacts = "delete:artifacts"
    case promoteArtifacts = "promote:artifacts"
    case readRepositories = "read:repositories"
    case writeRepositories = "write:repositories"
    case deleteRepositories = "delete:repositories"
    case readUsers = "read:users"
    case writeUsers = "write:users"
    case triggerSync = "trigger:sync"
    case admin
    case everything = "*"

    /// Only an administrator may put these on a token.
    public var isForAdminsToGrant: Bool {
        switch self {
        case .admin, .everything, .deleteArtifacts, .deleteRepositories, .promoteArtifacts, .triggerSync, .writeUsers: true
        case .readArtifacts, .writeArtifacts, .readRepositories, .writeRepositories, .readUsers: false
        }
    }

    /// The scope a token needs to use a permission on a repository, unless the route says otherwise.
    static func needed(for permission: Core.Permission) -> TokenScope {
        switch permission {
        case .read: .readArtifacts
        case .write: .writeArtifacts
        case .delete: .deleteArtifacts
        case .admin: .writeRepositories
        }
    }
}

/// A set of permissions on one repository, in a byte.
struct Rights: OptionSet, Sendable, Hashable {
    let rawValue: UInt8

    static let read = Rights(.read)
    static let all = Rights(rawValue: 0x0F)

    init(rawValue: UInt8) { self.rawValue = rawValue }
    init(_ permission: Core.Permission) { rawValue = 1 << (permission.rawValue - 1) }
    init(_ permissions: some Sequence<Core.Permission>) {
        self = permissions.reduce(into: []) { $0.formUnion(Rights($1)) }
    }

    /// What the set amounts to: `admin` is everything, and nobody changes what they may not read.
    var implied: Rights {
        if contains(Rights(.admin)) { return .all }
        return isEmpty ? [] : union(.read)
    }

    var permissions: Set<Core.Permission> { Set(Core.Permission.allCases.filter { contains(Rights($0)) }) }
}
