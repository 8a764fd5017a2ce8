public import Core
public import FrontendKit
import Parsing

// The simple API: `render` and `learn` side by side, each the other's proof.

/// One file as an index page lists it, whoever holds it.
struct ListedDistribution: Equatable {
    var fileName: String
    var url: String
    var hashes: [Digest]
    var size: Int64?
    var version: String?
    var requiresPython: String?
    var coreMetadata: String?
    /// nil: not yanked; else the reason, which may be empty.
    var yanked: String?
    var uploaded: Timestamp?
    var provenance: String?
    var hasSignature = false
}

extension PyPIFrontend {
    public func render(_ view: View, from facts: Facts, in context: RenderContext, into page: inout Page) throws(RegistryError) {
        guard let representation = Representation(rawValue: view.variant) else {
            throw RegistryError(.internal, subject: .request, reason: "there is no representation \(view.variant)")
        }
        page.contentType = representation == .legacy ? "text/html; charset=utf-8" : representation.mediaType
        switch view.scope {
        case .packages: renderIndex(facts, as: representation, into: &page)
        case .package(let name): try renderProject(name, facts, as: representation, in: context, into: &page)
        case .tags, .linked: throw RegistryError(.notFound, subject: .request, reason: "there is no such page")
        }
    }

    private func renderIndex(_ facts: Facts, as representation: Representation, into page: inout Page) {
        let names = facts.packages.map { (shown: $0.displayName ?? $0.name.text, normal: $0.name.text) }
        guard representation != .json else {
            let projects = names.map { JSON.object(.init([("name", JSON($0.shown))])) }
            page.append(JSON.object(.init([("meta", meta("1.3")), ("projects", .array(projects))])).encoded())
            return
        }
        page.append(Self.htmlHead(title: "Simple index"))
        for name in names { page.append("<a href=\"\(PercentCoding.encode(name.normal))/\">\(HTMLText.escape(name.shown))</a><br>\n") }
        page.append("</body>\n</html>\n")
    }

    private func renderProject(
        _ name: PackageName, _ facts: Facts, as representation: Representation, in context: RenderContext, into page: inout Page
    ) throws(RegistryError) {
        let files = distributions(name, in: facts, context)
        guard !files.isEmpty || !facts.packages.isEmpty else {
            throw RegistryError(.notFound, subject: .package(name.text), reason: "\(context.repository) has no project \(name)")
        }
        guard representation == .json else {
            page.append(Self.htmlHead(title: "Links for \(name)"))
            page.append("<h1>Links for \(HTMLText.escape(name.text))</h1>\n")
            for file in files { page.append(Self.anchor(file)) }
            page.append("</body>\n</html>\n")
            return
        }
        // PEP 700 makes sizes mandatory from 1.1 on: what an upstream leaves out cannot be claimed.
        let isFull = files.allSatisfy { $0.size != nil }
        var versions: [String] = []
        for file in files { if let version = file.version, versions.last != version { versions.append(version) } }
        var members: [(String, JSON)] = [("meta", meta(isFull ? "1.3" : "1.0")), ("name", JSON(name.text))]
        if isFull { members.append(("versions", .array(versions.map { JSON($0) }))) }
        members.append(("files", .array(files.map(Self.row))))
        page.append(JSON.object(.init(members)).encoded())
    }

    private func meta(_ version: String) -> JSON { .object(.init([("api-version", JSON(version))])) }

    /// Files in the order of their versions (PEP 440), then of their names.
    private func distributions(_ name: PackageName, in facts: Facts, _ context: RenderContext) -> [ListedDistribution] {
        let base = "/pypi/\(context.repository)/simple/\(PercentCoding.encode(name.text))/"
        var states: [VersionName: Version.State] = [:]
        for version in facts.versions { states[version.name] = version.state }
        var files: [ListedDistribution] = []
        for asset in facts.assets where !Sidecar.all.contains(where: { asset.path.text.hasSuffix($0) }) {
            var yanked: String?
            if let version = asset.version, case .yanked(let reason)? = states[version] { yanked = reason }
            let url = base + PercentCoding.encode(asset.path.fileName)
            files.append(
                ListedDistribution(
                    fileName: String(asset.path.fileName), url: url, hashes: [asset.blob.digest], size: asset.size, version: asset.version?.text,
                    requiresPython: asset.attributes[Attribute.requiresPython], coreMetadata: asset.attributes[Attribute.coreMetadata],
                    yanked: yanked,
                    uploaded: asset.created,
                    provenance: asset.attributes[Attribute.provenance].map { _ in context.baseURL + url + Sidecar.provenance },
                    hasSignature: asset.attributes[Attribute.signature] != nil))
        }
        for file in facts.listed {
            files.append(
                ListedDistribution(
                    fileName: String(file.path.fileName), url: base + PercentCoding.encode(file.path.fileName), hashes: file.digests, size: file.size,
                    version: file.version?.text, requiresPython: file.attributes[Attribute.requiresPython],
                    coreMetadata: file.attributes[Attribute.coreMetadata], yanked: file.attributes[Attribute.yanked], uploaded: file.uploaded))
        }
        let keyed = files.map { (order: $0.version.flatMap { PEP440Version($0) }, file: $0) }
        return keyed.sorted { a, b in
            switch (a.order, b.order) {
            case (let x?, let y?) where x != y: x < y
            case (nil, _?): true
            case (_?, nil): false
            default: a.file.fileName.utf8.lexicographicallyPrecedes(b.file.fileName.utf8)
            }
        }.map(\.file)
    }

