public import Core
import Logging
import OrderedStore

#if canImport(Glibc)
    import Glibc
#endif

// Opening one archive, and what is remembered of each: when it was last read, or that it stays closed.
//
// Order of writes: as of any blob that is cut (`Chunking`), of the opened form instead of the blob. It is proved by making the archive again of the
// chunks that were written, as a reader would, before its row changes.

/// The row of a blob that may be an archive.
enum ArchiveWatch: Hashable, Sendable {
    case seen(Timestamp)
    /// It is none, or opening it does not save enough.
    case closed

    private static let format: UInt8 = 1

    var encoded: [UInt8] {
        var writer = BinaryWriter(reserving: 10)
        writer.write(ArchiveWatch.format)
        switch self {
        case .seen(let time):
            writer.write(UInt8(0))
            writer.write(time)
        case .closed: writer.write(UInt8(1))
        }
        return writer.bytes
    }

    /// - Throws: `corrupt` for a row this program did not write.
    init(_ row: [UInt8]) throws(RegistryError) {
        var reader = BinaryReader(row)
        guard try reader.readUInt8() == ArchiveWatch.format else { throw BinaryReader.damaged }
        switch try reader.readUInt8() {
        case 0: self = .seen(try reader.readTimestamp())
        case 1: self = .closed
        default: throw BinaryReader.damaged
        }
        guard reader.remaining == 0 else { throw BinaryReader.damaged }
    }
}

extension BlobStore {
    /// What was made again since the start.
    public var rebuildTotals: RebuildTotals { rebuilds.totals }

    /// Opens the archive, and keeps its opened form in chunks instead of it if that saves a tenth.
    /// - Throws: `corrupt` when it is damaged, `noSpace`; it stays as it was then.
    public func open(archive id: BlobID, pace: Pace) async throws(RegistryError) -> Chunking {
        try await open(archive: id, pace: pace, sparing: nil)
    }

    /// - Parameter reads: another that this one is like is not opened for its sake when it is in there.
    func open(archive id: BlobID, pace: Pace, sparing reads: ReadMarks.Taken?) async throws(RegistryError) -> Chunking {
        guard let location = try await location(of: id), isWhole(id, location) else { return .passedOver }
        let (chunking, hadFile) = try await openHeld(id, pace, sparing: reads)
        if hadFile { try await removeOldFile(of: id) }
        return chunking
    }

    private func isWhole(_ id: BlobID, _ location: BlobLocation) -> Bool {
        let lengths =
            max(
                options.archives.archiveBytesMin, BlobStore.readInMemoryBytesMax + 1)...max(
                options.archives.archiveBytesMax, BlobStore.readInMemoryBytesMax + 1)
        return location.isWhole && lengths.contains(location.length) && !hasLeft(id, location)
    }

    private func openHeld(
        _ id: BlobID, _ pace: Pace, sparing reads: ReadMarks.Taken?
    ) async throws(RegistryError) -> (Chunking, hadFile: Bool) {
        // Held: the sweep leaves it alone. Compaction may still move it.
        guard let staged = try await staged(id) else { return (.passedOver, false) }
        defer { withExtendedLifetime(staged) {} }
        guard let opened = try await openedForm(of: staged, pace) else { return (try await keepClosed(id), false) }
        await chunkTurn.begin()
        defer { chunkTurn.end() }
        return try await keepOpened(id, opened, pace, sparing: reads)
    }

    /// nil when it is no archive, or none that can be made again.
    func openedForm(of id: BlobID, _ pace: Pace) async throws(RegistryError) -> OpenedArchive? {
        guard let location = try await location(of: id), isWhole(id, location), let staged = try await staged(id) else { return nil }
        defer { withExtendedLifetime(staged) {} }
        guard try ArchiveOpening.isArchive(staged.content()) else { return nil }
        return try await openedForm(of: staged, pace)
    }

    private func openedForm(of staged: any StagedBytes, _ pace: Pace) async throws(RegistryError) -> OpenedArchive? {
        let content = try staged.content()
        let formBytes = content.length.multipliedReportingOverflow(by: 8)
        try checkSpace(for: formBytes.overflow ? content.length : formBytes.partialValue)
        let isOver = Flag()
        return try await interruptibly(isOver) { [self] () throws(RegistryError) in
            var throttle = Throttle(pace)
            return try ArchiveOpening.open(content, limits: options.archives, isOver: { isOver.isSet }, pause: { throttle.rest(after: $0) }) {
                () throws(RegistryError) in try newTemporaryFile()
            }
        }
    }

    /// When it has been cold once more.
    func lookLater(at id: BlobID) async throws(RegistryError) -> Chunking {
        try await watch([(id, .seen(world.now()))])
        return .passedOver
    }

