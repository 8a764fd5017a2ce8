public import BlobStore
public import Catalog
public import Core

/// How far a check is, and what it has found: enough to go on with it in another process.
public struct CheckProgress: Sendable, Hashable {
    public enum Phase: String, Sendable, CaseIterable { case index, segments, files, blobs, names, uploads, tier, done }

    public var phase = Phase.index
    /// The last segment, shard or blob the phase has done; empty at its beginning.
    public var after = ""
    public var segments = 0
    public var blobs = 0
    public var readBlobs = 0
    public var readBytes: Int64 = 0
    public var names = 0
    /// Files of the tier, those of them that were read, and what that took.
    public var tierFiles = 0
    public var readTierFiles = 0
    public var tierRequests = 0
    /// Why the tier was not looked at to the end.
    public var tierFailure: String?
    public var damages = 0
    public var repaired = 0
    public var notes = 0
    public init() {}
}

/// What a check reads, and whether it mends.
public struct CheckOptions: Sendable, Hashable {
    /// So many hundredths of all blobs are read to the end; 0: none, only where they lie is looked at.
    public var readPercent = 0.0
    /// Which ones: another seed, other blobs.
    public var seed: UInt64 = 0
    /// Points rows at undamaged copies that lie elsewhere on the disk.
    public var repairs = false
    public init() {}

    func reads(_ blob: BlobID) -> Bool {
        reads(blob.bytes.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
    }

    func reads(_ file: TierFile) -> Bool { reads(file.draw) }

    private func reads(_ draw: UInt64) -> Bool {
        guard readPercent > 0 else { return false }
        // SplitMix64 over the first half of a digest: as good as a draw for each blob.
        var word = draw ^ seed
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        word ^= word >> 31
        return Double(word >> 11) / Double(1 << 53 as UInt64) * 100 < readPercent
    }
}

/// A finding with what it concerns.
public struct CheckedFinding: Sendable, Hashable {
    public var finding: Finding
    /// In words, what names the blob; at most ten.
    public var references: [String]
    public var isRepaired: Bool
}

/// The check of a whole store that nobody else has open: files and records, locations, names, uploads.
public struct StoreCheck: Sendable {
    private static let pageBlobs = 1024
    private static let pageRows = 512

    private let catalog: any Catalog
    private let blobs: BlobStore
    private let options: CheckOptions
    /// Where what is not on the disk is to be; nil when that is not to be looked at.
    private let tier: (any SegmentTier)?
    /// Called with each finding, once.
    private let report: @Sendable (CheckedFinding) -> Void
    /// Called where the check could be gone on with.
    private let keep: @Sendable (CheckProgress) throws(RegistryError) -> Void

    public init(
        catalog: any Catalog, blobs: BlobStore, options: CheckOptions, tier: (any SegmentTier)? = nil,
        report: @escaping @Sendable (CheckedFinding) -> Void,
        keep: @escaping @Sendable (CheckProgress) throws(RegistryError) -> Void
    ) {
        self.catalog = catalog
        self.blobs = blobs
        self.options = options
        self.tier = tier
        self.report = report
        self.keep = keep
    }

    /// Goes on from `start` to the end, or until the task is cancelled.
    public func run(from start: CheckProgress) async throws(RegistryError) -> CheckProgress {
        var progress = start
        let phases = CheckProgress.Phase.allCases
        for (phase, next) in zip(phases, phases.dropFirst()).drop(while: { $0.0 != start.phase }) {
            do throws(RegistryError) {
                switch phase {
                case .index: try await blobs.checkIndex()
                case .segments: try await checkSegments(&progress)
                case .files: try await checkFiles(&progress)
                case .blobs: try await checkBlobs(&progress)
                case .names: try await checkNames(&progress)
                case .uploads: for finding in try await blobs.checkUploads() { try await tell(finding, &progress) }
                case .tier: try await checkTier(&progress)
                case .done: break
                }
            } catch {
                // One that cannot be gone through does not keep the others from being.
                guard error.code == .corrupt else { throw error }
                try await tell(Finding(.index, place: phase.rawValue, error.description), &progress)
            }
            if Task.isCancelled || progress.tierFailure != nil { return progress }
            (progress.phase, progress.after) = (next, "")
            try keep(progress)
        }
        return progress
    }

    private func checkSegments(_ progress: inout CheckProgress) async throws(RegistryError) {
        let done = UInt64(progress.after) ?? 0
        for number in try await blobs.segmentNumbers() where number > done && !Task.isCancelled {
            for finding in try await blobs.check(segment: number) { try await tell(finding, &progress) }
            progress.segments += 1
            progress.after = "\(number)"
            try keep(progress)
        }
    }

    private func checkFiles(_ progress: inout CheckProgress) async throws(RegistryError) {
        let done = progress.after
        for shard in try await blobs.shards() where shard > done && !Task.isCancelled {
            for finding in try await blobs.check(shard: shard) { try await tell(finding, &progress) }
            progress.after = shard
        }
    }

