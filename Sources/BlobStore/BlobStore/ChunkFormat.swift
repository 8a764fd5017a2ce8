import Core
import NIOCore

// Bytes of chunks, recipes, and the rows of the chunk index (docs/internals/chunk-recipe.md). Integers are big-endian.

/// What a record of a chunk holds: 8 bytes, then the chunk, compressed if that makes it shorter.
enum ChunkRecord {
    enum Coding: UInt8 {
        case plain = 0
        case zstd
    }

    static let headBytes = 8
    private static let format: UInt8 = 1

    static func encode(_ chunk: UnsafeRawBufferPointer, level: Int32 = Zstd.level) throws(RegistryError) -> ByteBuffer {
        let compressed = try unsafe Zstd.compress(chunk, level: level)
        var buffer = ByteBuffer()
        buffer.reserveCapacity(headBytes + (compressed?.count ?? chunk.count))
        buffer.writeInteger(format)
        buffer.writeInteger(compressed == nil ? Coding.plain.rawValue : Coding.zstd.rawValue)
        buffer.writeInteger(UInt16(0))
        buffer.writeInteger(UInt32(chunk.count))
        if let compressed { buffer.writeBytes(compressed) } else { unsafe buffer.writeBytes(chunk) }
        return buffer
    }

    /// - Throws: `corrupt` when it is none, or its chunk is longer than any profile makes them.
    static func decode(_ record: UnsafeRawBufferPointer) throws(RegistryError) -> ByteBuffer {
        guard record.count >= headBytes, unsafe record[0] == format, let coding = Coding(rawValue: unsafe record[1]) else {
            throw BinaryReader.damaged
        }
        let length = unsafe Int(UInt32(bigEndian: record.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
        guard length <= Recipe.chunkBytesMax else { throw BinaryReader.damaged }
        let rest = unsafe UnsafeRawBufferPointer(rebasing: record[headBytes...])
        switch coding {
        case .plain:
            guard rest.count == length else { throw BinaryReader.damaged }
            return unsafe ByteBuffer(bytes: rest)
        case .zstd: return try unsafe Zstd.decompress(rest, to: length)
        }
    }
}

/// Of which chunks a blob is made, in their order. Those of an archive that was opened make its opened form, of which it is made again.
struct Recipe: Sendable {
    /// No profile makes longer ones.
    static let chunkBytesMax = 2 << 20
    private static let (format, archiveFormat): (UInt8, UInt8) = (1, 2)
    private static let headBytes = 16
    private static let entryBytes = 36

    let profile: ChunkProfile
    /// Of the blob.
    let length: Int64
    /// nil: the chunks are the blob.
    let archive: ArchiveForm?
    /// 32 bytes for each chunk.
    private let digests: [UInt8]
    /// Where each chunk ends in the blob.
    private let ends: [Int64]

    struct Piece: Hashable, Sendable {
        let chunk: BlobID
        /// In what the chunks make.
        let start: Int64
        let length: Int
    }

    init(_ profile: ChunkProfile, _ chunks: some Collection<(id: BlobID, length: Int)>, archive: ArchiveForm? = nil) {
        self.profile = profile
        var digests: [UInt8] = []
        var ends: [Int64] = []
        var end: Int64 = 0
        for chunk in chunks {
            digests.append(contentsOf: chunk.id.bytes)
            end += Int64(chunk.length)
            ends.append(end)
        }
        (self.digests, self.ends, self.archive, length) = (digests, ends, archive, archive?.length ?? end)
    }

    var count: Int { ends.count }
    /// What the chunks make: the blob, or its opened form.
    var chunkedBytes: Int64 { ends.last ?? 0 }
    /// In memory.
    var bytes: Int { digests.count + ends.count * 8 + (archive?.bytes ?? 0) }

    subscript(index: Int) -> Piece {
        guard let id = BlobID(bytes: digests[index * 32..<(index + 1) * 32]) else { preconditionFailure("a digest is 32 bytes") }
        let start = index == 0 ? 0 : ends[index - 1]
        return Piece(chunk: id, start: start, length: Int(ends[index] - start))
    }

    /// The first 64 bits of a chunk's digest.
    func prefix(_ index: Int) -> UInt64 {
        digests.withUnsafeBytes { unsafe UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: index * 32, as: UInt64.self)) }
    }

    /// The first 64 bits of each chunk's digest.
    func forEachPrefix(_ body: (UInt64) -> Void) {
        digests.withUnsafeBytes { digests in
            for index in ends.indices { unsafe body(UInt64(bigEndian: digests.loadUnaligned(fromByteOffset: index * 32, as: UInt64.self))) }
        }
    }

    /// The piece that holds the byte at `offset` of what the chunks make, which is inside.
    func index(at offset: Int64) -> Int {
        var (low, high) = (0, ends.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if ends[middle] <= offset { low = middle + 1 } else { high = middle }
        }
        return low
    }

