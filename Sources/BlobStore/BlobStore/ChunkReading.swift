import Core
import NIOCore
import OrderedStore
import Synchronization

// Reading blobs that lie in chunks. Every chunk is checked by its own SHA-256 whenever it is read from the disk, and the recipe by its record's
// checksums; that the chunks of a recipe are the blob was proved when it was cut.

/// A blob in chunks, with its recipe in memory. As long as one is alive, the chunks it names are not swept. What can be read of it is what the chunks
/// make: of an archive that was opened nobody gets that (`ArchiveReading`).
final class ChunkedBlob: StreamedBytes {
    let id: BlobID
    let recipe: Recipe
    fileprivate let store: BlobStore

    init(_ id: BlobID, _ recipe: Recipe, of store: BlobStore) {
        self.id = id
        self.recipe = recipe
        self.store = store
    }

    var size: Int64 { recipe.length }

    func body(of range: Range<Int64>) -> Body { Body(length: range.upperBound - range.lowerBound, source: Pieces(of: self, range)) }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int {
        try ChunkBytes(recipe) { piece throws(RegistryError) in try self.read(piece) }.read(at: offset, into: buffer)
    }

    fileprivate func piece(at offset: Int64) -> (Recipe.Piece, skipped: Int) {
        let piece = recipe[recipe.index(at: offset)]
        return (piece, Int(offset - piece.start))
    }

    /// A piece that only the tier has; nil when it is in memory or on the disk.
    fileprivate func readAway(_ piece: Recipe.Piece) async throws(RegistryError) -> ByteBuffer? {
        guard store.tiering != nil, store.chunkCache.find(piece.chunk) == nil else { return nil }
        do throws(RegistryError) {
            guard let chunk = try await store.chunkFromTier(piece.chunk) else { return nil }
            guard chunk.readableBytes == piece.length else { throw BinaryReader.damaged }
            return chunk
        } catch {
            guard error.code == .corrupt else { throw error }
            let failure = damage(in: piece, error)
            store.noteDamage(id, failure)
            throw failure
        }
    }

    private func damage(in piece: Recipe.Piece, _ error: RegistryError) -> RegistryError {
        BlobStore.corrupt(id, "its bytes are damaged from \(piece.start) to \(piece.start + Int64(piece.length))", cause: "\(error)")
    }

    /// Blocks.
    /// - Parameter isStored: from the disk or the tier, whatever memory knows.
    func read(_ piece: Recipe.Piece, isStored: Bool = false) throws(RegistryError) -> ByteBuffer {
        do throws(RegistryError) {
            let chunk = try isStored ? store.readStoredChunk(piece.chunk) : store.readChunk(piece.chunk)
            guard chunk.readableBytes == piece.length else { throw BinaryReader.damaged }
            return chunk
        } catch {
            guard error.code == .corrupt else { throw error }
            let failure = damage(in: piece, error)
            // Who verifies looks again whether the blob is still there, before it says so.
            if !isStored { store.noteDamage(id, failure) }
            throw failure
        }
    }
}

/// What the chunks of a recipe make, one behind the other. Remembers the chunks of the last two places it was read at.
final class ChunkBytes: RandomAccessBytes {
    typealias Read = @Sendable (Recipe.Piece) throws(RegistryError) -> ByteBuffer

    private let recipe: Recipe
    private let read: Read
    private let latest = Mutex<[(id: BlobID, bytes: ByteBuffer)]>([])

    /// - Parameter read: gives a chunk, checked.
    init(_ recipe: Recipe, _ read: @escaping Read) { (self.recipe, self.read) = (recipe, read) }

    var size: Int64 { recipe.chunkedBytes }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int {
        var done = 0
        while done < buffer.count, offset >= 0, offset + Int64(done) < size {
            let piece = recipe[recipe.index(at: offset + Int64(done))]
            let skipped = Int(offset + Int64(done) - piece.start)
            let chunk = try chunk(piece)
            guard chunk.readableBytes == piece.length else { throw BinaryReader.damaged }
            let count = min(buffer.count - done, chunk.readableBytes - skipped)
            chunk.withUnsafeReadableBytes { bytes in
                let source = unsafe UnsafeRawBufferPointer(rebasing: bytes[skipped..<skipped + count])
                unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count]).copyMemory(from: source)
            }
            done += count
        }
        return done
    }

    private func chunk(_ piece: Recipe.Piece) throws(RegistryError) -> ByteBuffer {
        if let known = latest.withLock({ $0.first { $0.id == piece.chunk } }) { return known.bytes }
        let bytes = try read(piece)
        latest.withLock { $0 = [(piece.chunk, bytes)] + $0.prefix(1) }
        return bytes
    }
}

