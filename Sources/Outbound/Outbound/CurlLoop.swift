import CCurl
import Core
import Logging
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// The door to the curl thread: commands go in, the thread is woken, and once it is closed nothing reaches libcurl any more.
final class CurlLoop: Sendable {
    enum Command: Sendable {
        case start(Exchange)
        /// Cancelled, drained, or something to send: look at it.
        case attend(Exchange)
    }

    private struct Inbox {
        var commands: [Command] = []
        var isClosed = false
        var thread: pthread_t?
    }

    /// Owned by the curl thread. Others call only `curl_multi_wakeup`, under the inbox's lock and before `isClosed`: the thread frees it after.
    nonisolated(unsafe) fileprivate let multi: UnsafeMutableRawPointer
    fileprivate let options: OutboundClient.Options
    fileprivate let log: Logger
    fileprivate let world: World
    private let inbox = Mutex(Inbox())

    /// libcurl's own global state, once per process.
    private static let isReady = curl_global_init(Int(CURL_GLOBAL_SSL | CURL_GLOBAL_WIN32)) == CURLE_OK

    init(options: OutboundClient.Options, log: Logger, world: World) throws(RegistryError) {
        guard CurlLoop.isReady, let multi = unsafe curl_multi_init() else {
            throw RegistryError(.internal, subject: .configuration("outbound"), reason: "libcurl does not start")
        }
        unsafe self.multi = multi
        self.options = options
        self.log = log
        self.world = world
        // One stream per connection: libcurl stops reading a whole HTTP/2 connection when one of its streams is paused, so a slow
        // consumer would hold up all others.
        unsafe ccurl_multi_set_long(multi, CURLMOPT_PIPELINING, Int(CURLPIPE_NOTHING))
        unsafe ccurl_multi_set_long(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, options.maxConnections)
        unsafe ccurl_multi_set_long(multi, CURLMOPT_MAX_HOST_CONNECTIONS, options.maxConnectionsPerOrigin)
        unsafe ccurl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, options.maxConnections)
    }

    /// Starts the thread, which keeps the loop alive until `close`.
    func open() throws(RegistryError) {
        var thread = pthread_t()
        let argument = unsafe Unmanaged.passRetained(self)
        let code = unsafe pthread_create(
            &thread, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                unsafe CurlThread(Unmanaged<CurlLoop>.fromOpaque(argument).takeRetainedValue()).run()
                return nil
            }, argument.toOpaque())
        guard code == 0 else {
            unsafe argument.release()
            inbox.withLock { $0.isClosed = true }
            unsafe curl_multi_cleanup(multi)
            throw RegistryError(.internal, subject: .configuration("outbound"), reason: "the outgoing thread does not start", cause: "errno \(code)")
        }
        let id = thread
        inbox.withLock { $0.thread = id }
    }

    func post(_ command: Command) {
        let isTaken = inbox.withLock { inbox in
            guard !inbox.isClosed else { return false }
            if inbox.commands.isEmpty { unsafe curl_multi_wakeup(multi) }
            inbox.commands.append(command)
            return true
        }
        if !isTaken, case .start(let exchange) = command { exchange.end(.failure(closed(exchange.call))) }
    }

    /// Ends every transfer, and returns when the thread is gone. May be called again.
    func close() {
        let thread = inbox.withLock { inbox in
            if !inbox.isClosed {
                inbox.isClosed = true
                unsafe curl_multi_wakeup(multi)
            }
            defer { inbox.thread = nil }
            return inbox.thread
        }
        if let thread { _ = pthread_equal(thread, pthread_self()) != 0 ? pthread_detach(thread) : pthread_join(thread, nil) }
    }

    /// For the thread: what came in, and whether it is time to go.
    fileprivate func take() -> (commands: [Command], isClosed: Bool) {
        inbox.withLock { inbox in
            defer { inbox.commands.removeAll(keepingCapacity: inbox.commands.capacity <= 1024) }
            return (inbox.commands, inbox.isClosed)
        }
    }

    fileprivate func closed(_ call: Call) -> RegistryError {
        RegistryError(.unavailable, subject: call.subject, reason: "the outgoing client is closed")
    }
}

/// What runs on the one thread that may touch libcurl's handles. Not Sendable: it is made there, and dies there.
final class CurlThread {
    private let loop: CurlLoop
    private var transfers: [ObjectIdentifier: Transfer] = [:]
    /// Transfers that got bytes in this turn.
    private var arrivals: [Transfer] = []
    /// No transfer can have stalled before.
    private var nextExpiry = UInt64.max

    var options: OutboundClient.Options { loop.options }
    var now: UInt64 { loop.world.monotonicNanoseconds() }

    static let systemCAFolder = unsafe ccurl_ca_folder().map { unsafe String(cString: $0) } ?? "/etc/ssl/certs"

