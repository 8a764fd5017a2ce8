import Core

/// Where the deflate streams of a zip file lie, by its directory (APPNOTE 4.3). Nothing here is believed: what lies there must be made again bit for
/// bit, or it stays as it is.
enum ZipStreams {
    struct Stream: Hashable {
        let offset: Int64
        let length: Int64
        /// As the directory says.
        let inflated: Int64
    }

    private static let (endBytes, entryBytes, headerBytes) = (22, 46, 30)
    private static let directoryBytesMax: Int64 = 64 << 20
    private static let deflated: UInt16 = 8

    /// In the order they lie in; nil when it is no zip file of the plain kind (no zip64), or when its entries overlap.
    static func find(in archive: some RandomAccessBytes) throws(RegistryError) -> [Stream]? {
        guard let (start, listed, entries) = try directory(of: archive) else { return nil }
        var found: [Stream] = []
        var at = 0
        for _ in 0..<entries {
            guard at + entryBytes <= listed.count, number(listed, at, 4) == 0x0201_4B50 else { return nil }
            let flags = number(listed, at + 8, 2)
            let (compressed, inflated) = (Int64(number(listed, at + 20, 4)), Int64(number(listed, at + 24, 4)))
            let offset = Int64(number(listed, at + 42, 4))
            let isWanted = flags & 1 == 0 && number(listed, at + 10, 2) == Int(deflated) && compressed > 0
            if isWanted {
                guard let data = try dataOffset(of: archive, at: offset), data + compressed <= start else { return nil }
                found.append(Stream(offset: data, length: compressed, inflated: inflated))
            }
            at += entryBytes + number(listed, at + 28, 2) + number(listed, at + 30, 2) + number(listed, at + 32, 2)
        }
        found.sort { $0.offset < $1.offset }
        for (one, next) in zip(found, found.dropFirst()) where one.offset + one.length > next.offset { return nil }
        return found
    }

    /// Where it begins, its bytes, and how many entries it says it has.
    private static func directory(of archive: some RandomAccessBytes) throws(RegistryError) -> (start: Int64, bytes: [UInt8], entries: Int)? {
        let tailStart = max(0, archive.size - Int64(endBytes + 0xFFFF))
        let tail = try archive.bytes(at: tailStart, count: Int(archive.size - tailStart))
        var at = tail.count - endBytes
        while at >= 0, number(tail, at, 4) != 0x0605_4B50 { at -= 1 }
        guard at >= 0 else { return nil }
        let entries = number(tail, at + 10, 2)
        let (size, start) = (Int64(number(tail, at + 12, 4)), Int64(number(tail, at + 16, 4)))
        guard entries != 0xFFFF, size <= directoryBytesMax, start + size <= tailStart + Int64(at) else { return nil }
        let bytes = try archive.bytes(at: start, count: Int(size))
        return bytes.count == Int(size) ? (start, bytes, entries) : nil
    }

    private static func dataOffset(of archive: some RandomAccessBytes, at offset: Int64) throws(RegistryError) -> Int64? {
        let header = try archive.bytes(at: offset, count: headerBytes)
        guard header.count == headerBytes, number(header, 0, 4) == 0x0403_4B50 else { return nil }
        return offset + Int64(headerBytes + number(header, 26, 2) + number(header, 28, 2))
    }

    /// Little-endian, of at most 4 bytes; 0 beyond the end.
    private static func number(_ bytes: [UInt8], _ at: Int, _ count: Int) -> Int {
        guard at >= 0, at + count <= bytes.count else { return 0 }
        return bytes[at..<at + count].reversed().reduce(0) { $0 << 8 | Int($1) }
    }
}
