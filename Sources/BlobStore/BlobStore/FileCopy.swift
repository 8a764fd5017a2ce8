import Core
import OrderedStore

#if canImport(Glibc)
    import Glibc
#endif

/// Copies of files, durable when they return. A file appears under its name when it is whole.
enum FileCopy {
    private static let suffix = ".copying"
    private static let sliceBytes = 1 << 20

    /// What was copied, and its SHA-256.
    struct Copied: Sendable {
        let length: Int64
        let sum: BackupManifest.Sum
    }

    enum Outcome: Sendable {
        case copied(Copied)
        /// What is there is the same.
        case there(Int64)
        /// Meanwhile.
        case gone
    }

    /// A sealed segment never changes. One that is still written to is copied every time, and again when it was sealed meanwhile: half an end
    /// would look like damage.
    @discardableResult
    static func copySegment(
        _ number: UInt64, _ source: String, unless there: String, to target: String
    ) throws(RegistryError) -> Outcome {
        while let file = try Disk.openExisting(source) {
            let wasSealed = try SegmentIndex.trailer(of: file, number: number) != nil
            if wasSealed, let length = try sameEnd(source, there), try hasSameBeginning(source, there) { return .there(length) }
            let size = try Disk.status(of: file).size
            guard let copied = try copy(source, to: target) else { break }
            if wasSealed { return .copied(copied) }
            if try SegmentIndex.trailer(of: file, number: number) == nil, try Disk.status(of: file).size >= size { return .copied(copied) }
        }
        return .gone
    }

    /// The length of both where they end alike; nil where they do not.
    static func sameEnd(_ one: String, _ other: String) throws(RegistryError) -> Int64? {
        guard let one = try Disk.openExisting(one), let other = try Disk.openExisting(other) else { return nil }
        let size = try Disk.status(of: one).size
        guard try Disk.status(of: other).size == size else { return nil }
        let (offset, count) = (max(0, size - 64), Int(min(size, 64)))
        return try Disk.read(one, at: offset, count: count) == Disk.read(other, at: offset, count: count) ? size : nil
    }

    private static func hasSameBeginning(_ one: String, _ other: String) throws(RegistryError) -> Bool {
        guard let one = try Disk.openExisting(one), let other = try Disk.openExisting(other) else { return false }
        return try Disk.read(one, at: 0, count: 64) == Disk.read(other, at: 0, count: 64)
    }

    /// As it is now. nil for a file that is gone by now.
    static func copy(_ source: String, to target: String) throws(RegistryError) -> Copied? {
        guard let from = try Disk.openExisting(source) else { return nil }
        return try copy(from, to: target)
    }

    /// What is allocated and was never written stays so.
    static func copy(_ from: OpenFile, to target: String) throws(RegistryError) -> Copied {
        let temporary = target + suffix
        let to = try Disk.open(temporary, O_RDWR | O_CREAT | O_TRUNC)
        do throws(RegistryError) {
            let copied = try fill(to, with: from)
            try Disk.synchronize(to)
            try Disk.move(temporary, over: target)
            return copied
        } catch {
            try? Disk.remove(temporary)
            throw error
        }
    }

    /// The bytes of one file in an empty one.
    static func fill(_ to: OpenFile, with from: OpenFile) throws(RegistryError) -> Copied {
        let copied = try read(from) { slice, offset throws(RegistryError) in
            if !isZero(slice) { try Disk.write(slice, to: to, at: offset) }
        }
        try Disk.truncate(to, to: copied.length)
        return copied
    }

    static func sum(of file: OpenFile) throws(RegistryError) -> Copied { try read(file) { _, _ in } }

    private static func read(
        _ file: OpenFile, _ body: ([UInt8], Int64) throws(RegistryError) -> Void
    ) throws(RegistryError) -> Copied {
        var hasher = Digest.Hasher(.sha256)
        var done: Int64 = 0
        while case let slice = try Disk.read(file, at: done, count: sliceBytes), !slice.isEmpty {
            slice.withUnsafeBytes { unsafe hasher.update($0) }
            try body(slice, done)
            done += Int64(slice.count)
        }
        return Copied(length: done, sum: .sha256(hasher.finish().bytes))
    }

    private static func isZero(_ bytes: [UInt8]) -> Bool {
        bytes.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress, bytes.count > 1 else { return false }
            return unsafe bytes[0] == 0 && memcmp(start, start + 1, bytes.count - 1) == 0
        }
    }

    static func write(_ text: String, to path: String) throws(RegistryError) { try write(Array(text.utf8), to: path) }

    static func write(_ bytes: [UInt8], to path: String) throws(RegistryError) {
        let file = try Disk.open(path + suffix, O_RDWR | O_CREAT | O_TRUNC)
        try Disk.write(bytes, to: file, at: 0)
        try Disk.synchronize(file)
        try Disk.move(path + suffix, over: path)
    }

    /// Removes files of a folder that are not to be kept, and halves of an interrupted copy.
    /// - Returns: how many.
    static func prune(_ folder: String, in target: String, keeping kept: Set<String>) throws(RegistryError) -> Int {
        var removed = 0
        for name in try Disk.names(in: "\(target)/\(folder)") where !isDirectory("\(target)/\(folder)/\(name)") {
            guard !kept.contains("\(folder)/\(name)") else { continue }
            try Disk.remove("\(target)/\(folder)/\(name)")
            removed += 1
        }
        return removed
    }

    static func folder(of path: String) -> String { String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]) }

    /// Those of a path below a directory that is there.
    static func makeFolders(of path: String, in directory: String) throws(RegistryError) {
        var folder = directory
        for part in path.split(separator: "/").dropLast() {
            folder += "/\(part)"
            try Disk.makeDirectory(folder)
        }
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

    static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }
}
