import BlobStore
import Core
import HTTPTypes
import Parsing
import Synchronization
import TestHouse
import TestSupport
import Testing

@testable import Registry

/// The restore drill: a backup of a server at work, restored elsewhere and compared with what its clients were told.
@Suite("backup", .timeLimit(.minutes(10))) struct BackupTests {
    private final class Ledger: Sendable {
        /// Path to the seed of its text, once acknowledged.
        let acknowledged = Mutex<[String: Int]>([:])
        let isOver = Atomic(false)
        var count: Int { acknowledged.withLock { $0.count } }
    }

    private static var options: House.Options {
        var options = House.Options()
        options.segmentBytesMax = 512 << 10
        options.ownFileBytesMin = 1 << 20
        return options
    }

    /// Small ones, ones with space reserved in a segment, and ones with a file of their own.
    private static func text(_ seed: Int) -> String {
        String(repeating: "artifact \(seed) ", count: seed % 20 == 0 ? 120_000 : seed % 5 == 0 ? 10_000 : 60)
    }

    private static func work(on house: House, _ ledger: Ledger, writer: Int) async {
        var seed = writer
        while !ledger.isOver.load(ordering: .relaxed) {
            let path = "w\(writer)/1/\(seed)"
            let current = seed
            if await house.put(text(seed), at: path, in: "files").status == 201 { ledger.acknowledged.withLock { $0[path] = current } }
            // What is deleted at once and swept makes segments to be compacted and removed.
            let churn = "churn\(writer)/1/\(seed)"
            await house.put("churn \(seed) " + text(seed + 1), at: churn, in: "files")
            await house.send(.delete, "/api/v1/repositories/files/artifacts/\(churn)")
            seed += 4
        }
    }

    private static func sweep(_ house: House, _ ledger: Ledger) async {
        var options = SweepOptions()
        options.graceSeconds = 0
        options.bytesPerSecondMax = 0
        options.livePercentMin = 90
        while !ledger.isOver.load(ordering: .relaxed) {
            // Refused while a backup is made; and a moment of rest, as a schedule would give.
            _ = try? await house.registry.sweeper.sweep(options)
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    @Test(
        "made under load, twice into the same directory or bucket, and restored elsewhere: every artifact acknowledged before is there, bit for bit",
        arguments: [false, true])
    func drill(isOnShelf: Bool) async throws {
        let house = try await House(BackupTests.options)
        await house.repository("files")
        let (backup, shelf) = (try TemporaryDirectory(), MemoryShelf())
        let target: BackupTarget = isOnShelf ? .shelf(shelf) : .directory(backup.path)
        let ledger = Ledger()
        let (promised, first, second) = try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<4 { group.addTask { await BackupTests.work(on: house, ledger, writer: writer) } }
            group.addTask { await BackupTests.sweep(house, ledger) }
            while ledger.count < 60 { try await Task.sleep(for: .milliseconds(5)) }
            let first = try await house.registry.sweeper.backUp(to: target, keys: try .test(house.directory.file("none")))
            let afterFirst = ledger.count
            while ledger.count < afterFirst + 40 { try await Task.sleep(for: .milliseconds(5)) }
            let promised = ledger.acknowledged.withLock { $0 }
            let second = try await house.registry.sweeper.backUp(to: target, keys: try .test(house.directory.file("none")))
            ledger.isOver.store(true, ordering: .relaxed)
            try await group.waitForAll()
            return (promised, first, second)
        }
        #expect(second.revision > first.revision)
        #expect(second.tally.skippedFiles > 0)
        house.close()
        let place = try TemporaryDirectory()
        _ = try await BackupRestore.restore(target, trusting: try .test(), to: place.path)
        try await compare(place, promised)
    }

    private func compare(_ place: TemporaryDirectory, _ promised: [String: Int]) async throws {
        let restored = try await House(BackupTests.options, in: place)
        var options = CheckOptions()
        options.readPercent = 100
        let damages = Mutex<[Finding]>([])
        let check = StoreCheck(catalog: restored.catalog, blobs: restored.registry.blobs, options: options) { found in
            if found.finding.kind.isDamage { damages.withLock { $0.append(found.finding) } }
        } keep: { _ in
        }
        let progress = try await check.run(from: CheckProgress())
        #expect(damages.withLock { $0 } == [])
        #expect(progress.readBlobs == progress.blobs && progress.names >= promised.count)
        var wrong: [String] = []
        for (path, seed) in promised {
            let answer = await restored.send(.get, "/api/v1/repositories/files/download/\(path)")
            if answer.body != Array(BackupTests.text(seed).utf8) { wrong.append(path) }
        }
        #expect(wrong == [])
        #expect(promised.count >= 100)
        #expect(await restored.put("new", at: "new/1/f", in: "files").status == 201)
        restored.close()
    }

    @Test("an interrupted backup leaves the one before it, and what the sweep took away leaves the backup with the next") func interrupted()
        async throws
    {
        let house = try await House(BackupTests.options)
        await house.repository("files")
        for seed in [1, 5, 20, 40] { await house.put(BackupTests.text(seed), at: "a/1/\(seed)", in: "files") }
        let backup = try TemporaryDirectory()
        let sweeper = house.registry.sweeper
        _ = try await sweeper.backUp(to: backup.path, keys: try .test(house.directory.file("none")))
        let note = try #require(try BackupManifest.read(in: backup.path))
        // What a crash leaves: an index that is not noted, half a file.
        let again = try await sweeper.backUp(to: backup.path, keys: try .test(house.directory.file("none")))
        #expect(again.tally.skippedFiles >= 2)
        #expect(try BackupManifest.read(in: backup.path)?.index == "index-2" && note.index == "index-1")
        #expect(backup.names(in: "").filter { $0.hasPrefix("index-") } == ["index-2"])
        await house.send(.delete, "/api/v1/repositories/files/artifacts/a/1/20")
        var now = SweepOptions()
        now.graceSeconds = 0
        _ = try await sweeper.sweep(now)
        let last = try await sweeper.backUp(to: backup.path, keys: try .test(house.directory.file("none")))
        #expect(last.tally.removedFiles == 1)
        house.close()
        let place = try TemporaryDirectory()
        _ = try await BackupRestore.restore(.directory(backup.path), trusting: try .test(), to: place.path)
        let restored = try await House(BackupTests.options, in: place)
        for seed in [1, 5, 40] {
            #expect(await restored.send(.get, "/api/v1/repositories/files/download/a/1/\(seed)").text == BackupTests.text(seed))
        }
        #expect(await restored.send(.get, "/api/v1/repositories/files/download/a/1/20").status == 404)
        restored.close()
        await #expect(throws: RegistryError.self) {
            try await BackupRestore.restore(.directory(backup.path), trusting: try .test(), to: place.path)
        }
    }
}
