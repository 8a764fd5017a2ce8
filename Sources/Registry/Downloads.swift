public import Catalog
public import Core
import FrontendKit
import HTTPTypes
import Logging
import Synchronization

/// How often each asset was downloaded. Counted in memory and added to the catalog in batches: a crash may lose the last seconds, and only those.
/// A download is a GET of the file from its first byte that is answered with bytes; HEAD, later ranges and 304 are none.
///
/// `Record(.download, id: <repository>/<path>)`, and `total` for all together: format number (1 byte), count (8).
public final class DownloadCounter: Follower {
    private struct Key: Hashable {
        var repository: RepositoryID
        var path: AssetPath
        var record: String { "\(repository)/\(path)" }
    }

    private static let formatNumber: UInt8 = 1
    private static let totalID = "total"
    /// Different assets counted between two flushes; beyond, downloads of further ones are not counted.
    private static let pendingMax = 100_000
    private static let batch = 500
    private static let attemptsMax = 5

    private let catalog: any Catalog
    private let world: World
    private let pending = Mutex<[Key: Int64]>([:])

    init(catalog: any Catalog, world: World) {
        self.catalog = catalog
        self.world = world
    }

    /// Whether answering this request sends the file from its first byte.
    static func counts(_ head: RequestHead, _ validator: Response.Validator) -> Bool {
        guard head.method == .get else { return false }
        if let range = head.fields[.range], !range.hasPrefix("bytes=0-") { return false }
        if let known = head.fields[.ifNoneMatch], known == "*" || known.contains(validator.etag) { return false }
        return true
    }

    func add(_ path: AssetPath, in repository: RepositoryID) {
        let key = Key(repository: repository, path: path)
        pending.withLock { pending in
            guard pending[key] != nil || pending.count < DownloadCounter.pendingMax else { return }
            pending[key, default: 0] += 1
        }
    }

    /// Those not flushed yet included.
    public func count(of path: AssetPath, in repository: RepositoryID) async throws(RegistryError) -> Int64 {
        let key = Key(repository: repository, path: path)
        return try await stored(key.record).count + pending.withLock { $0[key] ?? 0 }
    }

    public func total() async throws(RegistryError) -> Int64 {
        try await stored(DownloadCounter.totalID).count + pending.withLock { $0.values.reduce(0, +) }
    }

    /// Adds what was counted since the last time to the catalog. One at a time; what cannot be added is kept for the next.
    public func flush() async throws(RegistryError) {
        let taken = pending.withLock { pending in
            defer { pending = [:] }
            return Array(pending)
        }
        for start in stride(from: 0, to: taken.count, by: DownloadCounter.batch) {
            let counted = taken[start..<min(start + DownloadCounter.batch, taken.count)]
            do throws(RegistryError) { try await addInTurn(counted) } catch {
                pending.withLock { pending in for (key, count) in taken[start...] { pending[key, default: 0] += count } }
                throw error
            }
        }
    }

    /// Where several nodes count, each adds to what the others have added.
    private func addInTurn(_ counted: ArraySlice<(key: Key, value: Int64)>) async throws(RegistryError) {
        for _ in 1..<DownloadCounter.attemptsMax {
            do throws(RegistryError) { return try await add(counted) } catch { guard error.code == .conflict else { throw error } }
        }
        try await add(counted)
    }

    private func add(_ counted: ArraySlice<(key: Key, value: Int64)>) async throws(RegistryError) {
        var parts: [Change.Part] = []
        for (key, count) in counted {
            // What was deleted meanwhile has no row any more, and gets none.
            guard try await catalog.asset(at: key.path, in: key.repository) != nil else { continue }
            parts.append(try await part(key.record, adding: count))
        }
        parts.append(try await part(DownloadCounter.totalID, adding: counted.reduce(0) { $0 + $1.value }))
        try await catalog.apply(Change(actor: .system, at: world.now(), requestID: "downloads", parts: parts))
    }

    private func part(_ id: String, adding count: Int64) async throws(RegistryError) -> Change.Part {
        let (before, revision) = try await stored(id)
        var writer = BinaryWriter()
        writer.write(DownloadCounter.formatNumber)
        writer.write(before.addingReportingOverflow(count).partialValue)
        return .putRecord(Record(kind: .download, id: id, value: writer.bytes), ifRevision: revision)
    }

    private func stored(_ id: String) async throws(RegistryError) -> (count: Int64, revision: Revision) {
        guard let record = try await catalog.record(.download, id: id) else { return (0, .zero) }
        var reader = BinaryReader(record.value)
        guard try reader.readUInt8() == DownloadCounter.formatNumber else { return (0, record.revision) }
        return (try reader.readInt64(), record.revision)
    }
}

// As a follower it removes the rows of what was deleted. A deletion that it did not see, in a crash, leaves a row that costs a few bytes.
extension DownloadCounter {
    public var name: String { "downloads" }
    public var isDurable: Bool { false }

    public func take(_ entries: [LogEntry]) async throws(RegistryError) -> [Change.Part] {
        var gone: Set<String> = []
        for touched in entries.lazy.flatMap(\.touched) {
            switch touched {
            case .asset(let repository, let path, nil, _): gone.insert(Key(repository: repository, path: path).record)
            case .repository(let repository):
                if try await catalog.repository(id: repository) == nil { try await clear(prefix: "\(repository)/") }
            default: break
            }
        }
        var parts: [Change.Part] = []
        for id in gone.sorted() where try await catalog.record(.download, id: id) != nil { parts.append(.deleteRecord(.download, id: id)) }
        return parts
    }

    public func startOver() async throws(RegistryError) -> [Change.Part] { [] }

    private func clear(prefix: String) async throws(RegistryError) {
        while true {
            let page = try await catalog.records(.download, after: prefix, limit: DownloadCounter.batch).filter { $0.id.hasPrefix(prefix) }
            guard !page.isEmpty else { return }
            let parts = page.map { Change.Part.deleteRecord(.download, id: $0.id) }
            try await catalog.apply(Change(actor: .system, at: world.now(), requestID: "downloads", parts: parts))
        }
    }
}

extension Registry {
    /// Brings counted downloads to the catalog every ten seconds until its task is cancelled; call `downloads.flush()` once more after.
    public func flushDownloads() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(10))
            do throws(RegistryError) { try await downloads.flush() } catch {
                log.error("downloads stay in memory for now", metadata: ["error": "\(error)"])
            }
        }
    }
}
