public import Core
import Logging
import NIOCore
import OrderedStore

#if canImport(Glibc)
    import Glibc
#endif

// A backup on a shelf, in the order of one in a directory: the index as it is at one moment, then the files, then the manifest, then what no
// manifest names goes. Sealed segments and own files are put once, under names that their content decides; all else under the moment's.

extension BlobStore {
    /// Brings the backup on the shelf up to this moment. The sweep must not run meanwhile; blobs are not cut into chunks. An interrupted one
    /// leaves the backup as it was before. Parameters as of `backUp(to:keys:revision:)` of a directory.
    /// - Returns: what was done, and up to which revision every change is in the backup.
    public func backUp(
        to shelf: any BackupShelf, keys: BackupKeys, revision: () async throws(RegistryError) -> UInt64
    ) async throws(RegistryError) -> (tally: BackupTally, revision: UInt64) {
        try await checkBackupHasTier()
        await chunkTurn.begin()
        defer { chunkTurn.end() }
        let own = try await pool.run { [directory, world] () throws(RegistryError) in try TierOwner.directoryID(in: directory, world) }
        let previous = try await BackupManifest.previous(
            { () async throws(RegistryError) in try await BackupManifest.read(from: shelf) }, signer: keys.signer, log: log)
        let manifest = BackupManifest.after(previous, of: own, revision: try await revision(), made: world.now())
        let there = try await ShelfBackup.list("store/", of: shelf)
        let isOurs = previous?.directory == own && previous?.key == keys.signer.key
        let copy = ShelfBackup(
            of: self, to: shelf, there: there, knowsSegments: isOurs, KnownSums(previous, signedBy: keys.signer), manifest)
        let result: Result<(tally: BackupTally, revision: UInt64), RegistryError>
        do throws(RegistryError) { result = .success(try await copy.make(keys: keys)) } catch { result = .failure(error) }
        try await sweepPool.run { [directory] () throws(RegistryError) in try ShelfBackup.clear(directory) }
        return try result.get()
    }
}

/// One backup being made.
private struct ShelfBackup {
    private static let putsAtOnce = 3
    private static let segmentPrefix = "store/segments/"

    private enum Source {
        /// Changes with every backup, or is small.
        case moment(String)
        case segment(UInt64, String)
        case ownFile(BlobID)
        /// The tier alone has it.
        case away(OpenFiles.Name, Int64)
    }

    private struct Job {
        let path: String
        let source: Source
    }

    private struct Done {
        var entry: BackupManifest.Entry?
        var wasThere = false
        var isDamaged = false
    }

    private let store: BlobStore
    private let shelf: any BackupShelf
    private let there: [String: Int64]
    /// Segments there, by number; none unless what has a number there is that segment of this store.
    private let segments: [UInt64: [String]]
    private let known: KnownSums
    private var manifest: BackupManifest
    private var tally = BackupTally()

    init(
        of store: BlobStore, to shelf: any BackupShelf, there: [String: Int64], knowsSegments: Bool, _ known: KnownSums, _ manifest: BackupManifest
    ) {
        self.store = store
        self.shelf = shelf
        self.there = there
        var segments: [UInt64: [String]] = [:]
        for name in there.keys where knowsSegments && name.hasPrefix(ShelfBackup.segmentPrefix) {
            guard let number = UInt64(name.dropFirst(ShelfBackup.segmentPrefix.utf8.count).prefix(16), radix: 16) else { continue }
            segments[number, default: []].append(name)
        }
        self.segments = segments
        self.known = known
        self.manifest = manifest
    }

    static func list(_ prefix: String, of shelf: any BackupShelf) async throws(RegistryError) -> [String: Int64] {
        var found: [String: Int64] = [:]
        var page: String?
        repeat {
            let some = try await shelf.list(prefix, page: page)
            for object in some.objects { found[object.name] = object.length }
            page = some.next
        } while page != nil
        return found
    }

    private static func snapshot(_ directory: String) -> String { "\(directory)/checkpoint" }
    private static func segmentCopies(_ directory: String) -> String { "\(directory)/checkpoint.segments" }

    static func clear(_ directory: String) throws(RegistryError) {
        try FileCopy.removeTree(snapshot(directory))
        try FileCopy.removeTree(segmentCopies(directory))
    }

    // MARK: Making

