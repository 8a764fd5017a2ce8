/// Stops asking an origin that keeps failing, and finds out cheaply when it is back.
///
/// Closed until `failuresMax` failures in a row; then open for `openNanoseconds`, in which nothing is asked; then one probe decides.
/// A pure value: the clock comes in as nanoseconds that never go backwards.
public struct Breaker: Sendable, Equatable {
    public enum Admission: Sendable, Equatable {
        case pass
        /// Not before so many seconds have gone by.
        case refuse(retryAfterSeconds: Int)
    }

    private enum State: Sendable, Equatable {
        case closed(failures: Int)
        case open(until: UInt64)
        case probing(since: UInt64)
    }

    public let failuresMax: Int
    public let openNanoseconds: UInt64
    private var state = State.closed(failures: 0)

    public init(failuresMax: Int = 5, openSeconds: UInt64 = 30) {
        self.failuresMax = max(1, failuresMax)
        openNanoseconds = min(openSeconds, 86_400) * 1_000_000_000
    }

    /// Nothing to remember: a fresh breaker would behave the same.
    public var isIdle: Bool { state == .closed(failures: 0) }
    /// Requests are being refused, or a probe is out.
    public var isOpen: Bool { if case .closed = state { false } else { true } }

    /// Asks before a request. Every `pass` is answered by exactly one of `succeeded`, `failed`, `abandoned`.
    public mutating func admit(at now: UInt64) -> Admission {
        switch state {
        case .closed: return .pass
        case .open(let until):
            guard now >= until else { return .refuse(retryAfterSeconds: Breaker.seconds(from: now, to: until)) }
            state = .probing(since: now)
            return .pass
        case .probing(let since):
            // A probe that never came back must not close the door for good.
            let (until, overflow) = since.addingReportingOverflow(openNanoseconds)
            guard !overflow, now >= until else { return .refuse(retryAfterSeconds: 1) }
            state = .probing(since: now)
            return .pass
        }
    }

    /// The origin answered with something other than 5xx.
    public mutating func succeeded() { state = .closed(failures: 0) }

    /// No connection, no answer, or 5xx.
    public mutating func failed(at now: UInt64) {
        switch state {
        case .closed(let failures) where failures + 1 < failuresMax: state = .closed(failures: failures + 1)
        case .closed, .probing:
            let (until, overflow) = now.addingReportingOverflow(openNanoseconds)
            state = .open(until: overflow ? .max : until)
        case .open: break  // A request admitted before the door closed says nothing new.
        }
    }

    /// The request ended for a reason of ours (cancelled, refused by policy): no verdict on the origin.
    public mutating func abandoned(at now: UInt64) {
        if case .probing = state { state = .open(until: now) }
    }

    private static func seconds(from now: UInt64, to until: UInt64) -> Int { Int((until - now) / 1_000_000_000) + 1 }
}
