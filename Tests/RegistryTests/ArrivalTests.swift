import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Parsing
import Synchronization
import TestHouse
import TestSupport
import Testing

/// Files of an upstream that are served while they arrive.
@Suite("files that arrive") struct ArrivalTests {
    static let half = [UInt8](repeating: 7, count: 300 << 10)
    static let digest = Digest.of(.sha256, half + half)

    /// Serves the two halves, the second when told to.
    final class Upstream: Sendable {
        let gate = Mutex(false)
        let second: [UInt8]
        let length: Bool
        init(second: [UInt8] = ArrivalTests.half, saysLength: Bool = true) {
            self.second = second
            length = saysLength
        }

        func start(pauseMilliseconds: Int = 400) async throws -> ScriptedServer {
            let fields = length ? [("Content-Length", String(2 * ArrivalTests.half.count))] : []
            let steps: [ScriptedServer.Step] =
                [.bytes(ArrivalTests.half), .wait(milliseconds: pauseMilliseconds), .bytes(second)] + (length ? [] : [.close])
            return try await ScriptedServer.start { request in
                switch request.target {
                case "/signed/book.txt": .ok("file big \(ArrivalTests.digest.hex)\n")
                case "/big", "/pointer/big": ScriptedServer.Answer(200, fields, steps: steps)
                default: .status(404)
                }
            }
        }
    }

    static let target = "/ledger/mirror/book/files/big"

    static func house(_ upstream: ScriptedServer) async throws -> House {
        var options = House.Options()
        options.frontends = [Ledger()]
        let house = try await House(options)
        await house.remote("mirror", format: "ledger", of: upstream.url())
        return house
    }

    static func kept(_ house: House) async -> [String] {
        await house.send(.get, "/api/v1/repositories/mirror/artifacts").json["items"]?.array?.compactMap { $0["path"]?.string } ?? []
    }

    static func open(_ house: House, _ fields: HTTPFields = [:]) async throws -> Response {
        let head = try RequestHead(method: .get, target: target, fields: fields, requestID: "test", peer: "127.0.0.1", isSecure: false)
        return await house.responder.respond(to: head, body: .empty)
    }

    /// What a body gives until it ends or fails.
    static func drain(_ response: Response) async -> (count: Int64, digest: Digest, failure: RegistryError?) {
        guard case .stream(let body) = response.content else { return (-1, digest, nil) }
        var hasher = Digest.Hasher(.sha256)
        var count: Int64 = 0
        do throws(RegistryError) {
            while let slice = try await body.next() {
                slice.withUnsafeReadableBytes { unsafe hasher.update($0) }
                count += Int64(slice.readableBytes)
            }
        } catch { return (count, hasher.finish(), error) }
        return (count, hasher.finish(), nil)
    }

    @Test("the first half is here before upstream has sent the second, with the head that the stored file will have")
    func early() async throws {
        let upstream = try await Upstream().start(pauseMilliseconds: 1_000)
        let house = try await Self.house(upstream)
        let response = try await Self.open(house)
        #expect(response.status == .ok)
        #expect(response.validator?.etag == "\"\(Self.digest.hex)\"")
        guard case .stream(let body) = response.content else {
            Issue.record("the answer is no stream")
            return
        }
        #expect(body.length == Int64(2 * Self.half.count))
        var seen = 0
        while seen < Self.half.count - (64 << 10), let slice = try await body.next() { seen += slice.readableBytes }
        #expect(await Self.kept(house) == ["signed/book.txt"])
        while let slice = try await body.next() { seen += slice.readableBytes }
        #expect(seen == 2 * Self.half.count)
        let stored = await house.send(.get, Self.target, as: .none)
        #expect(stored.body == Self.half + Self.half)
        #expect(stored.validator?.etag == response.validator?.etag)
        #expect(Set(response.fields.map(\.name)).isSubset(of: Set(stored.fields.map(\.name))))
        #expect(response.fields.allSatisfy { stored.fields[$0.name] == $0.value })
        #expect(upstream.requests.count { $0.target == "/big" } == 1)
        await upstream.stop()
    }

    @Test("one fetch serves all who come while it runs; who leaves, the first of them too, hurts nobody", arguments: [true, false])
    func crowd(saysLength: Bool) async throws {
        let upstream = try await Upstream(saysLength: saysLength).start()
        let house = try await Self.house(upstream)
        let first = Task { await Self.drain(try await Self.open(house)) }
        #expect(await upstream.reaches { $0.requests >= 2 })
        let results = await withTaskGroup(of: (Int64, Digest).self) { group in
            for _ in 1...40 {
                group.addTask {
                    guard let response = try? await Self.open(house) else { return (-2, Self.digest) }
                    // Who came after the end has the stored file.
                    if case .blob(let content) = response.content { return (content.length, Self.digest) }
                    let (count, digest, _) = await Self.drain(response)
                    return (count, digest)
                }
            }
            first.cancel()
            return await group.reduce(into: [(Int64, Digest)]()) { $0.append($1) }
        }
        #expect(results.count == 40)
        #expect(results.allSatisfy { $0 == (Int64(2 * Self.half.count), Self.digest) })
        #expect(upstream.requests.count { $0.target == "/big" } == 1)
        #expect(await house.send(.get, Self.target, [("Range", "bytes=0-9")]).body == Self.half + Self.half)
        await upstream.stop()
    }

    @Test("of bytes that are not those promised nobody gets a whole body, and nothing is kept", arguments: [true, false])
    func wrong(saysLength: Bool) async throws {
        let upstream = try await Upstream(second: [UInt8](repeating: 8, count: Self.half.count), saysLength: saysLength).start(pauseMilliseconds: 100)
        let house = try await Self.house(upstream)
        let response = try await Self.open(house)
        let (count, _, failure) = await Self.drain(response)
        #expect(count < Int64(2 * Self.half.count))
        // Who comes when it has turned out already is told so at once.
        #expect((failure ?? response.failure)?.code == .upstreamFailed)
        #expect(await Self.kept(house) == ["signed/book.txt"])
        await upstream.stop()
    }

    @Test("HEAD and ranges wait for the whole; a pointer that no index names by digest does too")
    func whole() async throws {
        let upstream = try await Upstream().start(pauseMilliseconds: 50)
        let house = try await Self.house(upstream)
        let head = await house.send(.head, Self.target, as: .none)
        #expect(head.validator?.etag == "\"\(Self.digest.hex)\"")
        let pointer = await house.send(.get, "/ledger/mirror/pointer/big", as: .none)
        #expect(pointer.validator?.etag == "\"\(Self.digest.hex)\"")
        #expect(pointer.body == Self.half + Self.half)
        await upstream.stop()
    }
}
