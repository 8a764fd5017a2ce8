public import Core
#if canImport(Glibc)
    import Glibc
#endif

/// Files that hold a secret: mode 0600, written whole or not at all, never through a link.
public enum KeyFile {
    /// The first bytes of the key's SHA-256 stand behind it. A file without them is one from outside, and is believed.
    private static let checkBytes = 4

    /// The key in the file; a new one of `count` random bytes if there was none. Its folder must exist.
    /// - Throws: `invalid` when the file has another length or others may read it; `corrupt` when it is damaged; `internal` when the system refuses.
    public static func loadOrCreate(path: String, bytes count: Int, world: World) throws(RegistryError) -> [UInt8] {
        if !exists(path) { try create(checked(world.randomBytes(count)), at: path, world) }
        let descriptor = unsafe open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { _ = close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw failure("fstat", path) }
        func refuse(_ reason: String) -> RegistryError {
            RegistryError(.invalid, subject: .configuration("key file"), reason: reason, cause: path)
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw refuse("a key file must be a plain file") }
        guard status.st_mode & 0o077 == 0 else { throw refuse("a key file must be readable by its owner only (chmod 600)") }
        let size = Int(status.st_size)
        guard size == count || size == count + checkBytes else { throw refuse("a key file has \(count) bytes, or \(checkBytes) more to check them") }
        var bytes = [UInt8](repeating: 0, count: size)
        guard unsafe read(descriptor, &bytes, size) == size else { throw failure("read", path) }
        let key = Array(bytes.prefix(count))
        guard size == count || bytes == checked(key) else {
            throw RegistryError(
                .corrupt, subject: .configuration("key file"),
                reason: "a key file is damaged: restore it from a backup; without it a new one is made, and what it signed or sealed is void",
                cause: path)
        }
        return key
    }

    private static func checked(_ key: [UInt8]) -> [UInt8] { key + Digest.of(.sha256, key).bytes.prefix(checkBytes) }

    public static func exists(_ path: String) -> Bool {
        var status = stat()
        return unsafe lstat(path, &status) == 0
    }

    /// Of several that make the file at the same time, nodes that share a folder, one does, and the others find it.
    private static func create(_ bytes: [UInt8], at path: String, _ world: World) throws(RegistryError) {
        let draft = "\(path).\(world.newID()).new"
        try draw(bytes, at: draft)
        guard unsafe link(draft, path) == 0 || errno == EEXIST, remove(draft) else { throw failure("link", path) }
        try synchronizeFolder(of: path)
    }

    /// Replaces the file as a whole and durably: a crash leaves the old one or the new one.
    static func write(_ bytes: [UInt8], to path: String) throws(RegistryError) {
        let draft = path + ".new"
        guard unsafe unlink(draft) == 0 || errno == ENOENT else { throw failure("unlink", draft) }
        try draw(bytes, at: draft)
        guard unsafe rename(draft, path) == 0 else { throw failure("rename", path) }
        try synchronizeFolder(of: path)
    }

    private static func draw(_ bytes: [UInt8], at draft: String) throws(RegistryError) {
        let descriptor = unsafe open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure("open", draft) }
        defer { _ = close(descriptor) }
        // The process's umask may only take away; make it exact.
        guard fchmod(descriptor, 0o600) == 0 else { throw failure("fchmod", draft) }
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                unsafe Glibc.write(descriptor, buffer.baseAddress.map { unsafe $0 + done }, buffer.count - done)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure("write", draft) }
            done += count
        }
        guard fsync(descriptor) == 0 else { throw failure("fsync", draft) }
    }

    /// False when it is still there.
    static func remove(_ path: String) -> Bool { unsafe unlink(path) == 0 || errno == ENOENT }

    private static func synchronizeFolder(of path: String) throws(RegistryError) {
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        let descriptor = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", folder) }
        defer { _ = close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("fsync", folder) }
    }

    private static func failure(_ call: String, _ path: String) -> RegistryError {
        RegistryError(
            .internal, subject: .configuration("key file"), reason: "a file with a secret could not be used", cause: "\(call) \(path): errno \(errno)"
        )
    }
}
