import Core
import FrontendKit
import HTTPTypes
import Parsing
import TestSupport
import Testing

@testable import OCI

@Suite("OCI manifests") struct ManifestTests {
    static let index = "application/vnd.oci.image.index.v1+json"
    static let config = Bench.descriptor(Bench.config, Bench.configType)
    static let zero = "sha256:" + String(repeating: "0", count: 64)

    struct Hostile: Sendable, CustomTestStringConvertible {
        let why: String
        let text: String
        var type: String? = nil
        var testDescription: String { why }
    }

    static let hostile: [Hostile] = [
        Hostile(why: "empty", text: ""),
        Hostile(why: "not JSON", text: "manifest"),
        Hostile(why: "not an object", text: "[]"),
        Hostile(why: "cut off", text: String(decoding: Bench.manifest().dropLast(3), as: UTF8.self)),
        Hostile(why: "a name given twice", text: #"{"schemaVersion":2,"config":\#(config),"layers":[],"layers":[]}"#),
        Hostile(why: "no schemaVersion", text: #"{"config":\#(config),"layers":[]}"#),
        Hostile(why: "schema 1", text: #"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[],"history":[]}"#),
        Hostile(why: "schema 1 dressed as 2", text: #"{"schemaVersion":2,"config":\#(config),"layers":[],"fsLayers":[]}"#),
        Hostile(why: "a manifest that is an index too", text: #"{"schemaVersion":2,"config":\#(config),"layers":[],"manifests":[]}"#),
        Hostile(
            why: "a manifest by name, index by content",
            text: #"{"schemaVersion":2,"mediaType":"\#(Bench.ociManifest)","config":\#(config),"layers":[],"manifests":[]}"#),
        Hostile(why: "an index with layers", text: #"{"schemaVersion":2,"mediaType":"\#(index)","manifests":[],"layers":[]}"#),
        Hostile(why: "an index served as a manifest", text: #"{"schemaVersion":2,"manifests":[]}"#, type: Bench.ociManifest),
        Hostile(why: "layers in another spelling", text: #"{"schemaVersion":2,"config":\#(config),"layers":[],"Layers":[]}"#),
        Hostile(
            why: "a digest in two spellings",
            text: #"{"schemaVersion":2,"config":{"mediaType":"a","digest":"\#(zero)","Digest":"\#(zero)","size":1},"layers":[]}"#),
        Hostile(
            why: "another Content-Type", text: String(decoding: Bench.manifest(), as: UTF8.self),
            type: "application/vnd.docker.distribution.manifest.v2+json"),
        Hostile(why: "an unknown type", text: #"{"schemaVersion":2,"mediaType":"application/vnd.oci.artifact.manifest.v1+json"}"#),
        Hostile(
            why: "Docker's manifest that does not say so", text: #"{"schemaVersion":2,"config":\#(config),"layers":[]}"#,
            type: "application/vnd.docker.distribution.manifest.v2+json"),
        Hostile(why: "mediaType is a number", text: #"{"schemaVersion":2,"mediaType":3,"config":\#(config),"layers":[]}"#),
        Hostile(why: "no config", text: #"{"schemaVersion":2,"layers":[]}"#),
        Hostile(why: "no layers", text: #"{"schemaVersion":2,"config":\#(config)}"#),
        Hostile(why: "layers is an object", text: #"{"schemaVersion":2,"config":\#(config),"layers":{}}"#),
        Hostile(why: "a layer is a string", text: #"{"schemaVersion":2,"config":\#(config),"layers":["x"]}"#),
        Hostile(why: "a negative size", text: #"{"schemaVersion":2,"config":{"mediaType":"a","digest":"\#(zero)","size":-1},"layers":[]}"#),
        Hostile(why: "a size beyond 64 bits", text: #"{"schemaVersion":2,"config":{"mediaType":"a","digest":"\#(zero)","size":1e99},"layers":[]}"#),
        Hostile(why: "a subject without digest", text: #"{"schemaVersion":2,"config":\#(config),"layers":[],"subject":{}}"#),
        Hostile(why: "annotations of numbers", text: #"{"schemaVersion":2,"config":\#(config),"layers":[],"annotations":{"a":1}}"#),
        Hostile(
            why: "deep nesting", text: #"{"schemaVersion":2,"x":"# + String(repeating: "[", count: 500) + String(repeating: "]", count: 500) + "}"),
    ]

    @Test("a document that is no manifest, or could be read as two things, is refused and nothing is stored", arguments: hostile)
    func refused(_ hostile: Hostile) async {
        let bench = Bench()
        await bench.image("lib/app", tag: "good")
        let before = bench.harness.registry.repository("lib")?.paths
        let answer = await bench.put(Array(hostile.text.utf8), to: "lib/app", as: "bad", type: hostile.type)
        #expect(answer.outcome == "400 MANIFEST_INVALID")
        #expect(bench.harness.registry.repository("lib")?.paths == before)
        #expect(await bench.harness.send(.get, "/v2/lib/app/manifests/bad").status == 404)
    }

    @Test(
        "a descriptor with a bad digest is named as such", arguments: ["", "sha256:00", "md5:\(String(repeating: "0", count: 32))", "SHA256:\(zero)"])
    func badDigest(_ digest: String) async {
        let text = #"{"schemaVersion":2,"config":{"mediaType":"a","digest":"\#(digest)","size":1},"layers":[]}"#
        let outcome = await Bench().put(Array(text.utf8), to: "lib/app", as: "bad", type: nil).outcome
        #expect(outcome == (digest.isEmpty ? "400 MANIFEST_INVALID" : "400 DIGEST_INVALID"))
    }

    @Test("a manifest needs its blobs, an index its manifests, in the same image")
    func references() async {
        let bench = Bench()
        await bench.push(Bench.config, to: "lib/app")
        await bench.push(Bench.layer, to: "lib/other")
        let manifest = Bench.manifest()
        let missing = await bench.put(manifest, to: "lib/app", as: "v1")
        #expect(missing.outcome == "400 MANIFEST_BLOB_UNKNOWN")
        #expect(missing.text.contains(#""detail":{"digest":"\#(Bench.sha256(Bench.layer))"}"#))
        let list = Bench.index(of: [manifest])
        #expect(await bench.put(list, to: "lib/app", as: "list", type: Self.index).outcome == "400 MANIFEST_BLOB_UNKNOWN")
        await bench.image("lib/app", tag: "v1")
        #expect(await bench.put(list, to: "lib/app", as: "list", type: Self.index).status == 201)
        #expect(await bench.harness.send(.get, "/v2/lib/app/manifests/list").field("content-type") == Self.index)
    }

    @Test("a non-distributable layer that says where it is need not be here; without a URL it must")
    func foreignLayers() async {
        let bench = Bench()
        await bench.push(Bench.config, to: "lib/app")
        func manifest(_ mediaType: String, _ more: String) -> [UInt8] {
            let layer = #"{"mediaType":"\#(mediaType)","digest":"\#(Self.zero)","size":1\#(more)}"#
            return Array(#"{"schemaVersion":2,"config":\#(Self.config),"layers":[\#(layer)]}"#.utf8)
        }
        let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        let urls = #","urls":["https://example.com/layer"]"#
        #expect(await bench.put(manifest(foreign, urls), to: "lib/app", as: "v1").status == 201)
        #expect(await bench.put(manifest(foreign, ""), to: "lib/app", as: "v2").outcome == "400 MANIFEST_BLOB_UNKNOWN")
        #expect(await bench.put(manifest(Bench.layerType, urls), to: "lib/app", as: "v3").outcome == "400 MANIFEST_BLOB_UNKNOWN")
    }

    @Test("what a manifest says of itself is kept with its version")
    func facts() async throws {
        let bench = Bench()
        let manifest = Bench.manifest(#","artifactType":"application/sig""#)
        await bench.image("lib/app", tag: "v1", manifest)
        let package = try #require(PackageName("app"))
        let name = try #require(VersionName(Bench.sha256(manifest)))
        let version = try #require(bench.harness.registry.repository("lib")?.version(name, of: package))
        #expect(version.manifest == .inline(manifest, mediaType: Bench.ociManifest))
        #expect(
            version.attributes == [
                "mediaType": Bench.ociManifest, "artifactType": "application/sig", "config": Bench.sha256(Bench.config), "size": "\(manifest.count)",
            ])
        let large = Bench.manifest(#","annotations":{"a":"\#(String(repeating: "x", count: 40_000))"}"#)
        await bench.image("lib/app", tag: "v2", large)
        let second = try #require(VersionName(Bench.sha256(large)))
        guard case .blob(let id, let size, _) = bench.harness.registry.repository("lib")?.version(second, of: package)?.manifest else {
            Issue.record("a large manifest is a blob")
            return
        }
        #expect((id.description, size) == (Bench.sha256(large), Int64(large.count)))
    }

    @Test("REST puts become the same releases, and other paths are refused")
    func adopt() async throws {
        let frontend = OCIFrontend()
        let bench = Bench()
        let repository = try #require(bench.harness.registry.repository("lib"))
        let port = MemoryPort(bench.harness.registry, repository)
        func put(_ path: String, _ bytes: [UInt8], _ type: String? = "application/octet-stream") async throws(RegistryError) -> String {
            guard let path = AssetPath(path) else { return "no path" }
            let blob = MemoryStaged(bytes)
            let adoption = try await frontend.adopt(path, blob, contentType: type, in: port)
            try await port.commit(adoption.edit, staged: [blob] + adoption.staged)
            return adoption.path.text
        }
        for bytes in [Bench.config, Bench.layer] {
            #expect(try await put("team/app/blobs/\(Bench.sha256(bytes))", bytes) == "team/app/blobs/\(Bench.sha256(bytes))")
        }
        #expect(try await put("team/app/blobs/\(Bench.sha512(Bench.layer))", Bench.layer) == "team/app/blobs/\(Bench.sha512(Bench.layer))")
        let manifest = Bench.manifest()
        #expect(try await put("team/app/manifests/v1", manifest) == "team/app/manifests/\(Bench.sha256(manifest))")
        #expect(await bench.harness.send(.get, "/v2/lib/team/app/manifests/v1").body == manifest)

        for path in ["app/readme.txt", "app/blobs/v1", "manifests/v1", "UPPER/x/blobs/\(Bench.sha256(Bench.layer))", "a/tags/list"] {
            await #expect { _ = try await put(path, Bench.layer) } throws: { ($0 as? RegistryError)?.code == .invalid }
        }
        await #expect { _ = try await put("app/blobs/\(Bench.sha256(Bench.config))", Bench.layer) } throws: {
            ($0 as? RegistryError)?.code == .digestMismatch
        }
    }
}
