public import Access
public import Catalog
public import Core
import FrontendKit
import Outbound

/// What an administrator says of a repository; nil leaves a value as it is (or at its default when creating).
public struct RepositoryDraft: Sendable {
    public var key: RepositoryKey?
    public var name: String?
    public var description: String?
    public var format: String?
    public var kind: Repository.Kind?
    public var isPublic: Bool?
    /// The inner nil lifts the quota.
    public var quotaBytes: Int64??
    public var upstreamURL: String?
    /// Virtual, when creating: its members.
    public var members: [MemberDraft]?
    /// Virtual: the member that publishing goes to; the inner nil takes it away.
    public var deployMember: RepositoryKey??
    /// The project it is to belong to; the inner nil takes it out of its project.
    public var project: EntityID??
    /// By REST field name; an empty value removes the setting. Those of `Registry.sealedSettings` are kept sealed and never shown.
    public var settings: [String: String] = [:]
    public init() {}
}

extension Registry {
    /// Settings that are secrets: sealed at rest, write-only.
    public static let sealedSettings: Set<String> = ["upstream_password", "upstream_token"]

    /// - Throws: `invalid` for a wrong draft, `conflict` for a key in use, `forbidden` for a caller who may make none, `notFound` for a project they
    ///   may make none in.
    public func createRepository(_ draft: RepositoryDraft, by origin: RequestOrigin) async throws(RegistryError) -> Repository {
        let project = draft.project.flatMap { $0 }
        try await access.requireMaking(origin.caller, in: project)
        // Whoever makes a repository may not point this server at its own network.
        if draft.settings["upstream_allow_private"] == "true" { try access.requireAdmin(origin.caller, scope: .writeRepositories) }
        guard let key = draft.key else { throw invalid("key", "a repository key is 1-128 of A-Z a-z 0-9 . _ - and begins with no . or -") }
        guard let format = draft.format, frontend(for: format) != nil else {
            let known = frontends.map(\.format.name).joined(separator: ", ")
            throw invalid("format", "unknown format \(draft.format ?? ""): this server serves \(known)")
        }
        let kind = draft.kind ?? .local
        if kind == .remote, draft.upstreamURL == nil { throw invalid("upstream_url", "a remote repository needs an upstream_url") }
        let now = world.now()
        var repository = Repository(id: world.newID(), key: key, name: draft.name ?? key.text, format: format, kind: kind, created: now)
        repository.project = project
        if let members = draft.members {
            guard isVirtual(repository), !members.isEmpty else {
                throw invalid("member_repos", "a virtual repository has at least one member, other repositories none")
            }
            for member in members { try await add(member, to: &repository, by: origin.caller) }
        }
        try update(&repository, with: draft)
        try await setDeployMember(of: &repository, to: draft)
        if try await catalog.repository(key) != nil {
            throw RegistryError(.conflict, subject: .repository(key.text), reason: "there is a repository \(key) already")
        }
        defer { access.owned(by: origin.caller) }
        try await catalog.apply(
            Change(
                actor: origin.caller.actor, at: now, requestID: origin.requestID,
                parts: [.putRepository(repository)] + access.owning(repository, by: origin.caller)))
        return try await stored(repository.id)
    }

    /// - Throws: also `notFound` for what the caller may not see.
    public func updateRepository(
        _ key: RepositoryKey, with draft: RepositoryDraft, by origin: RequestOrigin
    ) async throws(RegistryError) -> Repository {
        var repository = try await authorize(origin.caller, .admin, in: key).repository
        // Whoever runs a repository may not point this server at its own network.
        if draft.settings["upstream_allow_private"] == "true" { try access.requireAdmin(origin.caller, scope: .writeRepositories) }
        if let project = draft.project, project != repository.project {
            // It changes who may do what, at both ends.
            try access.requireAdmin(origin.caller, scope: .writeRepositories)
            if let project { try await access.requireMaking(origin.caller, in: project) }
            repository.project = project
        }
        if let format = draft.format, Format.canonical(format) != Format.canonical(repository.format) {
            throw invalid("format", "the format of a repository cannot change")
        }
        if let kind = draft.kind, kind != repository.kind { throw invalid("repo_type", "the type of a repository cannot change") }
        try update(&repository, with: draft)
        try await setDeployMember(of: &repository, to: draft)
        repository.updated = world.now()
        try await catalog.apply(
            Change(actor: origin.caller.actor, at: repository.updated, requestID: origin.requestID, parts: [.putRepository(repository)]))
        views.forget(repository.id, package: nil)
        upstreamTokens.forget(repository.id)
        return try await stored(repository.id)
    }

    public func deleteRepository(_ key: RepositoryKey, by origin: RequestOrigin) async throws(RegistryError) {
        let repository = try await authorize(origin.caller, .admin, in: key, scope: .deleteRepositories).repository
        let forgetting = try await access.forgetting(repository.id)
        let parts = try await leaving(repository.id).map { Change.Part.putRepository($0) } + forgetting.parts
        defer { access.forgot(forgetting) }
        try await catalog.apply(
            Change(
                actor: origin.caller.actor, at: world.now(), requestID: origin.requestID, parts: parts + [.deleteRepository(repository.id)]))
        views.forget(repository.id, package: nil)
    }

