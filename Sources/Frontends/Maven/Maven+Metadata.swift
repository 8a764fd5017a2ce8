public import Core
public import FrontendKit
import Parsing

// maven-metadata.xml: `render` and `learn` side by side, each the other's proof. Versions and builds are those whose files are there; only what
// no file tells (which version is called the latest, which prefix a plugin goes by) is learned from what publishers write.

/// The keys of the attributes that packages, versions and listed files of this format carry.
enum Attribute {
    /// Of a package that is a plugin: the prefix it is called by on the command line, and its name.
    static let pluginPrefix = "plugin-prefix"
    static let pluginName = "plugin-name"
    /// Of a snapshot that an upstream has: its newest build, where no file is listed that tells.
    static let build = "snapshot-build"
    /// Of a file that an upstream lists: the coordinates its name alone may not tell.
    static let classifier = "classifier"
    static let `extension` = "extension"
}

/// The tags a package may have.
enum MovingName: String, CaseIterable {
    case latest, release

    var tag: TagName {
        guard let tag = TagName(rawValue) else { preconditionFailure("a word is a tag's name") }
        return tag
    }
}

extension MavenFrontend {
    public func render(_ view: View, from facts: Facts, in context: RenderContext, into page: inout Page) throws(RegistryError) {
        guard let folder = MetadataFolder(of: view) else {
            throw RegistryError(.notFound, subject: .request, reason: "there is no document \(view.identity)")
        }
        let text: String?
        switch folder.kind {
        case .artifactOrGroup: text = Self.versionsAndPlugins(in: folder, facts)
        case .snapshot(let version): text = Self.builds(of: version, in: folder, facts)
        }
        guard let text else {
            throw RegistryError(.notFound, subject: .path(folder.path), reason: "\(context.repository) has nothing in \(folder.path) to tell of")
        }
        guard let checksum = Checksum(rawValue: view.variant) else {
            page.contentType = "application/xml"
            page.append(text)
            return
        }
        page.contentType = "text/plain"
        page.append(Digest.of(checksum.algorithm, text.utf8).hex)
    }

    // MARK: Artifacts and groups

    private static func versionsAndPlugins(in folder: MetadataFolder, _ facts: Facts) -> String? {
        let plugins = facts.packages.filter { $0.name.text.hasPrefix(folder.groupPrefix) && $0.attributes[Attribute.pluginPrefix] != nil }
        var document = MetadataWriter()
        let versions = sorted(facts.versions.filter { $0.package == folder.package })
        if let newest = versions.last {
            document.element("groupId", folder.group)
            document.element("artifactId", folder.artifact)
            let releases = versions.filter { !$0.name.text.hasSuffix(MavenFile.snapshot) }
            document.open("versioning")
            document.element("latest", called(.latest, among: versions, facts)?.name.text ?? newest.name.text)
            if let release = called(.release, among: releases, facts) { document.element("release", release.name.text) }
            document.open("versions")
            for version in versions { document.element("version", version.name.text) }
            document.close("versions")
            // A build of a snapshot is news of its artifact too.
            let times = versions.map(\.created) + facts.assets.map(\.created) + facts.tags.map(\.updated)
            if let last = times.max(), let stamp = MetadataTime.text(of: last) { document.element("lastUpdated", stamp) }
            document.close("versioning")
        }
        if !plugins.isEmpty {
            document.open("plugins")
            for plugin in plugins.sorted(by: { $0.name < $1.name }) {
                document.open("plugin")
                if let name = plugin.attributes[Attribute.pluginName] { document.element("name", name) }
                document.element("prefix", plugin.attributes[Attribute.pluginPrefix] ?? "")
                document.element("artifactId", plugin.name.text.dropFirst(folder.groupPrefix.count))
                document.close("plugin")
            }
            document.close("plugins")
        }
        return versions.isEmpty && plugins.isEmpty ? nil : document.finish()
    }

