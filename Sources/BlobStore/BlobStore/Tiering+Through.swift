import Core
import Logging
import NIOCore
import OrderedStore
import Synchronization

// Write-through: what is acknowledged is in the tier. Bytes go there when they have their place here, before a change names them, so a tier that
// takes nothing refuses uploads and nothing else. Large blobs go as they will lie there for good; small ones in groups (parts), which are removed
// when the segment they belong to has been copied. Bytes whose change fails are in the tier for nothing: the sweep deletes them.

extension Tiering {
    /// Returns when the tier has the bytes. Without write-through, at once.
    /// - Throws: `unavailable` when the tier does not take them.
    func secure(_ placement: Placement, of store: BlobStore) async throws(RegistryError) {
        guard options.policy == .writeThrough, !placement.isSecured else { return }
        try checkOwnership()
        do throws(RegistryError) {
            switch placement.home {
            case .segment(let segment, let offset, let bytes):
                let record =
                    bytes.map { SmallSegment.Record(placement.id, $0, segment: segment.number) }
                    ?? SmallSegment.Record(placement.id, length: placement.size, at: offset, in: segment.file)
                try await put(record, of: segment.number)
                state.withLock { state in
                    if state.securedFrom[segment.number] == nil { state.securedFrom[segment.number] = segment.recoveredEnd }
                }
            case .ownFile(let own): try await secure(own.id, in: own.file, length: own.length)
            case .stored: try await secureStored(placement.id, of: store)
            }
        } catch {
            throw Tiering.untaken(error)
        }
        placement.markSecured()
    }

    private static func untaken(_ error: RegistryError) -> RegistryError {
        guard error.code == .upstreamFailed else { return error }
        return RegistryError(
            .unavailable, subject: .store, reason: "the tier does not take bytes now, so nothing is stored; try again", cause: "\(error)",
            retryAfterSeconds: error.retryAfterSeconds ?? 30)
    }

    private func put(_ record: SmallSegment.Record, of segment: UInt64) async throws(RegistryError) {
        try await groups.put(record, of: segment) { group async throws(RegistryError) in try await putPart(group) }
    }

    /// The object of one group.
    private func putPart(_ group: GroupPuts.Group) async throws(RegistryError) {
        let name = TierName.part(of: group.segment, id: world.newID())
        let object = SmallSegment(number: group.segment, created: world.now(), group.records)
        // Known before it is there: whatever becomes of it, it is looked at again.
        state.withLock { state in _ = state.parts[group.segment, default: []].insert(name) }
        try await tier.put(name, object)
        state.withLock { state in
            _ = state.parts[group.segment, default: []].insert(name)
            state.statistics.parts += 1
            state.statistics.partBytes += UInt64(object.size)
        }
    }

    private func secure(_ id: BlobID, in file: OpenFile, length: Int64) async throws(RegistryError) {
        let name = Name.ownFile(id)
        await claimInTurn(name)
        defer { release(name) }
        guard state.withLock({ !$0.isSound(name) }) else { return }
        let fileBytes = OwnFile.fileBytes(length: length)
        try await writeRow(name, .arriving, length: fileBytes)
        try await put(id, file, length, fileBytes)
        try await writeRow(name, .present, length: fileBytes)
        let now = world.now()
        state.withLock { state in
            // Here, too, as soon as it is named: nobody is to fetch what just came.
            state.local[name] = LocalFile(bytes: fileBytes, lastUse: now)
            state.present[name] = fileBytes
            state.unsound.remove(name)
            state.statistics.copiedFiles += 1
            state.statistics.copiedBytes += UInt64(fileBytes)
        }
    }

    /// Nobody named it: the file is gone again.
    func noteAbandoned(_ id: BlobID) { state.withLock { _ = $0.local.removeValue(forKey: .ownFile(id)) } }

    func put(_ id: BlobID, _ file: OpenFile, _ length: Int64, _ fileBytes: Int64) async throws(RegistryError) {
        func part(_ from: Int64, _ count: Int64) -> BlobContent { BlobContent(.extents([Extent(file: file, offset: from, length: count)])) }
        try await tier.put(.end(id), part(length, fileBytes - length))
        try await tier.put(.blob(id), part(0, length))
    }

    // MARK: What was stored before

