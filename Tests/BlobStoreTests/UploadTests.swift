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

@Suite("Resumable uploads") struct UploadTests {
    private func status(_ upload: UploadStatus, _ fixture: Fixture) async throws -> UploadStatus {
        try #require(try await fixture.blobs.upload(upload.id))
    }

    @Test("bytes appended in pieces become a blob, and the session is over when it is committed", arguments: [0, 1, 70_000, 3 << 20, 9 << 20])
    func pieces(length: Int) async throws {
        for digests in [DigestSet.sha256, .all] {
            let fixture = try Fixture()
            let bytes = pattern(length, seed: 1)
            let upload = try await fixture.blobs.beginUpload(context: [1, 2, 3], totalBytes: nil)
            let cut = length / 3
            var now = try await fixture.blobs.append(upload.id, at: 0, from: body(Array(bytes[..<cut])))
            #expect(now.received == Int64(cut))
            now = try await fixture.blobs.append(upload.id, at: nil, from: body(Array(bytes[cut...]), announced: false))
            #expect(now.received == Int64(length))
            #expect(now.context == [1, 2, 3])
            let staged = try await fixture.blobs.finishUpload(upload.id, digests: digests)
            #expect(staged.digests == digests.algorithms.map { Digest.of($0, bytes) })
            #expect(try await fixture.read(staged.id) == nil)
            try await fixture.commit([staged])
            #expect(try await fixture.read(staged.id) == bytes)
            #expect(try await fixture.blobs.upload(upload.id) == nil)
            #expect(try fixture.files().keys.allSatisfy { !$0.hasPrefix("/uploads") })
            #expect(try await fixture.afterCrash().read(staged.id) == bytes)
        }
    }

    @Test("after a crash a session goes on where it was, and its digest is right", arguments: [50_000, 3 << 20])
    func crash(length: Int) async throws {
        let fixture = try Fixture()
        let bytes = pattern(length, seed: 2)
        let upload = try await fixture.blobs.beginUpload(context: Array("oci".utf8), totalBytes: Int64(length))
        let before = try await fixture.blobs.append(upload.id, at: 0, from: body(Array(bytes[..<(length / 2)])))
        let later = try fixture.afterCrash()
        let after = try await status(upload, later)
        #expect(after.received == before.received)
        #expect(after.ranges == before.ranges)
        #expect(after.context == before.context)
        #expect(after.totalBytes == Int64(length))
        #expect(after.created == before.created)
        _ = try await later.blobs.append(upload.id, at: after.received, from: body(Array(bytes[(length / 2)...])))
        let staged = try await later.blobs.finishUpload(upload.id, digests: .sha256)
        try await later.commit([staged])
        #expect(staged.id.digest == Digest.of(.sha256, bytes))
        #expect(try await later.read(staged.id) == bytes)
    }