    /// In the order of versions; spellings of one version in byte order.
    private static func sorted(_ versions: [Version]) -> [Version] {
        versions.map { (order: MavenVersion($0.name.text), version: $0) }.sorted { a, b in
            let result = a.order.compare(to: b.order)
            return result == 0 ? a.version.name < b.version.name : result < 0
        }.map(\.version)
    }

    /// The version that the publisher's metadata called so last, unless a higher one came since without saying so; else the highest.
    private static func called(_ name: MovingName, among versions: [Version], _ facts: Facts) -> Version? {
        guard let tag = facts.tags.first(where: { $0.name == name.tag }), let tagged = versions.firstIndex(where: { $0.name == tag.version }) else {
            return versions.last
        }
        return versions[tagged...].last { $0.created > tag.updated } ?? versions[tagged]
    }

    // MARK: Snapshots

    private struct Entry {
        let classifier: String
        let ending: String
        let value: String
        let build: SnapshotBuild?
        let updated: String

        var key: [String] { [classifier, ending] }
    }

    private static func builds(of version: VersionName, in folder: MetadataFolder, _ facts: Facts) -> String? {
        let known = facts.versions.first { $0.name == version }
        let files = facts.assets.compactMap { asset in
            asset.version == version ? (try? MavenFile(asset.path)).map { (file: $0, created: asset.created) } : nil
        }
        // A build is announced once its POM is there: until then its files are still arriving.
        let announced = files.filter { $0.file.extension == "pom" && $0.file.classifier.isEmpty }.compactMap(\.file.build).max()
        var entries = files.compactMap { file, created -> Entry? in
            if let build = file.build, let announced, announced < build { return nil }
            let updated = file.build?.updated ?? MetadataTime.text(of: created) ?? ""
            return Entry(
                classifier: file.classifier, ending: file.extension, value: value(of: file.build, version), build: file.build, updated: updated)
        }
        entries += facts.listed.compactMap { file in file.version == version ? listed(file, of: folder) : nil }
        guard known != nil || !entries.isEmpty else { return nil }

        var newest: [[String]: Entry] = [:]
        for entry in entries {
            guard let held = newest[entry.key] else {
                newest[entry.key] = entry
                continue
            }
            if isOlder(held, than: entry) { newest[entry.key] = entry }
        }
        let chosen = newest.values.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        let stated = known?.attributes[Attribute.build].flatMap { SnapshotBuild($0) }
        let times = ([known?.created] + files.map(\.created)).compactMap { $0 }.compactMap { MetadataTime.text(of: $0) }

        var document = MetadataWriter()
        document.element("groupId", folder.group)
        document.element("artifactId", folder.artifact)
        document.element("version", version.text)
        document.open("versioning")
        if let build = (chosen.compactMap(\.build) + [stated].compactMap { $0 }).max() {
            document.open("snapshot")
            document.element("timestamp", build.timestamp)
            document.element("buildNumber", String(build.number))
            document.close("snapshot")
        }
        if let last = (times + chosen.map(\.updated)).max(), !last.isEmpty { document.element("lastUpdated", last) }
        if !chosen.isEmpty {
            document.open("snapshotVersions")
            for entry in chosen {
                document.open("snapshotVersion")
                if !entry.classifier.isEmpty { document.element("classifier", entry.classifier) }
                document.element("extension", entry.ending)
                document.element("value", entry.value)
                if !entry.updated.isEmpty { document.element("updated", entry.updated) }
                document.close("snapshotVersion")
            }
            document.close("snapshotVersions")
        }
        document.close("versioning")
        return document.finish()
    }

    /// What stands for the version in the names of a build's files.
    private static func value(of build: SnapshotBuild?, _ version: VersionName) -> String {
        build.map { version.text.dropLast(MavenFile.snapshot.count) + "-" + $0.text } ?? version.text
    }

