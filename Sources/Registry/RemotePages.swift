import Access
import BlobStore
import Catalog
import Core
import FrontendKit
import Logging
import NIOCore
import Outbound
import Parsing
import Synchronization

// What a remote learned from its upstream's indexes: one block of facts per document, with the validator to ask again by.

extension Registry {
    /// What the upstream's document behind the view says: from memory while fresh, revalidated after, stale when upstream fails.
    func learnedPage(for view: View, in session: RepositorySession, refresh: Bool = false) async throws(RegistryError) -> LearnedPage {
        let repository = session.authorized.repository
        let known = try await catalog.learned(view.identity, in: repository.id)
        if !refresh, let known, isFresh(known, in: repository) { return known }
        return try await indexFetches.run("\(repository.id) \(view.identity)") { () async throws(RegistryError) -> LearnedPage in
            do throws(RegistryError) {
                return try await self.learn(view, knowing: known, in: session, refresh: refresh)
            } catch {
                guard let known, !known.absent, Registry.isUpstreamFailure(error) else { throw error }
                self.log.warning(
                    "upstream failed, stale index served",
                    metadata: ["repository": "\(repository.key)", "view": "\(view.identity)", "error": "\(error)", "request": "\(session.requestID)"])
                return known
            }
        }
    }

    /// A shorter time set since the page was fetched counts at once.
    func isFresh(_ page: LearnedPage, in repository: Repository) -> Bool {
        min(page.freshUntil, page.fetched.adding(seconds: freshSeconds(of: repository))) > world.now()
    }

    /// The facts of a learned page.
    func facts(of page: LearnedPage) async throws(RegistryError) -> Facts {
        if let known = learnedFacts.facts(of: page) { return known }
        let bytes: [UInt8]
        switch page.block {
        case .none: return Facts()
        case .inline(let inline, _): bytes = inline
        case .blob(let blob, let size, _): bytes = try await storedBytes(blob, size: size)
        }
        let facts = try await workers.run { () throws(RegistryError) -> Facts in try FactsCoding.decode(bytes) }
        learnedFacts.keep(facts, of: page, encodedBytes: bytes.count)
        return facts
    }

    private func learn(
        _ view: View, knowing known: LearnedPage?, in session: RepositorySession, refresh: Bool
    ) async throws(RegistryError) -> LearnedPage {
        let repository = session.authorized.repository
        guard let wanted = session.frontend.upstream(for: .view(view), given: Facts(), at: try upstream(of: repository)) else {
            if let listings = session.frontend.listings(of: view) { return try await gather(view, listings, knowing: known, in: session) }
            // Upstream has no document of this kind: what it tells of the scope stands in another.
            guard let source = session.frontend.source(of: view.scope), source.identity != view.identity else {
                throw RegistryError(.notFound, subject: .repository(repository.key.text), reason: "upstream has no \(view.name)")
            }
            return try await learnedPage(for: source, in: session, refresh: refresh)
        }
        if let copy = wanted.copy { return try await learn(view, from: copy, wanted, knowing: known, in: session, refresh: refresh) }
        let name = "\(repository.id) view \(view.identity)"
        return try await fetches.once(name, subject: .repository(repository.key.text)) { () async throws(RegistryError) -> LearnedPage? in
            let page = try await self.catalog.learned(view.identity, in: repository.id)
            return page.flatMap { $0.fetched == known?.fetched ? nil : $0 }
        } fetch: { (parts) async throws(RegistryError) -> LearnedPage in
            try await self.learn(view, wanted, knowing: known, along: parts, in: session)
        }
    }

