public import Core
public import FrontendKit
import NIOCore
import Parsing

// What an upstream archive says: Release names the indexes by digest, Packages and Sources name the files.

extension DebianFrontend {
    /// Every document of an edition is assembled by the engine.
    public func render(_ view: View, from facts: Facts, in context: RenderContext, into page: inout Page) throws(RegistryError) {
        throw RegistryError(.notFound, subject: .request, reason: "there is no \(view.name)")
    }

    public func upstream(for resource: Resource, given facts: Facts) -> UpstreamRequest? {
        switch resource {
        case .view(let view):
            guard let place = ArchivePlace(of: view), let copy = AssetPath("dists/\(place.distribution)/\(place.path)") else { return nil }
            let isClosing = ["InRelease", "Release", "Release.gpg"].contains(place.path)
            return UpstreamRequest(url: copy.text, copy: copy, listedIn: isClosing ? nil : DebianFrontend.release(of: place.distribution))
        case .file(let path):
            let url = Percent.encode(path.text, in: .path)
            if path.text.hasPrefix("dists/"), let place = try? ArchivePlace(String(path.text.dropFirst("dists/".count))) {
                if facts.listed.isEmpty { return UpstreamRequest(url: url) }
                return listed(place, at: path, in: facts, url)
            }
            guard let file = facts.listed.first(where: { $0.path == path }) else { return nil }
            return UpstreamRequest(url: url, expected: file.digests, expectedSize: file.size)
        }
    }

    /// The document that lists the others; what a distribution without InRelease has is not trusted by clients in use.
    static func release(of distribution: String) -> View {
        View(name: "dists/\(distribution)/InRelease", part: .path("InRelease", of: distribution))
    }

    /// An index by its path, or by the digest in it.
    private func listed(_ place: ArchivePlace, at path: AssetPath, in facts: Facts, _ url: String) -> UpstreamRequest? {
        let file: ListedFile?
        if place.path.contains("/by-hash/") || place.path.hasPrefix("by-hash/") {
            let hex = path.fileName
            file = facts.listed.first { listed in listed.digests.contains { $0.hex == hex } }
        } else {
            file = facts.listed.first { $0.path == path }
        }
        return file.map { UpstreamRequest(url: url, expected: $0.digests, expectedSize: $0.size) }
    }

    public func learn(_ view: View, from document: Document, into facts: inout Facts) throws(RegistryError) {
        guard let place = ArchivePlace(of: view) else {
            throw RegistryError(.invalid, subject: .path(view.name), reason: "nothing is learned from \(view.name)")
        }
        if place.path == "InRelease" || place.path == "Release" {
            try learnRelease(of: place.distribution, from: document.bytes, into: &facts)
            return
        }
        let stored = BlobContent(.memory(ByteBuffer(bytes: document.bytes)))
        guard let expansion = try Expansion.sniff(stored) else {
            throw RegistryError(.invalid, subject: .path(view.name), reason: "this index is compressed by a method that is not read")
        }
        let bytes = try expansion.expand(stored, bytesMax: Budget.index.bytes, budget: .index)
        try Deb822.each(bytes, budget: .index) { stanza, raw throws(RegistryError) in
            if stanza["Filename"] != nil { learnBinary(stanza, raw, of: place, into: &facts) }
            if stanza["Directory"] != nil { learnSource(stanza, raw, of: place, into: &facts) }
        }
        if view.name.hasPrefix(ArchivePlace.filesPrefix) {
            var files = Facts()
            files.listed = facts.listed
            facts = files
            return
        }
        var seen: Set<PackageName> = []
        facts.packages = facts.versions.compactMap { version in
            seen.insert(version.package).inserted
                ? Package(id: version.id, name: version.package, created: version.created) : nil
        }
    }

