import Access
public import Core
public import FrontendKit
import HTTPTypes

/// Which pages of a browser may do what here. Everything else that speaks HTTP is not concerned: only browsers send `Origin`, and send a cookie that
/// the page did not have.
public struct BrowserRules: Sendable {
    /// Origins of other hosts whose pages may read answers and use a user's session, exactly as browsers write them: `https://ui.example.org`.
    public var origins: Set<String> = []
    public init() {}

    /// `scheme://host[:port]` in lower case; nil for what is none, `*` and `null` among them.
    public static func origin(_ text: String) -> String? {
        let text = text.lowercased()
        guard let scheme = ["https://", "http://"].first(where: text.hasPrefix) else { return nil }
        let authority = text.dropFirst(scheme.count)
        let isAllowed: (UInt8) -> Bool = { byte in
            switch byte {
            case 0x30...0x39, 0x61...0x7A: true
            default: ".-:[]".utf8.contains(byte)
            }
        }
        guard !authority.isEmpty, authority.utf8.allSatisfy(isAllowed) else { return nil }
        return text
    }

    // MARK: Reading across origins (Fetch, section 3.2)

    private static let allowedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
    private static let allowedFields =
        "Accept, Authorization, Content-Type, Content-Range, If-Match, If-None-Match, Range, X-API-Key, X-Correlation-ID, X-Requested-With"
    private static let exposedFields =
        "Content-Disposition, Content-Length, Content-Range, ETag, Retry-After, X-Checksum-SHA256, X-Correlation-ID, X-RateLimit-Limit, "
        + "X-RateLimit-Remaining"

    /// The answer to a page that asks first whether it may; nil for every other request, and for pages that may not.
    func preflight(_ head: RequestHead) -> Response? {
        guard head.method == .options, head.fields[.accessControlRequestMethod] != nil, let origin = admitted(head) else { return nil }
        var response = Response(.noContent)
        response.fields[.accessControlAllowMethods] = BrowserRules.allowedMethods
        response.fields[.accessControlAllowHeaders] = BrowserRules.allowedFields
        response.fields[.accessControlMaxAge] = "600"
        BrowserRules.open(&response, to: origin)
        return response
    }

    /// Lets an admitted page read the answer. Every other gets the same answer without that, and its browser keeps it from it.
    func open(_ response: inout Response, for head: RequestHead) {
        response.fields[values: .vary] = response.fields[values: .vary] + ["Origin"]
        guard let origin = admitted(head) else { return }
        response.fields[.accessControlExposeHeaders] = BrowserRules.exposedFields
        BrowserRules.open(&response, to: origin)
    }

    private static func open(_ response: inout Response, to origin: String) {
        // The text is one of the configured ones, never the client's.
        response.fields[.accessControlAllowOrigin] = origin
        response.fields[.accessControlAllowCredentials] = "true"
    }

    private func admitted(_ head: RequestHead) -> String? {
        guard let given = head.fields[.origin], let index = origins.firstIndex(of: given) else { return nil }
        return origins[index]
    }

    // MARK: Changing across origins

    /// Whether the request comes from a page of another origin than ours that is not admitted. A browser says so itself, and a page cannot change
    /// what it says (Fetch, section 3.1; Fetch Metadata, section 2.3).
    func isForeign(_ head: RequestHead, baseURL: String) -> Bool {
        if let origin = head.fields[.origin] {
            if origins.contains(origin) || BrowserRules.origin(baseURL) == origin { return false }
            guard let host = HTTPField.Name("Host").flatMap({ head.fields[$0] }) else { return true }
            return origin != "http://\(host)" && origin != "https://\(host)"
        }
        guard let site = HTTPField.Name("Sec-Fetch-Site").flatMap({ head.fields[$0] }) else { return false }
        return site != "same-origin" && site != "none"
    }
}

extension Registry {
    /// A browser sends the session cookie by itself; only our own pages add a field of their own, and come from our origin (OWASP, Cross-Site Request
    /// Forgery Prevention).
    /// - Throws: `forbidden` for a change that was asked for with a cookie from another origin or without `X-Requested-With`.
    public func refuseForgery(_ head: RequestHead) throws(RegistryError) {
        guard head.method != .get, head.method != .head, head.fields[.cookie] != nil, Credentials.from(head).carrier == .cookie else { return }
        try refuseForeignPage(head)
        guard !head.fields.contains(where: { $0.name.canonicalName == "x-requested-with" }) else { return }
        throw RegistryError(.forbidden, subject: .request, reason: "a change with a session cookie needs the field X-Requested-With")
    }

    /// What sets or uses cookies without a session: a foreign page must neither log its visitor in as somebody else, nor renew or end a session.
    /// - Throws: `forbidden`.
    public func refuseForeignPage(_ head: RequestHead) throws(RegistryError) {
        guard options.browsers.isForeign(head, baseURL: options.baseURL.text) else { return }
        throw RegistryError(.forbidden, subject: .request, reason: "a page of another origin may not do this; an administrator can allow its origin")
    }
}
