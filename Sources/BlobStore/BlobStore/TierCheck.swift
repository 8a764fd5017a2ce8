import Core
import NIOCore
import OrderedStore
import Synchronization

// Reading what a tier has, to the last byte: every record of a segment by its header, its slice checksums and its SHA-256, an own file in the same
// way. For fsck, which has the tier beside a store that is open for reading only, and for the scrub.

/// What reading one file of a tier has shown.
struct TierVerdict: Sendable {
    /// nil: it is whole.
    var flaw: String?
    /// Blobs that lie in it, by rows of now, and cannot be read from it.
    var lost: [BlobID: String] = [:]
    var records = 0
    var requests = 0
    var bytes: Int64 = 0

    mutating func count(_ window: TierWindow) {
        requests += window.requests
        bytes += window.bytes
    }

    mutating func found(_ flaw: String) { self.flaw = self.flaw ?? flaw }
}

extension BlobStore {
    /// Reads the file in the tier to its end, in bounded memory.
    /// - Throws: what the tier throws when it does not answer, or when the file goes meanwhile; never `corrupt`.
    func checkInTier(
        _ name: OpenFiles.Name, length: Int64, of tier: any SegmentTier, _ pace: Pace
    ) async throws(RegistryError) -> TierVerdict {
        var verdict = TierVerdict()
        switch name {
        case .segment(let number): try await check(segment: number, length, tier, pace, &verdict)
        case .ownFile(let id):
            let blobBytes = OwnFile.length(ofFile: length)
            do throws(RegistryError) { try await check(ownFile: id, blobBytes, tier, pace, &verdict) } catch {
                guard error.code == .corrupt || error.code == .notFound else { throw error }
                verdict.found(error.code == .notFound ? "it is missing" : error.reason)
            }
            if let flaw = verdict.flaw, try await location(of: id)?.place == .ownFile { verdict.lost[id] = flaw }
        }
        return verdict
    }

    // MARK: Own files

    private func check(
        ownFile id: BlobID, _ length: Int64, _ tier: any SegmentTier, _ pace: Pace, _ verdict: inout TierVerdict
    ) async throws(RegistryError) {
        let endBytes = OwnFile.fileBytes(length: length) - length
        for (name, wanted) in [(TierName.end(id), endBytes), (.blob(id), length)] {
            verdict.requests += 1
            let found = try await tier.length(of: name)
            guard found == wanted else { throw Tiering.damaged(BlobStore.lengthWords(name, found, wanted)) }
        }
        var window = TierWindow(tier, .end(id), length: endBytes, pace)
        defer { verdict.count(window) }
        let end = try await window.read(at: 0, count: Int(endBytes)).readableBytesView
        let table = Array(end.dropLast(RecordHeader.bytes))
        guard let header = RecordHeader(end.suffix(RecordHeader.bytes)), header.kind == .ownFile, header.id == id, header.length == length,
            CRC32C.of(table) == header.tableChecksum
        else { throw Tiering.damaged("its end is damaged") }
        var blob = TierWindow(tier, .blob(id), length: length, pace)
        defer { verdict.count(blob) }
        verdict.records = 1
        try await check(header, table, from: 0, in: &blob)
    }

    static func lengthWords(_ name: TierName, _ found: Int64?, _ wanted: Int64) -> String {
        found.map { "\(name) has \($0) bytes instead of \(wanted)" } ?? "\(name) is missing"
    }

    /// The blob's bytes, by its slices and by its SHA-256.
    private func check(
        _ header: RecordHeader, _ table: [UInt8], from start: Int64, in window: inout TierWindow
    ) async throws(RegistryError) {
        var expected = BinaryReader(table)
        var hasher = Digest.Hasher(.sha256)
        var done: Int64 = 0
        while done < header.length {
            let count = Int(min(Int64(SliceChecksums.sliceBytes), header.length - done))
            let slice = try await window.read(at: start + done, count: count)
            let sum = slice.withUnsafeReadableBytes { bytes in
                unsafe hasher.update(bytes)
                return unsafe CRC32C.of(bytes)
            }
            guard sum == (try expected.readUInt32()) else {
                throw Tiering.damaged("its bytes are damaged from \(done) to \(done + Int64(count))")
            }
            done += Int64(count)
        }
        guard BlobID(hasher.finish()) == header.id else { throw Tiering.damaged("its bytes are not the ones it is named after") }
    }

    // MARK: Segments

    private func check(
        segment number: UInt64, _ length: Int64, _ tier: any SegmentTier, _ pace: Pace, _ verdict: inout TierVerdict
    ) async throws(RegistryError) {
        let name = TierName.segment(number)
        verdict.requests += 1
        let found = try await tier.length(of: name)
        if found != length { verdict.found(BlobStore.lengthWords(name, found, length)) }
        var window = TierWindow(tier, name, length: found ?? 0, pace)
        defer { verdict.count(window) }
        var entries: [SegmentEntry]?
        if found == length {
            do throws(RegistryError) { entries = try await TierIndex.entries(of: number, in: &window) } catch {
                guard error.code == .corrupt else { throw error }
            }
            if entries == nil { verdict.found("its index is damaged") }
            let header = length < Int64(SegmentHeader.bytes) ? nil : SegmentHeader(Array(try await window.read(at: 0, count: 64).readableBytesView))
            if header?.number != number { verdict.found("its header is damaged") }
        }
        // Without an index only the rows can tell what is in it.
        let all = if let entries { entries } else { try await entriesByRows(of: number) }
        var lostChunks: Set<BlobID> = []
        for entry in all.sorted(by: { $0.offset < $1.offset }) where !Task.isCancelled {
            do throws(RegistryError) {
                verdict.records += 1
                try await check(entry, of: number, in: &window)
            } catch {
                guard error.code == .corrupt || error.code == .notFound else { throw error }
                verdict.found("\(entry.kind == .blob ? "blob" : "\(entry.kind)") \(entry.id) in it is damaged")
                let isNamed = try await pool.run { [index] () throws(RegistryError) in try BlobStore.isNamed(entry, in: number, by: index) }
                guard isNamed else { continue }
                if entry.kind == .chunk { lostChunks.insert(entry.id) } else { verdict.lost[entry.id] = error.reason }
            }
        }
        for blob in try await blobs(madeOf: lostChunks) { verdict.lost[blob] = "a chunk of it is damaged" }
    }

