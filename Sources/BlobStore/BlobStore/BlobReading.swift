import CBlobStore
public import Core
import NIOCore
import OrderedStore

extension BlobStore {
    /// The blob's bytes, verified: small ones every time, large ones once since the start and not too long ago; those in chunks, and in strict
    /// mode all large ones, as they are read.
    /// - Returns: nil when there is no such blob.
    /// - Throws: `corrupt`, naming the blob, when its bytes are damaged or missing.
    public func content(of id: BlobID) async throws(RegistryError) -> BlobContent? {
        guard let sharing else { return try await content(of: id, isKept: false) }
        do throws(RegistryError) {
            if let content = try await content(of: id, isKept: false) { return content }
        } catch {
            // Damaged here, and not healed: why not, the bucket says now.
            guard error.code == .corrupt else { throw error }
        }
        return try await sharing.fetch(id, of: self)
    }

    /// - Parameter isKept: other bytes are dropped in favour of these, so they are verified now, whether or not somebody reads them.
    func content(of id: BlobID, isKept: Bool) async throws(RegistryError) -> BlobContent? {
        var mayHeal = !isKept
        while let location = try await location(of: id) {
            if !isKept, location.length > BlobStore.readInMemoryBytesMax { reads.mark(id) }
            do throws(RegistryError) {
                if let content = try await fromTier(id, at: location) { return content }
            } catch {
                guard error.code == .corrupt, try await self.location(of: id) == location else {
                    if error.code == .corrupt { continue }
                    throw error
                }
                let failure = BlobStore.corrupt(id, "what the tier has of it is damaged", cause: error.reason)
                noteDamage(id, failure)
                throw failure
            }
            do throws(RegistryError) {
                if let content = try await verifiedContent(of: id, at: location, isKept: isKept) { return content }
            } catch {
                guard error.code == .corrupt else { throw error }
                // Between the two looks the sweep may have moved the blob, or taken it away: that is no damage.
                guard try await self.location(of: id) == location, !hasLeft(id, location) else { continue }
                var failure = error
                if case .store = error.subject { failure = BlobStore.corrupt(id, error.reason, cause: error.cause) }
                noteDamage(id, failure)
                if mayHeal, await heal(id, at: location) {
                    mayHeal = false
                    continue
                }
                throw failure
            }
        }
        return nil
    }

    /// - Returns: nil when the blob is not where it was.
    private func verifiedContent(of id: BlobID, at location: BlobLocation, isKept: Bool) async throws(RegistryError) -> BlobContent? {
        if location.length <= BlobStore.readInMemoryBytesMax {
            if openFiles.cached(name(of: id, at: location)) != nil, let content = try readWhole(id, at: location, isWaiting: false) { return content }
            let content = try await pool.run { [self] () throws(RegistryError) in try readWhole(id, at: location, isWaiting: true) }
            guard let content else { preconditionFailure("a read that may wait gives the blob") }
            return content
        }
        if let opened = try await openedArchive(id, at: location) {
            try await rebuild(opened, at: location)
            return nil
        }
        if (isKept || (location.isWhole && !options.isStrict)) && !verified.contains(id) {
            try await verification.run(id) { [self] () throws(RegistryError) in
                try verify(id, at: location)
                verified.insert(id)
            }
        }
        if !location.isWhole { return try await chunkedContent(of: id, at: location) }
        // Without a hop, as with a new blob: what is named again was written, or read, not long ago.
        if isKept, !options.isStrict, openFiles.cached(name(of: id, at: location)) != nil {
            return BlobContent(.extents([try opened(id, at: location).extent]))
        }
        return try await pool.run { [self] () throws(RegistryError) in
            let blob = try opened(id, at: location)
            guard options.isStrict else { return BlobContent(.extents([blob.extent])) }
            return BlobContent(.streamed(try CheckedBlob(id, in: blob.extent, table: try checksums(of: id, blob), of: self)))
        }
    }

    private func chunkedContent(of id: BlobID, at location: BlobLocation) async throws(RegistryError) -> BlobContent? {
        let blob = try await pool.run { [self] () throws(RegistryError) in try chunked(id, at: location) }
        // Known to be in use now: if there still is a row, no sweep of chunks can have missed that.
        guard try await self.location(of: id) != nil else {
            recipes.forget(id)
            return nil
        }
        return BlobContent(.streamed(blob))
    }

