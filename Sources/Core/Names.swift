/// A repository's name in URLs: 1-128 of `[A-Za-z0-9._-]`, no leading `.` or `-`, no `..`.
public struct RepositoryKey: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let text: String

    public init?(_ text: some StringProtocol) {
        guard text.withUTF8Bytes(RepositoryKey.isKey) else { return nil }
        self.text = String(text)
    }

    private static func isKey(_ bytes: Span<UInt8>) -> Bool {
        guard (1...128).contains(bytes.count), bytes[0] != UInt8(ascii: "."), bytes[0] != UInt8(ascii: "-") else { return false }
        var last: UInt8 = 0
        return bytes.allBytes { byte in
            defer { last = byte }
            return isAllowed(byte) && !(byte == UInt8(ascii: ".") && last == byte)
        }
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"): true
        default: false
        }
    }

    public var description: String { text }
    public static func < (a: RepositoryKey, b: RepositoryKey) -> Bool { a.text.utf8.lexicographicallyPrecedes(b.text.utf8) }
}

/// Text that may stand in a key: 1 to 512 bytes of UTF-8 with no control character.
private func isName(_ text: some StringProtocol, bytesMax: Int) -> Bool {
    text.withUTF8Bytes { (1...bytesMax).contains($0.count) && $0.allBytes { $0 >= 0x20 && $0 != 0x7F } }
}

/// A package's canonical name inside its repository; the format normalises before it makes one.
public struct PackageName: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let text: String
    public init?(_ text: some StringProtocol) {
        guard isName(text, bytesMax: 512) else { return nil }
        self.text = String(text)
    }
    public var description: String { text }
    /// Byte order, which is key order.
    public static func < (a: PackageName, b: PackageName) -> Bool { a.text.utf8.lexicographicallyPrecedes(b.text.utf8) }
}

/// One release of a package, in the format's own spelling (a digest for OCI).
public struct VersionName: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let text: String
    public init?(_ text: some StringProtocol) {
        guard isName(text, bytesMax: 256) else { return nil }
        self.text = String(text)
    }
    public var description: String { text }
    public static func < (a: VersionName, b: VersionName) -> Bool { a.text.utf8.lexicographicallyPrecedes(b.text.utf8) }
}

/// A movable name for a release.
public struct TagName: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let text: String
    public init?(_ text: some StringProtocol) {
        guard isName(text, bytesMax: 256) else { return nil }
        self.text = String(text)
    }
    public var description: String { text }
    public static func < (a: TagName, b: TagName) -> Bool { a.text.utf8.lexicographicallyPrecedes(b.text.utf8) }
}

/// The format-neutral path of an asset inside its repository, validated once: relative, 1-2048 bytes of UTF-8, no empty, `.` or `..` segment,
/// no control character, no backslash. It never meets a disk: storage is content-addressed.
public struct AssetPath: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let text: String

    public init?(_ text: some StringProtocol) {
        guard text.withUTF8Bytes(AssetPath.isPath) else { return nil }
        self.text = String(text)
    }

    // By bytes: for Swift a slash with a combining mark behind it is another character, for everyone else it parts segments.
    private static func isPath(_ bytes: Span<UInt8>) -> Bool {
        guard (1...2048).contains(bytes.count) else { return false }
        var segment = 0
        // So far the segment has nothing but dots: empty, `.`, `..` and longer ones, which are names.
        var hasOnlyDots = true
        for index in bytes.indices {
            let byte = bytes[index]
            guard byte >= 0x20, byte != 0x7F, byte != UInt8(ascii: "\\") else { return false }
            guard byte != UInt8(ascii: "/") else {
                guard !hasOnlyDots || segment > 2 else { return false }
                (segment, hasOnlyDots) = (0, true)
                continue
            }
            segment += 1
            hasOnlyDots = hasOnlyDots && byte == UInt8(ascii: ".")
        }
        return !hasOnlyDots || segment > 2
    }

    public var segments: [Substring] { text.utf8.split(separator: UInt8(ascii: "/")).map { Substring($0) } }
    public var fileName: Substring { segments.last ?? Substring(text) }
    public var description: String { text }
    public static func < (a: AssetPath, b: AssetPath) -> Bool { a.text.utf8.lexicographicallyPrecedes(b.text.utf8) }
}
