public import Core

/// What can be read by key and in key order: the store as it is, a snapshot of it, or a batch on top of it.
public protocol OrderedRows {
    /// nil when there is no such row.
    func get(_ key: [UInt8], in family: OrderedStore.Family) throws(RegistryError) -> [UInt8]?

    /// The rows with `from <= key < upTo` (nil: to the family's end) in byte order of their keys, or from the last to the first; `body`
    /// returns false to stop.
    func scan(
        _ family: OrderedStore.Family, from: [UInt8], upTo: [UInt8]?, reverse: Bool,
        _ body: (_ key: [UInt8], _ value: [UInt8]) throws(RegistryError) -> Bool
    ) throws(RegistryError)

    /// A hint: these rows are asked for next.
    func willGet(_ keys: [[UInt8]], in family: OrderedStore.Family) throws(RegistryError)

    /// A hint: for each of these prefixes the rows whose keys begin with it are asked for next, and mostly the first few of them will do.
    /// - Returns: the keys of those that were fetched; none where no row has to be.
    func willScan(_ prefixes: [[UInt8]], in family: OrderedStore.Family) throws(RegistryError) -> [[UInt8]]
}

extension OrderedRows {
    // Where a row is at hand, nothing has to be prepared.
    public func willGet(_ keys: [[UInt8]], in family: OrderedStore.Family) throws(RegistryError) {}
    public func willScan(_ prefixes: [[UInt8]], in family: OrderedStore.Family) throws(RegistryError) -> [[UInt8]] { [] }

    /// The rows whose keys begin with `prefix`, in byte order.
    public func scan(
        _ family: OrderedStore.Family, prefix: [UInt8], _ body: (_ key: [UInt8], _ value: [UInt8]) throws(RegistryError) -> Bool
    ) throws(RegistryError) {
        try scan(family, from: prefix, upTo: OrderedStore.end(ofPrefix: prefix), reverse: false, body)
    }
}

/// What memory alone knows of a row.
public enum CachedRow: Sendable, Hashable {
    case found([UInt8])
    case absent
    /// Only the disk can tell.
    case unknown
}

extension OrderedStore {
    /// A keyspace of its own inside the store (a RocksDB column family).
    public struct Family: Hashable, Sendable {
        public let name: String
        public init(_ name: String) { self.name = name }

        /// blob -> where its bytes lie. Rows travel in the same batch as the names that need them, so that no name outlives its bytes.
        public static let blobLocations = Family("blob-locations")
        /// chunk -> where its bytes lie, and what else is known of chunks. Local and rebuildable, as the locations.
        public static let chunks = Family("chunks")
        /// What lies in the blob store's tier.
        public static let tierObjects = Family("tier-objects")
        /// Blobs that this node alone has, of several, until the bucket they share does.
        public static let heldBlobs = Family("held-blobs")
        /// Who was allowed what, and who was not. In the same log as the changes that were allowed.
        public static let audit = Family("audit")
    }

    /// The first key after every key that begins with `prefix`; nil when there is none (the prefix is empty or all `0xFF`).
    public static func end(ofPrefix prefix: [UInt8]) -> [UInt8]? {
        var end = prefix
        while let last = end.popLast() {
            if last < 0xFF {
                end.append(last + 1)
                return end
            }
        }
        return nil
    }
}
