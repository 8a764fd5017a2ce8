package import Catalog
package import Core
package import OrderedStore

// Why blobs live, and how the sweep lets them go: pins are rows 15 of docs/internals/catalog.md, the notes since when a blob is without one
// rows 21. A change writes and deletes both; `forget` reads them where changes are made.

// What the sweep asks and does where changes are made.
extension CatalogRows {
    package func pins(after: Pin?, limit: Int) throws(RegistryError) -> [Pin] {
        try LivingRepositories(self).pins(Key(.pin), after: after.map { Keyspace.pin($0).bytes }, limit: limit)
    }

    package func pins(of blob: BlobID, limit: Int) throws(RegistryError) -> [Pin] {
        try LivingRepositories(self).pins(Key(.pin).blob(blob), after: nil, limit: limit)
    }

    package func unpinned(among blobs: [BlobID]) throws(RegistryError) -> [UnpinnedBlob] {
        guard let first = blobs.first, let last = blobs.last else { return [] }
        let pinned = try LivingRepositories(self).pinned(among: Set(blobs), from: first, through: last)
        let rest = blobs.filter { !pinned.contains($0) }
        try willGet(rest.map { .unpinned($0) })
        var unpinned: [UnpinnedBlob] = []
        for blob in rest { unpinned.append(UnpinnedBlob(blob: blob, since: try self.unpinned(blob))) }
        return unpinned
    }

    package static func noteUnpinned(_ blobs: [BlobID], at time: Timestamp, on batch: OrderedStore.Batch) throws(RegistryError) {
        let rows = CatalogRows(rows: batch)
        var unnoted: [BlobID] = []
        for blob in blobs {
            if let since = try rows.unpinned(blob), since <= time { continue }
            unnoted.append(blob)
        }
        let living = LivingRepositories(rows)
        try living.willAsk(about: unnoted)
        for blob in unnoted where try !living.isPinned(blob) {
            batch.put(Keyspace.unpinned(blob).bytes, RowCoding.encode { $0.write(time) }, in: family)
        }
    }

    /// - Returns: the blobs forgotten.
    package static func forget(
        _ blobs: [BlobID], unpinnedBefore before: Timestamp, mayGo: (BlobID) -> Bool, on batch: OrderedStore.Batch
    ) throws(RegistryError) -> [BlobID] {
        let rows = CatalogRows(rows: batch)
        var candidates: [BlobID] = []
        for blob in blobs {
            guard try batch.get(blob.bytes, in: .blobLocations) != nil, let since = try rows.unpinned(blob), since <= before else { continue }
            candidates.append(blob)
        }
        let living = LivingRepositories(rows)
        try living.willAsk(about: candidates)
        var forgotten: [BlobID] = []
        for blob in candidates where try !living.isPinned(blob) && mayGo(blob) {
            batch.delete(blob.bytes, in: .blobLocations)
            batch.delete(Keyspace.unpinned(blob).bytes, in: family)
            forgotten.append(blob)
        }
        return forgotten
    }
}

extension CatalogRows {
    /// nil when the blob is pinned, or nobody noted since when it is not.
    package func unpinned(_ blob: BlobID) throws(RegistryError) -> Timestamp? {
        try get(.unpinned(blob)) { reader throws(RegistryError) in try reader.readTimestamp() }
    }
}

/// Pins as they count: those of a deleted repository hold nothing, though they may still be there.
package struct LivingRepositories {
    /// So many pins of dead repositories before it is not worth finding out on the committer's thread.
    private static let deadPinsMax = 64

    let rows: CatalogRows

    init(_ rows: CatalogRows) { self.rows = rows }

    func pins(_ prefix: Key, after: [UInt8]?, limit: Int) throws(RegistryError) -> [Pin] {
        var exists: [RepositoryID: Bool] = [:]
        return try rows.list(prefix, after: after, limit: limit) { key, _ throws(RegistryError) -> Pin? in
            guard case .pin(let pin) = key else { return nil }
            return try isAlive(pin.repository, &exists) ? pin : nil
        }
    }

    /// Said of blobs that `isPinned` is asked about next: where each question is a journey, one is for the pins of all of them and one for the
    /// repositories they are in.
    func willAsk(about blobs: [BlobID]) throws(RegistryError) {
        var repositories: Set<RepositoryID> = []
        for key in try rows.rows.willScan(blobs.map { Key(.pin).blob($0).bytes }, in: CatalogRows.family) {
            guard case .pin(let pin) = try Keyspace(key) else { throw BinaryReader.damaged }
            repositories.insert(pin.repository)
        }
        try rows.willGet(repositories.map { .repository($0) })
    }

    /// One walk over the pins in the order of the blobs.
    func pinned(among blobs: Set<BlobID>, from first: BlobID, through last: BlobID) throws(RegistryError) -> Set<BlobID> {
        var exists: [RepositoryID: Bool] = [:]
        var pinned: Set<BlobID> = []
        try rows.rows.scan(
            CatalogRows.family, from: Key(.pin).blob(first).bytes, upTo: OrderedStore.end(ofPrefix: Key(.pin).blob(last).bytes), reverse: false
        ) { key, _ throws(RegistryError) in
            guard case .pin(let pin) = try Keyspace(key) else { throw BinaryReader.damaged }
            if blobs.contains(pin.blob), !pinned.contains(pin.blob), try isAlive(pin.repository, &exists) { pinned.insert(pin.blob) }
            return true
        }
        return pinned
    }

    /// - Returns: true, too, when that would take long to find out: the blob lives until its dead pins are cleared away.
    func isPinned(_ blob: BlobID) throws(RegistryError) -> Bool {
        var exists: [RepositoryID: Bool] = [:]
        var dead = 0
        var isPinned = false
        try rows.rows.scan(CatalogRows.family, prefix: Key(.pin).blob(blob).bytes) { key, _ throws(RegistryError) in
            // A key that cannot be read keeps the blob: the error goes up, and nothing is forgotten.
            guard case .pin(let pin) = try Keyspace(key) else { throw BinaryReader.damaged }
            dead += 1
            isPinned = dead > LivingRepositories.deadPinsMax ? true : try isAlive(pin.repository, &exists)
            return !isPinned
        }
        return isPinned
    }

    private func isAlive(_ repository: RepositoryID, _ exists: inout [RepositoryID: Bool]) throws(RegistryError) -> Bool {
        if let known = exists[repository] { return known }
        let isAlive = try rows.exists(repository)
        exists[repository] = isAlive
        return isAlive
    }
}

extension Pin {
    var repository: RepositoryID {
        switch reason {
        case .asset(let id, _), .manifest(let id, _, _), .learned(let id, _): id
        case .trash(let id): id.repository
        }
    }
}
