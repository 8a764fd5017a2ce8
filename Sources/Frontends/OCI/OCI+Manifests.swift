public import Core
public import FrontendKit
import HTTPTypes
import NIOCore
import Parsing
import Synchronization

// distribution-spec 1.1: pushing, tagging and deleting manifests, and bytes at a path becoming one.
extension OCIFrontend {
    /// end-7. A tag moves with the manifest it is put by; `?tag=` (development spec) moves more of them with a push by digest.
    static func putManifest(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let image = try Image(request.match)
        let reference = try Reference(new: request.match["reference"])
        var tags: [TagName] = []
        for text in request.head.query.all("tag").prefix(tagsMax) { tags.append(try Reference.newTag(text)) }

        let body = try ManifestBody.limit(request.body)
        let parts = try await port.receive(body, as: .raw, digests: reference.digests)
        guard case .staged(let blob)? = parts.first?.content else { throw emptyManifest }
        let contentType = request.head.fields[.contentType].flatMap(bareMediaType)
        let release = try await release(of: image.name, reference, tags, blob, contentType: contentType, in: port)
        try await port.commit(release.edit, staged: [blob])

        var fields: HTTPFields = [
            .location: image.link("manifests/\(release.digest)"), .dockerContentDigest: release.digest.description,
        ]
        if let subject = release.subject { fields[.ociSubject] = subject.description }
        for tag in tags { fields.append(HTTPField(name: .ociTag, value: tag.text)) }
        return .status(.created, fields)
    }

    /// end-9. A digest takes the manifest with its tags and links, a tag only itself.
    static func deleteManifest(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let package = try Image(request.match).name.package
        switch try Reference(existing: request.match["reference"]) {
        case .tag(let tag): try await port.commit(Edit(mutations: [.deleteTag(package, tag)]), staged: [])
        case .digest(let digest): try await port.commit(Edit(mutations: [.deleteVersion(package, try version(digest))]), staged: [])
        }
        return .status(.accepted)
    }

    /// What REST, migration and replication put: a manifest with what it needs already there, or a blob.
    public func adopt(
        _ path: AssetPath, _ blob: any StagedBytes, contentType: String?, in workshop: any Workshop
    ) async throws(RegistryError) -> Adoption {
        guard let place = ContentPath(path) else {
            throw RegistryError(
                .invalid, subject: .path(path.text),
                reason: "OCI keeps <image>/blobs/<digest>, <image>/manifests/<digest> and <image>/manifests/<tag>")
        }
        switch (place.kind, place.reference) {
        case (.blob, .digest(let digest)):
            try await OCIFrontend.verify(blob, is: digest, in: workshop)
            return Adoption(edit: OCIFrontend.blobEdit(place.image, digest, blob), path: path)
        default:
            // A generic type is what tools send when they do not know: the manifest itself says what it is.
            let stated = contentType.flatMap(bareMediaType).flatMap { $0.hasPrefix("application/vnd.") ? $0 : nil }
            let release = try await OCIFrontend.release(of: place.image, place.reference, [], blob, contentType: stated, in: workshop)
            return Adoption(edit: release.edit, path: place.image.path(of: .manifest, release.digest))
        }
    }

    struct Release {
        let edit: Edit
        let digest: Digest
        let subject: Digest?
    }

    /// A checked manifest as the change that releases it.
    private static func release(
        of image: ImageName, _ reference: Reference, _ moreTags: [TagName], _ blob: any StagedBytes, contentType: String?,
        in workshop: any Workshop
    ) async throws(RegistryError) -> Release {
        guard blob.size > 0 else { throw emptyManifest }
        guard blob.size <= Int64(ImageManifest.bytesMax) else { throw ImageManifest.tooLarge }
        var digest = blob.id.digest
        if case .digest(let wanted) = reference {
            try await verify(blob, is: wanted, in: workshop)
            digest = wanted
        }
        let (bytes, manifest) = try await workshop.offload { () throws(RegistryError) in
            let bytes = try blob.content().bytes(at: 0, count: Int(blob.size))
            return (bytes, try ImageManifest(parsing: bytes, contentType: contentType))
        }
        let version = try version(digest)
        let preconditions =
            manifest.blobs.map { Precondition.present(image.path(of: .blob, $0)) }
            + manifest.manifests.map { Precondition.present(image.path(of: .manifest, $0)) }

        let kept: Manifest =
            bytes.count <= Manifest.inlineBytesMax
            ? .inline(bytes, mediaType: manifest.mediaType) : .blob(blob.id, size: blob.size, mediaType: manifest.mediaType)
        var attributes = ["mediaType": manifest.mediaType, "size": String(blob.size)]
        attributes["artifactType"] = manifest.artifactType
        attributes["config"] = manifest.config?.description
        var mutations: [Mutation] = [
            .putVersion(image.package, version, manifest: kept, attributes: attributes),
            .putAsset(draft(image, .manifest, digest, blob, contentType: manifest.mediaType, version: version), overwrite: .allowed),
        ]
        if let subject = manifest.subject {
            let descriptor = manifest.descriptor(digest: digest, size: blob.size).encoded()
            mutations.append(
                .putLink(Link(relation: subjectRelation, target: subject.description, package: image.package, version: version, payload: descriptor)))
        }
        var tags = moreTags
        if case .tag(let tag) = reference { tags.append(tag) }
        mutations += tags.map { .putTag(image.package, $0, version) }
        return Release(edit: Edit(preconditions: preconditions, mutations: mutations), digest: digest, subject: manifest.subject)
    }

    /// The link from a manifest to its subject's digest.
    static let subjectRelation = "subject"
    private static let tagsMax = 100

    static func version(_ digest: Digest) throws(RegistryError) -> VersionName {
        guard let version = VersionName(digest.description) else {
            throw RegistryError(.internal, subject: .blob(digest.hex), reason: "a digest is a name")
        }
        return version
    }

    private static var emptyManifest: RegistryError {
        RegistryError(.invalid, subject: .field("manifest"), reason: "the manifest is empty")
    }
}

extension Reference {
    /// What must be computed while the bytes arrive.
    var digests: DigestSet {
        if case .digest(let digest) = self { DigestSet([digest.algorithm]) } else { .sha256 }
    }
}

/// `type/subtype` without parameters, in lower case; nil for an empty field.
private func bareMediaType(_ field: String) -> String? {
    let type = field.prefix { $0 != ";" }.filter { $0 != " " && $0 != "\t" }.lowercased()
    return type.isEmpty ? nil : type
}

/// A body that ends in `tooLarge` once it is longer than a manifest may be: an unannounced length must not fill the store.
private final class ManifestBody: BodySource {
    private let body: Body
    private let received = Mutex(0)

    private init(_ body: Body) { self.body = body }

    static func limit(_ body: Body) throws(RegistryError) -> Body {
        if let length = body.length {
            guard length <= Int64(ImageManifest.bytesMax) else { throw ImageManifest.tooLarge }
            return body
        }
        return Body(length: nil, source: ManifestBody(body))
    }

    func next() async throws(RegistryError) -> ByteBuffer? {
        guard let slice = try await body.next() else { return nil }
        let total = received.withLock { count in
            count += slice.readableBytes
            return count
        }
        guard total <= ImageManifest.bytesMax else { throw ImageManifest.tooLarge }
        return slice
    }
}