    /// A file's row in JSON (PEP 691, 700, 714, 740).
    private static func row(_ file: ListedDistribution) -> JSON {
        var members: [(String, JSON)] = [
            ("filename", JSON(file.fileName)), ("url", JSON(file.url)),
            ("hashes", .object(.init(file.hashes.map { ($0.algorithm.rawValue, JSON($0.hex)) }))),
        ]
        if let requires = file.requiresPython { members.append(("requires-python", JSON(requires))) }
        let announced: JSON = file.coreMetadata.map { $0 == "true" ? JSON(true) : .object(.init([("sha256", JSON($0))])) } ?? JSON(false)
        // Both names: PEP 714 renamed the key because of clients that crashed on the first.
        members += [("core-metadata", announced), ("dist-info-metadata", announced)]
        if let size = file.size { members.append(("size", JSON(size))) }
        if let uploaded = file.uploaded { members.append((Attribute.uploadTime, JSON(uploaded.description))) }
        members.append(("yanked", file.yanked.map { $0.isEmpty ? JSON(true) : JSON($0) } ?? JSON(false)))
        if file.hasSignature { members.append(("gpg-sig", JSON(true))) }
        members.append(("provenance", file.provenance.map { JSON($0) } ?? .null))
        return .object(.init(members))
    }

    private static func htmlHead(title: String) -> String {
        "<!DOCTYPE html>\n<html>\n<head>\n<meta name=\"pypi:repository-version\" content=\"1.3\">\n"
            + "<title>\(HTMLText.escape(title))</title>\n</head>\n<body>\n"
    }

    private static func anchor(_ file: ListedDistribution) -> String {
        var href = file.url
        if let hash = file.hashes.first { href += "#\(hash.algorithm.rawValue)=\(hash.hex)" }
        var text = "<a href=\"\(HTMLText.escape(href))\""
        if let requires = file.requiresPython { text += " data-requires-python=\"\(HTMLText.escape(requires))\"" }
        if let metadata = file.coreMetadata {
            let value = metadata == "true" ? "true" : "sha256=\(metadata)"
            text += " data-dist-info-metadata=\"\(value)\" data-core-metadata=\"\(value)\""
        }
        if let reason = file.yanked { text += " data-yanked=\"\(HTMLText.escape(reason))\"" }
        if file.hasSignature { text += " data-gpg-sig=\"true\"" }
        if let provenance = file.provenance { text += " data-provenance=\"\(HTMLText.escape(provenance))\"" }
        return text + ">\(HTMLText.escape(file.fileName))</a><br>\n"
    }
}

extension PyPIFrontend {
    public func learn(_ view: View, from document: Document, into facts: inout Facts) throws(RegistryError) {
        let isJSON = document.contentType.flatMap { MediaType(parsing: $0) }.map { $0.subtype.hasSuffix("json") } ?? false
        switch view.scope {
        case .packages:
            var seen: Set<PackageName> = []
            for name in isJSON ? try projectNames(json: document) : try projectNames(html: document) {
                guard PEP503.isName(name), let package = PackageName(PEP503.normalize(name)), seen.insert(package).inserted else { continue }
                facts.packages.append(Package(id: EntityID(high: 0, low: 0), name: package, displayName: name, created: Timestamp(milliseconds: 0)))
            }
        case .package(let project):
            let files = isJSON ? try distributions(json: document) : try distributions(html: document)
            facts.packages = [Package(id: EntityID(high: 0, low: 0), name: project, created: Timestamp(milliseconds: 0))]
            for file in files { if let listed = listed(file, in: project) { facts.listed.append(listed) } }
        case .tags, .linked: throw RegistryError(.unsupported, subject: .request, reason: "an upstream has no such page")
        }
    }

