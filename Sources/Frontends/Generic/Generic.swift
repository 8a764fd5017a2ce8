// Generic: files at paths, for everything that has no protocol of its own and for formats whose clients only GET (p2, opkg, vagrant, Bazel
// registries, models). A file is a release: the same bytes may be put again, others may not.

public import Core
public import FrontendKit
import HTTPTypes

/// Files at paths under `/general/{repository}/{path}`. Reading is the compatible part; PUT and DELETE there are ours.
public struct GenericFrontend: Frontend {
    public let format = Format(name: "generic", aliases: ["p2", "opkg", "mlmodel", "vagrant", "bazel"], mounts: ["/general"])
    public let mergeUnit = MergeUnit.asset
    public let routes: [Route]

    public init() {
        routes = [
            .file("{path+}", freshness: .release, fields: GenericFrontend.fields) { match throws(RegistryError) in
                .path(try GenericFrontend.path(match))
            },
            .action(.put, "{path+}", needs: .write, GenericFrontend.put),
            .action(.delete, "{path+}", needs: .delete, GenericFrontend.delete),
        ]
    }

    public func upstream(for resource: Resource, given facts: Facts) -> UpstreamRequest? {
        guard case .file(let path) = resource else { return nil }
        return UpstreamRequest(url: Percent.encode(path.text, in: .path))
    }

    /// `upstream_checksums` names the kind of file that the upstream keeps beside each of its own: `sha256` for `NAME.sha256`.
    public func upstream(for resource: Resource, given facts: Facts, at upstream: Upstream) -> UpstreamRequest? {
        guard var request = self.upstream(for: resource, given: facts) else { return nil }
        if let kind = upstream.settings["upstream_checksums"], let algorithm = DigestAlgorithm(rawValue: kind), !request.url.hasSuffix(".\(kind)") {
            request.statedIn = [DigestDocument(algorithm, url: request.url + ".\(kind)")]
        }
        return request
    }

    public func learn(_ view: View, from document: Document, into facts: inout Facts) throws(RegistryError) {
        throw RegistryError(.unsupported, subject: .upstream(document.url), reason: "generic repositories have no documents to learn from")
    }

    public func render(_ view: View, from facts: Facts, in context: RenderContext, into page: inout Page) throws(RegistryError) {
        throw RegistryError(.notFound, subject: .request, reason: "generic repositories have no documents: \(view.identity)")
    }

    public func adopt(
        _ path: AssetPath, _ blob: any StagedBytes, contentType: String?, in workshop: any Workshop
    ) async throws(RegistryError) -> Adoption {
        Adoption(edit: GenericFrontend.edit(putting: blob, at: path, contentType: contentType), path: path)
    }

    private static func edit(putting blob: any StagedBytes, at path: AssetPath, contentType: String?) -> Edit {
        let release = GenericLayout.release(at: path)
        let draft = AssetDraft(
            path: path, blob: blob.id, size: blob.size, digests: blob.digests, contentType: ContentType.of(path, declared: contentType),
            package: release?.package, version: release?.version)
        var mutations: [Mutation] = [.putAsset(draft, overwrite: .never)]
        if let release { mutations.insert(.putVersion(release.package, release.version, manifest: .none, attributes: [:]), at: 0) }
        return Edit(mutations: mutations)
    }

    /// `{code, message}`, as the REST API says it.
    public func reply(to failure: RegistryError, for request: RequestHead, in context: ErrorContext) -> Reply {
        GenericErrors.reply(to: failure)
    }

    /// PUT: the file at the path, checked against the digests the client declared.
    private static func put(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let path = try path(request.match)
        let declared = try DeclaredDigests(request.head.fields)
        let parts = try await port.receive(request.body, as: .raw, digests: declared.algorithms)
        guard case .staged(let blob)? = parts.first?.content else {
            throw RegistryError(.invalid, subject: .request, reason: "the body is missing")
        }
        try declared.check(blob)
        try await port.commit(edit(putting: blob, at: path, contentType: request.head.fields[.contentType]), staged: [blob])
        let link = Percent.encode("/general/\(port.context.repository)/\(path)", in: .path)
        return .status(.created, [.location: link, .checksumSHA256: blob.id.hex])
    }

    private static func delete(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        try await port.commit(Edit(mutations: [.deleteAsset(try path(request.match))]), staged: [])
        return .status(.noContent)
    }

    public func tokenName(of match: Match) -> String? { (try? GenericFrontend.path(match))?.text }

    private static func path(_ match: Match) throws(RegistryError) -> AssetPath {
        guard let path = AssetPath(match["path"]) else {
            throw RegistryError(.invalid, subject: .field("path"), reason: "a path has at most 2048 bytes and no empty, '.' or '..' segment")
        }
        return path
    }

    /// What was uploaded is never a page of this site: browsers save it.
    private static func fields(_ asset: Asset) -> HTTPFields {
        [
            .contentDisposition: ContentDisposition.attachment(asset.path.fileName), .checksumSHA256: asset.blob.hex,
            .xContentTypeOptions: "nosniff",
        ]
    }
}
