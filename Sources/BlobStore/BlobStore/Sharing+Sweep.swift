public import Core
import Logging
import NIOCore
import OrderedStore

// Getting space back in the bucket. Nobody owns an object: whoever holds the lease for it looks at all of them, in the order of the listing, a page
// at a time, and asks the database which rows name them. A row never comes to name an object that is old: it is committed soon after the object was
// put, and moved only to a new one. So an old object that no row names is dead for good.

extension BlobStore {
    /// Whether the sweep takes rows from a database and objects from a bucket, and here looks after a cache alone.
    public var isShared: Bool { sharing != nil }

    /// At most `limit` rows of the database, after a blob.
    /// - Returns: those that decode, where to go on (nil at the end), and the blobs of those that do not.
    public func sharedRows(
        after blob: BlobID?, limit: Int
    ) async throws(RegistryError) -> (rows: [(blob: BlobID, length: Int64)], last: BlobID?, damaged: [BlobID]) {
        guard let sharing else { return ([], nil, []) }
        let page = try await sharing.locations.locations(after: blob, limit: limit)
        let rows = page.compactMap { row in row.location.map { (blob: row.blob, length: $0.length) } }
        return (rows, page.count < limit ? nil : page.last?.blob, page.filter { $0.location == nil }.map(\.blob))
    }

    /// Deletes objects that no row names and that are old enough, and merges those of which little lives, or which are small and many. One at a time
    /// on all nodes together: whoever has the lease calls it.
    public func sweepObjects(_ options: CompactionOptions) async throws(RegistryError) -> SweepTally {
        guard let sharing else { return SweepTally() }
        var tally = SweepTally()
        do throws(RegistryError) { try await sharing.sweepObjects(options, of: self, &tally) } catch { throw Sharing.unanswered(error) }
        return tally
    }
}

extension Sharing {
    /// An object that was put together of others has at most so many bytes.
    private static let mergedBytesMax: Int64 = 64 << 20
    private static let mergedBlobsMax: Int64 = 16_384
    /// What is shorter is small.
    private static let smallBytesMax: Int64 = 16 << 20
    /// So many small ones are worth it.
    private static let smallObjectsMin = 8
    /// Header, checksums and padding of a record, about.
    private static let recordBytes: Int64 = 128
    private static let pageRows = 1000
    private static let movesAtOnce = 256

    private struct Source {
        let object: EntityID
        let length: Int64
        let life: SharedLife
        var isMostlyDead = false
    }

    func sweepObjects(_ options: CompactionOptions, of store: BlobStore, _ tally: inout SweepTally) async throws(RegistryError) {
        let before = world.now().adding(seconds: -self.options.deleteDelaySeconds)
        var sources: [Source] = []
        var page: String?
        repeat {
            let list = try await bucket.list(.objects, page: page)
            page = list.next
            let old = list.objects.compactMap { object -> (id: EntityID, length: Int64)? in
                guard case .object(let id) = object.name, id.time <= before else { return nil }
                return (id, object.length)
            }
            let life = try await locations.life(of: old.map(\.id))
            for object in old where !Task.isCancelled {
                guard let life = life[object.id] else {
                    tally.orphans += 1
                    tally.freedBytes += object.length
                    if !options.isDryRun { try await bucket.remove(.object(object.id)) }
                    continue
                }
                guard let source = source(object.id, object.length, life, options) else { continue }
                if !fits(source, sources) {
                    try await merge(sources, options, store, &tally)
                    sources = []
                }
                sources.append(source)
            }
        } while page != nil && !Task.isCancelled
        try await merge(sources, options, store, &tally)
        if !options.isDryRun { try await bucket.removeLeftovers(before: before) }
    }

    /// nil for one that stays as it is.
    private func source(_ object: EntityID, _ length: Int64, _ life: SharedLife, _ options: CompactionOptions) -> Source? {
        // One blob and nothing else.
        guard life.bytes < length else { return nil }
        let living = life.bytes + life.blobs * Sharing.recordBytes
        let isMostlyDead = living < length / 100 * Int64(options.livePercentMin)
        return isMostlyDead || length < Sharing.smallBytesMax ? Source(object: object, length: length, life: life, isMostlyDead: isMostlyDead) : nil
    }

    private func fits(_ source: Source, _ sources: [Source]) -> Bool {
        let all = sources + [source]
        let blobs = all.reduce(0) { $0 + $1.life.blobs }
        let bytes = all.reduce(blobs * Sharing.recordBytes) { $0 + $1.life.bytes }
        return sources.isEmpty || bytes <= Sharing.mergedBytesMax && blobs <= Sharing.mergedBlobsMax
    }

    // MARK: Merging

