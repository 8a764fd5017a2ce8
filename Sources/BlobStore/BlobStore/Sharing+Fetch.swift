import Core
import Logging
import NIOCore
import Synchronization

// From the bucket, or the node that has it until it is there: the whole blob, checked by its SHA-256, to the disk, once for all who ask. It is
// answered from there at once; that the disk has it becomes durable later, and need not.

extension Sharing {
    private static let triesMax = 3

    /// nil when the database knows no such blob.
    /// - Throws: `unavailable` while bucket or database do not answer, `corrupt` when the bucket has other bytes, or none.
    func fetch(_ id: BlobID, of store: BlobStore) async throws(RegistryError) -> BlobContent? {
        try await fetches.run(id) { () async throws(RegistryError) in
            // Just coming, or here and not noted yet.
            if let placement = store.leases.placement(of: id) { return placement.content }
            var location = try await asked.location(of: id)
            var tries = 1
            while let place = location {
                do throws(RegistryError) { return try await fetch(id, from: place, of: store) } catch {
                    guard error.code == .notFound || error.code == .corrupt else { throw Sharing.unanswered(error) }
                    // It may have been moved between the question and the read.
                    location = try await asked.location(of: id)
                    guard location != place, tries < Sharing.triesMax else {
                        noteBroken(id, place)
                        let found = error.code == .notFound ? "no object" : "other bytes"
                        let words = place.holder.map { "node \($0), which alone had it, has lost it" } ?? "the bucket has \(found) of it"
                        throw BlobStore.corrupt(id, words, cause: "\(error)")
                    }
                    tries += 1
                }
            }
            return nil
        }
    }

    /// - Throws: `notFound` and `corrupt` besides what the bucket throws.
    private func fetch(_ id: BlobID, from place: SharedLocation, of store: BlobStore) async throws(RegistryError) -> BlobContent {
        let content: BlobContent
        do throws(RegistryError) { content = try await bring(id, from: place, of: store) } catch {
            throw place.holder == nil ? try await diagnosed(error, place) : error
        }
        noteSound(id)
        state.withLock { state in
            state.statistics.blobsFetched += 1
            state.statistics.bytesFetched += UInt64(place.length)
        }
        log.debug("from the bucket", metadata: ["blob": "\(id)", "object": "\(place.object)", "bytes": "\(place.length)"])
        return content
    }

    /// The disk has it from then on, unless that is full.
    private func bring(_ id: BlobID, from place: SharedLocation, of store: BlobStore) async throws(RegistryError) -> BlobContent {
        do throws(RegistryError) {
            let staged = try await bringHere(place, id, of: store)
            guard staged.id == id else { throw BlobStore.corrupt(id, "the bytes that came for it are those of \(staged.id)") }
            store.keep(staged)
            return try staged.content()
        } catch {
            guard error.code == .noSpace else { throw error }
            return try await bringPast(id, from: place)
        }
    }

    private func bringHere(_ place: SharedLocation, _ id: BlobID, of store: BlobStore) async throws(RegistryError) -> StagedBlob {
        if let holder = place.holder { return try await bringHeld(id, place, from: holder, of: store) }
        guard place.length <= Int64(Body.collectBytesMax) else { return try await bringFile(place, of: store) }
        let staging = try store.stage(expectedLength: place.length, digests: .sha256)
        try staging.write(try await collect(place))
        return try await staging.finishHere()
    }

    /// Past a full disk, which is no reason not to read: a small blob in memory. For a large one another node is to be asked.
    private func bringPast(_ id: BlobID, from place: SharedLocation) async throws(RegistryError) -> BlobContent {
        guard place.length <= Int64(Body.collectBytesMax) else {
            throw RegistryError(
                .unavailable, subject: .store, reason: "the disk of this node is full, so it does not fetch large blobs now; try again",
                retryAfterSeconds: 10)
        }
        let bytes = if let holder = place.holder { try await collectHeld(id, place, from: holder) } else { try await collect(place) }
        guard BlobID(Digest.of(.sha256, bytes.readableBytesView)) == id else { throw BlobStore.corrupt(id, "the bytes that came for it are others") }
        return BlobContent(.memory(bytes))
    }

    private func collect(_ place: SharedLocation) async throws(RegistryError) -> ByteBuffer {
        place.length == 0 ? ByteBuffer() : try await reading.collect(.object(place.object), place.range)
    }

    private func bringFile(_ place: SharedLocation, of store: BlobStore) async throws(RegistryError) -> StagedBlob {
        try store.checkSpace(for: place.length)
        let temporary = try await pool.run { () throws(RegistryError) in
            let temporary = try store.newTemporaryFile()
            try Disk.allocate(temporary.file, at: 0, count: OwnFile.fileBytes(length: place.length))
            return temporary
        }
        try await reading.read(PiecedRead.pieces(of: .object(place.object), place.range, at: 0), into: temporary.file)
        let (digests, table) = try await pool.run { () throws(RegistryError) in
            try BlobStore.hash(temporary.file, size: place.length, .sha256)
        }
        return try await store.place(
            Arrival(digests: digests, size: place.length, table: table, bytes: .file(temporary.file, temporary), session: nil), isHereAlone: true)
    }

    /// An object that is too short refuses a range for good: that is damage, and no failure that passes.
    private func diagnosed(_ error: RegistryError, _ place: SharedLocation) async throws(RegistryError) -> RegistryError {
        guard error.code == .upstreamFailed, error.retryAfterSeconds == nil, let length = try await bucket.length(of: .object(place.object)),
            length < place.range.upperBound
        else { return error }
        return RegistryError(.corrupt, subject: .store, reason: "the object \(place.object) has \(length) bytes only")
    }

    static func unanswered(_ error: RegistryError) -> RegistryError {
        guard error.code == .upstreamFailed else { return error }
        return RegistryError(
            .unavailable, subject: .store, reason: "the bytes are in a bucket that does not give them now; try again", cause: "\(error)",
            retryAfterSeconds: error.retryAfterSeconds ?? 30)
    }

    /// To heal what is damaged on the disk; nil when the database knows no such blob.
    func body(of id: BlobID) async throws(RegistryError) -> Body? {
        guard let place = try await asked.location(of: id) else { return nil }
        if let holder = place.holder {
            guard holder != node else { throw BlobStore.corrupt(id, "this node alone has it") }
            return try await ask(holder, for: id, place.length)
        }
        return place.length == 0 ? .empty : try await bucket.read(.object(place.object), place.range)
    }
}
