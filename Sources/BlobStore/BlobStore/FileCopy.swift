import Core
import OrderedStore

#if canImport(Glibc)
    import Glibc
#endif

/// Copies of files, durable when they return. A file appears under its name when it is whole.
enum FileCopy {
    private static let suffix = ".copying"
    private static let sliceBytes = 1 << 20

    /// Segments and own files of a store; of those that the target has already, none.
    /// - Returns: their paths below the store.
    static func copyStore(_ source: String, to target: String, _ tally: inout BackupTally) throws(RegistryError) -> Set<String> {
        var kept: Set<String> = []
        for name in try Disk.names(in: "\(source)/segments") {
            guard let number = Segment.number(ofFile: name) else { continue }
            kept.insert("segments/\(name)")
            try copySegment(number, "\(source)/segments/\(name)", to: "\(target)/segments/\(name)", &tally)
        }
        try Disk.synchronizeDirectory("\(target)/segments")
        for shard in try Disk.names(in: "\(source)/blobs") where shard.utf8.count == 2 {
            try Disk.makeDirectory("\(target)/blobs/\(shard)")
            for name in try Disk.names(in: "\(source)/blobs/\(shard)") where name.utf8.count == 64 {
                let path = "blobs/\(shard)/\(name)"
                kept.insert(path)
                if try hasSameEnd("\(source)/\(path)", "\(target)/\(path)") {
                    tally.skippedFiles += 1
                } else {
                    try copy("\(source)/\(path)", to: "\(target)/\(path)", &tally)
                }
            }
            try Disk.synchronizeDirectory("\(target)/blobs/\(shard)")
        }
        try Disk.synchronizeDirectory("\(target)/blobs")
        return kept
    }

    /// A sealed segment never changes. One that is still written to is copied every time, and again when it was sealed meanwhile: half an end
    /// would look like damage.
    static func copySegment(_ number: UInt64, _ source: String, to target: String, _ tally: inout BackupTally) throws(RegistryError) {
        while let file = try Disk.openExisting(source) {
            let wasSealed = try SegmentIndex.trailer(of: file, number: number) != nil
            if wasSealed, try hasSameEnd(source, target), try hasSameBeginning(source, target) {
                tally.skippedFiles += 1
                return
            }
            let size = try Disk.status(of: file).size
            try copy(source, to: target, &tally)
            if wasSealed { return }
            if try SegmentIndex.trailer(of: file, number: number) == nil, try Disk.status(of: file).size >= size { return }
        }
    }

    private static func hasSameEnd(_ one: String, _ other: String) throws(RegistryError) -> Bool {
        guard let one = try Disk.openExisting(one), let other = try Disk.openExisting(other) else { return false }
        let size = try Disk.status(of: one).size
        guard try Disk.status(of: other).size == size else { return false }
        let (offset, count) = (max(0, size - 64), Int(min(size, 64)))
        return try Disk.read(one, at: offset, count: count) == Disk.read(other, at: offset, count: count)
    }

    private static func hasSameBeginning(_ one: String, _ other: String) throws(RegistryError) -> Bool {
        guard let one = try Disk.openExisting(one), let other = try Disk.openExisting(other) else { return false }
        return try Disk.read(one, at: 0, count: 64) == Disk.read(other, at: 0, count: 64)
    }

    /// A directory with all below it.
    static func copyTree(_ source: String, to target: String, _ tally: inout BackupTally) throws(RegistryError) {
        try Disk.makeDirectory(target)
        for name in try Disk.names(in: source) {
            let from = "\(source)/\(name)"
            if isDirectory(from) {
                try copyTree(from, to: "\(target)/\(name)", &tally)
            } else {
                try copy(from, to: "\(target)/\(name)", &tally)
            }
        }
        try Disk.synchronizeDirectory(target)
    }

    /// As it is now; what is allocated and was never written stays so. A file that is gone by now is not copied.
    private static func copy(_ source: String, to target: String, _ tally: inout BackupTally) throws(RegistryError) {
        guard let from = try Disk.openExisting(source) else { return }
        let temporary = target + suffix
        let to = try Disk.open(temporary, O_RDWR | O_CREAT | O_TRUNC)
        do throws(RegistryError) {
            var done: Int64 = 0
            while true {
                let slice = try Disk.read(from, at: done, count: sliceBytes)
                guard !slice.isEmpty else { break }
                if !isZero(slice) { try Disk.write(slice, to: to, at: done) }
                done += Int64(slice.count)
            }
            try Disk.truncate(to, to: done)
            try Disk.synchronize(to)
            try Disk.move(temporary, over: target)
            tally.copiedFiles += 1
            tally.copiedBytes += done
        } catch {
            try? Disk.remove(temporary)
            throw error
        }
    }

    private static func isZero(_ bytes: [UInt8]) -> Bool {
        bytes.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress, bytes.count > 1 else { return false }
            return unsafe bytes[0] == 0 && memcmp(start, start + 1, bytes.count - 1) == 0
        }
    }

    static func write(_ text: String, to path: String) throws(RegistryError) {
        let file = try Disk.open(path + suffix, O_RDWR | O_CREAT | O_TRUNC)
        try Disk.write(Array(text.utf8), to: file, at: 0)
        try Disk.synchronize(file)
        try Disk.move(path + suffix, over: path)
    }

    /// Removes segments and own files that are not to be kept, and halves of an interrupted copy.
    static func prune(_ store: String, keeping kept: Set<String>, _ tally: inout BackupTally) throws(RegistryError) {
        func remove(_ directory: String) throws(RegistryError) {
            for name in try Disk.names(in: "\(store)/\(directory)") where !isDirectory("\(store)/\(directory)/\(name)") {
                guard !kept.contains("\(directory)/\(name)") else { continue }
                try Disk.remove("\(store)/\(directory)/\(name)")
                tally.removedFiles += 1
            }
        }
        try remove("segments")
        for shard in try Disk.names(in: "\(store)/blobs") { try remove("blobs/\(shard)") }
    }

    /// Paths below the directory, in order.
    static func files(below directory: String) throws(RegistryError) -> [String] {
        var found: [String] = []
        for name in try Disk.names(in: directory).sorted() {
            if isDirectory("\(directory)/\(name)") {
                for inner in try files(below: "\(directory)/\(name)") { found.append("\(name)/\(inner)") }
            } else {
                found.append(name)
            }
        }
        return found
    }

    static func removeTree(_ path: String) throws(RegistryError) {
        guard isDirectory(path) else { return try Disk.remove(path) }
        for name in try Disk.names(in: path) { try removeTree("\(path)/\(name)") }
        guard rmdir(path) == 0 || errno == ENOENT else { throw Disk.error(while: "rmdir") }
    }

    private static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }
}
