import Core

/// Walks the local headers in file order and holds each against the directory (APPNOTE sections 4.3.7 to 4.3.9).
struct ZipLayout {
    private let source: any RandomAccessBytes
    private let directoryOffset: Int64

    init(_ source: any RandomAccessBytes, directoryOffset: Int64) {
        self.source = source
        self.directoryOffset = directoryOffset
    }

    /// The entries in the records' order, once the whole file in front of the directory is accounted for.
    func entries(_ records: [ZipDirectory.Record]) throws(RegistryError) -> [ZipArchive.Entry] {
        let order = records.indices.sorted { records[$0].localOffset < records[$1].localOffset }
        var dataOffsets = [Int64](repeating: 0, count: records.count)
        var expected: Int64 = 0
        for (at, index) in order.enumerated() {
            let record = records[index]
            let limit = at + 1 < order.count ? records[order[at + 1]].localOffset : directoryOffset
            guard record.localOffset == expected, limit <= directoryOffset else {
                throw refused("zip", "\(record.name.prefix(200)) does not begin where the entry before it ends")
            }
            dataOffsets[index] = try check(record, endingAt: limit)
            expected = limit
        }
        guard expected == directoryOffset else { throw refused("zip", "there are bytes in front of the directory that belong to no entry") }
        return records.indices.map { ZipArchive.Entry(records[$0], dataOffset: dataOffsets[$0]) }
    }

    /// Holds the local header against the record.
    /// - Returns: where the content begins.
    private func check(_ record: ZipDirectory.Record, endingAt limit: Int64) throws(RegistryError) -> Int64 {
        let name = record.name.prefix(200)
        let fixed = 30 + record.nameBytes.count
        let header = try source.bytes(at: record.localOffset, count: fixed)
        var cursor = LittleEndian(header[...], of: "zip")
        guard try cursor.u32() == 0x0403_4B50 else { throw refused("zip", "\(name) has no local header") }
        _ = try cursor.u16()
        let flags = try cursor.u16()
        let method = try cursor.u16()
        _ = try cursor.u32()
        let (crc, shortCompressed, shortSize) = (try cursor.u32(), try cursor.u32(), try cursor.u32())
        let (nameLength, extraLength) = (Int(try cursor.u16()), Int(try cursor.u16()))
        guard nameLength == record.nameBytes.count, try cursor.take(nameLength).elementsEqual(record.nameBytes) else {
            throw refused("zip", "\(name) has another name in its local header")
        }
        // Encryption, data descriptor and the name's encoding must be said alike; the compression level may differ.
        guard method == record.method, (flags ^ record.flags) & 0x2849 == 0 else {
            throw refused("zip", "\(name) has another method or other flags in its local header")
        }
        let extraBytes = try source.bytes(at: record.localOffset + Int64(fixed), count: extraLength)
        guard extraBytes.count == extraLength else { throw refused("zip", "\(name) is cut short") }
        var wide = try ZipExtra(extraBytes[...], name: record.name).wide
        let size = try ZipExtra.widened(shortSize, &wide)
        let compressedSize = try ZipExtra.widened(shortCompressed, &wide)

        let hasDescriptor = flags & 0x0008 != 0
        let said = (crc, compressedSize, size)
        guard said == (record.crc32, record.compressedSize, record.size) || hasDescriptor && said == (0, 0, 0) else {
            throw refused("zip", "\(name) has another size or CRC-32 in its local header")
        }
        // Only its own end tells a reader of the stream where such an entry stops, and stored bytes have none.
        if hasDescriptor, method == 0, record.size > 0 { throw refused("zip", "\(name) is stored without its size in front of it") }
        guard method != 0 || record.size == record.compressedSize else { throw refused("zip", "\(name) is stored but has two sizes") }
        let dataOffset = record.localOffset + Int64(fixed + extraLength)
        guard dataOffset <= limit, record.compressedSize <= limit - dataOffset else { throw refused("zip", "\(name) overlaps what follows it") }
        let gap = (dataOffset + record.compressedSize)..<limit
        if hasDescriptor {
            try checkDescriptor(record, gap)
        } else if !gap.isEmpty {
            throw refused("zip", "bytes follow \(name) that belong to no entry")
        }
        return dataOffset
    }

    /// The descriptor is CRC-32 and both sizes, with or without a signature, of 4 or 8 bytes each: the gap's length says which.
    private func checkDescriptor(_ record: ZipDirectory.Record, _ gap: Range<Int64>) throws(RegistryError) {
        let length = gap.upperBound - gap.lowerBound
        guard [12, 16, 20, 24].contains(length) else { throw refused("zip", "bytes follow \(record.name.prefix(200)) that belong to no entry") }
        let bytes = try source.bytes(at: gap.lowerBound, count: Int(length))
        var cursor = LittleEndian(bytes[...], of: "zip")
        let isSigned = length == 16 || length == 24
        if isSigned, try cursor.u32() != 0x0807_4B50 { throw refused("zip", "\(record.name.prefix(200)) has a damaged data descriptor") }
        let crc = try cursor.u32()
        let sizes = length >= 20 ? (try cursor.u64(), try cursor.u64()) : (UInt64(try cursor.u32()), UInt64(try cursor.u32()))
        guard crc == record.crc32, sizes == (UInt64(record.compressedSize), UInt64(record.size)) else {
            throw refused("zip", "\(record.name.prefix(200)) has a damaged data descriptor")
        }
    }
}

extension ZipArchive.Entry {
    fileprivate init(_ record: ZipDirectory.Record, dataOffset: Int64) {
        let method: Method =
            switch record.method {
            case 0: .stored
            case 8: .deflate
            default: .other(record.method)
            }
        self.init(
            name: record.name, method: method, compressedSize: record.compressedSize, size: record.size, crc32: record.crc32,
            unixMode: record.unixMode, dataOffset: dataOffset)
    }
}
