import Core
import FrontendKit
import Parsing

// A package becomes a release: its stanza is the version's manifest, byte for byte what the indexes say of it.

enum Stanza {
    static let mediaType = "text/plain; charset=utf-8"
    /// What we compute; whatever a control file claims under these names is dropped.
    private static let ours: Set<String> = ["filename", "size", "md5sum", "sha1", "sha256", "sha512", "status", "directory"]
    private static let fileDigests: [(field: String, algorithm: DigestAlgorithm)] = [("MD5sum", .md5), ("SHA1", .sha1), ("SHA256", .sha256)]

    static func of(_ deb: DebFile, at path: AssetPath, _ blob: any StagedBytes) -> Deb822 {
        var stanza = Deb822(deb.control.fields.filter { !ours.contains($0.name.lowercased()) })
        stanza["Filename"] = path.text
        stanza["Size"] = String(blob.size)
        for (field, algorithm) in fileDigests { stanza[field] = blob.digest(algorithm)?.hex }
        return stanza
    }

    /// With a line feed at its end.
    static func closed(_ raw: ArraySlice<UInt8>) -> [UInt8] { raw.last == 0x0A ? Array(raw) : Array(raw) + [0x0A] }
}

/// One release on its way into the catalog: what it is, where its file lies, and where it is listed.
struct Release {
    var package: PackageName
    var version: VersionName
    var stanza: Deb822
    var attributes: [String: String]
    var distributions: [String]
    /// The files, first the one that the release is.
    var files: [AssetDraft]
    /// Bytes that the edit names beside what was uploaded.
    var staged: [any StagedBytes] = []

    static func versionName(_ version: DebianVersion, _ suffix: String, _ fileName: String) throws(RegistryError) -> VersionName {
        guard let name = VersionName("\(version)_\(suffix)") else { throw DebFile.refused(fileName, "its version is too long") }
        return name
    }

    init(
        _ deb: DebFile, at path: AssetPath, in component: String, _ distributions: [String], _ blob: any StagedBytes
    ) throws(RegistryError) {
        package = deb.package
        version = try Release.versionName(deb.version, deb.architecture, String(path.fileName))
        stanza = Stanza.of(deb, at: path, blob)
        self.distributions = distributions
        attributes = [
            Attribute.kind: (deb.isUdeb ? Kind.udeb : .deb).rawValue, Attribute.version: deb.version.description,
            Attribute.architecture: deb.architecture, Attribute.component: component, Attribute.path: path.text,
        ]
        attributes[Attribute.section] = deb.control["Section"]
        files = [
            AssetDraft(
                path: path, blob: blob.id, size: blob.size, digests: blob.digests, contentType: "application/vnd.debian.binary-package",
                package: package, version: version)
        ]
    }

    /// - Parameter files: the `.dsc` first, then what it lists, all in one directory.
    init(
        _ source: SourcePackage, dsc: ListedSum, in component: String, _ distributions: [String],
        files: [(path: AssetPath, blob: BlobID, size: Int64, digests: [Digest])]
    ) throws(RegistryError) {
        package = source.name
        version = try Release.versionName(source.version, "source", dsc.name)
        let path = files[0].path
        stanza = source.stanza(in: path.segments.dropLast().joined(separator: "/"), dsc: dsc)
        self.distributions = distributions
        attributes = [
            Attribute.kind: Kind.dsc.rawValue, Attribute.version: source.version.description, Attribute.architecture: "source",
            Attribute.component: component, Attribute.path: path.text,
        ]
        let version = version
        let package = package
        self.files = files.map { file in
            AssetDraft(
                path: file.path, blob: file.blob, size: file.size, digests: file.digests,
                contentType: file.path.text.hasSuffix(".dsc") ? "text/plain; charset=utf-8" : "application/octet-stream", package: package,
                version: version)
        }
    }

    /// The edit that makes it so. Version, files and distributions, whole or not at all.
    mutating func edit(in workshop: any Workshop) async throws(RegistryError) -> Edit {
        let bytes = Array(stanza.text.utf8)
        var manifest = Manifest.inline(bytes, mediaType: Stanza.mediaType)
        if bytes.count > Manifest.inlineBytesMax {
            guard bytes.count <= Body.collectBytesMax else {
                throw DebFile.refused(files[0].path.text, "its control data has more than \(Body.collectBytesMax) bytes")
            }
            let blob = try await workshop.stage(bytes)
            staged.append(blob)
            manifest = .blob(blob.id, size: blob.size, mediaType: Stanza.mediaType)
        }
        let package = package
        let version = version
        // First the files: a conflict is about them.
        return Edit(
            mutations: [.putVersion(package, version, manifest: manifest, attributes: attributes)]
                + files.map { .putAsset($0, overwrite: .never) }
                + distributions.map { .putLink(Link(relation: distributionRelation, target: $0, package: package, version: version)) })
    }
}