    @Test("after a crash between staging and committing, a session has the client's bytes and no others") func crashWhileStaged() async throws {
        let fixture = try Fixture()
        let bytes = pattern(3 << 20, seed: 3)
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: nil)
        _ = try await fixture.blobs.append(upload.id, at: 0, from: body(bytes))
        let staged = try await fixture.blobs.finishUpload(upload.id, digests: .sha256)
        #expect(try fixture.files()["/uploads/\(upload.id).data"] == OwnFile.fileBytes(length: 3 << 20))
        let later = try fixture.afterCrash()
        #expect(try await status(upload, later).received == 3 << 20)
        let more = pattern(100, seed: 4)
        _ = try await later.blobs.append(upload.id, at: 3 << 20, from: body(more))
        let whole = try await later.blobs.finishUpload(upload.id, digests: .sha256)
        #expect(whole.id.digest == Digest.of(.sha256, bytes + more))
        #expect(staged.size == 3 << 20)
    }

    @Test("after a crash between committing and forgetting the session, the blob is whole and the session gone") func crashAfterCommit() async throws
    {
        let fixture = try Fixture()
        let bytes = pattern(3 << 20, seed: 5)
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: nil)
        _ = try await fixture.blobs.append(upload.id, at: 0, from: body(bytes))
        let staged = try await fixture.blobs.finishUpload(upload.id, digests: .sha256)
        let row = try #require(staged.location)
        let (key, value) = (row.key, row.value)
        try await fixture.index.commit(files: staged.unsynced) { batch throws(RegistryError) in batch.put(key, value, in: .blobLocations) }
        let blobs = try fixture.reopened()
        #expect(try await blobs.upload(upload.id) == nil)
        #expect(try await blobs.content(of: staged.id)?.bytes(at: 0, count: 3 << 20) == bytes)
        #expect(try fixture.files().keys.allSatisfy { !$0.hasPrefix("/uploads") })
    }

    @Test("an append elsewhere than at the end is refused, and says where that is") func wrongOffset() async throws {
        let fixture = try Fixture()
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: 10)
        _ = try await fixture.blobs.append(upload.id, at: 0, from: body([1, 2, 3]))
        for offset in [0, 2, 4, -1] as [Int64] {
            #expect(await code { _ = try await fixture.blobs.append(upload.id, at: offset, from: body([4])) } == .rangeUnsatisfiable)
        }
        #expect(await code { _ = try await fixture.blobs.append(upload.id, at: 3, from: body(Array(0..<8))) } == .invalid)
        #expect(await code { _ = try await fixture.blobs.append(upload.id, at: 3, from: body(Array(0..<8), announced: false)) } == .invalid)
        #expect(try await status(upload, fixture).received == 3)
        #expect(await code { _ = try await fixture.blobs.finishUpload(upload.id, digests: .sha256) } == .invalid)
        _ = try await fixture.blobs.append(upload.id, at: 3, from: body(Array(4...10)))
        let staged = try await fixture.blobs.finishUpload(upload.id, digests: .sha256)
        #expect(staged.id.digest == Digest.of(.sha256, Array(1...10)))
    }

    @Test("what arrived of a body that broke off is kept and counted") func brokenOff() async throws {
        let fixture = try Fixture()
        let bytes = pattern(500_000, seed: 6)
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: nil)
        let cut = RegistryError(.invalid, subject: .request, reason: "the connection was cut")
        let broken = Body(length: 500_000, source: BrokenSource(slices(Array(bytes[..<300_000]), of: 77_777), then: cut))
        #expect(await code { _ = try await fixture.blobs.append(upload.id, at: 0, from: broken) } == .invalid)
        #expect(try await status(upload, fixture).received == 300_000)
        let later = try fixture.afterCrash()
        for each in [fixture, later] {
            _ = try await each.blobs.append(upload.id, at: 300_000, from: body(Array(bytes[300_000...])))
            #expect(try await each.blobs.finishUpload(upload.id, digests: .sha256).id.digest == Digest.of(.sha256, bytes))
        }
    }

    @Test("two appends at the same time: the second is a conflict, the first goes on") func concurrentAppends() async throws {
        let fixture = try Fixture()
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: nil)
        let slow = GatedSource(ByteBuffer(bytes: [1, 2, 3]))
        async let first = fixture.blobs.append(upload.id, at: 0, from: Body(length: nil, source: slow))
        await slow.isAsked()
        #expect(await code { _ = try await fixture.blobs.append(upload.id, at: nil, from: body([9])) } == .conflict)
        #expect(await code { _ = try await fixture.blobs.finishUpload(upload.id, digests: .sha256) } == .conflict)
        slow.open()
        #expect(try await first.received == 3)
        let again = GatedSource(ByteBuffer(bytes: [4]))
        async let cancelled = fixture.blobs.append(upload.id, at: 3, from: Body(length: nil, source: again))
        await again.isAsked()
        try await fixture.blobs.cancelUpload(upload.id)
        again.open()
        do {
            _ = try await cancelled
            Issue.record("the upload was cancelled")
        } catch {
            #expect((error as? RegistryError)?.code == .notFound)
        }
        #expect(try fixture.files().isEmpty)
    }

    @Test("ranges may come in any order, at the same time, and across a crash") func outOfOrder() async throws {
        let fixture = try Fixture()
        let bytes = pattern(1_000_000, seed: 7)
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: 1_000_000)
        _ = try await fixture.blobs.append(upload.id, at: 0, from: body(Array(bytes[..<100_000])))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for start in [900_000, 300_000, 700_000, 500_000] {
                group.addTask {
                    _ = try await fixture.blobs.write(
                        upload.id, range: Int64(start)..<Int64(start + 100_000), from: body(Array(bytes[start..<start + 100_000])))
                }
            }
            try await group.waitForAll()
        }
        let expected: [Range<Int64>] = [0..<100_000, 300_000..<400_000, 500_000..<600_000, 700_000..<800_000, 900_000..<1_000_000]
        #expect(try await status(upload, fixture).ranges == expected)
        let later = try fixture.afterCrash()
        #expect(try await status(upload, later).ranges == expected)
        #expect(try await status(upload, later).received == 100_000)
        #expect(await code { _ = try await later.blobs.finishUpload(upload.id, digests: .sha256) } == .invalid)
        for start in [800_000, 100_000, 600_000, 200_000, 400_000] {
            _ = try await later.blobs.write(
                upload.id, range: Int64(start)..<Int64(start + 100_000), from: body(Array(bytes[start..<start + 100_000])))
        }
        #expect(try await status(upload, later).received == 1_000_000)
        let staged = try await later.blobs.finishUpload(upload.id, digests: .sha256)
        try await later.commit([staged])
        #expect(try await later.read(try #require(BlobID(Digest.of(.sha256, bytes)))) == bytes)
    }

    @Test("a range is refused outside the total, over one being written, or with a body of another length") func wrongRanges() async throws {
        let fixture = try Fixture()
        let open = try await fixture.blobs.beginUpload(context: [], totalBytes: nil)
        #expect(await code { _ = try await fixture.blobs.write(open.id, range: 0..<1, from: body([1])) } == .invalid)
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: 10)
        #expect(await code { _ = try await fixture.blobs.write(upload.id, range: 9..<11, from: body([1, 2])) } == .rangeUnsatisfiable)
        #expect(await code { _ = try await fixture.blobs.write(upload.id, range: -1..<1, from: body([1, 2])) } == .rangeUnsatisfiable)
        #expect(await code { _ = try await fixture.blobs.write(upload.id, range: 2..<4, from: body([1, 2, 3])) } == .invalid)
        #expect(await code { _ = try await fixture.blobs.write(upload.id, range: 5..<9, from: body([1, 2])) } == .invalid)
        #expect(try await status(upload, fixture).ranges == [5..<7])
        let slow = GatedSource(ByteBuffer(bytes: [7, 7]))
        async let first = fixture.blobs.write(upload.id, range: 0..<2, from: Body(length: 2, source: slow))
        await slow.isAsked()
        #expect(await code { _ = try await fixture.blobs.write(upload.id, range: 1..<3, from: body([1, 2])) } == .conflict)
        #expect(await code { _ = try await fixture.blobs.append(upload.id, at: nil, from: body([1])) } == .conflict)
        _ = try await fixture.blobs.write(upload.id, range: 2..<3, from: body([8]))
        slow.open()
        #expect(try await first.ranges == [0..<3, 5..<7])
    }

    @Test("staged bytes that are let go leave the session as it was") func letGo() async throws {
        let fixture = try Fixture()
        let bytes = pattern(2 << 20, seed: 8)
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: nil)
        _ = try await fixture.blobs.append(upload.id, at: 0, from: body(bytes))
        var staged: (any StagedBytes)? = try await fixture.blobs.finishUpload(upload.id, digests: .sha256)
        #expect(staged?.size == 2 << 20)
        #expect(await code { _ = try await fixture.blobs.append(upload.id, at: nil, from: body([1])) } == .conflict)
        #expect(await code { try await fixture.blobs.cancelUpload(upload.id) } == .conflict)
        staged = nil
        _ = try await fixture.blobs.append(upload.id, at: 2 << 20, from: body([1, 2, 3]))
        let whole = try await fixture.blobs.finishUpload(upload.id, digests: .sha256)
        try await fixture.commit([whole])
        #expect(try await fixture.read(whole.id) == bytes + [1, 2, 3])
    }

    @Test("an upload of bytes the store has ends with its commit, and costs no file") func deduplicated() async throws {
        let fixture = try Fixture()
        let bytes = pattern(2 << 20, seed: 9)
        try await fixture.store(bytes)
        let before = try fixture.files()
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: 2 << 20)
        _ = try await fixture.blobs.append(upload.id, at: 0, from: body(bytes))
        let staged = try await fixture.blobs.finishUpload(upload.id, digests: .sha256)
        #expect(staged.location == nil)
        try await fixture.commit([staged])
        #expect(try fixture.files() == before)
        #expect(fixture.blobs.statistics.uploadsOpen == 0)
    }

    @Test("a session that received nothing for its lifetime expires; each append renews it, and a crash does not") func expiry() async throws {
        var options = Fixture.options
        options.uploadLifetimeSeconds = 100
        let fixture = try Fixture(options)
        let idle = try await fixture.blobs.beginUpload(context: [], totalBytes: nil)
        let busy = try await fixture.blobs.beginUpload(context: [], totalBytes: nil)
        #expect(idle.expires == fixture.clock.now.adding(seconds: 100))
        fixture.clock.advance(seconds: 60)
        _ = try await fixture.blobs.append(busy.id, at: 0, from: body([1]))
        fixture.clock.advance(seconds: 40)
        let again = try fixture.reopened(options)
        #expect(try await again.upload(busy.id)?.expires == idle.expires.adding(seconds: 60))
        #expect(try await fixture.blobs.expireUploads(now: fixture.clock.now) == 1)
        #expect(try await fixture.blobs.upload(idle.id) == nil)
        #expect(try await fixture.blobs.upload(busy.id)?.received == 1)
        #expect(try fixture.files().keys.sorted() == ["/uploads/\(busy.id).data", "/uploads/\(busy.id).meta"])
        #expect(await code { _ = try await fixture.blobs.append(idle.id, at: 0, from: body([1])) } == .notFound)
    }

    @Test("a session costs no file before its first byte, and is gone after a crash until then") func onlyBegun() async throws {
        let fixture = try Fixture()
        let upload = try await fixture.blobs.beginUpload(context: [4], totalBytes: nil)
        #expect(try fixture.files().isEmpty)
        #expect(try await fixture.afterCrash().blobs.upload(upload.id) == nil)
        #expect(try await fixture.blobs.append(upload.id, at: 0, from: body([1, 2])).received == 2)
        #expect(try await fixture.afterCrash().blobs.upload(upload.id)?.received == 2)
    }

    @Test("files that are no whole session are removed by the next start, others' are left alone") func leftOvers() async throws {
        let fixture = try Fixture()
        let whole = try await fixture.blobs.beginUpload(context: [], totalBytes: 5)
        let torn = try await fixture.blobs.beginUpload(context: [1, 2, 3], totalBytes: 5)
        for upload in [whole, torn] { _ = try await fixture.blobs.append(upload.id, at: 0, from: body([7])) }
        let uploads = fixture.directory.file("data/uploads/")
        try Disk.truncate(try Disk.open(uploads + "\(torn.id).meta", O_RDWR), to: 20)
        for name in ["\(World.real.newID()).data", "\(World.real.newID()).tmp", "notes.txt"] { _ = try Disk.open(uploads + name, O_RDWR | O_CREAT) }
        let blobs = try fixture.reopened()
        #expect(try await blobs.upload(whole.id)?.totalBytes == 5)
        #expect(try await blobs.upload(torn.id) == nil)
        #expect(try fixture.files().keys.sorted() == ["/uploads/\(whole.id).data", "/uploads/\(whole.id).meta", "/uploads/notes.txt"].sorted())
    }

    @Test("a crash in the first write out of order leaves what came in order, and counts neither that write nor the hole before it")
    func crashInFirstRange() async throws {
        let fixture = try Fixture()
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: 1_000_000)
        _ = try await fixture.blobs.append(upload.id, at: 0, from: body(pattern(1_000, seed: 1)))
        let source = CrashingSource(slices(pattern(500_000, seed: 2), of: 100_000), in: fixture)
        _ = try await fixture.blobs.write(upload.id, range: 500_000..<1_000_000, from: Body(length: 500_000, source: source))
        let later = try #require(source.found)
        #expect(try await status(upload, later).ranges == [0..<1_000])
        #expect(try await status(upload, later).received == 1_000)
    }

    @Test("a power cut that leaves a longer file than bytes, with zeros at its end, adds nothing to what was received", arguments: [1, 70_000])
    func zerosAtTheEnd(received: Int) async throws {
        let fixture = try Fixture()
        let bytes = pattern(200_000, seed: 3)
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: nil)
        _ = try await fixture.blobs.append(upload.id, at: 0, from: body(Array(bytes[..<received])))
        let later = try fixture.afterCrash()
        let data = try Disk.open(later.directory.file("data/uploads/\(upload.id).data"), O_RDWR)
        try Disk.truncate(data, to: 150_000)
        let blobs = try later.reopened()
        #expect(try await blobs.upload(upload.id)?.received == Int64(received))
        _ = try await blobs.append(upload.id, at: Int64(received), from: body(Array(bytes[received...])))
        let staged = try await blobs.finishUpload(upload.id, digests: .sha256)
        try await later.commit([staged])
        #expect(try await blobs.content(of: try #require(BlobID(Digest.of(.sha256, bytes))))?.bytes(at: 0, count: 200_000) == bytes)
    }

    /// Copies the store, as a crash would leave it, when half of it has been read.
    private final class CrashingSource: BodySource {
        private let rest: Mutex<[ByteBuffer]>
        private let half: Int
        private let fixture: Fixture
        private let copy = Mutex<Fixture?>(nil)
        var found: Fixture? { copy.withLock { $0 } }

        init(_ slices: [ByteBuffer], in fixture: Fixture) {
            rest = Mutex(slices.reversed())
            half = slices.count / 2
            self.fixture = fixture
        }

        func next() async throws(RegistryError) -> ByteBuffer? {
            if rest.withLock({ $0.count }) == half { copy.withLock { $0 = try? fixture.afterCrash() } }
            return rest.withLock { $0.popLast() }
        }
    }

    @Test("a torn range entry is forgotten, those before it count") func tornEntry() async throws {
        let fixture = try Fixture()
        let upload = try await fixture.blobs.beginUpload(context: [], totalBytes: 100)
        _ = try await fixture.blobs.write(upload.id, range: 50..<60, from: body(Array(repeating: 1, count: 10)))
        _ = try await fixture.blobs.write(upload.id, range: 0..<10, from: body(Array(repeating: 2, count: 10)))
        let meta = try Disk.open(fixture.directory.file("data/uploads/\(upload.id).meta"), O_RDWR)
        try Disk.truncate(meta, to: try Disk.status(of: meta).size - 3)
        let blobs = try fixture.reopened()
        #expect(try await blobs.upload(upload.id)?.ranges == [50..<60])
        _ = try await blobs.write(upload.id, range: 0..<10, from: body(Array(repeating: 2, count: 10)))
        #expect(try await fixture.reopened().upload(upload.id)?.ranges == [0..<10, 50..<60])
    }

    @Test("the number of open sessions and the size of a context have bounds") func bounds() async throws {
        var options = Fixture.options
        options.uploadsMax = 1
        let fixture = try Fixture(options)
        let tooLarge = [UInt8](repeating: 0, count: 16 << 10 + 1)
        #expect(await code { _ = try await fixture.blobs.beginUpload(context: tooLarge, totalBytes: nil) } == .invalid)
        #expect(await code { _ = try await fixture.blobs.beginUpload(context: [], totalBytes: -1) } == .invalid)
        _ = try await fixture.blobs.beginUpload(context: [], totalBytes: nil)
        #expect(await code { _ = try await fixture.blobs.beginUpload(context: [], totalBytes: nil) } == .unavailable)
    }
}

/// One slice, given when the test says so.
private final class GatedSource: BodySource {
    private struct State {
        var slice: ByteBuffer?
        var isOpen = false
        var wasAsked = false
        var reader: CheckedContinuation<Void, Never>?
        var watcher: CheckedContinuation<Void, Never>?
    }
    private let state: Mutex<State>

    init(_ slice: ByteBuffer) { state = Mutex(State(slice: slice)) }

    func next() async throws(RegistryError) -> ByteBuffer? {
        await withCheckedContinuation { continuation in
            let watcher = state.withLock { state in
                state.wasAsked = true
                if state.isOpen { continuation.resume() } else { state.reader = continuation }
                defer { state.watcher = nil }
                return state.watcher
            }
            watcher?.resume()
        }
        return state.withLock { state in
            defer { state.slice = nil }
            return state.slice
        }
    }

    func isAsked() async {
        await withCheckedContinuation { continuation in
            state.withLock { state in
                if state.wasAsked { continuation.resume() } else { state.watcher = continuation }
            }
        }
    }

    func open() {
        state.withLock { state in
            state.isOpen = true
            state.reader?.resume()
            state.reader = nil
        }
    }
}
