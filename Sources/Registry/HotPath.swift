import Access
import BlobStore
import Catalog
import Core
import FrontendKit
import HTTPTypes

// The short road of a download: when memory alone can answer all of its questions, it is answered on the event loop. Every question of the
// long road is asked here too, in the same order; whatever memory does not know, or refuses, goes down the long road, which says why.

extension Registry {
    func respondNow(to head: RequestHead, at mountDepth: Int, of frontend: any Frontend) -> Response? {
        guard head.method == .get || head.method == .head, let hot = catalog as? any HotCatalog, !access.setupRequired else { return nil }
        let path = head.path.dropping(mountDepth)
        guard let key = path.segments.first.flatMap({ RepositoryKey($0) }),
            case .found(let route, let match) = RouteTable.find(path.dropping(1), head.method, at: .repository, in: frontend.routes, of: key),
            case .file(let file) = route.kind, file.describe == nil
        else { return nil }
        do throws(RegistryError) {
            guard let caller = try access.authenticateAtOnce(.from(head.fields)), case .found(let repository) = hot.cachedRepository(key),
                isLocal(repository) || repository.kind == .remote && freshness(file.freshness, in: repository) == .immutable,
                frontend.format.answers(to: repository.format)
            else { return nil }
            let authorized = try access.authorize(caller, route.needs, on: repository, package: frontend.tokenName(of: match))
            guard case .path(let assetPath) = try file.locate(match), case .found(let asset) = try hot.cachedAsset(at: assetPath, in: repository.id),
                case .absent = try hot.cachedVerdict(on: asset.blob), case .found(let content) = try blobs.cachedContent(of: asset.blob)
            else { return nil }
            return fileResponse(
                asset, content, authorized, fields: file.fields(asset), isPointer: freshness(file.freshness, in: repository) == .pointer, head: head)
        } catch {
            // A refusal is worded by the long road, once.
            return nil
        }
    }
}
