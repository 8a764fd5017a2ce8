import Core
import NIOCore
import OrderedStore
import Synchronization
import TestSupport
import Testing

@testable import BlobStore

/// A backup whose objects lie in a bucket; the drills with a server at work are in RegistryTests and NativeClients/s3.
@Suite("A backup on a shelf") struct ShelfBackupTests {
    private static var options: BlobStore.Options {
        var options = Fixture.options
        options.segmentBytesMax = 1 << 20
        options.ownFileBytesMin = 2 << 20
        return options
    }

    private func backUp(_ fixture: Fixture, to shelf: MemoryShelf) async throws -> BackupTally {
        try await fixture.blobs.backUp(to: shelf, keys: try .test(fixture.directory.file("keys"))) { 7 }.tally
    }

    private func manifest(_ shelf: MemoryShelf) async throws -> BackupManifest { try #require(try await BackupManifest.read(from: shelf)) }

    /// Everything it names is there.
    private func isWhole(_ shelf: MemoryShelf) async throws -> Bool {
        try await manifest(shelf).entries.allSatisfy { Int64(shelf.objects[$0.object]?.count ?? -1) == $0.length }
    }

    private func restored(_ shelf: MemoryShelf) async throws -> Fixture {
        let place = try TemporaryDirectory()
        _ = try await BackupRestore.restore(.shelf(shelf), trusting: try .test(), to: place.file("restored"))
        // A fixture calls the store's directory data.
        let fixture = try TemporaryDirectory()
        try copyTree(place.file("restored/index"), fixture.file("index"))
        try copyTree(place.file("restored/store"), fixture.file("data"))
        return try Fixture(ShelfBackupTests.options, in: fixture)
    }

    private func settle(_ fixture: Fixture) { fixture.blobs.segments.sealing.drain() }

    @Test("has everything, restored bit for bit; made again it puts only what changes with the moment, and what is new")
    func incremental() async throws {
        let fixture = try Fixture(ShelfBackupTests.options)
        var wanted: [BlobID: [UInt8]] = [:]
        func store(_ count: Int, _ seed: UInt64) async throws {
            let bytes = pattern(count, seed: seed)
            wanted[try await fixture.store(bytes)] = bytes
        }
        for seed in 0..<5 { try await store(300_000, UInt64(seed)) }
        try await store(3_000_000, 5)
        settle(fixture)
        let shelf = MemoryShelf()
        #expect(try await backUp(fixture, to: shelf).skippedFiles == 0)
        let first = shelf.takePuts()
        #expect(first.last == "backup")
        #expect(first.filter { $0.hasPrefix("store/") }.count == 2)
        #expect(first.contains("moment-1/store/segments/0000000000000002.segment"))
        try await store(2_500_000, 6)
        try await store(4000, 7)
        let again = try await backUp(fixture, to: shelf)
        #expect(again.skippedFiles == 2 && again.removedFiles > 0 && again.damagedFiles == 0)
        let second = shelf.takePuts()
        #expect(second.filter { $0.hasPrefix("store/") }.count == 1)
        #expect(second.last == "backup")
        #expect(!shelf.objects.keys.contains { $0.hasPrefix("moment-1/") })
        #expect(try await isWhole(shelf))
        let other = try await restored(shelf)
        #expect(Set(try other.locations().keys) == Set(wanted.keys))
        for (id, bytes) in wanted { #expect(try await other.read(id) == bytes) }
        #expect(try fixture.files().keys.filter { $0.contains("checkpoint") } == [])
    }

    @Test("interrupted at any put it leaves the one before it whole, and the next attempt goes on")
    func interrupted() async throws {
        let fixture = try Fixture(ShelfBackupTests.options)
        let shelf = MemoryShelf()
        for seed in 0..<3 { try await fixture.store(pattern(300_000, seed: UInt64(seed))) }
        _ = try await backUp(fixture, to: shelf)
        for seed in 3..<9 { try await fixture.store(pattern(500_000, seed: UInt64(seed))) }
        try await fixture.store(pattern(3_000_000, seed: 9))
        settle(fixture)
        let before = try await manifest(shelf)
        var puts = 0
        while true {
            shelf.allow(puts: puts)
            guard await code(of: { _ = try await backUp(fixture, to: shelf) }) != nil else { break }
            #expect(try await manifest(shelf) == before)
            #expect(try await isWhole(shelf))
            puts += 1
        }
        #expect(puts > 4)
        #expect(try await manifest(shelf).moment == before.moment + 1)
        #expect(try await isWhole(shelf))
    }

    @Test("two stores that were one never take the other's segments for their own, though numbers and lengths are the same")
    func diverged() async throws {
        let fixture = try Fixture(ShelfBackupTests.options)
        try await fixture.store(pattern(1000, seed: 1))
        let twin = try fixture.afterCrash(ShelfBackupTests.options)
        let ids = [try await fixture.store(pattern(300_000, seed: 2)), try await twin.store(pattern(300_000, seed: 3))]
        let shelf = MemoryShelf()
        for store in [fixture, twin] {
            for seed in 10..<13 { try await store.store(pattern(300_000, seed: UInt64(seed))) }
            settle(store)
            #expect(try store.blobs.segments.sealedNumbers() == [1])
            _ = try await backUp(store, to: shelf)
        }
        let other = try await restored(shelf)
        #expect(try await other.read(ids[1]) == pattern(300_000, seed: 3))
        #expect(try await other.read(ids[0]) == nil)
    }

    @Test("a damaged file is in it as it is, is told, and is put anew when it was mended")
    func damaged() async throws {
        let fixture = try Fixture(ShelfBackupTests.options)
        let bytes = pattern(3_000_000, seed: 1)
        let id = try await fixture.store(bytes)
        let path = fixture.blobs.blobs.path(of: id)
        try flip(path, at: 1_000_000)
        let shelf = MemoryShelf()
        #expect(try await backUp(fixture, to: shelf).damagedFiles == 1)
        #expect(!shelf.objects.keys.contains { $0.hasPrefix("store/") })
        try flip(path, at: 1_000_000)
        #expect(try await backUp(fixture, to: shelf).damagedFiles == 0)
        #expect(try await restored(shelf).read(id) == bytes)
    }

    @Test("what was changed, cut or taken away on the shelf is found by restoring; any flipped bit of the manifest, too")
    func changed() async throws {
        let fixture = try Fixture(ShelfBackupTests.options)
        try await fixture.store(pattern(1000, seed: 1))
        let shelf = MemoryShelf()
        _ = try await backUp(fixture, to: shelf)
        let objects = shelf.objects
        for (name, bytes) in objects where name != "backup" && !bytes.isEmpty {
            for change in 0..<3 {
                shelf.change(name) { bytes in
                    switch change {
                    case 0: bytes?[0] ^= 1
                    case 1: bytes?.removeLast()
                    default: bytes = nil
                    }
                }
                let place = try TemporaryDirectory()
                let code = await code { _ = try await BackupRestore.restore(.shelf(shelf), trusting: try .test(), to: place.file("x")) }
                #expect(code == .corrupt, "\(name) \(change)")
                #expect(try Disk.openExisting(place.file("x/index")) == nil)
                shelf.change(name) { $0 = bytes }
            }
        }
        let manifest = try #require(objects["backup"])
        for index in manifest.indices {
            var bytes = manifest
            bytes[index] ^= 0x10
            #expect(throws: RegistryError.self) { try BackupManifest(bytes) }
        }
        let signer = try BackupSigner.test()
        for (object, path) in [("store/x", "store/../../x"), ("store/../../x", "store/x"), ("/store/x", "store/x"), ("store/x", "views/x")] {
            var escaping = try BackupManifest(manifest)
            escaping.entries = [.init(length: 1, sum: .sha256([UInt8](repeating: 0, count: 32)), object: object, path: path)]
            #expect(throws: RegistryError.self) { try BackupManifest(try escaping.signed(by: signer)) }
        }
        #expect(try BackupManifest(manifest) == BackupManifest(try BackupManifest(manifest).signed(by: signer)))
    }

    @Test("of a store with a tier it has what only the tier has, too, fetched once; damaged there, it is refused by name")
    func tiered() async throws {
        let tiered = try await TieredFixture()
        let wanted = [pattern(5000, seed: 1), pattern(700_000, seed: 2), pattern(3_500_001, seed: 3)]
        var ids: [BlobID] = []
        for bytes in wanted { ids.append(try await tiered.fixture.store(bytes)) }
        try await tiered.settle()
        try await tiered.storeLast()
        let shelf = MemoryShelf()
        #expect(try await backUp(tiered.fixture, to: shelf).skippedFiles == 0)
        let reads = tiered.tier.reads.withLock { $0 }
        #expect(try await backUp(tiered.fixture, to: shelf).skippedFiles == 3)
        #expect(tiered.tier.reads.withLock { $0 } == reads)
        let other = try await restored(shelf)
        for (id, bytes) in zip(ids, wanted) { #expect(try await other.read(id) == bytes) }
        #expect(try await !other.blobs.hasTier())
        let before = try await manifest(shelf)
        let late = try await tiered.fixture.store(pattern(3_000_000, seed: 8))
        try await tiered.settle()
        try flip(tiered.bucket.file("\(TierName.blob(late))"), at: 5)
        #expect(await code { _ = try await backUp(tiered.fixture, to: shelf) } == .corrupt)
        #expect(try await manifest(shelf) == before)
    }
}