    func keepClosed(_ id: BlobID) async throws(RegistryError) -> Chunking {
        try await watch([(id, .closed)])
        return .keptWhole
    }

    /// What the chunks of a recipe make, made as readers will, has the SHA-256 of the archive.
    /// - Parameter places: of chunks that have no rows yet.
    func proveArchive(
        _ id: BlobID, _ recipe: Recipe, _ places: [BlobID: BlobLocation.RecordPlace], _ pace: Pace
    ) async throws(RegistryError) {
        let isOver = Flag()
        let made = try await interruptibly(isOver) { [self] () throws(RegistryError) in
            var throttle = Throttle(pace)
            let pause = { (count: Int) throws(RegistryError) in
                throttle.rest(after: count)
                if isOver.isSet { throw RegistryError(.unavailable, subject: .store, reason: "the work was interrupted; it goes on later") }
            }
            return try BlobStore.digest(of: recipe, pause: pause) { [self] piece throws(RegistryError) in
                if let place = places[piece.chunk] { return try readChunk(piece.chunk, at: place) }
                return try readStoredChunk(piece.chunk)
            }
        }
        guard made == id else { throw BlobStore.corrupt(id, "what its chunks make is another archive") }
    }

    private func interruptibly<R: Sendable>(
        _ isOver: Flag, _ work: @escaping @Sendable () throws(RegistryError) -> R
    ) async throws(RegistryError) -> R {
        let result: Result<R, RegistryError> = await withTaskCancellationHandler {
            do throws(RegistryError) { return .success(try await chunkPool.run(work)) } catch { return .failure(error) }
        } onCancel: {
            isOver.set()
        }
        return try result.get()
    }

    // MARK: Watching

    /// What is to be done with a page of blobs.
    struct WatchedPage: Sendable {
        /// Not read for long enough.
        var cold: [BlobID] = []
        /// Where to go on; nil at the end.
        var last: BlobID?
    }

    /// Looks at a page of blobs: of those that may be archives, rows are made, and renewed where they were read.
    func watchArchives(
        after: BlobID?, limit: Int, coldSeconds: Int64, _ reads: ReadMarks.Taken
    ) async throws(RegistryError) -> WatchedPage {
        let page = try await storedBlobs(after: after, limit: limit)
        let now = world.now()
        let (cold, rows) = try await sweepPool.run { [self] () throws(RegistryError) in
            var cold: [BlobID] = []
            var rows: [(BlobID, ArchiveWatch)] = []
            for blob in page.blobs where isWhole(blob.id, blob.location) {
                let known = try index.get(ChunkIndex.key(ofArchive: blob.id), in: .chunks).flatMap { try? ArchiveWatch($0) }
                if known == .closed { continue }
                if known == nil, try !isArchive(blob) {
                    rows.append((blob.id, .closed))
                    continue
                }
                var used = now
                if case .seen(let time)? = known, !reads.contains(blob.id) { used = time } else { rows.append((blob.id, .seen(now))) }
                // A clock that was ahead makes no archive hot for ever.
                if used > now { rows.append((blob.id, .seen(now))) }
                if used.adding(seconds: coldSeconds) <= now { cold.append(blob.id) }
            }
            return (cold, rows)
        }
        try await watch(rows)
        return WatchedPage(cold: cold, last: page.last)
    }

    private func isArchive(_ blob: StoredBlob) throws(RegistryError) -> Bool {
        do throws(RegistryError) {
            return try ArchiveOpening.isArchive(BlobContent(.extents([try opened(blob.id, at: blob.location).extent])))
        } catch {
            // Moved meanwhile, or damaged, which its readers say.
            guard error.code == .corrupt else { throw error }
            return true
        }
    }

    private func watch(_ rows: [(BlobID, ArchiveWatch)]) async throws(RegistryError) {
        guard !rows.isEmpty else { return }
        try await index.commit { batch throws(RegistryError) in
            for (id, watch) in rows { batch.put(ChunkIndex.key(ofArchive: id), watch.encoded, in: .chunks) }
        }
    }
}

/// Keeps blocking work below a rate.
struct Throttle {
    private let pace: Pace
    private var began: UInt64
    private var bytes = 0
    private static let stepBytes = 1 << 20

    init(_ pace: Pace) {
        self.pace = pace
        began = pace.world.monotonicNanoseconds()
    }

    mutating func rest(after count: Int) {
        bytes += count
        guard pace.bytesPerSecond > 0, bytes >= Throttle.stepBytes else { return }
        let wanted = UInt64(Double(bytes) / Double(pace.bytesPerSecond) * 1e9)
        let took = pace.world.monotonicNanoseconds() &- began
        if took < wanted { usleep(UInt32(truncatingIfNeeded: min((wanted - took) / 1000, 999_999))) }
        bytes = 0
        began = pace.world.monotonicNanoseconds()
    }
}
