import Catalog
import Core
import FrontendKit
import HTTPTypes
import Parsing
import Registry
import TestHouse
import Testing

/// How long an answer from memory may be given again.
@Suite("the currency of an answer") struct CurrencyTests {
    private static let path = "a/1/f"

    /// The answer's currency, once memory knows everything about it.
    private func currency(
        _ house: House, as token: String?, of target: String = "/general/files/\(CurrencyTests.path)"
    ) async throws -> Response.Currency {
        let fields: HTTPFields = token.map { [.authorization: "Bearer \($0)"] } ?? [:]
        let head = try RequestHead(
            method: .get, target: target, fields: fields, requestID: "test", peer: "127.0.0.1", isSecure: false)
        // A page cache under pressure may forget the bytes again.
        for _ in 0..<1000 {
            _ = await house.responder.respond(to: head, body: .empty)
            if let now = house.responder.respondNow(to: head) { return try #require(now.currency) }
        }
        throw RegistryError(.internal, subject: .request, reason: "memory never has the answer")
    }

    @Test("it ends with the first change to anything it rests on, before that change is acknowledged")
    func ends() async throws {
        let house = try await House()
        let ann = await house.user("ann")
        let changes: [(String, @Sendable () async throws -> Void)] = [
            ("deletion", { await house.send(.delete, "/api/v1/repositories/files/artifacts/\(Self.path)") }),
            ("visibility", { await house.send(.patch, "/api/v1/repositories/files", json: ["is_public": false]) }),
            ("the repository's end", { await house.send(.delete, "/api/v1/repositories/files") }),
            ("a verdict", { try await GateTests.judge(house, "hello", .quarantined) }),
        ]
        for (name, change) in changes {
            await house.repository("files", isPublic: true)
            await house.put("hello", at: Self.path, in: "files")
            let answer = try await currency(house, as: nil)
            await house.put("beside", at: "b/1/g", in: "files")
            await house.grant(["read"], on: "files", to: ann)
            #expect(answer.holds(), "nothing it rests on has changed yet: \(name)")
            try await change()
            #expect(!answer.holds(), "\(name)")
            await house.send(.delete, "/api/v1/repositories/files")
        }
    }

    @Test("a package's page ends with any change to the package, and with nothing that happens beside it")
    func page() async throws {
        let house = try await House()
        let changes: [(String, @Sendable () async throws -> Void)] = [
            ("a release", { await house.publish(WheelFile("demo", "2.0", says: "two"), to: "index") }),
            ("a yank", { await house.send(.put, "/pypi/index/demo/1.0/yank") }),
            ("a deletion", { await house.send(.delete, "/api/v1/repositories/index/artifacts/demo/demo-1.0-py3-none-any.whl") }),
            ("visibility", { await house.send(.patch, "/api/v1/repositories/index", json: ["is_public": false]) }),
            ("the repository's end", { await house.send(.delete, "/api/v1/repositories/index") }),
        ]
        for (name, change) in changes {
            await house.repository("index", format: "pypi", isPublic: true)
            await house.publish(WheelFile("demo", "1.0", says: "one"), to: "index")
            let page = try await currency(house, as: nil, of: "/pypi/index/simple/demo/")
            await house.publish(WheelFile("beside", "1.0", says: "one"), to: "index")
            #expect(page.holds(), "the page rests on nothing that has changed yet: \(name)")
            try await change()
            #expect(!page.holds(), "\(name)")
            await house.send(.delete, "/api/v1/repositories/index")
        }
    }

    @Test("it ends with the token's, the right's or the account's end")
    func credentials() async throws {
        let house = try await House()
        let ann = await house.user("ann")
        await house.repository("files")
        await house.put("hello", at: Self.path, in: "files")
        await house.grant(["read"], on: "files", to: ann)
        let token = await house.token(["read:artifacts"], as: .user("ann"))
        let answer = try await currency(house, as: token)
        #expect(answer.holds())
        let rights = await house.send(.get, "/api/v1/permissions").json["items"]?.array ?? []
        let right = try #require(rights.first?["id"]?.string)
        await house.send(.delete, "/api/v1/permissions/\(right)")
        #expect(!answer.holds())
        await house.grant(["read"], on: "files", to: ann)
        let again = try await currency(house, as: token)
        await house.send(.patch, "/api/v1/users/\(ann)", json: ["is_active": false])
        #expect(!again.holds())
    }

    @Test("a given answer counts as a download")
    func counts() async throws {
        let house = try await House()
        await house.repository("files", isPublic: true)
        await house.put("hello", at: Self.path, in: "files")
        let answer = try await currency(house, as: nil)
        let before = try await downloads(house)
        answer.given()
        #expect(try await downloads(house) == before + 1)
    }

    private func downloads(_ house: House) async throws -> Int64 {
        let (key, path) = (try #require(RepositoryKey("files")), try #require(AssetPath(Self.path)))
        let repository = try #require(try await house.catalog.repository(key))
        return try await house.registry.downloads.count(of: path, in: repository.id)
    }
}
