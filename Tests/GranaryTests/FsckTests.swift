import Core
import HTTPTypes
import Logging
import OrderedStore
import Parsing
import TestHouse
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// A data directory as a server leaves it, with small and large artifacts.
struct StoppedServer {
    let directory: TemporaryDirectory
    static let sizes = ["a/1/small": 500, "a/1/middle": 200_000, "a/1/own": 3 << 20, "b/1/own": 2 << 20]

    static var options: House.Options {
        var options = House.Options()
        options.segmentBytesMax = 1 << 20
        options.ownFileBytesMin = 1 << 20
        return options
    }

    init() async throws {
        let house = try await House(StoppedServer.options)
        directory = house.directory
        await house.repository("files")
        for (path, size) in StoppedServer.sizes { await house.put(StoppedServer.text(path, size), at: path, in: "files") }
        house.close()
    }

    static func text(_ path: String, _ size: Int) -> String {
        String(repeating: "\(path) and so on. ", count: size / 16 + 1)
    }

    static func id(_ path: String) -> BlobID {
        guard let id = BlobID(Digest.of(.sha256, Array(text(path, sizes[path] ?? 0).utf8))) else { preconditionFailure("a SHA-256 names a blob") }
        return id
    }

    func file(of path: String) -> String {
        let hex = StoppedServer.id(path).hex
        return directory.file("store/blobs/\(hex.prefix(2))/\(hex)")
    }

    func flip(_ path: String, at offset: Int) throws {
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var byte: UInt8 = 0
        try #require(unsafe pread(descriptor, &byte, 1, offset) == 1)
        byte ^= 1
        try #require(unsafe pwrite(descriptor, &byte, 1, offset) == 1)
    }

    /// As a server's own code would, but nothing of it is meant to be done.
    func changeLocation(of path: String, to row: [UInt8]?) async throws {
        let families = [OrderedStore.Family("catalog"), .blobLocations]
        let store = try OrderedStore(at: directory.file("index"), families: families, logger: Logger(label: "test"))
        defer { store.close() }
        let key = StoppedServer.id(path).bytes
        try await store.commit { batch throws(RegistryError) in
            if let row { batch.put(key, row, in: .blobLocations) } else { batch.delete(key, in: .blobLocations) }
        }
    }

    /// One JSON object for each finding, by its kind, and the summary.
    func check(_ options: [String] = []) async throws -> (status: Int32, findings: [JSON], summary: JSON) {
        let ran = try await Program.run(["fsck", directory.path, "--json"] + options)
        var lines = try ran.output.split(separator: "\n").map { try JSON.parse(Array($0.utf8)) }
        let summary = lines.popLast() ?? .null
        return (ran.status, lines, summary)
    }
}

