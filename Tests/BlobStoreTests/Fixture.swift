import Core
import Logging
import NIOCore
import OrderedStore
import Synchronization
import TestSupport

@testable import BlobStore

#if canImport(Glibc)
    import Glibc
#endif

/// A store in a directory of its own, and what a catalog does with it.
struct Fixture {
    let directory: TemporaryDirectory
    let index: OrderedStore
    let blobs: BlobStore
    let clock: Clock

    /// Wall time that stands still until it is moved; monotonic time that also jumps when it is.
    final class Clock: Sendable {
        private static let start: Int64 = 1_700_000_000_000
        private let milliseconds = Mutex<Int64>(Clock.start)
        var now: Timestamp { Timestamp(milliseconds: milliseconds.withLock { $0 }) }
        func advance(seconds: Int64) { milliseconds.withLock { $0 += seconds * 1000 } }
        var world: World {
            World(
                now: { self.now },
                monotonicNanoseconds: { World.real.monotonicNanoseconds() &+ UInt64(self.now.milliseconds - Clock.start) &* 1_000_000 },
                random: World.real.random)
        }
    }

    static var options: BlobStore.Options {
        var options = BlobStore.Options()
        options.reserveBytes = 0
        return options
    }

    init(_ options: BlobStore.Options = Fixture.options, in directory: TemporaryDirectory? = nil) throws {
        let directory = try directory ?? TemporaryDirectory()
        let clock = Clock()
        self.directory = directory
        self.clock = clock
        index = try OrderedStore(at: directory.file("index"), families: [.blobLocations, .chunks, .tierObjects], logger: Fixture.log)
        blobs = try BlobStore(at: directory.file("data"), store: index, options: options, world: clock.world, log: Fixture.log)
    }

    /// The same store, opened again: nothing is verified or open, and the newest segment is recovered.
    func reopened(_ options: BlobStore.Options = Fixture.options) throws -> BlobStore {
        try BlobStore(at: directory.file("data"), store: index, options: options, world: clock.world, log: Fixture.log)
    }

    static var log: Logger {
        var log = Logger(label: "test")
        log.logLevel = .critical
        return log
    }

    /// The store as it would be found had the machine been killed now: a copy of its files, opened by another.
    func afterCrash(_ options: BlobStore.Options = Fixture.options) throws -> Fixture {
        let copy = try TemporaryDirectory()
        try copyTree(directory.file("index"), copy.file("index"))
        try copyTree(directory.file("data"), copy.file("data"))
        return try Fixture(options, in: copy)
    }

    /// What `Catalog.apply` does: files to disk, rows and names in one batch, then the news.
    func commit(_ staged: [any StagedBytes]) async throws {
        let rows = staged.compactMap(\.location).map { Row(key: $0.key, value: $0.value) }
        try await index.commit(files: staged.flatMap(\.unsynced)) { batch throws(RegistryError) in
            for row in rows { batch.put(row.key, row.value, in: .blobLocations) }
        }
        for each in staged { each.didCommit() }
    }

    private struct Row: Sendable {
        let key: [UInt8]
        let value: [UInt8]
    }

    /// Stages in slices, as a socket would bring them.
    func stage(_ bytes: [UInt8], announced: Bool = true, digests: DigestSet = .sha256, sliceBytes: Int = 100_000) async throws -> any StagedBytes {
        let staging = try blobs.stage(expectedLength: announced ? Int64(bytes.count) : nil, digests: digests)
        for slice in slices(bytes, of: sliceBytes) { try staging.write(slice) }
        return try await staging.finish()
    }

    @discardableResult
    func store(_ bytes: [UInt8], announced: Bool = true) async throws -> BlobID {
        let staged = try await stage(bytes, announced: announced)
        try await commit([staged])
        return staged.id
    }

    /// The whole blob, nil when the store has none.
    func read(_ id: BlobID) async throws -> [UInt8]? {
        guard let content = try await blobs.content(of: id) else { return nil }
        return try await bytes(of: content, count: Int(content.length))
    }

