// Registry: runs frontends over local, remote and virtual repositories. It owns the road from a request to a reply: identity, repository,
// permission, the gate, views, publishing, fetching. It opens bytes and facts only with an `Authorized` value, which only Access can make.
public import Access
public import BlobStore
public import Catalog
public import Core
public import FrontendKit
import HTTPTypes
public import Logging
public import Outbound

/// The engine that every wire protocol and the REST API share.
public final class Registry: Sendable {
    public struct Options: Sendable {
        public var baseURL: BaseURL
        /// The most one upload may have.
        public var uploadBytesMax: Int64 = 10 << 30
        /// How long a URL with which a client gets a large blob from the object store itself is good; nil: the bytes go through the server.
        public var presignedSeconds: Int64?
        /// How long a resumable upload may receive nothing; the blob store is told the same.
        public var uploadLifetimeSeconds: Int64 = 24 * 3600
        /// Memory for rendered views.
        public var viewCacheBytes = 16 << 20
        /// Reserved address ranges that a repository which may reach private addresses may reach as well.
        public var allowedCIDRs: [CIDR] = []
        /// Names of private networks, and domains with all below them, that every repository may ask for.
        public var allowedNames: [String] = []
        /// The largest upstream document that is read into memory to learn from it.
        public var learnedDocumentBytesMax = 32 << 20
        /// Facts of upstream documents that stay decoded, by the size of their encoded form.
        public var learnedFactsCacheBytes = 8 << 20
        /// How long an upstream's index is served without asking, where the repository sets nothing else.
        public var indexFreshSeconds: Int64 = 300
        /// How long "upstream has no such thing" is believed.
        public var absenceSeconds: Int64 = 60
        /// Where the indexes of whole repositories are kept, derived and emptied at the start; nil: formats that need them are refused.
        public var viewsDirectory: String?
        /// What signs the documents of editions.
        public var signing = Signing.none
        public var sweep = SweepOptions()
        /// How long what is deleted can be restored, where the repository says nothing else; 0: it cannot.
        public var trashDays: Int64 = 0
        public var chunker = ChunkerOptions()
        public var archives = ArchiveOptions()
        public var scrub: Scrub?
        /// nil: the server makes no backups of itself.
        public var backup: BackupPlace?
        /// Which pages of other origins browsers let in.
        public var browsers = BrowserRules()
        /// Nothing is changed by anybody.
        public var isDemonstration = false
        /// From where the first administrator sets the server up.
        public var setupCIDRs = ["127.0.0.0/8", "::1"].compactMap { CIDR($0) }
        /// The nodes that share the catalog; nil for one alone.
        public var nodes: Nodes?
        /// How nodes that share a catalog take turns at fetching from upstreams.
        public var fetchTurns = FetchTurnOptions()
        /// How long work that one node does for all stays its own without a sign of it.
        public var leaseSeconds: Int64 = 60
        /// How long requests waited to know of the changes of other nodes.
        public var freshnessSeconds: Histogram?
        /// The keys behind it, for who rotates them.
        public var signingKeys: SigningKeys?
        public init(baseURL: BaseURL) { self.baseURL = baseURL }
    }

    public let catalog: any Catalog
    public let blobs: BlobStore
    public let access: Access
    let outbound: OutboundClient
    public let frontends: [any Frontend]
    /// By the name of the format.
    let routes: [String: RouteTable]
    public let options: Options
    public let world: World
    let log: Logger
    let workers: BlockingPool
    let views: ViewCache
    let editions: Editions
    let sealer: Sealer
    let indexFetches = SingleFlight<String, LearnedPage>()
    let fileFlights = FileFlights()
    let fetches: FetchTurns
    let tokenFetches = SingleFlight<UpstreamTokens.Key, String?>()
    let upstreamTokens = UpstreamTokens()
    let absences = Absences()
    let learnedFacts: LearnedFactsCache
    let recency: Recency
    /// What one node does for all.
    public let leases: Leases
    /// nil where no other node changes the catalog.
    let newest: CatchUp?
    let eviction = EvictionState()
    /// Files served since the server started, by asset; `flushDownloads` brings them to the catalog.
    public let downloads: DownloadCounter
    public let sweeper: Sweeper
    public let chunker: Chunker
    public let archives: ArchiveKeeper
    /// What reads stored bytes in the background; nil where nothing does.
    public let scrub: Scrub?
    /// What reads the bucket that nodes share; nil where there is none.
    public let bucketScrub: BucketScrub?
    public let storageSurvey: StorageSurvey

