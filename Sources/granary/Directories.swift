import Access
import BlobStore
import Core

#if canImport(Glibc)
    import Glibc
#endif

/// The data directory's first level; nobody but the server's user may look inside.
struct Directories {
    let root: String
    var index: String { root + "/index" }
    var blobs: String { root + "/store" }
    let keys: String
    var views: String { root + "/views" }

    /// - Parameter keys: where nodes have the keys they share; nil: in the directory itself.
    init(at path: String, keys: String? = nil) throws(RegistryError) {
        root = path.hasSuffix("/") && path.count > 1 ? String(path.dropLast()) : path
        self.keys = keys ?? root + "/keys"
        for directory in [root, self.keys] {
            guard mkdir(directory, 0o700) == 0 || errno == EEXIST else {
                throw RegistryError(
                    .invalid, subject: .configuration(directory == root ? "data" : "keys_directory"),
                    reason: "the directory \(directory) cannot be made: does its parent exist, is it writable?",
                    cause: "mkdir: errno \(errno)")
            }
        }
    }

    /// Without its index a store would look empty, and the sweep would free everything in it.
    func checkIndexIsThere() throws(RegistryError) {
        guard access(index + "/CURRENT", F_OK) != 0, !Directories.isEmpty(blobs + "/segments") || !Directories.isEmpty(blobs + "/blobs") else {
            return
        }
        throw RegistryError(
            .corrupt, subject: .store, reason: "the index is missing, but there are blobs: restore \(index), or all of \(root), from a backup")
    }

    /// What signs backups. Beside the other keys, not among them: no backup has it.
    static func backupKey(in root: String) -> String { root + "/backup.key" }

    /// What goes with a backup and what signs it, which is made when first needed.
    func backupKeys(_ world: World) throws(RegistryError) -> BackupKeys {
        let seed = try KeyFile.loadOrCreate(path: Directories.backupKey(in: root), bytes: BackupSigner.seedBytes, world: world)
        return BackupKeys(directory: keys, signer: try BackupSigner(seed: seed))
    }

    private static func isEmpty(_ path: String) -> Bool {
        guard let stream = unsafe opendir(path) else { return true }
        defer { unsafe closedir(stream) }
        while let entry = unsafe readdir(stream) {
            // Hidden names are `.` and `..`.
            if unsafe entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { return false }
        }
        return true
    }
}
