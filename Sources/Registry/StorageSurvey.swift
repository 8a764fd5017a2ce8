public import BlobStore
import Catalog
public import Core
import Synchronization

/// What each repository takes on the disk, and all of them together. A walk over all pins, so it is made when somebody asks and the last one is
/// old, once for all who ask meanwhile.
public final class StorageSurvey: Sendable {
    public struct Result: Sendable {
        public var time: Timestamp
        /// As if each were alone in the store.
        public var footprints: [RepositoryID: Footprint]
        /// What the trash of each keeps, and nothing else in it.
        public var trash: [RepositoryID: Footprint]
        /// Of all blobs that anything names.
        public var total: Footprint
    }

    private static let validSeconds: Int64 = 300
    private static let pagePins = 4096

    private let catalog: any Catalog
    private let blobs: BlobStore
    private let world: World
    private let flight = SingleFlight<Int, Result>()
    private let state = Mutex<Result?>(nil)

    init(catalog: any Catalog, blobs: BlobStore, world: World) {
        self.catalog = catalog
        self.blobs = blobs
        self.world = world
    }

    /// The last one made; nil before the first.
    public var last: Result? { state.withLock { $0 } }

    /// Not older than five minutes.
    public func current() async throws(RegistryError) -> Result {
        if let last, world.now() < last.time.adding(seconds: StorageSurvey.validSeconds) { return last }
        return try await flight.run(0) { [self] () async throws(RegistryError) in
            let result = try await survey()
            state.withLock { $0 = result }
            return result
        }
    }

    private func survey() async throws(RegistryError) -> Result {
        let time = world.now()
        // The whole is owner 0; behind each repository stands its trash.
        var owners: [RepositoryID: Int] = [:]
        var after: RepositoryKey?
        repeat {
            let page = try await catalog.repositories(after: after, limit: 1000)
            for repository in page { owners[repository.id] = 2 * owners.count + 1 }
            after = page.last?.key
        } while after != nil
        let count = try await blobs.footprintCount(owners: 2 * owners.count + 1)
        for round in 0..<count.rounds {
            count.begin(round: round)
            try await walk(owners) { page async throws(RegistryError) in try await count.count(page, round: round) }
        }
        let footprints = count.footprints
        return Result(
            time: time, footprints: owners.mapValues { footprints[$0] }, trash: owners.mapValues { footprints[$0 + 1] }, total: footprints[0])
    }

    /// Every pinned blob once, with the repositories that pin it.
    private func walk(
        _ owners: [RepositoryID: Int], _ body: ([(id: BlobID, owners: Set<Int>)]) async throws(RegistryError) -> Void
    ) async throws(RegistryError) {
        var last: Pin?
        var open: (id: BlobID, owners: Set<Int>)?
        repeat {
            let pins = try await catalog.pins(after: last, limit: StorageSurvey.pagePins)
            var page: [(id: BlobID, owners: Set<Int>)] = []
            for pin in pins {
                if let blob = open, blob.id != pin.blob {
                    page.append(StorageSurvey.settled(blob))
                    open = nil
                }
                var blob = open ?? (pin.blob, [0])
                if let owner = owners[pin.reason.repository] { blob.owners.insert(pin.reason.isTrash ? owner + 1 : owner) }
                open = blob
            }
            try await body(page)
            last = pins.count < StorageSurvey.pagePins ? nil : pins.last
        } while last != nil
        if let open { try await body([StorageSurvey.settled(open)]) }
    }

    /// What a repository has outside its trash, too, counts there alone.
    private static func settled(_ blob: (id: BlobID, owners: Set<Int>)) -> (id: BlobID, owners: Set<Int>) {
        (blob.id, blob.owners.filter { $0 == 0 || !$0.isMultiple(of: 2) || !blob.owners.contains($0 - 1) })
    }
}

extension Pin.Reason {
    var isTrash: Bool {
        if case .trash = self { true } else { false }
    }

    var repository: RepositoryID {
        switch self {
        case .asset(let id, _), .manifest(let id, _, _), .learned(let id, _): id
        case .trash(let id): id.repository
        }
    }
}
