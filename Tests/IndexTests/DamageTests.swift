import Core
import Logging
import OrderedStore
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// What a crash leaves of the index's files is opened without a word; what only damage explains is refused.
@Suite("Damage of the index") struct DamageTests {
    private static let rows = OrderedStore.Family("rows")

    private func open(_ directory: TemporaryDirectory, _ name: String) throws -> OrderedStore {
        try OrderedStore(at: directory.file(name), families: [Self.rows], logger: Logger(label: "test"))
    }

    private func keys(_ directory: TemporaryDirectory, _ name: String) throws -> [UInt8] {
        let store = try open(directory, name)
        defer { store.close() }
        var keys: [UInt8] = []
        try store.scan(Self.rows, from: [], upTo: nil) { key, _ in
            keys += key
            return true
        }
        return keys
    }

    /// A store of some commits, closed, in `db`; the last one has `lastBytes`.
    private func made(_ directory: TemporaryDirectory, commits: UInt8, lastBytes: Int = 1) async throws {
        let store = try open(directory, "db")
        for index in 0..<commits {
            let value = [UInt8](repeating: index, count: index == commits - 1 ? lastBytes : 1)
            try await store.commit { batch throws(RegistryError) in batch.put([index], value, in: Self.rows) }
        }
        store.close()
    }

    private func file(_ directory: TemporaryDirectory, _ folder: String, where matches: (String) -> Bool) throws -> String {
        let found = TemporaryDirectory.entries(of: directory.file(folder)).first(where: matches)
        return "\(folder)/\(try #require(found))"
    }

    private func read(_ path: String) throws -> [UInt8] {
        let opened = unsafe fopen(path, "rb")
        let file = try #require(unsafe opened)
        defer { unsafe fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = unsafe fread(&bytes, 1, bytes.count, file)
        return Array(bytes.prefix(count))
    }

    private func write(_ bytes: [UInt8], _ path: String) throws {
        let opened = unsafe fopen(path, "wb")
        let file = try #require(unsafe opened)
        unsafe fwrite(bytes, 1, bytes.count, file)
        unsafe fclose(file)
    }

    /// Opens a copy of `db` in which one file has other bytes.
    private func keys(_ directory: TemporaryDirectory, with bytes: [UInt8], in name: String) throws -> [UInt8] {
        let copy = "copy-\(World.real.newID())"
        try directory.copy("db", to: copy)
        defer { TemporaryDirectory.remove(directory.file(copy)) }
        try write(bytes, directory.file(name.replacing("db/", with: "\(copy)/")))
        return try keys(directory, copy)
    }

    @Test("a flipped bit in the log of changes keeps the store closed, the last change included", .timeLimit(.minutes(5)))
    func flippedLog() async throws {
        let directory = try TemporaryDirectory()
        try await made(directory, commits: 8, lastBytes: 40)
        let log = try file(directory, "db") { $0.hasSuffix(".log") }
        let bytes = try read(directory.file(log))
        #expect(try keys(directory, with: bytes, in: log) == Array(0..<8))
        for bit in stride(from: 0, to: bytes.count * 8, by: 11) {
            var flipped = bytes
            flipped[bit / 8] ^= 1 << (bit % 8)
            let error = #expect(throws: RegistryError.self, "bit \(bit)") { _ = try keys(directory, with: flipped, in: log) }
            #expect(error?.code == .corrupt)
        }
    }

    @Test("a log that ends anywhere opens with the changes before that", .timeLimit(.minutes(5))) func shortLog() async throws {
        let directory = try TemporaryDirectory()
        try await made(directory, commits: 6, lastBytes: 100)
        let log = try file(directory, "db") { $0.hasSuffix(".log") }
        let bytes = try read(directory.file(log))
        var counts: Set<Int> = []
        for count in stride(from: 0, through: bytes.count, by: 5) {
            for tail in [0, 64] {
                let found = try keys(directory, with: Array(bytes.prefix(count)) + [UInt8](repeating: 0, count: tail), in: log)
                #expect(found == Array(0..<UInt8(found.count)))
                counts.insert(found.count)
            }
        }
        #expect(counts.isSuperset(of: [0, 1, 5]))
    }

    @Test("a last change of which a power cut left later pages, and not the first, is dropped", arguments: [0, 100, 33_000, 70_000])
    func missingPages(hole: Int) async throws {
        let directory = try TemporaryDirectory()
        try await made(directory, commits: 5, lastBytes: 100_000)
        let log = try file(directory, "db") { $0.hasSuffix(".log") }
        var bytes = try read(directory.file(log))
        let start = bytes.count - 100_000 + hole
        for index in start..<min(start + 4096, bytes.count) { bytes[index] = 0 }
        #expect(try keys(directory, with: bytes, in: log) == Array(0..<4))
    }

    @Test("a flipped bit in what RocksDB begins with is refused, or changes nothing", .timeLimit(.minutes(5)), arguments: ["MANIFEST", "CURRENT"])
    func flippedBeginning(prefix: String) async throws {
        let directory = try TemporaryDirectory()
        try await made(directory, commits: 3)
        // Opened once more, so that there are tables that only the manifest tells of.
        #expect(try keys(directory, "db") == Array(0..<3))
        let name = try file(directory, "db") { $0.hasPrefix(prefix) }
        let bytes = try read(directory.file(name))
        for bit in stride(from: 0, to: bytes.count * 8, by: prefix == "CURRENT" ? 1 : 13) {
            var flipped = bytes
            flipped[bit / 8] ^= 1 << (bit % 8)
            do { #expect(try keys(directory, with: flipped, in: name) == Array(0..<3), "bit \(bit)") } catch let error as RegistryError {
                #expect(error.code == .corrupt, "bit \(bit)")
            }
        }
    }

    @Test("without its file CURRENT, or its log, a store is refused, not begun anew or taken for older than it is", arguments: ["CURRENT", ".log"])
    func missingFile(suffix: String) async throws {
        let directory = try TemporaryDirectory()
        try await made(directory, commits: 3)
        unlink(directory.file(try file(directory, "db") { $0.hasSuffix(suffix) }))
        let error = #expect(throws: RegistryError.self) { _ = try open(directory, "db") }
        #expect(error?.code == .corrupt)
    }

    @Test("a checkpoint has no log, and opens") func checkpoint() async throws {
        let directory = try TemporaryDirectory()
        try await made(directory, commits: 3)
        let store = try open(directory, "db")
        try store.checkpoint(at: directory.file("copy"))
        store.close()
        for name in TemporaryDirectory.entries(of: directory.file("copy")) where name.hasSuffix(".log") { unlink(directory.file("copy/\(name)")) }
        #expect(try keys(directory, "copy") == Array(0..<3))
        #expect(try keys(directory, "copy") == Array(0..<3))
    }

    @Test("a flipped bit in a table is found by reading every row") func flippedTable() async throws {
        let directory = try TemporaryDirectory()
        try await made(directory, commits: 200)
        _ = try keys(directory, "db")
        let table = try file(directory, "db") { $0.hasSuffix(".sst") }
        var bytes = try read(directory.file(table))
        bytes[20] ^= 4
        try write(bytes, directory.file(table))
        let store = try open(directory, "db")
        let error = #expect(throws: RegistryError.self) { try store.readAll() }
        #expect(error?.code == .corrupt)
    }
}
