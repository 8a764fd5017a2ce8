import BuiltIn
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Synchronization
import TestHouse
import Testing

@testable import AdminAPI
@testable import Registry

@Suite("access matrix", .timeLimit(.minutes(10))) struct MatrixTests {
    // MARK: Every route has its row

    @Test("every route of every format says who may use it, and has an example that reaches it")
    func formats() throws {
        var missing: [String] = []
        var reached: Set<String> = []
        for frontend in BuiltIn.frontends {
            let name = frontend.format.name
            for route in frontend.routes {
                for method in route.methods where method != .head || !route.methods.contains(.get) {
                    guard let row = Rows.all.first(where: { $0.format == name && $0.method == method && $0.pattern == route.pattern.text }) else {
                        missing.append("\(name) \(method) \(route.pattern) has no row")
                        continue
                    }
                    reached.insert(row.description)
                    if row.isRead, row.hasHead != route.methods.contains(.head) { missing.append("\(row): HEAD is another matter") }
                    let found = try Self.route(row, of: frontend)
                    if found?.pattern != route.pattern { missing.append("\(row): the example reaches \(found?.pattern.text ?? "nothing")") }
                }
            }
        }
        #expect(missing == [])
        #expect(Rows.all.filter { $0.format != "rest" && !reached.contains($0.description) }.map(\.description) == [])
    }

    private static func route(_ row: Row, of frontend: any Frontend) throws -> Route? {
        let target = row.target.replacing("{r}", with: "key").replacing("{blob}", with: Publication.digest.description)
        let head = try RequestHead(method: row.method, target: target, fields: [:], requestID: "", peer: "", isSecure: true)
        let path = head.path.dropping(1)
        let table = RouteTable(frontend)
        if case .found(let route, _) = table.find(path, row.method) { return route }
        guard case .found(let route, _) = table.find(path.dropping(1), row.method, of: RepositoryKey("key")) else { return nil }
        return route
    }

    @Test("every endpoint of the REST API says who may use it, and has an example that reaches it")
    func endpoints() async throws {
        let house = try await House()
        let api = AdminAPI(registry: house.registry, counters: house.counters, metrics: Metrics(), options: .init(version: "", detailedHealth: false))
        let rows = Rows.all.filter { $0.format == "rest" }
        let served = api.endpoints.map { "rest \($0.method) \($0.path)" }
        #expect(Set(served).subtracting(rows.map(\.description)).sorted() == [])
        #expect(Set(rows.map(\.description)).subtracting(served).sorted() == [])
        for row in rows {
            let target = row.target.replacing("{r}", with: "key").replacing("{", with: "").replacing("}", with: "")
            let head = try RequestHead(method: row.method, target: target, fields: [:], requestID: "", peer: "", isSecure: true)
            let found = api.endpoints.first { $0.method == row.method && $0.pattern.match(head.path, in: nil) != nil }
            #expect(found?.path == row.pattern, "\(row)")
        }
    }

    @Test("only what a client may do again is deleted with less than the right to delete")
    func deletions() {
        let lesser = Rows.all.filter { $0.method == .delete && ![.delete, .purge, .remove, .manage].contains($0.needs) && $0.format != "rest" }
        #expect(
            lesser.map(\.description) == [
                // One's own token, given back.
                "npm DELETE {repository}/-/user/token/{token}",
                // A pointer that whoever publishes may point elsewhere.
                "npm DELETE -/package/{package+}/dist-tags/{tag}",
                // An upload of one's own that nobody has seen.
                "oci DELETE {image*}/blobs/uploads/{upload}",
                // Takes a mark away, no bytes.
                "pypi DELETE {project}/{version}/yank",
            ])
    }

    @Test("an account whose password must change is served nothing but the change, on every route")
    func mustChange() async throws {
        let stage = try await Stage()
        let asker = Asker(stage)
        let tardy = Principal(name: "tardy", rule: "keeper", credential: .user("tardy"))
        var served: Set<String> = []
        for cell in Cell.all(of: [tardy]) where cell.row.needs != .open && !cell.row.consumes {
            let answer = await asker.send(cell, cell.key, stage.names)
            if ![403, 404, 428].contains(answer.status) { served.insert("\(cell.row) \(answer.status)") }
            #expect(answer.status != 404 || cell.row.format != "rest", "\(cell.words)")
        }
        #expect(
            served.sorted() == [
                // Who one is, and a list of nothing.
                "npm GET {repository}/-/ping 200", "npm GET {repository}/-/whoami 200", "npm PUT {repository}/-/user/{user} 400", "oci GET / 200",
                "oci GET /_catalog[/] 200",
                "rest GET /api/v1/auth/me 200", "rest POST /api/v1/users/me/password 400",
            ])
        await stage.close()
    }

    // MARK: The matrix

    @Test("every route, asked by everybody, of every kind of repository, is served, refused or absent as the rules say")
    func matrix() async throws {
        let stage = try await Stage()
        let unknown = stage.principals.map(\.rule).filter { !Rules.names.contains($0) }
        #expect(unknown == [])
        #expect(Rules.names.subtracting(stage.principals.map(\.rule)) == [])
        let cells = Cell.all(of: stage.principals)

        // Refusals first: none of them may leave a trace in the catalog.
        let asker = Asker(stage)
        let before = try await stage.house.catalog.head()
        var wrong = try await asker.ask(cells.filter { $0.expected != .served && $0.row.needs != .open })
        #expect(try await stage.house.catalog.head() == before, "a refused request changed something")
        let served = cells.filter { $0.expected == .served || $0.row.needs == .open }
        for phase in [served.filter(\.row.isRead), served.filter { !$0.row.isRead && !$0.row.consumes }, served.filter(\.row.consumes)] {
            wrong += try await asker.ask(phase)
        }
        print("access matrix: \(cells.count) cells, \(Rows.all.count) routes, \(stage.principals.count) principals, \(wrong.count) wrong verdicts")
        let shown = wrong.sorted().prefix(60).joined(separator: "\n")
        #expect(wrong.count == 0, "\(shown)")
        await stage.close()
    }
}

