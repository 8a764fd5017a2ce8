// PyPI: the Python package index as pip, uv, twine and their like see it. Simple API: PEP 503, 592, 629, 658, 691, 700, 714; attestations:
// PEP 740; upload: the legacy form of the reference index.
public import Core
public import FrontendKit
import HTTPTypes
import Parsing

public struct PyPIFrontend: Frontend {
    public init() {}

    public let format = Format(name: "pypi", aliases: ["poetry"], mounts: ["/pypi"])
    /// Wheels of one version may come from several members.
    public let mergeUnit = MergeUnit.asset

    public var routes: [Route] {
        [
            .view("simple[/]") { request in
                View(name: "simple-index", scope: .packages, variant: Representation.best(for: request.head).rawValue, vary: "Accept")
            },  // PEP 503
            .view("simple/{project}[/]") { request throws(RegistryError) in
                View(
                    name: "simple-project", scope: .package(try project(request.match)), variant: Representation.best(for: request.head).rawValue,
                    vary: "Accept")
            },
            .file(
                "simple/{project}/{file}",
                listedIn: { match throws(RegistryError) in View(name: "simple-project", scope: .package(try project(match))) },
                fields: fileFields
            ) { match throws(RegistryError) in .path(try distributionPath(of: match["file"], in: try project(match))) },  // PEP 658, PEP 740
            .action(.post, "[/]", needs: .write, upload),
            .action(.post, "legacy[/]", needs: .write, upload),
            // PEP 592. The routes are ours: the reference index yanks only in its web page.
            .action(.put, "{project}/{version}/yank", needs: .write) { request, port throws(RegistryError) in try await yank(request, port) },
            .action(.delete, "{project}/{version}/yank", needs: .write) { request, port throws(RegistryError) in
                try await setState(.active, request, port)
            },
        ]
    }

    public func tokenName(of match: Match) -> String? { (try? project(match))?.text }

    public func upstream(for resource: Resource, given facts: Facts) -> UpstreamRequest? {
        upstream(for: resource, given: facts, at: Upstream(url: ""))
    }

    public func upstream(for resource: Resource, given facts: Facts, at upstream: Upstream) -> UpstreamRequest? {
        let setting = upstream.settings["pypi_upstream_index_path"] ?? ""
        let index = setting.split(separator: "/").isEmpty ? "simple" : setting.split(separator: "/").joined(separator: "/")
        let accept = "\(Representation.json.mediaType), \(Representation.html.mediaType);q=0.2, text/html;q=0.01"
        switch resource {
        case .view(let view):
            switch view.scope {
            case .packages: return UpstreamRequest(url: "\(index)/", accept: accept)
            case .package(let project): return UpstreamRequest(url: "\(index)/\(Percent.encode(project.text, in: .strict))/", accept: accept)
            default: return nil
            }
        case .file(let path):
            if let file = facts.listed.first(where: { $0.path == path }) {
                return UpstreamRequest(url: file.url, expected: file.digests, expectedSize: file.size)
            }
            // A sidecar is announced by its file (PEP 658, 740, 503).
            guard let suffix = Sidecar.all.first(where: { path.text.hasSuffix($0) }),
                let file = facts.listed.first(where: { $0.path.text == path.text.dropLast(suffix.count) }),
                let announced = file.attributes[Sidecar.attribute(of: suffix)]
            else { return nil }
            switch suffix {
            case Sidecar.metadata: return UpstreamRequest(url: file.url + suffix, expected: Digest(.sha256, hex: announced).map { [$0] } ?? [])
            case Sidecar.provenance: return UpstreamRequest(url: announced)
            default: return UpstreamRequest(url: file.url + suffix)
            }
        }
    }

    public func source(of scope: Scope) -> View? {
        switch scope {
        case .packages: View(name: "simple-index", scope: scope)
        case .package: View(name: "simple-project", scope: scope)
        default: nil
        }
    }

    private func fileFields(_ asset: Asset) -> HTTPFields {
        guard let name = HTTPField.Name("X-PyPI-File-SHA256") else { return [:] }
        return [name: asset.blob.hex, .contentDisposition: "attachment; filename=\"\(asset.path.fileName)\""]
    }
}

/// The keys of the attributes that assets and versions of this format carry.
enum Attribute {
    static let requiresPython = "requires-python"
    /// Lower-case hex SHA-256 of the metadata sidecar, or `true` where an upstream announces one without its digest.
    static let coreMetadata = "core-metadata"
    static let provenance = "provenance"
    static let signature = "gpg-sig"
    /// Present on what an upstream lists as yanked; the value is the reason, which may be empty.
    static let yanked = "yanked"
    static let summary = "summary"
    static let uploadTime = "upload-time"
}

/// What follows a file's name in the names of the files about it.
enum Sidecar {
    static let metadata = ".metadata"
    static let provenance = ".provenance"
    static let signature = ".asc"
    static let all = [metadata, provenance, signature]

    /// The attribute by which a file says that it has such a sidecar.
    static func attribute(of suffix: String) -> String {
        suffix == metadata ? Attribute.coreMetadata : suffix == provenance ? Attribute.provenance : Attribute.signature
    }
}

/// The project a path names, in its normal form (PEP 503).
func project(_ match: Match) throws(RegistryError) -> PackageName {
    let name = match["project"]
    guard PEP503.isName(name), let package = PackageName(PEP503.normalize(name)) else {
        throw RegistryError(.notFound, subject: .package(name), reason: "\(name) is no project name")
    }
    return package
}

/// Where a distribution file is kept.
func distributionPath(of file: some StringProtocol, in project: PackageName) throws(RegistryError) -> AssetPath {
    guard !file.contains("/"), let path = AssetPath("\(project.text)/\(file)") else {
        throw RegistryError(.invalid, subject: .path(String(file)), reason: "\(file) is no file name of a distribution")
    }
    return path
}

/// The representations of PEP 691, best first where a client has no preference: browsers and old clients get plain HTML.
enum Representation: String, CaseIterable {
    case legacy, json, html

    var mediaType: String {
        switch self {
        case .legacy: "text/html"
        case .json: "application/vnd.pypi.simple.v1+json"
        case .html: "application/vnd.pypi.simple.v1+html"
        }
    }

    /// By `?format=` if given, else by Accept with its q-values; plain HTML when nothing fits (PEP 691, "Version + format selection").
    static func best(for head: RequestHead) -> Representation {
        if let format = head.query["format"], let wanted = allCases.first(where: { $0.mediaType == format }) { return wanted }
        let accept = head.fields[.accept]?.replacing("application/vnd.pypi.simple.latest+", with: "application/vnd.pypi.simple.v1+")
        let offered = allCases.map { MediaType(stringLiteral: $0.mediaType) }
        guard let chosen = Accept.best(of: offered, header: accept), let index = offered.firstIndex(of: chosen) else { return .legacy }
        return allCases[index]
    }
}
