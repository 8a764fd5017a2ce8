import Core
import Crypto
import FoundationEssentials

/// What a signed token is for. A token is good for its one purpose only.
enum TokenPurpose: String, Codable, Sendable {
    case access, refresh, registry
}

/// The claims of a signed token (RFC 7519), under the names compatible clients read.
struct Claims: Codable, Sendable, Equatable {
    /// The account's id; `anonymous` for a registry token nobody logged in for.
    var sub: String
    var username: String
    var email: String
    var is_admin: Bool
    var iat: Int64
    var iat_ms: Int64
    var exp: Int64
    var token_type: TokenPurpose
    var jti: String
    /// The session the token belongs to.
    var family_id: String?
    /// Registry tokens: what else must still hold (`token:<id>`, `password:<epoch>`), and what was granted.
    var root: String?
    var access: [RegistryScope]?
}

/// Signs and verifies tokens with HMAC-SHA256 (RFC 7515, RFC 7518 section 3.2).
///
/// We accept only what we made: the header must be, byte for byte, the one header we write. So `alg`, `kid`, `jku`, `jwk` and `crit` of a
/// foreign token are never read, and no JSON of a stranger is parsed before its signature was found right.
struct TokenSigner: Sendable {
    private static let header = HeaderText.encodeBase64URL(Array(#"{"alg":"HS256","typ":"JWT"}"#.utf8)) + "."
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

    func sign(_ claims: Claims) throws(RegistryError) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let payload: Data
        do { payload = try encoder.encode(claims) } catch {
            throw RegistryError(.internal, subject: .request, reason: "a token could not be written", cause: String(describing: error))
        }
        let signed = TokenSigner.header + HeaderText.encodeBase64URL(Array(payload))
        let signature = HMAC<SHA256>.authenticationCode(for: Array(signed.utf8), using: key)
        return signed + "." + HeaderText.encodeBase64URL(Array(signature))
    }

    /// The claims of a token we signed for this purpose that has not expired; nil for everything else.
    func verify(_ token: Secret, for purposes: Set<TokenPurpose>, at now: Timestamp) -> Claims? {
        let text = token.revealed
        guard text.utf8.count <= TokenSigner.bytesMax, TokenSigner.isSigned(text), let dot = text.utf8.lastIndex(of: UInt8(ascii: ".")),
            let signature = HeaderText.decodeBase64URL(text[text.index(after: dot)...]),
            HMAC<SHA256>.isValidAuthenticationCode(signature, authenticating: Array(text[..<dot].utf8), using: key),
            let payload = HeaderText.decodeBase64URL(text[..<dot].dropFirst(TokenSigner.header.count)),
            let claims = try? JSONDecoder().decode(Claims.self, from: Data(payload)),
            purposes.contains(claims.token_type), now.seconds < claims.exp
        else { return nil }
        return claims
    }
}
