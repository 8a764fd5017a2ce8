import Logging
import Access
import BlobStore
public import Catalog
import Core
import FrontendKit
import NIOCore
import Outbound

// Remote repositories: a memory of an upstream. Indexes are learned as facts and rendered again; files are fetched once and checked
// against the digest the index published before anything is kept.

extension Registry {
    /// What the upstream's document behind the view says: from memory while fresh, revalidated after, stale when upstream fails.
    func learnedPage(for view: View, in session: RepositorySession, refresh: Bool = false) async throws(RegistryError) -> LearnedPage {
        let repository = session.authorized.repository
        let known = try await catalog.learned(view.identity, in: repository.id)
        // A shorter time set since then counts at once.
        if !refresh, let known, min(known.freshUntil, known.fetched.adding(seconds: freshSeconds(of: repository))) > world.now() { return known }
        return try await indexFetches.run("\(repository.id) \(view.identity)") { () async throws(RegistryError) -> LearnedPage in
            do throws(RegistryError) {
                return try await self.learn(view, knowing: known, in: session)
            } catch {
                guard let known, !known.absent, error.code == .upstreamFailed || error.code == .invalid else { throw error }
                self.log.warning(
                    "upstream failed, stale index served",
                    metadata: ["repository": "\(repository.key)", "view": "\(view.identity)", "error": "\(error)", "request": "\(session.requestID)"])
                return known
            }
        }
    }

    /// The facts of a learned page.
    func facts(of page: LearnedPage) async throws(RegistryError) -> Facts {
        switch page.block {
        case .none: return Facts()
        case .inline(let bytes, _): return try FactsCoding.decode(bytes)
        case .blob(let blob, let size, _): return try FactsCoding.decode(try await storedBytes(blob, size: size))
        }
    }

    private func learn(_ view: View, knowing known: LearnedPage?, in session: RepositorySession) async throws(RegistryError) -> LearnedPage {
        let repository = session.authorized.repository
        guard let wanted = session.frontend.upstream(for: .view(view), given: Facts()) else {
            throw RegistryError(.notFound, subject: .repository(repository.key.text), reason: "upstream has no \(view.name)")
        }
        var request = try fetchRequest(wanted, to: repository, bodyBytesMax: Int64(options.learnedDocumentBytesMax))
        if let known, !known.absent {
            if let etag = known.etag { request.fields.append(("If-None-Match", etag)) }
            if let lastModified = known.lastModified { request.fields.append(("If-Modified-Since", lastModified)) }
        }
        let answer = try await outbound.fetch(request)
        let now = world.now()
        var page = LearnedPage(
            repository: repository.id, view: view.identity, block: .none, etag: answer["ETag"], lastModified: answer["Last-Modified"],
            fetched: now,
            freshUntil: now.adding(seconds: freshSeconds(of: repository)))
        var staged: [any StagedBytes] = []
        switch answer.status {
        case 200:
            var facts = Facts()
            let document = Document(
                bytes: try await collect(answer.body, upTo: options.learnedDocumentBytesMax), contentType: answer["Content-Type"],
                url: answer.url)
            try session.frontend.learn(view, from: document, into: &facts)
            (page.block, staged) = try await block(of: facts)
        case 304:
            guard let known else { throw unexpected(answer.status, from: repository) }
            page.block = known.block
            page.etag = page.etag ?? known.etag
            page.lastModified = page.lastModified ?? known.lastModified
        case 404, 410:
            page.absent = true
            page.freshUntil = now.adding(seconds: options.absenceSeconds)
        default: throw unexpected(answer.status, from: repository)
        }
        page.revision = try await catalog.apply(
            Change(actor: .system, at: now, requestID: session.requestID, parts: [.learned(page)]), staged: staged)
        return try await catalog.learned(view.identity, in: repository.id) ?? page
    }

    private func block(of facts: Facts) async throws(RegistryError) -> (Manifest, [any StagedBytes]) {
        let bytes = FactsCoding.encode(facts)
        let mediaType = "application/vnd.granary.facts"
        guard bytes.count > Manifest.inlineBytesMax else { return (.inline(bytes, mediaType: mediaType), []) }
        let blob = try await blobs.stage(ByteBuffer(bytes: bytes), digests: .sha256)
        return (.blob(blob.id, size: blob.size, mediaType: mediaType), [blob])
    }