    /// As `content(of:)`, from memory alone: fit for an event loop. Never waits for a disk.
    /// - Throws: `corrupt`, naming the blob.
    public func cachedContent(of id: BlobID) throws(RegistryError) -> CachedContent {
        let location: BlobLocation
        switch try index.getCached(id.bytes, in: .blobLocations) {
        case .absent: return sharing == nil ? .absent : .unknown
        case .unknown: return .unknown
        case .found(let row): location = try decode(row, of: id)
        }
        if location.length <= BlobStore.readInMemoryBytesMax {
            guard openFiles.cached(name(of: id, at: location)) != nil, let content = try readWhole(id, at: location, isWaiting: false) else {
                return .unknown
            }
            return .found(content)
        }
        reads.mark(id)
        if !location.isWhole {
            guard let blob = recipes.find(id), blob.recipe.archive == nil else { return .unknown }
            return .found(BlobContent(.streamed(blob)))
        }
        guard !options.isStrict, verified.contains(id), let file = openFiles.cached(name(of: id, at: location)) else { return .unknown }
        return .found(BlobContent(.extents([Extent(file: file, offset: location.firstByte, length: location.length)])))
    }

    func location(of id: BlobID) async throws(RegistryError) -> BlobLocation? {
        switch try index.getCached(id.bytes, in: .blobLocations) {
        case .absent: return nil
        case .found(let row): return try decode(row, of: id)
        case .unknown:
            let index = index
            let row = try await pool.run { () throws(RegistryError) in try index.get(id.bytes, in: .blobLocations) }
            return try row.map { row throws(RegistryError) in try decode(row, of: id) }
        }
    }

    private func decode(_ row: [UInt8], of id: BlobID) throws(RegistryError) -> BlobLocation {
        do throws(RegistryError) { return try BlobLocation(row) } catch {
            throw BlobStore.corrupt(id, "its location does not decode")
        }
    }

    private func name(of id: BlobID, at location: BlobLocation) -> OpenFiles.Name {
        switch location.place {
        case .segment(let number, _), .recipe(let number, _, _): .segment(number)
        case .ownFile: .ownFile(id)
        }
    }

    // MARK: Opening

    struct OpenedBlob {
        let header: RecordHeader
        let extent: Extent
    }

    /// The file, whose header (or end) says that it holds this blob. Blocks.
    func opened(_ id: BlobID, at location: BlobLocation) throws(RegistryError) -> OpenedBlob {
        let header: RecordHeader?
        let file: OpenFile?
        switch location.place {
        case .segment(let number, let offset), .recipe(let number, let offset, _):
            file = try openFiles.open(.segment(number), at: segments.path(number))
            header = try file.flatMap { file throws(RegistryError) in
                let header = RecordHeader(try Disk.read(file, at: offset, count: RecordHeader.bytes))
                return header?.kind == .blob && header?.segment == number ? header : nil
            }
        case .ownFile:
            file = try openFiles.open(.ownFile(id), at: blobs.path(of: id))
            header = try file.flatMap { file throws(RegistryError) in try OwnFile.trailer(of: file) }
        }
        guard let file else { throw BlobStore.corrupt(id, "its file is missing") }
        guard let header, header.id == id, header.length == location.length else { throw BlobStore.corrupt(id, "its header is damaged") }
        return OpenedBlob(header: header, extent: Extent(file: file, offset: location.firstByte, length: location.length))
    }

    // MARK: Verifying

    func checksums(of id: BlobID, _ blob: OpenedBlob) throws(RegistryError) -> [UInt8] {
        let table = try Disk.read(blob.extent.file, at: blob.extent.offset + blob.extent.length, count: Int(blob.header.tableBytes))
        guard CRC32C.of(table) == blob.header.tableChecksum else { throw BlobStore.corrupt(id, "its checksums are damaged") }
        return table
    }

