public import Core
public import FrontendKit
import Parsing

// The simple API: `render` and `learn` side by side, each the other's proof.

extension PyPIFrontend {
    public func render(_ view: View, from facts: Facts, in context: RenderContext, into page: inout Page) throws(RegistryError) {
        guard let representation = Representation(rawValue: view.variant) else {
            throw RegistryError(.internal, subject: .request, reason: "there is no representation \(view.variant)")
        }
        page.contentType = representation == .legacy ? "text/html; charset=utf-8" : representation.mediaType
        switch view.scope {
        case .packages: renderIndex(facts, as: representation, into: &page)
        case .package(let name): try renderProject(name, facts, as: representation, in: context, into: &page)
        default: throw RegistryError(.notFound, subject: .request, reason: "there is no such page")
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
        for name in names { page.append("<a href=\"\(Percent.encode(name.normal, in: .strict))/\">\(HTMLText.escape(name.shown))</a><br>\n") }
        page.append("</body>\n</html>\n")
    }

    private func renderProject(
        _ name: PackageName, _ facts: Facts, as representation: Representation, in context: RenderContext, into page: inout Page
    ) throws(RegistryError) {
        let files = files(of: name, in: facts)
        guard !files.isEmpty || !facts.packages.isEmpty else {
            throw RegistryError(.notFound, subject: .package(name.text), reason: "\(context.repository) has no project \(name)")
        }
        guard representation == .json else {
            page.append(Self.htmlHead(title: "Links for \(name)"))
            page.append("<h1>Links for \(HTMLText.escape(name.text))</h1>\n")
            for file in files { page.append(Self.anchor(file, in: context)) }
            page.append("</body>\n</html>\n")
            return
        }
        // PEP 700 makes sizes mandatory from 1.1 on: what an upstream leaves out cannot be claimed.
        let isFull = files.allSatisfy { $0.size != nil }
        var versions: [String] = []
        for file in files { if let version = file.version?.text, versions.last != version { versions.append(version) } }
        page.append(
            JSON.object(present: [
                "meta": meta(isFull ? "1.3" : "1.0"), "name": JSON(name.text), "versions": isFull ? .array(versions.map { JSON($0) }) : nil,
                "files": .array(files.map { Self.row($0, in: context) }),
            ]).encoded())
    }

    private func meta(_ version: String) -> JSON { .object(.init([("api-version", JSON(version))])) }

    /// What we hold and what an upstream lists, in the order of the versions (PEP 440), then of the names.
    private func files(of name: PackageName, in facts: Facts) -> [ListedFile] {
        var yanked: [VersionName: String] = [:]
        for version in facts.versions { if case .yanked(let reason) = version.state { yanked[version.name] = reason } }
        var files = facts.listed
        for asset in facts.assets where !Sidecar.all.contains(where: { asset.path.text.hasSuffix($0) }) {
            var file = ListedFile(
                path: asset.path, url: "", digests: [asset.blob.digest], size: asset.size, package: name, version: asset.version,
                attributes: asset.attributes, uploaded: asset.created)
            file.attributes[Attribute.yanked] = asset.version.flatMap { yanked[$0] }
            files.append(file)
        }
        let keyed = files.map { (order: $0.version.flatMap { PEP440Version($0.text) }, file: $0) }
        return keyed.sorted { a, b in
            switch (a.order, b.order) {
            case (let x?, let y?) where x != y: x < y
            case (nil, _?): true
            case (_?, nil): false
            default: a.file.path < b.file.path
            }
        }.map(\.file)
    }

    /// Ours, whoever holds the file.
    private static func url(of file: ListedFile, in context: RenderContext) -> String {
        "/pypi/\(context.repository)/simple/\(Percent.encode(file.package.text, in: .strict))/\(Percent.encode(file.path.fileName, in: .strict))"
    }

    private static func provenance(of file: ListedFile, in context: RenderContext) -> String? {
        file.attributes[Attribute.provenance].map { _ in context.baseURL + url(of: file, in: context) + Sidecar.provenance }
    }

    /// A file's row in JSON (PEP 691, 700, 714, 740).
    private static func row(_ file: ListedFile, in context: RenderContext) -> JSON {
        let metadata = file.attributes[Attribute.coreMetadata]
        let announced: JSON = metadata.map { $0 == "true" ? JSON(true) : JSON.object(.init([("sha256", JSON($0))])) } ?? false
        return .object(present: [
            "filename": JSON(String(file.path.fileName)), "url": JSON(url(of: file, in: context)),
            "hashes": .object(.init(file.digests.map { ($0.algorithm.rawValue, JSON($0.hex)) })),
            "requires-python": file.attributes[Attribute.requiresPython].map { JSON($0) },
            // Both names: PEP 714 renamed the key because of clients that crashed on the first.
            "core-metadata": announced, "dist-info-metadata": announced,
            "size": file.size.map { JSON($0) }, Attribute.uploadTime: file.uploaded.map { JSON($0.description) },
            "yanked": file.attributes[Attribute.yanked].map { $0.isEmpty ? JSON(true) : JSON($0) } ?? JSON(false),
            "gpg-sig": file.attributes[Attribute.signature].map { _ in JSON(true) },
            "provenance": provenance(of: file, in: context).map { JSON($0) } ?? JSON.null,
        ])
    }

    private static func htmlHead(title: String) -> String {
        "<!DOCTYPE html>\n<html>\n<head>\n<meta name=\"pypi:repository-version\" content=\"1.3\">\n"
            + "<title>\(HTMLText.escape(title))</title>\n</head>\n<body>\n"
    }

    private static func anchor(_ file: ListedFile, in context: RenderContext) -> String {
        var text = "<a href=\"\(url(of: file, in: context))"
        // One digest fits a fragment: the best that clients know.
        if let hash = DigestAlgorithm.allCases.lazy.compactMap({ wanted in file.digests.first { $0.algorithm == wanted } }).first {
            text += "#\(hash.algorithm.rawValue)=\(hash.hex)"
        }
        text += "\""
        let metadata = file.attributes[Attribute.coreMetadata].map { $0 == "true" ? $0 : "sha256=\($0)" }
        let attributes = [
            ("requires-python", file.attributes[Attribute.requiresPython]), ("dist-info-metadata", metadata), ("core-metadata", metadata),
            ("yanked", file.attributes[Attribute.yanked]), ("gpg-sig", file.attributes[Attribute.signature]),
            ("provenance", provenance(of: file, in: context)),
        ]
        for case (let name, let value?) in attributes { text += " data-\(name)=\"\(HTMLText.escape(value))\"" }
        return text + ">\(HTMLText.escape(file.path.fileName))</a><br>\n"
    }
}

extension PyPIFrontend {
    public func learn(_ view: View, from document: Document, into facts: inout Facts) throws(RegistryError) {
        let isJSON = document.contentType.flatMap { MediaType(parsing: $0) }.map { $0.subtype.hasSuffix("json") } ?? false
        switch view.scope {
        case .packages:
            var seen: Set<PackageName> = []
            for name in try projectNames(document, isJSON: isJSON) {
                guard PEP503.isName(name), let package = PackageName(PEP503.normalize(name)), seen.insert(package).inserted else { continue }
                facts.packages.append(Package(id: EntityID(high: 0, low: 0), name: package, displayName: name, created: Timestamp(milliseconds: 0)))
            }
        case .package(let project):
            facts.packages = [Package(id: EntityID(high: 0, low: 0), name: project, created: Timestamp(milliseconds: 0))]
            facts.listed = isJSON ? try files(of: project, json: document) : try files(of: project, html: document)
        default: throw RegistryError(.unsupported, subject: .request, reason: "an upstream has no such page")
        }
    }