    init(_ loop: CurlLoop) { self.loop = loop }

    func arrived(_ transfer: Transfer) {
        if arrivals.last !== transfer { arrivals.append(transfer) }
    }

    /// From now on the transfer can stall.
    func watch(until deadline: UInt64?) {
        if let deadline { nextExpiry = min(nextExpiry, deadline) }
    }

    func run() {
        CurlThread.leaveSignalsToOthers()
        unsafe ccurl_name_thread("outbound")
        while true {
            let (commands, isClosed) = loop.take()
            for command in commands { perform(command) }
            if isClosed { break }
            var running: Int32 = 0
            unsafe check(curl_multi_perform(loop.multi, &running))
            deliver()
            reap()
            expire()
            unsafe check(curl_multi_poll(loop.multi, nil, 0, pollMilliseconds, nil))
        }
        for transfer in Array(transfers.values) { end(transfer, loop.closed(transfer.exchange.call)) }
        unsafe curl_multi_cleanup(loop.multi)
    }

    private func perform(_ command: CurlLoop.Command) {
        switch command {
        case .start(let exchange):
            if let cancellation = exchange.cancellation { return exchange.end(.failure(cancellation)) }
            guard let transfer = Transfer(exchange, on: self) else {
                return exchange.end(.failure(exchange.call.failed("libcurl refuses the request's options")))
            }
            transfers[ObjectIdentifier(exchange)] = transfer
            let code = unsafe curl_multi_add_handle(loop.multi, transfer.easy)
            if code != CURLM_OK { end(transfer, exchange.call.failed("libcurl takes no more transfers", cause: "libcurl multi \(code.rawValue)")) }
        case .attend(let exchange):
            if let transfer = transfers[ObjectIdentifier(exchange)] { attend(transfer) }
        }
    }

    private func attend(_ transfer: Transfer) {
        if let reason = transfer.attend() { return end(transfer, reason) }
        // Waiting for the consumer stopped the clock: it runs again now.
        watch(until: transfer.deadline)
    }

    private func deliver() {
        while !arrivals.isEmpty {
            let batch = arrivals
            arrivals.removeAll(keepingCapacity: true)
            for transfer in batch where transfer.exchange.deliver() { attend(transfer) }
        }
    }

    /// Ends what libcurl has finished.
    private func reap() {
        var left: Int32 = 0
        while let message = unsafe curl_multi_info_read(loop.multi, &left) {
            guard unsafe message.pointee.msg == CURLMSG_DONE, let easy = unsafe message.pointee.easy_handle, let user = unsafe ccurl_private(easy)
            else { continue }
            let code = unsafe ccurl_result(message)
            let transfer = unsafe Unmanaged<Transfer>.fromOpaque(user).takeUnretainedValue()
            remove(transfer)
            transfer.end(code)
        }
    }

    /// Ends what has waited too long. Looks at all transfers only when one of them may have.
    private func expire() {
        guard now >= nextExpiry else { return }
        nextExpiry = .max
        for transfer in Array(transfers.values) {
            guard let deadline = transfer.deadline else { continue }
            if deadline <= now { end(transfer, transfer.stalled, fault: .upstream) } else { nextExpiry = min(nextExpiry, deadline) }
        }
    }

    private var pollMilliseconds: Int32 {
        if nextExpiry == .max { return transfers.isEmpty ? 60_000 : 1000 }
        let now = now
        return nextExpiry <= now ? 0 : Int32(min((nextExpiry - now) / 1_000_000 + 1, 1000))
    }

    private func end(_ transfer: Transfer, _ error: RegistryError, fault: Fault = .ours) {
        remove(transfer)
        transfer.exchange.end(.failure(error), fault: fault)
    }

    /// Takes the handle out of the multi handle; the transfer frees it when the caller lets go.
    private func remove(_ transfer: Transfer) {
        guard transfers.removeValue(forKey: ObjectIdentifier(transfer.exchange)) != nil else { return }
        unsafe curl_multi_remove_handle(loop.multi, transfer.easy)
        arrivals.removeAll { $0 === transfer }
    }

    private func check(_ code: CURLMcode) {
        guard code != CURLM_OK else { return }
        loop.log.error("libcurl fails, all transfers end", metadata: ["code": "\(code.rawValue)"])
        for transfer in Array(transfers.values) { end(transfer, transfer.exchange.call.failed("libcurl failed", cause: "multi \(code.rawValue)")) }
        // Not at full speed, should it go on.
        usleep(100_000)
    }

    /// Signals belong to the process's main threads; those that tell of a fault of this very thread stay.
    private static func leaveSignalsToOthers() {
        var signals = sigset_t()
        unsafe sigfillset(&signals)
        for fault in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT] { unsafe sigdelset(&signals, fault) }
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    }
}
