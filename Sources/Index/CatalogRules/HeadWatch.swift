package import Core
import Synchronization

/// The head of the log, and who waits for it to move.
package final class HeadWatch: Sendable {
    private struct Waiter {
        let after: Revision
        let continuation: UnsafeContinuation<Void, Never>
    }
    private struct State {
        var head: Revision
        var waiters: [UInt64: Waiter] = [:]
        var nextWaiter: UInt64 = 0
        /// Cancelled before they began to wait.
        var cancelled: Set<UInt64> = []
    }
    private let state: Mutex<State>

    package init(head: Revision) { state = Mutex(State(head: head)) }

    package var head: Revision { state.withLock { $0.head } }

    package func advance(to head: Revision) {
        let woken = state.withLock { state in
            guard head > state.head else { return [Waiter]() }
            state.head = head
            let woken = state.waiters.filter { $0.value.after < head }
            for id in woken.keys { state.waiters[id] = nil }
            return Array(woken.values)
        }
        for waiter in woken { waiter.continuation.resume() }
    }

    /// Returns when the head is past `revision` or the task is cancelled.
    package func wait(after revision: Revision) async {
        let id = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
                let isOver = state.withLock { state in
                    if state.cancelled.remove(id) != nil || state.head > revision { return true }
                    state.waiters[id] = Waiter(after: revision, continuation: continuation)
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                let waiter = state.waiters.removeValue(forKey: id)
                if waiter == nil { state.cancelled.insert(id) }
                return waiter
            }
            waiter?.continuation.resume()
        }
        // A cancellation that came after the wake-up found no waiter and left its mark.
        _ = state.withLock { $0.cancelled.remove(id) }
    }
}
