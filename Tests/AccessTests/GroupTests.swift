import Catalog
import Core
import Testing

@testable import Access

@Suite struct GroupTests {
    private struct Scene {
        let house: House
        let one: Repository
        let ada: User
        let team: Group

        init() async throws {
            house = try House()
            one = try await house.repository("one")
            ada = try await house.user("ada")
            team = try await house.access.createGroup(name: "Team", description: nil, by: .system, requestID: "t")
        }

        /// Asked with the same credential every time: the cache is warm from the second on.
        func rights() async throws -> Set<Core.Permission> {
            house.access.permissions(of: try await house.caller("ada"), on: one)
        }

        func add() async throws { try await house.access.addMembers([ada.id], to: team.id, by: .system, requestID: "t") }
        func remove() async throws { try await house.access.removeMembers([ada.id], from: team.id, by: .system, requestID: "t") }
        @discardableResult
        func grant(_ actions: Set<Core.Permission>) async throws -> Grant {
            try await house.access.grant(actions, on: .repository(one.id), to: .group(team.id), by: .system, requestID: "t")
        }
    }

    @Test("what a group is given, its members have: from the next request, in whichever order it comes, and no longer than it lasts")
    func membership() async throws {
        let scene = try await Scene()
        #expect(try await scene.rights() == [])
        try await scene.grant([.read])
        #expect(try await scene.rights() == [])
        try await scene.add()
        #expect(try await scene.rights() == [.read])
        let widened = try await scene.grant([.write])
        #expect(try await scene.rights() == [.read, .write])
        try await scene.house.access.revoke(widened, by: .system, requestID: "t")
        #expect(try await scene.rights() == [])
        try await scene.grant([.delete])
        #expect(try await scene.rights() == [.read, .delete])
        try await scene.remove()
        #expect(try await scene.rights() == [])
    }

    @Test("rights of an account and of its groups add up, and a token's limits take away from both")
    func sum() async throws {
        let scene = try await Scene()
        try await scene.add()
        try await scene.grant([.write])
        try await scene.house.access.grant([.delete], on: scene.one.id, to: scene.ada.id, by: .system, requestID: "t")
        #expect(try await scene.rights() == [.read, .write, .delete])
        let text = try await scene.house.token(of: scene.house.caller("ada"), scopes: ["read:artifacts"]).text
        let limited = try await scene.house.access.authenticate(.bearer(text.revealed))
        #expect(scene.house.access.permissions(of: limited, on: scene.one) == [.read])
        try await scene.house.access.deleteGroup(scene.team.id, by: .system, requestID: "t")
        #expect(try await scene.rights() == [.read, .delete])
    }

    @Test("a warm credential is proven without a row of its groups being read")
    func warm() async throws {
        let scene = try await Scene()
        try await scene.add()
        try await scene.grant([.read])
        let caller = try await scene.house.caller("ada")
        let known = try scene.house.access.authenticateAtOnce(.basic(user: "ada", password: House.password))
        #expect(known?.caller.username == caller.username)
        let standing = try #require(known?.standing)
        #expect(scene.house.access.isCurrent(standing))
        try await scene.grant([.read, .write])
        #expect(!scene.house.access.isCurrent(standing))
        #expect(try scene.house.access.authenticateAtOnce(.basic(user: "ada", password: House.password)) == nil)
    }

    @Test("a group that is deleted leaves no row behind, and one of the same name begins with nothing")
    func deletion() async throws {
        let scene = try await Scene()
        try await scene.add()
        try await scene.grant([.read])
        let access = scene.house.access
        try await access.deleteGroup(scene.team.id, by: .system, requestID: "t")
        #expect(try await access.groups(of: scene.ada.id) == [])
        #expect(try await access.members(of: scene.team.id) == [])
        #expect(try await access.grants() == [])
        let again = try await access.createGroup(name: "team", description: nil, by: .system, requestID: "t")
        try await access.addMembers([scene.ada.id], to: again.id, by: .system, requestID: "t")
        #expect(try await scene.rights() == [])
    }

    @Test("an account that is deleted is in no group any more")
    func leaver() async throws {
        let scene = try await Scene()
        try await scene.add()
        try await scene.house.access.deleteUser(scene.ada.id, by: .system, requestID: "t")
        #expect(try await scene.house.access.members(of: scene.team.id) == [])
        #expect(try await scene.house.access.groups(of: scene.ada.id) == [])
    }

    @Test("rows about a repository go with it")
    func forgetting() async throws {
        let scene = try await Scene()
        try await scene.add()
        try await scene.grant([.read])
        try await scene.house.access.grant([.write], on: scene.one.id, to: scene.ada.id, by: .system, requestID: "t")
        let forgetting = try await scene.house.access.forgetting(scene.one.id)
        #expect(forgetting.parts.count == 2)
        try await scene.house.catalog.apply(Change(actor: .system, at: scene.house.now, requestID: "t", parts: forgetting.parts))
        scene.house.access.forgot(forgetting)
        #expect(try await scene.rights() == [])
    }

    @Test("names are one whatever their case; a group, account or member that is none is refused")
    func refusals() async throws {
        let scene = try await Scene()
        let access = scene.house.access
        #expect(try await refusal { try await access.createGroup(name: "TEAM", description: nil, by: .system, requestID: "t") }?.code == .conflict)
        let other = try await access.createGroup(name: "other", description: nil, by: .system, requestID: "t")
        #expect(
            try await refusal { try await access.updateGroup(other.id, name: "team", description: nil, by: .system, requestID: "t") }?.code
                == .conflict)
        #expect(try await access.updateGroup(other.id, name: "Other", description: "two", by: .system, requestID: "t").description == "two")
        for name in ["", " team", "a\u{7}"] {
            #expect(
                try await refusal { try await access.createGroup(name: name, description: nil, by: .system, requestID: "t") }?.code == .invalid)
        }
        let nobody = scene.one.id
        #expect(
            try await refusal { try await access.addMembers([nobody], to: scene.team.id, by: .system, requestID: "t") }?.code == .notFound)
        #expect(
            try await refusal { try await access.addMembers([scene.ada.id], to: nobody, by: .system, requestID: "t") }?.code == .notFound)
        #expect(
            try await refusal { try await access.grant([.read], on: .repository(scene.one.id), to: .group(nobody), by: .system, requestID: "t") }?
                .code
                == .notFound)
        #expect(try await refusal { try await access.deleteGroup(nobody, by: .system, requestID: "t") }?.code == .notFound)
    }

    @Test("a right given to a group while it is deleted does not outlive it")
    func races() async throws {
        for _ in 0..<20 {
            let scene = try await Scene()
            try await scene.add()
            async let gone: Void = scene.house.access.deleteGroup(scene.team.id, by: .system, requestID: "t")
            async let given = refusal { try await scene.grant([.read]) }
            async let joined = refusal { try await scene.add() }
            try await gone
            _ = (try await given, try await joined)
            #expect(try await scene.house.access.grants() == [])
            #expect(try await scene.house.access.members(of: scene.team.id) == [])
            #expect(try await scene.rights() == [])
        }
    }
}
