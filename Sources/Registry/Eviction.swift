import Catalog
public import Core
import Logging
import Synchronization

// Eviction: a repository whose assets may be lost stays below its budget of bytes, and drops what nobody asked for. The least recently used go
// first, in bounded batches, in the background; nothing that was answered to a client a moment ago goes. A removed entry leaves no tombstone. The
// bytes on disk are given back by the sweep, once nothing else names them.

/// What was removed.
public struct Evicted: Sendable, Hashable {
    public var entries: Int64 = 0
    public var bytes: Int64 = 0
}

/// What eviction remembers between its runs.
final class EvictionState: Sendable {
    private struct State {
        var total = Evicted()
        var idleRuns: [RepositoryID: Timestamp] = [:]
        var futileUntil: [RepositoryID: Timestamp] = [:]
    }

    private let state = Mutex(State())
    let runs = SingleFlight<RepositoryID, Evicted>()

    var total: Evicted { state.withLock { $0.total } }

    func add(_ evicted: Evicted) {
        state.withLock { state in
            state.total.entries &+= evicted.entries
            state.total.bytes &+= evicted.bytes
        }
    }

    /// Whether it is time to look for idle entries again: a twentieth of the time they may be idle, a minute at least.
    func beginsIdleRun(_ repository: RepositoryID, idleSeconds: Int64, at now: Timestamp) -> Bool {
        state.withLock { state in
            if let last = state.idleRuns[repository], last.adding(seconds: max(60, idleSeconds / 20)) > now { return false }
            state.idleRuns[repository] = now
            return true
        }
    }

    /// A run that could not make room is not repeated for every writer that comes.
    func isFutile(_ repository: RepositoryID, at now: Timestamp) -> Bool {
        state.withLock { state in
            guard let end = state.futileUntil[repository] else { return false }
            if end <= now { state.futileUntil[repository] = nil }
            return end > now
        }
    }

    func wasFutile(_ repository: RepositoryID, until end: Timestamp) { state.withLock { $0.futileUntil[repository] = end } }
}

extension Registry {
    /// Removed since the server started.
    public var evicted: Evicted { eviction.total }