    private func checkBlobs(_ progress: inout CheckProgress) async throws(RegistryError) {
        var last = Hex.decode(progress.after).flatMap { BlobID(bytes: $0) }
        let options = options
        repeat {
            let page = try await blobs.checkBlobs(after: last, limit: options.readPercent > 0 ? 64 : StoreCheck.pageBlobs) { options.reads($0) }
            let healed = options.repairs ? try await blobs.relocate(page.damaged) : []
            for finding in page.findings {
                try await tell(finding, &progress, isRepaired: finding.blob.map(healed.contains) ?? false)
            }
            for unpinned in try await catalog.unpinned(among: page.blobs) {
                try await tell(Finding(.unreferenced, blob: unpinned.blob, place: "location index", "nothing names it"), &progress)
            }
            progress.blobs += page.blobs.count
            progress.readBlobs += page.readBlobs
            progress.readBytes += page.readBytes
            last = page.last
            if let last {
                progress.after = last.hex
                try keep(progress)
            }
        } while last != nil && !Task.isCancelled
    }

    // MARK: Names

    private func checkNames(_ progress: inout CheckProgress) async throws(RegistryError) {
        var last: Pin?
        repeat {
            let pins = try await catalog.pins(after: last, limit: StoreCheck.pageRows)
            progress.names += pins.count
            var missing: Set<BlobID> = []
            for blob in Set(pins.map(\.blob)) where try await !isStored(blob) { missing.insert(blob) }
            let healed = options.repairs ? try await blobs.relocate(missing) : []
            // Each blob once, though several pages may name it.
            for blob in missing.sorted() where blob != last?.blob {
                try await tell(
                    Finding(.dangling, blob: blob, place: "names", "it is named, but not stored"), &progress, isRepaired: healed.contains(blob))
            }
            last = pins.count < StoreCheck.pageRows ? nil : pins.last
        } while last != nil && !Task.isCancelled
        var repository: RepositoryKey?
        repeat {
            let some = try await catalog.repositories(after: repository, limit: 100)
            for each in some where !Task.isCancelled { try await checkAssets(of: each, &progress) }
            repository = some.last?.key
        } while repository != nil && !Task.isCancelled
    }

    /// A row that does not decode is the location index's damage, and was told there.
    private func isStored(_ blob: BlobID) async throws(RegistryError) -> Bool {
        do throws(RegistryError) { return try await blobs.whereabouts(of: blob).length != nil } catch {
            guard error.code == .corrupt else { throw error }
            return true
        }
    }

    private func checkAssets(of repository: Repository, _ progress: inout CheckProgress) async throws(RegistryError) {
        var last: AssetPath?
        repeat {
            let assets = try await catalog.assets(in: repository.id, prefix: "", after: last, limit: StoreCheck.pageRows)
            let unpinned = Set(try await catalog.unpinned(among: Set(assets.map(\.blob)).sorted()).map(\.blob))
            for asset in assets where unpinned.contains(asset.blob) {
                let place = "\(asset.path) of \(repository.key)"
                try await tell(Finding(.unpinned, blob: asset.blob, place: place, "nothing keeps its blob from the sweep"), &progress)
            }
            last = assets.count < StoreCheck.pageRows ? nil : assets.last?.path
        } while last != nil && !Task.isCancelled
    }

    // MARK: Tier

    /// That the tier does not answer ends the check, not without saying so; everything else was checked before.
    private func checkTier(_ progress: inout CheckProgress) async throws(RegistryError) {
        let files = try await blobs.tierFiles()
        guard !files.isEmpty else { return }
        guard let tier else {
            let alone = files.filter(\.isAlone)
            let bytes = alone.reduce(0) { $0 + $1.length }
            let text = "\(alone.count) files (\(bytes) bytes) are in the tier alone, and were not looked at: give the tier's settings"
            if !alone.isEmpty { try await tell(Finding(.tierUnread, place: "tier", text), &progress) }
            return
        }
        do throws(RegistryError) { try await check(files, in: tier, &progress) } catch {
            guard error.code != .corrupt, error.code != .invalid else { throw error }
            progress.tierFailure = error.reason
            try await tell(Finding(.tierUnread, place: tier.place, "it does not answer: \(error)"), &progress)
        }
    }

    private func check(_ files: [TierFile], in tier: any SegmentTier, _ progress: inout CheckProgress) async throws(RegistryError) {
        try await blobs.checkMark(of: tier)
        let listing = try await blobs.list(tier)
        progress.tierRequests += listing.requests
        let done = progress.after
        for file in files where file.key > done && !Task.isCancelled {
            let checked = try await blobs.check(file, in: tier, listing, reading: options.reads(file))
            for finding in checked.findings { try await tell(finding, &progress) }
            progress.tierFiles += 1
            progress.readTierFiles += checked.isRead ? 1 : 0
            progress.readBytes += checked.bytes
            progress.tierRequests += checked.requests
            progress.after = file.key
            try keep(progress)
        }
        for name in listing.names(besides: files) {
            try await tell(Finding(.orphan, place: "\(name) in the tier", "no row tells of it"), &progress)
        }
    }

    private func tell(_ finding: Finding, _ progress: inout CheckProgress, isRepaired: Bool = false) async throws(RegistryError) {
        if !finding.kind.isDamage { progress.notes += 1 } else if isRepaired { progress.repaired += 1 } else { progress.damages += 1 }
        var references: [String] = []
        if let blob = finding.blob, finding.kind.isDamage { references = await catalog.names(of: blob) }
        report(CheckedFinding(finding: finding, references: references, isRepaired: isRepaired))
    }
}