    /// On a thread that may wait, as the registry reads: for chunks that a tier has to give, a task must be free to fetch them.
    func bytes(of content: BlobContent, count: Int) async throws -> [UInt8] {
        try await blobs.pool.run { () throws(RegistryError) in try content.bytes(at: 0, count: count) }
    }

    func locations() throws -> [BlobID: BlobLocation] {
        var found: [BlobID: BlobLocation] = [:]
        try index.scan(.blobLocations, from: [], upTo: nil) { key, value throws(RegistryError) in
            if let id = BlobID(bytes: key) { found[id] = try BlobLocation(value) }
            return true
        }
        return found
    }

    /// Every file of the blob store, by its path below it, with its length.
    func files() throws -> [String: Int64] {
        var found: [String: Int64] = [:]
        func walk(_ path: String) throws {
            for name in try Disk.names(in: directory.file("data") + path) {
                let inner = path + "/" + name
                let file = try Disk.open(directory.file("data") + inner, O_RDONLY)
                var status = stat()
                _ = fstat(file.descriptor, &status)
                if status.st_mode & S_IFMT == S_IFDIR { try walk(inner) } else { found[inner] = Int64(status.st_size) }
            }
        }
        try walk("")
        return found
    }
}

func slices(_ bytes: [UInt8], of count: Int) -> [ByteBuffer] {
    stride(from: 0, to: bytes.count, by: count).map { ByteBuffer(bytes: bytes[$0..<min($0 + count, bytes.count)]) }
}

/// Bytes that look random and are the same for the same seed.
func pattern(_ count: Int, seed: UInt64) -> [UInt8] {
    var state = seed &+ 0x9E37_79B9_7F4A_7C15
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        for index in 0..<count {
            if index % 8 == 0 {
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
            }
            buffer[index] = UInt8(truncatingIfNeeded: state >> UInt64(index % 8 * 8))
        }
        initialized = count
    }
}

func copyTree(_ source: String, _ target: String) throws {
    try Disk.makeDirectory(target)
    for name in try Disk.names(in: source) {
        let from = source + "/" + name
        let file = try Disk.open(from, O_RDONLY)
        var status = stat()
        _ = fstat(file.descriptor, &status)
        if status.st_mode & S_IFMT == S_IFDIR {
            try copyTree(from, target + "/" + name)
        } else {
            let copy = try Disk.open(target + "/" + name, O_RDWR | O_CREAT)
            var done: Int64 = 0
            while case let slice = try Disk.read(file, at: done, count: 1 << 20), !slice.isEmpty {
                try Disk.write(slice, to: copy, at: done)
                done += Int64(slice.count)
            }
        }
    }
}

/// Changes bytes of a file behind the store's back.
func flip(_ path: String, at offset: Int64, mask: UInt8 = 1) throws {
    let file = try Disk.open(path, O_RDWR)
    let byte = try Disk.read(file, at: offset, count: 1)
    try Disk.write([byte[0] ^ mask], to: file, at: offset)
}

/// Slices, then an end or an error: a client that is cut off.
struct BrokenSource: BodySource {
    private let rest: RestBox
    init(_ slices: [ByteBuffer], then error: RegistryError?) { rest = RestBox(slices, error) }
    func next() async throws(RegistryError) -> ByteBuffer? { try rest.take() }

    private final class RestBox: Sendable {
        private let slices: Mutex<[ByteBuffer]>
        private let error: RegistryError?
        init(_ slices: [ByteBuffer], _ error: RegistryError?) {
            self.slices = Mutex(slices.reversed())
            self.error = error
        }
        func take() throws(RegistryError) -> ByteBuffer? {
            if let slice = slices.withLock({ $0.popLast() }) { return slice }
            if let error { throw error }
            return nil
        }
    }
}

func body(_ bytes: [UInt8], announced: Bool = true) -> Body {
    Body(length: announced ? Int64(bytes.count) : nil, source: BrokenSource(slices(bytes, of: 100_000), then: nil))
}

/// The code of the error that `work` throws, nil when it throws none.
func code(of work: () async throws -> Void) async -> RegistryError.Code? {
    do {
        try await work()
        return nil
    } catch {
        return (error as? RegistryError)?.code
    }
}
