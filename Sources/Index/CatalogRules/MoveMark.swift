package import Core
package import OrderedStore

/// What is written into a home that is not, or no longer, its catalog's.
package enum MoveMark: Sendable, Hashable {
    /// Rows are being moved into it.
    case coming
    /// They were moved elsewhere.
    case gone(to: String)

    package static func read(from rows: any OrderedRows) throws(RegistryError) -> MoveMark? {
        try CatalogRows(rows: rows).get(.move) { reader throws(RegistryError) in
            let place = try reader.readString()
            return place.isEmpty ? .coming : .gone(to: place)
        }
    }

    package var row: CatalogMove.Row {
        let place = if case .gone(let place) = self { place } else { "" }
        return CatalogMove.Row(family: CatalogRows.family, key: Keyspace.move.bytes, value: RowCoding.encode { $0.write(place) })
    }

    /// - Throws: `unsupported` unless there is none.
    package static func requireNone(in rows: any OrderedRows) throws(RegistryError) {
        switch try read(from: rows) {
        case nil: return
        case .coming:
            throw RegistryError(
                .unsupported, subject: .store, reason: "a move into this catalog has not ended: run granary migrate-catalog again")
        case .gone(let place):
            throw RegistryError(.unsupported, subject: .store, reason: "this catalog was moved to \(place), which is where to go on")
        }
    }
}