/// One reader's way through a range, chunk by chunk. In strict mode the last piece of a whole blob leaves only when everything read has its
/// SHA-256.
private final class Pieces: BodySource {
    private struct State {
        var position: Int64
        /// Of a whole read.
        var hasher: Digest.Hasher?
    }

    private let blob: ChunkedBlob
    private let end: Int64
    private let state: Mutex<State>

    init(of blob: ChunkedBlob, _ range: Range<Int64>) {
        self.blob = blob
        end = range.upperBound
        let isHashed = blob.store.options.isStrict && range == 0..<blob.size
        state = Mutex(State(position: range.lowerBound, hasher: isHashed ? Digest.Hasher(.sha256) : nil))
    }

    func next() async throws(RegistryError) -> ByteBuffer? {
        let position = state.withLock { $0.position }
        guard position < end else { return nil }
        let (piece, skipped) = blob.piece(at: position)
        // What the tier alone has comes without a thread of the pool: those are for who reads the disk.
        let away = try await blob.readAway(piece)
        return try await blob.store.pool.run { [self] () throws(RegistryError) in
            try state.withLock { state throws(RegistryError) in
                let chunk: ByteBuffer
                if let away { chunk = away } else { chunk = try blob.read(piece) }
                return try slice(of: chunk, skipped, &state)
            }
        }
    }

    private func slice(of chunk: ByteBuffer, _ skipped: Int, _ state: inout State) throws(RegistryError) -> ByteBuffer? {
        let count = min(chunk.readableBytes - skipped, Int(clamping: end - state.position), Pieces.bytesMax)
        guard let slice = chunk.getSlice(at: chunk.readerIndex + skipped, length: count) else { throw BinaryReader.damaged }
        state.position += Int64(count)
        state.hasher?.update(slice)
        if state.position == end, let hasher = state.hasher, BlobID(hasher.finish()) != blob.id {
            throw BlobStore.corrupt(blob.id, "its bytes are not the ones it is named after")
        }
        return slice
    }

    /// The most a stream's slice has.
    private static let bytesMax = 1 << 20
}

extension Digest.Hasher {
    fileprivate mutating func update(_ bytes: ByteBuffer) { bytes.withUnsafeReadableBytes { unsafe update($0) } }
}

/// Recipes in memory: those in use, and a few that were used last.
final class RecipesInUse: Sendable {
    private struct Weak: Sendable { weak let blob: ChunkedBlob? }
    private struct State {
        var all: [BlobID: Weak] = [:]
        /// The last used is last.
        var kept: [ChunkedBlob] = []
        var pruneAt = 64
    }

    private static let keptMax = 16
    private static let keptBytesMax = 4 << 20
    private let state = Mutex(State())

    /// Fit for an event loop.
    func find(_ id: BlobID) -> ChunkedBlob? {
        state.withLock { state in
            guard let blob = state.all[id]?.blob else { return nil }
            if state.kept.last !== blob, let index = state.kept.firstIndex(where: { $0 === blob }) { state.kept.append(state.kept.remove(at: index)) }
            return blob
        }
    }

    func insert(_ blob: ChunkedBlob) {
        let dropped: [ChunkedBlob] = state.withLock { state in
            state.all[blob.id] = Weak(blob: blob)
            state.kept.append(blob)
            var dropped: [ChunkedBlob] = []
            var bytes = state.kept.reduce(0) { $0 + $1.recipe.bytes }
            while state.kept.count > RecipesInUse.keptMax || (bytes > RecipesInUse.keptBytesMax && state.kept.count > 1) {
                let oldest = state.kept.removeFirst()
                bytes -= oldest.recipe.bytes
                dropped.append(oldest)
            }
            return dropped
        }
        _ = dropped  // let go after the lock
        state.withLock { state in
            guard state.all.count > state.pruneAt else { return }
            state.all = state.all.filter { $0.value.blob != nil }
            state.pruneAt = max(64, state.all.count * 2)
        }
    }

