import Core
import Parsing
import Testing

@Suite("source archives", .enabled(if: hasPython, "python3 is the oracle")) struct SourceArchiveTests {
    /// An sdist as Python's tarfile packs it.
    private func packed(
        _ format: String, mode: String = "w:gz", files: String = "[('pkg-1.0/setup.py', b'x'), ('pkg-1.0/PKG-INFO', b'Name: pkg\\n')]"
    ) throws -> [UInt8] {
        try #require(
            python(
                """
                import io, sys, tarfile
                out = io.BytesIO()
                with tarfile.open(fileobj=out, mode="\(mode)", format=tarfile.\(format)) as t:
                    d = tarfile.TarInfo("pkg-1.0"); d.type = tarfile.DIRTYPE; t.addfile(d)
                    for name, data in \(files):
                        i = tarfile.TarInfo(name); i.size = len(data); t.addfile(i, io.BytesIO(data))
                    l = tarfile.TarInfo("pkg-1.0/link"); l.type = tarfile.SYMTYPE; l.linkname = "../../etc/passwd"; t.addfile(l)
                sys.stdout.buffer.write(out.getvalue())
                """))
    }

    @Test("PKG-INFO is found in every tar dialect, plain and gzipped", arguments: ["USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"])
    func dialects(_ format: String) throws {
        for mode in ["w:gz", "w"] {
            #expect(try SourceArchive.packageInfo(in: content(packed(format, mode: mode))) == Array("Name: pkg\n".utf8))
        }
    }

    @Test(
        "long and non-ASCII names, links and sizes are read from ustar prefixes, pax records and GNU long names",
        arguments: ["USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"])
    func names(_ format: String) throws {
        let long = "pkg-1.0/" + String(repeating: "directory/", count: 12) + "naïve.txt"
        let bytes = try packed(format, files: "[('\(long)', b'y' * 1000), ('pkg-1.0/PKG-INFO', b'z')]")
        let gunzip = try GunzipReader(content(bytes))
        let tar = TarReader { () throws(RegistryError) in try gunzip.next() }
        var seen: [String] = []
        while let entry = try tar.next() {
            seen.append("\(entry.kind) \(entry.path) \(entry.size)\(entry.linkTarget.map { " -> " + $0 } ?? "")")
            if entry.path == long { #expect(try tar.content() == [UInt8](repeating: 0x79, count: 1000)) }
        }
        #expect(seen == ["directory pkg-1.0 0", "file \(long) 1000", "file pkg-1.0/PKG-INFO 1", "symbolicLink pkg-1.0/link 0 -> ../../etc/passwd"])
    }

    @Test("only a PKG-INFO one directory deep counts, and there may be one")
    func place() throws {
        let deep = try packed("PAX_FORMAT", files: "[('PKG-INFO', b'a'), ('pkg-1.0/pkg.egg-info/PKG-INFO', b'b')]")
        #expect(try SourceArchive.packageInfo(in: content(deep)) == nil)
        let dotted = try packed("PAX_FORMAT", files: "[('./pkg-1.0/PKG-INFO', b'a')]")
        #expect(try SourceArchive.packageInfo(in: content(dotted)) == [0x61])
        let two = try packed("PAX_FORMAT", files: "[('pkg-1.0/PKG-INFO', b'a'), ('other/PKG-INFO', b'b')]")
        #expect(refusal { () throws(RegistryError) in try SourceArchive.packageInfo(in: content(two)) }?.contains("two PKG-INFO") == true)
        let zip = try #require(
            python(
                """
                import io, sys, zipfile
                out = io.BytesIO()
                with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z: z.writestr("pkg-1.0/PKG-INFO", "Name: z")
                sys.stdout.buffer.write(out.getvalue())
                """))
        #expect(try SourceArchive.packageInfo(in: content(zip)) == Array("Name: z".utf8))
    }

    @Test("what would let two readers see different entries is refused: a directory with content, a global name, a sparse file")
    func ambiguity() throws {
        for (setup, reason) in [
            ("i.type = tarfile.DIRTYPE; i.size = 512; t.fileobj.write(i.tobuf()); t.fileobj.write(bytes(512))", "directory with content"),
            ("t.fileobj.write(i.create_pax_global_header({'path': 'x/PKG-INFO'}))", "global header"), ("i.type = b'S'; t.addfile(i)", "sparse"),
        ] {
            let bytes = try #require(
                python(
                    """
                    import io, sys, tarfile
                    out = io.BytesIO()
                    with tarfile.open(fileobj=out, mode="w") as t:
                        t.addfile(tarfile.TarInfo("pkg-1.0/a"))
                        i = tarfile.TarInfo("pkg-1.0/d")
                        \(setup)
                    sys.stdout.buffer.write(out.getvalue())
                    """))
            #expect(refusal { () throws(RegistryError) in try SourceArchive.packageInfo(in: content(bytes)) }?.contains(reason) == true, "\(reason)")
        }
    }

    @Test("bzip2 and xz are recognised by content and refused as unsupported", arguments: ["w:bz2", "w:xz"])
    func compressions(_ mode: String) throws {
        let bytes = try packed("PAX_FORMAT", mode: mode)
        do throws(RegistryError) {
            _ = try SourceArchive.packageInfo(in: content(bytes))
            Issue.record("accepted")
        } catch { #expect(error.code == .unsupported) }
    }

    @Test("gzip: several members are one content; damage, a wrong checksum and trailing bytes are refused")
    func gzip() throws {
        let bytes = try #require(python("import gzip, sys\nsys.stdout.buffer.write(gzip.compress(b'a' * 100000) + gzip.compress(b'b'))"))
        #expect(try GunzipReader(content(bytes)).readAll(bytesMax: 100_001) == [UInt8](repeating: 0x61, count: 100_000) + [0x62])
        func read(_ bytes: [UInt8]) -> String? { refusal { () throws(RegistryError) in try GunzipReader(content(bytes)).readAll(bytesMax: 1 << 20) } }
        #expect(
            refusal { () throws(RegistryError) in try GunzipReader(content(bytes)).readAll(bytesMax: 100_000) }?.contains("more than 100000") == true)
        #expect(read(bytes + [0]) != nil && read(Array(bytes.dropLast())) != nil && read([0x1F, 0x8B]) != nil && read([]) != nil)
        for at in bytes.count - 8..<bytes.count {
            var damaged = bytes
            damaged[at] ^= 1
            #expect(read(damaged) == "the compressed bytes are damaged")
        }
    }

    @Test("a gzip bomb stops at the ratio, and at the budget")
    func bombs() throws {
        let bytes = try #require(python("import gzip, sys\nsys.stdout.buffer.write(gzip.compress(bytes(100 << 20)))"))
        func expanded(_ budget: Budget) -> Int64 {
            var total: Int64 = 0
            _ = refusal { () throws(RegistryError) in
                let reader = try GunzipReader(content(bytes), budget: budget)
                while let piece = try reader.next() { total += Int64(piece.count) }
            }
            return total
        }
        #expect((64 << 20 - 65536...64 << 20).contains(expanded(.stream)))
        #expect(expanded(Budget(bytes: 0, expandedBytes: 1 << 20, items: 1)) <= 1 << 20)
    }

    @Test("a cut or damaged tar is refused; entries, header bytes and content obey their budgets")
    func damage() throws {
        let bytes = try packed("PAX_FORMAT", mode: "w")
        func walk(_ bytes: [UInt8], _ budget: Budget = .stream) -> String? {
            refusal { () throws(RegistryError) in
                var rest: [UInt8]? = bytes
                let tar = TarReader(budget: budget) { () throws(RegistryError) in
                    defer { rest = nil }
                    return rest
                }
                while try tar.next() != nil {}
            }
        }
        #expect(walk(bytes) == nil)
        #expect(walk(Array(bytes.prefix(700)))?.contains("cut short") == true)
        var flipped = bytes
        flipped[0] ^= 1
        #expect(walk(flipped)?.contains("checksum") == true)
        #expect(walk(bytes, Budget(bytes: 1 << 20, items: 3))?.contains("more than 3 entries") == true)
        #expect(
            refusal { () throws(RegistryError) in try SourceArchive.packageInfo(in: content(bytes), bytesMax: 9) }?.contains("more than 9 bytes")
                == true)
    }
}
