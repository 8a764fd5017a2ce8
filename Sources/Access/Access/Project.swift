public import Catalog
public import Core

/// Repositories that belong together, with accounts and groups that have rights on all of them.
public struct Project: Sendable, Hashable {
    public var id: EntityID
    public var key: String
    public var name: String
    public var description: String?
    public var created: Timestamp
    public var updated: Timestamp
    var revision: Revision = .zero
}

/// `Record(.project, id: <project>, unique: <key in lower case>)`
extension Project: Anchor {
    static let format: UInt8 = 1

    var record: Record {
        var writer = BinaryWriter()
        writer.write(Project.format)
        writer.write(key)
        writer.write(name)
        writer.write(description) { $0.write($1) }
        writer.write(created)
        writer.write(updated)
        return Record(kind: .project, id: id.description, unique: key.lowercased(), value: writer.bytes)
    }

    init(_ record: Record) throws(RegistryError) {
        var reader = try Rows.reader(record, format: Project.format)
        guard let id = EntityID(record.id) else { throw BinaryReader.damaged }
        self.id = id
        key = try reader.readString()
        name = try reader.readString()
        description = try reader.readOptional { (reader) throws(RegistryError) in try reader.readString() }
        created = try reader.readTimestamp()
        updated = try reader.readTimestamp()
        revision = record.revision
    }
}

// Who may call these is decided by `requireAdmin` before; `actor` is who did it, for the log.
extension Access {
    /// - Throws: `invalid` for a key or name that is none; `conflict` when the key is taken, in either case.
    public func createProject(
        key: String, name: String, description: String?, quotaBytes: Int64? = nil, by actor: Actor, requestID: String
    ) async throws(RegistryError) -> Project {
        guard RepositoryKey(key) != nil else {
            throw RegistryError(.invalid, subject: .field("key"), reason: "a project's key is 1-128 of A-Z a-z 0-9 . _ - and begins with no . or -")
        }
        try Access.check(projectName: name, description)
        try Access.check(quotaBytes: quotaBytes)
        let now = world.now()
        let project = Project(id: world.newID(), key: key, name: name, description: description, created: now, updated: now)
        var parts = [Change.Part.putRecord(project.record, ifRevision: .zero)]
        if let quotaBytes { parts.append(.putQuota(project: project.id, bytes: quotaBytes)) }
        do throws(RegistryError) { try await commit(parts, of: [], by: actor, requestID: requestID) } catch {
            guard error.code == .conflict else { throw error }
            throw RegistryError(.conflict, subject: .field("key"), reason: "there is a project \(key) already")
        }
        return project
    }

    /// What is nil stays. A quota below what is held already refuses what would make it more.
    /// - Parameter quotaBytes: the inner nil lifts it.
    /// - Throws: `notFound`.
    public func updateProject(
        _ id: EntityID, name: String?, description: String?, quotaBytes: Int64?? = nil, by actor: Actor, requestID: String
    ) async throws(RegistryError) -> Project {
        if let name { try Access.check(projectName: name, nil) }
        try Access.check(projectName: "-", description)
        try Access.check(quotaBytes: quotaBytes ?? nil)
        return try await retrying { () throws(RegistryError) in
            var project = try await self.projectRow(id)
            project.name = name ?? project.name
            project.description = description ?? project.description
            var parts = [project.touched(at: self.world.now())]
            if let quotaBytes { parts.append(.putQuota(project: id, bytes: quotaBytes)) }
            try await self.commit(parts, of: [], by: actor, requestID: requestID)
            return try await self.projectRow(id)
        }
    }