    /// A repository the caller may read; else `notFound` (or `unauthenticated`), whether it exists or not.
    public func readable(_ key: RepositoryKey, by caller: Caller, about subject: Subject = .whole) async throws(RegistryError) -> Authorized {
        try await authorize(caller, .read, in: key, about: subject)
    }

    /// `Access.authorize`, of the repository of that name.
    public func authorize(
        _ caller: Caller, _ permission: Permission, in key: RepositoryKey, about subject: Subject = .whole, scope: TokenScope? = nil
    ) async throws(RegistryError) -> Authorized {
        try access.authorize(caller, permission, on: try await catalog.repository(key), named: key, about: subject, scope: scope)
    }

    /// Deletes a project; its repositories stay, and belong to none.
    public func deleteProject(_ id: EntityID, by origin: RequestOrigin) async throws(RegistryError) {
        try await access.deleteProject(
            id, freeing: { () throws(RegistryError) in try await self.repositories(of: id) }, by: origin.caller.actor, requestID: origin.requestID)
    }

    /// As they are without it.
    private func repositories(of project: EntityID) async throws(RegistryError) -> [Repository] {
        var freed: [Repository] = []
        var last: RepositoryKey?
        while true {
            let page = try await catalog.repositories(after: last, limit: 500)
            for var repository in page where repository.project == project {
                repository.project = nil
                freed.append(repository)
            }
            guard page.count == 500, let end = page.last else { return freed }
            last = end.key
        }
    }

    /// A repository the caller may know of, whether or not its content is open to them (a token for management).
    public func listed(_ key: RepositoryKey, by caller: Caller) async throws(RegistryError) -> Repository {
        let repository = try await catalog.repository(key)
        let isListed = access.mayList(caller, repository)
        if isListed, let repository { return repository }
        return try access.authorize(caller, .read, on: repository, named: key).repository
    }

    /// Every repository the caller may know of, in byte order of the keys.
    public func listedRepositories(by caller: Caller) async throws(RegistryError) -> [Repository] {
        var visible: [Repository] = []
        var last: RepositoryKey?
        while true {
            let page = try await catalog.repositories(after: last, limit: 500)
            for repository in page where access.mayList(caller, repository) { visible.append(repository) }
            guard page.count == 500, let end = page.last else { return visible }
            last = end.key
        }
    }

    private func update(_ repository: inout Repository, with draft: RepositoryDraft) throws(RegistryError) {
        if let key = draft.key { repository.key = key }
        if let name = draft.name { repository.name = name }
        if let description = draft.description { repository.description = description }
        if let isPublic = draft.isPublic { repository.isPublic = isPublic }
        if let quota = draft.quotaBytes {
            if let quota, quota < 0 { throw invalid("quota_bytes", "a quota is not negative") }
            repository.quotaBytes = quota
        }
        if let url = draft.upstreamURL {
            guard url.hasPrefix("http://") || url.hasPrefix("https://") else {
                throw invalid("upstream_url", "the upstream URL must be http or https")
            }
            // Credentials stay with the origin they were given for: a new upstream must not be told the old one's.
            if let old = repository.upstreamURL, origin(of: old) != origin(of: url) {
                for name in ["upstream_username", "upstream_password", "upstream_token"] { repository.settings[name] = nil }
            }
            repository.upstreamURL = url
        }
        if let hosts = draft.settings["upstream_credential_hosts"], hosts != repository.settings["upstream_credential_hosts"] ?? "" {
            for host in Registry.hosts(hosts) where Origin(host) == nil {
                throw invalid(
                    "upstream_credential_hosts", "\(host) is neither a host (https on 443) nor an origin such as https://auth.example.org:8443")
            }
            // As with the URL: who may name hosts need not be who knows the password.
            for name in ["upstream_username", "upstream_password", "upstream_token"] { repository.settings[name] = nil }
        }
        for (name, value) in draft.settings {
            if value.isEmpty {
                repository.settings[name] = nil
            } else {
                repository.settings[name] =
                    Registry.sealedSettings.contains(name) ? try sealer.seal(Secret(value), for: "\(repository.id) \(name)") : value
            }
        }
        if let kind = repository.settings["upstream_checksums"], DigestAlgorithm(rawValue: kind) == nil {
            throw invalid("upstream_checksums", "sha256, sha512, sha1 or md5")
        }
        try Registry.checkTrash(repository)
        if let frontend = frontend(for: repository.format) { try CacheLimits.check(repository, of: frontend.format) }
    }

    /// Scheme and authority.
    private func origin(of url: String) -> String {
        url.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false).prefix(3).joined(separator: "/").lowercased()
    }

    func stored(_ id: RepositoryID) async throws(RegistryError) -> Repository {
        guard let repository = try await catalog.repository(id: id) else {
            throw RegistryError(.conflict, subject: .repository(id.description), reason: "the repository was deleted meanwhile")
        }
        return repository
    }

    func invalid(_ field: String, _ reason: String) -> RegistryError { RegistryError(.invalid, subject: .field(field), reason: reason) }
}
