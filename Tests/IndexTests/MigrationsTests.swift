import TestSupport
import Testing

@testable import PostgresCatalog

#if canImport(Glibc)
    import Glibc
#endif

@Suite("Migrations") struct MigrationsTests {
    private static let folder = {
        var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
        parts.removeLast(3)
        return parts.joined(separator: "/") + "/migrations"
    }()

    @Test("the program has the steps of migrations/, in the order of their numbers, word for word") func same() throws {
        let names = TemporaryDirectory.entries(of: Self.folder).sorted()
        #expect(Migrations.all.map { "\($0.name).sql" } == names)
        #expect(Set(Migrations.all.map(\.number)).count == names.count)
        for step in Migrations.all {
            #expect(try text(of: "\(Self.folder)/\(step.name).sql") == step.sql + "\n", "\(step.name)")
        }
    }

    private func text(of path: String) throws -> String {
        let file = try #require(unsafe fopen(path, "r"))
        defer { unsafe fclose(file) }
        var bytes: [UInt8] = []
        while case let byte = unsafe fgetc(file), byte != EOF { bytes.append(UInt8(truncatingIfNeeded: byte)) }
        return try #require(String(validating: bytes, as: UTF8.self))
    }
}
