import Core
import FrontendKit
import HTTPTypes
import Synchronization
import TestHouse
import TestSupport
import Testing

/// What a format may ask of a remote, whichever format it is: the upstream's own document, pointers, and questions about facts.
@Suite("the contract of a remote") struct RemoteContractTests {
    static let file = Array("the file".utf8)
    static let ledger = "tag newest 2.0\nversion 1.0\ntag old 1.0\nversion 2.0\ntag older 1.0\nfile it \(Digest.of(.sha256, file).hex)\n"

    /// An upstream whose document can be changed, or broken, while it runs.
    final class Source: Sendable {
        struct State {
            var text = RemoteContractTests.ledger
            var tag = "\"a\""
            var status = 200
        }
        let state = Mutex(State())

        func start() async throws -> ScriptedServer {
            try await ScriptedServer.start { request in
                let (text, tag, status) = self.state.withLock { ($0.text, $0.tag, $0.status) }
                switch request.target {
                case "/signed/book.txt", "/pointer/a", "/named/book/newest":
                    if status != 200 { return .status(status) }
                    if request["if-none-match"] == tag { return .status(304, [("ETag", tag)]) }
                    return .ok(text, [("ETag", tag), ("Content-Type", "text/signed")])
                case "/it": return .status(200, [], RemoteContractTests.file)
                default: return .status(404)
                }
            }
        }
    }

    static func house() async throws -> House {
        var options = House.Options()
        options.frontends = [Ledger()]
        return try await House(options)
    }

    @Test("a verbatim document is served as it came, revalidated when old, stale when upstream fails, and learned from without a second GET")
    func verbatim() async throws {
        let source = Source()
        let upstream = try await source.start()
        let house = try await Self.house()
        await house.remote("mirror", format: "ledger", of: upstream.url())
        let first = await house.send(.get, "/ledger/mirror/signed/book.txt", as: .none)
        #expect(first.text == Self.ledger)
        #expect(first.field("content-type") == "text/signed")
        #expect(first.validator?.etag == "\"\(Digest.of(.sha256, Array(Self.ledger.utf8)).hex)\"")
        #expect(await house.send(.get, "/ledger/mirror/rendered/book", as: .none).text == "version 1.0\nversion 2.0\n")
        #expect(upstream.counts.requests == 1)
        house.clock.pass(seconds: 301)
        #expect(await house.send(.get, "/ledger/mirror/signed/book.txt", as: .none).transcript == first.transcript)
        #expect(upstream.requests.last?["if-none-match"] == "\"a\"")
        source.state.withLock { ($0.text, $0.tag) = ("version 3.0\n", "\"b\"") }
        #expect(await house.send(.get, "/ledger/mirror/signed/book.txt", as: .none).text == Self.ledger)
        house.clock.pass(seconds: 301)
        #expect(await house.send(.get, "/ledger/mirror/rendered/book", as: .none).text == "version 3.0\n")
        #expect(await house.send(.get, "/ledger/mirror/signed/book.txt", as: .none).text == "version 3.0\n")
        #expect(upstream.counts.requests == 3)
        house.clock.pass(seconds: 301)
        source.state.withLock { $0.status = 500 }
        #expect(await house.send(.get, "/ledger/mirror/signed/book.txt", as: .none).text == "version 3.0\n")
        #expect(await house.send(.get, "/ledger/mirror/rendered/book", as: .none).text == "version 3.0\n")
        await upstream.stop()
        #expect(await house.send(.get, "/ledger/mirror/signed/book.txt", as: .none).text == "version 3.0\n")
    }

    @Test("questions about tags and versions are answered from what the upstream's document says")
    func questions() async throws {
        let source = Source()
        let upstream = try await source.start()
        let house = try await Self.house()
        await house.remote("mirror", format: "ledger", of: upstream.url())
        #expect(await house.send(.get, "/ledger/mirror/tags/book", as: .none).text == "newest=2.0\nold=1.0\n")
        #expect(await house.send(.get, "/ledger/mirror/tags/book?after=old", as: .none).text == "older=1.0\n")
        #expect(await house.send(.get, "/ledger/mirror/tag/book/old", as: .none).text == "1.0\n")
        #expect(await house.send(.get, "/ledger/mirror/tag/book/new", as: .none).status == 404)
        #expect(await house.send(.get, "/ledger/mirror/tags/none", as: .none).text == "")
        #expect(await house.send(.get, "/ledger/mirror/book/files/it", as: .none).body == Self.file)
        #expect(upstream.requests.map(\.target) == ["/signed/book.txt", "/signed/none.txt", "/it"])
        await upstream.stop()
    }

    @Test("a pointer file is asked for again with its validator once its time is over, and served stale when upstream fails")
    func pointer() async throws {
        let source = Source()
        let upstream = try await source.start()
        let house = try await Self.house()
        await house.remote("mirror", format: "ledger", of: upstream.url())
        for _ in 1...3 { #expect(await house.send(.get, "/ledger/mirror/pointer/a", as: .none).text == Self.ledger) }
        #expect(upstream.counts.requests == 1)
        house.clock.pass(seconds: 301)
        for _ in 1...3 { #expect(await house.send(.get, "/ledger/mirror/pointer/a", as: .none).text == Self.ledger) }
        #expect(upstream.counts.requests == 2)
        #expect(upstream.requests.last?["if-none-match"] == "\"a\"")
        house.clock.pass(seconds: 301)
        source.state.withLock { ($0.text, $0.tag) = ("version 3.0\n", "\"b\"") }
        #expect(await house.send(.get, "/ledger/mirror/pointer/a", as: .none).text == "version 3.0\n")
        house.clock.pass(seconds: 301)
        source.state.withLock { $0.status = 503 }
        #expect(await house.send(.get, "/ledger/mirror/pointer/a", as: .none).text == "version 3.0\n")
        let other = await house.send(.get, "/ledger/mirror/named/book/newest", as: .none)
        #expect(other.status == 503)
        #expect(other.field("retry-after") == "1")
        await upstream.stop()
    }

    @Test("what is asked for by a tag is found by its digest as well")
    func tagged() async throws {
        let source = Source()
        let upstream = try await source.start()
        let house = try await Self.house()
        await house.remote("mirror", format: "ledger", of: upstream.url())
        #expect(await house.send(.get, "/ledger/mirror/named/book/newest", as: .none).text == Self.ledger)
        let digest = Digest.of(.sha256, Array(Self.ledger.utf8))
        house.clock.pass(seconds: 1000)
        #expect(await house.send(.get, "/ledger/mirror/by/\(digest)", as: .none).text == Self.ledger)
        #expect(upstream.counts.requests == 1)
        await upstream.stop()
    }
}
