package import Catalog
package import Core
package import OrderedStore

/// One change on its way into a batch: checks and writes every part, and gathers what the log, memory and the waiting will be told.
/// A throw leaves the batch to be rolled back.
package struct ChangeRun {
    private let batch: OrderedStore.Batch
    let rows: CatalogRows
    let change: Change
    let world: World
    /// The revision before it.
    private let head: Revision
    /// The revision this change has if it changes anything.
    let revision: Revision
    private let known: RepositoryMap?

    private var touched: [LogEntry.Touched] = []
    private var isTouched: Set<LogEntry.Touched> = []
    /// Repositories as they are afterwards; nil: deleted.
    var repositories: [RepositoryID: Held?] = [:]
    /// What its edits deleted, where that is kept.
    var deleted: [RepositoryID: Deleted] = [:]
    /// Quotas of projects as they are afterwards; nil: lifted.
    var quotas: [EntityID: Int64?] = [:]
    /// By how many bytes more is in a project.
    var growth: [EntityID: Int64] = [:]

    /// What a change did.
    package struct Outcome: Sendable {
        package var revision: Revision
        package var repositories: [RepositoryID: Held?]
        /// nil: nothing changed.
        package var entry: LogEntry?
        /// A repository was deleted: its rows wait to be cleared away.
        package var leavesGrave: Bool
    }

    /// The locations of the blobs that come with the change are in the batch already.
    /// - Parameter committed: what memory has of the rows that every change reads; it counts for those that no earlier change of the group wrote.
    ///   nil where others write the rows, too: then all of them are read.
    package init(
        _ change: Change, on batch: OrderedStore.Batch, committed: (repositories: RepositoryMap, head: Revision)?, world: World
    ) throws(RegistryError) {
        self.batch = batch
        rows = CatalogRows(rows: batch)
        self.change = change
        self.world = world
        known = committed?.repositories
        if let committed, !batch.isPending(Keyspace.head.bytes, in: CatalogRows.family) {
            head = committed.head
        } else {
            head = try rows.head()
        }
        let (next, overflow) = head.number.addingReportingOverflow(1)
        precondition(!overflow, "there are 2^64 revisions")
        revision = Revision(next)
    }

    /// Applies every part. A change that changes nothing takes no revision and leaves no entry: the outcome carries the head then.
    package mutating func run(logEntriesMax: UInt64) throws(RegistryError) -> Outcome {
        for part in change.parts { try apply(part) }
        try keepDeleted()
        try settleQuotas()
        guard !touched.isEmpty else { return Outcome(revision: head, repositories: [:], entry: nil, leavesGrave: false) }
        for (id, held) in repositories {
            if let held { put(.totals(id)) { $0.write(totals: held.usage, held.repository.revision) } }
        }
        let entry = LogEntry(revision: revision, actor: change.actor, at: change.at, requestID: change.requestID, touched: touched)
        put(.log(revision)) { $0.write(entry) }
        put(.head) { $0.write(revision) }
        try trimLog(to: logEntriesMax)
        return Outcome(
            revision: revision, repositories: repositories, entry: entry, leavesGrave: repositories.values.contains { $0 == nil })
    }

    private mutating func apply(_ part: Change.Part) throws(RegistryError) {
        switch part {
        case .edit(let id, let edit): try apply(edit, to: id)
        case .putRepository(let repository): try put(repository)
        case .deleteRepository(let id): try deleteRepository(id)
        case .putRecord(let record, let ifRevision): try put(record, ifRevision: ifRevision)
        case .deleteRecord(let kind, let id): try deleteRecord(kind, id)
        case .putQuota(let project, let bytes): quotas[project] = .some(bytes)
        case .putVerdict(let verdict): try put(verdict)
        case .learned(let page): try put(page)
        case .restore(let id, let paths): try restore(id, only: paths)
        case .purge(let id): try purge(id)
        }
    }

    // The oldest entries go in runs, so that a commit rarely pays for it and no range mark covers a single row.
    private func trimLog(to entriesMax: UInt64) throws(RegistryError) {
        guard revision.number > entriesMax else { return }
        let run = max(1, min(256, entriesMax / 4))
        let start = try rows.logStart()
        guard revision.number >= start, revision.number - start >= entriesMax + run - 1 else { return }
        batch.deleteRange(CatalogRows.family, from: Keyspace.log(Revision(start)).bytes, upTo: Keyspace.log(Revision(start + run)).bytes)
        put(.logStart) { $0.write(start + run) }
    }

    // MARK: Rows

    func put(_ key: Keyspace, _ body: (inout BinaryWriter) -> Void) {
        batch.put(key.bytes, RowCoding.encode(body), in: CatalogRows.family)
    }

    func delete(_ key: Keyspace) { batch.delete(key.bytes, in: CatalogRows.family) }

    mutating func touch(_ what: LogEntry.Touched) {
        if isTouched.insert(what).inserted { touched.append(what) }
    }

    /// The bytes a name stands for are on disk, or get there with this change: no row without bytes. Asked of bytes that were staged because the
    /// store had them, too: the row is what the sweep deletes, on this very thread, so nobody's word counts for more.
    func requireStored(_ blob: BlobID) throws(RegistryError) {
        guard try batch.get(blob.bytes, in: .blobLocations) != nil else {
            throw RegistryError(.internal, subject: .blob(blob.description), reason: "the change names a blob that is not stored")
        }
    }

    func pin(_ blob: BlobID?, _ reason: Pin.Reason) throws(RegistryError) {
        guard let blob else { return }
        put(.pin(Pin(blob: blob, reason: reason))) { _ in }
        // Nearly always absent, which costs a look at a filter.
        if try batch.get(Keyspace.unpinned(blob).bytes, in: CatalogRows.family) != nil { delete(.unpinned(blob)) }
    }

    func unpin(_ blob: BlobID?, _ reason: Pin.Reason) {
        guard let blob else { return }
        delete(.pin(Pin(blob: blob, reason: reason)))
        put(.unpinned(blob)) { $0.write(change.at) }
    }

    // MARK: Repositories

    func held(_ id: RepositoryID) throws(RegistryError) -> Held {
        guard let held = try heldNow(id) else {
            throw RegistryError(.notFound, subject: .repository(id.description), reason: "there is no such repository")
        }
        return held
    }

    /// nil: there is none, or it is being deleted.
    func heldNow(_ id: RepositoryID) throws(RegistryError) -> Held? {
        if let mine = repositories[id] { return mine }
        let isPending = [Keyspace.repository(id), .totals(id)].contains { batch.isPending($0.bytes, in: CatalogRows.family) }
        if let known, !isPending { return known.find(id) }
        return try rows.held(id)
    }

    /// Something inside the repository changed.
    mutating func update(_ held: Held) {
        var held = held
        held.repository.revision = revision
        repositories[held.repository.id] = held
    }

    private mutating func put(_ repository: Repository) throws(RegistryError) {
        let id = repository.id
        if let owner = try rows.owner(ofKey: repository.key), owner != id {
            throw RegistryError(.conflict, subject: .repository(repository.key.text), reason: "another repository has this key")
        }
        let existing = try heldNow(id)
        if let existing {
            var same = repository
            same.updated = existing.repository.updated
            same.revision = existing.repository.revision
            if same == existing.repository { return }
            if existing.repository.key != repository.key { delete(.repositoryKey(existing.repository.key.text)) }
            if existing.repository.project != repository.project {
                try grow(existing.repository.project, by: -existing.usage.bytes)
                try grow(repository.project, by: existing.usage.bytes)
            }
        } else if try rows.get(.grave(id), { _ in }) != nil {
            throw RegistryError(
                .conflict, subject: .repository(repository.key.text), reason: "a repository of this id is being deleted; use a new id")
        }
        put(.repository(id)) { $0.write(repository) }
        put(.repositoryKey(repository.key.text)) { $0.write(id) }
        update(Held(repository: repository, usage: existing?.usage ?? Usage()))
        touch(.repository(id))
    }

    /// Its name is gone at once, and with it everything reads can find; its rows are cleared away in steps (`Clearing`).
    private mutating func deleteRepository(_ id: RepositoryID) throws(RegistryError) {
        let held = try held(id)
        delete(.repository(id))
        delete(.repositoryKey(held.repository.key.text))
        delete(.totals(id))
        put(.grave(id)) { _ in }
        repositories[id] = .some(nil)
        try grow(held.repository.project, by: -held.usage.bytes)
        touch(.repository(id))
    }

    // MARK: Records, verdicts, pages

    private mutating func put(_ record: Record, ifRevision: Revision?) throws(RegistryError) {
        let existing = try rows.record(record.kind, id: record.id)
        if let ifRevision, ifRevision != existing?.revision ?? .zero {
            throw RegistryError(.conflict, subject: .field(record.id), reason: "it was changed meanwhile; read it again")
        }
        if let unique = record.unique, let owner = try rows.owner(ofUnique: unique, record.kind), owner != record.id {
            throw RegistryError(.conflict, subject: .field(unique), reason: "this name is taken")
        }
        if let existing, existing.value == record.value, existing.unique == record.unique { return }
        if let unique = existing?.unique, unique != record.unique { delete(.recordUnique(record.kind.rawValue, unique)) }
        if let unique = record.unique { put(.recordUnique(record.kind.rawValue, unique)) { $0.write(record.id) } }
        var stored = record
        stored.revision = revision
        put(.record(record.kind.rawValue, record.id)) { $0.write(stored) }
        touch(.record(record.kind, record.id))
    }

    mutating func deleteRecord(_ kind: Record.Kind, _ id: String) throws(RegistryError) {
        guard let existing = try rows.record(kind, id: id) else { return }
        if let unique = existing.unique { delete(.recordUnique(kind.rawValue, unique)) }
        delete(.record(kind.rawValue, id))
        touch(.record(kind, id))
    }

    private mutating func put(_ verdict: Verdict) throws(RegistryError) {
        var verdicts = try rows.verdicts(on: verdict.blob)
        if verdicts.contains(verdict) { return }
        verdicts.removeAll { $0.inspector == verdict.inspector }
        verdicts.append(verdict)
        put(.verdicts(verdict.blob)) { $0.write(each: verdicts) { $0.write($1) } }
        touch(.verdict(verdict.blob))
    }

    private mutating func put(_ page: LearnedPage) throws(RegistryError) {
        let held = try held(page.repository)
        let existing = try rows.learned(page.view, in: page.repository)
        var stored = page
        stored.revision = existing?.revision ?? revision
        if stored == existing { return }
        // A document that upstream merely confirmed is fresh again, and what was made of it stays valid: its revision does not move.
        var confirmed = stored
        confirmed.fetched = existing?.fetched ?? page.fetched
        confirmed.freshUntil = existing?.freshUntil ?? page.freshUntil
        if confirmed != existing {
            if let blob = stored.block.blob { try requireStored(blob) }
            stored.revision = revision
            let reason = Pin.Reason.learned(page.repository, view: page.view)
            unpin(existing?.block.blob, reason)
            try pin(stored.block.blob, reason)
            update(held)
        }
        put(.learned(page.repository, page.view)) { $0.write(stored) }
        touch(.learned(page.repository, view: page.view))
    }
}

extension Manifest {
    /// The blob it is kept in, if it is kept in one.
    package var blob: BlobID? {
        if case .blob(let blob, _, _) = self { blob } else { nil }
    }
}
