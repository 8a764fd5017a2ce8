import Core
import Synchronization

/// Which blobs were found whole since the start. Bounded: of two generations, the older is forgotten when the younger is full.
final class VerifiedBlobs: Sendable {
    private struct State {
        var young: Set<BlobID> = []
        var old: Set<BlobID> = []
    }

    private let generationMax: Int
    private let state = Mutex(State())

    init(blobsMax: Int) { generationMax = max(1, blobsMax / 2) }

    func contains(_ id: BlobID) -> Bool { state.withLock { $0.young.contains(id) || $0.old.contains(id) } }

    func insert(_ id: BlobID) {
        state.withLock { state in
            if state.young.count >= generationMax {
                state.old = state.young
                state.young = []
            }
            state.young.insert(id)
        }
    }
}

/// A thousand readers that ask for the same unverified blob wait for one reading of it.
final class SharedVerification: Sendable {
    private typealias Waiter = CheckedContinuation<Result<Void, RegistryError>, Never>

    private let pool: BlockingPool
    private let waiting = Mutex<[BlobID: [Waiter]]>([:])

    init(on pool: BlockingPool) { self.pool = pool }

    /// Runs `work` on the pool, or waits for the run of it that another has begun for the blob.
    func run(_ id: BlobID, _ work: @escaping @Sendable () throws(RegistryError) -> Void) async throws(RegistryError) {
        let result = await withCheckedContinuation { (waiter: Waiter) in
            let isFirst = waiting.withLock { waiting in
                waiting[id, default: []].append(waiter)
                return waiting[id]?.count == 1
            }
            guard isFirst else { return }
            do throws(RegistryError) {
                try pool.post { [self] in finish(id, Result(catching: work)) }
            } catch {
                finish(id, .failure(error))
            }
        }
        try result.get()
    }

    private func finish(_ id: BlobID, _ result: Result<Void, RegistryError>) {
        for waiter in waiting.withLock({ $0.removeValue(forKey: id) ?? [] }) { waiter.resume(returning: result) }
    }
}
