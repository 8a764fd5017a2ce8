import Core

/// The end records and the central directory of a zip (APPNOTE sections 4.3.12 to 4.3.16).
struct ZipDirectory {
    /// One header of the directory, as it is written.
    struct Record {
        var flags: UInt16
        var method: UInt16
        var crc32: UInt32
        var compressedSize: Int64
        var size: Int64
        var localOffset: Int64
        var nameBytes: [UInt8]
        var name: String
        var unixMode: UInt16?
    }

    let records: [Record]
    let offset: Int64

    private static let endBytes = 22
    private static let endSignature: [UInt8] = [0x50, 0x4B, 5, 6]

    init(_ source: any RandomAccessBytes, budget: Budget) throws(RegistryError) {
        let end = try ZipDirectory.end(of: source)
        guard end.entries <= UInt64(budget.items) else { throw refused("zip", "the archive has more than \(budget.items) entries") }
        guard end.size <= UInt64(budget.bytes), let size = Int(exactly: end.size) else {
            throw refused("zip", "the archive's directory has more than \(budget.bytes) bytes")
        }
        // Where it is announced, and where the end records say it must end: with something in front of the archive the two differ.
        guard let offset = Int64(exactly: end.offset), offset <= end.startsAt, end.startsAt - offset == Int64(size) else {
            throw refused("zip", "the directory is not where the end record says; the archive has bytes in front of it or is damaged")
        }
        let bytes = try source.bytes(at: offset, count: size)
        guard bytes.count == size else { throw refused("zip", "the directory is cut short") }
        var cursor = LittleEndian(bytes[...], of: "zip")
        var records: [Record] = []
        while cursor.remaining > 0 {
            guard UInt64(records.count) < end.entries else { throw refused("zip", "the directory has more entries than the end record says") }
            records.append(try Record(&cursor))
        }
        guard UInt64(records.count) == end.entries else { throw refused("zip", "the directory has fewer entries than the end record says") }
        self.records = records
        self.offset = offset
    }

    /// What the end of central directory record says, 64-bit fields put in their places; `startsAt` is where the first end record begins.
    private struct End { var entries, size, offset: UInt64, startsAt: Int64 }

    private static func end(of source: any RandomAccessBytes) throws(RegistryError) -> End {
        let tailBytes = Int(min(source.size, Int64(endBytes + 0xFFFF)))
        let tail = try source.bytes(at: source.size - Int64(tailBytes), count: tailBytes)
        // The last signature must be the record that reaches exactly to the end of the file. Another reader would take another one if there
        // were any that also does, or one behind it in its comment.
        var found: Int?
        for at in stride(from: tail.count - endSignature.count, through: 0, by: -1) where tail[at..<at + 4].elementsEqual(endSignature) {
            let reaches = at + endBytes <= tail.count && at + endBytes + Int(tail[at + 20]) + Int(tail[at + 21]) << 8 == tail.count
            if found == nil {
                guard reaches else { throw refused("zip", "something follows the end of the archive, or its end record is damaged") }
                found = at
            } else if reaches {
                throw refused("zip", "the archive has two end records")
            }
        }
        guard let found else { throw refused("zip", "this is no zip archive: it has no end record") }
        var cursor = LittleEndian(tail[(found + 4)...], of: "zip")
        let disks = (try cursor.u16(), try cursor.u16())
        let counts = (try cursor.u16(), try cursor.u16())
        let (size, offset) = (try cursor.u32(), try cursor.u32())
        let startsAt = source.size - Int64(tail.count - found)
        let short = End(entries: UInt64(counts.1), size: UInt64(size), offset: UInt64(offset), startsAt: startsAt)
        if let long = try end64(of: source, before: startsAt, disks, counts, short) { return long }
        guard disks == (0, 0), counts.0 == counts.1 else { throw refused("zip", "archives in several parts are not supported") }
        return short
    }

    /// The zip64 records in front of the end record, if they are there; what they say must not contradict it.
    private static func end64(
        of source: any RandomAccessBytes, before startsAt: Int64, _ disks: (UInt16, UInt16), _ counts: (UInt16, UInt16), _ short: End
    ) throws(RegistryError) -> End? {
        let saturated = short.entries == 0xFFFF || short.size == 0xFFFF_FFFF || short.offset == 0xFFFF_FFFF
        let locator = startsAt >= 20 ? try source.bytes(at: startsAt - 20, count: 20) : []
        guard locator.starts(with: [0x50, 0x4B, 6, 7]) else {
            if short.size == 0xFFFF_FFFF || short.offset == 0xFFFF_FFFF { throw refused("zip", "the zip64 end record is missing") }
            return nil
        }
        var cursor = LittleEndian(locator[4...], of: "zip")
        let (disk, position, diskCount) = (try cursor.u32(), try cursor.u64(), try cursor.u32())
        guard disk == 0, diskCount <= 1, let recordAt = Int64(exactly: position), recordAt <= startsAt - 20, startsAt - 20 - recordAt >= 56 else {
            throw refused("zip", "the zip64 locator is damaged")
        }
        let record = try source.bytes(at: recordAt, count: 56)
        guard record.count == 56, record.starts(with: [0x50, 0x4B, 6, 6]) else { throw refused("zip", "the zip64 end record is damaged") }
        cursor = LittleEndian(record[4...], of: "zip")
        let length = try cursor.u64()
        guard length == UInt64(startsAt - 20 - recordAt - 12) else { throw refused("zip", "the zip64 end record is damaged") }
        _ = try cursor.u32()
        let disks64 = (try cursor.u32(), try cursor.u32())
        let counts64 = (try cursor.u64(), try cursor.u64())
        let long = End(entries: counts64.1, size: try cursor.u64(), offset: try cursor.u64(), startsAt: recordAt)
        guard disks64 == (0, 0), counts64.0 == counts64.1, [0, 0xFFFF].contains(disks.0), [0, 0xFFFF].contains(disks.1),
            agrees(UInt64(counts.0), long.entries, unless: 0xFFFF), agrees(short.entries, long.entries, unless: 0xFFFF),
            agrees(short.size, long.size, unless: 0xFFFF_FFFF), agrees(short.offset, long.offset, unless: 0xFFFF_FFFF)
        else { throw refused("zip", saturated ? "the zip64 end record is damaged" : "the two end records say different things") }
        return long
    }

