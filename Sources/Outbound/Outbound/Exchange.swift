import Core
import NIOCore
import Synchronization

/// What one hop asks, checked and complete: nothing in it needs judging any more.
struct Call: Sendable {
    let method: FetchRequest.Method
    let url: UpstreamURL
    /// Whole lines, `Name: value`.
    let fieldLines: [String]
    let limits: Limits
    let route: Route
    let userAgent: String
    let decodesContent: Bool
    let countsFailures: Bool
    /// Nil: no body is sent. `.some(nil)`: a body of unknown length.
    let upload: Int64??

    enum Route: Sendable {
        /// To the upstream itself, at an address the policy permits.
        case direct(AddressPolicy)
        /// To the proxy the operator configured, wherever that is.
        case proxy(String)
    }

    var subject: RegistryError.Subject { .upstream(url.withoutQuery) }

    /// - Parameter retryAfterSeconds: given for what may pass by itself.
    func failed(_ reason: String, cause: String? = nil, retryAfterSeconds: Int? = nil) -> RegistryError {
        RegistryError(.upstreamFailed, subject: subject, reason: reason, cause: cause, retryAfterSeconds: retryAfterSeconds)
    }
}

/// Whose doing a failure is.
enum Fault: Sendable {
    /// Cancelled, closed, refused by policy or limit: says nothing about the upstream.
    case ours
    case upstream
    /// The upstream's, before any byte of an answer, and it may pass: connect and reset errors.
    case passing
}

/// One request and its answer, as both sides see it: the task that asked, and the curl thread. All state is behind one lock;
/// whoever changes what the other waits for takes the continuation out under the lock and resumes it after.
final class Exchange: Sendable {
    /// What may wait here for the consumer; beyond, curl is paused.
    static let bufferBytesMax = 256 << 10
    /// What is left of an answer nobody wants is read up to here, so that the connection can be used again.
    static let discardBytesMax = 16 << 10

    typealias HeadContinuation = CheckedContinuation<Result<ResponseHead, RegistryError>, Never>
    typealias SliceContinuation = CheckedContinuation<Result<ByteBuffer?, RegistryError>, Never>

    fileprivate struct State {
        var head: ResponseHead?
        var headWaiter: HeadContinuation?
        /// Ended, well (`.success`) or not; nothing changes after.
        var outcome: Result<Void, RegistryError>?
        var cancellation: RegistryError?
        var fault = Fault.ours
        var received = ByteBuffer()
        var receivedBytes: Int64 = 0
        var receivePaused = false
        var sliceWaiter: SliceContinuation?
        var discarding = false

        var outgoing = ByteBuffer()
        var sending: Bool
        /// The body was left before its end: it must never look whole to the upstream.
        var isCutOff = false
        var sendPaused = false
        var roomWaiter: CheckedContinuation<Bool, Never>?
    }

    let call: Call
    private let loop: CurlLoop
    private let state: Mutex<State>

    init(_ call: Call, on loop: CurlLoop) {
        self.call = call
        self.loop = loop
        state = Mutex(State(sending: call.upload != nil))
    }

    // MARK: The asking side

    func start() { loop.post(.start(self)) }

