import Core
import Logging
import NIOCore
import OrderedStore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

// From the tier: a few bytes for one answer, or a whole file back to the disk.

extension Tiering {
    /// Blobs up to this length are answered from memory, without their segment.
    static let rangedBytesMax: Int64 = 256 << 10
    /// A segment of which so much was asked for by ranges comes back whole.
    static let rangedShare: Int64 = 16

    /// The bytes of a short blob, straight from the tier and verified; nil when the file is on the disk, or comes back now.
    func rangedContent(of id: BlobID, at location: BlobLocation) async throws(RegistryError) -> BlobContent? {
        guard case .segment(let number, let offset) = location.place, location.length <= Tiering.rangedBytesMax else { return nil }
        let bytes = RecordHeader.footprint(length: location.length)
        guard isWorthRange(number, bytes) else { return nil }
        let wanted = Int64(RecordHeader.bytes) + location.length + SliceChecksums.tableBytes(length: location.length)
        let record = Array(try await collect(.segment(number), offset..<offset + wanted).readableBytesView)
        let table = Array(record[(RecordHeader.bytes + Int(location.length))...])
        let content = record[RecordHeader.bytes..<RecordHeader.bytes + Int(location.length)]
        guard let header = RecordHeader(record.prefix(RecordHeader.bytes)), header.kind == .blob, header.segment == number, header.id == id,
            header.length == location.length, CRC32C.of(table) == header.tableChecksum,
            content.withUnsafeBytes({ unsafe SliceChecksums.table(of: $0) }) == table
        else {
            try await noteUnsound(.segment(number))
            throw BlobStore.corrupt(id, "its bytes in the tier are damaged")
        }
        state.withLock { state in
            state.statistics.rangedReads += 1
            state.statistics.rangedBytes += UInt64(wanted)
        }
        return BlobContent(.memory(ByteBuffer(bytes: content)))
    }

    /// At most 1 MiB.
    func collect(_ name: TierName, _ range: Range<Int64>) async throws(RegistryError) -> ByteBuffer {
        do throws(RegistryError) { return try await reading.collect(name, range) } catch { throw Tiering.unanswered(error) }
    }

    private var reading: PiecedRead { PiecedRead(tier: tier, pool: pool) }

    /// The file is on the disk afterwards, whole and checked. Who asks for one that is already coming waits for it.
    /// - Throws: `unavailable` when the tier does not answer, `corrupt` when what it has is damaged.
    func bringBack(_ name: Name) async throws(RegistryError) {
        while true {
            let isFirst: Bool? = state.withLock { state in
                guard state.present[name] != nil, state.local[name] == nil else { return nil }
                guard state.flights[name] == nil else { return false }
                state.flights[name] = []
                return true
            }
            guard let isFirst else { return }
            if isFirst {
                let result: Result<Void, RegistryError>
                do throws(RegistryError) { result = .success(try await fetch(name)) } catch { result = .failure(error) }
                let waiters = state.withLock { $0.flights.removeValue(forKey: name) ?? [] }
                // Who asked first may have hung up; then the next of them asks.
                for waiter in waiters { waiter.resume(returning: Task.isCancelled ? .success(()) : result) }
                return try result.get()
            }
            let result = await withCheckedContinuation { (waiter: Waiter) in
                let isOver = state.withLock { state in
                    guard state.flights[name] != nil else { return true }
                    state.flights[name]?.append(waiter)
                    return false
                }
                if isOver { waiter.resume(returning: .success(())) }
            }
            try result.get()
        }
    }

    private func fetch(_ name: Name) async throws(RegistryError) {
        await claimInTurn(name)
        defer { release(name) }
        guard let length = state.withLock({ state in state.local[name] == nil ? state.present[name] : nil }) else { return }
        try await dropAll(toFit: length)
        let temporary = try await pool.run { [self] () throws(RegistryError) in
            let temporary = try TemporaryFile(in: blobs, named: "\(directory)/uploads/\(world.newID()).tmp")
            try Disk.allocate(temporary.file, at: 0, count: length)
            return temporary
        }
        try await fetch(pieces(of: name, length), into: temporary.file)
        try await accept(name, temporary.file, length)
        try await pool.run { [self] () throws(RegistryError) in
            // Before it has its name: after a crash a torn file would look like damage.
            try Disk.synchronize(temporary.file)
            if case .ownFile(let id) = name { try blobs.prepare(for: id) }
            _ = try Disk.link(temporary.file, as: path(name))
        }
        let now = world.now()
        state.withLock { state in
            state.local[name] = LocalFile(bytes: length, lastUse: now)
            if case .segment(let number) = name { state.ranged[number] = nil }
            state.statistics.returnedFiles += 1
            state.statistics.returnedBytes += UInt64(length)
        }
        log.debug("back from the tier", metadata: ["file": "\(TierName(name))", "bytes": "\(length)"])
    }

