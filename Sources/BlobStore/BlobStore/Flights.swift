import Core
import Synchronization

/// Work on blobs that is done once for all who ask for it at the same time.
final class Flights<Value: Sendable>: Sendable {
    private typealias Waiter = CheckedContinuation<Result<Value, RegistryError>?, Never>
    private let waiting = Mutex<[BlobID: [Waiter]]>([:])

    /// Does the work, or waits for who is at it.
    func run(_ id: BlobID, _ work: () async throws(RegistryError) -> Value) async throws(RegistryError) -> Value {
        while true {
            if begins(id) {
                let result: Result<Value, RegistryError>
                do throws(RegistryError) { result = .success(try await work()) } catch { result = .failure(error) }
                // Who asked first may have hung up; then the next of them does it.
                var hasHungUp = false
                if case .failure = result { hasHungUp = Task.isCancelled }
                for waiter in waiting.withLock({ $0.removeValue(forKey: id) ?? [] }) { waiter.resume(returning: hasHungUp ? nil : result) }
                return try result.get()
            }
            let result = await withCheckedContinuation { (waiter: Waiter) in
                let isOver = waiting.withLock { waiting in
                    guard waiting[id] != nil else { return true }
                    waiting[id]?.append(waiter)
                    return false
                }
                if isOver { waiter.resume(returning: nil) }
            }
            if let result { return try result.get() }
        }
    }

    private func begins(_ id: BlobID) -> Bool {
        waiting.withLock { waiting in
            guard waiting[id] == nil else { return false }
            waiting[id] = []
            return true
        }
    }
}
