public import Core
import Logging
import NIOCore
import OrderedStore
import Synchronization

// Cutting one blob into chunks. What is there already is not written again; what is new is compressed where that makes it shorter.
//
// Order of writes: the records of the chunks and the recipe, synced; the whole blob read back from them and checked by its SHA-256; the rows of
// the chunks; the blob's row, from its old place to the recipe; the old file. A crash before the blob's row leaves records and rows of chunks
// that no recipe names, which the sweep frees; one after it a file that no row names, which it frees as well. The blob is readable throughout.

/// What became of a blob that was looked at.
public enum Chunking: Sendable, Hashable {
    case cut(newBytes: Int64)
    /// It would not have saved enough: noted, so that nobody looks again.
    case keptWhole
    /// Too short, of a kind that never gains, gone, or in chunks already.
    case passedOver
}

extension BlobStore {
    /// In hundredths of the blob: what must be saved.
    private static let savedPercentMin: Int64 = 10
    /// So much is read, or written, at a time.
    private static let stepBytes = 8 << 20
    /// Rows of one batch.
    private static let stepRows = 512
    /// Of the chunks that are new one in so many is compressed to see what that will give.
    private static let sampleEvery = 4

    /// Looks at the blob, and keeps it in chunks if that saves a tenth. Bytes come and go no faster than the pace.
    /// - Throws: `corrupt` when it is damaged, `noSpace`; it stays as it was then.
    public func cut(_ id: BlobID, as profile: ChunkProfile, pace: Pace) async throws(RegistryError) -> Chunking {
        await chunkTurn.begin()
        defer { chunkTurn.end() }
        guard let location = try await location(of: id), location.isWhole, location.length >= profile.blobBytesMin, !hasLeft(id, location) else {
            return .passedOver
        }
        let (chunking, hadFile) = try await cutHeld(id, profile, pace)
        if hadFile { try await removeOldFile(of: id) }
        return chunking
    }

    /// - Parameter isForced: whatever that saves, for the sake of another blob.
    private func cutHeld(
        _ id: BlobID, _ profile: ChunkProfile, _ pace: Pace, isForced: Bool = false
    ) async throws(RegistryError) -> (Chunking, hadFile: Bool) {
        // Held: the sweep leaves it alone. Compaction may still move it.
        guard let staged = try await staged(id) else { return (.passedOver, false) }
        defer { withExtendedLifetime(staged) {} }
        let content = try staged.content()
        guard try await chunkPool.run({ () throws(RegistryError) in try Chunkable.isWorthLooking(content) }) else {
            return (try await keepWhole(id, (ChunkIndex.key(ofNote: id), ChunkIndex.note(profile)), samples: []), false)
        }
        return try await keepOrWrite(id, content, try await plan(content, profile, pace), pace, isForced: isForced)
    }

    private func keepOrWrite(
        _ id: BlobID, _ content: BlobContent, _ first: CutPlan, _ pace: Pace, isForced: Bool, sparing reads: ReadMarks.Taken? = nil
    ) async throws(RegistryError) -> (Chunking, hadFile: Bool) {
        var plan = first
        plan.kin[id] = nil
        if !isForced, !plan.isWorthIt(savingPercent: BlobStore.savedPercentMin), let kin = plan.kin(savingPercent: BlobStore.savedPercentMin) {
            // It is like one that had nobody to share with when it came.
            if reads?.contains(kin) == true { return (try await lookLater(at: id), false) }
            try await takeKin(kin, plan.profile, pace)
            plan = try await self.plan(content, plan.profile, pace, archive: plan.archive)
        }
        guard isForced || plan.isWorthIt(savingPercent: BlobStore.savedPercentMin) else { return (try await keepWhole(id, plan), false) }
        try checkSpace(for: plan.estimatedBytes)
        return try await write(id, content, plan, pace, isForced: isForced)
    }

    /// The archive's opened form is kept in chunks instead of it, if that saves a tenth of the archive.
    /// - Parameter reads: one that is in there is not opened because this one is like it.
    func keepOpened(
        _ id: BlobID, _ opened: OpenedArchive, _ pace: Pace, isForced: Bool = false, sparing reads: ReadMarks.Taken? = nil
    ) async throws(RegistryError) -> (Chunking, hadFile: Bool) {
        let plan = try await plan(opened.content, .general, pace, archive: opened.form)
        return try await keepOrWrite(id, opened.content, plan, pace, isForced: isForced, sparing: reads)
    }

