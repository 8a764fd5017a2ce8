public import Core

#if canImport(Glibc)
    import Glibc
#endif

/// A PostgreSQL server of the tests' own: in a directory under /tmp, heard on a socket in it alone, gone with the process that started it, however
/// that ends. It is the real program without syncs: what it acknowledged survives its death, not the machine's.
public final class PostgresCluster: Sendable {
    /// Where initdb and pg_ctl are: as Debian has them, or unpacked by scripts/tools.sh, which says so in POSTGRES_PROGRAMS.
    public static let programs: String? = {
        let named = unsafe getenv("POSTGRES_PROGRAMS").map { unsafe [String(cString: $0)] } ?? []
        let debian = TemporaryDirectory.entries(of: "/usr/lib/postgresql").sorted { (Int($0) ?? 0) > (Int($1) ?? 0) }
        return (named + debian.map { "/usr/lib/postgresql/\($0)/bin" }).first { unsafe access("\($0)/initdb", X_OK) == 0 }
    }()

    /// Tests that need one are skipped on a machine without PostgreSQL, and fail in CI.
    public static var isWanted: Bool {
        programs != nil || (unsafe getenv("CI").map { unsafe String(cString: $0) }) == "true"
    }
    public static let reason = "PostgreSQL is not installed (apt-get install postgresql, or scripts/test, which unpacks it)"

    private static let pool = BlockingPool(threads: 2, name: "clusters")
    private static let made = Result { () throws(RegistryError) in try PostgresCluster() }

    /// One for all tests that leave it alone.
    public static func shared() async throws(RegistryError) -> PostgresCluster { try await pool.run { () throws(RegistryError) in try made.get() } }

    /// One that a test may stop.
    public static func own() async throws(RegistryError) -> PostgresCluster {
        try await pool.run { () throws(RegistryError) in try PostgresCluster() }
    }

    private let directory: String
    private let bin: String
    /// Before each of its programs: the server refuses to be started by root.
    private let asUser: String

    private init() throws(RegistryError) {
        guard let bin = PostgresCluster.programs else {
            throw RegistryError(.internal, subject: .store, reason: PostgresCluster.reason)
        }
        self.bin = bin
        // A socket's path is short.
        var template = Array("/tmp/granary-pg-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else {
            throw RegistryError(.internal, subject: .store, reason: "no temporary directory", cause: "errno \(errno)")
        }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        asUser = try PostgresCluster.prefix(bin, directory)
        try Shell.atEnd("\(stopCommand("immediate")); rm -rf \(directory)")
        try PostgresCluster.run(command("initdb", "-D \(directory)/d -A trust -U postgres -E UTF8 --no-sync --no-instructions"))
        try start()
    }

    /// Root is another user for it; or, where that one cannot reach the programs, still itself, by another name in a namespace.
    private static func prefix(_ bin: String, _ directory: String) throws(RegistryError) -> String {
        guard getuid() == 0 else { return "" }
        let user = unsafe getpwnam("postgres") == nil ? "nobody" : "postgres"
        let other = "cd / && runuser -u \(user) -- "
        do throws(RegistryError) { try run("\(other) test -x \(bin)/initdb") } catch {
            return "cd / && unshare --user --map-user=65534 --map-group=65534 -- "
        }
        try run("chown \(user) \(directory)")
        return other
    }

    private func command(_ program: String, _ arguments: String) -> String { "\(asUser)\(bin)/\(program) \(arguments)" }

    private func stopCommand(_ mode: String) -> String { command("pg_ctl", "-D \(directory)/d -m \(mode) -w stop") }

    private func start() throws(RegistryError) {
        let settings = [
            "listen_addresses=", "unix_socket_directories=\(directory)", "fsync=off", "full_page_writes=off", "max_connections=200", "jit=off",
        ].map { "-c \($0)" }.joined(separator: " ")
        let start = command("pg_ctl", "-D \(directory)/d -w -l \(directory)/log -o \"\(settings)\" start")
        // After a kill the memory that the dead server's children share is there until they have noticed.
        try PostgresCluster.run("for n in $(seq 100); do \(start) && exit 0; sleep 0.1; done; cat \(directory)/log; exit 1")
    }

    /// A database of a test's own, as a libpq connection string.
    public func database(_ name: String) async throws(RegistryError) -> String {
        let create = command("createdb", "-h \(directory) -U postgres \(name)")
        try await PostgresCluster.pool.run { () throws(RegistryError) in try PostgresCluster.run(create) }
        return address(of: name)
    }

    /// Of its socket.
    public var socketDirectory: String { directory }

    public func address(of database: String) -> String { "host=\(directory) user=postgres dbname=\(database)" }

    public enum Interruption: Sendable, CaseIterable {
        /// As an impatient administrator does: no transaction is ended well.
        case immediateStop
        /// The server's first process is killed, its children notice.
        case kill
        case politeRestart
    }

    /// It dies and is back when this returns.
    public func interrupt(_ interruption: Interruption) async throws(RegistryError) {
        try await PostgresCluster.pool.run { [self] () throws(RegistryError) in
            switch interruption {
            case .immediateStop: try PostgresCluster.run(stopCommand("immediate"))
            case .politeRestart: try PostgresCluster.run(stopCommand("fast"))
            case .kill: try PostgresCluster.run("kill -KILL $(head -n 1 \(directory)/d/postmaster.pid)")
            }
            try start()
        }
    }

    /// Runs to its end; what it wrote is the error's cause.
    private static func run(_ command: String) throws(RegistryError) {
        let (status, output) = try Shell.run(command)
        guard status == 0 else {
            throw RegistryError(.internal, subject: .store, reason: "\(command) failed", cause: String(decoding: output.suffix(2000), as: UTF8.self))
        }
    }
}
