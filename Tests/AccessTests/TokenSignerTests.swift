import Core
import Crypto
import Parsing
import Testing

@testable import Access

@Suite struct TokenSignerTests {
    private let now = Timestamp(seconds: 1_795_000_000)

    private func claims(_ purpose: TokenPurpose = .access) -> Claims {
        Claims(
            subject: "0190a1b2-c3d4-7567-89ab-cdef01234567", username: "ada", email: "ada@example.org", isAdmin: true, issued: now,
            expires: now.adding(seconds: 60), purpose: purpose, jti: EntityID(high: 1, low: 2), family: EntityID(high: 3, low: 4),
            root: .password(epoch: 7), access: [RegistryScope(name: "docker/app", actions: [.read, .write])])
    }

    private func forge(header: String, payload: [UInt8], key: [UInt8]?) -> String {
        let signed = Base64.encode(Array(header.utf8), .url) + "." + Base64.encode(payload, .url)
        guard let key else { return signed + "." }
        let code = HMAC<SHA256>.authenticationCode(for: Array(signed.utf8), using: SymmetricKey(data: key))
        return signed + "." + Base64.encode(Array(code), .url)
    }

    @Test("what was signed is read back, until it expires")
    func roundTrip() throws {
        let signer = try TokenSigner(secret: House.secret)
        let token = Secret(signer.sign(claims()))
        #expect(signer.verify(token, for: [.access], at: now) == claims())
        #expect(signer.verify(token, for: [.access], at: now.adding(milliseconds: 59_999)) == claims())
        #expect(signer.verify(token, for: [.access], at: now.adding(seconds: 60)) == nil)
    }

    @Test("a token is good for its own purpose only")
    func purposes() throws {
        let signer = try TokenSigner(secret: House.secret)
        for made in [TokenPurpose.access, .refresh, .registry] {
            for asked in [TokenPurpose.access, .refresh, .registry] {
                #expect((signer.verify(Secret(signer.sign(claims(made))), for: [asked], at: now) != nil) == (made == asked))
            }
        }
    }

