public import Core

/// A Unix archive as `.deb` files are: the common format of deb(5), without the long names of GNU and BSD.
public struct ArArchive: Sendable {
    public struct Member: Sendable, Hashable {
        /// Without the padding, and without the slash that some archivers end it with.
        public let name: String
        public let content: Range<Int64>
    }

    private static let magic = Array("!<arch>\n".utf8)
    private static let headerBytes: Int64 = 60

    public let members: [Member]

    /// Reads the headers of all members; their content is not read.
    /// - Throws: `invalid` for what is no such archive, for a member that reaches beyond the end, and beyond `membersMax`.
    public init(_ source: any RandomAccessBytes, membersMax: Int = 64) throws(RegistryError) {
        guard try source.bytes(at: 0, count: ArArchive.magic.count) == ArArchive.magic else { throw refused("ar", "this is no ar archive") }
        var members: [Member] = []
        var position = Int64(ArArchive.magic.count)
        while position < source.size {
            guard members.count < membersMax else { throw refused("ar", "the archive has more than \(membersMax) members") }
            let header = try source.bytes(at: position, count: Int(ArArchive.headerBytes))
            guard header.count == Int(ArArchive.headerBytes), header[58] == 0x60, header[59] == 0x0A else {
                throw refused("ar", "member \(members.count + 1) has a damaged header")
            }
            var name = header[..<16]
            while name.last == 0x20 { name = name.dropLast() }
            if name.count > 1, name.last == UInt8(ascii: "/") { name = name.dropLast() }
            guard !name.isEmpty, name.first != UInt8(ascii: "/"), !name.starts(with: Array("#1/".utf8)),
                name.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") })
            else { throw refused("ar", "member \(members.count + 1) has no plain name") }
            // Ten digits at most: no overflow.
            let digits = header[48..<58].prefix { (0x30...0x39).contains($0) }
            guard !digits.isEmpty, header[digits.endIndex..<58].allSatisfy({ $0 == 0x20 }) else {
                throw refused("ar", "member \(members.count + 1) has no decimal size")
            }
            let size = digits.reduce(Int64(0)) { $0 * 10 + Int64($1 - 0x30) }
            let start = position + ArArchive.headerBytes
            guard size <= source.size - start else { throw refused("ar", "member \(members.count + 1) reaches beyond the end of the file") }
            members.append(Member(name: String(decoding: name, as: UTF8.self), content: start..<start + size))
            position = start + size + (size & 1)
        }
        self.members = members
    }
}
