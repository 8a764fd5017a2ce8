import BuiltIn
import Core
import FrontendKit
import HTTPTypes
import TestSupport
import Testing

/// A format that reads a name in several spellings has one that it keeps, and every row of it agrees on that.
@Suite("spellings of names") struct SpellingTests {
    /// Rows about one package each, with `{}` for its name: rights, ownership and what is stored all go by what they make of it.
    private static let rows: [(format: String, targets: [String])] = [
        ("npm", ["{}", "-/package/{}/dist-tags", "{}/-/x-1.0.0.tgz"]), ("pypi", ["simple/{}/", "simple/{}/x-1.0.tar.gz", "{}/1.0/yank"]),
        ("oci", ["{}/tags/list", "{}/manifests/v1"]), ("maven", ["{}/maven-metadata.xml"]), ("generic", ["{}"]), ("http-cache", ["{}"]),
    ]
    private static let pieces = [
        "a", "B", "z9", "0", "-", "_", ".", "--", "-_.", "@", "@s/", "/", "%2f", "%2E", "%5F", "%41", "é", "e%CC%81", "ı", "ﬁ", "Ａ", "%00", "~", "+",
        "!", "aaaa", "SNAPSHOT",
    ]

    private static func name(at target: String, of frontend: any Frontend) -> String? {
        guard
            let head = try? RequestHead(
                method: .get, target: "/x/key/" + target, fields: [:], requestID: "t", peer: "127.0.0.1", isSecure: true)
        else { return nil }
        for route in frontend.routes where route.level == .repository {
            if let match = route.pattern.match(head.path.dropping(2), in: RepositoryKey("key")) { return frontend.tokenName(of: match) }
        }
        return nil
    }

    @Test("what a name became stays as it is, and every row makes the same of it", arguments: [SeededRandom.runSeed, 7])
    func once(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var read = 0
        for (format, targets) in Self.rows {
            let frontend = try #require(BuiltIn.frontends.first { $0.format.name == format })
            for _ in 0..<400 {
                var spelled = ""
                for _ in 0..<Int.random(in: 1...6, using: &random) { spelled += Self.pieces[Int.random(in: 0..<Self.pieces.count, using: &random)] }
                for target in targets {
                    guard let name = Self.name(at: target.replacing("{}", with: spelled), of: frontend) else { continue }
                    read += 1
                    let again = Percent.encode(name, in: .path)
                    #expect(Self.name(at: target.replacing("{}", with: again), of: frontend) == name, "\(format) \(spelled), seed \(seed)")
                }
                // Of a plain name, which no row takes for another row's.
                guard !spelled.contains("/"), !spelled.contains("%"), !spelled.hasPrefix("-"), !spelled.hasPrefix(".") else { continue }
                let names = targets.compactMap { Self.name(at: $0.replacing("{}", with: spelled), of: frontend) }
                #expect(Set(names.filter { !$0.contains("/") }).count <= 1, "\(format) \(spelled): \(names), seed \(seed)")
            }
        }
        #expect(read > 500, "seed \(seed)")
    }
}
