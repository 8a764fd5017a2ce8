import Catalog
import Core

/// One run over one repository: first how much lies at which age, then the removal of what is older than the age that frees enough. Memory is
/// bounded by the number of different minutes, whatever the number of entries.
struct EvictionRun {
    private static let batch = 200

    let registry: Registry
    let repository: Repository
    let now: Timestamp

    /// What goes: everything used before the minute `below`, and of that minute's up to `rest` bytes.
    private struct Cut {
        var below: Int64
        var rest: Int64
        /// Everything used before it goes, wanted or not.
        var idleBelow: Timestamp
    }

    func perform(downTo target: Int64?) async throws(RegistryError) -> Evicted {
        guard var cut = try await cut(downTo: target) else { return Evicted() }
        var evicted = Evicted()
        var walk = walk
        var doomed: [RecencyWalk.Entry] = []
        while true {
            let page = try await walk.next()
            for entry in page where !isLeased(entry) {
                let minute = minute(of: entry)
                if minute >= cut.below, entry.lastUse >= cut.idleBelow {
                    guard minute == cut.below, cut.rest > 0 else { continue }
                    cut.rest -= entry.asset.size
                }
                doomed.append(entry)
            }
            while doomed.count >= EvictionRun.batch || page.isEmpty && !doomed.isEmpty {
                try await remove(Array(doomed.prefix(EvictionRun.batch)), &evicted)
                doomed.removeFirst(min(EvictionRun.batch, doomed.count))
            }
            try await forget(walk.takeOrphans())
            if page.isEmpty { return evicted }
        }
    }

    private var walk: RecencyWalk { RecencyWalk(repository.id, catalog: registry.catalog, recency: registry.recency) }

    /// nil when nothing has to go.
    private func cut(downTo target: Int64?) async throws(RegistryError) -> Cut? {
        let limits = CacheLimits(repository)
        let held = try await registry.catalog.usage(of: repository.id).bytes
        var excess: Int64 = 0
        if let bytesMax = limits.bytesMax, target != nil || held > CacheLimits.highWater(bytesMax) {
            excess = max(0, held - max(0, target ?? CacheLimits.lowWater(bytesMax)))
        }
        let idleBelow = limits.idleSeconds.map { now.adding(seconds: -$0) } ?? Timestamp(milliseconds: .min)
        guard excess > 0 || limits.idleSeconds != nil else { return nil }
        var cut = Cut(below: .min, rest: 0, idleBelow: idleBelow)
        guard excess > 0 else { return cut }
        var bytes: [Int64: Int64] = [:]
        var walk = walk
        while true {
            let page = try await walk.next()
            guard !page.isEmpty else { break }
            for entry in page {
                if entry.lastUse < idleBelow {
                    excess -= isLeased(entry) ? 0 : entry.asset.size
                } else if !isLeased(entry) {
                    bytes[minute(of: entry), default: 0] &+= entry.asset.size
                }
            }
        }
        for (minute, size) in bytes.sorted(by: { $0.key < $1.key }) where excess > 0 {
            cut.below = minute
            cut.rest = excess
            excess -= size
        }
        return cut
    }

    private func minute(of entry: RecencyWalk.Entry) -> Int64 { entry.lastUse.milliseconds / 60_000 }

    private func isLeased(_ entry: RecencyWalk.Entry) -> Bool {
        entry.used.map { $0.adding(seconds: CacheLimits.leaseSeconds) > now } ?? false
    }

    /// Removes those that are still what they were and that nobody has asked for meanwhile.
    private func remove(_ entries: [RecencyWalk.Entry], _ evicted: inout Evicted) async throws(RegistryError) {
        let unasked = entries.filter { entry in
            guard let noted = registry.recency.lastNoted(entry.asset.path, in: repository.id) else { return true }
            return noted.adding(seconds: CacheLimits.leaseSeconds) <= registry.world.now()
        }
        do throws(RegistryError) { try await apply(unasked, &evicted) } catch {
            guard error.code == .conflict || error.code == .notFound else { throw error }
            for entry in unasked {
                do throws(RegistryError) { try await apply([entry], &evicted) } catch {
                    // Replaced or deleted a moment ago: then it is not this run's any more.
                    guard error.code == .conflict || error.code == .notFound else { throw error }
                }
            }
        }
    }

    private func apply(_ entries: [RecencyWalk.Entry], _ evicted: inout Evicted) async throws(RegistryError) {
        guard !entries.isEmpty else { return }
        var edit = Edit()
        var parts: [Change.Part] = []
        for entry in entries {
            edit.preconditions.append(.unchanged(entry.asset.path, since: entry.asset.revision))
            edit.mutations.append(.deleteAsset(entry.asset.path))
            if entry.used != nil {
                parts.append(.deleteRecord(.access, id: Recency.Key(repository: repository.id, path: entry.asset.path).record))
            }
        }
        parts.insert(.edit(repository.id, edit), at: 0)
        try await registry.catalog.apply(Change(actor: .system, at: registry.world.now(), requestID: "eviction", parts: parts))
        evicted.entries &+= Int64(entries.count)
        for entry in entries { evicted.bytes &+= entry.asset.size }
    }

    private func forget(_ orphans: [String]) async throws(RegistryError) {
        guard !orphans.isEmpty else { return }
        let parts = orphans.map { Change.Part.deleteRecord(.access, id: $0) }
        try await registry.catalog.apply(Change(actor: .system, at: registry.world.now(), requestID: "recency", parts: parts))
    }
}
