import Synchronization

/// Work that must not happen at the same time comes one after the other, in the order it asked.
final class Turn: Sendable {
    private typealias Waiter = CheckedContinuation<Void, Never>
    private struct State {
        var isTaken = false
        var waiting: [Waiter] = []
    }
    private let state = Mutex(State())

    /// Balanced by `end`.
    func begin() async {
        await withCheckedContinuation { (waiter: Waiter) in
            let isMine = state.withLock { state in
                if state.isTaken {
                    state.waiting.append(waiter)
                    return false
                }
                state.isTaken = true
                return true
            }
            if isMine { waiter.resume() }
        }
    }

    func end() {
        let next: Waiter? = state.withLock { state in
            precondition(state.isTaken, "a turn ends once")
            if state.waiting.isEmpty {
                state.isTaken = false
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}
