import Core
import OrderedStore
import PostgresClient

/// The catalog's rows over one connection, by key: in a transaction they are of one moment. What it has fetched it does not fetch again.
final class PostgresRows: OrderedRows {
    /// A scan says when it has enough, not before: it is answered in pages that grow.
    private static let firstPage: Int64 = 100
    private static let pageMax: Int64 = 800
    /// Of scans that are prepared together each has a share of so many rows, but never less than the least.
    private static let preparedRows: Int64 = 6_400
    private static let preparedLeast: Int64 = 8

    private let connection: Connection
    /// Sent along with the first query.
    private var opening: [Query]
    /// What the opening was answered with.
    private(set) var opened: [[Row]] = []
    private var fetched: [RowName: [UInt8]?] = [:]
    /// The first page of a scan, and how many rows it could have had, by the prefix it is of.
    private var prepared: [RowName: (rows: [Row], limit: Int64)] = [:]

    init(over connection: Connection, opening: [Query] = []) {
        self.connection = connection
        self.opening = opening
    }

    func get(_ key: [UInt8], in family: OrderedStore.Family) throws(RegistryError) -> [UInt8]? {
        let name = RowName(key, in: family)
        if let known = fetched[name] { return known }
        try fetch([name])
        return fetched[name] ?? nil
    }

    func willGet(_ keys: [[UInt8]], in family: OrderedStore.Family) throws(RegistryError) {
        try fetch(keys.map { RowName($0, in: family) }.filter { fetched[$0] == nil })
    }

    /// In one journey. A name that PostgreSQL cannot have is left to who asks for it.
    func fetch(_ names: [RowName]) throws(RegistryError) {
        var wanted: [(name: RowName, query: Query)] = []
        for name in names {
            do throws(RegistryError) {
                wanted.append((name, try Statements.get(name.key, in: name.family)))
            } catch {
                if names.count == 1 { throw error }
            }
        }
        let answers = try run(wanted.map(\.query))
        for ((name, _), rows) in zip(wanted, answers) {
            fetched[name] = .some(try rows.first.map { row throws(RegistryError) in try row.isNull(0) ? Statements.empty : row.bytes(0) })
        }
    }

    func scan(
        _ family: OrderedStore.Family, from: [UInt8], upTo: [UInt8]?, reverse: Bool,
        _ body: (_ key: [UInt8], _ value: [UInt8]) throws(RegistryError) -> Bool
    ) throws(RegistryError) {
        let table = try Table.of(from, in: family)
        var scan = try PostgresRows.scan(table, from: from, upTo: upTo, isReverse: reverse)
        let isWhole = !reverse && upTo == OrderedStore.end(ofPrefix: from)
        var first = isWhole ? prepared[RowName(from, in: family)] : nil
        if let first { scan.limit = first.limit }
        while true {
            let rows = if let first { first.rows } else { try run([Statements.scan(table, scan)]).first ?? [] }
            first = nil
            var last: [UInt8]?
            for row in rows {
                let key = try KeyColumns.key(of: row, in: table)
                last = key
                // The columns' bounds are as wide as the key's, or wider.
                if key.lexicographicallyPrecedes(from) {
                    if reverse { return }
                    continue
                }
                if let upTo, !key.lexicographicallyPrecedes(upTo) {
                    if !reverse { return }
                    continue
                }
                let value = table.hasValue ? try row.bytes(table.columns.count) : Statements.empty
                guard try body(key, value) else { return }
            }
            guard let last, rows.count == Int(scan.limit) else { return }
            scan.past = try KeyColumns(last, of: table).values
            scan.limit = min(scan.limit * 8, PostgresRows.pageMax)
        }
    }

    func willScan(_ prefixes: [[UInt8]], in family: OrderedStore.Family) throws(RegistryError) -> [[UInt8]] {
        let names = prefixes.map { RowName($0, in: family) }.filter { prepared[$0] == nil }
        var queries: [Query] = []
        let share = PostgresRows.preparedRows / Int64(max(1, names.count))
        let limit = min(PostgresRows.firstPage, max(PostgresRows.preparedLeast, share))
        for name in names {
            let table = try Table.of(name.key, in: family)
            var scan = try PostgresRows.scan(table, from: name.key, upTo: OrderedStore.end(ofPrefix: name.key), isReverse: false)
            scan.limit = limit
            queries.append(Statements.scan(table, scan))
        }
        var keys: [[UInt8]] = []
        for (name, rows) in zip(names, try run(queries)) {
            prepared[name] = (rows, limit)
            let table = try Table.of(name.key, in: family)
            for row in rows { keys.append(try KeyColumns.key(of: row, in: table)) }
        }
        return keys
    }

    private static func scan(
        _ table: Table, from: [UInt8], upTo: [UInt8]?, isReverse: Bool
    ) throws(RegistryError) -> Statements.Scan {
        Statements.Scan(
            lower: try KeyColumns(from, of: table).values,
            upper: try upTo.map { end throws(RegistryError) in
                try KeyColumns(end, of: table, isUpper: true).values
            } ?? [], isReverse: isReverse, limit: firstPage)
    }

    private func run(_ queries: [Query]) throws(RegistryError) -> [[Row]] {
        guard !opening.isEmpty else { return try connection.run(queries) }
        let answers = try connection.run(opening + queries)
        opened = Array(answers.prefix(opening.count))
        opening = []
        return Array(answers.dropFirst(opened.count))
    }
}
