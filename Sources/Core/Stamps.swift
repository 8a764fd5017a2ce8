import Synchronization

/// Counters that say whether anything under a key has changed since one looked: what is remembered beside a mark counts only while the mark
/// holds. Keys share counters, so the table never grows, and a change to one key makes some others look again.
///
/// Whoever changes something advances its counter after the change can be read and before it is acknowledged; whoever remembers something takes
/// the marks *before* reading.
public final class Stamps: @unchecked Sendable {
    /// One counter as it was.
    public struct Mark: Sendable, Equatable {
        fileprivate let index: Int
        fileprivate let value: UInt64
    }

    // Unchecked: the memory is this object's own from init to deinit, and all that is ever done to it is atomic.
    private let counters: UnsafeMutablePointer<Atomic<UInt64>>
    private let count: Int

    public init(count: Int) {
        precondition(count > 0, "a table has a counter")
        self.count = count
        unsafe counters = UnsafeMutablePointer<Atomic<UInt64>>.allocate(capacity: count)
        for index in 0..<count { unsafe (counters + index).initialize(to: Atomic(0)) }
    }

    deinit {
        unsafe counters.deinitialize(count: count)
        unsafe counters.deallocate()
    }

    private func index(of key: some Hashable) -> Int { Int(UInt(bitPattern: key.hashValue) % UInt(count)) }

    public func mark(_ key: some Hashable) -> Mark {
        let index = index(of: key)
        return unsafe Mark(index: index, value: counters[index].load(ordering: .acquiring))
    }

    public func holds(_ mark: Mark) -> Bool { unsafe counters[mark.index].load(ordering: .acquiring) == mark.value }

    /// Whatever is remembered, nothing of it counts any more.
    public func advanceAll() { for index in 0..<count { unsafe _ = counters[index].wrappingAdd(1, ordering: .releasing) } }

    public func advance(_ key: some Hashable) { unsafe _ = counters[index(of: key)].wrappingAdd(1, ordering: .releasing) }
}
