public import Core
import Logging
import NIOCore
import OrderedStore

// Upload behind, where it is configured: bytes are acknowledged when they are durable on this node's disk, and the database says that this node has
// them. They go to the bucket afterwards. Until then they are on one disk alone, do not leave it, and other nodes ask this one for them.

/// Asks another node for a blob that it alone has.
///
/// - Throws: `notFound` when it does not have it, `unavailable` when it does not answer.
public typealias HolderQuestion = @Sendable (_ blob: BlobID, _ length: Int64, _ node: UInt16) async throws(RegistryError) -> Body

extension Sharing {
    /// Free space that is not held into, beside the reserve: the cache makes room at the same bound.
    private static let roomBytes: Int64 = 128 << 20

    /// Durable here, and noted to be put: file synced, then row and note in one commit.
    /// - Returns: the row for the database; nil when it is to be put: holding is not configured, too much is held already, or the disk is full.
    func hold(_ placement: Placement, of store: BlobStore) async -> SharedLocation? {
        guard options.isBehind, node > 0, hasRoom(for: placement, store), held.begin(placement.size, bytesMax: options.behindBytesMax) else {
            return nil
        }
        let (id, size, now) = (placement.id, placement.size, world.now())
        let row = placement.isCommitted ? nil : placement.location
        var noted: HeldNote?
        do throws(RegistryError) {
            noted = try await store.index.commit(files: row == nil ? [] : placement.file.map { [$0] } ?? []) { batch throws(RegistryError) in
                if let row {
                    batch.put(id.bytes, row.encoded, in: .blobLocations)
                } else if try batch.get(id.bytes, in: .blobLocations) == nil {
                    // On its way to the disk, or only in memory: it is not there in time.
                    return nil
                }
                if let known = try batch.get(id.bytes, in: .heldBlobs) { return try HeldNote(known) }
                let note = HeldNote(length: size, since: now)
                batch.put(id.bytes, note.encoded, in: .heldBlobs)
                return note
            }
        } catch {
            log.warning("a blob cannot be held on the disk; it is put into the bucket at once", metadata: ["blob": "\(id)", "error": "\(error)"])
        }
        held.end(id, size, noted: noted)
        guard noted != nil else { return nil }
        // Who names it does not write the row once more.
        _ = placement.beginsKeeping()
        _ = store.becameStored(placement)
        return SharedLocation(heldBy: node, length: size)
    }

    private func hasRoom(for placement: Placement, _ store: BlobStore) -> Bool {
        guard let free = FreeSpace(at: directory) else { return false }
        return store.options.reserveBytes == 0 || free.bytes >= store.options.reserveBytes + Sharing.roomBytes
    }

    /// From the node that alone has it, to the disk.
    /// - Throws: `notFound` when it has not, `noSpace`.
    func bringHeld(_ id: BlobID, _ place: SharedLocation, from holder: UInt16, of store: BlobStore) async throws(RegistryError) -> StagedBlob {
        let staging = try store.stage(expectedLength: place.length, digests: .sha256)
        return try await answered(by: holder, about: id) { () async throws(RegistryError) in
            try await ask(holder, for: id, place.length).drain(into: staging)
            return try await staging.finishHere()
        }
    }

    /// The same into memory.
    func collectHeld(_ id: BlobID, _ place: SharedLocation, from holder: UInt16) async throws(RegistryError) -> ByteBuffer {
        try await answered(by: holder, about: id) { () async throws(RegistryError) in
            let bytes = try await ask(holder, for: id, place.length).collect()
            guard Int64(bytes.readableBytes) == place.length else {
                throw RegistryError(.invalid, subject: .store, reason: "\(bytes.readableBytes) of \(place.length) bytes came")
            }
            return bytes
        }
    }

    /// An answer that breaks off is none.
    private func answered<R: Sendable>(
        by holder: UInt16, about id: BlobID, _ work: () async throws(RegistryError) -> R
    ) async throws(RegistryError) -> R {
        guard holder != node else {
            throw RegistryError(.notFound, subject: .blob(id.description), reason: "this node alone had it, and does not have it any more")
        }
        do throws(RegistryError) { return try await work() } catch {
            guard error.code == .upstreamFailed || error.code == .invalid else { throw error }
            throw Sharing.silent(holder, cause: error)
        }
    }

    /// - Throws: `unavailable` when the node does not answer.
    func ask(_ holder: UInt16, for id: BlobID, _ length: Int64) async throws(RegistryError) -> Body {
        guard let askHolder = options.askHolder else { throw Sharing.silent(holder, cause: nil) }
        return try await askHolder(id, length, holder)
    }

    /// What is said when the one node that has a blob does not give it.
    static func silent(_ node: UInt16, cause: RegistryError?) -> RegistryError {
        RegistryError(
            .unavailable, subject: .store,
            reason: "the bytes are on node \(node) alone, which does not give them now and has not brought them into the bucket yet; try again",
            cause: cause.map { "\($0)" }, retryAfterSeconds: 10)
    }
}

extension BlobStore {
    /// For another node: a blob as this one's disk has it, wherever else it may be. Nobody else is asked.
    /// - Throws: `corrupt` when it is damaged.
    public func contentHere(of id: BlobID) async throws(RegistryError) -> BlobContent? {
        if let placement = leases.placement(of: id) { return placement.content }
        return try await content(of: id, isKept: false)
    }

    /// What the error of a node that does not answer says.
    public static func silentHolder(_ node: UInt16, cause: RegistryError?) -> RegistryError { Sharing.silent(node, cause: cause) }

    /// How much the nodes hold that is not in the bucket yet, by their numbers.
    public func held() async throws(RegistryError) -> [UInt16: SharedLife] { try await sharing?.locations.held() ?? [:] }

    /// What a node holds, in the order of the blobs, at most `limit` after one.
    public func held(by node: UInt16, after blob: BlobID?, limit: Int) async throws(RegistryError) -> [SharedRow] {
        try await sharing?.locations.rows(heldBy: node, after: blob, limit: limit) ?? []
    }
}
