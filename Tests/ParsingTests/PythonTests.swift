import Core
import Parsing
import Testing

@Suite struct PEP440Tests {
    @Test("the order of PEP 440's own example, and of every kind of suffix, holds for each pair")
    func order() throws {
        let ascending = [
            "1.dev0", "1.0.dev456", "1.0a1", "1.0a2.dev456", "1.0a12.dev456", "1.0a12", "1.0b1.dev456", "1.0b2", "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456", "1.0rc1", "1.0", "1.0+abc.5", "1.0+abc.7", "1.0+5", "1.0+5.0", "1.0.post456.dev34", "1.0.post456", "1.0.15", "1.1.dev1",
            "1.1", "1.10", "2.99999999999999999999999", "2.100000000000000000000000", "1!0.1",
        ]
        let versions = try ascending.map { try #require(PEP440Version($0), "\($0)") }
        for (i, a) in versions.enumerated() {
            for (j, b) in versions.enumerated() { #expect((a < b) == (i < j) && (a == b) == (i == j), "\(a) and \(b)") }
        }
    }

    @Test(
        "every spelling has the one normal form",
        arguments: [
            ("v1.0", "1.0"), (" 1.0 \n", "1.0"), ("1.0ALPHA", "1.0a0"), ("1.0.alpha.1", "1.0a1"), ("1.0-beta_2", "1.0b2"), ("1.0c3", "1.0rc3"),
            ("1.0pre", "1.0rc0"), ("1.0-preview-4", "1.0rc4"), ("1.0-1", "1.0.post1"), ("1.0post", "1.0.post0"), ("1.0-r4", "1.0.post4"),
            ("1.0_rev5", "1.0.post5"), ("1.0.DEV", "1.0.dev0"), ("1.0dev-6", "1.0.dev6"), ("1.0+Ubuntu-1_A", "1.0+ubuntu.1.a"), ("00!01.002", "1.2"),
            ("2!1.0a1.post2.dev3+x", "2!1.0a1.post2.dev3+x"), ("1.0+001", "1.0+1"), ("2012.4", "2012.4"), ("1.0a-1", "1.0a1"), ("1.2.0", "1.2.0"),
        ])
    func normalForm(_ written: String, _ normal: String) throws {
        let version = try #require(PEP440Version(written))
        #expect(version.description == normal)
        #expect(PEP440Version(normal) == version)
    }

    @Test("1, 1.0 and 1.0.0 are equal and hash alike")
    func trailingZeros() {
        #expect(Set(["1", "1.0", "v1.0.0", "0!1"].compactMap { PEP440Version($0) }).count == 1)
    }

    @Test(
        "what PEP 440 does not read is refused",
        arguments: [
            "", "a", "1.", ".1", "1..2", "1.0x", "1.0+", "1.0+a..b", "1.0+a+b", "1!", "!1", "1.0-", "1.0--1", "1.0 dev1", "1.0a1b2",
            "1.0.post1.post2",
            "1.0.dev1.post1", "1\u{0301}.0", "١.٠", "french toast", "1.0\u{0}",
        ])
    func refusals(_ text: String) {
        #expect(PEP440Version(text) == nil)
    }
}

@Suite struct PythonNameTests {
    @Test("names normalise as PEP 503 says, and only PEP 508's are names")
    func names() {
        #expect(["Friendly-Bard", "FRIENDLY.bard", "friendly__BARD", "FrIeNdLy-._.-bArD"].allSatisfy { PEP503.normalize($0) == "friendly-bard" })
        #expect(["a", "A1", "zope.interface", "a_-.b"].allSatisfy { PEP503.isName($0) })
        #expect(!["", "-a", "a-", ".a", "a b", "a/b", "é", "a\n", String(repeating: "a", count: 257)].contains { PEP503.isName($0) })
    }

    @Test("a wheel's name gives project, version, build and compressed tag sets")
    func wheels() throws {
        let wheel = try #require(WheelName("numpy-1.26.4-2b-cp39.cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"))
        #expect(wheel.project == "numpy" && wheel.version == PEP440Version("1.26.4") && wheel.build == "2b")
        #expect(
            wheel.pythonTags == ["cp39", "cp310"] && wheel.abiTags == ["abi3"]
                && wheel.platformTags == ["manylinux_2_17_x86_64", "manylinux2014_x86_64"])
        #expect(WheelName("my_pkg-1.0_1-py3-none-any.whl")?.version == nil)
        #expect(WheelName("my.pkg-1.0+local.1-py2.py3-none-any.whl")?.version.local.count == 2)
        for name in [
            "a-1-py3-none.whl", "a-1-py3-none-any.zip", "a-x-py3-none-any.whl", "a-1-b2-py3-none-any.whl", "-1-py3-none-any.whl", "a-1-py3--any.whl",
            "a-1-py3.-none-any.whl", "a-1-1-2-py3-none-any.whl", "a-1-py3-none-a/b.whl", "_a-1-py3-none-any.whl",
        ] { #expect(WheelName(name) == nil, "\(name)") }
    }

    @Test("an sdist's name splits where its project ends; without one, at the last dash before a version")
    func sdists() {
        #expect(SdistName("my_pkg-1.0.tar.gz")?.project == "my_pkg")
        #expect(SdistName("my-old-pkg-1.0.zip")?.project == "my-old-pkg")
        #expect(SdistName("pkg-1.0-1.tar.gz", of: "Pkg")?.versionText == "1.0-1")
        #expect(SdistName("pkg-1.0-1.tar.gz")?.versionText == "1")
        #expect(SdistName("python-dateutil-2.8.tar.bz2", of: "python.dateutil")?.archive == .tarBzip2)
        #expect(SdistName("a-1.0.tgz")?.archive == .tarGzipShort)
        for name in ["a.tar.gz", "a-b.tar.gz", "a-1.0.exe", "-1.0.tar.gz", "a-1.0"] { #expect(SdistName(name) == nil, "\(name)") }
        #expect(SdistName("a-1.0.tar.gz", of: "b") == nil)
    }
}

@Suite struct CoreMetadataTests {
    @Test("fields keep order, repeat, fold in all three ways, and the body is the description")
    func metadata() throws {
        let text = """
            Metadata-Version: 2.1
            Name: sample
            Version:1.0
            Classifier: A :: B
            License: line one
                    line two
                   |  line three
              line four
            classifier:  C \t
            Author: Jürgen

            # Title

            Name: not a field

            """
        for ending in ["\n", "\r\n"] {
            let metadata = try CoreMetadata.parse(Array(text.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: ending).utf8))
            #expect(metadata.fields.map(\.name) == ["Metadata-Version", "Name", "Version", "Classifier", "License", "classifier", "Author"])
            #expect(metadata["NAME"] == "sample" && metadata["version"] == "1.0" && metadata["Author"] == "Jürgen" && metadata["absent"] == nil)
            #expect(metadata.all("Classifier") == ["A :: B", "C"])
            #expect(metadata["License"] == "line one\nline two\n  line three\nline four")
            #expect(metadata.description == ["# Title", "", "Name: not a field", ""].joined(separator: ending))
        }
        #expect(try CoreMetadata.parse(Array("Name: x\nDescription: old\n        way".utf8)).description == "old\nway")
        #expect(try CoreMetadata.parse([]).fields.isEmpty)
    }

    @Test("bytes that are no UTF-8, lines without a field name and too many fields are refused")
    func refusals() {
        for bytes in [
            Array("Name: ".utf8) + [0xFF], Array(" folded\n".utf8), Array("no colon here\n".utf8), Array(": value\n".utf8), Array("a b: c\n".utf8),
        ] {
            #expect(refusal { () throws(RegistryError) in try CoreMetadata.parse(bytes) } != nil)
        }
        let budget = Budget(bytes: 100, items: 2)
        #expect(refusal { () throws(RegistryError) in try CoreMetadata.parse(Array("a:1\nb:2\nc:3".utf8), budget: budget) } != nil)
        #expect(refusal { () throws(RegistryError) in try CoreMetadata.parse([UInt8](repeating: 0x61, count: 101), budget: budget) } != nil)
    }
}
