package import Core
package import OrderedStore

/// A home that rows are moved out of. Whoever uses it reads on all the time.
package protocol MoveSource: Sendable {
    /// Nobody changes it from now on, until it is released, but for `retire`. All that was acknowledged before is there.
    func hold() async throws(RegistryError)
    /// Runs `read` over the rows of one moment; of the one at which changes ended, once it is held.
    func look<R: Sendable>(_ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R) async throws(RegistryError) -> R
    /// Its rows live elsewhere from now on: it takes no changes any more, whoever opens it. May be called again.
    func retire(to place: String) async throws(RegistryError)
    /// It takes changes again, unless it is retired.
    func release() async
}

/// A home that rows are moved into.
package protocol MoveTarget: Sendable {
    /// What is there, with what was put.
    func look<R: Sendable>(_ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R) async throws(RegistryError) -> R
    /// It has no rows afterwards, and whatever is put may be undone.
    /// - Throws: `conflict` when there is something in it that no unfinished move left.
    func begin() async throws(RegistryError)
    func put(_ rows: [CatalogMove.Row]) async throws(RegistryError)
    /// What was put is durable, and a mark with it: nobody uses it yet.
    func prepare() async throws(RegistryError)
    /// The home can be used. May be called again.
    func finish() async throws(RegistryError)
    /// What was put is gone, at once or with the next `begin`.
    func abandon() async
}
