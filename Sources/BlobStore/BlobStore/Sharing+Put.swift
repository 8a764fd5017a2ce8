import Core
import NIOCore
import Synchronization

// Into the bucket: bytes that have their place on the disk, before a change names them. Large blobs are objects of their own, small ones that wait
// at the same time go in one. Bytes whose change fails, or that another node's change was quicker to bring, are there for nothing: the sweep
// deletes them.

extension Sharing {
    /// Of bytes that are stored already, in whatever form: longer ones get an object of their own.
    static let groupedBytesMax: Int64 = 1 << 20
    /// A place that is older is not named any more: the sweep might come first.
    private var freshSeconds: Int64 { min(3600, options.deleteDelaySeconds / 2) }

    /// The bytes are in the bucket when this returns: put there now, or known to be there. With `isBehind` they are durable on this node's disk, and
    /// noted to be put.
    /// - Throws: `unavailable` when bucket or database do not take it now.
    func secure(_ placement: Placement, of store: BlobStore) async throws(RegistryError) -> Secured {
        try await puts.run(placement.id) { () async throws(RegistryError) in
            let row = try await used.location(of: placement.id)
            if let row, !isBroken(placement.id, row), isHere(placement, row) { return Secured(location: row, isKnown: true) }
            if row == nil, let put = placement.shared, isFresh(put, of: placement.id) { return Secured(location: put, isKnown: false) }
            let location: SharedLocation
            if let held = await hold(placement, of: store) { location = held } else { location = try await put(placement) }
            placement.wasPut(at: location)
            guard let row else { return Secured(location: location, isKnown: false) }
            let isHealed = try await locations.move([SharedMove(placement.id, from: row, to: location)]).contains(placement.id)
            noteSound(placement.id)
            return Secured(location: location, isKnown: isHealed)
        }
    }

    /// Whether the row alone is enough. One disk is not, unless it is this one's: the bytes are at hand, and that node may be gone.
    private func isHere(_ placement: Placement, _ row: SharedLocation) -> Bool {
        row.holder == nil || row.holder == node && placement.isCommitted && held.has(placement.id)
    }

    private func isFresh(_ put: SharedLocation, of id: BlobID) -> Bool {
        put.holder == nil ? put.object.time.adding(seconds: freshSeconds) > world.now() : held.has(id)
    }

    private func put(_ placement: Placement) async throws(RegistryError) -> SharedLocation {
        do throws(RegistryError) {
            switch placement.home {
            case .segment(let segment, let offset, let bytes):
                return try await put(
                    bytes.map { SmallSegment.Record(placement.id, $0, segment: 0) }
                        ?? SmallSegment.Record(placement.id, length: placement.size, at: offset, in: segment.file))
            case .ownFile: return try await putWhole(placement.content)
            case .stored(let content):
                guard placement.size <= Sharing.groupedBytesMax else { return try await putWhole(content) }
                let bytes = try await pool.run { () throws(RegistryError) in try content.buffer(at: 0, count: Int(content.length)) }
                guard Int64(bytes.readableBytes) == placement.size else { throw BlobStore.corrupt(placement.id, "its file ends too early") }
                return try await put(SmallSegment.Record(placement.id, bytes, segment: 0))
            }
        } catch { throw Sharing.untaken(error) }
    }

    func putWhole(_ content: BlobContent) async throws(RegistryError) -> SharedLocation {
        let object = world.newID()
        try await bucket.put(.object(object), content)
        count(blobs: 1, bytes: content.length)
        return SharedLocation(.whole, in: object, offset: 0, length: content.length)
    }

    private func put(_ record: SmallSegment.Record) async throws(RegistryError) -> SharedLocation {
        try await groups.put(record, of: 0) { group async throws(RegistryError) in
            let placed = try await put(group.records)
            state.withLock { $0.landed.merge(placed) { _, new in new } }
        }
        guard let location = state.withLock({ $0.landed.removeValue(forKey: record.id) }) else {
            throw RegistryError(.internal, subject: .blob(record.id.description), reason: "the blob is not in the group it went with")
        }
        return location
    }

    /// One object of them.
    func put(_ records: [SmallSegment.Record]) async throws(RegistryError) -> [BlobID: SharedLocation] {
        let object = world.newID()
        let segment = SmallSegment(number: 0, created: world.now(), records)
        try await bucket.put(.object(object), segment)
        count(blobs: records.count, bytes: segment.size)
        var placed: [BlobID: SharedLocation] = [:]
        for entry in segment.entries {
            placed[entry.id] = SharedLocation(.group, in: object, offset: entry.offset + Int64(RecordHeader.bytes), length: entry.length)
        }
        return placed
    }

    private func count(blobs: Int, bytes: Int64) {
        state.withLock { state in
            state.statistics.objectsPut += 1
            state.statistics.blobsPut += UInt64(blobs)
            state.statistics.bytesPut += UInt64(bytes)
        }
    }

    static func untaken(_ error: RegistryError) -> RegistryError {
        guard error.code == .upstreamFailed || error.code == .notFound else { return error }
        // Who may upload hears what does not pass by itself.
        let advice = error.retryAfterSeconds == nil ? error.reason : "try again"
        return RegistryError(
            .unavailable, subject: .store, reason: "the bucket does not take bytes now, so nothing is stored; \(advice)", cause: "\(error)",
            retryAfterSeconds: error.retryAfterSeconds ?? 30)
    }
}
