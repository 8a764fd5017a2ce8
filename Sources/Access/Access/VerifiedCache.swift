import Core
import Crypto
import Synchronization

/// Remembers who a credential proved to be, so that a client pays for Argon2, the signature and the row reads once, not per request.
///
/// Nothing in it outlives a change: every change to an account, its tokens, sessions, groups or permissions advances the account's epoch, and
/// every change to a group's permissions the group's, after it is durable and before it is acknowledged. An entry counts only while all these
/// epochs are the ones that were read *before* the rows were.
/// Keys are keyed hashes: a memory dump holds no credential.
final class VerifiedCache: Sendable {
    struct Key: Hashable, Sendable {
        fileprivate let digest: SHA256Digest
    }

    /// When what a caller is made of was read: the account's rows, and those of the groups it is in.
    struct Epoch: Sendable {
        fileprivate var account: Stamps.Mark
        fileprivate var groups: [Stamps.Mark]
    }

    private struct Entry {
        var caller: Caller
        var epoch: Epoch
    }

    /// By account, and by group.
    private let epochs = Stamps(count: 1024)
    private let salt: [UInt8]
    private let entries: Mutex<Generations<Key, Entry>>

    init(entriesMax: Int, salt: [UInt8]) {
        self.salt = salt
        entries = Mutex(Generations(entriesMax: entriesMax))
    }

    /// nil for what is not worth remembering.
    func key(for presented: Credentials.Presented) -> Key? {
        var hash = SHA256()
        hash.update(data: salt)
        switch presented {
        case .none, .malformed, .ticket: return nil
        case .token(let token):
            hash.update(data: [0])
            hash.update(data: Array(token.revealed.utf8))
        case .password(let user, let password):
            hash.update(data: [1])
            hash.update(data: Array(user.utf8))
            // 0xFF is in no UTF-8 text, so (a, bc) and (ab, c) differ.
            hash.update(data: [0xFF])
            hash.update(data: Array(password.revealed.utf8))
        }
        return Key(digest: hash.finalize())
    }

    /// With the epoch it counts in.
    func caller(for key: Key, at now: Timestamp) -> (caller: Caller, epoch: Epoch)? {
        guard let entry = entries.withLock({ $0[key] }), isCurrent(entry.epoch) else { return nil }
        if let expires = entry.caller.expires, now >= expires { return nil }
        return (entry.caller, entry.epoch)
    }

    /// Of an account or a group, to be read before the rows of it that the caller is made from.
    func epoch(of id: EntityID) -> Stamps.Mark { epochs.mark(id) }

    func isCurrent(_ epoch: Epoch) -> Bool { epochs.holds(epoch.account) && epoch.groups.allSatisfy { epochs.holds($0) } }

    func remember(_ caller: Caller, for key: Key, at account: Stamps.Mark) {
        guard caller.account != nil else { return }
        let epoch = Epoch(account: account, groups: caller.holdings.marks)
        entries.withLock { $0[key] = Entry(caller: caller, epoch: epoch) }
    }

    /// Everything remembered of the account, or of the group's members, is forgotten.
    func advance(_ id: EntityID) { epochs.advance(id) }
    func advanceAll() { epochs.advanceAll() }
}
