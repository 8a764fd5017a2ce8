import Core
import Parsing
import Testing

@Suite struct ZipTests {
    /// Two entries as Python's zipfile packs them, `a.txt` stored and `pkg/METADATA` deflated, and nothing else.
    private static let small =
        python(
            """
            import io, sys, zipfile
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w") as z:
                z.writestr("a.txt", b"hello")
                z.writestr("pkg/METADATA", b"Metadata-Version: 2.1\\n" * 400, zipfile.ZIP_DEFLATED)
            sys.stdout.buffer.write(out.getvalue())
            """) ?? []

    private func open(_ bytes: [UInt8], budget: Budget = .archive) throws(RegistryError) -> ZipArchive {
        try ZipArchive(content(bytes), budget: budget)
    }

    @Test("stored and deflated entries that Python packed are listed and read", .enabled(if: hasPython, "python3 is the oracle"))
    func reads() throws {
        let zip = try open(Self.small)
        #expect(zip.entries.map(\.name) == ["a.txt", "pkg/METADATA"])
        #expect(zip.entries.map(\.method) == [.stored, .deflate])
        #expect(try zip.read(#require(zip["a.txt"])) == Array("hello".utf8))
        #expect(try zip.read(#require(zip["pkg/METADATA"])) == Array(String(repeating: "Metadata-Version: 2.1\n", count: 400).utf8))
        #expect(refusal { () throws(RegistryError) in try zip.read(zip.entries[1], bytesMax: 8799) }?.contains("more than 8799 bytes") == true)
    }

    @Test(
        "zip64 records, data descriptors, directories, comments, symbolic links, empty and large archives are read",
        .enabled(if: hasPython, "python3 is the oracle"))
    func variants() throws {
        let bytes = try #require(
            python(
                """
                import io, os, sys, zipfile
                class Pipe(io.RawIOBase):
                    def __init__(self): self.data = bytearray()
                    def writable(self): return True
                    def write(self, b): self.data += bytes(b); return len(b)
                out = Pipe()
                with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
                    for force in (False, True):
                        with z.open("big%d" % force, "w", force_zip64=force) as f: f.write(b"0123456789" * 100000)
                    z.writestr("d/", b"")
                    link = zipfile.ZipInfo("link"); link.create_system = 3; link.external_attr = 0o120777 << 16
                    z.writestr(link, b"big0", zipfile.ZIP_DEFLATED)
                    z.writestr("na\\u00efve", b"x", zipfile.ZIP_DEFLATED)
                    z.comment = b"a comment"
                sys.stdout.buffer.write(out.data)
                """))
        let zip = try open(bytes)
        #expect(zip.entries.map(\.name) == ["big0", "big1", "d/", "link", "naïve"])
        #expect(try zip.read(zip.entries[1]) == Array(String(repeating: "0123456789", count: 100_000).utf8))
        #expect(zip.entries.map(\.isDirectory) == [false, false, true, false, false])
        #expect(zip.entries.map(\.isSymbolicLink) == [false, false, false, true, false])

