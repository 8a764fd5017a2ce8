import Access
import BlobStore
import Catalog
import Core
import FrontendKit
import Logging
import Outbound

// Files of an upstream: fetched once for everybody who waits, checked against the digest the index published before anything is kept.

extension Registry {
    /// A file of the upstream: the copy we hold, else fetched once for everybody who wants it.
    /// - Parameters:
    ///   - refresh: upstream is asked even about a copy that is still fresh, unless it was asked a moment ago.
    ///   - mayArrive: the caller can send a file that is still on its way.
    func remoteFile(
        at path: AssetPath, listedIn view: View?, freshness: FileRoute.Freshness, refresh: Bool = false, mayArrive: Bool,
        in session: RepositorySession
    ) async throws(RegistryError) -> RemoteFile {
        let repository = session.authorized.repository
        let freshness = self.freshness(freshness, in: repository)
        let held = try await catalog.asset(at: path, in: repository.id)
        if freshness == .immutable, let held { return .held(held) }
        let name = "\(repository.id) \(path)"
        if absences.contains(name, at: world.now()) { throw absent(path, in: repository) }
        do throws(RegistryError) {
            let flight = fileFlights.join(name) { (flight) async throws(RegistryError) -> Asset in
                try await self.current(path, listedIn: view, freshness, refresh: refresh, in: session, arrivingIn: flight)
            }
            // With an old copy at hand the new one is waited for: should it fail, the old one is served.
            if mayArrive, held == nil, let head = try await flight.begun(), isWorthFollowing(head, freshness) { return .arriving(flight, head) }
            return .held(try await flight.asset())
        } catch {
            let error = Registry.passing(error)
            if let held, Registry.isUpstreamFailure(error) {
                log.warning(
                    "upstream failed, stale file served",
                    metadata: ["repository": "\(repository.key)", "path": "\(path)", "error": "\(error)", "request": "\(session.requestID)"])
                return .held(held)
            }
            if error.code == .notFound { absences.remember(name, until: world.now().adding(seconds: options.absenceSeconds)) }
            throw error
        }
    }

    /// The same, waited for.
    func remoteAsset(
        at path: AssetPath, listedIn view: View?, freshness: FileRoute.Freshness, refresh: Bool = false, in session: RepositorySession
    ) async throws(RegistryError) -> Asset {
        let file = try await remoteFile(at: path, listedIn: view, freshness: freshness, refresh: refresh, mayArrive: false, in: session)
        switch file {
        case .held(let asset): return asset
        case .arriving(let flight, _): return try await flight.asset()
        }
    }

    /// A small file is here before its head would be out. And what no index names by its SHA-256 is sent with that once it is known, unless it
    /// is long; a pointer always, since clients go by what it is now.
    private func isWorthFollowing(_ head: FileFlight.Head, _ freshness: FileRoute.Freshness) -> Bool {
        guard head.blob == nil else { return head.length.map { $0 > 64 << 10 } ?? true }
        return freshness == .immutable && head.length.map { $0 > 256 << 10 } ?? true
    }

    /// The upstream's own document behind a view, as it came.
    func verbatimFile(of view: View, mayArrive: Bool, in session: RepositorySession) async throws(RegistryError) -> RemoteFile {
        let repository = session.authorized.repository
        let upstream = try upstream(of: repository)
        guard let wanted = session.frontend.upstream(for: .view(view), given: Facts(), at: upstream), let copy = wanted.copy else {
            throw RegistryError(.notFound, subject: .repository(repository.key.text), reason: "upstream has no \(view.name)")
        }
        return try await remoteFile(at: copy, listedIn: wanted.listedIn, freshness: .pointer, mayArrive: mayArrive, in: session)
    }

