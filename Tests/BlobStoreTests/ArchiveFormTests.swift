import Core
import NIOCore
import TestSupport
import Testing

@testable import BlobStore

/// Opening and making again, without a store around it.
@Suite("Archives opened and made again") struct ArchiveFormTests {
    private static func open(_ archive: [UInt8], _ change: (inout ArchiveLimits) -> Void = { _ in }) throws -> OpenedArchive? {
        var limits = ArchiveLimits()
        limits.archiveBytesMin = 0
        change(&limits)
        let directory = try TemporaryDirectory()
        let blobs = BlobDirectory(at: directory.path)
        return try ArchiveOpening.open(BlobContent(.memory(ByteBuffer(bytes: archive))), limits: limits) { () throws(RegistryError) in
            try TemporaryFile(in: blobs, named: directory.file("form"))
        }
    }

    /// As it would be read: the form written down and read again.
    private static func rebuilt(_ opened: OpenedArchive) throws -> [UInt8] {
        var writer = BinaryWriter()
        opened.form.encode(to: &writer)
        #expect(Int64(writer.bytes.count) == opened.form.encodedBytes)
        var reader = BinaryReader(writer.bytes)
        let form = try ArchiveForm(&reader)
        #expect(form == opened.form && reader.remaining == 0)
        #expect(form.memberBytes + form.frameBytes == opened.content.length)
        var made: [UInt8] = []
        var rebuild = ArchiveRebuild(form, of: opened.content)
        try rebuild.run(form) { made += $0 }
        return made
    }

