import Catalog
import Core
import Synchronization

/// When the assets of bounded repositories were last asked for. A hit costs one entry in memory and no write; what was used is added to the
/// catalog in batches, so that a crash loses recency and nothing else.
///
/// `Record(.access, id: <repository>/<path>)`: format number (1 byte), milliseconds since 1970 (8).
final class Recency: Sendable {
    struct Key: Hashable, Sendable {
        var repository: RepositoryID
        var path: AssetPath
        var record: String { "\(repository)/\(path)" }
    }

    private static let formatNumber: UInt8 = 1
    /// Different assets remembered between two flushes; beyond, further hits are not.
    private static let keysMax = 100_000
    private static let batch = 500

    private let catalog: any Catalog
    private let used = Mutex<[Key: Timestamp]>([:])

    init(catalog: any Catalog) { self.catalog = catalog }

    func note(_ path: AssetPath, in repository: RepositoryID, at now: Timestamp) {
        let key = Key(repository: repository, path: path)
        used.withLock { used in
            guard used.count < Recency.keysMax || used[key] != nil else { return }
            used[key] = now
        }
    }

    /// Since the last flush that it survived; nil when it was not asked for.
    func lastNoted(_ path: AssetPath, in repository: RepositoryID) -> Timestamp? {
        used.withLock { $0[Key(repository: repository, path: path)] }
    }

    /// More was asked for than is good to keep in memory.
    var isFull: Bool { used.withLock { $0.count > Recency.keysMax / 2 } }

    /// Writes down what was used and forgets it here, but for what is inside its lease.
    func flush(at now: Timestamp) async throws(RegistryError) {
        let taken = used.withLock { Array($0) }
        for start in stride(from: 0, to: taken.count, by: Recency.batch) {
            let some = taken[start..<min(start + Recency.batch, taken.count)]
            var parts: [Change.Part] = []
            for (key, time) in some where try await catalog.asset(at: key.path, in: key.repository) != nil {
                // Another node may have answered with it later.
                if let known = try await catalog.record(.access, id: key.record), try Recency.time(of: known) >= time { continue }
                parts.append(.putRecord(Recency.record(key, time), ifRevision: nil))
            }
            if !parts.isEmpty { try await catalog.apply(Change(actor: .system, at: now, requestID: "recency", parts: parts)) }
            let leased = now.adding(seconds: -CacheLimits.leaseSeconds)
            used.withLock { used in
                for (key, time) in some where used[key] == time && time <= leased { used[key] = nil }
            }
        }
    }

    private static func record(_ key: Key, _ time: Timestamp) -> Record {
        var writer = BinaryWriter()
        writer.write(formatNumber)
        writer.write(time.milliseconds)
        return Record(kind: .access, id: key.record, value: writer.bytes)
    }

    fileprivate static func time(of record: Record) throws(RegistryError) -> Timestamp {
        var reader = BinaryReader(record.value)
        guard try reader.readUInt8() == formatNumber else { return Timestamp(milliseconds: 0) }
        return Timestamp(milliseconds: try reader.readInt64())
    }
}

/// Walks a repository's assets in byte order of their paths beside the records of their last use, a page of each in memory.
struct RecencyWalk {
    struct Entry: Sendable {
        var asset: Asset
        /// When a client was last answered with it; nil: never, as far as is known.
        var used: Timestamp?
        /// What ages are compared by.
        var lastUse: Timestamp { max(used ?? asset.created, asset.created) }
    }

    private static let pageLength = 500
    private let catalog: any Catalog
    private let recency: Recency
    private let repository: RepositoryID
    private var path: AssetPath?
    private var records: ArraySlice<Record> = []
    private var lastRecord: String
    private var isRecordsEnd = false
    private var isEnd = false
    /// Records of assets that are gone.
    private(set) var orphans: [String] = []

    init(_ repository: RepositoryID, catalog: any Catalog, recency: Recency) {
        self.catalog = catalog
        self.recency = recency
        self.repository = repository
        lastRecord = "\(repository)/"
    }

    /// The next assets with their last use; empty at the end.
    mutating func next() async throws(RegistryError) -> [Entry] {
        guard !isEnd else { return [] }
        let assets = try await catalog.assets(in: repository, prefix: "", after: path, limit: RecencyWalk.pageLength)
        isEnd = assets.count < RecencyWalk.pageLength
        path = assets.last?.path ?? path
        var entries: [Entry] = []
        for asset in assets {
            let noted = recency.lastNoted(asset.path, in: repository)
            let recorded = try await recorded("\(repository)/\(asset.path)")
            entries.append(Entry(asset: asset, used: [noted, recorded].compactMap { $0 }.max()))
        }
        while isEnd, let record = try await peekRecord() {
            records.removeFirst()
            orphans.append(record.id)
        }
        return entries
    }

    mutating func takeOrphans() -> [String] {
        defer { orphans = [] }
        return orphans
    }

    private mutating func recorded(_ id: String) async throws(RegistryError) -> Timestamp? {
        while let record = try await peekRecord() {
            if id.utf8.lexicographicallyPrecedes(record.id.utf8) { return nil }
            records.removeFirst()
            if record.id == id { return try Recency.time(of: record) }
            orphans.append(record.id)
        }
        return nil
    }

    private mutating func peekRecord() async throws(RegistryError) -> Record? {
        if records.isEmpty, !isRecordsEnd {
            let page = try await catalog.records(.access, after: lastRecord, limit: RecencyWalk.pageLength)
            let own = page.prefix { $0.id.hasPrefix("\(repository)/") }
            isRecordsEnd = own.count < RecencyWalk.pageLength
            lastRecord = own.last?.id ?? lastRecord
            records = own
        }
        return records.first
    }
}