    /// Asks the upstream.
    private func learn(
        _ view: View, _ wanted: UpstreamRequest, knowing known: LearnedPage?, along parts: [Change.Part], in session: RepositorySession
    ) async throws(RegistryError) -> LearnedPage {
        let repository = session.authorized.repository
        var request = try fetchRequest(wanted, to: repository, bodyBytesMax: Int64(options.learnedDocumentBytesMax))
        if let known, !known.absent { request.revalidate(etag: known.etag, lastModified: known.lastModified) }
        let answer = try await ask(request, orElse: wanted.fallback, for: repository)
        let now = world.now()
        var page = LearnedPage(
            repository: repository.id, view: view.identity, block: .none, etag: answer["ETag"], lastModified: answer["Last-Modified"],
            fetched: now, freshUntil: now.adding(seconds: freshSeconds(of: repository)))
        var staged: [any StagedBytes] = []
        switch answer.status {
        case 200:
            let facts = try await facts(learnedFrom: answer, request, as: view, in: session)
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
        return try await keep(page, staged: staged, along: parts, in: session)
    }

    /// A list in several documents, linked by `rel="next"` (RFC 8288), is learned as one. Its first page's validator stands for all.
    private func facts(
        learnedFrom first: FetchResponse, _ request: FetchRequest, as view: View, in session: RepositorySession
    ) async throws(RegistryError) -> Facts {
        let repository = session.authorized.repository
        var facts = Facts()
        var answer = first
        var pages = 1
        while true {
            let document = Document(
                bytes: try await collect(answer.body, upTo: options.learnedDocumentBytesMax), contentType: answer["Content-Type"], url: answer.url)
            facts = try await learned(document, as: view, after: facts, by: session.frontend)
            guard let next = Registry.nextPage(after: answer), pages < Registry.learnedDocumentsMax else { return facts }
            var following = request
            following.url = next
            following.fields.removeAll { $0.0.lowercased().hasPrefix("if-") }
            answer = try await ask(following, for: repository)
            guard answer.status == 200 else { throw unexpected(answer.status, from: repository) }
            pages += 1
        }
    }

    private static let learnedDocumentsMax = 100

    private func learned(_ document: Document, as view: View, after before: Facts, by frontend: any Frontend) async throws(RegistryError) -> Facts {
        try await workers.run { () throws(RegistryError) -> Facts in
            var facts = before
            do throws(RegistryError) { try frontend.learn(view, from: document, into: &facts) } catch {
                guard error.code == .invalid else { throw error }
                // Not the fault of who asks.
                throw RegistryError(.upstreamFailed, subject: .upstream(document.url), reason: "upstream's document cannot be read: \(error.reason)")
            }
            return facts
        }
    }

    private static func nextPage(after answer: FetchResponse) -> String? {
        for field in answer.values(of: "Link") {
            for link in field.split(separator: ",") where link.replacing(" ", with: "").contains(";rel=\"next\"") {
                guard let open = link.firstIndex(of: "<"), let close = link[open...].firstIndex(of: ">"),
                    let base = try? URLReference.parse(answer.url),
                    let target = try? base.resolving(URLReference.parse(String(link[link.index(after: open)..<close]))), target.isAbsolute
                else { continue }
                return target.description
            }
        }
        return nil
    }

    /// The document is a file that is kept as it came; how fresh it is, is known there.
    private func learn(
        _ view: View, from copy: AssetPath, _ wanted: UpstreamRequest, knowing known: LearnedPage?, in session: RepositorySession,
        refresh: Bool
    ) async throws(RegistryError) -> LearnedPage {
        let repository = session.authorized.repository
        let now = world.now()
        var page = LearnedPage(
            repository: repository.id, view: view.identity, block: .none, etag: nil, lastModified: nil, fetched: now, freshUntil: now)
        let asset: Asset
        do throws(RegistryError) {
            asset = try await remoteAsset(at: copy, listedIn: wanted.listedIn, freshness: .pointer, refresh: refresh, in: session)
        } catch {
            guard error.code == .notFound else { throw error }
            page.absent = true
            page.freshUntil = now.adding(seconds: options.absenceSeconds)
            return try await keep(page, staged: [], in: session)
        }
        page.etag = asset.blob.hex
        if let known, !known.absent, known.etag == page.etag { return known }
        guard asset.size <= Int64(options.learnedDocumentBytesMax) else { throw Registry.documentTooLarge(options.learnedDocumentBytesMax) }
        let document = Document(
            bytes: try await storedBytes(asset.blob, size: asset.size), contentType: asset.contentType,
            url: Registry.url(of: wanted.url, at: try upstream(of: repository).url))
        var staged: [any StagedBytes] = []
        (page.block, staged) = try await block(of: try await learned(document, as: view, after: Facts(), by: session.frontend))
        return try await keep(page, staged: staged, in: session)
    }

    /// What several documents tell, as one page. It is as fresh as they are: each of them is asked about here.
    private func gather(
        _ view: View, _ listings: Listings, knowing known: LearnedPage?, in session: RepositorySession
    ) async throws(RegistryError) -> LearnedPage {
        let upstream = try upstream(of: session.authorized.repository)
        var pages: [LearnedPage] = []
        for root in listings.roots(upstream) {
            let page = try await learnedPage(for: root, in: session)
            guard !page.absent else { continue }
            for named in listings.named(try await facts(of: page), upstream) { pages.append(try await learnedPage(for: named, in: session)) }
        }
        let state = Digest.of(.sha256, Array(pages.map { "\($0.view) \($0.revision)" }.joined(separator: "\n").utf8)).hex
        if let known, !known.absent, known.etag == state { return known }
        var parts: [Facts] = []
        for page in pages where !page.absent { parts.append(try await facts(of: page)) }
        let told = parts
        let whole = try await workers.run { () throws(RegistryError) -> Facts in Facts(gathered: told) }
        let now = world.now()
        let (block, staged) = try await block(of: whole)
        return try await keep(
            LearnedPage(
                repository: session.authorized.repository.id, view: view.identity, block: block, etag: state, lastModified: nil, fetched: now,
                freshUntil: now), staged: staged, in: session)
    }

    private func keep(
        _ page: LearnedPage, staged: [any StagedBytes], along parts: [Change.Part] = [], in session: RepositorySession
    ) async throws(RegistryError) -> LearnedPage {
        var page = page
        page.revision = try await catalog.apply(
            Change(actor: .system, at: world.now(), requestID: session.requestID, parts: [.learned(page)] + parts), staged: staged)
        return try await catalog.learned(page.view, in: page.repository) ?? page
    }

    private func block(of facts: Facts) async throws(RegistryError) -> (Manifest, [any StagedBytes]) {
        let bytes = FactsCoding.encode(facts)
        let mediaType = "application/vnd.granary.facts"
        guard bytes.count > Manifest.inlineBytesMax else { return (.inline(bytes, mediaType: mediaType), []) }
        let blob = try await blobs.stage(ByteBuffer(bytes: bytes), digests: .sha256)
        return (.blob(blob.id, size: blob.size, mediaType: mediaType), [blob])
    }

    /// Upstream documents are read whole, since they are learned from whole; the cap is the option's, a few are under way at once.
    private func collect(_ body: Body, upTo bytesMax: Int) async throws(RegistryError) -> [UInt8] {
        var bytes: [UInt8] = []
        while let slice = try await body.next() {
            guard bytes.count + slice.readableBytes <= bytesMax else { throw Registry.documentTooLarge(bytesMax) }
            bytes.append(contentsOf: slice.readableBytesView)
        }
        return bytes
    }

    private static func documentTooLarge(_ bytesMax: Int) -> RegistryError {
        RegistryError(.upstreamFailed, subject: .request, reason: "the upstream's document is larger than \(bytesMax) bytes")
    }
}

/// Facts of learned pages as they were decoded last, least recently used out first. Derived: losing all of it costs time only.
final class LearnedFactsCache: Sendable {
    private struct Key: Hashable {
        let repository: RepositoryID
        let view: String
    }

