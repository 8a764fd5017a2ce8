import CThreads

#if canImport(Glibc)
    import Glibc
#endif

/// A thread of our own, for work that blocks: fsync, the store's commits, parsing archives. The cooperative pool must never wait for a disk.
public final class WorkerThread: Sendable {
    private static let stackBytes = 2 << 20

    private final class Start: Sendable {
        let name: String
        let isBackground: Bool
        let body: @Sendable () -> Void
        init(name: String, isBackground: Bool, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.isBackground = isBackground
            self.body = body
        }

        /// By /proc, since Swift's Glibc module hides `pthread_setname_np`. A thread without a name works as well.
        func takeName() {
            guard let file = unsafe fopen("/proc/thread-self/comm", "w") else { return }
            unsafe fputs(name, file)
            unsafe fclose(file)
        }
    }

    private let handle: pthread_t

    /// Starts at once. `name` is what `top -H` shows, cut to 15 bytes.
    /// - Parameter isBackground: nobody waits for its work; it gets what the others leave.
    /// - Throws: `unavailable` when the machine has no thread left.
    public init(name: String, isBackground: Bool = false, _ body: @escaping @Sendable () -> Void) throws(RegistryError) {
        var attributes = pthread_attr_t()
        unsafe pthread_attr_init(&attributes)
        unsafe pthread_attr_setstacksize(&attributes, WorkerThread.stackBytes)
        defer { unsafe pthread_attr_destroy(&attributes) }
        let start = unsafe Unmanaged.passRetained(
            Start(name: String(decoding: name.utf8.prefix(15), as: UTF8.self), isBackground: isBackground, body: body))
        var handle = pthread_t()
        let status = unsafe pthread_create(
            &handle, &attributes,
            { argument in
                guard let argument else { return nil }
                let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                start.takeName()
                if start.isBackground { granary_give_way() }
                start.body()
                return nil
            }, start.toOpaque())
        guard status == 0 else {
            unsafe start.release()
            throw RegistryError(.unavailable, subject: .store, reason: "no thread could be started", cause: "pthread_create: errno \(status)")
        }
        self.handle = handle
    }

    /// Waits for the body's end. Either this or `detach` is called, once.
    public func join() { pthread_join(handle, nil) }

    /// Nobody will wait for the body's end.
    public func detach() { pthread_detach(handle) }
}

/// A queue between tasks that put and threads that wait.
public final class Mailbox<Element: Sendable>: Sendable {
    private struct State {
        var waiting: [Element] = []
        var sleepers = 0
        var isClosed = false
    }
    private let state = Monitor(State())

    public init() {}

    /// - Returns: whether there is a sleeping thread for it; nil, and the element is dropped, when the mailbox is closed.
    public func put(_ element: Element) -> Bool? {
        state.withLock { state, wake in
            guard !state.isClosed else { return nil }
            state.waiting.append(element)
            wake = .one
            // A thread that was woken for an earlier element counts as asleep until it runs: it is not there for this one.
            return state.sleepers >= state.waiting.count
        }
    }

    /// Waits until something is there and takes all of it; nil once the mailbox is closed and empty.
    /// - Parameter wait: not longer than that; what is taken is empty then.
    public func takeAll(waiting wait: Duration? = nil) -> [Element]? {
        take(waiting: wait, else: []) { state in
            defer { state.removeAll(keepingCapacity: true) }
            return state
        }
    }

    /// Waits until something is there and takes the oldest; nil once the mailbox is closed and empty.
    public func takeOne() -> Element? { take(waiting: nil, else: nil) { $0.removeFirst() } }

    /// Nothing can be put any more; what is there can still be taken.
    public func close() {
        state.withLock { state, wake in
            state.isClosed = true
            wake = .all
        }
    }

    private func take<Taken>(waiting wait: Duration?, else nothing: Taken?, _ body: (inout [Element]) -> Taken) -> Taken? {
        state.whenReady(within: wait) { state, isOver in
            if !state.waiting.isEmpty { return .ready(body(&state.waiting)) }
            if state.isClosed { return .ready(nil) }
            return isOver ? .ready(nothing) : .wait
        } aroundSleep: { state, asleep in
            state.sleepers += asleep ? 1 : -1
        }
    }
}

/// State under a lock with a condition to wait for: for threads, never for tasks.
///
/// `@unchecked Sendable`: `lock` guards `state`; the pthread objects keep their addresses until `deinit`.
private final class Monitor<State>: @unchecked Sendable {
    enum Wake { case none, one, all }
    enum Readiness<Value> { case ready(Value), wait }

    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var state: State

    init(_ state: State) {
        self.state = state
        unsafe pthread_mutex_init(lock, nil)
        var attributes = pthread_condattr_t()
        unsafe pthread_condattr_init(&attributes)
        // The wall clock jumps.
        unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        unsafe pthread_cond_init(condition, &attributes)
        unsafe pthread_condattr_destroy(&attributes)
    }

    deinit {
        unsafe pthread_cond_destroy(condition)
        unsafe pthread_mutex_destroy(lock)
        unsafe condition.deallocate()
        unsafe lock.deallocate()
    }

    func withLock<Value>(_ body: (inout State, inout Wake) -> Value) -> Value {
        unsafe pthread_mutex_lock(lock)
        defer { unsafe pthread_mutex_unlock(lock) }
        var wake = Wake.none
        let value = body(&state, &wake)
        switch wake {
        case .none: break
        case .one: unsafe pthread_cond_signal(condition)
        case .all: unsafe pthread_cond_broadcast(condition)
        }
        return value
    }

    /// - Parameter body: told whether the time is over; it must be ready then.
    func whenReady<Value>(
        within wait: Duration?, _ body: (inout State, Bool) -> Readiness<Value>, aroundSleep: (inout State, Bool) -> Void
    ) -> Value {
        let end = wait.map { Monitor.time(in: $0) }
        var isOver = false
        unsafe pthread_mutex_lock(lock)
        defer { unsafe pthread_mutex_unlock(lock) }
        while true {
            if case .ready(let value) = body(&state, isOver) { return value }
            aroundSleep(&state, true)
            if let end {
                isOver = unsafe withUnsafePointer(to: end) { unsafe pthread_cond_timedwait(condition, lock, $0) } == ETIMEDOUT
            } else {
                unsafe pthread_cond_wait(condition, lock)
            }
            aroundSleep(&state, false)
        }
    }

    private static func time(in wait: Duration) -> timespec {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        let (seconds, attoseconds) = wait.components
        let nanoseconds = time.tv_nsec + Int(attoseconds / 1_000_000_000)
        return timespec(tv_sec: time.tv_sec + Int(seconds) + nanoseconds / 1_000_000_000, tv_nsec: nanoseconds % 1_000_000_000)
    }
}
