import Catalog
import Core
import Testing

@testable import Access

@Suite struct ProjectTests {
    private func rights(_ house: House, _ name: String, _ repository: Repository) async throws -> Set<Core.Permission> {
        house.access.permissions(of: try await house.caller(name), on: repository)
    }

    private func repository(_ house: House, _ key: String, in project: Project) async throws -> Repository {
        var repository = try await house.repository(key)
        repository.project = project.id
        try await house.catalog.apply(Change(actor: .system, at: house.now, requestID: "t", parts: [.putRepository(repository)]))
        return repository
    }

    @Test("members have their rights on every repository of their project, and on nothing of another, whatever their roles")
    func walls() async throws {
        let house = try House()
        let access = house.access
        let ours = try await access.createProject(key: "ours", name: "Ours", description: nil, by: .system, requestID: "t")
        let theirs = try await access.createProject(key: "theirs", name: "Theirs", description: nil, by: .system, requestID: "t")
        let (mine, other) = (try await repository(house, "mine", in: ours), try await repository(house, "other", in: theirs))
        let free = try await house.repository("free")
        let (ada, bob) = (try await house.user("ada"), try await house.user("bob"))
        let team = try await access.createGroup(name: "team", description: nil, by: .system, requestID: "t")
        try await access.addMembers([bob.id], to: team.id, by: .system, requestID: "t")
        let granted = try await access.grant([.write], on: .project(ours.id), to: .account(ada.id), by: .system, requestID: "t")
        try await access.grant([.read], on: .project(theirs.id), to: .group(team.id), by: .system, requestID: "t")
        for user in [ada, bob] { try await access.assign(.developer, to: user.id, by: .system, requestID: "t") }
        #expect(try await rights(house, "ada", mine) == [.read, .write])
        #expect(try await rights(house, "ada", other) == [])
        #expect(try await rights(house, "ada", free) == [.read, .write])
        #expect(try await rights(house, "bob", mine) == [])
        #expect(try await rights(house, "bob", other) == [.read])
        let hidden = try await refusal { try access.authorize(try await house.caller("ada"), .read, on: other) }
        #expect(hidden == (try await refusal { try access.authorize(try await house.caller("ada"), .read, on: nil) }))
        try await access.revoke(granted, by: .system, requestID: "t")
        #expect(try await rights(house, "ada", mine) == [])
    }

    @Test("a project that is deleted takes what was given on it along, and one of the same key begins with nothing")
    func deletion() async throws {
        let house = try House()
        let access = house.access
        let old = try await access.createProject(key: "p", name: "P", description: nil, by: .system, requestID: "t")
        let mine = try await repository(house, "mine", in: old)
        let ada = try await house.user("ada")
        try await access.grant([.write], on: .project(old.id), to: .account(ada.id), by: .system, requestID: "t")
        #expect(try await rights(house, "ada", mine) == [.read, .write])
        try await access.deleteProject(old.id, freeing: { [] }, by: .system, requestID: "t")
        #expect(try await rights(house, "ada", mine) == [])
        #expect(try await access.grants() == [])
        let new = try await access.createProject(key: "P", name: "P", description: nil, by: .system, requestID: "t")
        #expect(new.id != old.id)
        #expect(try await rights(house, "ada", try await repository(house, "mine2", in: new)) == [])
        #expect(
            try await refusal { try await access.createProject(key: "p", name: "P", description: nil, by: .system, requestID: "t") }?.code
                == .conflict)
    }

    @Test("who may make repositories, where, and with which credential")
    func making() async throws {
        let house = try House()
        let access = house.access
        let project = try await access.createProject(key: "p", name: "P", description: nil, by: .system, requestID: "t")
        try await house.user("root", admin: true)
        let users = ["none", "owner", "maker", "lead"]
        var ids: [String: EntityID] = [:]
        for name in users { ids[name] = try await house.user(name).id }
        try await access.assign(.repositoryOwner, to: try #require(ids["owner"]), by: .system, requestID: "t")
        try await access.grant([.admin], on: .system, to: .account(try #require(ids["maker"])), by: .system, requestID: "t")
        try await access.grant([.admin], on: .project(project.id), to: .account(try #require(ids["lead"])), by: .system, requestID: "t")
        let expected: [(String, inNone: RegistryError.Code?, inProject: RegistryError.Code?)] = [
            ("root", nil, nil), ("none", .forbidden, .notFound), ("owner", nil, .notFound), ("maker", nil, .notFound), ("lead", .forbidden, nil),
        ]
        for (name, inNone, inProject) in expected {
            let caller = try await house.caller(name)
            #expect(try await refusal { try await access.requireMaking(caller, in: nil) }?.code == inNone, "\(name)")
            #expect(try await refusal { try await access.requireMaking(caller, in: project.id) }?.code == inProject, "\(name)")
            let limited = try await access.authenticate(.bearer(house.token(of: caller, scopes: ["read:repositories"]).text.revealed))
            #expect(try await refusal { try await access.requireMaking(limited, in: nil) }?.code == .forbidden, "\(name)")
            let narrow = try await access.authenticate(
                .bearer(house.token(of: caller, scopes: ["write:repositories"], repositories: []).text.revealed))
            #expect(try await refusal { try await access.requireMaking(narrow, in: nil) }?.code == .forbidden, "\(name)")
        }
    }
}
