import Core
import NIOHTTP1

/// Who asked, behind proxies: `X-Forwarded-For` and `X-Forwarded-Proto` are read only where the connection comes from a proxy we trust, and each
/// hop only where the one after it is one.
///
/// Everybody can write these fields, so what is believed is the right-most address that is no proxy of ours: our outermost proxy saw it itself.
/// `X-Forwarded-Host` is never read; links go by the configured base URL.
struct Forwarding: Sendable {
    private let proxies: [CIDR]

    init(trusting proxies: [CIDR]) { self.proxies = proxies }

    /// Asked once a connection.
    func trusts(_ peer: String) -> Bool { !proxies.isEmpty && (IPAddress(peer).map(contains) ?? false) }

    /// Under which address a connection counts; nil for those that may have all.
    func counted(_ peer: String?) -> IPAddress? {
        guard let address = peer.flatMap(IPAddress.init), !address.isLoopback, !contains(address) else { return nil }
        return address.subscriber
    }

    private func contains(_ address: IPAddress) -> Bool {
        let address = address.unmapped
        return proxies.contains { $0.contains(address) }
    }

    /// The client before a trusted peer. A hop that is no address ends the walk: the last proxy of ours that was named counts then.
    func client(before peer: String, _ headers: HTTPHeaders) -> String {
        var client = peer
        for hop in headers[canonicalForm: "x-forwarded-for"].reversed() {
            guard let address = Forwarding.address(hop) else { return client }
            client = address.unmapped.description
            guard contains(address) else { return client }
        }
        return client
    }

    /// What the outermost proxy of ours says of its own side; of several values the last, which the nearest proxy wrote.
    func isSecure(_ headers: HTTPHeaders) -> Bool {
        headers[canonicalForm: "x-forwarded-proto"].last.map { $0.lowercased() == "https" } ?? false
    }

    /// An address as proxies write it: bare, with a port, in brackets.
    private static func address(_ hop: Substring) -> IPAddress? {
        let text = hop.trimmingBlanks
        if let address = IPAddress(String(text)) { return address }
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") { return IPAddress(String(text[..<end].dropFirst())) }
        guard let colon = text.firstIndex(of: ":"), text.firstIndex(of: ".") != nil else { return nil }
        return IPAddress(String(text[..<colon]))
    }
}

extension Substring {
    fileprivate var trimmingBlanks: Substring {
        let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" }
        return Substring(drop(while: isBlank).reversed().drop(while: isBlank).reversed())
    }
}
