import Core
import NIOCore
import TestSupport
import Testing

@testable import BlobStore

/// Bytes that change on disk under a running store, for each way of reading.
@Suite("Verification") struct VerificationTests {
    static var strict: BlobStore.Options {
        var options = Fixture.options
        options.isStrict = true
        return options
    }

    /// Until the end or an error, what came before it, and the error.
    private func drain(_ body: Body) async -> (bytes: [UInt8], failure: RegistryError?) {
        var bytes: [UInt8] = []
        do throws(RegistryError) {
            while let slice = try await body.next() { bytes += Array(slice.readableBytesView) }
            return (bytes, nil)
        } catch { return (bytes, error) }
    }

    private func stream(_ blobs: BlobStore, _ id: BlobID, _ range: Range<Int64>? = nil) async throws -> (bytes: [UInt8], failure: RegistryError?) {
        let content = try #require(try await blobs.content(of: id))
        guard case .streamed(let streamed) = content.storage else {
            Issue.record("a large blob is streamed in strict mode")
            return ([], nil)
        }
        return await drain(streamed.body(of: range ?? 0..<content.length))
    }

    @Test("strict: a bit flipped at any time is found by the next read, and no byte of its slice leaves", arguments: [3 << 20 + 17, 9 << 20 + 17])
    func strictStream(length: Int) async throws {
        let fixture = try Fixture(VerificationTests.strict)
        let bytes = pattern(length, seed: 11)
        let id = try await fixture.store(bytes)
        #expect(try await stream(fixture.blobs, id).bytes == bytes)
        let place = try fixture.place(of: id)
        for position in [0, 1 << 20, 2 << 20 - 1, length - 1] {
            try flip(place.path, at: place.firstByte + Int64(position), mask: 4)
            let (given, failure) = try await stream(fixture.blobs, id)
            #expect(failure?.code == .corrupt)
            #expect(failure?.subject.description == "blob \(id)")
            #expect(given == Array(bytes[..<((position >> 20) << 20)]))
            try flip(place.path, at: place.firstByte + Int64(position), mask: 4)
        }
        #expect(try await stream(fixture.blobs, id).bytes == bytes)
    }

    @Test("strict: a range is checked by its slices, wherever it begins") func strictRange() async throws {
        let fixture = try Fixture(VerificationTests.strict)
        let bytes = pattern(4 << 20, seed: 12)
        let id = try await fixture.store(bytes)
        let place = try fixture.place(of: id)
        try flip(place.path, at: place.firstByte + 2 << 20 + 5)
        for range: Range<Int64> in [0..<10, 1_000_000..<2_000_000, 3 << 20..<4 << 20] {
            let (given, failure) = try await stream(fixture.blobs, id, range)
            #expect(failure == nil)
            #expect(given == Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
        }
        let (given, failure) = try await stream(fixture.blobs, id, 2_000_000..<4_000_000)
        #expect(given == Array(bytes[2_000_000..<2 << 20]))
        #expect(failure?.code == .corrupt)
        let content = try #require(try await fixture.blobs.content(of: id))
        #expect(try content.bytes(at: 1_048_570, count: 20) == Array(bytes[1_048_570..<1_048_590]))
        #expect(await code { _ = try content.bytes(at: 2_000_000, count: 200_000) } == .corrupt)
    }

    @Test("strict: bytes whose checksums were made to fit do not end: the last slice waits for the SHA-256", arguments: [100, 3 << 20])
    func forged(length: Int) async throws {
        let fixture = try Fixture(VerificationTests.strict)
        var bytes = pattern(length, seed: 13)
        let id = try await fixture.store(bytes)
        let place = try fixture.place(of: id)
        bytes[length / 2] ^= 1
        let table = bytes.withUnsafeBytes { unsafe SliceChecksums.table(of: $0) }
        let header = RecordHeader(.blob, segment: 1, length: Int64(length), id: id, table: table)
        let file = try Disk.open(place.path, 2)
        try Disk.write(header.encoded + bytes + table, to: file, at: place.firstByte - 64)
        guard length > 1 << 20 else {
            #expect(await code { _ = try await fixture.blobs.content(of: id) } == .corrupt)
            #expect(await code { _ = try fixture.blobs.cachedContent(of: id) } == .corrupt)
            return
        }
        let (given, failure) = try await stream(fixture.blobs, id)
        #expect(given == Array(bytes[..<(length - 1 << 20)]))
        #expect(failure?.code == .corrupt)
    }

    @Test("strict: bytes that are pushed again do not lean on a damaged copy") func strictPush() async throws {
        let fixture = try Fixture(VerificationTests.strict)
        let bytes = pattern(3 << 20, seed: 14)
        let id = try await fixture.store(bytes)
        let place = try fixture.place(of: id)
        try flip(place.path, at: place.firstByte + 99)
        let blobs = try fixture.reopened(VerificationTests.strict)
        let staged = try await blobs.stage(ByteBuffer(bytes: bytes), digests: .sha256)
        try await fixture.commit([staged])
        #expect(try await stream(blobs, id).bytes == bytes)
    }

    @Test("default: damage under a running store is found when the window is over, or at the first use after a start", arguments: [3 << 20, 9 << 20])
    func window(length: Int) async throws {
        let fixture = try Fixture()
        let bytes = pattern(length, seed: 15)
        let id = try await fixture.store(bytes)
        let place = try fixture.place(of: id)
        #expect(try await fixture.read(id) == bytes)
        try flip(place.path, at: place.firstByte + 1_500_000)
        // What the docs say: within the window it is sent as it lies there.
        #expect(try await fixture.read(id) != bytes)
        fixture.clock.advance(seconds: 24 * 3600)
        #expect(await code { _ = try await fixture.read(id) } == .corrupt)
        if case .found = try fixture.blobs.cachedContent(of: id) { Issue.record("a damaged blob was given from memory") }
        #expect(await code { _ = try await fixture.reopened().content(of: id) } == .corrupt)
        try flip(place.path, at: place.firstByte + 1_500_000)
        #expect(try await fixture.read(id) == bytes)
    }
}

extension Fixture {
    /// The file that holds the blob, and where in it the blob begins.
    func place(of id: BlobID) throws -> (path: String, firstByte: Int64) {
        guard let location = try locations()[id] else { throw RegistryError(.notFound, subject: .blob(id.description), reason: "no row") }
        return switch location.place {
        case .segment(let number, _), .recipe(let number, _, _): (directory.file("data/segments/" + Segment.fileName(number)), location.firstByte)
        case .ownFile: (directory.file("data/blobs/\(id.hex.prefix(2))/\(id.hex)"), 0)
        }
    }
}
