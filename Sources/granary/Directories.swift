import Core

#if canImport(Glibc)
    import Glibc
#endif

/// The data directory's first level; nobody but the server's user may look inside.
struct Directories {
    let root: String
    var index: String { root + "/index" }
    var blobs: String { root + "/store" }
    var keys: String { root + "/keys" }
    var views: String { root + "/views" }

    init(at path: String) throws(RegistryError) {
        root = path.hasSuffix("/") && path.count > 1 ? String(path.dropLast()) : path
        for directory in [root, root + "/keys"] {
            guard mkdir(directory, 0o700) == 0 || errno == EEXIST else {
                throw RegistryError(
                    .invalid, subject: .configuration("data"),
                    reason: "the data directory \(directory) cannot be made: does its parent exist, is it writable?",
                    cause: "mkdir: errno \(errno)")
            }
        }
    }
}
