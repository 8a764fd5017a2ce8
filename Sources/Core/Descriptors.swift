#if canImport(Glibc)
    import Glibc
#endif

/// How many files and sockets this process may have open.
public enum Descriptors {
    /// As many as whoever started it allows at most, afterwards: what is allowed at first is often a thousand, for the sake of old programs.
    /// - Returns: how many; nil when nobody can tell.
    @discardableResult
    public static func raiseLimit() -> Int? {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return nil }
        if limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max
            _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        return self.limit
    }

    /// nil when nobody can tell.
    public static var limit: Int? {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return nil }
        return Int(clamping: limit.rlim_cur)
    }
}
