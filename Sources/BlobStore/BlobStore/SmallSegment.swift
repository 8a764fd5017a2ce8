import Core
import NIOCore

/// A sealed segment put together from records that lie elsewhere: a group of small blobs as one object of a tier. It is read where its pieces
/// are, so it takes no memory for what is on the disk.
struct SmallSegment: RandomAccessBytes {
    /// A blob's record, whole: header, bytes, slice table, zeros up to a multiple of 64.
    struct Record: Sendable {
        let id: BlobID
        let length: Int64
        fileprivate let pieces: [BlobContent]
        var footprint: Int64 { RecordHeader.footprint(length: length) }

        /// Of a blob at hand.
        init(_ id: BlobID, _ bytes: ByteBuffer, segment: UInt64) {
            let table = bytes.withUnsafeReadableBytes { unsafe SliceChecksums.table(of: $0) }
            let header = RecordHeader(.blob, segment: segment, length: Int64(bytes.readableBytes), id: id, table: table)
            let padding = Int(header.footprint) - RecordHeader.bytes - bytes.readableBytes - table.count
            self.id = id
            length = header.length
            pieces = [
                SmallSegment.piece(header.encoded), BlobContent(.memory(bytes)), SmallSegment.piece(table + [UInt8](repeating: 0, count: padding)),
            ]
        }

        /// As it lies in its segment.
        init(_ id: BlobID, length: Int64, at offset: Int64, in file: OpenFile) {
            self.id = id
            self.length = length
            pieces = [BlobContent(.extents([Extent(file: file, offset: offset, length: RecordHeader.footprint(length: length))]))]
        }
    }

    let size: Int64
    /// Where its records are.
    let entries: [SegmentEntry]
    private let pieces: [BlobContent]
    private let starts: [Int64]

    /// - Parameter number: what the records say that they lie in.
    init(number: UInt64, created: Timestamp, _ records: [Record]) {
        var pieces = [SmallSegment.piece(SegmentHeader(number: number, created: created).encoded)]
        var starts: [Int64] = [0]
        var end = Int64(SegmentHeader.bytes)
        var entries: [SegmentEntry] = []
        for record in records {
            entries.append(SegmentEntry(id: record.id, offset: end, length: record.length))
            for piece in record.pieces where piece.length > 0 {
                pieces.append(piece)
                starts.append(end)
                end += piece.length
            }
        }
        let tail = SmallSegment.piece(SegmentIndex.encode(entries, number: number, at: end))
        pieces.append(tail)
        starts.append(end)
        size = end + tail.length
        self.entries = entries
        self.pieces = pieces
        self.starts = starts
    }

    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int {
        var done = 0
        while done < buffer.count, offset >= 0, offset + Int64(done) < size {
            let position = offset + Int64(done)
            let index = piece(at: position)
            let wanted = min(Int64(buffer.count - done), starts[index] + pieces[index].length - position)
            let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + Int(wanted)])
            let count = try unsafe pieces[index].read(at: position - starts[index], into: target)
            done += count
            if count < Int(wanted) { break }
        }
        return done
    }

    /// The last piece that begins at or before the position.
    private func piece(at position: Int64) -> Int {
        var (low, high) = (0, starts.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= position { low = middle } else { high = middle }
        }
        return low
    }

    fileprivate static func piece(_ bytes: [UInt8]) -> BlobContent { BlobContent(.memory(ByteBuffer(bytes: bytes))) }
}
