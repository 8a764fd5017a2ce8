import Core

#if canImport(Glibc)
    import Glibc
#endif

/// Reads a segment from its headers, as recovery, sealing and rebuilding do.
enum SegmentWalk {
    struct Record {
        let header: RecordHeader
        let offset: Int64
        /// Found by searching behind damaged bytes: what looks like a record may be the inside of a blob, so only its digest proves it.
        let isBehindDamage: Bool

        var entry: SegmentEntry { SegmentEntry(header.kind, id: header.id, offset: offset, length: header.length) }
    }

    /// Every undamaged record below `end`, in order. Damage is stepped over: the search goes on at the next multiple of 64 bytes.
    /// - Returns: the end of the last record.
    @discardableResult
    static func records(
        of file: OpenFile, number: UInt64, upTo end: Int64, _ body: (Record) throws(RegistryError) -> Void
    ) throws(RegistryError) -> Int64 {
        let size = try Disk.status(of: file).size
        var window = Window(file: file)
        var at = Int64(SegmentHeader.bytes)
        var lastEnd = at
        var isBehindDamage = false
        while at + Int64(RecordHeader.bytes) <= min(end, size) {
            let bytes = try window.header(at: at)
            if let header = RecordHeader(bytes), header.segment == number, header.kind != .ownFile, header.footprint <= size - at {
                try body(Record(header: header, offset: at, isBehindDamage: isBehindDamage))
                at += header.footprint
                lastEnd = at
            } else {
                isBehindDamage = true
                at += 64
            }
        }
        return lastEnd
    }

    /// The end of what was ever written: everything behind it is zeros.
    static func usedEnd(of file: OpenFile) throws(RegistryError) -> Int64 {
        var end = try Disk.status(of: file).size
        while end > 0 {
            let start = max(0, end - 65_536)
            let block = try Disk.read(file, at: start, count: Int(end - start))
            if let last = lastNonZero(block) { return start + Int64(last) + 1 }
            end = start
        }
        return 0
    }

    private static func lastNonZero(_ block: [UInt8]) -> Int? {
        let isZero = block.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress, bytes.count > 1 else { return false }
            // Equal to itself shifted by one, and beginning with zero.
            return unsafe bytes[0] == 0 && memcmp(start, start + 1, bytes.count - 1) == 0
        }
        return isZero ? nil : block.lastIndex { $0 != 0 }
    }

    /// Headers of small records lie close together: one read serves many.
    private struct Window {
        private static let bytesMax = 32 << 10
        let file: OpenFile
        private var start: Int64 = 0
        private var bytes: [UInt8] = []

        init(file: OpenFile) { self.file = file }

        mutating func header(at offset: Int64) throws(RegistryError) -> ArraySlice<UInt8> {
            if offset < start || offset + Int64(RecordHeader.bytes) > start + Int64(bytes.count) {
                bytes = try Disk.read(file, at: offset, count: Window.bytesMax)
                start = offset
            }
            let first = Int(offset - start)
            return bytes[first..<min(first + RecordHeader.bytes, bytes.count)]
        }
    }
}

/// The index at the end of a sealed segment.
enum SegmentIndex {
    /// nil when the segment is not sealed, or its trailer is damaged.
    static func trailer(of file: OpenFile, number: UInt64) throws(RegistryError) -> SegmentTrailer? {
        let size = try Disk.status(of: file).size
        guard size >= Int64(SegmentHeader.bytes + SegmentTrailer.bytes) else { return nil }
        let bytes = try Disk.read(file, at: size - Int64(SegmentTrailer.bytes), count: SegmentTrailer.bytes)
        guard let trailer = SegmentTrailer(bytes), trailer.number == number else { return nil }
        return trailer
    }

    /// nil when the segment is not sealed, or any byte of the index is damaged.
    static func entries(of file: OpenFile, number: UInt64) throws(RegistryError) -> [SegmentEntry]? {
        let size = try Disk.status(of: file).size
        guard let trailer = try trailer(of: file, number: number), trailer.indexOffset < size else { return nil }
        let bytes = try Disk.read(file, at: trailer.indexOffset, count: Int(size - trailer.indexOffset))
        return try entries(in: bytes, number: number, at: trailer, upTo: size)
    }

    /// - Parameter bytes: of the segment, from the index to the end.
    static func entries(
        in bytes: [UInt8], number: UInt64, at trailer: SegmentTrailer, upTo size: Int64
    ) throws(RegistryError) -> [SegmentEntry]? {
        guard let header = RecordHeader(bytes.prefix(RecordHeader.bytes)), header.kind == .index, header.segment == number,
            trailer.indexOffset + header.footprint + Int64(SegmentTrailer.bytes) == size, Int64(bytes.count) == size - trailer.indexOffset,
            header.length == Int64(trailer.entryCount.multipliedReportingOverflow(by: UInt64(trailer.format.entryBytes)).partialValue)
        else { return nil }
        let end = RecordHeader.bytes + Int(header.length)
        let data = Array(bytes[RecordHeader.bytes..<end])
        let table = Array(bytes[end..<end + Int(header.tableBytes)])
        guard CRC32C.of(table) == header.tableChecksum, data.withUnsafeBytes({ unsafe SliceChecksums.table(of: $0) }) == table else { return nil }
        return try SegmentEntry.decode(data, trailer.format)
    }

    /// Index and trailer, as they follow the last record.
    static func encode(_ entries: [SegmentEntry], number: UInt64, at tail: Int64) -> [UInt8] {
        let list = SegmentEntry.encode(entries)
        let table = list.withUnsafeBytes { unsafe SliceChecksums.table(of: $0) }
        let header = RecordHeader(.index, segment: number, length: Int64(list.count), table: table)
        var bytes = header.encoded + list + table
        bytes.append(contentsOf: repeatElement(0, count: Int(header.footprint) - bytes.count))
        bytes.append(contentsOf: SegmentTrailer(number: number, indexOffset: tail, entryCount: UInt64(entries.count)).encoded)
        return bytes
    }

    /// Writes index and trailer at `tail`, gives back the space behind them, and syncs.
    static func write(_ entries: [SegmentEntry], to file: OpenFile, number: UInt64, at tail: Int64) throws(RegistryError) {
        let bytes = encode(entries, number: number, at: tail)
        try Disk.write(bytes, to: file, at: tail)
        try Disk.truncate(file, to: tail + Int64(bytes.count))
        try Disk.synchronize(file)
    }
}
