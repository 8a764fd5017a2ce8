import Access
import Core
import HTTPTypes
import Logging
import Parsing
import Synchronization
import TestHouse
import TestSupport
import Testing

/// Secrets of every kind are sent along every road, right and wrong; then everything that was said is searched for them.
@Suite("Canaries") struct CanaryTests {
    @Test("no password, token, code or key that was sent comes back in a log line, an error or a metric")
    func none() async throws {
        let lines = Lines()
        var options = House.Options()
        options.log = lines.logger
        let house = try await House(options)
        await house.repository("files")
        await house.repository("js", format: "npm")
        let random = String(repeating: "c0ffee42", count: 8)
        let forged = "granary_" + random
        let signed = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZS0x"
        let (guess, fresh, upstream) = ("canary-guess-8812", "canary-fresh-1177", "canary-upstream-5521")
        var canaries = [forged, random, signed, guess, fresh, upstream, House.password]
        var said: [String] = []

        // What is right, and told once to who asked for it.
        let login = await house.send(.post, "/api/v1/auth/login", as: .none, json: ["username": "admin", "password": .string(House.password)]).json
        let token = await house.token(["*"])
        canaries += [login["access_token"]?.string, login["refresh_token"]?.string].compactMap { $0 } + [token]
        let setup = await house.send(.post, "/api/v1/auth/totp/setup").json
        canaries += [setup["secret"]?.string].compactMap { $0 }

        let secrets = [forged, signed, guess, token, login["access_token"]?.string ?? ""]
        let carriers = Self.carriers(of: secrets) + [.none]
        for (number, carrier) in carriers.enumerated() {
            for target in [
                "/api/v1/auth/me", "/api/v1/repositories/none", "/general/files/none", "/v2/none/x/manifests/1", "/npm/js/none", "/v2/token",
            ] {
                said.append(await house.send(.get, target, as: carrier, from: "10.0.0.\(number)").transcript)
            }
        }
        for secret in secrets {
            for target in ["/npm/js/-/user/token/\(secret)", "/nothing/t/\(secret)/x", "/api/v1/nothing/\(secret)", "/general/t/\(secret)/x"] {
                let answer = await house.send(.delete, target, as: .none)
                // Who asked is told what was asked for; the log is not.
                #expect(answer.status >= 400)
            }
            for body: JSON in [
                ["username": "admin", "password": .string(secret)], ["username": .string(secret), "password": "x"],
                ["refresh_token": .string(secret)],
                ["totp_token": .string(secret), "code": .string(secret)], ["password": .array([.string(secret)])],
            ] {
                for target in ["login", "refresh", "logout", "totp/verify", "totp/enroll/setup", "totp/enroll/complete"] {
                    said.append(await house.send(.post, "/api/v1/auth/\(target)", as: .none, json: body, from: "10.1.0.1").transcript)
                }
            }
        }
        said.append(
            await house.send(
                .post, "/api/v1/users/me/password", json: ["current_password": .string(guess), "new_password": .string(fresh)]
            ).transcript)
        said.append(
            await house.remote(
                "up", format: "generic", of: "http://127.0.0.1:9/", [("upstream_username", "u"), ("upstream_password", .string(upstream))]
            ).transcript)
        said.append(await house.send(.get, "/api/v1/repositories/up").transcript)
        said.append(await house.send(.get, "/general/up/a.txt").transcript)
        said.append(await house.send(.get, "/api/v1/admin/metrics").transcript)
        said.append(await house.send(.get, "/api/v1/users/me/tokens").transcript)
        said.append(String(describing: try await house.access.authenticate(.bearer(token))))

        #expect(said.count > 300)
        for canary in canaries where !canary.isEmpty {
            #expect(said.filter { $0.contains(canary) } == [], "an answer holds a secret")
            #expect(lines.all.withLock { $0.filter { $0.contains(canary) } } == [], "a log line holds a secret")
        }
    }

    private static func carriers(of secrets: [String]) -> [Credential] {
        secrets.flatMap { secret -> [Credential] in
            [
                .bearer(secret), .password("admin", secret), .fields([("Authorization", secret)]), .fields([("Authorization", "Token \(secret)")]),
                .fields([("Authorization", "ApiKey \(secret)")]), .fields([("Authorization", "Digest \(secret)")]), .fields([("X-API-Key", secret)]),
                .fields([("X-NuGet-ApiKey", secret)]), .fields([("Cookie", "granary_access_token=\(secret)")]),
                .bearer(Base64.encode(Array("admin:\(secret)".utf8))),
            ]
        }
    }

    /// Everything that was logged, rendered.
    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
        var logger: Logger {
            Logger(label: "canary") { _ in Book(lines: self) }
        }

        struct Book: LogHandler {
            let lines: Lines
            var metadata: Logger.Metadata = [:]
            var logLevel = Logger.Level.trace
            init(lines: Lines) { self.lines = lines }
            subscript(metadataKey key: String) -> Logger.Metadata.Value? {
                get { metadata[key] }
                set { metadata[key] = newValue }
            }
            func log(event: LogEvent) {
                lines.all.withLock { $0.append("\(event.message) \(metadata) \(event.metadata ?? [:])") }
            }
        }
    }
}