    public init(
        catalog: any Catalog, blobs: BlobStore, access: Access, outbound: OutboundClient, frontends: [any Frontend], workers: BlockingPool,
        sealer: Sealer, options: Options, world: World, log: Logger
    ) {
        self.catalog = catalog
        self.blobs = blobs
        self.access = access
        self.outbound = outbound
        self.frontends = frontends
        routes = Dictionary(frontends.map { ($0.format.name, RouteTable($0)) }) { first, _ in first }
        self.workers = workers
        self.sealer = sealer
        self.options = options
        self.world = world
        self.log = log
        views = ViewCache(bytesMax: options.viewCacheBytes)
        learnedFacts = LearnedFactsCache(bytesMax: options.learnedFactsCacheBytes)
        recency = Recency(catalog: catalog)
        let leases = Leases(catalog: catalog, node: options.nodes?.number ?? 0, seconds: options.leaseSeconds, world: world)
        self.leases = leases
        let fetches = FetchTurns(catalog: catalog, options: options.fetchTurns, node: options.nodes?.number ?? 0, world: world, log: log)
        self.fetches = fetches
        editions = Editions(
            in: options.viewsDirectory, catalog: catalog, blobs: StoredBlobs(blobs: blobs, workers: workers), signing: options.signing,
            workers: workers,
            sharing: options.nodes.map {
                IndexSharing(catalog: catalog, nodes: $0, access: access, turns: fetches, workers: workers, world: world, log: log)
            }, world: world, log: log)
        newest =
            catalog.isShared
            ? CatchUp(catalog: catalog, access: access, waits: options.freshnessSeconds, world: world) { [views, upstreamTokens] touched in
                // Its settings, which say who we are to its upstream.
                guard case .repository(let id) = touched else { return }
                views.forget(id, package: nil)
                upstreamTokens.forget(id)
            } : nil
        downloads = DownloadCounter(catalog: catalog, world: world)
        scrub = options.scrub
        let scrubbed = blobs.isShared ? options.scrub : nil
        bucketScrub = scrubbed.map {
            BucketScrub(catalog: catalog, blobs: blobs, leases: leases, options: $0.options, world: world, log: log)
        }
        sweeper = Sweeper(catalog: catalog, blobs: blobs, options: options.sweep, world: world, log: log)
        storageSurvey = StorageSurvey(catalog: catalog, blobs: blobs, world: world)
        archives = ArchiveKeeper(blobs: blobs, options: options.archives)
        chunker = Chunker(blobs: blobs, options: options.chunker) { [catalog, frontends, log] blob in
            do throws(RegistryError) {
                return try await Registry.chunkProfile(of: blob, catalog) { name in
                    frontends.contains { $0.format.isCache && $0.format.answers(to: name) }
                }
            } catch {
                log.warning("what names a blob cannot be read", metadata: ["blob": "\(blob)", "error": "\(error)"])
                return .general
            }
        }
    }

    /// The frontend a repository of this format is served by; nil when none is installed.
    public func frontend(for format: String) -> (any Frontend)? { frontends.first { $0.format.answers(to: format) } }

    func context(of repository: Repository) -> RenderContext {
        RenderContext(baseURL: options.baseURL.text, repository: repository.key, settings: repository.settings)
    }
}

extension Registry {
    public static let demonstration = RegistryError(
        .forbidden, subject: .request, reason: "this server is a demonstration: nothing is changed here")
}

extension Asked {
    public init(_ head: RequestHead) {
        self.init(method: head.method.rawValue, target: head.target, peer: head.client, requestID: head.requestID)
    }
}

/// Who asks and under which request id: what every change is signed with.
public struct RequestOrigin: Sendable {
    public let caller: Caller
    public let requestID: String
    public init(caller: Caller, requestID: String) {
        self.caller = caller
        self.requestID = requestID
    }
}
