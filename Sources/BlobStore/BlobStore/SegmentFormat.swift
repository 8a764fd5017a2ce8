import Core

// Bytes of a segment (docs/internals/segment.md): a file header, records one after the other, and, once sealed, an index and a trailer.
// Everything begins at a multiple of 64 bytes; integers are big-endian.

/// What stands before every record, and at the end of a blob's own file.
struct RecordHeader: Hashable, Sendable {
    enum Kind: UInt8, Sendable {
        case blob = 1
        /// A reservation not (yet) filled, or a blob that was never committed.
        case skip
        /// What a sealed segment holds.
        case index
        /// The end of a file that holds one blob.
        case ownFile
        /// A piece of blobs (`ChunkRecord`), named by its own SHA-256.
        case chunk
        /// Of which chunks the blob it is named by is made (`Recipe`).
        case recipe

        /// Whether it holds something that a row of the store's indexes may name.
        var isContent: Bool {
            switch self {
            case .blob, .chunk, .recipe: true
            case .skip, .index, .ownFile: false
            }
        }
    }

    static let bytes = 64
    private static let magic: UInt32 = 0x4752_6563  // "GRec"
    private static let format: UInt8 = 1
    /// Far beyond any disk, and small enough that no sum of offsets overflows.
    static let lengthMax: Int64 = 1 << 56

    let kind: Kind
    /// The segment it was written to: a record found elsewhere is damage. Zero in own files.
    let segment: UInt64
    let length: Int64
    /// Zeros for records to skip and indexes.
    let id: BlobID
    /// Of the encoded table of slice checksums.
    let tableChecksum: UInt32

    init(_ kind: Kind, segment: UInt64, length: Int64, id: BlobID = .zeros, table: [UInt8] = []) {
        precondition(length >= 0 && length <= RecordHeader.lengthMax, "a record has a sane length")
        self.kind = kind
        self.segment = segment
        self.length = length
        self.id = id
        tableChecksum = CRC32C.of(table)
    }

    var encoded: [UInt8] {
        var writer = BinaryWriter(reserving: RecordHeader.bytes)
        writer.write(RecordHeader.magic)
        writer.write(RecordHeader.format)
        writer.write(kind.rawValue)
        writer.write(raw: [0, 0])
        writer.write(segment)
        writer.write(length)
        writer.write(id)
        writer.write(tableChecksum)
        writer.write(CRC32C.of(writer.bytes))
        return writer.bytes
    }

    /// nil unless the bytes are a whole, undamaged header of a format this program knows.
    init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == RecordHeader.bytes else { return nil }
        var reader = BinaryReader(Array(bytes))
        do throws(RegistryError) {
            guard try reader.readUInt32() == RecordHeader.magic, try reader.readUInt8() == RecordHeader.format,
                let kind = Kind(rawValue: try reader.readUInt8())
            else { return nil }
            _ = try reader.readBytes(2)
            self.kind = kind
            segment = try reader.readUInt64()
            length = try reader.readInt64()
            id = try reader.readBlobID()
            tableChecksum = try reader.readUInt32()
            guard try reader.readUInt32() == CRC32C.of(bytes.prefix(RecordHeader.bytes - 4)) else { return nil }
        } catch {
            return nil
        }
        guard length >= 0, length <= RecordHeader.lengthMax else { return nil }
    }

    /// From the header to the next record.
    var footprint: Int64 { RecordHeader.footprint(length: length) }
    var tableBytes: Int64 { SliceChecksums.tableBytes(length: length) }

    static func footprint(length: Int64) -> Int64 {
        (Int64(bytes) + length + SliceChecksums.tableBytes(length: length) + 63) & ~63
    }
}

extension BlobID {
    static let zeros: BlobID = {
        guard let id = BlobID(bytes: [UInt8](repeating: 0, count: 32)) else { preconditionFailure("a blob id is 32 bytes") }
        return id
    }()
}

/// The first 64 bytes of a segment.
struct SegmentHeader: Hashable {
    static let bytes = 64
    private static let magic: UInt64 = 0x4752_4153_4547_4d01  // "GRASEGM", format 1

    let number: UInt64
    let created: Timestamp

    init(number: UInt64, created: Timestamp) {
        self.number = number
        self.created = created
    }

    var encoded: [UInt8] {
        var writer = BinaryWriter(reserving: SegmentHeader.bytes)
        writer.write(SegmentHeader.magic)
        writer.write(number)
        writer.write(created)
        writer.write(raw: [UInt8](repeating: 0, count: SegmentHeader.bytes - 28))
        writer.write(CRC32C.of(writer.bytes))
        return writer.bytes
    }

