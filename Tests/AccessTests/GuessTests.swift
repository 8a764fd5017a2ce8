import Core
import Testing

@testable import Access

@Suite("Guesses of passwords") struct GuessTests {
    private static let now = Timestamp(seconds: 1_795_000_000)

    /// The codes of so many wrong guesses.
    private func guess(
        _ guesses: Guesses, _ count: Int, at account: String = "ada", from address: String = "192.0.2.1", when now: Timestamp = GuessTests.now
    ) -> [RegistryError.Code] {
        (0..<count).map { _ in
            do throws(RegistryError) {
                guesses.failed(try guesses.begin(at: account, from: address, at: now), at: now)
                return .unauthenticated
            } catch {
                return error.code
            }
        }
    }

    private func isHeard(_ guesses: Guesses, at account: String = "ada", from address: String, when now: Timestamp = GuessTests.now) -> Bool {
        (try? guesses.check(account, from: address, at: now)) != nil
    }

    @Test("an address is heard five times at an account, whichever way the name is spelled, and again when the failures are forgotten")
    func fiveTimes() throws {
        let guesses = Guesses(limits: GuessLimits())
        #expect(guess(guesses, 3) + guess(guesses, 3, at: "ADA") == Array(repeating: .unauthenticated, count: 5) + [.rateLimited])
        #expect(guesses.mayRefuse(at: Self.now))
        let refused = #expect(throws: RegistryError.self) { try guesses.begin(at: "ada", from: "192.0.2.1", at: Self.now) }
        #expect(refused?.retryAfterSeconds == 1800)
        let later = Self.now.adding(seconds: 1800)
        #expect(!guesses.mayRefuse(at: later))
        #expect(guess(guesses, 6, when: later) == Array(repeating: .unauthenticated, count: 5) + [.rateLimited])
    }

    @Test("guesses that are refused do not prolong the refusal")
    func notProlonged() {
        let guesses = Guesses(limits: GuessLimits())
        _ = guess(guesses, 5)
        _ = guess(guesses, 1000, when: Self.now.adding(seconds: 1799))
        #expect(isHeard(guesses, from: "192.0.2.1", when: Self.now.adding(seconds: 1800)))
    }

    @Test("whoever fails at an account leaves the others heard: the owner from an address that has not failed, and from one that proved itself")
    func ownerIsHeard() throws {
        let guesses = Guesses(limits: GuessLimits())
        guesses.succeeded(try guesses.begin(at: "ada", from: "198.51.100.9", at: Self.now))
        for host in 0..<200 { #expect(guess(guesses, 2, from: "10.0.0.\(host)").last == (host < 2 ? .unauthenticated : .rateLimited)) }
        #expect(isHeard(guesses, from: "203.0.113.7"))
        // A proven address keeps its five tries, one that is new has one.
        #expect(guess(guesses, 6, from: "198.51.100.9") == Array(repeating: .unauthenticated, count: 5) + [.rateLimited])
        #expect(guess(guesses, 2, from: "203.0.113.7") == [.unauthenticated, .rateLimited])
        #expect(isHeard(guesses, at: "bob", from: "10.0.0.1"))
    }

    @Test("an address that fails at many accounts is heard at none; a success at its own account in between changes nothing")
    func spraying() throws {
        let guesses = Guesses(limits: GuessLimits())
        for number in 0..<50 {
            #expect(guess(guesses, 1, at: "user\(number)") == [.unauthenticated])
            if number < 49 { guesses.succeeded(try guesses.begin(at: "mallory", from: "192.0.2.1", at: Self.now)) }
        }
        #expect(!isHeard(guesses, at: "ada", from: "192.0.2.1"))
        #expect(!isHeard(guesses, at: "mallory", from: "192.0.2.1"))
        #expect(isHeard(guesses, at: "ada", from: "192.0.2.2"))
    }

    @Test("guesses that are still being checked count, and are given back when nobody found out")
    func atOnce() throws {
        let guesses = Guesses(limits: GuessLimits())
        let attempts = try (0..<5).map { _ in try guesses.begin(at: "ada", from: "192.0.2.1", at: Self.now) }
        #expect(!isHeard(guesses, from: "192.0.2.1"))
        for attempt in attempts { guesses.withdrawn(attempt) }
        #expect(guess(guesses, 6).last == .rateLimited)
    }

    @Test("the addresses of one IPv6 subscriber are one, and so are an IPv4 address and its mapped form")
    func subscribers() {
        let guesses = Guesses(limits: GuessLimits())
        for host in 1...5 { _ = guess(guesses, 1, from: "2001:db8:1:2::\(host)") }
        #expect(!isHeard(guesses, from: "2001:db8:1:2:ffff::1"))
        #expect(isHeard(guesses, from: "2001:db8:1:3::1"))
        let mapped = Guesses(limits: GuessLimits())
        _ = guess(mapped, 5, from: "::ffff:192.0.2.1")
        #expect(!isHeard(mapped, from: "192.0.2.1"))
    }

    @Test("what is kept is bounded, and a reset account is heard from everywhere")
    func boundedAndForgotten() {
        let guesses = Guesses(limits: GuessLimits(), entriesMax: 64)
        for number in 0..<10_000 { _ = guess(guesses, 1, at: "u\(number)", from: "10.1.\(number / 256).\(number % 256)") }
        #expect(guesses.entryCount <= 64)
        _ = guess(guesses, 5)
        guesses.forget("Ada")
        #expect(isHeard(guesses, from: "192.0.2.1"))
    }

    @Test("one password sent 64 times at once costs one hash and is one guess")
    func oneFlight() async throws {
        let house = try House()
        try await house.user("ada")
        let codes = await withTaskGroup(of: RegistryError.Code?.self) { group in
            for _ in 0..<64 {
                group.addTask {
                    do throws(RegistryError) {
                        _ = try await house.access.authenticate(.basic(user: "ada", password: House.password, from: "192.0.2.1"))
                        return nil
                    } catch {
                        return error.code
                    }
                }
            }
            return await group.reduce(into: [RegistryError.Code?]()) { $0.append($1) }
        }
        #expect(codes.allSatisfy { $0 == nil })
    }

    @Test("an address that guessed too often does not learn the right password, not even one that others have just used")
    func warmCache() async throws {
        let house = try House()
        try await house.user("ada")
        let owner = Credentials.basic(user: "ada", password: House.password, from: "198.51.100.9")
        _ = try await house.access.authenticate(owner)
        let standing = try #require(try house.access.authenticateAtOnce(owner)).standing
        #expect(house.access.isCurrent(standing))
        for number in 0..<5 {
            let wrong = Credentials.basic(user: "ada", password: "wrong \(number)", from: "192.0.2.1")
            #expect(try await refusal { try await house.access.authenticate(wrong) }?.code == .unauthenticated)
        }
        let right = Credentials.basic(user: "ada", password: House.password, from: "192.0.2.1")
        #expect(try await refusal { try await house.access.authenticate(right) }?.code == .rateLimited)
        #expect(throws: RegistryError.self) { try house.access.authenticateAtOnce(right) }
        // Answers that were remembered for this password are not given again by their bytes alone.
        #expect(!house.access.isCurrent(standing))
        #expect(try await house.access.authenticate(owner).username == "ada")
        #expect(
            try await refusal {
                try await house.access.login(
                    username: "ada", password: House.password, requestID: "t",
                    for: Asked(method: "POST", target: "/", peer: "192.0.2.1", requestID: "t"))
            }?.code
                == .rateLimited)
        house.pass(seconds: 1800)
        #expect(try await house.access.authenticate(right).username == "ada")
    }