    /// A file of the upstream: the copy we hold, else fetched once for everybody who waits.
    func remoteAsset(
        at path: AssetPath, listedIn view: View?, freshness: FileRoute.Freshness, in session: RepositorySession
    ) async throws(RegistryError) -> Asset {
        let repository = session.authorized.repository
        let held = try await catalog.asset(at: path, in: repository.id)
        if freshness == .immutable, let held { return held }
        let name = "\(repository.id) \(path)"
        if absences.contains(name, at: world.now()) { throw absent(path, in: repository) }
        do throws(RegistryError) {
            return try await fileFetches.run(name) { () async throws(RegistryError) -> Asset in
                let (wanted, listed) = try await self.listing(of: path, in: view, session)
                return try await self.fetch(path, wanted, listed, in: session)
            }
        } catch {
            if let held, error.code == .upstreamFailed {
                log.warning(
                    "upstream failed, stale file served",
                    metadata: ["repository": "\(repository.key)", "path": "\(path)", "error": "\(error)", "request": "\(session.requestID)"])
                return held
            }
            if error.code == .notFound { absences.remember(name, until: world.now().adding(seconds: options.absenceSeconds)) }
            throw error
        }
    }

    private func absent(_ path: AssetPath, in repository: Repository) -> RegistryError {
        RegistryError(.notFound, subject: .path(path.text), reason: "the upstream of \(repository.key) has no such file")
    }

    /// Where the index says the file is. A file the known index lacks makes us look once more.
    private func listing(
        of path: AssetPath, in view: View?, _ session: RepositorySession
    ) async throws(RegistryError) -> (UpstreamRequest, ListedFile?) {
        let repository = session.authorized.repository
        guard let view else {
            guard let request = session.frontend.upstream(for: .file(path), given: Facts()) else { throw absent(path, in: repository) }
            return (request, nil)
        }
        for refresh in [false, true] {
            let page = try await learnedPage(for: view, in: session, refresh: refresh)
            if !page.absent {
                let facts = try await facts(of: page)
                if let request = session.frontend.upstream(for: .file(path), given: facts) {
                    return (request, facts.listed.first { $0.path == path })
                }
            }
            // An index that was fetched a moment ago is not fetched again for every name somebody makes up.
            if page.fetched.adding(seconds: options.absenceSeconds) > world.now() { break }
        }
        throw absent(path, in: repository)
    }

    private func fetch(
        _ path: AssetPath, _ wanted: UpstreamRequest, _ listed: ListedFile?, in session: RepositorySession
    ) async throws(RegistryError) -> Asset {
        let repository = session.authorized.repository
        if let size = wanted.expectedSize { try await refuseOverQuota(size, in: repository) }
        let answer = try await outbound.fetch(
            try fetchRequest(wanted, to: repository, bodyBytesMax: wanted.expectedSize ?? repository.quotaBytes ?? .max))
        switch answer.status {
        case 200: break
        case 404, 410: throw absent(path, in: repository)
        default: throw unexpected(answer.status, from: repository)
        }
        let staging = try blobs.stage(expectedLength: answer.body.length, digests: DigestSet(wanted.expected.map(\.algorithm)))
        try await answer.body.drain(into: staging)
        let staged = try await staging.finish()
        try verify(staged, against: wanted, of: path, from: repository)
        let kept = AssetDraft(
            path: path, blob: staged.id, size: staged.size, digests: staged.digests, contentType: inertType(answer["Content-Type"]),
            package: listed?.package, version: listed?.version, attributes: listed?.attributes ?? [:])
        let edit = Edit(mutations: [.putAsset(kept, overwrite: .allowed)])
        try await catalog.apply(
            Change(actor: .system, at: world.now(), requestID: session.requestID, parts: [.edit(repository.id, edit)]), staged: [staged])
        guard let asset = try await catalog.asset(at: path, in: repository.id) else {
            throw RegistryError(.internal, subject: .path(path.text), reason: "a fetched file is not there after its commit")
        }
        return asset
    }

