import Core
import Testing

@Suite struct NameTests {
    @Test(
        "repository keys: 1-128 of the allowed characters, no leading dot or dash, no double dot",
        arguments: [
            ("a", true), ("A.b_c-9", true), (String(repeating: "k", count: 128), true), ("", false), (String(repeating: "k", count: 129), false),
            (".a", false), ("-a", false), ("a..b", false), ("a/b", false), ("a b", false), ("ä", false), ("a%2e", false),
        ])
    func repositoryKeys(text: String, isValid: Bool) { #expect((RepositoryKey(text) != nil) == isValid) }

    @Test(
        "asset paths are relative, have no empty, dot or double-dot segment, no control character and no backslash",
        arguments: [
            ("a", true), ("a/b/c.txt", true), ("a/..b", true), ("@scope/x", true), (String(repeating: "p", count: 2048), true), ("", false),
            ("/a", false),
            ("a/", false), ("a//b", false), ("a/./b", false), ("../a", false), ("a/..", false), ("a\0b", false), ("a\nb", false), ("a\\b", false),
            (String(repeating: "p", count: 2049), false),
        ])
    func assetPaths(text: String, isValid: Bool) { #expect((AssetPath(text) != nil) == isValid) }

    @Test("digests are read and written in the OCI grammar: lower-case hex of the algorithm's length")
    func digests() throws {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        #expect(Digest.of(.sha256, []).description == empty)
        #expect(Digest(parsing: empty) == Digest.of(.sha256, []))
        #expect(Digest(parsing: empty.uppercased()) == nil)
        #expect(Digest(parsing: empty.dropLast()) == nil)
        #expect(Digest(parsing: "sha3:00") == nil)
        #expect(Digest.of(.md5, Array("abc".utf8)).hex == "900150983cd24fb0d6963f7d28e17f72")
        #expect(Digest.of(.sha1, Array("abc".utf8)).hex == "a9993e364706816aba3e25717850c26c9cd0d89d")
        let id = try #require(BlobID(Digest.of(.sha256, Array("abc".utf8))))
        #expect(BlobID(bytes: id.bytes) == id)
        #expect(id.hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test("identifiers are UUIDs of version 7 that sort by time and survive their text")
    func identifiers() throws {
        let early = EntityID(at: Timestamp(milliseconds: 1_000), random: (.max, .max))
        let late = EntityID(at: Timestamp(milliseconds: 1_001), random: (0, 0))
        #expect(early < late)
        let text = Array(early.description)
        #expect(text[14] == "7")
        #expect("89ab".contains(text[19]))
        #expect(EntityID(early.description) == early)
        #expect(EntityID(early.description.uppercased()) == early)
        #expect(EntityID("not-a-uuid") == nil)
    }
}

@Suite struct TimestampTests {
    @Test(
        "RFC 3339 is written with milliseconds and Z, and read with offsets and fractions",
        arguments: [
            ("2026-11-21T07:48:09.123Z", "2026-11-21T07:48:09.123Z"), ("2026-11-21T08:48:09+01:00", "2026-11-21T07:48:09.000Z"),
            ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"), ("2000-02-29T00:00:00Z", "2000-02-29T00:00:00.000Z"),
            ("2026-11-21t07:48:09.1234567z", "2026-11-21T07:48:09.123Z"),
        ])
    func rfc3339(text: String, written: String) { #expect(Timestamp(rfc3339: text)?.description == written) }

    @Test(
        "what is no RFC 3339 time is refused",
        arguments: ["", "2026-11-21", "2026-13-01T00:00:00Z", "2026-11-21T07:48:09", "2026-11-21T07:48:09.Z", "2026-11-21T25:00:00Z"])
    func refused(text: String) { #expect(Timestamp(rfc3339: text) == nil) }

    @Test("HTTP dates are IMF-fixdates both ways")
    func httpDates() {
        let time = Timestamp(seconds: 784_111_777)
        #expect(time.httpDate == "Sun, 06 Nov 1994 08:49:37 GMT")
        #expect(Timestamp(httpDate: time.httpDate) == time)
        #expect(Timestamp(httpDate: "Sunday, 06-Nov-94 08:49:37 GMT") == nil)
    }

    @Test("arithmetic at the ends of time saturates instead of trapping")
    func saturates() {
        #expect(Timestamp(milliseconds: .max).adding(seconds: .max) == Timestamp(milliseconds: .max))
        #expect(Timestamp(milliseconds: .min).adding(milliseconds: -1) == Timestamp(milliseconds: .min))
        #expect(!Timestamp(milliseconds: .max).description.isEmpty)
    }
}
