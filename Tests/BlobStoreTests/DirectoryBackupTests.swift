import Core
import NIOCore
import OrderedStore
import TestSupport
import Testing

@testable import BlobStore

#if canImport(Glibc)
    import Glibc
#endif

/// A backup in a directory, and who is believed about one; the drills with a server at work are in RegistryTests, the program's in GranaryTests.
@Suite("A backup in a directory") struct DirectoryBackupTests {
    private static let segment = "store/segments/0000000000000001.segment"

    private static var options: BlobStore.Options {
        var options = Fixture.options
        options.ownFileBytesMin = 2 << 20
        return options
    }

    private func bytes(_ path: String) throws -> [UInt8] {
        let file = try Disk.open(path, O_RDONLY)
        return try Disk.read(file, at: 0, count: Int(try Disk.status(of: file).size))
    }

    private func restored(_ source: BackupTarget) async throws -> Fixture {
        let place = try TemporaryDirectory()
        _ = try await BackupRestore.restore(source, trusting: try .test(), to: place.file("restored"))
        let fixture = try TemporaryDirectory()
        try copyTree(place.file("restored/index"), fixture.file("index"))
        try copyTree(place.file("restored/store"), fixture.file("data"))
        return try Fixture(DirectoryBackupTests.options, in: fixture)
    }

    private func found(in backup: String) throws -> [String] {
        var found: [String] = []
        try #require(try BackupManifest.read(in: backup)).check(in: backup, readingAll: true) { found.append($0) }
        return found
    }

    @Test("a crash before the new manifest leaves the old backup as it was, one after it the new one, whose files then find their places")
    func crashes() async throws {
        let fixture = try Fixture(DirectoryBackupTests.options)
        let place = try TemporaryDirectory()
        let (backup, segment) = (place.file("backup"), DirectoryBackupTests.segment)
        func backUp() async throws { _ = try await fixture.blobs.backUp(to: backup, keys: try .test(place.file("keys"))) { 7 } }
        let first = try await fixture.store(pattern(3000, seed: 1))
        try await backUp()
        let before = try bytes("\(backup)/\(segment)")
        let second = try await fixture.store(pattern(4000, seed: 2))
        // Before: a half of the next one waits.
        try FileCopy.makeFolders(of: "moment-2/\(segment)", in: backup)
        try FileCopy.write("half", to: "\(backup)/moment-2/\(segment)")
        #expect(try found(in: backup) == [])
        let old = try await restored(.directory(backup))
        #expect(try await old.read(first) == pattern(3000, seed: 1))
        #expect(try await old.read(second) == nil)
        try await backUp()
        #expect(try Disk.names(in: backup) == ["backup", "index-2", "keys", "store"])
        let after = try bytes("\(backup)/\(segment)")
        #expect(after != before)
        // After: what waited is not in its place yet.
        func interrupt() throws {
            try FileCopy.makeFolders(of: "moment-2/\(segment)", in: backup)
            try Disk.move("\(backup)/\(segment)", over: "\(backup)/moment-2/\(segment)")
            try FileCopy.write(before, to: "\(backup)/\(segment)")
        }
        try interrupt()
        let new = try await restored(.directory(backup))
        #expect(try await new.read(second) == pattern(4000, seed: 2))
        #expect(try found(in: backup) == [])
        #expect(try bytes("\(backup)/\(segment)") == after)
        try interrupt()
        try await backUp()
        #expect(try found(in: backup) == [])
        #expect(try Disk.names(in: backup) == ["backup", "index-3", "keys", "store"])
        let last = try await restored(.directory(backup))
        #expect(try await last.read(first) == pattern(3000, seed: 1))
    }

