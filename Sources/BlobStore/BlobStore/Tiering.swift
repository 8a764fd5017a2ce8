import Core
import Logging
import NIOCore
import OrderedStore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

public struct TieringOptions: Sendable {
    public enum Policy: String, Sendable, CaseIterable {
        /// Nothing is acknowledged that is not in the tier.
        case writeThrough = "write-through"
        /// Everything is copied soon after it was acknowledged.
        case writeBehind = "write-behind"
        /// What nobody read for `coldSeconds` is copied, and then leaves the disk.
        case coldOnly = "cold-only"
    }

    public var policy = Policy.writeBehind
    /// A segment that takes records is sealed after so long, so that what was acknowledged does not wait for it to fill.
    public var delaySeconds: Int64 = 300
    /// Files of blobs on the disk, beyond which those that were read longest ago leave it, if the tier has them; 0: no bound.
    public var diskBytesMax: Int64 = 0
    public var coldSeconds: Int64 = 30 * 24 * 3600
    /// So long the tier keeps what nothing needs any more: readers that were sent there finish, and a mistake can be repaired.
    public var deleteDelaySeconds: Int64 = 24 * 3600
    /// Between two looks at what is to be done.
    public var tickSeconds: Int64 = 5
    public init() {}
}

/// What is where: on the disk, in the tier, or in both; and the work of moving it. One object does all copying, letting go and bringing back,
/// so that nothing is deleted here before it is there.
final class Tiering: Sendable {
    typealias Name = OpenFiles.Name
    typealias Waiter = CheckedContinuation<Result<Void, RegistryError>, Never>

    struct LocalFile {
        var bytes: Int64
        var lastUse: Timestamp
    }

    struct State {
        /// In the tier, for certain, with the length of the file: who is here is never asked for again.
        var present: [Name: Int64] = [:]
        /// Of those: found damaged there.
        var unsound: Set<Name> = []
        /// Sealed segments and own files on the disk.
        var local: [Name: LocalFile] = [:]
        /// Being copied, deleted or let go.
        var busy: Set<Name> = []
        /// Not to be copied in this run: damaged.
        var refused: Set<Name> = []
        /// Segments that hold recipes, which tell what is in use: they stay on the disk.
        var resident: Set<Name> = []
        var flights: [Name: [Waiter]] = [:]
        /// Who waits until nobody is at work on a file.
        var inTurn: [Name: [CheckedContinuation<Void, Never>]] = [:]
        /// What the tier has of segments in parts, before it has them whole.
        var parts: [UInt64: Set<TierName>] = [:]
        var knowsParts = false
        /// Records from there on, in segments that took uploads, are in parts of them.
        var securedFrom: [UInt64: Int64] = [:]
        /// Segments that have parts, and that the sweep has taken: since when that is known.
        var swept: [UInt64: Timestamp] = [:]
        /// Bytes that were read from a segment in the tier range by range.
        var ranged: [UInt64: Int64] = [:]
        var ownership = Ownership.unknown
        /// When, in monotonic nanoseconds, and how often it was looked whether the tier is still ours.
        var lookedAt: UInt64 = 0
        var looks: UInt64 = 0
        var statistics = TierStatistics()
        var hasComplained = false

        /// Whether the tier has it, and it is not known to be damaged there.
        func isSound(_ name: Name) -> Bool { present[name] != nil && !unsound.contains(name) }
    }

    /// Whether this server is the one that works on the tier.
    enum Ownership { case unknown, ours, lost }

    let tier: any SegmentTier
    let options: TieringOptions
    let directory: String
    let index: OrderedStore
    let segments: Segments
    let blobs: BlobDirectory
    let openFiles: OpenFiles
    /// Marks a blob that was found damaged.
    let noteDamage: @Sendable (BlobID, RegistryError) -> Void
    let world: World
    let log: Logger
    let pool = BlockingPool(threads: 2, name: "tiering")
    let groups = GroupPuts()
    /// Of this object's life (`TierOwner`).
    let run: EntityID
    let state = Mutex(State())

    init(_ tier: any SegmentTier, _ options: TieringOptions, of store: BlobStore) {
        self.tier = tier
        self.options = options
        directory = store.directory
        index = store.index
        segments = store.segments
        blobs = store.blobs
        openFiles = store.openFiles
        noteDamage = { [weak store] id, error in store?.noteDamage(id, error) }
        world = store.world
        run = store.world.newID()
        log = store.log
    }

    func path(_ name: Name) -> String {
        switch name {
        case .segment(let number): segments.path(number)
        case .ownFile(let id): blobs.path(of: id)
        }
    }

    /// Whether only the tier has it.
    func isRemote(_ name: Name) -> Bool { state.withLock { $0.present[name] != nil && $0.local[name] == nil } }

    /// An own file is on the disk, new or again.
    func noteStored(_ id: BlobID, length: Int64) {
        let now = world.now()
        state.withLock { state in
            state.local[.ownFile(id)] = LocalFile(bytes: OwnFile.fileBytes(length: length), lastUse: now)
            state.refused.remove(.ownFile(id))
        }
    }

