import Access
import AdminAPI
import Audit
import ArgumentParser
import BlobStore
import BuiltIn
import Catalog
import Core
import FrontendKit
import Logging
import OrderedStore
import Outbound
import Registry
import RocksCatalog
import Server

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Serve until SIGTERM or SIGINT.")
    @OptionGroup var settings: SettingFlags

    func run() async throws {
        let configuration = try settings.load()
        let level = Logger.Level(rawValue: configuration.logLevel) ?? .info
        LoggingSystem.bootstrap { label in JSONLines(label: label, level: level) }
        let log = Logger(label: "granary")
        for warning in configuration.warnings { log.warning("\(warning)") }
        do throws(RegistryError) {
            try await Running.serve(configuration, log: log)
        } catch {
            log.critical("granary cannot serve", metadata: ["error": "\(error)"])
            throw ExitCode(error.code == .invalid ? 78 : 1)  // sysexits.h: EX_CONFIG
        }
    }
}

/// One running server: every room, put together in the order they need each other.
enum Running {
    static func serve(_ configuration: Configuration, log: Logger) async throws(RegistryError) {
        let world = World.real
        let directories = try Directories(at: configuration.data, keys: configuration.keysDirectory)
        let metrics = Metrics()
        // Of several nodes' bytes the directory has copies: what it lacks is fetched again.
        if configuration.databaseURL == nil { try directories.checkIndexIsThere() }

        let store = try OrderedStore(
            at: directories.index, families: RocksCatalog.families, options: indexOptions(configuration), logger: log)
        defer { store.close() }
        let workers = BlockingPool(threads: 4, name: "worker")
        let home = try await CatalogHome(configuration, directories, store: store, workers: workers, world: world, log: log)
        defer { home.close() }
        let catalog = home.catalog

        var blobOptions = configuration.blobOptions
        blobOptions.node = home.nodes?.number ?? 0
        let blobs = try BlobStore(at: directories.blobs, store: store, options: blobOptions, world: world, log: log)
        defer { blobs.close() }

        let audit = AuditTrail(in: home.rows, options: configuration.auditOptions, world: world, log: log)
        let sealer = try Sealer(key: try KeyFile.loadOrCreate(path: directories.keys + "/seal", bytes: Sealer.keyBytes, world: world), world: world)
        var accounts = try accessOptions(configuration, directories, sealer, world)
        accounts.node = home.nodes?.number ?? 0
        if home.nodes != nil { try await SharedKeys.check(sealer, signing: accounts.jwtSecret, in: catalog, world: world) }
        let access = try Access(catalog: catalog, world: world, options: accounts, decisions: audit, log: log)
        try await access.bootstrapAdmin(
            password: configuration.adminPassword, passwordFile: directories.root + "/admin.password", skip: configuration.skipAdminProvisioning)
        let outbound = try configuration.outboundClient(log)
        defer { outbound.close() }
        try await Tier.attach(to: blobs, sharing: home, configuration, access: access, outbound: outbound, log: log)

        var options = Registry.Options(baseURL: BaseURL(configuration.baseURL))
        options.viewsDirectory = directories.views
        engine(&options, configuration)
        options.backup = try configuration.backupPlace(directories, outbound, log)
        options.scrub = try Scrub(of: blobs, named: catalog, options: configuration.scrubOptions)
        let keys = SigningKeys(catalog: catalog, sealer: sealer, library: .openPGP, world: world)
        options.signing = keys.signing
        options.signingKeys = keys
        options.nodes = home.nodes
        options.freshnessSeconds = home.nodes.map { _ in freshness(metrics) }
        let registry = Registry(
            catalog: catalog, blobs: blobs, access: access, outbound: outbound,
            frontends: BuiltIn.frontends, workers: workers, sealer: sealer, options: options, world: world, log: log)
        let counters = StorageCounters(catalog: catalog)
        try await counters.load()
        publish(metrics, home.metrics, counters)
        publish(metrics, outbound)
        registry.sweeper.publish(metrics)
        registry.publishChunks(metrics)
        registry.publishIndexes(metrics)
        registry.scrub?.publish(metrics, world: world)
        registry.bucketScrub?.publish(metrics, world: world)
        audit.publish(metrics)
        Tier.publish(metrics, blobs)
        publish(metrics, evictionsOf: registry)

        let mover = home.nodes == nil ? OnlineMove(configuration, directories, store: store, blobs: blobs, world: world, log: log) : nil
        let admin = AdminAPI(registry: registry, counters: counters, metrics: metrics, options: adminOptions(configuration, audit, mover))
        let responder = Dispatcher(registry: registry, mounted: admin.mounts)
        let server = HTTPServer(options: serverOptions(configuration), responder: responder, world: world, log: log, metrics: metrics)
        let port = try await server.start()
        options.baseURL.listens(on: configuration.listenHost, port: port, isSecure: configuration.tlsCertificate != nil)
        try await home.nodes?.announce(configuration.nodeURL(port: port))
        if let file = configuration.portFile { try TextFile.write("\(port)\n", to: file) }
        log.notice("granary serves", metadata: ["url": "\(options.baseURL.text)", "data": "\(directories.root)", "version": "\(Build.version)"])
        await run(server, registry, audit, metrics, counters, gracefulSeconds: configuration.gracefulSeconds, log: log)
        await mover?.end()
    }

