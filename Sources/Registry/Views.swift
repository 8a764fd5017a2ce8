import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import NIOCore
import Synchronization

extension Registry {
    /// A rendered view: from the cache when nothing it was computed from has changed, else rendered once and kept.
    func viewResponse(
        _ view: View, in session: RepositorySession, head: RequestHead, fields: HTTPFields = [:]
    ) async throws(RegistryError) -> Response {
        if let part = view.part { return try await editionResponse(part, in: session, head: head, fields: fields) }
        let repository = session.authorized.repository
        let source = try await source(of: view, in: session)
        let key = ViewCache.Key(repository: repository.id, view: view, audience: source.audience)
        let context = context(of: repository)
        let page: ViewCache.Rendered
        if let cached = views.page(key, fingerprint: source.fingerprint, context: context) {
            page = cached
        } else {
            let facts = try await source.facts()
            let frontend = session.frontend
            page = try await workers.run { () throws(RegistryError) -> ViewCache.Rendered in
                var page = Page()
                try frontend.render(view, from: facts, in: context, into: &page)
                return ViewCache.Rendered(page, fingerprint: source.fingerprint, context: context)
            }
            views.keep(page, as: key)
        }
        return response(of: page, view, isShared: repository.isPublic && !source.isRestricted, fields: fields)
    }

    /// - Parameter isShared: whether everybody may see it.
    func response(of page: ViewCache.Rendered, _ view: View, isShared: Bool, fields: HTTPFields = [:]) -> Response {
        var all = page.fields
        all[.contentType] = page.contentType
        if let vary = view.vary { all[.vary] = vary }
        // Asked again each time, answered with 304: what was published a second ago is seen by the next install.
        all[.cacheControl] = isShared ? "public, no-cache" : "private, no-cache"
        all[.contentSecurityPolicy] = "default-src 'none'; sandbox"
        for field in fields { all[field.name] = field.value }
        return Response(.ok, fields: all, content: .bytes(page.body), validator: .init(etag: page.etag))
    }
}

/// Rendered documents in memory, least recently used out first, bounded by bytes. Derived: losing all of it costs time only.
final class ViewCache: Sendable {
    struct Key: Hashable, Sendable {
        let repository: RepositoryID
        let view: View
        /// Of a virtual repository: which of its members the caller sees.
        var audience = ""
    }

    struct Rendered: Sendable {
        let body: ByteBuffer
        let contentType: String
        let fields: HTTPFields
        let etag: String
        let fingerprint: String
        let context: RenderContext

        init(_ page: Page, fingerprint: String, context: RenderContext) {
            body = ByteBuffer(bytes: page.bytes)
            contentType = page.contentType
            fields = page.fields
            etag = "\"\(Digest.of(.sha256, page.bytes).hex)\""
            self.fingerprint = fingerprint
            self.context = context
        }
    }

    private struct State {
        var pages: [Key: (page: Rendered, used: UInt64)] = [:]
        var bytes = 0
        var clock: UInt64 = 0
    }

    private let bytesMax: Int
    private let state = Mutex(State())

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    func page(_ key: Key, fingerprint: String, context: RenderContext) -> Rendered? {
        state.withLock { state in
            guard let entry = state.pages[key], entry.page.fingerprint == fingerprint, entry.page.context == context else { return nil }
            state.clock += 1
            state.pages[key]?.used = state.clock
            return entry.page
        }
    }

    func keep(_ page: Rendered, as key: Key) {
        let size = page.body.readableBytes
        // One page may not push out all the others.
        guard size <= bytesMax / 4 else { return }
        state.withLock { state in
            if let old = state.pages[key] { state.bytes -= old.page.body.readableBytes }
            state.clock += 1
            state.pages[key] = (page, state.clock)
            state.bytes += size
            guard state.bytes > bytesMax else { return }
            // Down to three quarters at once, so that a full cache is not sorted for every page.
            for (key, entry) in state.pages.sorted(by: { $0.value.used < $1.value.used }) {
                guard state.bytes > bytesMax / 4 * 3 else { break }
                state.pages[key] = nil
                state.bytes -= entry.page.body.readableBytes
            }
        }
    }

    /// Drops what was computed from the package, or (nil) from the repository as a whole.
    func forget(_ repository: RepositoryID, package: PackageName?) {
        state.withLock { state in
            for (key, entry) in state.pages where key.repository == repository {
                if let package, case .package(let name) = key.view.scope, name != package { continue }
                state.pages[key] = nil
                state.bytes -= entry.page.body.readableBytes
            }
        }
    }

    var bytes: Int { state.withLock { $0.bytes } }
}