    /// A build is newer than a file that every build overwrites.
    private static func isOlder(_ a: Entry, than b: Entry) -> Bool {
        switch (a.build, b.build) {
        case (let x?, let y?): x < y
        case (nil, nil): a.updated < b.updated
        case (nil, _?): true
        case (_?, nil): false
        }
    }

    private static func listed(_ listed: ListedFile, of folder: MetadataFolder) -> Entry? {
        guard let ending = listed.attributes[Attribute.extension], let file = try? MavenFile(listed.path) else { return nil }
        return Entry(
            classifier: listed.attributes[Attribute.classifier] ?? "", ending: ending, value: value(of: file.build, file.version), build: file.build,
            updated: listed.uploaded.flatMap { MetadataTime.text(of: $0) } ?? "")
    }
}

extension MavenFrontend {
    public func learn(_ view: View, from document: Document, into facts: inout Facts) throws(RegistryError) {
        guard let folder = MetadataFolder(of: view) else {
            throw RegistryError(.unsupported, subject: .request, reason: "an upstream has no \(view.name)")
        }
        let metadata = try PublishedMetadata(document.bytes, budget: .upstreamDocument)
        switch folder.kind {
        case .artifactOrGroup: learn(folder, metadata, &facts)
        case .snapshot(let version): learn(version, folder, metadata, from: document, &facts)
        }
    }

    private static let nobody = EntityID(high: 0, low: 0)
    private static let never = Timestamp(milliseconds: 0)

    private func learn(_ folder: MetadataFolder, _ metadata: PublishedMetadata, _ facts: inout Facts) {
        let updated = metadata.lastUpdated ?? Self.never
        var seen: Set<VersionName> = []
        for version in metadata.versions where seen.insert(version).inserted {
            facts.versions.append(Version(id: Self.nobody, package: folder.package, name: version, created: updated, creator: ""))
        }
        if !seen.isEmpty { facts.packages.append(Package(id: Self.nobody, name: folder.package, created: updated)) }
        for name in MovingName.allCases {
            guard let version = metadata.called[name], seen.contains(version) else { continue }
            facts.tags.append(Tag(package: folder.package, name: name.tag, version: version, updated: updated))
        }
        for plugin in metadata.plugins {
            guard let package = PackageName(folder.groupPrefix + plugin.artifact), !facts.packages.contains(where: { $0.name == package }) else {
                continue
            }
            facts.packages.append(Package(id: Self.nobody, name: package, attributes: plugin.attributes, created: Self.never))
        }
    }

    private func learn(
        _ version: VersionName, _ folder: MetadataFolder, _ metadata: PublishedMetadata, from document: Document, _ facts: inout Facts
    ) {
        var builds = [metadata.build].compactMap { $0 }
        var seen: Set<AssetPath> = []
        let base = document.url.prefix(
            document.url.utf8.lastIndex(of: UInt8(ascii: "/")).map { document.url.distance(from: document.url.startIndex, to: $0) + 1 } ?? 0)
        for row in metadata.files {
            let name = "\(folder.artifact)-\(row.value)" + (row.classifier.isEmpty ? "" : "-\(row.classifier)") + ".\(row.ending)"
            guard let path = AssetPath("\(folder.path)/\(name)"), let file = try? MavenFile(path), file.version == version,
                seen.insert(path).inserted
            else { continue }
            if let build = file.build { builds.append(build) }
            facts.listed.append(
                ListedFile(
                    path: path, url: base + Percent.encode(name, in: .segment), digests: [], size: nil, package: folder.package, version: version,
                    attributes: [Attribute.classifier: row.classifier, Attribute.extension: row.ending], uploaded: row.updated))
        }
        let attributes = builds.max().map { [Attribute.build: $0.text] } ?? [:]
        let updated = metadata.lastUpdated ?? Self.never
        facts.packages.append(Package(id: Self.nobody, name: folder.package, created: updated))
        facts.versions.append(
            Version(id: Self.nobody, package: folder.package, name: version, attributes: attributes, created: updated, creator: ""))
    }
}