    @Test("a session thief guesses the current password no more often than anybody")
    func passwordChange() async throws {
        let house = try House()
        let ada = try await house.user("ada")
        var codes: [RegistryError.Code?] = []
        for password in ["1", "2", "3", "4", "5", House.password] {
            codes.append(
                try await refusal {
                    try await house.access.setPassword(
                        of: ada.id, current: password, new: "another long phrase", from: "192.0.2.1", by: .system, requestID: "t")
                }?.code)
        }
        #expect(codes == Array(repeating: .unauthenticated, count: 5) + [.rateLimited])
    }
}

@Suite("Rate limits") struct RateLimitTests {
    private let now = Timestamp(seconds: 1_795_000_000)

    @Test("so many at once, then one each time a share of the span has passed")
    func bucket() {
        let limit = RateLimit(limit: 3, seconds: 60)
        let key = RateLimit.Key(nil, at: "192.0.2.1")
        #expect((0..<4).map { _ in limit.take(key, at: now).remaining } == [2, 1, 0, 0])
        #expect(limit.take(key, at: now) == .init(isAllowed: false, limit: 3, remaining: 0, retryAfterSeconds: 20))
        #expect(limit.take(key, at: now.adding(seconds: 19)).isAllowed == false)
        #expect(limit.take(key, at: now.adding(seconds: 20)).isAllowed)
        #expect(limit.take(key, at: now.adding(seconds: 20)).isAllowed == false)
        #expect(limit.take(key, at: now.adding(seconds: 3600)).remaining == 2)
        #expect(limit.take(.init(nil, at: "192.0.2.2"), at: now).remaining == 2)
    }

    @Test("memory is bounded however many callers there are, and a clock that goes back locks nobody out for long")
    func bounded() {
        let limit = RateLimit(limit: 2, seconds: 60, entriesMax: 100)
        for number in 0..<10_000 { #expect(limit.take(.init(nil, at: "10.0.\(number / 256).\(number % 256)"), at: now).isAllowed) }
        #expect(limit.entryCount <= 100)
        let key = RateLimit.Key(nil, at: "192.0.2.1")
        _ = limit.take(key, at: now.adding(seconds: 864_000))
        #expect(limit.take(key, at: now).isAllowed)
    }
}
