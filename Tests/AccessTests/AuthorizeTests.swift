import Catalog
import Core
import Testing

@testable import Access

@Suite struct AuthorizeTests {
    private typealias Right = Core.Permission

    private func verdict(_ house: House, _ caller: Caller, _ permission: Right, _ repository: Repository?) async throws -> RegistryError.Code? {
        try await refusal { try house.access.authorize(caller, permission, on: repository) }?.code
    }

    @Test("the verdict on every principal, permission and visibility is the model's")
    func matrix() async throws {
        let house = try House()
        let (open, closed) = (try await house.repository("open", isPublic: true), try await house.repository("closed"))
        try await house.user("root", admin: true)
        let root = try await house.caller("root")
        var principals: [(name: String, caller: Caller, rights: Set<Right>)] = [("anonymous", .anonymous, []), ("root", root, Set(Right.allCases))]
        let grants: [(String, Set<Right>, Set<Right>)] = [
            ("none", [], []), ("reader", [.read], [.read]), ("writer", [.write], [.read, .write]), ("deleter", [.delete], [.read, .delete]),
            ("owner", [.admin], Set(Right.allCases)),
        ]
        for (name, granted, rights) in grants {
            let user = try await house.user(name)
            for repository in [open, closed] where !granted.isEmpty {
                try await house.access.grant(granted, on: repository.id, to: user.id, by: .system, requestID: "t")
            }
            principals.append((name, try await house.caller(name), rights))
        }
        var cells = 0
        for (name, caller, rights) in principals {
            for repository in [open, closed] {
                let effective = repository.isPublic ? rights.union([.read]) : rights
                #expect(house.access.permissions(of: caller, on: repository) == effective, "\(name) on \(repository.key)")
                #expect(house.access.mayRead(caller, repository) == effective.contains(.read), "\(name) on \(repository.key)")
                for permission in Right.allCases {
                    let expected: RegistryError.Code? =
                        if effective.contains(permission) { nil } else if caller.isAnonymous { .unauthenticated } else {
                            effective.isEmpty ? .notFound : .forbidden
                        }
                    #expect(try await verdict(house, caller, permission, repository) == expected, "\(name) \(permission) \(repository.key)")
                    cells += 1
                }
            }
        }
        #expect(cells == 7 * 2 * 4)
    }

    @Test("a private repository answers like one that does not exist, to the letter")
    func hidden() async throws {
        let house = try House()
        let closed = try await house.repository("closed")
        try await house.user("ada")
        let ada = try await house.caller("ada")
        for caller in [ada, .anonymous] {
            for permission in Right.allCases {
                let asked = try await refusal { try house.access.authorize(caller, permission, on: closed) }
                let absent = try await refusal { try house.access.authorize(caller, permission, on: nil) }
                #expect(asked == absent)
                #expect(asked != nil)
            }
        }
    }

    @Test("what is proven is the repository that was asked about, with the caller and the permission")
    func proof() async throws {
        let house = try House()
        let open = try await house.repository("open", isPublic: true)
        let proof = try house.access.authorize(.anonymous, .read, on: open)
        #expect(proof.repository == open && proof.permission == .read && proof.caller.isAnonymous)
    }

    @Test("with guest access off nobody reads without credentials, and public repositories stay open to accounts")
    func guests() async throws {
        let house = try House(guestAccess: false)
        let open = try await house.repository("open", isPublic: true)
        try await house.user("ada")
        #expect(try await verdict(house, .anonymous, .read, open) == .unauthenticated)
        #expect(try await verdict(house, house.caller("ada"), .read, open) == nil)
    }

    @Test("a token's scopes and repositories only take away")
    func tokens() async throws {
        let house = try House()
        let (one, two) = (try await house.repository("one"), try await house.repository("two"))
        let open = try await house.repository("open", isPublic: true)
        let ada = try await house.user("ada")
        try await house.access.grant([.write], on: one.id, to: ada.id, by: .system, requestID: "t")
        let owner = try await house.caller("ada")
        let cases: [([String]?, Set<RepositoryID>?, one: Set<Right>, two: Set<Right>, open: Set<Right>)] = [
            (nil, nil, [.read, .write], [], [.read]),
            (["read:artifacts"], nil, [.read], [], [.read]),
            (["write:artifacts"], nil, [.write], [], []),
            (["read:users"], nil, [], [], []),
            (nil, [one.id], [.read, .write], [], []),
            (["read:artifacts", "write:artifacts"], [two.id], [], [], []),
            (["read:artifacts"], [], [], [], []),
        ]
        for (scopes, repositories, inOne, inTwo, inOpen) in cases {
            let text = try await house.token(of: owner, scopes: scopes, repositories: repositories).text
            let caller = try await house.access.authenticate(.bearer(text.revealed))
            #expect(house.access.permissions(of: caller, on: one) == inOne)
            #expect(house.access.permissions(of: caller, on: two) == inTwo)
            #expect(house.access.permissions(of: caller, on: open) == inOpen)
            #expect(house.access.mayRead(caller, one) == inOne.contains(.read))
            #expect(house.access.mayList(caller, one) == !inOne.isEmpty)
        }
    }