    @Test("what deflate makes at each level is what it always made") func knownAnswers() throws {
        let bytes = Fixture.text(200_000, seed: 7) + pattern(40_000, seed: 7) + [UInt8](repeating: 65, count: 100_000) + Fixture.text(50_000, seed: 7)
        let made = try DeflateSettings.all.map {
            "\($0.level) \($0.memoryLevel) " + Digest.of(.sha256, try ArchiveMaker.deflated(bytes, $0)).hex.prefix(16)
        }
        // As the zlib of Debian makes it, asked from elsewhere.
        #expect(
            made == [
                "6 8 f7d67c4b870f9ebc", "9 8 d71a1e84b2e11acc", "8 8 1eda94f171cf049a",
                "7 8 396b5082ed51034d", "5 8 f0460bdb90857caf", "4 8 c3bdcfb61094c07c",
                "3 8 122ea52878b2dbad", "2 8 3d1271571fa2e6a9", "1 8 82331a5032f48327",
                "6 9 1808cef1db435aa5", "9 9 f894839ef5c3b3b0", "8 9 069bfa3750a431b8",
                "7 9 fae5df6e82ec0b64", "5 9 a34e343e6f3f7e23", "4 9 02ad45b7fc265e90",
                "3 9 e8e26a6b7bf4baa4", "2 9 95d67bb4b7faac77", "1 9 ac6d04534847a95b",
            ])
    }

    @Test("zip files of every level are made again, with what lies between their members", arguments: DeflateSettings.all)
    func zips(settings: DeflateSettings) throws {
        let members = [
            ArchiveMaker.Member(name: "a/text.py", bytes: Fixture.text(150_000, seed: 1), settings: settings),
            ArchiveMaker.Member(name: "a/stored", bytes: pattern(3000, seed: 1)),
            ArchiveMaker.Member(name: "a/noise", bytes: pattern(80_000, seed: 2), settings: settings, hasDescriptor: true),
            ArchiveMaker.Member(name: "a/empty", bytes: [], settings: settings),
        ]
        let archive = try ArchiveMaker.zip(members, comment: Array("made by hand".utf8))
        let opened = try #require(try Self.open(archive))
        #expect(opened.form.memberBytes == 230_000)
        #expect(opened.form.parts.count { $0.settings != nil } == 2)
        #expect(try Self.rebuilt(opened) == archive)
    }

    @Test("a compressed tar comes apart into contents and headers", arguments: [DeflateSettings.all[0], DeflateSettings.all[1]])
    func sourceArchives(settings: DeflateSettings) throws {
        let files = (0..<20).map { (name: "src/\($0).c", bytes: Fixture.text(5000 + $0, seed: UInt64($0))) }
        let archive = try ArchiveMaker.gzip(ArchiveMaker.tar(files), settings, name: "src.tar")
        let opened = try #require(try Self.open(archive))
        #expect(try Self.rebuilt(opened) == archive)
        // Contents are padded to blocks of 512; the headers are apart from them, so another time changes no content.
        #expect(opened.form.memberBytes == 20 * 5120)
        let later = try #require(try Self.open(try ArchiveMaker.gzip(ArchiveMaker.tar(files, time: 1_800_000_000), settings)))
        let count = Int(opened.form.memberBytes)
        #expect(try later.content.bytes(at: 0, count: count) == opened.content.bytes(at: 0, count: count))
    }

    @Test("what another deflate made stays closed, or as it is beside what is made again") func foreign() throws {
        // As a stored block, which no level makes of text.
        let bytes = Fixture.text(60_000, seed: 3)
        let stored: [UInt8] = [1, UInt8(60_000 & 0xFF), UInt8(60_000 >> 8), ~UInt8(60_000 & 0xFF), ~UInt8(60_000 >> 8)] + bytes
        let foreign = try ArchiveMaker.zip(
            [ArchiveMaker.Member(name: "a", bytes: bytes, settings: DeflateSettings.all[0])], damage: { _ in stored })
        #expect(try Self.open(foreign) == nil)
        var first = true
        let mixed = try ArchiveMaker.zip(
            [
                ArchiveMaker.Member(name: "a", bytes: bytes, settings: DeflateSettings.all[0]),
                ArchiveMaker.Member(name: "b", bytes: bytes, settings: DeflateSettings.all[0]),
            ],
            damage: {
                defer { first = false }
                return first ? stored : $0
            })
        let opened = try #require(try Self.open(mixed))
        #expect(opened.form.parts.count { $0.settings != nil } == 1)
        #expect(try Self.rebuilt(opened) == mixed)
    }

    @Test("bombs, overlapping entries, lying directories and torn streams stay closed") func hostile() throws {
        let zeros = [UInt8](repeating: 0, count: 4 << 20)
        let settings = DeflateSettings.all[0]
        let bomb = try ArchiveMaker.gzip(zeros, settings)
        #expect(try Self.open(bomb) == nil)
        #expect(try Self.open(bomb) { $0.ratioMax = 2000 } != nil)
        #expect(try Self.open(bomb) { ($0.ratioMax, $0.formBytesMax) = (2000, 1 << 20) } == nil)
        #expect(try Self.open(try ArchiveMaker.zip([ArchiveMaker.Member(name: "z", bytes: zeros, settings: settings)])) == nil)
        let members = [
            ArchiveMaker.Member(name: "one", bytes: Fixture.text(9000, seed: 1), settings: settings),
            ArchiveMaker.Member(name: "two", bytes: Fixture.text(9000, seed: 2), settings: settings),
        ]
        let good = try ArchiveMaker.zip(members)
        #expect(try Self.open(good) != nil)
        // The second entry of the directory points to the first's header; then beyond the file; the first claims to be shorter than it is.
        let second = good.count - 22 - 49
        for (offset, value) in [(second + 42, UInt8(0)), (second + 45, 0x7F)] {
            var lying = good
            lying[offset] = value
            if value == 0 { (lying[offset + 1], lying[offset + 2]) = (0, 0) }
            #expect(try Self.open(lying) == nil)
        }
        var short = good
        short[second - 49 + 24] = 0
        let opened = try #require(try Self.open(short))
        #expect(opened.form.parts.count { $0.settings != nil } == 1)
        #expect(try Self.rebuilt(opened) == short)
        #expect(try Self.open(Array(good.dropLast(30))) == nil)
        let source = try ArchiveMaker.gzip(Fixture.text(50_000, seed: 5), settings)
        #expect(try Self.open(Array(source.dropLast(2000))) == nil)
        #expect(try Self.open(source) { $0.archiveBytesMax = 1000 } == nil)
    }

    @Test("random archives, and what random damage makes of them, are made again bit for bit or stay closed") func random() throws {
        let seed = SeededRandom.runSeed
        var random = SeededRandom(seed: seed)
        for round in 0..<12 {
            let archive = try ArchiveMaker.randomArchive(&random)
            var mutants = [archive]
            for _ in 0..<6 where !archive.isEmpty {
                var mutant = archive
                for _ in 0..<Int.random(in: 1...8, using: &random) {
                    // Half of the time where the directory is, or the headers are.
                    let near = [0, mutant.count - 120].randomElement(using: &random) ?? 0
                    let at = Bool.random(using: &random) ? Int.random(in: 0..<mutant.count, using: &random) : near + Int(random.next() % 120)
                    guard mutant.indices.contains(at) else { continue }
                    switch random.next() % 4 {
                    case 0: mutant[at] = UInt8(truncatingIfNeeded: random.next())
                    case 1: mutant[at] = [0, 0xFF, 0x7F, 0x80].randomElement(using: &random) ?? 0
                    case 2: mutant.remove(at: at)
                    default: mutant.insert(UInt8(truncatingIfNeeded: random.next()), at: at)
                    }
                    if mutant.isEmpty { break }
                }
                mutants.append(mutant)
            }
            for mutant in mutants {
                guard let opened = try Self.open(mutant) else { continue }
                #expect(try Self.rebuilt(opened) == mutant, "seed \(seed), round \(round)")
            }
        }
    }

    @Test("a form that is damaged is told from one that is not, and never believed") func damagedForms() throws {
        var random = SeededRandom(seed: SeededRandom.runSeed)
        let archive = try ArchiveMaker.gzip(ArchiveMaker.tar([("a", Fixture.text(9000, seed: 1))]), DeflateSettings.all[0])
        let opened = try #require(try Self.open(archive))
        var writer = BinaryWriter()
        opened.form.encode(to: &writer)
        for _ in 0..<2000 {
            var bytes = writer.bytes
            for _ in 0..<Int.random(in: 1...3, using: &random) { bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8(random.next() % 256) }
            if random.next() % 4 == 0 { bytes.removeLast(Int.random(in: 1..<bytes.count, using: &random)) }
            var reader = BinaryReader(bytes)
            guard let form = try? ArchiveForm(&reader), form.memberBytes + form.frameBytes == opened.content.length, form.length == archive.count
            else {
                continue
            }
            var made: [UInt8] = []
            var rebuild = ArchiveRebuild(form, of: opened.content)
            try? rebuild.run(form) { made += $0 }
            #expect(made.count <= archive.count)
        }
    }
}
