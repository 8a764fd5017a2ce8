#if canImport(Glibc)
    import Glibc
#endif

/// What a group of builds will write: per family the changed rows in key order, and ranges that were cleared before them.
package struct Overlay {
    package struct Row {
        package let key: [UInt8]
        /// nil: deleted.
        package var value: [UInt8]?
    }

    package struct Range {
        package let family: OrderedStore.Family
        package let from: [UInt8]
        package let upTo: [UInt8]
        func covers(_ key: [UInt8], _ family: OrderedStore.Family) -> Bool {
            family == self.family && !Overlay.precedes(key, from) && Overlay.precedes(key, upTo)
        }
    }

    enum Found {
        case changed([UInt8]?)
        case untouched
    }

    private enum Undo {
        case restore(OrderedStore.Family, Row)
        case forget(OrderedStore.Family, key: [UInt8])
    }

    /// Sorted arrays: a group has some thousand rows, and moving them beats a tree.
    package private(set) var rows: [OrderedStore.Family: [Row]] = [:]
    /// Applied before `rows`.
    package private(set) var cleared: [Range] = []
    private var undo: [Undo] = []
    private var clearedAtSavepoint = 0

    var isEmpty: Bool { cleared.isEmpty && rows.values.allSatisfy(\.isEmpty) }

    func find(_ key: [UInt8], in family: OrderedStore.Family) -> Found {
        if let row = locate(key, in: family).row { return .changed(row.value) }
        return isCleared(key, in: family) ? .changed(nil) : .untouched
    }

    func isCleared(_ key: [UInt8], in family: OrderedStore.Family) -> Bool {
        !cleared.isEmpty && cleared.contains { $0.covers(key, family) }
    }

    /// The changed rows with `from <= key < upTo`.
    func slice(_ family: OrderedStore.Family, from: [UInt8], upTo: [UInt8]?) -> ArraySlice<Row> {
        guard let list = rows[family] else { return [] }
        let start = Overlay.position(of: from, in: list)
        let end = upTo.map { Overlay.position(of: $0, in: list) } ?? list.count
        return list[start..<max(start, end)]
    }

    mutating func set(_ value: [UInt8]?, for key: [UInt8], in family: OrderedStore.Family) {
        let (at, existing) = locate(key, in: family)
        if let existing {
            undo.append(.restore(family, existing))
            rows[family]?[at].value = value
        } else {
            undo.append(.forget(family, key: key))
            rows[family, default: []].insert(Row(key: key, value: value), at: at)
        }
    }

    mutating func clear(_ family: OrderedStore.Family, from: [UInt8], upTo: [UInt8]) {
        for row in slice(family, from: from, upTo: upTo) where row.value != nil { set(nil, for: row.key, in: family) }
        cleared.append(Range(family: family, from: from, upTo: upTo))
    }

    mutating func setSavepoint() {
        undo.removeAll(keepingCapacity: true)
        clearedAtSavepoint = cleared.count
    }

    /// Whether anything in one of the families was changed since the last savepoint, be it to what it was.
    func hasChanged(_ families: Set<OrderedStore.Family>) -> Bool {
        let isWritten = undo.contains { step in
            switch step {
            case .restore(let family, _), .forget(let family, key: _): families.contains(family)
            }
        }
        return isWritten || cleared[clearedAtSavepoint...].contains { families.contains($0.family) }
    }

    /// As it was at the last savepoint.
    mutating func rollBack() {
        while let step = undo.popLast() {
            switch step {
            case .restore(let family, let row):
                let at = locate(row.key, in: family).at
                rows[family]?[at] = row
            case .forget(let family, let key):
                let at = locate(key, in: family).at
                rows[family]?.remove(at: at)
            }
        }
        cleared.removeLast(cleared.count - clearedAtSavepoint)
    }

    // Returns copies, so that the caller's change finds the array unshared and moves it in place.
    private func locate(_ key: [UInt8], in family: OrderedStore.Family) -> (at: Int, row: Row?) {
        guard let list = rows[family] else { return (0, nil) }
        let at = Overlay.position(of: key, in: list)
        return (at, at < list.count && list[at].key == key ? list[at] : nil)
    }

    /// Byte order, as RocksDB has it.
    static func precedes(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        let order = a.withUnsafeBytes { a in
            b.withUnsafeBytes { b -> Int32 in
                guard let start = a.baseAddress, let other = b.baseAddress else { return 0 }
                return unsafe memcmp(start, other, min(a.count, b.count))
            }
        }
        return order == 0 ? a.count < b.count : order < 0
    }

    /// Where `key` is, or belongs.
    private static func position(of key: [UInt8], in list: [Row]) -> Int {
        var low = 0
        var high = list.count
        while low < high {
            let middle = (low + high) / 2
            if precedes(list[middle].key, key) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
