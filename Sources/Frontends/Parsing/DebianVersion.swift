/// A version of a Debian package, `[epoch:]upstream[-revision]`, in dpkg's order (deb-version(7)).
public struct DebianVersion: Sendable, Comparable, CustomStringConvertible {
    public let epoch: UInt32
    public let upstream: String
    /// Empty where there is none, which sorts as `0` does.
    public let revision: String
    public let description: String

    /// nil for what dpkg refuses.
    public init?(_ text: String) {
        guard (1...256).contains(text.utf8.count) else { return nil }
        description = text
        var rest = Substring(text)
        if let colon = rest.utf8.firstIndex(of: UInt8(ascii: ":")) {
            let digits = rest[..<colon]
            guard !digits.isEmpty, digits.utf8.allSatisfy(DebianVersion.isDigit), let value = UInt32(digits), value <= UInt32(Int32.max) else {
                return nil
            }
            epoch = value
            rest = rest[rest.utf8.index(after: colon)...]
        } else {
            epoch = 0
        }
        if let dash = rest.utf8.lastIndex(of: UInt8(ascii: "-")) {
            revision = String(rest[rest.utf8.index(after: dash)...])
            guard !revision.isEmpty else { return nil }
            rest = rest[..<dash]
        } else {
            revision = ""
        }
        upstream = String(rest)
        guard let first = upstream.utf8.first, DebianVersion.isDigit(first),
            upstream.utf8.allSatisfy({ DebianVersion.isPlain($0) || $0 == 0x2D || $0 == 0x3A }),
            revision.utf8.allSatisfy(DebianVersion.isPlain)
        else { return nil }
    }

    /// As file names have it: without the epoch.
    public var withoutEpoch: String { revision.isEmpty ? upstream : "\(upstream)-\(revision)" }

    public static func < (a: DebianVersion, b: DebianVersion) -> Bool { compare(a, b) < 0 }
    /// Equal in order: `1.0` and `1.0-0` are one version.
    public static func == (a: DebianVersion, b: DebianVersion) -> Bool { compare(a, b) == 0 }

    private static func compare(_ a: DebianVersion, _ b: DebianVersion) -> Int {
        guard a.epoch == b.epoch else { return a.epoch < b.epoch ? -1 : 1 }
        let upstream = compare(Array(a.upstream.utf8), Array(b.upstream.utf8))
        return upstream != 0 ? upstream : compare(Array(a.revision.utf8), Array(b.revision.utf8))
    }

    /// A run of other characters by rank, then a run of digits by value, in turns.
    private static func compare(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var i = 0
        var j = 0
        while i < a.count || j < b.count {
            while (i < a.count && !isDigit(a[i])) || (j < b.count && !isDigit(b[j])) {
                let x = rank(i < a.count ? a[i] : nil)
                let y = rank(j < b.count ? b[j] : nil)
                if x != y { return x - y }
                i += 1
                j += 1
            }
            while i < a.count, a[i] == 0x30 { i += 1 }
            while j < b.count, b[j] == 0x30 { j += 1 }
            let x = a[min(i, a.count)...].prefix(while: isDigit)
            let y = b[min(j, b.count)...].prefix(while: isDigit)
            if x.count != y.count { return x.count < y.count ? -1 : 1 }
            if let (p, q) = zip(x, y).first(where: { $0 != $1 }) { return p < q ? -1 : 1 }
            i = x.endIndex
            j = y.endIndex
        }
        return 0
    }

    /// Tilde before the end, letters before everything else. A digit ends a run as the end of the text does.
    private static func rank(_ byte: UInt8?) -> Int {
        guard let byte, !isDigit(byte) else { return 0 }
        if byte == UInt8(ascii: "~") { return -1 }
        return (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) ? Int(byte) : Int(byte) + 256
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    private static func isPlain(_ byte: UInt8) -> Bool {
        isDigit(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "+")
            || byte == UInt8(ascii: "~")
    }
}
