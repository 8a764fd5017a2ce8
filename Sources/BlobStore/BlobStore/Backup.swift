public import Core
import OrderedStore

#if canImport(Glibc)
    import Glibc
#endif

// Copies of a store, whole and consistent, beside the running one or from a stopped one (docs/backup.md). First the index as it is at one moment,
// then the files: bytes are on disk before a name points at them, so whatever the index names is in files that are copied after. Nobody takes
// bytes away meanwhile. Segments and own files never change once complete: what the copy has already is left out.

/// What a backup copied, and what it found there.
public struct BackupTally: Sendable, Hashable {
    public var copiedFiles = 0
    public var copiedBytes: Int64 = 0
    public var skippedFiles = 0
    public var removedFiles = 0
    /// Damaged where they lie; copied as they are.
    public var damagedFiles = 0
    public init() {}
}

extension BlobStore {
    /// Brings the backup in `target`, which is made when missing, up to this moment, and signs it. The sweep must not run meanwhile; blobs are not
    /// cut into chunks. An interrupted one leaves the backup as it was before.
    /// - Parameter revision: asked at the moment of the backup.
    public func backUp(
        to target: String, keys: BackupKeys, revision: () async throws(RegistryError) -> UInt64
    ) async throws(RegistryError) -> (tally: BackupTally, revision: UInt64) {
        try await checkBackupHasTier()
        await chunkTurn.begin()
        defer { chunkTurn.end() }
        let own = try await pool.run { [directory, world] () throws(RegistryError) in try TierOwner.directoryID(in: directory, world) }
        let previous = try await BackupManifest.previous(
            { () async throws(RegistryError) in try await sweepPool.run { () throws(RegistryError) in try BackupManifest.read(in: target) } },
            signer: keys.signer, log: log)
        // Read before the checkpoint: what the index names is at least that.
        let manifest = BackupManifest.after(previous, of: own, revision: try await revision(), made: world.now())
        let known = KnownSums(previous, signedBy: keys.signer)
        let source = directory
        let index = index
        var copy = try await sweepPool.run { () throws(RegistryError) in
            var copy = DirectoryBackup(in: target, manifest, known)
            try copy.begin()
            let snapshot = "\(source)/checkpoint"
            try FileCopy.removeTree(snapshot)
            defer { try? FileCopy.removeTree(snapshot) }
            try index.checkpoint(at: snapshot)
            try copy.copyIndex(snapshot)
            try copy.copyKeys(keys)
            try copy.copyStore(source)
            return copy
        }
        // After the disk: what leaves it meanwhile is in the tier.
        if let tiering { try await tiering.copyAll(to: &copy) }
        let copied = copy
        let tally = try await sweepPool.run { () throws(RegistryError) in
            var copy = copied
            try copy.finish(signing: keys.signer)
            return copy.tally
        }
        return (tally, manifest.revision)
    }

    func checkBackupHasTier() async throws(RegistryError) {
        let hasTier = try await hasTier()
        guard !hasTier || tiering != nil else {
            throw RegistryError(
                .unsupported, subject: .store, reason: "some files of this store are in a tier alone: without it no backup can be made")
        }
    }
}

/// One backup being made in a directory. What the one before it has under the same name stays as it is until the new manifest is there: its
/// successor waits in `moment-<number>/` until then, and is moved to its place after. Blocks.
struct DirectoryBackup: Sendable {
    private let target: String
    private var manifest: BackupManifest
    private(set) var tally = BackupTally()
    let place: Place

    /// Where its files go, and what is there.
    struct Place: Sendable {
        let target: String
        let moment: UInt64
        let known: KnownSums
    }

    init(in target: String, _ manifest: BackupManifest, _ known: KnownSums) {
        self.target = target
        self.manifest = manifest
        place = Place(target: target, moment: manifest.moment, known: known)
    }

    fileprivate static func waiting(_ moment: UInt64) -> String { "moment-\(moment)" }

    /// What the manifest names that is not in its place yet: a crash may have come between.
    static func settle(_ target: String) throws(RegistryError) {
        guard let manifest = try BackupManifest.read(in: target) else { return }
        let waiting = "\(target)/\(DirectoryBackup.waiting(manifest.moment))"
        let paths = try FileCopy.files(below: waiting)
        for path in paths { try Disk.move("\(waiting)/\(path)", over: "\(target)/\(path)") }
        for folder in Set(paths.map { FileCopy.folder(of: "\(target)/\($0)") }) { try Disk.synchronizeDirectory(folder) }
        try FileCopy.removeTree(waiting)
    }

    /// A file of a whole backup.
    static func file(_ object: String, in target: String, _ manifest: BackupManifest) throws(RegistryError) -> OpenFile? {
        let waiting = "\(target)/\(DirectoryBackup.waiting(manifest.moment))/\(object)"
        if let file = try Disk.openExisting(waiting, followsLink: false) { return file }
        // A link may lead to what is not for who wrote the backup.
        return try Disk.openExisting("\(target)/\(object)", followsLink: false)
    }

    // MARK: Making

    func begin() throws(RegistryError) {
        try Disk.makeDirectory(target)
        try DirectoryBackup.settle(target)
        try removeOthers()
        for path in ["keys", "store", "store/segments", "store/blobs"] { try Disk.makeDirectory("\(target)/\(path)") }
        try FileCopy.removeTree("\(target)/\(manifest.index)")
    }

    /// Indices and what waited, of backups that were not made, or count no more.
    private func removeOthers() throws(RegistryError) {
        let current = try BackupManifest.read(in: target)?.index
        for name in try Disk.names(in: target) where name.hasPrefix("moment-") || (name.hasPrefix("index-") && name != current) {
            try FileCopy.removeTree("\(target)/\(name)")
        }
    }

