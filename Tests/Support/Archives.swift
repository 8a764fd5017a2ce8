// Archives made byte by byte, for tests of what looks into them.

/// PKWARE's format with nothing compressed.
public func zip(_ files: [(name: String, bytes: [UInt8])], method: UInt16 = 0) -> [UInt8] {
    var archive: [UInt8] = []
    var directory: [UInt8] = []
    for (name, bytes) in files {
        let offset = archive.count
        var about = little(method, 2) + little(0, 4) + little(crc32(bytes), 4)
        about += little(bytes.count, 4) + little(bytes.count, 4)
        about += little(name.utf8.count, 2) + little(0, 2)
        archive += [0x50, 0x4B, 3, 4, 20, 0, 0, 0] + about + Array(name.utf8) + bytes
        directory += [0x50, 0x4B, 1, 2, 20, 0, 20, 0, 0, 0] + about
        directory += little(0, 10) + little(offset, 4) + Array(name.utf8)
    }
    var end: [UInt8] = [0x50, 0x4B, 5, 6] + little(0, 4)
    end += little(files.count, 2) + little(files.count, 2)
    end += little(directory.count, 4) + little(archive.count, 4) + little(0, 2)
    return archive + directory + end
}

/// POSIX ustar: plain files in this order.
public func tar(_ files: [(name: String, bytes: [UInt8])]) -> [UInt8] {
    var archive: [UInt8] = []
    for (name, bytes) in files {
        var header = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, at: Int) { header.replaceSubrange(at..<at + text.utf8.count, with: Array(text.utf8)) }
        put(name, at: 0)
        put("0000644", at: 100)
        let octal = String(bytes.count, radix: 8)
        put(String(repeating: "0", count: 11 - octal.count) + octal, at: 124)
        put("        ", at: 148)
        put("0", at: 156)
        put("ustar\0" + "00", at: 257)
        let sum = String(header.reduce(0) { $0 + Int($1) }, radix: 8)
        put(String(repeating: "0", count: 6 - sum.count) + sum + "\0 ", at: 148)
        archive += header + bytes + [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
    }
    return archive + [UInt8](repeating: 0, count: 1024)
}

/// RFC 1952 around stored blocks.
public func gzip(_ bytes: [UInt8]) -> [UInt8] {
    var file: [UInt8] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255]
    var rest = bytes[...]
    repeat {
        let block = rest.prefix(65_535)
        rest = rest.dropFirst(block.count)
        file += [rest.isEmpty ? 1 : 0] + little(block.count, 2) + little(~block.count & 0xFFFF, 2) + block
    } while !rest.isEmpty
    return file + little(crc32(bytes), 4) + little(bytes.count, 4)
}

private func little(_ value: some BinaryInteger, _ count: Int) -> [UInt8] {
    (0..<count).map { $0 < 8 ? UInt8(truncatingIfNeeded: UInt64(truncatingIfNeeded: value) >> UInt64(8 * $0)) : 0 }
}

private func crc32(_ bytes: [UInt8]) -> UInt32 {
    var sum = UInt32.max
    for byte in bytes {
        sum ^= UInt32(byte)
        for _ in 0..<8 { sum = sum & 1 == 1 ? (sum >> 1) ^ 0xEDB8_8320 : sum >> 1 }
    }
    return ~sum
}
