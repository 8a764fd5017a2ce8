import Core
import Logging
import Synchronization
import Testing

@testable import Access

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct BootstrapTests {
    /// A new folder, and its removal.
    private func inFolder(_ body: (String) async throws -> Void) async throws {
        var template = Array("/tmp/access-tests-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { buffer in
            unsafe buffer.baseAddress.flatMap { unsafe mkdtemp($0) }.map { unsafe String(cString: $0) }
        }
        let folder = try #require(made)
        defer {
            for name in ["admin.password", "key", "link"] { unlink("\(folder)/\(name)") }
            rmdir(folder)
        }
        try await body(folder)
    }

    private func text(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = read(descriptor, &bytes, 256)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    private func mode(_ path: String) -> mode_t? {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_mode & 0o7777 : nil
    }

    @Test("a given password makes the administrator at once, without lock or file")
    func given() async throws {
        try await inFolder { folder in
            let house = try House()
            let file = "\(folder)/admin.password"
            try await house.access.bootstrapAdmin(password: House.password, passwordFile: file, skip: false)
            #expect(!house.access.setupRequired && mode(file) == nil)
            let admin = try await house.caller("admin")
            #expect(admin.isAdmin && !admin.mustChangePassword)
            #expect(try await house.access.user(named: "admin")?.email == "admin@localhost")
            // Another start with another password changes nothing.
            try await house.access.bootstrapAdmin(password: "something else entirely", passwordFile: file, skip: false)
            #expect(try await house.caller("admin").isAdmin)
        }
    }

    @Test(
        "no password, a blank or a trivial one: a random one waits in a 0600 file, and the server is locked until it changes",
        arguments: [
            nil, "", " ", "admin", "password", "changeme", "admin123", "Password1", "letmein", "welcome", "123456", "admin1234", "default", "ADMIN",
        ])
    func locked(password: String?) async throws {
        try await inFolder { folder in
            let lines = LogLines()
            let house = try House(log: lines.logger)
            let file = "\(folder)/admin.password"
            try await house.access.bootstrapAdmin(password: password, passwordFile: file, skip: false)
            #expect(house.access.setupRequired)
            #expect(mode(file) == 0o600)
            let once = try #require(text(file)?.split(separator: "\n").first.map(String.init))
            #expect(once.utf8.count == 20)
            #expect(!lines.all.contains(once))
            if let password { #expect(try await refusal { try await house.caller("admin", password: password) }?.code == .unauthenticated) }
            let session = try await house.login("admin", password: once)
            #expect(session.mustChangePassword)
            try await house.access.setPassword(of: session.user.id, current: once, new: House.password, by: .system, requestID: "t")
            #expect(!house.access.setupRequired && mode(file) == nil)
            #expect(try await house.caller("admin").isAdmin)
        }
    }

    @Test("the lock survives a restart with the same password, and ends when a good one is given")
    func restart() async throws {
        try await inFolder { folder in
            let house = try House()
            let file = "\(folder)/admin.password"
            try await house.access.bootstrapAdmin(password: nil, passwordFile: file, skip: false)
            let once = try #require(text(file))
            let second = try Access(catalog: house.catalog, world: .real, options: house.access.options, log: house.access.log)
            try await second.bootstrapAdmin(password: nil, passwordFile: file, skip: false)
            #expect(second.setupRequired && text(file) == once)
            // Lost before it was used: there is another.
            unlink(file)
            try await second.bootstrapAdmin(password: nil, passwordFile: file, skip: false)
            let again = try #require(text(file))
            #expect(again != once && second.setupRequired)
            _ = try await second.login(username: "admin", password: String(again.dropLast()), requestID: "t")
            try await second.bootstrapAdmin(password: House.password, passwordFile: file, skip: false)
            #expect(!second.setupRequired && mode(file) == nil)
            _ = try await second.login(username: "admin", password: House.password, requestID: "t")
        }
    }

    @Test("skipped, nobody is made")
    func skipped() async throws {
        let house = try House()
        try await house.access.bootstrapAdmin(password: House.password, passwordFile: "/nonexistent/admin.password", skip: true)
        #expect(house.catalog.everything.isEmpty)
    }

    @Test("a key file is made once, mode 0600, and refused when it is damaged, others may read it, it is short or a link")
    func keyFile() async throws {
        try await inFolder { folder in
            let path = "\(folder)/key"
            let key = try KeyFile.loadOrCreate(path: path, bytes: 32, world: .real)
            #expect(key.count == 32 && mode(path) == 0o600)
            #expect(try KeyFile.loadOrCreate(path: path, bytes: 32, world: .real) == key)
            #expect(try await refusal { try KeyFile.loadOrCreate(path: path, bytes: 64, world: .real) }?.code == .invalid)
            let opened = unsafe fopen(path, "r+b")
            let file = try #require(unsafe opened)
            let byte = unsafe fgetc(file)
            unsafe rewind(file)
            _ = unsafe fputc(byte ^ 1, file)
            unsafe fclose(file)
            #expect(try await refusal { try KeyFile.loadOrCreate(path: path, bytes: 32, world: .real) }?.code == .corrupt)
            truncate(path, 32)
            #expect(try KeyFile.loadOrCreate(path: path, bytes: 32, world: .real).dropFirst() == key.dropFirst(), "a key from outside has no check")
            chmod(path, 0o640)
            #expect(try await refusal { try KeyFile.loadOrCreate(path: path, bytes: 32, world: .real) }?.code == .invalid)
            chmod(path, 0o600)
            symlink(path, "\(folder)/link")
            #expect(try await refusal { try KeyFile.loadOrCreate(path: "\(folder)/link", bytes: 32, world: .real) }?.code == .internal)
        }
    }

    @Test("what is sealed opens with the same key in the same place only, and twice sealed looks different")
    func sealing() async throws {
        let sealer = try Sealer(key: World.real.randomBytes(32), world: .real)
        let other = try Sealer(key: World.real.randomBytes(32), world: .real)
        let sealed = try sealer.seal(Secret("hunter22 ü"), for: "repository/1/upstream_password")
        #expect(Sealer.isSealed(sealed) && !sealed.contains("hunter"))
        #expect(try sealer.open(sealed, for: "repository/1/upstream_password") == Secret("hunter22 ü"))
        #expect(try sealer.seal(Secret("hunter22 ü"), for: "repository/1/upstream_password") != sealed)
        #expect(try sealer.open(sealer.seal(Secret(""), for: "x"), for: "x").isEmpty)
        #expect(try await refusal { try sealer.open(sealed, for: "repository/2/upstream_password") }?.code == .corrupt)
        #expect(try await refusal { try other.open(sealed, for: "repository/1/upstream_password") }?.code == .corrupt)
        for text in ["", "hunter22", "sealed:1:", "sealed:1:AAAA", String(sealed.dropLast()), sealed + "A"] {
            #expect(try await refusal { try sealer.open(text, for: "repository/1/upstream_password") }?.code == .corrupt)
        }
        #expect(try await refusal { try Sealer(key: [1, 2, 3], world: .real) }?.code == .invalid)
    }
}

/// Everything that was logged, as one text.
final class LogLines: Sendable {
    private let text = Mutex("")
    var all: String { text.withLock { $0 } }
    var logger: Logger { Logger(label: "test") { _ in Collector(lines: self) } }

    private struct Collector: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {
            lines.text.withLock { $0 += "\(event.level) \(event.message) \(event.metadata ?? [:])\n" }
        }
    }
}
