public import Access
public import Catalog
public import Core
import FrontendKit

/// A place in a virtual repository, as an administrator asks for it.
public struct MemberDraft: Sendable {
    public var key: RepositoryKey
    /// Lower comes first; nil: behind all others.
    public var priority: Int32?
    public init(key: RepositoryKey, priority: Int32? = nil) {
        self.key = key
        self.priority = priority
    }
}

// Which repositories a virtual one is made of. Changing that needs `admin` on the virtual and `read` on what is added.

extension Registry {
    /// A virtual repository has at most so many members.
    static let membersMax = 100

    /// The members the caller may know of, in order.
    /// - Throws: `notFound` when the caller may not see the repository, `invalid` when it is not virtual.
    public func memberships(
        of key: RepositoryKey, by caller: Caller
    ) async throws(RegistryError) -> [(place: Repository.Member, repository: Repository)] {
        try await visible(try virtual(try await listed(key, by: caller)), caller)
    }

    private func visible(
        _ virtual: Repository, _ caller: Caller
    ) async throws(RegistryError) -> [(place: Repository.Member, repository: Repository)] {
        var members: [(place: Repository.Member, repository: Repository)] = []
        for place in virtual.members {
            guard let repository = try await catalog.repository(id: place.repository), access.mayList(caller, repository) else { continue }
            members.append((place, repository))
        }
        return members
    }

    /// - Throws: `conflict` for one that is a member already, `notFound` for one the caller may not see, `invalid` for another format or a circle.
    public func addMember(
        _ draft: MemberDraft, to key: RepositoryKey, by origin: RequestOrigin
    ) async throws(RegistryError) -> (place: Repository.Member, repository: Repository) {
        let changed = try await changeMembers(of: key, by: origin) { virtual throws(RegistryError) in
            try await self.add(draft, to: &virtual, by: origin.caller)
        }
        guard let member = try await visible(changed, origin.caller).first(where: { $0.repository.key == draft.key }) else {
            throw RegistryError(.conflict, subject: .repository(draft.key.text), reason: "\(draft.key) was deleted or renamed meanwhile")
        }
        return member
    }

    /// Gives members their places; those not named keep theirs.
    /// - Throws: `notFound` for what is no member.
    public func arrangeMembers(
        _ drafts: [MemberDraft], of key: RepositoryKey, by origin: RequestOrigin
    ) async throws(RegistryError) -> [(place: Repository.Member, repository: Repository)] {
        let changed = try await changeMembers(of: key, by: origin) { virtual throws(RegistryError) in
            for draft in drafts {
                let index = try await self.index(of: draft.key, in: virtual, origin.caller)
                if let priority = draft.priority { virtual.members[index].priority = priority }
            }
            virtual.members = Registry.ordered(virtual.members)
        }
        return try await visible(changed, origin.caller)
    }

    public func removeMember(_ member: RepositoryKey, from key: RepositoryKey, by origin: RequestOrigin) async throws(RegistryError) {
        _ = try await changeMembers(of: key, by: origin) { virtual throws(RegistryError) in
            let place = virtual.members.remove(at: try await self.index(of: member, in: virtual, origin.caller))
            self.forget(place.repository, in: &virtual)
        }
    }

    private func changeMembers(
        of key: RepositoryKey, by origin: RequestOrigin, _ change: (inout Repository) async throws(RegistryError) -> Void
    ) async throws(RegistryError) -> Repository {
        let authorized = try await authorize(origin.caller, .admin, in: key, scope: .writeRepositories)
        var repository = try virtual(authorized.repository)
        try await change(&repository)
        repository.updated = world.now()
        try await catalog.apply(
            Change(actor: origin.caller.actor, at: repository.updated, requestID: origin.requestID, parts: [.putRepository(repository)]))
        return try await stored(repository.id)
    }

    private func virtual(_ repository: Repository) throws(RegistryError) -> Repository {
        guard isVirtual(repository) else { throw invalid("key", "\(repository.key) is not a virtual repository: it has no members") }
        return repository
    }