    /// The power failed before the segment was first synced: nothing in it was ever acknowledged.
    static func isUnwritten(_ bytes: [UInt8]) -> Bool { bytes.allSatisfy { $0 == 0 } }

    init?(_ bytes: [UInt8]) {
        guard bytes.count == SegmentHeader.bytes else { return nil }
        var reader = BinaryReader(bytes)
        do throws(RegistryError) {
            guard try reader.readUInt64() == SegmentHeader.magic else { return nil }
            number = try reader.readUInt64()
            created = try reader.readTimestamp()
            _ = try reader.readBytes(SegmentHeader.bytes - 28)
            guard try reader.readUInt32() == CRC32C.of(bytes.dropLast(4)) else { return nil }
        } catch {
            return nil
        }
    }
}

/// One record as the index of a sealed segment lists it.
struct SegmentEntry: Hashable, Sendable {
    let kind: RecordHeader.Kind
    let id: BlobID
    /// Of the record's header in the segment.
    let offset: Int64
    /// What follows the header: of a blob its own length.
    let length: Int64

    init(_ kind: RecordHeader.Kind = .blob, id: BlobID, offset: Int64, length: Int64) {
        self.kind = kind
        self.id = id
        self.offset = offset
        self.length = length
    }

    static func encode(_ entries: [SegmentEntry]) -> [UInt8] {
        var writer = BinaryWriter(reserving: entries.count * SegmentTrailer.Format.kinds.entryBytes)
        for entry in entries {
            writer.write(entry.id)
            writer.write(entry.offset)
            writer.write(entry.length)
            writer.write(entry.kind.rawValue)
        }
        return writer.bytes
    }

    static func decode(_ bytes: [UInt8], _ format: SegmentTrailer.Format) throws(RegistryError) -> [SegmentEntry] {
        var reader = BinaryReader(bytes)
        var entries: [SegmentEntry] = []
        entries.reserveCapacity(bytes.count / format.entryBytes)
        while reader.remaining > 0 {
            let (id, offset, length) = (try reader.readBlobID(), try reader.readInt64(), try reader.readInt64())
            var kind: RecordHeader.Kind? = .blob
            if format == .kinds { kind = RecordHeader.Kind(rawValue: try reader.readUInt8()) }
            guard let kind, kind.isContent else { throw BinaryReader.damaged }
            entries.append(SegmentEntry(kind, id: id, offset: offset, length: length))
        }
        return entries
    }
}

/// The last 64 bytes of a sealed segment.
struct SegmentTrailer: Hashable {
    /// How the index before it lists records.
    enum Format: UInt8, Sendable {
        /// All of them blobs.
        case blobs = 1
        /// Each with its kind. What is written.
        case kinds

        var entryBytes: Int { self == .blobs ? 48 : 49 }
    }

    static let bytes = 64
    private static let magic: UInt64 = 0x4752_4153_4541_4c00  // "GRASEAL", and the format

    let format: Format
    let number: UInt64
    /// Of the index record.
    let indexOffset: Int64
    let entryCount: UInt64

    init(number: UInt64, indexOffset: Int64, entryCount: UInt64) {
        format = .kinds
        self.number = number
        self.indexOffset = indexOffset
        self.entryCount = entryCount
    }

    var encoded: [UInt8] {
        var writer = BinaryWriter(reserving: SegmentTrailer.bytes)
        writer.write(SegmentTrailer.magic | UInt64(format.rawValue))
        writer.write(number)
        writer.write(indexOffset)
        writer.write(entryCount)
        writer.write(raw: [UInt8](repeating: 0, count: SegmentTrailer.bytes - 36))
        writer.write(CRC32C.of(writer.bytes))
        return writer.bytes
    }

    init?(_ bytes: [UInt8]) {
        guard bytes.count == SegmentTrailer.bytes else { return nil }
        var reader = BinaryReader(bytes)
        do throws(RegistryError) {
            let magic = try reader.readUInt64()
            guard magic & ~0xFF == SegmentTrailer.magic, let format = Format(rawValue: UInt8(truncatingIfNeeded: magic)) else { return nil }
            self.format = format
            number = try reader.readUInt64()
            indexOffset = try reader.readInt64()
            entryCount = try reader.readUInt64()
            _ = try reader.readBytes(SegmentTrailer.bytes - 36)
            guard try reader.readUInt32() == CRC32C.of(bytes.dropLast(4)) else { return nil }
        } catch {
            return nil
        }
        guard indexOffset >= Int64(SegmentHeader.bytes), indexOffset <= RecordHeader.lengthMax else { return nil }
    }
}
