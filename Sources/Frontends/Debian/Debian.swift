// Debian: package archives as apt and dput see them (the Debian repository format; Debian policy chapters 3 and 5; dpkg's deb(5), dsc(5),
// deb-changes(5)). Indexes are editions of the engine: one per distribution, made of the stanzas that packages contribute.
public import Core
public import FrontendKit
import HTTPTypes
import Parsing

public struct DebianFrontend: Frontend {
    public init() {}

    public let format = Format(name: "debian", aliases: ["apt", "deb"], mounts: ["/debian"])

    public var indexing: (any Indexing)? { ArchiveIndexing() }

    public var routes: [Route] {
        [
            .answer("gpg-key.asc", publicKey),
            .answer("dists/{distribution}/gpg-key.asc", publicKey),
            .view("dists/{path+}", options: [.verbatim]) { request throws(RegistryError) in
                let place = try ArchivePlace(request.match["path"])
                return place.view
            },
            .file(
                "pool/{path+}", listedIn: { _ in DebianFrontend.pool },
                package: { match in
                    match["path"].split(separator: "/").last.flatMap { DebFileName($0) }.flatMap { PackageName($0.name) }
                }, fields: poolFields
            ) { match throws(RegistryError) in
                .path(try poolPath("pool/" + match["path"]))
            },
            .action(.put, "pool/{component}/{path+}", needs: .write, putPool),
            .action(.post, "upload[/]", needs: .write, postUpload),
            .action(.put, "upload/{file}", needs: .write, putUpload),  // dput
        ]
    }

    /// Everything in the pool, whichever index lists it.
    static let pool = View(name: "pool", scope: .everything)

    public func source(of scope: Scope) -> View? {
        switch scope {
        case .package, .packages, .everything: DebianFrontend.pool
        case .tags, .linked, .family: nil
        }
    }

    public func listings(of view: View) -> Listings? {
        guard view.name == DebianFrontend.pool.name else { return nil }
        return Listings(
            below: "dists/",
            files: { copy in
                guard let place = try? ArchivePlace(String(copy.text.dropFirst("dists/".count))), place.listsFiles else { return nil }
                return place.files
            },
            roots: { upstream in
                let wanted = Setting.list(Setting.distributions, upstream.settings)
                return (wanted.isEmpty ? [defaultDistribution] : wanted).map(DebianFrontend.release)
            }, named: { facts, upstream in DebianFrontend.indexes(in: facts, upstream.settings) })
    }

    /// The Packages and Sources that a Release names, each once, in the form that is shortest on the way.
    private static func indexes(in release: Facts, _ settings: [String: String]) -> [View] {
        let components = Set(Setting.list(Setting.components, settings))
        let architectures = Set(Setting.list(Setting.architectures, settings) + [Stream.all])
        var chosen: [String: (place: ArchivePlace, rank: Int)] = [:]
        for file in release.listed {
            guard let place = try? ArchivePlace(String(file.path.text.dropFirst("dists/".count))), place.listsFiles,
                let rank = ["/Packages", "/Packages.gz", "/Packages.xz", "/Sources", "/Sources.gz", "/Sources.xz"].firstIndex(
                    where: place.path.hasSuffix),
                components.isEmpty || components.contains(place.component)
            else { continue }
            let folder = place.path.split(separator: "/").dropLast().joined(separator: "/")
            let architecture = folder.split(separator: "/").last.map { String($0.dropFirst($0.hasPrefix("binary-") ? "binary-".count : 0)) } ?? ""
            guard architectures.count == 1 || architecture == "source" || architectures.contains(architecture) else { continue }
            if chosen[folder].map({ $0.rank < rank }) ?? true { chosen[folder] = (place, rank) }
        }
        return chosen.sorted { $0.key < $1.key }.map(\.value.place.view)
    }

    @Sendable
    private func publicKey(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        guard let key = try await port.publicKey() else {
            throw RegistryError(.notFound, subject: .repository(port.context.repository.text), reason: "this repository signs nothing of its own")
        }
        return .bytes(key, .ok, [.contentType: "application/pgp-keys"])
    }

    private func poolFields(_ asset: Asset) -> HTTPFields {
        guard let name = HTTPField.Name("X-Checksum-SHA256") else { return [:] }
        return [name: asset.blob.hex]
    }
}

