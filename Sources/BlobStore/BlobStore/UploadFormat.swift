import Core

// An upload session is two files in `uploads/` (docs/internals/upload.md): `<id>.data`, the bytes as they arrive, and `<id>.meta`, which says
// whose they are. Integers are big-endian.

/// The beginning of a `.meta` file.
struct UploadHeader: Hashable, Sendable {
    private static let magic: UInt32 = 0x4752_5570  // "GRUp"
    private static let format: UInt8 = 1
    /// What a room may want to remember about a session.
    static let contextBytesMax = 16 << 10

    let created: Timestamp
    let totalBytes: Int64?
    let context: [UInt8]

    var encoded: [UInt8] {
        var body = BinaryWriter()
        body.write(created)
        body.write(totalBytes) { $0.write($1) }
        body.write(context)
        var writer = BinaryWriter(reserving: body.bytes.count + 13)
        writer.write(UploadHeader.magic)
        writer.write(UploadHeader.format)
        writer.write(UInt32(body.bytes.count))
        writer.write(raw: body.bytes)
        writer.write(CRC32C.of(writer.bytes))
        return writer.bytes
    }

    /// Whether the bytes end before the header does: a crash came while it was written, before anybody was told of the upload.
    static func isUnfinished(_ bytes: [UInt8]) -> Bool {
        var reader = BinaryReader(bytes)
        do throws(RegistryError) {
            guard try reader.readUInt32() == magic, try reader.readUInt8() == format else { return false }
            return bytes.count < 9 + Int(try reader.readUInt32()) + 4
        } catch {
            return true
        }
    }

    /// - Returns: the header and its length; nil when it is damaged or of another format.
    static func decode(_ bytes: [UInt8]) -> (header: UploadHeader, length: Int)? {
        var reader = BinaryReader(bytes)
        do throws(RegistryError) {
            guard try reader.readUInt32() == magic, try reader.readUInt8() == format else { return nil }
            let bodyCount = Int(try reader.readUInt32())
            let length = 9 + bodyCount + 4
            var body = BinaryReader(Array(try reader.readBytes(bodyCount)))
            guard try reader.readUInt32() == CRC32C.of(bytes[..<(length - 4)]) else { return nil }
            let created = try body.readTimestamp()
            let totalBytes = try body.readOptional { reader throws(RegistryError) in try reader.readInt64() }
            return (UploadHeader(created: created, totalBytes: totalBytes, context: try body.readPrefixed()), length)
        } catch {
            return nil
        }
    }
}

/// A range that is on disk, as a session notes it behind the header.
enum UploadRangeEntry {
    static let bytes = 20
    /// Of header and entries what is read: 800,000 appends.
    static let bytesMax: Int64 = 16 << 20

    static func encode(_ range: Range<Int64>) -> [UInt8] {
        var writer = BinaryWriter(reserving: bytes)
        writer.write(range.lowerBound)
        writer.write(range.upperBound)
        writer.write(CRC32C.of(writer.bytes))
        return writer.bytes
    }

    /// Every whole entry; a torn one at the end was never acknowledged.
    static func decodeAll(_ bytes: [UInt8]) -> [Range<Int64>] {
        var ranges: [Range<Int64>] = []
        for start in stride(from: 0, through: bytes.count - UploadRangeEntry.bytes, by: UploadRangeEntry.bytes) {
            let entry = Array(bytes[start..<start + UploadRangeEntry.bytes])
            var reader = BinaryReader(entry)
            guard let lower = try? reader.readInt64(), let upper = try? reader.readInt64(), let checksum = try? reader.readUInt32(),
                checksum == CRC32C.of(entry.prefix(16)), lower >= 0, lower <= upper
            else { break }
            ranges.append(lower..<upper)
        }
        return ranges
    }
}

/// What of a stream is there: disjoint ranges in order, none touching the next.
struct ReceivedRanges: Hashable, Sendable {
    private(set) var ranges: [Range<Int64>] = []

    /// Contiguous from the beginning.
    var contiguous: Int64 { ranges.first?.lowerBound == 0 ? ranges[0].upperBound : 0 }

    mutating func insert(_ range: Range<Int64>) {
        guard !range.isEmpty else { return }
        var merged = range
        var kept: [Range<Int64>] = []
        for other in ranges {
            if other.upperBound < merged.lowerBound || other.lowerBound > merged.upperBound {
                kept.append(other)
            } else {
                merged = min(merged.lowerBound, other.lowerBound)..<max(merged.upperBound, other.upperBound)
            }
        }
        kept.append(merged)
        ranges = kept.sorted { $0.lowerBound < $1.lowerBound }
    }
}
