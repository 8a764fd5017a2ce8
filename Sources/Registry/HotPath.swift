import Access
import BlobStore
import Catalog
import Core
import FrontendKit
import HTTPTypes

// The short road of a download, of a file or of a package's index page: when memory alone can answer all of its questions, it is answered on the
// event loop, or, where several nodes share a catalog, right after the request has learned what is new. Every question of the long road is asked here
// too, in the same order; whatever memory does not know, or refuses, goes down the long road, which says why.

extension Registry {
    func respondNow(to head: RequestHead, in mount: Mount) -> Response? {
        guard head.method == .get || head.method == .head, let hot = catalog as? any HotCatalog, !access.setupRequired else { return nil }
        let path = head.path.dropping(mount.prefix.count)
        guard let key = path.segments.first.flatMap({ RepositoryKey($0) }),
            case .found(let route, let match) = mount.routes.find(path.dropping(1), head.method, of: key), route.mayBeHot
        else { return nil }
        let format = mount.frontend.format
        let givesTokens = format.givesTokens
        do throws(RegistryError) {
            guard let (caller, standing) = try access.authenticateAtOnce(.from(head, authorizationOnly: givesTokens)) else { return nil }
            // What is not there is asked about as what may not be seen is: the time that it takes would tell.
            let named = hot.repository(key)?.id ?? RepositoryID(high: 0, low: 0)
            if !givesTokens { try access.refuseRegistryToken(caller) }
            // Every mark comes before what it marks is read; only the repository has to be read once to know which.
            let mark = hot.stamps.mark(.repository(named))
            let repository = hot.repository(key)
            guard format.answers(to: repository?.format ?? format.name) else { return nil }
            // A name is only worth its making where somebody is bound to names.
            let subject = caller.isBoundToNames ? Subject(name: mount.frontend.tokenName(of: match)) : .whole
            guard let authorized = access.authorizeAtOnce(caller, route.needs, on: repository, about: subject), !authorized.isLimited,
                authorized.repository.id == named
            else {
                return nil
            }
            let road = HotRoad(hot: hot, authorized: authorized, standing: standing, repositoryMark: mark)
            return switch route.kind {
            case .file(let file): try hotFile(file, match, head, road)
            case .view(let identify): try hotView(try identify(Request(head: head, match: match, body: .empty)), road)
            default: nil
            }
        } catch {
            // A refusal is worded by the long road, once.
            return nil
        }
    }

    /// The same where others change the catalog, too: what is known is as new as the request, and the answer is for this one alone.
    func respondAfterCatchUp(to head: RequestHead, in mount: Mount) -> Response? {
        guard catalog.isShared, var response = respondNow(to: head, in: mount) else { return nil }
        response.currency = nil
        return response
    }

    private func hotFile(_ file: FileRoute, _ match: Match, _ head: RequestHead, _ road: HotRoad) throws(RegistryError) -> Response? {
        let (hot, repository) = (road.hot, road.authorized.repository)
        guard isLocal(repository) || repository.kind == .remote && freshness(file.freshness, in: repository) == .immutable,
            case .path(let assetPath) = try file.locate(match)
        else { return nil }
        let assetMark = hot.stamps.mark(.asset(repository.id, assetPath))
        guard case .found(let asset) = try hot.cachedAsset(at: assetPath, in: repository.id) else { return nil }
        let verdictMark = hot.stamps.mark(.verdict(asset.blob))
        guard case .absent = try hot.cachedVerdict(on: asset.blob), case .found(let content) = try blobs.cachedContent(of: asset.blob) else {
            return nil
        }
        let isPointer = freshness(file.freshness, in: repository) == .pointer
        var response = fileResponse(asset, content, road.authorized, fields: file.fields(asset), isPointer: isPointer, head: head)
        let counts = DownloadCounter.counts(head, Response.Validator(etag: "\"\(asset.blob.hex)\""))
        response.currency = road.currency([assetMark, verdictMark], access) { [self] in
            note(asset.path, in: repository, isDownload: counts)
        }
        return response
    }

    /// What a package's page was rendered from is the package and the repository's settings, and nothing else.
    private func hotView(_ view: View, _ road: HotRoad) throws(RegistryError) -> Response? {
        let repository = road.authorized.repository
        guard isLocal(repository), view.part == nil, case .package(let name) = view.scope else { return nil }
        let mark = road.hot.stamps.mark(.package(repository.id, name))
        guard case .found(let package) = try road.hot.cachedPackage(name, in: repository.id),
            let page = views.page(
                ViewCache.Key(repository: repository.id, view: view), fingerprint: ViewSource.local(package.revision),
                context: context(of: repository))
        else { return nil }
        var response = response(of: page, view, isShared: repository.isPublic)
        response.currency = road.currency([mark], access) {}
        return response
    }
}

extension Route {
    fileprivate var mayBeHot: Bool {
        switch kind {
        case .file(let file): file.describe == nil
        case .view: true
        case .answer, .action, .mounted: false
        }
    }
}

/// Who asks for what in which repository, and what holds as long as that does.
private struct HotRoad {
    let hot: any HotCatalog
    let authorized: Authorized
    let standing: Access.Standing
    let repositoryMark: Stamps.Mark

    func currency(_ marks: [Stamps.Mark], _ access: Access, given: @escaping @Sendable () -> Void) -> Response.Currency {
        Response.Currency { [stamps = hot.stamps, repositoryMark, standing] in
            stamps.holds(repositoryMark) && marks.allSatisfy { stamps.holds($0) } && access.isCurrent(standing)
        } given: {
            given()
        }
    }
}

extension HotCatalog {
    fileprivate func repository(_ key: RepositoryKey) -> Repository? {
        guard case .found(let repository) = cachedRepository(key) else { return nil }
        return repository
    }
}
