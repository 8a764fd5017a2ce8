import Access
import Core
import FrontendKit
import HTTPTypes
import Registry

/// Groups of accounts. Administrators see and change them all; others see those they are in, and a group they are not in looks like none.
enum GroupEndpoints {
    static let table: [Endpoint] = [
        .json(.get, "/api/v1/groups", "list_groups", "groups", .authenticated, query: [.init(name: "search", type: "string")] + PageWindow.parameters)
        {
            (call, _: Nothing) throws(RegistryError) -> GroupListResponse in
            let window = try PageWindow(call.head.query)
            var groups = try await visible(call)
            if let text = call.head.query["search"]?.lowercased() { groups = groups.filter { $0.name.lowercased().contains(text) } }
            var items: [GroupResponse] = []
            for group in window.of(groups) { items.append(try await response(group, call)) }
            return GroupListResponse(items: items, pagination: window.pagination(total: groups.count))
        },
        .json(.post, "/api/v1/groups", "create_group", "groups", .authenticated) {
            (call, request: CreateGroupRequest) throws(RegistryError) -> GroupResponse in
            try call.access.requireAdmin(call.caller, scope: .writeUsers)
            let group = try await call.access.createGroup(
                name: request.name, description: request.description, by: call.caller.actor, requestID: call.head.requestID)
            return try await response(group, call)
        },
        .json(.get, "/api/v1/groups/{id}", "get_group", "groups", .authenticated, query: memberWindow) {
            (call, _: Nothing) throws(RegistryError) -> GroupDetailResponse in
            try await detail(call)
        },
        .json(.put, "/api/v1/groups/{id}", "update_group", "groups", .authenticated) {
            (call, request: CreateGroupRequest) throws(RegistryError) -> GroupResponse in
            try call.access.requireAdmin(call.caller, scope: .writeUsers)
            let group = try await call.access.updateGroup(
                try call.id(), name: request.name, description: request.description, by: call.caller.actor, requestID: call.head.requestID)
            return try await response(group, call)
        },
        .json(.delete, "/api/v1/groups/{id}", "delete_group", "groups", .authenticated) { (call, _: Nothing) throws(RegistryError) -> Nothing in
            try call.access.requireAdmin(call.caller, scope: .writeUsers)
            try await call.access.deleteGroup(try call.id(), by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
        .json(.post, "/api/v1/groups/{id}/members", "add_members", "groups", .authenticated) {
            (call, request: MembersRequest) throws(RegistryError) -> Nothing in
            try call.access.requireAdmin(call.caller, scope: .writeUsers)
            try await call.access.addMembers(
                try request.accounts(), to: try call.id(), by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
        .json(.delete, "/api/v1/groups/{id}/members", "remove_members", "groups", .authenticated) {
            (call, request: MembersRequest) throws(RegistryError) -> Nothing in
            try call.access.requireAdmin(call.caller, scope: .writeUsers)
            try await call.access.removeMembers(
                try request.accounts(), from: try call.id(), by: call.caller.actor, requestID: call.head.requestID)
            return Nothing()
        },
    ]

    private static let memberWindow = ["member_limit", "member_offset"].map { Endpoint.Parameter(name: $0, type: "integer") }

    /// Whether the caller sees groups they are not in.
    private static func seesAll(_ call: Call) -> Bool { call.access.mayAdminister(call.caller, scope: .readUsers) }

    private static func visible(_ call: Call) async throws(RegistryError) -> [Group] {
        if seesAll(call) { return try await call.access.groups() }
        var groups: [Group] = []
        guard let account = call.caller.account else { return groups }
        for id in try await call.access.groups(of: account) {
            if let group = try await call.access.group(id) { groups.append(group) }
        }
        return groups
    }

    private static func detail(_ call: Call) async throws(RegistryError) -> GroupDetailResponse {
        let id = try call.id()
        let members = try await call.access.members(of: id)
        guard let group = try await call.access.group(id), seesAll(call) || members.contains(where: { $0.account == call.caller.account }) else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no such group, or you are not in it")
        }
        let limit = try number("member_limit", 100, 1...1000, call)
        let offset = try number("member_offset", 0, 0...1_000_000, call)
        var shown: [GroupMemberResponse] = []
        for member in members.dropFirst(offset).prefix(limit) {
            guard let user = try await call.access.user(member.account) else { continue }
            shown.append(
                GroupMemberResponse(
                    user_id: user.id.description, username: user.username, display_name: user.displayName, joined_at: member.joined.description))
        }
        return GroupDetailResponse(
            id: group.id.description, name: group.name, description: group.description, external_source: nil, member_count: members.count,
            created_at: group.created.description, updated_at: group.updated.description, members: shown, members_total: members.count)
    }

    private static func number(_ name: String, _ fallback: Int, _ range: ClosedRange<Int>, _ call: Call) throws(RegistryError) -> Int {
        guard let text = call.head.query[name] else { return fallback }
        guard let value = Int(text), range.contains(value) else {
            throw RegistryError(.invalid, subject: .field(name), reason: "\(name) is a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    private static func response(_ group: Group, _ call: Call) async throws(RegistryError) -> GroupResponse {
        GroupResponse(
            id: group.id.description, name: group.name, description: group.description, external_source: nil,
            member_count: try await call.access.members(of: group.id).count, created_at: group.created.description,
            updated_at: group.updated.description)
    }
}

struct CreateGroupRequest: Codable, Sendable {
    let name: String
    let description: String?
}
struct MembersRequest: Codable, Sendable {
    let user_ids: [String]

    func accounts() throws(RegistryError) -> [EntityID] {
        var ids: [EntityID] = []
        for text in user_ids {
            guard let id = EntityID(text) else { throw RegistryError(.invalid, subject: .field("user_ids"), reason: "\(text) is no UUID") }
            ids.append(id)
        }
        return ids
    }
}
struct GroupResponse: Codable, Sendable {
    let id, name: String
    let description, external_source: String?
    let member_count: Int
    let created_at, updated_at: String
}
struct GroupListResponse: Codable, Sendable {
    let items: [GroupResponse]
    let pagination: Pagination
}
struct GroupDetailResponse: Codable, Sendable {
    let id, name: String
    let description, external_source: String?
    let member_count: Int
    let created_at, updated_at: String
    let members: [GroupMemberResponse]
    let members_total: Int
}
struct GroupMemberResponse: Codable, Sendable {
    let user_id, username: String
    let display_name: String?
    let joined_at: String
}
