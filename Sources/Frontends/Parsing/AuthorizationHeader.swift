public import Core

/// What an `Authorization` field says (RFC 9110 section 11.4).
public enum Credentials: Sendable, Hashable {
    /// RFC 7617; the name may be empty or a placeholder where a token is given as the password.
    case basic(user: String, password: String)
    /// RFC 6750.
    case bearer(String)
    /// Another scheme in lower case and its token68, as `token` and `apikey` of some package clients.
    case token(scheme: String, String)
    /// A token without any scheme: cargo and NuGet-like clients send it so.
    case bare(String)

    /// - Throws: `unauthenticated` when the value is none of these: the caller tried to say who it is, and must not pass as anonymous.
    public init(_ value: String) throws(RegistryError) {
        var scanner = HeaderScanner(value)
        scanner.skipSpace()
        guard let scheme = scanner.token68() else { throw Credentials.malformed }
        if scanner.isAtEnd || trimmed(scanner.rest).isEmpty {
            guard !["basic", "bearer", "digest", "negotiate"].contains(scheme.lowercased()) else { throw Credentials.malformed }
            self = .bare(scheme)
            return
        }
        guard scanner.next == 0x20 || scanner.next == 0x09, scheme.utf8.allSatisfy(HeaderScanner.isTokenByte) else { throw Credentials.malformed }
        scanner.skipSpace()
        guard let token = scanner.run({ $0 > 0x20 && $0 < 0x7F }) else { throw Credentials.malformed }
        scanner.skipSpace()
        guard scanner.isAtEnd else { throw Credentials.malformed }
        switch scheme.lowercased() {
        case "basic": self = try Credentials.basic(token)
        case "bearer": self = .bearer(token)
        case let other: self = .token(scheme: other, token)
        }
    }

    /// The field's value as a client sends it.
    public var headerValue: String {
        switch self {
        case .basic(let user, let password): "Basic " + Base64.encode(Array("\(user):\(password)".utf8))
        case .bearer(let token): "Bearer " + token
        case .token(let scheme, let token): "\(scheme) \(token)"
        case .bare(let token): token
        }
    }

    private static func basic(_ encoded: String) throws(RegistryError) -> Credentials {
        // Some clients leave the padding away, or encode for URLs.
        guard let bytes = Base64.decode(encoded) ?? Base64.decode(encoded, .url), let text = String(validating: bytes, as: UTF8.self),
            let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")), !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F })
        else { throw malformed }
        return .basic(user: String(text[..<colon]), password: String(text[text.utf8.index(after: colon)...]))
    }

    private static var malformed: RegistryError {
        RegistryError(.unauthenticated, subject: .field("Authorization"), reason: "the Authorization header is malformed")
    }
}

extension Credentials: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Nothing of it, whatever prints it: a user name, too, may be a password in the wrong field.
    public var description: String { "<credentials>" }
    public var debugDescription: String { "<credentials>" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// One challenge of a `WWW-Authenticate` field (RFC 9110 section 11.6.1): how an upstream wants to be spoken to.
public struct Challenge: Sendable, Hashable {
    /// In lower case.
    public let scheme: String
    /// Names in lower case: `realm`, and for a token server `service`, `scope`, `error`.
    public let parameters: [String: String]

    public init(scheme: String, parameters: [String: String]) {
        self.scheme = scheme.lowercased()
        self.parameters = parameters
    }

    public var realm: String? { parameters["realm"] }

    /// The challenges of one field value, in order.
    /// - Throws: `invalid` when it does not follow the grammar.
    public static func parse(_ value: String) throws(RegistryError) -> [Challenge] {
        var scanner = HeaderScanner(value)
        var challenges: [Challenge] = []
        var scheme: String?
        var parameters: [String: String] = [:]
        func finish() { if let scheme { challenges.append(Challenge(scheme: scheme, parameters: parameters)) } }
        while true {
            // Commas part both challenges and the parameters of one: a name with "=" behind it continues, one without begins anew.
            repeat { scanner.skipSpace() } while scanner.take(",")
            if scanner.isAtEnd { break }
            guard let word = scanner.token() else { throw malformed }
            var probe = scanner
            probe.skipSpace()
            if scheme != nil, probe.take("=") {
                probe.skipSpace()
                guard let text = probe.tokenOrQuotedString(), parameters.updateValue(text, forKey: word.lowercased()) == nil else { throw malformed }
                scanner = probe
            } else {
                finish()
                scheme = word
                parameters = [:]
                // A lone token68 (`Negotiate YII=`) says nothing we use.
                probe = scanner
                probe.skipSpace()
                if probe.token68() != nil {
                    probe.skipSpace()
                    if probe.isAtEnd || probe.next == UInt8(ascii: ",") { scanner = probe }
                }
            }
            scanner.skipSpace()
            guard scanner.isAtEnd || scanner.next == UInt8(ascii: ",") || parameters.isEmpty else { throw malformed }
        }
        finish()
        return challenges
    }

    /// The field's value, parameters in the order of their names.
    public var headerValue: String {
        let list = parameters.sorted { $0.key < $1.key }.map { name, value in
            "\(name)=\"\(value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\""))\""
        }
        return list.isEmpty ? scheme : "\(scheme) \(list.joined(separator: ","))"
    }

    private static var malformed: RegistryError { refused("WWW-Authenticate", "the challenge is malformed") }
}
