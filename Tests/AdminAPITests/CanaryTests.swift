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
    @Test("no password, token, ticket, code or key that was sent comes back in a log line, an error, a metric or the audit log")
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

        canaries += await Self.useTickets(house, token, &said)

        let secrets = [forged, signed, guess, token, login["access_token"]?.string ?? ""]
        let carriers = Self.carriers(of: secrets) + [.none]
        for (number, carrier) in carriers.enumerated() {
            for target in [
                "/api/v1/auth/me", "/api/v1/repositories/none", "/general/files/none", "/v2/none/x/manifests/1", "/npm/js/none", "/v2/token",
            ] {
                said.append(await house.send(.get, target, as: carrier, from: "10.0.0.\(number)").transcript)
            }
        }
        // A password in a path looks like any other word.
        for secret in secrets where secret != guess {
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
                for target in ["login", "refresh", "logout", "totp/verify", "totp/enroll/setup", "totp/enroll/complete", "ticket", "tokens"] {
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
        await Self.auditOfNames(house, guess, &said)

        #expect(said.count > 300)
        for canary in canaries where !canary.isEmpty {
            #expect(said.filter { $0.contains(canary) } == [], "an answer holds a secret")
            #expect(lines.all.withLock { $0.filter { $0.contains(canary) } } == [], "a log line holds a secret")
        }
    }

    /// Good, spent, for another path, never used; and where conda puts its tokens.
    /// - Returns: the tickets.
    private static func useTickets(_ house: House, _ token: String, _ said: inout [String]) async -> [String] {
        await house.put("x", at: "a.txt", in: "files")
        let ticketed: JSON = ["purpose": "download", "resource_path": "/general/files/a.txt"]
        var tickets: [String] = []
        for _ in 0..<3 { tickets.append(await house.send(.post, "/api/v1/auth/ticket", json: ticketed).json["ticket"]?.string ?? "") }
        for target in ["/general/files/a.txt", "/general/files/a.txt", "/general/files/b.txt", "/v2/"] {
            said.append(await house.send(.get, "\(target)?ticket=\(tickets[0])", as: .none).transcript)
        }
        said.append(await house.send(.get, "/general/files/b.txt?a=b&%74icket=\(tickets[1])", as: .none).transcript)
        for target in ["/conda/t/\(token)/main/noarch/repodata.json", "/t/\(token)/files/a.txt", "/general/t/\(token)/files/a.txt"] {
            #expect(await house.send(.get, target, as: .none).status >= 400)
        }
        return tickets
    }

    /// Passwords in the place of a name, in a field and in npm's path; then everything that was decided, which the last change brought to the log.
    private static func auditOfNames(_ house: House, _ guess: String, _ said: inout [String]) async {
        said.append(await house.send(.get, "/general/files/a.txt", as: .password(guess, "x"), from: "10.2.0.1").transcript)
        let login: JSON = ["name": .string(guess), "password": "x"]
        #expect(await house.send(.put, "/npm/js/-/user/org.couchdb.user:\(guess)", as: .none, json: login).status == 401)
        #expect(await house.put("y", at: "z.txt", in: "files").status == 201)
        let audit = await house.send(.get, "/api/v1/admin/audit/export").text
        #expect(audit.contains("\"admin\"") && audit.contains("unknown-") && audit.contains("/org.couchdb.user:***"))
        said.append(audit)
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
