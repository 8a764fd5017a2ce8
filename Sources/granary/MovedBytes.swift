import BlobStore
import CatalogRules
import Core
import FoundationEssentials
import Logging
import NIOCore
import OrderedStore
import Outbound
import PostgresCatalog
import RocksCatalog

/// Where the bytes are that go with a catalog to its new home: on the disk of one node, and in the bucket that several share.
///
/// What is between them is a node's cache, in a directory of the data directory that is gone afterwards: it puts what it is given in groups, and
/// fetches what it has not.
struct MovedBytes {
    private static let blobsAtOnce = 64
    private static let sliceBytes: Int64 = 1 << 20

    let disk: BlobStore
    let bucket: BlobStore
    private let index: OrderedStore
    private let cacheIndex: OrderedStore
    private let database: PostgresCatalog
    private let outbound: OutboundClient
    private let folder: String
    private let pool = BlockingPool(threads: 4, name: "moved-bytes")

    /// - Parameter index: of the data directory.
    /// - Throws: `invalid` when no bucket is configured, or a part of the disk's blobs lies in a tier of its own.
    init(
        _ configuration: Configuration, _ directories: Directories, index: OrderedStore, database address: String, log: Logger
    ) async throws(RegistryError) {
        let outbound = try configuration.outboundClient(log)
        guard let tier = try await Tier.configured(configuration, outbound, .real, log, isKnown: false) else {
            throw Configuration.refused("s3_bucket", "where the nodes' bytes are, or shall be, has to be known: set s3_bucket or tier_directory")
        }
        self.outbound = outbound
        self.index = index
        disk = try BlobStore(at: directories.blobs, store: index, options: configuration.blobOptions, world: .real, log: log)
        guard try await !disk.hasTier() else {
            throw Configuration.refused("data", "blobs of \(directories.root) are in a tier of their own: bring them back first")
        }
        folder = directories.root + "/moving"
        MovedBytes.remove(folder)
        let cache = try Directories(at: folder)
        cacheIndex = try OrderedStore(at: cache.index, families: RocksCatalog.families, logger: log)
        bucket = try BlobStore(at: cache.blobs, store: cacheIndex, options: configuration.blobOptions, world: .real, log: log)
        database = try await PostgresCatalog(address: address, world: .real, logger: log)
        try await bucket.share(tier, database)
    }

    func close() {
        bucket.close()
        disk.close()
        cacheIndex.close()
        database.close()
        outbound.close()
        MovedBytes.remove(folder)
    }

    private static func remove(_ folder: String) { try? FileManager.default.removeItem(atPath: folder) }

    /// Puts them into the bucket.
    /// - Returns: the rows that say where they are, and those that the disk does not have.
    func put(_ blobs: [BlobID]) async throws(RegistryError) -> CatalogMove.Brought {
        var brought = CatalogMove.Brought()
        for (id, staged) in try await copy(blobs, from: disk, to: bucket) {
            if staged == nil { brought.lost.append(id) }
            // None: the database has it already.
            guard let row = staged?.location else { continue }
            brought.rows.append(CatalogMove.Row(family: .blobLocations, key: row.key, value: row.value))
        }
        return brought
    }

    /// - Throws: `conflict` while nodes have blobs that the bucket does not have yet. Those come with time, as long as the nodes run.
    func requireUploaded() async throws(RegistryError) {
        let held = try await database.held()
        guard !held.isEmpty else { return }
        let words = held.sorted { $0.key < $1.key }.map { "node \($0.key): \($0.value.blobs) blobs" }.joined(separator: ", ")
        throw RegistryError(
            .conflict, subject: .configuration("shared_uploads"),
            reason: "some blobs are not in the bucket yet (\(words)): let these nodes run on with shared_uploads: before; nothing was moved")
    }

    /// Brings those to the disk that it does not have.
    /// - Returns: those that the bucket does not have, either. Rows are of the disk's own index, and are there already.
    func fetch(_ blobs: [BlobID]) async throws(RegistryError) -> CatalogMove.Brought {
        var absent: [BlobID] = []
        for blob in blobs where try index.get(blob.bytes, in: .blobLocations) == nil { absent.append(blob) }
        var brought = CatalogMove.Brought()
        var staged: [any StagedBytes] = []
        for (id, bytes) in try await copy(absent, from: bucket, to: disk) {
            if let bytes { staged.append(bytes) } else { brought.lost.append(id) }
        }
        let all = staged
        try await index.commit(files: all.flatMap(\.unsynced)) { batch in
            for location in all.compactMap(\.location) { batch.put(location.key, location.value, in: .blobLocations) }
        }
        for bytes in all { bytes.didCommit() }
        return brought
    }

    /// Some at once: those that wait at the same moment go into one object.
    private func copy(
        _ blobs: [BlobID], from source: BlobStore, to target: BlobStore
    ) async throws(RegistryError) -> [(BlobID, (any StagedBytes)?)] {
        var copied: [(BlobID, (any StagedBytes)?)] = []
        for start in stride(from: 0, to: blobs.count, by: MovedBytes.blobsAtOnce) {
            let some = blobs[start..<min(start + MovedBytes.blobsAtOnce, blobs.count)]
            let results = await withTaskGroup(of: (BlobID, Result<(any StagedBytes)?, RegistryError>).self) { group in
                for id in some {
                    group.addTask {
                        do throws(RegistryError) { return (id, .success(try await copy(id, from: source, to: target))) } catch {
                            return (id, .failure(error))
                        }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            for (id, result) in results { copied.append((id, try result.get())) }
        }
        return copied
    }

    /// - Returns: nil when the source does not have it.
    private func copy(_ id: BlobID, from source: BlobStore, to target: BlobStore) async throws(RegistryError) -> (any StagedBytes)? {
        guard let content = try await source.content(of: id) else { return nil }
        let staging = try target.stage(expectedLength: content.length, digests: .sha256)
        try await pool.run { () throws(RegistryError) in
            var offset: Int64 = 0
            while offset < content.length {
                let slice = try content.bytes(at: offset, count: Int(min(MovedBytes.sliceBytes, content.length - offset)))
                guard !slice.isEmpty else { break }
                try staging.write(ByteBuffer(bytes: slice))
                offset += Int64(slice.count)
            }
        }
        let staged = try await staging.finish()
        guard staged.id == id else {
            throw RegistryError(.corrupt, subject: .blob(id.description), reason: "\(id) is damaged: granary fsck says more; nothing was moved")
        }
        return staged
    }
}
