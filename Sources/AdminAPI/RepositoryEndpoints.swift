import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Registry

/// Repositories (conventions, section 5).
enum RepositoryEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/repositories", "list_repositories", "repositories", .optional, query: filters + PageWindow.parameters) {
            (call, _: Nothing) throws(RegistryError) -> RepositoryListResponse in
            let window = try PageWindow(call.head.query)
            let repositories = try await call.registry.listedRepositories(by: call.caller).filter { matches($0, call.head.query) }
            var items: [RepositoryResponse] = []
            for repository in window.of(repositories) { items.append(try await response(repository, call)) }
            return RepositoryListResponse(items: items, pagination: window.pagination(total: repositories.count))
        },
        .json(.post, "/api/v1/repositories", "create_repository", "repositories", .authenticated, scope: .writeRepositories) {
            (call, request: CreateRepositoryRequest) throws(RegistryError) -> RepositoryResponse in
            try await response(try await call.registry.createRepository(try request.draft(), by: call.origin), call)
        },
        .json(.get, "/api/v1/repositories/{key}", "get_repository", "repositories", .optional) {
            (call, _: Nothing) throws(RegistryError) -> RepositoryResponse in
            try await response(try await call.registry.listed(try call.repositoryKey(), by: call.caller), call)
        },
        .json(.patch, "/api/v1/repositories/{key}", "update_repository", "repositories", .authenticated, scope: .writeRepositories) {
            (call, request: UpdateRepositoryRequest) throws(RegistryError) -> RepositoryResponse in
            try await response(try await call.registry.updateRepository(try call.repositoryKey(), with: try request.draft(), by: call.origin), call)
        },
        .json(.delete, "/api/v1/repositories/{key}", "delete_repository", "repositories", .authenticated, scope: .deleteRepositories) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await call.registry.deleteRepository(try call.repositoryKey(), by: call.origin)
            return Nothing()
        },
        .json(.get, "/api/v1/repositories/{key}/storage", "get_repository_storage", "repositories", .optional) {
            (call, _: Nothing) throws(RegistryError) -> RepositoryStorageStatsResponse in
            let repository = try await call.registry.listed(try call.repositoryKey(), by: call.caller)
            let usage = try await call.registry.catalog.usage(of: repository.id)
            let survey = try await call.registry.storageSurvey.current()
            return RepositoryStorageStatsResponse(repository, usage, survey)
        },
        .json(.get, "/api/v1/repositories/{key}/cache-ttl", "get_cache_ttl", "repositories", .optional) {
            (call, _: Nothing) throws(RegistryError) -> CacheTtlResponse in
            let repository = try await call.registry.listed(try call.repositoryKey(), by: call.caller)
            return CacheTtlResponse(repository_key: repository.key.text, cache_ttl_seconds: call.registry.freshSeconds(of: repository))
        },
        .json(.put, "/api/v1/repositories/{key}/cache-ttl", "set_cache_ttl", "repositories", .authenticated, scope: .writeRepositories) {
            (call, request: CacheTtlRequest) throws(RegistryError) -> CacheTtlResponse in
            guard (1...2_592_000).contains(request.cache_ttl_seconds) else {
                throw RegistryError(.invalid, subject: .field("cache_ttl_seconds"), reason: "1 to 2592000 seconds")
            }
            var draft = RepositoryDraft()
            draft.settings["cache_ttl_seconds"] = String(request.cache_ttl_seconds)
            let repository = try await call.registry.updateRepository(try call.repositoryKey(), with: draft, by: call.origin)
            return CacheTtlResponse(repository_key: repository.key.text, cache_ttl_seconds: request.cache_ttl_seconds)
        },
        .json(.put, "/api/v1/repositories/{key}/upstream-auth", "set_upstream_auth", "repositories", .authenticated, scope: .writeRepositories) {
            (call, request: UpstreamAuthRequest) throws(RegistryError) -> UpstreamAuthResponse in
            var draft = RepositoryDraft()
            draft.settings = try upstreamSettings(request.auth_type, request.username, request.password)
            _ = try await call.registry.updateRepository(try call.repositoryKey(), with: draft, by: call.origin)
            return UpstreamAuthResponse(auth_type: request.auth_type, message: "the upstream credentials were replaced")
        },
    ]

    private static let filters = ["format", "type", "q"].map { Endpoint.Parameter(name: $0, type: "string") }

    private static func matches(_ repository: Repository, _ query: Query) -> Bool {
        if let format = query["format"], Format.canonical(format) != Format.canonical(repository.format) { return false }
        if let kind = query["type"], kind != repository.kind.rawValue { return false }
        if let text = query["q"]?.lowercased(), !repository.key.text.lowercased().contains(text), !repository.name.lowercased().contains(text) {
            return false
        }
        return true
    }

    /// As the setting keeps them.
    static func sharedNames(_ patterns: [String]) throws(RegistryError) -> String {
        for pattern in patterns where !(1...512).contains(pattern.utf8.count) || pattern.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) {
            throw RegistryError(.invalid, subject: .field("shared_names"), reason: "a pattern is a package name, in which * stands for any text")
        }
        guard patterns.count <= 1000 else {
            throw RegistryError(.invalid, subject: .field("shared_names"), reason: "there may be at most 1000 patterns")
        }
        return patterns.joined(separator: "\n")
    }

    /// A secret replaces the other kind's, so that nothing stale is sent.
    static func upstreamSettings(_ type: String?, _ username: String?, _ password: String?) throws(RegistryError) -> [String: String] {
        switch type {
        case "basic":
            guard let username, let password else {
                throw RegistryError(.invalid, subject: .field("upstream_auth_type"), reason: "basic needs a user name and a password")
            }
            return ["upstream_username": username, "upstream_password": password, "upstream_token": ""]
        case "bearer":
            guard let password else {
                throw RegistryError(.invalid, subject: .field("upstream_auth_type"), reason: "bearer needs the token as the password")
            }
            return ["upstream_username": "", "upstream_password": "", "upstream_token": password]
        case "none": return ["upstream_username": "", "upstream_password": "", "upstream_token": ""]
        case nil: return [:]
        default: throw RegistryError(.invalid, subject: .field("upstream_auth_type"), reason: "basic, bearer or none")
        }
    }

    private static func response(_ repository: Repository, _ call: Call) async throws(RegistryError) -> RepositoryResponse {
        RepositoryResponse(
            repository, used: try await call.registry.catalog.usage(of: repository.id).bytes,
            trash_days: call.registry.trashDays(of: repository),
            deployMember: try await call.registry.deployMemberKey(of: repository, for: call.caller),
            sharedNames: call.registry.sharedNames(of: repository))
    }
}

