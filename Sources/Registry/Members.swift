import Access
import Catalog
import Core
import FrontendKit

/// A repository that holds things itself, reached through a virtual one by one caller.
struct Member: Sendable {
    let session: RepositorySession
    /// The virtual repositories on the way to it, the one that was asked first.
    let within: [Repository]
    var repository: Repository { session.authorized.repository }
}

/// What a virtual repository consists of for one caller: nested ones are unfolded in their place, each repository counts where it comes first.
struct Members: Sendable {
    /// In order of precedence; only those the caller may read, on every step of the way.
    var visible: [Member] = []
    /// Local repositories below, hidden ones too: a name is owned whoever asks, else who has no credentials would be given a stranger's package
    /// under the name of a private one.
    var locals: [Repository] = []
    /// Of each virtual repository below, and of the asked one, the locals inside it.
    var insides: [RepositoryID: Set<RepositoryID>] = [:]
    /// Whoever may read the virtual repository may read everything below it.
    var isOpen: Bool
}

extension Registry {
    /// The members of the session's virtual repository.
    func members(of session: RepositorySession) async throws(RegistryError) -> Members {
        let virtual = session.authorized.repository
        var members = Members(isOpen: virtual.isPublic)
        var seen: Set<RepositoryID> = []
        try await see(session, within: [], seen: &seen, into: &members)
        var virtuals: Set<RepositoryID> = []
        for repository in [virtual] + (try await below(virtual)) {
            members.isOpen = members.isOpen && repository.isPublic
            if isLocal(repository) { members.locals.append(repository) }
            guard isVirtual(repository), virtuals.insert(repository.id).inserted else { continue }
            members.insides[repository.id] = Set(try await below(repository).filter { isLocal($0) }.map(\.id))
        }
        return members
    }

    private func see(
        _ session: RepositorySession, within: [Repository], seen: inout Set<RepositoryID>, into members: inout Members
    ) async throws(RegistryError) {
        let virtual = session.authorized
        for place in virtual.repository.members {
            guard let repository = try await catalog.repository(id: place.repository),
                let reached = access.authorize(member: repository, through: virtual, for: .read), seen.insert(repository.id).inserted
            else { continue }
            let inner = session.entering(reached)
            let path = within + [virtual.repository]
            if isVirtual(repository) {
                try await see(inner, within: path, seen: &seen, into: &members)
            } else {
                members.visible.append(Member(session: inner, within: path))
            }
        }
    }

    /// Every repository below a virtual one, whoever may see it, once. A place whose repository is gone is empty.
    func below(_ virtual: Repository) async throws(RegistryError) -> [Repository] {
        var found: [Repository] = []
        var seen: Set<RepositoryID> = [virtual.id]
        var ahead = virtual.members.map(\.repository)
        while !ahead.isEmpty {
            let id = ahead.removeFirst()
            guard seen.insert(id).inserted, let repository = try await catalog.repository(id: id) else { continue }
            found.append(repository)
            ahead += repository.members.map(\.repository)
        }
        return found
    }

    /// Members that may be asked about a package. Locals that lack it are left out; a remote is left out when a local one owns the name, unless
    /// each virtual repository on the way to both shares it.
    func candidates(for package: PackageName?, in members: Members) async throws(RegistryError) -> [Member] {
        guard let package else { return members.visible }
        let owners = try await owners(of: package, in: members)
        return members.visible.filter { member in
            if isLocal(member.repository) { return owners.contains(member.repository.id) }
            return mayAsk(member, about: package, ownedBy: owners, in: members)
        }
    }

    /// The same for a scope: what lies in a family may be in a local that lacks the package itself.
    func candidates(for scope: Scope, in members: Members) async throws(RegistryError) -> [Member] {
        let candidates = try await candidates(for: scope.package, in: members)
        guard case .family = scope else { return candidates }
        let asked = Set(candidates.map(\.repository.id))
        return members.visible.filter { isLocal($0.repository) || asked.contains($0.repository.id) }
    }

    /// What of a member's facts may count: of a scope over many packages, names that the right on the member does not cover are left out, and a
    /// remote's rows about names that local members own.
    func allowed(_ facts: Facts, in scope: Scope, of member: Member, _ members: Members) async throws(RegistryError) -> Facts {
        let isOutranked = !isLocal(member.repository) && !members.locals.isEmpty
        let limits = member.session.steps.filter(\.isLimited)
        guard scope.package == nil, isOutranked || !limits.isEmpty else { return facts }
        var barred: Set<PackageName> = []
        for name in Set(facts.packages.map(\.name) + facts.versions.map(\.package) + facts.listed.map(\.package)) {
            let isCovered = limits.allSatisfy { $0.covers(name.text) }
            guard isCovered, isOutranked else {
                if !isCovered { barred.insert(name) }
                continue
            }
            let owners = try await owners(of: name, in: members)
            if !mayAsk(member, about: name, ownedBy: owners, in: members) { barred.insert(name) }
        }
        guard !barred.isEmpty else { return facts }
        var allowed = facts
        allowed.packages.removeAll { barred.contains($0.name) }
        allowed.versions.removeAll { barred.contains($0.package) }
        allowed.assets.removeAll { $0.package.map { barred.contains($0) } ?? false }
        allowed.tags.removeAll { barred.contains($0.package) }
        allowed.links.removeAll { barred.contains($0.package) }
        allowed.listed.removeAll { barred.contains($0.package) }
        return allowed
    }

    private func owners(of package: PackageName, in members: Members) async throws(RegistryError) -> Set<RepositoryID> {
        var owners: Set<RepositoryID> = []
        for local in members.locals where try await catalog.package(package, in: local.id) != nil { owners.insert(local.id) }
        return owners
    }

    private func mayAsk(_ member: Member, about package: PackageName, ownedBy owners: Set<RepositoryID>, in members: Members) -> Bool {
        owners.isEmpty
            || member.within.allSatisfy { virtual in
                owners.isDisjoint(with: members.insides[virtual.id] ?? []) || shares(package, in: virtual)
            }
    }

    /// Whether a routing rule of the virtual repository lets upstreams add to a name that is ours.
    private func shares(_ package: PackageName, in virtual: Repository) -> Bool {
        (virtual.settings[Registry.sharedNames] ?? "").split(separator: "\n").contains { Wildcard.matches(package.text, $0) }
    }

    /// The setting: patterns of package names, one a line.
    static let sharedNames = "shared_names"
}

/// `*` stands for any text, everything else for itself.
enum Wildcard {
    static func matches(_ text: String, _ pattern: some StringProtocol) -> Bool {
        let text = Array(text.utf8)
        let pattern = Array(pattern.utf8)
        var (t, p) = (0, 0)
        // Where to go on when the text after the last `*` does not fit: one byte later.
        var retry: (t: Int, p: Int)?
        while t < text.count {
            if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
                retry = (t, p + 1)
                p += 1
            } else if p < pattern.count, pattern[p] == text[t] {
                t += 1
                p += 1
            } else if let last = retry {
                retry = (last.t + 1, last.p)
                (t, p) = (last.t + 1, last.p)
            } else {
                return false
            }
        }
        return pattern[p...].allSatisfy { $0 == UInt8(ascii: "*") }
    }
}
