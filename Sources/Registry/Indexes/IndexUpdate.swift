import Catalog
import Core
import FrontendKit
import Logging

/// Brings an index's streams up to what the log says: the packages that were touched since are asked for again, and only fragments that hold
/// one of them are written.
struct IndexUpdate {
    /// Beyond so many touched packages all facts are read in order: one walk is cheaper than as many look-ups.
    private static let touchedMax = 10_000
    private static let pageLimit = 100

    let feed: IndexFeed
    let catalog: any Catalog
    let blobs: any BlobReading
    let workers: BlockingPool
    let meter: IndexMeter
    let log: Logger

    func run(_ state: inout IndexState) async throws(RegistryError) {
        guard state.isBuilt else { return try await build(&state) }
        guard let (touched, position) = try await touched(since: state.position) else { return try await build(&state) }
        try await apply(touched, to: &state)
        state.position = position
    }

    // MARK: What has changed

    /// nil: it is not known package by package.
    private func touched(since start: Revision) async throws(RegistryError) -> ([PackageName], Revision)? {
        var position = start
        var names: Set<PackageName> = []
        let sources = Set(feed.sources)
        let head = try await catalog.head()
        while position < head {
            let entries: [LogEntry]
            do throws(RegistryError) { entries = try await catalog.log(after: position, limit: 1_000) } catch {
                guard error.code == .gone else { throw error }
                return nil
            }
            guard let last = entries.last else { break }
            for touched in entries.lazy.flatMap(\.touched) {
                switch touched {
                case .package(let repository, let package) where sources.contains(repository): names.insert(package)
                // What a remote learned is one block: which packages differ is found by making their entries again. A document that
                // upstream merely confirmed keeps its revision.
                case .learned(let repository, let view) where sources.contains(repository):
                    if let page = try await catalog.learned(view, in: repository), page.revision > start { return nil }
                default: break
                }
            }
            guard names.count <= IndexUpdate.touchedMax else { return nil }
            position = last.revision
        }
        return (names.sorted(), max(position, head))
    }

    private func apply(_ packages: [PackageName], to state: inout IndexState) async throws(RegistryError) {
        guard !packages.isEmpty else { return }
        var runs: [StreamName: [PackageName: PackageRun]] = [:]
        for package in packages {
            for (stream, run) in try await self.runs(of: package, try await feed.facts(package)) { runs[stream, default: [:]][package] = run }
        }
        let found = runs
        let before = state
        let (separator, meter) = (feed.indexing.separator, meter)
        let edited = try await workers.run { () throws(RegistryError) -> [(StreamName, [Fragment])] in
            var edited: [(StreamName, [Fragment])] = []
            for name in Set(before.streams.keys).union(found.keys).sorted() {
                let edit = StreamEdit(fragments: before.streams[name]?.fragments ?? [], pack: before.pack, separator: separator, meter: meter)
                let changes = packages.map { RunChange(package: $0, run: found[name]?[$0]) }
                if let fragments = try edit.applying(changes) { edited.append((name, fragments)) }
            }
            return edited
        }
        for (name, fragments) in edited { state.set(fragments, of: name) }
    }

    /// A package's runs, by stream. One whose facts do not make sense is left out, and the log says so: it must not take the others along.
    private func runs(of package: PackageName, _ facts: Facts) async throws(RegistryError) -> [StreamName: PackageRun] {
        guard !facts.isEmpty else { return [:] }
        meter.add { $0.packagesRendered += 1 }
        let entries: [IndexEntry]
        do throws(RegistryError) { entries = try await feed.indexing.entries(of: facts, reading: blobs) } catch {
            switch error.code {
            case .invalid, .corrupt, .notFound, .tooLarge:
                log.error(
                    "a package is left out of its repository's indexes",
                    metadata: ["repository": "\(feed.repository.key)", "package": "\(package)", "error": "\(error)"])
                return [:]
            default: throw error
            }
        }
        var pieces: [StreamName: [[UInt8]]] = [:]
        for entry in entries { pieces[StreamName(edition: entry.edition, stream: entry.stream), default: []].append(entry.bytes) }
        let separator = feed.indexing.separator
        return pieces.compactMapValues { PackageRun(package, $0, separator: separator) }
    }

    // MARK: From all facts

    /// What comes out as it was is kept, with its compressed forms.
    private func build(_ state: inout IndexState) async throws(RegistryError) {
        meter.add { $0.builds += 1 }
        // Before the first fact is read: whatever changes meanwhile comes again with the log.
        let position = try await catalog.head()
        var cuts: [StreamName: StreamCut] = [:]
        let (separator, pack, meter, old) = (feed.indexing.separator, state.pack, meter, state.streams)
        var after: PackageName?
        while true {
            let page = try await feed.page(after, IndexUpdate.pageLimit)
            guard let last = page.packages.last else { break }
            var found: [(StreamName, PackageRun)] = []
            for (package, facts) in page.byPackage() {
                for (stream, run) in try await runs(of: package, facts) { found.append((stream, run)) }
            }
            let (runs, before) = (found, cuts)
            cuts = try await workers.run { () throws(RegistryError) -> [StreamName: StreamCut] in
                var cuts = before
                for (stream, run) in runs {
                    var cut =
                        cuts.removeValue(forKey: stream)
                        ?? StreamCut(pack, separator: separator, known: old[stream]?.fragments ?? [], meter)
                    try cut.add(run)
                    cuts[stream] = cut
                }
                return cuts
            }
            after = last.name
        }
        let open = cuts
        let closed = try await workers.run { () throws(RegistryError) -> [StreamName: [Fragment]] in
            var closed: [StreamName: [Fragment]] = [:]
            for (name, cut) in open {
                var cut = cut
                try cut.close()
                closed[name] = cut.fragments
            }
            return closed
        }
        for name in Set(state.streams.keys).union(closed.keys).sorted() { state.set(closed[name] ?? [], of: name) }
        state.position = position
        state.isBuilt = true
    }
}
