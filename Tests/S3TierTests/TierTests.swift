import BlobStore
import Core
import Logging
import NIOCore
import OrderedStore
import Outbound
import TestSupport
import Testing

@testable import S3Tier

#if canImport(Glibc)
    import Glibc
#endif

@Suite("A bucket as a tier") struct TierTests {
    @Test("a bucket does what every tier must")
    func scripted() async throws {
        let bucket = try await ScriptedBucket.start()
        #expect(try await TierConformance(S3Tier(bucket.client)).check(bytesMax: 40_000) == [])
        await bucket.server.stop()
    }

    /// `scripts/test` starts them and names them in GRANARY_TEST_S3: `endpoint` or `endpoint|access key|secret key`, with spaces between them.
    static let servers: [String] = {
        guard let text = unsafe getenv("GRANARY_TEST_S3") else { return [] }
        return unsafe String(cString: text).split(separator: " ").map(String.init)
    }()

    private static func tier(at server: String) throws -> S3Tier {
        let parts = server.split(separator: "|").map(String.init)
        var options = S3Options(
            bucket: "granary-conformance", endpoint: parts[0], prefix: "run/\(World.real.newID())",
            credentials: S3Credentials(accessKey: parts[1], secretKey: parts[2]), addressPolicy: AddressPolicy(allowPrivate: true))
        options.partBytes = 5 << 20
        let outbound = try OutboundClient(log: ScriptedBucket.log, world: .real)
        return S3Tier(try S3Client(options, outbound: outbound, world: .real, log: ScriptedBucket.log))
    }

    @Test("so do real servers", arguments: TierTests.servers)
    func real(_ server: String) async throws {
        let tier = try TierTests.tier(at: server)
        #expect(try await TierConformance(tier).check(bytesMax: 13_000_000) == [])
        try await tier.check()
    }

    @Test("an empty disk beside a real server's bucket that was written through has everything acknowledged", arguments: TierTests.servers)
    func writtenThrough(_ server: String) async throws {
        let tier = try TierTests.tier(at: server)
        let blobs = [2000, 50_000, 900_000, 11_000_000].map { World.real.randomBytes($0) }
        let store = try await StoreWithTier(tier)
        let ids = try await withThrowingTaskGroup(of: (Int, BlobID).self) { group in
            for (index, bytes) in blobs.enumerated() { group.addTask { (index, try await store.store(bytes)) } }
            return try await group.reduce(into: [Int: BlobID]()) { $0[$1.0] = $1.1 }
        }
        let other = try await StoreWithTier(tier)
        for (index, bytes) in blobs.enumerated() {
            let id = try #require(ids[index])
            let content = try #require(try await other.blobs.content(of: id))
            #expect(try content.bytes(at: 0, count: bytes.count + 1) == bytes)
        }
    }

    /// An empty store, written through.
    private struct StoreWithTier {
        let directory = try? TemporaryDirectory()
        let index: OrderedStore
        let blobs: BlobStore

        init(_ tier: S3Tier) async throws {
            let path = try #require(directory?.path)
            index = try OrderedStore(at: path + "/index", families: [.blobLocations, .chunks, .tierObjects], logger: ScriptedBucket.log)
            blobs = try BlobStore(at: path + "/data", store: index, world: .real, log: ScriptedBucket.log)
            var options = TieringOptions()
            options.policy = .writeThrough
            // Whoever worked on it is gone.
            if try await tier.length(of: .mark) != nil { _ = try await TierAdoption.adopt(tier, by: path + "/data", world: .real) }
            try await blobs.attach(tier, options)
        }

        func store(_ bytes: [UInt8]) async throws -> BlobID {
            let staged = try await blobs.stage(ByteBuffer(bytes: bytes), digests: .sha256)
            let row = try #require(staged.location)
            let (key, value) = (row.key, row.value)
            try await index.commit(files: staged.unsynced) { batch in batch.put(key, value, in: .blobLocations) }
            staged.didCommit()
            return staged.id
        }
    }

    @Test("a bucket that cannot be used is refused as a setting, in words")
    func refusal() async throws {
        let bucket = try await ScriptedBucket.start(before: { _ in ScriptedBucket.refusal(403, "SignatureDoesNotMatch") })
        do {
            try await S3Tier(bucket.client).check()
            Issue.record("it was not refused")
        } catch {
            #expect(error.code == .invalid)
            #expect(error.reason.hasSuffix("did not list its objects: the signature does not match: is the secret key right?"))
        }
        await bucket.server.stop()
    }
}