    static func encodedBytes(count: Int, archive: ArchiveForm? = nil) -> Int64 {
        Int64(headBytes + count * entryBytes) + (archive?.encodedBytes ?? 0)
    }

    var encoded: [UInt8] {
        var writer = BinaryWriter(reserving: Int(Recipe.encodedBytes(count: count, archive: archive)))
        writer.write(archive == nil ? Recipe.format : Recipe.archiveFormat)
        writer.write(profile.rawValue)
        writer.write(raw: [0, 0])
        writer.write(UInt32(count))
        writer.write(length)
        for index in ends.indices {
            writer.write(raw: digests[index * 32..<(index + 1) * 32])
            writer.write(UInt32(self[index].length))
        }
        archive?.encode(to: &writer)
        return writer.bytes
    }

    /// - Throws: `corrupt` when it is none, or its chunks do not add up to its length.
    init(_ bytes: [UInt8]) throws(RegistryError) {
        var reader = BinaryReader(bytes)
        let format = try reader.readUInt8()
        guard format == Recipe.format || format == Recipe.archiveFormat, let profile = ChunkProfile(rawValue: try reader.readUInt8()) else {
            throw BinaryReader.damaged
        }
        _ = try reader.readBytes(2)
        let count = Int(try reader.readUInt32())
        let length = try reader.readInt64()
        guard count > 0, Int64(bytes.count) >= Recipe.encodedBytes(count: count) else { throw BinaryReader.damaged }
        var digests: [UInt8] = []
        digests.reserveCapacity(count * 32)
        var ends: [Int64] = []
        ends.reserveCapacity(count)
        var end: Int64 = 0
        for _ in 0..<count {
            digests.append(contentsOf: try reader.readBytes(32))
            let chunk = try reader.readUInt32()
            guard (1...UInt32(Recipe.chunkBytesMax)).contains(chunk) else { throw BinaryReader.damaged }
            end += Int64(chunk)
            ends.append(end)
        }
        archive = format == Recipe.archiveFormat ? try ArchiveForm(&reader) : nil
        guard reader.remaining == 0, length == archive?.length ?? end, archive == nil || archive?.chunkedBytes == end else {
            throw BinaryReader.damaged
        }
        (self.profile, self.length, self.digests, self.ends) = (profile, length, digests, ends)
    }
}

/// Keys and values of the chunk index, which is local and rebuildable like that of the blobs.
enum ChunkIndex {
    /// A chunk -> the record that holds it.
    static func key(ofChunk id: BlobID) -> [UInt8] { [chunk] + id.bytes }
    /// A blob that was looked at and left whole -> by which profile.
    static func key(ofNote id: BlobID) -> [UInt8] { [note] + id.bytes }

    /// One chunk in so many of a blob that was left whole -> that blob: who has it, too, may be a later version of it.
    static func key(ofKinship id: BlobID) -> [UInt8] { [kinship] + id.bytes }
    static func isSampled(_ id: BlobID) -> Bool { id.bytes[31] % kinshipEvery == 0 }
    static let kinshipEvery: UInt8 = 8

    /// A blob that may be an archive -> when it was last read, or that it stays closed.
    static func key(ofArchive id: BlobID) -> [UInt8] { [archive] + id.bytes }

    static let (chunk, note, kinship, archive): (UInt8, UInt8, UInt8, UInt8) = (1, 2, 3, 4)
    private static let format: UInt8 = 1

    static func row(_ place: BlobLocation.RecordPlace) -> [UInt8] {
        var writer = BinaryWriter(reserving: 25)
        writer.write(format)
        writer.write(place.segment)
        writer.write(place.offset)
        writer.write(place.length)
        return writer.bytes
    }

    static func place(_ row: [UInt8]) throws(RegistryError) -> BlobLocation.RecordPlace {
        var reader = BinaryReader(row)
        guard try reader.readUInt8() == format else { throw BinaryReader.damaged }
        let place = BlobLocation.RecordPlace(
            segment: try reader.readUInt64(), offset: try reader.readInt64(), length: try reader.readInt64())
        guard reader.remaining == 0, (Int64(SegmentHeader.bytes)...RecordHeader.lengthMax).contains(place.offset),
            (Int64(ChunkRecord.headBytes)...Int64(ChunkRecord.headBytes + Recipe.chunkBytesMax)).contains(place.length)
        else { throw BinaryReader.damaged }
        return place
    }

    static func note(_ profile: ChunkProfile) -> [UInt8] { [format, profile.rawValue] }

    static func kin(_ blob: BlobID) -> [UInt8] { [format] + blob.bytes }

    static func kin(_ row: [UInt8]) throws(RegistryError) -> BlobID {
        guard row.first == format, let blob = BlobID(bytes: row.dropFirst()) else { throw BinaryReader.damaged }
        return blob
    }
}
