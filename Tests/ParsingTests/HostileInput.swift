import Core
import NIOCore
import Parsing
import Testing

/// Every parser under thousands of seeded mutations of valid inputs. A trap ends the process; typed throws make `RegistryError` the only error.
/// The seed is in the log of a failure; `GRANARY_SEED` repeats or varies it.
@Suite struct HostileInput {
    /// - Returns: how many mutated inputs were refused.
    private func refusals(
        of inputs: [[UInt8]], rounds: Int = 2000, _ parse: ([UInt8]) throws(RegistryError) -> Void
    ) -> Int {
        var random = SeededRandom(seed: testSeed)
        var refused = 0
        for round in 0..<rounds {
            let input = mutated(inputs[round % inputs.count], &random)
            do throws(RegistryError) { try parse(input) } catch { refused += 1 }
        }
        return refused
    }

    /// One to four changes: flip, set to a telling value, insert, delete, repeat or cut off.
    private func mutated(_ input: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
        var bytes = input
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            guard !bytes.isEmpty else { break }
            let at = Int.random(in: bytes.indices, using: &random)
            let telling: [UInt8] = [0, 0xFF, 0x7F, 0x80, 0x22, 0x5C, 0x0D, 0x0A, 0x25, 0x3B, 0x2D, 0x3C, 0x26, 0x7B, 0x5B, 0x30, 0x39, 0xC3]
            switch Int.random(in: 0..<7, using: &random) {
            case 0: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: bytes[at] = telling[Int.random(in: telling.indices, using: &random)]
            case 2: bytes.insert(telling[Int.random(in: telling.indices, using: &random)], at: at)
            case 3: bytes.remove(at: at)
            case 4: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1...20, using: &random)))
            case 5: bytes.insert(contentsOf: Array(bytes[at..<min(bytes.count, at + Int.random(in: 1...40, using: &random))]), at: at)
            default: for index in at..<min(bytes.count, at + 4) { bytes[index] = 0xFF }
            }
        }
        return bytes
    }

    @Test("JSON")
    func json() {
        let inputs = [
            #"{"a":[1,2.5e-3,{"b":"\ud834\udd1e\n"}],"c":null,"d":true}"#,
            String(repeating: "[", count: 70) + "1" + String(repeating: "]", count: 70),
            #"{"name":"left-pad","versions":{"1.0.0":{"dist":{"shasum":"abc"}}},"é":"ü"}"#,
        ]
        let refused = refusals(of: inputs.map { Array($0.utf8) }, rounds: 6000) { bytes throws(RegistryError) in
            let value = try JSON.parse(bytes)
            #expect(try JSON.parse(value.encoded()) == value)
        }
        #expect((1000..<6000).contains(refused))
    }

    @Test("multipart, in slices of any size")
    func multipart() {
        let body = [
            "--b", "Content-Disposition: form-data; name=\"x\"; filename*=utf-8''%41", "", "value\r\n--", "--b ",
            "Content-Disposition: form-data; name=y",
            "Content-Type: text/plain", "", "", "--b--", "",
        ].joined(separator: "\r\n")
        var random = SeededRandom(seed: testSeed)
        let refused = refusals(of: [Array(body.utf8)], rounds: 6000) { bytes throws(RegistryError) in
            var machine = try MultipartMachine(boundary: "b")
            var rest = ByteBuffer(bytes: bytes)
            while rest.readableBytes > 0 {
                let length = Int.random(in: 1...rest.readableBytes, using: &random)
                if let slice = rest.readSlice(length: length) { _ = try machine.receive(slice) }
            }
            try machine.end()
        }
        #expect((1000..<6000).contains(refused))
    }

    @Test("multipart's Content-Type")
    func boundary() {
        let refused = refusals(of: [
            Array("multipart/form-data; charset=utf-8; boundary=\"abc \\\" def\"".utf8), Array("multipart/form-data; boundary=abc".utf8),
        ]) {
            bytes throws(RegistryError) in _ = try Multipart.boundary(ofContentType: String(decoding: bytes, as: UTF8.self))
        }
        #expect(refused > 500)
    }

    @Test("zip", .enabled(if: hasPython, "python3 makes the archives"))
    func zip() throws {
        let archives = try ["io.BytesIO()", "Pipe()"].map { target in
            try #require(
                python(
                    """
                    import io, sys, zipfile
                    class Pipe(io.RawIOBase):
                        def __init__(self): self.data = bytearray()
                        def writable(self): return True
                        def write(self, b): self.data += bytes(b); return len(b)
                        def getvalue(self): return self.data
                    out = \(target)
                    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
                        z.writestr("a", b"hello")
                        with z.open("b", "w", force_zip64=True) as f: f.write(b"0123456789" * 20)
                        z.comment = b"c"
                    sys.stdout.buffer.write(out.getvalue())
                    """))
        }
        let refused = refusals(of: archives, rounds: 6000) { bytes throws(RegistryError) in
            let zip = try ZipArchive(content(bytes))
            for entry in zip.entries { _ = try zip.read(entry) }
        }
        #expect((1000..<6000).contains(refused))
    }

    @Test("gzip, tar and source archives", .enabled(if: hasPython, "python3 makes the archives"))
    func sourceArchives() throws {
        func packed(_ mode: String, _ format: String) throws -> [UInt8] {
            try #require(
                python(
                    """
                    import io, sys, tarfile
                    out = io.BytesIO()
                    with tarfile.open(fileobj=out, mode="\(mode)", format=tarfile.\(format)) as t:
                        for name in ("p/" + "long" * 40, "p/PKG-INFO"):
                            i = tarfile.TarInfo(name); i.size = 700; t.addfile(i, io.BytesIO(b"x" * 700))
                    sys.stdout.buffer.write(out.getvalue())
                    """))
        }
        let archives = try [packed("w", "GNU_FORMAT"), packed("w:gz", "PAX_FORMAT"), packed("w", "PAX_FORMAT")].map {
            $0.count > 6000 ? Array($0.prefix(6144)) : $0
        }
        let refused = refusals(of: archives, rounds: 6000) { bytes throws(RegistryError) in
            _ = try SourceArchive.packageInfo(in: content(bytes))
        }
        #expect((1000..<6000).contains(refused))
    }

    /// Repairs the checksum of every mutated header block, so that the fields behind it are reached.
    private enum TarHeaderProbe {
        static func walk(_ bytes: [UInt8]) throws(RegistryError) {
            var bytes = bytes
            for start in stride(from: 0, to: bytes.count - 511, by: 512) where bytes[(start + 257)...].starts(with: "ustar".utf8) {
                let sum = (0..<512).reduce(0) { $0 + ((148..<156).contains($1) ? 0x20 : Int(bytes[start + $1])) }
                let digits = Array(String(sum, radix: 8).utf8)
                bytes.replaceSubrange((start + 148)..<(start + 156), with: [UInt8](repeating: 0x30, count: 6 - digits.count) + digits + [0, 0x20])
            }
            var rest: [UInt8]? = bytes
            let tar = TarReader { () throws(RegistryError) in
                defer { rest = nil }
                return rest
            }
            while try tar.next() != nil { _ = try tar.content() }
        }
    }

    @Test("tar headers behind a right checksum", .enabled(if: hasPython, "python3 makes the archives"))
    func tarHeaders() throws {
        let archive = try #require(
            python(
                """
                import io, sys, tarfile
                for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
                    out = io.BytesIO()
                    with tarfile.open(fileobj=out, mode="w", format=format) as t:
                        i = tarfile.TarInfo("p/" + "long" * 40); i.size = 3; t.addfile(i, io.BytesIO(b"xyz"))
                    sys.stdout.buffer.write(out.getvalue()[:2560])
                """))
        let refused = refusals(of: [archive], rounds: 6000) { bytes throws(RegistryError) in try TarHeaderProbe.walk(bytes) }
        #expect((1000..<6000).contains(refused))
    }

    @Test("ar, control data, Debian versions and clearsigned text")
    func debian() {
        let archive = ArAndExpansion.ar([("debian-binary", Array("2.0\n".utf8)), ("control.tar", Array(repeating: 7, count: 99))])
        let signed =
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nSource: a\nFiles:\n 00 1 a\n\n"
            + "-----BEGIN PGP SIGNATURE-----\n\nAA\n-----END PGP SIGNATURE-----\n"
        var refused = refusals(of: [archive], rounds: 4000) { bytes throws(RegistryError) in
            for member in try ArArchive(content(bytes)).members { _ = try ByteRegion(content(bytes), member.content).bytes(at: 0, count: 200) }
        }
        refused += refusals(of: [Array(signed.utf8)], rounds: 4000) { bytes throws(RegistryError) in
            _ = try Deb822.one(try Clearsigned.content(of: bytes))
        }
        refused += refusals(of: [Array("1:2.36~rc1-9+deb12u14".utf8)], rounds: 4000) { bytes throws(RegistryError) in
            guard let version = DebianVersion(String(decoding: bytes, as: UTF8.self)) else {
                throw RegistryError(.invalid, subject: .request, reason: "")
            }
            #expect(version == version && !(version < version))
        }
        #expect((2000..<12_000).contains(refused))
    }

    @Test("xz and zstd streams", .enabled(if: hasPython, "python3 makes the archives"))
    func expansions() throws {
        let xz = try #require(python("import sys, lzma; sys.stdout.buffer.write(lzma.compress(bytes(range(256)) * 8))"))
        let zstd = python(
            "import sys, subprocess; "
                + "sys.stdout.buffer.write(subprocess.run(['zstd', '-c'], input=bytes(range(256)) * 8, stdout=subprocess.PIPE, check=True).stdout)"
        )
        var refused = refusals(of: [xz], rounds: 3000) { bytes throws(RegistryError) in _ = try Expansion.xz.expand(content(bytes), bytesMax: 1 << 20)
        }
        if let zstd {
            refused += refusals(of: [zstd], rounds: 3000) { bytes throws(RegistryError) in
                _ = try Expansion.zstd.expand(content(bytes), bytesMax: 1 << 20)
            }
        }
        #expect((1000..<6001).contains(refused))
    }

    @Test("core metadata, versions and file names")
    func pythonTexts() {
        let texts = [
            "Metadata-Version: 2.1\nName: x\nLicense: a\n       |b\n        c\n\nbody", "1!2.0a3.post4.dev5+local-6", "v1.0-rc.1_r2",
            "pkg-1.0-2x-py2.py3-none-any.whl", "my-pkg-1.0-1.tar.gz",
        ]
        let refused = refusals(of: texts.map { Array($0.utf8) }, rounds: 10_000) { bytes throws(RegistryError) in
            let text = String(decoding: bytes, as: UTF8.self)
            _ = try CoreMetadata.parse(bytes)
            if let version = PEP440Version(text) { #expect(PEP440Version(version.description) == version) }
            _ = (WheelName(text), SdistName(text), SdistName(text, of: "my.pkg"), PEP503.isName(PEP503.normalize(text)))
        }
        #expect(refused > 1000)
    }

    @Test("HTML")
    func html() {
        let page =
            "<!DOCTYPE html><meta name='pypi:repository-version' content=1.1><script>x</script>"
            + "<a href=\"a&amp;b\" data-yanked>t&#x41;<b>x</b></a><!-- c -->"
        let refused = refusals(of: [Array(page.utf8)], rounds: 6000) { bytes throws(RegistryError) in _ = try HTMLAnchors.parse(bytes) }
        #expect((100..<6000).contains(refused))
    }

    @Test("URLs, forms, Accept, credentials, challenges, Base64")
    func headers() {
        let texts = [
            "https://user:pw@[2001:db8::1]:443/a/../b%20c/./d?x=1&y=%26+z#f", "../../x;p?q", "text/html;q=0.5, a/b;c=\"d,\\\"e\", */*;q=0.1",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Bearer realm=\"https://x/y\",scope=\"a:b:c\", Basic realm=z, Negotiate abc==",
        ]
        let refused = refusals(of: texts.map { Array($0.utf8) }, rounds: 10_000) { bytes throws(RegistryError) in
            let text = String(decoding: bytes, as: UTF8.self)
            _ = Accept.best(of: ["text/html", "a/b;c=d"], header: text)
            if let decoded = Base64.decode(text) { #expect(Base64.encode(decoded) == text) }
            _ = refusal { () throws(RegistryError) in try Credentials(text) }
            _ = refusal { () throws(RegistryError) in try Challenge.parse(text) }
            _ = refusal { () throws(RegistryError) in try FormURL.parse(text) }
            let url = try URLReference.parse(text)
            #expect(try URLReference.parse(url.description) == url)
            let resolved = try URLReference.parse("http://h/b/c?d").resolving(url)
            #expect(resolved.host != nil && !resolved.path.hasPrefix("/../"))
        }
        #expect((1000..<10_000).contains(refused))
    }
}
