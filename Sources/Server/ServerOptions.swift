public import Core

/// Where the server listens and how much it puts up with.
public struct ServerOptions: Sendable {
    public var host: String
    /// 0: any free one; `start` tells which.
    public var port: Int
    public var eventLoopThreads = 2
    /// nil: clear text.
    public var tls: TLSOptions?

    /// More fields, or more bytes of them, answer 431.
    public var headerFieldsMax = 100
    public var headerBytesMax = 32 * 1024
    /// A longer request target answers 414.
    public var targetBytesMax = 12 * 1024

    /// From a request's first byte (or the connection's opening) to the end of its header section.
    public var headerSeconds = 10.0
    /// Between two requests.
    public var idleSeconds = 75.0
    /// While a body is read, every such span must bring `bodyProgressBytesPerSecond` of it.
    public var bodyStallSeconds = 30.0
    public var bodyProgressBytesPerSecond = 1024
    /// How long a client may take none of the answer's bytes.
    public var writeStallSeconds = 60.0
    /// What `stop` grants to requests in flight.
    public var gracefulSeconds = 30.0

    public var connectionsMax = 10_000
    /// Of these, from one address; loopback and trusted proxies may have them all. What is asked for over them is not counted: this is the cap of
    /// the byte path.
    public var connectionsPerAddressMax = 5_000
    /// Whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    public var trustedProxies: [CIDR] = []
    /// Slices of request bodies that were handed to consumers and not let go yet; beyond, further bodies wait unread.
    public var bodyBytesInFlightMax = 128 << 20
    /// An unread body of at most this many bytes is read and dropped after the answer, so that the connection stays usable.
    public var discardBytesMax = 256 << 10
    /// One line per request at `.info`.
    public var accessLog = true

    public init(host: String = "127.0.0.1", port: Int = 8080) {
        self.host = host
        self.port = port
    }
}

/// A certificate chain, leaf first, and its key, both as PEM files. Files are read once, at `start`.
public struct TLSOptions: Sendable {
    public var certificateChainPath: String
    public var privateKeyPath: String
    public init(certificateChainPath: String, privateKeyPath: String) {
        self.certificateChainPath = certificateChainPath
        self.privateKeyPath = privateKeyPath
    }
}