    private func current(
        _ path: AssetPath, listedIn view: View?, _ freshness: FileRoute.Freshness, refresh: Bool, in session: RepositorySession,
        arrivingIn flight: FileFlight
    ) async throws(RegistryError) -> Asset {
        let repository = session.authorized.repository
        // Asked again here: an earlier flight may have ended between the caller's look and this one's start.
        let held = try await catalog.asset(at: path, in: repository.id)
        if freshness == .immutable, let held { return held }
        let known = try await catalog.learned(Registry.validatorName(of: path), in: repository.id)
        // A listed file is as fresh as its listing, which says by digest what it has to be.
        let isForced = refresh && (known.map { $0.fetched.adding(seconds: options.absenceSeconds) <= world.now() } ?? true)
        if view == nil, !isForced, let held, let known, isFresh(known, in: repository) { return held }
        let (wanted, listed) = try await listing(of: path, in: view, refresh: refresh, session)
        if let held, !wanted.expected.isEmpty, wanted.expected.allSatisfy({ held.digest($0.algorithm) == $0 }) { return held }
        let turn = "\(repository.id) file \(path)"
        let asset = try await fetches.once(turn, subject: .path(path.text)) { () async throws(RegistryError) -> Asset? in
            try await self.arrived(path, wanted, freshness, since: known, in: repository)
        } follow: { (node, seconds, pace) async throws(RegistryError) -> FetchTurns.Followed<Asset> in
            let bytesMax = wanted.expectedSize ?? repository.quotaBytes ?? .max
            return try await self.follow(turn, to: path, at: node, upTo: bytesMax, beginningWithin: seconds, arrivingIn: flight, pace) {
                () async throws(RegistryError) -> Asset? in try await self.arrived(path, wanted, freshness, since: known, in: repository)
            }
        } fetch: { (parts) async throws(RegistryError) -> Asset in
            let name = FetchTurns.digest(of: turn)
            // Whose turn it is not is asked by nobody.
            if !parts.isEmpty { self.fileFlights.offer(flight, as: name) }
            defer { if !parts.isEmpty { self.fileFlights.withdraw(name) } }
            return try await self.fetch(path, wanted, listed, freshness, holding: held, known, along: parts, in: session, arrivingIn: flight)
        }
        if flight.isBroken { try await complete(flight, with: asset) }
        return asset
    }

    /// The file as another node has fetched or confirmed it meanwhile.
    private func arrived(
        _ path: AssetPath, _ wanted: UpstreamRequest, _ freshness: FileRoute.Freshness, since known: LearnedPage?, in repository: Repository
    ) async throws(RegistryError) -> Asset? {
        guard let asset = try await catalog.asset(at: path, in: repository.id) else { return nil }
        guard wanted.expected.isEmpty else { return wanted.expected.allSatisfy { asset.digest($0.algorithm) == $0 } ? asset : nil }
        // It was not there before.
        if freshness == .immutable { return asset }
        let page = try await catalog.learned(Registry.validatorName(of: path), in: repository.id)
        return page.flatMap { $0.fetched == known?.fetched ? nil : asset }
    }

    /// The row that keeps a pointer's validator: a page without facts, under a name that no view has.
    static func validatorName(of path: AssetPath) -> String { "=file/\(path)" }

    func absent(_ path: AssetPath, in repository: Repository) -> RegistryError {
        RegistryError(.notFound, subject: .path(path.text), reason: "the upstream of \(repository.key) has no such file")
    }

    /// Where the index says the file is. A file the known index lacks makes us look once more.
    private func listing(
        of path: AssetPath, in view: View?, refresh isForced: Bool, _ session: RepositorySession
    ) async throws(RegistryError) -> (UpstreamRequest, ListedFile?) {
        let repository = session.authorized.repository
        let upstream = try upstream(of: repository)
        guard let view else {
            guard let request = session.frontend.upstream(for: .file(path), given: Facts(), at: upstream) else { throw absent(path, in: repository) }
            return (request, nil)
        }
        if let held = session.frontend.listings(of: view) { return try await listing(of: path, among: held, session) }
        for refresh in isForced ? [true] : [false, true] {
            let page = try await learnedPage(for: view, in: session, refresh: refresh)
            if !page.absent {
                let facts = try await facts(of: page)
                if let request = session.frontend.upstream(for: .file(path), given: facts, at: upstream) {
                    return (request, facts.listed.first { $0.path == path })
                }
            }
            // An index that was fetched a moment ago is not fetched again for every name somebody makes up.
            if page.fetched.adding(seconds: options.absenceSeconds) > world.now() { break }
        }
        throw absent(path, in: repository)
    }