    /// nil for what has no place under our own URLs: a name of other characters than distributions have, or the name of a sidecar.
    private func listed(_ name: String, at url: String, in project: PackageName) -> ListedFile? {
        let isName = name.utf8.allSatisfy { (0x61...0x7A).contains($0 | 0x20) || (0x30...0x39).contains($0) || "._-+!".utf8.contains($0) }
        guard isName, !Sidecar.all.contains(where: { name.hasSuffix($0) }), let path = AssetPath("\(project.text)/\(name)") else { return nil }
        let version = DistributionName(name, of: project).flatMap { VersionName($0.version.description) }
        return ListedFile(path: path, url: url, digests: [], size: nil, package: project, version: version)
    }

    private func projectNames(_ document: Document, isJSON: Bool) throws(RegistryError) -> [String] {
        guard isJSON else { return try HTMLAnchors.parse(document.bytes, budget: .upstreamDocument).anchors.map(\.text) }
        guard let projects = try JSON.parse(document.bytes, budget: .upstreamDocument)["projects"]?.array else { throw notAnIndex(document) }
        return projects.compactMap { $0["name"]?.string }
    }

    private func files(of project: PackageName, json document: Document) throws(RegistryError) -> [ListedFile] {
        let root = try JSON.parse(document.bytes, budget: .upstreamDocument)
        guard let files = root["files"]?.array else { throw notAnIndex(document) }
        return files.compactMap { row in
            guard let name = row["filename"]?.string, let url = row["url"]?.string.flatMap({ absolute($0, on: document.url) }),
                var file = listed(name, at: url, in: project)
            else { return nil }
            for member in row["hashes"]?.object?.members ?? [] {
                if let algorithm = DigestAlgorithm(rawValue: member.name), let digest = member.value.string.flatMap({ Digest(algorithm, hex: $0) }) {
                    file.digests.append(digest)
                }
            }
            file.size = row["size"]?.int64.flatMap { $0 >= 0 ? $0 : nil }
            file.uploaded = row[Attribute.uploadTime]?.string.flatMap { Timestamp(rfc3339: $0) }
            file.attributes[Attribute.requiresPython] = row["requires-python"]?.string
            let metadata = row["core-metadata"] ?? row["dist-info-metadata"] ?? row["data-dist-info-metadata"]
            let isAnnounced = metadata?.bool == true || metadata?.object != nil
            file.attributes[Attribute.coreMetadata] = metadata?["sha256"]?.string ?? (isAnnounced ? "true" : nil)
            file.attributes[Attribute.yanked] = row["yanked"]?.string ?? (row["yanked"]?.bool == true ? "" : nil)
            file.attributes[Attribute.provenance] = row["provenance"]?.string.flatMap { absolute($0, on: document.url) }
            if row["gpg-sig"]?.bool == true { file.attributes[Attribute.signature] = "true" }
            return file
        }
    }

