import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

/// Every way in which clients send credentials (conventions, section 3), on every kind of surface.
@Suite("Carriers of credentials") struct CarrierTests {
    /// Surfaces, each with something that only who holds rights may have.
    private static let guarded = ["/api/v1/auth/me", "/api/v1/repositories/files", "/general/files/a.txt", "/v2/"]
    /// And what everybody may have who presents nothing.
    private static let open = ["/api/v1/repositories/open", "/general/open/a.txt", "/general/open/none.txt", "/api/v1/system/config"]

    private static func house() async throws -> House {
        let house = try await House()
        for (key, isPublic) in [("files", false), ("open", true)] {
            await house.repository(key, isPublic: isPublic)
            await house.put("x", at: "a.txt", in: key)
        }
        return house
    }

    private static func carriers(of token: String) -> [(String, Credential)] {
        [
            ("Bearer", .bearer(token)), ("bare", .fields([("Authorization", token)])), ("Token", .fields([("Authorization", "Token \(token)")])),
            ("ApiKey", .fields([("Authorization", "ApiKey \(token)")])), ("bearer in lower case", .fields([("authorization", "bearer \(token)")])),
            ("Basic", .password("anybody", token)), ("X-API-Key", .fields([("X-API-Key", token)])),
            ("X-NuGet-ApiKey", .fields([("X-NuGet-ApiKey", token)])), ("our cookie", .fields([("Cookie", "a=b; granary_access_token=\(token)")])),
            ("the compatible cookie", .fields([("Cookie", "ak_access_token=\(token); c=d")])),
        ]
    }

    @Test("sessions and API tokens are taken from every carrier, passwords from Basic and the Bearer some clients make of it, on every surface")
    func taken() async throws {
        let house = try await Self.house()
        let login: JSON = ["username": "admin", "password": .string(House.password)]
        let session = try #require(await house.send(.post, "/api/v1/auth/login", as: .none, json: login).json["access_token"]?.string)
        let token = await house.token(["*"])
        var carriers = (Self.carriers(of: session) + Self.carriers(of: token)).map { ($0.0, $0.1) }
        carriers.append(("Basic with a password", .admin))
        carriers.append(("Bearer of base 64", .bearer(Base64.encode(Array("admin:\(House.password)".utf8)))))
        for (name, credential) in carriers {
            for target in Self.guarded + Self.open where !target.hasSuffix("none.txt") {
                // Docker's clients send nothing but Authorization: there a cookie or a key is nobody's.
                let wanted = target == "/v2/" && !credential.isAuthorization ? 401 : 200
                #expect(await house.send(.get, target, as: credential).status == wanted, "\(name) at \(target)")
            }
        }
        // Docker's token, exchanged for any of them, is for what it names.
        await house.repository("img", format: "docker")
        for credential in [Credential.admin, .password("anybody", token), .bearer(token), .bearer(session)] {
            let exchanged = await house.send(.get, "/v2/token?service=granary&scope=repository:img/x:pull,push", as: credential)
            let docker = try #require(exchanged.json["token"]?.string)
            #expect(await house.send(.post, "/v2/img/x/blobs/uploads/", as: .bearer(docker)).status == 202)
            #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(docker)).status >= 401)
        }
    }

    @Test("credentials that are present and do not hold are 401 on every surface, also where nobody needs any, and also beside good ones")
    func refused() async throws {
        let house = try await Self.house()
        let token = await house.token(["*"])
        let wrong = String(token.dropLast()) + (token.hasSuffix("0") ? "1" : "0")
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."
        var carriers = Self.carriers(of: wrong).map { ($0.0, $0.1) }
        carriers += [
            ("an unsigned token", .bearer(unsigned)), ("not base 64", .fields([("Authorization", "Basic !!!")])),
            ("another scheme", .fields([("Authorization", "Negotiate abcdef")])),
            ("two of them", .fields([("Authorization", "Bearer \(token)"), ("Authorization", "Bearer \(token)")])),
            ("a bad one before a good key", .fields([("Authorization", "Bearer \(wrong)"), ("X-API-Key", token)])),
            ("two keys", .fields([("X-API-Key", token), ("X-API-Key", token)])),
        ]
        for (name, credential) in carriers {
            for target in Self.guarded + Self.open {
                let answer = await house.send(.get, target, as: credential)
                #expect(answer.status == 401, "\(name) at \(target)")
                #expect(answer.field("WWW-Authenticate") != nil, "\(name) at \(target)")
            }
        }
    }
}