    /// Until a signal asks for the end: requests under way are finished first, the stores closed after.
    private static func run(
        _ server: HTTPServer, _ registry: Registry, _ audit: AuditTrail, _ metrics: Metrics, _ counters: StorageCounters, gracefulSeconds: Int64,
        log: Logger
    ) async {
        await withTaskGroup(of: Void.self) { group in
            // What this node remembers; then what is written down for all.
            for follower in [registry.viewFollower, registry.indexFollower] { group.addTask { await registry.follow(follower) } }
            group.addTask { await registry.leases.keeping("counters") { await follow([counters, registry.downloads], registry) } }
            group.addTask { await registry.leases.keeping("audit") { await audit.trimOnSchedule() } }
            if registry.catalog.isShared { group.addTask { await counters.reload(every: .seconds(10), log) } }
            if let nodes = registry.options.nodes { group.addTask { await nodes.remain(log) } }
            group.addTask { await registry.expireUploads() }
            group.addTask { await registry.flushDownloads() }
            group.addTask { await registry.access.flushTokenUsesOnSchedule() }
            group.addTask { await registry.scrub?.runOnSchedule() }
            group.addTask { await registry.surveyStorage(metrics) }
            group.addTask { await registry.tendCaches() }
            group.addTask { await registry.sweepOnSchedule() }
            if registry.blobs.isShared {
                // The disk is a cache: nothing in it is cut, opened or copied.
                group.addTask { await registry.blobs.runCache() }
                group.addTask { await registry.bucketScrub?.runOnSchedule() }
                group.addTask { await registry.blobs.runUploads() }
            } else {
                group.addTask { await registry.chunker.run() }
                group.addTask { await registry.archives.run() }
                group.addTask { await registry.scrub?.runTierOnSchedule() }
                group.addTask { await registry.blobs.runTier() }
            }
            let signal = await Signals.next()
            log.notice("granary stops", metadata: ["signal": "\(signal)"])
            await server.stop()
            group.cancelAll()
        }
        await registry.blobs.finishUploads(seconds: gracefulSeconds)
        do throws(RegistryError) { try await registry.downloads.flush() } catch {
            log.error("the last seconds' downloads were not counted", metadata: ["error": "\(error)"])
        }
        do throws(RegistryError) { try await registry.flushRecency() } catch {
            log.error("what was used last is forgotten", metadata: ["error": "\(error)"])
        }
    }

    private static func follow(_ followers: [any Follower], _ registry: Registry) async {
        await withTaskGroup(of: Void.self) { group in
            for follower in followers { group.addTask { await registry.follow(follower) } }
        }
    }

    private static func accessOptions(
        _ configuration: Configuration, _ directories: Directories, _ sealer: Sealer, _ world: World
    ) throws(RegistryError) -> AccessOptions {
        let secret: Secret
        if let given = configuration.jwtSecret {
            secret = Secret(given)
        } else {
            secret = Secret(Hex.encode(try KeyFile.loadOrCreate(path: directories.keys + "/jwt", bytes: 32, world: world)))
        }
        var options = AccessOptions(jwtSecret: secret)
        options.accessMinutes = configuration.accessTokenMinutes
        options.refreshDays = configuration.refreshTokenDays
        options.guestAccess = configuration.guestAccess
        options.passwordLengthMin = configuration.passwordLengthMin
        options.passwordHistory = configuration.passwordHistory
        options.totpPolicy = configuration.totpPolicy.flatMap(TOTPPolicy.init(rawValue:))
        options.freshLoginMinutes = configuration.freshLoginMinutes
        options.sealer = sealer
        options.guessLimits = GuessLimits(
            failuresMax: configuration.lockoutFailures, seconds: configuration.lockoutMinutes * 60,
            failuresPerAddressMax: max(configuration.lockoutFailures, 50))
        return options
    }

    /// What the settings alone say.
    private static func engine(_ options: inout Registry.Options, _ configuration: Configuration) {
        options.viewCacheBytes = configuration.viewCacheBytes
        options.uploadLifetimeSeconds = configuration.blobOptions.uploadLifetimeSeconds
        options.allowedCIDRs = configuration.outboundAllowedCIDRs
        options.allowedNames = configuration.outboundAllowedNames
        options.uploadBytesMax = configuration.uploadBytesMax == 0 ? .max : configuration.uploadBytesMax
        options.sweep = configuration.sweepOptions
        options.trashDays = configuration.trashDays
        options.chunker = configuration.chunkerOptions
        options.archives = configuration.archiveOptions
        options.presignedSeconds = configuration.presignedDownloads ? configuration.presignedDownloadsSeconds : nil
        limit(&options, configuration)
    }

