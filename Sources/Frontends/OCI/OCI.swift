// OCI: images and artifacts as docker, podman, skopeo, oras and helm see them (OCI distribution-spec 1.1, with Docker's token endpoint).
// An image is a package, a manifest a version named by its digest, a tag a tag; a manifest's subject is a link. Bytes lie at
// `<image>/manifests/<digest>` and `<image>/blobs/<digest>`; a tag is a row, never a path. Nothing here follows a URL found in a manifest.

public import Core
public import FrontendKit
import HTTPTypes

/// The OCI distribution protocol under `/v2`. The first segment of a name is the repository's key, the rest the image; a name of one
/// segment means the image that is called like the repository.
public struct OCIFrontend: Frontend {
    public let format = Format(
        name: "oci", aliases: ["docker", "podman", "buildx", "oras", "wasm_oci", "helm_oci"], mounts: ["/v2"], givesTokens: true)
    public let routes: [Route]

    public init() {
        routes = [
            .mounted([.get, .head], "/", OCIFrontend.base),  // end-1
            .mounted([.get, .post], "/token", OCIFrontend.token),
            .mounted([.get, .head], "/_catalog[/]", OCIFrontend.catalog),
            .file("{image*}/blobs/{digest}", package: OCIFrontend.package, fields: OCIFrontend.digestField, OCIFrontend.blob),  // end-2
            .file(
                "{image*}/manifests/{reference}", package: OCIFrontend.package, freshness: .pointer, fields: OCIFrontend.digestField,
                OCIFrontend.manifest),  // end-3
            .action(.post, "{image*}/blobs/uploads[/]", needs: .write, OCIFrontend.startUpload),  // end-4a, 4b, 11
            .action(.patch, "{image*}/blobs/uploads/{upload}", needs: .write, OCIFrontend.appendChunk),  // end-5
            .action(.put, "{image*}/blobs/uploads/{upload}", needs: .write, OCIFrontend.completeUpload),  // end-6
            .action(.put, "{image*}/manifests/{reference}", needs: .write, OCIFrontend.putManifest),  // end-7
            .answer("{image*}/tags/list[/]", OCIFrontend.tags),  // end-8a, 8b
            .action(.delete, "{image*}/manifests/{reference}", needs: .delete, OCIFrontend.deleteManifest),  // end-9
            .action(.delete, "{image*}/blobs/{digest}", needs: .delete, OCIFrontend.deleteBlob),  // end-10
            .answer("{image*}/referrers/{subject}", OCIFrontend.referrers),  // end-12a, 12b
            .answer("{image*}/blobs/uploads/{upload}", needs: .write, OCIFrontend.uploadStatus),  // end-13
            .action(.delete, "{image*}/blobs/uploads/{upload}", needs: .write, OCIFrontend.cancelUpload),
        ]
    }

    public func render(_ view: View, from facts: Facts, in context: RenderContext, into page: inout Page) throws(RegistryError) {
        throw RegistryError(.notFound, subject: .request, reason: "OCI has no stored documents: \(view.identity)")
    }

    /// A docker token is good for the images it names, not for their repository. A name of one segment is an image, too.
    public func tokenName(of match: Match) -> String? { match["image"].isEmpty ? match.repository?.text : match["image"] }

    public func reply(to failure: RegistryError, for request: RequestHead, in context: ErrorContext) -> Reply {
        OCIErrors.reply(to: failure, for: request, in: context)
    }

    // MARK: Pull

    static func package(_ match: Match) throws(RegistryError) -> PackageName? { try Image(match).name.package }

    static func blob(_ match: Match) throws(RegistryError) -> FileTarget {
        let image = try Image(match)
        return .path(image.name.path(of: .blob, try Digest(oci: match["digest"])))
    }

    static func manifest(_ match: Match) throws(RegistryError) -> FileTarget {
        let image = try Image(match)
        switch try Reference(existing: match["reference"]) {
        case .digest(let digest): return .path(image.name.path(of: .manifest, digest))
        case .tag(let tag):
            let name = image.name
            return .tagged(name.package, tag, named: name.path(of: tag)) { version in
                Digest(parsing: version.text).map { name.path(of: .manifest, $0) }
            }
        }
    }

    /// The digest the content is known by here: the last segment of its path, unless a remote keeps it under a tag.
    static func digestField(_ asset: Asset) -> HTTPFields {
        let name = String(asset.path.fileName)
        return [.dockerContentDigest: name.contains(":") ? name : asset.blob.description]
    }
}

extension HTTPField.Name {
    static let dockerContentDigest = named("Docker-Content-Digest")
    static let dockerDistributionAPIVersion = named("Docker-Distribution-API-Version")
    static let dockerUploadUUID = named("Docker-Upload-UUID")
    static let ociSubject = named("OCI-Subject")
    static let ociTag = named("OCI-Tag")
    static let ociFiltersApplied = named("OCI-Filters-Applied")
    static let link = named("Link")

    private static func named(_ text: String) -> HTTPField.Name {
        guard let name = HTTPField.Name(text) else { preconditionFailure("not a field name: \(text)") }
        return name
    }
}
