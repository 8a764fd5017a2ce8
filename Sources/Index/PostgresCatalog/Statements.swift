import CatalogRules
import Core
import OrderedStore
import PostgresClient

/// The SQL that rows are read and written with. Few texts, so that each is prepared once.
enum Statements {
    /// What a row without a value has for one.
    static let empty = RowCoding.encode { _ in }

    static func get(_ key: [UInt8], in family: OrderedStore.Family) throws(RegistryError) -> Query {
        let table = try Table.of(key, in: family)
        let columns = try whole(key, of: table)
        return Query("SELECT \(table.hasValue ? "document" : "NULL::bytea") FROM \(table.name) WHERE \(isKey(table))", columns)
    }

    struct Scan {
        /// Of the first columns: not before, not after.
        var lower: [Value]
        var upper: [Value]
        let isReverse: Bool
        /// Of all columns: what was read last.
        var past: [Value]?
        var limit: Int64
    }

    /// PostgreSQL ends the scan of an index where a column passes its bound, but reads on to the end where several columns together pass theirs.
    /// So what both bounds have in common is compared for equality, and of a bound of several columns the first is compared alone, too.
    static func scan(_ table: Table, _ scan: Scan) -> Query {
        var values: [Value] = []
        var conditions = table.condition.map { [$0] } ?? []
        let names = table.columns.map(\.name)
        func mark(_ value: Value) -> String {
            values.append(value)
            return "$\(values.count)"
        }
        // The last row read is the narrower bound, where there is one, and is not read again.
        let isPastLower = !scan.isReverse && scan.past != nil
        let isPastUpper = scan.isReverse && scan.past != nil
        let lower = isPastLower ? scan.past ?? [] : scan.lower
        let upper = isPastUpper ? scan.past ?? [] : scan.upper
        let shared = min(
            zip(lower, upper).prefix { $0 == $1 }.count, lower.count - (isPastLower ? 1 : 0), upper.count - (isPastUpper ? 1 : 0))
        for column in 0..<shared { conditions.append("\(names[column]) = \(mark(lower[column]))") }
        func require(_ bound: [Value], _ comparison: String) {
            let columns = Array(names[shared..<bound.count])
            guard let first = columns.first else { return }
            let marks = bound[shared...].map(mark)
            if columns.count > 1 { conditions.append("\(first) \(comparison.prefix(1))= \(marks[0])") }
            conditions.append("(\(columns.joined(separator: ", "))) \(comparison) (\(marks.joined(separator: ", ")))")
        }
        require(lower, isPastLower ? ">" : ">=")
        require(upper, isPastUpper ? "<" : "<=")
        let filter = conditions.isEmpty ? "" : " WHERE " + conditions.joined(separator: " AND ")
        let order = names.map { scan.isReverse ? $0 + " DESC" : $0 }.joined(separator: ", ")
        return Query(
            "SELECT \((names + (table.hasValue ? ["document"] : [])).joined(separator: ", ")) FROM \(table.name)\(filter) ORDER BY \(order)"
                + " LIMIT \(mark(.int(scan.limit)))", values)
    }

    /// - Returns: nil for a row that is written with another.
    static func put(_ key: [UInt8], _ value: [UInt8], in family: OrderedStore.Family) throws(RegistryError) -> Query? {
        let table = try Table.of(key, in: family)
        if case .index = table.content { return nil }
        var names = table.columns.map(\.name)
        var values = try whole(key, of: table)
        if table.hasValue {
            names.append("document")
            values.append(.bytes(value))
        }
        for shown in try shown(key, value, in: table) {
            names.append(shown.name)
            values.append(shown.value)
        }
        let marks = values.indices.map { "$\($0 + 1)" }.joined(separator: ", ")
        let updates = names.dropFirst(table.columns.count).map { "\($0) = excluded.\($0)" }.joined(separator: ", ")
        let keys = table.columns.map(\.name).joined(separator: ", ")
        let resolution = updates.isEmpty ? "NOTHING" : "UPDATE SET \(updates)"
        return Query(
            "INSERT INTO \(table.name) (\(names.joined(separator: ", "))) VALUES (\(marks)) ON CONFLICT (\(keys)) DO \(resolution)", values)
    }

    private static func shown(_ key: [UInt8], _ value: [UInt8], in table: Table) throws(RegistryError) -> [(name: String, value: Value)] {
        switch table.content {
        case .row: try ShownColumns.of(try Keyspace(key), value)
        case .location: ShownColumns.of(try? SharedLocation(value))
        case .bytes, .nothing, .index: []
        }
    }

    static func delete(_ key: [UInt8], in family: OrderedStore.Family) throws(RegistryError) -> Query? {
        let table = try Table.of(key, in: family)
        if case .index = table.content { return nil }
        return Query("DELETE FROM \(table.name) WHERE \(isKey(table))", try whole(key, of: table))
    }

    /// - Throws: `internal` unless the range begins and ends within the first part of keys, which has a fixed length.
    static func deleteRange(_ range: Overlay.Range) throws(RegistryError) -> Query? {
        let table = try Table.of(range.from, in: range.family)
        if case .index = table.content { return nil }
        let name = table.columns[0].name
        let from = try firstColumn(atLeast: range.from, of: table)
        // What comes after the table is after all of its rows.
        guard table.tag.map({ range.upTo.first == $0 }) ?? true else { return Query("DELETE FROM \(table.name) WHERE \(name) >= $1", [from]) }
        return Query("DELETE FROM \(table.name) WHERE \(name) >= $1 AND \(name) < $2", [from, try firstColumn(atLeast: range.upTo, of: table)])
    }

    /// The least value of the first column that a key at or after the bound has. A bound may end within it: the end of a prefix has no last bytes
    /// where the prefix has those that no other follows.
    private static func firstColumn(atLeast bound: [UInt8], of table: Table) throws(RegistryError) -> Value {
        let missing = (table.columns[0].kind.bytes ?? 0) + (table.tag == nil ? 0 : 1) - bound.count
        let values = try KeyColumns(bound + [UInt8](repeating: 0, count: max(0, missing)), of: table).values
        guard missing >= 0, values.count == 1 else {
            throw RegistryError(.internal, subject: .store, reason: "a range of rows cannot be deleted", cause: table.name)
        }
        return values[0]
    }

    private static func isKey(_ table: Table) -> String {
        table.columns.enumerated().map { "\($0.element.name) = $\($0.offset + 1)" }.joined(separator: " AND ")
    }

    private static func whole(_ key: [UInt8], of table: Table) throws(RegistryError) -> [Value] {
        let columns = try KeyColumns(key, of: table)
        guard columns.isWhole else { throw BinaryReader.damaged }
        return columns.values
    }
}

extension Table {
    var hasValue: Bool {
        switch content {
        case .row, .bytes, .location: true
        case .nothing, .index: false
        }
    }
}
