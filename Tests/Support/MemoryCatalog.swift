public import Catalog
public import Core
import Synchronization

/// The catalog's model: dictionaries, one change after the other, totals computed by summing. What a real home must agree with.
public final class MemoryCatalog: Catalog {
    struct State: Sendable {
        var repositories: [RepositoryID: Repository] = [:]
        var contents: [RepositoryID: MemoryContents] = [:]
        var verdicts: [BlobID: [String: Verdict]] = [:]
        var records: [Record.Kind: [String: Record]] = [:]
        var quotas: [EntityID: Int64] = [:]
        var stored: Set<BlobID> = []
        var unpinnedSince: [BlobID: Timestamp] = [:]
        var log: [LogEntry] = []
        var head: Revision { Revision(UInt64(log.count)) }
    }

    private struct Waiter {
        let after: Revision
        let continuation: CheckedContinuation<Void, Never>
    }

    private let state = Mutex(State())
    private let waiters = Mutex<[Waiter]>([])
    private let world: World

    public init(world: World = .real) { self.world = world }

    @discardableResult
    public func apply(_ change: Change, staged: [any StagedBytes]) async throws(RegistryError) -> Revision {
        let revision = try state.withLock { state throws(RegistryError) in
            // All or nothing, since the state is a value.
            var next = state
            for bytes in staged { next.stored.insert(bytes.id) }
            let revision = try next.apply(change, world)
            for blob in Set(state.pins.subtracting(next.pins).map(\.blob)) { next.unpinnedSince[blob] = change.at }
            for blob in Set(next.pins.subtracting(state.pins).map(\.blob)) { next.unpinnedSince[blob] = nil }
            state = next
            return revision
        }
        for bytes in staged { bytes.didCommit() }
        let woken = waiters.withLock { waiters in
            let woken = waiters.filter { $0.after < revision }
            waiters.removeAll { $0.after < revision }
            return woken
        }
        for waiter in woken { waiter.continuation.resume() }
        return revision
    }

    public func repository(_ key: RepositoryKey) async throws(RegistryError) -> Repository? {
        state.withLock { state in state.repositories.values.first { $0.key == key } }
    }
    public func repository(id: RepositoryID) async throws(RegistryError) -> Repository? { state.withLock { $0.repositories[id] } }
    public func repositories(after: RepositoryKey?, limit: Int) async throws(RegistryError) -> [Repository] {
        let all = state.withLock { Array($0.repositories.values) }.sorted { $0.key < $1.key }
        return Array(all.filter { repository in after.map { repository.key > $0 } ?? true }.prefix(limit))
    }
    public func usage(of repository: RepositoryID) async throws(RegistryError) -> Usage { contents(of: repository).usage }

    private func contents(of repository: RepositoryID) -> MemoryContents { state.withLock { $0.contents[repository] } ?? MemoryContents() }

