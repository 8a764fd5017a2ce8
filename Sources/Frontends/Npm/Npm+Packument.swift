public import Core
public import FrontendKit
import Parsing

// The packument: `render` and `learn` side by side, each the other's proof.

extension NpmFrontend {
    public func render(_ view: View, from facts: Facts, in context: RenderContext, into page: inout Page) throws(RegistryError) {
        guard case .package(let name) = view.scope, let variant = Variant(view.variant) else {
            throw RegistryError(.internal, subject: .request, reason: "there is no document \(view.identity) as \(view.variant)")
        }
        let packument = Packument(name, facts)
        guard !packument.versions.isEmpty else {
            throw RegistryError(.notFound, subject: .package(name.text), reason: "\(context.repository) has no package \(name)")
        }
        page.contentType = variant == .abbreviated ? Variant.abbreviatedType.essence : "application/json"
        switch variant {
        case .full: page.append(try packument.full(in: context).encoded())
        case .abbreviated: page.append(try packument.abbreviated(in: context).encoded())
        case .writable: page.append(try packument.writable(in: context).encoded())
        case .tags: page.append(packument.tagList.encoded())
        case .release(let spec):
            guard let version = packument.version(at: spec) else {
                throw RegistryError(.notFound, subject: .package(name.text), reason: "\(name) has no version or tag \(spec)")
            }
            page.append(try packument.document(of: version, in: context).encoded())
        }
    }

    public func learn(_ view: View, from document: Document, into facts: inout Facts) throws(RegistryError) {
        guard case .package(let name) = view.scope else {
            throw RegistryError(.invalid, subject: .upstream(document.url), reason: "there is no such document")
        }
        let packument = try JSON.parse(document.bytes, budget: .upstreamDocument)
        guard packument["name"]?.string == name.text, let versions = packument["versions"]?.object else {
            throw RegistryError(.invalid, subject: .upstream(document.url), reason: "this is not the packument of \(name)")
        }
        let base = try URLReference.parse(document.url)
        for member in versions.members {
            // What is no release is passed over: one bad row does not take the package away.
            guard let version = VersionName(member.name), member.value["name"]?.string == name.text, member.value["version"]?.string == member.name,
                let release = try? UpstreamRelease(Coordinates(name, version), member.value, times: packument["time"], base)
            else { continue }
            facts.versions.append(release.version)
            facts.listed += release.listed
        }
        facts.versions.sort(by: Packument.precedes)
        facts.listed.sort { $0.path < $1.path }
        let instants = facts.versions.map(\.created)
        let modified = ([packument["time"]?["modified"]?.string.flatMap { Timestamp(rfc3339: $0) }].compactMap { $0 } + instants).max()
        let known = Set(facts.versions.map(\.name))
        for member in packument["dist-tags"]?.object?.members ?? [] {
            guard let tag = TagName(member.name), let version = member.value.string.flatMap({ VersionName($0) }), known.contains(version) else {
                continue
            }
            facts.tags.append(Tag(package: name, name: tag, version: version, updated: modified ?? Packument.unknown))
        }
        let created = packument["time"]?["created"]?.string.flatMap { Timestamp(rfc3339: $0) } ?? instants.min() ?? Packument.unknown
        facts.packages = [Package(id: Packument.learnedID, name: name, created: created)]
        guard let latest = Packument(name, facts).latest else { return }
        facts.tags.removeAll { $0.name == Packument.latestTag }
        facts.tags.append(Tag(package: name, name: Packument.latestTag, version: latest, updated: modified ?? Packument.unknown))
        facts.tags.sort { $0.name < $1.name }
        guard let at = facts.versions.firstIndex(where: { $0.name == latest }) else { return }
        facts.packages[0].attributes = Attribute.about(versions[latest.text] ?? .null)
        facts.versions[at].attributes[Attribute.readme] = packument["readme"]?.string.flatMap(Attribute.readme(of:))
    }
}

/// The keys of the attributes that packages and versions of this format carry.
enum Attribute {
    /// Of a package, for searching: what its latest version says.
    static let description = "description"
    static let keywords = "keywords"
    /// Of a version: its readme, cut at `readmeBytesMax`. Not in the manifest: a packument shows that of the latest version only.
    static let readme = "readme"
    static let readmeBytesMax = 16 << 10

    static func about(_ document: JSON) -> [String: String] {
        var about: [String: String] = [:]
        about[description] = document["description"]?.string.map { String($0.prefix(512)) }
        let words = (document["keywords"]?.array ?? []).compactMap(\.string)
        if !words.isEmpty { about[keywords] = String(words.joined(separator: " ").prefix(512)) }
        return about
    }

    /// nil where there is none worth keeping.
    static func readme(of text: String) -> String? {
        guard !text.isEmpty, text != "ERROR: No README data found!" else { return nil }
        guard text.utf8.count > readmeBytesMax else { return text }
        var cut = Array(text.utf8.prefix(readmeBytesMax))
        while !cut.isEmpty {
            if let text = String(validating: cut, as: UTF8.self) { return text }
            cut.removeLast()
        }
        return nil
    }
}

