import Core
import Logging
import NIOCore
import Synchronization

// Reading archives that were opened. They are never sent from their opened form: the first who reads one makes it again, whole, as if it had been
// uploaded, and from then on it lies there like any other blob. What was made is named by its SHA-256 before anything of it leaves.

extension BlobStore {
    /// So many archives wait to be made again, or are.
    static let rebuildsMax = 64

    /// The blob with its recipe, if it is an archive that was opened.
    /// - Throws: `corrupt`, naming the blob.
    func openedArchive(_ id: BlobID, at location: BlobLocation) async throws(RegistryError) -> ChunkedBlob? {
        guard !location.isWhole, location.length > BlobStore.readInMemoryBytesMax else { return nil }
        let blob: ChunkedBlob
        if let known = recipes.find(id) {
            blob = known
        } else {
            blob = try await pool.run { [self] () throws(RegistryError) in try chunked(id, at: location) }
        }
        return blob.recipe.archive == nil ? nil : blob
    }

    /// Makes the archive again, and its row tells where it lies then; unless the row has changed meanwhile. The opened form counts until the bytes
    /// and the row are on disk. Those who ask for the same one wait for the first.
    /// - Throws: `unavailable` when too many others are made, `corrupt` when what comes out is another archive.
    func rebuild(_ blob: ChunkedBlob, at location: BlobLocation) async throws(RegistryError) {
        try await rebuilds.run(blob.id) { [self] () async throws(RegistryError) in
            // It is known to be in use; if the row is still there, no sweep of chunks can have missed that.
            guard let form = blob.recipe.archive, try await self.location(of: blob.id) == location else {
                recipes.forget(blob.id)
                return
            }
            let began = world.monotonicNanoseconds()
            let staging = try stage(expectedLength: location.length, digests: .sha256)
            try await rebuilds.pool.run { () throws(RegistryError) in
                var rebuild = ArchiveRebuild(form, of: ChunkBytes(blob.recipe) { piece throws(RegistryError) in try blob.read(piece) })
                try rebuild.run(form) { bytes throws(RegistryError) in try staging.write(ByteBuffer(bytes: bytes)) }
            }
            let staged = try await staging.finishHere()
            guard staged.id == blob.id else { throw BlobStore.corrupt(blob.id, "what its chunks make is another archive") }
            guard try await moveRow(of: blob.id, from: location, to: staged) else { return }
            recipes.forget(blob.id)
            mayHaveDeadChunks.store(true, ordering: .relaxed)
            let took = world.monotonicNanoseconds() &- began
            rebuilds.count(bytes: location.length, nanoseconds: took)
            log.info(
                "an archive that was opened was read, and made again",
                metadata: ["blob": "\(blob.id)", "bytes": "\(location.length)", "milliseconds": "\(took / 1_000_000)"])
        }
    }

    /// The SHA-256 of the blob that a recipe makes. Blocks.
    /// - Parameters:
    ///   - pause: called now and then with how many bytes were made since.
    ///   - read: gives a chunk, checked.
    static func digest(
        of recipe: Recipe, pause: (Int) throws(RegistryError) -> Void = { _ in }, _ read: @escaping ChunkBytes.Read
    ) throws(RegistryError) -> BlobID? {
        var hasher = Digest.Hasher(.sha256)
        guard let form = recipe.archive else {
            for index in 0..<recipe.count {
                try read(recipe[index]).withUnsafeReadableBytes { unsafe hasher.update($0) }
                try pause(recipe[index].length)
            }
            return BlobID(hasher.finish())
        }
        var rebuild = ArchiveRebuild(form, of: ChunkBytes(recipe, read))
        try rebuild.run(form) { bytes throws(RegistryError) in
            bytes.withUnsafeBytes { unsafe hasher.update($0) }
            try pause(bytes.count)
        }
        return BlobID(hasher.finish())
    }
}

/// What was made again since the start.
public struct RebuildTotals: Sendable, Hashable {
    public var archives: UInt64 = 0
    public var bytes: Int64 = 0
    public var nanoseconds: UInt64 = 0
    /// Readers that were sent away, because too many others waited.
    public var refused: UInt64 = 0
}

/// Archives that are being made again: each once however many ask, two at a time, and only so many wait.
final class Rebuilds: Sendable {
    private typealias Waiter = CheckedContinuation<Result<Void, RegistryError>, Never>
    private struct State {
        var flights: [BlobID: [Waiter]] = [:]
        var totals = RebuildTotals()
    }

    /// Deflate takes all of a processor that others leave it.
    let pool = BlockingPool(threads: 2, name: "rebuilds", isBackground: true)
    private let state = Mutex(State())

    var totals: RebuildTotals { state.withLock { $0.totals } }
    var underWay: Int { state.withLock { $0.flights.count } }

    func count(bytes: Int64, nanoseconds: UInt64) {
        state.withLock { state in
            state.totals.archives += 1
            state.totals.bytes += bytes
            state.totals.nanoseconds &+= nanoseconds
        }
    }

    /// Does the work, or waits for who does it for the same blob.
    func run(_ id: BlobID, _ work: () async throws(RegistryError) -> Void) async throws(RegistryError) {
        enum Role { case first, refused }
        let role: Role? = state.withLock { state in
            if state.flights[id] != nil { return nil }
            guard state.flights.count < BlobStore.rebuildsMax else {
                state.totals.refused += 1
                return .refused
            }
            state.flights[id] = []
            return .first
        }
        switch role {
        case .refused?:
            throw RegistryError(
                .unavailable, subject: .blob(id.description), reason: "it is made again of what is stored, and others are before it; try again soon",
                retryAfterSeconds: 5)
        case .first?:
            let result: Result<Void, RegistryError>
            do throws(RegistryError) { result = .success(try await work()) } catch { result = .failure(error) }
            for waiter in state.withLock({ $0.flights.removeValue(forKey: id) ?? [] }) { waiter.resume(returning: result) }
            try result.get()
        case nil:
            let result = await withCheckedContinuation { (waiter: Waiter) in
                let isOver = state.withLock { state in
                    guard state.flights[id] != nil else { return true }
                    state.flights[id]?.append(waiter)
                    return false
                }
                // Done between the two looks: the caller sees what became of it.
                if isOver { waiter.resume(returning: .success(())) }
            }
            try result.get()
        }
    }
}