    // MARK: Rows

    func writeRow(_ name: Name, _ state: TierRow.State, length: Int64) async throws(RegistryError) {
        let row = TierRow(state, length: length, since: world.now()).encoded
        try await index.commit { batch in batch.put(TierRow.key(name), row, in: .tierObjects) }
    }

    func deleteRow(_ name: Name) async throws(RegistryError) {
        try await index.commit { batch in batch.delete(TierRow.key(name), in: .tierObjects) }
    }

    func rows() async throws(RegistryError) -> [(name: Name, row: TierRow)] {
        try await pool.run { [index, log] () throws(RegistryError) in
            var rows: [(name: Name, row: TierRow)] = []
            try index.scan(.tierObjects, from: [], upTo: nil) { key, value in
                if let name = TierRow.name(key), let row = try? TierRow(value) {
                    rows.append((name, row))
                } else {
                    log.error("a row of what the tier has is damaged; what it tells of is copied again")
                }
                return true
            }
            return rows
        }
    }

    // MARK: Opening

    /// Looks whose tier it is, what it has, and what the disk has.
    /// - Returns: whether the tier was adopted by an empty store, whose locations must be made anew then.
    func open() async throws(RegistryError) -> Bool {
        let claim = try await claimTier()
        if claim != .unanswered { try await claimOwnership() }
        let isAdopted = claim == .adopted
        if isAdopted { try await listAll() }
        let rows = try await rows()
        let (segments, owns) = try await pool.run { [self] () throws(RegistryError) in (try localSegments(), try localOwnFiles()) }
        state.withLock { state in
            for (name, row) in rows where row.state != .arriving { state.present[name] = row.length }
            for (name, row) in rows where row.state == .unsound { state.unsound.insert(name) }
            state.local = segments.merging(owns) { a, _ in a }
        }
        // The newest may have left the disk: its number is never used again.
        for case (.segment(let number), _) in rows { self.segments.skipNumbers(upTo: number) }
        return isAdopted
    }

    private enum Claim { case known, adopted, unanswered }

    /// The store and its tier carry the same mark. A tier without one becomes ours; a store without one, and without anything in it, becomes the
    /// tier's.
    private func claimTier() async throws(RegistryError) -> Claim {
        let path = directory + "/tier.mark"
        let own = try await pool.run { () throws(RegistryError) in
            try Disk.openExisting(path).map { file throws(RegistryError) in try Disk.read(file, at: 0, count: TierMark.bytes) }
        }
        let found: [UInt8]?
        do throws(RegistryError) { found = try await readMark() } catch {
            // A store that knows its tier serves what the disk has until the tier is back.
            guard own != nil, error.retryAfterSeconds != nil else { throw error }
            log.warning("the tier does not answer; it is taken to be what it was", metadata: ["tier": "\(tier.place)", "error": "\(error)"])
            return .unanswered
        }
        switch (own, found) {
        case (let own?, let found?):
            guard own == found else {
                throw Tiering.refused("it belongs to another store: take another prefix, or bring that store's directory back")
            }
            return .known
        case (nil, let found?):
            guard TierMark(found) != nil else { throw Tiering.refused("what stands in \(TierName.mark) there is not ours") }
            let files = try await pool.run { [self] () throws(RegistryError) in
                try Segments.numbers(in: segments.directory).count + localOwnFiles().count
            }
            guard files == 0 else {
                throw Tiering.refused("it belongs to another store, and this one is not empty: take another prefix, or an empty data directory")
            }
            log.notice("an empty store takes over what its tier has", metadata: ["tier": "\(tier.place)"])
            return .adopted
        case (.some, nil):
            throw Tiering.refused("it lacks the mark of this store: is it the right place? What was copied there is not in it")
        case (nil, nil):
            // A store that was restored has rows of the tier that it had.
            try await index.commit { batch in batch.deleteRange(.tierObjects, from: [0], upTo: [0xFF]) }
            let mark = TierMark(id: world.newID()).encoded
            try await tier.put(.mark, BlobContent(.memory(ByteBuffer(bytes: mark))))
            try await keepMark(mark)
            return .known
        }
    }

    /// The last step of taking a tier over: until then a restart begins again.
    /// The locations are known but for those in parts, which is noted: should this start end before they are taken in, the next one does it.
    func keepAdoptedMark() async throws(RegistryError) {
        try await pool.run { [partsNote] () throws(RegistryError) in
            try Disk.synchronize(try Disk.open(partsNote, O_RDWR | O_CREAT))
        }
        if let mark = try await readMark() { try await keepMark(mark) }
    }

    private var partsNote: String { directory + "/tier.parts" }

    /// Whether blobs that the tier has in parts have to be taken in before anything is read.
    func owesParts() async throws(RegistryError) -> Bool {
        try await pool.run { [partsNote] () throws(RegistryError) in try Disk.openExisting(partsNote) != nil }
    }

