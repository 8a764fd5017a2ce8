#if canImport(Glibc)
    import Glibc
#endif

/// What a file system has left for an unprivileged process.
public struct FreeSpace: Sendable, Hashable {
    public var bytes: Int64
    /// Files that can still be made; nil where the file system knows no bound.
    public var files: Int64?

    public init(bytes: Int64, files: Int64?) {
        self.bytes = bytes
        self.files = files
    }

    /// - Returns: what there is where `path` lies; nil, and `errno` says why, when that cannot be told.
    public init?(at path: String) {
        var status = statvfs()
        guard unsafe statvfs(path, &status) == 0 else { return nil }
        bytes = Int64(clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
        files = status.f_files == 0 ? nil : Int64(clamping: UInt64(status.f_favail))
    }
}