/// The keys of the attributes that versions of this format carry.
enum Attribute {
    /// `deb`, `udeb` or `dsc`.
    static let kind = "kind"
    static let version = "version"
    static let architecture = "architecture"
    static let component = "component"
    /// Where the file lies that the version is: the `.deb`, the `.dsc`.
    static let path = "path"
    static let section = "section"
}

/// From a version to the distributions it is in.
let distributionRelation = "distribution"

/// What stands behind a package's file name in the name of the list of files that are in it.
let contentsSuffix = ".contents"

/// A path of the pool that clients are told of; the lists beside the packages are ours.
func poolPath(_ text: String) throws(RegistryError) -> AssetPath {
    guard let path = AssetPath(text), !text.hasSuffix(contentsSuffix) else {
        throw RegistryError(.notFound, subject: .path(text), reason: "there is no such file in the pool")
    }
    return path
}

/// What a path below `dists/` names.
struct ArchivePlace: Sendable, Hashable {
    /// Several segments are possible: `stable/updates`.
    let distribution: String
    /// Below the distribution.
    let path: String
    let digest: Digest?

    private static let closing: Set<String> = ["InRelease", "Release", "Release.gpg"]

    /// - Parameter path: below `dists/`.
    /// - Throws: `notFound` for what is no place in an archive.
    init(_ path: String) throws(RegistryError) {
        let segments = path.split(separator: "/").map(String.init)
        let absent = RegistryError(.notFound, subject: .path("dists/" + path), reason: "an archive has nothing at dists/\(path)")
        guard let file = segments.last, segments.count >= 2 else { throw absent }
        var folder = Array(segments.dropLast())
        var digest: Digest?
        var isByHash = false
        // Differences between two states of an index lie in a folder beside it.
        if folder.last?.hasSuffix(".diff") == true { folder.removeLast() }
        if folder.count >= 3, folder[folder.count - 2] == "by-hash" {
            isByHash = true
            if folder.last == "SHA256" { digest = Digest(.sha256, hex: file) }
            folder.removeLast(2)
        }
        let depth = ArchivePlace.closing.contains(file) && !isByHash && !ArchivePlace.isIndexFolder(folder) ? 0 : ArchivePlace.depth(of: folder)
        guard folder.count > depth else { throw absent }
        distribution = folder.prefix(folder.count - depth).joined(separator: "/")
        self.path = segments.dropFirst(folder.count - depth).joined(separator: "/")
        self.digest = digest
        guard DebianNames.isSuite(distribution) else { throw absent }
    }

    private static func isIndexFolder(_ folder: [String]) -> Bool { folder.last.map { $0.hasPrefix("binary-") || $0 == "source" } ?? false }

    /// How many segments at the end of a folder are below the distribution: the component, and the folder of one kind of index in it.
    private static func depth(of folder: [String]) -> Int {
        guard let last = folder.last else { return 0 }
        let before = folder.dropLast().last
        if last.hasPrefix("binary-") || last.hasPrefix("installer-") { return before == "debian-installer" ? 3 : 2 }
        if ["source", "i18n", "dep11", "cnf"].contains(last) { return 2 }
        // Contents of a component, or of a distribution as they were once.
        return folder.count > 1 ? 1 : 0
    }

    /// Whether the index is a Packages or Sources.
    var listsFiles: Bool {
        let folder = path.split(separator: "/").dropLast().prefix { $0 != "by-hash" }
        return folder.last.map { $0.hasPrefix("binary-") || $0 == "source" } ?? false
    }

    /// The files that an index lists, without what else it says of packages: all that is needed to fetch and check one of them.
    var files: View { View(name: ArchivePlace.filesPrefix + "dists/\(distribution)/\(path)", part: .path(path, of: distribution)) }
    static let filesPrefix = "files:"

    /// The place whose document a view is learned from; nil for a view of another kind.
    init?(of view: View) {
        let name = view.name.hasPrefix(ArchivePlace.filesPrefix) ? String(view.name.dropFirst(ArchivePlace.filesPrefix.count)) : view.name
        guard view.part != nil, name.hasPrefix("dists/"), let place = try? ArchivePlace(String(name.dropFirst("dists/".count))) else { return nil }
        self = place
    }

    var view: View {
        let part: EditionPart = digest.map { .digest($0, of: distribution) } ?? .path(path, of: distribution)
        return View(name: "dists/\(distribution)/\(path)", part: part)
    }
}
