import Core
import FrontendKit
import HTTPTypes
import OCI
import TestSupport

/// An OCI registry of two repositories in memory, and the pieces of an image.
struct Bench {
    let harness = FrontendHarness(OCIFrontend(), repositories: ["lib", "other"])

    static let config = Array("{}".utf8)
    static let layer = Array("layer one".utf8)

    static func sha256(_ bytes: [UInt8]) -> String { Digest.of(.sha256, bytes).description }
    static func sha512(_ bytes: [UInt8]) -> String { Digest.of(.sha512, bytes).description }

    static func descriptor(_ bytes: [UInt8], _ mediaType: String, more: String = "") -> String {
        #"{"mediaType":"\#(mediaType)","digest":"\#(sha256(bytes))","size":\#(bytes.count)\#(more)}"#
    }

    static let ociManifest = "application/vnd.oci.image.manifest.v1+json"
    static let ociIndex = "application/vnd.oci.image.index.v1+json"
    static let configType = "application/vnd.oci.image.config.v1+json"
    static let layerType = "application/vnd.oci.image.layer.v1.tar+gzip"

    /// An image of one layer; `more` are further members, with their comma.
    static func manifest(_ more: String = "") -> [UInt8] {
        let members = [
            #""schemaVersion":2"#, #""mediaType":"\#(ociManifest)""#, #""config":\#(descriptor(config, configType))"#,
            #""layers":[\#(descriptor(layer, layerType))]"#,
        ]
        return Array("{\(members.joined(separator: ","))\(more)}".utf8)
    }

    static func index(of manifests: [[UInt8]], _ more: String = "") -> [UInt8] {
        let list = manifests.map { descriptor($0, ociManifest) }.joined(separator: ",")
        return Array(#"{"schemaVersion":2,"mediaType":"\#(ociIndex)","manifests":[\#(list)]\#(more)}"#.utf8)
    }

    @discardableResult
    func push(_ bytes: [UInt8], to image: String) async -> FrontendHarness.Answer {
        await harness.send(.post, "/v2/\(image)/blobs/uploads/?digest=\(Bench.sha256(bytes))", body: bytes)
    }

    func put(
        _ manifest: [UInt8], to image: String, as reference: String, type: String? = Bench.ociManifest
    ) async -> FrontendHarness.Answer {
        await harness.send(.put, "/v2/\(image)/manifests/\(reference)", type.map { [.contentType: $0] } ?? [:], body: manifest)
    }

    /// The blobs and the manifest, under a tag.
    @discardableResult
    func image(_ image: String, tag: String, _ manifest: [UInt8] = Bench.manifest()) async -> FrontendHarness.Answer {
        await push(Bench.config, to: image)
        await push(Bench.layer, to: image)
        return await put(manifest, to: image, as: tag)
    }

    func get(_ target: String, as who: MemoryCaller = .publisher) async -> String {
        await harness.send(.get, "/v2/\(target)", as: who).transcript
    }
}

extension FrontendHarness.Answer {
    /// The status and the code of the first error: `404 BLOB_UNKNOWN`.
    var outcome: String {
        let parts = text.split(separator: "\"")
        let code = parts.firstIndex(of: "code").map { $0 + 2 }.flatMap { parts.indices.contains($0) ? String(parts[$0]) : nil }
        return code.map { "\(status) \($0)" } ?? "\(status)"
    }

    func field(_ name: String) -> String? { HTTPField.Name(name).flatMap { fields[$0] } }
}
