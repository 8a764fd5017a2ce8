package import Core
package import OrderedStore

/// How many rows of each kind a catalog has, and a digest over them: equal for equal catalogs, in whatever home.
package struct RowTally: Sendable, Hashable {
    package struct Kind: Sendable, Hashable {
        package var name: String
        package var rows = 0
        package var digest: Digest
    }

    /// Those of which there are any, in the order of their keys.
    package private(set) var kinds: [Kind] = []
    package var rows: Int { kinds.reduce(0) { $0 + $1.rows } }

    /// Reads every row.
    package init(of rows: any OrderedRows) throws(RegistryError) {
        for kind in CatalogMove.kinds {
            var hasher = Digest.Hasher(.sha256)
            var count = 0
            try rows.scan(kind.family, prefix: kind.prefix) { key, value throws(RegistryError) in
                guard CatalogMove.moves(key, in: kind.family), !RowTally.isBeginning(key, value) else { return true }
                count += 1
                for part in [key, value] {
                    let length = (0..<4).map { UInt8(truncatingIfNeeded: part.count >> (8 * $0)) }
                    length.withUnsafeBytes { unsafe hasher.update($0) }
                    part.withUnsafeBytes { unsafe hasher.update($0) }
                }
                return true
            }
            if count > 0 { kinds.append(Kind(name: kind.name, rows: count, digest: hasher.finish())) }
        }
    }

    /// A head that nothing has moved yet is there in one home and not in the other.
    private static func isBeginning(_ key: [UInt8], _ value: [UInt8]) -> Bool {
        key == Keyspace.head.bytes && value == RowCoding.encode { $0.write(Revision.zero) }
    }

    package func differences(from other: RowTally) -> String {
        let names = (kinds + other.kinds).map(\.name)
        return Set(names).sorted().compactMap { name in
            let (ours, theirs) = (kinds.first { $0.name == name }, other.kinds.first { $0.name == name })
            return ours == theirs ? nil : "\(name) \(ours?.rows ?? 0) and \(theirs?.rows ?? 0)"
        }.joined(separator: ", ")
    }
}