struct CreateRepositoryRequest: Codable, Sendable {
    let key, name, format, repo_type: String
    let description: String?
    let is_public, allow_anonymous_access: Bool?
    let upstream_url: String?
    let quota_bytes: Int64?
    let promotion_only, versioning_enabled: Bool?
    let storage_backend: String?
    let project_id: String?
    let member_repos: [MemberRequest]?
    let upstream_auth_type, upstream_username, upstream_password: String?
    /// Ours: lets a remote reach loopback and private addresses.
    let upstream_allow_private: Bool?
    /// Ours: further hosts that may see the upstream's credentials (its token server).
    let upstream_credential_hosts: [String]?
    /// PyPI: where the upstream has its index, `simple` unless told.
    let pypi_upstream_index_path: String?
    /// Ours: the member of a virtual repository that takes what is published to it.
    let deploy_member_key: String?
    /// Ours: names that upstreams may add to although a local member of the virtual repository owns them.
    let shared_names: [String]?
    let apt_origin, apt_label, apt_release_version, apt_description: String?
    let debian: DebianRepositoryConfig?
    /// Ours: what bounds a build cache or the copies of a remote.
    let cache_bytes_max, cache_idle_seconds, cache_entry_bytes_max: Int64?
    let cache_overwrite: String?
    let upstream_immutable: Bool?
    let upstream_checksums: String?
    /// Ours: how long what is deleted can be restored; 0: it cannot.
    let trash_days: Int64?

    struct MemberRequest: Codable, Sendable {
        let repo_key: String
        let priority: Int?
    }

