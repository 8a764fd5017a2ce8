public import Core
import OrderedStore

// Looking for damage, piece by piece, so that who drives it can go on where it was. Nothing here writes, except `relocate`.

/// What one page of the location index gave.
public struct CheckedPage: Sendable {
    public var findings: [Finding] = []
    /// Where to go on; nil at the end.
    public var last: BlobID?
    public var blobs: [BlobID] = []
    /// Blobs that were read, and their bytes.
    public var readBlobs = 0
    public var readBytes: Int64 = 0
    /// To be looked for elsewhere on the disk.
    public var damaged: Set<BlobID> = []
}

extension BlobStore {
    // MARK: Index

    /// Reads every row of the index, those of others included.
    /// - Throws: `corrupt` when one cannot be read.
    public func checkIndex() async throws(RegistryError) {
        try await pool.run { [index] () throws(RegistryError) in try index.readAll() }
    }

    // MARK: Files

    /// Numbers of all segments, in order.
    public func segmentNumbers() async throws(RegistryError) -> [UInt64] {
        try await pool.run { [segments] () throws(RegistryError) in try Segments.numbers(in: segments.directory) }
    }

    /// The segment's header, the chain of its records, and its index: by headers alone.
    public func check(segment number: UInt64) async throws(RegistryError) -> [Finding] {
        try await pool.run { [self] () throws(RegistryError) in
            guard let file = try Disk.openExisting(segments.path(number)) else { return [] }
            return try BlobStore.check(file, number)
        }
    }

    private static func check(_ file: OpenFile, _ number: UInt64) throws(RegistryError) -> [Finding] {
        let place = "segment \(number)"
        var findings: [Finding] = []
        let header = try Disk.read(file, at: 0, count: SegmentHeader.bytes)
        let isEmpty = try SegmentWalk.usedEnd(of: file) <= Int64(SegmentHeader.bytes)
        if SegmentHeader(header) == nil, isEmpty || SegmentHeader.isUnwritten(header) {
            findings.append(Finding(.tornTail, place: place, "its header never reached the disk; the next start writes it"))
        } else if SegmentHeader(header)?.number != number {
            findings.append(Finding(.segmentHeader, place: place, "its header is damaged; records are found without it"))
        }
        let size = try Disk.status(of: file).size
        let isSealed = try SegmentIndex.trailer(of: file, number: number) != nil
        let end = try isSealed ? size - Int64(SegmentTrailer.bytes) : SegmentWalk.usedEnd(of: file)
        var expected = Int64(SegmentHeader.bytes)
        var hasIndex = false
        let lastEnd = try SegmentWalk.records(of: file, number: number, upTo: end) { record in
            if record.offset > expected {
                findings.append(Finding(.segmentGap, place: place, "no record from \(expected) to \(record.offset)"))
            }
            expected = record.offset + record.header.footprint
            if record.header.kind == .index { hasIndex = true }
        }
        if isSealed {
            if try SegmentIndex.entries(of: file, number: number) == nil {
                findings.append(Finding(.segmentIndex, place: place, "its index is damaged"))
            }
        } else if hasIndex {
            // Cutting off what was allocated behind the trailer is the last step of sealing.
            let trailerEnd = expected + Int64(SegmentTrailer.bytes)
            let isUnfinished = size > trailerEnd && end <= trailerEnd
            findings.append(
                isUnfinished
                    ? Finding(.tornTail, place: place, "it was being sealed")
                    : Finding(.segmentIndex, place: place, "it was sealed, and its end is damaged"))
        } else if lastEnd < end {
            findings.append(Finding(.tornTail, place: place, "unfinished from \(lastEnd) to \(end)"))
        }
        return findings
    }

    /// Files among the own files that are none, or that no row names.
    public func check(shard: String) async throws(RegistryError) -> [Finding] {
        try await pool.run { [self] () throws(RegistryError) in
            var findings: [Finding] = []
            for name in try Disk.names(in: "\(blobs.path)/\(shard)") {
                let place = "blobs/\(shard)/\(name)"
                let isLeftover = name.hasSuffix(BlobDirectory.replacementSuffix)
                let hex = isLeftover ? String(name.dropLast(BlobDirectory.replacementSuffix.utf8.count)) : name
                guard let id = Hex.decode(hex).flatMap({ BlobID(bytes: $0) }), id.hex == hex, BlobDirectory.shard(of: id) == shard else {
                    findings.append(Finding(.unknownFile, place: place, "no file of a blob has such a name here"))
                    continue
                }
                if isLeftover {
                    findings.append(Finding(.orphan, blob: id, place: place, "left of replacing a damaged file"))
                } else if try !hasOwnFileRow(id) {
                    findings.append(Finding(.orphan, blob: id, place: place, "no location points to it"))
                }
            }
            return findings
        }
    }

    private func hasOwnFileRow(_ id: BlobID) throws(RegistryError) -> Bool {
        guard let row = try index.get(id.bytes, in: .blobLocations) else { return false }
        do throws(RegistryError) { return try BlobLocation(row).place == .ownFile } catch { return true }
    }

