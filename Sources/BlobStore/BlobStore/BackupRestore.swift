public import Core
import NIOCore

#if canImport(Glibc)
    import Glibc
#endif

/// Makes a data directory of a backup, step by step, so that somebody can look at what is in it before it is believed. Whatever is taken is compared
/// with what was signed. What is at the target must not be a store; until `finish` it is none.
public struct BackupRestore: Sendable {
    private static let filesAtOnce = 3
    private static let index = "index.new"

    public let manifest: BackupManifest
    private let source: BackupTarget
    private let target: String
    private let isTargetNew: Bool
    private let pool: BlockingPool

    /// - Throws: `notFound` when there is no whole backup, `conflict` when there is a store at the target, `forbidden` when the backup is not
    ///   to be believed.
    public init(of source: BackupTarget, trusting trust: BackupTrust, to target: String) async throws(RegistryError) {
        let pool = BlockingPool(threads: 2, name: "restore")
        let (found, place): (BackupManifest?, String) =
            switch source {
            case .directory(let path): (try await pool.run { () throws(RegistryError) in try BackupRestore.manifest(in: path) }, path)
            case .shelf(let shelf): (try await BackupManifest.read(from: shelf), shelf.place)
            }
        guard let found else { throw RegistryError(.notFound, subject: .store, reason: "there is no complete backup in \(place)") }
        try trust.check(found)
        (self.source, self.target, self.pool, manifest) = (source, target, pool, found)
        isTargetNew = try await pool.run { () throws(RegistryError) in
            guard try Disk.names(in: "\(target)/index").isEmpty, try Disk.names(in: "\(target)/store").isEmpty else {
                throw RegistryError(.conflict, subject: .store, reason: "\(target) holds a store already; restore to an empty directory")
            }
            for name in BackupKeys.kept where try Disk.openExisting("\(target)/keys/\(name)") != nil {
                throw RegistryError(.conflict, subject: .store, reason: "\(target) has keys already; restore to an empty directory")
            }
            let isNew = try Disk.makeDirectory(target)
            try FileCopy.removeTree("\(target)/\(BackupRestore.index)")
            return isNew
        }
    }

    /// All steps, with the keys.
    public static func restore(
        _ source: BackupTarget, trusting trust: BackupTrust, to target: String
    ) async throws(RegistryError) -> BackupTally {
        let restore = try await BackupRestore(of: source, trusting: trust, to: target)
        do throws(RegistryError) {
            try await restore.takeIndex()
            try await restore.takeKeys()
            _ = try await restore.takeStore(salvaging: false)
            try await restore.finish()
        } catch {
            await restore.abandon()
            throw error
        }
        return restore.tally
    }

    // MARK: Looking

    /// The index, to be opened before anything else is taken.
    public var indexPath: String { "\(target)/\(BackupRestore.index)" }

    /// Names of the keys that would be taken.
    public var keys: [String] {
        manifest.entries.compactMap { $0.path.hasPrefix("keys/") ? String($0.path.dropFirst("keys/".utf8.count)) : nil }
            .filter(BackupKeys.kept.contains)
    }

    public var tally: BackupTally {
        var tally = BackupTally()
        tally.copiedFiles = manifest.entries.count
        tally.copiedBytes = manifest.entries.reduce(0) { $0 + $1.length }
        return tally
    }

    // MARK: Steps

    /// - Throws: `corrupt` for a file that is missing or not what it was.
    public func takeIndex() async throws(RegistryError) { try await take { $0.path.hasPrefix("index/") } }

    /// - Throws: as `takeIndex`.
    public func takeKeys() async throws(RegistryError) {
        let paths = Set(keys.map { "keys/\($0)" })
        try await take { paths.contains($0.path) }
    }

    /// - Parameter isSalvaging: takes files as they are, and leaves out what is missing. Whoever says so looks at every blob after, and lets go of
    ///   those whose bytes are not theirs.
    /// - Returns: files that are missing or not what they were.
    /// - Throws: `corrupt` for such a file, unless what can be had is wanted.
    public func takeStore(salvaging isSalvaging: Bool) async throws(RegistryError) -> [String] {
        try await pool.run { [target] () throws(RegistryError) in
            for path in ["store", "store/segments", "store/blobs"] { try Disk.makeDirectory("\(target)/\(path)") }
        }
        return try await take(salvaging: isSalvaging) { $0.path.hasPrefix("store/") }
    }

    /// From here on there is a store.
    public func finish() async throws(RegistryError) {
        try await pool.run { [target] () throws(RegistryError) in
            // Last: a directory without an index is no store.
            for shard in try Disk.names(in: "\(target)/store/blobs") { try Disk.synchronizeDirectory("\(target)/store/blobs/\(shard)") }
            try Disk.makeDirectory("\(target)/keys")
            for path in ["store/blobs", "store/segments", "store", "keys", BackupRestore.index] {
                try Disk.synchronizeDirectory("\(target)/\(path)")
            }
            rmdir("\(target)/index")
            try Disk.move("\(target)/\(BackupRestore.index)", over: "\(target)/index")
            try Disk.synchronizeDirectory(target)
        }
    }

    /// Takes away what was taken. What cannot be removed stays, and is no store.
    public func abandon() async {
        let paths = [BackupRestore.index, "store"] + keys.map { "keys/\($0)" }
        _ = try? await pool.run { [target, isTargetNew] () throws(RegistryError) in
            for path in paths { try FileCopy.removeTree("\(target)/\(path)") }
            rmdir("\(target)/keys")
            if isTargetNew { rmdir(target) }
        }
    }

    // MARK: Files

