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

    private typealias Counts = Generations<Key, Count>

    /// A longer name is no account's.
    private static let nameBytesMax = 64

    private let limits: GuessLimits
    private let counts: Mutex<Counts>
    /// Until then some address is refused somewhere; milliseconds.
    private let refusesUntil = Atomic<Int64>(0)

    init(limits: GuessLimits, entriesMax: Int = 65_536) {
        self.limits = limits
        counts = Mutex(Counts(entriesMax: entriesMax))
    }

    /// Whether anybody may be refused now: while nobody is, a password that was verified before needs no question here.
    func mayRefuse(at now: Timestamp) -> Bool { now.milliseconds < refusesUntil.load(ordering: .relaxed) }

    /// - Throws: `rateLimited`, whether the password is right or not and the account exists or not.
    func begin(at account: String, from address: String, at now: Timestamp) throws(RegistryError) -> Attempt {
        let attempt = Guesses.attempt(account, address)
        let refusedUntil = counts.withLock { counts in
            if let until = refusal(of: attempt, at: now, in: &counts) { return Timestamp?.some(until) }
            count(.pair(attempt.account, attempt.address), at: now, in: &counts)
            return nil
        }
        if let refusedUntil { throw Guesses.refused(until: refusedUntil, at: now) }
        return attempt
    }

    /// - Throws: `rateLimited` when a guess from there would not be heard.
    func check(_ account: String, from address: String, at now: Timestamp) throws(RegistryError) {
        let until = counts.withLock { refusal(of: Guesses.attempt(account, address), at: now, in: &$0) }
        if let until { throw Guesses.refused(until: until, at: now) }
    }

    /// The password was right. The address's other failures stay: an attacker's own account earns no further guesses at others.
    func succeeded(_ attempt: Attempt) {
        counts.withLock { $0[.pair(attempt.account, attempt.address)] = Count(isProven: true) }
    }

    /// It was wrong.
    func failed(_ attempt: Attempt, at now: Timestamp) {
        counts.withLock { counts in
            count(.account(attempt.account), at: now, in: &counts)
            count(.address(attempt.address), at: now, in: &counts)
        }
    }

    /// Nobody found out.
    func withdrawn(_ attempt: Attempt) {
        let key = Key.pair(attempt.account, attempt.address)
        counts.withLock { counts in
            guard var count = counts[key] else { return }
            count.failures = max(0, count.failures - 1)
            counts[key] = count
        }
    }

    /// An administrator gave the account another password: its owner may try at once.
    func forget(_ account: String) {
        let account = Guesses.name(account)
        counts.withLock { counts in
            counts.removeAll { key in
                switch key {
                case .pair(account, _), .account(account): true
                default: false
                }
            }
        }
    }

    /// How much is kept.
    var entryCount: Int { counts.withLock { $0.count } }

    // MARK: Counting

    private func refusal(of attempt: Attempt, at now: Timestamp, in counts: inout Counts) -> Timestamp? {
        let address = current(.address(attempt.address), at: now, in: &counts)
        if address.failures >= limits.failuresPerAddressMax { return address.until }
        let pair = current(.pair(attempt.account, attempt.address), at: now, in: &counts)
        let isBesieged = current(.account(attempt.account), at: now, in: &counts).failures >= limits.failuresMax
        return pair.failures >= (isBesieged && !pair.isProven ? 1 : limits.failuresMax) ? pair.until : nil
    }

    private func current(_ key: Key, at now: Timestamp, in counts: inout Counts) -> Count {
        var count = counts[key] ?? Count()
        if now >= count.until { count.failures = 0 }
        return count
    }

    private func count(_ key: Key, at now: Timestamp, in counts: inout Counts) {
        var count = current(key, at: now, in: &counts)
        count.failures += 1
        count.until = now.adding(seconds: limits.seconds)
        counts[key] = count
        let isFull =
            switch key {
            case .address: count.failures >= limits.failuresPerAddressMax
            case .pair, .account: count.failures >= limits.failuresMax
            }
        if isFull { refusesUntil.max(count.until.milliseconds, ordering: .relaxed) }
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