    public func facts(in scope: Scope, of repository: RepositoryID, after: String?, limit: Int) async throws(RegistryError) -> Facts {
        let (contents, head) = state.withLock { ($0.contents[repository], $0.head) }
        guard let contents else { return Facts() }
        func isLater(_ name: String) -> Bool { after.map { $0.utf8.lexicographicallyPrecedes(name.utf8) } ?? true }
        var facts = Facts()
        if case .everything = scope {
            for name in contents.packages.keys.sorted().filter({ isLater($0.text) }).prefix(limit) {
                facts.append(contents.facts(in: .package(name)))
            }
        } else {
            facts = contents.facts(in: scope)
        }
        facts.revision = head
        switch scope {
        case .package, .family, .everything: break
        case .packages: facts.packages = Array(facts.packages.filter { isLater($0.name.text) }.prefix(limit))
        case .tags: facts.tags = Array(facts.tags.filter { isLater($0.name.text) }.prefix(limit))
        case .linked: facts.links = Array(facts.links.filter { isLater($0.version.text) }.prefix(limit))
        }
        return facts
    }
    public func package(_ name: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Package? {
        contents(of: repository).packages[name]
    }
    public func version(_ name: VersionName, of package: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Version? {
        contents(of: repository).versions[package]?[name]
    }
    public func tag(_ name: TagName, of package: PackageName, in repository: RepositoryID) async throws(RegistryError) -> Tag? {
        contents(of: repository).tags[package]?[name]
    }
    public func asset(at path: AssetPath, in repository: RepositoryID) async throws(RegistryError) -> Asset? {
        contents(of: repository).assets[path]?.asset
    }
    public func assets(in repository: RepositoryID, prefix: String, after: AssetPath?, limit: Int) async throws(RegistryError) -> [Asset] {
        let all = contents(of: repository).assets.values.map(\.asset).sorted { $0.path < $1.path }
        return Array(all.filter { asset in asset.path.text.hasPrefix(prefix) && (after.map { asset.path > $0 } ?? true) }.prefix(limit))
    }
    public func learned(_ view: String, in repository: RepositoryID) async throws(RegistryError) -> LearnedPage? {
        contents(of: repository).learned[view]
    }
    public func lookup(_ id: EntityID) async throws(RegistryError) -> Coordinates? {
        let state = state.withLock { $0 }
        if state.repositories[id] != nil { return .repository(id) }
        for (repository, contents) in state.contents {
            if let found = contents.coordinates(of: id, in: repository) { return found }
        }
        return nil
    }

    public func verdict(on blob: BlobID) async throws(RegistryError) -> Verdict? {
        state.withLock { state in
            state.verdicts[blob]?.values.max { ($0.state.rawValue, $0.at, $1.inspector) < ($1.state.rawValue, $1.at, $0.inspector) }
        }
    }
    public func pins(after: Pin?, limit: Int) async throws(RegistryError) -> [Pin] {
        let all = state.withLock { $0.pins }.sorted(by: MemoryCatalog.isOrdered)
        return Array(all.filter { pin in after.map { MemoryCatalog.isOrdered($0, pin) } ?? true }.prefix(limit))
    }
    public func pins(of blob: BlobID, limit: Int) async throws(RegistryError) -> [Pin] {
        Array(state.withLock { $0.pins }.filter { $0.blob == blob }.sorted(by: MemoryCatalog.isOrdered).prefix(limit))
    }
    public func unpinned(among blobs: [BlobID]) async throws(RegistryError) -> [UnpinnedBlob] {
        state.withLock { state in
            let pinned = Set(state.pins.map(\.blob))
            return blobs.filter { !pinned.contains($0) }.map { UnpinnedBlob(blob: $0, since: state.unpinnedSince[$0]) }
        }
    }
    public func noteUnpinned(_ blobs: [BlobID], at time: Timestamp) async throws(RegistryError) {
        state.withLock { state in
            let pinned = Set(state.pins.map(\.blob))
            for blob in blobs where !pinned.contains(blob) { state.unpinnedSince[blob] = min(state.unpinnedSince[blob] ?? time, time) }
        }
    }
    public func forget(
        _ blobs: [BlobID], unpinnedBefore before: Timestamp, mayGo: @escaping @Sendable (BlobID) -> Bool
    ) async throws(RegistryError) -> [BlobID] {
        state.withLock { state in
            let pinned = Set(state.pins.map(\.blob))
            return blobs.filter { blob in
                guard state.stored.contains(blob), let since = state.unpinnedSince[blob], since <= before, !pinned.contains(blob), mayGo(blob)
                else { return false }
                state.stored.remove(blob)
                state.unpinnedSince[blob] = nil
                return true
            }
        }
    }
    private static func isOrdered(_ a: Pin, _ b: Pin) -> Bool {
        func parts(_ pin: Pin) -> [String] {
            switch pin.reason {
            case .asset(let id, let path): [pin.blob.hex, "1", "\(id)", path.text]
            case .manifest(let id, let package, let version): [pin.blob.hex, "2", "\(id)", package.text, version.text]
            case .learned(let id, let view): [pin.blob.hex, "3", "\(id)", view]
            case .trash(let id):
                [pin.blob.hex, "4", "\(id.repository)", String(repeating: "0", count: 20 - "\(id.revision)".utf8.count) + "\(id.revision)"]
            }
        }
        return parts(a).lexicographicallyPrecedes(parts(b)) { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    public func trash(of repository: RepositoryID, before: Revision?, limit: Int) async throws(RegistryError) -> [Deletion] {
        let all = contents(of: repository).trash.values.sorted { $0.revision > $1.revision }
        return Array(all.filter { deletion in before.map { deletion.revision < $0 } ?? true }.prefix(limit))
    }
    public func deletion(_ id: DeletionID) async throws(RegistryError) -> Deletion? { contents(of: id.repository).trash[id.revision] }
    public func deletionsOver(by time: Timestamp, limit: Int) async throws(RegistryError) -> [DeletionID] {
        let all = state.withLock { $0.contents.values.flatMap(\.trash.values) }.filter { $0.until <= time }
        return Array(all.sorted { ($0.until, "\($0.repository)", $0.revision) < ($1.until, "\($1.repository)", $1.revision) }.prefix(limit).map(\.id))
    }

    public func record(_ kind: Record.Kind, id: String) async throws(RegistryError) -> Record? { state.withLock { $0.records[kind]?[id] } }
    public func record(_ kind: Record.Kind, unique: String) async throws(RegistryError) -> Record? {
        state.withLock { state in state.records[kind]?.values.first { $0.unique == unique } }
    }
    public func records(_ kind: Record.Kind, after: String?, limit: Int) async throws(RegistryError) -> [Record] {
        let all = state.withLock { Array(($0.records[kind] ?? [:]).values) }.sorted { $0.id.utf8.lexicographicallyPrecedes($1.id.utf8) }
        return Array(all.filter { record in after.map { $0.utf8.lexicographicallyPrecedes(record.id.utf8) } ?? true }.prefix(limit))
    }

    public func head() async throws(RegistryError) -> Revision { state.withLock { $0.head } }
    public func log(after: Revision, limit: Int) async throws(RegistryError) -> [LogEntry] {
        state.withLock { state in Array(state.log.filter { $0.revision > after }.prefix(limit)) }
    }
    public func awaitChange(after revision: Revision) async throws(RegistryError) {
        let cancelled = Mutex(false)
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = waiters.withLock { waiters in
                    if cancelled.withLock({ $0 }) || state.withLock({ $0.head > revision }) { return true }
                    waiters.append(Waiter(after: revision, continuation: continuation))
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            // Waking all is allowed: whoever waits looks at the head again.
            let woken = waiters.withLock { waiters in
                cancelled.withLock { $0 = true }
                defer { waiters = [] }
                return waiters
            }
            for waiter in woken { waiter.continuation.resume() }
        }
    }
}

extension MemoryCatalog.State {
    var pins: Set<Pin> { Set(contents.flatMap { id, contents in contents.pins(in: id) }) }

    mutating func apply(_ change: Change, _ world: World) throws(RegistryError) -> Revision {
        let revision = Revision(head.number + 1)
        var touched: [LogEntry.Touched] = []
        let before = contents
        let (heldBefore, quotasBefore) = (held, quotas)
        for part in change.parts {
            switch part {
            case .edit(let id, let edit):
                guard var contents = contents[id], let repository = repositories[id] else { throw Self.missing(.repository("\(id)")) }
                let before = contents.usage.bytes
                var step = MemoryEdit(repository: id, change: change, revision: revision, stored: stored, world: world)
                try step.apply(edit, to: &contents)
                let bytes = contents.usage.bytes
                if let quota = repository.quotaBytes, bytes > quota, bytes > before {
                    throw RegistryError(.noSpace, subject: .repository("\(id)"), reason: "over quota")
                }
                self.contents[id] = contents
                if !step.touched.isEmpty { repositories[id]?.revision = revision }
                touched += step.touched
            case .restore(let id, let paths): touched += try restore(id, paths, change, revision, world)
            case .purge(let id):
                if contents[id.repository]?.trash.removeValue(forKey: id.revision) != nil { touched.append(.trash(id)) }
            case .putRepository(var repository):
                if repositories.values.contains(where: { $0.key == repository.key && $0.id != repository.id }) {
                    throw RegistryError(.conflict, subject: .repository(repository.key.text), reason: "key taken")
                }
                if let old = repositories[repository.id] {
                    repository.revision = old.revision
                    var same = repository
                    same.updated = old.updated
                    if same == old { continue }
                }
                repository.revision = revision
                repositories[repository.id] = repository
                contents[repository.id] = contents[repository.id] ?? MemoryContents()
                touched.append(.repository(repository.id))
            case .deleteRepository(let id):
                guard repositories.removeValue(forKey: id) != nil else { throw Self.missing(.repository("\(id)")) }
                contents[id] = nil
                touched.append(.repository(id))
            case .putRecord(let record, let ifRevision):
                if try put(record, ifRevision, revision) { touched.append(.record(record.kind, record.id)) }
            case .deleteRecord(let kind, let id):
                if records[kind]?.removeValue(forKey: id) != nil { touched.append(.record(kind, id)) }
            case .putQuota(let project, let bytes):
                quotas[project] = bytes
            case .putVerdict(let verdict):
                if verdicts[verdict.blob]?[verdict.inspector] == verdict { continue }
                verdicts[verdict.blob, default: [:]][verdict.inspector] = verdict
                touched.append(.verdict(verdict.blob))
            case .learned(let page):
                if try learn(page, revision) { touched.append(.learned(page.repository, view: page.view)) }
            }
        }
        for project in Set(quotas.keys).union(quotasBefore.keys).sorted() where quotas[project] != quotasBefore[project] {
            touched.append(.record(.quota, project.description))
        }
        try settleQuotas(heldBefore, revision)
        guard !touched.isEmpty else { return head }
        for case .edit(let id, _) in change.parts { keepDeleted(from: id, before[id], change, revision) }
        log.append(LogEntry(revision: revision, actor: change.actor, at: change.at, requestID: change.requestID, touched: touched))
        return revision
    }

    /// What each project's repositories hold.
    private var held: [EntityID: Int64] {
        var held: [EntityID: Int64] = [:]
        for (id, repository) in repositories {
            if let project = repository.project { held[project, default: 0] += contents[id]?.usage.bytes ?? 0 }
        }
        return held
    }

    private mutating func settleQuotas(_ before: [EntityID: Int64], _ revision: Revision) throws(RegistryError) {
        let held = held
        for (project, bytes) in quotas {
            let used = held[project] ?? 0
            if used > bytes, used > before[project] ?? 0 { throw RegistryError(.noSpace, subject: .request, reason: "over the project's quota") }
        }
        let old = records[.quota] ?? [:]
        records[.quota] = [:]
        for (project, bytes) in quotas {
            let record = ProjectQuota(project: project, bytes: bytes, used: held[project] ?? 0).record(revision)
            let kept = old[record.id]
            records[.quota]?[record.id] = kept?.value == record.value ? kept : record
        }
    }

    private mutating func put(_ record: Record, _ ifRevision: Revision?, _ revision: Revision) throws(RegistryError) -> Bool {
        let old = records[record.kind]?[record.id]
        if let ifRevision, ifRevision != old?.revision ?? .zero {
            throw RegistryError(.conflict, subject: .field(record.id), reason: "changed meanwhile")
        }
        if let unique = record.unique, records[record.kind]?.values.contains(where: { $0.unique == unique && $0.id != record.id }) == true {
            throw RegistryError(.conflict, subject: .field(unique), reason: "taken")
        }
        if let old, old.unique == record.unique, old.value == record.value { return false }
        var record = record
        record.revision = revision
        records[record.kind, default: [:]][record.id] = record
        return true
    }

    private mutating func learn(_ page: LearnedPage, _ revision: Revision) throws(RegistryError) -> Bool {
        guard repositories[page.repository] != nil else { throw Self.missing(.repository("\(page.repository)")) }
        let old = contents[page.repository]?.learned[page.view]
        var page = page
        page.revision = old?.revision ?? .zero
        if page == old { return false }
        var confirmed = page
        if let old { (confirmed.fetched, confirmed.freshUntil) = (old.fetched, old.freshUntil) }
        if confirmed != old {
            if case .blob(let blob, _, _) = page.block, !stored.contains(blob) {
                throw RegistryError(.internal, subject: .blob("\(blob)"), reason: "not stored")
            }
            page.revision = revision
            repositories[page.repository]?.revision = revision
        }
        contents[page.repository]?.learned[page.view] = page
        return true
    }

    private static func missing(_ subject: RegistryError.Subject) -> RegistryError {
        RegistryError(.notFound, subject: subject, reason: "there is no such thing")
    }
}