    consuming func make(keys: BackupKeys) async throws(RegistryError) -> (tally: BackupTally, revision: UInt64) {
        let store = store
        let jobs = try await store.sweepPool.run { () throws(RegistryError) in try ShelfBackup.jobs(of: store, keys: keys) }
        try await put(jobs)
        if let tiering = store.tiering {
            // After the disk: what leaves it meanwhile is in the tier.
            let known = Set(manifest.entries.map(\.path))
            var away: [Job] = []
            for (name, row) in try await tiering.rows() where row.state == .present || row.state == .unsound {
                let path = ShelfBackup.path(of: name)
                if !known.contains(path) { away.append(Job(path: path, source: .away(name, row.length))) }
            }
            try await put(away)
        }
        guard !Task.isCancelled else { throw ShelfBackup.interrupted }
        manifest.entries.sort { $0.path < $1.path }
        try await shelf.put(BackupManifest.name, BlobContent(.memory(ByteBuffer(bytes: try manifest.signed(by: keys.signer)))))
        try await prune()
        return (tally, manifest.revision)
    }

    /// From here on the new manifest counts, and what only the old one named can go.
    private mutating func prune() async throws(RegistryError) {
        let needed = Set(manifest.entries.map(\.object))
        for prefix in ["store/", "moment-"] {
            for name in try await ShelfBackup.list(prefix, of: shelf).keys.sorted() where !needed.contains(name) {
                try await shelf.remove(name)
                tally.removedFiles += 1
            }
        }
        try await shelf.removeLeftovers(before: store.world.now().adding(seconds: -24 * 3600))
    }

    private static var interrupted: RegistryError {
        RegistryError(.unavailable, subject: .store, reason: "the backup was interrupted")
    }

    private static func path(of name: OpenFiles.Name) -> String {
        switch name {
        case .segment(let number): "store/segments/\(Segment.fileName(number))"
        case .ownFile(let id): "store/blobs/\(BlobDirectory.shard(of: id))/\(id.hex)"
        }
    }

    /// What is to be copied. The index first, as it is at one moment. Blocks.
    private static func jobs(of store: BlobStore, keys: BackupKeys) throws(RegistryError) -> [Job] {
        let directory = store.directory
        try clear(directory)
        try store.index.checkpoint(at: snapshot(directory))
        var jobs: [Job] = []
        for name in try FileCopy.files(below: snapshot(directory)) {
            jobs.append(Job(path: "index/\(name)", source: .moment("\(snapshot(directory))/\(name)")))
        }
        for name in try keys.names() { jobs.append(Job(path: "keys/\(name)", source: .moment("\(keys.directory)/\(name)"))) }
        try Disk.makeDirectory(segmentCopies(directory))
        for number in try Segments.numbers(in: store.segments.directory) {
            var path = store.segments.path(number)
            guard let file = try Disk.openExisting(path) else { continue }
            if try SegmentIndex.trailer(of: file, number: number) == nil {
                // Still written to: what is put is to stand still.
                let copy = "\(segmentCopies(directory))/\(Segment.fileName(number))"
                try FileCopy.copySegment(number, path, unless: copy, to: copy)
                path = copy
            }
            jobs.append(Job(path: ShelfBackup.path(of: .segment(number)), source: .segment(number, path)))
        }
        try store.blobs.blobs { id throws(RegistryError) in
            jobs.append(Job(path: ShelfBackup.path(of: .ownFile(id)), source: .ownFile(id)))
        }
        return jobs
    }

    private mutating func put(_ jobs: [Job]) async throws(RegistryError) {
        let copy = self
        let (done, failure) = await withTaskGroup(of: Result<Done, RegistryError>.self) { group in
            var rest = jobs.makeIterator()
            var done: [Done] = []
            var failure: RegistryError?
            func addNext() {
                guard failure == nil, !Task.isCancelled, let job = rest.next() else { return }
                group.addTask {
                    do throws(RegistryError) { return .success(try await copy.perform(job)) } catch { return .failure(error) }
                }
            }
            for _ in 0..<ShelfBackup.putsAtOnce { addNext() }
            while let ended = await group.next() {
                switch ended {
                case .success(let one): done.append(one)
                case .failure(let error):
                    failure = failure ?? error
                    group.cancelAll()
                }
                addNext()
            }
            return (done, failure)
        }
        if let failure { throw failure }
        guard !Task.isCancelled else { throw ShelfBackup.interrupted }
        for one in done {
            guard let entry = one.entry else { continue }
            manifest.entries.append(entry)
            if one.wasThere { tally.skippedFiles += 1 } else { tally.copiedFiles += 1 }
            tally.copiedBytes += one.wasThere ? 0 : entry.length
            tally.damagedFiles += one.isDamaged ? 1 : 0
        }
    }

    // MARK: One file

    private func perform(_ job: Job) async throws(RegistryError) -> Done {
        switch job.source {
        case .moment(let path):
            guard let file = try await open(path) else { return Done() }
            return Done(entry: try await putForMoment(job, file))
        case .segment(let number, let path):
            guard let file = try await open(path) else { return Done() }
            let name = try await store.pool.run { () throws(RegistryError) in try ShelfBackup.object(ofSegment: number, in: file) }
            guard let name else { return Done(entry: try await putForMoment(job, file)) }
            return try await putOnce(job, name, .segment(number), file)
        case .ownFile(let id):
            guard let file = try await open(store.blobs.path(of: id)) else { return Done() }
            return try await putOnce(job, job.path, .ownFile(id), file)
        case .away(let name, let length): return try await putFromTier(job, name, length)
        }
    }