    @Test("of what another signed nothing is believed: a file that was swapped with its digest is told, though it was not copied again")
    func vouched() async throws {
        let fixture = try Fixture(DirectoryBackupTests.options)
        let place = try TemporaryDirectory()
        let (backup, shelf) = (place.file("backup"), MemoryShelf())
        let id = try await fixture.store(pattern(3_000_000, seed: 1))
        let object = "store/blobs/\(id.hex.prefix(2))/\(id.hex)"
        func forged(_ manifest: BackupManifest, _ bytes: [UInt8]) throws -> [UInt8] {
            var manifest = manifest
            let sum = BackupManifest.Sum.sha256(Digest.of(.sha256, bytes).bytes)
            manifest.entries = manifest.entries.map { entry in
                entry.object == object ? .init(length: entry.length, sum: sum, object: object, path: entry.path) : entry
            }
            return try manifest.signed(by: try .test(1))
        }
        let targets: [BackupTarget] = [.directory(backup), .shelf(shelf)]
        func backUp(_ target: BackupTarget) async throws -> BackupTally {
            let keys = try BackupKeys.test(place.file("keys"))
            return switch target {
            case .directory(let path): try await fixture.blobs.backUp(to: path, keys: keys) { 7 }.tally
            case .shelf(let shelf): try await fixture.blobs.backUp(to: shelf, keys: keys) { 7 }.tally
            }
        }
        for target in targets { _ = try await backUp(target) }
        try flip("\(backup)/\(object)", at: 1_000_000)
        let swapped = try bytes("\(backup)/\(object)")
        try FileCopy.write(try forged(try #require(try BackupManifest.read(in: backup)), swapped), to: "\(backup)/backup")
        let onShelf = try forged(try #require(try await BackupManifest.read(from: shelf)), swapped)
        shelf.change(object) { $0 = swapped }
        shelf.change("backup") { $0 = onShelf }
        for target in targets {
            #expect(await code { _ = try await restored(target) } == .forbidden)
            #expect(try await backUp(target).skippedFiles == 1)
            #expect(await code { _ = try await restored(target) } == .corrupt)
        }
        #expect(try found(in: backup) == [object])
        try Disk.remove("\(backup)/\(object)")
        shelf.change(object) { $0 = nil }
        for target in targets {
            _ = try await backUp(target)
            #expect(try await restored(target).read(id) == pattern(3_000_000, seed: 1))
        }
    }

    @Test("what was signed and then changed stops the next backup, too, and stays as it was found") func changed() async throws {
        let fixture = try Fixture(DirectoryBackupTests.options)
        let place = try TemporaryDirectory()
        let backup = place.file("backup")
        func backUp() async throws { _ = try await fixture.blobs.backUp(to: backup, keys: try .test(place.file("keys"))) { 7 } }
        try await fixture.store(pattern(3000, seed: 1))
        try await backUp()
        let manifest = try bytes("\(backup)/backup")
        let text = String(decoding: manifest, as: UTF8.self)
        let line = try #require(text.firstRange(of: "revision 7"))
        let changed = Array("\(text[..<line.lowerBound])revision 8\(text[line.upperBound...])".utf8)
        try FileCopy.write(changed, to: "\(backup)/backup")
        #expect(await code { try await backUp() } == .conflict)
        #expect(try bytes("\(backup)/backup") == changed)
        try FileCopy.write(manifest, to: "\(backup)/backup")
        try await backUp()
    }

    @Test("no link is followed out of a backup, signed or not") func links() async throws {
        let fixture = try Fixture(DirectoryBackupTests.options)
        let place = try TemporaryDirectory()
        let backup = place.file("backup")
        try await fixture.store(pattern(3000, seed: 1))
        _ = try await fixture.blobs.backUp(to: backup, keys: try .test(place.file("keys"))) { 7 }
        let (segment, elsewhere) = ("\(backup)/\(DirectoryBackupTests.segment)", place.file("elsewhere"))
        try Disk.move(segment, over: elsewhere)
        #expect(unsafe symlink(elsewhere, segment) == 0)
        #expect(await code { _ = try await restored(.directory(backup)) } == .corrupt)
        try FileCopy.write("granary-backup 1\nindex index-1\nrevision 7\nmade 2026-01-01T00:00:00Z\n", to: "\(backup)/backup")
        let trust = BackupTrust(allowsUnsigned: true)
        #expect(await code { _ = try await BackupRestore.restore(.directory(backup), trusting: trust, to: place.file("x")) } == .corrupt)
        try Disk.move(elsewhere, over: segment)
        _ = try await BackupRestore.restore(.directory(backup), trusting: trust, to: place.file("x"))
    }

    @Test("one that a bucket has from before there were signatures is restored where that is said, and its files compared as then")
    func unsigned() async throws {
        let fixture = try Fixture(DirectoryBackupTests.options)
        let shelf = MemoryShelf()
        let id = try await fixture.store(pattern(3000, seed: 1))
        _ = try await fixture.blobs.backUp(to: shelf, keys: try .test(fixture.directory.file("keys"))) { 7 }
        let manifest = try #require(try await BackupManifest.read(from: shelf))
        func hex(_ bytes: [UInt8]) -> String {
            var writer = BinaryWriter()
            writer.write(CRC32C.of(bytes))
            return Hex.encode(writer.bytes)
        }
        let directory = try #require(manifest.directory)
        var text = "granary-backup 2\nmoment 1\ndirectory \(directory)\nrevision 7\nmade \(manifest.made)\nfiles \(manifest.entries.count)\n"
        for entry in manifest.entries {
            text += "\(entry.length) \(hex(shelf.objects[entry.object] ?? [])) \(entry.object) \(entry.path)\n"
        }
        let old = Array("\(text)crc \(hex(Array(text.utf8)))\n".utf8)
        shelf.change("backup") { $0 = old }
        let place = try TemporaryDirectory()
        #expect(await code { _ = try await restored(.shelf(shelf)) } == .forbidden)
        let trust = BackupTrust(allowsUnsigned: true)
        _ = try await BackupRestore.restore(.shelf(shelf), trusting: trust, to: place.file("x"))
        #expect(try bytes(place.file("x/\(DirectoryBackupTests.segment)")).count > 3000)
        shelf.change("moment-1/\(DirectoryBackupTests.segment)") { $0?[200] ^= 1 }
        #expect(await code { _ = try await BackupRestore.restore(.shelf(shelf), trusting: trust, to: place.file("y")) } == .corrupt)
        shelf.change("moment-1/\(DirectoryBackupTests.segment)") { $0?[200] ^= 1 }
        // The next one is signed.
        _ = try await fixture.blobs.backUp(to: shelf, keys: try .test(fixture.directory.file("keys"))) { 8 }
        #expect(try await restored(.shelf(shelf)).read(id) == pattern(3000, seed: 1))
    }
}
