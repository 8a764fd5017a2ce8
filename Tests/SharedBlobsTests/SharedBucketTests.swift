import BlobStore
import Core
import Logging
import Outbound
import PostgresCatalog
import S3Tier
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Nodes over a real object store", .enabled(if: PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)))
struct SharedBucketTests {
    /// As `Tests/S3TierTests` has them: `scripts/test` starts and names them.
    static let servers: [String] = {
        guard let text = unsafe getenv("GRANARY_TEST_S3") else { return [] }
        return unsafe String(cString: text).split(separator: " ").map(String.init)
    }()

    @Test("what two nodes acknowledge a third reads with an empty disk, and the sweep leaves that alone", arguments: SharedBucketTests.servers)
    func real(_ server: String) async throws {
        let parts = server.split(separator: "|").map(String.init)
        var options = S3Options(
            bucket: "granary-conformance", endpoint: parts[0], prefix: "shared/\(World.real.newID())",
            credentials: S3Credentials(accessKey: parts[1], secretKey: parts[2]), addressPolicy: AddressPolicy(allowPrivate: true))
        options.partBytes = 5 << 20
        let outbound = try OutboundClient(log: Node.log, world: .real)
        let bucket = S3Tier(try S3Client(options, outbound: outbound, world: .real, log: Node.log))
        let nodes = try await Nodes(tier: bucket)
        let (a, b) = (try await nodes.node(), try await nodes.node())
        let blobs = [10, 2000, 50_000, 900_000, 11_000_000].map { World.real.randomBytes($0) }
        let ids = try await withThrowingTaskGroup(of: (Int, BlobID).self) { group in
            for (index, bytes) in blobs.enumerated() {
                group.addTask { (index, try await (index % 2 == 0 ? a : b).push(bytes, as: "\(index)")) }
            }
            return try await group.reduce(into: [Int: BlobID]()) { $0[$1.0] = $1.1 }
        }
        try await a.push(World.real.randomBytes(3000), as: "gone")
        try await a.delete("gone")
        nodes.clock.advance(seconds: 90_000)
        let tally = try await b.sweepShared(graceSeconds: 0)
        #expect(tally.removedBlobs == 1)
        #expect(tally.orphans == 1)
        let c = try await nodes.node()
        for (index, bytes) in blobs.enumerated() {
            let id = try #require(ids[index])
            #expect(try await c.read(id) == bytes)
        }
    }
}