    private static func freshness(_ metrics: Metrics) -> Histogram {
        metrics.histogram(
            "granary_catalog_freshness_seconds", help: "How long requests waited to know what other nodes had acknowledged before they came.")
    }

    /// Who may do what from where, beside rights.
    private static func limit(_ options: inout Registry.Options, _ configuration: Configuration) {
        options.browsers.origins = Set(configuration.corsOrigins.compactMap(BrowserRules.origin))
        options.isDemonstration = configuration.demoMode
        options.setupCIDRs = configuration.setupCIDRs
    }

    private static func adminOptions(_ configuration: Configuration, _ audit: AuditTrail, _ mover: OnlineMove?) -> AdminAPI.Options {
        var options = AdminAPI.Options(version: Build.version, detailedHealth: configuration.detailedHealth)
        options.audit = audit
        options.catalogMover = mover
        options.limits = configuration.rateLimits
        options.enforceHTTPS = configuration.enforceHTTPS || configuration.baseURL?.lowercased().hasPrefix("https://") == true
        options.limits.exemptUsernames = Set(configuration.rateLimitExempt.map { $0.lowercased() })
        return options
    }

    private static func serverOptions(_ configuration: Configuration) -> ServerOptions {
        var options = ServerOptions(host: configuration.listenHost, port: configuration.listenPort)
        if let certificate = configuration.tlsCertificate, let key = configuration.tlsKey {
            options.tls = TLSOptions(certificateChainPath: certificate, privateKeyPath: key)
        }
        if configuration.eventLoopThreads > 0 { options.eventLoopThreads = configuration.eventLoopThreads }
        options.connectionsMax = min(configuration.connectionsMax, Descriptors.limit.map(connectionsMax(of:)) ?? .max)
        options.connectionsPerAddressMax = configuration.connectionsPerAddressMax
        options.trustedProxies = configuration.trustedProxies
        options.gracefulSeconds = Double(configuration.gracefulSeconds)
        options.accessLog = configuration.accessLog
        return options
    }

    private static func indexOptions(_ configuration: Configuration) -> OrderedStore.Options {
        var options = OrderedStore.Options()
        options.blockCacheBytes = configuration.blockCacheBytes
        if let descriptors = Descriptors.raiseLimit() { options.openFilesMax = min(options.openFilesMax, Int32(clamping: descriptors / 4)) }
        return options
    }

    /// A connection more would leave the store without files: index and blob cache take a quarter each, of many at most some hundreds, and each
    /// upload under way has one of its own.
    static func connectionsMax(of descriptors: Int) -> Int {
        let rest = descriptors - min(descriptors / 2, 512) - 64
        return max(1, rest - min(rest / 2, 1024))
    }

    /// Gauges read where the truth is, when somebody asks.
    private static func publish(
        _ metrics: Metrics, _ committed: @escaping @Sendable () -> OrderedStore.Metrics, _ counters: StorageCounters
    ) {
        metrics.gauge("granary_assets", help: "Assets in all repositories.") { Double(counters.current.assets) }
        metrics.gauge("granary_asset_bytes", help: "Logical bytes of all assets.") { Double(counters.current.bytes) }
        metrics.gauge("granary_trash_bytes", help: "Logical bytes in the trash of all repositories.") { Double(counters.current.trashBytes) }
        metrics.gauge("granary_commits_total", help: "Changes made durable.") { Double(committed().commits) }
        metrics.gauge("granary_commit_groups_total", help: "Group commits: each is one synced batch.") { Double(committed().groups) }
    }

    private static func publish(_ metrics: Metrics, evictionsOf registry: Registry) {
        metrics.gauge("granary_evicted_entries_total", help: "Assets evicted from caches.") { Double(registry.evicted.entries) }
        metrics.gauge("granary_evicted_bytes_total", help: "Logical bytes evicted from caches.") { Double(registry.evicted.bytes) }
    }

    private static func publish(_ metrics: Metrics, _ outbound: OutboundClient) {
        let (name, help) = ("granary_outbound_requests_total", "Requests to upstreams, each hop and each try for itself.")
        for digit in 1...5 {
            metrics.gauge(name, help: help, labels: [("status", "\(digit)xx")]) { Double(outbound.requests.answered[digit - 1]) }
        }
        metrics.gauge(name, help: help, labels: [("status", "none")]) { Double(outbound.requests.failed) }
    }
}
