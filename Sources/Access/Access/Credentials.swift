import Core
import Parsing

/// How a credential reached us: some rules (cross-site request forgery) depend on it.
public enum CredentialCarrier: Sendable, Hashable {
    case none, bearer, basic, apiKey, cookie, ticket
    /// `Bearer base64(user:password)`, which some clients send.
    case bearerBasic
}

/// What a request presented, before anybody asked whether it is true.
public struct Credentials: Sendable {
    enum Presented: Sendable {
        case none
        /// A session's access token, an API token or a registry token: the text itself says which.
        case token(Secret)
        case password(user: String, Secret)
        /// For this path, decoded.
        case ticket(Secret, path: String)
        /// Something was presented that is no credential of ours.
        case malformed
    }

    public let carrier: CredentialCarrier
    let presented: Presented
    /// Whose client sent them; empty when nobody knows. Wrong passwords are counted by it.
    public var address = ""

    /// Who they say they are, where they say it.
    var claimedName: String? { if case .password(let user, _) = presented { user } else { nil } }

    public var isNone: Bool { carrier == .none }

    public static let none = Credentials(carrier: .none, presented: .none)
    public static func bearer(_ token: String) -> Credentials { Credentials(carrier: .bearer, presented: .token(Secret(token))) }
    public static func apiKey(_ token: String) -> Credentials { Credentials(carrier: .apiKey, presented: .token(Secret(token))) }
    public static func cookie(_ token: String) -> Credentials { Credentials(carrier: .cookie, presented: .token(Secret(token))) }
    public static func ticket(_ text: String, path: String) -> Credentials {
        Credentials(carrier: .ticket, presented: .ticket(Secret(text), path: path))
    }
    /// The password may also be a token: docker, pip, Maven and others can send nothing else.
    public static func basic(user: String, password: String, from address: String = "") -> Credentials {
        Credentials(carrier: .basic, presented: .of(user: user, password: password), address: address)
    }

    /// Reads the fields of a request: `Authorization` first, then `X-API-Key` and `X-NuGet-ApiKey`, then the session cookie where the route
    /// takes cookies. The first that is present decides alone: a bad one is refused, never skipped.
    /// - Parameter fields: all values of the field with this lower-case name.
    public static func from(fields: (String) -> [String], allowCookie: Bool) -> Credentials {
        let authorization = fields("authorization")
        guard authorization.count <= 1 else { return Credentials(carrier: .bearer, presented: .malformed) }
        if let text = authorization.first { return parse(authorization: text) }
        for name in ["x-api-key", "x-nuget-apikey"] {
            let keys = fields(name)
            guard keys.count <= 1 else { return Credentials(carrier: .apiKey, presented: .malformed) }
            if let key = keys.first.map(trimmed), !key.isEmpty { return .apiKey(key) }
        }
        if allowCookie, let token = sessionCookie(in: fields("cookie")) { return .cookie(token) }
        return .none
    }

    /// The access token's cookie, ours first, then the name compatible clients set.
    static let cookieNames = ["granary_access_token", "ak_access_token"]

    private static func parse(authorization text: String) -> Credentials {
        if trimmed(text).isEmpty { return .none }
        let field: Parsing.Credentials
        do throws(RegistryError) { field = try Parsing.Credentials(text) } catch {
            return Credentials(carrier: .bearer, presented: .malformed)
        }
        switch field {
        case .basic(let user, let password): return .basic(user: user, password: password)
        // Registries that give the anonymous no real token made this one: clients still send it.
        case .bearer("anonymous"): return .none
        case .bearer(let token):
            if !TokenText.isToken(token), case .basic(let user, let password)? = try? Parsing.Credentials("Basic \(token)") {
                return Credentials(carrier: .bearerBasic, presented: .of(user: user, password: password))
            }
            return .bearer(token)
        case .bare(let token), .token("token", let token), .token("apikey", let token): return .bearer(token)
        case .token: return Credentials(carrier: .bearer, presented: .malformed)
        }
    }

    private static func sessionCookie(in fields: [String]) -> String? {
        for name in cookieNames {
            for pair in fields.flatMap({ $0.split(separator: ";") }) {
                let pair = trimmed(pair)
                if pair.hasPrefix("\(name)="), pair.utf8.count > name.utf8.count + 1 { return String(pair.dropFirst(name.count + 1)) }
            }
        }
        return nil
    }

    private static func trimmed(_ text: some StringProtocol) -> String {
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 }
        let text = Substring(text)
        guard let first = text.utf8.firstIndex(where: { !isSpace($0) }), let last = text.utf8.lastIndex(where: { !isSpace($0) }) else { return "" }
        return String(text[first...last])
    }
}

extension Credentials.Presented {
    fileprivate static func of(user: String, password: String) -> Self {
        TokenText.isToken(password) ? .token(Secret(password)) : .password(user: user, Secret(password))
    }
}

/// What our tokens look like, so that a text is tried as one kind of credential only.
enum TokenText {
    static let apiTokenPrefix = "granary_"
    /// An API token is the prefix and 256 random bits in hex.
    static let randomBytes = 32
    /// How much of a token lists show, enough to recognise it and too little to guess the rest.
    static let shownCount = apiTokenPrefix.count + 6

    static func isToken(_ text: String) -> Bool { text.hasPrefix(apiTokenPrefix) || TokenSigner.isSigned(text) }
}
