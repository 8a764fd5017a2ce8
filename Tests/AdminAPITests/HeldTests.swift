import Access
import Core
import HTTPTypes
import Parsing
import Server
import TestHouse
import TestSupport
import Testing

@testable import Registry

@Suite("blobs that one node alone has", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct HeldTests {
    @Test("another node reads what is not in the bucket yet from the one that has it; without it, 503 names the node; administrators see it listed")
    func reading() async throws {
        let nodes = try await NodeHouses { $0.uploadsBehind = true }
        let (here, there) = (try await ServedNode(nodes[0]), try await ServedNode(nodes[1]))
        let number = try #require(nodes[0].nodes?.number)
        await nodes[0].repository("files", isPublic: true)
        let large = String(repeating: "0123456789abcdef", count: 600_000)
        for (path, text) in [("a/1/small", "some bytes"), ("a/1/large", large), ("a/1/later", "other bytes")] {
            #expect(await nodes[0].put(text, at: path, in: "files").status == 201)
        }
        #expect(await nodes[1].send(.get, "/general/files/a/1/small", as: .none).text == "some bytes")
        #expect(await nodes[1].send(.get, "/general/files/a/1/large", as: .none).text == large)

        let listed = await nodes[1].send(.get, "/api/v1/admin/held").json.array ?? []
        #expect(listed.count == 1)
        #expect(listed.first?["node"]?.int == Int(number) && listed.first?["blobs"]?.int == 3)
        #expect(listed.first?["url"]?.string == "http://127.0.0.1:\(here.port)")
        let blobs = await nodes[1].send(.get, "/api/v1/admin/held/\(number)").json.array ?? []
        #expect(blobs.count == 3)
        let names = blobs.compactMap { $0["references"]?.array?.first?.string }
        #expect(names.count == 3 && ["small", "large", "later"].allSatisfy { name in names.contains { $0.contains(name) } }, "\(names)")
        let first = blobs.first?["digest"]?.string ?? ""
        #expect(await nodes[1].send(.get, "/api/v1/admin/held/\(number)?after=\(first)").json.array?.count == 2)
        #expect(await nodes[1].send(.get, "/api/v1/admin/held/\(number)?after=x").status == 400)
        #expect(await nodes[1].send(.get, "/api/v1/admin/held/x").status == 404)

        await here.server.stop()
        let refused = await nodes[1].send(.get, "/general/files/a/1/later", as: .none)
        #expect(refused.status == 503 && refused.field("Retry-After") != nil && refused.text.contains("node \(number) "))
        #expect(await nodes[1].send(.get, "/general/files/a/1/small", as: .none).text == "some bytes")
        try await nodes[0].uploadHeld()
        #expect(await nodes[1].send(.get, "/general/files/a/1/later", as: .none).text == "other bytes")
        #expect(await nodes[1].send(.get, "/api/v1/admin/held").json.array?.count == 0)
        await there.server.stop()
    }

    @Test("nobody but a node is given a blob by name: without the nodes' proof, or with one for another question, there is nothing") func proof()
        async throws
    {
        let nodes = try await NodeHouses { $0.uploadsBehind = true }
        let (holder, asker) = (try #require(nodes[0].nodes?.number), try #require(nodes[1].nodes?.number))
        await nodes[0].repository("files")
        await nodes[0].put("secret bytes", at: "a/1/f", in: "files")
        let blob = try #require(BlobID(Digest.of(.sha256, Array("secret bytes".utf8))))
        let other = try #require(BlobID(Digest.of(.sha256, Array("other bytes".utf8))))
        let target = NodeQuestion.blob(blob).path
        func ask(
            _ proof: String?, from node: UInt16?, _ target: String = target, _ method: HTTPRequest.Method = .get, as who: Credential = .none
        ) async -> Answer {
            let fields = [proof.map { (NodeQuestions.proofField, $0) }, node.map { ("X-Granary-Node", String($0)) }].compactMap { $0 }
            return await nodes[0].send(method, target, as: who, fields)
        }
        let access = nodes[1].access
        let good = access.nodeProof(of: .blob(blob), from: asker, to: holder)
        let given = await ask(good, from: asker)
        #expect(given.status == 200 && given.text == "secret bytes")
        let nothing = await ask(nil, from: nil, "/nodes/nothing")
        #expect(nothing.status == 404)
        var refused = [
            await ask(nil, from: nil), await ask(nil, from: nil, as: .admin), await ask(good, from: nil), await ask(nil, from: asker, as: .admin),
            await ask(good, from: asker &+ 1), await ask(good, from: holder), await ask(good, from: asker, NodeQuestion.blob(other).path),
            await ask(good, from: asker, target, .head), await ask(good, from: asker, target + "/x"),
            await ask(good, from: asker, target.uppercased()),
            await ask(access.nodeProof(of: .blob(blob), from: asker, to: asker), from: asker),
            await ask(access.nodeProof(of: .blob(blob), from: holder, to: holder), from: holder),
            await ask(access.nodeProof(of: .blob(other), from: asker, to: holder), from: asker),
        ]
        for wrong in ["", ".", "x.y", String(good.dropLast(2)), good + "00", good.replacing(".", with: ".."), "-" + good, "9" + good] {
            refused.append(await ask(wrong, from: asker))
        }
        nodes.clock.pass(seconds: 61)
        refused.append(await ask(good, from: asker))
        for answer in refused { #expect(answer.status == 404 && !answer.text.contains("secret")) }
        // Proven, but not there.
        #expect(await ask(access.nodeProof(of: .blob(other), from: asker, to: holder), from: asker, NodeQuestion.blob(other).path).status == 410)
        // Another secret.
        var options = House.Options()
        options.uploadsBehind = true
        let alone = try await House(options, clock: nodes.clock)
        #expect(await alone.send(.get, target, as: .admin).status == 404)
    }
}
