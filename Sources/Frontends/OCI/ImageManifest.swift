import Core
import Parsing

/// The media types a manifest may have here.
enum MediaType {
    static let ociManifest = "application/vnd.oci.image.manifest.v1+json"
    static let ociIndex = "application/vnd.oci.image.index.v1+json"
    static let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
    static let dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"

    static let manifests = [ociManifest, ociIndex, dockerManifest, dockerList]

    /// Layers that may stay where their URLs point (image-spec 1.1, "Non-distributable layers").
    static let nondistributable: Set<String> = [
        "application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    ]
}

/// A manifest or index as the registry reads it: what it is, what it needs, what it refers to.
///
/// The type is a function of the bytes, so one digest can never be served as two types (CVE-2021-41190): a document that could be read as
/// manifest and as index is refused, and so are names that differ from the specified ones in case only, which some readers take for them.
struct ImageManifest {
    static let bytesMax = 4 << 20

    let mediaType: String
    /// Of a referrer's descriptor: the manifest's own, else its config's media type.
    let artifactType: String?
    let annotations: JSON?
    let config: Digest?
    /// The image's blobs that must be there.
    let blobs: [Digest]
    /// The image's manifests that must be there.
    let manifests: [Digest]
    let subject: Digest?

    /// - Parameter contentType: as the client declared it; nil when it did not.
    /// - Throws: `invalid` for anything that is not one of the four types.
    init(parsing bytes: [UInt8], contentType: String?) throws(RegistryError) {
        guard bytes.count <= ImageManifest.bytesMax else { throw ImageManifest.tooLarge }
        guard let document = try JSON.parse(bytes, budget: Budget(bytes: ImageManifest.bytesMax, items: 200_000)).object else {
            throw refused("a manifest is a JSON object")
        }
        try refuseTwins(of: ImageManifest.members, in: document)
        guard document.given("schemaVersion")?.int == 2 else { throw refused("schemaVersion must be 2") }
        guard document["fsLayers"] == nil else { throw refused("manifests of schema 1 are not supported") }

        mediaType = try ImageManifest.mediaType(of: document, declared: contentType)
        annotations = try ImageManifest.annotations(of: document)
        subject = try document.given("subject").map { value throws(RegistryError) in try Descriptor(value, as: "subject").digest }
        let ownType = try document.text("artifactType")

        switch mediaType {
        case MediaType.ociManifest, MediaType.dockerManifest:
            guard document["manifests"] == nil else { throw refused("a manifest with \"manifests\" could be read as an index") }
            guard let value = document.given("config") else { throw refused("a manifest needs a config") }
            let config = try Descriptor(value, as: "config")
            let layers = try Descriptor.list(in: document, named: "layers")
            self.config = config.digest
            artifactType = ownType ?? config.mediaType
            blobs = ([config] + layers.filter { !$0.isElsewhere }).map(\.digest).unique()
            manifests = []
        default:
            guard document["config"] == nil, document["layers"] == nil else {
                throw refused("an index with \"config\" or \"layers\" could be read as a manifest")
            }
            let children = try Descriptor.list(in: document, named: "manifests")
            config = nil
            artifactType = ownType
            // image-spec: an index may list other things than manifests; they are blobs then.
            manifests = children.filter { MediaType.manifests.contains($0.mediaType) }.map(\.digest).unique()
            blobs = children.filter { !MediaType.manifests.contains($0.mediaType) }.map(\.digest).unique()
        }
    }

    /// The descriptor by which the referrers API lists this manifest.
    func descriptor(digest: Digest, size: Int64) -> JSON {
        .object(present: [
            "mediaType": .string(mediaType), "digest": .string(digest.description), "size": JSON(size),
            "artifactType": artifactType.map { .string($0) }, "annotations": annotations,
        ])
    }

    static var tooLarge: RegistryError {
        RegistryError(.tooLarge, subject: .request, reason: "a manifest may have at most \(bytesMax) bytes")
    }

    private static let members = [
        "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations", "fsLayers",
    ]

    private static func mediaType(of document: JSON.Object, declared: String?) throws(RegistryError) -> String {
        let stated = try document.text("mediaType")
        let looksLikeIndex = document["manifests"] != nil
        let mediaType = stated ?? (looksLikeIndex ? MediaType.ociIndex : MediaType.ociManifest)
        guard MediaType.manifests.contains(mediaType) else { throw refused("the media type \(mediaType) is not supported") }
        if let declared, declared != mediaType {
            throw refused("the Content-Type is \(declared), the manifest is \(mediaType)")
        }
        return mediaType
    }

    private static func annotations(of document: JSON.Object) throws(RegistryError) -> JSON? {
        guard let value = document.given("annotations") else { return nil }
        guard let object = value.object, object.members.allSatisfy({ $0.value.string != nil }) else {
            throw refused("annotations are an object of strings")
        }
        return object.isEmpty ? nil : value
    }
}

/// image-spec 1.1, "OCI Content Descriptors".
private struct Descriptor {
    static let members = ["mediaType", "digest", "size", "urls"]

    let mediaType: String
    let digest: Digest
    let urls: Int

    /// Whether the registry need not have the bytes: a non-distributable layer that says where they are.
    var isElsewhere: Bool { urls > 0 && MediaType.nondistributable.contains(mediaType) }

    init(_ value: JSON, as place: String) throws(RegistryError) {
        guard let object = value.object else { throw refused("\(place) is not a descriptor") }
        try refuseTwins(of: Descriptor.members, in: object)
        guard let mediaType = try object.text("mediaType"), !mediaType.isEmpty else { throw refused("\(place) has no mediaType") }
        guard let digest = try object.text("digest") else { throw refused("\(place) has no digest") }
        guard let size = object["size"]?.int64, size >= 0 else { throw refused("\(place) has no size") }
        self.mediaType = mediaType
        self.digest = try Digest(oci: digest)
        urls = object.given("urls")?.array?.count ?? 0
    }

    /// A nil slice of Go is written as null: no elements.
    static func list(in document: JSON.Object, named name: String) throws(RegistryError) -> [Descriptor] {
        guard let value = document[name] else { throw refused("\"\(name)\" is missing") }
        if value.isNull { return [] }
        guard let values = value.array else { throw refused("\"\(name)\" is not an array") }
        var result: [Descriptor] = []
        for (index, value) in values.enumerated() { result.append(try Descriptor(value, as: "\(name)[\(index)]")) }
        return result
    }
}

private func refused(_ reason: String) -> RegistryError { RegistryError(.invalid, subject: .field("manifest"), reason: reason) }

/// Go's JSON reader ignores case: `Layers` would be layers to clients and nothing to us.
private func refuseTwins(of names: [String], in object: JSON.Object) throws(RegistryError) {
    let lowered = Set(names.map { $0.lowercased() })
    for name in object.names where lowered.contains(name.lowercased()) && !names.contains(name) {
        throw refused("the member \"\(name)\" differs from a specified one in case only")
    }
}

extension JSON.Object {
    /// The member unless it is null.
    fileprivate func given(_ name: String) -> JSON? { self[name].flatMap { $0.isNull ? nil : $0 } }

    /// nil when absent or null.
    fileprivate func text(_ name: String) throws(RegistryError) -> String? {
        guard let value = given(name) else { return nil }
        guard let text = value.string else { throw refused("\"\(name)\" is not a string") }
        return text.isEmpty ? nil : text
    }
}

extension Array where Element: Hashable {
    /// The first of each, in order.
    fileprivate func unique() -> [Element] {
        var seen: Set<Element> = []
        return filter { seen.insert($0).inserted }
    }
}
