public import Core

/// A home of rows that change in groups, for who keeps rows beside the catalog's and needs nothing else of a store: this one, or the catalog's
/// database.
public protocol RowStore: Sendable {
    /// Builds run one after the other in the order they came, those of changes to the catalog in the same queue included; each sees those before it.
    /// A throwing build leaves no trace. What the home cannot take fails what was queued after it for the same commit, too. `completion` runs in the
    /// order of the builds once they are durable, or failed, and must not block.
    /// - Parameters:
    ///   - reads: rows that `build` is likely to ask for.
    ///   - isPatient: it may wait a second for the next one that is not, and is committed with that.
    func enqueue<R: Sendable>(
        reads: [RowName], isPatient: Bool, _ build: @escaping @Sendable (OrderedStore.Batch) throws(RegistryError) -> R,
        completion: @escaping @Sendable (Result<R, RegistryError>) -> Void)

    /// Runs `read` over the rows of one moment, on a thread that may block; it may run twice.
    func look<R: Sendable>(_ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R) async throws(RegistryError) -> R
}

extension RowStore {
    /// As `enqueue`, and waits.
    public func commit<R: Sendable>(
        reads: [RowName] = [], _ build: @escaping @Sendable (OrderedStore.Batch) throws(RegistryError) -> R
    ) async throws(RegistryError) -> R {
        let result = await withUnsafeContinuation { (waiter: UnsafeContinuation<Result<R, RegistryError>, Never>) in
            enqueue(reads: reads, isPatient: false, build) { waiter.resume(returning: $0) }
        }
        return try result.get()
    }
}

/// An ordered store with the threads that read it.
public struct PooledStore: RowStore {
    private let store: OrderedStore
    private let pool: BlockingPool

    public init(_ store: OrderedStore, pool: BlockingPool) {
        self.store = store
        self.pool = pool
    }

    public func enqueue<R: Sendable>(
        reads: [RowName], isPatient: Bool, _ build: @escaping @Sendable (OrderedStore.Batch) throws(RegistryError) -> R,
        completion: @escaping @Sendable (Result<R, RegistryError>) -> Void
    ) {
        store.enqueue(isPatient: isPatient, build, completion: completion)
    }

    public func look<R: Sendable>(
        _ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R
    ) async throws(RegistryError) -> R {
        try await pool.run { [store] () throws(RegistryError) in try read(try store.snapshot()) }
    }
}
