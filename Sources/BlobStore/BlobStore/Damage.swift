public import Core
import Logging
import OrderedStore
import Synchronization

/// A blob whose bytes were found damaged or missing, and not right again since.
public struct DamagedBlob: Sendable, Hashable {
    public let blob: BlobID
    public let found: Timestamp
    public let reason: String
}

/// What is to be got from somewhere else: a blob, and where it lay.
public struct LostBlob: Sendable, Hashable {
    public let blob: BlobID
    public let length: Int64
    /// That holds it, or says in which chunks it lies; nil for a blob in a file of its own.
    public let segment: UInt64?
}

/// The blobs known to be damaged, at most so many: the oldest are kept, since it is they who tell when it began.
final class DamagedBlobs: Sendable {
    private static let blobsMax = 10_000
    private let state = Mutex<[BlobID: DamagedBlob]>([:])

    /// - Returns: whether nobody knew.
    func mark(_ blob: DamagedBlob) -> Bool {
        state.withLock { state in
            guard state[blob.blob] == nil, state.count < DamagedBlobs.blobsMax else { return false }
            state[blob.blob] = blob
            return true
        }
    }

    func clear(_ id: BlobID) { state.withLock { _ = $0.removeValue(forKey: id) } }
    var count: Int { state.withLock { $0.count } }
    var all: [DamagedBlob] { state.withLock { $0.values.sorted { ($0.found, $0.blob) < ($1.found, $1.blob) } } }
}

extension BlobStore {
    /// Gets a blob's bytes from another place that has them; nil when it has not.
    public typealias Healer = @Sendable (LostBlob) async throws(RegistryError) -> Body?

    /// From now on a damaged blob is fetched from there when it is found. What comes is checked by its SHA-256 before it takes the damaged
    /// one's place.
    public func heal(from healer: @escaping Healer) { self.healer.withLock { $0 = healer } }

    /// Blobs found damaged by readers or the scrub, and not healed or removed since; the earliest first.
    public func damagedBlobs() async -> [DamagedBlob] {
        // What the sweep has taken away is nobody's concern any more.
        for each in damaged.all where await !hasRow(each.blob) { damaged.clear(each.blob) }
        return damaged.all
    }

    /// A row that does not decode is one, too.
    private func hasRow(_ id: BlobID) async -> Bool {
        do throws(RegistryError) { return try await location(of: id) != nil } catch { return true }
    }

    /// Remembers and says once that a blob is damaged; no cached verification counts for it any more.
    func noteDamage(_ id: BlobID, _ error: RegistryError) {
        verified.remove(id)
        guard damaged.mark(DamagedBlob(blob: id, found: world.now(), reason: error.reason)) else { return }
        log.error("a blob is damaged", metadata: ["blob": "\(id)", "error": "\(error)"])
    }

    /// - Returns: whether the blob is whole again, or its row is another one now.
    func heal(_ id: BlobID, at location: BlobLocation) async -> Bool {
        if case .recipe = location.place, await healChunks(id, at: location) { return true }
        guard let healer = healer.withLock({ $0 }) else { return false }
        do throws(RegistryError) {
            guard let body = try await healer(LostBlob(blob: id, length: location.length, segment: location.record?.segment)) else { return false }
            let staging = try stage(expectedLength: location.length, digests: .sha256)
            try await body.drain(into: staging)
            let staged = try await staging.finishHere()
            guard staged.id == id else {
                throw RegistryError(.digestMismatch, subject: .blob(id.description), reason: "what was to heal it is \(staged.id)")
            }
            if try await moveRow(of: id, from: location, to: staged) {
                counters.blobHealed()
                log.notice("a damaged blob was healed", metadata: ["blob": "\(id)"])
            }
            return true
        } catch {
            log.warning("a damaged blob could not be healed", metadata: ["blob": "\(id)", "error": "\(error)"])
            return false
        }
    }

    /// The row tells where these bytes are, if it still tells the old place.
    /// - Returns: false when another was quicker.
    func moveRow(of id: BlobID, from location: BlobLocation, to staged: StagedBlob) async throws(RegistryError) -> Bool {
        guard let row = staged.locationHere.map({ LocationRow(key: id.bytes, value: $0.encoded) }) else { return false }
        let used = ArchiveWatch.seen(world.now()).encoded
        let isMine = try await index.commit(files: staged.unsyncedHere) { batch throws(RegistryError) in
            guard try batch.get(row.key, in: .blobLocations) == location.encoded else { return false }
            batch.put(row.key, row.value, in: .blobLocations)
            if try batch.get(ChunkIndex.key(ofArchive: id), in: .chunks) != nil { batch.put(ChunkIndex.key(ofArchive: id), used, in: .chunks) }
            return true
        }
        if isMine { staged.didCommitHere() }
        return isMine
    }

    private struct LocationRow: Sendable {
        let key: [UInt8]
        let value: [UInt8]
    }
}
