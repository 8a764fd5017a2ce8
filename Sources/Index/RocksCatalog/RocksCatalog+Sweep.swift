public import Catalog
import CatalogRules
public import Core
import OrderedStore

// The sweep. What it decides is in `CatalogRows`, here is where: `forget` runs on the committer's thread, among the changes.

extension RocksCatalog {
    public func pins(after: Pin?, limit: Int) async throws(RegistryError) -> [Pin] {
        try await onSnapshot(by: sweepPool) { rows throws(RegistryError) in try rows.pins(after: after, limit: limit) }
    }

    public func pins(of blob: BlobID, limit: Int) async throws(RegistryError) -> [Pin] {
        try await onSnapshot(by: sweepPool) { rows throws(RegistryError) in try rows.pins(of: blob, limit: limit) }
    }

    public func unpinned(among blobs: [BlobID]) async throws(RegistryError) -> [UnpinnedBlob] {
        try await onSnapshot(by: sweepPool) { rows throws(RegistryError) in try rows.unpinned(among: blobs) }
    }

    public func noteUnpinned(_ blobs: [BlobID], at time: Timestamp) async throws(RegistryError) {
        guard !blobs.isEmpty else { return }
        try await store.commit { batch throws(RegistryError) in try CatalogRows.noteUnpinned(blobs, at: time, on: batch) }
    }

    public func forget(
        _ blobs: [BlobID], unpinnedBefore before: Timestamp, mayGo: @escaping @Sendable (BlobID) -> Bool
    ) async throws(RegistryError) -> [BlobID] {
        guard !blobs.isEmpty else { return [] }
        return try await store.commit { batch throws(RegistryError) in
            try CatalogRows.forget(blobs, unpinnedBefore: before, mayGo: mayGo, on: batch)
        }
    }
}