    @Test("a token that may only list repositories lists them, and reads nothing in them")
    func listing() async throws {
        let house = try House()
        let one = try await house.repository("one")
        let ada = try await house.user("ada")
        try await house.access.grant([.read], on: one.id, to: ada.id, by: .system, requestID: "t")
        let text = try await house.token(of: house.caller("ada"), scopes: ["read:repositories"]).text
        let caller = try await house.access.authenticate(.bearer(text.revealed))
        #expect(house.access.mayList(caller, one) && !house.access.mayRead(caller, one))
        #expect(try await verdict(house, caller, .read, one) == .forbidden)
        #expect(try await refusal { try house.access.authorize(caller, .read, on: one, scope: .readRepositories) } == nil)
    }

    @Test("granting and revoking a right count on the next request, with a warm cache")
    func grants() async throws {
        let house = try House()
        let one = try await house.repository("one")
        let ada = try await house.user("ada")
        #expect(try await verdict(house, house.caller("ada"), .read, one) == .notFound)
        let grant = try await house.access.grant([.read], on: one.id, to: ada.id, by: .system, requestID: "t")
        #expect(try await verdict(house, house.caller("ada"), .read, one) == nil)
        let widened = try await house.access.grant([.write], on: one.id, to: ada.id, by: .system, requestID: "t")
        #expect(widened.id == grant.id)
        #expect(try await verdict(house, house.caller("ada"), .write, one) == nil)
        #expect(try await house.access.grants(of: ada.id, on: one.id) == [widened])
        #expect(try await house.access.grant(id: grant.id) == widened)
        try await house.access.revoke(widened, by: .system, requestID: "t")
        #expect(try await verdict(house, house.caller("ada"), .read, one) == .notFound)
    }

    @Test("through a virtual repository a member is read only by who may read the member")
    func virtual() async throws {
        let house = try House()
        let (open, closed) = (try await house.repository("open", isPublic: true), try await house.repository("closed"))
        let stranger = try await house.repository("stranger", isPublic: true)
        let all = try await house.repository("all", isPublic: true, members: [open.id, closed.id])
        let ada = try await house.user("ada")
        try await house.access.grant([.read], on: closed.id, to: ada.id, by: .system, requestID: "t")
        let owner = try await house.caller("ada")
        let limited = try await house.access.authenticate(
            .bearer(house.token(of: owner, scopes: ["read:artifacts"], repositories: [all.id]).text.revealed))
        for (caller, seesClosed) in [(Caller.anonymous, false), (owner, true), (limited, true)] {
            let virtual = try house.access.authorize(caller, .read, on: all)
            #expect(house.access.authorize(member: open, through: virtual)?.repository == open)
            #expect((house.access.authorize(member: closed, through: virtual) != nil) == seesClosed)
            #expect(house.access.authorize(member: stranger, through: virtual) == nil)
        }
    }

    @Test("an account whose password must change can do nothing else, except with its API tokens")
    func mustChange() async throws {
        let house = try House()
        let open = try await house.repository("open", isPublic: true)
        let ada = try await house.user("ada")
        let token = try await house.token(of: house.caller("ada"), scopes: nil).text
        try await house.access.forcePasswordChange(of: ada.id, by: .system, requestID: "t")
        let caller = try await house.caller("ada")
        #expect(caller.mustChangePassword)
        #expect(try await verdict(house, caller, .read, open) == .forbidden)
        #expect(try await refusal { try await house.token(of: caller, scopes: nil) }?.code == .forbidden)
        #expect(try await verdict(house, house.access.authenticate(.bearer(token.revealed)), .read, open) == nil)
    }
}
