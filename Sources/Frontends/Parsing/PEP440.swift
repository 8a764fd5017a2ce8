/// A Python version (PEP 440): every spelling the specification reads, one canonical text, its order.
public struct PEP440Version: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// A number of any length: dates with times and build counters outgrow machine integers.
    public struct Number: Sendable, Hashable, Comparable, ExpressibleByIntegerLiteral, CustomStringConvertible {
        /// Decimal, without leading zeros.
        public let description: String
        public init(integerLiteral value: UInt) { description = String(value) }
        init(digits: some StringProtocol) {
            let significant = digits.drop { $0 == "0" }
            description = significant.isEmpty ? "0" : String(significant)
        }
        public static func < (a: Number, b: Number) -> Bool {
            (a.description.utf8.count, a.description) < (b.description.utf8.count, b.description)
        }
    }

    public enum PreReleaseKind: String, Sendable, Hashable, Comparable {
        case a, b, rc
        public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
    }

    public struct PreRelease: Sendable, Hashable, Comparable {
        public let kind: PreReleaseKind
        public let number: Number
        public static func < (a: Self, b: Self) -> Bool { (a.kind, a.number) < (b.kind, b.number) }
    }

    /// A local segment: text sorts before numbers.
    public enum LocalSegment: Sendable, Hashable, Comparable, CustomStringConvertible {
        case text(String)
        case number(Number)
        public var description: String {
            switch self {
            case .text(let text): text
            case .number(let number): number.description
            }
        }
    }

    public static let bytesMax = 256

    public let epoch: Number
    public let release: [Number]
    public let pre: PreRelease?
    public let post: Number?
    public let dev: Number?
    public let local: [LocalSegment]

    public var isPreRelease: Bool { pre != nil || dev != nil }

    /// Reads any spelling of PEP 440's appendix B, white space around it allowed; nil for everything else and beyond 256 bytes.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count <= PEP440Version.bytesMax else { return nil }
        var reader = VersionReader(text)
        guard let version = reader.version() else { return nil }
        self = version
    }

    fileprivate init(epoch: Number, release: [Number], pre: PreRelease?, post: Number?, dev: Number?, local: [LocalSegment]) {
        self.epoch = epoch
        self.release = release
        self.pre = pre
        self.post = post
        self.dev = dev
        self.local = local
    }

    /// The normal form. Trailing zeros of the release stay: `1.0` and `1` are equal but written differently.
    public var description: String {
        var text = epoch == 0 ? "" : "\(epoch)!"
        text += release.map(\.description).joined(separator: ".")
        if let pre { text += "\(pre.kind.rawValue)\(pre.number)" }
        if let post { text += ".post\(post)" }
        if let dev { text += ".dev\(dev)" }
        if !local.isEmpty { text += "+" + local.map(\.description).joined(separator: ".") }
        return text
    }

    private var significantRelease: ArraySlice<Number> {
        release[..<(release.lastIndex { $0 != 0 }.map { $0 + 1 } ?? 0)]
    }

    public static func == (a: PEP440Version, b: PEP440Version) -> Bool {
        a.epoch == b.epoch && a.significantRelease == b.significantRelease && a.pre == b.pre && a.post == b.post && a.dev == b.dev
            && a.local == b.local
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(epoch)
        hasher.combine(significantRelease)
        hasher.combine(pre)
        hasher.combine(post)
        hasher.combine(dev)
        hasher.combine(local)
    }

    /// The order of PEP 440, "Summary of permitted suffixes and relative ordering".
    public static func < (a: PEP440Version, b: PEP440Version) -> Bool {
        if a.epoch != b.epoch { return a.epoch < b.epoch }
        if a.significantRelease != b.significantRelease { return a.significantRelease.lexicographicallyPrecedes(b.significantRelease) }
        let (aPre, bPre) = (a.preRank, b.preRank)
        if aPre != bPre { return aPre < bPre }
        if aPre == 1, let x = a.pre, let y = b.pre, x != y { return x < y }
        // Without a post-release comes first, without a development release last.
        if a.post != b.post { return PEP440Version.precedes(a.post, b.post, absentIsFirst: true) }
        if a.dev != b.dev { return PEP440Version.precedes(a.dev, b.dev, absentIsFirst: false) }
        return a.local.lexicographicallyPrecedes(b.local)
    }

    /// 0 for a bare development release (`1.0.dev1` comes before `1.0a1`), 1 with a pre-release, 2 for the rest.
    private var preRank: Int { pre != nil ? 1 : post == nil && dev != nil ? 0 : 2 }

    private static func precedes(_ a: Number?, _ b: Number?, absentIsFirst: Bool) -> Bool {
        switch (a, b) {
        case (let a?, let b?): a < b
        case (nil, _?): absentIsFirst
        case (_?, nil): !absentIsFirst
        case (nil, nil): false
        }
    }
}

