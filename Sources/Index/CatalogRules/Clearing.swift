import Catalog
package import Core
package import Logging
package import OrderedStore

/// Clears away the rows of deleted repositories, a bounded number per commit, so that deleting a repository of a million assets stops nobody.
/// Until it is done the rows are unreachable: reads ask whether the repository exists. It starts over where it was after a restart.
package struct Clearing: Sendable {
    private static let rowsMax = 500
    /// Each may hold many blobs.
    private static let deletionsMax = 50

    package typealias Step = @Sendable (OrderedStore.Batch) throws(RegistryError) -> Bool

    private let world: World
    private let logger: Logger
    private let enqueue: @Sendable (@escaping Step, @escaping @Sendable (Result<Bool, RegistryError>) -> Void) -> Void

    /// - Parameter enqueue: commits a step where changes are made, in their order, and says what came of it.
    package init(
        world: World, logger: Logger,
        enqueue: @escaping @Sendable (_ step: @escaping Step, _ completion: @escaping @Sendable (Result<Bool, RegistryError>) -> Void) -> Void
    ) {
        self.world = world
        self.logger = logger
        self.enqueue = enqueue
    }

    /// Clears in the background until nothing is left. Called again, it does no harm.
    package func start() {
        let now = world.now()
        enqueue({ batch throws(RegistryError) in try Clearing.step(on: batch, at: now) }) { [self] result in
            switch result {
            case .success(let isDone): if !isDone { start() }
            case .failure(let error):
                // Graves stay and are found at the next deletion or start.
                logger.warning("clearing a deleted repository stopped", metadata: ["error": "\(error)"])
            }
        }
    }

    /// - Returns: whether nothing is left to clear.
    private static func step(on batch: OrderedStore.Batch, at now: Timestamp) throws(RegistryError) -> Bool {
        let rows = CatalogRows(rows: batch)
        let graves = try rows.list(Key(.grave), limit: 1) { key, _ throws(RegistryError) -> RepositoryID? in
            if case .grave(let id) = key { id } else { nil }
        }
        guard let id = graves.first else { return true }
        if try clearScattered(of: id, rows, batch, at: now) { return false }
        // What is left is found by the repository's id alone.
        for tag in Keyspace.Tag.ownedByRepository {
            let prefix = Key(tag).id(id).bytes
            if let end = OrderedStore.end(ofPrefix: prefix) { batch.deleteRange(CatalogRows.family, from: prefix, upTo: end) }
        }
        batch.delete(Keyspace.grave(id).bytes, in: CatalogRows.family)
        return false
    }

    /// Deletes some rows together with those that lie elsewhere because of them: pins and ids.
    /// - Returns: whether there were any.
    private static func clearScattered(
        of id: RepositoryID, _ rows: CatalogRows, _ batch: OrderedStore.Batch, at now: Timestamp
    ) throws(RegistryError) -> Bool {
        func delete(_ key: Keyspace) { batch.delete(key.bytes, in: CatalogRows.family) }
        func unpin(_ blob: BlobID, _ reason: Pin.Reason) {
            delete(.pin(Pin(blob: blob, reason: reason)))
            batch.put(Keyspace.unpinned(blob).bytes, RowCoding.encode { $0.write(now) }, in: CatalogRows.family)
        }

        let assets = try rows.assets(in: id, prefix: "", after: nil, limit: rowsMax)
        for asset in assets {
            unpin(asset.blob, .asset(id, asset.path))
            delete(.entity(asset.id))
            delete(.asset(id, asset.path.text))
        }
        if !assets.isEmpty { return true }

        let versions = try rows.list(Key(.version).id(id), limit: rowsMax) { _, value throws(RegistryError) in
            try RowCoding.decode(value) { reader throws(RegistryError) in try reader.readVersion() }
        }
        for version in versions {
            if let blob = version.manifest.blob { unpin(blob, .manifest(id, version.package, version.name)) }
            delete(.entity(version.id))
            delete(.version(id, version.package.text, version.name.text))
        }
        if !versions.isEmpty { return true }

        let packages = try rows.packages(in: id, after: nil, limit: rowsMax)
        for package in packages {
            delete(.entity(package.id))
            delete(.package(id, package.name.text))
        }
        if !packages.isEmpty { return true }

        let deletions = try rows.trash(of: id, before: nil, limit: deletionsMax)
        for deletion in deletions {
            for blob in deletion.blobs { unpin(blob, .trash(deletion.id)) }
            delete(.deletion(deletion.id))
            delete(.deletionEnd(deletion.until, deletion.id))
        }
        if !deletions.isEmpty { return true }

        let pages = try rows.list(Key(.learned).id(id), limit: rowsMax) { key, value throws(RegistryError) -> LearnedPage? in
            guard case .learned(_, let view) = key else { return nil }
            return try RowCoding.decode(value) { reader throws(RegistryError) in try reader.readLearnedPage(id, view: view) }
        }
        for page in pages {
            if let blob = page.block.blob { unpin(blob, .learned(id, view: page.view)) }
            delete(.learned(id, page.view))
        }
        return !pages.isEmpty
    }
}
