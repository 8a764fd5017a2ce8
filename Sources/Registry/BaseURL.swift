import Synchronization

/// The URL under which clients reach the server: configured, else the address it listens on. Never a request's Host field.
public final class BaseURL: Sendable {
    private let value: Mutex<(text: String, isConfigured: Bool)>

    /// Scheme and authority; a trailing slash is dropped. nil: known once the server listens.
    public init(_ configured: String?) {
        var text = configured ?? ""
        while text.hasSuffix("/") { text.removeLast() }
        value = Mutex((text, configured != nil))
    }

    /// Scheme and authority, without a trailing slash.
    public var text: String { value.withLock { $0.text } }

    /// What the default is made of; a configured URL stays. A wildcard address is reached through loopback.
    public func listens(on host: String, port: Int, isSecure: Bool) {
        let name: String
        switch host {
        case "0.0.0.0": name = "127.0.0.1"
        case "::": name = "[::1]"
        default: name = host.contains(":") ? "[\(host)]" : host
        }
        value.withLock { value in
            guard !value.isConfigured else { return }
            value.text = "\(isSecure ? "https" : "http")://\(name):\(port)"
        }
    }
}