    /// The blob is gone, or lies elsewhere.
    func forget(_ id: BlobID) {
        let dropped = state.withLock { state in
            state.kept.firstIndex { $0.id == id }.map { state.kept.remove(at: $0) }
        }
        _ = dropped
    }

    func removeAll() {
        let dropped = state.withLock { state in
            defer { state.kept = [] }
            return state.kept
        }
        _ = dropped
    }

    var living: [ChunkedBlob] { state.withLock { state in state.all.values.compactMap(\.blob) } }
}

/// Chunks as they were read last, so that reading on in one does not decode it again.
final class ChunkCache: Sendable {
    private struct Slot {
        let bytes: ByteBuffer
        var lastUse: UInt64
    }
    private struct State {
        var slots: [BlobID: Slot] = [:]
        var bytes = 0
        var clock: UInt64 = 0
    }

    private let bytesMax: Int
    private let state = Mutex(State())

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    func find(_ id: BlobID) -> ByteBuffer? {
        state.withLock { state in
            guard let index = state.slots.index(forKey: id) else { return nil }
            state.clock += 1
            state.slots.values[index].lastUse = state.clock
            return state.slots.values[index].bytes
        }
    }

    func insert(_ id: BlobID, _ chunk: ByteBuffer) {
        guard chunk.readableBytes <= bytesMax else { return }
        state.withLock { state in
            guard state.slots[id] == nil else { return }
            state.clock += 1
            state.slots[id] = Slot(bytes: chunk, lastUse: state.clock)
            state.bytes += chunk.readableBytes
            while state.bytes > bytesMax, let oldest = state.slots.min(by: { $0.value.lastUse < $1.value.lastUse }) {
                state.slots[oldest.key] = nil
                state.bytes -= oldest.value.bytes.readableBytes
            }
        }
    }

    func removeAll() { state.withLock { $0 = State() } }
}

extension BlobStore {
    /// The blob with its recipe, from memory or from the disk. Blocks.
    /// - Throws: `corrupt`, naming the blob.
    func chunked(_ id: BlobID, at location: BlobLocation) throws(RegistryError) -> ChunkedBlob {
        if let blob = recipes.find(id) { return blob }
        guard let place = location.record else { preconditionFailure("a recipe lies in a segment") }
        let recipe = try readRecipe(id, at: place)
        guard recipe.length == location.length else { throw BlobStore.corrupt(id, "its recipe is of another length") }
        let blob = ChunkedBlob(id, recipe, of: self)
        recipes.insert(blob)
        return blob
    }

    func readRecipe(_ id: BlobID, at place: BlobLocation.RecordPlace) throws(RegistryError) -> Recipe {
        try recipe(id, of: try recordBytes(id, at: place), at: place)
    }

    func recipe(_ id: BlobID, of record: [UInt8], at place: BlobLocation.RecordPlace) throws(RegistryError) -> Recipe {
        try Recipe(try content(.recipe, id, of: record, at: place) { bytes throws(RegistryError) in unsafe Array(bytes) })
    }

    /// The chunk, checked by its digest. Blocks.
    /// - Throws: `corrupt` when it is damaged or missing.
    func readChunk(_ id: BlobID) throws(RegistryError) -> ByteBuffer {
        if let cached = chunkCache.find(id) { return cached }
        let chunk = try readStoredChunk(id)
        chunkCache.insert(id, chunk)
        return chunk
    }

    /// As `readChunk`, whatever memory knows.
    func readStoredChunk(_ id: BlobID) throws(RegistryError) -> ByteBuffer {
        while let row = try index.get(ChunkIndex.key(ofChunk: id), in: .chunks) {
            do throws(RegistryError) {
                return try readChunk(id, at: try ChunkIndex.place(row))
            } catch {
                guard error.code == .corrupt else { throw error }
                // Between the two looks compaction may have moved it.
                guard try index.get(ChunkIndex.key(ofChunk: id), in: .chunks) == row else { continue }
                throw error
            }
        }
        throw BlobStore.corrupt(id, "the chunk is missing")
    }

    func readChunk(_ id: BlobID, at place: BlobLocation.RecordPlace) throws(RegistryError) -> ByteBuffer {
        try chunk(id, of: try recordBytes(id, at: place), at: place)
    }

