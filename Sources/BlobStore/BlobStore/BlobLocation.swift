import Core

/// Where a blob's bytes lie: the value of a row of the location index, whose key is the blob's 32 bytes (docs/internals/blob-location.md).
struct BlobLocation: Hashable, Sendable {
    enum Place: Hashable, Sendable {
        /// In a segment, at the offset of the record's header.
        case segment(UInt64, offset: Int64)
        /// In a file of its own, named by the blob.
        case ownFile
        /// In chunks: a record of so many bytes in a segment says in which (`Recipe`).
        case recipe(UInt64, offset: Int64, bytes: Int64)
    }

    /// Of the rows of blobs that lie whole, and of those that do not.
    private static let (format, recipeFormat): (UInt8, UInt8) = (1, 2)

    let place: Place
    let length: Int64

    init(_ place: Place, length: Int64) {
        self.place = place
        self.length = length
    }

    var encoded: [UInt8] {
        var writer = BinaryWriter(reserving: 26)
        switch place {
        case .segment(let number, let offset):
            writer.write(BlobLocation.format)
            writer.write(UInt8(1))
            writer.write(length)
            writer.write(number)
            writer.write(offset)
        case .ownFile:
            writer.write(BlobLocation.format)
            writer.write(UInt8(2))
            writer.write(length)
        case .recipe(let number, let offset, let bytes):
            writer.write(BlobLocation.recipeFormat)
            writer.write(UInt8(3))
            writer.write(length)
            writer.write(number)
            writer.write(offset)
            writer.write(bytes)
        }
        return writer.bytes
    }

    /// - Throws: `corrupt` for a row this program did not write.
    init(_ row: [UInt8]) throws(RegistryError) {
        var reader = BinaryReader(row)
        let format = try reader.readUInt8()
        let kind = try reader.readUInt8()
        guard format == (kind == 3 ? BlobLocation.recipeFormat : BlobLocation.format) else { throw BinaryReader.damaged }
        length = try reader.readInt64()
        switch kind {
        case 1: place = .segment(try reader.readUInt64(), offset: try reader.readInt64())
        case 2: place = .ownFile
        case 3: place = .recipe(try reader.readUInt64(), offset: try reader.readInt64(), bytes: try reader.readInt64())
        default: throw BinaryReader.damaged
        }
        guard reader.remaining == 0, (0...RecordHeader.lengthMax).contains(length) else { throw BinaryReader.damaged }
        if let record {
            guard (Int64(SegmentHeader.bytes)...RecordHeader.lengthMax).contains(record.offset), (0...RecordHeader.lengthMax).contains(record.length)
            else { throw BinaryReader.damaged }
        }
    }

    struct RecordPlace: Hashable, Sendable {
        let segment: UInt64
        let offset: Int64
        /// What follows the header.
        let length: Int64
    }

    /// The record the row points to; nil for a blob in a file of its own.
    var record: RecordPlace? {
        switch place {
        case .segment(let number, let offset): RecordPlace(segment: number, offset: offset, length: length)
        case .ownFile: nil
        case .recipe(let number, let offset, let bytes): RecordPlace(segment: number, offset: offset, length: bytes)
        }
    }

    /// Not in chunks.
    var isWhole: Bool {
        if case .recipe = place { false } else { true }
    }
}