    /// Removes the project and what was given on it. Its repositories stay and belong to none.
    /// - Parameter freed: its repositories, as they are without it.
    /// - Throws: `notFound`.
    public func deleteProject(
        _ id: EntityID, freeing freed: () async throws(RegistryError) -> [Repository], by actor: Actor, requestID: String
    ) async throws(RegistryError) {
        try await retrying { () throws(RegistryError) in
            // The row is written before it goes, so that a right given meanwhile makes us look again.
            var parts = [try await self.projectRow(id).touched(at: self.world.now())]
            let grants = try await self.grants(on: .project(id))
            parts += grants.map { .deleteRecord(.permission, id: $0.recordID) }
            parts += try await freed().map { .putRepository($0) }
            parts += [.putQuota(project: id, bytes: nil), .deleteRecord(.project, id: id.description)]
            try await self.commit(parts, of: grants.map(\.principal.id), by: actor, requestID: requestID)
        }
    }

    public func project(_ id: EntityID) async throws(RegistryError) -> Project? {
        guard let record = try await catalog.record(.project, id: id.description) else { return nil }
        return try Project(record)
    }

    public func quota(of project: EntityID) async throws(RegistryError) -> ProjectQuota? { try await catalog.quota(of: project) }

    /// By project, of those that have one.
    public func quotas() async throws(RegistryError) -> [EntityID: ProjectQuota] {
        var quotas: [EntityID: ProjectQuota] = [:]
        for record in try await records(.quota, prefix: "") {
            let quota = try ProjectQuota(record)
            quotas[quota.project] = quota
        }
        return quotas
    }

    /// In the order they were made.
    public func projects() async throws(RegistryError) -> [Project] {
        var projects: [Project] = []
        for record in try await records(.project, prefix: "") { projects.append(try Project(record)) }
        return projects
    }

    func projectRow(_ id: EntityID) async throws(RegistryError) -> Project {
        guard let project = try await project(id) else { throw Access.noSuchProject }
        return project
    }

    static var noSuchProject: RegistryError { RegistryError(.notFound, subject: .request, reason: "there is no such project") }

    private static func check(projectName name: String, _ description: String?) throws(RegistryError) {
        guard (1...128).contains(name.utf8.count), name.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw RegistryError(.invalid, subject: .field("name"), reason: "1 to 128 bytes, no control characters")
        }
        guard (description?.utf8.count ?? 0) <= 1024 else {
            throw RegistryError(.invalid, subject: .field("description"), reason: "at most 1024 bytes")
        }
    }

    private static func check(quotaBytes: Int64?) throws(RegistryError) {
        guard quotaBytes ?? 0 >= 0 else { throw RegistryError(.invalid, subject: .field("quota_bytes"), reason: "a quota is not negative") }
    }

    // MARK: Making repositories

    /// Who may make a repository, in this project or in none: administrators; who administers the project; outside of projects, who has `admin` on
    /// the system or the role `repository-owner`. A credential limited to repositories makes none.
    /// - Throws: `notFound` for a project the caller may not make one in.
    public func requireMaking(_ caller: Caller, in project: EntityID?) async throws(RegistryError) {
        try requireAccount(caller, scope: .writeRepositories)
        if caller.ownerIsAdmin {
            try requireAdmin(caller, scope: .writeRepositories)
            if let project { _ = try await projectRow(project) }
            return
        }
        let isAllowed = caller.tokenRepositories == nil && (project.map { caller.holdings.isAdmin(of: $0) } ?? caller.holdings.makesRepositories)
        guard !isAllowed else {
            if let project { _ = try await projectRow(project) }
            return
        }
        guard project == nil else { throw Access.noSuchProject }
        throw RegistryError(.forbidden, subject: .request, reason: "this needs an administrator, or the right to make repositories")
    }

    /// What gives a repository's maker all rights on it, where they have none yet; to be committed with it.
    public func owning(_ repository: Repository, by caller: Caller) -> [Change.Part] {
        guard let account = caller.account, !caller.ownerIsAdmin, !caller.holdings.rights(on: repository).contains(Rights(.admin)) else { return [] }
        let now = world.now()
        let grant = Grant(
            id: world.newID(), principal: .account(account), target: .repository(repository.id), actions: [.admin], patterns: [], created: now,
            updated: now)
        return [.putRecord(grant.record, ifRevision: .zero)]
    }

    /// To be called once `owning` was committed, or may be.
    public func owned(by caller: Caller) { if let account = caller.account { verified.advance(account) } }
}
