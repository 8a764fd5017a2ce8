import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Parsing
import Server
import Synchronization
import TestHouse
import TestSupport
import Testing

@testable import Registry

@Suite("indexes of several nodes", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct EditionNodesTests {
    private static let dists = "/debian/apt/dists/stable"

    private func publish(_ number: Int, by house: House) async {
        let call = Publication.of("debian", in: "apt")[number]
        #expect(await house.send(call.method, call.target, [("Content-Type", call.type)], body: call.body).status < 300)
    }

    @Test("each gives the same Release, whichever made it first and however much later the other, and so a signature of the one is the other's")
    func sameRelease() async throws {
        let nodes = try await NodeHouses()
        await nodes[0].repository("apt", format: "debian")
        for number in 0..<2 {
            await publish(number, by: nodes[number])
            let first = await nodes[number].send(.get, "\(Self.dists)/Release")
            nodes.clock.pass(seconds: 3600)
            #expect(first.status == 200)
            #expect(await nodes[1 - number].send(.get, "\(Self.dists)/Release").body == first.body)
            #expect(await nodes[number].send(.get, "\(Self.dists)/Release").body == first.body)
        }
    }

    @Test("what is as it was before is made anew: its date does not go back") func notBack() async throws {
        let nodes = try await NodeHouses()
        await nodes[0].repository("apt", format: "debian")
        await publish(0, by: nodes[0])
        func release(_ node: Int) async -> [String] {
            await nodes[node].send(.get, "\(Self.dists)/Release").text.split(separator: "\n").map(String.init)
        }
        let before = await release(0)
        nodes.clock.pass(seconds: 60)
        await publish(1, by: nodes[0])
        #expect(await release(0) != before)
        nodes.clock.pass(seconds: 60)
        let target = "/api/v1/repositories/apt/artifacts/" + Publication.of("debian", in: "apt")[1].target.dropFirst("/debian/apt/".count)
        #expect(await nodes[1].send(.delete, target).status < 300)
        let after = await release(0)
        #expect(after.filter { !$0.hasPrefix("Date:") } == before.filter { !$0.hasPrefix("Date:") })
        #expect(after != before)
        #expect(await release(1) == after)
    }

    @Test("a document of a generation that only the other node made is found by its digest") func byHash() async throws {
        let nodes = try await NodeHouses()
        let served = (try await ServedNode(nodes[0]), try await ServedNode(nodes[1]))
        await nodes[0].repository("apt", format: "debian")
        await publish(0, by: nodes[0])
        let folder = "\(Self.dists)/main/binary-amd64"
        let old = await nodes[0].send(.get, "\(folder)/Packages").body
        await publish(1, by: nodes[0])
        let byHash = "\(folder)/by-hash/SHA256/\(Digest.of(.sha256, old).hex)"
        #expect(await nodes[1].send(.get, "\(folder)/Packages").body != old)
        #expect(await nodes[1].send(.get, byHash).body == old)
        let part = await nodes[1].send(.get, byHash, [("Range", "bytes=1-4")])
        #expect(part.status == 206)
        #expect(part.body == Array(old[1...4]))
        #expect(await nodes[1].send(.get, "\(folder)/by-hash/SHA256/\(String(repeating: "0", count: 64))").status == 404)
        // Who may not read here is not asked for elsewhere.
        #expect(await nodes[1].send(.get, byHash, as: .none).status == 401)
        await served.0.server.stop()
        await served.1.server.stop()
    }

    // MARK: Made once

    private static let paths = ["all", "all.gz", "all.xz", "a", "a.xz", "b.xz", "sum"]

    private static func rosters(_ count: Int) async throws -> NodeHouses {
        let nodes = try await NodeHouses(count) {
            $0.frontends = [Roster()]
            ($0.fetchTurns.graceSeconds, $0.fetchTurns.patienceSeconds) = (1, 0.01)
        }
        await nodes[0].makeRoster()
        let edits = (0..<1_500).map { RosterEdit.put("package-\($0)", in: $0 % 3 == 0 ? "stable/a stable/b" : "stable/a") }
        try await nodes[0].edit("r", edits)
        return nodes
    }

    private static func documents(_ house: House) async -> [[UInt8]] {
        var documents: [[UInt8]] = []
        for path in paths {
            let answer = await house.send(.get, "/roster/r/stable/\(path)")
            #expect(answer.status == 200, "\(path): \(answer.text.prefix(300))")
            documents.append(answer.body)
        }
        return documents
    }

    @Test("one of three that are asked at once makes an index from all facts, the others copy it, and all go on with what changes") func once()
        async throws
    {
        let nodes = try await Self.rosters(3)
        let served = try await nodes.served()
        let all = await withTaskGroup(of: [[UInt8]].self) { group in
            for house in nodes.houses { group.addTask { await Self.documents(house) } }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(all.allSatisfy { $0 == all[0] && $0.allSatisfy { !$0.isEmpty } })
        var work = nodes.houses.map(\.registry.indexWork)
        #expect(work.map(\.builds).sorted() == [0, 0, 1])
        #expect(work.map(\.copies).sorted() == [0, 1, 1])
        #expect(work.map(\.packagesRendered).sorted() == [0, 0, 1_500])
        #expect(try await FetchTurnTests.turns(nodes) == [])

        let seed = SeededRandom.runSeed
        var random = SeededRandom(seed: seed)
        var there = Set((0..<1_500).map { "package-\($0)" })
        for round in 1...6 {
            let names = Set((0..<20).map { _ in "package-\(Int.random(in: 0..<1_600, using: &random))" }).sorted()
            let edits = names.map { name in
                if there.remove(name) != nil, Bool.random(using: &random) { return RosterEdit.delete(name) }
                there.insert(name)
                return RosterEdit.put(name, text: "round \(round)\n")
            }
            try await nodes[round % 3].edit("r", edits)
            let documents = await Self.documents(nodes[0])
            for house in nodes.houses.dropFirst() { #expect(await Self.documents(house) == documents, "seed \(seed), round \(round)") }
        }
        work = nodes.houses.map(\.registry.indexWork)
        #expect(work.reduce(0) { $0 + $1.builds } == 1)
        // Also what compresses them again: of a copy everything else is there.
        #expect(work.allSatisfy { $0.packagesRendered < 1_500 + 6 * 20 + 1 && $0.fragmentsCompressed > 0 })
        await served.stop()
    }

    @Test("a node that died while it made an index is succeeded after its grace") func death() async throws {
        let nodes = try await Self.rosters(1)
        let sharing = try #require(nodes[0].registry.editions.sharing)
        let name = try #require(await sharing.name(of: try await nodes[0].rosterID("r").description))
        let row = FetchTurns.Row(run: World.real.newID().made(by: 9), flight: World.real.newID(), end: nodes.clock.now.adding(seconds: 600))
        let record = Record(kind: .lease, id: FetchTurns.id(of: "index \(name.hex)"), value: row.encoded)
        try await nodes[0].catalog.apply(
            Change(actor: .system, at: nodes.clock.now, requestID: "test", parts: [.putRecord(record, ifRevision: nil)]))
        let start = ContinuousClock.now
        #expect(await nodes[0].send(.get, "/roster/r/stable/all").status == 200)
        #expect(ContinuousClock.now - start >= .seconds(1))
        #expect(nodes[0].registry.indexWork.builds == 1)
        #expect(try await FetchTurnTests.turns(nodes) == [])
    }

    enum Reply: CaseIterable {
        case honest
        case withoutProof, provenForAnother, otherBytes, cutOff, empty, refused
    }

    @Test("a copy that is not whole, or not proven, is none: the index is made instead", arguments: Reply.allCases) func lies(_ kind: Reply)
        async throws
    {
        let nodes = try await Self.rosters(2)
        let documents = await Self.documents(nodes[0])
        let (maker, asking) = (nodes[0], nodes[1])
        let id = try await maker.rosterID("r").description
        let name = try #require(await maker.registry.editions.sharing?.name(of: id))
        let asker = try #require(asking.nodes?.number)
        let response = try #require(try await maker.registry.editions.copy(named: name, for: asker))
        guard case .blob(let content) = response.content else { throw NoCopy() }
        let bytes = try content.bytes(at: 0, count: Int(content.length))
        // Its number is known once it has joined.
        let number = Mutex<UInt16>(0)
        let other = try await ScriptedServer.start { request in
            func proof(of bytes: [UInt8], for asker: UInt16) -> (String, String) {
                let answer = Digest.of(.sha256, bytes)
                return (
                    NodeQuestions.proofField,
                    maker.access.nodeProof(of: .index(name), answer: answer, from: number.withLock { $0 }, to: asker)
                )
            }
            switch kind {
            case .honest: return .status(200, [proof(of: bytes, for: asker)], bytes)
            case .withoutProof: return .status(200, [], bytes)
            case .provenForAnother: return .status(200, [proof(of: bytes, for: asker &+ 1)], bytes)
            case .otherBytes: return .status(200, [proof(of: bytes, for: asker)], bytes.dropLast() + [bytes[bytes.count - 1] ^ 1])
            case .cutOff:
                let fields = [proof(of: bytes, for: asker), ("Content-Length", "\(bytes.count)")]
                return ScriptedServer.Answer(200, fields, steps: [.bytes(Array(bytes.prefix(bytes.count / 2))), .close])
            case .empty: return .status(200, [proof(of: [], for: asker)], [])
            case .refused: return .status(410)
            }
        }
        let joined = try await nodes.joined(by: other)
        number.withLock { $0 = joined }
        #expect(await Self.documents(asking) == documents)
        let work = asking.registry.indexWork
        #expect((work.copies, work.builds) == (kind == .honest ? (1, 0) : (0, 1)))
        let asked = try #require(other.requests.first)
        #expect(asked.method == "GET" && asked.target == NodeQuestion.index(name).path)
        #expect(maker.access.isNodeProof(try #require(asked["X-Granary-Proof"]), of: .index(name), from: asker, to: joined))
        await other.stop()
    }

    private struct NoCopy: Error {}

    @Test("nobody but a node is given an index: without the nodes' proof, or with one for another question, there is nothing") func proof()
        async throws
    {
        let nodes = try await Self.rosters(2)
        #expect(await nodes[0].send(.get, "/roster/r/stable/all").status == 200)
        let (holder, asker) = (try #require(nodes[0].nodes?.number), try #require(nodes[1].nodes?.number))
        let name = try #require(await nodes[0].registry.editions.sharing?.name(of: try await nodes[0].rosterID("r").description))
        let target = NodeQuestion.index(name).path
        let access = nodes[1].access
        func ask(_ proof: String?, _ target: String, as who: Credential = .none) async -> Answer {
            let fields = proof.map { [(NodeQuestions.proofField, $0), ("X-Granary-Node", String(asker))] } ?? []
            return await nodes[0].send(.get, target, as: who, fields)
        }
        let good = access.nodeProof(of: .index(name), from: asker, to: holder)
        let answer = await ask(good, target)
        #expect(answer.status == 200)
        let proof = try #require(answer.field(NodeQuestions.proofField))
        #expect(access.isNodeProof(proof, of: .index(name), answer: Digest.of(.sha256, answer.body), from: holder, to: asker))
        // What proves an answer asks nothing, and what asks proves no answer.
        #expect(!access.isNodeProof(proof, of: .index(name), from: holder, to: asker))
        #expect(!access.isNodeProof(good, of: .index(name), answer: Digest.of(.sha256, answer.body), from: asker, to: holder))
        let other = Digest.of(.sha256, Array("another".utf8))
        let blob = try #require(BlobID(name))
        for refused in [
            await ask(nil, target), await ask(nil, target, as: .admin), await ask(good, target + "/x"),
            await ask(good, NodeQuestion.index(other).path),
            await ask(good, NodeQuestion.fetch(name).path), await ask(good, NodeQuestion.blob(blob).path),
            await ask(access.nodeProof(of: .fetch(name), from: asker, to: holder), target),
            await ask(access.nodeProof(of: .index(name), answer: other, from: asker, to: holder), target),
        ] { #expect(refused.status == 404) }
        #expect(await ask(access.nodeProof(of: .index(other), from: asker, to: holder), NodeQuestion.index(other).path).status == 410)
        nodes.clock.pass(seconds: 61)
        #expect(await ask(good, target).status == 404)
    }
}