    private func learnRelease(of distribution: String, from bytes: [UInt8], into facts: inout Facts) throws(RegistryError) {
        let release = try Deb822.one(try Clearsigned.content(of: bytes), budget: Budget(bytes: 8 << 20, items: 200_000))
        guard let name = PackageName("Release") else { return }
        var files: [String: ListedFile] = [:]
        for (field, algorithm) in [("SHA256", DigestAlgorithm.sha256), ("SHA512", .sha512)] {
            for line in release.field(field)?.lines ?? [] {
                let words = line.split(separator: " ")
                guard words.count == 3, let digest = Digest(algorithm, hex: words[0]), let size = Int64(words[1]), size >= 0,
                    let path = AssetPath("dists/\(distribution)/\(words[2])")
                else { continue }
                var file = files[path.text] ?? ListedFile(path: path, url: path.text, digests: [], size: size, package: name, version: nil)
                guard file.size == size else { continue }
                file.digests.append(digest)
                files[path.text] = file
            }
        }
        guard !files.isEmpty else { throw RegistryError(.invalid, subject: .path("Release"), reason: "this Release lists nothing by SHA-256") }
        facts.listed = files.values.sorted { $0.path < $1.path }
    }

    /// A foreign package has no identity here.
    private static let noID = EntityID(high: 0, low: 0)

    /// A bad row is skipped: it hides one package, where a refusal would hide them all.
    private func learnBinary(_ stanza: Deb822, _ raw: ArraySlice<UInt8>, of place: ArchivePlace, into facts: inout Facts) {
        guard let name = stanza["Package"].flatMap({ PackageName($0) }), let version = stanza["Version"], DebianVersion(version) != nil,
            let architecture = stanza["Architecture"], DebianNames.isArchitecture(architecture),
            let versionName = VersionName("\(version)_\(architecture)"),
            let filename = stanza["Filename"], let path = AssetPath(filename.hasPrefix("./") ? String(filename.dropFirst(2)) : filename),
            let digest = stanza["SHA256"].flatMap({ Digest(.sha256, hex: $0) }), let size = stanza["Size"].flatMap({ Int64($0) }), size >= 0
        else { return }
        let isInstaller = place.path.contains("/debian-installer/")
        append(
            Version(
                id: DebianFrontend.noID, package: name, name: versionName, manifest: .inline(Stanza.closed(raw), mediaType: Stanza.mediaType),
                attributes: [
                    Attribute.kind: (isInstaller ? Kind.udeb : .deb).rawValue, Attribute.version: version, Attribute.architecture: architecture,
                    Attribute.component: place.component, Attribute.path: path.text,
                ], created: Timestamp(milliseconds: 0), creator: ""), place.distribution,
            [ListedFile(path: path, url: filename, digests: [digest], size: size, package: name, version: versionName)], into: &facts)
    }

    private func learnSource(_ stanza: Deb822, _ raw: ArraySlice<UInt8>, of place: ArchivePlace, into facts: inout Facts) {
        guard let name = stanza["Package"].flatMap({ PackageName($0) }), let version = stanza["Version"], DebianVersion(version) != nil,
            let versionName = VersionName("\(version)_source"), let directory = stanza["Directory"],
            let sums = stanza.field("Checksums-Sha256")?.lines
        else { return }
        var files: [ListedFile] = []
        for line in sums {
            let words = line.split(separator: " ")
            guard words.count == 3, let digest = Digest(.sha256, hex: words[0]), let size = Int64(words[1]), size >= 0,
                let path = AssetPath("\(directory)/\(words[2])")
            else { return }
            files.append(ListedFile(path: path, url: path.text, digests: [digest], size: size, package: name, version: versionName))
        }
        guard let dsc = files.first(where: { $0.path.text.hasSuffix(".dsc") }) else { return }
        append(
            Version(
                id: DebianFrontend.noID, package: name, name: versionName, manifest: .inline(Stanza.closed(raw), mediaType: Stanza.mediaType),
                attributes: [
                    Attribute.kind: Kind.dsc.rawValue, Attribute.version: version, Attribute.component: place.component,
                    Attribute.path: dsc.path.text,
                ], created: Timestamp(milliseconds: 0), creator: ""), place.distribution, files, into: &facts)
    }

    private func append(_ version: Version, _ distribution: String, _ files: [ListedFile], into facts: inout Facts) {
        facts.versions.append(version)
        facts.links.append(Link(relation: distributionRelation, target: distribution, package: version.package, version: version.name))
        facts.listed += files
    }
}

extension ArchivePlace {
    var component: String { path.split(separator: "/").first.map(String.init) ?? defaultComponent }
}

extension Budget {
    /// An index of a whole distribution, expanded.
    static let index = Budget(bytes: 256 << 20, expandedBytes: 256 << 20, items: 20_000_000)
}
