import ArgumentParser
import Audit
import Core
import Glibc
import Logging
import OrderedStore
import PostgresCatalog
import RocksCatalog

/// The audit log of a stopped server's data directory, of the database of several nodes, or an export of a running one's.
struct AuditCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Export the audit log, or show that nothing in it was changed, removed or added.",
        subcommands: [Verify.self, Export.self])

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check every record and the chain of their hashes.",
            discussion: """
                Without a FILE the data directory's own log is checked, which is refused while a server has it (exit code 75), or with \
                database_url that of the database, whoever runs on it; of a running server check what GET /api/v1/admin/audit/export gives. \
                Records that were cut off at the end can only be missed by who knows that they were \
                there: --expect takes what GET /api/v1/admin/audit/head, an earlier check or the server's log said. \
                Exit codes: 0 whole; 3 changed or cut; 66 there is no store.
                """)
        @OptionGroup var settings: SettingFlags
        @Option(help: "NUMBER:HASH, a record that must be there and everything before it as it was.") var expect: String?
        @Argument(help: "An export; - reads standard input.") var file: String?

        func run() async throws {
            let configuration = try settings.load()
            LoggingSystem.bootstrap { label in JSONLines(label: label, level: .error) }
            try await Exit.saying { () async throws(RegistryError) in
                var expected: AuditLink?
                if let expect {
                    guard let link = AuditLink(expect) else { throw Configuration.refused("expect", "NUMBER:HASH, with 64 hexadecimal digits") }
                    expected = link
                }
                let report: AuditReport
                if let file {
                    report = try Verify.check(file, expecting: expected)
                } else {
                    let source = try Source(configuration)
                    defer { source.close() }
                    report = try await source.look { [expected] rows throws(RegistryError) in try AuditTrail.verify(rows, expecting: expected) }
                }
                print("records: \(report.records)\nafter: \(report.first)\nhead: \(report.last)")
            }
        }

        private static func check(_ path: String, expecting expected: AuditLink?) throws(RegistryError) -> AuditReport {
            let descriptor = path == "-" ? STDIN_FILENO : Glibc.open(path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { throw RegistryError(.notFound, subject: .path(path), reason: "\(path) cannot be read") }
            defer { if descriptor != STDIN_FILENO { Glibc.close(descriptor) } }
            var export = AuditExport(expecting: expected)
            var buffer = [UInt8](repeating: 0, count: 1 << 18)
            while true {
                let count = unsafe read(descriptor, &buffer, buffer.count)
                if count < 0, errno == EINTR { continue }
                guard count >= 0 else { throw RegistryError(.unavailable, subject: .path(path), reason: "\(path) cannot be read") }
                if count == 0 { return try export.finish() }
                try export.take(buffer[..<count])
            }
        }
    }

    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write all records as lines of JSON to standard output.",
            discussion: "Of a stopped server's data directory. A running server gives the same: GET /api/v1/admin/audit/export.")
        @OptionGroup var settings: SettingFlags
        @Option(help: "Only records after this number, without the line that says where an export begins.") var after: UInt64?

        func run() async throws {
            let configuration = try settings.load()
            LoggingSystem.bootstrap { label in JSONLines(label: label, level: .error) }
            try await Exit.saying { () async throws(RegistryError) in
                let source = try Source(configuration)
                defer { source.close() }
                var next = after
                repeat {
                    // Who reads slowly holds no transaction open.
                    let (lines, end) = try await source.look { [next] rows throws(RegistryError) in
                        try AuditTrail.export(rows, after: next, limit: 5_000)
                    }
                    print(String(decoding: lines, as: UTF8.self), terminator: "")
                    next = end
                } while next != nil
            }
        }
    }

    /// The database that the settings name, beside the nodes that run on it, or the data directory.
    private enum Source {
        case database(String)
        case store(OrderedStore)

        init(_ configuration: Configuration) throws(RegistryError) {
            if let database = configuration.databaseURL {
                self = .database(database)
                return
            }
            var options = OrderedStore.Options()
            options.isReadOnly = true
            self = .store(
                try OrderedStore(
                    at: configuration.data + "/index", families: RocksCatalog.families, options: options, logger: Logger(label: "granary")))
        }

        func look<R: Sendable>(_ read: @escaping @Sendable (any OrderedRows) throws(RegistryError) -> R) async throws(RegistryError) -> R {
            switch self {
            case .database(let address): try await PostgresCatalog.look(at: address, read)
            case .store(let store): try read(try store.snapshot())
            }
        }

        func close() { if case .store(let store) = self { store.close() } }
    }
}
