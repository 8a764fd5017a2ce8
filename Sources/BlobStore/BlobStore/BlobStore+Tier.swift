public import Core
import Logging
import NIOCore
import OrderedStore
import Synchronization

// A store with a tier: what it has beyond one without.

extension BlobStore {
    /// From now on what is sealed goes to the tier, and what the disk has let go comes from there. Called once, before anything is stored or read.
    /// An empty store takes over what its tier has, and makes its locations anew from it.
    /// - Throws: `invalid` when it is not this store's tier, and what the tier throws.
    public func attach(_ tier: any SegmentTier, _ options: TieringOptions) async throws(RegistryError) {
        let tiering = Tiering(tier, options, of: self)
        let isAdopted = try await tiering.open()
        tieringBox.withLock { $0 = tiering }
        heal { lost async throws(RegistryError) in try await tiering.body(of: lost) }
        if isAdopted {
            let count = try await rebuildLocations()
            try await tiering.keepAdoptedMark()
            log.notice("the locations of what the tier has are known", metadata: ["blobs": "\(count)"])
        }
        guard try await tiering.owesParts() else { return }
        do throws(RegistryError) { try await tiering.findParts(of: self) } catch {
            guard !isAdopted, error.retryAfterSeconds != nil else { throw error }
            log.error("the tier does not answer, and some small blobs are only there", metadata: ["error": "\(error)"])
        }
    }

    /// Whether files of the store are in a tier, so that it must not be opened without.
    public func hasTier() async throws(RegistryError) -> Bool {
        try await pool.run { [self] () throws(RegistryError) in try isMarked }
    }

    /// Copies to the tier, and lets go what the disk need not have, until the task is cancelled.
    public func runTier() async { await tiering?.run(of: self) }

    /// One step of `runTier`.
    public func workTier() async throws(RegistryError) { try await tiering?.tick(of: self) }

    /// nil without a tier.
    public var tierStatistics: TierStatistics? { tiering?.state.withLock { $0.statistics } }

    var tiering: Tiering? { tieringBox.withLock { $0 } }

    /// A URL with which a client gets a large blob from the tier, or the shared bucket, itself; nil when the disk has the blob, the
    /// other does not, or it has no such thing.
    public func tierURL(
        of id: BlobID, expiresSeconds: Int64, disposition: String, contentType: String
    ) async throws(RegistryError) -> String? {
        if sharing != nil {
            return try await sharedURL(of: id, expiresSeconds: expiresSeconds, disposition: disposition, contentType: contentType)
        }
        guard let tiering, tiering.isRemote(.ownFile(id)) else { return nil }
        return tiering.tier.url(of: .blob(id), expiresSeconds: expiresSeconds, disposition: disposition, contentType: contentType)
    }

    // MARK: Reading

    /// Brings back what only the tier has.
    /// - Returns: the blob's bytes, when that was the shorter way; nil when they are on the disk.
    func fromTier(_ id: BlobID, at location: BlobLocation) async throws(RegistryError) -> BlobContent? {
        guard let tiering, let name = location.tieredFile(of: id), tiering.isRemote(name) else { return nil }
        if let content = try await tiering.rangedContent(of: id, at: location) { return content }
        try await tiering.bringBack(name)
        return nil
    }

    /// For an answer that has no body: how long a blob is that only the tier has, without bringing it back, or that was opened, without making it
    /// again. Reading it fails.
    /// - Returns: nil when the disk has it, or nobody.
    public func lengthAlone(of id: BlobID) async throws(RegistryError) -> BlobContent? {
        guard let location = try await location(of: id) else {
            return try await sharedLength(of: id).map { BlobContent(.streamed(LengthAlone(size: $0))) }
        }
        if !hasLeft(id, location), try await openedArchive(id, at: location) == nil { return nil }
        return BlobContent(.streamed(LengthAlone(size: location.length)))
    }

    /// Whether the file was let go between two looks.
    func hasLeft(_ id: BlobID, _ location: BlobLocation) -> Bool {
        guard let tiering, let name = location.tieredFile(of: id) else { return false }
        return tiering.isRemote(name)
    }

    /// Rows of a tier tell something here: of a copy of a store they tell of another's tier.
    var isMarked: Bool {
        get throws(RegistryError) { try Disk.openExisting(directory + "/tier.mark") != nil }
    }

    /// As the rows have it, also for a store that was opened without its tier. Blocks.
    func isInTierAlone(_ id: BlobID, _ location: BlobLocation) throws(RegistryError) -> Bool {
        guard let name = location.tieredFile(of: id) else { return false }
        let path: String =
            switch name {
            case .segment(let number): segments.path(number)
            case .ownFile(let id): blobs.path(of: id)
            }
        guard try Disk.openExisting(path) == nil, try isMarked, let row = try index.get(TierRow.key(name), in: .tierObjects) else { return false }
        return try TierRow(row).state != .arriving
    }

    /// Whether a blob's own file, or chunks of it, are in the tier alone, or it is an archive that was opened: bytes at hand take its place sooner
    /// than they come back.
    func isAway(_ id: BlobID, length: Int64) async throws(RegistryError) -> Bool {
        guard tiering != nil || length >= options.archives.archiveBytesMin, let location = try await location(of: id) else { return false }
        switch location.place {
        case .segment: return false
        case .ownFile: return tiering?.isRemote(.ownFile(id)) ?? false
        case .recipe:
            if try await openedArchive(id, at: location) != nil { return true }
            guard tiering != nil else { return false }
            return try await pool.run { [self] () throws(RegistryError) in try hasAwayChunks(id, at: location) }
        }
    }