@Suite("fsck", .enabled(if: Program.isBuilt), .timeLimit(.minutes(5))) struct FsckTests {
    @Test("a whole store ends with 0, counted and read, and not one byte of it or of its directory is changed") func whole() async throws {
        let server = try await StoppedServer()
        let before = try server.directory.fingerprint()
        let (status, findings, summary) = try await server.check(["--read", "100"])
        #expect(status == 0)
        #expect(findings == [])
        #expect(summary["blobs"] == 4 && summary["read_blobs"] == 4 && summary["names"] == 4 && summary["complete"] == true)
        #expect(try await server.check().summary["read_blobs"] == 0)
        #expect(try server.directory.fingerprint() == before)
    }

    @Test("beside a server it says so and ends with 75; where there is no store, with 66") func busy() async throws {
        let house = try await House()
        let beside = try await Program.run(["fsck", house.directory.path])
        #expect(beside.status == 75)
        #expect(beside.complaint.contains("while a server has it, stop that first"))
        house.close()
        #expect(try await Program.run(["fsck", house.directory.path]).status == 0)
        #expect(try await Program.run(["fsck", house.directory.file("none")]).status == 66)
        #expect(try await Program.run(["fsck", house.directory.path, "--read", "101"]).status == 64)
    }

    @Test("a flipped bit is found by reading all, with the blob and the artifact it is named by") func flipped() async throws {
        let server = try await StoppedServer()
        try server.flip(server.file(of: "a/1/own"), at: 1_234_567)
        #expect(try await server.check().status == 0)
        let (status, findings, summary) = try await server.check(["--read", "100"])
        #expect(status == 3)
        #expect(findings.count == 1 && summary["damages"] == 1)
        #expect(findings.first?["kind"] == "blob-bytes" && findings.first?["damage"] == true)
        #expect(findings.first?["blob"]?.string == StoppedServer.id("a/1/own").description)
        #expect(findings.first?["references"] == ["the artifact a/1/own of files"])
        let words = try await Program.run(["fsck", server.directory.path, "--read", "100"])
        #expect(words.status == 3)
        #expect(words.output.contains("DAMAGE blob-bytes: \(StoppedServer.id("a/1/own"))"))
        #expect(words.output.contains("named by the artifact a/1/own of files"))
    }

    @Test("a shortened file, a lost row, a damaged row, a damaged segment and strange files are each called by their name") func structure()
        async throws
    {
        let server = try await StoppedServer()
        #expect(truncate(server.file(of: "a/1/own"), 1000) == 0)
        try await server.changeLocation(of: "b/1/own", to: nil)
        try await server.changeLocation(of: "a/1/small", to: [9, 9])
        try server.flip(server.directory.file("store/segments/0000000000000001.segment"), at: 9)
        #expect(mkdir(server.directory.file("store/blobs/zz"), 0o700) == 0)
        close(open(server.directory.file("store/blobs/zz/strange"), O_WRONLY | O_CREAT, 0o600))
        close(open(server.directory.file("store/uploads/01890000-0000-7000-8000-000000000000.meta"), O_WRONLY | O_CREAT, 0o600))
        let damaged = open(server.directory.file("store/uploads/01890000-0000-7000-8000-000000000001.meta"), O_WRONLY | O_CREAT, 0o600)
        #expect(unsafe write(damaged, "not the header of an upload", 27) == 27)
        close(damaged)
        let (status, findings, _) = try await server.check()
        #expect(status == 3)
        var kinds: [String: Int] = [:]
        for finding in findings { kinds[finding["kind"]?.string ?? "", default: 0] += 1 }
        #expect(kinds == ["blob-place": 1, "dangling": 1, "orphan": 2, "location-row": 1, "segment-header": 1, "unknown-file": 1, "upload": 1])
        let dangling = findings.first { $0["kind"] == "dangling" }
        #expect(dangling?["blob"]?.string == StoppedServer.id("b/1/own").description)
        #expect(dangling?["references"] == ["the artifact b/1/own of files"])
    }

    @Test("a segment that is missing, or another's, is told for each blob in it") func segments() async throws {
        let server = try await StoppedServer()
        let first = server.directory.file("store/segments/0000000000000001.segment")
        #expect(rename(first, server.directory.file("store/segments/0000000000000007.segment")) == 0)
        let (status, findings, _) = try await server.check()
        #expect(status == 3)
        #expect(
            Set(findings.filter { $0["kind"] == "blob-place" }.compactMap { $0["blob"]?.string }) == [
                StoppedServer.id("a/1/small").description, StoppedServer.id("a/1/middle").description,
            ])
        #expect(findings.contains { $0["kind"] == "segment-header" })
    }

    @Test("what only the tier has is read with the settings of the tier, said to be unread without, and not to be had when the tier is away")
    func tier() async throws {
        let server = try await StoppedServer()
        let tier = try TemporaryDirectory()
        var options = StoppedServer.options
        options.tier = tier.path
        let house = try await House(options, in: server.directory)
        // Sealed in the background: until then it waits.
        for _ in 0..<2000 where access(server.file(of: "a/1/own"), F_OK) == 0 || tier.names(in: "segments").isEmpty {
            try await house.workTier()
            try await Task.sleep(for: .milliseconds(5))
        }
        house.close()
        #expect(access(server.file(of: "a/1/own"), F_OK) != 0)
        let (here, all) = (["--set", "tier_directory=\(tier.path)"], ["--read", "100"])
        let unread = try await server.check(all)
        #expect(unread.status == 0)
        #expect(unread.findings.map { $0["kind"] } == ["tier-unread"])
        let before = try tier.fingerprint()
        let read = try await server.check(all + here)
        #expect(read.status == 0 && read.findings == [])
        #expect(read.summary["tier_files"] == 3 && read.summary["read_tier_files"] == 3)
        #expect((read.summary["tier_requests"]?.int ?? 0) > 6)
        #expect(try await server.check(here).summary["read_tier_files"] == 0)
        #expect(try tier.fingerprint() == before)
        let hex = StoppedServer.id("a/1/own").hex
        let object = tier.file("blobs/\(hex.prefix(2))/\(hex)")
        try server.flip(object, at: 1_234_567)
        let damaged = try await server.check(all + here)
        #expect(damaged.status == 3)
        #expect(damaged.findings.map { $0["kind"] } == ["tier-object", "blob-bytes"])
        #expect(damaged.findings.last?["references"] == ["the artifact a/1/own of files"])
        #expect(unlink(object) == 0)
        #expect(try await server.check(here).findings.first?["text"]?.string == "blobs/\(hex.prefix(2))/\(hex) is missing")
        let state = server.directory.file("state")
        let gone = ["--set", "s3_bucket=nowhere", "--set", "s3_endpoint=http://127.0.0.1:9", "--set", "s3_allow_private=true"]
        let keys = ["--set", "s3_access_key_id=a", "--set", "s3_secret_access_key=b"]
        let away = try await Program.run(["fsck", server.directory.path, "--resume", state] + all + gone + keys)
        #expect(away.status == 1)
        #expect(away.complaint.contains("the tier does not answer"))
        #expect(away.output.contains("note tier-unread"))
        #expect(try await server.check(all + here + ["--resume", state]).status == 3)
    }

    @Test("--repair finds lost and damaged rows on the disk again, ends with 4, and then all is whole; what is gone stays named") func repair()
        async throws
    {
        let server = try await StoppedServer()
        for path in ["b/1/own", "a/1/small"] { try await server.changeLocation(of: path, to: nil) }
        try await server.changeLocation(of: "a/1/middle", to: [1, 1, 0])
        let mended = try await server.check(["--repair"])
        #expect(mended.status == 4)
        #expect(mended.summary["repaired"] == 3 && mended.summary["damages"] == 0)
        #expect(try await server.check(["--read", "100"]).status == 0)
        let house = try await House(StoppedServer.options, in: server.directory)
        for (path, size) in StoppedServer.sizes {
            #expect(await house.send(.get, "/api/v1/repositories/files/download/\(path)").text == StoppedServer.text(path, size))
        }
        house.close()
        try server.flip(server.file(of: "a/1/own"), at: 5)
        let lost = try await server.check(["--repair", "--read", "100"])
        #expect(lost.status == 3)
        #expect(lost.summary["damages"] == 1)
    }

    @Test("a share of the blobs is read by a seed: the same again with it, and what a resumed check belongs to is not mixed up") func share()
        async throws
    {
        let server = try await StoppedServer()
        func readCounts() async throws -> [Int] {
            var counts: [Int] = []
            for seed in 0..<8 { counts.append(try await server.check(["--read", "50", "--seed", "\(seed)"]).summary["read_blobs"]?.int ?? -1) }
            return counts
        }
        let read = try await readCounts()
        #expect(try await readCounts() == read)
        #expect(read.contains { (1...3).contains($0) })
        let state = server.directory.file("state")
        let done = try await server.check(["--read", "100", "--resume", state])
        #expect(done.status == 0 && access(state, F_OK) != 0)
        try TextFileForTests.write(
            #"{"format":1,"phase":"names","after":"","seed":"7","read_percent":"100.0","repairs":false,"read_bytes":5,"damages":2}"#, to: state)
        #expect(try await Program.run(["fsck", server.directory.path, "--resume", state]).status == 78)
        let resumed = try await server.check(["--read", "100", "--resume", state])
        #expect(resumed.status == 3)
        #expect(resumed.summary["read_blobs"] == 0 && resumed.summary["damages"] == 2 && resumed.summary["seed"] == "7")
    }
}

enum TextFileForTests {
    static func write(_ text: String, to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        try #require(unsafe Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
    }
}

extension TemporaryDirectory {
    /// Every file below, with its bytes' digest.
    func fingerprint() throws -> [String: String] {
        var found: [String: String] = [:]
        for (name, length) in lengths(below: "") {
            let descriptor = open(file(name), O_RDONLY | O_CLOEXEC)
            try #require(descriptor >= 0)
            defer { close(descriptor) }
            var bytes = [UInt8](repeating: 0, count: Int(length))
            try #require(unsafe read(descriptor, &bytes, bytes.count) == bytes.count)
            found[name] = Digest.of(.sha256, bytes).description
        }
        return found
    }
}
