import Access
import AdminAPI
import BlobStore
import CatalogRules
import Core
import Logging
import OrderedStore
import Synchronization

/// A running server's move of its own catalog to a database that several nodes share. One at a time; once one has succeeded, none is needed.
final class OnlineMove: CatalogMover {
    private struct State {
        var status = CatalogMoveStatus()
        var task: Task<Void, Never>?
    }

    private let configuration: Configuration
    private let directories: Directories
    private let store: OrderedStore
    private let blobs: BlobStore
    private let world: World
    private let log: Logger
    private let state = Mutex(State())

    /// - Parameter configuration: the server's own, whose catalog is in the data directory.
    init(_ configuration: Configuration, _ directories: Directories, store: OrderedStore, blobs: BlobStore, world: World, log: Logger) {
        self.configuration = configuration
        self.directories = directories
        self.store = store
        self.blobs = blobs
        self.world = world
        self.log = log
        // Of one that was killed.
        MovedBytes.remove(MoveSides.folder(of: directories))
    }

    var status: CatalogMoveStatus { state.withLock { $0.status } }

    func start(to settings: [(name: String, value: Secret)]) throws(RegistryError) {
        let configuration = try configuration.moving(to: settings)
        try state.withLock { state throws(RegistryError) in
            guard !state.status.isRunning else {
                throw RegistryError(.conflict, subject: .store, reason: "the catalog is being moved", retryAfterSeconds: 60)
            }
            guard state.status.state != .moved else {
                throw RegistryError(.conflict, subject: .store, reason: "the catalog was moved: start the server anew with database_url")
            }
            state.status = CatalogMoveStatus(began: world.now())
            state.task = Task { await self.run(configuration) }
        }
    }

    func cancel() { state.withLock { $0.task }?.cancel() }

    /// Cancels what is under way, and returns when nothing of it is done any more.
    func end() async {
        let task = state.withLock { $0.task }
        task?.cancel()
        await task?.value
    }

    private func run(_ configuration: Configuration) async {
        log.notice("the catalog is being moved to a database")
        let sides = MoveSides(configuration: configuration, directories: directories, index: store, disk: blobs, log: log)
        do throws(RegistryError) {
            let (tally, place) = try await sides.run(.toPostgres) { [self] step in
                let isNew = state.withLock { $0.status.advance(to: step) }
                if isNew, case .rows = step { log.notice("the catalog takes no changes while its rows are moved") }
            } copied: { [self] bytes in
                state.withLock { $0.status.copied(bytes) }
            }
            state.withLock { state in
                state.status.kinds = tally.kinds.map { .init(name: $0.name, rows: $0.rows, digest: $0.shownDigest) }
                state.status.end(.moved, place: place, at: world.now())
            }
            log.notice("the catalog was moved: start the server anew with database_url", metadata: ["place": "\(place)", "rows": "\(tally.rows)"])
        } catch {
            state.withLock { $0.status.end(Task.isCancelled ? .cancelled : .failed, because: error, at: world.now()) }
            // Without its cause: what a library says of an address may quote it, and its password.
            log.error("the catalog was not moved", metadata: ["code": "\(error.code)", "reason": "\(error.reason)"])
        }
    }
}

extension CatalogMoveStatus {
    /// - Returns: whether it is another state than before.
    fileprivate mutating func advance(to step: CatalogMove.Step) -> Bool {
        let before = state
        switch step {
        case .bytes: state = .bytes
        case .rows(let count):
            state = .rows
            rows = count
        case .switching: state = .switching
        }
        return state != before
    }
}

extension Configuration {
    /// This server's, with another home for catalog and bytes.
    /// - Throws: `invalid` naming the setting that does not fit; no value of a secret one is in the reason.
    fileprivate func moving(to settings: [(name: String, value: Secret)]) throws(RegistryError) -> Configuration {
        var configuration = self
        for (name, value) in settings {
            guard let setting = Setting.all.first(where: { $0.name == name }), setting.read(value.revealed, &configuration) else {
                throw RegistryError(.invalid, subject: .field(name), reason: "\(name) is not what the setting of this name may be")
            }
        }
        try configuration.checkTier()
        guard configuration.s3Bucket != nil || configuration.tierDirectory != nil else {
            throw RegistryError(.invalid, subject: .field("s3_bucket"), reason: "s3_bucket: nodes that share a database share their bytes, too")
        }
        return configuration
    }
}