    /// A blob that an earlier change named. Under this policy the tier has it; but it may have come under another.
    private func secureStored(_ id: BlobID, of store: BlobStore) async throws(RegistryError) {
        guard let location = try await store.location(of: id) else { return }
        switch location.place {
        case .ownFile: try await secureFile(.ownFile(id))
        case .segment(let number, let offset):
            let isSecured = state.withLock { state in
                state.isSound(.segment(number)) || state.securedFrom[number].map { $0 <= offset } ?? false
            }
            guard !isSecured else { return }
            let path = path(.segment(number))
            guard let file = try await pool.run({ () throws(RegistryError) in try Disk.openExisting(path) }) else {
                throw RegistryError(.unavailable, subject: .store, reason: "the blob is just being moved; try again", retryAfterSeconds: 1)
            }
            try await put(SmallSegment.Record(id, length: location.length, at: offset, in: file), of: number)
        case .recipe(let number, _, _): try await secureChunks(of: id, number, location, store)
        }
    }

    private func secureFile(_ name: Name) async throws(RegistryError) {
        guard state.withLock({ !$0.isSound(name) }) else { return }
        await claimInTurn(name)
        defer { release(name) }
        guard state.withLock({ !$0.isSound(name) }) else { return }
        try await copyClaimed(name)
        guard state.withLock({ $0.isSound(name) }) else {
            throw RegistryError(
                .unavailable, subject: .store, reason: "the stored bytes cannot be copied to the tier; try again", retryAfterSeconds: 30)
        }
    }

    /// Copies the segments that hold its recipe and its chunks, unless the tier still has the whole blob.
    private func secureChunks(of id: BlobID, _ number: UInt64, _ location: BlobLocation, _ store: BlobStore) async throws(RegistryError) {
        guard state.withLock({ !$0.isSound(.ownFile(id)) }) else { return }
        var numbers = try await store.pool.run { () throws(RegistryError) in
            let recipe = try store.chunked(id, at: location).recipe
            var numbers: Set<UInt64> = []
            for index in 0..<recipe.count {
                guard let row = try store.index.get(ChunkIndex.key(ofChunk: recipe[index].chunk), in: .chunks) else { continue }
                numbers.insert(try ChunkIndex.place(row).segment)
            }
            return numbers
        }
        numbers.insert(number)
        let missing = state.withLock { state in numbers.filter { !state.isSound(.segment($0)) } }
        guard !missing.isEmpty else { return }
        try await pool.run { [self] () throws(RegistryError) in
            for purpose in [Segments.Purpose.chunks, .recipes] { segments.retire(purpose) }
        }
        // Behind whatever is to be sealed.
        try await segments.sealing.run { () throws(RegistryError) in }
        let sealed = Set(try await pool.run { [segments] () throws(RegistryError) in try segments.sealedNumbers() })
        for number in missing.sorted() {
            guard sealed.contains(number) else {
                throw RegistryError(.unavailable, subject: .store, reason: "the blob is just being moved; try again", retryAfterSeconds: 5)
            }
            try await secureFile(.segment(number))
        }
    }

    // MARK: Parts

    /// What the tier has of segments that were not copied. Of those that are not here either (the disk was lost), the blobs are stored anew.
    func findParts(of store: BlobStore) async throws(RegistryError) {
        guard state.withLock({ !$0.knowsParts }) else { return }
        var found: [UInt64: Set<TierName>] = [:]
        var page: String?
        repeat {
            let list = try await tier.list(.parts, page: page)
            page = list.next
            for object in list.objects { if case .part(let segment, _) = object.name { found[segment, default: []].insert(object.name) } }
        } while page != nil
        for (segment, names) in found {
            segments.skipNumbers(upTo: segment)
            state.withLock { state in state.parts[segment, default: []].formUnion(names) }
        }
        for (segment, names) in found.sorted(by: { $0.key < $1.key }) {
            guard try await isNowhere(segment) else { continue }
            for name in names.sorted(by: { $0.description < $1.description }) {
                guard let count = try await store.takeIn(name, try await temporaryFile(of: name), segment) else {
                    // Kept, for whoever can do more with it.
                    state.withLock { state in _ = state.parts[segment]?.remove(name) }
                    continue
                }
                log.notice("blobs of a segment that is lost are stored anew", metadata: ["segment": "\(segment)", "blobs": "\(count)"])
            }
        }
        try await tookParts()
        state.withLock { $0.knowsParts = true }
    }

