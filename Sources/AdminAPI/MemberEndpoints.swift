import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Registry

/// The members of virtual repositories (conventions, section 5).
enum MemberEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/repositories/{key}/members", "list_virtual_members", "repositories", .authenticated) {
            (call, _: Nothing) throws(RegistryError) -> VirtualMembersListResponse in
            VirtualMembersListResponse(try await call.registry.memberships(of: try call.repositoryKey(), by: call.caller))
        },
        .json(.post, "/api/v1/repositories/{key}/members", "add_virtual_member", "repositories", .authenticated, scope: .writeRepositories) {
            (call, request: AddVirtualMemberRequest) throws(RegistryError) -> VirtualMemberResponse in
            let draft = MemberDraft(key: try call.memberKey(request.member_key), priority: try memberPriority(request.priority))
            let member = try await call.registry.addMember(draft, to: try call.repositoryKey(), by: call.origin)
            return VirtualMemberResponse(member.place, member.repository)
        },
        .json(.put, "/api/v1/repositories/{key}/members", "update_virtual_members", "repositories", .authenticated, scope: .writeRepositories) {
            (call, request: UpdateVirtualMembersRequest) throws(RegistryError) -> VirtualMembersListResponse in
            var drafts: [MemberDraft] = []
            for member in request.members {
                drafts.append(MemberDraft(key: try call.memberKey(member.member_key), priority: try memberPriority(member.priority)))
            }
            return VirtualMembersListResponse(try await call.registry.arrangeMembers(drafts, of: try call.repositoryKey(), by: call.origin))
        },
        .json(
            .delete, "/api/v1/repositories/{key}/members/{member_key}", "remove_virtual_member", "repositories", .authenticated,
            scope: .writeRepositories
        ) { (call, _: Nothing) throws(RegistryError) -> Nothing in
            try await call.registry.removeMember(try call.memberKey(call.match["member_key"]), from: try call.repositoryKey(), by: call.origin)
            return Nothing()
        },
    ]
}

/// - Throws: `invalid` beyond 32 bits.
func memberPriority(_ value: Int?) throws(RegistryError) -> Int32? {
    guard let value else { return nil }
    guard let priority = Int32(exactly: value) else {
        throw RegistryError(.invalid, subject: .field("priority"), reason: "a priority has 32 bits; lower comes first")
    }
    return priority
}

extension Call {
    /// A key that cannot exist is no repository.
    fileprivate func memberKey(_ text: String) throws(RegistryError) -> RepositoryKey {
        guard let key = RepositoryKey(text) else {
            throw RegistryError(.notFound, subject: .repository(text), reason: "there is no repository \(text), or you may not read it")
        }
        return key
    }
}

struct AddVirtualMemberRequest: Codable, Sendable {
    let member_key: String
    let priority: Int?
}
struct UpdateVirtualMembersRequest: Codable, Sendable {
    let members: [VirtualMemberPriority]
}
struct VirtualMemberPriority: Codable, Sendable {
    let member_key: String
    let priority: Int
}
struct VirtualMemberResponse: Codable, Sendable {
    let id, member_repo_id, member_repo_key, member_repo_name, member_repo_type: String
    let priority: Int
    let created_at: String

    init(_ place: Repository.Member, _ repository: Repository) {
        id = place.id.description
        member_repo_id = repository.id.description
        member_repo_key = repository.key.text
        member_repo_name = repository.name
        member_repo_type = repository.kind.rawValue
        priority = Int(place.priority)
        created_at = place.id.time.description
    }
}
struct VirtualMembersListResponse: Codable, Sendable {
    let members: [VirtualMemberResponse]
    init(_ members: [(place: Repository.Member, repository: Repository)]) {
        self.members = members.map { VirtualMemberResponse($0.place, $0.repository) }
    }
}
