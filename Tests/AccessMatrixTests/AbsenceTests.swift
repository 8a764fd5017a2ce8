import Catalog
import Core
import HTTPTypes
import Parsing
import TestHouse
import Testing

/// A private repository is, to who may not see it, one that does not exist: status, fields and body, on every route. So is one of another format.
@Suite("private equals absent", .timeLimit(.minutes(10))) struct AbsenceTests {
    /// Lines of the table that see nothing of a private repository.
    private static let blind = [
        "nobody", "no rights", "stranger's token", "admin's token bound elsewhere", "admin's token read:users", "admin's token delete:repositories",
        "reader's token to write", "expired token", "nobody's docker token", "docker token for another repository", "developer",
        "administrator of another project", "token of another repository", "ticket of who has no rights",
    ]

    @Test("on every route, whoever asks, whatever kind it is")
    func everywhere() async throws {
        let stage = try await Stage()
        let asker = Asker(stage)
        let blind = stage.principals.filter { Self.blind.contains($0.name) }
        #expect(blind.count == Self.blind.count)
        var asked = 0
        var told: [String] = []
        for cell in Cell.all(of: blind) where cell.visibility == .secret && cell.expected != .served {
            guard let absent = await asker.absence(cell, cell.key, stage.names) else { continue }
            asked += 1
            let answer = await asker.send(cell, cell.key, stage.names).transcript
            if answer != absent { told.append("\(cell.words)\n--- \(answer)\n--- absent: \(absent)") }
        }
        #expect(asked > 3000)
        #expect(told.count == 0, "\(told.count) of \(asked):\n\(told.prefix(8).joined(separator: "\n"))")
        await stage.close()
    }

    @Test("a repository of another format is absent to everybody, administrators included")
    func formats() async throws {
        let stage = try await Stage()
        let asker = Asker(stage)
        var told: [String] = []
        let asking = stage.principals.filter { ["nobody", "no rights", "administrator", "docker push"].contains($0.name) }
        for cell in Cell.all(of: asking) where cell.row.format != "rest" && cell.kind == "local" && cell.row.target.contains("{r}") {
            let foreign = Stage.key(cell.format == "npm" ? "generic" : "npm", "local", cell.visibility)
            guard let absent = await asker.absence(cell, foreign, stage.names) else { continue }
            let answer = await asker.send(cell, foreign, stage.names).transcript
            if answer != absent { told.append("\(cell.words) of \(foreign)\n--- \(answer)\n--- absent: \(absent)") }
        }
        #expect(told.count == 0, "\(told.count):\n\(told.prefix(8).joined(separator: "\n"))")
        await stage.close()
    }

    /// Words that stand for something in our own URLs, in those of other servers, or in rules.
    private static let words = [
        "v2", "api", "npm", "general", "cargo", "system", "default", "latest", "admin", "me", "users", "token", "_catalog", "health", "simple",
        "artifacts", "anonymous", "public", "null",
    ]

    @Test("no name of a repository skips a check", arguments: Stage.formats)
    func magicNames(format: String) async throws {
        let house = try await House()
        await house.user("newcomer")
        for word in Self.words { #expect(await house.repository(word, format: format).status == 200, "\(word)") }
        #expect(await house.repository("-", format: format).status == 400)
        let rows = Rows.all.filter { ($0.format == format || $0.format == "rest" && format == "generic") && $0.target.contains("{r}") }
        #expect(!rows.isEmpty)
        for row in rows {
            for who in [Credential.none, .user("newcomer"), .bearer("granary_feed")] {
                for word in Self.words {
                    func ask(_ key: String) async -> String {
                        let names = ["blob": Publication.digest.description]
                        let answer = await house.send(
                            row.method, Asker.filled(row.target, key, names), as: who, [("Content-Type", row.type)],
                            body: Array(Asker.filled(row.body, key, names).utf8))
                        return answer.transcript
                    }
                    // A row of docker's mount, not of a repository: /v2/_catalog/… is none of its paths.
                    let absent = await ask("absent-\(word)")
                    #expect(await ask(word) == absent.replacing("absent-\(word)", with: word), "\(row) of \(word)")
                }
            }
        }
    }

    @Test("lists, totals, searches and the catalog of images name what may be seen, and nothing else")
    func listings() async throws {
        let stage = try await Stage()
        for principal in stage.principals where principal.isConstant {
            let isOfDocker = principal.rule.hasPrefix("docker")
            let lists: [(target: String, need: Need, keys: [String])] = [
                ("/api/v1/repositories?per_page=100", .list, Stage.keys),
                ("/v2/_catalog?n=1000", .read, principal.credential.isAuthorization ? Stage.keys.filter { $0.hasPrefix("oci-local") } : []),
                ("/api/v1/packages?per_page=100", .read, Stage.keys.filter { $0.hasPrefix("npm-local") || $0.hasPrefix("maven-local") }),
            ]
            for (target, need, keys) in lists where !isOfDocker && principal.rule != "bad credentials" {
                let text = await stage.house.send(.get, target, as: principal.credential).text
                // The catalog is asked name by name, other listings as a whole.
                let about = target.hasPrefix("/v2") ? About.name : .whole
                for key in keys {
                    let visibility = key.hasSuffix("secret") ? Visibility.secret : .open
                    let question = Question(need: need, visibility: visibility, surface: .other, about: about)
                    let mayBeNamed = Rules.verdict(principal.rule, question) == .served
                    #expect(text.contains("\"\(key)") == mayBeNamed, "\(target) by \(principal): \(key)")
                }
                if Rules.verdict(principal.rule, Question(need: need, visibility: .secret, surface: .other, about: about)) != .served {
                    #expect(!text.contains("secret"), "\(target) by \(principal)")
                }
            }
        }
        await stage.close()
    }

    @Test("a private member of a public virtual repository shows in nothing that is served to who may not read it")
    func members() async throws {
        let stage = try await Stage()
        let asker = Asker(stage)
        // The same virtual repository without its member.
        for format in Stage.formats {
            let bare: [(String, JSON)] = [("repo_type", "virtual"), ("member_repos", [["repo_key": .string("\(format)-none")]])]
            await stage.house.repository("\(format)-none", format: format)
            await stage.house.repository("\(format)-virtual-bare", format: format, isPublic: true, bare)
        }
        var told: [String] = []
        let asking = stage.principals.filter { ["nobody", "no rights", "stranger's token"].contains($0.name) }
        for cell in Cell.all(of: asking) where cell.kind == "virtual" && cell.visibility == .open && cell.expected == .served {
            guard cell.row.target.contains("{r}"), cell.row.needs == .read else { continue }
            // Each repository has a key of its own.
            guard !cell.row.target.hasSuffix("gpg-key.asc") else { continue }
            let bare = "\(cell.format)-virtual-bare"
            let without = await asker.send(cell, bare, stage.names).transcript.replacing(bare, with: cell.key)
            let answer = await asker.send(cell, cell.key, stage.names).transcript
            if answer != without { told.append("\(cell.words)\n--- \(answer)\n--- without the member: \(without)") }
        }
        #expect(told.count == 0, "\(told.count):\n\(told.prefix(8).joined(separator: "\n"))")
        await stage.close()
    }
}
