public import Core

/// What an archive is by its first bytes, whatever its name says.
public enum ArchiveKind: String, Sendable, Hashable {
    case zip, gzip, bzip2, xz, zstd, compress, tar, unknown

    public static func sniff(_ source: any RandomAccessBytes) throws(RegistryError) -> ArchiveKind {
        let head = try source.bytes(at: 0, count: 512)
        let magics: [(ArchiveKind, [UInt8])] = [
            (.zip, [0x50, 0x4B, 3, 4]), (.zip, [0x50, 0x4B, 5, 6]), (.gzip, [0x1F, 0x8B]), (.bzip2, Array("BZh".utf8)),
            (.xz, [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0]), (.zstd, [0x28, 0xB5, 0x2F, 0xFD]), (.compress, [0x1F, 0x9D]),
        ]
        if let hit = magics.first(where: { head.starts(with: $0.1) }) { return hit.0 }
        return head.count == 512 && (try? TarHeader(head)) != nil ? .tar : .unknown
    }
}

/// A Python source distribution, looked into.
public enum SourceArchive {
    /// The bytes of `<directory>/PKG-INFO`, nil when there is none. The whole archive is read and checked on the way.
    /// - Throws: `unsupported` for compressions other than gzip (recognised by content: bzip2, xz, zstd, compress); `invalid` for damage, for two
    ///   such files, and beyond the budget or `bytesMax`.
    public static func packageInfo(
        in source: any RandomAccessBytes, bytesMax: Int = 1 << 20, budget: Budget = .stream
    ) throws(RegistryError) -> [UInt8]? {
        switch try ArchiveKind.sniff(source) {
        case .zip:
            let zip = try ZipArchive(source, budget: budget)
            let found = zip.entries.filter { isPackageInfo($0.name) && !$0.isSymbolicLink }
            guard found.count <= 1 else { throw twice }
            return try found.first.map { entry throws(RegistryError) in try zip.read(entry, bytesMax: bytesMax) }
        case .gzip:
            let gunzip = try GunzipReader(source, budget: budget)
            return try packageInfo(in: TarReader(budget: budget) { () throws(RegistryError) in try gunzip.next() }, bytesMax: bytesMax)
        case .tar:
            guard source.size <= budget.expandedBytes else { throw refused("tar", "the archive has more than \(budget.expandedBytes) bytes") }
            var position: Int64 = 0
            let tar = TarReader(budget: budget) { () throws(RegistryError) in
                let piece = try source.bytes(at: position, count: InflateReader.windowBytes)
                position += Int64(piece.count)
                return piece.isEmpty ? nil : piece
            }
            return try packageInfo(in: tar, bytesMax: bytesMax)
        case .bzip2, .xz, .zstd, .compress:
            throw RegistryError(
                .unsupported, subject: .field("sdist"),
                reason: "source distributions must be .tar.gz or .zip; this one is compressed otherwise (PEP 625)")
        case .unknown: throw refused("sdist", "this is neither a .tar.gz nor a .zip file")
        }
    }

    private static func packageInfo(in tar: TarReader, bytesMax: Int) throws(RegistryError) -> [UInt8]? {
        var found: [UInt8]?
        while let entry = try tar.next() {
            guard entry.kind == .file, isPackageInfo(entry.path) else { continue }
            guard found == nil else { throw twice }
            found = try tar.content(bytesMax: bytesMax)
        }
        return found
    }

    /// Exactly one directory deep: deeper ones belong to vendored packages and to `.egg-info`. Some archivers put `./` in front.
    private static func isPackageInfo(_ path: String) -> Bool {
        let segments = path.split(separator: "/", omittingEmptySubsequences: false)
        return segments.drop { $0 == "." }.count == 2 && segments.last == "PKG-INFO"
    }

    private static var twice: RegistryError { refused("sdist", "the archive has two PKG-INFO files at its top") }
}
