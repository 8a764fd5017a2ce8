/// Project names (PEP 503, PEP 508).
public enum PEP503 {
    /// Lower case, runs of `-`, `_` and `.` as one `-`.
    public static func normalize(_ name: some StringProtocol) -> String {
        var result: [UInt8] = []
        for byte in name.utf8 {
            switch byte {
            case UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."): if result.last != UInt8(ascii: "-") { result.append(UInt8(ascii: "-")) }
            case 0x41...0x5A: result.append(byte + 0x20)
            default: result.append(byte)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// PEP 508's grammar: letters and digits, and between them `.`, `_`, `-`; at most 256 bytes.
    public static func isName(_ text: some StringProtocol) -> Bool {
        guard let first = text.utf8.first, let last = Array(text.utf8).last, text.utf8.count <= 256 else { return false }
        return HeaderScanner.isAlphanumeric(first) && HeaderScanner.isAlphanumeric(last)
            && text.utf8.allSatisfy { HeaderScanner.isAlphanumeric($0) || "._-".utf8.contains($0) }
    }
}

/// What a wheel's file name says (PEP 427, PEP 491).
public struct WheelName: Sendable, Hashable {
    /// As written in the file's name; compare `PEP503.normalize` of it.
    public let project: String
    public let version: PEP440Version
    /// The version's part as written, with `_` for `-`.
    public let versionText: String
    /// The build number and what follows it, nil without a build tag.
    public let build: String?
    public let pythonTags: [String]
    public let abiTags: [String]
    public let platformTags: [String]

    /// nil unless it is `name-version(-build)?-python-abi-platform.whl` with a valid name, version and build tag.
    public init?(_ fileName: some StringProtocol) {
        guard fileName.hasSuffix(".whl"), fileName.utf8.count <= 512 else { return nil }
        let parts = String(fileName).dropLast(4).split(separator: "-", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 5 || parts.count == 6, !parts.contains(""), PEP503.isName(parts[0]), let version = PEP440Version(parts[1]) else {
            return nil
        }
        if parts.count == 6 {
            guard let first = parts[2].utf8.first, (0x30...0x39).contains(first) else { return nil }
        }
        let tags = parts.suffix(3).map { $0.split(separator: ".", omittingEmptySubsequences: false).map(String.init) }
        let isTag = { (tag: String) in !tag.isEmpty && tag.utf8.allSatisfy { HeaderScanner.isAlphanumeric($0) || $0 == UInt8(ascii: "_") } }
        guard parts.dropFirst(2).allSatisfy({ $0.utf8.allSatisfy { HeaderScanner.isAlphanumeric($0) || "_.".utf8.contains($0) } }),
            tags.allSatisfy({ $0.allSatisfy(isTag) })
        else { return nil }
        project = parts[0]
        self.version = version
        versionText = parts[1]
        build = parts.count == 6 ? parts[2] : nil
        (pythonTags, abiTags, platformTags) = (tags[0], tags[1], tags[2])
    }
}

/// What a source distribution's file name says (PEP 625, and what setuptools wrote before it).
public struct SdistName: Sendable, Hashable {
    public enum Archive: String, Sendable, Hashable, CaseIterable {
        case tarGzip = ".tar.gz"
        case zip = ".zip"
        case tarGzipShort = ".tgz"
        case tarBzip2 = ".tar.bz2"
        case tarXz = ".tar.xz"
        case tarCompress = ".tar.Z"
        case tar = ".tar"
    }

    public let project: String
    public let version: PEP440Version
    public let versionText: String
    public let archive: Archive

    /// - Parameter project: the project it is known to belong to, in any spelling. Old names and versions may both hold dashes: with it the
    ///   split that gives this project is taken, without it the last that leaves a valid version.
    public init?(_ fileName: some StringProtocol, of project: String? = nil) {
        guard fileName.utf8.count <= 512, let archive = Archive.allCases.first(where: { fileName.hasSuffix($0.rawValue) }) else { return nil }
        let stem = String(fileName.dropLast(archive.rawValue.count))
        let wanted = project.map { PEP503.normalize($0) }
        for dash in stem.indices.reversed() where stem[dash] == "-" {
            let (name, text) = (stem[..<dash], stem[stem.index(after: dash)...])
            guard PEP503.isName(name), let version = PEP440Version(text) else { continue }
            if let wanted, PEP503.normalize(name) != wanted { continue }
            self.project = String(name)
            self.version = version
            versionText = String(text)
            self.archive = archive
            return
        }
        return nil
    }
}