    private struct Entry {
        let revision: Revision
        let facts: Facts
        let bytes: Int
        var used: UInt64
    }

    private struct State {
        var entries: [Key: Entry] = [:]
        var bytes = 0
        var clock: UInt64 = 0
    }

    private let bytesMax: Int
    private let state = Mutex(State())

    /// - Parameter bytesMax: of the facts' encoded form.
    init(bytesMax: Int) { self.bytesMax = bytesMax }

    func facts(of page: LearnedPage) -> Facts? {
        state.withLock { state in
            let key = Key(repository: page.repository, view: page.view)
            guard let entry = state.entries[key], entry.revision == page.revision else { return nil }
            state.clock += 1
            state.entries[key]?.used = state.clock
            return entry.facts
        }
    }

    func keep(_ facts: Facts, of page: LearnedPage, encodedBytes: Int) {
        guard encodedBytes <= bytesMax else { return }
        state.withLock { state in
            let key = Key(repository: page.repository, view: page.view)
            if let old = state.entries[key] { state.bytes -= old.bytes }
            state.clock += 1
            // A small page costs more than its bytes.
            let bytes = encodedBytes + 256
            state.entries[key] = Entry(revision: page.revision, facts: facts, bytes: bytes, used: state.clock)
            state.bytes += bytes
            guard state.bytes > bytesMax else { return }
            for (other, entry) in state.entries.sorted(by: { $0.value.used < $1.value.used }) where other != key {
                guard state.bytes > bytesMax / 4 * 3 else { break }
                state.entries[other] = nil
                state.bytes -= entry.bytes
            }
        }
    }
}
