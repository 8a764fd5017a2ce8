public import Core
public import Logging
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// The outgoing HTTP client: one per process, for everything.
public final class OutboundClient: Sendable {
    public struct Options: Sendable {
        /// PEM certificates trusted besides the system's own.
        public var caFile: String?
        /// `http://`, `https://` or `socks5h://` with host and port; nil: direct. The environment is never asked.
        /// Through a proxy only names and literal addresses are checked: it is the proxy that resolves names, so it must guard its own network.
        public var proxy: String?
        /// Hosts, and domains with all hosts below them, that are asked directly all the same.
        public var proxyExceptions: [String]
        public var maxConnections: Int
        public var maxConnectionsPerOrigin: Int
        /// Failures in a row after which an origin is left alone, and for how long.
        public var breakerFailuresMax: Int
        public var breakerOpenSeconds: UInt64

        public init(
            caFile: String? = nil, proxy: String? = nil, proxyExceptions: [String] = [], maxConnections: Int = 256,
            maxConnectionsPerOrigin: Int = 128, breakerFailuresMax: Int = 5, breakerOpenSeconds: UInt64 = 30
        ) {
            self.caFile = caFile
            self.proxy = proxy
            self.proxyExceptions = proxyExceptions
            self.maxConnections = maxConnections
            self.maxConnectionsPerOrigin = maxConnectionsPerOrigin
            self.breakerFailuresMax = breakerFailuresMax
            self.breakerOpenSeconds = breakerOpenSeconds
        }
    }

    private static let breakersMax = 4096

    private let options: Options
    private let log: Logger
    private let world: World
    private let loop: CurlLoop
    private let breakers = Mutex<[Origin: Breaker]>([:])
    private let asked = Mutex(Requests())

    /// How many requests were sent, each hop and each try for itself, since the start.
    public struct Requests: Sendable {
        /// Answers by the first digit of their status, from 1 to 5.
        public fileprivate(set) var answered = [Int](repeating: 0, count: 5)
        /// Those that got no usable answer.
        public fileprivate(set) var failed = 0
    }

    public var requests: Requests { asked.withLock { $0 } }

    /// - Throws: `invalid` for a setting that cannot work, `internal` when libcurl or its thread does not start.
    public init(options: Options = Options(), log: Logger, world: World) throws(RegistryError) {
        try options.check()
        self.options = options
        self.log = log
        self.world = world
        loop = try CurlLoop(options: options, log: log, world: world)
        try loop.open()
    }

    deinit { loop.close() }

    /// Ends every fetch with `unavailable` and returns when nothing of them is left. Later fetches fail the same way. May be called again.
    public func close() { loop.close() }

    /// Asks, follows redirects of reads, and returns when the final head is here; the body streams after.
    ///
    /// Any status is an answer. Cancelling the task, or dropping the body, ends the transfer. A GET or HEAD that met a connect or reset
    /// error before any byte of an answer is tried once more.
    /// - Throws: `invalid` for a request that must not be sent; `upstreamFailed` when no usable answer came (name, address, connection, TLS,
    ///   limit, redirect, open breaker), with the URL without its query as the subject, and with `retryAfterSeconds` when it may pass;
    ///   `unavailable` when cancelled or closed; and whatever the request's own body throws.
    public func fetch(_ request: FetchRequest) async throws(RegistryError) -> FetchResponse {
        let plan = try FetchPlan(request, options: options)
        var url = plan.start
        var hop = 0
        while true {
            let (exchange, head) = try await ask(plan.call(at: url), sending: request.body)
            let next: UpstreamURL?
            do throws(RegistryError) { next = try plan.redirect(head, from: url, hop: hop) } catch {
                exchange.discard()
                throw error
            }
            guard let next else {
                let length = request.decodesContent && head.first("content-length") == nil ? nil : head.bodyLength(for: request.method)
                let body = Body(length: length, source: ExchangeBody(exchange, of: self))
                return FetchResponse(status: head.status, fields: head.fields, url: url.description, body: body)
            }
            exchange.discard()
            url = next
            hop += 1
        }
    }

