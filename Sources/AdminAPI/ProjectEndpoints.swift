import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Registry

/// Projects: repositories that belong together, and who has rights on all of them.
enum ProjectEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/projects", "projects_list", "projects", .admin) {
            (call, _: Nothing) throws(RegistryError) -> ProjectListResponse in
            let quotas = try await call.access.quotas()
            return ProjectListResponse(items: try await call.access.projects().map { ProjectResponse($0, quotas[$0.id]) })
        },
        .json(.post, "/api/v1/projects", "projects_create", "projects", .admin, scope: .writeRepositories) {
            (call, request: CreateProjectRequest) throws(RegistryError) -> ProjectResponse in
            try await describe(
                try await call.access.createProject(
                    key: request.key, name: request.name, description: request.description, quotaBytes: request.quota_bytes,
                    by: call.caller.actor, requestID: call.head.requestID), call)
        },
        .json(.get, "/api/v1/projects/{id}", "projects_get", "projects", .admin) {
            (call, _: Nothing) throws(RegistryError) -> ProjectResponse in
            try await describe(try await project(call), call)
        },
        .json(.put, "/api/v1/projects/{id}", "projects_update", "projects", .admin, scope: .writeRepositories) {
            (call, request: UpdateProjectRequest) throws(RegistryError) -> ProjectResponse in
            try await describe(
                try await call.access.updateProject(
                    try call.id(), name: request.name, description: request.description,
                    quotaBytes: request.quota_bytes.map { $0 < 0 ? nil : $0 }, by: call.caller.actor,
                    requestID: call.head.requestID), call)
        },
        .json(.delete, "/api/v1/projects/{id}", "projects_delete", "projects", .admin) {
            (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await call.registry.deleteProject(try call.id(), by: call.origin)
            return Nothing()
        },
        .json(.get, "/api/v1/projects/{id}/members", "projects_list_members", "projects", .admin) {
            (call, _: Nothing) throws(RegistryError) -> ProjectMemberListResponse in
            let project = try await project(call)
            // Rows with patterns are permissions of the project, and no membership.
            let grants = try await call.access.grants(on: .project(project.id)).filter { $0.patterns.isEmpty }
            return ProjectMemberListResponse(items: grants.map(ProjectMemberRow.init))
        },
        .json(.post, "/api/v1/projects/{id}/members", "projects_add_member", "projects", .admin, scope: .writeRepositories) {
            (call, request: AddProjectMemberRequest) throws(RegistryError) -> ProjectMemberRow in
            ProjectMemberRow(
                try await call.access.grant(
                    try PermissionWords.actions(request.actions), on: .project(try call.id()),
                    to: try PermissionWords.principal(request.principal_type, request.principal_id), by: call.caller.actor,
                    requestID: call.head.requestID))
        },
        .json(.delete, "/api/v1/projects/{id}/members", "projects_remove_member", "projects", .admin, scope: .writeRepositories) {
            (call, request: RemoveProjectMemberRequest) throws(RegistryError) -> Nothing in
            let project = try await project(call)
            let principal = try PermissionWords.principal(request.principal_type, request.principal_id)
            let grants = try await call.access.grants(of: principal, on: .project(project.id))
            guard !grants.isEmpty else {
                throw RegistryError(.notFound, subject: .request, reason: "the project has no such member")
            }
            // Whoever is no member any more keeps nothing in it.
            for grant in grants { try await call.access.revoke(grant, by: call.caller.actor, requestID: call.head.requestID) }
            return Nothing()
        },
    ]

    private static func project(_ call: Call) async throws(RegistryError) -> Project {
        guard let project = try await call.access.project(try call.id()) else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such project")
        }
        return project
    }

    private static func describe(_ project: Project, _ call: Call) async throws(RegistryError) -> ProjectResponse {
        ProjectResponse(project, try await call.access.quota(of: project.id))
    }
}

struct CreateProjectRequest: Codable, Sendable {
    let key, name: String
    let description: String?
    let quota_bytes: Int64?
}
struct UpdateProjectRequest: Codable, Sendable {
    let name, description: String?
    /// A negative one lifts it.
    let quota_bytes: Int64?
}
struct ProjectResponse: Codable, Sendable {
    let id, key, name: String
    let description: String?
    let quota_bytes: Int64?
    /// Ours: what counts towards the quota, where there is one.
    let quota_used_bytes: Int64?
    let created_at, updated_at: String
    init(_ project: Project, _ quota: ProjectQuota?) {
        id = project.id.description
        key = project.key
        name = project.name
        description = project.description
        quota_bytes = quota?.bytes
        quota_used_bytes = quota?.used
        created_at = project.created.description
        updated_at = project.updated.description
    }
}
struct ProjectListResponse: Codable, Sendable { let items: [ProjectResponse] }
struct AddProjectMemberRequest: Codable, Sendable {
    let principal_type, principal_id: String
    let actions: [String]
}
struct RemoveProjectMemberRequest: Codable, Sendable { let principal_type, principal_id: String }
struct ProjectMemberRow: Codable, Sendable {
    let principal_type, principal_id: String
    let actions: [String]
    init(_ grant: Grant) {
        principal_type = PermissionWords.word(for: grant.principal)
        principal_id = grant.principal.id.description
        actions = PermissionWords.words(grant.actions)
    }
}
struct ProjectMemberListResponse: Codable, Sendable { let items: [ProjectMemberRow] }
