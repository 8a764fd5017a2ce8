package import Core
package import OrderedStore

/// A home that rows are moved out of. Nobody changes it from `rows` on, until it is released or retired.
package protocol MoveSource: Sendable {
    /// Runs `read` over the rows of the moment at which changes ended.
    func look<R: Sendable>(_ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R) async throws(RegistryError) -> R
    /// Its rows live elsewhere from now on: it takes no changes any more, whoever opens it.
    func retire(to place: String) async throws(RegistryError)
    /// It takes changes again.
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
    /// What was put is durable, and the home can be used.
    func finish() async throws(RegistryError)
    /// What was put is gone, at once or with the next `begin`.
    func abandon() async
}
