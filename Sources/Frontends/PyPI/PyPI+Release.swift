public import Core
public import FrontendKit
import Parsing

// A file becomes a release: what its own archive says decides under which name and version.

/// What a distribution file's name says: a wheel (PEP 427) or a source distribution (PEP 625, and the older spellings of it).
struct DistributionName: Sendable, Hashable {
    enum Kind: Sendable, Hashable { case wheel, sdist }

    let kind: Kind
    let project: String
    let version: PEP440Version

    /// nil for what an index does not serve.
    init?(_ fileName: String, of project: PackageName?) {
        if let wheel = WheelName(fileName) {
            (kind, self.project, version) = (.wheel, wheel.project, wheel.version)
        } else if let sdist = SdistName(fileName, of: project?.text) {
            (kind, self.project, version) = (.sdist, sdist.project, sdist.version)
        } else {
            return nil
        }
    }
}

/// A distribution file with the metadata its archive carries.
struct Distribution: Sendable {
    static let metadataBytesMax = 1 << 20

    let name: DistributionName
    let metadataBytes: [UInt8]
    let metadata: CoreMetadata
    let project: PackageName
    let version: VersionName

    /// Reads the metadata out of the archive and compares it with the file's name. Blocking.
    /// - Throws: `invalid` with what is wrong, in words for the one who uploads.
    init(fileName: String, reading bytes: any RandomAccessBytes) throws(RegistryError) {
        guard let shape = DistributionName(fileName, of: nil) else {
            throw Distribution.refused(
                fileName, "it is neither a wheel (name-version-python-abi-platform.whl) nor a source distribution (name-version.tar.gz)")
        }
        do throws(RegistryError) {
            metadataBytes = try shape.kind == .wheel ? Distribution.wheelMetadata(shape, bytes) : Distribution.sdistMetadata(fileName, bytes)
            metadata = try CoreMetadata.parse(metadataBytes)
        } catch {
            // A compression that no installer reads is the file's fault, not a wrong method.
            throw error.code == .invalid || error.code == .unsupported ? Distribution.refused(fileName, error.reason) : error
        }
        guard let stated = metadata["Name"], PEP503.isName(stated), let project = PackageName(PEP503.normalize(stated)) else {
            throw Distribution.refused(fileName, "its metadata has no valid Name")
        }
        guard let statedVersion = metadata["Version"], let parsed = PEP440Version(statedVersion), let version = VersionName(parsed.description) else {
            throw Distribution.refused(fileName, "its metadata has no valid Version (PEP 440)")
        }
        // Old names of source distributions can be split in more than one place: the project says where.
        name = DistributionName(fileName, of: project) ?? shape
        guard PEP503.normalize(name.project) == project.text else {
            throw Distribution.refused(fileName, "the file name says \(name.project), the metadata inside says Name: \(stated)")
        }
        guard name.version == parsed else {
            throw Distribution.refused(fileName, "the file name says \(name.version), the metadata inside says Version: \(statedVersion)")
        }
        self.project = project
        self.version = version
    }

    private static func wheelMetadata(_ name: DistributionName, _ bytes: any RandomAccessBytes) throws(RegistryError) -> [UInt8] {
        let archive = try ZipArchive(bytes)
        let found = archive.entries.filter { entry in
            let parts = entry.name.split(separator: "/", omittingEmptySubsequences: false)
            return parts.count == 2 && parts[0].hasSuffix(".dist-info") && parts[1] == "METADATA"
        }
        guard let entry = found.first, found.count == 1 else {
            throw unfit("a wheel has exactly one *.dist-info/METADATA, this one has \(found.count)")
        }
        let folder = entry.name.dropLast(".dist-info/METADATA".count)
        guard let dash = folder.lastIndex(of: "-"), PEP503.normalize(String(folder[..<dash])) == PEP503.normalize(name.project) else {
            throw unfit("the wheel is named \(name.project), but its metadata lies in \(folder).dist-info")
        }
        return try archive.read(entry, bytesMax: metadataBytesMax)
    }

