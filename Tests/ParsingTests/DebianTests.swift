import Core
import NIOCore
import Parsing
import Testing

private let hasDpkg = python("import subprocess; subprocess.run(['dpkg', '--version'], check=True, stdout=subprocess.DEVNULL)") != nil

@Suite struct DebianVersions {
    private static let telling = [
        "0", "1", "1.0", "1.0-0", "1.0-1", "1.00-1", "1.0~rc1", "1.0~~", "1.0~", "1.0a", "1.0+b1", "1.0.", "1.0-1~bpo12+1", "1:0.9", "0:1.0", "2",
        "10",
        "1.0-1+deb12u2", "1.0-10", "1.0-9", "1.0A", "1.0-1.1", "1-1-1", "2.36-9+deb12u14", "1.2.3+dfsg-4", "1.2.3-4", "1a", "1+", "1-~", "1:1-1",
    ]

    @Test("the order is dpkg's", .enabled(if: hasDpkg, "dpkg is the oracle"))
    func order() throws {
        var random = SeededRandom(seed: testSeed)
        let letters = Array("0019ab~+.-Z")
        var versions = Self.telling
        while versions.count < 60 {
            let text = "1" + String((0..<Int.random(in: 1...6, using: &random)).map { _ in letters[Int.random(in: letters.indices, using: &random)] })
            if DebianVersion(text) != nil { versions.append(text) }
        }
        var pairs: [(String, String)] = []
        while pairs.count < 300 {
            pairs.append((versions[Int.random(in: versions.indices, using: &random)], versions[Int.random(in: versions.indices, using: &random)]))
        }
        let script = """
            import subprocess, sys
            for line in '''\(pairs.map { "\($0.0) \($0.1)" }.joined(separator: "\n"))'''.split("\\n"):
                a, b = line.split()
                out = "=<"
                for word, sign in (("lt", "<"), ("eq", "="), ("gt", ">")):
                    if subprocess.run(["dpkg", "--compare-versions", a, word, b], stderr=subprocess.DEVNULL).returncode == 0: out = sign
                print(out)
            """
        let said = String(decoding: try #require(python(script)), as: UTF8.self).split(separator: "\n")
        let ours = pairs.map { a, b -> String in
            guard let x = DebianVersion(a), let y = DebianVersion(b) else { return "?" }
            return x < y ? "<" : x == y ? "=" : ">"
        }
        let wrong = zip(pairs, zip(said, ours)).filter { $0.1.0 != $0.1.1 }.map { "\($0.0.0) \($0.1.0) \($0.0.1), we say \($0.1.1)" }
        #expect(said.count == pairs.count)
        #expect(wrong == [], "seed \(testSeed)")
    }

    @Test("what dpkg refuses is no version", arguments: ["", "a", "-1", "1:", ":1", "1.0-", "1 0", "1_0", "a:1", "99999999999:1", "1.0-a_b", "1/2"])
    func refused(text: String) { #expect(DebianVersion(text) == nil) }
}

@Suite struct ControlParagraphs {
    @Test("what is written is what was read, folds and order included")
    func roundTrip() throws {
        let text = "Package: hello\nVersion: 1.0\nDescription: says hello\n A line.\n .\n\tAnother.\nFiles:\n 00 1 a\n 11 2 b\n"
        let stanza = try Deb822.one(Array(text.utf8))
        #expect(stanza.text == text)
        #expect(stanza["description"] == "says hello\n A line.\n .\n\tAnother.")
        #expect(stanza.field("Files")?.lines == ["00 1 a", "11 2 b"])
    }

    @Test("stanzas come with their own bytes; comments and several empty lines part nothing else")
    func stanzas() throws {
        var seen: [String] = []
        try Deb822.each(Array("A: 1\n# no\nB: 2\n\n \nA: 3\r\n\n".utf8)) { stanza, raw throws(RegistryError) in
            seen.append((stanza["A"] ?? "") + "|" + String(decoding: raw, as: UTF8.self))
        }
        #expect(seen == ["1|A: 1\n# no\nB: 2\n", "3|A: 3\r\n"])
    }

    @Test(
        "what two readers could understand differently is refused",
        arguments: [" folded: first\n", "no colon\n", "A: 1\na: 2\n", "A : 1\n", ": 1\n", "A: \u{0}\n", "", "A: 1\n\nB: 2\n"])
    func refusedText(text: String) { #expect(refusal { () throws(RegistryError) in try Deb822.one(Array(text.utf8)) } != nil) }

    @Test("the signed part of a clearsigned text is read, dashes unescaped")
    func clearsigned() throws {
        let text =
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nSource: a\n- -x\n\n"
            + "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n"
        #expect(String(decoding: try Clearsigned.content(of: Array(text.utf8)), as: UTF8.self) == "Source: a\n-x\n\n")
        #expect(try Clearsigned.content(of: Array("Source: a\n".utf8)) == Array("Source: a\n".utf8))
        let broken = [
            String(text.dropLast(30)), text + "more\n", text.replacing("- -x", with: "-x"),
            "-----BEGIN PGP MESSAGE-----\n", text.replacing("Hash: SHA512\n\n", with: "Hash: SHA512\n").replacing("-x\n\n", with: "-x\n"),
        ]
        for text in broken { #expect(refusal { () throws(RegistryError) in try Clearsigned.content(of: Array(text.utf8)) } != nil, "\(text)") }
    }
}

@Suite(.enabled(if: hasPython, "python3 makes the archives")) struct ArAndExpansion {
    static func ar(_ members: [(String, [UInt8])]) -> [UInt8] {
        var bytes = Array("!<arch>\n".utf8)
        for (name, content) in members {
            func padded(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: width - text.utf8.count) }
            bytes += Array(
                (padded(name, 16) + padded("0", 12) + padded("0", 6) + padded("0", 6) + padded("100644", 8) + padded("\(content.count)", 10) + "`\n")
                    .utf8)
            bytes += content + (content.count % 2 == 1 ? [0x0A] : [])
        }
        return bytes
    }

    @Test("members are found where they are, with and without a trailing slash")
    func members() throws {
        let bytes = Self.ar([("debian-binary", Array("2.0\n".utf8)), ("odd/", [1, 2, 3]), ("last", [])])
        let archive = try ArArchive(content(bytes))
        #expect(archive.members.map(\.name) == ["debian-binary", "odd", "last"])
        #expect(try ByteRegion(content(bytes), archive.members[1].content).bytes(at: 0, count: 10) == [1, 2, 3])
    }

    @Test("a size beyond the end, a damaged header, a long name and too many members are refused")
    func refusedArchives() {
        let good = Self.ar([("a", [1, 2])])
        var beyond = good
        beyond.replaceSubrange(56..<66, with: Array("9999999999".utf8))
        var damaged = good
        damaged[66] = 0
        let inputs = [
            [], Array("!<arch>".utf8), beyond, damaged, good + [1], Self.ar([("//", [])]), Self.ar([("#1/20", [])]),
            Self.ar((0..<65).map { ("m\($0)", []) }),
        ]
        for input in inputs { #expect(refusal { () throws(RegistryError) in try ArArchive(content(input)) } != nil) }
    }

    private static func packed(_ expression: String) -> [UInt8]? {
        python("import sys, lzma, gzip, subprocess\nsys.stdout.buffer.write(\(expression))")
    }

    @Test(
        "xz, zstd, gzip and plain bytes expand to what they were; cut or damaged they are refused",
        arguments: [
            ("lzma.compress(b'abc' * 100000) + lzma.compress(b'z')", Expansion.xz), ("gzip.compress(b'abc' * 100000) + gzip.compress(b'z')", .gzip),
            ("subprocess.run(['zstd', '-c'], input=b'abc' * 100000 + b'z', stdout=subprocess.PIPE, check=True).stdout", .zstd),
            ("b'abc' * 100000 + b'z'", Expansion.none),
        ])
    func expands(expression: String, kind: Expansion) throws {
        guard let bytes = Self.packed(expression) else { return }
        #expect(try Expansion.sniff(content(bytes)) == kind)
        let whole = try kind.expand(content(bytes), bytesMax: 1 << 20)
        #expect(whole.count == 300_001 && whole.last == UInt8(ascii: "z") && whole.starts(with: Array("abcabc".utf8)))
        guard kind != .none else { return }
        #expect(refusal { () throws(RegistryError) in try kind.expand(content(Array(bytes.dropLast(3))), bytesMax: 1 << 20) } != nil)
        #expect(refusal { () throws(RegistryError) in try kind.expand(content(bytes + [1, 2, 3, 4]), bytesMax: 1 << 20) } != nil)
        #expect(refusal { () throws(RegistryError) in try kind.expand(content(bytes), bytesMax: 1000) } != nil)
    }

    @Test("an xz bomb stops at the budget")
    func bomb() throws {
        let bytes = try #require(Self.packed("lzma.compress(bytes(80 << 20))"))
        #expect(
            refusal { () throws(RegistryError) in try Expansion.xz.expand(content(bytes), bytesMax: 1 << 30) } == "the file expands to too many bytes"
        )
    }
}
