/// What somebody asked for and from where, before anybody knows who it is: what guesses are counted by, and decisions are recorded with.
public struct Asked: Sendable, Hashable {
    public let method: String
    /// Path and query as they came, secrets included: to be redacted before it is written anywhere.
    public let target: String
    /// The address of the client, without the port: behind proxies we trust, of whom they name. Empty when nobody knows.
    public let peer: String
    public let requestID: String

    /// Whether more than reading was asked for.
    var isChange: Bool { method != "GET" && method != "HEAD" }

    public init(method: String, target: String, peer: String, requestID: String) {
        self.method = method
        self.target = target
        self.peer = peer
        self.requestID = requestID
    }
}