    /// Removes the parts that nothing needs: their segment has been copied, or was swept and what lived in it has been copied.
    func removeParts() async throws(RegistryError) {
        let now = world.now()
        for (segment, names) in state.withLock({ $0.parts }) {
            if state.withLock({ !$0.isSound(.segment(segment)) }) {
                guard try await isNowhere(segment) else { continue }
                let since = state.withLock { state in
                    let since = state.swept[segment] ?? now
                    state.swept[segment] = since
                    return since
                }
                guard try await hasCopied(allMadeUpTo: since) else { continue }
            }
            for name in names { try await remove(part: name, of: segment) }
            state.withLock { state in
                state.swept[segment] = nil
                state.securedFrom[segment] = nil
            }
        }
    }

    private func remove(part name: TierName, of segment: UInt64) async throws(RegistryError) {
        try await tier.remove(name)
        state.withLock { state in
            state.parts[segment]?.remove(name)
            if state.parts[segment]?.isEmpty ?? false { state.parts[segment] = nil }
        }
    }

    private func isNowhere(_ segment: UInt64) async throws(RegistryError) -> Bool {
        guard state.withLock({ $0.present[.segment(segment)] == nil }) else { return false }
        let path = path(.segment(segment))
        return try await pool.run { () throws(RegistryError) in try Disk.openExisting(path) == nil }
    }

    /// Whether the tier has all segments begun until then. Until it has, nothing that was moved out of another may be deleted there: the copy in
    /// the tier might be the only one that a lost disk leaves.
    func hasCopied(allMadeUpTo time: Timestamp) async throws(RegistryError) -> Bool {
        guard options.policy != .coldOnly else { return true }
        let waiting = try await pool.run { [self] () throws(RegistryError) in
            let numbers = try Segments.numbers(in: segments.directory)
            // One that is damaged there and here is waited for in vain.
            let missing = state.withLock { state in
                numbers.map { Name.segment($0) }.filter { !state.isSound($0) && !(state.present[$0] != nil && state.refused.contains($0)) }
            }
            for case .segment(let number) in missing {
                guard let file = try Disk.openExisting(segments.path(number)) else { continue }
                let header = SegmentHeader(try Disk.read(file, at: 0, count: SegmentHeader.bytes))
                if let header, header.created > time { continue }
                // One that was begun and has nothing is never sealed.
                if try SegmentWalk.usedEnd(of: file) > Int64(SegmentHeader.bytes) { return true }
            }
            return false
        }
        return !waiting
    }
}

extension BlobStore {
    /// Stores the blobs of a part anew, each checked by its SHA-256; those that are stored already stay where they are.
    /// - Returns: how many there were; nil when one of them is damaged.
    fileprivate func takeIn(_ part: TierName, _ file: OpenFile, _ number: UInt64) async throws(RegistryError) -> Int? {
        var isWhole = true
        let entries = try await pool.run { () throws(RegistryError) in
            if let entries = try SegmentIndex.entries(of: file, number: number) { return entries }
            var entries: [SegmentEntry] = []
            try SegmentWalk.records(of: file, number: number, upTo: try Disk.status(of: file).size) { entries.append($0.entry) }
            return entries
        }
        for entry in entries where entry.kind == .blob {
            let staging = try stage(expectedLength: entry.length, digests: .sha256)
            try await pool.run { () throws(RegistryError) in
                var done: Int64 = 0
                while done < entry.length {
                    let count = Int(min(Int64(SliceChecksums.sliceBytes), entry.length - done))
                    let slice = try Disk.read(file, at: entry.offset + Int64(RecordHeader.bytes) + done, count: count)
                    guard !slice.isEmpty else { throw Tiering.damaged("a part in the tier ends too early") }
                    try staging.write(ByteBuffer(bytes: slice))
                    done += Int64(slice.count)
                }
            }
            let staged = try await staging.finish()
            guard staged.id == entry.id else {
                log.error("a blob in the tier is damaged", metadata: ["blob": "\(entry.id)", "part": "\(part)"])
                isWhole = false
                continue
            }
            guard let row = staged.location else { continue }
            let (key, value) = (row.key, row.value)
            try await index.commit(files: staged.unsynced) { batch in batch.put(key, value, in: .blobLocations) }
            staged.didCommit()
        }
        return isWhole ? entries.count : nil
    }
}
