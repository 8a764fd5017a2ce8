import Core
import Synchronization

/// Which blobs were found whole since the start, and not too long ago.
final class VerifiedBlobs: Sendable {
    private let nanosecondsMax: UInt64
    private let world: World
    /// With when they were verified, in monotonic nanoseconds.
    private let times: Mutex<Generations<BlobID, UInt64>>

    /// - Parameter seconds: how long a verification counts; 0: as long as it is remembered.
    init(blobsMax: Int, seconds: Int64, world: World) {
        times = Mutex(Generations(entriesMax: blobsMax))
        let (nanoseconds, overflow) = UInt64(max(0, seconds)).multipliedReportingOverflow(by: 1_000_000_000)
        nanosecondsMax = seconds <= 0 || overflow ? .max : nanoseconds
        self.world = world
    }

    func contains(_ id: BlobID) -> Bool {
        guard let time = times.withLock({ $0[id] }) else { return false }
        return nanosecondsMax == .max || world.monotonicNanoseconds() &- time < nanosecondsMax
    }

    /// It was found damaged.
    func remove(_ id: BlobID) { times.withLock { $0[id] = nil } }

    func insert(_ id: BlobID) {
        let now = world.monotonicNanoseconds()
        times.withLock { $0[id] = now }
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
