import Catalog
import Core
import TestSupport
import Testing

@testable import CatalogRules
@testable import PostgresCatalog
@testable import PostgresClient

@Suite("Keys as columns") struct KeyColumnsTests {
    @Test("every key is the columns it falls apart into") func roundTrip() throws {
        for key in try KeyspaceTests.keys() where !key.bytes.hasZeroText {
            let table = try Table.of(key.bytes, in: CatalogRows.family)
            let columns = try KeyColumns(key.bytes, of: table)
            #expect(columns.isWhole)
            #expect(columns.values.count == table.columns.count)
            #expect(try Keyspace(KeyColumns.key(of: Row(columns: columns.values.map(\.bytes)), in: table)) == key)
        }
    }

    @Test("the bounds of a scan are never narrower than the keys'") func bounds() throws {
        let seed = SeededRandom.runSeed
        print("GRANARY_SEED=\(seed)")
        var random = SeededRandom(seed: seed)
        let keys = try KeyspaceTests.keys().map(\.bytes).filter { !$0.hasZeroText }
        for bound in keys {
            // Whole keys, their beginnings, the first byte string after either.
            let cut = Array(bound.prefix(Int.random(in: 1...bound.count, using: &random)))
            for bound in [bound, bound + [0], cut, end(ofPrefix: cut), end(ofPrefix: bound)] where bound.first == cut[0] {
                let table = try Table.of(bound, in: CatalogRows.family)
                let (lower, upper) = (try KeyColumns(bound, of: table).values, try KeyColumns(bound, of: table, isUpper: true).values)
                for key in keys where key.first == bound.first {
                    let columns = try KeyColumns(key, of: table).values
                    if !key.lexicographicallyPrecedes(bound) { #expect(isOrdered(lower, columns), "\(key) from \(bound), seed \(seed)") }
                    if key.lexicographicallyPrecedes(bound) { #expect(isOrdered(columns, upper), "\(key) up to \(bound), seed \(seed)") }
                }
            }
        }
    }

    @Test("a text with a zero byte is refused") func zero() throws {
        let key = Keyspace.asset(EntityID(high: 1, low: 1), "a\u{0}").bytes
        let error = #expect(throws: RegistryError.self) { try KeyColumns(key, of: Table.of(key, in: CatalogRows.family)) }
        #expect(error?.code == .invalid)
    }

    private func end(ofPrefix prefix: [UInt8]) -> [UInt8] {
        var end = prefix
        while let last = end.popLast() {
            if last < 0xFF { return end + [last + 1] }
        }
        return []
    }

    /// As the server compares rows, by as many columns as both have. Integers here are positive, so that their bytes sort as they do.
    private func isOrdered(_ a: [Value], _ b: [Value]) -> Bool {
        for (a, b) in zip(a, b) where a != b { return (a.bytes ?? []).lexicographicallyPrecedes(b.bytes ?? []) }
        return true
    }
}

extension [UInt8] {
    /// PostgreSQL has none.
    fileprivate var hasZeroText: Bool { indices.dropLast().contains { self[$0] == 0 && self[$0 + 1] == 0xFF } }
}
