import Access
import Catalog
import Core
import HTTPTypes
import Logging
import NIOCore
import Outbound
import Parsing
import Registry
import Server
import Synchronization
import TestHouse
import TestSupport
import Testing

/// Houses that share a database, as nodes do.
struct NodeHouses {
    private static let made = Atomic(0)

    let address: String
    let clock = HouseClock()
    let houses: [House]
    let bucket: TemporaryDirectory

    init(_ count: Int = 2, _ change: (inout House.Options) -> Void = { _ in }) async throws {
        let number = NodeHouses.made.add(1, ordering: .relaxed).newValue
        address = try await PostgresCluster.shared().database("nodes\(number)")
        var options = House.Options()
        options.database = address
        bucket = try TemporaryDirectory()
        options.bucket = bucket.path
        change(&options)
        // All at once, as a cluster is started.
        let (start, clock) = (options, clock)
        houses = try await withThrowingTaskGroup(of: House.self) { group in
            for _ in 0..<count {
                var own = start
                own.identity = World.real.newID()
                let options = own
                group.addTask { try await House(options, clock: clock) }
            }
            var houses: [House] = []
            for try await house in group { houses.append(house) }
            return houses
        }
    }

    subscript(_ node: Int) -> House { houses[node] }
}

@Suite("several nodes", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason))) struct NodesTests {
    @Test("a token that one node revoked is refused by the other at the next request, however often it was good") func revocation() async throws {
        let nodes = try await NodeHouses()
        for round in 0..<10 {
            let (here, there) = (nodes[round % 2], nodes[1 - round % 2])
            let made = await here.send(
                .post, "/api/v1/auth/tokens", json: ["name": .string("ci \(round)"), "scopes": .array([.string("read:artifacts")])]
            ).json
            let (id, token) = (made["id"]?.string ?? "", made["token"]?.string ?? "")
            for _ in 0..<3 { #expect(await there.send(.get, "/api/v1/repositories", as: .bearer(token)).status == 200) }
            #expect(await here.send(.delete, "/api/v1/auth/tokens/\(id)").status < 300)
            #expect(await there.send(.get, "/api/v1/repositories", as: .bearer(token)).status == 401)
        }
    }

    @Test("what one node changed of rights, groups, passwords and repositories holds at the next request of the other") func rights() async throws {
        let nodes = try await NodeHouses()
        let (here, there) = (nodes[0], nodes[1])
        await here.repository("files")
        let user = await here.user("bob")
        let path = "/api/v1/repositories/files/artifacts"
        func statusThere() async -> Int { await there.send(.get, path, as: .user("bob")).status }
        #expect(await statusThere() == 404)
        let grant = await here.grant(["read"], on: "files", to: user).json["id"]?.string ?? ""
        #expect(await statusThere() == 200)
        #expect(await here.send(.delete, "/api/v1/permissions/\(grant)").status < 300)
        #expect(await statusThere() == 404)
        #expect(await here.send(.patch, "/api/v1/repositories/files", json: ["is_public": true]).status == 200)
        #expect(await statusThere() == 200)
        #expect(await there.send(.get, "/api/v1/repositories/files").json["is_public"]?.bool == true)
        #expect(await here.send(.delete, "/api/v1/repositories/files").status < 300)
        #expect(await statusThere() == 404)
        let new = "another long enough phrase"
        #expect(
            await here.send(
                .post, "/api/v1/users/me/password", as: .user("bob"),
                json: ["current_password": .string(House.password), "new_password": .string(new)]
            ).status < 300)
        #expect(await there.send(.get, "/api/v1/auth/me", as: .user("bob")).status == 401)
        #expect(await there.send(.get, "/api/v1/auth/me", as: .password("bob", new)).status == 200)
    }

    @Test("what one node stored, listed, rendered or deleted, the other gives, lists, renders and lacks at once") func reading() async throws {
        let nodes = try await NodeHouses(3)
        await nodes[0].repository("files", isPublic: true)
        await nodes[0].repository("npm", format: "npm", isPublic: true)
        for round in 0..<12 {
            let (here, there, third) = (nodes[round % 3], nodes[(round + 1) % 3], nodes[(round + 2) % 3])
            let text = "text \(round / 2)"
            #expect(await here.put(text, at: "a/1/\(round)", in: "files").status == 201)
            #expect(await there.send(.get, "/general/files/a/1/\(round)", as: .none).text == text)
            #expect(await third.send(.get, "/api/v1/repositories/files/artifacts?per_page=100").json["items"]?.array?.count == round + 1)
        }
        for (number, call) in Publication.of("npm", in: "npm").enumerated() {
            #expect(await nodes[number].send(call.method, call.target, [("Content-Type", call.type)], body: call.body).status < 300)
            for house in nodes.houses {
                let page = await house.send(.get, "/npm/npm/tool", as: .none).json
                #expect(page["versions"]?.object?.members.count == number + 1)
            }
        }
        #expect(await nodes[1].send(.delete, "/api/v1/repositories/files/artifacts/a/1/3").status < 300)
        for house in nodes.houses { #expect(await house.send(.get, "/general/files/a/1/3", as: .none).status == 404) }
    }

    @Test("downloads and totals that all nodes count are right in the end, and the same everywhere") func counting() async throws {
        let nodes = try await NodeHouses(3)
        await nodes[0].repository("files", isPublic: true)
        for number in 0..<9 { await nodes[number % 3].put("0123456789", at: "a/1/\(number)", in: "files") }
        for round in 0..<30 { #expect(await nodes[round % 3].send(.get, "/general/files/a/1/\(round % 2)", as: .none).status == 200) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for house in nodes.houses { group.addTask { try await house.registry.downloads.flush() } }
            try await group.waitForAll()
        }
        for house in nodes.houses { #expect(try await house.registry.downloads.total() == 30) }
        await nodes[1].send(.delete, "/api/v1/repositories/files/artifacts/a/1/8")
        let wanted = StorageCounters.Totals(assets: 8, bytes: 80, uploads: 9, deletions: 1)
        // All follow at once: whoever is late begins anew from what the other wrote.
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for house in nodes.houses { group.addTask { try await house.followLog { house.counters.current == wanted } } }
            for try await isDone in group { #expect(isDone) }
        }
    }

    @Test("a session goes on at any node, and a refresh token that comes back at another ends it everywhere") func sessions() async throws {
        let nodes = try await NodeHouses()
        let login = await nodes[0].send(
            .post, "/api/v1/auth/login", as: .none, json: ["username": "admin", "password": .string(House.password)]
        ).json
        var (access, refresh) = (login["access_token"]?.string ?? "", login["refresh_token"]?.string ?? "")
        let first = refresh
        for round in 0..<6 {
            let house = nodes[round % 2]
            #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(access)).status == 200)
            let next = await house.send(.post, "/api/v1/auth/refresh", as: .none, json: ["refresh_token": .string(refresh)]).json
            (access, refresh) = (next["access_token"]?.string ?? "", next["refresh_token"]?.string ?? "")
        }
        for house in nodes.houses { #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(access)).status == 200) }
        #expect(await nodes[1].send(.post, "/api/v1/auth/refresh", as: .none, json: ["refresh_token": .string(first)]).status == 401)
        for house in nodes.houses { #expect(await house.send(.get, "/api/v1/auth/me", as: .bearer(access)).status == 401) }
    }

    @Test("nodes that start at once make one password, and the lock ends on all when one is set up") func setUp() async throws {
        let nodes = try await NodeHouses(3) { $0.adminPassword = nil }
        let passwords = nodes.houses.compactMap { $0.directory.firstLine(of: "admin.password") }
        #expect(passwords.count == 1)
        let once = try #require(passwords.first)
        for house in nodes.houses {
            #expect(house.access.setupRequired)
            #expect(await house.send(.get, "/api/v1/repositories", as: .password("admin", once)).status == 403)
        }
        #expect(
            await nodes[0].send(
                .post, "/api/v1/users/me/password", as: .password("admin", once),
                json: ["current_password": .string(once), "new_password": .string(House.password)]
            ).status < 300)
        for house in nodes.houses {
            #expect(await house.send(.get, "/api/v1/repositories").status == 200)
            #expect(!house.access.setupRequired && house.directory.firstLine(of: "admin.password") == nil)
        }
    }

    @Test("many questions at once are answered as of their time, while another node changes things all the time") func crowd() async throws {
        let nodes = try await NodeHouses()
        let (here, there) = (nodes[0], nodes[1])
        await here.repository("one")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for reader in 0..<8 {
                group.addTask {
                    // Each makes what it then looks for at the other node.
                    for round in 0..<10 {
                        let key = "r\(reader)-\(round)"
                        let made = await here.repository(key)
                        #expect(made.status < 300, "\(made.text)")
                        let seen = await there.send(.get, "/api/v1/repositories/\(key)")
                        #expect(seen.status == 200, "\(seen.text)")
                        let deleted = await here.send(.delete, "/api/v1/repositories/\(key)")
                        #expect(deleted.status < 300, "\(deleted.text)")
                        let gone = await there.send(.get, "/api/v1/repositories/\(key)")
                        #expect(gone.status == 404, "\(gone.text)")
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    @Test("downloads asked for again and again are answered as of their time, whatever other nodes change") func downloads() async throws {
        let race = DownloadRace(try await NodeHouses(3))
        await withTaskGroup(of: Void.self) { readers in
            for reader in 0..<6 { readers.addTask { await race.read(reader) } }
            await withTaskGroup(of: Void.self) { writers in
                for writer in 0..<DownloadRace.writers { writers.addTask { await race.write(writer) } }
            }
            race.isOver.store(true, ordering: .relaxed)
        }
    }

    @Test("a download that a node has given before asks the database once, and sees what became of its repository") func warm() async throws {
        let proxy = try await PostgresProxy(to: PostgresCluster.shared().socketDirectory)
        let through = try proxy.address(of: "")
        let nodes = try await NodeHouses { $0.database = through + ($0.database?.split(separator: "=").last ?? "") }
        let (here, there) = (nodes[0], nodes[1])
        await here.repository("files", isPublic: true)
        #expect(await here.send(.put, "/general/files/a/1/file", body: [1]).status == 201)
        for house in nodes.houses {
            // Until its own disk has noted the bytes, which waits for others to note.
            var journeys = Int.max
            for _ in 0..<100_000 where journeys > 1 {
                let before = proxy.journeys
                #expect(await house.send(.get, "/general/files/a/1/file", as: .none).status == 200)
                journeys = proxy.journeys - before
            }
            #expect(journeys == 1)
        }
        #expect(await here.send(.patch, "/api/v1/repositories/files", json: ["is_public": false]).status == 200)
        #expect(await there.send(.get, "/general/files/a/1/file", as: .none).status == 401)
        #expect(await there.send(.get, "/general/files/a/1/file").status == 200)
        #expect(await there.send(.delete, "/api/v1/repositories/files").status < 300)
        for house in nodes.houses { #expect(await house.send(.get, "/general/files/a/1/file").status == 404) }
    }

    @Test("a lease is one node's until it gives it back, or its time is over without a sign of it") func leases() async throws {
        let nodes = try await NodeHouses()
        let (mine, theirs) = (nodes[0].registry.leases, nodes[1].registry.leases)
        let turns = Mutex<[String]>([])
        let ran = try await mine.holding("work") { () async throws(RegistryError) -> Int? in
            turns.withLock { $0.append("mine") }
            return try await theirs.holding("work") { () async throws(RegistryError) -> Int in
                turns.withLock { $0.append("theirs") }
                return 1
            }
        }
        #expect(ran == .some(nil))
        #expect(try await theirs.holding("work") { () async throws(RegistryError) in 2 } == 2)
        let late = try await mine.holding("work") { () async throws(RegistryError) -> Int? in
            nodes.clock.pass(seconds: 61)
            return try await theirs.holding("work") { () async throws(RegistryError) in 3 }
        }
        #expect(late == 3)
        #expect(turns.withLock { $0 } == ["mine"])
        let refused = await #expect(throws: RegistryError.self) {
            try await mine.holding("work") { () async throws(RegistryError) in
                throw RegistryError(.unsupported, subject: .store, reason: "no")
            }
        }
        #expect(refused?.code == .unsupported)
        #expect(try await theirs.holding("work") { () async throws(RegistryError) in 4 } == 4)
    }

    @Test("every node has a number of its own, and the one it had when it comes back") func numbers() async throws {
        let nodes = try await NodeHouses(4)
        let numbers = nodes.houses.compactMap { $0.nodes?.number }
        #expect(numbers.sorted() == [1, 2, 3, 4])
        var options = House.Options()
        options.database = nodes.address
        options.bucket = nodes.bucket.path
        let fifth = try await House(options, clock: nodes.clock)
        #expect(fifth.nodes?.number == 5)
        fifth.close()
        let again = try await House(options, in: fifth.directory, clock: nodes.clock)
        #expect(again.nodes?.number == 5)
    }
}

/// Each writer puts a cache entry, over the one before, and deletes it, at one node after the other. Readers know what was acknowledged.
private final class DownloadRace: Sendable {
    static let writers = 4

    private struct Known: Equatable {
        let content: Int
        let isThere: Bool
    }

    private let nodes: NodeHouses
    /// Of each writer; nil: it is being deleted.
    private let newest = Mutex<[Int: Known]>([:])
    let isOver = Atomic(false)

    init(_ nodes: NodeHouses) { self.nodes = nodes }

    private func path(_ writer: Int) -> String { "/cache/files/w\(writer)" }
    private func known(_ writer: Int) -> Known? { newest.withLock { $0[writer] } }
    private func note(_ known: Known?, _ writer: Int) { newest.withLock { $0[writer] = known } }

    func write(_ writer: Int) async {
        if writer == 0 { await nodes[0].repository("files", format: "http-cache") }
        while await nodes[writer % 3].send(.get, "/api/v1/repositories/files").status != 200 {}
        for content in 1...20 {
            let house = nodes[(writer + content) % 3]
            // In the place of the one before, or of nothing.
            if known(writer)?.isThere == true { note(nil, writer) }
            let put = await house.send(.put, path(writer), body: Array("\(content)".utf8))
            #expect(put.status < 300, "\(put.text)")
            note(Known(content: content, isThere: true), writer)
            await read(writer, at: content)
            guard content % 3 == 0 else { continue }
            note(nil, writer)
            let deleted = await house.send(.delete, path(writer))
            #expect(deleted.status < 300, "\(deleted.text)")
            note(Known(content: content, isThere: false), writer)
        }
    }

    func read(_ reader: Int) async {
        var number = reader
        while !isOver.load(ordering: .relaxed) {
            number += 1
            await read(number % DownloadRace.writers, at: number)
        }
    }

    private func read(_ writer: Int, at node: Int) async {
        let before = known(writer)
        let answer = await nodes[node % 3].send(.get, path(writer))
        #expect(answer.status == 200 || answer.status == 404, "\(answer.text)")
        // Nothing may be said of what changed meanwhile; what is put after a deletion may be there before it is acknowledged.
        guard let before, before == known(writer) else { return }
        let content = Int(answer.text)
        #expect(before.isThere ? content == before.content : content ?? .max > before.content, "\(before), got \(answer.text)")
    }
}
