import Core
import Dispatch
import HTTPTypes
import Logging
import OrderedStore
import Parsing
import TestHouse
import TestSupport
import Testing

@testable import Access
@testable import Audit

@Suite("audit log") struct AuditTests {
    /// What is kept of a request, in a few words.
    private func kept(_ house: House, after number: Int = 0) async throws -> [String] {
        try await house.store.commit { _ in }
        var query = AuditQuery()
        query.limit = 1_000
        return try await house.audit.find(query).records.reversed().compactMap { record in
            let details = Dictionary(uniqueKeysWithValues: record.details.map { ($0.name, $0.value) })
            guard (Int(details["number"] ?? "") ?? 0) > number else { return nil }
            let words = [
                record.actor, details["credential"], record.action, record.kind, details["subject"],
                details["verdict"] == "allowed" ? "allowed" : details["refusal"],
            ]
            return words.compactMap { $0 }.joined(separator: " ")
        }
    }

    private func count(_ house: House) async throws -> Int {
        try await house.store.commit { _ in }
        return try await Int(clamping: house.audit.head().number)
    }

    @Test("a decision is kept once, with who, what, on what, and why not; reads that are allowed are not") func decisions() async throws {
        let house = try await House()
        await house.repository("files")
        await house.repository("open", isPublic: true)
        let before = try await count(house)
        await house.put("one", at: "a/1/one", in: "files")
        #expect(await house.send(.get, "/api/v1/repositories/files/download/a/1/one").text == "one")
        #expect(await house.send(.get, "/general/files/a/1/one", as: .none).status == 401)
        #expect(await house.send(.put, "/general/open/a/1/one", as: .none, body: Array("x".utf8)).status == 401)
        #expect(await house.send(.get, "/general/files/a/1/one", as: .password("admin", "wrong")).status == 401)
        #expect(await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/one").status < 300)
        #expect(
            try await kept(house, after: before) == [
                "admin password write repository files allowed",
                "anonymous read repository files unauthenticated",
                "anonymous write repository open unauthenticated",
                "anonymous authenticate account admin unauthenticated",
                "admin password delete repository files allowed",
            ])
        let report = try AuditTrail.verify(house.store)
        #expect(report.last == (try await house.audit.head()) && report.first == .start)
    }

    @Test("what was allowed to be written is in the log when the write is acknowledged, and after a restart") func durable() async throws {
        let house = try await House()
        await house.repository("files")
        for number in 1...3 {
            let before = try await house.audit.head().number
            await house.put("text \(number)", at: "a/1/\(number)", in: "files")
            // Not waited for: it went with the write, or before it.
            #expect(try await house.audit.head().number > before)
        }
        let head = try await house.audit.head()
        house.close()
        let again = try await House(in: house.directory, clock: house.clock)
        #expect(try AuditTrail.verify(again.store, expecting: head).last.number >= head.number)
    }

    @Test("with audit_reads every read is kept, also of what memory could answer") func reads() async throws {
        var options = House.Options()
        options.auditReads = true
        let house = try await House(options)
        await house.repository("open", isPublic: true)
        await house.put("one", at: "a/1/one", in: "open")
        let before = try await count(house)
        for _ in 0..<3 { #expect(await house.send(.get, "/general/open/a/1/one", as: .none).text == "one") }
        #expect(try await kept(house, after: before) == Array(repeating: "anonymous read repository open allowed", count: 3))
    }

    @Test("no secret of a request is kept") func secrets() async throws {
        let house = try await House()
        await house.repository("files")
        let token = await house.token(["read:artifacts"])
        await house.send(.get, "/general/none/\(token)?token=\(House.password)", as: .bearer(token))
        await house.send(.get, "/general/files/x", as: .password("admin", "no " + House.password))
        await house.send(.get, "/general/files/x", as: .bearer(token + "0"))
        try await house.store.commit { _ in }
        let text = String(decoding: try AuditTrail.export(house.store, after: nil, limit: .max).lines, as: UTF8.self)
        #expect(text.contains("/general/none/***?token=***"))
        for secret in [token, House.password] { #expect(!text.contains(secret)) }
    }

    @Test("of who claimed to be somebody only an account's name is kept; another text, maybe a password, leaves a mark")
    func names() async throws {
        let house = try await House()
        let before = try await count(house)
        let typed = "my dog's name is hunter2"
        for name in [typed, "hunter2", "ADMIN", typed] {
            await house.send(.get, "/api/v1/auth/me", as: .password(name, "x"), from: "192.0.2.\(name.count)")
        }
        await house.send(.post, "/api/v1/auth/login", as: .none, json: ["username": .string(typed), "password": "x"])
        let names = try await kept(house, after: before).map { $0.split(separator: " ").dropLast().last.map(String.init) ?? "" }
        try #require(names.count == 5)
        #expect(names[2] == "admin")
        #expect(names[0] == names[3] && names[0] == names[4] && names[0] != names[1])
        for name in [names[0], names[1]] { #expect(name.hasPrefix("unknown-") && name.count == 16) }
        #expect(!String(decoding: try AuditTrail.export(house.store, after: nil, limit: .max).lines, as: UTF8.self).contains("hunter2"))
    }

    @Test("an administrator pages through it, exports it, and anybody can check the export; others may not see it") func overREST() async throws {
        let house = try await House()
        await house.repository("files")
        for number in 1...30 { await house.put("\(number)", at: "a/1/\(number)", in: "files", as: number % 3 == 0 ? .none : .admin) }
        let total = try await count(house)
        let page = await house.send(.get, "/api/v1/admin/audit?per_page=7&page=2").json
        #expect(page["items"]?.array?.count == 7 && page["total"]?.int == total && page["page"]?.int == 2)
        #expect(page["items"]?[0]?["details"]?["number"]?.string == "\(total - 7)")
        let allowed = await house.send(.get, "/api/v1/admin/audit?action=write&resource_type=repository&per_page=100").json
        #expect(allowed["total"]?.int == 20 && allowed["items"]?.array?.count == 20)
        let denied = await house.send(.get, "/api/v1/admin/audit?action=act&per_page=3").json
        #expect(denied["total"]?.int == 10 && denied["items"]?[2]?["details"]?["refusal"]?.string == "unauthenticated")
        #expect(await house.send(.get, "/api/v1/admin/audit?from=yesterday").status == 400)
        let head = try #require(AuditLink(await house.send(.get, "/api/v1/admin/audit/head").json["head"]?.string ?? ""))
        var export = AuditExport(expecting: head)
        try export.take(await house.send(.get, "/api/v1/admin/audit/export").body)
        #expect(try export.finish().records >= UInt64(total))
        for target in ["", "/head", "/export"] { #expect(await house.send(.get, "/api/v1/admin/audit" + target, as: .none).status == 401) }
    }

    @Test("while records cannot be written nothing is changed; what failed is written as soon as it can be, and nobody needs to be refused for that")
    func failing() async throws {
        let house = try await House()
        await house.repository("files")
        let head = try await house.audit.head()
        // A head that cannot be read: no record can be appended.
        try await house.store.commit { $0.put([0], [1], in: .audit) }
        #expect(await house.put("1", at: "a/1/1", in: "files").status == 201)
        for _ in 0..<3 { #expect(await house.put("2", at: "a/1/2", in: "files").status == 503) }
        #expect(await house.send(.get, "/general/files/a/1/1").text == "1")
        #expect(await house.send(.get, "/general/files/a/1/1", as: .none).status == 401)
        try await house.store.commit { $0.put([0], head.row, in: .audit) }
        #expect(await house.put("3", at: "a/1/3", in: "files").status == 503)
        try await house.store.commit { _ in }
        #expect(await house.put("4", at: "a/1/4", in: "files").status == 201)
        let allowed = "admin password write repository files allowed"
        #expect(try await kept(house, after: Int(head.number)) == [allowed, "anonymous read repository files unauthenticated", allowed])
        #expect(try AuditTrail.verify(house.store, expecting: head).last.number == head.number + 3)
    }

    @Test(
        "refusals beyond what may wait are counted, and one record tells of them as soon as there is room; what is allowed has its room still",
        arguments: AuditHome.Kind.available)
    func flood(_ kind: AuditHome.Kind) async throws {
        let home = try await AuditHome(kind)
        let (rows, log) = (home.rows, home.log)
        var options = AuditOptions()
        options.pendingMax = 20
        let clock = HouseClock()
        let trail = AuditTrail(in: rows, options: options, world: clock.world, log: log)
        func decision(_ number: Int, refusal: RegistryError.Code?) -> Decision {
            Decision(
                at: clock.now, actor: .anonymous, credential: .none, action: "read", kind: "repository", subject: "r\(number)", refusal: refusal,
                requestID: "request")
        }
        // The committer is held until everything has been asked.
        let gate = DispatchSemaphore(value: 0)
        rows.enqueue(reads: [], isPatient: false, { _ in gate.wait() }, completion: { _ in })
        var lost = 0
        for number in 0..<17 {
            do { try trail.keep(decision(number, refusal: .forbidden)) } catch {
                #expect(error.code == .unavailable)
                lost += 1
            }
            if number == 12 { clock.pass(seconds: 60) }
        }
        #expect(lost == 7 && trail.lostRefusals == 7)
        try trail.keep(decision(100, refusal: nil))
        gate.signal()
        // Written by itself: the second commit comes after the one that made room.
        for _ in 0..<2 { try await rows.commit { _ in } }
        let records = try await trail.find(AuditQuery()).records.reversed().map { record in
            (record.details.first { $0.name == "subject" } ?? record.details.first { $0.name == "detail" })?.value ?? ""
        }
        let since = clock.now.adding(seconds: -60)
        #expect(records == (0..<10).map { "r\($0)" } + ["r100", "7 refusals were not kept since \(since)"])
        #expect(try await home.verify().records == 12)
        try trail.keep(decision(18, refusal: .forbidden))
        #expect(trail.lostRefusals == 7)
        home.close()
    }

    @Test("old records go, from the oldest on, and what is left can still be checked") func trimmed() async throws {
        let house = try await House()
        await house.repository("files")
        for number in 1...5 { await house.put("\(number)", at: "a/1/\(number)", in: "files") }
        let old = try await count(house)
        house.clock.pass(seconds: 401 * 86_400)
        await house.put("new", at: "a/1/new", in: "files")
        try await house.audit.trim()
        let report = try AuditTrail.verify(house.store)
        #expect(report.first.number == UInt64(old) && report.records >= 1)
        var export = AuditExport()
        try export.take(try AuditTrail.export(house.store, after: nil, limit: .max).lines)
        #expect(try export.finish() == report)
        #expect(await house.send(.get, "/api/v1/admin/audit").json["total"]?.int == Int(report.records))
        try await house.audit.trim()
        #expect(try AuditTrail.verify(house.store).first == report.first)
    }
}

/// A home with records and nothing else.
private struct Records {
    let home: AuditHome
    let head: AuditLink
    var rows: any RowStore { home.rows }

    init(_ count: Int, in kind: AuditHome.Kind) async throws {
        home = try await AuditHome(kind)
        let trail = AuditTrail(in: home.rows, world: .real, log: home.log)
        for number in 0..<count {
            try trail.keep(
                Decision(
                    at: World.real.now(), actor: .system, credential: .none, credentialID: nil, action: "write", kind: "repository",
                    subject: "r\(number % 7)", subjectID: nil, detail: nil, refusal: number % 5 == 0 ? .forbidden : nil, asked: nil,
                    requestID: "request \(number)"))
        }
        try await home.rows.commit { _ in }
        head = try await trail.head()
    }
}

@Suite("tampering with the audit log") struct TamperingTests {
    @Test("a changed, removed, doubled, exchanged or invented record is found, each of 300 times", arguments: AuditHome.Kind.available)
    func rows(_ kind: AuditHome.Kind) async throws {
        var random = SeededRandom(seed: SeededRandom.runSeed)
        let records = try await Records(60, in: kind)
        let rows = try await records.home.records()
        #expect(rows.count == 60)
        var missed: [String] = []
        for turn in 0..<300 {
            let at = Int.random(in: 0..<rows.count, using: &random)
            let other = (at + Int.random(in: 1..<rows.count, using: &random)) % rows.count
            var changed = rows
            switch turn % 5 {
            case 0: changed[at].value[Int.random(in: 0..<rows[at].value.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: changed.remove(at: at)
            case 2: changed.swapAt(at, other); (changed[at].key, changed[other].key) = (changed[other].key, changed[at].key)
            case 3: changed[at].value = rows[other].value
            default: changed.append((rows[59].key.dropLast() + [61], rows[at].value))
            }
            let (before, after) = (rows, changed)
            try await records.rows.commit { batch in
                for row in before { batch.delete(row.key, in: .audit) }
                for row in after { batch.put(row.key, row.value, in: .audit) }
            }
            do throws(RegistryError) {
                _ = try await records.home.verify()
                missed.append("turn \(turn) at \(at), \(other)")
            } catch { #expect(error.code == .corrupt) }
            try await records.rows.commit { batch in
                for row in after { batch.delete(row.key, in: .audit) }
                for row in before { batch.put(row.key, row.value, in: .audit) }
            }
        }
        #expect(missed == [])
        #expect(try await records.home.verify(expecting: records.head).records == 60)
    }

    @Test(
        "a changed, removed, exchanged or doubled line of an export is found, each of 1,000 times; of a cut one by who knows where it ended",
        arguments: AuditHome.Kind.available)
    func exports(_ kind: AuditHome.Kind) async throws {
        var random = SeededRandom(seed: SeededRandom.runSeed)
        let records = try await Records(80, in: kind)
        let text = try await records.rows.look { rows throws(RegistryError) in try AuditTrail.export(rows, after: nil, limit: .max).lines }
        let lines = text.split(separator: UInt8(ascii: "\n")).map(Array.init)
        #expect(lines.count == 81)
        func report(_ lines: [[UInt8]], expecting: AuditLink?) throws(RegistryError) -> AuditReport {
            var export = AuditExport(expecting: expecting)
            for line in lines { try export.take(line + [UInt8(ascii: "\n")]) }
            return try export.finish()
        }
        #expect(try report(lines, expecting: records.head).last == records.head)
        var missed: [String] = []
        for turn in 0..<1_000 {
            var changed = lines
            let at = Int.random(in: 1..<lines.count, using: &random)
            let other = 1 + (at - 1 + Int.random(in: 1..<80, using: &random)) % 80
            switch turn % 5 {
            case 0: changed[at][Int.random(in: 0..<lines[at].count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: changed.remove(at: at)
            case 2: changed.swapAt(at, other)
            case 3: changed.insert(lines[at], at: other)
            default: changed.removeLast(81 - at)
            }
            do {
                _ = try report(changed, expecting: records.head)
                missed.append("turn \(turn) at \(at), \(other)")
            } catch {}
        }
        #expect(missed == [])
        // Without that knowledge a log that was cut looks like a shorter one.
        #expect(try report(Array(lines.dropLast()), expecting: nil).records == 79)
    }
}
