import Core
import PostgresClient
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite(
    "migrate-catalog", .enabled(if: Program.isBuilt && PostgresCluster.isWanted, Comment(rawValue: PostgresCluster.reason)), .timeLimit(.minutes(5)))
struct MigrateCatalogTests {
    @Test("a data directory goes to a database and a bucket, and from there into another, whole; what would be without its bytes stays where it is")
    func thereAndBack() async throws {
        let server = try await StoppedServer()
        let others = try TemporaryDirectory()
        let database = try await PostgresCluster.shared().database("migrated")
        let bucket = others.file("bucket")
        #expect(mkdir(bucket, 0o700) == 0)
        let settings = ["--set", "database_url=\(database)", "--set", "tier_directory=\(bucket)"]
        let words = ["migrate-catalog", "to-postgres", "--data", server.directory.path]
        #expect(try await Program.run(words + ["--set", "database_url=\(database)"]).status == 78, "without a bucket")
        let hidden = server.file(of: "b/1/own")
        #expect(rename(hidden, others.file("hidden")) == 0)
        let dangling = try await Program.run(words + settings)
        #expect(dangling.status != 0, "a blob is not there")
        #expect(rename(others.file("hidden"), hidden) == 0)

        let there = try await Program.run(words + settings)
        #expect(there.status == 0, "\(there.complaint)")
        #expect(there.output.contains("asset: 4 sha256:"))
        let again = try await Program.run(["sweep", "--data", server.directory.path])
        #expect(again.status == 1)
        #expect(again.complaint.contains("was moved to the PostgreSQL database migrated"))

        // A blob that is on a node's disk alone: whoever leaves now leaves it behind.
        let connection = try Connection(to: database)
        let row = "(sha256, document, place, length, node) VALUES (decode(repeat('00', 32), 'hex'), '\\x03', 'held', 5, 7)"
        _ = try connection.run([Query("INSERT INTO blob_locations \(row)")])
        let early = try await Program.run(["migrate-catalog", "from-postgres", "--data", others.file("early")] + settings)
        #expect(early.status != 0 && early.complaint.contains("node 7: 1 blobs"), "\(early.complaint)")
        _ = try connection.run([Query("DELETE FROM blob_locations WHERE node = 7")])

        let place = others.file("back")
        let back = try await Program.run(
            [
                "migrate-catalog", "from-postgres", "--data", place,
            ] + settings)
        #expect(back.status == 0, "\(back.complaint)")
        #expect(back.output == there.output, "kind by kind the same rows")
        let checked = try await Program.run(["fsck", place, "--read", "100"])
        #expect(checked.status == 0, "\(checked.output)\(checked.complaint)")
        #expect(checked.output.contains("read_blobs: 4\n"))
        let busy = try await Program.run(words + settings)
        #expect(busy.status == 1, "what was moved on is not moved again")
    }
}