    /// Checked by its digest.
    func chunk(_ id: BlobID, of record: [UInt8], at place: BlobLocation.RecordPlace) throws(RegistryError) -> ByteBuffer {
        let chunk = try content(.chunk, id, of: record, at: place) { bytes throws(RegistryError) in try unsafe ChunkRecord.decode(bytes) }
        guard BlobID(BlobStore.digest(of: chunk)) == id else { throw BlobStore.corrupt(id, "the chunk is damaged") }
        return chunk
    }

    static func digest(of bytes: ByteBuffer) -> Digest {
        var hasher = Digest.Hasher(.sha256)
        bytes.withUnsafeReadableBytes { unsafe hasher.update($0) }
        return hasher.finish()
    }

    /// A record as it lies on the disk or, where that has let it go, in the tier.
    private func recordBytes(_ id: BlobID, at place: BlobLocation.RecordPlace) throws(RegistryError) -> [UInt8] {
        let count = RecordHeader.bytes + Int(place.length) + Int(SliceChecksums.tableBytes(length: place.length))
        while true {
            if let file = try openFiles.open(.segment(place.segment), at: segments.path(place.segment)) {
                return try Disk.read(file, at: place.offset, count: count)
            }
            guard let tiering, tiering.isRemote(.segment(place.segment)) else { throw BlobStore.corrupt(id, "its file is missing") }
            if let record = try tiering.recordWaiting(at: place) { return record }
        }
    }

    /// What follows the header of a record, its checksums right.
    private func content<R>(
        _ kind: RecordHeader.Kind, _ id: BlobID, of record: [UInt8], at place: BlobLocation.RecordPlace,
        _ body: (UnsafeRawBufferPointer) throws(RegistryError) -> R
    ) throws(RegistryError) -> R {
        let length = Int(place.length)
        let tableBytes = Int(SliceChecksums.tableBytes(length: place.length))
        guard record.count == RecordHeader.bytes + length + tableBytes, let header = RecordHeader(record.prefix(RecordHeader.bytes)),
            header.kind == kind, header.segment == place.segment, header.id == id, header.length == place.length
        else { throw BlobStore.corrupt(id, "its header is damaged") }
        return try record.withUnsafeBytes { record in
            Result { () throws(RegistryError) in
                let content = unsafe UnsafeRawBufferPointer(rebasing: record[RecordHeader.bytes..<RecordHeader.bytes + length])
                let table = unsafe Array(record[(RecordHeader.bytes + length)...])
                guard CRC32C.of(table) == header.tableChecksum, unsafe SliceChecksums.table(of: content) == table else {
                    throw BlobStore.corrupt(id, "its bytes are damaged")
                }
                return try unsafe body(content)
            }
        }.get()
    }

    /// Reads every chunk, and the whole by its SHA-256. Blocks.
    /// - Parameters:
    ///   - isOnDiskOnly: chunks that only the tier has are passed over; the whole is not proved then.
    ///   - isRebuilding: an archive that was opened is made again, which costs much; else its chunks are checked, each by itself.
    ///   - pause: called after each chunk with its length.
    func verifyChunks(
        _ id: BlobID, at location: BlobLocation, isOnDiskOnly: Bool = false, isRebuilding: Bool = true,
        pause: (Int) throws(RegistryError) -> Void = { _ in }
    ) throws(RegistryError) {
        guard let place = location.record else { preconditionFailure("a recipe lies in a segment") }
        let blob = ChunkedBlob(id, try readRecipe(id, at: place), of: self)
        var hasher = Digest.Hasher(.sha256)
        var isWhole = true
        for index in 0..<blob.recipe.count {
            if isOnDiskOnly, try isAway(chunk: blob.recipe[index].chunk) {
                isWhole = false
                continue
            }
            let chunk = try blob.read(blob.recipe[index], isStored: true)
            chunk.withUnsafeReadableBytes { unsafe hasher.update($0) }
            try pause(chunk.readableBytes)
        }
        guard blob.recipe.archive == nil else {
            guard isWhole, isRebuilding else { return }
            let made = try BlobStore.digest(of: blob.recipe, pause: pause) { piece throws(RegistryError) in try blob.read(piece, isStored: true) }
            guard made == id else { throw BlobStore.corrupt(id, "what its chunks make is another archive") }
            return
        }
        guard !isWhole || BlobID(hasher.finish()) == id else { throw BlobStore.corrupt(id, "its chunks are not what it was made of") }
    }
}
