import Glibc
import NIOPosix
import TestSupport

/// A program run to its end, off the cooperative threads.
enum Command {
    static func path(of name: String) -> String? {
        ["/usr/bin/", "/bin/", "/usr/local/bin/"].map { $0 + name }.first { access($0, X_OK) == 0 }
    }

    /// - Returns: the exit status, 127 when there is no such program, and what it wrote to standard output and error.
    static func run(_ words: [String]) async throws -> (status: Int32, output: String) {
        let done = try await NIOThreadPool.singleton.runIfActive { try Shell.run("exec \"$@\"", words) }
        return (done.status, String(decoding: done.output, as: UTF8.self))
    }
}
