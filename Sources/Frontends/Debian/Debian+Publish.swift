public import Core
public import FrontendKit
import HTTPTypes
import NIOCore
import Parsing

// A package put into the pool, by its path or by its name alone; and what REST puts.

extension DebianFrontend {
    static let digests = DigestSet([.md5, .sha1])

    /// `PUT /pool/main/h/hello/hello_1.0_amd64.deb?distribution=stable`
    @Sendable
    func putPool(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let component = request.match["component"]
        let path = try poolPath("pool/\(component)/\(request.match["path"])")
        let distributions = try DebianFrontend.distributions(request.head.query, port.context)
        let blob = try await receive(request.body, port)
        try await publish(blob, at: path, in: component, distributions, port)
        return .text("Created\n", .created)
    }

    /// `POST /upload` with the file's name in `X-Filename` or `Content-Disposition`; the path follows from the package.
    @Sendable
    func postUpload(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let distributions = try DebianFrontend.distributions(request.head.query, port.context)
        let component = request.head.query["component"] ?? defaultComponent
        guard let name = DebianFrontend.fileName(request.head.fields), DebFileName(name) != nil else {
            throw RegistryError(
                .invalid, subject: .field("X-Filename"), reason: "name the file in X-Filename or Content-Disposition: name_version_architecture.deb")
        }
        let blob = try await receive(request.body, port)
        let deb = try await read(blob, named: name, in: port)
        let path = try DebianFrontend.path(of: name, source: deb.source, in: component)
        try await publish(blob, at: path, in: component, distributions, port)
        return .json(
            JSON.object(
                .init([
                    ("status", "created"), ("package", JSON(deb.package.text)), ("version", JSON(deb.version.description)),
                    ("architecture", JSON(deb.architecture)), ("path", JSON(path.text)), ("sha256", JSON(blob.id.hex)), ("size", JSON(blob.size)),
                ])
            ).encoded(), .created)
    }

    private func publish(
        _ blob: any StagedBytes, at path: AssetPath, in component: String, _ distributions: [String], _ port: any RepositoryPort
    ) async throws(RegistryError) {
        guard DebianNames.isComponent(component) else {
            throw RegistryError(.invalid, subject: .path(path.text), reason: "\(component) is no name of a component")
        }
        var release = try await release(blob, at: path, in: component, distributions, workshop: port)
        if let known = try await port.version(release.version, of: release.package)?.attributes[Attribute.path], known != path.text {
            throw RegistryError(
                .conflict, subject: .path(path.text), reason: "\(release.package) \(release.version) is in the pool already, as \(known)")
        }
        let edit = try await release.edit(in: port)
        try await port.commit(edit, staged: [blob] + release.staged)
    }

    /// Reads a package and the list of its files.
    func release(
        _ blob: any StagedBytes, at path: AssetPath, in component: String, _ distributions: [String], workshop: any Workshop
    ) async throws(RegistryError) -> Release {
        let deb = try await read(blob, named: String(path.fileName), in: workshop)
        var release = try Release(deb, at: path, in: component, distributions, blob)
        let content = try blob.content()
        let list = try await workshop.offload { () throws(RegistryError) -> [UInt8] in
            try deb.contents(of: content, named: String(path.fileName), bytesMax: Body.collectBytesMax)
        }
        if !deb.isUdeb, !list.isEmpty, let beside = AssetPath(path.text + contentsSuffix) {
            let staged = try await workshop.stage(list)
            release.staged.append(staged)
            release.files.append(
                AssetDraft(
                    path: beside, blob: staged.id, size: staged.size, digests: staged.digests, contentType: Stanza.mediaType,
                    package: release.package,
                    version: release.version))
        }
        return release
    }

    func read(_ blob: any StagedBytes, named name: String, in workshop: any Workshop) async throws(RegistryError) -> DebFile {
        let content = try blob.content()
        return try await workshop.offload { () throws(RegistryError) -> DebFile in try DebFile(fileName: name, reading: content) }
    }

    func receive(_ body: Body, _ port: any RepositoryPort) async throws(RegistryError) -> any StagedBytes {
        let parts = try await port.receive(body, as: .raw, digests: DebianFrontend.digests)
        guard case .staged(let blob)? = parts.first?.content else { preconditionFailure("a raw body is one staged part") }
        return blob
    }

    /// REST puts a package anywhere: below `pool/` it stays where it was put, else it goes where its name says. It is listed in the default
    /// distribution.
    public func adopt(
        _ path: AssetPath, _ blob: any StagedBytes, contentType: String?, in workshop: any Workshop
    ) async throws(RegistryError) -> Adoption {
        let name = String(path.fileName)
        guard DebFileName(name) != nil else {
            throw DebFile.refused(name, "the artifact API takes .deb and .udeb files; source packages come with dput")
        }
        let segments = path.segments
        var place = path
        var component = defaultComponent
        if segments.count >= 3, segments[0] == "pool", DebianNames.isComponent(String(segments[1])) {
            component = String(segments[1])
        } else {
            place = try DebianFrontend.path(of: name, source: try await read(blob, named: name, in: workshop).source, in: component)
        }
        var release = try await release(blob, at: place, in: component, [defaultDistribution], workshop: workshop)
        let edit = try await release.edit(in: workshop)
        return Adoption(edit: edit, path: place, staged: release.staged)
    }

    // MARK: Where things go

    /// `?distribution=`, several allowed and several times; else the first that the settings name.
    static func distributions(_ query: Query, _ context: RenderContext) throws(RegistryError) -> [String] {
        let asked = query.all("distribution").flatMap { $0.split(separator: ",").map(String.init) }
        for name in asked where !DebianNames.isSuite(name) {
            throw RegistryError(.invalid, subject: .field("distribution"), reason: "\(name) is no name of a distribution")
        }
        return asked.isEmpty ? [Setting.list(Setting.distributions, context.settings).first ?? defaultDistribution] : asked
    }

    /// As Debian's own pool is laid out: by the source's first letter, or the first four of a library.
    static func path(of fileName: String, source: String, in component: String) throws(RegistryError) -> AssetPath {
        let prefix = source.hasPrefix("lib") && source.utf8.count > 3 ? String(source.prefix(4)) : String(source.prefix(1))
        guard DebianNames.isComponent(component), let path = AssetPath("pool/\(component)/\(prefix)/\(source)/\(fileName)") else {
            throw RegistryError(.invalid, subject: .path(fileName), reason: "\(component) is no name of a component")
        }
        return path
    }

    private static func fileName(_ fields: HTTPFields) -> String? {
        if let name = HTTPField.Name("X-Filename"), let given = fields[name] { return given }
        for parameter in (fields[.contentDisposition] ?? "").split(separator: ";").map({ $0.drop { $0 == " " } })
        where parameter.hasPrefix("filename=") {
            return parameter.dropFirst("filename=".count).filter { $0 != "\"" }
        }
        return nil
    }
}
