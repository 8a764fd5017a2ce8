import FoundationEssentials

/// The JSON shape of a Codable type (JSON Schema 2020-12 as OpenAPI 3.1 uses it), found by letting the type decode itself from a decoder that
/// answers anything and takes notes: documents and code cannot drift apart.
indirect enum Schema: Sendable, Hashable {
    case string, integer, number, boolean, any
    case array(Schema)
    case map(Schema)
    case object(name: String, [Member])

    struct Member: Sendable, Hashable {
        let name: String
        let schema: Schema
        let isRequired: Bool
    }

    static func of<T: Decodable>(_ type: T.Type) -> Schema {
        switch type {
        case is String.Type: return .string
        case is Bool.Type: return .boolean
        case is any FixedWidthInteger.Type: return .integer
        case is Double.Type: return .number
        default: break
        }
        if let list = type as? any ListShape.Type { return .array(list.elementSchema) }
        if let table = type as? any TableShape.Type { return .map(table.valueSchema) }
        let notes = Notes()
        // A failure only ends the note-taking early; the OpenAPI test compares the result with the sheets.
        _ = try? T(from: NoteDecoder(notes: notes))
        return .object(name: "\(T.self)", notes.members)
    }

    /// The named objects in it.
    func collect(into all: inout [String: Schema]) {
        switch self {
        case .string, .integer, .number, .boolean, .any: break
        case .array(let element), .map(let element): element.collect(into: &all)
        case .object(let name, let members):
            guard all[name] == nil else { return }
            all[name] = self
            for member in members { member.schema.collect(into: &all) }
        }
    }
}

private protocol ListShape { static var elementSchema: Schema { get } }
extension Array: ListShape where Element: Decodable {
    static var elementSchema: Schema { Schema.of(Element.self) }
}

private protocol TableShape { static var valueSchema: Schema { get } }
extension Dictionary: TableShape where Key == String, Value: Decodable {
    static var valueSchema: Schema { Schema.of(Value.self) }
}

/// What one type asked for.
private final class Notes {
    var members: [Schema.Member] = []
}

private struct NoteDecoder: Decoder {
    let notes: Notes
    var codingPath: [any CodingKey] { [] }
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    struct NoShape: Error {}

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> { KeyedDecodingContainer(Keyed(notes: notes)) }
    func unkeyedContainer() throws -> any UnkeyedDecodingContainer { throw NoShape() }
    func singleValueContainer() throws -> any SingleValueDecodingContainer { throw NoShape() }

    struct Keyed<Key: CodingKey>: KeyedDecodingContainerProtocol {
        let notes: Notes
        var codingPath: [any CodingKey] { [] }
        var allKeys: [Key] { [] }
        func contains(_ key: Key) -> Bool { true }
        func decodeNil(forKey key: Key) throws -> Bool { false }

        private func note<T: Decodable>(_ type: T.Type, _ key: Key, isRequired: Bool) {
            notes.members.append(.init(name: key.stringValue, schema: .of(type), isRequired: isRequired))
        }

        func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
            note(type, key, isRequired: true)
            return try Blank.value(type)
        }
        func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool {
            note(type, key, isRequired: true)
            return false
        }
        func decode(_ type: String.Type, forKey key: Key) throws -> String {
            note(type, key, isRequired: true)
            return ""
        }
        func decode(_ type: Double.Type, forKey key: Key) throws -> Double {
            note(type, key, isRequired: true)
            return 0
        }
        func decode(_ type: Int.Type, forKey key: Key) throws -> Int {
            note(type, key, isRequired: true)
            return 0
        }
        func decode(_ type: Int64.Type, forKey key: Key) throws -> Int64 {
            note(type, key, isRequired: true)
            return 0
        }
        func decodeIfPresent<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T? {
            note(type, key, isRequired: false)
            return nil
        }
        func decodeIfPresent(_ type: Bool.Type, forKey key: Key) throws -> Bool? {
            note(type, key, isRequired: false)
            return nil
        }
        func decodeIfPresent(_ type: String.Type, forKey key: Key) throws -> String? {
            note(type, key, isRequired: false)
            return nil
        }
        func decodeIfPresent(_ type: Int.Type, forKey key: Key) throws -> Int? {
            note(type, key, isRequired: false)
            return nil
        }
        func decodeIfPresent(_ type: Int64.Type, forKey key: Key) throws -> Int64? {
            note(type, key, isRequired: false)
            return nil
        }
        func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type, forKey key: Key) throws -> KeyedDecodingContainer<Nested> {
            throw NoShape()
        }
        func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer { throw NoShape() }
        func superDecoder() throws -> any Decoder { throw NoShape() }
        func superDecoder(forKey key: Key) throws -> any Decoder { throw NoShape() }
    }

    /// An empty value of a type, to let the decoding go on.
    enum Blank {
        static func value<T: Decodable>(_ type: T.Type) throws -> T {
            for blank in ["[]", "{}", "\"\"", "0", "false"] {
                if let value = try? JSONDecoder().decode(type, from: Data(blank.utf8)) { return value }
            }
            return try T(from: NoteDecoder(notes: Notes()))
        }
    }
}
