import Core
import NIOCore
import OrderedStore
import TestSupport
import Testing

@testable import BlobStore

@Suite("Damage") struct DamageTests {
    private func path(_ fixture: Fixture, _ id: BlobID) throws -> (String, Int64, BlobLocation) {
        let location = try #require(try fixture.locations()[id])
        switch location.place {
        case .segment(let number, let offset), .recipe(let number, let offset, _):
            return (fixture.directory.file("data/segments/" + Segment.fileName(number)), offset, location)
        case .ownFile: return (fixture.directory.file("data/blobs/\(id.hex.prefix(2))/\(id.hex)"), 0, location)
        }
    }

    @Test("one flipped bit anywhere in a small record is found at every read") func smallRecord() async throws {
        let fixture = try Fixture()
        let bytes = pattern(100, seed: 1)
        let id = try await fixture.store(bytes)
        let (path, offset, _) = try path(fixture, id)
        #expect(try await fixture.read(id) == bytes)
        for position in 0..<Int64(64 + 100 + 4) {
            let mask = UInt8(1 << (position % 8))
            try flip(path, at: offset + position, mask: mask)
            #expect(await code { _ = try await fixture.read(id) } == .corrupt)
            #expect(await code { _ = try fixture.blobs.cachedContent(of: id) } == .corrupt)
            try flip(path, at: offset + position, mask: mask)
        }
        #expect(try await fixture.read(id) == bytes)
    }

    @Test("one flipped bit in any slice, checksum or header of a large blob is found at its first use", arguments: [true, false])
    func largeBlob(inSegment: Bool) async throws {
        let fixture = try Fixture()
        let length = inSegment ? 3 << 20 + 17 : 9 << 20 + 17
        let id = try await fixture.store(pattern(length, seed: 2))
        let (path, offset, location) = try path(fixture, id)
        #expect(location.place == (inSegment ? .segment(1, offset: 64) : .ownFile))
        let total = 64 + Int64(length) + SliceChecksums.tableBytes(length: Int64(length))
        for position in Array(stride(from: 0, to: total, by: 262_144)) + Array(total - 110..<total) {
            try flip(path, at: offset + position, mask: 0x80)
            let blobs = try fixture.reopened()
            do throws(RegistryError) {
                _ = try await blobs.content(of: id)
                Issue.record("byte \(position) was flipped")
            } catch {
                #expect(error.code == .corrupt)
                #expect(error.subject.description == "blob \(id)")
            }
            try flip(path, at: offset + position, mask: 0x80)
        }
        #expect(try await fixture.reopened().content(of: id)?.length == Int64(length))
    }

    @Test("a missing, shortened or exchanged file is corrupt for its blobs only") func missingFile() async throws {
        let fixture = try Fixture()
        let small = try await fixture.store(pattern(50, seed: 3))
        let own = try await fixture.store(pattern(9 << 20, seed: 4))
        let other = try await fixture.store(pattern(9 << 20, seed: 5))
        let (ownPath, _, _) = try path(fixture, own)
        let (otherPath, _, _) = try path(fixture, other)
        try Disk.truncate(try Disk.open(ownPath, 2), to: 4096)
        try Disk.remove(otherPath)
        let blobs = try fixture.reopened()
        #expect(await code { _ = try await blobs.content(of: own) } == .corrupt)
        #expect(await code { _ = try await blobs.content(of: other) } == .corrupt)
        #expect(try await blobs.content(of: small)?.length == 50)
        let (segmentPath, _, _) = try path(fixture, small)
        try Disk.remove(segmentPath)
        #expect(await code { _ = try await fixture.reopened().content(of: small) } == .corrupt)
    }

    @Test("uploading the bytes of a damaged blob again heals it", arguments: [100, 100_000, 9 << 20])
    func healed(length: Int) async throws {
        let fixture = try Fixture()
        let bytes = pattern(length, seed: 6)
        let id = try await fixture.store(bytes)
        let (path, offset, _) = try path(fixture, id)
        try flip(path, at: offset + 64 + 7)
        let blobs = try fixture.reopened()
        #expect(await code { _ = try await blobs.content(of: id) } == .corrupt)
        let staged = try await blobs.stage(ByteBuffer(bytes: bytes), digests: .sha256)
        try await fixture.commit([staged])
        let content = try #require(try await blobs.content(of: id))
        #expect(try content.bytes(at: 0, count: length) == bytes)
        #expect(try await fixture.reopened().content(of: id)?.bytes(at: 0, count: length) == bytes)
    }

    @Test("a row of the index that does not decode is corrupt, and names the blob") func damagedRow() async throws {
        let fixture = try Fixture()
        let id = try await fixture.store([1, 2, 3])
        try await fixture.index.commit { batch throws(RegistryError) in batch.put(id.bytes, [1, 7, 7], in: .blobLocations) }
        do throws(RegistryError) {
            _ = try await fixture.blobs.content(of: id)
            Issue.record("the row is damaged")
        } catch {
            #expect(error.code == .corrupt)
            #expect(error.subject.description == "blob \(id)")
        }
    }
}