    private func takeKin(_ id: BlobID, _ profile: ChunkProfile, _ pace: Pace) async throws(RegistryError) {
        guard let location = try await location(of: id), location.isWhole, !hasLeft(id, location) else { return }
        do throws(RegistryError) {
            let hadFile =
                if let opened = try await openedForm(of: id, pace) {
                    try await keepOpened(id, opened, pace, isForced: true).hadFile
                } else {
                    try await cutHeld(id, profile, pace, isForced: true).hadFile
                }
            if hadFile { try await removeOldFile(of: id) }
        } catch {
            guard error.code == .corrupt else { throw error }
            log.warning("a blob that another is like is damaged, and is not cut", metadata: ["blob": "\(id)", "error": "\(error)"])
        }
    }

    private func keepWhole(_ id: BlobID, _ plan: CutPlan) async throws(RegistryError) -> Chunking {
        let note =
            plan.archive == nil
            ? (ChunkIndex.key(ofNote: id), ChunkIndex.note(plan.profile)) : (ChunkIndex.key(ofArchive: id), ArchiveWatch.closed.encoded)
        return try await keepWhole(id, note, samples: plan.samples)
    }

    private func keepWhole(_ id: BlobID, _ note: (key: [UInt8], row: [UInt8]), samples: [BlobID]) async throws(RegistryError) -> Chunking {
        try await index.commit { batch throws(RegistryError) in
            batch.put(note.key, note.row, in: .chunks)
            for sample in samples { batch.put(ChunkIndex.key(ofKinship: sample), ChunkIndex.kin(id), in: .chunks) }
        }
        return .keptWhole
    }

    // MARK: Planning

    /// Where the blob is cut, and what of it is there.
    struct CutPlan: Sendable {
        let profile: ChunkProfile
        /// Of what is cut: the blob, or its opened form.
        let length: Int64
        let archive: ArchiveForm?
        var chunks: [(id: BlobID, length: Int)] = []
        var known: Set<BlobID> = []
        var new: Set<BlobID> = []
        var newBytes: Int64 = 0
        var sampled: Int64 = 0
        var sampledStored: Int64 = 0
        /// New chunks that tell of kinship, at most so many; and how much of that is known of blobs that were left whole.
        var samples: [BlobID] = []
        var kin: [BlobID: Int64] = [:]

        static let samplesMax = 4096

        /// The blob it has most in common with, as far as samples tell, if two such blobs in chunks save so much of both.
        func kin(savingPercent: Int64) -> BlobID? {
            guard length > 0, let most = kin.max(by: { ($0.value, $0.key) < ($1.value, $1.key) }) else { return nil }
            let common = min(1, Double(most.value) * Double(ChunkIndex.kinshipEvery) / Double(length))
            return Double(estimatedBytes) * (2 - common) <= Double(blobBytes) * 2 * Double(100 - savingPercent) / 100 ? most.key : nil
        }

        var blobBytes: Int64 { archive?.length ?? length }
        var recipeBytes: Int64 { Recipe.encodedBytes(count: chunks.count, archive: archive) }
        var level: Int32 { archive == nil ? Zstd.level : Zstd.slowLevel }

        var estimatedBytes: Int64 {
            let ratio = sampled == 0 ? 1 : Double(sampledStored) / Double(sampled)
            return Int64(Double(newBytes) * ratio) + recipeBytes + Int64(new.count * RecordHeader.bytes)
        }

        func isWorthIt(savingPercent: Int64) -> Bool { estimatedBytes <= blobBytes / 100 * (100 - savingPercent) }
    }

    private func plan(
        _ content: BlobContent, _ profile: ChunkProfile, _ pace: Pace, archive: ArchiveForm? = nil
    ) async throws(RegistryError) -> CutPlan {
        var plan = CutPlan(profile: profile, length: content.length, archive: archive)
        var done: Int64 = 0
        while done < content.length {
            try BlobStore.checkCancelled()
            let began = world.monotonicNanoseconds()
            let (before, start) = (plan, done)
            (plan, done) = try await chunkPool.run { [self] () throws(RegistryError) in try extended(before, content, from: start) }
            await pace.pause(after: done - start, since: began)
        }
        return plan
    }

