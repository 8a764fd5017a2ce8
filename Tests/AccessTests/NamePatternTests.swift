import Core
import Testing

@testable import Access

@Suite struct NamePatternTests {
    @Test(
        "a pattern covers the names that match it and what lies below them",
        arguments: [
            ("com/acme/**", ["com/acme/lib", "com/acme/lib/1.0/lib-1.0.jar", "com/acme"], ["com/acmeX/lib", "com", "com/Acme/lib", "org/acme"]),
            ("@acme/*", ["@acme/lib", "@acme/lib/-/lib-1.0.0.tgz"], ["@acme", "@acmes/lib", "acme/lib", "x/@acme/lib"]),
            ("team-*", ["team-a", "team-", "team-a/1.0/x"], ["team", "Team-a", "x-team-a", "x/team-a"]),
            ("**/secret", ["secret", "a/secret", "a/b/secret/c"], ["a/secrets", "a/b"]),
            ("a/**/z", ["a/z", "a/b/z", "a/b/c/z/y"], ["a", "a/b", "b/z"]),
            ("a?c", ["abc", "aéc"], ["ac", "abbc"]), ("*", ["anything", "any/thing"], []), ("**", ["any/thing"], []),
            // A combining mark makes one character of a slash and itself, and two segments stay two.
            ("*-pub", ["a-pub/x"], ["secret/\u{301}-pub"]),
            ("a*b*c", ["abc", "aXbYc", "abbcc"], ["ab", "acb"]), ("lib", ["lib", "lib/x"], ["library", "li"]),
        ])
    func coverage(_ text: String, _ covered: [String], _ others: [String]) throws {
        let pattern = try #require(NamePattern(text))
        for name in covered { #expect(pattern.covers(name), "\(text) \(name)") }
        for name in others + ["", "/", "a//b/secret", "/team-a"] { #expect(!pattern.covers(name), "\(text) \(name)") }
    }

    @Test("what other languages of patterns read otherwise, or nobody can read, is no pattern")
    func refused() {
        for text in ["", "/a", "a/", "a//b", "a/../b", "./a", "a**", "**a/b", "[ab]", "{a,b}", "a\\*", "a\nb", String(repeating: "a", count: 257)] {
            #expect(NamePattern(text) == nil, "\(text)")
        }
    }

    @Test("the longest pattern on the longest name takes no time worth naming")
    func cost() throws {
        let stars = try #require(NamePattern(String(repeating: "*a", count: 127)))
        let name = String(repeating: "a", count: 2000) + "b"
        #expect(!stars.covers(name))
        let deep = try #require(NamePattern(Array(repeating: "**", count: 80).joined(separator: "/") + "/b"))
        #expect(!deep.covers(Array(repeating: "a", count: 1000).joined(separator: "/")))
    }
}
