import BlobStore
public import Catalog
public import Core
public import Logging
import Synchronization

extension Registry {
    /// Drives one follower until its task is cancelled.
    public func follow(_ follower: any Follower) async {
        var place: FollowerPlace?
        while !Task.isCancelled {
            do throws(RegistryError) {
                if place == nil { place = try await begin(follower) }
                guard var at = place else { continue }
                try await catalog.awaitChange(after: at.position)
                if Task.isCancelled { return }
                let entries = try await catalog.log(after: at.position, limit: 1_000)
                guard let last = entries.last else { continue }
                let parts = try await follower.take(entries)
                at.position = last.revision
                try await save(follower, parts, &at)
                place = at
            } catch {
                if Task.isCancelled { return }
                // Too far behind, or another node has taken these entries for all.
                if error.code == .gone || error.code == .conflict {
                    place = nil
                    continue
                }
                log.error("a follower of the log failed, it tries again", metadata: ["follower": "\(follower.name)", "error": "\(error)"])
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    private func begin(_ follower: any Follower) async throws(RegistryError) -> FollowerPlace {
        let head = try await catalog.head()
        guard follower.isDurable else { return FollowerPlace(position: head, cursor: .zero) }
        let record = try await catalog.record(.cursor, id: follower.name)
        if let record {
            var reader = BinaryReader(record.value)
            let position = Revision(try reader.readUInt64())
            do throws(RegistryError) {
                _ = try await catalog.log(after: position, limit: 1)
                return FollowerPlace(position: position, cursor: record.revision)
            } catch {
                guard error.code == .gone else { throw error }
            }
        }
        do throws(RegistryError) {
            // New here, and the log still begins at its beginning: nothing needs to be guessed from facts.
            _ = try await catalog.log(after: .zero, limit: 1)
            if record == nil { return FollowerPlace(position: .zero, cursor: .zero) }
        } catch {
            guard error.code == .gone else { throw error }
        }
        var place = FollowerPlace(position: head, cursor: record?.revision ?? .zero)
        try await save(follower, try await follower.startOver(), &place)
        return place
    }

    /// The position is written with what the follower wrote, and not at all when it wrote nothing: its own commits would wake it for ever.
    /// - Throws: `conflict` when another node has moved the cursor: what these entries come to is in the catalog already, or will be.
    private func save(_ follower: any Follower, _ parts: [Change.Part], _ place: inout FollowerPlace) async throws(RegistryError) {
        guard !parts.isEmpty else { return }
        var parts = parts
        if follower.isDurable {
            var writer = BinaryWriter()
            writer.write(place.position.number)
            parts.append(.putRecord(Record(kind: .cursor, id: follower.name, value: writer.bytes), ifRevision: place.cursor))
        }
        place.cursor = try await catalog.apply(
            Change(actor: .system, at: world.now(), requestID: "follower \(follower.name)", parts: parts, isPatient: true))
    }

    public var viewFollower: any Follower { ViewFollower(views: views) }
}

/// How far a follower is.
private struct FollowerPlace {
    /// The last revision it has taken.
    var position: Revision
    /// Of the record that says so; zero before there is one.
    var cursor: Revision
}

/// Drops rendered views as soon as what they were computed from has changed. Fingerprints make a stale page impossible; this gives its memory back.
private struct ViewFollower: Follower {
    let views: ViewCache
    var name: String { "views" }
    var isDurable: Bool { false }

    func take(_ entries: [LogEntry]) -> [Change.Part] {
        for touched in Set(entries.flatMap(\.touched)) {
            switch touched {
            case .repository(let repository): views.forget(repository, package: nil)
            case .package(let repository, let package): views.forget(repository, package: package)
            case .asset, .tag, .record, .verdict, .learned, .trash: break
            }
        }
        return []
    }

    func startOver() -> [Change.Part] { [] }
}

/// What all repositories hold together and what happened to them, for metrics and the administrator's page: kept by following the log, so
/// that nobody scans for it.
public final class StorageCounters: Follower {
    public struct Totals: Sendable, Hashable {
        public var assets: Int64
        public var bytes: Int64
        public var uploads: Int64
        public var deletions: Int64
        /// Logical bytes that can be restored; in no other figure.
        public var trashBytes: Int64
        public init(assets: Int64 = 0, bytes: Int64 = 0, uploads: Int64 = 0, deletions: Int64 = 0, trashBytes: Int64 = 0) {
            self.assets = assets
            self.bytes = bytes
            self.uploads = uploads
            self.deletions = deletions
            self.trashBytes = trashBytes
        }
    }

    private static let formatNumber: UInt8 = 2
    private static let id = "storage-counters"
    private let catalog: any Catalog
    private let totals = Mutex(Totals())

    public init(catalog: any Catalog) { self.catalog = catalog }

    public var name: String { StorageCounters.id }
    public var isDurable: Bool { true }
    public var current: Totals { totals.withLock { $0 } }

    /// Reads what was kept, before the first entry comes.
    public func load() async throws(RegistryError) {
        let kept = try await kept()
        totals.withLock { $0 = kept }
    }

    /// Again and again, where another node counts; until its task is cancelled.
    public func reload(every pause: Duration, _ log: Logger) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: pause)
            do throws(RegistryError) { try await load() } catch { log.warning("totals are as they were", metadata: ["error": "\(error)"]) }
        }
    }

