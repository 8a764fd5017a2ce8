import CBlobStore
import Core

#if canImport(Glibc)
    import Glibc
#endif

/// The system calls of the store, each checked, each error converted where it happens.
enum Disk {
    /// `O_TMPFILE`, which the Glibc module cannot import: a file without a name.
    static let unnamed: Int32 = 0o20_000_000 | O_DIRECTORY

    static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o600) throws(RegistryError) -> OpenFile {
        while true {
            let descriptor = Glibc.open(path, flags | O_CLOEXEC, mode)
            if descriptor >= 0 { return OpenFile(owning: descriptor) }
            if errno != EINTR { throw error(while: "open") }
        }
    }

    /// nil when there is no such file.
    /// - Parameter followsLink: else a link is as good as no file.
    static func openExisting(_ path: String, followsLink: Bool = true) throws(RegistryError) -> OpenFile? {
        while true {
            let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | (followsLink ? 0 : O_NOFOLLOW))
            if descriptor >= 0 { return OpenFile(owning: descriptor) }
            if errno == ENOENT || (errno == ELOOP && !followsLink) { return nil }
            if errno != EINTR { throw error(while: "open") }
        }
    }

    /// - Returns: whether it was made; false when it was there.
    @discardableResult
    static func makeDirectory(_ path: String) throws(RegistryError) -> Bool {
        if mkdir(path, 0o700) == 0 { return true }
        guard errno == EEXIST else { throw error(while: "mkdir") }
        return false
    }

    static func write(_ bytes: UnsafeRawBufferPointer, to file: OpenFile, at offset: Int64) throws(RegistryError) {
        var done = 0
        while done < bytes.count {
            let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = unsafe pwrite(file.descriptor, rest.baseAddress, rest.count, off_t(offset) + off_t(done))
            if count < 0 {
                if errno == EINTR { continue }
                throw error(while: "pwrite")
            }
            done += count
        }
    }

    static func write(_ bytes: [UInt8], to file: OpenFile, at offset: Int64) throws(RegistryError) {
        let result = bytes.withUnsafeBytes { bytes in Result { () throws(RegistryError) in try unsafe write(bytes, to: file, at: offset) } }
        try result.get()
    }

    /// `count` bytes from `offset`, fewer only at the end of the file.
    static func read(_ file: OpenFile, at offset: Int64, count: Int) throws(RegistryError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = bytes.withUnsafeMutableBytes { bytes in
            Result { () throws(RegistryError) in try unsafe file.read(at: offset, into: bytes) }
        }
        bytes.removeLast(count - (try result.get()))
        return bytes
    }

    /// Data and whatever is needed to read it again are on disk afterwards. Never retried: a second call may claim what the first could not do.
    static func synchronize(_ file: OpenFile) throws(RegistryError) {
        guard fdatasync(file.descriptor) == 0 else { throw failedSync("fdatasync") }
    }

    /// The names in the directory are on disk afterwards.
    static func synchronizeDirectory(_ path: String) throws(RegistryError) {
        let directory = try open(path, O_RDONLY | O_DIRECTORY)
        guard fsync(directory.descriptor) == 0 else { throw failedSync("fsync") }
    }

    /// Never `noSpace`, whatever the reason: after that one may go on when there is room, after this nobody knows what is on disk.
    private static func failedSync(_ call: String) -> RegistryError {
        RegistryError(.unavailable, subject: .store, reason: "the disk did not keep what was written", cause: "\(call): errno \(errno)")
    }

    /// Reserves space, so that later writes cannot fail for want of it. A file system that cannot is no error.
    static func allocate(_ file: OpenFile, at offset: Int64, count: Int64) throws(RegistryError) {
        guard count > 0 else { return }
        let number = granary_allocate(file.descriptor, offset, count)
        guard number == 0 || number == EOPNOTSUPP || number == ENOSYS else { throw error(number, while: "fallocate") }
    }

    static func truncate(_ file: OpenFile, to length: Int64) throws(RegistryError) {
        guard ftruncate(file.descriptor, off_t(length)) == 0 else { throw error(while: "ftruncate") }
    }

    struct Status {
        let size: Int64
        let links: UInt64
        let modified: Timestamp
    }

    static func status(of file: OpenFile) throws(RegistryError) -> Status {
        var status = stat()
        guard unsafe fstat(file.descriptor, &status) == 0 else { throw error(while: "fstat") }
        let modified = Int64(status.st_mtim.tv_sec) * 1000 + Int64(status.st_mtim.tv_nsec) / 1_000_000
        return Status(size: Int64(status.st_size), links: UInt64(status.st_nlink), modified: Timestamp(milliseconds: modified))
    }

    static func setModified(_ file: OpenFile, to time: Timestamp) throws(RegistryError) {
        let value = timespec(tv_sec: Int(time.seconds), tv_nsec: Int(time.milliseconds - time.seconds * 1000) * 1_000_000)
        let times = [value, value]
        guard unsafe futimens(file.descriptor, times) == 0 else { throw error(while: "futimens") }
    }

    /// Gives the open file another name.
    /// - Returns: false when the name is taken.
    static func link(_ file: OpenFile, as path: String) throws(RegistryError) -> Bool {
        if linkat(AT_FDCWD, "/proc/self/fd/\(file.descriptor)", AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 { return true }
        guard errno == EEXIST else { throw error(while: "linkat") }
        return false
    }

    static func move(_ path: String, over other: String) throws(RegistryError) {
        guard rename(path, other) == 0 else { throw error(while: "rename") }
    }

    /// A file that is not there is as good as removed.
    static func remove(_ path: String) throws(RegistryError) {
        guard unlink(path) == 0 || errno == ENOENT else { throw error(while: "unlink") }
    }

    /// In byte order, without `.` and `..`; none when there is no such directory.
    static func names(in path: String) throws(RegistryError) -> [String] {
        guard let directory = unsafe opendir(path) else {
            if errno == ENOENT { return [] }
            throw error(while: "opendir")
        }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        errno = 0
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: pointer.pointee)) { unsafe String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
            errno = 0
        }
        guard errno == 0 else { throw error(while: "readdir") }
        return names.sorted()
    }

    /// Bytes an unprivileged process may still write where `path` lies.
    static func freeBytes(at path: String) throws(RegistryError) -> Int64 {
        guard let free = FreeSpace(at: path) else { throw error(while: "statvfs") }
        return free.bytes
    }

    static func error(_ number: Int32 = errno, while call: String, file: String = #fileID, line: Int = #line) -> RegistryError {
        let cause = "\(call): errno \(number)"
        switch number {
        case ENOSPC, EDQUOT:
            return RegistryError(.noSpace, subject: .store, reason: "the disk is full; free some space", cause: cause, file: file, line: line)
        case EMFILE, ENFILE:
            return RegistryError(
                .unavailable, subject: .store, reason: "too many files are open; try again", cause: cause, retryAfterSeconds: 1, file: file,
                line: line)
        default:
            return RegistryError(.internal, subject: .store, reason: "the disk refused an operation", cause: cause, file: file, line: line)
        }
    }
}