    /// The plan with another step of the blob in it, and how far it reaches.
    private func extended(_ before: CutPlan, _ content: BlobContent, from start: Int64) throws(RegistryError) -> (CutPlan, Int64) {
        var plan = before
        let cdc = plan.profile.cdc
        let step = try content.bytes(at: start, count: Int(min(Int64(BlobStore.stepBytes), content.length - start)))
        let isLast = start + Int64(step.count) == content.length
        guard isLast || step.count > cdc.maxBytes else { throw RegistryError(.corrupt, subject: .store, reason: "a stored blob ends too early") }
        let used = try step.withUnsafeBytes { bytes in
            Result { () throws(RegistryError) -> Int in
                var at = 0
                while isLast ? at < bytes.count : bytes.count - at >= cdc.maxBytes {
                    let length = unsafe cdc.cut(UnsafeRawBufferPointer(rebasing: bytes[at...]))
                    try unsafe add(UnsafeRawBufferPointer(rebasing: bytes[at..<at + length]), to: &plan)
                    at += length
                }
                return at
            }
        }.get()
        return (plan, start + Int64(used))
    }

    private func add(_ chunk: UnsafeRawBufferPointer, to plan: inout CutPlan) throws(RegistryError) {
        var hasher = Digest.Hasher(.sha256)
        unsafe hasher.update(chunk)
        guard let id = BlobID(hasher.finish()) else { preconditionFailure("a blob is named by its SHA-256") }
        plan.chunks.append((id, chunk.count))
        guard !plan.known.contains(id), !plan.new.contains(id) else { return }
        if try index.get(ChunkIndex.key(ofChunk: id), in: .chunks) != nil {
            plan.known.insert(id)
            return
        }
        if plan.new.count % BlobStore.sampleEvery == 0 {
            plan.sampled += Int64(chunk.count)
            plan.sampledStored += Int64(try unsafe ChunkRecord.encode(chunk, level: plan.level).readableBytes)
        }
        plan.new.insert(id)
        plan.newBytes += Int64(chunk.count)
        guard ChunkIndex.isSampled(id), plan.samples.count < CutPlan.samplesMax else { return }
        plan.samples.append(id)
        if let row = try index.get(ChunkIndex.key(ofKinship: id), in: .chunks) { plan.kin[try ChunkIndex.kin(row), default: 0] += Int64(chunk.count) }
    }

    // MARK: Writing

    /// A record that is written and not yet named.
    private struct Written: Sendable {
        let entry: SegmentEntry
        let segment: Segment

        var place: BlobLocation.RecordPlace {
            BlobLocation.RecordPlace(segment: segment.number, offset: entry.offset, length: entry.length)
        }
    }

    private func write(
        _ id: BlobID, _ content: BlobContent, _ plan: CutPlan, _ pace: Pace, isForced: Bool
    ) async throws(RegistryError) -> (Chunking, hadFile: Bool) {
        var written: [BlobID: Written] = [:]
        let recipe: Written
        do throws(RegistryError) {
            var wanted = plan.new
            repeat {
                try await write(wanted, content, plan, pace, &written)
                // What was found there may prove damaged: then it is written, too, and every blob that names it is healed.
                wanted = try await unreadable(id, plan, written, pace)
                guard wanted.isDisjoint(with: written.keys) else { throw BlobStore.corrupt(id, "its chunks do not read as they were written") }
            } while !wanted.isEmpty
            let bytes = written.values.reduce(0) { $0 + RecordHeader.footprint(length: $1.entry.length) }
            let isWorthIt = bytes + RecordHeader.footprint(length: plan.recipeBytes) <= plan.blobBytes / 100 * (100 - BlobStore.savedPercentMin)
            guard isForced || isWorthIt else {
                for each in written.values { segments.discard(each.entry, in: each.segment) }
                return (try await keepWhole(id, plan), false)
            }
            recipe = try await writeRecipe(id, plan, written)
        } catch {
            for each in written.values { segments.discard(each.entry, in: each.segment) }
            throw error
        }
        return try await name(id, recipe, written, plan.blobBytes)
    }

