import BlobStore
import Core
import Logging
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

    @Test("so do real servers", arguments: TierTests.servers)
    func real(_ server: String) async throws {
        let parts = server.split(separator: "|").map(String.init)
        var options = S3Options(
            bucket: "granary-conformance", endpoint: parts[0], prefix: "run/\(World.real.newID())",
            credentials: S3Credentials(accessKey: parts[1], secretKey: parts[2]), addressPolicy: AddressPolicy(allowPrivate: true))
        options.partBytes = 5 << 20
        let outbound = try OutboundClient(log: ScriptedBucket.log, world: .real)
        let tier = S3Tier(try S3Client(options, outbound: outbound, world: .real, log: ScriptedBucket.log))
        #expect(try await TierConformance(tier).check(bytesMax: 13_000_000) == [])
        try await tier.check()
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