    /// nil for what has no place under our own URLs: a name of other characters than distributions have, or the name of a sidecar.
    private func listed(_ file: ListedDistribution, in project: PackageName) -> ListedFile? {
        let isName = file.fileName.utf8.allSatisfy { (0x61...0x7A).contains($0 | 0x20) || (0x30...0x39).contains($0) || "._-+!".utf8.contains($0) }
        guard isName, !Sidecar.all.contains(where: { file.fileName.hasSuffix($0) }), let path = AssetPath("\(project.text)/\(file.fileName)") else {
            return nil
        }
        var attributes: [String: String] = [:]
        attributes[Attribute.requiresPython] = file.requiresPython
        attributes[Attribute.coreMetadata] = file.coreMetadata
        attributes[Attribute.yanked] = file.yanked
        let version = DistributionName(file.fileName, of: project)?.version.description
        return ListedFile(
            path: path, url: file.url, digests: file.hashes, size: file.size, package: project, version: version.flatMap { VersionName($0) },
            attributes: attributes, uploaded: file.uploaded)
    }

    private func projectNames(json document: Document) throws(RegistryError) -> [String] {
        let root = try JSON.parse(document.bytes, budget: .upstreamDocument)
        guard let projects = root["projects"]?.array else { throw notAnIndex(document) }
        return projects.compactMap { $0["name"]?.string }
    }

    private func projectNames(html document: Document) throws(RegistryError) -> [String] {
        try HTMLAnchors.parse(document.bytes, budget: .upstreamDocument).anchors.map(\.text)
    }

    private func distributions(json document: Document) throws(RegistryError) -> [ListedDistribution] {
        let root = try JSON.parse(document.bytes, budget: .upstreamDocument)
        guard let files = root["files"]?.array else { throw notAnIndex(document) }
        return files.compactMap { file in
            guard let name = file["filename"]?.string, let reference = file["url"]?.string, let url = absolute(reference, on: document.url) else {
                return nil
            }
            var entry = ListedDistribution(fileName: name, url: url, hashes: [])
            for member in file["hashes"]?.object?.members ?? [] {
                if let algorithm = DigestAlgorithm(rawValue: member.name), let digest = member.value.string.flatMap({ Digest(algorithm, hex: $0) }) {
                    entry.hashes.append(digest)
                }
            }
            entry.size = file["size"]?.int64.flatMap { $0 >= 0 ? $0 : nil }
            entry.requiresPython = file["requires-python"]?.string
            let metadata = file["core-metadata"] ?? file["dist-info-metadata"] ?? file["data-dist-info-metadata"]
            entry.coreMetadata = metadata?["sha256"]?.string ?? (metadata?.bool == true || metadata?.object != nil ? "true" : nil)
            entry.yanked = file["yanked"]?.string ?? (file["yanked"]?.bool == true ? "" : nil)
            entry.uploaded = file[Attribute.uploadTime]?.string.flatMap { Timestamp(rfc3339: $0) }
            return entry
        }
    }

    private func distributions(html document: Document) throws(RegistryError) -> [ListedDistribution] {
        let page = try HTMLAnchors.parse(document.bytes, budget: .upstreamDocument)
        let base = page.base.flatMap { absolute($0, on: document.url) } ?? document.url
        return page.anchors.compactMap { anchor in
            let halves = anchor.href.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
            // The name is the link's, as for pip: what stands between the tags may be cut short or decorated.
            guard let url = absolute(String(halves[0]), on: base), let name = (try? URLReference.parse(url))?.fileName else { return nil }
            var entry = ListedDistribution(fileName: name, url: url, hashes: [])
            if halves.count > 1 { entry.hashes = halves[1].split(separator: "&").compactMap { Self.digest($0) } }
            entry.requiresPython = anchor.attributes["data-requires-python"]
            if let announced = anchor.attributes["data-core-metadata"] ?? anchor.attributes["data-dist-info-metadata"] {
                entry.coreMetadata = Self.digest(announced[...])?.hex ?? "true"
            }
            entry.yanked = anchor.attributes["data-yanked"]
            return entry
        }
    }

    private static func digest(_ text: Substring) -> Digest? {
        let halves = text.split(separator: "=", maxSplits: 1)
        guard halves.count == 2, let algorithm = DigestAlgorithm(rawValue: String(halves[0])) else { return nil }
        return Digest(algorithm, hex: halves[1])
    }

    /// nil for what is no http URL.
    private func absolute(_ reference: String, on base: String) -> String? {
        guard let base = try? URLReference.parse(base), var target = try? base.resolving(URLReference.parse(reference)), target.isAbsolute else {
            return nil
        }
        target.fragment = nil
        return target.description
    }

    private func notAnIndex(_ document: Document) -> RegistryError {
        RegistryError(.invalid, subject: .upstream(document.url), reason: "the upstream's answer is no simple index (PEP 691)")
    }
}
