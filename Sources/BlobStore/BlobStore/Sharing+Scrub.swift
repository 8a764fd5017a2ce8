public import Core
import NIOCore

// The bucket that nodes share is read back, object by object, and what is found wrong is put there anew by a node whose disk has it. Who reads, when,
// and how far it is, is the business of who holds the lease; here is one object, and one blob.

/// A blob whose bytes in the bucket are missing or wrong.
public struct SharedDamage: Sendable, Hashable {
    public let blob: BlobID
    /// What its row said.
    public let place: SharedLocation
    public init(blob: BlobID, place: SharedLocation) {
        self.blob = blob
        self.place = place
    }
}

/// What came of reading one object.
public struct SharedReading: Sendable {
    public var blobs: Int64 = 0
    public var bytes: Int64 = 0
    public var requests: Int64 = 0
    public var damaged: [SharedDamage] = []
}

extension BlobStore {
    /// Objects of the bucket that rows name, in the order of their names, after one.
    public func sharedObjects(after object: EntityID?, limit: Int) async throws(RegistryError) -> [EntityID] {
        try await sharing?.locations.objects(after: object, limit: limit) ?? []
    }

    /// Reads what rows name of an object, and checks each blob by its SHA-256. Cancelling the task ends it early.
    /// - Throws: `unavailable` while bucket or database do not answer.
    public func readShared(_ object: EntityID, bytesPerSecondMax: Int64) async throws(RegistryError) -> SharedReading {
        guard let sharing else { return SharedReading() }
        do throws(RegistryError) {
            return try await sharing.check(object, Pace(bytesPerSecond: bytesPerSecondMax, world: world), of: self)
        } catch { throw Sharing.unanswered(error) }
    }

    /// Puts the bytes of this node's disk, if it has them whole, in the place of those that the bucket lacks.
    /// - Returns: whether the blob is damaged no more: its row says another place, or there is none.
    public func healShared(_ damage: SharedDamage) async throws(RegistryError) -> Bool {
        guard let sharing else { return false }
        guard try await sharing.locations.locations(of: [damage.blob])[damage.blob] == damage.place else {
            sharing.noteSound(damage.blob)
            return true
        }
        // From here on whoever brings the bytes puts them anew.
        sharing.noteBroken(damage.blob, damage.place)
        do throws(RegistryError) {
            guard let location = try await location(of: damage.blob) else { return false }
            try await sharing.pool.run { [self] () throws(RegistryError) in try verifyWhole(damage.blob, at: location) }
            guard try await staged(damage.blob) != nil else { return false }
        } catch {
            // The disk is no better.
            guard error.code == .corrupt else { throw error }
            return false
        }
        return !sharing.isBroken(damage.blob, damage.place)
    }
}

extension Sharing {
    private static let windowBytes: Int64 = 8 << 20
    private static let pageRows = 1000

    fileprivate func check(_ object: EntityID, _ pace: Pace, of store: BlobStore) async throws(RegistryError) -> SharedReading {
        var reading = SharedReading()
        let rows = try await rows(of: object)
        reading.requests += 1
        let length = try await bucket.length(of: .object(object)) ?? -1
        let (there, lost) = (rows.filter { $0.place.range.upperBound <= length }, rows.filter { $0.place.range.upperBound > length })
        var damaged = lost
        if !there.isEmpty {
            do throws(RegistryError) { damaged += try await read(there, of: object, pace, store, &reading) } catch {
                // Deleted on the way: then rows have moved, or it is missing now.
                guard error.code == .notFound else { throw error }
                damaged += there
            }
        }
        guard !damaged.isEmpty else { return reading }
        let now = try await locations.locations(of: damaged.map(\.blob))
        reading.damaged = damaged.filter { now[$0.blob] == $0.place }
        for each in reading.damaged { noteBroken(each.blob, each.place) }
        return reading
    }

    /// In the order in which they lie there.
    private func rows(of object: EntityID) async throws(RegistryError) -> [SharedDamage] {
        var rows: [SharedDamage] = []
        var last: BlobID?
        repeat {
            let page = try await locations.rows(naming: object, after: last, limit: Sharing.pageRows)
            for row in page { if let place = row.location { rows.append(SharedDamage(blob: row.blob, place: place)) } }
            last = page.count < Sharing.pageRows ? nil : page.last?.blob
        } while last != nil
        return rows.sorted { $0.place.offset < $1.place.offset }
    }

    /// Window by window, so that an object may be larger than the disk.
    /// - Returns: what is not what it is named after.
    private func read(
        _ rows: [SharedDamage], of object: EntityID, _ pace: Pace, _ store: BlobStore, _ reading: inout SharedReading
    ) async throws(RegistryError) -> [SharedDamage] {
        let temporary = try await pool.run { () throws(RegistryError) in try store.newTemporaryFile() }
        var window: Range<Int64> = 0..<0
        var damaged: [SharedDamage] = []
        let end = rows.map(\.place.range.upperBound).max() ?? 0
        for row in rows where !Task.isCancelled {
            var hasher = MultiHasher(.sha256)
            var at = row.place.offset
            while at < row.place.range.upperBound, !Task.isCancelled {
                if !window.contains(at) {
                    let next = at..<min(at + Sharing.windowBytes, end)
                    let began = world.monotonicNanoseconds()
                    try await self.reading.read([PiecedRead.Piece(name: .object(object), range: next, offset: 0)], into: temporary.file)
                    window = next
                    reading.requests += 1
                    await pace.pause(after: Int64(next.count), since: began)
                }
                let piece = at..<min(window.upperBound, row.place.range.upperBound)
                let (before, start) = (hasher, piece.lowerBound - window.lowerBound)
                hasher = try await pool.run { () throws(RegistryError) in
                    let bytes = try Disk.read(temporary.file, at: start, count: piece.count)
                    var after = before
                    bytes.withUnsafeBytes { unsafe after.update($0) }
                    return after
                }
                at = piece.upperBound
            }
            if Task.isCancelled { break }
            if hasher.finish().first == row.blob.digest {
                reading.blobs += 1
                reading.bytes += row.place.length
                noteSound(row.blob)
            } else {
                damaged.append(row)
            }
        }
        return damaged
    }
}
