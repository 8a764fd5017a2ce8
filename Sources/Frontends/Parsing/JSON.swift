public import Core
public import NIOCore

/// A JSON value (RFC 8259) that keeps the order of members and the text of numbers, so that what was read can be written back.
///
/// Equality is that of the text: `{"a":1,"b":2}` differs from `{"b":2,"a":1}`, and `1.0` from `1`.
public enum JSON: Sendable, Hashable {
    case null
    case bool(Bool)
    case number(Number)
    case string(String)
    case array([JSON])
    case object(Object)

    public init(_ value: String) { self = .string(value) }
    public init(_ value: Bool) { self = .bool(value) }
    public init(_ value: some BinaryInteger) { self = .number(Number(value)) }

    /// Reads one document. Refused: bytes that are no UTF-8, lone surrogates, a name given twice in one object, a byte order mark, anything
    /// after the value, and what exceeds the budget (`depth`, `items` counts every value, `bytes`).
    public static func parse(_ bytes: [UInt8], budget: Budget = .document) throws(RegistryError) -> JSON {
        var parser = JSONParser(bytes, budget: budget)
        return try parser.document()
    }

    public static func parse(_ buffer: ByteBuffer, budget: Budget = .document) throws(RegistryError) -> JSON {
        try parse(Array(buffer.readableBytesView), budget: budget)
    }

    public static func parse(_ text: String, budget: Budget = .document) throws(RegistryError) -> JSON {
        try parse(Array(text.utf8), budget: budget)
    }

    public var isNull: Bool { self == .null }
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    public var number: Number? { if case .number(let value) = self { value } else { nil } }
    public var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
    public var object: Object? { if case .object(let value) = self { value } else { nil } }
    /// The number when it is written as an integer that fits (`1e3` and `1.0` are none).
    public var int: Int? { number?.int }
    public var int64: Int64? { number.flatMap { Int64($0.text) } }

    /// The member of an object; nil for anything else. Setting makes an object of what is none, setting nil removes.
    public subscript(name: String) -> JSON? {
        get { if case .object(let object) = self { object[name] } else { nil } }
        set {
            var object = self.object ?? Object()
            // Let go of the old storage first, so that the change happens in place.
            self = .null
            object[name] = newValue
            self = .object(object)
        }
    }

    /// The element of an array; nil for anything else and beyond its end.
    public subscript(index: Int) -> JSON? {
        guard case .array(let values) = self, values.indices.contains(index) else { return nil }
        return values[index]
    }
}

extension JSON {
    /// A number as it is written.
    public struct Number: Sendable, Hashable, ExpressibleByIntegerLiteral {
        public let text: String

        public init(_ value: some BinaryInteger) { text = String(value) }
        public init(integerLiteral value: Int) { text = String(value) }
        /// nil for infinities and NaN, which JSON cannot say.
        public init?(_ value: Double) {
            guard value.isFinite else { return nil }
            text = value.description
        }
        /// The grammar was checked by the parser.
        init(checked text: String) { self.text = text }

        public var int: Int? { Int(text) }
        public var double: Double? { Double(text) }
    }

    /// Members in order, each name once. Lookup costs a hash once there are more than a few.
    public struct Object: Sendable, Hashable {
        public struct Member: Sendable, Hashable {
            public let name: String
            public fileprivate(set) var value: JSON
        }

        public private(set) var members: [Member] = []
        /// Where each name is; kept only beyond `scanned` members.
        private var places: [String: Int] = [:]
        private static let scanned = 8

        public init() {}
        /// A name given again replaces the value and keeps the first place.
        public init(_ pairs: some Sequence<(String, JSON)>) {
            for (name, value) in pairs { self[name] = value }
        }

        public var count: Int { members.count }
        public var isEmpty: Bool { members.isEmpty }
        public var names: [String] { members.map(\.name) }

        public subscript(name: String) -> JSON? {
            get { place(of: name).map { members[$0].value } }
            set {
                switch (place(of: name), newValue) {
                case (let at?, let value?): members[at].value = value
                case (nil, let value?): add(name, value)
                case (let at?, nil):
                    members.remove(at: at)
                    places = [:]
                    index()
                case (nil, nil): break
                }
            }
        }

        /// Adds a member at the end; false, and nothing changed, when the name is taken.
        @discardableResult
        public mutating func append(_ name: String, _ value: JSON) -> Bool {
            guard place(of: name) == nil else { return false }
            add(name, value)
            return true
        }

        private func place(of name: String) -> Int? {
            members.count > Object.scanned ? places[name] : members.firstIndex { $0.name == name }
        }

        private mutating func add(_ name: String, _ value: JSON) {
            members.append(Member(name: name, value: value))
            if members.count > Object.scanned + 1 { places[name] = members.count - 1 } else { index() }
        }

        private mutating func index() {
            guard members.count > Object.scanned, places.isEmpty else { return }
            for (at, member) in members.enumerated() { places[member.name] = at }
        }

        public static func == (a: Object, b: Object) -> Bool { a.members == b.members }
        public func hash(into hasher: inout Hasher) { hasher.combine(members) }
    }

    /// An object from literal pairs, leaving out those whose value is nil: optional members of a document.
    public static func object(present pairs: KeyValuePairs<String, JSON?>) -> JSON {
        .object(Object(pairs.compactMap { name, value in value.map { (name, $0) } }))
    }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByStringInterpolation, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(integerLiteral value: Int) { self = .number(Number(value)) }
    public init(arrayLiteral elements: JSON...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSON)...) { self = .object(Object(elements)) }
    public init(nilLiteral: ()) { self = .null }
}
