import Access
import Catalog
import Core
import Logging
import OrderedStore
import Outbound
import PostgresCatalog
import Registry
import RocksCatalog

/// Where the catalog and the audit log are: in the data directory, or, with `database_url`, in a database that several nodes share.
struct CatalogHome {
    let catalog: any Catalog
    /// Where the audit log is, in the order of the catalog's changes.
    let rows: any RowStore
    /// nil for one alone.
    let nodes: Nodes?
    /// That they share.
    let database: PostgresCatalog?
    let metrics: @Sendable () -> OrderedStore.Metrics
    private let end: @Sendable () -> Void

    /// - Parameter store: the data directory's own.
    init(
        _ configuration: Configuration, _ directories: Directories, store: OrderedStore, workers: BlockingPool, world: World, log: Logger
    ) async throws(RegistryError) {
        guard let address = configuration.databaseURL else {
            catalog = try await RocksCatalog(store: store, pool: workers, world: world, logger: log)
            rows = PooledStore(store, pool: workers)
            nodes = nil
            database = nil
            metrics = { store.metrics }
            end = {}
            return
        }
        var hasCatalog = false
        try store.scan(RocksCatalog.family, from: [], upTo: nil, reverse: false) { _, _ throws(RegistryError) in
            hasCatalog = true
            return false
        }
        guard !hasCatalog else {
            throw Configuration.refused(
                "database_url", "the data directory \(directories.root) has a catalog of its own: name another directory, or no database")
        }
        let postgres = try await PostgresCatalog(address: address, world: world, logger: log)
        // Nodes are the administrator's own: what proxies the world outside is not asked for them.
        let client = try OutboundClient(options: .init(caFile: configuration.outboundCAFile), log: log, world: world)
        catalog = postgres
        database = postgres
        rows = postgres
        nodes = try await Nodes.joining(postgres, as: try directories.identity(world), client: client, world: world)
        metrics = { postgres.metrics }
        end = {
            client.close()
            postgres.close()
        }
    }

    func close() { end() }
}

/// Every node must open what another sealed, and believe what it signed.
enum SharedKeys {
    private static let id = "keys"
    private static let place = "setting/keys"

    /// The first node leaves a mark that only its keys open; every later one must be able to.
    /// - Throws: `invalid` in words for whoever gave the keys.
    static func check(_ sealer: Sealer, signing secret: Secret, in catalog: any Catalog, world: World) async throws(RegistryError) {
        let mark = Digest.of(.sha256, Array("granary \(secret.revealed)".utf8)).hex
        if try await catalog.record(.setting, id: id) == nil {
            let sealed = Record(kind: .setting, id: id, value: Array(try sealer.seal(Secret(mark), for: place).utf8))
            do throws(RegistryError) {
                try await catalog.apply(
                    Change(actor: .system, at: world.now(), requestID: "start", parts: [.putRecord(sealed, ifRevision: .zero)]))
                return
            } catch {
                // Another node that starts at this moment was first.
                guard error.code == .conflict else { throw error }
            }
        }
        guard let record = try await catalog.record(.setting, id: id) else { return }
        let known = try? sealer.open(String(decoding: record.value, as: UTF8.self), for: place)
        guard let known else {
            throw Configuration.refused(
                "keys_directory", "the key in it (seal) does not open what is sealed in the database: all nodes need the same keys")
        }
        guard known.revealed == mark else {
            throw Configuration.refused(
                "keys_directory", "what signs sessions on this node (jwt_secret, or jwt in the keys directory) is not what the other nodes sign with")
        }
    }
}

extension Directories {
    /// What the data directory is known by among nodes: made once, and kept in it.
    func identity(_ world: World) throws(RegistryError) -> EntityID {
        let path = root + "/node"
        if let known = TextFile.read(path).flatMap({ EntityID($0.split(separator: "\n").first ?? "") }) { return known }
        let made = world.newID()
        try TextFile.write("\(made)\n", to: path)
        return made
    }
}

extension Configuration {
    /// - Throws: `invalid` for settings of a node that shares a database which do not go together.
    func checkNode() throws(RegistryError) {
        guard databaseURL != nil else {
            guard nodeURL == nil else {
                throw Configuration.refused("node_url", "only nodes that share a database reach each other: set database_url")
            }
            guard sharedUploads == "before" else {
                throw Configuration.refused("shared_uploads", "only nodes that share a database share a bucket: set database_url, or see tier_policy")
            }
            return
        }
        guard s3Bucket != nil || tierDirectory != nil else {
            throw Configuration.refused(
                "database_url", "nodes that share a database share their bytes, too: set s3_bucket, or, to try it on one machine, tier_directory")
        }
        guard backupDirectory == nil, backupS3Bucket == nil else {
            throw Configuration.refused(
                "backup_directory", "of nodes that share a database, the database and the bucket are backed up, by their own means")
        }
        if let nodeURL {
            guard nodeURL.hasPrefix("http://") || nodeURL.hasPrefix("https://") else {
                throw Configuration.refused("node_url", "a URL under which other nodes reach this one, http://HOST:PORT")
            }
        } else if ["0.0.0.0", "::"].contains(listenHost) {
            throw Configuration.refused("node_url", "other nodes must know how to reach this one, which listens on \(listenHost): set it")
        }
    }

    /// - Throws: `invalid` where the catalog is not in the data directory, for commands that open it there.
    func requireOwnCatalog() throws(RegistryError) {
        guard databaseURL != nil else { return }
        throw Configuration.refused(
            "database_url", "this command is for a data directory with a catalog of its own; of nodes that share a database ask one that runs")
    }

    /// Where other nodes reach this one.
    func nodeURL(port: Int) -> String {
        if let nodeURL { return nodeURL }
        let host = listenHost.contains(":") ? "[\(listenHost)]" : listenHost
        return "http\(tlsCertificate == nil ? "" : "s")://\(host):\(port)"
    }
}