    @Test("the claims carry the names compatible clients read")
    func names() throws {
        let names = try #require(claims().json.object?.names)
        #expect(
            names == [
                "sub", "username", "email", "is_admin", "iat", "iat_ms", "exp", "token_type", "jti", "family_id", "root", "access",
            ])
    }

    @Test(
        "forged headers are refused even under our own key: only the one header we write counts",
        arguments: [
            #"{"alg":"none"}"#, #"{"alg":"None","typ":"JWT"}"#, #"{"alg":"HS384","typ":"JWT"}"#, #"{"alg":"HS512","typ":"JWT"}"#,
            #"{"alg":"RS256","typ":"JWT"}"#, #"{"alg":"ES256","typ":"JWT"}"#, #"{"alg":"EdDSA","typ":"JWT"}"#, #"{"typ":"JWT","alg":"HS256"}"#,
            #"{"alg":"HS256","typ":"JWT","kid":"../../dev/null"}"#, #"{"alg":"HS256","typ":"JWT","kid":"' UNION SELECT 'k"}"#,
            #"{"alg":"HS256","typ":"JWT","jku":"https://evil.example/jwks"}"#, #"{"alg":"HS256","typ":"JWT","x5u":"https://evil.example/c"}"#,
            #"{"alg":"HS256","typ":"JWT","jwk":{"kty":"oct","k":"AAAA"}}"#, #"{"alg":"HS256","alg":"none","typ":"JWT"}"#,
            #"{"alg":"HS256","typ":"JWT","crit":["exp"]}"#, #"{"alg":"HS256","typ":"JWT","b64":false}"#, #"{"alg":"HS256","typ":"JWT","n":1e300}"#,
            #"{"alg":"hs256","typ":"JWT"}"#, #" {"alg":"HS256","typ":"JWT"}"#, "", "{}", "null", "[]",
        ])
    func forgedHeaders(header: String) throws {
        let signer = try TokenSigner(secret: House.secret)
        let payload = claims().json.encoded()
        for key in [Array(House.secret.revealed.utf8), [], [UInt8](repeating: 0, count: 32), nil] {
            let token = Secret(forge(header: header, payload: payload, key: key))
            #expect(signer.verify(token, for: [.access, .refresh, .registry], at: now) == nil)
        }
    }

    private static let header = #"{"alg":"HS256","typ":"JWT"}"#

    @Test(
        "keys an attacker would try sign nothing",
        arguments: [
            "", " ", "secret", "changeme", "jwt-secret", "your-256-bit-secret", "00000000000000000000000000000000", "granary", "password",
            "k3JxQ0v9TzR7mW2pLs8dYb4NfHc6UgEA", "k3JxQ0v9TzR7mW2pLs8dYb4NfHc6UgEa ", "k3JxQ0v9TzR7mW2pLs8dYb4NfHc6UgE",
        ])
    func wrongKeys(key: String) throws {
        let signer = try TokenSigner(secret: House.secret)
        let token = Secret(forge(header: TokenSignerTests.header, payload: claims().json.encoded(), key: Array(key.utf8)))
        #expect(signer.verify(token, for: [.access], at: now) == nil)
    }

    @Test(
        "claims that are not whole, or said twice, are refused even under our own key",
        arguments: [
            (#""is_admin":true"#, #""is_admin":false,"is_admin":true"#), (#""is_admin":true"#, #""is_admin":1"#),
            (#""token_type":"access""#, #""token_type":"ACCESS""#), (#""token_type":"access""#, #""token_type":"totp_pending""#),
            (#""token_type":"access""#, #""token_type":"refresh","token_type":"access""#), (#""exp":1795000060"#, #""exp":1e300"#),
            (#""exp":1795000060"#, #""exp":"1795000060""#), (#""exp":1795000060"#, #""exp":null"#), (#""sub":"#, #""subject":"#),
            (#""root":"password:7""#, #""root":"nothing""#), ("}", ""), ("{", "[{"),
        ])
    func brokenClaims(part: String, replacement: String) throws {
        let signer = try TokenSigner(secret: House.secret)
        let whole = claims().json.text
        func verified(_ payload: String) -> Claims? {
            let token = forge(header: TokenSignerTests.header, payload: Array(payload.utf8), key: Array(House.secret.revealed.utf8))
            return signer.verify(Secret(token), for: [.access], at: now)
        }
        #expect(verified(whole) == claims())
        #expect(whole.contains(part))
        #expect(verified(whole.replacing(part, with: replacement, maxReplacements: 1)) == nil)
    }

    @Test("no change of a single character of a token goes unnoticed")
    func tampered() throws {
        let signer = try TokenSigner(secret: House.secret)
        let token = Array(signer.sign(claims()).utf8)
        for index in token.indices {
            var changed = token
            changed[index] = token[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            #expect(signer.verify(Secret(String(decoding: changed, as: UTF8.self)), for: [.access], at: now) == nil, "at \(index)")
        }
        for count in token.indices {
            #expect(signer.verify(Secret(String(decoding: token.prefix(count), as: UTF8.self)), for: [.access], at: now) == nil)
        }
        for extra in [".", "=", "A", " ", "\n", ".e30"] {
            #expect(signer.verify(Secret(String(decoding: token, as: UTF8.self) + extra), for: [.access], at: now) == nil)
        }
    }

    @Test(
        "a secret that is blank, short, regular or a placeholder stops the start",
        arguments: [
            "", " ", "changeme", "short-but-random-K3x9", String(repeating: " ", count: 64), String(repeating: "a", count: 64),
            "abababababababababababababababababab", "please-changeme-0123456789-abcdefghijkl", "your-super-secret-jwt-key-change-in-production",
            "k3JxQ0v9TzR7mW2pLs8dYb4NfHc6UgE",
        ])
    func badSecrets(text: String) async throws {
        #expect(try await refusal { try TokenSigner(secret: Secret(text)) }?.code == .invalid)
    }
}
