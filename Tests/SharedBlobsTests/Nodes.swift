import BlobStore
import Catalog
import Core
import Logging
import NIOCore
import OrderedStore
import PostgresCatalog
import PostgresClient
import Synchronization
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

/// Several nodes over one bucket and one database, in one process.
struct Nodes: Sendable {
    let address: String
    let tier: any SegmentTier
    let bucket: WatchedBucket
    let clock = TestClock()
    let held = HeldCalls()
    private static let made = Atomic(0)

    init(_ bucket: WatchedBucket? = nil, tier: (any SegmentTier)? = nil) async throws {
        let number = Nodes.made.add(1, ordering: .relaxed).newValue
        address = try await PostgresCluster.shared().database("shared\(number)")
        self.bucket = try bucket ?? WatchedBucket()
        self.tier = tier ?? self.bucket
    }

    /// One more node. Without a directory its disk is empty.
    func node(
        in directory: TemporaryDirectory? = nil, _ change: (inout SharingOptions) -> Void = { _ in }, segmentBytesMax: Int64 = 256 << 20
    ) async throws -> Node {
        try await node(0, in: directory, change, segmentBytesMax: segmentBytesMax)
    }

    /// The same with a number, under which the others ask it.
    func node(
        _ number: UInt16, in directory: TemporaryDirectory? = nil, _ change: (inout SharingOptions) -> Void = { _ in },
        segmentBytesMax: Int64 = 256 << 20, reserveBytes: Int64 = 0
    ) async throws -> Node {
        var sharing = SharingOptions()
        sharing.askHolder = held.question
        change(&sharing)
        let node = try await Node(self, number, directory ?? TemporaryDirectory(), sharing, segmentBytesMax, reserveBytes)
        held.join(node, as: number)
        return node
    }

    /// The first column of what the database answers.
    func ask(_ question: String, _ values: [Value] = []) throws -> [String] {
        try Connection(to: address).run([Query(question, values)]).first?.map { row in try row.text(0) } ?? []
    }
}

/// Wall time that stands still until it is moved, and monotonic time.
final class TestClock: Sendable {
    // Files are dated by the real one.
    private let milliseconds = Mutex(World.real.now().milliseconds)
    var now: Timestamp { Timestamp(milliseconds: milliseconds.withLock { $0 }) }
    func advance(seconds: Int64) { milliseconds.withLock { $0 += seconds * 1000 } }
    var world: World { World(now: { self.now }, monotonicNanoseconds: World.real.monotonicNanoseconds, random: World.real.random) }
}

/// One node: a disk with a store of its own, a catalog that all share.
final class Node: Sendable {
    let directory: TemporaryDirectory
    let index: OrderedStore
    let blobs: BlobStore
    let catalog: PostgresCatalog
    let clock: TestClock

    static let repository = EntityID(high: 0x7002, low: 1)
    static var log: Logger {
        var log = Logger(label: "test")
        log.logLevel = .critical
        return log
    }

    init(
        _ nodes: Nodes, _ number: UInt16, _ directory: TemporaryDirectory, _ sharing: SharingOptions, _ segmentBytesMax: Int64, _ reserveBytes: Int64
    ) async throws {
        self.directory = directory
        clock = nodes.clock
        var options = PostgresCatalog.Options()
        options.pool.connections = 2
        catalog = try await PostgresCatalog(address: nodes.address, world: clock.world, options: options, logger: Node.log)
        index = try OrderedStore(at: directory.file("index"), families: [.blobLocations, .chunks, .tierObjects, .heldBlobs], logger: Node.log)
        var blobOptions = BlobStore.Options()
        blobOptions.node = number
        blobOptions.reserveBytes = reserveBytes
        blobOptions.segmentBytesMax = segmentBytesMax
        blobs = try BlobStore(at: directory.file("data"), store: index, options: blobOptions, world: clock.world, log: Node.log)
        try await blobs.share(nodes.tier, nodes.held.watching(catalog), sharing)
        guard try await catalog.repository(id: Node.repository) == nil, let key = RepositoryKey("r") else { return }
        let repository = Repository(id: Node.repository, key: key, name: "r", format: "generic", kind: .local, created: Timestamp(seconds: 1))
        do throws(RegistryError) { try await apply([.putRepository(repository)]) } catch { if error.code != .conflict { throw error } }
    }

    // What is still to be noted on the disk is, before that goes.
    deinit {
        index.close()
        blobs.close()
    }

    @discardableResult
    func apply(_ parts: [Change.Part], staged: [any StagedBytes] = []) async throws(RegistryError) -> Revision {
        try await catalog.apply(Change(actor: .system, at: clock.now, requestID: "test", parts: parts), staged: staged)
    }

    /// Slice by slice, as a socket would bring them.
    func stage(_ bytes: [UInt8], announced: Bool = true) async throws -> any StagedBytes {
        let staging = try blobs.stage(expectedLength: announced ? Int64(bytes.count) : nil, digests: .sha256)
        for start in stride(from: 0, to: bytes.count, by: 100_000) {
            try staging.write(ByteBuffer(bytes: bytes[start..<min(start + 100_000, bytes.count)]))
        }
        return try await staging.finish()
    }