    private func open(_ path: String) async throws(RegistryError) -> OpenFile? {
        try await store.pool.run { () throws(RegistryError) in try Disk.openExisting(path) }
    }

    private func length(of file: OpenFile) async throws(RegistryError) -> Int64 {
        try await store.pool.run { () throws(RegistryError) in try Disk.status(of: file).size }
    }

    /// A sealed segment's, by its number and its content: header, index and end tell one from another that has its number. nil for one that is not
    /// sealed, or that is damaged there.
    private static func object(ofSegment number: UInt64, in file: OpenFile) throws(RegistryError) -> String? {
        guard let trailer = try SegmentIndex.trailer(of: file, number: number) else { return nil }
        let size = try Disk.status(of: file).size
        let parts = [
            (Int64(0), SegmentHeader.bytes), (trailer.indexOffset, RecordHeader.bytes),
            (size - Int64(SegmentTrailer.bytes), SegmentTrailer.bytes),
        ]
        var seen: [UInt8] = []
        for (offset, count) in parts { seen += try Disk.read(file, at: offset, count: count) }
        return "\(segmentPrefix)\(Segment.fileName(number).dropLast(8))-\(Digest.of(.sha256, seen).hex.prefix(16)).segment"
    }

    private func putForMoment(_ job: Job, _ file: OpenFile) async throws(RegistryError) -> BackupManifest.Entry {
        let (length, sum) = try await sum(of: file)
        let object = "moment-\(manifest.moment)/\(job.path)"
        try await shelf.put(object, BlobContent(.extents([Extent(file: file, offset: 0, length: length)])))
        return BackupManifest.Entry(length: length, sum: sum, object: object, path: job.path)
    }

    private func sum(of file: OpenFile) async throws(RegistryError) -> (Int64, BackupManifest.Sum) {
        let read = try await store.pool.run { () throws(RegistryError) in try FileCopy.sum(of: file) }
        return (read.length, read.sum)
    }

    /// What is damaged goes with the moment, so that it is looked at again with the next backup.
    private func putOnce(_ job: Job, _ object: String, _ name: OpenFiles.Name, _ file: OpenFile) async throws(RegistryError) -> Done {
        let length = try await length(of: file)
        if there[object] == length {
            var vouched = known.sum(of: object, length)
            if vouched == nil { vouched = try await sum(of: file).1 }
            return Done(entry: vouched.map { .init(length: length, sum: $0, object: object, path: job.path) }, wasThere: true)
        }
        do throws(RegistryError) { _ = try await store.pool.run { () throws(RegistryError) in try Tiering.check(name, file) } } catch {
            guard error.code == .corrupt else { throw error }
            store.log.error("a damaged file is in the backup as it is", metadata: ["file": "\(job.path)", "error": "\(error)"])
            return Done(entry: try await putForMoment(job, file), isDamaged: true)
        }
        let entry = BackupManifest.Entry(length: length, sum: try await sum(of: file).1, object: object, path: job.path)
        try await shelf.put(object, BlobContent(.extents([Extent(file: file, offset: 0, length: length)])))
        return Done(entry: entry)
    }

    private func putFromTier(_ job: Job, _ name: OpenFiles.Name, _ length: Int64) async throws(RegistryError) -> Done {
        guard let tiering = store.tiering else { preconditionFailure("only a store with a tier has files away") }
        let objects: [String] =
            switch name {
            case .ownFile: [job.path]
            case .segment(let number): segments[number] ?? []
            }
        for object in objects where there[object] == length {
            guard let sum = known.sum(of: object, length) else { continue }
            return Done(entry: BackupManifest.Entry(length: length, sum: sum, object: object, path: job.path), wasThere: true)
        }
        let file = try await tiering.checkedCopy(of: name, length)
        var object = job.path
        if case .segment(let number) = name {
            let found = try await store.pool.run { () throws(RegistryError) in try ShelfBackup.object(ofSegment: number, in: file) }
            guard let found else { throw Tiering.damaged("\(job.path) in the tier is not sealed") }
            object = found
        }
        let entry = BackupManifest.Entry(length: length, sum: try await sum(of: file).1, object: object, path: job.path)
        if there[object] == length { return Done(entry: entry, wasThere: true) }
        try await shelf.put(object, BlobContent(.extents([Extent(file: file, offset: 0, length: length)])))
        return Done(entry: entry)
    }
}
