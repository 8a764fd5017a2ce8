import Core
import Synchronization

/// Which blobs must stay: those that staged bytes hold (leases), and those that somebody is just looking for (claims); and which the sweep is
/// taking away (condemned). Equal bytes that arrive while a blob is leased share its place.
///
/// Why a push can never rely on bytes that the sweep takes:
/// 1. Whoever wants to use stored bytes claims the blob before it looks for its location, and leases it before the claim ends.
/// 2. The sweep condemns only what nobody claims or leases, and it does so on the committer's thread, in the very build that sees no pin and
///    deletes the location.
/// 3. A claim of a condemned blob waits until location and file are gone for good (or the step has failed): it then finds no blob, and the
///    bytes are stored anew.
/// And should that fail, a change still looks for the location itself (`ChangeRun.requireStored`), and is refused rather than left dangling.
final class Leases: Sendable {
    private struct Lease {
        let placement: Placement
        var holders: Int
    }
    private typealias Waiter = CheckedContinuation<Void, Never>
    private struct State {
        var leases: [BlobID: Lease] = [:]
        var claims: [BlobID: Int] = [:]
        var condemned: [BlobID: [Waiter]] = [:]
    }

    private let state = Mutex(State())

    func isHeld(_ id: BlobID) -> Bool { state.withLock { $0.leases[id] != nil || $0.claims[id] != nil } }
    var count: Int { state.withLock { $0.leases.count } }

    // MARK: Looking for a blob

    /// From now on until `unclaim` nobody takes the blob away. Waits while it is being taken away.
    func claim(_ id: BlobID) async {
        while !claimAtOnce(id) {
            await withCheckedContinuation { (waiter: Waiter) in
                let isOver = state.withLock { state in
                    guard state.condemned[id] != nil else { return true }
                    state.condemned[id]?.append(waiter)
                    return false
                }
                if isOver { waiter.resume() }
            }
        }
    }

    private func claimAtOnce(_ id: BlobID) -> Bool {
        state.withLock { state in
            guard state.condemned[id] == nil else { return false }
            state.claims[id, default: 0] += 1
            return true
        }
    }

    func unclaim(_ id: BlobID) {
        state.withLock { state in
            guard let claims = state.claims[id] else { preconditionFailure("a claim ends once") }
            state.claims[id] = claims > 1 ? claims - 1 : nil
        }
    }

    // MARK: Holding it

    /// Holds the blob's present placement, if it has one. Called under a claim; balanced by `release`.
    func join(_ id: BlobID) -> Placement? {
        state.withLock { state in
            guard var lease = state.leases[id] else { return nil }
            lease.holders += 1
            state.leases[id] = lease
            return lease.placement
        }
    }

    /// Where somebody holds it now; nil when nobody does.
    func placement(of id: BlobID) -> Placement? { state.withLock { $0.leases[id]?.placement } }

    /// Holds the placement, or the one that came first. Called under a claim; balanced by `release`.
    func hold(_ placement: Placement) -> Placement {
        state.withLock { state in
            precondition(state.claims[placement.id] != nil, "a blob is claimed before it is leased")
            var lease = state.leases[placement.id] ?? Lease(placement: placement, holders: 0)
            lease.holders += 1
            state.leases[placement.id] = lease
            return lease.placement
        }
    }

    /// `abandon` runs, under the lock (nobody can stage the same bytes meanwhile), when the last holder lets go of a blob that was never committed.
    func release(_ id: BlobID, abandon: (Placement) -> Void) {
        // Returned from the closure so that the placement goes away after the lock.
        let last: Placement? = state.withLock { state in
            guard var lease = state.leases[id] else { preconditionFailure("a lease is released once") }
            lease.holders -= 1
            guard lease.holders == 0 else {
                state.leases[id] = lease
                return nil
            }
            if !lease.placement.isCommitted { abandon(lease.placement) }
            state.leases[id] = nil
            return lease.placement
        }
        _ = last
    }

    // MARK: Taking it away

    /// - Returns: whether the blob may be taken away: nobody holds it, and nobody can until `absolve`.
    func condemn(_ id: BlobID) -> Bool {
        state.withLock { state in
            guard state.leases[id] == nil, state.claims[id] == nil, state.condemned[id] == nil else { return false }
            state.condemned[id] = []
            return true
        }
    }

    /// The blob is gone, or stays after all.
    func absolve(_ id: BlobID) {
        let waiters = state.withLock { state in
            guard let waiters = state.condemned.removeValue(forKey: id) else { preconditionFailure("only the condemned are absolved") }
            return waiters
        }
        for waiter in waiters { waiter.resume() }
    }
}
