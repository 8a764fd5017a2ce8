// Maven: the repository layout that mvn, Gradle, Ivy, sbt and their like read and write: files at coordinates, checksums beside them, and
// maven-metadata.xml in three kinds of folder. What a client writes as metadata or checksum is compared and learned from, never kept: both are
// computed again from the files that are there.
public import Core
public import FrontendKit
import HTTPTypes
import Parsing

public struct MavenFrontend: Frontend {
    public let format = Format(name: "maven", aliases: ["gradle"], mounts: ["/maven"], digests: .all)
    public let routes: [Route]

    public init() {
        var routes: [Route] = [
            .view("{folder+}/maven-metadata.xml") { request throws(RegistryError) in try MetadataFolder(request.match["folder"]).view() }
        ]
        for checksum in Checksum.allCases {
            routes.append(
                .view(PathPattern(stringLiteral: "{folder+}/maven-metadata.xml\(checksum.suffix)")) { request throws(RegistryError) in
                    try MetadataFolder(request.match["folder"]).view(checksum.rawValue)
                })
        }
        // Snapshots before releases: their files may change.
        for checksum in Checksum.allCases {
            routes += [
                Self.about(.init(["folder", "version", "file"]), checksum, .pointer), Self.about(.init(["folder", "file"]), checksum, .immutable),
            ]
        }
        routes += [
            Self.file(.init(["folder", "version", "file"]), .pointer),
            // Too high up to be a release: catalogs of archetypes, lists of prefixes.
            .file("{file}", freshness: .pointer, fields: Self.fields) { match throws(RegistryError) in .path(try assetPath(match["file"])) },
            .file("{folder}/{file}", freshness: .pointer, fields: Self.fields) { match throws(RegistryError) in
                .path(try assetPath("\(match["folder"])/\(match["file"])"))
            },
            Self.file(.init(["folder", "file"]), .immutable), .action(.put, "{path+}", needs: .write, Self.put),
        ]
        self.routes = routes
    }

    /// Which parameters of a pattern make a file's path.
    private struct Parts: Sendable {
        let names: [String]
        init(_ names: [String]) { self.names = names }

        func pattern(_ end: String = "") -> PathPattern {
            let segments = names.map { $0 == "folder" ? "{folder+}" : $0 == "version" ? "{version}\(MavenFile.snapshot)" : "{\($0)}" }
            return PathPattern(stringLiteral: segments.joined(separator: "/") + end)
        }

        func path(_ match: Match) throws(RegistryError) -> AssetPath {
            try assetPath(names.map { $0 == "version" ? match[$0] + MavenFile.snapshot : match[$0] }.joined(separator: "/"))
        }

        func package(_ match: Match) throws(RegistryError) -> PackageName? {
            let path = try path(match)
            return (try? MavenFile(path))?.package
        }
    }

    private static func file(_ parts: Parts, _ freshness: FileRoute.Freshness) -> Route {
        .file(
            parts.pattern(), package: { match throws(RegistryError) in try parts.package(match) }, freshness: freshness, fields: fields
        ) { match throws(RegistryError) in .path(try parts.path(match)) }
    }

    private static func about(_ parts: Parts, _ checksum: Checksum, _ freshness: FileRoute.Freshness) -> Route {
        .about(
            parts.pattern(checksum.suffix), package: { match throws(RegistryError) in try parts.package(match) }, freshness: freshness,
            { match throws(RegistryError) in .path(try parts.path(match)) },
            describe: { asset throws(RegistryError) in
                guard let digest = asset.digest(checksum.algorithm) else {
                    throw RegistryError(.notFound, subject: .path(asset.path.text), reason: "no \(checksum.rawValue) of \(asset.path) is known")
                }
                return .text(digest.hex, .ok, [.contentType: "text/plain", .cacheControl: "no-cache"])
            })
    }

    /// The file's path; of `maven-metadata.xml` the folder it is about.
    public func tokenName(of match: Match) -> String? {
        if !match["path"].isEmpty { return AssetPath(match["path"])?.text }
        let version = match["version"].isEmpty ? "" : match["version"] + MavenFile.snapshot
        return AssetPath([match["folder"], version, match["file"]].filter { !$0.isEmpty }.joined(separator: "/"))?.text
    }

    public func upstream(for resource: Resource, given facts: Facts) -> UpstreamRequest? {
        switch resource {
        case .view(let view):
            guard let folder = MetadataFolder(of: view) else { return nil }
            return UpstreamRequest(url: Percent.encode("\(folder.path)/maven-metadata.xml", in: .path))
        case .file(let path):
            let url = Percent.encode(path.text, in: .path)
            var request = UpstreamRequest(url: url)
            // SHA-1 first: every upstream that publishes checksums has it, few have the longer ones.
            let order: [Checksum] = [.sha1, .sha256, .sha512, .md5]
            request.statedIn = order.map { DigestDocument($0.algorithm, url: url + $0.suffix) }
            return request
        }
    }

    public func source(of scope: Scope) -> View? {
        switch scope {
        case .package(let package), .family(let package, _): MetadataFolder(of: package)?.view()
        default: nil
        }
    }

    private static func fields(_ asset: Asset) -> HTTPFields {
        var fields: HTTPFields = [:]
        for (algorithm, name) in [(DigestAlgorithm.md5, "X-Checksum-MD5"), (.sha1, "X-Checksum-SHA1"), (.sha256, "X-Checksum-SHA256")] {
            if let name = HTTPField.Name(name), let digest = asset.digest(algorithm) { fields[name] = digest.hex }
        }
        return fields
    }
}

/// A path as the request has it.
func assetPath(_ text: String) throws(RegistryError) -> AssetPath {
    guard let path = AssetPath(text) else {
        throw RegistryError(.invalid, subject: .path(text), reason: "a path has at most 2048 bytes and no empty, '.' or '..' segment")
    }
    return path
}

/// The checksums a file may have beside it.
enum Checksum: String, CaseIterable {
    case sha1, md5, sha256, sha512

    var suffix: String { ".\(rawValue)" }

    var algorithm: DigestAlgorithm {
        switch self {
        case .sha1: .sha1
        case .md5: .md5
        case .sha256: .sha256
        case .sha512: .sha512
        }
    }

    /// The file that a path is a checksum of; nil when it is none.
    static func split(_ path: String) -> (file: String, checksum: Checksum)? {
        for checksum in allCases where path.hasSuffix(checksum.suffix) { return (String(path.dropLast(checksum.suffix.count)), checksum) }
        return nil
    }
}
