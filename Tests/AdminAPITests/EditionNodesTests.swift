import Core
import HTTPTypes
import Parsing
import Server
import TestHouse
import TestSupport
import Testing

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
}
