public import Access
public import AdminAPI
public import Audit
import BlobStore
import BuiltIn
public import Catalog
public import Core
public import FrontendKit
import HTTPTypes
public import Logging
import NIOCore
public import OrderedStore
public import Outbound
import PostgresCatalog
import PostgresClient
public import Registry
import RocksCatalog
import Synchronization
public import TestSupport

/// Every room of a server, put together over a directory of its own as the composition root does it, and asked by whole requests in process.
/// Only the sockets are missing; time passes when told to.
public final class House: Sendable {
    public struct Options: Sendable {
        public var adminPassword: String? = House.password
        public var guestAccess = true
        public var log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        public var totpPolicy: TOTPPolicy?
        public var browsers = BrowserRules()
        public var isDemonstration = false
        /// Of the control plane's requests; the clock of a test stands still, so they are off unless they are the test.
        public var limits: RequestLimits = {
            var limits = RequestLimits()
            limits.isOn = false
            return limits
        }()
        public var uploadBytesMax: Int64 = 64 << 20
        public var viewCacheBytes = 4 << 20
        /// Of the blob store: small ones make small worlds have many segments and files.
        public var segmentBytesMax: Int64 = 256 << 20
        public var ownFileBytesMin = 8 << 20
        public var strictReads = false
        public var backup: String?
        /// A directory that is the store's tier; with it, everything leaves the disk that may.
        public var tier: String?
        /// A database that it shares with other houses, as nodes do; each has a directory of its own.
        public var database: String?
        /// The directory that is the bucket of those who share a database.
        public var bucket: String?
        /// What is uploaded is acknowledged before it is in the bucket.
        public var uploadsBehind = false
        /// Of the node itself: what tells it from the others before it has a number.
        public var identity = World.real.newID()
        public var trashDays: Int64 = 0
        public var sweep = SweepOptions()
        public var fetchTurns = FetchTurnOptions()
        public var leaseSeconds: Int64 = 60
        public var auditReads = false
        public var catalogMover: (any CatalogMover)?
        /// Instead of real keys.
        public var signing: Signing?
        /// Further formats beside the server's own.
        public var frontends: [any Frontend] = []
        public init() {}
    }

    public static let password = "a long enough phrase"

    public let directory: TemporaryDirectory
    public let clock: HouseClock
    public let catalog: any Catalog
    public let access: Access
    public let registry: Registry
    public let outbound: OutboundClient
    public let counters: StorageCounters
    public let audit: AuditTrail
    public let responder: any Responder
    public let openAPI: [UInt8]
    /// Answers that may be given again, by the request, as the server remembers them.
    let remembered = Mutex<[String: Response]>([:])
    public let store: OrderedStore
    public let nodes: Nodes?
    private let blobs: BlobStore
    private let closeCatalog: @Sendable () -> Void

    /// Opens what is in `directory`, so that a second house in the same one is a restart; close the first before.
    public init(
        _ options: Options = Options(), in directory: TemporaryDirectory? = nil, clock: HouseClock = HouseClock()
    ) async throws {
        let log = options.log
        let world = clock.world
        let place = try directory ?? TemporaryDirectory()
        self.directory = place
        self.clock = clock
        store = try OrderedStore(at: place.file("index"), families: RocksCatalog.families, logger: log)
        let workers = BlockingPool(threads: 2, name: "worker")
        outbound = try OutboundClient(log: log, world: .real)
        let home = try await CatalogHome(options, store, workers, outbound, world)
        (catalog, nodes, closeCatalog) = (home.catalog, home.nodes, home.close)
        var bytes = BlobStore.Options()
        bytes.node = nodes?.number ?? 0
        bytes.segmentBytesMax = options.segmentBytesMax
        bytes.ownFileBytesMin = options.ownFileBytesMin
        bytes.isStrict = options.strictReads
        blobs = try BlobStore(at: place.file("store"), store: store, options: bytes, world: world, log: log)
        if let tier = options.tier {
            var tiering = TieringOptions()
            (tiering.delaySeconds, tiering.diskBytesMax) = (0, 1)
            try await blobs.attach(DirectoryTier(at: tier, world: world), tiering)
        }
        var kept = AuditOptions()
        kept.keepsReads = options.auditReads
        audit = AuditTrail(in: home.rows, options: kept, world: world, log: log)
        let cheap = PasswordCost(memoryKiB: 64, iterations: 1, parallelism: 1)
        let sealer = try Sealer(key: Array(repeating: 7, count: Sealer.keyBytes), world: world)
        var accounts = AccessOptions(
            jwtSecret: Secret("k3JxQ0v9TzR7mW2pLs8dYb4NfHc6UgEa"), passwordCost: cheap, totpPolicy: options.totpPolicy, sealer: sealer,
            guestAccess: options.guestAccess)
        accounts.node = nodes?.number ?? 0
        access = try Access(catalog: catalog, world: world, options: accounts, decisions: audit, log: log)
        if let locations = home.locations, let bucket = options.bucket {
            try await blobs.share(DirectoryTier(at: bucket, world: world), locations, House.sharing(options, nodes, access))
        }
        try await access.bootstrapAdmin(password: options.adminPassword, passwordFile: place.file("admin.password"), skip: false)
        var engine = Registry.Options(baseURL: BaseURL("https://granary.test"))
        engine.nodes = nodes
        engine.uploadBytesMax = options.uploadBytesMax
        engine.viewCacheBytes = options.viewCacheBytes
        engine.browsers = options.browsers
        engine.isDemonstration = options.isDemonstration
        let keys = SigningKeys(catalog: catalog, sealer: sealer, library: .openPGP, world: world)
        engine.viewsDirectory = place.file("views")
        engine.signing = options.signing ?? keys.signing
        engine.signingKeys = keys
        engine.trashDays = options.trashDays
        engine.sweep = options.sweep
        engine.fetchTurns = options.fetchTurns
        engine.leaseSeconds = options.leaseSeconds
        let backupKeys = BackupKeys(directory: place.file("keys"), signer: try .test())
        engine.backup = options.backup.map { BackupPlace(.directory($0), keys: backupKeys) }
        var scrub = ScrubOptions()
        scrub.bytesPerSecondMax = 0
        engine.scrub = try Scrub(of: blobs, named: catalog, options: scrub)
        registry = Registry(
            catalog: catalog, blobs: blobs, access: access, outbound: outbound, frontends: BuiltIn.frontends + options.frontends, workers: workers,
            sealer: sealer, options: engine, world: world, log: log)
        counters = StorageCounters(catalog: catalog)
        try await counters.load()
        var rest = AdminAPI.Options(version: "test", detailedHealth: false)
        rest.limits = options.limits
        rest.audit = audit
        rest.catalogMover = options.catalogMover
        let admin = AdminAPI(registry: registry, counters: counters, metrics: Metrics(), options: rest)
        responder = Dispatcher(registry: registry, mounted: admin.mounts)
        openAPI = admin.openAPIDocument
    }

