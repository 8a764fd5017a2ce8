public import Core
import Logging
import NIOCore
import OrderedStore
import Synchronization

// A store that is the cache of a bucket which several nodes share: what it has beyond one without.

extension BlobStore {
    /// From now on what is staged is in the bucket, or held by this node, before anybody can name it, and what the disk does not have comes from
    /// there. Called once, before anything is stored or read.
    /// - Throws: `invalid` when bucket, database and disk do not belong together; what they throw.
    public func share(
        _ bucket: any SegmentTier, _ locations: any SharedLocations, _ options: SharingOptions = SharingOptions()
    ) async throws(RegistryError) {
        precondition(tiering == nil && sharing == nil, "a store has a tier of its own or shares a bucket, and that once")
        let sharing = Sharing(bucket, locations, options, of: self)
        let isEmpty = try await pool.run { [self] () throws(RegistryError) in
            var isEmpty = try Segments.numbers(in: segments.directory).isEmpty
            try blobs.blobs { _ in isEmpty = false }
            return isEmpty
        }
        try await sharing.open(isEmpty: isEmpty)
        try await pool.run { [index] () throws(RegistryError) in try sharing.held.load(index) }
        sharingBox.withLock { $0 = sharing }
        heal { lost async throws(RegistryError) in try await sharing.body(of: lost.blob) }
    }

    /// Whether the directory is the cache of a bucket, so that it must not be opened as a store of its own.
    public func isCache() async throws(RegistryError) -> Bool {
        try await pool.run { [directory] () throws(RegistryError) in try Disk.openExisting(Sharing.markPath(in: directory)) != nil }
    }

    /// Whether the bucket that is shared still says that it is this registry's: one that was emptied, or made anew, does not.
    public func isBucketTheSame() async throws(RegistryError) -> Bool { try await sharing?.isBucketTheSame() ?? true }

    /// nil unless the store shares a bucket.
    public var sharingStatistics: SharingStatistics? {
        guard let sharing else { return nil }
        var statistics = sharing.state.withLock { $0.statistics }
        statistics.heldBlobs = Int64(sharing.held.count)
        statistics.heldBytes = sharing.held.bytes
        statistics.heldSince = sharing.held.oldest
        return statistics
    }

    var sharing: Sharing? { sharingBox.withLock { $0 } }

    /// What `Staging.finishCopy` gave stays on the disk: the catalog names it by now, and another node has stored it.
    public func keepCopy(_ staged: any StagedBytes) {
        guard sharing != nil, let staged = staged as? StagedBlob else { return }
        keep(staged)
    }

    /// Bytes that are safe elsewhere stay on the disk, too: files synced, then the row, in the background. Should that fail they are fetched again.
    func keep(_ staged: StagedBlob) {
        let placement = staged.placement
        guard let location = placement.location, let file = placement.file, placement.beginsKeeping() else { return }
        index.enqueue(files: [file], isPatient: true) { batch in
            batch.put(placement.id.bytes, location.encoded, in: .blobLocations)
        } completion: { [self] result in
            switch result {
            case .success: committed(placement)
            case .failure(let error):
                log.warning("a blob is not kept on the disk", metadata: ["blob": "\(placement.id)", "error": "\(error)"])
                placement.session?.committed()
            }
            // Until here its bytes have to stay where they are.
            withExtendedLifetime(staged) {}
        }
    }

    /// How long a blob is that only the bucket has, without fetching it.
    func sharedLength(of id: BlobID) async throws(RegistryError) -> Int64? {
        guard let sharing else { return nil }
        return try await sharing.asked.location(of: id)?.length
    }

    /// A URL with which a client gets a large blob from the bucket itself; nil when the disk has the blob.
    func sharedURL(
        of id: BlobID, expiresSeconds: Int64, disposition: String, contentType: String
    ) async throws(RegistryError) -> String? {
        guard let sharing, leases.placement(of: id) == nil, try await location(of: id) == nil,
            let place = try await sharing.asked.location(of: id), place.kind == .whole
        else { return nil }
        return sharing.bucket.url(
            of: .object(place.object), expiresSeconds: expiresSeconds, disposition: disposition, contentType: contentType)
    }
}
