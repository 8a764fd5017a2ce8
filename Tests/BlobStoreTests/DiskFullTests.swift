import Core
import NIOCore
import OrderedStore
import TestSupport
import Testing

@testable import BlobStore

#if canImport(Glibc)
    import Glibc
#endif

/// A small file system of its own under the store's data; unmounted with the last reference.
private final class SmallDisk: Sendable {
    let path: String

    init?(at path: String, bytes: Int) {
        self.path = path
        guard mkdir(path, 0o700) == 0, mount("tmpfs", path, "tmpfs", 0, "size=\(bytes)") == 0 else { return nil }
    }

    deinit { umount2(path, Int32(MNT_DETACH)) }

    static let isAllowed: Bool = {
        guard let directory = try? TemporaryDirectory() else { return false }
        return SmallDisk(at: directory.file("try"), bytes: 1 << 20) != nil
    }()
}

@Suite("A full disk", .enabled(if: SmallDisk.isAllowed, "mounting a small file system needs root")) struct DiskFullTests {
    private func full(_ options: BlobStore.Options = Fixture.options) throws -> (Fixture, SmallDisk) {
        let directory = try TemporaryDirectory()
        let disk = try #require(SmallDisk(at: directory.file("data"), bytes: 8 << 20))
        return (try Fixture(options, in: directory), disk)
    }

    @Test("a body of known length that does not fit is refused before it is read, or with its first bytes") func known() async throws {
        let (fixture, disk) = try full()
        let kept = try await fixture.store(pattern(1000, seed: 1))
        for length in [Int64(9 << 20), 100 << 30] {
            #expect(await code { _ = try fixture.blobs.stage(expectedLength: length, digests: .sha256) } == .noSpace)
        }
        #expect(await code { _ = try await fixture.blobs.beginUpload(context: [], totalBytes: 100 << 30) } == .noSpace)
        #expect(try await fixture.read(kept) == pattern(1000, seed: 1))
        #expect(disk.path == fixture.directory.file("data"))
    }

    @Test("a body of unknown length fails when the disk is full; what was stored is served; freed space is used again without a restart")
    func unknown() async throws {
        let (fixture, disk) = try full()
        let kept = try await fixture.store(pattern(1000, seed: 1))
        #expect(
            await code { _ = try await fixture.stage(pattern(12 << 20, seed: 2), announced: false) } == .noSpace)
        #expect(try await fixture.read(kept) == pattern(1000, seed: 1))
        let filler = disk.path + "/filler"
        do {
            let file = try Disk.open(filler, O_RDWR | O_CREAT)
            try Disk.allocate(file, at: 0, count: try Disk.freeBytes(at: disk.path))
        }
        #expect(try Disk.freeBytes(at: disk.path) == 0)
        #expect(await code { try await fixture.store(pattern(100_000, seed: 3)) } == .noSpace)
        let session = try await fixture.blobs.beginUpload(context: [1], totalBytes: nil)
        #expect(await code { _ = try await fixture.blobs.append(session.id, at: 0, from: body([1, 2])) } == .noSpace)
        #expect(try await fixture.read(kept) == pattern(1000, seed: 1))
        try Disk.remove(filler)
        #expect(try await fixture.blobs.append(session.id, at: 0, from: body([1, 2])).received == 2)
        let later = try await fixture.store(pattern(100_000, seed: 3))
        #expect(try await fixture.read(later) == pattern(100_000, seed: 3))
    }

    @Test("many small blobs fill the disk to the last record, and every one that was accepted is there") func small() async throws {
        let (fixture, _disk) = try full()
        var kept: [BlobID: UInt64] = [:]
        var refused = 0
        for seed in 0..<(300 as UInt64) {
            do {
                kept[try await fixture.store(pattern(60_000, seed: seed))] = seed
            } catch {
                #expect((error as? RegistryError)?.code == .noSpace)
                refused += 1
            }
        }
        #expect(kept.count > 100)
        #expect(refused > 100)
        let blobs = try fixture.reopened()
        for (id, seed) in kept { #expect(try await blobs.content(of: id)?.bytes(at: 0, count: 60_000) == pattern(60_000, seed: seed)) }
        #expect(_disk.path == fixture.directory.file("data"))
    }

    @Test("an upload that fills the disk keeps what was counted, and goes on when there is space") func upload() async throws {
        let (fixture, disk) = try full()
        let bytes = pattern(3 << 20, seed: 4)
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: nil)
        let filler = disk.path + "/filler"
        do {
            let file = try Disk.open(filler, O_RDWR | O_CREAT)
            try Disk.allocate(file, at: 0, count: try Disk.freeBytes(at: disk.path) - 1 << 20)
        }
        #expect(await code { _ = try await fixture.blobs.append(upload.id, at: 0, from: body(bytes, announced: false)) } == .noSpace)
        let received = try #require(try await fixture.blobs.upload(upload.id)).received
        #expect(received > 0 && received < 3 << 20)
        try Disk.remove(filler)
        _ = try await fixture.blobs.append(upload.id, at: received, from: body(Array(bytes[Int(received)...])))
        let staged = try await fixture.blobs.finishUpload(upload.id, digests: .sha256)
        try await fixture.commit([staged])
        #expect(try await fixture.read(staged.id) == bytes)
    }

    @Test("the reserve is never given to blobs") func reserve() async throws {
        var options = Fixture.options
        options.reserveBytes = 6 << 20
        let (fixture, disk) = try full(options)
        #expect(await code { _ = try fixture.blobs.stage(expectedLength: 3 << 20, digests: .sha256) } == .noSpace)
        #expect(await code { _ = try await fixture.stage(pattern(7 << 20, seed: 5), announced: false) } == .noSpace)
        #expect(try Disk.freeBytes(at: disk.path) >= 6 << 20)
    }
}