    private func files(of project: PackageName, html document: Document) throws(RegistryError) -> [ListedFile] {
        let page = try HTMLAnchors.parse(document.bytes, budget: .upstreamDocument)
        let base = page.base.flatMap { absolute($0, on: document.url) } ?? document.url
        return page.anchors.compactMap { anchor in
            let halves = anchor.href.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
            // The name is the link's, as for pip: what stands between the tags may be cut short or decorated.
            guard let url = absolute(String(halves[0]), on: base), let name = (try? URLReference.parse(url))?.fileName,
                var file = listed(name, at: url, in: project)
            else { return nil }
            if halves.count > 1 { file.digests = halves[1].split(separator: "&").compactMap { Self.digest($0) } }
            file.attributes[Attribute.requiresPython] = anchor.attributes["data-requires-python"]
            if let announced = anchor.attributes["data-core-metadata"] ?? anchor.attributes["data-dist-info-metadata"] {
                file.attributes[Attribute.coreMetadata] = Self.digest(announced[...])?.hex ?? "true"
            }
            file.attributes[Attribute.yanked] = anchor.attributes["data-yanked"]
            file.attributes[Attribute.provenance] = anchor.attributes["data-provenance"].flatMap { absolute($0, on: base) }
            if anchor.attributes["data-gpg-sig"] == "true" { file.attributes[Attribute.signature] = "true" }
            return file
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