    func name(_ staged: any StagedBytes, _ path: String) async throws {
        let draft = AssetDraft(path: try path.asPath, blob: staged.id, size: staged.size, contentType: "t")
        try await apply([.edit(Node.repository, Edit(mutations: [.putAsset(draft, overwrite: .allowed)]))], staged: [staged])
    }

    /// Stored, named, acknowledged.
    @discardableResult
    func push(_ bytes: [UInt8], as path: String, announced: Bool = true) async throws -> BlobID {
        let staged = try await stage(bytes, announced: announced)
        try await name(staged, path)
        return staged.id
    }

    func delete(_ path: String) async throws {
        try await apply([.edit(Node.repository, Edit(mutations: [.deleteAsset(try path.asPath)]))])
    }

    /// nil when there is no such blob.
    func read(_ id: BlobID) async throws -> [UInt8]? {
        guard let content = try await blobs.content(of: id) else { return nil }
        return try content.bytes(at: 0, count: Int(content.length))
    }

    /// What the index of its own disk names.
    func cached() throws -> Set<BlobID> {
        var found: Set<BlobID> = []
        try index.scan(.blobLocations, from: [], upTo: nil) { key, _ in
            if let id = BlobID(bytes: key) { found.insert(id) }
            return true
        }
        return found
    }

    /// Returns when what it took until now is noted on its own disk, and no commit holds it any more: a commit lets go of what it brought before the
    /// next one begins.
    func settle() async throws {
        try await apply([])
        for _ in 0..<2 { try await index.commit { _ in } }
    }
}

extension String {
    fileprivate var asPath: AssetPath {
        get throws {
            guard let path = AssetPath(self) else { throw RegistryError(.invalid, subject: .request, reason: "\(self) is no path") }
            return path
        }
    }
}

/// A directory as the bucket, that counts what it is asked and fails when a test says so.
final class WatchedBucket: SegmentTier {
    struct State {
        var isDown = false
        var puts = 0
        var reads = 0
        /// After so many it goes away.
        var readsMax = Int.max
        var bytesRead: Int64 = 0
    }

    private let directory: TemporaryDirectory
    private let tier: DirectoryTier
    let state = Mutex(State())

    init() throws {
        directory = try TemporaryDirectory()
        tier = try DirectoryTier(at: directory.path, world: .real)
    }

    func goDown(_ isDown: Bool = true) { state.withLock { $0.isDown = isDown } }
    var puts: Int { state.withLock { $0.puts } }
    var reads: Int { state.withLock { $0.reads } }
    func path(of name: TierName) -> String { directory.file("\(name)") }

    func objects() async throws -> [EntityID: Int64] {
        var found: [EntityID: Int64] = [:]
        var page: String?
        repeat {
            let list = try await tier.list(.objects, page: page)
            for object in list.objects { if case .object(let id) = object.name { found[id] = object.length } }
            page = list.next
        } while page != nil
        return found
    }

    private func ask() throws(RegistryError) {
        guard state.withLock({ $0.isDown }) else { return }
        throw RegistryError(.upstreamFailed, subject: .store, reason: "the bucket is down", retryAfterSeconds: 5)
    }

    var place: String { tier.place }

    func put(_ name: TierName, _ bytes: any RandomAccessBytes) async throws(RegistryError) {
        try ask()
        state.withLock { $0.puts += 1 }
        try await tier.put(name, bytes)
    }

    func read(_ name: TierName, _ range: Range<Int64>) async throws(RegistryError) -> Body {
        try ask()
        guard state.withLock({ $0.reads < $0.readsMax }) else {
            throw RegistryError(.upstreamFailed, subject: .store, reason: "the bucket is gone", retryAfterSeconds: 5)
        }
        state.withLock { state in
            state.reads += 1
            state.bytesRead += Int64(range.count)
        }
        return try await tier.read(name, range)
    }

    func length(of name: TierName) async throws(RegistryError) -> Int64? {
        try ask()
        return try await tier.length(of: name)
    }

    func remove(_ name: TierName) async throws(RegistryError) {
        try ask()
        try await tier.remove(name)
    }

    func list(_ kind: TierName.Kind, page: String?) async throws(RegistryError) -> TierPage {
        try ask()
        return try await tier.list(kind, page: page)
    }

    /// Its files are dated by the machine's clock, which the tests' one runs ahead of: what is being put is no leftover.
    func removeLeftovers(before time: Timestamp) async throws(RegistryError) {
        try await tier.removeLeftovers(before: min(time, World.real.now().adding(seconds: -3600)))
    }

    func url(of name: TierName, expiresSeconds: Int64, disposition: String, contentType: String) -> String? { "https://bucket/\(name)" }
}

/// Changes a byte of a file behind everybody's back.
func flip(_ path: String, at offset: Int) throws {
    guard let file = unsafe fopen(path, "r+") else { throw RegistryError(.notFound, subject: .store, reason: path) }
    defer { unsafe fclose(file) }
    unsafe fseek(file, offset, SEEK_SET)
    let byte = unsafe fgetc(file)
    unsafe fseek(file, offset, SEEK_SET)
    unsafe fputc(byte ^ 1, file)
}

func error(of work: () async throws -> Void) async -> RegistryError? {
    do {
        try await work()
        return nil
    } catch { return error as? RegistryError }
}
