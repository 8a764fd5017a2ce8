package import CatalogRules
package import Core
package import OrderedStore

/// A store whose catalog is moved: out of it, also while a server uses it, or into it, which nobody else has open then.
package struct RocksMove: MoveSource, MoveTarget {
    private let store: OrderedStore
    private let pool = BlockingPool(threads: 1, name: "rocks-move")

    package init(_ store: OrderedStore) { self.store = store }

    package func look<R: Sendable>(
        _ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R
    ) async throws(RegistryError) -> R {
        try await pool.run { [store] () throws(RegistryError) in try read(try store.snapshot()) }
    }

    // MARK: Out of it

    package func hold() async throws(RegistryError) {
        try await store.hold(
            Set(CatalogMove.families),
            refusing: RegistryError(
                .unavailable, subject: .store, reason: "the catalog is being moved, and takes no changes for now; try again", retryAfterSeconds: 5))
    }

    package func retire(to place: String) async throws(RegistryError) {
        let mark = MoveMark.gone(to: place).row
        try await store.commitPastHold { batch in batch.put(mark.key, mark.value, in: mark.family) }
        try await store.hold(
            Set(CatalogMove.families),
            refusing: RegistryError(
                .unavailable, subject: .store, reason: "the catalog was moved to \(place): this server has to be started anew with database_url",
                retryAfterSeconds: 30))
    }

    package func release() async {
        // Where the mark cannot be read, it may be there.
        let mark = try? await look { rows throws(RegistryError) in try MoveMark.read(from: rows) == nil }
        if mark == true { store.release() }
    }

    // MARK: Into it

    /// Commits of many rows each cannot be undone as one: a mark says until the end that what is there is not all.
    package func begin() async throws(RegistryError) {
        try await store.commit { batch throws(RegistryError) in
            if try MoveMark.read(from: batch) != .coming {
                let tally = try RowTally(of: batch)
                guard tally.rows == 0 else {
                    throw RegistryError(
                        .conflict, subject: .store,
                        reason: "the data directory has a catalog of \(tally.rows) rows already; take one that no server has used yet")
                }
            }
            RocksMove.clear(batch)
            let mark = MoveMark.coming.row
            batch.put(mark.key, mark.value, in: mark.family)
        }
    }

    package func put(_ rows: [CatalogMove.Row]) async throws(RegistryError) {
        try await store.commit { batch in
            for row in rows { batch.put(row.key, row.value, in: row.family) }
        }
    }

    /// Each of the commits was durable, and the mark is there since the first.
    package func prepare() async throws(RegistryError) {}

    package func finish() async throws(RegistryError) {
        try await store.commit { batch in
            batch.put(Keyspace.format.bytes, RowCoding.encode { $0.write(RowCoding.storeFormat) }, in: CatalogRows.family)
            batch.delete(MoveMark.coming.row.key, in: CatalogRows.family)
        }
    }

    package func abandon() async {
        // If not now, then when the next move begins: the mark is there.
        do throws(RegistryError) { try await store.commit { batch in RocksMove.clear(batch) } } catch { return }
    }

    private static func clear(_ batch: OrderedStore.Batch) {
        for family in CatalogMove.families { batch.deleteRange(family, from: [0], upTo: [0xFF]) }
    }
}