    private static func agrees(_ short: UInt64, _ long: UInt64, unless marker: UInt64) -> Bool { short == marker || short == long }
}

extension ZipDirectory.Record {
    fileprivate init(_ cursor: inout LittleEndian) throws(RegistryError) {
        guard try cursor.u32() == 0x0201_4B50 else { throw refused("zip", "the directory is damaged") }
        let madeBy = try cursor.u16()
        _ = try cursor.u16()
        flags = try cursor.u16()
        method = try cursor.u16()
        _ = try cursor.u32()
        crc32 = try cursor.u32()
        let (shortCompressed, shortSize) = (try cursor.u32(), try cursor.u32())
        let lengths = (name: Int(try cursor.u16()), extra: Int(try cursor.u16()), comment: Int(try cursor.u16()))
        let disk = try cursor.u16()
        _ = try cursor.u16()
        let attributes = try cursor.u32()
        let shortOffset = try cursor.u32()
        nameBytes = Array(try cursor.take(lengths.name))
        name = try ZipName.check(nameBytes)
        let extra = try ZipExtra(try cursor.take(lengths.extra), name: name)
        _ = try cursor.take(lengths.comment)
        // Bits 0, 6 and 13: encrypted content, strong encryption, masked headers.
        guard flags & 0x2041 == 0 else { throw refused("zip", "\(name.prefix(200)) is encrypted") }
        guard disk == 0 || disk == 0xFFFF else { throw refused("zip", "archives in several parts are not supported") }
        var wide = extra.wide
        size = try ZipExtra.widened(shortSize, &wide)
        compressedSize = try ZipExtra.widened(shortCompressed, &wide)
        localOffset = try ZipExtra.widened(shortOffset, &wide)
        unixMode = madeBy >> 8 == 3 ? UInt16(attributes >> 16) : nil
    }
}

/// What an entry may be called.
enum ZipName {
    static func check(_ bytes: [UInt8]) throws(RegistryError) -> String {
        guard let name = String(validating: bytes, as: UTF8.self) else { throw refused("zip", "an entry's name is not UTF-8") }
        // By bytes: a combining mark behind a slash makes another character of it for Swift, but not for a file system.
        let segments = bytes.split(separator: UInt8(ascii: "/"))
        guard !name.isEmpty, bytes.first != UInt8(ascii: "/"), !segments.contains(where: { $0.elementsEqual("..".utf8) }),
            !bytes.contains(where: { $0 < 0x20 || $0 == 0x7F })
        else {
            throw refused("zip", "an entry's name is empty, absolute, leads upwards or holds a control character")
        }
        return name
    }
}

/// The extra field of a header (APPNOTE section 4.5): the 64-bit values, and the second name some packers give.
struct ZipExtra {
    var wide: ArraySlice<UInt8> = []

    init(_ bytes: ArraySlice<UInt8>, name: String) throws(RegistryError) {
        var cursor = LittleEndian(bytes, of: "zip")
        var seen: Set<UInt16> = []
        while cursor.remaining >= 4 {
            let id = try cursor.u16()
            let content = try cursor.take(Int(try cursor.u16()))
            switch id {
            case 0x0001:
                guard seen.insert(id).inserted else { throw refused("zip", "\(name.prefix(200)) gives its 64-bit sizes twice") }
                wide = content
            case 0x7075:
                // Version, CRC-32 of the other name, then a name that some readers prefer.
                guard content.dropFirst(5).elementsEqual(name.utf8) else { throw refused("zip", "\(name.prefix(200)) has a second, different name") }
            default: break
            }
        }
        // Aligned archives pad with a few zeros that are no field.
        guard try cursor.take(cursor.remaining).allSatisfy({ $0 == 0 }) else { throw refused("zip", "\(name.prefix(200)) has a damaged extra field") }
    }

    /// The 64-bit value when the short one is only its marker; they follow each other without the absent ones.
    static func widened(_ short: UInt32, _ wide: inout ArraySlice<UInt8>) throws(RegistryError) -> Int64 {
        guard short == .max else { return Int64(short) }
        var cursor = LittleEndian(wide, of: "zip")
        guard let value = Int64(exactly: try cursor.u64()) else { throw refused("zip", "a size in the directory is impossible") }
        wide = wide.dropFirst(8)
        return value
    }
}