    deinit { close() }

    private static func sharing(_ options: Options, _ nodes: Nodes?, _ access: Access) -> SharingOptions {
        var sharing = SharingOptions()
        sharing.isBehind = options.uploadsBehind
        sharing.askHolder = nodes?.holderQuestion(as: access)
        return sharing
    }

    /// One look at what is to go to the bucket.
    public func uploadHeld() async throws { try await blobs.uploadHeld() }

    /// One look at what is to go to the tier, and to leave the disk.
    public func workTier() async throws { try await blobs.workTier() }

    public func close() {
        outbound.close()
        blobs.close()
        closeCatalog()
        store.close()
    }

    /// Runs the followers until they have seen everything committed so far.
    public func followLog(seconds: Int = 120, until isDone: @escaping @Sendable () async throws -> Bool) async throws -> Bool {
        try await withThrowingTaskGroup(of: Bool.self) { group in
            let followers: [any Follower] = [registry.viewFollower, registry.indexFollower, counters, registry.downloads, registry.evictionFollower]
            for follower in followers {
                group.addTask {
                    await self.registry.follow(follower)
                    return false
                }
            }
            let deadline = ContinuousClock.now + .seconds(seconds)
            var done = try await isDone()
            while !done, ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(5))
                done = try await isDone()
            }
            group.cancelAll()
            return done
        }
    }
}

/// Where a house's catalog is: in its directory, or in the database it shares.
private struct CatalogHome {
    let catalog: any Catalog
    let rows: any RowStore
    let locations: (any SharedLocations)?
    let nodes: Nodes?
    let close: @Sendable () -> Void

    init(
        _ options: House.Options, _ store: OrderedStore, _ workers: BlockingPool, _ outbound: OutboundClient, _ world: World
    ) async throws(RegistryError) {
        guard let database = options.database else {
            catalog = try await RocksCatalog(store: store, pool: workers, world: world, logger: options.log)
            (rows, locations, nodes, close) = (PooledStore(store, pool: workers), nil, nil, {})
            return
        }
        var limits = PostgresCatalog.Options()
        limits.pool.connections = 4
        let postgres = try await PostgresCatalog(address: database, world: world, options: limits, logger: options.log)
        (catalog, rows, locations, close) = (postgres, postgres, postgres, { postgres.close() })
        nodes = try await Nodes.joining(postgres, as: options.identity, client: outbound, world: world)
    }
}

/// Time that passes when told to; randomness is the machine's.
public final class HouseClock: Sendable {
    private let time = Mutex(Timestamp(seconds: 1_795_000_000))
    public init() {}
    public var now: Timestamp { time.withLock { $0 } }
    public func pass(seconds: Int64) { time.withLock { $0 = $0.adding(seconds: seconds) } }
    public var world: World {
        World(now: { self.now }, monotonicNanoseconds: World.real.monotonicNanoseconds, random: World.real.random)
    }
}
