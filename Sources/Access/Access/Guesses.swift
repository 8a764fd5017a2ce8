import Core
import Synchronization

/// How many wrong passwords are put up with.
public struct GuessLimits: Sendable, Hashable {
    /// By one address at one account, before that address is not heard at that account.
    public var failuresMax: Int
    /// How long a failure counts.
    public var seconds: Int64
    /// By one address at all accounts together.
    public var failuresPerAddressMax: Int

    public init(failuresMax: Int = 5, seconds: Int64 = 1800, failuresPerAddressMax: Int = 50) {
        self.failuresMax = failuresMax
        self.seconds = seconds
        self.failuresPerAddressMax = failuresPerAddressMax
    }
}

/// Counts wrong passwords, and refuses guesses unheard where there were too many.
///
/// No account can be locked from outside: what is refused is an address. After `failuresMax` failures at an account, wherever they came from, an
/// address that never proved itself there gets one try instead of five; one that has not failed is heard, so the owner comes in.
/// A guess is counted before it is checked and given back when it was right, so that many at once are no more than many in turn.
final class Guesses: Sendable {
    /// One guess that is being checked.
    struct Attempt: Sendable {
        fileprivate let account: String
        fileprivate let address: IPAddress?
    }

    private enum Key: Hashable {
        case pair(String, IPAddress?)
        case account(String)
        case address(IPAddress?)
    }

    private struct Count {
        var failures = 0
        /// When the failures are forgotten.
        var until = Timestamp(milliseconds: 0)
        /// The account's owner came in from here.
        var isProven = false
    }

    private struct State {
        // Two generations: when the young one is full the old one is dropped, so memory is bounded. What is used again moves up.
        var young: [Key: Count] = [:]
        var old: [Key: Count] = [:]
    }

    /// A longer name is no account's.
    private static let nameBytesMax = 64

    private let limits: GuessLimits
    private let generationMax: Int
    private let state = Mutex(State())
    /// Until then some address is refused somewhere; milliseconds.
    private let refusesUntil = Atomic<Int64>(0)

    init(limits: GuessLimits, entriesMax: Int = 65_536) {
        self.limits = limits
        generationMax = max(1, entriesMax / 2)
    }

    /// Whether anybody may be refused now: while nobody is, a password that was verified before needs no question here.
    func mayRefuse(at now: Timestamp) -> Bool { now.milliseconds < refusesUntil.load(ordering: .relaxed) }

    /// - Throws: `rateLimited`, whether the password is right or not and the account exists or not.
    func begin(at account: String, from address: String, at now: Timestamp) throws(RegistryError) -> Attempt {
        let attempt = Guesses.attempt(account, address)
        let refusedUntil = state.withLock { state in
            if let until = refusal(of: attempt, at: now, in: &state) { return Timestamp?.some(until) }
            count(.pair(attempt.account, attempt.address), at: now, in: &state)
            return nil
        }
        if let refusedUntil { throw Guesses.refused(until: refusedUntil, at: now) }
        return attempt
    }

    /// - Throws: `rateLimited` when a guess from there would not be heard.
    func check(_ account: String, from address: String, at now: Timestamp) throws(RegistryError) {
        let until = state.withLock { refusal(of: Guesses.attempt(account, address), at: now, in: &$0) }
        if let until { throw Guesses.refused(until: until, at: now) }
    }

    /// The password was right. The address's other failures stay: an attacker's own account earns no further guesses at others.
    func succeeded(_ attempt: Attempt) {
        state.withLock { put(Count(isProven: true), for: .pair(attempt.account, attempt.address), in: &$0) }
    }

    /// It was wrong.
    func failed(_ attempt: Attempt, at now: Timestamp) {
        state.withLock { state in
            count(.account(attempt.account), at: now, in: &state)
            count(.address(attempt.address), at: now, in: &state)
        }
    }

    /// Nobody found out.
    func withdrawn(_ attempt: Attempt) {
        let key = Key.pair(attempt.account, attempt.address)
        state.withLock { state in
            guard var count = state.young[key] ?? state.old[key] else { return }
            count.failures = max(0, count.failures - 1)
            put(count, for: key, in: &state)
        }
    }

    /// An administrator gave the account another password: its owner may try at once.
    func forget(_ account: String) {
        let account = Guesses.name(account)
        let isOf: (Key) -> Bool = { key in
            switch key {
            case .pair(account, _), .account(account): true
            default: false
            }
        }
        state.withLock { state in
            state.young = state.young.filter { !isOf($0.key) }
            state.old = state.old.filter { !isOf($0.key) }
        }
    }

    /// How much is kept.
    var entryCount: Int { state.withLock { $0.young.count + $0.old.count } }

    // MARK: Counting

    private func refusal(of attempt: Attempt, at now: Timestamp, in state: inout State) -> Timestamp? {
        let address = current(.address(attempt.address), at: now, in: state)
        if address.failures >= limits.failuresPerAddressMax { return address.until }
        let pair = current(.pair(attempt.account, attempt.address), at: now, in: state)
        let isBesieged = current(.account(attempt.account), at: now, in: state).failures >= limits.failuresMax
        return pair.failures >= (isBesieged && !pair.isProven ? 1 : limits.failuresMax) ? pair.until : nil
    }

    private func current(_ key: Key, at now: Timestamp, in state: State) -> Count {
        var count = state.young[key] ?? state.old[key] ?? Count()
        if now >= count.until { count.failures = 0 }
        return count
    }

    private func count(_ key: Key, at now: Timestamp, in state: inout State) {
        var count = current(key, at: now, in: state)
        count.failures += 1
        count.until = now.adding(seconds: limits.seconds)
        put(count, for: key, in: &state)
        let isFull =
            switch key {
            case .address: count.failures >= limits.failuresPerAddressMax
            case .pair, .account: count.failures >= limits.failuresMax
            }
        if isFull { refusesUntil.max(count.until.milliseconds, ordering: .relaxed) }
    }

    private func put(_ count: Count, for key: Key, in state: inout State) {
        if state.young[key] == nil, state.young.count >= generationMax {
            state.old = state.young
            state.young = [:]
        }
        state.young[key] = count
    }

    private static func attempt(_ account: String, _ address: String) -> Attempt {
        Attempt(account: name(account), address: IPAddress(address)?.subscriber)
    }

    private static func name(_ account: String) -> String {
        String(
            decoding: UserRow.unique(String(decoding: account.utf8.prefix(4 * nameBytesMax), as: UTF8.self)).utf8.prefix(nameBytesMax), as: UTF8.self)
    }

    private static func refused(until: Timestamp, at now: Timestamp) -> RegistryError {
        RegistryError(
            .rateLimited, subject: .request, reason: "too many wrong passwords from this address: wait, or use a session or a token",
            retryAfterSeconds: Int(clamping: max(1, (until.milliseconds &- now.milliseconds &+ 999) / 1000)))
    }
}
