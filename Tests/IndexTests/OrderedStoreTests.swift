import Core
import Logging
import OrderedStore
import Synchronization
import TestSupport
import Testing

@Suite("OrderedStore") struct OrderedStoreTests {
    private static let rows = OrderedStore.Family("rows")
    private static let others = OrderedStore.Family("others")

    private func open(_ directory: TemporaryDirectory, _ name: String = "db") throws -> OrderedStore {
        try OrderedStore(at: directory.file(name), families: [Self.rows, Self.others], logger: Logger(label: "test"))
    }

    private func contents(
        _ rows: some OrderedRows, from: String = "", upTo: String? = nil, reverse: Bool = false, limit: Int = .max
    ) throws -> [String] {
        var found: [String] = []
        try rows.scan(Self.rows, from: Array(from.utf8), upTo: upTo.map { Array($0.utf8) }, reverse: reverse) { key, value in
            found.append(String(decoding: key, as: UTF8.self) + "=" + String(decoding: value, as: UTF8.self))
            return found.count < limit
        }
        return found
    }

    @Test("rows come in byte order, from inclusive, to exclusive, both ways, and stop when told") func scanBounds() async throws {
        let directory = try TemporaryDirectory()
        let store = try open(directory)
        try await store.commit { batch throws(RegistryError) in
            for key in ["b", "a", "c\u{ff}", "c", "d"] { batch.put(Array(key.utf8), [0x31], in: Self.rows) }
            batch.put([0x62], [0x32], in: Self.others)
        }
        #expect(try contents(store) == ["a=1", "b=1", "c=1", "c\u{ff}=1", "d=1"])
        #expect(try contents(store, from: "b", upTo: "d") == ["b=1", "c=1", "c\u{ff}=1"])
        #expect(try contents(store, from: "b", upTo: "d", reverse: true) == ["c\u{ff}=1", "c=1", "b=1"])
        #expect(try contents(store, reverse: true, limit: 2) == ["d=1", "c\u{ff}=1"])
        #expect(try contents(store, from: "x").isEmpty)
        #expect(OrderedStore.end(ofPrefix: [1, 0xFF, 0xFF]) == [2])
        #expect(OrderedStore.end(ofPrefix: [0xFF]) == nil)
    }

    @Test("a batch reads through to the store, and its own rows, deletes and cleared ranges win") func batchReadsThrough() async throws {
        let directory = try TemporaryDirectory()
        let store = try open(directory)
        try await store.commit { batch throws(RegistryError) in
            for key in ["a", "b", "c", "d", "e"] { batch.put(Array(key.utf8), [0x31], in: Self.rows) }
        }
        try await store.commit { [self] batch throws(RegistryError) in
            batch.put(Array("bb".utf8), [0x32], in: Self.rows)
            batch.put(Array("c".utf8), [0x32], in: Self.rows)
            batch.delete(Array("d".utf8), in: Self.rows)
            let all = ["a=1", "b=1", "bb=2", "c=2", "e=1"]
            #expect((try? contents(batch)) == all)
            #expect((try? contents(batch, reverse: true)) == all.reversed())
            #expect((try? contents(batch, from: "b", upTo: "c", reverse: true, limit: 1)) == ["bb=2"])
            batch.deleteRange(Self.rows, from: Array("b".utf8), upTo: Array("e".utf8))
            batch.put(Array("c".utf8), [0x33], in: Self.rows)
            #expect((try? contents(batch)) == ["a=1", "c=3", "e=1"])
            let cleared = try batch.get(Array("b".utf8), in: Self.rows)
            #expect(cleared == nil)
        } as Void
        #expect(try contents(store) == ["a=1", "c=3", "e=1"])
    }

