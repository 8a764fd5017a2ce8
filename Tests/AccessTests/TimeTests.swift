import Catalog
import Core
import Logging
import TestSupport
import Testing

@testable import Access

/// What the time of a refusal tells. A hash here costs many times of everything else that is done.
@Suite("the time of a refusal") struct TimeTests {
    private static let bound = 1.7

    private func access(_ clock: SharedClock) throws -> Access {
        let options = AccessOptions(
            jwtSecret: House.secret, passwordCost: PasswordCost(memoryKiB: 2048, iterations: 2, parallelism: 1),
            sealer: try Sealer(key: Array(repeating: 7, count: Sealer.keyBytes), world: clock.world))
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return try Access(catalog: AccountCatalog(), world: clock.world, options: options, log: log)
    }

    @Test("an unknown account, one that is switched off and one without a password take as long to refuse as a wrong password")
    func refusals() async throws {
        let access = try access(SharedClock())
        func user(_ name: String) async throws -> EntityID {
            try await access.createUser(
                username: name, email: "\(name)@example.org", password: House.password, by: .system, requestID: "t"
            ).user.id
        }
        _ = try await user("ada")
        try await access.updateUser(try await user("off"), UserEdit(isActive: false), by: .system, requestID: "t")
        let machine = try await access.createServiceAccount(name: "machine", displayName: nil, by: .system, requestID: "t")
        let names = ["ada", "nobody", "off", machine.username]
        for isLogin in [false, true] {
            let ratios = try await Turns.ratios(of: names.count, turns: 15, within: Self.bound) { kind, number in
                // Everybody guesses once, from a place of their own.
                let peer = "10.\(isLogin ? 1 : 0).\(number >> 8).\(number & 255)"
                let asked = Asked(method: "POST", target: "/", peer: peer, requestID: "t")
                let refused = try await refusal {
                    if isLogin {
                        _ = try await access.login(username: names[kind], password: "guess \(number)", requestID: "t", for: asked)
                    } else {
                        _ = try await access.authenticate(.basic(user: names[kind], password: "guess \(number)"), for: asked)
                    }
                }
                #expect(refused?.code == .unauthenticated)
            }
            #expect(Turns.areAlike(ratios, within: Self.bound), "\(names): \(ratios)")
        }
    }

    @Test("a right password of an account that is switched off takes as long as a wrong one")
    func switchedOff() async throws {
        let access = try access(SharedClock())
        let off = try await access.createUser(
            username: "off", email: "off@example.org", password: House.password, by: .system, requestID: "t"
        ).user
        try await access.updateUser(off.id, UserEdit(isActive: false), by: .system, requestID: "t")
        let ratios = try await Turns.ratios(of: 2, turns: 15, within: Self.bound) { kind, number in
            let password = kind == 0 ? "guess \(number)" : House.password
            let refused = try await refusal {
                try await access.authenticate(.basic(user: "off", password: password, from: "10.1.\(number >> 8).\(number & 255)"))
            }
            #expect(refused?.code == .unauthenticated)
        }
        #expect(Turns.areAlike(ratios, within: Self.bound), "\(ratios)")
    }

    @Test("that work which takes twice as long is seen") func bounds() async {
        let ratios = await Turns.ratios(of: 2, turns: 9, within: Self.bound, rounds: 2) { kind, _ in
            let until = ContinuousClock.now + .milliseconds(kind == 0 ? 1 : 3)
            while ContinuousClock.now < until {}
        }
        #expect(!Turns.areAlike(ratios, within: Self.bound))
    }
}
