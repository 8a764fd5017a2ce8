import Core
import HTTPTypes
import TestHouse
import TestSupport
import Testing

@Suite("backup and restore", .enabled(if: Program.isBuilt), .timeLimit(.minutes(5))) struct BackupTests {
    @Test("a stopped server is backed up, again without copying what is there, checked in place, and restored whole; damage in a backup is told")
    func program() async throws {
        let server = try await StoppedServer()
        let (backup, place) = (server.directory.file("backup"), server.directory.file("restored"))
        let first = try await Program.run(["backup", backup, "--data", server.directory.path])
        #expect(first.status == 0)
        #expect(first.output.contains("skipped_files: 0\n"))
        let second = try await Program.run(["backup", backup, "--data", server.directory.path])
        #expect(second.status == 0)
        #expect(second.output.contains("skipped_files: 2\n"))
        let checked = try await Program.run(["fsck", backup, "--read", "100"])
        #expect(checked.status == 0)
        #expect(checked.output.contains("read_blobs: 4\n"))
        let restored = try await Program.run(["restore", backup, "--data", place])
        #expect(restored.status == 0)
        #expect(restored.output.contains("read_blobs: 4\n") && restored.output.contains("damages: 0\n"))
        #expect(try await Program.run(["fsck", place, "--read", "100"]).status == 0)
        let over = try await Program.run(["restore", backup, "--data", place])
        #expect(over.status == 1)
        #expect(over.complaint.contains("holds a store already"))
        #expect(try await Program.run(["restore", server.directory.file("none"), "--data", server.directory.file("x")]).status == 66)
        let hex = StoppedServer.id("a/1/own").hex
        try server.flip("\(backup)/store/blobs/\(hex.prefix(2))/\(hex)", at: 77)
        let damaged = try await Program.run(["restore", backup, "--data", server.directory.file("damaged")])
        #expect(damaged.status == 3)
        #expect(damaged.output.contains("named by the artifact a/1/own of files"))
    }

    @Test("beside a server it is refused with 75, and asks for a directory when it has none") func refused() async throws {
        let house = try await House()
        #expect(try await Program.run(["backup", house.directory.file("backup"), "--data", house.directory.path]).status == 75)
        house.close()
        let nowhere = try await Program.run(["backup", "--data", house.directory.path])
        #expect(nowhere.status == 78)
        #expect(nowhere.complaint.contains("backup_directory: name a directory"))
    }
}