    func tookParts() async throws(RegistryError) {
        try await pool.run { [partsNote, directory] () throws(RegistryError) in
            try Disk.remove(partsNote)
            try Disk.synchronizeDirectory(directory)
        }
    }

    private func keepMark(_ mark: [UInt8]) async throws(RegistryError) {
        try await pool.run { [directory] () throws(RegistryError) in
            let path = directory + "/tier.mark"
            let file = try Disk.open(path + ".new", O_RDWR | O_CREAT | O_TRUNC)
            try Disk.write(mark, to: file, at: 0)
            try Disk.synchronize(file)
            try Disk.move(path + ".new", over: path)
            try Disk.synchronizeDirectory(directory)
        }
    }

    private func readMark() async throws(RegistryError) -> [UInt8]? {
        guard let length = try await tier.length(of: .mark) else { return nil }
        guard length == Int64(TierMark.bytes) else { throw Tiering.refused("what stands in \(TierName.mark) there is not ours") }
        return Array(try await tier.read(.mark, 0..<length).collect().readableBytesView)
    }

    static func refused(_ reason: String) -> RegistryError {
        RegistryError(.invalid, subject: .configuration("tier"), reason: "the tier cannot be used: \(reason)")
    }

    /// Makes the rows anew from what is in the tier.
    private func listAll() async throws(RegistryError) {
        try await index.commit { batch in batch.deleteRange(.tierObjects, from: [0], upTo: [0xFF]) }
        for kind in [TierName.Kind.segments, .blobs] {
            var page: String?
            repeat {
                let found = try await tier.list(kind, page: page)
                page = found.next
                let now = world.now()
                let rows = found.objects.compactMap { object -> (Name, TierRow)? in
                    switch object.name {
                    case .segment(let number): (.segment(number), TierRow(.present, length: object.length, since: now))
                    case .blob(let id): (.ownFile(id), TierRow(.present, length: OwnFile.fileBytes(length: object.length), since: now))
                    case .mark, .owner, .end, .part, .object, .sharedMark: nil
                    }
                }
                try await index.commit { batch in
                    for (name, row) in rows { batch.put(TierRow.key(name), row.encoded, in: .tierObjects) }
                }
            } while page != nil && !Task.isCancelled
        }
    }

    // MARK: The disk

    /// Sealed ones. Blocks.
    func localSegments() throws(RegistryError) -> [Name: LocalFile] {
        var found: [Name: LocalFile] = [:]
        for number in try segments.sealedNumbers() { found[.segment(number)] = try localFile(.segment(number)) }
        return found
    }

    /// Blocks.
    private func localOwnFiles() throws(RegistryError) -> [Name: LocalFile] {
        var found: [Name: LocalFile] = [:]
        try blobs.blobs { id throws(RegistryError) in found[.ownFile(id)] = try localFile(.ownFile(id)) }
        return found
    }

    private func localFile(_ name: Name) throws(RegistryError) -> LocalFile? {
        guard let file = try Disk.openExisting(path(name)) else { return nil }
        let status = try Disk.status(of: file)
        return LocalFile(bytes: status.size, lastUse: status.modified)
    }
}

/// Says whose a tier is: in the tier, and beside the store's files.
struct TierMark {
    static let bytes = 28
    private static let magic: UInt64 = 0x4752_4154_4945_5201  // "GRATIER", format 1
    let id: EntityID

    init(id: EntityID) { self.id = id }

    var encoded: [UInt8] {
        var writer = BinaryWriter(reserving: TierMark.bytes)
        writer.write(TierMark.magic)
        writer.write(id)
        writer.write(CRC32C.of(writer.bytes))
        return writer.bytes
    }

    init?(_ bytes: [UInt8]) {
        var reader = BinaryReader(bytes)
        guard bytes.count == TierMark.bytes, let magic = try? reader.readUInt64(), magic == TierMark.magic, let id = try? reader.readEntityID(),
            let sum = try? reader.readUInt32(), sum == CRC32C.of(bytes.dropLast(4))
        else { return nil }
        self.id = id
    }
}

/// What moved between disk and tier since the start, and how it is now.
public struct TierStatistics: Sendable, Hashable {
    public var copiedFiles: UInt64 = 0
    public var copiedBytes: UInt64 = 0
    public var droppedFiles: UInt64 = 0
    public var droppedBytes: UInt64 = 0
    public var returnedFiles: UInt64 = 0
    public var returnedBytes: UInt64 = 0
    /// Answered from the tier without bringing the file back.
    public var rangedReads: UInt64 = 0
    public var rangedBytes: UInt64 = 0
    public var deletedFiles: UInt64 = 0
    /// Groups of small blobs that were put before they were acknowledged.
    public var parts: UInt64 = 0
    public var partBytes: UInt64 = 0
    /// Failed copies; each is tried again.
    public var failures: UInt64 = 0
    /// On the disk, and not (wholly) in the tier yet.
    public var waitingFiles = 0
    public var waitingBytes: Int64 = 0
    public var diskBytes: Int64 = 0
    public var tierBytes: Int64 = 0
}