    // MARK: Sweeping

    /// Segments that are in the tier alone.
    func remoteSegments() -> [UInt64] {
        guard let tiering else { return [] }
        return tiering.state.withLock { state in
            state.present.keys.compactMap { name in
                if case .segment(let number) = name, state.local[name] == nil { number } else { nil }
            }
        }
    }

    /// How long a segment is that is in the tier alone.
    func tieredBytes(of number: UInt64) -> Int64? {
        tiering?.state.withLock { state in state.local[.segment(number)] == nil ? state.present[.segment(number)] : nil }
    }

    /// A segment that is in the tier alone comes back when it is mostly dead, to be compacted. One that is all dead need not.
    func bringBackToCompact(_ number: UInt64) async throws(RegistryError) {
        guard let tiering, tiering.isRemote(.segment(number)) else { return }
        try await tiering.bringBack(.segment(number))
    }

    /// Condemns what in the tier nothing needs any more, and deletes what was condemned long enough ago, if it still is so.
    /// - Parameters:
    ///   - sealed: segments sealed before `liveness` was counted.
    public func sweepTier(_ sealed: [UInt64], _ liveness: SegmentLiveness, dryRun: Bool) async throws(RegistryError) -> SweepTally {
        // Nothing is asked of the tier for it: while that is down, the sweep of the disk goes on.
        guard let tiering, tiering.state.withLock({ $0.ownership == .ours }) else { return SweepTally() }
        let sealed = Set(sealed)
        var tally = SweepTally()
        for (name, row) in try await tiering.rows() where !Task.isCancelled {
            let isDead: Bool
            switch name {
            case .segment(let number):
                // One that is arriving and not on the disk any more was swept before it was there.
                isDead = (sealed.contains(number) || row.state == .arriving) && (liveness.shares[number]?.records ?? 0) == 0
            case .ownFile(let id): isDead = try await location(of: id)?.place != .ownFile
            }
            guard isDead || row.state == .doomed, !dryRun else { continue }
            if try await tiering.condemn(name, row, isDead: isDead, leases) { tally.freedBytes += row.length }
        }
        return tally
    }

    /// False when another server has taken the tier over.
    public var ownsTier: Bool { tiering?.state.withLock { $0.ownership != .lost } ?? true }
}

/// A length without bytes.
private struct LengthAlone: StreamedBytes, BodySource {
    let size: Int64

    func body(of range: Range<Int64>) -> Body { Body(length: Int64(range.count), source: self) }
    func next() async throws(RegistryError) -> ByteBuffer? { throw LengthAlone.refusal }
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int { throw LengthAlone.refusal }

    private static var refusal: RegistryError {
        RegistryError(.unavailable, subject: .store, reason: "the bytes are in a tier; ask for them again", retryAfterSeconds: 1)
    }
}

extension BlobLocation {
    /// The file the blob lies in, if that is one; nil when it lies in pieces.
    func tieredFile(of id: BlobID) -> OpenFiles.Name? {
        switch place {
        case .segment(let number, _): .segment(number)
        case .ownFile: .ownFile(id)
        case .recipe: nil
        }
    }
}

extension Tiering {
    /// - Returns: whether it was deleted.
    fileprivate func condemn(_ name: Name, _ row: TierRow, isDead: Bool, _ leases: Leases) async throws(RegistryError) -> Bool {
        guard claim(name) else { return false }
        defer { release(name) }
        guard isDead else {
            // Named again.
            let isSound = state.withLock { $0.isSound(name) }
            try await writeRow(name, isSound ? .present : .unsound, length: row.length)
            return false
        }
        let now = world.now()
        let isNew = row.state == .present || row.state == .unsound
        if isNew { try await writeRow(name, .doomed, length: row.length) }
        let since = isNew ? now : row.since
        guard since.adding(seconds: options.deleteDelaySeconds) <= now else { return false }
        // What lived in it was moved, cut or stored anew; where to, the tier has it first.
        guard try await hasCopied(allMadeUpTo: since) else { return false }
        let path = path(name)
        guard try await pool.run({ () throws(RegistryError) in try Disk.openExisting(path) == nil }) else { return false }
        // On the committer's thread, where every change is made: from here on a push that stores the blob finds no copy in the tier.
        let mayGo = try await index.commit { batch throws(RegistryError) in
            if case .ownFile(let id) = name {
                // Who is about to name it has brought it here.
                guard !leases.isHeld(id) else { return false }
                if let location = try batch.get(id.bytes, in: .blobLocations), try BlobLocation(location).place == .ownFile { return false }
            }
            batch.put(TierRow.key(name), TierRow(.arriving, length: row.length, since: now).encoded, in: .tierObjects)
            return true
        }
        guard mayGo else { return false }
        state.withLock { state in
            state.present[name] = nil
            state.unsound.remove(name)
        }
        switch name {
        case .segment(let number): try await tier.remove(.segment(number))
        case .ownFile(let id):
            try await tier.remove(.blob(id))
            try await tier.remove(.end(id))
        }
        try await deleteRow(name)
        state.withLock { $0.statistics.deletedFiles += 1 }
        log.debug("deleted in the tier", metadata: ["file": "\(TierName(name))", "bytes": "\(row.length)"])
        return true
    }
}
