import Core
import NIOCore
import OrderedStore
import Synchronization
import TestSupport
import Testing

@testable import BlobStore

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Failing disks and bounded memory") struct FaultTests {
    /// From now on the file cannot be synced: it is a device that has no such call.
    private func breakSyncs(of file: OpenFile) throws {
        let null = try Disk.open("/dev/null", O_RDWR)
        try #require(dup2(null.descriptor, file.descriptor) == file.descriptor)
    }

    @Test("after a failed sync nothing is acknowledged any more, and a restart finds what was", arguments: [1_000, 9 << 20])
    func failedSync(length: Int) async throws {
        let fixture = try Fixture()
        let kept = try await fixture.store(pattern(500, seed: 1))
        let lost = try await fixture.stage(pattern(length, seed: 2))
        switch try #require(lost.unsynced.first) {
        case let segment as Segment: try breakSyncs(of: segment.file)
        case let own as OwnFile: try breakSyncs(of: own.file)
        default: Issue.record("a file of another kind")
        }
        for _ in 0..<2 { #expect(await code { try await fixture.commit([lost]) } == .unavailable) }
        #expect(await code { try await fixture.store(pattern(100, seed: 3)) } != nil)
        #expect(try await fixture.read(lost.id) == nil)
        #expect(try await fixture.read(kept) == pattern(500, seed: 1))
        let later = try fixture.afterCrash()
        #expect(try later.locations().keys.sorted() == [kept])
        #expect(try await later.read(kept) == pattern(500, seed: 1))
        try await later.store(pattern(length, seed: 2))
        #expect(try await later.read(lost.id) == pattern(length, seed: 2))
    }

    @Test("a change that fails after its blob's file got its name takes the name away again") func failedChange() async throws {
        let fixture = try Fixture()
        let bytes = pattern(9 << 20, seed: 4)
        var staged: (any StagedBytes)? = try await fixture.stage(bytes)
        let id = try #require(staged?.id)
        let files = try #require(staged?.unsynced)
        let name = "/blobs/\(id.hex.prefix(2))/\(id.hex)"
        do throws(RegistryError) {
            try await fixture.index.commit(files: files) { _ throws(RegistryError) in
                throw RegistryError(.conflict, subject: .request, reason: "a precondition does not hold")
            }
            Issue.record("the change must fail")
        } catch {
            #expect(error.code == .conflict)
        }
        #expect(try fixture.files()[name] == OwnFile.fileBytes(length: 9 << 20))
        staged = nil
        #expect(try fixture.files()[name] == nil)
        try await fixture.store(bytes)
        #expect(try await fixture.read(id) == bytes)
    }

    @Test("what a failed write of the index may have named keeps its bytes: the next start may find the row", arguments: [300_000, 9 << 20])
    func unknownFate(length: Int) async throws {
        let fixture = try Fixture()
        let bytes = pattern(length, seed: 5)
        var staged: (any StagedBytes)? = try await fixture.stage(bytes)
        let id = try #require(staged?.id)
        let row = try #require(staged?.location)
        for file in try #require(staged?.unsynced) { try file.synchronize() }
        await #expect(throws: RegistryError.self) { try await fixture.index.commit(files: [BrokenFile()]) { _ in } }
        staged = nil
        fixture.blobs.segments.retire(.uploads)
        // Whatever was to be sealed is sealed then.
        try await fixture.blobs.segments.sealing.run {}
        let later = try fixture.afterCrash()
        try await later.index.commit { batch in batch.put(row.key, row.value, in: .blobLocations) }
        #expect(try await later.read(id) == bytes)
    }

    @Test("descriptors of files read lately are kept, the least lately used is closed, and an answer keeps its own") func openFiles() throws {
        let directory = try TemporaryDirectory()
        for number in 0..<4 { try Disk.write([UInt8(number)], to: try Disk.open(directory.file("\(number)"), O_RDWR | O_CREAT), at: 0) }
        let files = OpenFiles(filesMax: 2)
        let first = try #require(try files.open(.segment(0), at: directory.file("0")))
        _ = try files.open(.segment(1), at: directory.file("1"))
        #expect(files.cached(.segment(0)) === first)
        _ = try files.open(.segment(2), at: directory.file("2"))
        #expect(files.cached(.segment(1)) == nil)
        _ = try files.open(.segment(3), at: directory.file("3"))
        #expect(files.cached(.segment(0)) == nil)
        #expect(files.count == 2)
        #expect(try Disk.read(first, at: 0, count: 1) == [0])
        #expect(try files.open(.segment(9), at: directory.file("9")) == nil)
        files.forget(.segment(3))
        #expect(files.cached(.segment(3)) == nil)
    }

    @Test("the blobs remembered as verified are bounded, the latest among them") func verifiedBlobs() throws {
        let verified = VerifiedBlobs(blobsMax: 100, seconds: 0, world: .real)
        let ids = try (0..<500).map { try #require(BlobID(Digest.of(.sha256, [UInt8($0 / 256), UInt8($0 % 256)]))) }
        for id in ids { verified.insert(id) }
        #expect(ids.suffix(50).allSatisfy(verified.contains))
        #expect(ids.filter(verified.contains).count <= 100)
    }

    @Test("a large blob is read and checked again when its verification is older than the window") func window() async throws {
        let monotonic = Mutex<UInt64>(1_000_000_000_000)
        let world = World(now: World.real.now, monotonicNanoseconds: { monotonic.withLock { $0 } }, random: World.real.random)
        let fixture = try Fixture()
        let id = try await fixture.store(pattern(9 << 20, seed: 6))
        var options = Fixture.options
        options.verificationSeconds = 60
        let blobs = try BlobStore(at: fixture.directory.file("data"), store: fixture.index, options: options, world: world, log: Fixture.log)
        _ = try await blobs.content(of: id)
        try flip(fixture.directory.file("data/blobs/\(id.hex.prefix(2))/\(id.hex)"), at: 5_000_000)
        monotonic.withLock { $0 += 59_000_000_000 }
        _ = try await blobs.content(of: id)
        monotonic.withLock { $0 += 1_000_000_000 }
        if case .found = try blobs.cachedContent(of: id) { Issue.record("memory alone does not vouch for it") }
        #expect(await code { _ = try await blobs.content(of: id) } == .corrupt)
    }

    @Test("many readers of one unverified blob share one reading of it, and its failure") func sharedVerification() async throws {
        let fixture = try Fixture()
        let id = try await fixture.store(pattern(9 << 20, seed: 5))
        let blobs = try fixture.reopened()
        let lengths = try await withThrowingTaskGroup(of: Int64?.self) { group in
            for _ in 0..<50 { group.addTask { try await blobs.content(of: id)?.length } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(lengths == [Int64?](repeating: 9 << 20, count: 50))
        try flip(fixture.directory.file("data/blobs/\(id.hex.prefix(2))/\(id.hex)"), at: 5_000_000)
        let again = try fixture.reopened()
        let codes = await withTaskGroup(of: RegistryError.Code?.self) { group in
            for _ in 0..<50 { group.addTask { await code { _ = try await again.content(of: id) } } }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(codes == [RegistryError.Code?](repeating: .corrupt, count: 50))
    }
}

private final class BrokenFile: SyncableFile {
    func synchronize() throws(RegistryError) {
        throw RegistryError(.unavailable, subject: .store, reason: "the disk did not keep what was written")
    }
}