    func draft() throws(RegistryError) -> RepositoryDraft {
        try refuseUnserved(promotion_only: promotion_only, versioning_enabled: versioning_enabled, storage_backend: storage_backend)
        guard let kind = Repository.Kind(rawValue: repo_type) else {
            throw RegistryError(.invalid, subject: .field("repo_type"), reason: "local, remote, virtual or staging")
        }
        var draft = RepositoryDraft()
        draft.key = RepositoryKey(key)
        draft.name = name
        draft.description = description
        draft.format = format
        draft.kind = kind
        draft.isPublic = is_public ?? allow_anonymous_access
        if let project_id { draft.project = .some(try validProject(project_id)) }
        draft.quotaBytes = .some(quota_bytes)
        draft.upstreamURL = upstream_url
        draft.settings = try RepositoryEndpoints.upstreamSettings(upstream_auth_type, upstream_username, upstream_password)
        if let upstream_allow_private { draft.settings["upstream_allow_private"] = String(upstream_allow_private) }
        if let upstream_credential_hosts { draft.settings["upstream_credential_hosts"] = upstream_credential_hosts.joined(separator: ",") }
        if let pypi_upstream_index_path { draft.settings["pypi_upstream_index_path"] = pypi_upstream_index_path }
        if let member_repos {
            draft.members = []
            for member in member_repos {
                draft.members?.append(MemberDraft(key: try validKey(member.repo_key), priority: try memberPriority(member.priority ?? 0)))
            }
        }
        if let deploy_member_key { draft.deployMember = .some(try validKey(deploy_member_key)) }
        if let shared_names { draft.settings["shared_names"] = try RepositoryEndpoints.sharedNames(shared_names) }
        let apt = try aptSettings(origin: apt_origin, label: apt_label, version: apt_release_version, description: apt_description, debian)
        draft.settings.merge(apt) { $1 }
        if let upstream_immutable { draft.settings["upstream_immutable"] = upstream_immutable ? "" : "false" }
        if let upstream_checksums { draft.settings["upstream_checksums"] = upstream_checksums }
        if let trash_days { draft.settings["trash_days"] = trash_days < 0 ? "" : String(trash_days) }
        for (name, value) in cacheSettings(
            bytesMax: cache_bytes_max, idleSeconds: cache_idle_seconds, entryBytesMax: cache_entry_bytes_max, overwrite: cache_overwrite)
        {
            draft.settings[name] = value
        }
        return draft
    }
}

private func validProject(_ text: String) throws(RegistryError) -> EntityID {
    guard let id = EntityID(text) else { throw RegistryError(.invalid, subject: .field("project_id"), reason: "\(text) is no UUID") }
    return id
}

private func validKey(_ text: String) throws(RegistryError) -> RepositoryKey {
    guard let key = RepositoryKey(text) else {
        throw RegistryError(.notFound, subject: .repository(text), reason: "there is no repository \(text), or you may not read it")
    }
    return key
}

/// A setting that would be ignored is refused: who asks for it relies on it.
private func refuseUnserved(promotion_only: Bool?, versioning_enabled: Bool?, storage_backend: String?) throws(RegistryError) {
    for (name, value) in [("promotion_only", promotion_only), ("versioning_enabled", versioning_enabled)] where value == true {
        throw RegistryError(.invalid, subject: .field(name), reason: "\(name) is not served by this version")
    }
    if let storage_backend, storage_backend != "filesystem" {
        throw RegistryError(.invalid, subject: .field("storage_backend"), reason: "this version stores on the file system only")
    }
}

struct UpdateRepositoryRequest: Codable, Sendable {
    let key, name, description: String?
    /// An empty one takes the repository out of its project.
    let project_id: String?
    let is_public, allow_anonymous_access: Bool?
    let quota_bytes: Int64?
    let upstream_url: String?
    let promotion_only, versioning_enabled: Bool?
    let upstream_allow_private: Bool?
    let upstream_credential_hosts: [String]?
    let pypi_upstream_index_path: String?
    /// An empty one takes the deploy member away.
    let deploy_member_key: String?
    let shared_names: [String]?
    let apt_origin, apt_label, apt_release_version, apt_description: String?
    let debian: DebianRepositoryConfig?
    /// Ours: what bounds a build cache or the copies of a remote.
    let cache_bytes_max, cache_idle_seconds, cache_entry_bytes_max: Int64?
    let cache_overwrite: String?
    let upstream_immutable: Bool?
    let upstream_checksums: String?
    /// Ours: how long what is deleted can be restored; 0: it cannot.
    let trash_days: Int64?