    /// What no index that somebody has read lists is not there: nobody could say what it has to be.
    private func listing(
        of path: AssetPath, among held: Listings, _ session: RepositorySession
    ) async throws(RegistryError) -> (UpstreamRequest, ListedFile?) {
        let repository = session.authorized.repository
        let upstream = try upstream(of: repository)
        var last: AssetPath?
        var failure: RegistryError?
        while true {
            let copies = try await catalog.assets(in: repository.id, prefix: held.prefix, after: last, limit: 256)
            for copy in copies {
                guard let view = held.files(copy.path) else { continue }
                do throws(RegistryError) {
                    let page = try await learnedPage(for: view, in: session)
                    guard !page.absent else { continue }
                    let facts = try await facts(of: page)
                    if let request = session.frontend.upstream(for: .file(path), given: facts, at: upstream) {
                        return (request, facts.listed.first { $0.path == path })
                    }
                } catch {
                    // One index that cannot be read does not hide what the others list.
                    failure = failure ?? error
                }
            }
            guard copies.count == 256, let end = copies.last else { throw failure ?? absent(path, in: repository) }
            last = end.path
        }
    }

    private func fetch(
        _ path: AssetPath, _ wanted: UpstreamRequest, _ listed: ListedFile?, _ freshness: FileRoute.Freshness, holding held: Asset?,
        _ known: LearnedPage?, along ending: [Change.Part], in session: RepositorySession, arrivingIn flight: FileFlight
    ) async throws(RegistryError) -> Asset {
        let repository = session.authorized.repository
        if let size = wanted.expectedSize { try await refuseOverQuota(size, in: repository) }
        var request = try fetchRequest(wanted, to: repository, bodyBytesMax: wanted.expectedSize ?? repository.quotaBytes ?? .max)
        if held != nil, let known { request.revalidate(etag: known.etag, lastModified: known.lastModified) }
        let answer = try await ask(request, orElse: wanted.fallback, for: repository)
        let now = world.now()
        var parts = ending
        if freshness == .pointer {
            parts.append(
                .learned(
                    LearnedPage(
                        repository: repository.id, view: Registry.validatorName(of: path), block: .none,
                        etag: answer["ETag"] ?? (answer.status == 304 ? known?.etag : nil),
                        lastModified: answer["Last-Modified"] ?? (answer.status == 304 ? known?.lastModified : nil), fetched: now,
                        freshUntil: now.adding(seconds: freshSeconds(of: repository)))))
        }
        switch answer.status {
        case 200: break
        case 304:
            guard let held else { throw unexpected(answer.status, from: repository) }
            try await catalog.apply(Change(actor: .system, at: now, requestID: session.requestID, parts: parts))
            return held
        case 404, 410: throw absent(path, in: repository)
        default: throw unexpected(answer.status, from: repository)
        }
        if wanted.expectedSize == nil { try await refuseOverQuota(answer.body.length, in: repository) }
        let contentType = inertType(answer["Content-Type"])
        var wanted = wanted
        // Asked once the file is known to be there: its bytes wait meanwhile.
        wanted.expected += try await statedDigest(wanted.statedIn, for: repository).map { [$0] } ?? []
        let digests = session.frontend.format.digests.union(wanted.expected.map(\.algorithm))
        let staging = try blobs.stage(expectedLength: answer.body.length, digests: digests)
        try flight.begin(
            FileFlight.Head(path: path, contentType: contentType, length: answer.body.length, expected: wanted.expected), into: staging)
        try await answer.body.drain(into: FlightSink(flight, staging))
        let staged = try await flight.finish(staging)
        try verify(staged, against: wanted, of: path, from: repository)
        try await gate(staged.id, as: path)
        var kept = AssetDraft(
            path: path, blob: staged.id, size: staged.size, digests: staged.digests, contentType: contentType,
            package: listed?.package ?? wanted.package,
            version: listed?.version, attributes: listed?.attributes ?? [:])
        var edit = Edit(mutations: [.putAsset(kept, overwrite: .allowed)])
        if let twin = wanted.alsoAt?(staged.id), twin != path {
            kept.path = twin
            edit.mutations.append(.putAsset(kept, overwrite: .allowed))
        }
        parts.insert(.edit(repository.id, edit), at: 0)
        try await catalog.apply(Change(actor: .system, at: world.now(), requestID: session.requestID, parts: parts), staged: [staged])
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

    /// An upstream's type for a file, unless a browser would run it.
    func inertType(_ contentType: String?) -> String {
        guard let contentType, !contentType.lowercased().contains("html"), !contentType.lowercased().contains("svg") else {
            return "application/octet-stream"
        }
        return contentType
    }
}

/// A file of an upstream.
enum RemoteFile: Sendable {
    /// Here, or not to be had better.
    case held(Asset)
    /// On its way: its bytes can be read along.
    case arriving(FileFlight, FileFlight.Head)
}
