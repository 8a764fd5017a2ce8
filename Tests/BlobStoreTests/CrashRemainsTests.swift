import Core
import NIOCore
import TestSupport
import Testing

@testable import BlobStore

#if canImport(Glibc)
    import Glibc
#endif

/// What a crash leaves between two calls is no damage: a check says so, and the next start makes it whole.
@Suite("What a crash leaves") struct CrashRemainsTests {
    private func segment(_ fixture: Fixture, _ number: UInt64) -> String { fixture.directory.file("data/segments/" + Segment.fileName(number)) }

    private func isWithoutDamage(_ findings: [Finding]) -> Bool { findings.allSatisfy { !$0.kind.isDamage } }

    @Test("a segment that was made and has no header yet, or half of one, gets it with the next start", arguments: [0, 1, 32], [0, 64 << 10])
    func headerless(written: Int, allocated: Int64) async throws {
        let fixture = try Fixture()
        let header = SegmentHeader(number: 1, created: fixture.clock.now).encoded
        do {
            let file = try Disk.open(segment(fixture, 1), O_RDWR | O_CREAT | O_EXCL)
            try Disk.allocate(file, at: 0, count: allocated)
            try Disk.write(Array(header.prefix(written)), to: file, at: 0)
        }
        #expect(isWithoutDamage(try await fixture.blobs.check(segment: 1)))
        let blobs = try fixture.reopened()
        let staged = try await blobs.stage(ByteBuffer(bytes: pattern(5_000, seed: 1)), digests: .sha256)
        try await fixture.commit([staged])
        #expect(try await blobs.check(segment: 1) == [])
        #expect(try await fixture.reopened().content(of: staged.id)?.length == 5_000)
    }

    @Test("a segment whose sealing was cut short is no damage at any point, and is sealed by the next start", arguments: [0, 30, 64])
    func unfinishedSeal(trailerBytes: Int) async throws {
        var options = Fixture.options
        options.segmentBytesMax = 64 << 10
        let fixture = try Fixture(options)
        var kept: [BlobID] = []
        for seed in 0..<3 { kept.append(try await fixture.store(pattern(30_000, seed: UInt64(seed)))) }
        try await fixture.blobs.segments.sealing.run {}
        let sealed = try Disk.open(segment(fixture, 1), O_RDWR)
        #expect(try SegmentIndex.trailer(of: sealed, number: 1) != nil)
        // As before the rest was cut off, and with so much of the trailer.
        let size = try Disk.status(of: sealed).size
        let trailer = try Disk.read(sealed, at: size - 64, count: 64)
        try Disk.truncate(sealed, to: size - 64)
        try Disk.truncate(sealed, to: size + 64 << 10)
        try Disk.write(Array(trailer.prefix(trailerBytes)), to: sealed, at: size - 64)
        #expect(isWithoutDamage(try await fixture.blobs.check(segment: 1)))
        let blobs = try fixture.reopened(options)
        try await blobs.segments.sealing.run {}
        #expect(isWithoutDamage(try await blobs.check(segment: 1)))
        for id in kept { #expect(try await blobs.content(of: id)?.length == 30_000) }
    }

    @Test("an upload that was being begun, or a range that was being noted, is no damage") func unfinishedUpload() async throws {
        let fixture = try Fixture()
        let upload = try await fixture.blobs.beginUpload(context: [7], totalBytes: 1000)
        _ = try await fixture.blobs.write(upload.id, range: 500..<600, from: body(pattern(100, seed: 1)))
        let path = fixture.directory.file("data/uploads/\(upload.id).meta")
        let meta = try Disk.open(path, O_RDWR)
        let whole = try Disk.read(meta, at: 0, count: 1 << 20)
        #expect(try await fixture.blobs.checkUploads() == [])
        for length in [0, 4, 9, 20] + [whole.count - 25, whole.count - 10] {
            try Disk.truncate(meta, to: 0)
            try Disk.write(Array(whole.prefix(length)), to: meta, at: 0)
            let findings = try await fixture.blobs.checkUploads()
            #expect(findings.count == 1 && isWithoutDamage(findings), "\(length) bytes of \(whole.count)")
        }
        // What is there in full and wrong is damage.
        try Disk.write(whole.enumerated().map { $0.offset == 12 ? $0.element ^ 1 : $0.element }, to: meta, at: 0)
        #expect(!isWithoutDamage(try await fixture.blobs.checkUploads()))
    }
}
