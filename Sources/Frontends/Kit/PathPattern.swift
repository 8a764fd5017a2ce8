public import Core

/// A path pattern: literal segments, `{name}` for one segment, `{name}.sha1` for one with a fixed end, `{name+}` for one or more, `{name*}` for
/// none or more, and a final `[/]` for an optional trailing slash. At most one greedy parameter; what follows it is matched from the end, so
/// `{name+}/manifests/{reference}` finds the last `manifests`.
public struct PathPattern: Sendable, Hashable, CustomStringConvertible, ExpressibleByStringLiteral {
    enum Segment: Sendable, Hashable {
        case literal(String)
        case one(String, end: String)
        case many(String, orNone: Bool)
    }

    public let text: String
    let segments: [Segment]
    let trailingSlash: TrailingSlash
    private let greedy: Int?

    enum TrailingSlash: Sendable, Hashable { case required, forbidden, optional }

    /// A pattern is code, not input: a malformed one is a programmer's error.
    public init(stringLiteral text: String) {
        self.text = text
        var rest = text[...]
        if rest.hasSuffix("[/]") {
            trailingSlash = .optional
            rest = rest.dropLast(3)
        } else if rest.hasSuffix("/") {
            trailingSlash = .required
            rest = rest.dropLast()
        } else {
            trailingSlash = .forbidden
        }
        let segments: [Segment] = rest.split(separator: "/").map { part in
            guard part.hasPrefix("{"), let brace = part.firstIndex(of: "}") else { return .literal(String(part)) }
            let name = part[..<brace].dropFirst()
            let end = String(part[part.index(after: brace)...])
            precondition(end.isEmpty || !name.hasSuffix("+") && !name.hasSuffix("*"), "a greedy parameter has no fixed end: \(text)")
            if name.hasSuffix("+") { return .many(String(name.dropLast()), orNone: false) }
            if name.hasSuffix("*") { return .many(String(name.dropLast()), orNone: true) }
            return .one(String(name), end: end)
        }
        let greedyOnes = segments.indices.filter { if case .many = segments[$0] { true } else { false } }
        precondition(greedyOnes.count <= 1, "a pattern has at most one greedy parameter: \(text)")
        greedy = greedyOnes.first
        self.segments = segments
    }

    public var description: String { text }

    /// The parameters, or nil when the path is another.
    /// - Parameter repository: whose key came before this path; nil for rows of the mount itself.
    public func match(_ path: RequestPath, in repository: RepositoryKey?) -> Match? {
        let given = path.segments
        if !given.isEmpty || !segments.isEmpty {
            switch trailingSlash {
            case .required where !path.hasTrailingSlash: return nil
            case .forbidden where path.hasTrailingSlash && !given.isEmpty: return nil
            default: break
            }
        }
        var values: [String: String] = [:]
        guard let greedy else {
            guard given.count == segments.count else { return nil }
            for (segment, value) in zip(segments, given) {
                guard PathPattern.bind(segment, value, &values) else { return nil }
            }
            return Match(values: values, repository: repository)
        }
        guard case .many(let name, let orNone) = segments[greedy] else { return nil }
        let tail = segments.count - greedy - 1
        let swallowed = given.count - greedy - tail
        guard swallowed >= (orNone ? 0 : 1) else { return nil }
        for index in 0..<greedy {
            guard PathPattern.bind(segments[index], given[index], &values) else { return nil }
        }
        for index in 0..<tail {
            guard PathPattern.bind(segments[greedy + 1 + index], given[greedy + swallowed + index], &values) else { return nil }
        }
        values[name] = given[greedy..<greedy + swallowed].joined(separator: "/")
        return Match(values: values, repository: repository)
    }

    private static func bind(_ segment: Segment, _ value: String, _ values: inout [String: String]) -> Bool {
        switch segment {
        case .literal(let text): return text == value
        case .one(let name, let end):
            guard !end.isEmpty else {
                guard !value.isEmpty else { return false }
                values[name] = value
                return true
            }
            guard value.utf8.count > end.utf8.count, value.utf8.reversed().starts(with: end.utf8.reversed()) else { return false }
            values[name] = String(Substring(value.utf8.dropLast(end.utf8.count)))
            return true
        case .many: return false
        }
    }

    /// Two rows that can match one path at the same precision: the table is ambiguous then.
    public func overlaps(_ other: PathPattern) -> Bool {
        guard greedy == nil, other.greedy == nil else { return segments == other.segments && text != other.text }
        guard segments.count == other.segments.count else { return false }
        return zip(segments, other.segments).allSatisfy { a, b in
            if case .literal(let x) = a, case .literal(let y) = b { return x == y }
            if case .one(_, let x) = a, case .one(_, let y) = b { return x == y }
            return false
        }
    }
}

/// The parameters a pattern bound.
public struct Match: Sendable, Hashable {
    public let values: [String: String]
    /// The repository the path was matched in: the name of an image that has none of its own (`/v2/KEY/tags/list`).
    public let repository: RepositoryKey?
    public init(values: [String: String], repository: RepositoryKey? = nil) {
        self.values = values
        self.repository = repository
    }

    /// The parameter's value, decoded; empty when the pattern has none of that name (or `{name*}` swallowed nothing).
    public subscript(name: String) -> String { values[name] ?? "" }
}
