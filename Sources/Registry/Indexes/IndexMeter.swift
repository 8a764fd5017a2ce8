import Core
import Synchronization

/// Counts the engine's work.
final class IndexMeter: Sendable {
    private let work = Mutex(IndexWork())
    var current: IndexWork { work.withLock { $0 } }
    func add(_ body: (inout IndexWork) -> Void) { work.withLock { body(&$0) } }
}

extension BlockingPool {
    /// Runs blocking work for each item, a few at a time; the results are in the items' order.
    func map<Item: Sendable, Value: Sendable>(
        _ items: [Item], atOnce: Int = 2, _ work: @escaping @Sendable (Item) throws(RegistryError) -> Value
    ) async throws(RegistryError) -> [Value] {
        let results = await withTaskGroup(of: (Int, Result<Value, RegistryError>).self) { group in
            var results = [Result<Value, RegistryError>?](repeating: nil, count: items.count)
            var next = 0
            func start() {
                guard next < items.count else { return }
                let (index, item) = (next, items[next])
                next += 1
                group.addTask {
                    do throws(RegistryError) {
                        return (index, .success(try await self.run { () throws(RegistryError) in try work(item) }))
                    } catch {
                        return (index, .failure(error))
                    }
                }
            }
            for _ in 0..<atOnce { start() }
            while let (index, result) = await group.next() {
                results[index] = result
                if case .failure = result { next = items.count }
                start()
            }
            return results
        }
        var values: [Value] = []
        for case .failure(let error)? in results { throw error }
        for case let result? in results { values.append(try result.get()) }
        return values
    }
}