    mutating func copyIndex(_ snapshot: String) throws(RegistryError) {
        for name in try FileCopy.files(below: snapshot) {
            try copy("\(snapshot)/\(name)", to: "\(manifest.index)/\(name)", as: "index/\(name)")
        }
        try Disk.synchronizeDirectory("\(target)/\(manifest.index)")
    }

    mutating func copyKeys(_ keys: BackupKeys) throws(RegistryError) {
        for name in try keys.names() { try copy("\(keys.directory)/\(name)", to: place.fresh("keys/\(name)"), as: "keys/\(name)") }
        try Disk.synchronizeDirectory("\(target)/keys")
    }

    /// Segments and own files of a store; of those that the target has already, none.
    mutating func copyStore(_ source: String) throws(RegistryError) {
        for name in try Disk.names(in: "\(source)/segments") {
            guard let number = Segment.number(ofFile: name) else { continue }
            let path = "store/segments/\(name)"
            let new = try place.fresh(path)
            switch try FileCopy.copySegment(number, "\(source)/segments/\(name)", unless: "\(target)/\(path)", to: "\(target)/\(new)") {
            case .copied(let copied): note(copied, path)
            case .there(let length): try skip(path, length, "\(source)/segments/\(name)")
            case .gone: break
            }
        }
        try Disk.synchronizeDirectory("\(target)/store/segments")
        for shard in try Disk.names(in: "\(source)/blobs") where shard.utf8.count == 2 {
            try Disk.makeDirectory("\(target)/store/blobs/\(shard)")
            for name in try Disk.names(in: "\(source)/blobs/\(shard)") where name.utf8.count == 64 {
                let (from, path) = ("\(source)/blobs/\(shard)/\(name)", "store/blobs/\(shard)/\(name)")
                if let length = try FileCopy.sameEnd(from, "\(target)/\(path)") {
                    try skip(path, length, from)
                } else {
                    try copy(from, to: place.fresh(path), as: path)
                }
            }
            try Disk.synchronizeDirectory("\(target)/store/blobs/\(shard)")
        }
        try Disk.synchronizeDirectory("\(target)/store/blobs")
    }

    private mutating func copy(_ from: String, to new: String, as path: String) throws(RegistryError) {
        try FileCopy.makeFolders(of: new, in: target)
        guard let copied = try FileCopy.copy(from, to: "\(target)/\(new)") else { return }
        note(copied, path, in: path.hasPrefix("index/") ? new : nil)
    }

    mutating func note(_ copied: FileCopy.Copied, _ path: String, in object: String? = nil) {
        manifest.entries.append(.init(length: copied.length, sum: copied.sum, object: object ?? path, path: path))
        tally.copiedFiles += 1
        tally.copiedBytes += copied.length
    }

    mutating func noteThere(_ length: Int64, _ sum: BackupManifest.Sum, _ path: String) {
        manifest.entries.append(.init(length: length, sum: sum, object: path, path: path))
        tally.skippedFiles += 1
    }

    /// Its copy is there. What is vouched for is what it is here, or what it was when a backup that we signed copied it.
    private mutating func skip(_ path: String, _ length: Int64, _ source: String) throws(RegistryError) {
        if let sum = place.known.sum(of: path, length) { return noteThere(length, sum, path) }
        // Gone by now: what left the disk is in the tier.
        guard let file = try Disk.openExisting(source) else { return }
        noteThere(length, try FileCopy.sum(of: file).sum, path)
    }

    /// Paths below the data directory of what is in it so far.
    var paths: Set<String> { Set(manifest.entries.map(\.path)) }

    // MARK: The end

    mutating func finish(signing signer: BackupSigner) throws(RegistryError) {
        let waiting = DirectoryBackup.waiting(manifest.moment)
        for folder in Set(try FileCopy.files(below: "\(target)/\(waiting)").map { FileCopy.folder(of: "\(target)/\(waiting)/\($0)") }) {
            try Disk.synchronizeDirectory(folder)
        }
        manifest.entries.sort { $0.path < $1.path }
        try FileCopy.write(try manifest.signed(by: signer), to: "\(target)/\(BackupManifest.name)")
        try Disk.synchronizeDirectory(target)
        // From here on the new manifest counts, and what only the old one needed can go.
        try DirectoryBackup.settle(target)
        try removeOthers()
        let needed = paths
        for folder in ["keys", "store/segments"] + (try Disk.names(in: "\(target)/store/blobs").map { "store/blobs/\($0)" }) {
            tally.removedFiles += try FileCopy.prune(folder, in: target, keeping: needed)
        }
    }
}

extension DirectoryBackup.Place {
    /// Where a new file goes, below the target.
    func fresh(_ path: String) throws(RegistryError) -> String {
        let isTaken = try Disk.openExisting("\(target)/\(path)") != nil
        let new = isTaken ? "\(DirectoryBackup.waiting(moment))/\(path)" : path
        try FileCopy.makeFolders(of: new, in: target)
        return new
    }

    /// Of a file that only the tier has: its digest, if it is there, of a backup that we signed.
    func sum(of path: String, _ length: Int64) throws(RegistryError) -> BackupManifest.Sum? {
        guard let sum = known.sum(of: path, length), let file = try Disk.openExisting("\(target)/\(path)"),
            try Disk.status(of: file).size == length
        else { return nil }
        return sum
    }

    /// Takes a file that was checked.
    func take(_ file: OpenFile, as path: String) throws(RegistryError) -> FileCopy.Copied {
        let new = "\(target)/\(try fresh(path))"
        let copied = try FileCopy.copy(file, to: new)
        try Disk.synchronizeDirectory(FileCopy.folder(of: new))
        return copied
    }
}
