/// A version of Semantic Versioning 2.0.0, ordered by its precedence (section 11). Build metadata is kept and does not order.
public struct SemVer: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let core: [String]
    /// Dot-separated identifiers; empty for a release.
    public let prerelease: [String]
    public let build: [String]

    public static let bytesMax = 256

    /// nil for anything that is not exactly `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]`.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count <= SemVer.bytesMax else { return nil }
        let plus = Substring(text).split(separator: "+", maxSplits: 1, omittingEmptySubsequences: false)
        let dash = plus[0].split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        core = SemVer.parts(dash[0])
        prerelease = dash.count > 1 ? SemVer.parts(dash[1]) : []
        build = plus.count > 1 ? SemVer.parts(plus[1]) : []
        guard core.count == 3, core.allSatisfy(SemVer.isNumber),
            dash.count == 1 || prerelease.allSatisfy({ SemVer.isIdentifier($0) && (!SemVer.isDigits($0) || SemVer.isNumber($0)) }),
            plus.count == 1 || build.allSatisfy(SemVer.isIdentifier)
        else { return nil }
    }

    public var isPrerelease: Bool { !prerelease.isEmpty }

    public var description: String {
        core.joined(separator: ".") + (prerelease.isEmpty ? "" : "-" + prerelease.joined(separator: "."))
            + (build.isEmpty ? "" : "+" + build.joined(separator: "."))
    }

    public static func < (a: SemVer, b: SemVer) -> Bool {
        for (x, y) in zip(a.core, b.core) where x != y { return isLess(number: x, y) }
        guard a.isPrerelease, b.isPrerelease else { return a.isPrerelease && !b.isPrerelease }
        for (x, y) in zip(a.prerelease, b.prerelease) where x != y {
            switch (isDigits(x), isDigits(y)) {
            case (true, true): return isLess(number: x, y)
            case (true, false): return true
            case (false, true): return false
            case (false, false): return x.utf8.lexicographicallyPrecedes(y.utf8)
            }
        }
        return a.prerelease.count < b.prerelease.count
    }

    /// Numbers without leading zeros, of any length.
    private static func isLess(number a: String, _ b: String) -> Bool {
        a.utf8.count == b.utf8.count ? a.utf8.lexicographicallyPrecedes(b.utf8) : a.utf8.count < b.utf8.count
    }

    private static func parts(_ text: Substring) -> [String] {
        text.split(separator: ".", omittingEmptySubsequences: false).map { String($0) }
    }
    private static func isDigits(_ text: String) -> Bool { !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) } }
    private static func isNumber(_ text: String) -> Bool { isDigits(text) && (text == "0" || text.utf8.first != 0x30) }
    private static func isIdentifier(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy { HeaderScanner.isAlphanumeric($0) || $0 == UInt8(ascii: "-") }
    }
}
