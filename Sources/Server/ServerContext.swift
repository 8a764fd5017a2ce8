import Core
import FrontendKit
import HTTPTypes
import Logging
import NIOCore
import NIOHTTP1
import Synchronization

/// What every conversation of one server shares.
final class ServerContext: Sendable {
    /// What one read brings at most, hence what one slice of a body may hold.
    static let receiveBytesMax = 256 << 10
    private static let contentPolicy = "default-src 'none'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'"

    let options: ServerOptions
    let responder: any Responder
    let world: World
    let access: AccessLog
    let log: Logger
    let meters: ServerMeters
    let allowance: Allowance
    let largeAnswers = UnsentLimit.Answers()
    let forwarding: Forwarding
    private let date = Mutex<(second: Int64, text: String)>((.min, ""))
    private let draining = Atomic<Bool>(false)
    private let memories = Mutex<[ObjectIdentifier: NIOLoopBound<AnswerMemory>]>([:])
    private let requestIDStart: UInt64
    private let requestsNamed = Atomic<UInt64>(0)

    init(options: ServerOptions, responder: any Responder, world: World, log: Logger, metrics: Metrics) {
        self.options = options
        self.responder = responder
        self.world = world
        forwarding = Forwarding(trusting: options.trustedProxies)
        requestIDStart = world.random()
        self.log = log
        access = AccessLog(log: log, isOn: options.accessLog)
        allowance = Allowance(options.bodyBytesInFlightMax / ServerContext.receiveBytesMax)
        meters = ServerMeters(metrics, allowance: allowance)
    }

    var isDraining: Bool { draining.load(ordering: .relaxed) }
    func drain() { draining.store(true, ordering: .relaxed) }

    /// A name for a request whose client gave none. Unique, and no secret: it comes from a count, not from the system's generator.
    func newRequestID() -> EntityID {
        // SplitMix64's step and finaliser (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
        let count = requestsNamed.wrappingAdd(1, ordering: .relaxed).newValue
        var mixed = requestIDStart &+ count &* 0x9E37_79B9_7F4A_7C15
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return EntityID(at: world.now(), random: (count, mixed ^ (mixed >> 31)))
    }

    /// What the loop's connections answered before. Asked for on the loop, once a connection.
    func memory(of loop: any EventLoop) -> AnswerMemory {
        if let known = memories.withLock({ $0[ObjectIdentifier(loop)] }) { return known.value }
        let made = NIOLoopBound(AnswerMemory(salt: world.randomBytes(32)), eventLoop: loop)
        memories.withLock { $0[ObjectIdentifier(loop)] = made }
        return made.value
    }

    /// The Date field's value, formatted once a second.
    func dateNow() -> String {
        let second = world.now().seconds
        return date.withLock { cached in
            if cached.second != second { cached = (second, Timestamp(seconds: second).httpDate) }
            return cached.text
        }
    }

    /// The head as it leaves: the plan's fields and the server's own.
    func head(_ plan: Conditional.Plan, for exchange: Exchange, over transport: Transport) -> HTTPResponseHead {
        var headers = HTTPHeaders()
        headers.reserveCapacity(plan.fields.count + 8)
        for field in plan.fields { headers.add(name: field.name.rawName, value: field.value) }
        if let length = plan.contentLength { headers.replaceOrAdd(name: "Content-Length", value: String(length)) }
        headers.add(name: "Date", value: dateNow())
        headers.add(name: "Server", value: "granary")
        headers.add(name: "X-Request-ID", value: exchange.requestID)
        headers.add(name: "X-Correlation-ID", value: exchange.requestID)
        if plan.fields[.xContentTypeOptions] == nil { headers.add(name: "X-Content-Type-Options", value: "nosniff") }
        // What we serve was written by others: a browser that shows it runs, loads, frames and sends nothing.
        if plan.fields[.contentSecurityPolicy] == nil { headers.add(name: "Content-Security-Policy", value: ServerContext.contentPolicy) }
        headers.add(name: "Referrer-Policy", value: "no-referrer")
        if exchange.request?.isSecure == true { headers.add(name: "Strict-Transport-Security", value: "max-age=31536000") }
        if transport.isHTTP1 {
            if exchange.closes {
                headers.replaceOrAdd(name: "Connection", value: "close")
            } else if exchange.version.isBefore11 {
                headers.replaceOrAdd(name: "Connection", value: "keep-alive")
            }
        }
        var status = HTTPResponseStatus(statusCode: plan.status.code)
        // Failures only: framing goes by the statuses NIO knows, and it forgets the phrase of those. Some clients show nothing else (twine).
        if plan.status.code >= 400, !plan.status.reasonPhrase.isEmpty {
            status = .custom(code: UInt(plan.status.code), reasonPhrase: plan.status.reasonPhrase)
        }
        return HTTPResponseHead(version: transport.isHTTP1 ? exchange.version : .http2, status: status, headers: headers)
    }
}
