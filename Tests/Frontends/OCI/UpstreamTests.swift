import Core
import FrontendKit
import Testing

@testable import OCI

/// Where upstreams keep things, and what their lists teach.
@Suite("OCI upstreams") struct UpstreamTests {
    let frontend = OCIFrontend()
    static let digest = "sha256:" + String(repeating: "ab", count: 32)

    func url(_ path: String, at upstream: String = "https://registry.example") throws -> String? {
        let path = try #require(AssetPath(path))
        return frontend.upstream(for: .file(path), given: Facts(), at: Upstream(url: upstream))?.url
    }

    @Test("manifests and blobs are asked for where the specification has them; on Docker Hub a one-segment name is under library/")
    func places() throws {
        #expect(try url("a/b/manifests/1.0") == "v2/a/b/manifests/1.0")
        #expect(try url("a/b/blobs/\(Self.digest)") == "v2/a/b/blobs/\(Self.digest)")
        #expect(try url("alpine/manifests/latest") == "v2/alpine/manifests/latest")
        #expect(try url("alpine/manifests/latest", at: "https://registry-1.docker.io/v2/") == "v2/library/alpine/manifests/latest")
        #expect(try url("team/app/manifests/latest", at: "https://registry-1.docker.io") == "v2/team/app/manifests/latest")
        #expect(try url("a/b/other/1.0") == nil)
    }

    @Test("content is expected to have the digest it is asked for by; what a tag names is found by its digest too")
    func promises() throws {
        let digest = try #require(Digest(parsing: Self.digest))
        let blobPath = try #require(AssetPath("a/blobs/\(digest)"))
        #expect(frontend.upstream(for: .file(blobPath), given: Facts())?.expected == [digest])
        let tagPath = try #require(AssetPath("a/manifests/1.0"))
        let tag = try #require(frontend.upstream(for: .file(tagPath), given: Facts()))
        let blob = try #require(BlobID(digest))
        #expect(tag.expected == [])
        #expect(tag.alsoAt?(blob)?.text == "a/manifests/\(digest)")
        #expect(tag.accept?.contains("application/vnd.oci.image.index.v1+json") == true)
    }

    @Test("lists of tags and referrers are learned; rows that are none are left out, lists that are none refused")
    func lists() throws {
        let name = try #require(PackageName("a/b"))
        func learned(_ scope: Scope, _ text: String) throws -> Facts {
            let view = try #require(frontend.source(of: scope))
            var facts = Facts()
            try frontend.learn(
                view, from: Document(bytes: Array(text.utf8), contentType: "application/json", url: "https://registry.example/"), into: &facts)
            return facts
        }
        let tags = try learned(.tags(name), #"{"name":"a/b","tags":["1.0","latest","1.0","not a tag",7]}"#)
        #expect(tags.tags.map(\.name.text) == ["1.0", "latest"])
        #expect(tags.packages.map(\.name) == [name])
        #expect(try learned(.tags(name), #"{"name":"a/b","tags":null}"#).tags == [])
        let scope = Scope.linked(name, relation: "subject", target: Self.digest)
        let row = #"{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"\#(Self.digest)","size":7,"artifactType":"x/y","z":1}"#
        let referrers = try learned(scope, #"{"schemaVersion":2,"manifests":[\#(row),{"digest":"sha256:no"},{"mediaType":"text/html"}]}"#)
        #expect(referrers.links.map(\.version.text) == [Self.digest])
        #expect(
            referrers.links.map { String(decoding: $0.payload, as: UTF8.self) } == [
                #"{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"\#(Self.digest)","size":7,"artifactType":"x/y"}"#
            ])
        for text in ["[]", "{", #""x""#] {
            #expect(throws: RegistryError.self) { try learned(.tags(name), text) }
            #expect(throws: RegistryError.self) { try learned(scope, text) }
        }
    }
}
