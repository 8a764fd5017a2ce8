import Access
import AdminAPI
import Audit
import Catalog
import Core
import HTTPTypes
import Logging
import OrderedStore
import Parsing
import Registry
import Synchronization
import TestHouse
import TestSupport
import Testing

@testable import granary

#if canImport(Glibc)
    import Glibc
#endif

@Suite(
    "a running server moves its catalog", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)), .timeLimit(.minutes(5)))
struct OnlineMoveTests {
    private static let path = "/api/v1/admin/catalog-move"

    /// Of those who use the server.
    private final class Work: Sendable {
        let isOver = Atomic(false)
        let acknowledged = Mutex<[String]>([])
    }

    @Test("while it does every byte is read; what is acknowledged is there afterwards, with the same facts and audit log, the rest is to come back")
    func beside() async throws {
        let server = try await MovingServer(database: "beside")
        let house = server.house
        let work = Work()
        try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask {
                var reads = 0
                while !Task.isCancelled, !work.isOver.load(ordering: .relaxed) || reads == 0 {
                    for (path, size) in StoppedServer.sizes {
                        let answer = await house.send(.get, "/general/files/\(path)")
                        let isRight = answer.status == 200 && answer.text == StoppedServer.text(path, size)
                        try #require(isRight, "\(path): \(answer.status)")
                        reads += 1
                    }
                    #expect(await house.send(.get, "/api/v1/repositories/files").status == 200)
                    // Answered from memory it gives the thread to nobody by itself.
                    await Task.yield()
                }
                return reads
            }
            group.addTask {
                var number = 0
                var isRefused = false
                while !Task.isCancelled, !work.isOver.load(ordering: .relaxed) {
                    await Task.yield()
                    // Enough to check afterwards.
                    guard work.acknowledged.withLock({ $0.count }) < 200 || isRefused else { continue }
                    let name = "w/1/\(number)"
                    number += 1
                    let answer = await house.put(name, at: name, in: "files")
                    switch answer.status {
                    case 200, 201: work.acknowledged.withLock { $0.append(name) }
                    case 503:
                        #expect(answer.field("Retry-After") != nil)
                        isRefused = true
                    default: try #require(Bool(false), "\(name): \(answer.status) \(answer.text)")
                    }
                }
                return number
            }
            let ended = try await server.move()
            #expect(ended["state"] == "moved", "\(ended)")
            #expect(ended["copied_blobs"]?.int ?? 0 >= 4 && (ended["kinds"]?.array ?? []).contains { $0["name"] == "asset" })
            work.isOver.store(true, ordering: .relaxed)
            for try await count in group { #expect(count > 0) }
        }
        try await Self.staysClosed(server)
        try await Self.isWhole(server, work.acknowledged.withLock { $0 })
    }

    /// Reads go on, changes do not.
    private static func staysClosed(_ server: MovingServer) async throws {
        let house = server.house
        let late = await house.put("late", at: "late/1/x", in: "files")
        #expect(late.status == 503 && late.field("Retry-After") != nil)
        let login: JSON = ["username": "admin", "password": .string(House.password)]
        let session = await house.send(.post, "/api/v1/auth/login", as: .none, json: login)
        #expect(session.status == 503 && session.field("Retry-After") != nil)
        #expect(await house.send(.get, "/general/files/late/1/x").status == 404)
        #expect(await house.send(.get, "/general/files/a/1/small").status == 200)
    }

