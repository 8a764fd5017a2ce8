import Synchronization

/// A few threads for calls that block (disk reads, archives, signing, Argon2), so that neither an event loop nor the cooperative pool does.
/// Threads start when work finds none idle. Work queued when the pool goes away still runs.
public final class BlockingPool: Sendable {
    private let name: String
    private let threadsMax: Int
    private let isBackground: Bool
    private let mailbox = Mailbox<@Sendable () -> Void>()
    private let started = Mutex(0)

    /// - Parameter isBackground: nobody waits for its work; its threads get what others leave of a core.
    public init(threads: Int = 4, name: String = "blocking", isBackground: Bool = false) {
        precondition(threads > 0, "a pool without threads does no work")
        threadsMax = threads
        self.name = name
        self.isBackground = isBackground
    }

    deinit { mailbox.close() }

    /// Runs `work` on one of the threads. Cancelling the task does not interrupt it.
    public func run<R: Sendable>(_ work: @escaping @Sendable () throws(RegistryError) -> R) async throws(RegistryError) -> R {
        let result = await withUnsafeContinuation { (waiter: UnsafeContinuation<Result<R, RegistryError>, Never>) in
            do throws(RegistryError) {
                try post { waiter.resume(returning: Result(catching: work)) }
            } catch {
                waiter.resume(returning: .failure(error))
            }
        }
        return try result.get()
    }

    /// Queues `work` and returns.
    /// - Throws: `unavailable` when there is no thread and none can be started; the work does not run then.
    public func post(_ work: @escaping @Sendable () -> Void) throws(RegistryError) {
        try started.withLock { started throws(RegistryError) in
            guard started == 0 else { return }
            try start()
            started = 1
        }
        guard mailbox.put(work) == false else { return }
        // All are busy: one more, if allowed. Failing to start it only means waiting for those there are.
        started.withLock { started in
            guard started < threadsMax, (try? start()) != nil else { return }
            started += 1
        }
    }

    private func start() throws(RegistryError) {
        let mailbox = mailbox
        try WorkerThread(name: name, isBackground: isBackground) {
            while let work = mailbox.takeOne() { work() }
        }.detach()
    }
}