        let many = try #require(
            python(
                """
                import io, sys, zipfile
                out = io.BytesIO()
                with zipfile.ZipFile(out, "w") as z:
                    for i in range(70000): z.writestr(str(i), b"")
                sys.stdout.buffer.write(out.getvalue())
                """))
        #expect(try open(many).entries.count == 70_000)
        #expect(
            refusal { () throws(RegistryError) in try open(many, budget: Budget(bytes: 32 << 20, items: 69_999)) }?.contains("69999 entries") == true)
        #expect(
            refusal { () throws(RegistryError) in try open(many, budget: Budget(bytes: 1 << 20, items: 70_000)) }?.contains("1048576 bytes") == true)

        #expect(try open(Array("PK\u{5}\u{6}".utf8) + [UInt8](repeating: 0, count: 18)).entries.isEmpty)
    }

    @Test("bytes in front, behind or between make an archive ambiguous and are refused", .enabled(if: hasPython, "python3 is the oracle"))
    func padding() throws {
        let zip = Self.small
        let secondEntry = try #require(zip.indices.dropFirst().first { zip[$0...].starts(with: [0x50, 0x4B, 3, 4]) })
        #expect(refusal { () throws(RegistryError) in try open([0] + zip) }?.contains("in front of it") == true)
        #expect(refusal { () throws(RegistryError) in try open(zip + [0]) }?.contains("follows the end") == true)
        #expect(refusal { () throws(RegistryError) in try open(zip + zip) } != nil)
        #expect(refusal { () throws(RegistryError) in try open(Array(zip[..<secondEntry]) + [0] + zip[secondEntry...]) } != nil)
        #expect(refusal { () throws(RegistryError) in try open([]) }?.contains("no zip archive") == true)
        #expect(refusal { () throws(RegistryError) in try open(Array(zip.dropLast())) } != nil)
        // A comment that holds a second end record.
        var commented = zip
        let end = Array(zip.suffix(22))
        commented[commented.count - 2] = 22
        #expect(refusal { () throws(RegistryError) in try open(commented + end) } == "the archive has two end records")
    }

    @Test("a field changed in only one of the two headers is refused", .enabled(if: hasPython, "python3 is the oracle"))
    func disagreement() throws {
        let directory = try #require(Self.small.indices.first { Self.small[$0...].starts(with: [0x50, 0x4B, 1, 2]) })
        // Offsets of flags, method, CRC-32, both sizes, name length, name: first in the local header, then in the directory.
        for (field, offsets) in [
            "flags": (6, 8), "encryption": (6, 8), "method": (8, 10), "crc": (14, 16), "compressed size": (18, 20), "size": (22, 24),
            "name length": (26, 28), "name": (30, 46),
        ] {
            for at in [offsets.0, directory + offsets.1] {
                var bytes = Self.small
                bytes[at] ^= field == "flags" ? 8 : 1
                #expect(refusal { () throws(RegistryError) in try open(bytes) } != nil, "\(field) at \(at)")
            }
        }
        var encrypted = Self.small
        encrypted[6] |= 1
        encrypted[directory + 8] |= 1
        #expect(refusal { () throws(RegistryError) in try open(encrypted) } == "a.txt is encrypted")
    }

    @Test("two entries of one name, overlapping entries and names that lead upwards are refused", .enabled(if: hasPython, "python3 is the oracle"))
    func names() throws {
        func packed(_ names: String) throws -> [UInt8] {
            try #require(
                python(
                    """
                    import io, sys, warnings, zipfile
                    warnings.simplefilter("ignore")
                    out = io.BytesIO()
                    with zipfile.ZipFile(out, "w") as z:
                        for n in \(names): z.writestr(n, n)
                    sys.stdout.buffer.write(out.getvalue())
                    """))
        }
        let twice = try packed("['a', 'b', 'a']")
        #expect(refusal { () throws(RegistryError) in try open(twice) } == "two entries are named a")
        for name in ["../x", "/x", "a/../../x", "a/..", "a\\x0bb"] {
            let bytes = try packed("['\(name)']")
            #expect(refusal { () throws(RegistryError) in try open(bytes) } != nil, "\(name)")
        }
        // Both records point at the first entry.
        var overlapping = try packed("['a', 'b']")
        let records = overlapping.indices.filter { overlapping[$0...].starts(with: [0x50, 0x4B, 1, 2]) }
        overlapping[records[1] + 42] = 0
        #expect(refusal { () throws(RegistryError) in try open(overlapping) } != nil)
    }

    @Test("content that is not what the directory says is refused when it is read", .enabled(if: hasPython, "python3 is the oracle"))
    func damage() throws {
        var bytes = Self.small
        bytes[35] ^= 1
        let stored = try open(bytes)
        #expect(refusal { () throws(RegistryError) in try stored.read(stored.entries[0]) }?.contains("CRC-32") == true)
        let entry = try open(Self.small).entries[1]
        for at in entry.dataOffset..<entry.dataOffset + entry.compressedSize {
            bytes = Self.small
            bytes[Int(at)] ^= 0x10
            let zip = try open(bytes)
            #expect(refusal { () throws(RegistryError) in try zip.read(zip.entries[1]) } != nil)
        }
    }

    @Test(
        "an archive that announces more than its budget or ratio is refused before anything is expanded",
        .enabled(if: hasPython, "python3 is the oracle"))
    func bombs() throws {
        let bytes = try #require(
            python(
                """
                import io, sys, zipfile
                out = io.BytesIO()
                with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z: z.writestr("zeros", bytes(80 << 20))
                sys.stdout.buffer.write(out.getvalue())
                """))
        #expect(refusal { () throws(RegistryError) in try open(bytes) } == "the archive expands to too many bytes")
        var wide = Budget.archive
        wide.ratio = 2000
        #expect(try open(bytes, budget: wide).entries[0].size == 80 << 20)
        wide.expandedBytes = 80 << 20 - 1
        #expect(refusal { () throws(RegistryError) in try open(bytes, budget: wide) } == "the archive expands to too many bytes")
    }
}
