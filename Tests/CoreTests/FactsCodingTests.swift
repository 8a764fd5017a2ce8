import Core
import Testing

@Suite("FactsCoding") struct FactsCodingTests {
    private func facts() throws -> Facts {
        let id = EntityID(high: 1, low: 2)
        let package = try #require(PackageName("p/q"))
        let version = try #require(VersionName("1.0+ü"))
        let blob = try #require(BlobID(bytes: Array(0..<32)))
        let time = Timestamp(milliseconds: -5)
        var facts = Facts()
        facts.revision = Revision(77)
        facts.packages = [
            Package(id: id, name: package, displayName: "P", attributes: ["a": "1", "b": "2"], created: time, revision: Revision(3)),
            Package(id: id, name: package, created: time),
        ]
        let manifests: [Manifest] = [.none, .inline([0, 255], mediaType: "m"), .blob(blob, size: .max, mediaType: "")]
        let states: [Version.State] = [.active, .yanked(reason: ""), .deprecated(reason: "old")]
        facts.versions = zip(manifests, states).map { manifest, state in
            Version(
                id: id, package: package, name: version, state: state, manifest: manifest, attributes: ["": "x"], created: time, creator: "ann",
                revision: Revision(.max))
        }
        facts.assets = [
            Asset(
                id: id, path: try #require(AssetPath("a/b")), blob: blob, size: 9,
                digests: DigestAlgorithm.allCases.map { Digest.of($0, [1]) }, contentType: "text/plain", package: package, version: version,
                created: time, creator: ""),
            Asset(id: id, path: try #require(AssetPath("c")), blob: blob, size: 0, contentType: "", created: time, creator: "x"),
        ]
        facts.tags = [Tag(package: package, name: try #require(TagName("latest")), version: version, updated: time, revision: Revision(1))]
        facts.links = [Link(relation: "r", target: "t\u{0}", package: package, version: version, payload: [1, 2])]
        facts.listed = [
            ListedFile(
                path: try #require(AssetPath("p/q.whl")), url: "https://example.org/q.whl", digests: [Digest.of(.md5, [2])], size: 7,
                package: package,
                version: version, attributes: ["yanked": ""], uploaded: time),
            ListedFile(path: try #require(AssetPath("p/r")), url: "", digests: [], size: nil, package: package, version: nil),
        ]
        return facts
    }

    @Test("facts decode to what they were") func roundTrip() throws {
        let facts = try facts()
        #expect(try FactsCoding.decode(FactsCoding.encode(facts)) == facts)
        #expect(FactsCoding.encode(Facts()) == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    @Test("equal facts are equal bytes") func deterministic() throws {
        var again = try facts()
        again.packages[0].attributes = [:]
        for (key, value) in [("b", "2"), ("a", "1")] { again.packages[0].attributes[key] = value }
        #expect(FactsCoding.encode(again) == FactsCoding.encode(try facts()))
    }

    @Test("a block cut short, lengthened or of another format is corrupt") func damage() throws {
        let bytes = FactsCoding.encode(try facts())
        for count in bytes.indices {
            let error = #expect(throws: RegistryError.self) { try FactsCoding.decode(Array(bytes[..<count])) }
            #expect(error?.code == .corrupt)
        }
        #expect(throws: RegistryError.self) { try FactsCoding.decode(bytes + [0]) }
        #expect(throws: RegistryError.self) { try FactsCoding.decode([2] + bytes.dropFirst()) }
    }
}
