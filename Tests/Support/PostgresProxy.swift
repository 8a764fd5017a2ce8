import Core
import NIOCore
import NIOPosix
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// The network between clients and a PostgreSQL server, as a test wants it: it counts journeys, makes them slow and cuts connections, also at the one
/// moment that matters. It hears clients on a socket in a directory of its own.
public final class PostgresProxy: Sendable {
    /// What happens to the next connection that commits.
    public enum Cut: Sendable {
        /// The server never hears of the commit.
        case beforeCommit
        /// The server commits, and the client does not hear of it.
        case afterCommit
    }

    fileprivate struct State {
        var journeys = 0
        var delay = TimeAmount.zero
        var cut: Cut?
        var channels: [ObjectIdentifier: any Channel] = [:]
    }

    fileprivate let state = Mutex(State())
    private let directory = Result { () throws(RegistryError) in try TemporaryDirectory() }
    private let listener: any Channel

    /// - Parameter server: the directory of the server's socket.
    public init(to server: String) async throws {
        let path = "\(server)/.s.PGSQL.5432"
        let clients = ClientMaker()
        listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { client in clients.connect(client, to: path) }
            .bind(unixDomainSocketPath: try directory.get().file(".s.PGSQL.5432")).get()
        clients.proxy.withLock { $0 = self }
    }

    /// For libpq.
    public func address(of database: String) throws -> String { "host=\(try directory.get().path) user=postgres dbname=\(database)" }

    /// How often a client has sent something and waited for the answer; connecting is none, nor is what a listener asks.
    public var journeys: Int { state.withLock { $0.journeys } }
    /// Each way.
    public func setDelay(milliseconds: Int64) { state.withLock { $0.delay = .milliseconds(milliseconds) } }
    public func cutNext(_ cut: Cut) { state.withLock { $0.cut = cut } }

    /// All connections, now.
    public func cutAll() { for channel in state.withLock({ Array($0.channels.values) }) { channel.close(promise: nil) } }

    public func close() {
        listener.close(promise: nil)
        cutAll()
    }

    fileprivate func adopt(_ channels: any Channel...) {
        for channel in channels {
            let id = ObjectIdentifier(channel)
            state.withLock { $0.channels[id] = channel }
            channel.closeFuture.whenComplete { [weak self] _ in _ = self?.state.withLock { $0.channels.removeValue(forKey: id) } }
        }
    }
}

/// Joins each client to a connection of its own.
private final class ClientMaker: Sendable {
    let proxy = Mutex<PostgresProxy?>(nil)

    func connect(_ client: any Channel, to path: String) -> EventLoopFuture<Void> {
        ClientBootstrap(group: client.eventLoop).connect(unixDomainSocketPath: path).flatMapThrowing { [self] server in
            guard let proxy = proxy.withLock({ $0 }) else { throw ChannelError.ioOnClosedChannel }
            proxy.adopt(client, server)
            try client.pipeline.syncOperations.addHandler(Relay(to: server, of: proxy, messages: FrontendMessages()))
            try server.pipeline.syncOperations.addHandler(Relay(to: client, of: proxy, messages: nil))
        }
    }
}

/// Hands on what one side says to the other.
private final class Relay: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let other: any Channel
    private let proxy: PostgresProxy
    /// Of a client; nil where they need not be told apart.
    private var messages: FrontendMessages?
    private var isListener = false
    /// The client hears nothing any more, and is left once the server has heard it out.
    private var isCut = false
    /// What is slow stays in order.
    private var last = NIODeadline.now()

    init(to other: any Channel, of proxy: PostgresProxy, messages: FrontendMessages?) {
        self.other = other
        self.proxy = proxy
        self.messages = messages
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        guard messages != nil else { return send(bytes) }
        messages?.append(bytes)
        while let message = messages?.next() {
            if message.isListen { isListener = true }
            let cut = proxy.state.withLock { state -> PostgresProxy.Cut? in
                if message.isSync, !isListener { state.journeys += 1 }
                guard message.isCommit else { return nil }
                defer { state.cut = nil }
                return state.cut
            }
            if cut == .beforeCommit { return context.close(promise: nil) }
            send(message.bytes)
            if cut == .afterCommit { isCut = true }
            if isCut, message.isSync { return context.close(promise: nil) }
        }
    }

    private func send(_ bytes: ByteBuffer) {
        let delay = proxy.state.withLock { $0.delay }
        last = max(.now() + delay, last + .nanoseconds(1))
        guard delay > .zero else { return other.writeAndFlush(bytes, promise: nil) }
        other.eventLoop.scheduleTask(deadline: last) { [other] in other.writeAndFlush(bytes, promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// What a client says, message by message (PostgreSQL, section 55.7).
private struct FrontendMessages {
    struct Message {
        var bytes: ByteBuffer
        var isSync = false
        var isListen = false
        /// Runs a statement that is COMMIT.
        var isCommit = false
    }

    private var pending = ByteBuffer()
    private var isStarted = false
    private var commits: Set<String> = []

    mutating func append(_ bytes: ByteBuffer) { pending.writeImmutableBuffer(bytes) }

    /// nil: the next one has not come in full.
    mutating func next() -> Message? {
        // The first has no type.
        let typeBytes = isStarted ? 1 : 0
        guard let length = pending.getInteger(at: pending.readerIndex + typeBytes, as: UInt32.self),
            let bytes = pending.readSlice(length: typeBytes + Int(length))
        else { return nil }
        defer { isStarted = true }
        var message = Message(bytes: bytes)
        guard isStarted else { return message }
        var body = bytes
        body.moveReaderIndex(forwardBy: 5)
        switch bytes.getInteger(at: bytes.readerIndex, as: UInt8.self) {
        case UInt8(ascii: "S"): message.isSync = true
        case UInt8(ascii: "P"):
            guard let name = body.readNullTerminatedString(), let text = body.readNullTerminatedString() else { break }
            if text == "COMMIT" { commits.insert(name) }
            message.isListen = text.hasPrefix("LISTEN")
        case UInt8(ascii: "B"):
            if body.readNullTerminatedString() != nil, let name = body.readNullTerminatedString() { message.isCommit = commits.contains(name) }
        default: break
        }
        return message
    }
}
