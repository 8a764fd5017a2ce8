import Access
import Catalog
import Core
import FrontendKit
import HTTPTypes
import Logging
import NIOCore
import Synchronization

/// All indexes of this process: made when somebody asks, brought up to date when somebody asks or, by the follower, before that.
/// Derived: a folder of packs that may be deleted while the server is stopped.
final class Editions: Sendable {
    /// Indexes kept; beyond, the one that was asked for longest ago goes.
    private static let indexesMax = 64
    /// A source whose settings change all the time must not keep a reader for ever.
    private static let attemptsMax = 8

    private final class Index: Sendable {
        let state: Mutex<IndexState>
        init(_ state: IndexState) { self.state = Mutex(state) }
    }

    private struct Held {
        let index: Index
        var feed: IndexFeed
        var used: UInt64
    }

    private struct Shelf {
        var held: [String: Held] = [:]
        var clock: UInt64 = 0
        var packs: UInt64 = 0
    }

    private let directory: String?
    private let catalog: any Catalog
    private let blobs: any BlobReading
    private let signing: Signing
    private let workers: BlockingPool
    let moments: EditionMoments
    /// nil: nobody else has indexes.
    let sharing: IndexSharing?
    private let log: Logger
    private let shelf = Mutex(Shelf())
    private let flights = SingleFlight<String, Void>()
    let meter = IndexMeter()

    /// Empties the directory: what another process left there may be torn.
    init(
        in directory: String?, catalog: any Catalog, blobs: any BlobReading, signing: Signing, workers: BlockingPool, sharing: IndexSharing?,
        world: World, log: Logger
    ) {
        self.directory = directory
        self.catalog = catalog
        self.blobs = blobs
        self.signing = signing
        self.workers = workers
        moments = EditionMoments(catalog: catalog, world: world)
        self.sharing = sharing
        self.log = log
        if let directory { IndexPack.clear(directory) }
    }

    // MARK: Asking

    /// A document, with the pack its pieces are in, as of every change acknowledged before the call; nil when there is none.
    func document(_ part: EditionPart, of feed: IndexFeed) async throws(RegistryError) -> (Published, IndexPack)? {
        // Generations that are there answer by digest as they are: a client is in the middle of reading one.
        if case .digest(let digest, let name) = part, let found = find(digest, in: name, feed) { return found }
        let state = try await current(part.edition, of: feed)
        guard let newest = state.editions[part.edition]?.generations.last else { return nil }
        switch part {
        case .path(let path, _): return newest.documents[path].map { ($0, state.pack) }
        case .digest(let digest, let name): return find(digest, in: name, feed)
        }
    }

    private func find(_ digest: Digest, in name: String, _ feed: IndexFeed) -> (Published, IndexPack)? {
        guard let state = shelf.withLock({ $0.held[feed.id]?.index })?.state.withLock({ $0 }) else { return nil }
        for generation in (state.editions[name]?.generations ?? []).reversed() {
            if let found = generation.document(with: digest) { return (found, state.pack) }
        }
        return nil
    }

    private func current(_ edition: String, of feed: IndexFeed) async throws(RegistryError) -> IndexState {
        let index = try index(of: feed)
        var needed = Revision.zero
        for source in feed.sources { needed = max(needed, try await catalog.repository(id: source)?.revision ?? .zero) }
        for _ in 0..<Editions.attemptsMax {
            // Another node may have made a key meanwhile.
            let key = try await signing.key(feed.repository)
            let state = index.state.withLock { $0 }
            let basis = EditionBasis(versions: state.versions(of: edition), context: feed.context, key: key)
            if state.isBuilt, state.position >= needed, state.editions[edition]?.basis ?? state.absent[edition] == basis { return state }
            try await flights.run(feed.id) { () async throws(RegistryError) in try await self.update(index, feed, [edition]) }
        }
        throw RegistryError(
            .unavailable, subject: .repository(feed.repository.key.text), reason: "the index changes faster than it can be read; try again",
            retryAfterSeconds: 1)
    }

