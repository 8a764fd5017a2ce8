import Core
import Parsing

/// Where a remote looks for a path at its upstream, and what it does not ask for at all: the first rule whose pattern fits the path decides.
/// A pattern is a path in which `*` stands for anything inside one segment and `**` for anything; `$1`, `$2` … in `rewrite_to` are what they
/// stood for. An empty `rewrite_to` excludes the path: it is answered as absent, and upstream never hears of it.
public struct RoutingRule: Sendable, Hashable, Codable {
    public let path_pattern: String
    public let rewrite_to: String

    public static let rulesMax = 64
    /// The setting of a repository that keeps its rules.
    public static let setting = "routing_rules"

    public init(path_pattern: String, rewrite_to: String) {
        self.path_pattern = path_pattern
        self.rewrite_to = rewrite_to
    }

    /// - Throws: `invalid` for a rule that could never be followed.
    func check() throws(RegistryError) {
        func refused(_ field: String, _ reason: String) -> RegistryError { RegistryError(.invalid, subject: .field(field), reason: reason) }
        let stars = RoutingRule.pieces(of: path_pattern).count(where: \.isWildcard)
        guard (1...512).contains(path_pattern.utf8.count), !path_pattern.hasPrefix("/"), stars <= 9 else {
            throw refused("path_pattern", "a pattern is a path of at most 512 bytes without a leading slash, with at most 9 wildcards")
        }
        guard rewrite_to.utf8.count <= 512, !rewrite_to.hasPrefix("/"), !rewrite_to.contains("://"), !rewrite_to.contains("..") else {
            throw refused("rewrite_to", "a path below the upstream's URL, at most 512 bytes, or empty to exclude what the pattern fits")
        }
        let numbers = rewrite_to.split(separator: "$", omittingEmptySubsequences: false).dropFirst().map { $0.first?.wholeNumberValue ?? 0 }
        guard numbers.allSatisfy({ (1...max(1, stars)).contains($0) && $0 <= stars }) else {
            throw refused("rewrite_to", "$1 to $\(stars) are what the pattern's wildcards stood for")
        }
    }

    /// What becomes of a path: itself where no rule fits, nil where it is excluded.
    static func apply(_ rules: [RoutingRule], to path: String) -> String? {
        for rule in rules {
            guard let captured = match(pieces(of: rule.path_pattern)[...], Array(path.utf8)[...]) else { continue }
            if rule.rewrite_to.isEmpty { return nil }
            var result = ""
            for (index, part) in rule.rewrite_to.split(separator: "$", omittingEmptySubsequences: false).enumerated() {
                guard index > 0, let number = part.first?.wholeNumberValue, (1...captured.count).contains(number) else {
                    result += part
                    continue
                }
                result += String(decoding: captured[number - 1], as: UTF8.self) + part.dropFirst()
            }
            return result
        }
        return path
    }

    enum Piece: Equatable {
        case literal(String)
        /// Anything inside a segment.
        case some
        case anything
        var isWildcard: Bool { if case .literal = self { false } else { true } }
    }

    private static func pieces(of pattern: String) -> [Piece] {
        var pieces: [Piece] = []
        var rest = pattern[...]
        while !rest.isEmpty {
            if rest.hasPrefix("**") {
                pieces.append(.anything)
                rest = rest.dropFirst(2)
            } else if rest.hasPrefix("*") {
                pieces.append(.some)
                rest = rest.dropFirst()
            } else {
                let literal = rest.prefix { $0 != "*" }
                pieces.append(.literal(String(literal)))
                rest = rest.dropFirst(literal.count)
            }
        }
        return pieces
    }

    /// What the wildcards stand for, each as short as can be; nil when the pattern does not fit. At most nine wildcards over one path.
    private static func match(_ pieces: ArraySlice<Piece>, _ path: ArraySlice<UInt8>) -> [ArraySlice<UInt8>]? {
        guard let piece = pieces.first else { return path.isEmpty ? [] : nil }
        switch piece {
        case .literal(let text): return path.starts(with: text.utf8) ? match(pieces.dropFirst(), path.dropFirst(text.utf8.count)) : nil
        case .some, .anything:
            if pieces.count == 1 { return piece == .anything || !path.contains(UInt8(ascii: "/")) ? [path] : nil }
            var end = path.startIndex
            while true {
                if let rest = match(pieces.dropFirst(), path[end...]) { return [path[..<end]] + rest }
                guard end < path.endIndex, piece == .anything || path[end] != UInt8(ascii: "/") else { return nil }
                end += 1
            }
        }
    }

    // MARK: As a setting

    static func encode(_ rules: [RoutingRule]) -> String {
        let rows = rules.map { JSON.object(.init([("path_pattern", JSON($0.path_pattern)), ("rewrite_to", JSON($0.rewrite_to))])) }
        return String(decoding: JSON.array(rows).encoded(), as: UTF8.self)
    }

    public static func decode(_ setting: String?) -> [RoutingRule] {
        guard let setting, let rows = (try? JSON.parse(setting))?.array else { return [] }
        return rows.compactMap { row in
            guard let pattern = row["path_pattern"]?.string, let target = row["rewrite_to"]?.string else { return nil }
            return RoutingRule(path_pattern: pattern, rewrite_to: target)
        }
    }
}