    @discardableResult
    private func take(
        salvaging isSalvaging: Bool = false, _ isWanted: (BackupManifest.Entry) -> Bool
    ) async throws(RegistryError) -> [String] {
        let wanted = manifest.entries.filter(isWanted)
        let (damaged, failure) = await withTaskGroup(of: Result<String?, RegistryError>.self) { group in
            var rest = wanted.makeIterator()
            var (damaged, failure): ([String], RegistryError?) = ([], nil)
            func addNext() {
                guard failure == nil, let entry = rest.next() else { return }
                group.addTask {
                    do throws(RegistryError) {
                        let isWhole = try await fetch(entry)
                        if !isWhole, !isSalvaging { throw BackupRestore.damaged(entry.object) }
                        return .success(isWhole ? nil : entry.path)
                    } catch { return .failure(error) }
                }
            }
            for _ in 0..<BackupRestore.filesAtOnce { addNext() }
            while let ended = await group.next() {
                switch ended {
                case .success(let path): if let path { damaged.append(path) }
                case .failure(let error):
                    failure = failure ?? error
                    group.cancelAll()
                }
                addNext()
            }
            return (damaged, failure)
        }
        if let failure { throw failure }
        return damaged.sorted()
    }

    static func damaged(_ object: String) -> RegistryError {
        RegistryError(.corrupt, subject: .store, reason: "\(object) of the backup is missing, or not what it was when the backup was made")
    }

    /// - Returns: whether it was there as it was.
    private func fetch(_ entry: BackupManifest.Entry) async throws(RegistryError) -> Bool {
        let place = entry.path.hasPrefix("index/") ? "\(BackupRestore.index)/\(entry.path.dropFirst("index/".utf8.count))" : entry.path
        switch source {
        case .directory(let root):
            return try await pool.run { [target, manifest] () throws(RegistryError) in
                guard let from = try DirectoryBackup.file(entry.object, in: root, manifest) else { return false }
                let to = try BackupRestore.create(place, in: target)
                let copied = try FileCopy.fill(to, with: from)
                try Disk.synchronize(to)
                if case .unsigned = entry.sum { return copied.length == entry.length }
                return copied.length == entry.length && copied.sum == entry.sum
            }
        case .shelf(let shelf):
            guard let found = try await shelf.length(of: entry.object), found == entry.length else { return false }
            let to = try await pool.run { [target] () throws(RegistryError) in try BackupRestore.create(place, in: target) }
            return try await fetch(entry, from: shelf, into: to)
        }
    }

    private static func create(_ place: String, in target: String) throws(RegistryError) -> OpenFile {
        try FileCopy.makeFolders(of: place, in: target)
        return try Disk.open("\(target)/\(place)", O_RDWR | O_CREAT | O_EXCL)
    }

    private func fetch(_ entry: BackupManifest.Entry, from shelf: any BackupShelf, into file: OpenFile) async throws(RegistryError) -> Bool {
        var at: Int64 = 0
        var (hasher, crc) = (Digest.Hasher(.sha256), UInt32(0))
        try await ShelfReading.read(entry.object, entry.length, from: shelf) { slice throws(RegistryError) in
            let offset = at
            try await pool.run { () throws(RegistryError) in
                try slice.withBytes { bytes throws(RegistryError) in try unsafe Disk.write(bytes, to: file, at: offset) }
            }
            slice.withUnsafeReadableBytes { bytes in
                unsafe hasher.update(bytes)
                crc = unsafe CRC32C.of(bytes, continuing: crc)
            }
            at += Int64(slice.readableBytes)
        }
        try await pool.run { () throws(RegistryError) in try Disk.synchronize(file) }
        return switch entry.sum {
        case .sha256(let digest): hasher.finish().bytes == digest
        case .unsigned(let sum): sum == nil || sum == crc
        }
    }
}

extension BackupRestore {
    /// The manifest of a backup in a directory. One that was made before backups were signed names no files: those that are there are taken.
    private static func manifest(in directory: String) throws(RegistryError) -> BackupManifest? {
        guard var manifest = try BackupManifest.read(in: directory) else { return nil }
        guard manifest.key == nil, manifest.entries.isEmpty else { return manifest }
        for (folder, path) in [(manifest.index, "index"), ("keys", "keys"), ("store/segments", "store/segments"), ("store/blobs", "store/blobs")] {
            for name in try FileCopy.files(below: "\(directory)/\(folder)") where !name.hasSuffix(".copying") {
                let file = try Disk.openExisting("\(directory)/\(folder)/\(name)", followsLink: false)
                let length = try file.map { (file) throws(RegistryError) in try Disk.status(of: file).size } ?? 0
                manifest.entries.append(.init(length: length, sum: .unsigned(nil), object: "\(folder)/\(name)", path: "\(path)/\(name)"))
            }
        }
        return manifest
    }
}

extension BackupManifest {
    /// Looks at a backup in a directory where it lies: that every file which was signed is there in its length, and of the index, the keys and, if
    /// asked, all others that each byte is as it was. Blocks.
    /// - Parameter found: gets each file that is not.
    public func check(in directory: String, readingAll: Bool, _ found: (String) -> Void) throws(RegistryError) {
        guard key != nil else { return }
        // A crash may have come between the manifest and the last step.
        try DirectoryBackup.settle(directory)
        for entry in entries {
            guard let file = try Disk.openExisting("\(directory)/\(entry.object)", followsLink: false),
                try Disk.status(of: file).size == entry.length
            else {
                found(entry.object)
                continue
            }
            if readingAll || !entry.path.hasPrefix("store/"), try FileCopy.sum(of: file).sum != entry.sum { found(entry.object) }
        }
        // What lies beside the index's files is read as a part of it.
        let known = Set(entries.map(\.object))
        for name in try FileCopy.files(below: "\(directory)/\(index)") where !known.contains("\(index)/\(name)") { found("\(index)/\(name)") }
    }
}