    @Test("a throwing build leaves no trace in its group, and its neighbours stand") func rollback() throws {
        let directory = try TemporaryDirectory()
        let store = try open(directory)
        let gate = Gate()
        let done = Mailbox<Bool>()
        // The first group is held at its sync, so that the three builds below share the second.
        store.enqueue(files: [gate]) { batch in
            batch.put([0x30], [0x30], in: Self.rows)
        } completion: { result in
            _ = done.put((try? result.get()) != nil)
        }
        gate.waitUntilReached()
        let outcomes = Mutex<[String]>([])
        func enqueue(_ name: String, _ build: @escaping @Sendable (OrderedStore.Batch) throws(RegistryError) -> String) {
            store.enqueue(build) { result in
                switch result {
                case .success(let text): outcomes.withLock { $0.append("\(name) \(text)") }
                case .failure(let error): outcomes.withLock { $0.append("\(name) \(error.code)") }
                }
                _ = done.put(true)
            }
        }
        enqueue("first") { batch in
            batch.put([0x61], [0x31], in: Self.rows)
            return "ok"
        }
        enqueue("second") { batch throws(RegistryError) in
            batch.put([0x61], [0x32], in: Self.rows)
            batch.put([0x62], [0x32], in: Self.rows)
            batch.delete([0x30], in: Self.rows)
            batch.deleteRange(Self.rows, from: [0], upTo: [0xFF])
            throw RegistryError(.conflict, subject: .store, reason: "no")
        }
        enqueue("third") { batch throws(RegistryError) in
            try batch.get([0x61], in: Self.rows).map { String(decoding: $0, as: UTF8.self) } ?? "absent"
        }
        gate.open()
        for _ in 0..<4 { #expect(done.takeOne() == true) }
        #expect(outcomes.withLock { $0 } == ["first ok", "second conflict", "third 1"])
        #expect(try contents(store) == ["0=0", "a=1"])
        #expect(store.metrics.groups == 2)
    }

    @Test("many writers share few syncs, and each file of a group is synced once") func groups() throws {
        let directory = try TemporaryDirectory()
        let store = try open(directory)
        let gate = Gate()
        let file = CountingFile()
        let done = Mailbox<Bool>()
        store.enqueue(files: [gate]) { _ in
        } completion: { _ in
        }
        gate.waitUntilReached()
        for index in 0..<500 {
            store.enqueue(files: [file]) { batch in
                batch.put([UInt8(index / 256), UInt8(index % 256)], [1], in: Self.rows)
            } completion: { result in
                _ = done.put((try? result.get()) != nil)
            }
        }
        gate.open()
        var succeeded = 0
        for _ in 0..<500 where done.takeOne() == true { succeeded += 1 }
        #expect(succeeded == 500)
        #expect(file.syncs == 1)
        #expect(store.metrics.groups == 2)
        #expect(store.metrics.logSyncs == 1)
        #expect(try contents(store).count == 500)
    }

    @Test("a copy of the directory taken while it is open holds every acknowledged row") func crashCopy() async throws {
        let directory = try TemporaryDirectory()
        let store = try open(directory)
        for index in UInt8(0)..<50 {
            try await store.commit { batch throws(RegistryError) in batch.put([index], [index], in: Self.rows) }
        }
        try directory.copy("db", to: "copy")
        let copy = try open(directory, "copy")
        var keys: [UInt8] = []
        try copy.scan(Self.rows, from: [], upTo: nil) { key, value in
            #expect(key == value)
            keys += key
            return true
        }
        #expect(keys == Array(0..<50))
    }

    @Test("a failed sync poisons the store until it is opened again") func poison() async throws {
        let directory = try TemporaryDirectory()
        let store = try open(directory)
        try await store.commit { batch throws(RegistryError) in batch.put([1], [1], in: Self.rows) }
        let broken = FailingFile()
        for _ in 0..<2 {
            await #expect(throws: RegistryError.self) {
                try await store.commit(files: [broken]) { batch throws(RegistryError) in batch.put([2], [2], in: Self.rows) }
            }
        }
        #expect(broken.syncs == 1, "a failed sync is never tried again")
        let later = await #expect(throws: RegistryError.self) {
            try await store.commit { batch throws(RegistryError) in batch.put([3], [3], in: Self.rows) }
        }
        #expect(later?.code == .unavailable)
        #expect(try store.get([1], in: Self.rows) == [1], "reads go on")
        store.close()
        let again = try open(directory)
        try await again.commit { batch throws(RegistryError) in batch.put([3], [3], in: Self.rows) }
        #expect(try again.get([2], in: Self.rows) == nil)
        #expect(try again.get([3], in: Self.rows) == [3])
    }

    @Test(
        "a file without room, or without a descriptor, fails who needs it and nobody else",
        arguments: [
            RegistryError(.noSpace, subject: .store, reason: "full"),
            RegistryError(.unavailable, subject: .store, reason: "too many files", retryAfterSeconds: 1),
        ]) func withoutRoom(error: RegistryError) async throws
    {
        let directory = try TemporaryDirectory()
        let store = try open(directory)
        // One group: the first file holds the committer until all are queued.
        let gate = Gate()
        let done = Mailbox<[UInt8]>()
        let full = FailingFile(error)
        func put(_ key: UInt8, files: [any SyncableFile]) {
            store.enqueue(files: files) { batch throws(RegistryError) in
                batch.put([key], [key], in: Self.rows)
            } completion: { (result: Result<Void, RegistryError>) in
                switch result {
                case .success: _ = done.put([key, 1])
                case .failure(let failure): _ = done.put([key, failure.code == error.code ? 0 : 2])
                }
            }
        }
        put(0, files: [gate])
        gate.waitUntilReached()
        put(1, files: [full])
        put(2, files: [CountingFile()])
        put(3, files: [full, CountingFile()])
        put(4, files: [])
        gate.open()
        var results: [[UInt8]] = []
        for _ in 0..<5 { results.append(try #require(done.takeOne())) }
        #expect(results == [[0, 1], [1, 0], [2, 1], [3, 0], [4, 1]])
        #expect(full.syncs == 1)
        try await store.commit { batch throws(RegistryError) in batch.put([5], [5], in: Self.rows) }
        #expect(try (0...5).map { key throws(RegistryError) in try store.get([key], in: Self.rows) } == [[0], nil, [2], nil, [4], [5]])
    }

    @Test("what is patient waits for a second at most, however much comes after it that is patient, too") func patience() async throws {
        let directory = try TemporaryDirectory()
        let store = try open(directory)
        let first = Mailbox<Bool>()
        store.enqueue(isPatient: true) { batch in
            batch.put([0], [0], in: Self.rows)
        } completion: { _ in
            _ = first.put(true)
        }
        var taken: [Bool] = []
        for number in 0..<100 where taken.isEmpty {
            try await Task.sleep(for: .milliseconds(100))
            store.enqueue(isPatient: true) { batch in
                batch.put([1], [UInt8(number)], in: Self.rows)
            } completion: { _ in
            }
            taken = first.takeAll(waiting: .zero) ?? []
        }
        #expect(taken == [true])
    }

    @Test("with less space than its reserve the store takes no change, reads on, and goes on when there is room") func reserve() async throws {
        let directory = try TemporaryDirectory()
        let first = try open(directory)
        try await first.commit { batch throws(RegistryError) in batch.put([1], [1], in: Self.rows) }
        first.close()
        for reserve in [FreeSpace(bytes: .max, files: 0), FreeSpace(bytes: 0, files: .max - 1)] {
            // A file system that knows no bound of files has always room for one more.
            if reserve.bytes == 0, FreeSpace(at: directory.file("db"))?.files == nil { continue }
            var options = OrderedStore.Options()
            options.reserve = reserve
            let store = try OrderedStore(
                at: directory.file("db"), families: [Self.rows, Self.others], options: options, logger: Logger(label: "test"))
            for _ in 0..<2 {
                let error = await #expect(throws: RegistryError.self) {
                    try await store.commit { batch throws(RegistryError) in batch.put([2], [2], in: Self.rows) }
                }
                #expect(error?.code == .noSpace)
            }
            try await store.commit { batch throws(RegistryError) in _ = try batch.get([1], in: Self.rows) }
            #expect(try store.get([1], in: Self.rows) == [1])
            #expect(try store.get([2], in: Self.rows) == nil)
            store.close()
        }
        try await open(directory).commit { batch throws(RegistryError) in batch.put([2], [2], in: Self.rows) }
    }

    @Test("a directory that is open already is refused with a reason") func locked() throws {
        let directory = try TemporaryDirectory()
        let store = try open(directory)
        let error = #expect(throws: RegistryError.self) { try open(directory) }
        #expect(error?.code == .unavailable)
        #expect(error?.reason == "the data directory is in use by another process; stop it first")
        store.close()
        store.close()
        let closed = #expect(throws: RegistryError.self) { try store.get([1], in: Self.rows) }
        #expect(closed?.code == .unavailable)
        _ = try open(directory)
    }

    @Test("memory answers for what it has, and says unknown for what only the disk knows") func cachedReads() async throws {
        let directory = try TemporaryDirectory()
        let store = try open(directory)
        try await store.commit { batch throws(RegistryError) in batch.put([1], [9], in: Self.rows) }
        #expect(try store.getCached([1], in: Self.rows) == .found([9]))
        #expect(try store.getCached([2], in: Self.rows) == .absent)
        store.close()
        let again = try open(directory)
        // Recovery flushed the row to a file whose blocks nobody has read yet.
        let first = try again.getCached([1], in: Self.rows)
        #expect(first == .unknown || first == .found([9]))
        #expect(try again.get([1], in: Self.rows) == [9])
        #expect(try again.getCached([1], in: Self.rows) == .found([9]))
    }

    @Test("a snapshot does not move") func snapshot() async throws {
        let directory = try TemporaryDirectory()
        let store = try open(directory)
        try await store.commit { batch throws(RegistryError) in batch.put([0x61], [0x31], in: Self.rows) }
        let before = try store.snapshot()
        try await store.commit { batch throws(RegistryError) in
            batch.put([0x61], [0x32], in: Self.rows)
            batch.put([0x62], [0x32], in: Self.rows)
        }
        #expect(try contents(before) == ["a=1"])
        #expect(try before.get([0x61], in: Self.rows) == [0x31])
        #expect(try contents(store) == ["a=2", "b=2"])
    }
}

/// A file whose sync waits until it is let through: holds a group while the next one gathers.
private final class Gate: SyncableFile {
    private let reached = Mailbox<Void>()
    private let opened = Mailbox<Void>()
    func synchronize() throws(RegistryError) {
        _ = reached.put(())
        _ = opened.takeOne()
    }
    func waitUntilReached() { _ = reached.takeOne() }
    func open() { _ = opened.put(()) }
}

private final class CountingFile: SyncableFile {
    private let count = Atomic(0)
    var syncs: Int { count.load(ordering: .relaxed) }
    func synchronize() throws(RegistryError) { count.add(1, ordering: .relaxed) }
}

private final class FailingFile: SyncableFile {
    private let error: RegistryError
    private let count = Atomic(0)
    init(_ error: RegistryError = RegistryError(.unavailable, subject: .store, reason: "no disk")) { self.error = error }
    var syncs: Int { count.load(ordering: .relaxed) }
    func synchronize() throws(RegistryError) {
        count.add(1, ordering: .relaxed)
        throw error
    }
}
