public import Core

#if canImport(Glibc)
    import Glibc
#endif

/// A shell that has nothing of this process open but what it is given. NIO lets programs inherit sockets: one that is started while a test has a
/// connection would keep it open, and the other end would wait for its end as long as the program runs.
public enum Shell {
    /// Runs to its end, with the arguments as `$1` and so on.
    /// - Returns: the exit status, negative when there was none, and what it wrote to standard output and error.
    public static func run(_ script: String, _ arguments: [String] = []) throws(RegistryError) -> (status: Int32, output: [UInt8]) {
        let (reading, writing) = try Shell.pipe()
        let child: pid_t
        do throws(RegistryError) { child = try spawn(script, arguments, output: writing) } catch {
            close(reading)
            close(writing)
            throw error
        }
        close(writing)
        defer { close(reading) }
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = unsafe read(reading, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            output += buffer[..<count]
        }
        var status: Int32 = 0
        while unsafe waitpid(child, &status, 0) < 0, errno == EINTR {}
        return (status & 0x7F == 0 ? (status >> 8) & 0xFF : -1, output)
    }

    /// Runs when this process has ended, however that was.
    static func atEnd(_ script: String) throws(RegistryError) {
        // The writing end stays open until then.
        let (reading, _) = try Shell.pipe()
        _ = try spawn("trap '' INT TERM; cat >/dev/null; \(script)", [], input: reading)
        close(reading)
    }

    /// - Parameters: descriptors; nil is /dev/null.
    private static func spawn(_ script: String, _ arguments: [String], input: Int32? = nil, output: Int32? = nil) throws(RegistryError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        for (descriptor, given) in [(STDIN_FILENO, input), (STDOUT_FILENO, output), (STDERR_FILENO, output)] {
            if let given {
                unsafe posix_spawn_file_actions_adddup2(&actions, given, descriptor)
            } else {
                unsafe posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
            }
        }
        // And some that may be opened just now. One that is not open is none to complain about.
        let highest = TemporaryDirectory.entries(of: "/proc/self/fd").compactMap { Int32($0) }.max() ?? 0
        for descriptor in STDERR_FILENO + 1...highest + 256 { unsafe posix_spawn_file_actions_addclose(&actions, descriptor) }
        let command = ["sh", "-c", script, "sh"] + arguments
        var words: [UnsafeMutablePointer<CChar>?] = unsafe command.map { unsafe strdup($0) } + [nil]
        defer { unsafe words.forEach { unsafe free($0) } }
        var child: pid_t = 0
        guard unsafe posix_spawn(&child, "/bin/sh", &actions, nil, &words, environ) == 0 else { throw missing }
        return child
    }

    private static func pipe() throws(RegistryError) -> (reading: Int32, writing: Int32) {
        var ends: [Int32] = [0, 0]
        guard unsafe Glibc.pipe(&ends) == 0 else { throw missing }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }

    private static var missing: RegistryError { RegistryError(.internal, subject: .store, reason: "no shell", cause: "errno \(errno)") }
}
