import Core

/// Names inside a repository that a right is limited to: `com/acme/**`, `@acme/*`, `team-*`.
///
/// A name is a package's or an artifact's path: segments with `/` between them. In a pattern `*` stands for any bytes of one segment, `?` for one
/// character, a segment `**` for any number of segments; everything else stands for itself, and case counts. What lies below a name that matches is
/// matched too: the files of a package go with it.
public struct NamePattern: Sendable, Hashable {
    public static let bytesMax = 256
    /// Of one row of permission.
    public static let countMax = 32

    public let text: String
    // By scalars: as characters, a slash and a combining mark after it are one.
    private let segments: [[Unicode.Scalar]]

    /// nil for what is no pattern: empty, too long, with an empty segment, `.` or `..`, a control character, or one of `\ [ ] { }`, which other
    /// languages of patterns give a meaning.
    public init?(_ text: String) {
        let segments = NamePattern.split(text)
        guard (1...NamePattern.bytesMax).contains(text.utf8.count), text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F && !"\\[]{}".utf8.contains($0) }),
            segments.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." && ($0 == "**" || !$0.contains("**")) })
        else { return nil }
        self.text = text
        self.segments = segments.map { Array($0.unicodeScalars) }
    }

    public func covers(_ name: String) -> Bool {
        let names = NamePattern.split(name)
        guard names.allSatisfy({ !$0.isEmpty }) else { return false }
        // Which prefixes of the pattern match the segments seen so far; the last is the whole pattern.
        var reached = [Bool](repeating: false, count: segments.count + 1)
        reached[0] = true
        skipEmpty(&reached)
        // Before the first segment nothing is covered, not even by `**`.
        for segment in names.map({ Array($0.unicodeScalars) }) {
            var next = [Bool](repeating: false, count: segments.count + 1)
            for (index, pattern) in segments.enumerated() where reached[index] {
                if pattern == ["*", "*"] { next[index] = true } else if NamePattern.matches(pattern, segment) { next[index + 1] = true }
            }
            skipEmpty(&next)
            if next[segments.count] { return true }
            reached = next
        }
        return false
    }

    private static func split(_ text: String) -> [String] {
        text.unicodeScalars.split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
    }

    /// `**` also stands for no segment.
    private func skipEmpty(_ reached: inout [Bool]) {
        for (index, pattern) in segments.enumerated() where reached[index] && pattern == ["*", "*"] { reached[index + 1] = true }
    }

    /// One segment, going back to the last `*` only: each pair of places is looked at once.
    private static func matches(_ pattern: [Unicode.Scalar], _ text: [Unicode.Scalar]) -> Bool {
        var (at, place) = (0, 0)
        var star: (pattern: Int, text: Int)?
        while place < text.count {
            if at < pattern.count, pattern[at] == "*" {
                star = (at, place)
                at += 1
            } else if at < pattern.count, pattern[at] == "?" || pattern[at] == text[place] {
                at += 1
                place += 1
            } else if let last = star {
                star = (last.pattern, last.text + 1)
                at = last.pattern + 1
                place = last.text + 1
            } else {
                return false
            }
        }
        return pattern[at...].allSatisfy { $0 == "*" }
    }
}

/// What an operation is about inside a repository, for rights and tokens that are limited to names.
public enum Subject: Sendable, Hashable {
    /// Everything in it: an index, a listing, its settings. Only a right without patterns gives that.
    case whole
    /// The package or the path of this name, and what lies below it.
    case name(String)
    /// What only the body tells. A limited right lets it begin; `Authorized.covers` must be asked before anything is shown or changed.
    case unknown

    /// nil: everything.
    public init(name: String?) { self = name.map(Subject.name) ?? .whole }

    var name: String? { if case .name(let name) = self { name } else { nil } }
}
