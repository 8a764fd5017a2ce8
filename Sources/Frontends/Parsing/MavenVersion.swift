/// The order of versions in Maven repositories (maven-artifact, `ComparableVersion`): `1.0-alpha-1 < 1.0-rc1 < 1.0-SNAPSHOT < 1.0 < 1.0-sp < 1.0.1`.
/// Every text is a version. Two spellings of one version (`1`, `1.0`, `1.0.0`) are neither less than the other.
public struct MavenVersion: Sendable {
    enum Item: Sendable, Hashable {
        /// Digits without leading zeros; empty is zero.
        case number(String)
        /// Aliases resolved, ready to be compared as text.
        case qualifier(String)

        var isNull: Bool {
            switch self {
            case .number(let digits): digits.isEmpty
            case .qualifier(let rank): rank == MavenVersion.releaseRank
            }
        }
    }

    /// Each level ends where a hyphen, or a change between digits and letters, opens the next.
    private let levels: [[Item]]

    private static let releaseRank = "5"
    private static let ranks = [
        "alpha": "0", "beta": "1", "milestone": "2", "rc": "3", "cr": "3", "snapshot": "4", "": "5", "ga": "5", "final": "5", "release": "5",
        "sp": "6",
    ]

    public init(_ text: some StringProtocol) {
        var levels: [[Item]] = [[]]
        let bytes = Array(text.lowercased().utf8)
        var start = 0
        var isNumber = false
        func item(_ range: Range<Int>, digitFollows: Bool = false) -> Item {
            let part = bytes[range]
            return isNumber
                ? .number(String(decoding: part.drop { $0 == UInt8(ascii: "0") }, as: UTF8.self)) : MavenVersion.qualifier(part, digitFollows)
        }
        // A word after a dot stands as after a hyphen, where digits or the end follow it.
        func part() { if levels.last?.isEmpty == false { levels.append([]) } }
        for (index, byte) in bytes.enumerated() {
            switch byte {
            case UInt8(ascii: "."), UInt8(ascii: "-"):
                levels[levels.count - 1].append(index == start ? .number("") : item(start..<index))
                start = index + 1
                if byte == UInt8(ascii: "-") { levels.append([]) }
            default:
                let isDigit = (0x30...0x39).contains(byte)
                if isDigit != isNumber, index > start {
                    if !isNumber { part() }
                    levels[levels.count - 1].append(item(start..<index, digitFollows: isDigit))
                    start = index
                    levels.append([])
                }
                isNumber = isDigit
            }
        }
        if start < bytes.count {
            if !isNumber { part() }
            levels[levels.count - 1].append(item(start..<bytes.count))
        }
        for index in levels.indices { while levels[index].last?.isNull == true { levels[index].removeLast() } }
        while levels.count > 1, levels.last?.isEmpty == true { levels.removeLast() }
        self.levels = levels
    }

    private static func qualifier(_ part: ArraySlice<UInt8>, _ digitFollows: Bool) -> Item {
        var text = String(decoding: part, as: UTF8.self)
        if digitFollows { text = ["a": "alpha", "b": "beta", "m": "milestone"][text] ?? text }
        return .qualifier(ranks[text] ?? "7-\(text)")
    }

    /// Negative, zero or positive, as this version stands before, with or after the other.
    public func compare(to other: MavenVersion) -> Int {
        for level in 0..<max(levels.count, other.levels.count) {
            guard level < levels.count else { return -MavenVersion.againstNothing(other.levels[level...]) }
            guard level < other.levels.count else { return MavenVersion.againstNothing(levels[level...]) }
            let (mine, theirs) = (levels[level], other.levels[level])
            for index in 0..<max(mine.count, theirs.count) {
                let result = MavenVersion.compare(
                    index < mine.count ? mine[index] : nil, opensBehind: level + 1 < levels.count,
                    index < theirs.count ? theirs[index] : nil, opensBehind: level + 1 < other.levels.count)
                if result != 0 { return result }
            }
        }
        return 0
    }

    /// nil: the level is over there, and behind it another one opens or the version ends.
    private static func compare(_ a: Item?, opensBehind aOpens: Bool, _ b: Item?, opensBehind bOpens: Bool) -> Int {
        switch (a, b) {
        case (.number(let x)?, .number(let y)?):
            if x.utf8.count != y.utf8.count { return x.utf8.count < y.utf8.count ? -1 : 1 }
            return order(x, y)
        case (.qualifier(let x)?, .qualifier(let y)?): return order(x, y)
        case (.number?, .qualifier?): return 1
        case (.qualifier?, .number?): return -1
        case (let x?, nil): return bOpens ? (isNumber(x) ? 1 : -1) : againstNothing(x)
        case (nil, let y?): return aOpens ? (isNumber(y) ? -1 : 1) : -againstNothing(y)
        case (nil, nil): return 0
        }
    }

    private static func isNumber(_ item: Item) -> Bool { if case .number = item { true } else { false } }

    private static func order(_ a: String, _ b: String) -> Int {
        a == b ? 0 : a.utf8.lexicographicallyPrecedes(b.utf8) ? -1 : 1
    }

    private static func againstNothing(_ item: Item) -> Int {
        switch item {
        case .number(let digits): digits.isEmpty ? 0 : 1
        case .qualifier(let rank): order(rank, releaseRank)
        }
    }

    private static func againstNothing(_ levels: ArraySlice<[Item]>) -> Int {
        for item in levels.joined() {
            let result = againstNothing(item)
            if result != 0 { return result }
        }
        return 0
    }
}
