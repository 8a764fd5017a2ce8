import Catalog
import Core
import HTTPTypes
import TestHouse
import Testing

/// Another spelling of a request gets what the request gets, or is no request at all.
@Suite("variants of a request", .timeLimit(.minutes(10))) struct VariantTests {
    /// The target spelled otherwise.
    struct Mutator: Sendable {
        let name: String
        let spell: @Sendable (_ target: String, _ key: String, _ open: String) -> String
        init(_ name: String, _ spell: @escaping @Sendable (_ target: String, _ key: String, _ open: String) -> String) {
            self.name = name
            self.spell = spell
        }
    }

    private static func encoded(_ text: some StringProtocol) -> String {
        text.utf8.map { "%" + String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
    private static func path(_ target: String, _ change: (String) -> String) -> String {
        let parts = target.split(separator: "?", maxSplits: 1).map(String.init)
        return ([change(parts[0])] + parts.dropFirst()).joined(separator: "?")
    }

    static let mutators: [Mutator] = [
        Mutator("a letter of the key encoded") { target, key, _ in target.replacing(key, with: encoded(key.prefix(1)) + key.dropFirst()) },
        Mutator("the key encoded") { target, key, _ in target.replacing(key, with: encoded(key)) },
        Mutator("the key encoded twice") { target, key, _ in target.replacing(key, with: encoded(key).replacing("%", with: "%25")) },
        Mutator("a letter of the mount encoded") { target, _, _ in "/" + encoded(target.dropFirst().prefix(1)) + target.dropFirst(2) },
        Mutator("the slash before the key encoded") { target, key, _ in target.replacing("/\(key)", with: "%2f\(key)") },
        Mutator("the slash after the key encoded") { target, key, _ in target.replacing("\(key)/", with: "\(key)%2F") },
        Mutator("all slashes encoded") { target, _, _ in "/" + target.dropFirst().replacing("/", with: "%2f") },
        Mutator("two slashes first") { target, _, _ in "/" + target },
        Mutator("two slashes before the key") { target, key, _ in target.replacing("/\(key)", with: "//\(key)") },
        Mutator("two slashes after the key") { target, key, _ in target.replacing("\(key)/", with: "\(key)//") },
        Mutator("a slash more at the end") { target, _, _ in path(target) { $0 + "/" } },
        Mutator("no slash at the end") { target, _, _ in path(target) { $0.hasSuffix("/") ? String($0.dropLast()) : $0 + "//" } },
        Mutator("a dot segment") { target, key, _ in target.replacing("/\(key)", with: "/./\(key)") },
        Mutator("an encoded dot segment") { target, key, _ in target.replacing("/\(key)", with: "/%2e/\(key)") },
        Mutator("by way of a public repository") { target, key, open in target.replacing("/\(key)", with: "/\(open)/../\(key)") },
        Mutator("the same, dots encoded") { target, key, open in target.replacing("/\(key)", with: "/\(open)/%2e%2e/\(key)") },
        Mutator("the same, slashes encoded") { target, key, open in target.replacing("/\(key)", with: "/\(open)%2f..%2f\(key)") },
        Mutator("the same, backslashes") { target, key, open in target.replacing("/\(key)", with: "/\(open)\\..\\\(key)") },
        Mutator("by way of nothing, with a parameter") { target, key, _ in target.replacing("/\(key)", with: "/nothing/..;/\(key)") },
        Mutator("by way of health") { target, _, _ in "/health/.." + target },
        Mutator("by way of the API") { target, _, _ in "/api/v1/auth/login/../../../.." + target },
        Mutator("by way of docker's base") { target, _, _ in "/v2/%2e%2e" + target },
        Mutator("the key in capitals") { target, key, _ in target.replacing(key, with: key.uppercased()) },
        Mutator("the mount in capitals") { target, key, _ in
            target.replacing(key, with: "{}").uppercased().replacing("{}", with: key)
        },
        Mutator("a parameter behind the key") { target, key, _ in target.replacing(key, with: "\(key);x") },
        Mutator("a parameter at the end") { target, _, _ in path(target) { $0 + ";jsessionid=1" } },
        Mutator("a public suffix") { target, _, _ in path(target) { $0 + ";.css" } },
        Mutator("NUL behind the key") { target, key, _ in target.replacing(key, with: "\(key)%00") },
        Mutator("NUL at the end") { target, _, _ in path(target) { $0 + "%00" } },
        Mutator("a space behind the key") { target, key, _ in target.replacing(key, with: "\(key)%20") },
        Mutator("a dot behind the key") { target, key, _ in target.replacing(key, with: "\(key).") },
        Mutator("an overlong slash") { target, key, _ in target.replacing("/\(key)", with: "%c0%af\(key)") },
        Mutator("an overlong dot") { target, key, open in target.replacing("/\(key)", with: "/\(open)/%c0%ae%c0%ae/\(key)") },
        Mutator("a wide letter") { target, key, _ in target.replacing(key, with: "%ef%bd%8e" + key.dropFirst()) },
        Mutator("a combining mark") { target, key, _ in target.replacing(key, with: "\(key)%cc%81") },
        Mutator("a fragment") { target, _, _ in target + "#x" },
        Mutator("an absolute URL") { target, _, _ in "http://localhost" + target },
        Mutator("another method in the query") { target, _, _ in target + (target.contains("?") ? "&" : "?") + "_method=GET&method=GET" },
    ]

    /// Fields that proxies and frameworks have believed.
    static let fields: [[(String, String)]] =
        ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"].flatMap { name in ["GET", "DELETE", "PUT"].map { [(name, $0)] } } + [
            [("X-Original-URL", "/health")], [("X-Rewrite-URL", "/health")], [("X-Forwarded-Prefix", "/health")], [("X-Forwarded-Uri", "/health")],
            [("X-Remote-User", "admin")], [("X-Forwarded-User", "admin")], [("Remote-User", "admin")], [("X-WEBAUTH-USER", "admin")],
            [("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1")], [("Forwarded", "for=127.0.0.1;by=_hidden")],
            [("Host", "localhost"), ("X-Forwarded-Host", "localhost")], [("X-User", "admin"), ("X-Is-Admin", "true"), ("X-Roles", "admin")],
        ]

    /// Who is refused what: nobody and a stranger everything of a private repository, a reader every change of a public one.
    private static func refused(_ stage: Stage) -> [Cell] {
        let names = ["nobody", "no rights", "reader", "admin's token read:artifacts", "docker pull"]
        return Cell.all(of: stage.principals.filter { names.contains($0.name) }).filter { cell in
            cell.kind == "local" && cell.expected != .served && cell.row.needs != .open
                && (cell.principal.name == "nobody" || cell.principal.name == "no rights" ? cell.visibility == .secret : cell.visibility == .open)
                && (cell.row.target.contains("{r}") || cell.row.needs.rawValue > Need.open.rawValue)
        }
    }

    @Test("another spelling of the path gets the same refusal, or is no request at all")
    func spellings() async throws {
        let stage = try await Stage()
        let asker = Asker(stage)
        let before = try await stage.house.catalog.head()
        var more: [String] = []
        var asked = 0
        for cell in Self.refused(stage) {
            let canonical = await asker.send(cell, cell.key, stage.names).status
            let target = Asker.filled(cell.row.target, cell.key, stage.names)
            for mutator in Self.mutators {
                let spelled = mutator.spell(target, cell.key, Stage.key(cell.format, "local", .open))
                guard spelled != target else { continue }
                asked += 1
                let answer = await stage.house.send(
                    cell.method, spelled, as: cell.principal.credential, [("Content-Type", cell.row.type)],
                    body: Array(Asker.filled(cell.row.body, cell.key, stage.names).utf8))
                if answer.status != canonical, ![400, 404, 405].contains(answer.status) {
                    more.append("\(cell.words), \(mutator.name): \(spelled) got \(answer.status) instead of \(canonical): \(answer.text.prefix(150))")
                }
            }
        }
        #expect(asked > 10_000)
        #expect(more.count == 0, "\(more.count) of \(asked):\n\(more.prefix(30).joined(separator: "\n"))")
        #expect(try await stage.house.catalog.head() == before, "a refused request changed something")
        await stage.close()
    }

    @Test("no field of a request changes its method, its path or who asks")
    func overrides() async throws {
        let stage = try await Stage()
        let asker = Asker(stage)
        let before = try await stage.house.catalog.head()
        var other: [String] = []
        let reading = Cell.all(of: stage.principals.filter { $0.name == "keeper" }).filter {
            $0.kind == "local" && $0.method == .get && $0.expected == .served && $0.row.target.contains("{r}")
        }
        for cell in Self.refused(stage) + reading {
            let canonical = await asker.send(cell, cell.key, stage.names)
            for fields in Self.fields {
                let answer = await stage.house.send(
                    cell.method, Asker.filled(cell.row.target, cell.key, stage.names), as: cell.principal.credential,
                    [("Content-Type", cell.row.type)] + fields, body: Array(Asker.filled(cell.row.body, cell.key, stage.names).utf8))
                if answer.transcript != canonical.transcript {
                    other.append("\(cell.words) with \(fields): \(answer.status), not \(canonical.status)")
                }
            }
        }
        #expect(other.count == 0, "\(other.count):\n\(other.prefix(30).joined(separator: "\n"))")
        #expect(try await stage.house.catalog.head() == before)
        await stage.close()
    }

    @Test("HEAD is answered as GET is, but for the body")
    func heads() async throws {
        let stage = try await Stage()
        let asker = Asker(stage)
        var other: [String] = []
        for cell in Cell.all(of: stage.principals.filter { ["keeper", "nobody", "no rights"].contains($0.name) })
        where cell.method == .head && cell.kind == "local" {
            let get = await stage.house.send(.get, Asker.filled(cell.row.target, cell.key, stage.names), as: cell.principal.credential)
            let head = await asker.send(cell, cell.key, stage.names)
            if get.status != head.status || get.fields != head.fields {
                other.append("\(cell.words): \(get.status) \(get.fields), \(head.status) \(head.fields)")
            }
        }
        #expect(other.count == 0, "\(other.count):\n\(other.prefix(20).joined(separator: "\n"))")
        await stage.close()
    }
}