/// Reads the grammar of appendix B left to right; each part is tried once and given back when it does not fit.
private struct VersionReader {
    private let bytes: [UInt8]
    private var at = 0

    init(_ text: some StringProtocol) {
        let isSpace = { (byte: UInt8) in byte == 0x20 || (0x09...0x0D).contains(byte) }
        let front = Array(text.utf8.drop(while: isSpace))
        let length = (front.lastIndex { !isSpace($0) } ?? -1) + 1
        bytes = front[..<length].map { (0x41...0x5A).contains($0) ? $0 + 0x20 : $0 }
    }

    mutating func version() -> PEP440Version? {
        _ = take("v")
        guard var first = digits() else { return nil }
        var epoch: PEP440Version.Number = 0
        if take("!") {
            epoch = first
            guard let next = digits() else { return nil }
            first = next
        }
        var release = [first]
        while let next = attempt({ $0.take(".") ? $0.digits() : nil }) { release.append(next) }
        let pre = attempt { $0.preRelease() }
        let post = attempt { $0.postRelease() }
        let dev = attempt { $0.suffix(["dev"])?.number }
        var local: [PEP440Version.LocalSegment] = []
        if take("+") {
            repeat {
                guard let segment = localSegment() else { return nil }
                local.append(segment)
            } while separator()
        }
        guard at == bytes.count else { return nil }
        return PEP440Version(epoch: epoch, release: release, pre: pre, post: post, dev: dev, local: local)
    }

    private mutating func preRelease() -> PEP440Version.PreRelease? {
        // Longer words first, or `alpha` would be read as `a`.
        guard let (word, number) = suffix(["alpha", "beta", "preview", "pre", "rc", "a", "b", "c"]) else { return nil }
        let kind: PEP440Version.PreReleaseKind =
            switch word {
            case "alpha", "a": .a
            case "beta", "b": .b
            default: .rc
            }
        return PEP440Version.PreRelease(kind: kind, number: number)
    }

    private mutating func postRelease() -> PEP440Version.Number? {
        if let bare = attempt({ $0.take("-") ? $0.digits() : nil }) { return bare }
        return suffix(["post", "rev", "r"])?.number
    }

    /// `[-_.]? word [-_.]? number?`; without a number it is 0.
    private mutating func suffix(_ words: [String]) -> (word: String, number: PEP440Version.Number)? {
        _ = separator()
        guard let word = words.first(where: { bytes[at...].starts(with: $0.utf8) }) else { return nil }
        at += word.utf8.count
        let number = attempt { reader in
            _ = reader.separator()
            return reader.digits()
        }
        return (word, number ?? 0)
    }

    private mutating func localSegment() -> PEP440Version.LocalSegment? {
        let start = at
        while at < bytes.count, HeaderScanner.isAlphanumeric(bytes[at]) { at += 1 }
        guard at > start else { return nil }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        return text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? .number(.init(digits: text)) : .text(text)
    }

    private mutating func digits() -> PEP440Version.Number? {
        let start = at
        while at < bytes.count, (0x30...0x39).contains(bytes[at]) { at += 1 }
        return at > start ? PEP440Version.Number(digits: String(decoding: bytes[start..<at], as: UTF8.self)) : nil
    }

    private mutating func separator() -> Bool { take("-") || take("_") || take(".") }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard at < bytes.count, bytes[at] == UInt8(ascii: character) else { return false }
        at += 1
        return true
    }

    /// Goes back to where it began when the part is not there.
    private mutating func attempt<Part>(_ read: (inout VersionReader) -> Part?) -> Part? {
        let start = at
        if let part = read(&self) { return part }
        at = start
        return nil
    }
}