    /// Nothing is kept that is not what the index promised.
    private func verify(
        _ staged: any StagedBytes, against wanted: UpstreamRequest, of path: AssetPath, from repository: Repository
    ) throws(RegistryError) {
        if let size = wanted.expectedSize, size != staged.size {
            throw RegistryError(
                .upstreamFailed, subject: .path(path.text), reason: "upstream sent \(staged.size) bytes of \(path), its index says \(size)")
        }
        for expected in wanted.expected {
            guard let actual = staged.digest(expected.algorithm), actual == expected else {
                throw RegistryError(
                    .upstreamFailed, subject: .path(path.text),
                    reason: "upstream sent bytes of \(path) that are not those its index promised (\(expected)); nothing was kept")
            }
        }
    }

    private func fetchRequest(_ wanted: UpstreamRequest, to repository: Repository, bodyBytesMax: Int64) throws(RegistryError) -> FetchRequest {
        guard let upstream = repository.upstreamURL else {
            throw RegistryError(.invalid, subject: .repository(repository.key.text), reason: "\(repository.key) has no upstream_url")
        }
        var request = FetchRequest(url: Registry.url(of: wanted.url, at: upstream))
        if let accept = wanted.accept { request.fields.append(("Accept", accept)) }
        request.limits.bodyBytesMax = bodyBytesMax
        if repository.settings["upstream_allow_private"] == "true" {
            request.addressPolicy = AddressPolicy(allowPrivate: true, allowedCIDRs: options.allowedCIDRs)
        }
        // Scheme and authority of it: a path would trust nobody.
        request.credentialOrigin = upstream.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false).prefix(3).joined(separator: "/")
        if let name = repository.settings["upstream_username"], let sealed = repository.settings["upstream_password"] {
            request.credentials = .basic(user: name, password: try sealer.open(sealed, for: "\(repository.id) upstream_password").revealed)
        } else if let sealed = repository.settings["upstream_token"] {
            request.credentials = .bearer(try sealer.open(sealed, for: "\(repository.id) upstream_token").revealed)
        }
        return request
    }

    /// An absolute reference as it is, a relative one below the upstream's URL. Segments that end the one and begin the other are written once:
    /// clients are configured with `…/simple` or `…/v2`, and people paste what their client has.
    static func url(of wanted: String, at upstream: String) -> String {
        guard !wanted.hasPrefix("http://"), !wanted.hasPrefix("https://") else { return wanted }
        let base = upstream.split(separator: "/", omittingEmptySubsequences: false).reversed().drop { $0.isEmpty }.reversed().map { $0 }
        let rest = wanted.split(separator: "/", omittingEmptySubsequences: false)
        // Scheme, nothing and host stand before an upstream's path.
        let shared = (1...max(1, rest.count)).first { $0 < rest.count && base.count >= 3 + $0 && base.suffix($0) == rest.prefix($0) } ?? 0
        return (base + rest.dropFirst(shared)).joined(separator: "/")
    }

    /// An upstream's type for a file, unless a browser would run it.
    private func inertType(_ contentType: String?) -> String {
        guard let contentType, !contentType.lowercased().contains("html"), !contentType.lowercased().contains("svg") else {
            return "application/octet-stream"
        }
        return contentType
    }

    public func freshSeconds(of repository: Repository) -> Int64 {
        repository.settings["cache_ttl_seconds"].flatMap { Int64($0) } ?? options.indexFreshSeconds
    }

    private func unexpected(_ status: Int, from repository: Repository) -> RegistryError {
        RegistryError(
            .upstreamFailed, subject: .repository(repository.key.text), reason: "the upstream of \(repository.key) answered \(status)",
            retryAfterSeconds: status >= 500 || status == 429 ? 1 : nil)
    }

    /// Upstream documents are read whole, since they are learned from whole; the cap is the option's, a few are under way at once.
    private func collect(_ body: Body, upTo bytesMax: Int) async throws(RegistryError) -> [UInt8] {
        var bytes: [UInt8] = []
        while let slice = try await body.next() {
            guard bytes.count + slice.readableBytes <= bytesMax else {
                throw RegistryError(.upstreamFailed, subject: .request, reason: "the upstream's document is larger than \(bytesMax) bytes")
            }
            bytes.append(contentsOf: slice.readableBytesView)
        }
        return bytes
    }
}