    /// Checks what came. Of a segment whose index is right the damaged records fail by themselves, and their neighbours are read: it is taken.
    private func accept(_ name: Name, _ file: OpenFile, _ length: Int64) async throws(RegistryError) {
        do throws(RegistryError) {
            let damaged = try await pool.run { [self] () throws(RegistryError) in
                try Disk.truncate(file, to: length)
                guard case .segment(let number) = name else {
                    _ = try Tiering.check(name, file)
                    return (isWhole: true, blobs: [BlobID]())
                }
                let entries = try Tiering.damagedEntries(of: number, in: file)
                var blobs: [BlobID] = []
                for entry in entries where entry.kind != .chunk {
                    if try BlobStore.isNamed(entry, in: number, by: index) { blobs.append(entry.id) }
                }
                return (entries.isEmpty, blobs)
            }
            guard !damaged.isWhole else { return }
            try await noteUnsound(name)
            for id in damaged.blobs { noteDamage(id, BlobStore.corrupt(id, "it came damaged from the tier")) }
        } catch {
            if error.code == .corrupt { try await noteUnsound(name) }
            throw error
        }
    }

    private func pieces(of name: Name, _ length: Int64) -> [PiecedRead.Piece] {
        switch name {
        case .segment(let number): return PiecedRead.pieces(of: .segment(number), 0..<length, at: 0)
        case .ownFile(let id):
            let blobBytes = OwnFile.length(ofFile: length)
            return PiecedRead.pieces(of: .blob(id), 0..<blobBytes, at: 0)
                + PiecedRead.pieces(of: .end(id), 0..<length - blobBytes, at: blobBytes)
        }
    }

    private func fetch(_ pieces: [PiecedRead.Piece], into file: OpenFile) async throws(RegistryError) {
        do throws(RegistryError) { try await reading.read(pieces, into: file) } catch { throw Tiering.unanswered(error) }
    }

    /// For the client: not its fault, and it may pass.
    private static func unanswered(_ error: RegistryError) -> RegistryError {
        guard error.code == .upstreamFailed || error.code == .notFound else { return error }
        return unanswered("\(error)")
    }

    private static func unanswered(_ cause: String) -> RegistryError {
        RegistryError(
            .unavailable, subject: .store, reason: "the bytes are in a tier that does not give them now; try again", cause: cause,
            retryAfterSeconds: 5)
    }

    // MARK: Copies elsewhere

    /// Brings what the tier has, and a backup lacks, to the backup, checked. What only waits to be deleted is left out.
    /// - Throws: `corrupt` naming a file that the tier has damaged; `unavailable`.
    func copyAll(to backup: inout DirectoryBackup) async throws(RegistryError) {
        let there = backup.paths
        for (name, row) in try await rows() where row.state == .present || row.state == .unsound {
            let path =
                switch name {
                case .segment(let number): "store/segments/\(Segment.fileName(number))"
                case .ownFile(let id): "store/blobs/\(BlobDirectory.shard(of: id))/\(id.hex)"
                }
            guard !there.contains(path) else { continue }
            let known = try await pool.run { [place = backup.place] () throws(RegistryError) in try place.sum(of: path, row.length) }
            if let known {
                backup.noteThere(row.length, known, path)
                continue
            }
            guard !Task.isCancelled else { throw RegistryError(.unavailable, subject: .store, reason: "the backup was interrupted") }
            let file = try await checkedCopy(of: name, row.length)
            backup.note(try await pool.run { [place = backup.place] () throws(RegistryError) in try place.take(file, as: path) }, path)
        }
    }