/// One request of the matrix, and what must come of it.
struct Cell: Sendable {
    let row: Row
    let method: HTTPRequest.Method
    let principal: Principal
    let format: String
    let kind: String
    let visibility: Visibility
    let expected: Verdict

    static func all(of principals: [Principal]) -> [Cell] {
        var cells: [Cell] = []
        for row in Rows.all {
            let surface: Surface = row.format == "oci" ? .tokens : .other
            let isOfRepository = row.needs.rawValue < Need.open.rawValue || row.needs == .package || row.needs == .erase
            let formats = row.format == "rest" ? row.formats : [row.format]
            for format in formats {
                for kind in isOfRepository ? row.kinds : ["local"] {
                    for visibility in isOfRepository ? Visibility.allCases : [.secret] {
                        for principal in principals {
                            // Docker's mount takes the field Authorization: who comes with a cookie or a key is nobody there.
                            let rule = surface == .tokens && !principal.credential.isAuthorization ? "nobody" : principal.rule
                            let question = Question(
                                need: row.needs, visibility: visibility, surface: surface, account: row.account, isRead: row.isRead,
                                about: row.about)
                            guard var expected = Rules.verdict(rule, question) else { continue }
                            // A token that may all that its owner may is still none who logged in.
                            if row.needs == .person, expected == .served, principal.name.contains("'s token") { expected = .forbidden }
                            for method in row.isRead && row.hasHead ? [HTTPRequest.Method.get, .head] : [row.method] {
                                cells.append(
                                    Cell(
                                        row: row, method: method, principal: principal, format: format, kind: kind, visibility: visibility,
                                        expected: expected))
                            }
                        }
                    }
                }
            }
        }
        return cells
    }

    var key: String { Stage.key(format, kind, visibility) }
    var words: String { "\(row) [\(method)] by \(principal), \(key): expected \(expected)" }
}
