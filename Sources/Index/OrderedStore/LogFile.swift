import Core

#if canImport(Glibc)
    import Glibc
#endif

/// A write-ahead log or a manifest, as RocksDB writes them: blocks of 32 KiB, in them records, each a masked CRC-32C (4 bytes), a length (2), a
/// type (1) and the payload, integers little-endian. A record never crosses the end of a block; one that would is written as first, middle, last.
///
/// RocksDB takes whatever it cannot read at the end of a log for what a crash left unfinished, and drops it with all that follows. Here the two are
/// told apart. A crash leaves the last group of changes short, or with pages that were never written; before it everything was synced. So damage
/// is what has a whole record after it that is not of the same group, or what a single flipped bit explains.
enum LogFile {
    enum State: Hashable {
        case whole
        /// From there on it was never finished.
        case torn(at: Int)
        case damaged(at: Int)
    }

    static let blockBytes = 32 << 10
    private static let headerBytes = 7
    private enum Kind { static let (full, first, last) = (UInt8(1), UInt8(2), UInt8(4)) }

    static func state(ofFile path: String) throws(RegistryError) -> State { state(of: try read(path)) }

    static func state(of bytes: [UInt8]) -> State {
        var at = 0
        while at < bytes.count {
            let rest = blockBytes - at % blockBytes
            if rest < headerBytes {
                // Too short for a header: zeros.
                at += rest
                continue
            }
            guard let end = recordEnd(bytes, at) else {
                return isDamage(bytes, at) ? .damaged(at: at) : .torn(at: at)
            }
            at = end
        }
        return .whole
    }

    /// Where the record at that offset ends; nil when there is none.
    private static func recordEnd(_ bytes: [UInt8], _ at: Int) -> Int? {
        guard at + headerBytes <= bytes.count else { return nil }
        let end = at + headerBytes + length(bytes, at)
        let kind = bytes[at + 6]
        guard kind >= Kind.full, kind <= Kind.last, fits(end, bytes, at), storedChecksum(bytes, at) == checksum(bytes[at + 6..<end]) else {
            return nil
        }
        return end
    }

    private static func length(_ bytes: [UInt8], _ at: Int) -> Int { Int(bytes[at + 4]) | Int(bytes[at + 5]) << 8 }
    private static func fits(_ end: Int, _ bytes: [UInt8], _ at: Int) -> Bool { end <= bytes.count && end <= (at / blockBytes + 1) * blockBytes }

    // MARK: Damage, or never finished

    private static func isDamage(_ bytes: [UInt8], _ at: Int) -> Bool {
        guard at + headerBytes <= bytes.count else { return false }
        return hasLaterGroup(bytes, after: at) || isOneBitAway(bytes, at)
    }

    /// The one group that was not synced may be on the disk in parts, its first part not among them.
    private static func hasLaterGroup(_ bytes: [UInt8], after at: Int) -> Bool {
        (at + 1..<max(at + 1, bytes.count - headerBytes)).contains { other in
            (bytes[other + 6] == Kind.full || bytes[other + 6] == Kind.first) && other % blockBytes <= blockBytes - headerBytes
                && recordEnd(bytes, other) != nil
        }
    }

    private static func isOneBitAway(_ bytes: [UInt8], _ at: Int) -> Bool {
        let stored = storedChecksum(bytes, at)
        for bit in 0..<16 {
            let end = at + headerBytes + (length(bytes, at) ^ 1 << bit)
            if fits(end, bytes, at), checksum(bytes[at + 6..<end]) == stored { return true }
        }
        let end = at + headerBytes + length(bytes, at)
        guard fits(end, bytes, at) else { return false }
        let actual = checksum(bytes[at + 6..<end])
        if (masked(actual) ^ maskedChecksum(bytes, at)).nonzeroBitCount == 1 { return true }
        // What a flip of each bit does to the checksum: of the last byte first, then farther and farther from the end.
        let wanted = actual ^ stored
        var effects = (0..<8).map { table[1 << $0] }
        for _ in at + 6..<end {
            if effects.contains(wanted) { return true }
            for bit in effects.indices { effects[bit] = effects[bit] >> 8 ^ table[Int(effects[bit] & 0xFF)] }
        }
        return false
    }

    // MARK: Checksums

    private static func maskedChecksum(_ bytes: [UInt8], _ at: Int) -> UInt32 {
        (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) }
    }

    private static let delta: UInt32 = 0xA282_EAD8
    private static func masked(_ crc: UInt32) -> UInt32 { (crc >> 15 | crc << 17) &+ delta }
    private static func storedChecksum(_ bytes: [UInt8], _ at: Int) -> UInt32 {
        let turned = maskedChecksum(bytes, at) &- delta
        return turned >> 17 | turned << 15
    }

    /// CRC-32C (RFC 3720 appendix B.4) a byte at a time: what is read here is small, or read because something is wrong.
    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { crc, _ in crc >> 1 ^ (crc & 1 == 1 ? 0x82F6_3B78 : 0) }
    }

    private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        ~bytes.reduce(~0) { crc, byte in crc >> 8 ^ table[Int((crc ^ UInt32(byte)) & 0xFF)] }
    }

    // MARK: Files

    static func read(_ path: String) throws(RegistryError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw RegistryError(.corrupt, subject: .store, reason: "a file of the index is missing", cause: "open \(path): errno \(errno)")
        }
        let file = OpenFile(owning: descriptor)
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            throw RegistryError(.unavailable, subject: .store, reason: "a file of the index cannot be read", cause: "fstat \(path): errno \(errno)")
        }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        let result = bytes.withUnsafeMutableBytes { buffer in
            Result { () throws(RegistryError) -> Int in try unsafe file.read(at: 0, into: buffer) }
        }
        let count = try result.get()
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    static func names(in directory: String) -> [String] {
        guard let stream = unsafe opendir(directory) else { return [] }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            names.append(
                unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                    unsafe String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
                })
        }
        return names.sorted()
    }
}