    /// Writes those of the chunks that are wanted. Whatever happens, `written` is what was.
    private func write(
        _ wanted: Set<BlobID>, _ content: BlobContent, _ plan: CutPlan, _ pace: Pace, _ written: inout [BlobID: Written]
    ) async throws(RegistryError) {
        for step in BlobStore.steps(of: plan) {
            try BlobStore.checkCancelled()
            let began = world.monotonicNanoseconds()
            let missing = plan.chunks[step.chunks].contains { wanted.contains($0.id) }
            guard missing else { continue }
            let known = Set(written.keys)
            let (more, failure) = try await chunkPool.run { [self] () throws(RegistryError) in
                var more: [BlobID: Written] = [:]
                do throws(RegistryError) {
                    let bytes = try content.bytes(at: step.start, count: step.length)
                    guard bytes.count == step.length else { throw BinaryReader.damaged }
                    var at = 0
                    for chunk in plan.chunks[step.chunks] {
                        defer { at += chunk.length }
                        guard wanted.contains(chunk.id), !known.contains(chunk.id), more[chunk.id] == nil else { continue }
                        more[chunk.id] = try append(chunk.id, bytes[at..<at + chunk.length], level: plan.level)
                    }
                    for segment in Set(more.values.map { ObjectIdentifier($0.segment) }) {
                        try more.values.first { ObjectIdentifier($0.segment) == segment }?.segment.writeOut()
                    }
                    return (more, RegistryError?.none)
                } catch {
                    return (more, error)
                }
            }
            written.merge(more) { first, _ in first }
            if let failure { throw failure }
            await pace.pause(after: Int64(step.length), since: began)
        }
    }

    private func append(_ id: BlobID, _ chunk: ArraySlice<UInt8>, level: Int32) throws(RegistryError) -> Written {
        let record = try chunk.withUnsafeBytes { bytes in
            Result { () throws(RegistryError) in try unsafe ChunkRecord.encode(bytes, level: level) }
        }.get()
        return try append(.chunk, id, record)
    }

    private func append(_ kind: RecordHeader.Kind, _ id: BlobID, _ record: ByteBuffer) throws(RegistryError) -> Written {
        let table = record.withUnsafeReadableBytes { unsafe SliceChecksums.table(of: $0) }
        let (segment, offset) = try segments.append(kind, id, record, table: table, for: kind == .recipe ? .recipes : .chunks)
        return Written(entry: SegmentEntry(kind, id: id, offset: offset, length: Int64(record.readableBytes)), segment: segment)
    }

    private struct Step {
        let chunks: Range<Int>
        let start: Int64
        let length: Int
    }

    private static func steps(of plan: CutPlan) -> [Step] {
        var steps: [Step] = []
        var (first, start, length) = (0, Int64(0), 0)
        for (index, chunk) in plan.chunks.enumerated() {
            length += chunk.length
            guard length >= stepBytes || index == plan.chunks.count - 1 else { continue }
            steps.append(Step(chunks: first..<index + 1, start: start, length: length))
            (first, start, length) = (index + 1, start + Int64(length), 0)
        }
        return steps
    }

    /// Reads the blob back as readers will, and hashes it.
    /// - Returns: the chunks that are missing or damaged.
    private func unreadable(
        _ id: BlobID, _ plan: CutPlan, _ written: [BlobID: Written], _ pace: Pace
    ) async throws(RegistryError) -> Set<BlobID> {
        let places = written.mapValues(\.place)
        var hasher = Digest.Hasher(.sha256)
        var unreadable: Set<BlobID> = []
        for step in BlobStore.steps(of: plan) {
            try BlobStore.checkCancelled()
            let began = world.monotonicNanoseconds()
            let before = hasher
            let (after, found) = try await chunkPool.run { [self] () throws(RegistryError) in
                var hasher = before
                var found: Set<BlobID> = []
                for chunk in plan.chunks[step.chunks] {
                    do throws(RegistryError) {
                        // Not from the cache: what matters is what the disk has.
                        let bytes: ByteBuffer
                        if let place = places[chunk.id] {
                            bytes = try readChunk(chunk.id, at: place)
                        } else {
                            bytes = try readStoredChunk(chunk.id)
                        }
                        bytes.withUnsafeReadableBytes { unsafe hasher.update($0) }
                    } catch {
                        guard error.code == .corrupt else { throw error }
                        found.insert(chunk.id)
                    }
                }
                return (hasher, found)
            }
            hasher = after
            unreadable.formUnion(found)
            await pace.pause(after: Int64(step.length), since: began)
        }
        if unreadable.isEmpty, plan.archive != nil {
            try await proveArchive(id, Recipe(plan.profile, plan.chunks, archive: plan.archive), places, pace)
            return []
        }
        guard !unreadable.isEmpty || BlobID(hasher.finish()) == id else { throw BlobStore.corrupt(id, "its chunks are not what it was made of") }
        return unreadable
    }