    private func index(of feed: IndexFeed) throws(RegistryError) -> Index {
        guard let directory else {
            throw RegistryError(.unsupported, subject: .configuration("data"), reason: "there is no directory for the indexes of whole repositories")
        }
        let (index, dropped) = try shelf.withLock { shelf throws(RegistryError) in
            shelf.clock += 1
            var held: Held
            if let known = shelf.held[feed.id] {
                held = known
            } else {
                shelf.packs += 1
                let pack = try IndexPack(creating: "\(directory)/\(feed.id).\(shelf.packs)\(IndexPack.fileExtension)")
                held = Held(index: Index(IndexState(pack: pack)), feed: feed, used: 0)
            }
            held.feed = feed
            held.used = shelf.clock
            shelf.held[feed.id] = held
            return (held.index, Editions.leastUsed(&shelf))
        }
        dropped?.state.withLock { $0.pack.remove() }
        return index
    }

    private static func leastUsed(_ shelf: inout Shelf) -> Index? {
        guard shelf.held.count > indexesMax, let oldest = shelf.held.min(by: { $0.value.used < $1.value.used }) else { return nil }
        shelf.held[oldest.key] = nil
        return oldest.value.index
    }

    // MARK: Bringing up to date

    /// One at a time per index.
    private func update(_ index: Index, _ feed: IndexFeed, _ editions: Set<String>) async throws(RegistryError) {
        let state = index.state.withLock { $0 }
        if let sharing, !state.isBuilt {
            let copy = try await sharing.copy(of: feed, into: state.pack) { () async throws(RegistryError) in try await make(index, feed, editions) }
            guard let copy else { return }
            meter.add { $0.copies += 1 }
            index.state.withLock { $0 = copy }
        }
        try await make(index, feed, editions)
    }

    /// What was made is seen all at once, at the end.
    private func make(_ index: Index, _ feed: IndexFeed, _ editions: Set<String>) async throws(RegistryError) {
        var state = index.state.withLock { $0 }
        let update = IndexUpdate(feed: feed, catalog: catalog, blobs: blobs, workers: workers, meter: meter, log: log)
        try await update.run(&state)
        let key = try await signing.key(feed.repository)
        for edition in editions.sorted() {
            let basis = EditionBasis(versions: state.versions(of: edition), context: feed.context, key: key)
            guard state.editions[edition]?.basis ?? state.absent[edition] != basis else { continue }
            let assembly = EditionAssembly(name: edition, feed: feed, signing: signing, moments: moments, workers: workers, meter: meter)
            try await assembly.run(&state, basis: basis)
        }
        let next = state
        let (compacted, old) = try await workers.run { () throws(RegistryError) -> (IndexState, IndexPack?) in
            var next = next
            let old = try next.compact { self.newPath(feed) }
            return (next, old)
        }
        index.state.withLock { $0 = compacted }
        old?.remove()
    }

    private func newPath(_ feed: IndexFeed) -> String {
        let number = shelf.withLock { shelf in
            shelf.packs += 1
            return shelf.packs
        }
        return "\(directory ?? ".")/\(feed.id).\(number)\(IndexPack.fileExtension)"
    }

    // MARK: Other nodes

    /// For another node, if this one has made it.
    func copy(named name: Digest, for asker: UInt16) async throws(RegistryError) -> Response? {
        guard let sharing else { return nil }
        for (id, held) in shelf.withLock({ $0.held }) where await sharing.name(of: id) == name {
            let state = held.index.state.withLock { $0 }
            return state.isBuilt ? try await sharing.response(with: state, named: name, for: asker) : nil
        }
        return nil
    }

    // MARK: Following

    /// Makes again what somebody asked for before and what changes of these repositories have changed.
    func refresh(_ repositories: Set<RepositoryID>) async {
        let held = shelf.withLock { shelf in shelf.held.values.filter { !repositories.isDisjoint(with: $0.feed.sources) } }
        for held in held {
            do throws(RegistryError) {
                guard let repository = try await catalog.repository(id: held.feed.repository.id) else {
                    drop(held.feed.id)
                    continue
                }
                // Settings that changed come with the next request, which knows what they mean.
                guard repository.settings == held.feed.repository.settings else { continue }
                // Those that somebody asked for.
                let editions = Set(held.index.state.withLock { $0.editions.keys })
                try await flights.run(held.feed.id) { () async throws(RegistryError) in try await self.update(held.index, held.feed, editions) }
            } catch {
                log.warning(
                    "an index could not be brought up to date; the next request tries again",
                    metadata: ["repository": "\(held.feed.repository.key)", "error": "\(error)"])
            }
        }
    }

    private func drop(_ id: String) {
        let held = shelf.withLock { $0.held.removeValue(forKey: id) }
        held?.index.state.withLock { $0.pack.remove() }
    }
}
