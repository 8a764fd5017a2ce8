import Core
import Crypto
import Parsing

/// What a signed token is for. A token is good for its one purpose only.
enum TokenPurpose: String, Sendable {
    case access, refresh, registry
    /// A login whose second factor is still to come, or to be set up.
    case totpPending = "totp_pending"
    case totpEnrolment = "totp_enroll"
}

/// The claims of a signed token (RFC 7519), written under the names compatible clients read.
struct Claims: Sendable, Equatable {
    /// `sub`: the account's id; `anonymous` for a registry token nobody logged in for.
    var subject: String
    var username: String
    var email: String
    /// For clients to show; what counts is the account as it is when the token comes back.
    var isAdmin: Bool
    /// `iat` in seconds, `iat_ms` in milliseconds.
    var issued: Timestamp
    /// `exp`, whole seconds.
    var expires: Timestamp
    var purpose: TokenPurpose
    var jti: EntityID
    /// The session the token belongs to.
    var family: EntityID?
    /// Registry tokens: what else must still hold, and what was granted.
    var root: CredentialRoot = .none
    var access: [RegistryScope]?

    var json: JSON {
        .object(present: [
            "sub": .string(subject), "username": .string(username), "email": .string(email), "is_admin": .bool(isAdmin),
            "iat": JSON(issued.seconds), "iat_ms": JSON(issued.milliseconds), "exp": JSON(expires.seconds),
            "token_type": .string(purpose.rawValue), "jti": .string(jti.description), "family_id": family.map { .string($0.description) },
            "root": root.text.map { .string($0) }, "access": access.map { .array($0.map(\.json)) },
        ])
    }
}

extension Claims {
    init?(_ json: JSON) {
        guard let subject = json["sub"]?.string, let username = json["username"]?.string, let email = json["email"]?.string,
            let isAdmin = json["is_admin"]?.bool, let issued = json["iat_ms"]?.int64, let expires = json["exp"]?.int64,
            let purpose = json["token_type"]?.string.flatMap(TokenPurpose.init(rawValue:)), let jti = json["jti"]?.string.flatMap({ EntityID($0) })
        else { return nil }
        self.init(
            subject: subject, username: username, email: email, isAdmin: isAdmin, issued: Timestamp(milliseconds: issued),
            expires: Timestamp(seconds: expires), purpose: purpose, jti: jti, family: json["family_id"]?.string.flatMap { EntityID($0) })
        if let text = json["root"]?.string {
            guard let root = CredentialRoot(text: text) else { return nil }
            self.root = root
        }
        access = json["access"]?.array?.compactMap(RegistryScope.init)
    }
}

/// Signs and verifies tokens with HMAC-SHA256 (RFC 7515, RFC 7518 section 3.2).
///
/// We accept only what we made: the header must be, byte for byte, the one header we write. So `alg`, `kid`, `jku`, `jwk` and `crit` of a
/// foreign token are never read, and no JSON of a stranger is parsed before its signature was found right.
struct TokenSigner: Sendable {
    private static let header = Base64.encode(Array(#"{"alg":"HS256","typ":"JWT"}"#.utf8), .url) + "."
    /// Ours have a few hundred bytes; a registry token some thousands.
    private static let bytesMax = 16 << 10

    private let key: SymmetricKey

    /// - Throws: `invalid` for a secret that is blank, short or a well-known default: the server must not start with one.
    init(secret: Secret) throws(RegistryError) {
        let text = secret.revealed
        func refuse(_ reason: String) -> RegistryError { RegistryError(.invalid, subject: .configuration("jwt_secret"), reason: reason) }
        guard text.utf8.count >= 32 else { throw refuse("the secret that signs tokens needs at least 32 bytes") }
        guard Set(text.utf8).count >= 8, text.contains(where: { !$0.isWhitespace }) else {
            throw refuse("the secret that signs tokens is too regular: use random text")
        }
        let folded = text.lowercased().filter { $0.isLetter }
        for word in ["changeme", "changethis", "changeinproduction", "yoursecret", "yoursupersecret", "supersecretkey", "insecure", "example"] {
            guard !folded.contains(word) else { throw refuse("the secret that signs tokens is a placeholder: use random text") }
        }
        key = SymmetricKey(data: Array(text.utf8))
    }

    static func isSigned(_ text: String) -> Bool { text.hasPrefix(header) }

    func sign(_ claims: Claims) -> String {
        let signed = TokenSigner.header + Base64.encode(claims.json.encoded(), .url)
        let signature = HMAC<SHA256>.authenticationCode(for: Array(signed.utf8), using: key)
        return signed + "." + Base64.encode(Array(signature), .url)
    }

    /// The claims of a token we signed for this purpose that has not expired; nil for everything else.
    func verify(_ token: Secret, for purposes: Set<TokenPurpose>, at now: Timestamp) -> Claims? {
        let text = token.revealed
        // RFC 7515 leaves padding away: a token has one spelling.
        guard text.utf8.count <= TokenSigner.bytesMax, TokenSigner.isSigned(text), !text.utf8.contains(UInt8(ascii: "=")),
            let dot = text.utf8.lastIndex(of: UInt8(ascii: ".")),
            let signature = Base64.decode(text[text.index(after: dot)...], .url),
            HMAC<SHA256>.isValidAuthenticationCode(signature, authenticating: Array(text[..<dot].utf8), using: key),
            let payload = Base64.decode(text[..<dot].dropFirst(TokenSigner.header.count), .url),
            let json = try? JSON.parse(payload, budget: Budget(bytes: TokenSigner.bytesMax, depth: 8, items: 1024)),
            let claims = Claims(json), purposes.contains(claims.purpose), now < claims.expires
        else { return nil }
        return claims
    }
}
