import Core
import Crypto
import HTTPTypes
import Parsing
import TestHouse
import Testing

/// Tokens that a server which believed a little too much would take: none gets in, by whichever road it comes.
@Suite("forged tokens", .timeLimit(.minutes(5))) struct ForgedTokenTests {
    /// One that we made, taken apart.
    private struct Genuine {
        let text: String
        var parts: [String] { text.split(separator: ".").map(String.init) }
        var payload: String { String(decoding: Base64.decode(parts[1], .url) ?? [], as: UTF8.self) }
    }

    private static let plainHeader = #"{"alg":"HS256","typ":"JWT"}"#
    /// The secret of a house, as its source has it: what is signed with it must hold, or these tests show nothing.
    private static let secret = "k3JxQ0v9TzR7mW2pLs8dYb4NfHc6UgEa"

    private static func base64(_ text: some StringProtocol) -> String { Base64.encode(Array(text.utf8), .url) }

    private static func signed(_ header: String, _ payload: String, key: some Sequence<UInt8>) -> String {
        let text = base64(header) + "." + base64(payload)
        let code = HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: SymmetricKey(data: Array(key)))
        return text + "." + Base64.encode(Array(code), .url)
    }

    private static func login(_ house: House) async throws -> (access: Genuine, refresh: Genuine) {
        let answer = await house.send(
            .post, "/api/v1/auth/login", as: .none, json: ["username": "admin", "password": .string(House.password)]
        ).json
        return (Genuine(text: try #require(answer["access_token"]?.string)), Genuine(text: try #require(answer["refresh_token"]?.string)))
    }

    /// By every road that a token takes, to the REST API, to docker's mount and to another format's.
    private static func statuses(_ token: String, in house: House) async -> Set<Int> {
        let roads: [Credential] = [
            .bearer(token), .password("admin", token), .fields([("X-API-Key", token)]), .fields([("Cookie", "granary_access_token=\(token)")]),
            .fields([("Authorization", "Token \(token)")]), .fields([("Authorization", token)]), .fields([("X-NuGet-ApiKey", token)]),
        ]
        var statuses: Set<Int> = []
        for (index, road) in roads.enumerated() {
            for (place, target) in ["/api/v1/auth/me", "/npm/any/-/whoami", "/v2/"].enumerated() where road.isAuthorization || target != "/v2/" {
                statuses.insert(await house.send(.get, target, as: road, from: "198.51.100.\(index * 3 + place)").status)
            }
        }
        return statuses
    }

    private static let headers = [
        #"{"alg":"none"}"#, #"{"alg":"none","typ":"JWT"}"#, #"{"alg":"None","typ":"JWT"}"#, #"{"alg":"NONE"}"#, #"{"alg":"nOnE"}"#, #"{"alg":""}"#,
        #"{"alg":null}"#, #"{"typ":"JWT"}"#, #"{}"#, #"{"alg":["HS256"]}"#, #"{"alg":"HS256\u0000none"}"#, #"{"alg":"hs256","typ":"JWT"}"#,
        #"{"alg":"HS1"}"#, #"{"alg":"HS384","typ":"JWT"}"#, #"{"alg":"HS512","typ":"JWT"}"#, #"{"alg":"RS256","typ":"JWT"}"#,
        #"{"alg":"RS512","typ":"JWT"}"#, #"{"alg":"PS256","typ":"JWT"}"#, #"{"alg":"ES256","typ":"JWT"}"#, #"{"alg":"EdDSA","typ":"JWT"}"#,
        #"{"alg":"A128KW","enc":"A128GCM"}"#, #"{"alg":"dir","enc":"A256GCM"}"#, #"{"alg":"HS256","alg":"none","typ":"JWT"}"#,
        #"{"alg":"none","alg":"HS256","typ":"JWT"}"#, #"{"alg":"HS256","typ":"JWT","kid":"0"}"#,
        #"{"alg":"HS256","typ":"JWT","kid":"../../../../dev/null"}"#, #"{"alg":"HS256","typ":"JWT","kid":"/proc/sys/kernel/randomize_va_space"}"#,
        #"{"alg":"HS256","typ":"JWT","kid":"x' UNION SELECT 'key'--"}"#, #"{"alg":"HS256","typ":"JWT","kid":"key|/usr/bin/id"}"#,
        #"{"alg":"HS256","typ":"JWT","kid":""}"#, #"{"alg":"HS256","typ":"JWT","jku":"https://evil.example/keys.json"}"#,
        #"{"alg":"HS256","typ":"JWT","jku":"http://127.0.0.1/keys.json"}"#, #"{"alg":"HS256","typ":"JWT","x5u":"https://evil.example/c.pem"}"#,
        #"{"alg":"HS256","typ":"JWT","x5c":["MIIB"]}"#, #"{"alg":"HS256","typ":"JWT","jwk":{"kty":"oct","k":"AA"}}"#,
        #"{"alg":"RS256","typ":"JWT","jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}}"#, #"{"alg":"HS256","typ":"JWT","crit":["exp"],"exp":0}"#,
        #"{"alg":"HS256","typ":"JWT","b64":false,"crit":["b64"]}"#, #"{"alg":"HS256","typ":"JWT","zip":"DEF"}"#,
        #"{"alg":"HS256","typ":"JWT","cty":"JWT"}"#, #"{"typ":"JWT","alg":"HS256"}"#, #"{ "alg":"HS256","typ":"JWT"}"#,
        #"{"alg":"HS256","typ":"at+jwt"}"#, #"{"alg":"HS256"}"#, "null", "[]", "",
    ]

    /// What a confused server would check an HMAC with.
    private static let confusedKeys: [(String, [UInt8])] = [
        ("our own key", Array(secret.utf8)), ("no key", []), ("a zero byte", [0]), ("32 zero bytes", [UInt8](repeating: 0, count: 32)),
        ("a public key", Array("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n".utf8)),
    ]

    @Test("a header that is not ours to the byte is refused, whatever signed it, and nothing in it is followed")
    func headers() async throws {
        let house = try await House()
        let genuine = try await Self.login(house).access
        #expect(Self.signed(Self.plainHeader, genuine.payload, key: Self.secret.utf8) == genuine.text)
        #expect(await Self.statuses(genuine.text, in: house) == [200])
        for header in Self.headers {
            for (name, key) in Self.confusedKeys {
                let token = Self.signed(header, genuine.payload, key: key)
                #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(token)).status == 401, "\(header), \(name)")
            }
            let unsigned = Self.base64(header) + "." + Self.base64(genuine.payload)
            for token in [unsigned, unsigned + ".", unsigned + "." + genuine.parts[2]] {
                #expect(await Self.statuses(token, in: house).subtracting([401, 429]) == [], "\(header), unsigned")
            }
        }
    }

    @Test("claims that are double, of another type, or for another purpose are refused under our own signature")
    func claims() async throws {
        let house = try await House()
        let (access, refresh) = try await Self.login(house)
        let changes: [(String, String)] = [
            (#""token_type":"access""#, #""token_type":"refresh""#), (#""token_type":"access""#, #""token_type":"registry""#),
            (#""token_type":"access""#, #""token_type":"totp_pending""#), (#""token_type":"access""#, #""token_type":"ACCESS""#),
            (#""token_type":"access""#, #""token_type":"access","token_type":"access""#),
            (#""token_type":"access""#, #""token_type":"refresh","token_type":"access""#), (#""token_type":"access""#, #""token_type":["access"]"#),
            (#""sub":"#, #""sub":"x","sub":"#), (#""sub":"#, #""subject":"#), (#""is_admin":true"#, #""is_admin":"true""#),
            (#""is_admin":true"#, #""is_admin":true,"is_admin":true"#), (#""exp":"#, #""exp":9999999999,"exp":"#), (#""exp":"#, #""exp ":"#),
            (#""family_id":"#, #""family_id":"x","family_id":"#), (#""family_id":"#, #""family":"#), (#""jti":"#, #""nonce":"#), ("}", "},"),
            ("{", "[{"),
        ]
        for (from, to) in changes {
            let payload = access.payload.replacing(from, with: to, maxReplacements: 1)
            try #require(payload != access.payload, "\(from)")
            let token = Self.signed(Self.plainHeader, payload, key: Self.secret.utf8)
            #expect(await Self.statuses(token, in: house).subtracting([401, 429]) == [], "\(to)")
        }
        // Each is good for its own purpose.
        #expect(await Self.statuses(refresh.text, in: house).subtracting([401, 429]) == [])
        #expect(await house.send(.post, "/api/v1/auth/refresh", as: .none, json: ["refresh_token": .string(access.text)]).status == 401)
        let docker = await house.send(.get, "/v2/token?service=granary&scope=repository:any/app:pull").json["token"]?.string ?? ""
        #expect(await house.send(.post, "/api/v1/auth/refresh", as: .none, json: ["refresh_token": .string(docker)]).status == 401)
        #expect(await house.send(.get, "/v2/", as: .bearer(docker)).status == 200)
        #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(docker)).status == 401)
        #expect(await house.send(.get, "/npm/any/-/whoami", as: .bearer(docker)).status == 401)
        #expect(await house.send(.get, "/v2/token?service=granary", as: .bearer(docker)).status == 403)
        // A claim is no right: what the account is counts.
        let ann = await house.user("ann")
        let boast = access.payload.replacing(
            access.payload.split(separator: "\"sub\":\"").last?.prefix(36) ?? "", with: ann, maxReplacements: 1)
        let token = Self.signed(Self.plainHeader, boast, key: Self.secret.utf8)
        #expect(await house.send(.get, "/api/v1/users", as: .bearer(token)).status == 401)
    }

    // MARK: Keys

    private static let words = [
        "secret", "password", "changeme", "change-me", "changeit", "jwt", "jwtsecret", "jwt-secret", "jwt_secret", "JWT_SECRET", "key", "secretkey",
        "secret-key", "secret_key", "mysecret", "my-secret", "my_secret", "mysecretkey", "your-256-bit-secret", "your-secret-key", "your_jwt_secret",
        "your-super-secret-jwt-token-with-at-least-32-characters-long", "supersecret", "super-secret", "topsecret", "verysecret", "shhhhh", "shhh",
        "token", "tokensecret", "access", "accesstoken", "refresh", "session", "sessionsecret", "cookie", "signing", "signingkey", "signing-key",
        "hmac",
        "hs256", "HS256", "default", "dev", "development", "test", "testing", "staging", "prod", "production", "local", "localhost", "example",
        "sample",
        "demo", "admin", "administrator", "root", "user", "guest", "anonymous", "letmein", "welcome", "qwerty", "abc", "abcdef", "123456", "12345678",
        "1234567890", "iloveyou", "monkey", "dragon", "granary", "Granary", "registry", "artifact", "artifactory", "nexus", "artifact-keeper",
        "harbor",
        "docker", "kubernetes", "vault", "consul", "postgres", "redis", "minio", "minioadmin", "nobody", "null", "undefined", "None", "nil", "true",
        "0",
        "a", "x", "gin", "node", "express", "django", "laravel", "rails", "spring",
    ]

    /// At least a thousand texts that servers were found to sign with: words of documents and examples, alone, numbered, doubled, and padded to
    /// the length that libraries ask for.
    static let commonKeys: [[UInt8]] = {
        var keys: [String] = ["", " ", "\n", "\0"]
        for word in words {
            keys += [word, word + "123", word + "!", word + "1", word + word, word.uppercased(), word + "\n", word + "2024", word + "-key"]
            for filler in ["0", "x", " ", "="] where word.utf8.count < 32 {
                keys.append(word + String(repeating: filler, count: 32 - word.utf8.count))
            }
            keys.append(Base64.encode(Array(word.utf8)))
        }
        for byte in UInt8.min...(.max) { keys.append(String(repeating: Character(UnicodeScalar(byte)), count: 32)) }
        return Array(Set(keys)).sorted().map { Array($0.utf8) }
    }()

    @Test("no common key signs a token that holds, and none is taken for ours")
    func keys() async throws {
        let house = try await House()
        let genuine = try await Self.login(house).access
        #expect(Self.commonKeys.count >= 1000)
        for key in Self.commonKeys {
            let token = Self.signed(Self.plainHeader, genuine.payload, key: key)
            #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(token)).status == 401, "\(String(decoding: key, as: UTF8.self))")
        }
    }
}