    /// On the database are the same facts, bytes and decisions.
    private static func isWhole(_ server: MovingServer, _ acknowledged: [String]) async throws {
        let house = server.house
        let head = try await house.audit.head()
        let node = try await server.node()
        #expect(try await node.audit.export(after: nil, limit: 1_000_000).lines == house.audit.export(after: nil, limit: 1_000_000).lines)
        #expect(try await node.audit.head() == head)
        _ = try AuditTrail.verify(try house.store.snapshot(), expecting: head)
        let key = try #require(RepositoryKey("files"))
        let repository = try #require(try await house.catalog.repository(key))
        #expect(try await node.catalog.repository(key) == repository)
        let assets = try await house.catalog.assets(in: repository.id, prefix: "", after: nil, limit: 100_000)
        #expect(try await node.catalog.assets(in: repository.id, prefix: "", after: nil, limit: 100_000) == assets)
        #expect(Set(acknowledged).isSubset(of: Set(assets.map(\.path.text))))
        for (path, size) in StoppedServer.sizes {
            #expect(await node.send(.get, "/general/files/\(path)").text == StoppedServer.text(path, size))
        }
        for name in acknowledged { #expect(await node.send(.get, "/general/files/\(name)").text == name) }
        #expect(await node.put("new", at: "new/1/x", in: "files").status < 300)
    }

    @Test("one that fails, for a blob that is lost or a bucket that is gone, says so, leaves the server writing, and is begun anew")
    func failed() async throws {
        let server = try await MovingServer(database: "failed")
        let (house, hidden) = (server.house, server.directory.file("hidden"))
        #expect(rename(server.stopped.file(of: "b/1/own"), hidden) == 0)
        let lost = try await server.move()
        #expect(lost["state"] == "failed" && lost["is_running"] == false, "\(lost)")
        #expect(lost["reason"]?.string?.isEmpty == false && lost["place"] == nil)
        try await Self.writes(house, "x/1/lost")
        #expect(rename(hidden, server.stopped.file(of: "b/1/own")) == 0)

        #expect(rename(server.bucket, server.directory.file("gone")) == 0)
        #expect(try await server.move()["state"] == "failed")
        try await Self.writes(house, "x/1/gone")
        #expect(rename(server.directory.file("gone"), server.bucket) == 0)

        #expect(try await server.move()["state"] == "moved")
        let node = try await server.node()
        for name in ["x/1/lost", "x/1/gone"] { #expect(await node.send(.get, "/general/files/\(name)").text == name) }
        let again = await house.send(.post, Self.path, json: ["database_url": .string(server.address)])
        #expect(again.status == 409 || again.status == 503, "\(again.text)")
    }

    /// What was decided while nothing could be written goes before the first decision that is allowed again.
    private static func writes(_ house: House, _ name: String) async throws {
        var status = 0
        for _ in 0..<3 where status != 200 && status != 201 { status = await house.put(name, at: name, in: "files").status }
        #expect(status == 200 || status == 201)
    }

    @Test("settings that do not fit are refused by name, and no secret is in the answer") func refused() async throws {
        let server = try await MovingServer(database: "refused")
        func ask(_ body: JSON) async -> Answer { await server.house.send(.post, Self.path, json: body) }
        let style = await ask(["database_url": "host=none password=canary", "s3_bucket": "b", "s3_path_style": "canary"])
        #expect(style.outcome == "400 VALIDATION_ERROR")
        #expect(style.text.contains("s3_path_style") && !style.text.contains("canary"))
        let both = await ask(["database_url": "x", "s3_bucket": "b", "s3_access_key_id": "k", "s3_secret_access_key": "canary"])
        #expect(both.outcome == "400 VALIDATION_ERROR", "a bucket and a directory")
        #expect(await ask([:]).outcome == "400 VALIDATION_ERROR")
        #expect(await server.house.send(.get, Self.path).json["state"] == "none")
        let ended = try await server.move(to: "host=/nonesuch password=canary")
        #expect(ended["state"] == "failed" && ended["code"] == "SERVICE_UNAVAILABLE", "\(ended)")
        #expect(!"\(ended)".contains("canary"))
    }

    @Test("the command has a server do it, waits, and ends as the move does") func command() async throws {
        let asked = Mutex<[String]>([])
        let answers: [JSON] = [
            ["state": "rows", "is_running": true, "rows": 3],
            [
                "state": "moved", "is_running": false, "place": "the PostgreSQL database x", "rows": 3,
                "kinds": [["name": "asset", "rows": 3, "digest": "sha256:00"]],
            ],
        ]
        let server = try await ScriptedServer.start { request in
            let number = asked.withLock { asked in
                asked.append(request.text)
                return asked.count
            }
            if number == 1 { return .status(202, [("Content-Type", "application/json")], Array(#"{"state":"bytes","is_running":true}"#.utf8)) }
            return .status(200, [("Content-Type", "application/json")], answers[min(number - 2, 1)].encoded())
        }
        let words = ["migrate-catalog", "to-postgres", "--server", server.url("")]
        let settings = ["database_url=host=x", "s3_bucket=b", "s3_access_key_id=k", "s3_secret_access_key=s", "s3_allow_private=true"]
            .flatMap { ["--set", $0] }
        let ended = try await Program.run(words + settings, environment: ["GRANARY_TOKEN=granary_t"])
        #expect(ended.status == 0, "\(ended.complaint)")
        #expect(ended.output.hasPrefix("state: bytes\nstate: rows\nstate: moved\nasset: 3 sha256:00\nrows: 3\n"))
        let first = asked.withLock { $0 }.first ?? ""
        #expect(first.hasPrefix("POST \(Self.path)\n") && first.contains(": Bearer granary_t\n"))
        #expect(first.contains("{\"database_url\":\"host=x\",\"s3_bucket\":\"b\""))
        #expect(first.contains("\"s3_allow_private\":true"))
        #expect(asked.withLock { $0 }.dropFirst().allSatisfy { $0.hasPrefix("GET \(Self.path)\n") })
        await server.stop()
        #expect(try await Program.run(words).status == 78, "no database")
        #expect(try await Program.run(["migrate-catalog", "from-postgres", "--server", "http://127.0.0.1:1"]).status == 64)
        let house = try await House()
        let beside = try await Program.run(["migrate-catalog", "to-postgres", "--data", house.directory.path] + settings)
        #expect(beside.status == 75)
        #expect(beside.complaint.contains("ask that: --server URL"))
    }
}

/// A server that runs on what `StoppedServer` left, with a database and a bucket to go to.
private struct MovingServer {
    let stopped: StoppedServer
    let directory: TemporaryDirectory
    let bucket: String
    let address: String
    let house: House

    private final class LateMover: CatalogMover {
        let mover = Mutex<OnlineMove?>(nil)
        func start(to settings: [(name: String, value: Secret)]) throws(RegistryError) {
            guard let mover = mover.withLock({ $0 }) else { throw RegistryError(.internal, subject: .store, reason: "there is none yet") }
            try mover.start(to: settings)
        }
        func cancel() { mover.withLock { $0 }?.cancel() }
        var status: CatalogMoveStatus { mover.withLock { $0 }?.status ?? CatalogMoveStatus() }
    }

    init(database: String) async throws {
        stopped = try await StoppedServer()
        directory = try TemporaryDirectory()
        bucket = directory.file("bucket")
        try #require(mkdir(bucket, 0o700) == 0)
        address = try await PostgresCluster.shared().database("online\(database)")
        let late = LateMover()
        var options = StoppedServer.options
        options.catalogMover = late
        house = try await House(options, in: stopped.directory)
        var configuration = Configuration()
        configuration.data = stopped.directory.path
        // A server's own tier is where nodes find their bytes in these tests: none of its own is attached.
        configuration.tierDirectory = bucket
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let directories = try Directories(at: stopped.directory.path)
        let mover = OnlineMove(configuration, directories, store: house.store, blobs: house.registry.blobs, world: .real, log: log)
        late.mover.withLock { $0 = mover }
    }

    /// Moves, and waits for the end of it.
    func move(to place: String? = nil) async throws -> JSON {
        let body: JSON = ["database_url": .string(place ?? address)]
        var begun = await house.send(.post, "/api/v1/admin/catalog-move", json: body)
        // The first decision after a failure may find the last ones unwritten.
        if begun.status == 503 { begun = await house.send(.post, "/api/v1/admin/catalog-move", json: body) }
        try #require(begun.status == 202, "\(begun.text)")
        let deadline = ContinuousClock.now + .seconds(120)
        while ContinuousClock.now < deadline {
            let status = await house.send(.get, "/api/v1/admin/catalog-move").json
            if status["is_running"] == false { return status }
            try await Task.sleep(for: .milliseconds(5))
        }
        return .null
    }

    /// One on the database.
    func node() async throws -> House {
        var options = StoppedServer.options
        (options.database, options.bucket) = (address, bucket)
        return try await House(options)
    }
}
