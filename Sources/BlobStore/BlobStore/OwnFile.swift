import CBlobStore
import Core
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// The directory of blobs that have a file of their own: `blobs/<first two digits>/<64 hex digits>`.
final class BlobDirectory: Sendable {
    /// Of a file that is about to replace a damaged one.
    static let replacementSuffix = ".new"

    let path: String
    private let durableShards = Mutex<Set<String>>([])

    init(at path: String) { self.path = path }

    static func shard(of id: BlobID) -> String { String(id.hex.prefix(2)) }
    func path(of id: BlobID) -> String { "\(path)/\(BlobDirectory.shard(of: id))/\(id.hex)" }

    /// Makes the place a blob's name will go to; here, where a full disk still is an answer, and not in the commit.
    func prepare(for id: BlobID) throws(RegistryError) { try Disk.makeDirectory("\(path)/\(BlobDirectory.shard(of: id))") }

    /// The blob's name, and the directory it is in, are on disk afterwards.
    func synchronizeName(of id: BlobID) throws(RegistryError) {
        let shard = BlobDirectory.shard(of: id)
        try Disk.synchronizeDirectory("\(path)/\(shard)")
        guard !durableShards.withLock({ $0.contains(shard) }) else { return }
        try Disk.synchronizeDirectory(path)
        durableShards.withLock { _ = $0.insert(shard) }
    }

    /// Every blob that has a file here, whole or not.
    func blobs(_ body: (BlobID) throws(RegistryError) -> Void) throws(RegistryError) {
        for shard in try Disk.names(in: path) where shard.utf8.count == 2 {
            for name in try Disk.names(in: "\(path)/\(shard)") {
                guard let bytes = Hex.decode(name), let id = BlobID(bytes: bytes), id.hex == name, BlobDirectory.shard(of: id) == shard else {
                    continue
                }
                try body(id)
            }
        }
    }
}

/// A file being written, without a name: a crash or a cancelled upload leaves nothing behind.
final class TemporaryFile: Sendable {
    let file: OpenFile
    /// Only where the file system knows no unnamed files.
    private let name: String?

    /// Unnamed in `directory`; named `name` where the file system knows no unnamed files.
    convenience init(in directory: BlobDirectory, named name: @autoclosure () -> String) throws(RegistryError) {
        var descriptor: Int32
        repeat { descriptor = Glibc.open(directory.path, O_RDWR | Disk.unnamed | O_CLOEXEC, mode_t(0o600)) } while descriptor < 0 && errno == EINTR
        if descriptor >= 0 {
            self.init(OpenFile(owning: descriptor), named: nil)
            return
        }
        let number = errno
        guard number == EOPNOTSUPP || number == EISDIR || number == EINVAL else { throw Disk.error(number, while: "open O_TMPFILE") }
        try self.init(named: name())
    }

    convenience init(named name: String) throws(RegistryError) {
        self.init(try Disk.open(name, O_RDWR | O_CREAT | O_EXCL), named: name)
    }

    private init(_ file: OpenFile, named name: String?) {
        self.file = file
        self.name = name
    }

    deinit {
        if let name { try? Disk.remove(name) }
    }
}

/// Tells the kernel to begin writing while bytes still arrive, so that the sync at the end finds little to do.
struct EarlyWriting: Sendable {
    private static let stepBytes: Int64 = 4 << 20
    private var started: Int64

    init(from offset: Int64 = 0) { started = offset }

    mutating func wrote(upTo end: Int64, of file: OpenFile) {
        guard end - started >= EarlyWriting.stepBytes else { return }
        granary_start_writing(file.descriptor, started, end - started)
        started = end
    }
}

/// A blob in a file of its own: the bytes, the table of slice checksums, and a `RecordHeader` that says whose they are.
final class OwnFile: SyncableFile {
    private struct State {
        var isDurable = false
        /// This object gave the blob its name, so giving up may take it away again.
        var isLinked = false
        var failure: RegistryError?
    }

    let id: BlobID
    let file: OpenFile
    let length: Int64
    private let directory: BlobDirectory
    /// The stored file is known to be damaged.
    private let replaces: Bool
    /// Where files must have names, the blob's own can only be given while the temporary one still exists.
    private let temporary: TemporaryFile?
    private let state = Mutex(State())

    /// Finishes the file: the bytes of the blob are in it, nothing else is.
    init(
        _ id: BlobID, length: Int64, table: [UInt8], in file: OpenFile, _ temporary: TemporaryFile?, of directory: BlobDirectory, replaces: Bool
    ) throws(RegistryError) {
        self.id = id
        self.file = file
        self.length = length
        self.directory = directory
        self.replaces = replaces
        self.temporary = temporary
        try directory.prepare(for: id)
        try Disk.write(table + RecordHeader(.ownFile, segment: 0, length: length, id: id, table: table).encoded, to: file, at: length)
        // A length that was announced and allocated may have been more than came.
        try Disk.truncate(file, to: OwnFile.fileBytes(length: length))
    }

    static func fileBytes(length: Int64) -> Int64 { length + SliceChecksums.tableBytes(length: length) + Int64(RecordHeader.bytes) }

    /// The blob's length, by that of its file.
    static func length(ofFile bytes: Int64) -> Int64 {
        // A slice takes 2^20 bytes and 4 of the table.
        let rest = max(0, bytes - Int64(RecordHeader.bytes))
        let slices = (rest + Int64(SliceChecksums.sliceBytes) + 3) / (Int64(SliceChecksums.sliceBytes) + 4)
        return max(0, rest - 4 * slices)
    }

    /// What the end of the file says it is; nil when it is no whole blob's file.
    static func trailer(of file: OpenFile) throws(RegistryError) -> RecordHeader? {
        let size = try Disk.status(of: file).size
        guard size >= Int64(RecordHeader.bytes),
            let header = RecordHeader(try Disk.read(file, at: size - Int64(RecordHeader.bytes), count: RecordHeader.bytes)),
            header.kind == .ownFile, size == fileBytes(length: header.length)
        else { return nil }
        return header
    }

    var isLinked: Bool { state.withLock { $0.isLinked } }

    /// Bytes, then name, then directory. The lock is held throughout: only threads that commit come here.
    func synchronize() throws(RegistryError) {
        try state.withLock { state throws(RegistryError) in
            if let failure = state.failure { throw failure }
            guard !state.isDurable else { return }
            do throws(RegistryError) {
                try Disk.synchronize(file)
                state.isLinked = try link()
                try directory.synchronizeName(of: id)
                state.isDurable = true
            } catch {
                state.failure = error
                throw error
            }
        }
    }

    /// - Returns: false when a whole file of that name was there already and stays.
    private func link() throws(RegistryError) -> Bool {
        let path = directory.path(of: id)
        if try Disk.link(file, as: path) { return true }
        if !replaces, let existing = try Disk.openExisting(path), let trailer = try OwnFile.trailer(of: existing), trailer.id == id { return false }
        let other = path + BlobDirectory.replacementSuffix
        try Disk.remove(other)
        _ = try Disk.link(file, as: other)
        try Disk.move(other, over: path)
        return true
    }

    /// The change that was to name the blob failed after the file got its name.
    func unlink() throws(RegistryError) {
        let wasLinked = state.withLock { state in
            defer { state.isLinked = false }
            return state.isLinked
        }
        if wasLinked { try Disk.remove(directory.path(of: id)) }
    }
}