    private static func sdistMetadata(_ fileName: String, _ bytes: any RandomAccessBytes) throws(RegistryError) -> [UInt8] {
        let isZip = fileName.hasSuffix(".zip")
        guard isZip || fileName.hasSuffix(".tar.gz") || fileName.hasSuffix(".tgz"), try ArchiveKind.sniff(bytes) == (isZip ? .zip : .gzip) else {
            throw unfit("a source distribution is a .tar.gz file (PEP 625) or an old .zip, by name and by content")
        }
        guard let found = try SourceArchive.packageInfo(in: bytes, bytesMax: metadataBytesMax) else { throw unfit("it has no */PKG-INFO") }
        return found
    }

    private static func unfit(_ why: String) -> RegistryError { RegistryError(.invalid, subject: .field("content"), reason: why) }

    static func refused(_ fileName: String, _ why: String) -> RegistryError {
        RegistryError(.invalid, subject: .path(fileName), reason: "\(fileName) was refused: \(why)")
    }
}

extension PyPIFrontend {
    /// REST puts a distribution anywhere; it is kept as the index names it.
    public func adopt(
        _ path: AssetPath, _ blob: any StagedBytes, contentType: String?, in workshop: any Workshop
    ) async throws(RegistryError) -> Adoption {
        let fileName = String(path.fileName)
        let content = try blob.content()
        let distribution = try await workshop.offload { () throws(RegistryError) -> Distribution in
            try Distribution(fileName: fileName, reading: content)
        }
        return try await release(distribution, fileName, blob, extras: [], in: workshop)
    }

    /// The edit of one uploaded file: its version, itself, its metadata beside it (PEP 658), and what came along with it.
    func release(
        _ distribution: Distribution, _ fileName: String, _ blob: any StagedBytes,
        extras: [(suffix: String, contentType: String, staged: any StagedBytes)], in workshop: any Workshop
    ) async throws(RegistryError) -> Adoption {
        let plain = "text/plain; charset=utf-8"
        let isWheel = distribution.name.kind == .wheel
        let isLong = distribution.metadataBytes.count > Manifest.inlineBytesMax
        var attributes: [String: String] = [:]
        attributes[Attribute.requiresPython] = distribution.metadata["Requires-Python"]
        var about = attributes
        about[Attribute.summary] = distribution.metadata["Summary"].map { String($0.prefix(512)) }
        var manifest = Manifest.inline(distribution.metadataBytes, mediaType: plain)
        var sidecars = extras
        var staged = extras.map(\.staged)
        if isWheel || isLong {
            let metadata = try await workshop.stage(distribution.metadataBytes)
            staged.append(metadata)
            if isLong { manifest = .blob(metadata.id, size: metadata.size, mediaType: plain) }
            if isWheel { sidecars.append((Sidecar.metadata, plain, metadata)) }
        }
        var drafts: [Mutation] = []
        for sidecar in sidecars {
            attributes[Sidecar.attribute(of: sidecar.suffix)] = sidecar.suffix == Sidecar.metadata ? sidecar.staged.id.hex : "true"
            drafts.append(try put(fileName + sidecar.suffix, sidecar.staged, sidecar.contentType, of: distribution))
        }
        let isZip = isWheel || fileName.hasSuffix(".zip")
        // First: a conflict is about the file, not about what stands beside it.
        drafts.insert(try put(fileName, blob, isZip ? "application/zip" : "application/gzip", of: distribution, attributes), at: 0)
        let summary = about[Attribute.summary].map { [Attribute.summary: $0] }
        let edit = Edit(
            mutations: [
                .putPackage(distribution.project, displayName: distribution.metadata["Name"], attributes: summary),
                .putVersion(distribution.project, distribution.version, manifest: manifest, attributes: about),
            ] + drafts)
        return Adoption(edit: edit, path: try distributionPath(of: fileName, in: distribution.project), staged: staged)
    }

    private func put(
        _ fileName: String, _ staged: any StagedBytes, _ contentType: String, of distribution: Distribution, _ attributes: [String: String] = [:]
    ) throws(RegistryError) -> Mutation {
        .putAsset(
            AssetDraft(
                path: try distributionPath(of: fileName, in: distribution.project), blob: staged.id, size: staged.size, digests: staged.digests,
                contentType: contentType, package: distribution.project, version: distribution.version, attributes: attributes), overwrite: .never)
    }
}
