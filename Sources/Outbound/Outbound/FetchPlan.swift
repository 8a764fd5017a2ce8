import Core

#if canImport(Glibc)
    import Glibc
#endif

/// A request after its checks, and the one place that decides what each hop may be told.
struct FetchPlan {
    let request: FetchRequest
    let start: UpstreamURL
    /// Who may see the credentials.
    private let trusted: Set<Origin>
    private let proxy: OutboundClient.Options

    /// Framing and connection fields are libcurl's; a caller that could set them could split the request.
    private static let refused: Set<String> = [
        "connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    ]
    /// What another origin than the one asked first may see. Everything else may be a secret in disguise.
    private static let harmless: Set<String> = [
        "accept", "accept-encoding", "accept-language", "cache-control", "if-match", "if-modified-since", "if-none-match", "if-range",
        "if-unmodified-since", "range", "user-agent",
    ]

    init(_ request: FetchRequest, options: OutboundClient.Options) throws(RegistryError) {
        self.request = request
        proxy = options
        start = try UpstreamURL(request.url)
        for (name, value) in request.fields + [("user-agent", request.userAgent)]
            + (request.credentials.map { [("authorization", $0.fieldValue)] } ?? [])
        {
            let isRefused = FetchPlan.refused.contains(name.lowercased())
            guard isToken(name.utf8), !isRefused, value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }) else {
                throw RegistryError(.invalid, subject: .field(isToken(name.utf8) ? name : "name"), reason: "the field cannot be sent to an upstream")
            }
        }
        guard request.body == nil || [.post, .put, .patch].contains(request.method) else {
            throw RegistryError(.invalid, subject: .request, reason: "a \(request.method.rawValue) request carries no body")
        }
        var trusted: Set<Origin> = []
        for text in [request.credentialOrigin ?? start.origin.description] + request.credentialHosts {
            guard let origin = Origin(text) else {
                throw RegistryError(.invalid, subject: .field("credentialHosts"), reason: "\(text) is neither a host nor an origin")
            }
            trusted.insert(origin)
        }
        self.trusted = trusted
    }

    /// What to ask at `url`, the first or a later hop.
    func call(at url: UpstreamURL) throws(RegistryError) -> Call {
        var lines: [String] = []
        let isHome = url.origin == start.origin
        for (name, value) in request.fields where isHome || FetchPlan.harmless.contains(name.lowercased()) {
            if request.credentials != nil, equalIgnoringCase(name, "authorization") { continue }
            // libcurl reads "Name:" as "leave it out", and "Name;" as an empty value.
            lines.append(value.isEmpty ? "\(name);" : "\(name): \(value)")
        }
        if let credentials = request.credentials, trusted.contains(url.origin) { lines.append("Authorization: \(credentials.fieldValue)") }
        return Call(
            method: request.method, url: url, fieldLines: lines, limits: request.limits, route: try route(to: url), userAgent: request.userAgent,
            decodesContent: request.decodesContent, countsFailures: request.countsFailures, upload: request.body.map(\.length))
    }

    /// Where an answer sends us; nil when it is the answer itself. Only reads are repeated elsewhere: a body can be sent once.
    func redirect(_ head: ResponseHead, from url: UpstreamURL, hop: Int) throws(RegistryError) -> UpstreamURL? {
        guard [301, 302, 303, 307, 308].contains(head.status), request.method == .get || request.method == .head,
            let location = head.first("location")
        else { return nil }
        func refused(_ reason: String) -> RegistryError {
            RegistryError(.upstreamFailed, subject: .upstream(url.withoutQuery), reason: reason)
        }
        guard hop < request.limits.redirectsMax else { throw refused("it redirects more than \(request.limits.redirectsMax) times") }
        let next: UpstreamURL
        do { next = try url.resolving(location) } catch { throw refused("it redirects to a URL we do not use: \(error.reason)") }
        guard url.origin.scheme == .http || next.origin.scheme == .https else { throw refused("it redirects from https to http") }
        return next
    }

    private func route(to url: UpstreamURL) throws(RegistryError) -> Call.Route {
        let host = url.origin.host
        let literal = FetchPlan.literal(host)
        guard literal != nil || request.addressPolicy.permits(name: host) else {
            throw RegistryError(
                .upstreamFailed, subject: .upstream(url.withoutQuery),
                reason: "its host name has a meaning on private networks only, which requests to it may not reach", cause: host)
        }
        let isException = proxy.proxyExceptions.contains { equalIgnoringCase(host, $0) || host.hasSuffix(".\($0.lowercased())") }
        guard let address = proxy.proxy, !isException else { return .direct(request.addressPolicy) }
        // The proxy resolves names; what is an address already is judged here, in any notation.
        if let literal, !request.addressPolicy.permits(literal) {
            throw RegistryError(
                .upstreamFailed, subject: .upstream(url.withoutQuery), reason: "its address is in a range that requests to it may not reach",
                cause: literal.description)
        }
        return .proxy(address)
    }

    private static func literal(_ host: String) -> IPAddress? {
        if host.hasPrefix("[") { return IPAddress(String(host.dropFirst().dropLast())) }
        // A dot at the end makes a name absolute; whether an address may have one, readers do not agree.
        var host = host[...]
        while host.hasSuffix(".") { host.removeLast() }
        // RFC 6761 section 6.3.
        if host == "localhost" || host.hasSuffix(".localhost") { return IPAddress("127.0.0.1") }
        var address = in_addr()
        return unsafe inet_aton(String(host), &address) == 0 ? nil : IPAddress(v4: UInt32(bigEndian: address.s_addr))
    }
}
