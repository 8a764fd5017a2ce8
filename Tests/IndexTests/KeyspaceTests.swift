import Catalog
import Core
import TestSupport
import Testing

@testable import CatalogRules

@Suite("Keyspace") struct KeyspaceTests {
    private static let id = EntityID(high: 0x0192_0000_0000_7001, low: 0x8000_0000_0000_0001)
    private static let next = EntityID(high: 0x0192_0000_0000_7001, low: 0x8000_0000_0000_0002)
    private static let texts = ["", "a", "a\u{0}", "a\u{0}b", "a/b", "ab", "b", "ü", "\u{FFFF}"]

    static func keys() throws -> [Keyspace] {
        let blob = try #require(BlobID(bytes: Array(0..<32)))
        let (package, version, path) = (PackageName("p"), VersionName("1"), AssetPath("a/b"))
        var keys: [Keyspace] = [
            .format, .head, .logStart, .repository(id), .totals(id), .entity(id), .verdicts(blob), .log(Revision(1 << 40)), .grave(id),
            .pin(Pin(blob: blob, reason: .asset(id, try #require(path)))),
            .pin(Pin(blob: blob, reason: .manifest(id, try #require(package), try #require(version)))),
            .pin(Pin(blob: blob, reason: .learned(id, view: "a\u{0}"))),
            .pin(Pin(blob: blob, reason: .trash(DeletionID(id, Revision(7))))), .unpinned(blob), .deletion(DeletionID(id, Revision(7))),
            .deletionEnd(Timestamp(milliseconds: 1), DeletionID(id, Revision(7))),
        ]
        for text in texts {
            keys += [
                .repositoryKey(text), .package(id, text), .version(id, text, "x"), .version(id, "x", text), .tag(id, text, text),
                .link(id, "p", relation: text, target: "t", version: text),
                .versionLink(id, "p", version: text, relation: "t", target: text), .asset(id, text),
                .packageAsset(id, text, version: text, path: text), .tombstone(id, text), .learned(id, text), .record(3, text),
                .recordUnique(3, text),
            ]
        }
        return keys
    }

    @Test("every key decodes to what it was made from, and no two are the same") func roundTrip() throws {
        let keys = try Self.keys()
        for key in keys { #expect(try Keyspace(key.bytes) == key) }
        #expect(Set(keys.map(\.bytes)).count == Set(keys).count)
    }

    @Test("the bytes are those of the page") func bytes() throws {
        let id: [UInt8] = [0x01, 0x92, 0, 0, 0, 0, 0x70, 0x01, 0x80, 0, 0, 0, 0, 0, 0, 0x01]
        #expect(Keyspace.head.bytes == [1, 1])
        #expect(Keyspace.version(Self.id, "p", "1").bytes == [6] + id + [0x70, 0, 1, 0x31, 0, 1])
        #expect(Keyspace.record(2, "a\u{0}").bytes == [17, 2, 0x61, 0, 0xFF, 0, 1])
        #expect(Keyspace.log(Revision(258)).bytes == [19, 0, 0, 0, 0, 0, 0, 1, 2])
    }

    @Test("keys sort as their texts do, part by part") func order() {
        let sorted = Self.texts.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let byBytes: ([UInt8], [UInt8]) -> Bool = { $0.lexicographicallyPrecedes($1) }
        let assets = sorted.map { Keyspace.asset(Self.id, $0).bytes }
        #expect(assets.sorted(by: byBytes) == assets)
        let versions = sorted.flatMap { package in sorted.map { Keyspace.version(Self.id, package, $0).bytes } }
        #expect(versions.sorted(by: byBytes) == versions)
        #expect(byBytes(Keyspace.asset(Self.id, "\u{FFFF}").bytes, Keyspace.asset(Self.next, "").bytes))
        #expect(byBytes(Keyspace.log(Revision(255)).bytes, Keyspace.log(Revision(256)).bytes))
    }

    @Test("no key is the beginning of another") func prefixes() throws {
        let keys = try Self.keys().map(\.bytes).sorted { $0.lexicographicallyPrecedes($1) }
        for (key, following) in zip(keys, keys.dropFirst()) where key != following { #expect(!following.starts(with: key)) }
    }

    @Test("a damaged key is corrupt, never a trap") func damage() throws {
        let seed = SeededRandom.runSeed
        print("GRANARY_SEED=\(seed)")
        var random = SeededRandom(seed: seed)
        for key in try Self.keys().map(\.bytes) {
            #expect(throws: RegistryError.self) { try Keyspace(Array(key.dropLast())) }
            #expect(throws: RegistryError.self) { try Keyspace(key + [1]) }
            var damaged = key
            let at = Int.random(in: 0..<key.count, using: &random)
            damaged[at] = UInt8.random(in: 0...255, using: &random)
            // Either still a key, and then its own, or refused.
            if let decoded = try? Keyspace(damaged) { #expect(decoded.bytes == damaged, "seed \(seed)") }
        }
    }
}