    func fetchChecked(_ name: Name, _ length: Int64, into file: OpenFile) async throws(RegistryError) {
        try await fetch(pieces(of: name, length), into: file)
        try await pool.run { () throws(RegistryError) in
            do throws(RegistryError) { _ = try Tiering.check(name, file) } catch {
                throw RegistryError(error.code, subject: error.subject, reason: "\(TierName(name)) in the tier is damaged: \(error.reason)")
            }
        }
    }

    /// What the tier has, checked, in a file without a name.
    /// - Throws: as `copyAll`.
    func checkedCopy(of name: Name, _ length: Int64) async throws(RegistryError) -> OpenFile {
        let temporary = try await pool.run { [self] () throws(RegistryError) in
            try TemporaryFile(in: blobs, named: "\(directory)/uploads/\(world.newID()).tmp")
        }
        try await fetchChecked(name, length, into: temporary.file)
        return temporary.file
    }

    // MARK: Healing

    /// What the tier has of a blob that is damaged on the disk; nil when it has nothing.
    func body(of lost: LostBlob) async throws(RegistryError) -> Body? {
        let row = try await pool.run { [index] () throws(RegistryError) in try index.get(lost.blob.bytes, in: .blobLocations) }
        guard let row else { return nil }
        let location = try BlobLocation(row)
        guard let name = location.tieredFile(of: lost.blob), state.withLock({ $0.present[name] != nil }) else { return nil }
        return try await tier.read(TierName(name), location.firstByte..<location.firstByte + location.length)
    }

    // MARK: Rebuilding

    /// Of each segment that only the tier has, a file that holds its index where it was, and nothing else; for making locations anew. Those that
    /// hold recipes are brought back whole.
    func indexFiles() async throws(RegistryError) -> [UInt64: OpenFile] {
        let remote = state.withLock { state in state.present.filter { state.local[$0.key] == nil } }
        var files: [UInt64: OpenFile] = [:]
        for case (.segment(let number), let length) in remote {
            let file = try await indexFile(number, length)
            let entries = try await pool.run { () throws(RegistryError) in try SegmentIndex.entries(of: file, number: number) }
            if let entries, !Tiering.holdsRecipes(entries) {
                files[number] = file
            } else {
                try await bringBack(.segment(number))
            }
        }
        return files
    }

    /// All of an object, in a file without a name.
    func temporaryFile(of name: TierName) async throws(RegistryError) -> OpenFile {
        guard let length = try await tier.length(of: name) else { throw Tiering.unanswered("\(name) is gone") }
        let temporary = try await pool.run { [self] () throws(RegistryError) in
            let temporary = try TemporaryFile(in: blobs, named: "\(directory)/uploads/\(world.newID()).tmp")
            try Disk.allocate(temporary.file, at: 0, count: length)
            return temporary
        }
        try await fetch(PiecedRead.pieces(of: name, 0..<length, at: 0), into: temporary.file)
        return temporary.file
    }

    private func indexFile(_ number: UInt64, _ length: Int64) async throws(RegistryError) -> OpenFile {
        let temporary = try await pool.run { [self] () throws(RegistryError) in
            let temporary = try TemporaryFile(in: blobs, named: "\(directory)/uploads/\(world.newID()).tmp")
            try Disk.truncate(temporary.file, to: length)
            return temporary
        }
        let file = temporary.file
        let tail = length - Int64(SegmentTrailer.bytes)
        try await fetch(PiecedRead.pieces(of: .segment(number), tail..<length, at: tail), into: file)
        if let trailer = try SegmentIndex.trailer(of: file, number: number), trailer.indexOffset < length {
            let index = trailer.indexOffset
            try await fetch(PiecedRead.pieces(of: .segment(number), index..<length, at: index), into: file)
        }
        return file
    }

    /// Lengths of the own files that only the tier has.
    func remoteOwnFiles() -> [BlobID: Int64] {
        state.withLock { state in
            var lengths: [BlobID: Int64] = [:]
            for case (.ownFile(let id), let length) in state.present where state.local[.ownFile(id)] == nil {
                lengths[id] = OwnFile.length(ofFile: length)
            }
            return lengths
        }
    }
}
