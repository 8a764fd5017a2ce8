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

/// What is in a directory of a backup: the file `backup`, whose rename is the moment at which a backup is made.
public struct BackupNote: Sendable, Hashable {
    static let file = "backup"
    private static let firstLine = "granary-backup 1"

    /// The directory with the index.
    public let index: String
    public let revision: UInt64
    public let made: String

    var text: String { "\(BackupNote.firstLine)\nindex \(index)\nrevision \(revision)\nmade \(made)\n" }

    /// nil when the directory holds no backup.
    /// - Throws: `corrupt` for a note this program did not write.
    public static func read(in directory: String) throws(RegistryError) -> BackupNote? {
        guard let file = try Disk.openExisting("\(directory)/\(BackupNote.file)") else { return nil }
        let lines = String(decoding: try Disk.read(file, at: 0, count: 4096), as: UTF8.self).split(separator: "\n")
        func value(_ line: Int, _ name: String) -> Substring? {
            lines[line].hasPrefix("\(name) ") ? lines[line].dropFirst(name.utf8.count + 1) : nil
        }
        guard lines.count == 4, lines[0] == firstLine, let index = value(1, "index"), index.hasPrefix("index-"), !index.contains("/"),
            let revision = value(2, "revision").flatMap({ UInt64($0) }), let made = value(3, "made")
        else { throw RegistryError(.corrupt, subject: .store, reason: "the file backup is damaged, or of a newer program") }
        return BackupNote(index: String(index), revision: revision, made: String(made))
    }
}

extension BlobStore {
    /// Brings the backup in `target`, which is made when missing, up to this moment. The sweep must not run meanwhile; blobs are not cut into chunks.
    /// An interrupted one leaves the backup as it was before.
    /// - Parameter keys: a directory of small files to copy as they are.
    /// - Parameter revision: asked at the moment of the backup.
    public func backUp(
        to target: String, keys: String, revision: () async throws(RegistryError) -> UInt64
    ) async throws(RegistryError) -> (tally: BackupTally, note: BackupNote) {
        try await checkBackupHasTier()
        await chunkTurn.begin()
        defer { chunkTurn.end() }
        let previous = try BackupNote.read(in: target)
        let number = (previous.flatMap { UInt64($0.index.dropFirst("index-".count)) } ?? 0) + 1
        // Read before the checkpoint: what the index names is at least that.
        let note = BackupNote(index: "index-\(number)", revision: try await revision(), made: world.now().description)
        let source = directory
        let index = index
        var (tally, kept) = try await sweepPool.run { () throws(RegistryError) in
            for path in [target, "\(target)/keys", "\(target)/store", "\(target)/store/segments", "\(target)/store/blobs"] {
                try Disk.makeDirectory(path)
            }
            let snapshot = "\(source)/checkpoint"
            try FileCopy.removeTree(snapshot)
            defer { try? FileCopy.removeTree(snapshot) }
            try index.checkpoint(at: snapshot)
            var tally = BackupTally()
            try FileCopy.removeTree("\(target)/\(note.index)")
            try FileCopy.copyTree(snapshot, to: "\(target)/\(note.index)", &tally)
            try FileCopy.copyTree(keys, to: "\(target)/keys", &tally)
            let kept = try FileCopy.copyStore(source, to: "\(target)/store", &tally)
            return (tally, kept)
        }
        // After the disk: what leaves it meanwhile is in the tier.
        if let tiering { try await tiering.copyAll(to: "\(target)/store", &kept, &tally) }
        let (needed, copied) = (kept, tally)
        tally = try await sweepPool.run { () throws(RegistryError) in
            var tally = copied
            try FileCopy.write(note.text, to: "\(target)/\(BackupNote.file)")
            try Disk.synchronizeDirectory(target)
            // From here on the new index counts, and what only the old one needed can go.
            for name in try Disk.names(in: target) where name.hasPrefix("index-") && name != note.index {
                try FileCopy.removeTree("\(target)/\(name)")
            }
            try FileCopy.prune("\(target)/store", keeping: needed, &tally)
            return tally
        }
        return (tally, note)
    }
}

extension BlobStore {
    func checkBackupHasTier() async throws(RegistryError) {
        let hasTier = try await hasTier()
        guard !hasTier || tiering != nil else {
            throw RegistryError(
                .unsupported, subject: .store, reason: "some files of this store are in a tier alone: without it no backup can be made")
        }
    }
}

/// Makes a data directory of a backup. What is at `target` must not be a store.
public enum BackupRestore {
    /// - Throws: `notFound` when there is no whole backup, `conflict` when there is a store at the target.
    public static func restore(_ backup: String, to target: String) throws(RegistryError) -> BackupTally {
        guard let note = try BackupNote.read(in: backup) else {
            throw RegistryError(.notFound, subject: .store, reason: "there is no complete backup in \(backup)")
        }
        try makePlace(at: target)
        var tally = BackupTally()
        _ = try FileCopy.copyStore("\(backup)/store", to: "\(target)/store", &tally)
        try FileCopy.copyTree("\(backup)/keys", to: "\(target)/keys", &tally)
        // Last, and under another name first: a directory without an index is no store.
        try FileCopy.removeTree("\(target)/index.new")
        try FileCopy.copyTree("\(backup)/\(note.index)", to: "\(target)/index.new", &tally)
        try giveIndexItsName(at: target)
        return tally
    }

    static func makePlace(at target: String) throws(RegistryError) {
        guard try Disk.names(in: "\(target)/index").isEmpty, try Disk.names(in: "\(target)/store").isEmpty else {
            throw RegistryError(.conflict, subject: .store, reason: "\(target) holds a store already; restore to an empty directory")
        }
        for path in [target, "\(target)/keys", "\(target)/store", "\(target)/store/segments", "\(target)/store/blobs"] {
            try Disk.makeDirectory(path)
        }
    }

    static func giveIndexItsName(at target: String) throws(RegistryError) {
        rmdir("\(target)/index")
        try Disk.move("\(target)/index.new", over: "\(target)/index")
        try Disk.synchronizeDirectory(target)
    }
}
