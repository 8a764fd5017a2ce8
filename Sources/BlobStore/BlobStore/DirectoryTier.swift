public import Core
import NIOCore

#if canImport(Glibc)
    import Glibc
#endif

/// A tier that is a directory: of another disk, or of a file server.
public final class DirectoryTier: SegmentTier {
    private static let sliceBytes = 1 << 20
    private static let leftover = ".part"

    private let directory: String
    private let pool = BlockingPool(threads: 2, name: "tier")
    private let world: World

    /// The directory must be there: an unmounted file system is no empty tier.
    public init(at directory: String, world: World) throws(RegistryError) {
        guard try Disk.openExisting(directory) != nil else {
            throw RegistryError(.invalid, subject: .configuration("tier_directory"), reason: "tier_directory: there is no directory \(directory)")
        }
        self.directory = directory
        self.world = world
    }

    public var place: String { directory }

    public func put(_ name: TierName, _ bytes: any RandomAccessBytes) async throws(RegistryError) {
        let path = path(name)
        let temporary = "\(path).\(world.newID())\(DirectoryTier.leftover)"
        try await run { [directory] () throws(RegistryError) in
            try DirectoryTier.makeDirectories(in: directory, for: name)
            do throws(RegistryError) {
                let file = try Disk.open(temporary, O_RDWR | O_CREAT | O_EXCL)
                var at: Int64 = 0
                while at < bytes.size {
                    let slice = try bytes.bytes(at: at, count: Int(min(Int64(DirectoryTier.sliceBytes), bytes.size - at)))
                    guard !slice.isEmpty else { throw RegistryError(.corrupt, subject: .store, reason: "a file is shorter than it was") }
                    try Disk.write(slice, to: file, at: at)
                    at += Int64(slice.count)
                }
                try Disk.synchronize(file)
                try Disk.move(temporary, over: path)
                try Disk.synchronizeDirectory(DirectoryTier.parent(of: path))
            } catch {
                try? Disk.remove(temporary)
                throw error
            }
        }
    }

    public func read(_ name: TierName, _ range: Range<Int64>) async throws(RegistryError) -> Body {
        let path = path(name)
        let file = try await run { () throws(RegistryError) in
            guard let file = try Disk.openExisting(path) else { throw DirectoryTier.absent(name) }
            guard try Disk.status(of: file).size >= range.upperBound else {
                throw RegistryError(.upstreamFailed, subject: .store, reason: "\(name) in the tier is shorter than it was")
            }
            return file
        }
        return Body(length: Int64(range.count), source: Reading(file: file, range: range, pool: pool))
    }

    public func length(of name: TierName) async throws(RegistryError) -> Int64? {
        let path = path(name)
        return try await run { () throws(RegistryError) in
            try Disk.openExisting(path).map { file throws(RegistryError) in try Disk.status(of: file).size }
        }
    }

    public func remove(_ name: TierName) async throws(RegistryError) {
        let path = path(name)
        try await run { () throws(RegistryError) in try Disk.remove(path) }
    }

    /// A page is what one directory holds.
    public func list(_ kind: TierName.Kind, page: String?) async throws(RegistryError) -> TierPage {
        try await run { [directory] () throws(RegistryError) in
            let root = "\(directory)/\(kind.rawValue)"
            let folders = !kind.hasFolders ? [""] : try Disk.names(in: root).map { "\($0)/" }
            guard let folder = folders.first(where: { $0 >= page ?? "" }) else { return TierPage(objects: [], next: nil) }
            var objects: [TierObject] = []
            for file in try Disk.names(in: "\(root)/\(folder)") {
                guard let name = TierName("\(kind.rawValue)/\(folder)\(file)"), let open = try Disk.openExisting("\(root)/\(folder)\(file)") else {
                    continue
                }
                objects.append(TierObject(name: name, length: try Disk.status(of: open).size))
            }
            return TierPage(objects: objects, next: folders.first { $0 > folder })
        }
    }

    public func removeLeftovers(before time: Timestamp) async throws(RegistryError) {
        try await run { [directory] () throws(RegistryError) in
            for kind in TierName.Kind.allCases {
                let root = "\(directory)/\(kind.rawValue)"
                for folder in !kind.hasFolders ? [root] : try Disk.names(in: root).map({ "\(root)/\($0)" }) {
                    for name in try Disk.names(in: folder) where name.hasSuffix(DirectoryTier.leftover) {
                        guard let file = try Disk.openExisting("\(folder)/\(name)"), try Disk.status(of: file).modified < time else { continue }
                        try Disk.remove("\(folder)/\(name)")
                    }
                }
            }
        }
    }

    public func url(of name: TierName, expiresSeconds: Int64, disposition: String, contentType: String) -> String? { nil }

    private func path(_ name: TierName) -> String { "\(directory)/\(name)" }

    /// A file server that fails is a tier that fails, not a disk of ours.
    private func run<R: Sendable>(_ work: @escaping @Sendable () throws(RegistryError) -> R) async throws(RegistryError) -> R {
        do throws(RegistryError) { return try await pool.run(work) } catch {
            guard error.code != .notFound, error.code != .upstreamFailed else { throw error }
            throw RegistryError(
                .upstreamFailed, subject: .store, reason: "the tier's directory refused an operation", cause: "\(error)", retryAfterSeconds: 5)
        }
    }

    private static func absent(_ name: TierName) -> RegistryError {
        RegistryError(.notFound, subject: .store, reason: "there is no \(name) in the tier")
    }

    private static func makeDirectories(in root: String, for name: TierName) throws(RegistryError) {
        var path = root
        for part in name.description.split(separator: "/").dropLast() {
            let parent = path
            path += "/\(part)"
            if try Disk.makeDirectory(path) { try Disk.synchronizeDirectory(parent) }
        }
    }

    private static func parent(of path: String) -> String { path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "." }

    private actor Reading: BodySource {
        private let file: OpenFile
        private var range: Range<Int64>
        private let pool: BlockingPool

        init(file: OpenFile, range: Range<Int64>, pool: BlockingPool) {
            self.file = file
            self.range = range
            self.pool = pool
        }

        func next() async throws(RegistryError) -> ByteBuffer? {
            guard !range.isEmpty else { return nil }
            let (file, at, count) = (file, range.lowerBound, min(DirectoryTier.sliceBytes, range.count))
            let slice = try await pool.run { () throws(RegistryError) in
                try BlobContent(.extents([Extent(file: file, offset: at, length: Int64(count))])).buffer(at: 0, count: count)
            }
            guard slice.readableBytes > 0 else {
                throw RegistryError(.upstreamFailed, subject: .store, reason: "a file in the tier is shorter than it was")
            }
            range = (at + Int64(slice.readableBytes))..<range.upperBound
            return slice
        }
    }
}
