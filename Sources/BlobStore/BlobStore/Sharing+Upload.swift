public import Core
import Logging
import NIOCore
import OrderedStore

// What is held goes to the bucket: objects are put, the rows move to them among the changes, and only then the notes go, and the copies on the disk
// are of a cache. A crash between two of these steps is made good by doing them once more: an object is there for nothing then, or a note.

extension BlobStore {
    /// Brings what this node holds into the bucket, until the task is cancelled.
    public func runUploads() async {
        guard let sharing else { return }
        while !Task.isCancelled {
            var pauseSeconds = 1
            do throws(RegistryError) { try await uploadHeld() } catch {
                pauseSeconds = min(30, max(1, error.retryAfterSeconds ?? 5))
                log.warning(
                    "blobs that this node alone has are not in the bucket yet; it is tried again",
                    metadata: ["blobs": "\(sharing.held.count)", "bytes": "\(sharing.held.bytes)", "error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(pauseSeconds))
        }
    }

    /// One round of `runUploads`.
    public func uploadHeld() async throws(RegistryError) {
        guard let sharing else { return }
        await sharing.uploadTurn.begin()
        defer { sharing.uploadTurn.end() }
        try await sharing.upload(of: self)
    }

    /// A last round, before the node stops; what does not get there in time stays, and goes when it starts again.
    public func finishUploads(seconds: Int64) async {
        guard let sharing, sharing.held.count > 0 else { return }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [self] in
                do throws(RegistryError) { try await uploadHeld() } catch {
                    log.warning("the last blobs could not be put", metadata: ["error": "\(error)"])
                }
            }
            group.addTask { try? await Task.sleep(for: .seconds(seconds)) }
            await group.next()
            group.cancelAll()
        }
        guard sharing.held.count > 0 else { return }
        log.warning(
            "this node stops with blobs that it alone has; start it again",
            metadata: ["blobs": "\(sharing.held.count)", "bytes": "\(sharing.held.bytes)"])
    }
}

extension Sharing {
    /// The change that names a blob comes soon after its note, if at all.
    static let unnamedSeconds: Int64 = 3600
    private static let pageBlobs = 256

    /// Some that go together.
    private struct Page {
        /// In the bucket, named by the rows, or nobody's.
        var done: [BlobID] = []
        var records: [SmallSegment.Record] = []
        var footprint: Int64 = 0
        var rows: [BlobID: SharedLocation] = [:]
    }

    func upload(of store: BlobStore) async throws(RegistryError) {
        var waiting = held.inOrder()[...]
        while !waiting.isEmpty, !Task.isCancelled {
            let some = waiting.prefix(Sharing.pageBlobs)
            waiting = waiting.dropFirst(Sharing.pageBlobs)
            var page = Page()
            page.rows = try await locations.locations(of: some.map(\.id))
            do throws(RegistryError) {
                for (id, note) in some where !Task.isCancelled { try await upload(id, note, &page, of: store) }
                try await putRecords(&page)
            } catch {
                // What is there is there.
                try await settle(page.done, of: store)
                throw Sharing.untaken(error)
            }
            try await settle(page.done, of: store)
        }
    }

    private func upload(_ id: BlobID, _ note: HeldNote, _ page: inout Page, of store: BlobStore) async throws(RegistryError) {
        guard let row = page.rows[id] else {
            // Not named yet, or the sweep has forgotten it.
            if note.since.adding(seconds: Sharing.unnamedSeconds) <= world.now() { page.done.append(id) }
            return
        }
        guard row.holder != nil else { return page.done.append(id) }
        // Read once already, in vain.
        guard !isBroken(id, row) else { return }
        let content: BlobContent
        do throws(RegistryError) {
            guard let found = try await store.content(of: id, isKept: true) else { throw BlobStore.corrupt(id, "the disk does not have it") }
            content = found
        } catch {
            // The others go on. Whoever brings the bytes again heals it.
            guard error.code == .corrupt else { throw error }
            return noteBroken(id, row)
        }
        guard note.length <= Sharing.groupedBytesMax else {
            let location = try await putWhole(content)
            _ = try await locations.move([SharedMove(id, from: row, to: location)])
            return page.done.append(id)
        }
        let bytes = try await pool.run { () throws(RegistryError) in try content.buffer(at: 0, count: Int(content.length)) }
        guard Int64(bytes.readableBytes) == note.length else { return noteBroken(id, row) }
        let record = SmallSegment.Record(id, bytes, segment: 0)
        if page.footprint + record.footprint > GroupPuts.groupBytesMax { try await putRecords(&page) }
        page.records.append(record)
        page.footprint += record.footprint
    }

    private func putRecords(_ page: inout Page) async throws(RegistryError) {
        guard !page.records.isEmpty else { return }
        let placed = try await put(page.records)
        let rows = page.rows
        _ = try await locations.move(placed.compactMap { id, location in rows[id].map { SharedMove(id, from: $0, to: location) } })
        page.done += placed.keys
        page.records = []
        page.footprint = 0
    }

    /// The notes go of those for which nothing is left to be done. Whoever stages such a blob relies on its note until the row is there: so nobody
    /// has it then, nobody can until this has ended, and the rows are looked at once more in between.
    private func settle(_ ids: [BlobID], of store: BlobStore) async throws(RegistryError) {
        let free = ids.filter { store.leases.condemn($0) }
        defer { for id in free { store.leases.absolve(id) } }
        guard !free.isEmpty else { return }
        let rows = try await locations.locations(of: free)
        let gone = free.filter { rows[$0]?.holder == nil }
        try await store.index.commit { batch in for id in gone { batch.delete(id.bytes, in: .heldBlobs) } }
        held.remove(gone)
    }
}