    /// What lives in them goes into one new object, checked by its SHA-256, and the rows follow, each only if it still says the old place. The next
    /// sweep finds the old objects without rows. A crash in between leaves an object that no row names.
    private func merge(_ sources: [Source], _ options: CompactionOptions, _ store: BlobStore, _ tally: inout SweepTally) async throws(RegistryError) {
        guard !Task.isCancelled, sources.count >= Sharing.smallObjectsMin || sources.contains(where: \.isMostlyDead) else { return }
        guard !options.isDryRun else {
            tally.segmentsCompacted += Int64(sources.count)
            tally.movedBlobs += sources.reduce(0) { $0 + $1.life.blobs }
            tally.movedBytes += sources.reduce(0) { $0 + $1.life.bytes }
            return
        }
        let pace = Pace(bytesPerSecond: options.bytesPerSecondMax, world: world)
        let target = try await pool.run { () throws(RegistryError) in MergedRecords(in: try store.newTemporaryFile().file) }
        var records: [SmallSegment.Record] = []
        var from: [BlobID: SharedLocation] = [:]
        for source in sources {
            guard !Task.isCancelled else { return }
            let began = world.monotonicNanoseconds()
            let found = try await read(source, to: target, store, &tally)
            for (record, location) in found where from[record.id] == nil {
                records.append(record)
                from[record.id] = location
            }
            await pace.pause(after: source.length, since: began)
        }
        guard !records.isEmpty else { return }
        let placed = try await put(records)
        var moves = from.compactMap { blob, old in placed[blob].map { SharedMove(blob, from: old, to: $0) } }[...]
        while !moves.isEmpty {
            let moved = try await locations.move(Array(moves.prefix(Sharing.movesAtOnce)))
            for move in moves.prefix(Sharing.movesAtOnce) where moved.contains(move.blob) {
                tally.movedBlobs += 1
                tally.movedBytes += move.to.length
            }
            moves = moves.dropFirst(Sharing.movesAtOnce)
        }
        tally.segmentsCompacted += Int64(sources.count)
        log.info("objects of the bucket were merged", metadata: ["objects": "\(sources.count)", "blobs": "\(records.count)"])
    }

    private func read(
        _ source: Source, to target: MergedRecords, _ store: BlobStore, _ tally: inout SweepTally
    ) async throws(RegistryError) -> [(SmallSegment.Record, SharedLocation)] {
        var rows: [(blob: BlobID, place: SharedLocation)] = []
        var last: BlobID?
        repeat {
            let page = try await locations.rows(naming: source.object, after: last, limit: Sharing.pageRows)
            for row in page { if let place = row.location { rows.append((row.blob, place)) } }
            last = page.count < Sharing.pageRows ? nil : page.last?.blob
        } while last != nil
        guard let start = rows.map(\.place.offset).min(), let end = rows.map(\.place.range.upperBound).max() else { return [] }
        let temporary = try await pool.run { () throws(RegistryError) in try store.newTemporaryFile() }
        if end > start { try await reading.read(PiecedRead.pieces(of: .object(source.object), start..<end, at: 0), into: temporary.file) }
        let living = rows
        let (copies, damaged) = try await pool.run { () throws(RegistryError) in
            var copies: [(SmallSegment.Record, SharedLocation)] = []
            var damaged: [(blob: BlobID, place: SharedLocation)] = []
            for (blob, place) in living {
                let bytes = try Disk.read(temporary.file, at: place.offset - start, count: Int(place.length))
                guard BlobID(Digest.of(.sha256, bytes)) == blob else {
                    damaged.append((blob, place))
                    continue
                }
                copies.append((try target.append(blob, bytes), place))
            }
            return (copies, damaged)
        }
        tally.damagedBlobs += Int64(damaged.count)
        for (blob, place) in damaged { noteBroken(blob, place) }
        return copies
    }
}

/// Records one behind the other in a file without a name.
///
/// `@unchecked Sendable`: one merge alone appends to it, one step after the other.
private final class MergedRecords: @unchecked Sendable {
    private let file: OpenFile
    private var end: Int64 = 0

    init(in file: OpenFile) { self.file = file }

    func append(_ id: BlobID, _ bytes: [UInt8]) throws(RegistryError) -> SmallSegment.Record {
        let table = bytes.withUnsafeBytes { unsafe SliceChecksums.table(of: $0) }
        let header = RecordHeader(.blob, segment: 0, length: Int64(bytes.count), id: id, table: table)
        let record = SmallSegment.Record(id, length: header.length, at: end, in: file)
        try Disk.write(header.encoded + bytes + table, to: file, at: end)
        end += header.footprint
        // Up to the next record: zeros.
        try Disk.truncate(file, to: end)
        return record
    }
}
