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
import Synchronization

/// Where the bytes are that go with a catalog to its new home: on the disk of one node, and in the bucket that several share.
///
/// What is between them is a node's cache, in a directory of the data directory that is gone afterwards: it puts what it is given in groups, and
/// fetches what it has not.
struct MovedBytes {
    private static let blobsAtOnce = 64
    private static let sliceBytes: Int64 = 1 << 20

    private let disk: BlobStore
    private let bucket: BlobStore
    private let index: OrderedStore
    private let cacheIndex: OrderedStore
    private let database: PostgresCatalog
    private let folder: String
    private let pool = BlockingPool(threads: 4, name: "moved-bytes")

    /// - Parameter sides: what of them is open already.
    init(_ sides: MoveSides, bucket tier: any SegmentTier, database address: String) async throws(RegistryError) {
        index = sides.index
        disk = sides.disk
        folder = sides.folder
        MovedBytes.remove(folder)
        let cache = try Directories(at: folder)
        let (store, log) = (try OrderedStore(at: cache.index, families: RocksCatalog.families, logger: sides.log), sides.log)
        do throws(RegistryError) {
            let blobs = try BlobStore(at: cache.blobs, store: store, options: sides.configuration.blobOptions, world: .real, log: log)
            do throws(RegistryError) {
                let postgres = try await PostgresCatalog(address: address, world: .real, logger: log)
                do throws(RegistryError) { try await blobs.share(tier, postgres) } catch {
                    postgres.close()
                    throw error
                }
                database = postgres
            } catch {
                blobs.close()
                throw error
            }
            bucket = blobs
        } catch {
            store.close()
            throw error
        }
        cacheIndex = store
    }

    func close() {
        bucket.close()
        cacheIndex.close()
        database.close()
        MovedBytes.remove(folder)
    }

    static func remove(_ folder: String) { try? FileManager.default.removeItem(atPath: folder) }

    /// Puts them into the bucket.
    /// - Parameter copied: told of the bytes of each.
    /// - Returns: the rows that say where they are, and those that the disk does not have.
    func put(_ blobs: [BlobID], _ copied: @escaping @Sendable (Int64) -> Void) async throws(RegistryError) -> CatalogMove.Brought {
        var brought = CatalogMove.Brought()
        for (id, staged) in try await copy(blobs, from: disk, to: bucket, copied) {
            if staged == nil { brought.lost.append(id) }
            // None: the database has it already.
            guard let row = staged?.location else { continue }
            brought.rows.append(CatalogMove.Row(family: .blobLocations, key: row.key, value: row.value))
        }
        return brought
    }

    /// - Throws: `notFound` when the bucket is another one than that which the bytes were put into.
    func requireSameBucket() async throws(RegistryError) {
        guard try await bucket.isBucketTheSame() else {
            throw RegistryError(
                .notFound, subject: .configuration("s3_bucket"),
                reason: "this is not the bucket any more that the bytes were put into: it was emptied or replaced meanwhile; nothing was moved")
        }
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

    /// Brings them to the disk.
    /// - Returns: those that the bucket does not have. Rows are of the disk's own index, and are there already.
    func fetch(_ blobs: [BlobID], _ copied: @escaping @Sendable (Int64) -> Void) async throws(RegistryError) -> CatalogMove.Brought {
        var brought = CatalogMove.Brought()
        var staged: [any StagedBytes] = []
        for (id, bytes) in try await copy(blobs, from: bucket, to: disk, copied) {
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
        _ blobs: [BlobID], from source: BlobStore, to target: BlobStore, _ copied: @escaping @Sendable (Int64) -> Void
    ) async throws(RegistryError) -> [(BlobID, (any StagedBytes)?)] {
        var all: [(BlobID, (any StagedBytes)?)] = []
        for start in stride(from: 0, to: blobs.count, by: MovedBytes.blobsAtOnce) {
            let some = blobs[start..<min(start + MovedBytes.blobsAtOnce, blobs.count)]
            let results = await withTaskGroup(of: (BlobID, Result<(any StagedBytes)?, RegistryError>).self) { group in
                for id in some {
                    group.addTask {
                        do throws(RegistryError) { return (id, .success(try await copy(id, from: source, to: target, copied))) } catch {
                            return (id, .failure(error))
                        }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            for (id, result) in results { all.append((id, try result.get())) }
        }
        return all
    }

    /// - Returns: nil when the source does not have it.
    private func copy(
        _ id: BlobID, from source: BlobStore, to target: BlobStore, _ copied: @Sendable (Int64) -> Void
    ) async throws(RegistryError) -> (any StagedBytes)? {
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
        copied(content.length)
        return staged
    }
}

/// The data directory's side of a move, opened by a command or by the server that runs on it, and what both need to know of the other side.
struct MoveSides: Sendable {
    /// Names the database and the bucket.
    let configuration: Configuration
    let directories: Directories
    let index: OrderedStore
    let disk: BlobStore
    let log: Logger
    /// Of the data directory; gone when nothing is moved.
    var folder: String { MoveSides.folder(of: directories) }

    static func folder(of directories: Directories) -> String { directories.root + "/moving" }

    private final class Opened: Sendable {
        let bytes = Mutex<MovedBytes?>(nil)
    }

    /// Moves the catalog with its bytes.
    /// - Parameters:
    ///   - report: told of each step, and of the bytes of each blob.
    /// - Returns: what both homes have then, and how the new one is called.
    func run(
        _ direction: MigrateCatalog.Direction, reporting report: @escaping @Sendable (CatalogMove.Step) -> Void = { _ in },
        copied: @escaping @Sendable (Int64) -> Void = { _ in }
    ) async throws(RegistryError) -> (tally: RowTally, place: String) {
        guard let address = configuration.databaseURL else { throw Configuration.refused("database_url", "name the database") }
        let outbound = try configuration.outboundClient(log)
        defer { outbound.close() }
        guard let tier = try await Tier.configured(configuration, outbound, .real, log, isKnown: false) else {
            throw Configuration.refused("s3_bucket", "where the nodes' bytes are, or shall be, has to be known: set s3_bucket or tier_directory")
        }
        guard try await !disk.hasTier() else {
            throw Configuration.refused("data", "blobs of \(directories.root) are in a tier of their own: bring them back first")
        }
        let (here, there) = (RocksMove(index), try await PostgresMove(address: address))
        // With the first blobs, when the move has begun: a database that half of a move is in opens for nobody before.
        let opened = Opened()
        defer { opened.bytes.withLock { $0 }?.close() }
        let bytes = { @Sendable () async throws(RegistryError) -> MovedBytes in
            if let known = opened.bytes.withLock({ $0 }) { return known }
            let made = try await MovedBytes(self, bucket: tier, database: address)
            opened.bytes.withLock { $0 = made }
            return made
        }
        switch direction {
        case .toPostgres:
            let move = CatalogMove(
                from: here, to: there, bringing: { blobs async throws(RegistryError) in try await bytes().put(blobs, copied) },
                confirming: { () async throws(RegistryError) in try await opened.bytes.withLock { $0 }?.requireSameBucket() }, reporting: report)
            return (try await move.run(to: there.place), there.place)
        case .fromPostgres:
            let fetch = { @Sendable (blobs: [BlobID]) async throws(RegistryError) in
                let bytes = try await bytes()
                try await bytes.requireUploaded()
                return try await bytes.fetch(blobs, copied)
            }
            let move = CatalogMove(from: there, to: here, bringing: fetch, reporting: report)
            let place = "the data directory \(directories.root)"
            return (try await move.run(to: place), place)
        }
    }
}
