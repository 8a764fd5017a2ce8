import Access
import BlobStore
import Catalog
import Core
import HTTPTypes
import NIOCore
import Outbound
import Server
import Synchronization
import TestHouse
import TestSupport
import Testing

@testable import Registry

/// Clients that have the first bytes of what they asked for.
private final class Begun: Sendable {
    private let number = Atomic(0)
    var count: Int { number.load(ordering: .relaxed) }
    func add() { number.add(1, ordering: .relaxed) }

    func reaches(_ wanted: Int) async -> Bool {
        let deadline = ContinuousClock.now + .seconds(60)
        while count < wanted {
            guard ContinuousClock.now < deadline else { return false }
            try? await Task.sleep(for: .milliseconds(5))
        }
        return true
    }
}

extension [ServedNode] {
    /// Each node is asked so many times, all at once.
    fileprivate func download(_ target: String, each count: Int = 1, _ begun: Begun = Begun()) async -> [ServedNode.Download] {
        await withTaskGroup(of: ServedNode.Download.self) { group in
            for node in self { for _ in 0..<count { group.addTask { await node.download(target) { begun.add() } } } }
            return await group.reduce(into: []) { $0.append($1) }
        }
    }
}

@Suite("a file that another node fetches is read along", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct FetchAlongTests {
    static let target = "/general/mirror/large"
    static let bytes = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
    static let other = bytes.map { ~$0 }
    static let whole = ServedNode.Download(status: 200, bytes: bytes, isWhole: true)

    /// Most of it, and then what comes then.
    static func answer(_ rest: [ScriptedServer.Step], of bytes: [UInt8] = bytes, isChunked: Bool = false) -> ScriptedServer.Answer {
        let steps = [.bytes(Array(bytes.prefix(600_000)))] + rest
        guard isChunked else { return ScriptedServer.Answer(200, [("Content-Length", "\(bytes.count)")], steps: steps) }
        let framed = steps.map { step in
            guard case .bytes(let piece) = step else { return step }
            return .bytes(Array("\(String(piece.count, radix: 16))\r\n".utf8) + piece + Array("\r\n".utf8))
        }
        return ScriptedServer.Answer(200, [("Transfer-Encoding", "chunked")], steps: framed + [.bytes(Array("0\r\n\r\n".utf8))])
    }

    @Test(
        "a file that takes longer than anybody waits is fetched once for three nodes, and each gives its first bytes before the last are there",
        arguments: [false, true])
    func once(isChunked: Bool) async throws {
        let begun = Begun()
        let upstream = try await ScriptedServer.start { _ in
            Self.answer([.until { begun.count == 9 }, .bytes(Array(Self.bytes.dropFirst(600_000)))], isChunked: isChunked)
        }
        let nodes = try await NodeHouses(3) { ($0.fetchTurns.followSeconds, $0.fetchTurns.patienceSeconds) = (0.05, 600) }
        let served = try await nodes.served()
        await nodes[0].remote("mirror", format: "generic", of: upstream.url())
        let got = await served.download(Self.target, each: 3, begun)
        #expect(got.count == 9 && got.allSatisfy { $0 == Self.whole })
        #expect(upstream.counts.requests == 1)
        // Each keeps what it read along.
        #expect(await served.download(Self.target).allSatisfy { $0 == Self.whole })
        for house in nodes.houses { #expect(house.registry.blobs.sharingStatistics?.blobsFetched == 0) }
        #expect(upstream.counts.requests == 1)
        #expect(try await FetchTurnTests.turns(nodes) == [])
        await served.stop()
        await upstream.stop()
    }

    @Test(
        "an upstream that breaks off breaks off for all who read along: nobody takes what they have for the file, and who asks again gets it",
        arguments: [false, true])
    func failure(isChunked: Bool) async throws {
        let begun = Begun()
        let asked = Begun()
        let upstream = try await ScriptedServer.start { _ in
            asked.add()
            return asked.count == 1 ? Self.answer([.until { begun.count == 6 }, .reset], isChunked: isChunked) : .status(200, [], Self.bytes)
        }
        let nodes = try await NodeHouses(3) { ($0.fetchTurns.followSeconds, $0.fetchTurns.patienceSeconds) = (0.05, 600) }
        let served = try await nodes.served()
        await nodes[0].remote("mirror", format: "generic", of: upstream.url())
        let got = await served.download(Self.target, each: 2, begun)
        #expect(got.count == 6 && got.allSatisfy { $0.status == 200 && !$0.isWhole && $0.bytes.count < Self.bytes.count })
        #expect(upstream.counts.requests == 1)
        #expect(await served.download(Self.target).allSatisfy { $0 == Self.whole })
        #expect(upstream.counts.requests == 2)
        await served.stop()
        await upstream.stop()
    }

    @Test("a node that reads along and loses the one that fetches, which goes on, takes the rest from what that stored") func lostSight()
        async throws
    {
        let begun = Begun()
        let isCut = Begun()
        let upstream = try await ScriptedServer.start { _ in
            Self.answer([.until { isCut.count == 1 }, .bytes(Array(Self.bytes.dropFirst(600_000)))])
        }
        let nodes = try await NodeHouses { ($0.fetchTurns.followSeconds, $0.fetchTurns.patienceSeconds) = (0.05, 600) }
        let served = try await nodes.served(gracefulSeconds: 0.01)
        await nodes[0].remote("mirror", format: "generic", of: upstream.url())
        async let fetched = nodes[0].send(.get, Self.target, as: .none)
        #expect(await upstream.reaches { $0.requests == 1 })
        async let followed = served[1].download(Self.target) { begun.add() }
        #expect(await begun.reaches(1))
        await served[0].server.stop()
        isCut.add()
        #expect(await followed == Self.whole)
        #expect(await fetched.body == Self.bytes)
        #expect(upstream.counts.requests == 1)
        #expect(nodes[1].registry.blobs.sharingStatistics?.blobsFetched == 1)
        await served[1].server.stop()
        await upstream.stop()
    }

    // MARK: Another node, as a test plays it

    private static func turn(_ nodes: NodeHouses) async throws -> String {
        let key = try #require(RepositoryKey("mirror"))
        return "\(try #require(try await nodes[0].catalog.repository(key)).id) file large"
    }

    private static func removeTurn(_ nodes: NodeHouses) async throws {
        let id = FetchTurns.id(of: try await turn(nodes))
        try await nodes[0].catalog.apply(
            Change(actor: .system, at: nodes.clock.now, requestID: "test", parts: [.deleteRecord(.lease, id: id)]))
    }

    enum Death: CaseIterable {
        case breaksOff, freezes
        /// When its turn has ended.
        case freezesLate
    }

    @Test("a node that dies while others read along is succeeded by one of them, and their clients have the whole file", arguments: Death.allCases)
    func death(_ death: Death) async throws {
        let begun = Begun()
        let upstream = try await ScriptedServer.start { _ in .status(200, [], Self.bytes) }
        let dying = try await ScriptedServer.start { _ in
            Self.answer(death == .breaksOff ? [.until { begun.count == 2 }, .reset] : [.hang])
        }
        let nodes = try await NodeHouses {
            ($0.fetchTurns.followSeconds, $0.fetchTurns.patienceSeconds, $0.fetchTurns.graceSeconds) = (0.05, 600, 4)
        }
        let served = try await nodes.served()
        await nodes[0].remote("mirror", format: "generic", of: upstream.url())
        _ = try await FetchTurnTests.leave(nodes, "large", by: try await nodes.joined(by: dying))
        async let got = served.download(Self.target, begun)
        if death == .freezesLate {
            #expect(await begun.reaches(2))
            try await Self.removeTurn(nodes)
        }
        #expect(await got == [Self.whole, Self.whole])
        #expect(dying.counts.requests >= 1)
        #expect(upstream.counts.requests == 1)
        #expect(try await FetchTurnTests.turns(nodes) == [])
        await served.stop()
        await dying.stop()
        await upstream.stop()
    }

    enum Lie: CaseIterable {
        /// Other bytes than the upstream has, which break off.
        case otherBytes
        /// An end, though nothing was stored.
        case earlyEnd
    }

    @Test("what comes from another node and is not what is stored is in no body that looks whole", arguments: Lie.allCases)
    func lie(_ lie: Lie) async throws {
        let begun = Begun()
        let upstream = try await ScriptedServer.start { _ in .status(200, [], Self.bytes) }
        let lying = try await ScriptedServer.start { _ in
            let rest = lie == .earlyEnd ? ScriptedServer.Step.bytes(Array(Self.other.dropFirst(600_000))) : .reset
            return Self.answer([.until { begun.count == 2 }, rest], of: Self.other)
        }
        let nodes = try await NodeHouses {
            ($0.fetchTurns.followSeconds, $0.fetchTurns.patienceSeconds, $0.fetchTurns.graceSeconds) = (0.05, 600, 600)
        }
        let served = try await nodes.served()
        await nodes[0].remote("mirror", format: "generic", of: upstream.url())
        _ = try await FetchTurnTests.leave(nodes, "large", by: try await nodes.joined(by: lying))
        async let got = served.download(Self.target, begun)
        #expect(await begun.reaches(2))
        if lie == .earlyEnd { #expect(await got.allSatisfy { !$0.isWhole }) }
        try await Self.removeTurn(nodes)
        for download in await got { #expect(download.status == 200 && !download.isWhole && Self.other.starts(with: download.bytes)) }
        #expect(await served.download(Self.target).allSatisfy { $0 == Self.whole })
        await served.stop()
        await lying.stop()
        await upstream.stop()
    }

    @Test("a node that fetches and has nothing to be read along is waited for as long as before, and asked with the nodes' proof") func silence()
        async throws
    {
        let upstream = try await ScriptedServer.start { _ in .status(200, [], Self.bytes) }
        let silent = try await ScriptedServer.start { _ in .init(raw: [.hang]) }
        let nodes = try await NodeHouses {
            ($0.fetchTurns.followSeconds, $0.fetchTurns.patienceSeconds, $0.fetchTurns.graceSeconds) = (0.05, 1, 600)
        }
        let served = try await nodes.served()
        await nodes[0].remote("mirror", format: "generic", of: upstream.url())
        let number = try await nodes.joined(by: silent)
        let flight = try await FetchTurnTests.leave(nodes, "large", by: number)
        #expect(await served[0].download(Self.target) == Self.whole)
        #expect(upstream.counts.requests == 1)
        let turn = FetchTurns.digest(of: try await Self.turn(nodes))
        let asked = try #require(silent.requests.first)
        #expect(silent.counts.requests == 1 && asked.method == "GET" && asked.target == NodeQuestion.fetch(turn).path)
        let proof = try #require(asked["X-Granary-Proof"])
        let asker = try #require(nodes[0].nodes?.number)
        #expect(asked["X-Granary-Node"] == "\(asker)")
        #expect(nodes[1].access.isNodeProof(proof, of: .fetch(turn), from: asker, to: number))
        let rows = try await nodes[0].catalog.records(.lease, after: "fetch/", limit: 10).compactMap { try FetchTurns.Row($0)?.flight }
        #expect(rows == [flight])
        await served.stop()
        await silent.stop()
        await upstream.stop()
    }

    @Test("nobody but a node reads along: without the nodes' proof, or with one for another question, there is nothing") func proof() async throws {
        let isSeen = Begun()
        let upstream = try await ScriptedServer.start { _ in
            Self.answer([.until { isSeen.count == 1 }, .bytes(Array(Self.bytes.dropFirst(600_000)))])
        }
        let nodes = try await NodeHouses()
        let served = try await nodes.served()
        await nodes[0].remote("mirror", format: "generic", of: upstream.url())
        let (holder, asker) = (try #require(nodes[0].nodes?.number), try #require(nodes[1].nodes?.number))
        async let fetched = nodes[0].send(.get, Self.target, as: .none)
        #expect(await upstream.reaches { $0.requests == 1 })
        let turn = FetchTurns.digest(of: try await Self.turn(nodes))
        let other = FetchTurns.digest(of: "another")
        let target = NodeQuestion.fetch(turn).path
        func ask(
            _ proof: String?, from node: UInt16?, _ target: String = target, _ method: HTTPRequest.Method = .get, as who: Credential = .none
        ) async -> Answer {
            let fields = [proof.map { (NodeQuestions.proofField, $0) }, node.map { ("X-Granary-Node", String($0)) }].compactMap { $0 }
            return await nodes[0].send(method, target, as: who, fields)
        }
        let access = nodes[1].access
        let good = access.nodeProof(of: .fetch(turn), from: asker, to: holder)
        let blob = try #require(BlobID(turn))
        var refused = [
            await ask(nil, from: nil), await ask(nil, from: nil, as: .admin), await ask(good, from: nil), await ask(nil, from: asker, as: .admin),
            await ask(good, from: asker &+ 1), await ask(good, from: holder), await ask(good, from: asker, NodeQuestion.fetch(other).path),
            await ask(good, from: asker, target, .head), await ask(good, from: asker, target + "/x"),
            await ask(good, from: asker, target.uppercased()),
            await ask(access.nodeProof(of: .fetch(turn), from: asker, to: asker), from: asker),
            await ask(access.nodeProof(of: .fetch(other), from: asker, to: holder), from: asker),
            // The same digest, of another kind of question, both ways.
            await ask(access.nodeProof(of: .blob(blob), from: asker, to: holder), from: asker),
            await ask(good, from: asker, NodeQuestion.blob(blob).path),
        ]
        for wrong in ["", ".", String(good.dropLast(2)), good + "00"] { refused.append(await ask(wrong, from: asker)) }
        for answer in refused { #expect(answer.status == 404 && !answer.body.starts(with: Self.bytes.prefix(16))) }
        // Proven, but nobody fetches it here.
        #expect(await ask(access.nodeProof(of: .fetch(other), from: asker, to: holder), from: asker, NodeQuestion.fetch(other).path).status == 410)
        var question = FetchRequest(
            url: "http://127.0.0.1:\(served[0].port)\(target)", fields: [(NodeQuestions.proofField, good), ("X-Granary-Node", "\(asker)")])
        question.addressPolicy = AddressPolicy(allowPrivate: true)
        let answer = try await nodes[1].outbound.fetch(question)
        #expect(answer.status == 200 && answer.body.length == Int64(Self.bytes.count))
        isSeen.add()
        #expect(Array(try await answer.body.collect().readableBytesView) == Self.bytes)
        #expect(await fetched.body == Self.bytes)
        nodes.clock.pass(seconds: 61)
        #expect(await ask(good, from: asker).status == 404)
        await served.stop()
        await upstream.stop()
    }
}