/// A package's facts, in the order a packument shows them.
struct Packument {
    static let unknown = Timestamp(milliseconds: 0)
    static let learnedID = EntityID(high: 0, low: 0)
    static let latestTag: TagName = {
        guard let tag = TagName("latest") else { preconditionFailure("latest is a tag") }
        return tag
    }()
    /// What of the latest version stands at the top of the packument too.
    private static let lifted = [
        "maintainers", "author", "contributors", "homepage", "keywords", "repository", "bugs", "license", "readmeFilename",
    ]
    /// What an installer reads of a version (package-metadata, "Abbreviated version object").
    private static let installed: Set<String> = [
        "name", "version", "dependencies", "devDependencies", "optionalDependencies", "peerDependencies", "peerDependenciesMeta",
        "acceptDependencies", "bundleDependencies", "bundledDependencies", "bin", "directories", "dist", "engines", "cpu", "os", "libc", "funding",
        "deprecated", "hasInstallScript", "_hasShrinkwrap",
    ]
    private static let installHooks = ["preinstall", "install", "postinstall"]

    let name: PackageName
    /// By time of publication, then by name.
    let versions: [Version]
    let tags: [TagName: VersionName]
    private let revision: Revision
    private let created: Timestamp
    private let modified: Timestamp

    init(_ name: PackageName, _ facts: Facts) {
        self.name = name
        versions = facts.versions.sorted(by: Packument.precedes)
        let known = Set(versions.map(\.name))
        var tags: [TagName: VersionName] = [:]
        for tag in facts.tags where known.contains(tag.version) { tags[tag.name] = tag.version }
        // Clients take the latest version to exist: who publishes under another tag only, or deletes it, still has one.
        if tags[Packument.latestTag] == nil { tags[Packument.latestTag] = Packument.newest(of: versions) }
        self.tags = tags
        let instants = versions.map(\.created)
        created = (facts.packages.map(\.created) + instants.prefix(facts.packages.isEmpty ? instants.count : 0)).min() ?? Packument.unknown
        modified = (instants + facts.tags.map(\.updated)).max() ?? Packument.unknown
        revision = facts.packages.map(\.revision).max() ?? .zero
    }

    static func precedes(_ a: Version, _ b: Version) -> Bool { (a.created, a.name) < (b.created, b.name) }

    /// The highest release, else the highest prerelease.
    private static func newest(of versions: [Version]) -> VersionName? {
        let ordered = versions.compactMap { version in SemVer(version.name.text).map { (order: $0, name: version.name) } }
        return (ordered.filter { !$0.order.isPrerelease }.max { $0.order < $1.order } ?? ordered.max { $0.order < $1.order })?.name
            ?? versions.last?.name
    }

    var latest: VersionName? { tags[Packument.latestTag] }

    func version(at spec: String) -> Version? {
        let name = TagName(spec).flatMap { tags[$0] } ?? VersionName(spec)
        return versions.first { $0.name == name }
    }

    var tagList: JSON { .object(.init(tags.sorted { $0.key < $1.key }.map { ($0.key.text, JSON($0.value.text)) })) }

    // MARK: The documents

    func full(in context: RenderContext) throws(RegistryError) -> JSON {
        var shown = JSON.Object([("_id", JSON(name.text)), ("name", JSON(name.text))])
        let top = try latest.flatMap { name in versions.first { $0.name == name } }.map { version throws(RegistryError) in
            (document: try manifest(of: version), readme: version.attributes[Attribute.readme])
        }
        if let description = top?.document["description"] { shown["description"] = description }
        shown["dist-tags"] = tagList
        shown["versions"] = .object(try documents { version throws(RegistryError) in try document(of: version, in: context) })
        shown["time"] = times
        for key in Packument.lifted { if let value = top?.document[key] { shown[key] = value } }
        if let readme = top?.readme { shown["readme"] = JSON(readme) }
        return .object(shown)
    }

    func abbreviated(in context: RenderContext) throws(RegistryError) -> JSON {
        .object(
            .init([
                ("name", JSON(name.text)), ("modified", JSON(modified.description)), ("dist-tags", tagList),
                ("versions", .object(try documents { version throws(RegistryError) in try installable(version, in: context) })),
            ]))
    }

    func writable(in context: RenderContext) throws(RegistryError) -> JSON {
        .object(
            .init([
                ("_id", JSON(name.text)), ("_rev", JSON(revision.description)), ("name", JSON(name.text)), ("dist-tags", tagList),
                ("versions", .object(try documents { version throws(RegistryError) in try installable(version, in: context) })), ("time", times),
            ]))
    }

    private func documents(_ document: (Version) throws(RegistryError) -> JSON) throws(RegistryError) -> JSON.Object {
        var all = JSON.Object()
        for version in versions { all.append(version.name.text, try document(version)) }
        return all
    }