    /// The final head, once.
    func awaitHead() async -> Result<ResponseHead, RegistryError> {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let ready: Result<ResponseHead, RegistryError>? = state.withLock { state in
                    if let head = state.head { return .success(head) }
                    if let failure = state.failure { return .failure(failure) }
                    state.headWaiter = continuation
                    return nil
                }
                if let ready { continuation.resume(returning: ready) }
            }
        } onCancel: {
            cancel()
        }
    }

    /// The next slice, nil at the end. One caller at a time.
    func next() async throws(RegistryError) -> ByteBuffer? {
        if let ready = takeReceived() { return try ready.get() }
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: SliceContinuation) in
                let ready = state.withLock { state in
                    let ready = state.take()
                    if ready == nil {
                        precondition(state.sliceWaiter == nil, "a body has one consumer")
                        state.sliceWaiter = continuation
                    }
                    return ready
                }
                if let ready { continuation.resume(returning: ready) }
            }
        } onCancel: {
            cancel()
        }
        wakeIfDrained()
        return try result.get()
    }

    private func takeReceived() -> Result<ByteBuffer?, RegistryError>? {
        let ready = state.withLock { $0.take() }
        if ready != nil { wakeIfDrained() }
        return ready
    }

    private func wakeIfDrained() {
        if state.withLock({ $0.receivePaused && $0.received.readableBytes == 0 && $0.outcome == nil }) { loop.post(.attend(self)) }
    }

    /// Ends the exchange from our side; a second call, or one after the end, does nothing.
    func cancel(because error: RegistryError? = nil) {
        let error = error ?? RegistryError(.unavailable, subject: call.subject, reason: "the fetch was cancelled")
        let waiters: Waiters? = state.withLock { state in
            guard state.outcome == nil, state.cancellation == nil else { return nil }
            state.cancellation = error
            state.received = ByteBuffer()
            return state.takeWaiters()
        }
        guard let waiters else { return }
        waiters.resume(.failure(error))
        loop.post(.attend(self))
    }

    /// Nobody wants the rest: a little is read so that the connection lives on, more ends it.
    func discard() {
        let needsAttention = state.withLock { state in
            state.discarding = true
            state.received = ByteBuffer()
            return state.outcome == nil
        }
        if needsAttention { loop.post(.attend(self)) }
    }

    /// Of an exchange that failed.
    var fault: Fault { state.withLock { $0.fault } }

    /// Sends the body until its end, the end of the exchange, or cancellation of the task (which leaves the exchange alone).
    func send(_ body: Body) async {
        do throws(RegistryError) {
            while let slice = try await body.next() {
                guard await hasRoom() else { return cutOff() }
                let wake = state.withLock { state in
                    state.outgoing = slice
                    return state.resumeSending()
                }
                if wake { loop.post(.attend(self)) }
            }
            let wake = state.withLock { state in
                state.sending = false
                return state.resumeSending()
            }
            if wake { loop.post(.attend(self)) }
        } catch {
            cancel(because: error)
        }
    }

    private func cutOff() {
        let wake = state.withLock { state in
            state.isCutOff = true
            state.sending = false
            return state.resumeSending()
        }
        if wake { loop.post(.attend(self)) }
    }

    private func hasRoom() async -> Bool {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let ready: Bool? = state.withLock { state in
                    if Task.isCancelled || state.outcome != nil || state.cancellation != nil { return false }
                    if state.outgoing.readableBytes == 0 { return true }
                    state.roomWaiter = continuation
                    return nil
                }
                if let ready { continuation.resume(returning: ready) }
            }
        } onCancel: {
            state.withLock { $0.takeRoomWaiter() }?.resume(returning: false)
        }
    }

    // MARK: The curl side

    /// What the loop must do about an exchange that called for attention.
    enum Attention {
        case none
        case end(RegistryError)
        /// The directions that stay paused.
        case unpause(receive: Bool, send: Bool)
    }

    func attention() -> Attention {
        state.withLock { state in
            if let cancellation = state.cancellation { return .end(cancellation) }
            guard state.outcome == nil else { return .none }
            if state.receivePaused, state.received.readableBytes == 0 { state.receivePaused = false }
            return .unpause(receive: !state.receivePaused, send: !state.sendPaused)
        }
    }

    var cancellation: RegistryError? { state.withLock { $0.cancellation } }
    /// The upstream waits for us, not we for it. A full buffer does not count while our own body is still going out:
    /// nobody reads the answer yet.
    var waitsForConsumer: Bool { state.withLock { $0.receivePaused && !$0.sending || $0.sendPaused } }
    var isDiscarding: Bool { state.withLock { $0.discarding } }

    func arrived(_ head: ResponseHead) {
        let waiter = state.withLock { state in
            state.head = head
            defer { state.headWaiter = nil }
            return state.headWaiter
        }
        waiter?.resume(returning: .success(head))
    }

    enum Reception { case taken, pause, abort(String?) }

    /// Body bytes from curl. `pause` means: not taken, offer them again after unpausing.
    func receive(_ bytes: UnsafeRawBufferPointer) -> Reception {
        state.withLock { state in
            if state.cancellation != nil { return .abort(nil) }
            if state.discarding {
                state.receivedBytes += Int64(bytes.count)
                return state.receivedBytes > Int64(Exchange.discardBytesMax) ? .abort(nil) : .taken
            }
            if state.received.readableBytes > 0, state.received.readableBytes + bytes.count > Exchange.bufferBytesMax {
                state.receivePaused = true
                return .pause
            }
            guard Int64(bytes.count) <= call.limits.bodyBytesMax - state.receivedBytes else {
                return .abort("the answer is larger than \(call.limits.bodyBytesMax) bytes")
            }
            state.receivedBytes += Int64(bytes.count)
            unsafe state.received.writeBytes(bytes)
            return .taken
        }
    }

    /// Hands what has arrived to a consumer that waits. Once per turn of the loop, so that a fast stream costs few wake-ups.
    /// - Returns: whether curl is paused with nothing left to wait for.
    func deliver() -> Bool {
        var waiter: SliceContinuation?
        var slice: Result<ByteBuffer?, RegistryError>?
        let isDrained = state.withLock { state in
            if state.sliceWaiter != nil, let ready = state.take() {
                slice = ready
                waiter = state.sliceWaiter
                state.sliceWaiter = nil
            }
            return state.receivePaused && state.received.readableBytes == 0
        }
        if let slice { waiter?.resume(returning: slice) }
        return isDrained
    }

    enum Provision { case bytes(Int), end, pause, abort }

    /// Fills curl's buffer with what is to be sent.
    func provide(into target: UnsafeMutableRawBufferPointer) -> Provision {
        var waiter: CheckedContinuation<Bool, Never>?
        let provision: Provision = state.withLock { state in
            if state.cancellation != nil || state.isCutOff { return .abort }
            let count = min(target.count, state.outgoing.readableBytes)
            guard count > 0 else {
                guard state.sending else { return .end }
                state.sendPaused = true
                return .pause
            }
            state.outgoing.readWithUnsafeReadableBytes { bytes in
                unsafe target.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
                return count
            }
            if state.outgoing.readableBytes == 0 {
                state.outgoing = ByteBuffer()
                waiter = state.takeRoomWaiter()
            }
            return .bytes(count)
        }
        waiter?.resume(returning: true)
        return provision
    }

    /// The transfer is over and its handle gone. Bytes still waiting stay readable after a good end.
    func end(_ outcome: Result<Void, RegistryError>, fault: Fault = .ours) {
        var outcome = outcome
        // First, so that a consumer that waits gets the last bytes before the end.
        _ = deliver()
        let waiters: Waiters? = state.withLock { state in
            guard state.outcome == nil else { return nil }
            if case .success = outcome, state.head == nil { outcome = .failure(call.failed("it ended without an answer")) }
            state.outcome = outcome
            state.fault = state.cancellation == nil ? fault : .ours
            if case .failure = outcome { state.received = ByteBuffer() }
            return state.takeWaiters()
        }
        waiters?.resume(outcome)
    }

    fileprivate struct Waiters {
        var head: HeadContinuation?
        var slice: SliceContinuation?
        var room: CheckedContinuation<Bool, Never>?

        func resume(_ outcome: Result<Void, RegistryError>) {
            // Whoever waits for the head at the end waits in vain: a good end has a head.
            if case .failure(let error) = outcome { head?.resume(returning: .failure(error)) }
            slice?.resume(returning: outcome.map { nil })
            room?.resume(returning: false)
        }
    }
}

extension Exchange.State {
    fileprivate var failure: RegistryError? {
        if let cancellation { return cancellation }
        if case .failure(let error) = outcome { return error }
        return nil
    }

    /// What the consumer gets now, nil when it must wait.
    fileprivate mutating func take() -> Result<ByteBuffer?, RegistryError>? {
        if let failure { return .failure(failure) }
        if received.readableBytes > 0 {
            defer { received = ByteBuffer() }
            return .success(received)
        }
        return outcome == nil ? nil : .success(nil)
    }

    /// - Returns: whether curl must be woken for it.
    fileprivate mutating func resumeSending() -> Bool {
        defer { sendPaused = false }
        return sendPaused
    }

    fileprivate mutating func takeRoomWaiter() -> CheckedContinuation<Bool, Never>? {
        defer { roomWaiter = nil }
        return roomWaiter
    }

    fileprivate mutating func takeWaiters() -> Exchange.Waiters {
        defer {
            headWaiter = nil
            sliceWaiter = nil
        }
        return Exchange.Waiters(head: headWaiter, slice: sliceWaiter, room: takeRoomWaiter())
    }
}
