import Parsing
import Testing

@Suite("semantic versions") struct SemVerTests {
    @Test("versions are ordered as section 11 says")
    func order() throws {
        let texts = [
            "0.0.0-0", "0.0.0", "0.9.10", "0.10.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
            "1.0.0-rc.1", "1.0.0", "1.0.1-1", "1.0.1-99999999999999999999", "1.0.1--", "1.0.1", "2.0.0", "10.0.0", "99999999999999999999.0.0",
        ]
        let versions = try texts.map { try #require(SemVer($0)) }
        for (low, a) in versions.enumerated() {
            for (high, b) in versions.enumerated() { #expect((a < b) == (low < high), "\(a) and \(b)") }
        }
        #expect(versions.map(\.description) == texts)
    }

    @Test("build metadata does not order")
    func build() throws {
        let (a, b) = try (#require(SemVer("1.0.0+a.01")), #require(SemVer("1.0.0+b")))
        #expect(!(a < b) && !(b < a) && a != b)
        #expect(a.description == "1.0.0+a.01")
    }

    @Test(
        "what is no version",
        arguments: [
            "", "1", "1.0", "1.0.0.0", "v1.0.0", "=1.0.0", " 1.0.0", "1.0.0 ", "01.0.0", "1.00.0", "1.0.0-", "1.0.0+", "1.0.0-01", "1.0.0-a..b",
            "1.0.0-a_b",
            "1.0.0+a+b", "1.0.x", "-1.0.0", "1.0.0-é", "1..0", "1.0.0\n", String(repeating: "1", count: 250) + ".0.00000",
        ])
    func none(_ text: String) { #expect(SemVer(text) == nil) }
}