    /// Open upload sessions whose files do not make one.
    public func checkUploads() async throws(RegistryError) -> [Finding] {
        try await pool.run { [uploads] () throws(RegistryError) in
            var findings: [Finding] = []
            let names = Set(try Disk.names(in: uploads.directory))
            for name in names.sorted() {
                let place = "uploads/\(name)"
                let parts = name.split(separator: ".")
                guard parts.count == 2, EntityID(parts[0]) != nil, ["meta", "data", "tmp"].contains(parts[1]) else {
                    findings.append(Finding(.unknownFile, place: place, "no upload has such a file"))
                    continue
                }
                guard parts[1] == "meta" else {
                    if parts[1] == "tmp" || !names.contains("\(parts[0]).meta") {
                        findings.append(Finding(.orphan, place: place, "left of an upload; the next start removes it"))
                    }
                    continue
                }
                guard let meta = try Disk.openExisting("\(uploads.directory)/\(name)") else { continue }
                let bytes = try Disk.read(meta, at: 0, count: Int(min(try Disk.status(of: meta).size, UploadRangeEntry.bytesMax)))
                guard let (_, length) = UploadHeader.decode(bytes) else {
                    findings.append(
                        UploadHeader.isUnfinished(bytes)
                            ? Finding(.orphan, place: place, "of an upload that nobody was told of; the next start removes it")
                            : Finding(.upload, place: place, "its header is damaged: the client must begin anew"))
                    continue
                }
                let rest = bytes.count - length - UploadRangeEntry.decodeAll(Array(bytes[length...])).count * UploadRangeEntry.bytes
                if rest >= UploadRangeEntry.bytes {
                    findings.append(Finding(.upload, place: place, "what it received is noted up to a damaged entry only"))
                } else if rest > 0 {
                    findings.append(Finding(.tornTail, place: place, "it ends in an unfinished entry"))
                }
                if !names.contains("\(parts[0]).data") { findings.append(Finding(.upload, place: place, "its bytes are missing")) }
            }
            return findings
        }
    }

    // MARK: Blobs

    /// At most `limit` rows after a blob: each must decode and point to a record of its blob. Those that `reads` chooses are read to the end, and
    /// must have their checksums and their SHA-256.
    public func checkBlobs(
        after: BlobID?, limit: Int, reading reads: @escaping @Sendable (BlobID) -> Bool
    ) async throws(RegistryError) -> CheckedPage {
        let rows = try await storedBlobs(after: after, limit: limit)
        return try await pool.run { [self] () throws(RegistryError) in
            var page = CheckedPage()
            page.last = rows.last
            page.blobs = (rows.blobs.map(\.id) + rows.damaged).sorted()
            page.damaged = Set(rows.damaged)
            for id in rows.damaged { page.findings.append(Finding(.locationRow, blob: id, place: "location index", "its location does not decode")) }
            // In the order they lie in, so that a disk with a head reads on.
            for blob in rows.blobs.sorted(by: { $0.location.isBefore($1.location) }) {
                var kind = Finding.Kind.blobPlace
                do throws(RegistryError) {
                    try checkPlace(of: blob.id, at: blob.location)
                    guard reads(blob.id) else { continue }
                    kind = .blobBytes
                    page.readBlobs += 1
                    page.readBytes += blob.length
                    try verifyWhole(blob.id, at: blob.location)
                } catch {
                    guard error.code == .corrupt else { throw error }
                    // What only the tier has is checked when it comes back.
                    if try isInTierAlone(blob.id, blob.location) { continue }
                    page.findings.append(Finding(kind, blob: blob.id, place: blob.location.words, error.reason))
                    page.damaged.insert(blob.id)
                }
            }
            return page
        }
    }

    /// Header and length, without the bytes. Blocks.
    private func checkPlace(of id: BlobID, at location: BlobLocation) throws(RegistryError) {
        guard location.isWhole else { return try checkChunkPlaces(of: id, at: location) }
        let blob = try opened(id, at: location)
        // Of a segment the record must lie inside; an own file's end was compared with its length already.
        let end = blob.extent.offset + blob.extent.length + blob.header.tableBytes
        guard try Disk.status(of: blob.extent.file).size >= end else { throw BlobStore.corrupt(id, "its file ends too early") }
    }

    /// The recipe, and for each of its chunks a record with its header. Blocks.
    private func checkChunkPlaces(of id: BlobID, at location: BlobLocation) throws(RegistryError) {
        let recipe = try chunked(id, at: location).recipe
        for piece in (0..<recipe.count).lazy.map({ recipe[$0] }) {
            guard let row = try index.get(ChunkIndex.key(ofChunk: piece.chunk), in: .chunks) else {
                throw BlobStore.corrupt(id, "its chunk from \(piece.start) on is missing")
            }
            let place = try ChunkIndex.place(row)
            if try isAway(segment: place.segment) { continue }
            let file = try openFiles.open(.segment(place.segment), at: segments.path(place.segment))
            let header = try file.flatMap { file throws(RegistryError) in
                RecordHeader(try Disk.read(file, at: place.offset, count: RecordHeader.bytes))
            }
            guard let header, header.kind == .chunk, header.segment == place.segment, header.id == piece.chunk, header.length == place.length else {
                throw BlobStore.corrupt(id, "the header of its chunk from \(piece.start) on is damaged")
            }
        }
    }

