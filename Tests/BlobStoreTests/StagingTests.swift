import Core
import NIOCore
import Testing

@testable import BlobStore

@Suite("Staging and reading") struct StagingTests {
    static let lengths = [
        0, 1, 63, 64, 65, 65_535, 65_536, 65_537, 1_048_575, 1_048_576, 1_048_577, 8_388_607, 8_388_608, 8_388_609, 20 << 20,
    ]

    @Test("bytes come back as they went in, at every border of size, announced or not, before and after a restart", arguments: lengths)
    func roundTrip(length: Int) async throws {
        let fixture = try Fixture()
        for announced in [true, false] {
            let bytes = pattern(length, seed: UInt64(length) * 2 + (announced ? 1 : 0))
            let staged = try await fixture.stage(bytes, announced: announced)
            #expect(staged.id.digest == Digest.of(.sha256, bytes))
            #expect(staged.size == Int64(length))
            #expect(try staged.content().bytes(at: 0, count: length) == bytes)
            if length > 0 || announced { #expect(try await fixture.read(staged.id) == nil) }
            try await fixture.commit([staged])
            #expect(try await fixture.read(staged.id) == bytes)
            if case .unknown = try fixture.blobs.cachedContent(of: staged.id) { Issue.record("read a moment ago, it is at hand") }
            let later = try fixture.afterCrash()
            #expect(try await later.read(staged.id) == bytes)
        }
    }
}