    private var times: JSON {
        var times = JSON.Object([("created", JSON(created.description)), ("modified", JSON(modified.description))])
        for version in versions where version.created != Packument.unknown { times[version.name.text] = JSON(version.created.description) }
        return .object(times)
    }

    /// What is kept of a version: its package.json as published, and `dist` without addresses.
    private func manifest(of version: Version) throws(RegistryError) -> JSON {
        guard case .inline(let bytes, _) = version.manifest else {
            throw RegistryError(.corrupt, subject: .package(name.text), reason: "the document of \(name)@\(version.name) is missing")
        }
        return try JSON.parse(bytes, budget: .upstreamDocument)
    }

    /// A version's document with our addresses in it.
    func document(of version: Version, in context: RenderContext) throws(RegistryError) -> JSON {
        var document = try manifest(of: version)
        let home = "\(context.baseURL)/npm/\(context.repository)/"
        var dist = document["dist"] ?? .object(.init())
        dist["tarball"] = JSON(home + Percent.encode(try Coordinates(name, version.name).tarball.text, in: .path))
        if var attestations = dist["attestations"] {
            attestations["url"] = JSON("\(home)-/npm/v1/attestations/\(Percent.encode("\(name)@\(version.name)", in: .segment))")
            dist["attestations"] = attestations
        }
        document["dist"] = dist
        if case .deprecated(let reason) = version.state { document["deprecated"] = JSON(reason) }
        return document
    }

    private func installable(_ version: Version, in context: RenderContext) throws(RegistryError) -> JSON {
        let document = try document(of: version, in: context)
        var shown = JSON.Object((document.object?.members ?? []).filter { Packument.installed.contains($0.name) }.map { ($0.name, $0.value) })
        let runs = Packument.installHooks.contains { document["scripts"]?[$0] != nil } || document["gypfile"] == true
        if runs, shown["hasInstallScript"] == nil { shown.append("hasInstallScript", true) }
        return .object(shown)
    }
}

/// A version as an upstream's packument describes it.
private struct UpstreamRelease {
    let version: Version
    let listed: [ListedFile]

    init(_ at: Coordinates, _ described: JSON, times: JSON?, _ base: URLReference) throws(RegistryError) {
        var document = described
        guard var dist = document["dist"], let link = dist["tarball"]?.string else {
            throw RegistryError(.invalid, subject: .package(at.package.text), reason: "\(at.version) has no tarball")
        }
        let created = times?[at.version.text]?.string.flatMap { Timestamp(rfc3339: $0) }
        var digests = Integrity.digests(in: dist["integrity"]?.string ?? "")
        if let sum = dist["shasum"]?.string.flatMap({ Digest(.sha1, hex: $0) }) { digests.append(sum) }
        var files = [
            ListedFile(
                path: try at.tarball, url: base.resolving(try URLReference.parse(link)).description, digests: digests, size: nil, package: at.package,
                version: at.version, uploaded: created)
        ]
        if var attestations = dist["attestations"], let link = attestations["url"]?.string {
            files.append(
                ListedFile(
                    path: try at.attestations, url: base.resolving(try URLReference.parse(link)).description, digests: [], size: nil,
                    package: at.package,
                    version: at.version))
            attestations["url"] = nil
            dist["attestations"] = attestations
        } else {
            dist["attestations"] = nil
        }
        dist["tarball"] = nil
        document["dist"] = dist
        var state = Version.State.active
        if let reason = Deprecation.reason(in: document) { state = .deprecated(reason: reason) }
        document["deprecated"] = nil
        document["readme"] = nil
        listed = files
        version = Version(
            id: Packument.learnedID, package: at.package, name: at.version, state: state,
            manifest: .inline(document.encoded(), mediaType: "application/json"), created: created ?? Packument.unknown, creator: "")
    }
}

/// Why a version should not be used.
enum Deprecation {
    /// nil when the document does not say so; an empty text takes a deprecation back.
    static func reason(in document: JSON) -> String? {
        switch document["deprecated"] {
        case .string(let reason)? where !reason.isEmpty: reason
        case .bool(true)?: "deprecated"
        default: nil
        }
    }
}

/// Subresource Integrity (W3C): digests in base64, separated by spaces.
enum Integrity {
    /// Those of functions we know; options after `?` mean nothing here.
    static func digests(in text: String) -> [Digest] {
        text.split(separator: " ").compactMap { item in
            let halves = item.split(separator: "-", maxSplits: 1)
            guard halves.count == 2, let algorithm = DigestAlgorithm(rawValue: String(halves[0])), algorithm != .md5 else { return nil }
            return Base64.decode(halves[1].prefix { $0 != "?" }).flatMap { Digest(algorithm, bytes: $0) }
        }
    }

    static func text(of digest: Digest) -> String { "\(digest.algorithm.rawValue)-\(Base64.encode(digest.bytes))" }
}