    /// Writes down what was used here; and, on one node for all, brings what is over its budget below it when it grows, drops what is idle, and
    /// clears away what fetches of dead nodes left. Until its task is cancelled.
    public func tendCaches() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.flushRecencyOnSchedule() }
            group.addTask {
                await self.leases.keeping("caches") {
                    await withTaskGroup(of: Void.self) { group in
                        group.addTask { await self.follow(self.evictionFollower) }
                        group.addTask { await self.tendCachesOnSchedule() }
                    }
                }
            }
        }
    }

    private func flushRecencyOnSchedule() async {
        var lastFlush = world.now()
        while !Task.isCancelled {
            do throws(RegistryError) {
                if recency.isFull || lastFlush.adding(seconds: 600) <= world.now() {
                    lastFlush = world.now()
                    try await flushRecency()
                }
            } catch {
                log.error("what was used last is written down in a minute", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(60))
        }
    }

    private func tendCachesOnSchedule() async {
        while !Task.isCancelled {
            do throws(RegistryError) {
                try await tendCachesOnce()
                if catalog.isShared {
                    try await fetches.clear()
                    try await editions.moments.clear()
                }
            } catch {
                log.error("caches are tended again in a minute", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(60))
        }
    }

    /// What was used since the last time, into the catalog: also before the server stops.
    public func flushRecency() async throws(RegistryError) { try await recency.flush(at: world.now()) }

    public func tendCachesOnce() async throws(RegistryError) {
        var last: RepositoryKey?
        while true {
            let page = try await catalog.repositories(after: last, limit: 500)
            for repository in page where CacheLimits.evicts(repository) {
                let limits = CacheLimits(repository)
                let isIdleRun = limits.idleSeconds.map { eviction.beginsIdleRun(repository.id, idleSeconds: $0, at: world.now()) } ?? false
                if isIdleRun {
                    _ = try await evict(from: repository, downTo: nil)
                } else {
                    try await evictAboveHighWater(repository)
                }
            }
            guard page.count == 500, let end = page.last else { return }
            last = end.key
        }
    }

    func evictAboveHighWater(_ repository: Repository) async throws(RegistryError) {
        guard let bytesMax = CacheLimits(repository).bytesMax,
            try await catalog.usage(of: repository.id).bytes > CacheLimits.highWater(bytesMax)
        else { return }
        _ = try await evict(from: repository, downTo: nil)
    }

    /// Room for an entry before its body is read.
    /// - Throws: `tooLarge` for one that could never be kept, `noSpace` when what is there is in use.
    func makeRoom(for bytes: Int64, in repository: Repository) async throws(RegistryError) {
        let limits = CacheLimits(repository)
        if let most = [limits.entryBytesMax, limits.bytesMax].compactMap({ $0 }).min(), bytes > most {
            throw RegistryError(
                .tooLarge, subject: .repository(repository.key.text), reason: "an entry of \(repository.key) may have at most \(most) bytes")
        }
        guard let bytesMax = limits.bytesMax else { return }
        let target = min(CacheLimits.lowWater(bytesMax), bytesMax - bytes)
        // The run that is under way may have had less to do.
        for _ in 1...2 {
            guard try await catalog.usage(of: repository.id).bytes > bytesMax - bytes else { return }
            if eviction.isFutile(repository.id, at: world.now()) { break }
            _ = try await evict(from: repository, downTo: target)
        }
        guard try await catalog.usage(of: repository.id).bytes > bytesMax - bytes else { return }
        eviction.wasFutile(repository.id, until: world.now().adding(seconds: 10))
        throw RegistryError(
            .noSpace, subject: .repository(repository.key.text),
            reason: "\(repository.key) has its \(bytesMax) bytes full of entries that were asked for in the last minutes")
    }

    /// One run per repository at a time; who comes meanwhile shares its result.
    /// - Parameter target: the bytes to leave; nil for the low-water mark, once the repository is above the high one.
    func evict(from repository: Repository, downTo target: Int64?) async throws(RegistryError) -> Evicted {
        try await eviction.runs.run(repository.id) { () async throws(RegistryError) -> Evicted in
            let run = EvictionRun(registry: self, repository: repository, now: self.world.now())
            let evicted = try await run.perform(downTo: target)
            self.eviction.add(evicted)
            if evicted.entries > 0 {
                self.log.info(
                    "evicted", metadata: ["repository": "\(repository.key)", "entries": "\(evicted.entries)", "bytes": "\(evicted.bytes)"])
            }
            return evicted
        }
    }

    public var evictionFollower: any Follower { EvictionFollower(registry: self) }
}

/// Wakes eviction when a bounded repository grows, and clears up after a repository that was deleted.
private struct EvictionFollower: Follower {
    let registry: Registry
    var name: String { "eviction" }
    var isDurable: Bool { false }

    func take(_ entries: [LogEntry]) async throws(RegistryError) -> [Change.Part] {
        var grown: Set<RepositoryID> = []
        for touched in entries.lazy.flatMap(\.touched) {
            switch touched {
            case .asset(let repository, _, _, let delta) where delta > 0: grown.insert(repository)
            case .repository(let repository): grown.insert(repository)
            default: break
            }
        }
        for id in grown {
            if let repository = try await registry.catalog.repository(id: id) {
                try await registry.evictAboveHighWater(repository)
            } else {
                try await clear(prefix: "\(id)/")
            }
        }
        return []
    }

    func startOver() async throws(RegistryError) -> [Change.Part] { [] }

    private func clear(prefix: String) async throws(RegistryError) {
        while true {
            let page = try await registry.catalog.records(.access, after: prefix, limit: 500).filter { $0.id.hasPrefix(prefix) }
            guard !page.isEmpty else { return }
            let parts = page.map { Change.Part.deleteRecord(.access, id: $0.id) }
            try await registry.catalog.apply(Change(actor: .system, at: registry.world.now(), requestID: "recency", parts: parts))
        }
    }
}
