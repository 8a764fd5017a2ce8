import Access
import AdminAPI
import Core
import HTTPTypes
import Parsing
import Synchronization
import TestHouse
import TestSupport
import Testing

@Suite("the move of the catalog over REST") struct CatalogMoveTests {
    private static let path = "/api/v1/admin/catalog-move"
    private static let place: JSON = [
        "database_url": "postgres://g:canary-password@db/granary", "s3_bucket": "b", "s3_secret_access_key": "canary-key", "s3_allow_private": true,
    ]

    @Test("an administrator begins it with all settings, sees how far it is, and ends it; no secret is in an answer or the audit log") func begun()
        async throws
    {
        let mover = NotingMover()
        var options = House.Options()
        options.catalogMover = mover
        let house = try await House(options)
        let none = await house.send(.get, Self.path)
        #expect(none.status == 200 && none.json["state"] == "none" && none.json["is_running"] == false)
        let begun = await house.send(.post, Self.path, json: Self.place)
        #expect(begun.status == 202 && begun.json["state"] == "bytes" && begun.json["is_running"] == true)
        let given = mover.state.withLock { $0.given }
        #expect(given.map(\.0) == ["database_url", "s3_bucket", "s3_secret_access_key", "s3_allow_private"])
        #expect(given.map(\.1.revealed) == ["postgres://g:canary-password@db/granary", "b", "canary-key", "true"])
        #expect(!"\(given)".contains("canary"))
        #expect(await house.send(.post, Self.path, json: Self.place).outcome == "409 CONFLICT")
        let ended = await house.send(.delete, Self.path)
        #expect(ended.status == 202 && ended.json["state"] == "cancelled")
        #expect(await house.send(.get, Self.path).json["reason"] == "ended")
        // Decisions wait for the next change.
        await house.user("ann")
        let log = await house.send(.get, "/api/v1/admin/audit/export").text
        #expect(log.contains("administer"))
        for text in [log, begun.transcript, ended.transcript] { #expect(!text.contains("canary")) }
    }

    @Test("nobody else does, nor an administrator whose login is long ago; a server without a catalog of its own has none to move") func refused()
        async throws
    {
        let mover = NotingMover()
        var options = House.Options()
        options.catalogMover = mover
        let house = try await House(options)
        await house.user("ann")
        for method in [HTTPRequest.Method.get, .post, .delete] {
            #expect(await house.send(method, Self.path, as: .user("ann"), json: Self.place).status == 403)
            #expect(await house.send(method, Self.path, as: .none, json: Self.place).status == 401)
        }
        let login: JSON = ["username": "admin", "password": .string(House.password)]
        var session = await house.send(.post, "/api/v1/auth/login", as: .none, json: login).json
        for _ in 0..<3 {
            house.clock.pass(seconds: 1500)
            session = await house.send(.post, "/api/v1/auth/refresh", as: .none, json: ["refresh_token": session["refresh_token"] ?? .null]).json
        }
        let stale = Credential.bearer(session["access_token"]?.string ?? "")
        #expect(await house.send(.post, Self.path, as: stale, json: Self.place).outcome == "403 FORBIDDEN")
        #expect(await house.send(.get, Self.path, as: stale).status == 200)
        #expect(mover.state.withLock { $0.given }.isEmpty)
        #expect(await house.send(.post, Self.path, json: ["s3_bucket": "b"]).outcome == "400 VALIDATION_ERROR")
        let other = try await House()
        for method in [HTTPRequest.Method.post, .delete] {
            #expect(await other.send(method, Self.path, json: Self.place).outcome == "409 CONFLICT")
        }
        #expect(await other.send(.get, Self.path).json["state"] == "none")
    }
}

/// Does nothing but note what it was told.
private final class NotingMover: CatalogMover {
    struct State {
        var given: [(String, Secret)] = []
        var status = CatalogMoveStatus()
    }
    let state = Mutex(State())

    func start(to settings: [(name: String, value: Secret)]) throws(RegistryError) {
        try state.withLock { state throws(RegistryError) in
            guard !state.status.isRunning else { throw RegistryError(.conflict, subject: .store, reason: "the catalog is being moved") }
            state.given = settings.map { ($0.name, $0.value) }
            state.status = CatalogMoveStatus(began: Timestamp(seconds: 1))
        }
    }

    func cancel() {
        let ended = RegistryError(.unavailable, subject: .store, reason: "ended")
        state.withLock { $0.status.end(.cancelled, because: ended, at: Timestamp(seconds: 2)) }
    }

    var status: CatalogMoveStatus { state.withLock { $0.status } }
}