    func draft() throws(RegistryError) -> RepositoryDraft {
        try refuseUnserved(promotion_only: promotion_only, versioning_enabled: versioning_enabled, storage_backend: nil)
        var draft = RepositoryDraft()
        if let key {
            guard let valid = RepositoryKey(key) else { throw RegistryError(.invalid, subject: .field("key"), reason: "\(key) is no repository key") }
            draft.key = valid
        }
        draft.name = name
        draft.description = description
        draft.isPublic = is_public ?? allow_anonymous_access
        if let project_id { draft.project = .some(project_id.isEmpty ? nil : try validProject(project_id)) }
        if let quota_bytes { draft.quotaBytes = .some(quota_bytes) }
        draft.upstreamURL = upstream_url
        if let upstream_allow_private { draft.settings["upstream_allow_private"] = String(upstream_allow_private) }
        if let upstream_credential_hosts { draft.settings["upstream_credential_hosts"] = upstream_credential_hosts.joined(separator: ",") }
        if let pypi_upstream_index_path { draft.settings["pypi_upstream_index_path"] = pypi_upstream_index_path }
        if let deploy_member_key { draft.deployMember = .some(deploy_member_key.isEmpty ? nil : try validKey(deploy_member_key)) }
        if let shared_names { draft.settings["shared_names"] = try RepositoryEndpoints.sharedNames(shared_names) }
        let apt = try aptSettings(origin: apt_origin, label: apt_label, version: apt_release_version, description: apt_description, debian)
        draft.settings.merge(apt) { $1 }
        if let upstream_immutable { draft.settings["upstream_immutable"] = upstream_immutable ? "" : "false" }
        if let upstream_checksums { draft.settings["upstream_checksums"] = upstream_checksums }
        if let trash_days { draft.settings["trash_days"] = trash_days < 0 ? "" : String(trash_days) }
        for (name, value) in cacheSettings(
            bytesMax: cache_bytes_max, idleSeconds: cache_idle_seconds, entryBytesMax: cache_entry_bytes_max, overwrite: cache_overwrite)
        {
            draft.settings[name] = value
        }
        return draft
    }
}

struct RepositoryResponse: Codable, Sendable {
    let id, key, name: String
    let description: String?
    let format, repo_type: String
    let is_public, allow_anonymous_access, promotion_only, versioning_enabled: Bool
    /// Ours: the project it belongs to.
    let project_id: String?
    let storage_used_bytes: Int64
    let quota_bytes: Int64?
    let has_trusted_gpg_key: Bool
    let upstream_url, upstream_auth_type: String?
    let upstream_auth_configured, curation_enabled: Bool
    let curation_default_action, created_at, updated_at: String
    /// Ours, of virtual repositories.
    let deploy_member_key: String?
    let shared_names: [String]?
    let cache_bytes_max, cache_idle_seconds, cache_entry_bytes_max: Int64?
    let cache_overwrite: String?
    let upstream_immutable: Bool?
    let upstream_checksums: String?
    /// Ours: how long what is deleted can be restored; 0: it cannot.
    let trash_days: Int64?

    init(_ repository: Repository, used: Int64, trash_days: Int64, deployMember: RepositoryKey?, sharedNames: [String]) {
        id = repository.id.description
        key = repository.key.text
        name = repository.name
        description = repository.description
        format = repository.format
        repo_type = repository.kind.rawValue
        is_public = repository.isPublic
        allow_anonymous_access = repository.isPublic
        promotion_only = false
        versioning_enabled = false
        project_id = repository.project?.description
        storage_used_bytes = used
        quota_bytes = repository.quotaBytes
        has_trusted_gpg_key = false
        upstream_url = repository.upstreamURL
        upstream_auth_type = repository.settings["upstream_password"] != nil ? "basic" : repository.settings["upstream_token"] != nil ? "bearer" : nil
        upstream_auth_configured = upstream_auth_type != nil
        curation_enabled = false
        curation_default_action = "allow"
        func number(_ name: String) -> Int64? { repository.settings[name].flatMap { Int64($0) } }
        cache_bytes_max = number("cache_bytes_max")
        cache_idle_seconds = number("cache_idle_seconds")
        cache_entry_bytes_max = number("cache_entry_bytes_max")
        cache_overwrite = repository.settings["cache_overwrite"]
        upstream_immutable = repository.settings["upstream_immutable"].map { $0 == "true" }
        upstream_checksums = repository.settings["upstream_checksums"]
        self.trash_days = trash_days
        created_at = repository.created.description
        updated_at = repository.updated.description
        deploy_member_key = deployMember?.text
        shared_names = sharedNames.isEmpty ? nil : sharedNames
    }
}
struct RepositoryListResponse: Codable, Sendable {
    let items: [RepositoryResponse]
    let pagination: Pagination
}
struct CacheTtlRequest: Codable, Sendable { let cache_ttl_seconds: Int64 }
struct CacheTtlResponse: Codable, Sendable {
    let repository_key: String
    let cache_ttl_seconds: Int64
}
struct UpstreamAuthResponse: Codable, Sendable { let auth_type, message: String }
struct UpstreamAuthRequest: Codable, Sendable {
    let auth_type: String
    let username, password: String?
}
