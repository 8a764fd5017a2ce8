import Outbound
import Testing

@Suite("The breaker leaves a failing origin alone")
struct BreakerTests {
    private static let second: UInt64 = 1_000_000_000

    private func opened(at now: UInt64) -> Breaker {
        var breaker = Breaker()
        for _ in 0..<5 {
            #expect(breaker.admit(at: now) == .pass)
            breaker.failed(at: now)
        }
        return breaker
    }

    @Test("five failures in a row open it for thirty seconds")
    func opens() {
        var breaker = opened(at: 0)
        #expect(breaker.isOpen)
        #expect(breaker.admit(at: 0) == .refuse(retryAfterSeconds: 31))
        #expect(breaker.admit(at: 29 * Self.second) == .refuse(retryAfterSeconds: 2))
    }

    @Test("a success in between starts the count anew")
    func successResets() {
        var breaker = Breaker()
        for _ in 0..<4 { breaker.failed(at: 0) }
        breaker.succeeded()
        #expect(breaker == Breaker())
        for _ in 0..<4 { breaker.failed(at: 0) }
        #expect(!breaker.isOpen)
        #expect(breaker.admit(at: 0) == .pass)
    }

    @Test("after the wait one probe goes out, and its success closes the breaker")
    func probeSucceeds() {
        var breaker = opened(at: 0)
        let later = 30 * Self.second
        #expect(breaker.admit(at: later) == .pass)
        #expect(breaker.admit(at: later) == .refuse(retryAfterSeconds: 1))
        breaker.succeeded()
        #expect(breaker.isIdle)
        #expect(breaker.admit(at: later) == .pass)
    }

    @Test("a probe that fails opens it again for the whole time")
    func probeFails() {
        var breaker = opened(at: 0)
        #expect(breaker.admit(at: 31 * Self.second) == .pass)
        breaker.failed(at: 32 * Self.second)
        #expect(breaker.admit(at: 61 * Self.second) == .refuse(retryAfterSeconds: 2))
        #expect(breaker.admit(at: 62 * Self.second) == .pass)
    }

    @Test("a probe we abandoned lets the next one go at once")
    func probeAbandoned() {
        var breaker = opened(at: 0)
        #expect(breaker.admit(at: 31 * Self.second) == .pass)
        breaker.abandoned(at: 31 * Self.second)
        #expect(breaker.admit(at: 31 * Self.second) == .pass)
    }

    @Test("a probe that never came back does not close the door for good")
    func probeLost() {
        var breaker = opened(at: 0)
        #expect(breaker.admit(at: 30 * Self.second) == .pass)
        #expect(breaker.admit(at: 59 * Self.second) == .refuse(retryAfterSeconds: 1))
        #expect(breaker.admit(at: 60 * Self.second) == .pass)
    }

    @Test("what was under way when it opened does not make the wait longer")
    func stragglers() {
        var breaker = opened(at: 0)
        breaker.failed(at: 20 * Self.second)
        #expect(breaker.admit(at: 30 * Self.second) == .pass)
    }
}
