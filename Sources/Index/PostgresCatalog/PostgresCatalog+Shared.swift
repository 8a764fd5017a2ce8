import Catalog
import CatalogRules
public import Core
import OrderedStore
import PostgresClient

// Where blobs lie in the bucket that nodes share: rows of `blob_locations`. They are written by changes, moved and forgotten among them, and asked
// for beside them.
extension PostgresCatalog: SharedLocations {
    public func sharedStoreID() async throws(RegistryError) -> EntityID {
        let id = world.newID()
        return try await pool.read { connection throws(RegistryError) in
            // Twice in a row it says the same: whoever is first names it.
            let answers = try connection.run([
                Query("INSERT INTO shared_store (item, id) VALUES (1, $1) ON CONFLICT (item) DO NOTHING", [.id(id)]),
                Query("SELECT id FROM shared_store WHERE item = 1"),
            ])
            return try BinaryReader.checked(try answers.last?.first?.id(0))
        }
    }

    public func locations(of blobs: [BlobID]) async throws(RegistryError) -> [BlobID: SharedLocation] {
        try await found(blobs).mapValues(\.location)
    }

    public func locations(using blobs: [BlobID], at time: Timestamp) async throws(RegistryError) -> [BlobID: SharedLocation] {
        var found = try await found(blobs)
        let unpinned = found.filter(\.value.isUnpinned).keys.sorted()
        guard !unpinned.isEmpty else { return found.mapValues(\.location) }
        let notes = unpinned.map { RowName(Keyspace.unpinned($0).bytes, in: CatalogRows.family) }
        let rows = unpinned.map { RowName($0.bytes, in: .blobLocations) }
        // Among the changes, as `forget` is: it comes before, and the row is gone, or after, and sees the time.
        let gone = try await commit(reads: notes + rows) { batch throws(RegistryError) in
            var gone: [BlobID] = []
            for blob in unpinned {
                if try batch.get(blob.bytes, in: .blobLocations) == nil {
                    gone.append(blob)
                } else if let since = try CatalogRows(rows: batch).unpinned(blob), since < time {
                    batch.put(Keyspace.unpinned(blob).bytes, RowCoding.encode { $0.write(time) }, in: CatalogRows.family)
                }
            }
            return gone
        }
        for blob in gone { found[blob] = nil }
        return found.mapValues(\.location)
    }

    private struct Found: Sendable {
        let location: SharedLocation
        let isUnpinned: Bool
    }

    private func found(_ blobs: [BlobID]) async throws(RegistryError) -> [BlobID: Found] {
        let question = """
            SELECT l.sha256, l.document, u.sha256 IS NULL FROM blob_locations l LEFT JOIN unpinned_blobs u USING (sha256)
            WHERE l.sha256 = ANY ($1)
            """
        return try await pool.read { connection throws(RegistryError) in
            var found: [BlobID: Found] = [:]
            for row in try connection.run([Query(question, [.list(blobs.map(\.bytes))])]).first ?? [] {
                let blob = try BinaryReader.checked(BlobID(bytes: try row.bytes(0)))
                let document = try row.bytes(1)
                // One that does not decode tells of no place that nodes share: who brings the blob makes it anew.
                guard let location = try? SharedLocation(document) else { continue }
                found[blob] = Found(location: location, isUnpinned: try row.bytes(2) == [0])
            }
            return found
        }
    }

    public func locations(after blob: BlobID?, limit: Int) async throws(RegistryError) -> [SharedRow] {
        try await rows(
            Query(
                "SELECT sha256, document FROM blob_locations WHERE sha256 > $1 ORDER BY sha256 LIMIT $2",
                [.bytes(blob?.bytes ?? []), .int(Int64(limit))]))
    }

    public func rows(naming object: EntityID, after blob: BlobID?, limit: Int) async throws(RegistryError) -> [SharedRow] {
        try await rows(
            Query(
                "SELECT sha256, document FROM blob_locations WHERE object = $1 AND sha256 > $2 ORDER BY sha256 LIMIT $3",
                [.id(object), .bytes(blob?.bytes ?? []), .int(Int64(limit))]))
    }

    private func rows(_ question: Query) async throws(RegistryError) -> [SharedRow] {
        try await pool.read { connection throws(RegistryError) in
            var rows: [SharedRow] = []
            for row in try connection.run([question]).first ?? [] {
                let blob = try BinaryReader.checked(BlobID(bytes: try row.bytes(0)))
                let document = try row.bytes(1)
                rows.append(SharedRow(blob: blob, location: try? SharedLocation(document)))
            }
            return rows
        }
    }

    public func objects(after object: EntityID?, limit: Int) async throws(RegistryError) -> [EntityID] {
        let question = "SELECT DISTINCT object FROM blob_locations WHERE object > $1 ORDER BY object LIMIT $2"
        let start = object ?? EntityID(high: 0, low: 0)
        return try await pool.read { connection throws(RegistryError) in
            var objects: [EntityID] = []
            for row in try connection.run([Query(question, [.id(start), .int(Int64(limit))])]).first ?? [] { objects.append(try row.id(0)) }
            return objects
        }
    }

    public func life(of objects: [EntityID]) async throws(RegistryError) -> [EntityID: SharedLife] {
        let question = "SELECT object, count(*), sum(length)::bigint FROM blob_locations WHERE object = ANY ($1) GROUP BY object"
        return try await pool.read { connection throws(RegistryError) in
            var life: [EntityID: SharedLife] = [:]
            for row in try connection.run([Query(question, [.list(objects)])]).first ?? [] {
                life[try row.id(0)] = SharedLife(blobs: try row.int(1), bytes: try row.int(2))
            }
            return life
        }
    }

    public func held() async throws(RegistryError) -> [UInt16: SharedLife] {
        let question = "SELECT node, count(*), sum(length)::bigint FROM blob_locations WHERE node IS NOT NULL GROUP BY node"
        return try await pool.read { connection throws(RegistryError) in
            var held: [UInt16: SharedLife] = [:]
            for row in try connection.run([Query(question)]).first ?? [] {
                held[UInt16(truncatingIfNeeded: try row.int(0))] = SharedLife(blobs: try row.int(1), bytes: try row.int(2))
            }
            return held
        }
    }

    public func rows(heldBy node: UInt16, after blob: BlobID?, limit: Int) async throws(RegistryError) -> [SharedRow] {
        try await rows(
            Query(
                "SELECT sha256, document FROM blob_locations WHERE node = $1 AND sha256 > $2 ORDER BY sha256 LIMIT $3",
                [.int(Int64(node)), .bytes(blob?.bytes ?? []), .int(Int64(limit))]))
    }

    public func move(_ moves: [SharedMove]) async throws(RegistryError) -> Set<BlobID> {
        guard !moves.isEmpty else { return [] }
        return try await commit(reads: moves.map { RowName($0.blob.bytes, in: .blobLocations) }) { batch throws(RegistryError) in
            var moved: Set<BlobID> = []
            for move in moves where try batch.get(move.blob.bytes, in: .blobLocations) == move.from.encoded {
                batch.put(move.blob.bytes, move.to.encoded, in: .blobLocations)
                moved.insert(move.blob)
            }
            return moved
        }
    }
}
