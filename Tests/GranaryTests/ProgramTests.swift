import Core
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// The program as its user starts it.
@Suite("the program", .enabled(if: Program.isBuilt)) struct ProgramTests {
    @Test("config prints the settings without secrets, and ends well")
    func config() async throws {
        let ran = try await Program.run(["config", "--set", "admin_password=canary"])
        #expect(ran.status == 0)
        #expect(ran.output.contains("admin_password: <set>\n"))
        #expect(!(ran.output + ran.complaint).contains("canary"))
    }

    @Test("an unknown setting, a blank or short secret and a bad data directory end with 78 and one clear sentence")
    func refused() async throws {
        let directory = try TemporaryDirectory()
        let unknown = try await Program.run(["serve", "--set", "nonesuch=1"])
        #expect(unknown.status == 78)
        #expect(unknown.complaint == "granary: nonesuch: there is no such setting (flag)\n")
        let blank = try await Program.run(["serve", "--data", directory.file("a"), "--set", "jwt_secret="])
        #expect(blank.status == 78)
        #expect(blank.complaint.contains("jwt_secret"))
        let short = try await Program.run(["serve", "--data", directory.file("b"), "--listen", "127.0.0.1:0", "--set", "jwt_secret=short-canary"])
        #expect(short.status == 78)
        #expect(short.complaint.contains("granary cannot serve"))
        #expect(!short.complaint.contains("short-canary"))
        let parentless = try await Program.run(["serve", "--data", directory.file("none/such"), "--listen", "127.0.0.1:0"])
        #expect(parentless.status == 78)
        #expect(parentless.complaint.contains("cannot be made"))
    }

    @Test("a port in use ends with 1 and names the address")
    func portInUse() async throws {
        let directory = try TemporaryDirectory()
        let other = try await ScriptedServer.start { _ in .status(404) }
        let ran = try await Program.run([
            "serve", "--data", directory.file("data"), "--listen", "127.0.0.1:\(other.port)", "--set", "skip_admin_provisioning=true",
        ])
        #expect(ran.status == 1)
        #expect(ran.complaint.contains("127.0.0.1:\(other.port) cannot be listened on"))
        await other.stop()
    }
}

/// The debug binary beside the test bundle.
enum Program {
    static let path: String = {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
        guard count > 0 else { return "" }
        let whole = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return "/" + whole.split(separator: "/").dropLast().joined(separator: "/") + "/granary"
    }()

    static var isBuilt: Bool { unsafe access(path, X_OK) == 0 }

    struct Ended {
        var status: Int32
        var output: String
        var complaint: String
    }

    /// Whoever waited for a program on a thread of the cooperative pool would keep the other tests from going on.
    private static let pool = BlockingPool(name: "programs")

    /// Runs to its end, with an environment of nothing but a path, and what is given as `NAME=VALUE`.
    static func run(_ arguments: [String], environment: [String] = []) async throws(RegistryError) -> Ended {
        try await pool.run { () throws(RegistryError) in try runAndWait(arguments, environment) }
    }

    private static func runAndWait(_ arguments: [String], _ more: [String]) throws(RegistryError) -> Ended {
        let directory = try TemporaryDirectory()
        var actions = posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        for (descriptor, name) in [(STDOUT_FILENO, "out"), (STDERR_FILENO, "err")] {
            unsafe posix_spawn_file_actions_addopen(&actions, descriptor, directory.file(name), O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        }
        var argv = unsafe ([path] + arguments).map { unsafe strdup($0) } + [nil]
        var environment = unsafe (["PATH=/usr/bin:/bin"] + more).map { unsafe strdup($0) } + [nil]
        defer { for text in unsafe argv + environment { unsafe free(text) } }
        var process: pid_t = 0
        guard unsafe posix_spawn(&process, path, &actions, nil, &argv, &environment) == 0 else {
            throw RegistryError(.internal, subject: .request, reason: "\(path) does not start")
        }
        var status: Int32 = 0
        while unsafe waitpid(process, &status, 0) < 0, errno == EINTR {}
        return Ended(
            status: status & 0x7F == 0 ? status >> 8 & 0xFF : -1, output: directory.text(of: "out") ?? "", complaint: directory.text(of: "err") ?? "")
    }
}