    /// Reads the blob once: its checksums and its SHA-256 must be right. Blocks.
    /// - Parameters:
    ///   - isRebuilding: an archive that was opened is made again; else its chunks are checked.
    ///   - pause: called after each slice with its length.
    func verifyWhole(
        _ id: BlobID, at location: BlobLocation, isRebuilding: Bool = true, pause: (Int) throws(RegistryError) -> Void = { _ in }
    ) throws(RegistryError) {
        guard location.isWhole else {
            return try verifyChunks(id, at: location, isOnDiskOnly: true, isRebuilding: isRebuilding, pause: pause)
        }
        let blob = try opened(id, at: location)
        var expected = BinaryReader(try checksums(of: id, blob))
        var hasher = MultiHasher(.sha256)
        var done: Int64 = 0
        while done < location.length {
            let count = Int(min(Int64(SliceChecksums.sliceBytes), location.length - done))
            let slice = try Disk.read(blob.extent.file, at: blob.extent.offset + done, count: count)
            guard slice.count == count, CRC32C.of(slice) == (try expected.readUInt32()) else {
                throw BlobStore.corrupt(id, "its bytes are damaged from \(done) to \(done + Int64(count))")
            }
            slice.withUnsafeBytes { unsafe hasher.update($0) }
            done += Int64(count)
            try pause(count)
        }
        guard hasher.finish().first == id.digest else { throw BlobStore.corrupt(id, "its bytes are not the ones it is named after") }
    }

    // MARK: Repair

    /// Looks on the whole disk for undamaged copies of the blobs, read to the end, and points their rows at them. Nothing else is changed.
    /// - Returns: the blobs that are whole again.
    public func relocate(_ wanted: Set<BlobID>) async throws(RegistryError) -> Set<BlobID> {
        guard !wanted.isEmpty else { return [] }
        let found = try await pool.run { [self] () throws(RegistryError) in try copies(of: wanted) }
        try await inSteps(Array(found)) { row, batch in batch.put(row.key.bytes, row.value.encoded, in: .blobLocations) }
        return Set(found.keys)
    }

    private func copies(of wanted: Set<BlobID>) throws(RegistryError) -> [BlobID: BlobLocation] {
        var found: [BlobID: BlobLocation] = [:]
        func consider(_ id: BlobID, _ location: BlobLocation) throws(RegistryError) {
            guard wanted.contains(id), found[id] == nil else { return }
            do throws(RegistryError) {
                try verifyWhole(id, at: location)
                found[id] = location
            } catch { if error.code != .corrupt { throw error } }
        }
        try segments.writeOut()
        for number in try Segments.numbers(in: segments.directory) {
            guard let file = try Disk.openExisting(segments.path(number)) else { continue }
            try SegmentWalk.records(of: file, number: number, upTo: try SegmentWalk.usedEnd(of: file)) { record throws(RegistryError) in
                guard wanted.contains(record.header.id) else { return }
                switch record.header.kind {
                case .blob: try consider(record.header.id, BlobLocation(.segment(number, offset: record.offset), length: record.header.length))
                case .recipe:
                    guard let location = try location(ofRecipe: record.entry, in: number) else { return }
                    try consider(record.header.id, location)
                default: return
                }
            }
        }
        try blobs.blobs { id throws(RegistryError) in
            guard wanted.contains(id), let file = try Disk.openExisting(blobs.path(of: id)), let trailer = try OwnFile.trailer(of: file) else {
                return
            }
            try consider(id, BlobLocation(.ownFile, length: trailer.length))
        }
        return found
    }
}

extension BlobStore {
    /// nil when the recipe is damaged.
    private func location(ofRecipe entry: SegmentEntry, in number: UInt64) throws(RegistryError) -> BlobLocation? {
        do throws(RegistryError) {
            let recipe = try readRecipe(entry.id, at: BlobLocation.RecordPlace(segment: number, offset: entry.offset, length: entry.length))
            return BlobLocation(.recipe(number, offset: entry.offset, bytes: entry.length), length: recipe.length)
        } catch {
            guard error.code == .corrupt else { throw error }
            return nil
        }
    }
}

extension BlobLocation {
    var words: String {
        switch place {
        case .segment(let number, let offset): "segment \(number), offset \(offset)"
        case .ownFile: "a file of its own"
        case .recipe(let number, let offset, _): "chunks, by the recipe in segment \(number), offset \(offset)"
        }
    }

    /// The order in which blobs lie: own files last, as they come.
    func isBefore(_ other: BlobLocation) -> Bool {
        switch (record, other.record) {
        case (let one?, let two?): (one.segment, one.offset) < (two.segment, two.offset)
        case (.some, nil): true
        case (nil, _): false
        }
    }
}
