import Core
import Synchronization

/// One piece of work per key at a time; whoever comes meanwhile waits for its result. The work belongs to nobody's request: a caller that
/// goes away neither ends it nor hurts the others.
final class SingleFlight<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private let running = Mutex<[Key: Task<Result<Value, RegistryError>, Never>]>([:])

    func run(_ key: Key, _ work: @escaping @Sendable () async throws(RegistryError) -> Value) async throws(RegistryError) -> Value {
        let task = running.withLock { running in
            if let task = running[key] { return task }
            // Unstructured on purpose: see above. It ends by itself, since every fetch has limits in bytes and time.
            let task = Task { () async -> Result<Value, RegistryError> in
                let result: Result<Value, RegistryError>
                do throws(RegistryError) { result = .success(try await work()) } catch { result = .failure(error) }
                self.running.withLock { $0[key] = nil }
                return result
            }
            running[key] = task
            return task
        }
        return try await task.value.get()
    }
}
