import Core
import FrontendKit
import HTTPTypes

/// A format of our own for tests of the engine: a package is one text document, `<name>.txt`, that says
/// `version V`, `tag T V` and `file PATH SHA256`, a line each.
struct Ledger: Frontend {
    let format = Format(name: "ledger", mounts: ["/ledger"])

    var routes: [Route] {
        [
            .view("signed/{name}", options: [.verbatim]) { request throws(RegistryError) in try page(request.match, "signed") },
            .view("rendered/{name}") { request throws(RegistryError) in try page(request.match, "rendered") },
            .file("pointer/{path+}", freshness: .pointer) { match throws(RegistryError) in .path(try path("pointer/" + match["path"])) },
            .file("{name}/files/{file}", listedIn: { match throws(RegistryError) in try page(match, "signed") }) { match throws(RegistryError) in
                .path(try path("\(match["name"])/files/\(match["file"])"))
            },
            .file("named/{name}/{tag}", freshness: .pointer) { match throws(RegistryError) in
                .tagged(try package(match), try tag(match), named: try path("named/\(match["name"])/\(match["tag"])")) { AssetPath("by/\($0)") }
            },
            .file("by/{digest}", freshness: .pointer) { match throws(RegistryError) in .path(try path("by/" + match["digest"])) },
            .answer("tags/{name}") { request, port throws(RegistryError) in
                let tags = try await port.facts(in: .tags(try package(request.match)), after: request.head.query["after"], limit: 2).tags
                return .text(tags.map { "\($0.name)=\($0.version)\n" }.joined())
            },
            .answer("tag/{name}/{tag}") { request, port throws(RegistryError) in
                guard let tag = try await port.tag(try tag(request.match), of: try package(request.match)),
                    let version = try await port.version(tag.version, of: tag.package)
                else { throw RegistryError(.notFound, subject: .request, reason: "no such tag") }
                return .text("\(version.name)\n")
            },
        ]
    }

    func upstream(for resource: Resource, given facts: Facts) -> UpstreamRequest? {
        switch resource {
        case .view(let view):
            guard view.name == "signed", case .package(let name) = view.scope else { return nil }
            return UpstreamRequest(url: "signed/\(name).txt", copy: AssetPath("signed/\(name).txt"))
        case .file(let path):
            if let listed = facts.listed.first(where: { $0.path == path }) { return UpstreamRequest(url: listed.url, expected: listed.digests) }
            if path.segments.count > 1, path.segments[1] == "files" { return nil }
            if path.segments.first == "by" {
                return UpstreamRequest(url: path.text, expected: Digest(parsing: String(path.fileName)).map { [$0] } ?? [])
            }
            if path.segments.first == "named" { return UpstreamRequest(url: path.text, alsoAt: { AssetPath("by/\($0)") }) }
            return UpstreamRequest(url: path.text)
        }
    }

    func source(of scope: Scope) -> View? {
        switch scope {
        case .package(let name), .tags(let name): View(name: "signed", scope: .package(name))
        default: nil
        }
    }

    func learn(_ view: View, from document: Document, into facts: inout Facts) throws(RegistryError) {
        guard case .package(let name) = view.scope else { return }
        let none = EntityID(high: 0, low: 0)
        let zero = Timestamp(milliseconds: 0)
        facts.packages = [Package(id: none, name: name, created: zero)]
        for line in String(decoding: document.bytes, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ")
            switch words.first {
            case "version":
                guard let version = VersionName(words[1]) else { continue }
                facts.versions.append(Version(id: none, package: name, name: version, created: zero, creator: ""))
            case "tag":
                guard let tag = TagName(words[1]), let version = VersionName(words[2]) else { continue }
                facts.tags.append(Tag(package: name, name: tag, version: version, updated: zero))
            case "file":
                guard let path = AssetPath("\(name)/files/\(words[1])"), let digest = Digest(.sha256, hex: words[2]) else { continue }
                facts.listed.append(ListedFile(path: path, url: String(words[1]), digests: [digest], size: nil, package: name, version: nil))
            default: throw RegistryError(.invalid, subject: .upstream(document.url), reason: "this is no ledger")
            }
        }
    }

    func render(_ view: View, from facts: Facts, in context: RenderContext, into page: inout Page) throws(RegistryError) {
        guard !facts.packages.isEmpty else { throw RegistryError(.notFound, subject: .request, reason: "no such ledger") }
        page.contentType = "text/plain"
        for version in facts.versions { page.append("version \(version.name)\n") }
    }

    func adopt(
        _ path: AssetPath, _ blob: any StagedBytes, contentType: String?, in workshop: any Workshop
    ) async throws(RegistryError) -> Adoption {
        throw RegistryError(.unsupported, subject: .path(path.text), reason: "a ledger is only read")
    }

    func reply(to failure: RegistryError, for request: RequestHead, in context: ErrorContext) -> Reply {
        .text(failure.reason + "\n", .init(code: failure.code.status))
    }

    private func page(_ match: Match, _ name: String) throws(RegistryError) -> View { View(name: name, scope: .package(try package(match))) }

    private func package(_ match: Match) throws(RegistryError) -> PackageName {
        let text = match["name"].replacing(".txt", with: "")
        guard let name = PackageName(text) else { throw RegistryError(.notFound, subject: .request, reason: "no such ledger") }
        return name
    }

    private func tag(_ match: Match) throws(RegistryError) -> TagName {
        guard let tag = TagName(match["tag"]) else { throw RegistryError(.notFound, subject: .request, reason: "no such tag") }
        return tag
    }

    private func path(_ text: String) throws(RegistryError) -> AssetPath {
        guard let path = AssetPath(text) else { throw RegistryError(.notFound, subject: .request, reason: "no such file") }
        return path
    }
}
