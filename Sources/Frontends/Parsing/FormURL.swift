public import Core

/// `application/x-www-form-urlencoded` bodies and URL queries (WHATWG URL section 5): pairs in their order, names may repeat.
public struct FormURL: Sendable, Hashable {
    public struct Pair: Sendable, Hashable {
        public let name: String
        public let value: String
        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    public var pairs: [Pair]

    public init(_ pairs: [Pair] = []) { self.pairs = pairs }

    /// - Throws: `invalid` for a broken escape, for what is no UTF-8, and beyond the budget's bytes and items.
    public static func parse(_ text: some StringProtocol, budget: Budget = Budget(bytes: 64 << 10, items: 1000)) throws(RegistryError) -> FormURL {
        try parse(Array(text.utf8), budget: budget)
    }

    public static func parse(_ bytes: [UInt8], budget: Budget = Budget(bytes: 64 << 10, items: 1000)) throws(RegistryError) -> FormURL {
        guard bytes.count <= budget.bytes else { throw refused("query", "form data may have at most \(budget.bytes) bytes") }
        var form = FormURL()
        for piece in bytes.split(separator: UInt8(ascii: "&")) {
            guard form.pairs.count < budget.items else { throw refused("query", "form data may have at most \(budget.items) fields") }
            let halves = piece.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = decoded(halves[0]), let value = halves.count > 1 ? decoded(halves[1]) : "" else {
                throw refused("query", "form data is not percent-encoded UTF-8")
            }
            form.pairs.append(Pair(name, value))
        }
        return form
    }

    /// The first value of a name.
    public subscript(name: String) -> String? { pairs.first { $0.name == name }?.value }
    public func all(_ name: String) -> [String] { pairs.filter { $0.name == name }.map(\.value) }

    /// Spaces as `%20`, which every reader of forms and of queries understands.
    public var text: String {
        pairs.map { "\(Percent.encode($0.name, in: .query))=\(Percent.encode($0.value, in: .query))" }.joined(separator: "&")
    }

    private static func decoded(_ text: ArraySlice<UInt8>) -> String? {
        Percent.decodeBytes(text.map { $0 == UInt8(ascii: "+") ? 0x20 : $0 }).flatMap { String(validating: $0, as: UTF8.self) }
    }
}
