// Server: sockets to requests, answers to bytes. HTTP/1.1 in clear text or over TLS, HTTP/2 over TLS. It alone does framing, limits, HEAD,
// ranges, conditionals, sendfile and graceful stops; it knows no repository, no format and no caller.
public import Core
public import FrontendKit
public import Logging
import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOPosix
import NIOSSL
import Synchronization

/// Listens, and hands every request to one responder.
public final class HTTPServer: Sendable {
    private struct State {
        var listener: (any Channel)?
        var threads: MultiThreadedEventLoopGroup?
        var isStopping = false
        var connections: [ObjectIdentifier: any Channel] = [:]
        /// How many of them an address has; loopback and trusted proxies are not counted.
        var ofAddress: [IPAddress: Int] = [:]
        /// Resumed when the last connection is gone.
        var emptied: [CheckedContinuation<Void, Never>] = []
    }

    private let shared: ServerContext
    private let state = Mutex(State())

    public init(options: ServerOptions, responder: any Responder, world: World, log: Logger, metrics: Metrics) {
        shared = ServerContext(options: options, responder: responder, world: world, log: log, metrics: metrics)
    }

    /// Binds and listens. Called once.
    /// - Returns: the port.
    /// - Throws: `invalid` when a certificate or key cannot be used, `unavailable` when the address cannot be bound.
    public func start() async throws(RegistryError) -> Int {
        let options = shared.options
        let tls = try HTTPServer.tlsContext(options.tls)
        let threads = MultiThreadedEventLoopGroup(numberOfThreads: max(1, options.eventLoopThreads))
        let bootstrap = ServerBootstrap(group: threads)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.tcpOption(UnsentLimit.option), value: UnsentLimit.bytesMax)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { [self] channel in accepted(channel, tls) }
        do {
            let listener = try await bootstrap.bind(host: options.host, port: options.port).get()
            state.withLock {
                $0.listener = listener
                $0.threads = threads
            }
            return listener.localAddress?.port ?? options.port
        } catch {
            try? await threads.shutdownGracefully()
            throw RegistryError(
                .unavailable, subject: .configuration("listen"), reason: "\(options.host):\(options.port) cannot be listened on", cause: "\(error)")
        }
    }

    /// Accepts nothing more, lets requests in flight finish within `gracefulSeconds`, then closes what is left. May be called again.
    public func stop() async {
        shared.drain()
        let (listener, threads, connections) = state.withLock { state in
            state.isStopping = true
            defer { (state.listener, state.threads) = (nil, nil) }
            return (state.listener, state.threads, Array(state.connections.values))
        }
        guard let threads else { return }
        try? await listener?.close()
        for channel in connections { channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
        let deadline = threads.next().scheduleTask(in: .milliseconds(Int64(max(0, min(shared.options.gracefulSeconds, 1e6)) * 1000))) { [self] in
            for channel in state.withLock({ Array($0.connections.values) }) { channel.close(promise: nil) }
        }
        await waitUntilEmpty()
        deadline.cancel()
        await waitForTasks(threads)
        try? await threads.shutdownGracefully()
    }

    private func waitUntilEmpty() async {
        await withCheckedContinuation { done in
            let isEmpty = state.withLock { state in
                if !state.connections.isEmpty { state.emptied.append(done) }
                return state.connections.isEmpty
            }
            if isEmpty { done.resume() }
        }
    }

    /// Cancelled tasks end soon; they still report to the event loops, which must not be gone by then.
    private func waitForTasks(_ threads: MultiThreadedEventLoopGroup) async {
        for _ in 0..<500 where shared.meters.runningTasks > 0 {
            try? await threads.next().scheduleTask(in: .milliseconds(10)) {}.futureResult.get()
        }
        let left = shared.meters.runningTasks
        if left > 0 { shared.log.error("requests did not end after they were cancelled", metadata: ["count": "\(left)"]) }
    }

    // MARK: Connections

    private func accepted(_ channel: any Channel, _ tls: NIOSSLContext?) -> EventLoopFuture<Void> {
        let shared = shared
        let meters = shared.meters
        let id = ObjectIdentifier(channel)
        let address = shared.forwarding.counted(channel.remoteAddress?.ipAddress)
        let isWelcome = state.withLock { state in
            guard !state.isStopping, state.connections.count < shared.options.connectionsMax else { return false }
            if let address {
                guard state.ofAddress[address, default: 0] < shared.options.connectionsPerAddressMax else { return false }
                state.ofAddress[address, default: 0] += 1
            }
            state.connections[id] = channel
            return true
        }
        guard isWelcome else {
            meters.connectionsRefused.add()
            return channel.close()
        }
        meters.connectionOpened()
        channel.closeFuture.whenComplete { [self] _ in
            meters.connectionClosed()
            let emptied = state.withLock { state in
                state.connections[id] = nil
                if let address, let count = state.ofAddress[address] { state.ofAddress[address] = count > 1 ? count - 1 : nil }
                defer { if state.connections.isEmpty { state.emptied = [] } }
                return state.connections.isEmpty ? state.emptied : []
            }
            for done in emptied { done.resume() }
        }
        guard let tls else {
            return channel.eventLoop.makeCompletedFuture { try HTTPServer.addHTTP1(to: channel, .clear, shared) }
        }
        do {
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls))
        } catch {
            return channel.eventLoop.makeFailedFuture(error)
        }
        // Until the handshake is done nothing else watches the connection.
        let handshake = channel.eventLoop.scheduleTask(in: .nanoseconds(Int64(max(0.001, min(shared.options.headerSeconds, 1e6)) * 1e9))) {
            channel.close(promise: nil)
        }
        return channel.configureHTTP2SecureUpgrade(
            h2ChannelConfigurator: { channel in
                handshake.cancel()
                return channel.eventLoop.makeCompletedFuture { try HTTPServer.addHTTP2(to: channel, shared) }
            },
            http1ChannelConfigurator: { channel in
                handshake.cancel()
                return channel.eventLoop.makeCompletedFuture { try HTTPServer.addHTTP1(to: channel, .tls, shared) }
            })
    }

    private static func addHTTP1(to channel: any Channel, _ transport: Transport, _ shared: ServerContext) throws {
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldCount = shared.options.headerFieldsMax
        limits.maxHeaderFieldSize = shared.options.headerBytesMax
        limits.maxHeaderListSize = shared.options.headerBytesMax
        let conversation = Conversation(shared, over: transport)
        let buffers = ReceiveBuffers()
        conversation.buffers = buffers
        conversation.memory = shared.memory(of: channel.eventLoop)
        try channel.syncOptions?.setOption(.recvAllocator, value: buffers)
        try channel.pipeline.syncOperations.addHandlers([
            ArrivalWatch(conversation), HTTPResponseEncoder(), ByteToMessageHandler(HTTPRequestDecoder(limitConfiguration: limits)), conversation,
        ])
    }

    private static func addHTTP2(to channel: any Channel, _ shared: ServerContext) throws {
        try channel.syncOptions?.setOption(.recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 2048, initial: 16384, maximum: 65536))
        var connection = NIOHTTP2Handler.ConnectionConfiguration()
        connection.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: 100),
            HTTP2Setting(parameter: .maxHeaderListSize, value: shared.options.headerBytesMax),
            HTTP2Setting(parameter: .initialWindowSize, value: ServerContext.receiveBytesMax),
        ]
        connection.targetWindowSize = 4 * ServerContext.receiveBytesMax
        var stream = NIOHTTP2Handler.StreamConfiguration()
        stream.targetWindowSize = ServerContext.receiveBytesMax
        stream.outboundBufferSizeHighWatermark = 64 << 10
        stream.outboundBufferSizeLowWatermark = 32 << 10
        let manager = NIOHTTP2ServerConnectionManagementHandler(
            eventLoop: channel.eventLoop,
            configuration: .init(
                maxIdleTime: nil, maxAge: nil, maxGraceTime: .nanoseconds(Int64(shared.options.gracefulSeconds * 1e9)), keepalive: nil))
        let end = StreamsEnd(shared)
        let handler = NIOHTTP2Handler(
            mode: .server, eventLoop: channel.eventLoop, connectionConfiguration: connection, streamConfiguration: stream,
            streamDelegate: end.delegate(beside: manager, on: channel.eventLoop)
        ) { stream in
            stream.eventLoop.makeCompletedFuture {
                try stream.pipeline.syncOperations.addHandlers([
                    StreamHost(), HTTP2FramePayloadToHTTP1ServerCodec(), Conversation(shared, over: .stream),
                ])
            }
        }
        try channel.pipeline.syncOperations.addHandlers([end, handler, manager])
    }

    private static func tlsContext(_ options: TLSOptions?) throws(RegistryError) -> NIOSSLContext? {
        guard let options else { return nil }
        do {
            let chain = try NIOSSLCertificate.fromPEMFile(options.certificateChainPath).map { NIOSSLCertificateSource.certificate($0) }
            let key = try NIOSSLPrivateKey(file: options.privateKeyPath, format: .pem)
            var configuration = TLSConfiguration.makeServerConfiguration(certificateChain: chain, privateKey: .privateKey(key))
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["h2", "http/1.1"]
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw RegistryError(
                .invalid, subject: .configuration("tls"), reason: "the certificate chain or its key cannot be used", cause: "\(error)")
        }
    }
}