    /// Everything is on disk afterwards.
    private func writeRecipe(_ id: BlobID, _ plan: CutPlan, _ written: [BlobID: Written]) async throws(RegistryError) -> Written {
        try await chunkPool.run { [self] () throws(RegistryError) in
            let recipe = try append(.recipe, id, ByteBuffer(bytes: Recipe(plan.profile, plan.chunks, archive: plan.archive).encoded))
            do throws(RegistryError) {
                var synced: Set<UInt64> = []
                // Here, and not by the committer: nobody's upload waits for these bytes.
                for segment in written.values.map(\.segment) + [recipe.segment] where synced.insert(segment.number).inserted {
                    try segment.synchronize()
                }
            } catch {
                segments.discard(recipe.entry, in: recipe.segment)
                throw error
            }
            return recipe
        }
    }

    // MARK: Naming

    /// The rows: first of the chunks, then of the blob, if it still lies whole somewhere.
    private func name(
        _ id: BlobID, _ recipe: Written, _ written: [BlobID: Written], _ length: Int64
    ) async throws(RegistryError) -> (Chunking, hadFile: Bool) {
        var unnamed = written
        do throws(RegistryError) {
            let all = Array(written.values)
            for start in stride(from: 0, to: all.count, by: BlobStore.stepRows) {
                let step = Array(all[start..<min(start + BlobStore.stepRows, all.count)])
                try await index.commit { batch throws(RegistryError) in
                    for each in step { batch.put(ChunkIndex.key(ofChunk: each.entry.id), ChunkIndex.row(each.place), in: .chunks) }
                }
                for each in step {
                    segments.settle(each.segment)
                    unnamed[each.entry.id] = nil
                }
            }
            let row = BlobLocation(.recipe(recipe.segment.number, offset: recipe.entry.offset, bytes: recipe.entry.length), length: length)
            let old = try await index.commit { batch throws(RegistryError) -> BlobLocation? in
                guard let old = try batch.get(id.bytes, in: .blobLocations) else { return nil }
                let location = try BlobLocation(old)
                guard location.isWhole, location.length == length else { return nil }
                batch.put(id.bytes, row.encoded, in: .blobLocations)
                return location
            }
            guard let old else {
                throw RegistryError(.conflict, subject: .blob(id.description), reason: "the blob was removed while it was cut into chunks")
            }
            segments.settle(recipe.segment)
            verified.insert(id)
            return (.cut(newBytes: written.values.reduce(recipe.entry.length) { $0 + $1.entry.length }), old.place == .ownFile)
        } catch {
            mayHaveDeadChunks.store(true, ordering: .relaxed)
            for each in unnamed.values { segments.discard(each.entry, in: each.segment) }
            segments.discard(recipe.entry, in: recipe.segment)
            throw error
        }
    }

    /// The blob's row names its recipe. Who reads the file keeps its descriptor; whose staged bytes are in it keeps it for the sweep to remove.
    func removeOldFile(of id: BlobID) async throws(RegistryError) {
        guard leases.condemn(id) else { return }
        defer { leases.absolve(id) }
        try await chunkPool.run { [self] () throws(RegistryError) in
            guard let row = try index.get(id.bytes, in: .blobLocations), try !BlobLocation(row).isWhole else { return }
            try Disk.remove(blobs.path(of: id))
            openFiles.forget(.ownFile(id))
        }
    }

    private static func checkCancelled() throws(RegistryError) {
        if Task.isCancelled { throw RegistryError(.unavailable, subject: .store, reason: "the work was interrupted; it goes on later") }
    }
}

/// What kinds of bytes may gain by being cut: everything but archives and pictures that are compressed as a whole, of which two that differ in
/// little have nothing in common.
enum Chunkable {
    private static let compressed: [[UInt8]] = [
        [0x1F, 0x8B],  // gzip
        Array("PK".utf8) + [3, 4], Array("PK".utf8) + [5, 6],  // zip: wheels, jars
        [0xFD] + Array("7zXZ".utf8) + [0], Array("BZh".utf8), Array("LZIP".utf8), [0x5D, 0, 0],  // xz, bzip2, lzip, lzma
        [0x04, 0x22, 0x4D, 0x18],  // lz4
        Array("7z".utf8) + [0xBC, 0xAF], Array("Rar!".utf8),
        Array("!<arch>\ndebian-binary".utf8), [0xED, 0xAB, 0xEE, 0xDB],  // deb, rpm
        [0x89] + Array("PNG".utf8), [0xFF, 0xD8, 0xFF], Array("GIF8".utf8),
    ]

    static func isWorthLooking(_ content: BlobContent) throws(RegistryError) -> Bool {
        let head = try content.bytes(at: 0, count: 32)
        return !compressed.contains { head.starts(with: $0) }
    }
}