    private func check(_ entry: SegmentEntry, of number: UInt64, in window: inout TierWindow) async throws(RegistryError) {
        let start = entry.offset + Int64(RecordHeader.bytes)
        let header = RecordHeader(try await window.read(at: entry.offset, count: RecordHeader.bytes).readableBytesView)
        guard let header, header.kind == entry.kind, header.segment == number, header.id == entry.id, header.length == entry.length,
            header.length <= window.length
        else { throw Tiering.damaged("its header is damaged") }
        guard entry.kind == .blob else {
            // One piece with its table, checked as a reader checks it.
            let place = BlobLocation.RecordPlace(segment: number, offset: entry.offset, length: entry.length)
            let count = RecordHeader.bytes + Int(entry.length + header.tableBytes)
            let record = Array(try await window.read(at: entry.offset, count: count).readableBytesView)
            return try await pool.run { [self] () throws(RegistryError) in
                if entry.kind == .chunk { _ = try chunk(entry.id, of: record, at: place) } else { _ = try recipe(entry.id, of: record, at: place) }
            }
        }
        // The table follows the blob. It is read with it, where both fit a piece; else ahead of it, for the price of a request.
        let tableStart = start + entry.length
        let table: [UInt8]
        if RecordHeader.footprint(length: entry.length) <= TierWindow.pieceBytes {
            let whole = try await window.read(at: start, count: Int(entry.length + header.tableBytes))
            table = Array(whole.readableBytesView.suffix(Int(header.tableBytes)))
        } else {
            var ahead = TierWindow(window.tier, window.name, length: tableStart + header.tableBytes, window.pace)
            table = Array(try await ahead.read(at: tableStart, count: Int(header.tableBytes)).readableBytesView)
            window.count(ahead)
        }
        guard CRC32C.of(table) == header.tableChecksum else { throw Tiering.damaged("its slice table is damaged") }
        try await check(header, table, from: start, in: &window)
    }

    /// The records of a segment that rows point to. Reads all rows: for what is damaged alone.
    private func entriesByRows(of number: UInt64) async throws(RegistryError) -> [SegmentEntry] {
        try await pool.run { [self] () throws(RegistryError) in
            var entries: [SegmentEntry] = []
            try index.scan(.blobLocations, from: [], upTo: nil) { key, row throws(RegistryError) in
                guard let id = BlobID(bytes: key), let location = try? BlobLocation(row), let place = location.record, place.segment == number else {
                    return true
                }
                entries.append(SegmentEntry(location.isWhole ? .blob : .recipe, id: id, offset: place.offset, length: place.length))
                return true
            }
            var last: [UInt8]?
            repeat {
                last = try chunkRows(after: last, limit: 4096) { key, place in
                    guard place.segment == number, let id = BlobID(bytes: key.dropFirst()) else { return }
                    entries.append(SegmentEntry(.chunk, id: id, offset: place.offset, length: place.length))
                }
            } while last != nil
            return entries
        }
    }

    /// The blobs whose recipes name one of the chunks. Reads all recipes: for what is damaged alone.
    private func blobs(madeOf chunks: Set<BlobID>) async throws(RegistryError) -> [BlobID] {
        guard !chunks.isEmpty else { return [] }
        var found: [BlobID] = []
        var last: BlobID?
        repeat {
            let page = try await storedBlobs(after: last, limit: 1024)
            last = page.last
            found += try await pool.run { [self] () throws(RegistryError) in
                page.blobs.filter { blob in
                    // A recipe that cannot be read is damage of its own, which the disk's check tells.
                    guard !blob.location.isWhole, let place = blob.location.record, let recipe = try? readRecipe(blob.id, at: place) else {
                        return false
                    }
                    return (0..<recipe.count).contains { chunks.contains(recipe[$0].chunk) }
                }.map(\.id)
            }
        } while last != nil && !Task.isCancelled
        return found
    }
}

/// The index of a segment that a tier has.
enum TierIndex {
    /// nil when any byte of it is damaged.
    static func entries(of number: UInt64, in window: inout TierWindow) async throws(RegistryError) -> [SegmentEntry]? {
        let length = window.length
        guard length >= Int64(SegmentHeader.bytes + SegmentTrailer.bytes) else { return nil }
        let end = try await window.read(at: length - Int64(SegmentTrailer.bytes), count: SegmentTrailer.bytes)
        guard let trailer = SegmentTrailer(Array(end.readableBytesView)), trailer.number == number,
            trailer.indexOffset <= length - Int64(RecordHeader.bytes + SegmentTrailer.bytes)
        else { return nil }
        let rest = try await window.read(at: trailer.indexOffset, count: Int(length - trailer.indexOffset))
        return try SegmentIndex.entries(in: Array(rest.readableBytesView), number: number, at: trailer, upTo: length)
    }
}
