import Core
import HTTPTypes
import Parsing
import Synchronization
import TestHouse

/// Asks a house, and says what the answers amount to.
struct Asker: Sendable {
    let stage: Stage
    private let made = Counter()
    init(_ stage: Stage) { self.stage = stage }

    final class Counter: Sendable {
        private let count = Mutex(0)
        func next() -> Int {
            count.withLock { count in
                count += 1
                return count
            }
        }
    }

    /// - Returns: a line for each wrong verdict.
    func ask(_ cells: [Cell]) async throws -> [String] {
        let lanes = 4
        return try await withThrowingTaskGroup(of: [String].self) { group in
            for lane in 0..<lanes {
                group.addTask {
                    var wrong: [String] = []
                    for index in stride(from: lane, to: cells.count, by: lanes) {
                        if let line = try await self.ask(cells[index]) { wrong.append(line) }
                    }
                    return wrong
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
    }

    private func ask(_ cell: Cell) async throws -> String? {
        var key = cell.key
        var names = stage.names
        if cell.row.consumes, cell.expected == .served {
            key = "throwaway-\(made.next())"
            if cell.row.target.contains("{token}") {
                let made = await stage.house.send(
                    .post, "/api/v1/users/\(names["user"] ?? "")/tokens", json: ["name": "t", "scopes": ["read:artifacts"]])
                names["token"] = made.json["id"]?.string
            } else if cell.row.target.contains("{victim}") {
                names["victim"] = await stage.house.user(key)
            } else {
                try await stage.throwaway(key, cell.visibility)
            }
        } else {
            names["victim"] = names["user"]
        }
        let answer = await send(cell, key, names)
        if cell.row.needs == .open {
            let anonymous = await send(cell, key, names, as: Credential.none)
            return answer.status == anonymous.status ? nil : "\(cell.words), anonymous gets \(anonymous.status), they \(answer.status)"
        }
        if let line = await judged(cell, key, names, answer) { return line }
        // Once more: what is remembered, and what memory answers, is given to nobody else.
        guard cell.row.isRead else { return nil }
        let again = await send(cell, key, names)
        return again.status == answer.status || again.status == 429 ? nil : "\(cell.words): first \(answer.status), then \(again.status)"
    }

    private func judged(_ cell: Cell, _ key: String, _ names: [String: String], _ answer: Answer) async -> String? {
        let verdict = await self.verdict(cell, key, names, answer)
        guard verdict == cell.expected else { return "\(cell.words), got \(verdict): \(answer.status) \(answer.text.prefix(200))" }
        guard answer.status != 500 else { return "\(cell.words): \(answer.text.prefix(200))" }
        // The example must be a real one: an administrator of a repository that has everything gets it.
        guard cell.principal.rule == "administrator", cell.format != "oci" || cell.principal.credential.isAuthorization, cell.row.isRead,
            cell.kind != "remote", !cell.row.isMissing, cell.row.needs != .foreign else {
            return nil
        }
        return answer.status == 200 ? nil : "\(cell.words): there is nothing at the example, \(answer.status) \(answer.text.prefix(200))"
    }

    private func verdict(_ cell: Cell, _ key: String, _ names: [String: String], _ answer: Answer) async -> Verdict {
        switch answer.status {
        // 429: after some wrong passwords the next ones are not even heard.
        case 401, 429: return .unauthenticated
        case 403: return .forbidden
        case 404:
            guard let absent = await absence(cell, key, names) else { return .served }
            return absent == answer.transcript ? .absent : .served
        default: return .served
        }
    }

    /// What they get who ask for what does not exist, in the name of what was asked for; nil for a route about nothing in particular.
    func absence(_ cell: Cell, _ key: String, _ names: [String: String]) async -> String? {
        var other = names
        var replaced: [(String, String)] = [("absent-\(key)", key)]
        for (brace, name) in [
            ("rid", "\(key) rid"), ("package", "\(key) package"), ("signer", "\(key) signer"), ("user", "user"), ("session", "session"),
            ("group", "group"),
        ]
        where cell.row.target.contains("{\(brace)}") {
            guard let id = names[name] else { continue }
            other[name] = Stage.nothing
            replaced.append((Stage.nothing, id))
        }
        guard cell.row.target.contains("{r}") || cell.row.body.contains("{r}") || replaced.count > 1 else { return nil }
        // By the name of the key all its ids are found; what does not exist keeps those that were not asked for.
        for brace in ["rid", "package", "signer"] { other["absent-\(key) \(brace)"] = other["\(key) \(brace)"] }
        let answer = await send(cell, "absent-\(key)", other)
        return replaced.reduce(answer.transcript) { $0.replacing($1.0, with: $1.1) }
    }

    func send(_ cell: Cell, _ key: String, _ names: [String: String], as who: Credential? = nil) async -> Answer {
        // Each login with a wrong password comes from elsewhere, so that all of them are heard.
        let number = made.next()
        let address = cell.row.needs == .open ? "10.\(number >> 16 & 255).\(number >> 8 & 255).\(number & 255)" : cell.principal.address
        var target = Asker.filled(cell.row.target, key, names)
        var credential = who ?? cell.principal.byRepository[cell.key] ?? cell.principal.credential
        if cell.principal.hasTicket, who == nil {
            target = await ticketed(target, for: credential)
            credential = .none
        }
        return await stage.house.send(
            cell.method, target, as: credential, [("Content-Type", cell.row.type)],
            body: Array(Asker.filled(cell.row.body, key, names).utf8), from: address)
    }

    /// The same with a ticket for it.
    private func ticketed(_ target: String, for maker: Credential) async -> String {
        let path = String(target.prefix { $0 != "?" })
        let made = await stage.house.send(
            .post, "/api/v1/auth/ticket", as: maker, json: ["purpose": "download", "resource_path": .string(path)])
        return "\(target)\(target.contains("?") ? "&" : "?")ticket=\(made.json["ticket"]?.string ?? "")"
    }

    static func filled(_ text: String, _ key: String, _ names: [String: String]) -> String {
        guard text.contains("{") else { return text }
        var text = text.replacing("{r}", with: key)
        for brace in ["rid", "package", "signer"] { text = text.replacing("{\(brace)}", with: names["\(key) \(brace)"] ?? Stage.nothing) }
        for brace in ["uuid", "blob", "user", "victim", "session", "group", "token"] {
            text = text.replacing("{\(brace)}", with: names[brace] ?? Stage.nothing)
        }
        return text
    }
}