    private func kept() async throws(RegistryError) -> Totals {
        guard let record = try await catalog.record(.setting, id: StorageCounters.id) else { return Totals() }
        var reader = BinaryReader(record.value)
        let format = try reader.readUInt8()
        guard (1...StorageCounters.formatNumber).contains(format) else { return Totals() }
        return Totals(
            assets: try reader.readInt64(), bytes: try reader.readInt64(), uploads: try reader.readInt64(), deletions: try reader.readInt64(),
            trashBytes: format == 1 ? 0 : try reader.readInt64())
    }

    public func take(_ entries: [LogEntry]) async throws(RegistryError) -> [Change.Part] {
        // From what was committed, not from memory: entries come again when the commit of their sums failed.
        let before = try await kept()
        var next = before
        for case .asset(_, _, let blob, let delta) in entries.lazy.flatMap(\.touched) {
            next.bytes = next.bytes.addingReportingOverflow(delta).partialValue
            if blob == nil { next.deletions += 1 } else { next.uploads += 1 }
        }
        // A deleted repository takes its assets along without an entry for each: count the survivors anew.
        if entries.contains(where: { $0.touched.contains(where: StorageCounters.movesMore) }) || next != before {
            try await count(into: &next)
        }
        return keep(next, over: before)
    }

    public func startOver() async throws(RegistryError) -> [Change.Part] {
        var next = Totals()
        try await count(into: &next)
        return keep(next, over: nil)
    }

    private static func movesMore(_ touched: LogEntry.Touched) -> Bool {
        switch touched {
        case .repository, .trash: true
        default: false
        }
    }

    /// Sums the repositories' own totals, which change with the changes that cause them.
    private func count(into totals: inout Totals) async throws(RegistryError) {
        (totals.assets, totals.bytes, totals.trashBytes) = (0, 0, 0)
        var last: RepositoryKey?
        while true {
            let page = try await catalog.repositories(after: last, limit: 500)
            for repository in page {
                let usage = try await catalog.usage(of: repository.id)
                totals.assets += usage.assets
                totals.bytes += usage.bytes
                totals.trashBytes += usage.trashBytes
            }
            guard page.count == 500, let end = page.last else { return }
            last = end.key
        }
    }

    private func keep(_ next: Totals, over before: Totals?) -> [Change.Part] {
        totals.withLock { $0 = next }
        guard next != before else { return [] }
        var writer = BinaryWriter()
        writer.write(StorageCounters.formatNumber)
        for value in [next.assets, next.bytes, next.uploads, next.deletions, next.trashBytes] { writer.write(value) }
        return [.putRecord(Record(kind: .setting, id: StorageCounters.id, value: writer.bytes), ifRevision: nil)]
    }
}