    /// One hop: breaker, exchange, and for reads one more try.
    private func ask(_ call: Call, sending body: Body?) async throws(RegistryError) -> (Exchange, ResponseHead) {
        try admit(call)
        var triesLeft = call.method == .get || call.method == .head ? 1 : 0
        while true {
            let exchange = Exchange(call, on: loop)
            switch await run(exchange, sending: body) {
            case .success(let head):
                asked.withLock { $0.answered[min(max(Int(head.status) / 100, 1), 5) - 1] += 1 }
                settle(call) { [now = world.monotonicNanoseconds()] in head.status >= 500 ? $0.failed(at: now) : $0.succeeded() }
                return (exchange, head)
            case .failure(let error):
                asked.withLock { $0.failed += 1 }
                if exchange.fault == .passing, triesLeft > 0, !Task.isCancelled {
                    triesLeft -= 1
                    // Jitter: the many that failed together must not come back together.
                    try? await Task.sleep(for: .milliseconds(50 + Int(world.random() % 200)))
                    continue
                }
                log.debug("fetch failed", metadata: ["subject": "\(error.subject)", "reason": "\(error.reason)", "cause": "\(error.cause ?? "")"])
                let isTheirs = exchange.fault != .ours
                settle(call) { [now = world.monotonicNanoseconds()] in isTheirs ? $0.failed(at: now) : $0.abandoned(at: now) }
                throw error
            }
        }
    }

    private func run(_ exchange: Exchange, sending body: Body?) async -> Result<ResponseHead, RegistryError> {
        exchange.start()
        guard let body else { return await exchange.awaitHead() }
        return await withTaskGroup(of: Void.self) { group in
            group.addTask { await exchange.send(body) }
            let result = await exchange.awaitHead()
            // A refusal needs no more of the body; anything else reads it to its end.
            if case .success(let head) = result, head.status < 300 {} else { group.cancelAll() }
            await group.waitForAll()
            return result
        }
    }

    private func admit(_ call: Call) throws(RegistryError) {
        guard call.countsFailures else { return }
        let now = world.monotonicNanoseconds()
        let admission = breakers.withLock { $0[call.url.origin]?.admit(at: now) ?? .pass }
        guard case .refuse(let seconds) = admission else { return }
        throw RegistryError(
            .upstreamFailed, subject: call.subject, reason: "it failed \(options.breakerFailuresMax) times in a row and is left alone for a while",
            retryAfterSeconds: seconds)
    }

    /// Only origins with something to remember are kept.
    private func settle(_ call: Call, _ verdict: (inout Breaker) -> Void) {
        guard call.countsFailures else { return }
        let origin = call.url.origin
        let opened = breakers.withLock { breakers in
            let old = breakers[origin]
            var breaker = old ?? Breaker(failuresMax: options.breakerFailuresMax, openSeconds: options.breakerOpenSeconds)
            verdict(&breaker)
            if old == nil, !breaker.isIdle, breakers.count >= OutboundClient.breakersMax { breakers = breakers.filter { $0.value.isOpen } }
            breakers[origin] = breaker.isIdle || breakers.count >= OutboundClient.breakersMax && old == nil ? nil : breaker
            return breaker.isOpen && old?.isOpen != true
        }
        if opened { log.warning("an upstream keeps failing and is left alone for a while", metadata: ["upstream": "\(origin)"]) }
    }
}

extension OutboundClient.Options {
    fileprivate func check() throws(RegistryError) {
        if let caFile {
            guard OutboundClient.Options.holdsCertificates(caFile) else {
                throw RegistryError(
                    .invalid, subject: .configuration("outbound.caFile"), reason: "the file is unreadable or holds no PEM certificate")
            }
        }
        if let proxy {
            let schemes = ["http://", "https://", "socks5h://"]
            guard schemes.contains(where: proxy.hasPrefix), proxy.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                throw RegistryError(.invalid, subject: .configuration("outbound.proxy"), reason: "must be an http, https or socks5h URL")
            }
        }
        guard maxConnections > 0, maxConnectionsPerOrigin > 0, maxConnections <= 1 << 16, maxConnectionsPerOrigin <= 1 << 16 else {
            throw RegistryError(.invalid, subject: .configuration("outbound.maxConnections"), reason: "must be between 1 and 65536")
        }
    }

    private static func holdsCertificates(_ path: String) -> Bool {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        let file = OpenFile(owning: descriptor)
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = bytes.withUnsafeMutableBytes { buffer in (try? unsafe file.read(at: 0, into: buffer)) ?? 0 }
        return String(decoding: bytes[..<count], as: UTF8.self).contains("-----BEGIN CERTIFICATE-----")
    }
}

/// The answer's bytes as a body's source. Keeps the client alive, and ends the transfer when nobody holds it any more.
private final class ExchangeBody: BodySource {
    private let exchange: Exchange
    private let client: OutboundClient

    init(_ exchange: Exchange, of client: OutboundClient) {
        self.exchange = exchange
        self.client = client
    }

    deinit { exchange.cancel() }

    func next() async throws(RegistryError) -> ByteBuffer? { try await exchange.next() }
}