    /// Where a member stands; one the caller may not see is none.
    private func index(of key: RepositoryKey, in virtual: Repository, _ caller: Caller) async throws(RegistryError) -> Int {
        guard let repository = try await catalog.repository(key), access.mayList(caller, repository),
            let index = virtual.members.firstIndex(where: { $0.repository == repository.id })
        else {
            throw RegistryError(.notFound, subject: .repository(key.text), reason: "\(key) is no member of \(virtual.key), or you may not see it")
        }
        return index
    }

    func add(_ draft: MemberDraft, to virtual: inout Repository, by caller: Caller) async throws(RegistryError) {
        guard let member = try await catalog.repository(draft.key), access.mayRead(caller, member) else {
            throw RegistryError(
                .notFound, subject: .repository(draft.key.text), reason: "there is no repository \(draft.key), or you may not read it")
        }
        guard let frontend = frontend(for: virtual.format), frontend.format.answers(to: member.format) else {
            throw invalid("member_key", "\(member.key) has the format \(member.format), \(virtual.key) has \(virtual.format)")
        }
        guard member.id != virtual.id, !(try await below(member).contains { $0.id == virtual.id }) else {
            throw invalid("member_key", "\(member.key) would make \(virtual.key) a member of itself")
        }
        guard !virtual.members.contains(where: { $0.repository == member.id }) else {
            throw RegistryError(.conflict, subject: .repository(member.key.text), reason: "\(member.key) is a member of \(virtual.key) already")
        }
        guard virtual.members.count < Registry.membersMax else {
            throw invalid("member_key", "a virtual repository has at most \(Registry.membersMax) members")
        }
        let last = virtual.members.map(\.priority).max()
        let priority = draft.priority ?? last.map { $0.addingReportingOverflow($0 == .max ? 0 : 1).partialValue } ?? 0
        virtual.members = Registry.ordered(
            virtual.members + [Repository.Member(id: world.newID(), repository: member.id, priority: priority)])
    }

    /// By priority; equal ones as they stand.
    private static func ordered(_ members: [Repository.Member]) -> [Repository.Member] {
        members.enumerated().sorted { ($0.element.priority, $0.offset) < ($1.element.priority, $1.offset) }.map(\.element)
    }

    // MARK: The deploy member

    func setDeployMember(of repository: inout Repository, to draft: RepositoryDraft) async throws(RegistryError) {
        for name in [Registry.sharedNames] where draft.settings[name]?.isEmpty == false && !isVirtual(repository) {
            throw invalid(name, "\(name) is a setting of virtual repositories")
        }
        guard let wanted = draft.deployMember else { return }
        guard let key = wanted else {
            repository.settings[Registry.deployMember] = nil
            return
        }
        guard let member = try await catalog.repository(key), repository.members.contains(where: { $0.repository == member.id }),
            isLocal(member) || isVirtual(member)
        else { throw invalid("deploy_member_key", "\(key) is no member of \(repository.key) that takes uploads") }
        repository.settings[Registry.deployMember] = member.id.description
    }

    /// The key of the member that publishing goes to; nil when there is none, or none the caller may know of.
    public func deployMemberKey(of repository: Repository, for caller: Caller) async throws(RegistryError) -> RepositoryKey? {
        guard let id = repository.settings[Registry.deployMember].flatMap({ EntityID($0) }), let member = try await catalog.repository(id: id),
            access.mayList(caller, member)
        else { return nil }
        return member.key
    }

    /// Patterns of names that upstreams may add to although a local member owns them.
    public func sharedNames(of repository: Repository) -> [String] {
        (repository.settings[Registry.sharedNames] ?? "").split(separator: "\n").map(String.init)
    }

    // MARK: A member goes

    /// Every virtual repository with the member, as it is without.
    func leaving(_ member: RepositoryID) async throws(RegistryError) -> [Repository] {
        var changed: [Repository] = []
        var last: RepositoryKey?
        while true {
            let page = try await catalog.repositories(after: last, limit: 500)
            for var virtual in page where virtual.members.contains(where: { $0.repository == member }) {
                virtual.members.removeAll { $0.repository == member }
                forget(member, in: &virtual)
                changed.append(virtual)
            }
            guard page.count == 500, let end = page.last else { return changed }
            last = end.key
        }
    }

    private func forget(_ member: RepositoryID, in virtual: inout Repository) {
        if virtual.settings[Registry.deployMember] == member.description { virtual.settings[Registry.deployMember] = nil }
    }
}
