import Catalog
import Core
import Testing

@testable import Access

@Suite struct NamedRightsTests {
    private func patterns(_ texts: String...) throws -> [NamePattern] { try texts.map { try #require(NamePattern($0)) } }

    private func verdict(
        _ house: House, _ permission: Core.Permission, _ repository: Repository, _ subject: Subject
    ) async throws -> RegistryError.Code? {
        try await refusal { try house.access.authorize(try await house.caller("ada"), permission, on: repository, about: subject) }?.code
    }

    @Test("a right with patterns gives what it names, and nothing that has no name")
    func verdicts() async throws {
        let house = try House()
        let (one, open) = (try await house.repository("one"), try await house.repository("open", isPublic: true))
        let ada = try await house.user("ada")
        for repository in [one, open] {
            try await house.access.grant(
                [.write], on: .repository(repository.id), to: .account(ada.id), patterns: patterns("team-*", "com/acme/**"), by: .system,
                requestID: "t")
        }
        for name in ["team-a", "com/acme/lib/1.0/lib.jar"] {
            #expect(try await verdict(house, .read, one, .name(name)) == nil)
            #expect(try await verdict(house, .write, one, .name(name)) == nil)
            #expect(try await verdict(house, .delete, one, .name(name)) == .forbidden)
        }
        for subject in [Subject.whole, .name("other"), .name(""), .name("team-a//x")] {
            #expect(try await verdict(house, .read, one, subject) == .forbidden)
            #expect(try await verdict(house, .write, one, subject) == .forbidden)
            #expect(try await verdict(house, .read, open, subject) == nil)
            #expect(try await verdict(house, .write, open, subject) == .forbidden)
        }
        let caller = try await house.caller("ada")
        #expect(house.access.mayList(caller, one) && !house.access.mayRead(caller, one))
        let begun = try house.access.authorize(caller, .write, on: one, about: .unknown)
        #expect(begun.isLimited && begun.covers("team-a/x") && !begun.covers("other"))
        #expect(try await refusal { try house.access.require(begun, for: "other") }?.code == .forbidden)
        #expect(try !house.access.authorize(caller, .read, on: open, about: .name("other")).isLimited)
    }

    @Test("rows with and without patterns stand beside each other: the one without gives the rest")
    func rows() async throws {
        let house = try House()
        let one = try await house.repository("one")
        let ada = try await house.user("ada")
        let principal = Principal.account(ada.id)
        let target = GrantTarget.repository(one.id)
        let named = try await house.access.grant(
            [.write], on: target, to: principal, patterns: patterns("a-*"), by: .system, requestID: "t")
        let other = try await house.access.grant(
            [.delete], on: target, to: principal, patterns: patterns("b-*"), by: .system, requestID: "t")
        let whole = try await house.access.grant([.read], on: one.id, to: ada.id, by: .system, requestID: "t")
        #expect(Set(try await house.access.grants(of: principal)) == [named, other, whole])
        #expect(try await verdict(house, .read, one, .whole) == nil)
        #expect(try await verdict(house, .write, one, .name("a-x")) == nil)
        #expect(try await verdict(house, .delete, one, .name("a-x")) == .forbidden)
        #expect(try await verdict(house, .delete, one, .name("b-x")) == nil)
        #expect(try await verdict(house, .write, one, .whole) == .forbidden)
        #expect(
            try await refusal { try await house.access.change(other.id, to: [.delete], patterns: [], by: .system, requestID: "t") }?.code == .conflict
        )
        let changed = try await house.access.change(whole.id, to: [.read], patterns: patterns("c-*"), by: .system, requestID: "t")
        #expect(changed.id == whole.id)
        #expect(try await house.access.grants(of: principal).count == 3)
        #expect(try await verdict(house, .read, one, .whole) == .forbidden)
        #expect(try await verdict(house, .read, one, .name("c-x")) == nil)
        #expect(try await house.access.grant(id: whole.id) == changed)
    }

    @Test("admin takes no patterns, the system nothing but admin, a row no more than its number of patterns")
    func refusals() async throws {
        let house = try House()
        let one = try await house.repository("one")
        let ada = try await house.user("ada")
        let cases: [(Set<Core.Permission>, GrantTarget, [NamePattern])] = [
            ([.admin], .repository(one.id), try patterns("a")), ([.read], .system, []), ([.admin], .system, try patterns("a")),
            ([], .repository(one.id), []), ([.read], .repository(one.id), try (0..<33).map { try #require(NamePattern("a\($0)")) }),
        ]
        for (actions, target, patterns) in cases {
            #expect(
                try await refusal {
                    try await house.access.grant(actions, on: target, to: .account(ada.id), patterns: patterns, by: .system, requestID: "t")
                }?.code == .invalid)
        }
        #expect(
            try await refusal {
                try await house.access.grant([.read], on: .project(one.id), to: .account(ada.id), by: .system, requestID: "t")
            }?.code == .notFound)
    }

    @Test("through a virtual repository a member is reached for the names both rights cover")
    func virtual() async throws {
        let house = try House()
        let member = try await house.repository("member")
        let all = try await house.repository("all", members: [member.id])
        let ada = try await house.user("ada")
        try await house.access.grant([.read], on: all.id, to: ada.id, by: .system, requestID: "t")
        try await house.access.grant(
            [.read], on: .repository(member.id), to: .account(ada.id), patterns: patterns("a-*"), by: .system, requestID: "t")
        let caller = try await house.caller("ada")
        for (subject, isReached) in [(Subject.whole, false), (.name("a-x"), true), (.name("b-x"), false)] {
            let virtual = try house.access.authorize(caller, .read, on: all, about: subject)
            #expect((house.access.authorize(member: member, through: virtual) != nil) == isReached)
        }
    }

    @Test("a row of format 1 is a right on all of a repository") func oldRow() async throws {
        let house = try House()
        let (one, ada) = (try await house.repository("one"), try await house.user("ada"))
        let grant = try await house.access.grant([.read, .write], on: one.id, to: ada.id, by: .system, requestID: "t")
        var record = grant.record
        // Format, id, target, actions, no patterns, two times.
        let value = record.value
        #expect(value.count == 1 + 16 + 1 + 1 + 1 + 16 && value[0] == 2)
        record.value = [1] + value[1..<17] + value[18..<19] + value[20...]
        #expect(try Grant(record) == grant)
    }
}
