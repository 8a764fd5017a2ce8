import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

@testable import BlobStore

#if canImport(Glibc)
    import Glibc
#endif

@Suite("backup and restore", .enabled(if: Program.isBuilt), .timeLimit(.minutes(5))) struct BackupTests {
    @Test("a stopped server is backed up, again without copying what is there, checked in place, and restored whole; damage in a backup is told")
    func program() async throws {
        let server = try await BackedUpServer()
        let (backup, place) = (server.backup, server.file("restored"))
        #expect(server.first.output.contains("skipped_files: 0\n"))
        let second = try await Program.run(["backup", backup, "--data", server.path])
        #expect(second.status == 0)
        #expect(second.output.contains("skipped_files: 2\n") && second.output.contains("key: \(server.key)\n"))
        let checked = try await Program.run(["fsck", backup, "--read", "100", "--trust", server.key])
        #expect(checked.status == 0)
        #expect(checked.output.contains("read_blobs: 4\n"))
        let restored = try await server.restore(to: "restored")
        #expect(restored.status == 0)
        #expect(restored.output.contains("read_blobs: 4\n") && restored.output.contains("damages: 0\n"))
        #expect(try await Program.run(["fsck", place, "--read", "100"]).status == 0)
        let over = try await server.restore(to: "restored")
        #expect(over.status == 1)
        #expect(over.complaint.contains("holds a store already"))
        #expect(try await Program.run(["restore", server.file("none"), "--data", server.file("x")]).status == 66)
        let hex = StoppedServer.id("a/1/own").hex
        try server.server.flip("\(backup)/store/blobs/\(hex.prefix(2))/\(hex)", at: 77)
        let refused = try await server.restore(to: "damaged")
        #expect(refused.status == 3)
        #expect(refused.complaint.contains("\(hex) of the backup is missing, or not what it was"))
        #expect(access(server.file("damaged"), F_OK) != 0)
        let salvaged = try await server.restore(to: "damaged", ["--salvage"])
        #expect(salvaged.status == 3)
        #expect(salvaged.output.contains("named by the artifact a/1/own of files") && salvaged.output.contains("damaged: store/blobs/"))
        let log = try await Program.run(["audit", "export", "--data", server.file("damaged")])
        #expect(log.output.contains("credentials keep, salvaged with 1 damaged files"))
        let house = try await House(StoppedServer.options, in: try server.moved("damaged"))
        #expect(await house.send(.get, "/api/v1/repositories/files/download/b/1/own").status == 200)
        #expect(await house.send(.get, "/api/v1/repositories/files/download/a/1/own").status != 200)
        house.close()
    }

    @Test("beside a server it is refused with 75, and asks for a directory when it has none") func refused() async throws {
        let house = try await House()
        #expect(try await Program.run(["backup", house.directory.file("backup"), "--data", house.directory.path]).status == 75)
        house.close()
        let nowhere = try await Program.run(["backup", "--data", house.directory.path])
        #expect(nowhere.status == 78)
        #expect(nowhere.complaint.contains("backup_directory: name a directory"))
    }

    @Test("signed by nobody, by another, or with a signature that does not hold, it is neither restored nor checked: 77, and nothing is left behind")
    func forged() async throws {
        let server = try await BackedUpServer()
        let manifest = try #require(try BackupManifest.read(in: server.backup))
        let whole = try #require(server.server.directory.text(of: "backup/backup"))
        // What somebody who can write there can do: sign it anew, change what it says, or say what was said before there were signatures.
        let another = try BackupSigner.test(1)
        let forgeries = [
            (String(decoding: try manifest.signed(by: another), as: UTF8.self), "signed by \(another.key), which you did not name"),
            (whole.replacingFirst("revision \(manifest.revision)", with: "revision 1"), "signature of the backup does not hold"),
            (whole.replacingFirst("keys/seal keys/seal", with: "keys/seal keys/jwt"), "signature of the backup does not hold"),
            (whole.replacingFirst("key \(server.key)", with: "key \(another.key)"), "signature of the backup does not hold"),
            (server.note(of: manifest), "is not signed"),
        ]
        for (text, reason) in forgeries {
            #expect(text != whole)
            try TextFileForTests.write(text, to: "\(server.backup)/backup")
            let restored = try await server.restore(to: "x")
            #expect(restored.status == 77 && restored.complaint.contains(reason), "\(reason): \(restored)")
            #expect(access(server.file("x"), F_OK) != 0)
            let checked = try await Program.run(["fsck", server.backup, "--trust", server.key])
            #expect(checked.status == 77 && checked.complaint.contains(reason), "\(reason): \(checked)")
        }
        // A signature that nobody knows is none, and is not what --unsigned is for.
        try TextFileForTests.write(forgeries[0].0, to: "\(server.backup)/backup")
        #expect(try await server.restore(to: "x", ["--unsigned"]).status == 77)
        try TextFileForTests.write(whole, to: "\(server.backup)/backup")
        let unnamed = try await Program.run(["restore", server.backup, "--data", server.file("x"), "--credentials", "keep"])
        #expect(unnamed.status == 77 && unnamed.complaint.contains("signed by \(server.key), which you did not name"))
        #expect(try await server.restore(to: "x").status == 0)
    }

    @Test("the key is taken from a file, or is the data directory's own; what is no key is a mistake") func keys() async throws {
        let server = try await BackedUpServer()
        try TextFileForTests.write("\(server.key) of this server\n", to: server.file("noted"))
        #expect(try await Program.run(["fsck", server.backup, "--key", server.file("noted")]).status == 0)
        #expect(try await Program.run(["fsck", server.backup, "--data", server.path]).status == 0)
        #expect(try await Program.run(["fsck", server.backup, "--trust", String(server.key.dropLast())]).status == 78)
        #expect(try await Program.run(["fsck", server.backup, "--key", server.file("none")]).status == 78)
        #expect(try await Program.run(["fsck", server.path]).status == 0)
        #expect(!server.server.directory.lengths(below: "backup").keys.contains { $0.hasSuffix("backup.key") || $0.hasSuffix("jwt") })
    }

    @Test("an unsigned one is taken where that is said, with a warning, and the audit log of what was restored keeps it") func unsigned()
        async throws
    {
        let server = try await BackedUpServer()
        let manifest = try #require(try BackupManifest.read(in: server.backup))
        try TextFileForTests.write(server.note(of: manifest), to: "\(server.backup)/backup")
        try TextFileForTests.write("planted", to: "\(server.backup)/keys/jwt")
        let taken = try await server.restore(to: "x", ["--unsigned"])
        #expect(taken.status == 0, "\(taken)")
        #expect(taken.complaint.contains("nobody signed this backup") && taken.output.contains("signed_by: nobody"))
        #expect(access(server.file("x/keys/seal"), F_OK) == 0 && access(server.file("x/keys/jwt"), F_OK) != 0)
        let log = try await Program.run(["audit", "export", "--data", server.file("x")])
        #expect(log.output.contains(#""action":"restore""#) && log.output.contains("signed by nobody, credentials keep"))
        #expect(try await Program.run(["audit", "verify", "--data", server.file("x")]).status == 0)
        #expect(try await Program.run(["fsck", server.backup, "--unsigned"]).status == 0)
    }

    @Test("a swapped file, one beside the index, an older manifest over newer files, and a whole that is too old are told") func altered()
        async throws
    {
        let server = try await BackedUpServer()
        let directory = server.server.directory
        let seal = try #require(directory.text(of: "backup/keys/seal"))
        try TextFileForTests.write(String(seal.reversed()), to: "\(server.backup)/keys/seal")
        let swapped = try await server.restore(to: "x")
        #expect(swapped.status == 3 && swapped.complaint.contains("keys/seal of the backup is missing, or not what it was"))
        let found = try await Program.run(["fsck", server.backup, "--trust", server.key])
        #expect(found.status == 3 && found.output.contains("DAMAGE backup-file: (keys/seal)"))
        try TextFileForTests.write(seal, to: "\(server.backup)/keys/seal")

        try TextFileForTests.write("rows", to: "\(server.backup)/index-1/000999.log")
        let beside = try await Program.run(["fsck", server.backup, "--trust", server.key])
        #expect(beside.status == 3 && beside.output.contains("DAMAGE backup-file: (index-1/000999.log)"))
        #expect(unlink("\(server.backup)/index-1/000999.log") == 0)

        let older = try #require(directory.text(of: "backup/backup"))
        try directory.copy("backup/index-1", to: "index-1")
        let house = try await House(StoppedServer.options, in: directory)
        await house.put("new", at: "c/1/new", in: "files")
        house.close()
        #expect(try await Program.run(["backup", server.backup, "--data", server.path]).status == 0)
        let newer = try #require(directory.text(of: "backup/backup"))
        try TextFileForTests.write(older, to: "\(server.backup)/backup")
        #expect(rename(directory.file("index-1"), "\(server.backup)/index-1") == 0)
        let mixed = try await server.restore(to: "x")
        #expect(mixed.status == 3 && mixed.complaint.contains("store/segments/"), "\(mixed)")
        try TextFileForTests.write(newer, to: "\(server.backup)/backup")
        let late = try await server.restore(to: "x", ["--not-before", "2999-01-01T00:00:00Z"])
        #expect(late.status == 77 && late.complaint.contains("before 2999"))
        #expect(access(server.file("x"), F_OK) != 0)
        #expect(try await server.restore(to: "x", ["--not-before", "2020-01-01T00:00:00Z"]).status == 0)
    }

    @Test("administrators and keys are told and come back where that is said; no session does, and with reset nothing that lets anybody in")
    func credentials() async throws {
        let server = try await BackedUpServer()
        let house = try await House(StoppedServer.options, in: server.server.directory)
        let planted = await house.user("planted")
        #expect(await house.send(.patch, "/api/v1/users/\(planted)", json: ["is_admin": true]).status == 200)
        let session = await house.send(.post, "/api/v1/auth/login", as: .none, json: ["username": "planted", "password": .string(House.password)])
        let bearer = Credential.bearer(try #require(session.json["access_token"]?.string))
        let made = await house.send(.post, "/api/v1/auth/tokens", as: bearer, json: ["name": "kept", "scopes": ["read:artifacts"]])
        let token = Credential.bearer(try #require(made.json["token"]?.string, "\(made.text)"))
        #expect(await house.send(.get, "/api/v1/auth/me", as: bearer).status == 200)
        #expect(await house.send(.get, "/api/v1/repositories/files/download/a/1/small", as: token).status == 200)
        house.close()
        #expect(try await Program.run(["backup", server.backup, "--data", server.path]).status == 0)

        let look = try await Program.run(["restore", server.backup, "--data", server.file("looked"), "--trust", server.key])
        #expect(look.status == 77 && look.complaint.contains("say --credentials keep"))
        let told = Set(look.output.split(separator: "\n"))
        #expect(told.isSuperset(of: ["administrator: admin", "administrator: planted", "api_tokens: 1", "keys: seal"]), "\(look)")
        #expect(access(server.file("looked"), F_OK) != 0)

        #expect(try await server.restore(to: "kept").status == 0)
        let kept = try await House(StoppedServer.options, in: try server.moved("kept"))
        #expect(await kept.send(.get, "/api/v1/auth/me", as: bearer).status == 401)
        #expect(await kept.send(.get, "/api/v1/repositories/files/download/a/1/small", as: token).status == 200)
        #expect(await kept.send(.get, "/api/v1/users", as: .password("planted", House.password)).status == 200)
        #expect(kept.directory.names(in: "keys") == ["seal"])
        kept.close()

        let reset = try await Program.run(
            ["restore", server.backup, "--data", server.file("reset"), "--trust", server.key, "--credentials", "reset"])
        #expect(reset.status == 0, "\(reset)")
        var options = StoppedServer.options
        options.adminPassword = "another long enough phrase"
        let empty = try await House(options, in: try server.moved("reset"))
        for who in [bearer, token, .password("planted", House.password), .admin] {
            #expect(await empty.send(.get, "/api/v1/repositories/files/download/a/1/small", as: who).status == 401)
        }
        let admin = Credential.password("admin", "another long enough phrase")
        let users = await empty.send(.get, "/api/v1/users", as: admin)
        #expect(users.status == 200)
        #expect(users.json["items"]?.array?.filter { $0["is_admin"] == true }.map { $0["username"] } == ["admin"])
        #expect(await empty.send(.get, "/api/v1/repositories/files/download/a/1/small", as: admin).status == 200)
        #expect(empty.directory.names(in: "keys") == [])
        empty.close()
    }
}

/// A stopped server, its backup beside it, and the key that its operator noted.
private struct BackedUpServer {
    let server: StoppedServer
    let key: String
    let first: Program.Ended
    var path: String { server.directory.path }
    var backup: String { server.directory.file("backup") }
    func file(_ name: String) -> String { server.directory.file(name) }

    init() async throws {
        server = try await StoppedServer()
        let keys = server.directory.file("keys")
        try #require(mkdir(keys, 0o700) == 0 || errno == EEXIST)
        for name in ["seal", "jwt"] { try TextFileForTests.write("\(name) and 32 bytes of it, no fewer.", to: "\(keys)/\(name)") }
        key = try await Program.run(["backup-key", "--data", server.directory.path]).output.trimmed
        first = try await Program.run(["backup", server.directory.file("backup"), "--data", server.directory.path])
        try #require(first.status == 0, "\(first)")
    }

    func restore(to name: String, _ options: [String] = []) async throws(RegistryError) -> Program.Ended {
        try await Program.run(["restore", backup, "--data", file(name), "--trust", key, "--credentials", "keep"] + options)
    }

    /// The manifest as it was before backups were signed.
    func note(of manifest: BackupManifest) -> String {
        "granary-backup 1\nindex \(manifest.index)\nrevision \(manifest.revision)\nmade \(manifest.made)\n"
    }

    /// What was restored, as a directory of its own.
    func moved(_ name: String) throws -> TemporaryDirectory {
        let place = try TemporaryDirectory()
        try #require(rename(file(name), place.path) == 0)
        return place
    }
}

extension String {
    fileprivate var trimmed: String { split(whereSeparator: \.isWhitespace).joined(separator: " ") }

    fileprivate func replacingFirst(_ text: String, with other: String) -> String {
        guard let range = firstRange(of: text) else { return self }
        return "\(self[..<range.lowerBound])\(other)\(self[range.upperBound...])"
    }
}
