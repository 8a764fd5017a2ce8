import Synchronization

/// Counts from 0.
final class Counter: Sendable {
    private let value = Atomic<Int64>(0)
    func next() -> Int64 { value.wrappingAdd(1, ordering: .relaxed).oldValue }
    var count: Int64 { value.load(ordering: .relaxed) }
}
