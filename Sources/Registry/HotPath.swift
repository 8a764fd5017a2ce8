import Access
import BlobStore
import Catalog
import Core
import FrontendKit
import HTTPTypes

// The short road of a download: when memory alone can answer all of its questions, it is answered on the event loop. Every question of the
// long road is asked here too, in the same order; whatever memory does not know, or refuses, goes down the long road, which says why.

extension Registry {
    func respondNow(to head: RequestHead, in mount: Mount) -> Response? {
        guard head.method == .get || head.method == .head, let hot = catalog as? any HotCatalog, !access.setupRequired else { return nil }
        let path = head.path.dropping(mount.prefix.count)
        let frontend = mount.frontend
        guard let key = path.segments.first.flatMap({ RepositoryKey($0) }),
            case .found(let route, let match) = mount.routes.find(path.dropping(1), head.method, of: key),
            case .file(let file) = route.kind, file.describe == nil
        else { return nil }
        do throws(RegistryError) {
            guard let (caller, standing) = try access.authenticateAtOnce(.from(head.fields)), case .found(let named) = hot.cachedRepository(key)
            else {
                return nil
            }
            // Every mark comes before what it marks is read; only the repository has to be read once to know which.
            let repositoryMark = hot.stamps.mark(.repository(named.id))
            guard case .found(let repository) = hot.cachedRepository(key), repository.id == named.id,
                isLocal(repository) || repository.kind == .remote && freshness(file.freshness, in: repository) == .immutable,
                frontend.format.answers(to: repository.format)
            else { return nil }
            let authorized = try access.authorize(caller, route.needs, on: repository, package: frontend.tokenName(of: match))
            guard case .path(let assetPath) = try file.locate(match) else { return nil }
            let assetMark = hot.stamps.mark(.asset(repository.id, assetPath))
            guard case .found(let asset) = try hot.cachedAsset(at: assetPath, in: repository.id) else { return nil }
            let verdictMark = hot.stamps.mark(.verdict(asset.blob))
            guard case .absent = try hot.cachedVerdict(on: asset.blob), case .found(let content) = try blobs.cachedContent(of: asset.blob) else {
                return nil
            }
            let isPointer = freshness(file.freshness, in: repository) == .pointer
            var response = fileResponse(asset, content, authorized, fields: file.fields(asset), isPointer: isPointer, head: head)
            let counts = DownloadCounter.counts(head, Response.Validator(etag: "\"\(asset.blob.hex)\""))
            response.currency = Response.Currency { [access, stamps = hot.stamps] in
                stamps.holds(assetMark) && stamps.holds(repositoryMark) && stamps.holds(verdictMark) && access.isCurrent(standing)
            } given: { [self] in
                note(asset.path, in: repository, isDownload: counts)
            }
            return response
        } catch {
            // A refusal is worded by the long road, once.
            return nil
        }
    }
}