    /// Reads the blob once, slice by slice or chunk by chunk. Blocks.
    func verify(_ id: BlobID, at location: BlobLocation) throws(RegistryError) {
        if !location.isWhole { return try verifyChunks(id, at: location) }
        let blob = try opened(id, at: location)
        let file = blob.extent.file
        var expected = BinaryReader(try checksums(of: id, blob))
        var done: Int64 = 0
        while done < location.length {
            let count = Int(min(Int64(SliceChecksums.sliceBytes), location.length - done))
            let slice = try Disk.read(file, at: blob.extent.offset + done, count: count)
            guard slice.count == count, CRC32C.of(slice) == (try expected.readUInt32()) else {
                throw BlobStore.corrupt(id, "its bytes are damaged from \(done) to \(done + Int64(count))")
            }
            done += Int64(count)
        }
    }

    /// A small blob with its header and checksum in one read.
    /// - Returns: nil when it would have to wait for the disk and must not.
    private func readWhole(_ id: BlobID, at location: BlobLocation, isWaiting: Bool) throws(RegistryError) -> BlobContent? {
        let length = Int(location.length)
        let tableBytes = Int(SliceChecksums.tableBytes(length: location.length))
        let before: Int  // header bytes in front of the blob
        let start: Int64
        switch location.place {
        case .segment(_, let offset), .recipe(_, let offset, _): (before, start) = (RecordHeader.bytes, offset)
        case .ownFile: (before, start) = (0, 0)
        }
        let count = RecordHeader.bytes + length + tableBytes
        let name = name(of: id, at: location)
        let path: String
        switch location.place {
        case .segment(let number, _), .recipe(let number, _, _): path = segments.path(number)
        case .ownFile: path = blobs.path(of: id)
        }
        guard let file = try openFiles.open(name, at: path) else { throw BlobStore.corrupt(id, "its file is missing") }
        var buffer = ByteBufferAllocator().buffer(capacity: count)
        let result = buffer.withUnsafeMutableWritableBytes { bytes in
            Result { () throws(RegistryError) -> Int? in
                let target = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[..<count])
                guard !isWaiting else { return try unsafe file.read(at: start, into: target) }
                let read = unsafe granary_read_cached(file.descriptor, target.baseAddress, count, start)
                return read == count ? count : nil
            }
        }
        guard let read = try result.get() else { return nil }
        guard read == count else { throw BlobStore.corrupt(id, "its file ends too early") }
        buffer.moveWriterIndex(to: count)
        let headerStart = before == 0 ? length + tableBytes : 0
        guard let header = RecordHeader(buffer.getBytes(at: headerStart, length: RecordHeader.bytes) ?? []), header.id == id,
            header.length == location.length, header.kind == (before == 0 ? .ownFile : .blob)
        else { throw BlobStore.corrupt(id, "its header is damaged") }
        let table = buffer.getBytes(at: before + length, length: tableBytes) ?? []
        let actual = buffer.withUnsafeReadableBytes {
            unsafe SliceChecksums.table(of: UnsafeRawBufferPointer(rebasing: $0[before..<before + length]))
        }
        guard CRC32C.of(table) == header.tableChecksum, actual == table else { throw BlobStore.corrupt(id, "its bytes are damaged") }
        if options.isStrict {
            var hasher = MultiHasher(.sha256)
            buffer.withUnsafeReadableBytes { unsafe hasher.update(UnsafeRawBufferPointer(rebasing: $0[before..<before + length])) }
            guard hasher.finish().first == id.digest else { throw BlobStore.corrupt(id, "its bytes are not the ones it is named after") }
        }
        return BlobContent(.memory(buffer.getSlice(at: before, length: length) ?? ByteBuffer()))
    }

    static func corrupt(_ id: BlobID, _ what: String, cause: String? = nil) -> RegistryError {
        RegistryError(.corrupt, subject: .blob(id.description), reason: "the stored blob cannot be served: \(what)", cause: cause)
    }
}

extension BlobLocation {
    /// Of the blob itself in its file.
    var firstByte: Int64 {
        switch place {
        case .segment(_, let offset), .recipe(_, let offset, _): offset + Int64(RecordHeader.bytes)
        case .ownFile: 0
        }
    }
}
