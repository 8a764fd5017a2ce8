public import Core
import Synchronization

/// So many requests in a span of time by one caller, spread or at once: a bucket that fills evenly (the generic cell rate algorithm).
public final class RateLimit: Sendable {
    public struct Verdict: Sendable, Hashable {
        public let isAllowed: Bool
        public let limit: Int
        /// Further requests that would be allowed now.
        public let remaining: Int
        /// Seconds until the next is allowed; 0 when it is.
        public let retryAfterSeconds: Int
    }

    /// Whose requests are counted together.
    public enum Key: Sendable, Hashable {
        case account(EntityID)
        /// All of an IPv6 subscriber's addresses are one; what is no address is one as well.
        case address(IPAddress?)

        public init(_ account: EntityID?, at address: String) {
            self = account.map { .account($0) } ?? .address(IPAddress(address)?.subscriber)
        }
    }

    public let limit: Int
    private let spanMicroseconds: Int64
    private let entriesMax: Int
    /// For each key when its bucket would be full again, in microseconds.
    private let fullAt = Mutex<[Key: Int64]>([:])

    public init(limit: Int, seconds: Int64, entriesMax: Int = 32_768) {
        precondition(limit > 0 && seconds > 0 && seconds <= 1 << 30 && entriesMax > 0, "a limit allows something in some time")
        self.limit = limit
        spanMicroseconds = seconds * 1_000_000
        self.entriesMax = entriesMax
    }

    /// Counts one request, unless it is refused.
    public func take(_ key: Key, at now: Timestamp) -> Verdict {
        let now = now.milliseconds &* 1000
        let cost = max(1, spanMicroseconds / Int64(limit))
        return fullAt.withLock { fullAt in
            // A clock that was set back must not keep anybody waiting for it.
            let known = fullAt[key].flatMap { $0 &- now > spanMicroseconds ? nil : $0 }
            let full = max(known ?? now, now) &+ cost
            let over = full &- now &- spanMicroseconds
            guard over <= 0 else {
                return Verdict(isAllowed: false, limit: limit, remaining: 0, retryAfterSeconds: Int(clamping: (over &+ 999_999) / 1_000_000))
            }
            if fullAt.count >= entriesMax, fullAt[key] == nil { RateLimit.makeRoom(in: &fullAt, at: now, entriesMax) }
            fullAt[key] = full
            return Verdict(isAllowed: true, limit: limit, remaining: Int(clamping: -over / cost), retryAfterSeconds: 0)
        }
    }

    var entryCount: Int { fullAt.withLock { $0.count } }

    /// Full buckets say nothing. Are there still too many, all begin anew: an entry forgotten is a few requests more.
    private static func makeRoom(in fullAt: inout [Key: Int64], at now: Int64, _ entriesMax: Int) {
        fullAt = fullAt.filter { $0.value > now }
        if fullAt.count >= entriesMax / 2 { fullAt = [:] }
    }
}
