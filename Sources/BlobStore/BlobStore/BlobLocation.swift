import Core

/// Where a blob's bytes lie: the value of a row of the location index, whose key is the blob's 32 bytes (docs/internals/blob-location.md).
struct BlobLocation: Hashable, Sendable {
    enum Place: Hashable, Sendable {
        /// In a segment, at the offset of the record's header.
        case segment(UInt64, offset: Int64)
        /// In a file of its own, named by the blob.
        case ownFile
    }

    private static let format: UInt8 = 1

    let place: Place
    let length: Int64

    init(_ place: Place, length: Int64) {
        self.place = place
        self.length = length
    }

    var encoded: [UInt8] {
        var writer = BinaryWriter(reserving: 26)
        writer.write(BlobLocation.format)
        switch place {
        case .segment(let number, let offset):
            writer.write(UInt8(1))
            writer.write(length)
            writer.write(number)
            writer.write(offset)
        case .ownFile:
            writer.write(UInt8(2))
            writer.write(length)
        }
        return writer.bytes
    }

    /// - Throws: `corrupt` for a row this program did not write.
    init(_ row: [UInt8]) throws(RegistryError) {
        var reader = BinaryReader(row)
        guard try reader.readUInt8() == BlobLocation.format else { throw BinaryReader.damaged }
        let kind = try reader.readUInt8()
        length = try reader.readInt64()
        switch kind {
        case 1: place = .segment(try reader.readUInt64(), offset: try reader.readInt64())
        case 2: place = .ownFile
        default: throw BinaryReader.damaged
        }
        guard reader.remaining == 0, (0...RecordHeader.lengthMax).contains(length) else { throw BinaryReader.damaged }
        if case .segment(_, let offset) = place {
            guard (Int64(SegmentHeader.bytes)...RecordHeader.lengthMax).contains(offset) else { throw BinaryReader.damaged }
        }
    }
}
