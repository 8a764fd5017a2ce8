public import Core

extension OrderedStore {
    /// The store as a commit may change it: reads see the committed rows, the earlier builds of the group, and what this build has done so far.
    /// Lives only inside `build`, on the committer's thread.
    public final class Batch: OrderedRows {
        private let base: any OrderedRows
        private(set) var overlay = Overlay()

        init(on base: any OrderedRows) { self.base = base }

        public func get(_ key: [UInt8], in family: Family) throws(RegistryError) -> [UInt8]? {
            switch overlay.find(key, in: family) {
            case .changed(let value): value
            case .untouched: try base.get(key, in: family)
            }
        }

        /// Whether the group has written the row, or deleted it: what is remembered of committed rows does not count for it.
        public func isPending(_ key: [UInt8], in family: Family) -> Bool {
            if case .changed = overlay.find(key, in: family) { true } else { false }
        }

        public func put(_ key: [UInt8], _ value: [UInt8], in family: Family) { overlay.set(value, for: key, in: family) }

        /// Deleting what is not there is no error.
        public func delete(_ key: [UInt8], in family: Family) { overlay.set(nil, for: key, in: family) }

        /// Deletes the rows with `from <= key < upTo`, however many, at the cost of one. Many such marks slow later scans across them.
        public func deleteRange(_ family: Family, from: [UInt8], upTo: [UInt8]) {
            precondition(!upTo.lexicographicallyPrecedes(from), "a range ends before it begins")
            overlay.clear(family, from: from, upTo: upTo)
        }

        /// Sees the batch as it was when the scan began; `body` may change it.
        public func scan(
            _ family: Family, from: [UInt8], upTo: [UInt8]?, reverse: Bool,
            _ body: (_ key: [UInt8], _ value: [UInt8]) throws(RegistryError) -> Bool
        ) throws(RegistryError) {
            let before = overlay
            var changed = Array(before.slice(family, from: from, upTo: upTo))
            if !reverse { changed.reverse() }  // the next one is last
            var isStopped = false
            func emitChanged(until key: [UInt8]?) throws(RegistryError) {
                while !isStopped, let row = changed.last {
                    if let key {
                        let isPast = reverse ? !Overlay.precedes(key, row.key) : !Overlay.precedes(row.key, key)
                        if isPast { return }
                    }
                    changed.removeLast()
                    if let value = row.value { isStopped = try !body(row.key, value) }
                }
            }
            try base.scan(family, from: from, upTo: upTo, reverse: reverse) { key, value throws(RegistryError) in
                try emitChanged(until: key)
                if isStopped { return false }
                if let row = changed.last, row.key == key {
                    changed.removeLast()
                    if let value = row.value { isStopped = try !body(key, value) }
                } else if !before.isCleared(key, in: family) {
                    isStopped = try !body(key, value)
                }
                return !isStopped
            }
            try emitChanged(until: nil)
        }

        public func willGet(_ keys: [[UInt8]], in family: Family) throws(RegistryError) {
            try base.willGet(keys.filter { !isPending($0, in: family) }, in: family)
        }

        public func willScan(_ prefixes: [[UInt8]], in family: Family) throws(RegistryError) -> [[UInt8]] {
            try base.willScan(prefixes, in: family)
        }

        func setSavepoint() { overlay.setSavepoint() }
        func rollBack() { overlay.rollBack() }
        /// By this build.
        func hasChanged(_ families: Set<Family>) -> Bool { overlay.hasChanged(families) }
    }

    /// The store as it was at one moment.
    ///
    /// `@unchecked Sendable`: nothing changes after `init`, and RocksDB reads at a snapshot from any thread.
    public final class Snapshot: OrderedRows, @unchecked Sendable {
        private let database: Database
        private let handle: OpaquePointer

        init(of database: Database) {
            self.database = database
            handle = database.takeSnapshot()
        }

        deinit { database.release(handle) }

        public func get(_ key: [UInt8], in family: Family) throws(RegistryError) -> [UInt8]? {
            try database.get(key, in: family, at: handle)
        }

        public func scan(
            _ family: Family, from: [UInt8], upTo: [UInt8]?, reverse: Bool,
            _ body: (_ key: [UInt8], _ value: [UInt8]) throws(RegistryError) -> Bool
        ) throws(RegistryError) {
            try database.scan(family, from: from, upTo: upTo, reverse: reverse, at: handle, body)
        }
    }
}
